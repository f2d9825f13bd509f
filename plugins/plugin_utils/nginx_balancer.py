# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sites whose servers djangofleet-balancer watches: what it is told, and what Nginx includes of what it finds out.

Nginx of the distributions takes a server out by a reload alone. So the servers of such a site are in a file of their
own, which the program alone writes: when one of them goes or comes back, and when role nginx has told it of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_upstream
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_cache import DURATION
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

DIRECTORY = "/etc/nginx/upstreams"
INCLUDES = f"{DIRECTORY}/*.conf"
UNIT = "djangofleet-balancer.service"
# Seconds between two questions to a server; those that a connection with its handshake may take, so that a host that
# has frozen is out within 0.5 + 0.5 + 0.1 + 0.5 s and a reload; and those of the whole answer: an app that is only slow
# is not taken out for it, which would leave its work to the others.
INTERVAL, CONNECT_TIMEOUT, TIMEOUT = 0.5, 0.5, 5
FALLS = RISES = 2


def watched(site: Mapping[str, Any]) -> bool:
    """Whether djangofleet-balancer looks after the servers of a site."""
    return "health" in site.get("upstream", {})


def settings(sites: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What /etc/djangofleet/balancer.json says; empty where no site has servers to be watched."""
    entries = [_entry(site) for site in sites if watched(site)]
    if not entries:
        return {}
    return {
        "version": 1,
        "interval": INTERVAL,
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": TIMEOUT,
        "falls": FALLS,
        "rises": RISES,
        "sites": entries,
    }


def _entry(site: Mapping[str, Any]) -> dict[str, Any]:
    upstream = site["upstream"]
    given = {entry["address"]: entry for entry in upstream["server_options"]}
    name = nginx_upstream.a_name(site)
    return {
        "name": site["name"],
        "file": nginx_upstream.servers_file(site),
        "servers": [
            {
                "name": given.get(address, {}).get("host", address),
                "address": address,
                "line": f"server {address} {nginx_upstream.parameters(given.get(address, {}))}",
            }
            for address in dict.fromkeys(upstream["servers"])
        ],
        "health": {
            **upstream["health"],
            "host": name,
            "tls": {"name": name, **upstream["tls"]} if "tls" in upstream else None,
        },
    }


def files(settings: Mapping[str, Any], survey: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The files of servers that the host still has to get, and those that no site uses any more, each as C(path).

    :param survey: what the host answered, with C(INCLUDES) among its questions.
    """
    there = survey.get("paths", {}).get(INCLUDES, [])
    wanted = [f"{DIRECTORY}/{site['file']}.conf" for site in settings.get("sites", [])]
    return {
        "missing": [{"path": path} for path in wanted if path not in there],
        "left": [{"path": path} for path in there if path not in wanted],
    }


def problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with how servers are reached and watched."""
    upstream = site.get("upstream", {})
    path = f"{path}.upstream"
    if "tls" in upstream:
        file, name = upstream["tls"]["authority_file"], upstream["tls"].get("name", "www")
        if not matches("absolute", file) or "$" in file:
            yield problem(f"{path}.tls.authority_file", file, "an absolute path without '$'")
        if not matches("line", name) or "$" in name:
            yield problem(f"{path}.tls.name", name, "a name without '$'")
    if "connect_timeout" in upstream and not matches("duration", upstream["connect_timeout"]):
        yield problem(f"{path}.connect_timeout", upstream["connect_timeout"], DURATION)
    if watched(site):
        for where, server in labelled(f"{path}.servers", upstream["servers"]):
            if server.startswith("unix:"):
                yield problem(where, server, "an address with a port, or leave health out: it is for other hosts")
        health = upstream["health"]
        if not matches("request", health["path"]):
            yield problem(f"{path}.health.path", health["path"], "a path that begins with '/'")
        if not 100 <= health["status_min"] <= health["status_max"] <= 599:
            found = f"{health['status_min']} to {health['status_max']}"
            yield problem(
                f"{path}.health.status_min, {path}.health.status_max", found, "from 100 to 599, the lower first"
            )
    for where, entry in labelled(f"{path}.server_options", upstream.get("server_options", [])):
        if not matches("line", entry.get("host", "a")) or " " in entry.get("host", ""):
            yield problem(f"{where}.host", entry["host"], "a name without spaces")
        if watched(site) and entry["down"]:
            yield f"{where}.down: is on, and djangofleet-balancer decides who is; drain the host, or leave health out"
