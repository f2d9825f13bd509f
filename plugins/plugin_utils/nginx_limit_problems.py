# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with what role nginx is told to limit and to refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_limits import (
    RATE,
    ROBOTS,
    named_bots,
    networks,
    robots,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_networks import NETWORK
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_network, matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

BOT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/+-]{0,62}[A-Za-z0-9])?")
# A rule for such a path would never hold: Nginx compares what it means.
ENCODED = re.compile("%[0-9A-Fa-f]{2}")
DECODED = "the path without percent-encoding, such as /my files/"
KEY = re.compile(r"address|path|header [A-Za-z0-9-]+")
LONGEST_TEXT = 3900  # in bytes: Nginx reads no longer word
LONGEST_URI = 65000  # that PCRE counts to
METHOD = re.compile(r"[A-Z]{1,32}")
# What crypt(3) and Nginx itself tell from a password in plain text
HASH = re.compile(r"(?:\$(?:apr1|[156y]|2[aby])\$[./A-Za-z0-9$=,]+|\{S?SHA\}[A-Za-z0-9+/=]+)")
HASHES = "a hash as `openssl passwd -6` prints it; a password does not stand here"
SIZE = re.compile(r"[1-9]\d*[kKmM]?")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")


def host_limit_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the limits of all sites."""
    buffers = values["nginx_large_client_header_buffers"]
    if not 1 <= buffers["number"] <= 1024:
        yield problem("nginx_large_client_header_buffers.number", buffers["number"], "a number from 1 to 1024")
    if not SIZE.fullmatch(buffers["size"]):
        yield problem("nginx_large_client_header_buffers.size", buffers["size"], "a size such as 8k")
    if not 1 <= values["nginx_max_uri_length"] <= LONGEST_URI:
        yield problem("nginx_max_uri_length", values["nginx_max_uri_length"], f"a number from 1 to {LONGEST_URI}")
    for path, expression in labelled("nginx_blocked_paths", values["nginx_blocked_paths"]):
        yield from _expression_problems(path, expression)
    yield from _bot_problems("nginx_bots", values["nginx_bots"])
    yield from _rate_problems("nginx_bot_rate_limit", values["nginx_bot_rate_limit"])


def site_limit_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the limits of a site.

    :param path: where the site stands.
    """
    if "rate_limit" in site:
        yield from _key_problems(f"{path}.rate_limit", site["rate_limit"])
    for where, rule in labelled(f"{path}.rate_limits", site["rate_limits"]):
        yield from _path_problems(where, rule)
        yield from _key_problems(where, rule)
    yield from _list_problems(path, site)
    for where, rule in labelled(f"{path}.access", site["access"]):
        yield from _path_problems(where, rule)
        yield from _list_problems(where, rule)
        if not (rule["allow"] or rule["deny"] or rule["methods"]):
            yield f"{where}: says nothing; give allow, deny or methods"
    for where, rule in labelled(f"{path}.basic_auth", site["basic_auth"]):
        yield from _path_problems(where, rule)
        yield from _password_problems(where, rule)
    for name in ("access", "basic_auth"):
        places = [(rule["match"], rule["path"]) for rule in site[name]]
        for place in dict.fromkeys(place for place in places if places.count(place) > 1):
            yield problem(f"{path}.{name}", place[1], "each path once")
    for where, item in labelled(f"{path}.open_paths", site["open_paths"]):
        if not matches("absolute", item) or "?" in item:
            yield problem(where, item, "a path that begins with '/', without a query")
        elif ENCODED.search(item):
            yield problem(where, item, DECODED)
    yield from _bot_problems(f"{path}.bots", site["bots"])
    yield from _robots_problems(path, site)


def _path_problems(path: str, rule: Mapping[str, Any]) -> Iterator[str]:
    if rule["match"] == "regex":
        yield from _expression_problems(f"{path}.path", rule["path"])
    elif not matches("absolute", rule["path"]) or "?" in rule["path"]:
        yield problem(f"{path}.path", rule["path"], "a path that begins with '/', or add match: regex")
    elif ENCODED.search(rule["path"]):
        yield problem(f"{path}.path", rule["path"], DECODED)


