"""Which servers of a site are out, and the file that says so to Nginx. A filter of the role does the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

HEADER = "# What djangofleet-balancer finds out: `djangofleet-balancer status` says why a server is down.\n"


def candidates(site: Mapping[str, Any]) -> set[str]:
    """The servers that take requests unless something is wrong: all but those that the inventory itself calls down."""
    return {server["name"] for server in site["servers"] if "down" not in server["line"].split()}


def drained(site: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """The servers that somebody has drained."""
    return candidates(site) & set(state["drained"])


def failing(site: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """The servers that are not well."""
    return candidates(site) & set(state["unhealthy"].get(site["name"], ())) if site["health"]["enabled"] else set()


def out_of(site: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """The servers that get no requests. Health never takes the last ones: visitors get the app's own error page then.

    :param site: one of the configuration.
    :param state: what out.json says.
    """
    taken = drained(site, state)
    return taken | failing(site, state) if candidates(site) - taken - failing(site, state) else taken


def rendered(site: Mapping[str, Any], out: Collection[str]) -> str:
    """The servers of a site as Nginx includes them.

    :param out: the names of those that get no requests.
    """
    lines = [f"{server['line']}{' down' if server['name'] in out else ''};\n" for server in site["servers"]]
    return HEADER + "".join(lines)
