# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with what the variables of role certificate say about ACME."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_acme import acme, own_plugins, webroot
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import (
    is_address,
    is_domain,
    is_port,
    matches,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import nearest, problem

MOST_NAMES = 100  # of a certificate of Let's Encrypt
PROFILE_OF_ADDRESSES = "shortlived"
PLUGIN = re.compile(r"[a-z0-9][a-z0-9-]*")
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")
DEBIAN_BUNDLE = "/etc/ssl/certs/company.pem"


def problems(options: Mapping[str, Any]) -> Iterator[str]:
    """The lines about all of them."""
    if not acme(options):
        return
    yield from _account_problems(options)
    for path, item in acme(options):
        yield from _item_problems(path, item, options)


def unused(path: str, item: Mapping[str, Any]) -> Iterator[str]:
    """What only an authority is told, of a certificate that none signs."""
    for key in ("dns", "profile"):
        if key in item:
            yield f"{path}.{key}: is given, but the source is {item['source']}; set source to acme, or drop it"
    if item["challenge"] != "http":
        yield f"{path}.challenge: is given, but the source is {item['source']}; set source to acme, or drop it"


def _account_problems(options: Mapping[str, Any]) -> Iterator[str]:
    email = options["certificate_acme_email"]
    domain = email.rpartition("@")[2]
    if not email:
        yield (
            f"certificate_acme_email: is empty, while {acme(options)[0][0]} has the source acme; give the address of"
            " who answers for the certificates"
        )
    elif not re.fullmatch(r"[^\s@,'\"]+@[^\s@]+", email) or not is_domain(domain) or "*" in domain:
        yield problem("certificate_acme_email", email, "one e-mail address, such as ops@example.com")
    url = options["certificate_acme_directory_url"]
    if not re.fullmatch(r"https://[^\s/]+(/\S*)?", url):
        yield problem(
            "certificate_acme_directory_url",
            url,
            "the directory of the authority, such as https://acme-v02.api.letsencrypt.org/directory",
        )
    pair = ("certificate_acme_eab_key_id", "certificate_acme_eab_hmac_key")
    if bool(options[pair[0]]) != bool(options[pair[1]]):
        yield f"{pair[0]}, {pair[1]}: only one of them is given; give both, as the authority has told them, or none"
    if options[pair[1]] and not re.fullmatch(r"[A-Za-z0-9_-]+=*", options[pair[1]]):
        yield f"{pair[1]}: found (not shown); give the key in base64url, as the authority has told it"
    if not re.fullmatch(r"[!-~]*", options[pair[0]]):
        yield problem(pair[0], options[pair[0]], "the id as the authority has told it")
    for name in ("certificate_acme_ca_bundle", "certificate_acme_index_ca_bundle"):
        if options[name] and not matches("directory", options[name]):
            yield problem(name, options[name], f"the absolute path of a file of the host, such as {DEBIAN_BUNDLE}")
    for name in ("certificate_acme_webroot", "certificate_app_acme_webroot"):  # the playbooks wire what Nginx serves
        if options[name] and not matches("directory", options[name]):
            yield problem(name, options[name], "an absolute path, without spaces")
    for name in ("certificate_acme_calendar", "certificate_acme_random_delay"):
        if not re.fullmatch(r"[A-Za-z0-9*:,./~ -]+", options[name]):
            yield problem(name, options[name], "what systemd.time(7) describes")
    if not is_port(options["certificate_acme_check_port"]):
        yield problem("certificate_acme_check_port", options["certificate_acme_check_port"], "a port")
    address = options["certificate_acme_check_address"]
    if address and not is_address(address):
        yield problem("certificate_acme_check_address", address, "an address, or nothing for those of the domains")


def _item_problems(path: str, item: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    profile = item.get("profile", options["certificate_acme_profile"])
    if profile and not re.fullmatch(r"[A-Za-z0-9_-]+", profile):
        yield problem(f"{path}.profile", profile, "the name of a profile, such as tlsserver")
    if len(set(item["domains"])) > MOST_NAMES:
        yield f"{path}.domains: has {len(set(item['domains']))} names; give at most {MOST_NAMES} to a certificate"
    for domain in (domain.lower() for domain in item["domains"]):
        if is_address(domain):
            yield from _address_problems(path, item, domain, profile)
        elif "." not in domain.removeprefix("*."):
            yield problem(f"{path}.domains", domain, "a name with a domain, since an authority signs no other")
        elif domain.startswith("*.") and item["challenge"] != "dns":
            yield (
                f"{path}.domains: '{domain}' is a wildcard, which an authority signs by challenge dns alone; set"
                f" {path}.challenge to dns, or name the hosts"
            )
    if item["challenge"] == "dns":
        yield from _dns_problems(f"{path}.dns", item.get("dns", {}))
        return
    if "dns" in item:
        yield f"{path}.dns: is given, but the challenge is http; set {path}.challenge to dns, or drop it"
    if not webroot(options):
        yield (
            f"{path}: has the challenge http, and no web server of this host answers it; set its challenge to dns, put"
            " the host into the group web, or give certificate_acme_webroot"
        )


def _address_problems(path: str, item: Mapping[str, Any], address: str, profile: str) -> Iterator[str]:
    if profile != PROFILE_OF_ADDRESSES:
        yield (
            f"{path}.domains: '{address}' is an address, which an authority signs for days alone; set {path}.profile to"
            f" {PROFILE_OF_ADDRESSES}, or give host names"
        )
    if item["challenge"] == "dns":
        yield f"{path}.domains: '{address}' is an address, which has no record in the DNS; set challenge to http"


def _dns_problems(path: str, dns: Mapping[str, Any]) -> Iterator[str]:
    has_hook = "auth_hook" in dns
    if ("plugin" in dns) == has_hook:
        found = "both a plugin and hooks" if has_hook else "neither a plugin nor hooks"
        yield f"{path}: has {found}; give plugin, such as cloudflare, or auth_hook and cleanup_hook"
        return
    if has_hook or "cleanup_hook" in dns:
        yield from _hook_problems(path, dns, has_hook)
        return
    plugin, package = dns["plugin"], dns.get("package")
    if not PLUGIN.fullmatch(plugin):
        yield problem(f"{path}.plugin", plugin, "the name of a provider, such as cloudflare")
    elif package is None and plugin not in own_plugins():
        hint = nearest(plugin, own_plugins())
        meant = f"did you mean '{hint}'? Or " if hint else ""
        yield (
            f"{path}.plugin: found '{plugin}', which is none of certbot's own ({', '.join(own_plugins())}); {meant}give"
            f" {path}.package, such as certbot-dns-{plugin}==1.0.0"
        )
    elif package is not None and plugin in own_plugins():
        yield f"{path}.package: is given, while plugin {plugin} is one of certbot's own, which is locked; drop it"
    if package is not None and not PINNED.fullmatch(package):
        yield problem(f"{path}.package", package, "one package with its version, such as certbot-dns-hetzner==2.0.1")
    if "credentials" not in dns and plugin not in ("route53", "google"):  # which may log in as the host itself
        yield f"{path}.credentials: is missing; give the content of the file that plugin {plugin} logs in with"
    if dns.get("propagation_seconds", 0) < 0:
        yield problem(f"{path}.propagation_seconds", dns["propagation_seconds"], "a number of seconds")


def _hook_problems(path: str, dns: Mapping[str, Any], has_hook: bool) -> Iterator[str]:
    if not has_hook:
        yield f"{path}.cleanup_hook: is given without auth_hook; give the command that puts the record too"
    for key in ("auth_hook", "cleanup_hook"):
        if key in dns and not re.fullmatch(r"/[^\n\r]*", dns[key]):
            yield problem(f"{path}.{key}", dns[key], "a command in one line that begins with an absolute path")
    for key in ("package", "credentials", "propagation_seconds"):
        if key in dns:
            yield f"{path}.{key}: is for a plugin, and hooks are given; drop it"