def _expression_problems(path: str, expression: str) -> Iterator[str]:
    """Most of what Nginx's library takes, Python's does too; what it refuses alone, the test of the files finds."""
    try:
        re.compile(expression)
    except (re.error, OverflowError):
        yield problem(path, expression, "a regular expression")
        return
    if not matches("line", expression):
        yield problem(path, expression, "a regular expression in one line")


def _key_problems(path: str, rule: Mapping[str, Any]) -> Iterator[str]:
    yield from _rate_problems(path, rule)
    if not KEY.fullmatch(rule["key"]):
        yield problem(f"{path}.key", rule["key"], "address, path, or header and a name, such as: header X-Api-Key")


def _rate_problems(path: str, rule: Mapping[str, Any]) -> Iterator[str]:
    if not RATE.fullmatch(rule["rate"]):
        yield problem(f"{path}.rate", rule["rate"], "a rate such as 20r/s or 5r/m")
    if not 0 <= rule["burst"] <= 1_000_000:
        yield problem(f"{path}.burst", rule["burst"], "a number from 0 to 1000000")
    if "delay" in rule and not 0 <= rule["delay"] <= rule["burst"]:
        yield problem(f"{path}.delay", rule["delay"], "a number up to burst")


def _list_problems(path: str, lists: Mapping[str, Any]) -> Iterator[str]:
    for name in ("allow", "deny"):
        for where, item in labelled(f"{path}.{name}", lists[name]):
            if not is_network(item):
                yield problem(where, item, NETWORK)
    allowed, denied = (
        {part for item in lists[name] if is_network(item) for part in networks(item)} for name in ("allow", "deny")
    )
    for item in sorted(allowed & denied):
        yield problem(f"{path}.allow, {path}.deny", item, "each network in one of them")
    for where, method in labelled(f"{path}.methods", lists["methods"]):
        if not METHOD.fullmatch(method):
            yield problem(where, method, "a method in capitals, such as POST")


def _password_problems(path: str, rule: Mapping[str, Any]) -> Iterator[str]:
    if not matches("unquoted", rule["realm"]) or "$" in rule["realm"] or rule["realm"] == "off":
        yield problem(f"{path}.realm", rule["realm"], "a line without quotes and '$', other than off")
    if not rule["users"]:
        yield f"{path}.users: is empty; give at least one"
    names = [user["name"] for user in rule["users"]]
    for where, user in labelled(f"{path}.users", rule["users"]):
        if not USER.fullmatch(user["name"]):
            yield problem(f"{where}.name", user["name"], "letters, digits and any of _ . @ + -, at most 64")
        elif names.count(user["name"]) > 1:
            yield problem(f"{where}.name", user["name"], "each name once")
        if not HASH.fullmatch(user["password_hash"]):
            yield problem(f"{where}.password_hash", "(not shown)", HASHES)


def _bot_problems(path: str, bots: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for where, bot in labelled(path, bots):
        if not BOT.fullmatch(bot["name"]):
            yield problem(f"{where}.name", bot["name"], "a part of a User-Agent: letters, digits, and . _ / + - inside")


def _robots_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    wish = site["robots"]
    for where, item in labelled(f"{path}.robots.disallow", wish["disallow"]):
        if not matches("request", item) or "$" in item:
            yield problem(where, item, "the beginning of a path, with '/' first and without '$'")
    for where, item in labelled(f"{path}.robots.sitemaps", wish["sitemaps"]):
        if not re.fullmatch(r"https?://[^\s$]+", item):
            yield problem(where, item, "a URL such as https://shop.example.com/sitemap.xml")
    if wish["mode"] == "app":
        for name in ("disallow", "sitemaps"):
            if wish[name]:
                yield f"{path}.robots.{name}: is given and mode is app; give mode: policy"
        return
    for name in ("locations", "app_locations"):
        if any(place["path"] == ROBOTS and place["match"] == "exact" for place in site[name]):
            yield f"{path}.robots.mode: found '{wish['mode']}' and {name} has {ROBOTS}; give mode: app"
    text = robots(wish, named_bots(site["bots"]), {"rate": "1r/s"})
    if len(text.encode()) > LONGEST_TEXT:
        yield f"{path}.robots: makes a text of {len(text.encode())} bytes; give less, or leave it to the app"
