# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of role nginx."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_balancer, nginx_cache, nginx_upstream
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import LISTS, SERVED, sites_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_limit_problems import (
    host_limit_problems,
    site_limit_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_logs import log_problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_networks import (
    NETWORK,
    trusted_file_problems,
    trusted_networks,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_pages import page_problems
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

# What Nginx sets for every app: another option must not set it anew.
OWN_HEADERS = (
    *("host", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    *("x-request-id", "upgrade", "connection"),
)
# What Nginx says in its answers anyway: from here it would stand there twice.
ANSWERED = {
    "strict-transport-security": "what it is to say as hsts of a site",
    **dict.fromkeys(
        (
            *("x-request-id", "x-release", "x-cache", "allow", "alt-svc", "retry-after"),
            *("connection", "content-encoding", "content-length", "content-range", "content-type", "transfer-encoding"),
        ),
        "another header, which Nginx does not send anyway",
    ),
}
FIRST_WITH_HTTP3 = 13
MOST_CONNECTIONS = 65535  # that Nginx counts for a key
# hstspreload.org asks for a year at least.
SHORTEST_PRELOAD = 31536000

ABSOLUTE = "an absolute path without '$'"
DOMAIN = "letters, digits, '-' and '.', other letters as punycode (xn--...), a wildcard as *.example.com"
NAME = "lower-case letters, digits, '.', '_' and '-', a letter or digit first, at most 64"


def problems(given: Mapping[str, Any], survey: Mapping[str, Any], release: int | str = "") -> list[str]:
    """What is wrong with the role's variables, a line each. Types come first: rules are for what can be understood.

    :param given: the variables as an inventory gives them.
    :param survey: what the host answered to `questions`; empty if nobody asked.
    :param release: Debian's major version; empty if it is not known.
    """
    values, found = resolve(spec_of("nginx"), given)
    if found:
        return found
    return [
        *_host_problems(values),
        *host_limit_problems(values),
        *_http3_problems(values, release),
        *_removal_problems(values, survey),
        *(line for path, site in sites_of(values) for line in _site_problems(path, site)),
        *_shared_problems(values),
    ]


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
    for name in ("nginx_real_ip", "nginx_app_real_ip"):
        yield from _network_problems(f"{name}.trusted", values[name]["trusted"])
    yield from _header_problems("nginx_headers", values["nginx_headers"])
    policies = {name: values[name] for name in ("nginx_media_policy", "nginx_media_pdf_policy", "nginx_static_policy")}
    for name, policy in policies.items():
        if (policy and not matches("line", policy)) or "$" in policy:
            yield problem(name, policy, "a line without '$', or an empty text")
    if not matches("header", values["nginx_real_ip"]["header"]):
        yield problem("nginx_real_ip.header", values["nginx_real_ip"]["header"], "the name of a header")
    for path, name in labelled("nginx_real_ip.passed_headers", values["nginx_real_ip"]["passed_headers"]):
        yield from _request_header_problems(path, name)
    files = list(trusted_file_problems("nginx_real_ip.trusted_files", values["nginx_real_ip"]["trusted_files"]))
    yield from files
    if values["nginx_real_ip"]["passed_headers"] and not files and not trusted_networks(values["nginx_real_ip"]):
        yield "nginx_real_ip.passed_headers: is given and trusted is empty; name the proxies, or leave it out"
    for path, package in labelled("nginx_extra_packages", values["nginx_extra_packages"]):
        if not matches("package", package):
            yield problem(path, package, "the name of a package")
    yield from log_problems(values)


def _http3_problems(values: Mapping[str, Any], release: int | str) -> Iterator[str]:
    if values["nginx_http3_enabled"] and str(release).isdigit() and int(release) < FIRST_WITH_HTTP3:
        yield f"nginx_http3_enabled: is on and Nginx of Debian {release} has no HTTP/3; take Debian 13, or give false"


def _removal_problems(values: Mapping[str, Any], survey: Mapping[str, Any]) -> Iterator[str]:
    served = sorted(PurePosixPath(path).stem for path in survey.get("paths", {}).get(SERVED, []))
    is_meant = values["nginx_allow_no_sites"] or values["nginx_app_allow_no_sites"]
    if served and not sites_of(values) and not is_meant:
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
    yield from site_limit_problems(path, site)
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
    yield from page_problems(path, site)
    for where, location in labelled(f"{path}.locations", site["locations"]):
        if location["match"] != "regex" and location["path"][:1] not in ("/", "@"):
            wish = "a path that begins with '/', or add match: regex"
            yield problem(f"{where}.path", location["path"], wish)
    yield from _network_problems(f"{path}.peers", site.get("peers", []))
    if "ready_file" in site:
        yield from _path_problems(f"{path}.ready_file", site["ready_file"])
    yield from nginx_upstream.problems(path, site)
    yield from nginx_balancer.problems(path, site)
    yield from nginx_cache.problems(path, site)


def _tls_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    for key, file in site.get("certificate", {}).items():
        yield from _path_problems(f"{path}.certificate.{key}", file)
    if site.get("redirect_to_https") and "certificate" not in site:
        yield f"{path}.redirect_to_https: is on and the site has no certificate; give it one"
    hsts = site["hsts"]
    if hsts["max_age"] < 0:
        yield problem(f"{path}.hsts.max_age", hsts["max_age"], "a number of seconds, or 0 to have browsers forget it")
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
    domains = [pair for path, site in sites_of(values) for pair in labelled(f"{path}.domains", site["domains"])]
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
