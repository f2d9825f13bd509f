# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the role nginx: what to ask the host, what the templates see. What is wrong is in nginx_problems.py."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_balancer, nginx_cache, nginx_upstream
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_limits import password_files, site_limits
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_logs import log_settings
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_networks import trusted_networks
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_pages import (
    error_pages,
    page_settings,
    private_directories,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.systemd import run_in_sandbox, unit_lines

LISTS = ("nginx_sites", "nginx_app_sites")
SERVED = "/etc/nginx/sites/*.conf"
UNIT = "nginx.service"
WRITABLE = ("/run", "/var/cache/nginx", "/var/lib/nginx", "/var/log/nginx")
ALT_SVC_SECONDS = 86400
SWITCHES = ("x-forwarded-ssl", "front-end-https")  # headers that say "on" in place of "https"
USUAL_PORTS = {"http": 80, "https": 443}
# A variable of Nginx has letters, digits and underscores; no two names of sites become the same.
IDENTIFIER = str.maketrans({"_": "_u", ".": "_d", "-": "_h"})


def questions(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the role needs to know of the host, as arguments of the module survey.

    A value that cannot be understood asks nothing, so that the questions can be put before the input is checked.
    """
    values = resolve(spec_of("nginx"), given)[0]
    certificates = [glob.escape(path) for path in _certificate_files(values)]
    paths = [SERVED, nginx_cache.CACHES, nginx_balancer.INCLUDES, *certificates]
    return {"units": [UNIT, nginx_balancer.UNIT], "paths": paths}


def missing_certificates(values: Mapping[str, Any], survey: Mapping[str, Any]) -> list[str]:
    """The certificate files that the host does not have yet.

    :param values: the variables as the spec means them.
    :param survey: what the host answered to `questions`.
    """
    answers = survey.get("paths", {})
    return [path for path in _certificate_files(values) if not answers.get(glob.escape(path))]


def caches(values: Mapping[str, Any], survey: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The directories of caches that the host still has to get, and those that no site uses any more.

    :param values: the variables as the spec means them.
    :param survey: what the host answered to `questions`.
    """
    return nginx_cache.caches([site for _path, site in sites_of(values)], survey)


def balancer(values: Mapping[str, Any], survey: Mapping[str, Any]) -> dict[str, Any]:
    """What the host has to have for sites whose servers are watched.

    :param values: the variables as the spec means them.
    :param survey: what the host answered to `questions`.
    :returns: C(settings) of the program, empty where there is none, and the files that are C(missing) and C(left).
    """
    settings = nginx_balancer.settings([site for _path, site in sites_of(values)])
    return {"settings": settings, **nginx_balancer.files(settings, survey)}


def config(
    values: Mapping[str, Any],
    release: int | str,
    sandbox: Mapping[str, Any],
    headers: Mapping[str, str],
    cleared: Sequence[str],
) -> dict[str, Any]:
    """What the templates see: the settings without the role's prefix, and the sites of both lists.

    :param values: the variables as the spec means them.
    :param release: Debian's major version.
    :param sandbox: systemd's settings for Nginx, by name.
    :param headers: the headers of every answer, by name.
    :param cleared: the headers of clients that no app gets.
    """
    settings = {name.removeprefix("nginx_"): value for name, value in values.items() if name not in LISTS}
    # Debian 12 has Nginx 1.22 with OpenSSL 3.0, for which the directive http2 and the post-quantum group are fatal.
    modern = int(release) >= 13
    ports = {"http": values["nginx_http_port"], "https": values["nginx_https_public_port"]}
    # A path that is not there does not keep Nginx from starting.
    lines = [*unit_lines({**sandbox, **values["nginx_sandbox"]}), f"ReadWritePaths=-{' -'.join(WRITABLE)}"]
    headers = _over(headers, values["nginx_headers"])
    proto, passed = _proto_headers(values), _passed_headers(values)
    replaced = {header["name"].lower() for header in [*proto, *passed]}
    real_ip = believed(values)
    trusted = trusted_networks(real_ip)
    keeps_id = trusted and real_ip["request_id"]
    request_id = "$djangofleet_request_id" if keeps_id else "$request_id"
    scheme = "$djangofleet_scheme" if trusted else "$scheme"
    told = [header["variable"] for header in passed]
    return {
        **settings,
        **page_settings(),
        **log_settings(values),
        "request_id": request_id,
        "proto_headers": proto,
        "passed_headers": passed,
        "cleared_headers": [name for name in cleared if name.lower() not in replaced],
        "headers": _headers(headers, "djangofleet_header"),
        "real_ip": {**real_ip, "trusted": trusted},
        "password_files": [file for _path, site in sites_of(values) for file in password_files(site)],
        "sandbox": lines,
        "run_in_sandbox": run_in_sandbox(lines),
        "http2_directive": modern,
        "post_quantum_group": modern,
        "sites": [
            {
                "connections_per_address": values["nginx_connections_per_address"],
                "request_id": request_id,
                **_resolved(site, ports, headers),
                "limits": site_limits(site, site["name"].translate(IDENTIFIER), values),
                "alt_svc": f'h3=":{ports["https"]}"; ma={ALT_SVC_SECONDS}' if values["nginx_http3_enabled"] else "",
                "cache": nginx_cache.resolved(site, site["name"].translate(IDENTIFIER), scheme, told),
            }
            for _path, site in sites_of(values)
        ],
    }


def believed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Who is believed about the client: balancers that a playbook wires alone, or those that the inventory names.

    Whoever is in front of such a balancer is believed there.
    """
    wired = values["nginx_app_real_ip"]
    only = {**wired, "header": "X-Forwarded-For", "trusted_files": []} if wired["trusted"] else {}
    return {**values["nginx_real_ip"], **only}


def sites_of(values: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The user's sites and the wired ones, each with its path."""
    return [pair for name in LISTS for pair in labelled(name, values.get(name, []))]


def _certificate_files(values: Mapping[str, Any]) -> list[str]:
    pairs = [site["certificate"] for _path, site in sites_of(values) if "certificate" in site]
    return list(dict.fromkeys(path for pair in pairs for path in (pair["fullchain"], pair["key"])))


def _origin(scheme: str, host: str, ports: Mapping[str, int]) -> str:
    """The beginning of a redirect's target; a usual port is left out."""
    return f"{scheme}://{host}" if ports[scheme] == USUAL_PORTS[scheme] else f"{scheme}://{host}:{ports[scheme]}"


def _variable(prefix: str, header: str) -> str:
    return f"${prefix}_{header.lower().replace('-', '_')}"


def _proto_headers(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The further headers in which apps look for the scheme, each with the sites that do, by their first names."""
    found: dict[str, dict[str, Any]] = {}
    for _path, site in sites_of(values):
        if name := site.get("forwarded_proto_header"):
            header = found.setdefault(name.lower(), {"name": name, "server_names": []})
            header["server_names"].append(site["domains"][0])
    for key, header in found.items():
        # A switch says on; the others name the scheme.
        header |= {"variable": _variable("djangofleet_proto", key), "is_switch": key in SWITCHES}
    return list(found.values())


def _passed_headers(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headers of trusted proxies that reach the app."""
    real_ip = believed(values)
    names = {name.lower(): name for name in real_ip["passed_headers"]} if trusted_networks(real_ip) else {}
    return [{"name": name, "variable": _variable("djangofleet_passed", name)} for name in names.values()]


def _over(headers: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Headers with what was given over them, whatever the case of a name."""
    names = {name.lower() for name in given}
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **given}


def _headers(headers: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
    """The headers that have a value, each with the variable that holds it while the app has not sent its own."""
    return [
        {"name": name, "value": value, "variable": _variable(prefix, name)} for name, value in headers.items() if value
    ]


def _resolved(site: Mapping[str, Any], ports: Mapping[str, int], headers: Mapping[str, str]) -> dict[str, Any]:
    """A site with all that follows from its options; what it does not have is None.

    :param ports: the public port of each scheme.
    :param headers: the host's headers by name.
    """
    identifier = site["name"].translate(IDENTIFIER)
    meant = _over(headers, site["headers"])
    shared = {name: value for name, value in meant.items() if headers.get(name) == value}
    own_headers = _headers({name: meant[name] for name in meant if name not in shared}, f"header_{identifier}")
    certificate, upstream = site.get("certificate"), site.get("upstream")
    canonical, *others = site["domains"]
    aliases = others if site["canonical_redirect"] else []
    return {
        "client_max_body_size": None,
        "proxy_read_timeout": None,
        "maintenance": None,
        "ready_file": None,
        "peers": [],
        **site,
        "static": [{**place, "hidden_pattern": _hidden(place["hidden"])} for place in site["static"]],
        "media": [{**place, "private": private_directories(place["private"])} for place in site["media"]],
        "error_pages": error_pages(site["error_pages"], identifier),
        "has_own_policy": any(name.lower() == "content-security-policy" and meant[name] for name in meant),
        "certificate": certificate,
        "upstream": nginx_upstream.resolved(site, identifier) if upstream else None,
        "redirect_to_https": site.get("redirect_to_https", certificate is not None),
        "identifier": identifier,
        "headers": [*_headers(shared, "djangofleet_header"), *own_headers],
        "own_headers": own_headers,
        "served": [canonical] if aliases else site["domains"],
        "aliases": aliases,
        "https_origin": _origin("https", "$host", ports),
        "canonical_origin": {scheme: _origin(scheme, canonical, ports) for scheme in ports},
        "hsts_header": _hsts(site["hsts"]),
        "app_places": nginx_upstream.places(site),
    }


def _hidden(names: Iterable[str]) -> str:
    """What matches the path of a file of these names, compressed or not."""
    return rf"/(?:{'|'.join(re.escape(name) for name in names)})(?:\.(?:br|gz))?$"


def _hsts(hsts: Mapping[str, Any]) -> str:
    """The value of Strict-Transport-Security; empty where it is not sent."""
    if not hsts["enabled"]:
        return ""
    flags = {"includeSubDomains": hsts["include_subdomains"], "preload": hsts["preload"]}
    return "; ".join([f"max-age={hsts['max_age']}", *(flag for flag, is_set in flags.items() if is_set)])
