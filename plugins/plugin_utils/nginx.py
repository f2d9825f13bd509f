# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the role nginx: what is wrong with its input, what to ask the host, what the templates see."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import (
    is_address,
    is_domain,
    is_network,
    is_port,
    is_server,
    matches,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.systemd import run_in_sandbox, unit_lines

LISTS = ("nginx_sites", "nginx_app_sites")
SERVED = "/etc/nginx/sites/*.conf"
UNIT = "nginx.service"
WRITABLE = ("/run", "/var/cache/nginx", "/var/lib/nginx", "/var/log/nginx")
# Gunicorn takes a first line of 8190 bytes, and so does Nginx in a buffer of 8k.
LONGEST_URI = 8000
SWITCHES = ("x-forwarded-ssl", "front-end-https")  # headers that say "on" in place of "https"
# What Nginx sets for every app: another option must not set it anew.
OWN_HEADERS = (
    *("host", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    *("x-request-id", "upgrade", "connection"),
)
# What Nginx says in its answers anyway: from here it would stand there twice.
ANSWERED = {
    "strict-transport-security": "what it is to say as hsts of a site",
    "x-request-id": "another header, which Nginx does not send anyway",
}
MOST_CONNECTIONS = 65535  # that Nginx counts for a key
USUAL_PORTS = {"http": 80, "https": 443}
# A variable of Nginx has letters, digits and underscores; no two names of sites become the same.
IDENTIFIER = str.maketrans({"_": "_u", ".": "_d", "-": "_h"})
# hstspreload.org asks for a year at least.
SHORTEST_PRELOAD = 31536000

ABSOLUTE = "an absolute path without '$'"
DOMAIN = "letters, digits, '-' and '.', other letters as punycode (xn--...), a wildcard as *.example.com"
NAME = "lower-case letters, digits, '.', '_' and '-', a letter or digit first, at most 64"
NETWORK = "an address or a network such as 10.0.0.0/8"


def problems(given: Mapping[str, Any], survey: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables, a line each. Types come first: rules are for what can be understood.

    :param given: the variables as an inventory gives them.
    :param survey: what the host answered to `questions`; empty if nobody asked.
    """
    values, found = resolve(spec_of("nginx"), given)
    if found:
        return found
    return [
        *_host_problems(values),
        *_removal_problems(values, survey),
        *(line for path, site in _sites(values) for line in _site_problems(path, site)),
        *_shared_problems(values),
    ]


def questions(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the role needs to know of the host, as arguments of the module survey.

    A value that cannot be understood asks nothing, so that the questions can be put before the input is checked.
    """
    values = resolve(spec_of("nginx"), given)[0]
    return {"units": [UNIT], "paths": [SERVED, *(glob.escape(path) for path in _certificate_files(values))]}


def missing_certificates(values: Mapping[str, Any], survey: Mapping[str, Any]) -> list[str]:
    """The certificate files that the host does not have yet.

    :param values: the variables as the spec means them.
    :param survey: what the host answered to `questions`.
    """
    answers = survey.get("paths", {})
    return [path for path in _certificate_files(values) if not answers.get(glob.escape(path))]


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
    return {
        **settings,
        "proto_headers": proto,
        "passed_headers": passed,
        "cleared_headers": [name for name in cleared if name.lower() not in replaced],
        "headers": _headers(headers, "djangofleet_header"),
        "longest_uri": LONGEST_URI,
        "sandbox": lines,
        "run_in_sandbox": run_in_sandbox(lines),
        "http2_directive": modern,
        "post_quantum_group": modern,
        "sites": [
            {
                "connections_per_address": values["nginx_connections_per_address"],
                **_resolved(site, ports, headers),
            }
            for _path, site in _sites(values)
        ],
    }


def _sites(values: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The user's sites and the wired ones, each with its path."""
    return [pair for name in LISTS for pair in labelled(name, values.get(name, []))]


def _certificate_files(values: Mapping[str, Any]) -> list[str]:
    pairs = [site["certificate"] for _path, site in _sites(values) if "certificate" in site]
    return list(dict.fromkeys(path for pair in pairs for path in (pair["fullchain"], pair["key"])))


def _origin(scheme: str, host: str, ports: Mapping[str, int]) -> str:
    """The beginning of a redirect's target; a usual port is left out."""
    return f"{scheme}://{host}" if ports[scheme] == USUAL_PORTS[scheme] else f"{scheme}://{host}:{ports[scheme]}"


def _variable(prefix: str, header: str) -> str:
    return f"${prefix}_{header.lower().replace('-', '_')}"


def _proto_headers(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The further headers in which apps look for the scheme, each with the sites that do, by their first names."""
    found: dict[str, dict[str, Any]] = {}
    for _path, site in _sites(values):
        if name := site.get("forwarded_proto_header"):
            header = found.setdefault(name.lower(), {"name": name, "server_names": []})
            header["server_names"].append(site["domains"][0])
    for key, header in found.items():
        # A switch says on; the others name the scheme.
        header |= {"variable": _variable("djangofleet_proto", key), "is_switch": key in SWITCHES}
    return list(found.values())


def _passed_headers(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headers of trusted proxies that reach the app."""
    real_ip = values["nginx_real_ip"]
    names = {name.lower(): name for name in real_ip["passed_headers"]} if real_ip["trusted"] else {}
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
        **site,
        "static": [{**place, "hidden_pattern": _hidden(place["hidden"])} for place in site["static"]],
        "certificate": certificate,
        "upstream": upstream and {**upstream, "servers": list(dict.fromkeys(upstream["servers"]))},
        "redirect_to_https": site.get("redirect_to_https", certificate is not None),
        "identifier": identifier,
        "headers": [*_headers(shared, "djangofleet_header"), *own_headers],
        "own_headers": own_headers,
        "served": [canonical] if aliases else site["domains"],
        "aliases": aliases,
        "https_origin": _origin("https", "$host", ports),
        "canonical_origin": {scheme: _origin(scheme, canonical, ports) for scheme in ports},
        "hsts_header": _hsts(site["hsts"]),
        "has_own_root": any((place["match"], place["path"]) == ("prefix", "/") for place in site["locations"]),
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


def _host_problems(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("nginx_http_port", "nginx_https_port", "nginx_https_public_port"):
        if not is_port(values[name]):
            yield problem(name, values[name], "a port from 1 to 65535")
    if values["nginx_http_port"] == values["nginx_https_port"]:
        yield problem("nginx_https_port", values["nginx_https_port"], "another port than nginx_http_port")
    yield from _count_problems("nginx_connections_per_address", values["nginx_connections_per_address"])
    fewest = 2 * values["nginx_worker_connections"]
    if values["nginx_worker_rlimit_nofile"] < fewest:
        wish = f"{fewest} or more, twice nginx_worker_connections"
        yield problem("nginx_worker_rlimit_nofile", values["nginx_worker_rlimit_nofile"], wish)
    yield from _path_problems("nginx_acme_webroot", values["nginx_acme_webroot"])
    yield from _network_problems("nginx_real_ip.trusted", values["nginx_real_ip"]["trusted"])
    yield from _header_problems("nginx_headers", values["nginx_headers"])
    policies = {name: values[name] for name in ("nginx_media_policy", "nginx_media_pdf_policy")}
    for name, policy in policies.items():
        if (policy and not matches("line", policy)) or "$" in policy:
            yield problem(name, policy, "a line without '$', or an empty text")
    if not matches("header", values["nginx_real_ip"]["header"]):
        yield problem("nginx_real_ip.header", values["nginx_real_ip"]["header"], "the name of a header")
    for path, name in labelled("nginx_real_ip.passed_headers", values["nginx_real_ip"]["passed_headers"]):
        yield from _request_header_problems(path, name)
    if values["nginx_real_ip"]["passed_headers"] and not values["nginx_real_ip"]["trusted"]:
        yield "nginx_real_ip.passed_headers: is given and trusted is empty; name the proxies, or leave it out"
    for path, package in labelled("nginx_extra_packages", values["nginx_extra_packages"]):
        if not matches("package", package):
            yield problem(path, package, "the name of a package")


def _removal_problems(values: Mapping[str, Any], survey: Mapping[str, Any]) -> Iterator[str]:
    served = sorted(PurePosixPath(path).stem for path in survey.get("paths", {}).get(SERVED, []))
    if served and not _sites(values) and not values["nginx_allow_no_sites"]:
        yield (
            f"{', '.join(LISTS)}: are empty, and this host serves {', '.join(served)}; "
            "to remove them, set nginx_allow_no_sites: true"
        )


def _site_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    if not matches("name", site["name"]):
        yield problem(f"{path}.name", site["name"], NAME)
    if not site["domains"]:
        yield f"{path}.domains: is empty; give at least one domain"
    for where, domain in labelled(f"{path}.domains", site["domains"]):
        if not is_domain(domain) and not (is_address(domain) and ":" not in domain):
            yield problem(where, domain, DOMAIN)
    if site["canonical_redirect"] and any("*" in domain for domain in site["domains"][:1]):
        yield f"{path}.canonical_redirect: is on and the first domain has a '*'; give one without first"
    yield from _header_problems(f"{path}.headers", site["headers"])
    if "forwarded_proto_header" in site:
        yield from _request_header_problems(f"{path}.forwarded_proto_header", site["forwarded_proto_header"])
    yield from _count_problems(f"{path}.connections_per_address", site.get("connections_per_address", 0))
    yield from _tls_problems(path, site)
    yield from _upstream_problems(path, site)
    if "maintenance" in site:
        yield from _path_problems(f"{path}.maintenance.page", site["maintenance"]["page"])
        yield from _network_problems(f"{path}.maintenance.allow", site["maintenance"]["allow"])
    for kind in ("static", "media"):
        for where, directory in labelled(f"{path}.{kind}", site[kind]):
            if not matches("url_directory", directory["url"]):
                yield problem(f"{where}.url", directory["url"], f"a path with a slash at both ends, such as /{kind}/")
            yield from _path_problems(f"{where}.path", directory["path"])
            for place, name in labelled(f"{where}.hidden", directory.get("hidden", [])):
                if not matches("file_name", name):
                    yield problem(place, name, "the name of a file")
    for where, location in labelled(f"{path}.locations", site["locations"]):
        if location["match"] != "regex" and location["path"][:1] not in ("/", "@"):
            wish = "a path that begins with '/', or add match: regex"
            yield problem(f"{where}.path", location["path"], wish)


def _tls_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    for key, file in site.get("certificate", {}).items():
        yield from _path_problems(f"{path}.certificate.{key}", file)
    if site.get("redirect_to_https") and "certificate" not in site:
        yield f"{path}.redirect_to_https: is on and the site has no certificate; give it one"
    hsts = site["hsts"]
    if hsts["preload"] and not (hsts["include_subdomains"] and hsts["max_age"] >= SHORTEST_PRELOAD):
        yield (
            f"{path}.hsts.preload: browsers refuse this; "
            f"give include_subdomains: true and a max_age of {SHORTEST_PRELOAD} or more"
        )


def _upstream_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    servers = site["upstream"]["servers"] if "upstream" in site else None
    if servers == []:
        yield f"{path}.upstream.servers: is empty; give at least one server"
    for where, server in labelled(f"{path}.upstream.servers", servers or []):
        if not is_server(server):
            yield problem(where, server, "unix:/path, host:port, address:port or [IPv6]:port")


def _request_header_problems(path: str, name: str) -> Iterator[str]:
    if not matches("header", name) or name.lower() in OWN_HEADERS:
        yield problem(path, name, "the name of a header that Nginx does not set anyway")


def _count_problems(path: str, value: int) -> Iterator[str]:
    if not 0 <= value <= MOST_CONNECTIONS:
        yield problem(path, value, f"a number up to {MOST_CONNECTIONS}, or 0 for no limit")


def _header_problems(path: str, headers: Mapping[str, Any]) -> Iterator[str]:
    """Nginx takes a '$' in a value for a variable."""
    for name, value in headers.items():
        if not matches("header", name):
            yield problem(path, name, "names of headers, of letters, digits and '-'")
        elif name.lower() in ANSWERED:
            yield problem(path, name, ANSWERED[name.lower()])
        elif not isinstance(value, str) or (value and not matches("line", value)) or "$" in value:
            yield problem(f"{path}.{name}", value, "a line without '$', or an empty text to leave the header out")


def _path_problems(path: str, value: str) -> Iterator[str]:
    """Nginx has no escape for '$', and would take it for a variable."""
    if not matches("absolute", value) or "$" in value:
        yield problem(path, value, ABSOLUTE)


def _network_problems(path: str, networks: Iterable[str]) -> Iterator[str]:
    for where, network in labelled(path, networks):
        if not is_network(network):
            yield problem(where, network, NETWORK)


def _shared_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Names and domains that stand more than once in both lists together, with all of their places."""
    # By number: two sites of one name would have one label.
    numbered = [(f"{name}[{number}].name", site["name"]) for name in LISTS for number, site in enumerate(values[name])]
    for name, places in _repeated(numbered):
        yield problem(places, name, "each site a name of its own")
    domains = [pair for path, site in _sites(values) for pair in labelled(f"{path}.domains", site["domains"])]
    for domain, places in _repeated(domains):
        yield problem(places, domain, "each domain to one site only")


def _repeated(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each text that stands at more than one path, and these paths; case does not count."""
    places: dict[str, list[tuple[str, str]]] = {}
    for path, text in pairs:
        places.setdefault(text.lower(), []).append((path, text))
    for found in places.values():
        if len(found) > 1:
            yield found[0][1], ", ".join(path for path, _text in found)
