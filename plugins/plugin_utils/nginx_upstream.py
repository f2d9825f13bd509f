# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The servers of a site's app and how requests are passed to them: what the templates see, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_cache import DURATION, is_on
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

COOKIE = "djangofleet_server"  # that Nginx gives a visitor who is to stay at a server
HASHES = ("ip_hash", "hash", "sticky")
MODIFIERS = {"prefix": "", "exact": "= ", "regex": "~ "}
MOST_TRIES = 3
USUAL = {"weight": 1, "backup": False, "down": False, "max_fails": 2, "fail_timeout": "5s"}


def a_name(site: Mapping[str, Any]) -> str:
    """A name that the first domain of a site stands for."""
    return site["domains"][0].replace("*.", "www.", 1)


def servers_file(site: Mapping[str, Any]) -> str:
    """The name of the file of a site's servers, without its ending.

    It names what the file is written for: servers that go with another method or another scheme get a file beside it,
    so that Nginx has the old servers in the old way until it has the new ones in the new way.
    """
    upstream = site["upstream"]
    return f"{site['name']}.{upstream['method']}.{'https' if upstream.get('tls') else 'http'}"


def resolved(site: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    """What the templates see of a site's upstream.

    :param identifier: the site's name as a part of a variable.
    """
    upstream = site["upstream"]
    servers = list(dict.fromkeys(upstream["servers"]))
    options = {entry["address"]: entry for entry in upstream["server_options"]}
    sticky = _sticky(upstream["sticky_cookie"], identifier) if upstream["method"] == "sticky" else None
    method = upstream["method"]
    if sticky or method == "hash":
        # Consistent: a server that comes or goes moves its own share of visitors and nobody else's.
        method = f'hash "{sticky["variable"] if sticky else upstream["hash_key"]}" consistent'
    return {
        "connect_timeout": None,
        "health": None,
        **upstream,
        "tls": {"name": a_name(site), **upstream["tls"]} if "tls" in upstream else None,
        "file": servers_file(site),
        "servers": servers,
        "parameters": {server: parameters(options.get(server, {})) for server in servers},
        "directive": "" if method == "round_robin" else method,
        "sticky": sticky,
        # A request that is safe to repeat finds the one that is left of three.
        "tries": min(max(len(servers), 2), MOST_TRIES),
    }


def _sticky(cookie: str, identifier: str) -> dict[str, Any]:
    """The cookie by which a visitor stays at a server, and what stands for it in a request that lacks it."""
    return {
        "cookie": cookie or COOKIE,
        "is_own": not cookie,
        "variable": f"$sticky_{identifier}",
        "header": f"$sticky_header_{identifier}",
        # What the visitor is about to be given, so that the first request goes where the next ones go. Of an app's
        # cookie nobody knows that: there the address stands for it.
        "otherwise": "$remote_addr" if cookie else "$request_id",
    }


def parameters(given: Mapping[str, Any]) -> str:
    """The parameters of a server, those with Nginx's own default left out."""
    meant = {**USUAL, **given}
    weight = [f"weight={meant['weight']}"] if meant["weight"] != 1 else []
    switches = [name for name in ("backup", "down") if meant[name]]
    return " ".join([*weight, f"max_fails={meant['max_fails']}", f"fail_timeout={meant['fail_timeout']}", *switches])


def places(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The locations that are passed to the app: all that is left, unless a location takes its place, and the paths
    that the site treats otherwise.

    A cache keeps what is collected first: where answers are not, there is none. Nor where bodies are not: it is too
    early then to tell whether there is one.
    """
    root = {"path": "/", "match": "prefix"}
    replaced = any((place["match"], place["path"]) == ("prefix", "/") for place in site["locations"])
    given = [*site["app_locations"], *([] if replaced else [root])]
    nothing = dict.fromkeys(("buffering", "request_buffering", "read_timeout", "client_max_body_size"))
    return [
        {
            **nothing,
            **place,
            "modifier": MODIFIERS[place["match"]],
            "is_cached": is_on(site)
            and all(place.get(name, site[name]) for name in ("buffering", "request_buffering")),
        }
        for place in given
    ]


def problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the method and the options of servers, and with the paths of the app."""
    if "upstream" in site:
        yield from _method_problems(f"{path}.upstream", site["upstream"])
        yield from _server_problems(f"{path}.upstream", site["upstream"])
    elif site["app_locations"]:
        yield f"{path}.app_locations: are given and the site has no upstream; give it one, or leave them out"
    yield from _place_problems(f"{path}.app_locations", site)


def _method_problems(path: str, upstream: Mapping[str, Any]) -> Iterator[str]:
    method, key = upstream["method"], upstream.get("hash_key", "")
    if method == "hash" and not key:
        yield f"{path}.hash_key: is missing; give variables of Nginx such as $request_uri, or another method"
    elif key and method != "hash":
        yield problem(f"{path}.hash_key", key, "method: hash with it, or leave it out")
    elif not matches("variables", key):
        yield problem(f"{path}.hash_key", key, "variables of Nginx such as $request_uri")
    cookie = upstream["sticky_cookie"]
    if cookie and method != "sticky":
        yield problem(f"{path}.sticky_cookie", cookie, "method: sticky with it, or leave it out")
    elif cookie and not matches("variable", cookie):
        yield problem(f"{path}.sticky_cookie", cookie, "the name of a cookie, of letters, digits and '_'")


def _server_problems(path: str, upstream: Mapping[str, Any]) -> Iterator[str]:
    servers, seen = upstream["servers"], set()
    for where, options in labelled(f"{path}.server_options", upstream["server_options"]):
        address = options["address"]
        if address not in servers:
            yield problem(f"{where}.address", address, "one of upstream.servers")
        elif address in seen:
            yield problem(f"{where}.address", address, "each server once")
        seen.add(address)
        if options["weight"] < 1:
            yield problem(f"{where}.weight", options["weight"], "a number from 1 on")
        if options["max_fails"] < 0:
            yield problem(f"{where}.max_fails", options["max_fails"], "a number, 0 to count none")
        if not matches("seconds", options["fail_timeout"]):
            yield problem(f"{where}.fail_timeout", options["fail_timeout"], DURATION)
        if options["backup"] and upstream["method"] in HASHES:
            wish = f"false: Nginx has no backup servers with method {upstream['method']}"
            yield problem(f"{where}.backup", options["backup"], wish)
    left_out = {entry["address"] for entry in upstream["server_options"] if entry["backup"] or entry["down"]}
    if servers and left_out.issuperset(servers):
        yield f"{path}.server_options: leave no server that is neither backup nor down; give one"


def _place_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    taken = {(place["match"], place["path"]) for place in site["locations"]}
    taken |= {("prefix", place["url"]) for kind in ("static", "media") for place in site[kind]}
    for where, place in labelled(path, site["app_locations"]):
        if (place["match"] != "regex" and not matches("request", place["path"])) or not matches("line", place["path"]):
            yield problem(f"{where}.path", place["path"], "a path that begins with '/', or add match: regex")
        elif (place["match"], place["path"]) == ("prefix", "/"):
            yield problem(f"{where}.path", "/", "a path below it; for all of the app, set the site's own options")
        elif (place["match"], place["path"]) in taken:
            yield problem(f"{where}.path", place["path"], "each path one location")
        taken.add((place["match"], place["path"]))
        if "read_timeout" in place and not matches("duration", place["read_timeout"]):
            yield problem(f"{where}.read_timeout", place["read_timeout"], DURATION)
        if "client_max_body_size" in place and not matches("bytes", place["client_max_body_size"]):
            yield problem(f"{where}.client_max_body_size", place["client_max_body_size"], "a size such as 200m")
