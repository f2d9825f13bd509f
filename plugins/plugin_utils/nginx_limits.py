# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who may ask a site for what, how often, and with which password: what the templates of role nginx see of it.

All of it is decided by maps of the path, for the whole server. So it holds for files as for the app, and no location
loses it by a directive of its own.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CHALLENGES = r"~^/\.well-known/acme-challenge/"
CLIENT = "$djangofleet_client"
ROBOTS = "/robots.txt"
USERS = "/etc/nginx/users"
ORDER = ("exact", "regex", "prefix")
RATE = re.compile(r"([1-9]\d{0,8})r/([sm])")
SECONDS = {"s": 1, "m": 60}
# Parts of the User-Agent of crawlers that say who they are
GROUPS: dict[str, tuple[str, ...]] = {
    "ai_crawlers": (
        *("AI2Bot", "Amazonbot", "anthropic-ai", "Applebot-Extended", "Bytespider", "CCBot", "ChatGPT-User"),
        *("Claude-SearchBot", "Claude-User", "Claude-Web", "ClaudeBot", "cohere-ai", "Diffbot", "DuckAssistBot"),
        *("FacebookBot", "Google-CloudVertexBot", "Google-Extended", "GPTBot", "ImagesiftBot", "Meta-ExternalAgent"),
        *("Meta-ExternalFetcher", "MistralAI-User", "OAI-SearchBot", "omgili", "PanguBot", "Perplexity-User"),
        *("PerplexityBot", "PetalBot", "Timpibot", "YouBot"),
    ),
    "seo_crawlers": (
        *("AhrefsBot", "BLEXBot", "DataForSeoBot", "DotBot", "MJ12bot", "rogerbot", "SemrushBot", "SEOkicks"),
        *("serpstatbot", "SiteAuditBot"),
    ),
    "http_libraries": (
        *("aiohttp", "curl", "Go-http-client", "httpx", "Java", "libwww-perl", "okhttp", "python-requests"),
        *("python-urllib", "Scrapy", "Wget"),
    ),
}


def site_limits(site: Mapping[str, Any], identifier: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates write of a site's limits.

    :param site: the site as the spec means it.
    :param identifier: the site's name as a part of names of Nginx.
    :param values: the role's variables.
    :returns: `maps` and `geos` that stand before the server, `zones`, and what the server itself has: `evaluated`
        (variables), `refusals` (variables with a status), `requests` (limit_req), `realm` and `users`, `robots`.
    """
    found: dict[str, Any] = {"maps": [], "geos": [], "zones": [], "refusals": [], "requests": [], "evaluated": []}
    found |= {"realm": "", "users": "", "allowed_methods": "", "retry_after": "$djangofleet_retry_after"}
    free = [(CHALLENGES, ""), *((pattern("exact", path), "") for path in site["open_paths"])]
    files = [(pattern("prefix", place["url"]), "") for kind in ("static", "media") for place in site[kind]]
    # Nginx chooses it before the directory, unless it is a regular expression.
    inside = [
        pattern(place["match"], place["path"])
        for place in site["app_locations"]
        if place["match"] != "regex" and any(re.match(url[1:], place["path"]) for url, _value in files)
    ]
    _add_access(found, site, identifier, free)
    _add_methods(found, site, identifier, free)
    if site["blocked_paths_enabled"] and values["nginx_blocked_paths"]:
        rows = [*((where, "$djangofleet_blocked") for where in inside), *files]
        _add_refusal(found, f"$blocked_{identifier}", 404, "$uri", rows, "$djangofleet_blocked")
    bots = named_bots([*site["bots"], *values["nginx_bots"]])
    _add_bots(found, bots, identifier, site["open_paths"], values["nginx_bot_rate_limit"])
    _add_rates(found, site, identifier, free, inside, files)
    _add_passwords(found, site, identifier, free)
    return {**found, "robots": robots(site["robots"], bots, values["nginx_bot_rate_limit"])}


def pattern(match: str, path: str) -> str:
    """A path as the pattern of a map. An exact one ends where the text ends, and not before a newline."""
    return f"~{path}" if match == "regex" else f"~^{re.escape(path)}" + (r"\z" if match == "exact" else "")


def by_precedence(rules: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rules of paths as Nginx chooses locations: exact, regular expressions as they stand, the longest prefix."""

    def rank(rule: Mapping[str, Any]) -> tuple[int, int]:
        return ORDER.index(rule["match"]), -len(rule["path"]) * (rule["match"] == "prefix")

    return sorted(rules, key=rank)


def networks(text: str) -> list[str]:
    """An address or a network as Nginx takes it in a geo without a warning: without bits of the host, all as halves."""
    found = ipaddress.ip_network(text, strict=False)
    return [str(part) for part in (found.subnets() if found.prefixlen == 0 else [found])]


def password_files(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of names and hashes of a site.

    Nginx reads them with each request, and its configuration when it is loaded. So a file has the name of its path: by
    its number it would hold for another path, from when it is written until Nginx has loaded the rest.
    """
    return [{"name": _password_file(site, rule), "users": rule["users"]} for rule in site["basic_auth"]]


def _password_file(site: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(f"{rule['match']} {rule['path']}".encode()).hexdigest()
    return f"{site['name']}.{digest[:16]}"


def named_bots(policies: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The policy of each bot by its name, with groups as their members. The first word about a bot counts."""
    found: dict[str, str] = {}
    for policy in policies:
        for name in GROUPS.get(policy["name"], (policy["name"],)):
            if name.lower() not in {known.lower() for known in found}:
                found[name] = policy["policy"]
    return found


def robots(wish: Mapping[str, Any], bots: Mapping[str, str], limit: Mapping[str, Any]) -> str:
    """The text of robots.txt; empty where the app has its own."""
    if wish["mode"] == "app":
        return ""
    sitemaps = "".join(f"\nSitemap: {address}\n" for address in wish["sitemaps"])
    if wish["mode"] == "deny_all":
        return f"User-agent: *\nDisallow: /\n{sitemaps}"
    paths = "".join(f"Disallow: {path}\n" for path in wish["disallow"]) or "Allow: /\n"
    rules = {"deny": "Disallow: /\n", "limit": f"Crawl-delay: {interval(limit['rate'])}\n{paths}"}
    told = {policy: [name for name in bots if bots[name] == policy] for policy in rules}
    groups = [
        "".join(f"User-agent: {name}\n" for name in told[policy]) + rules[policy] + "\n"
        for policy in rules
        if told[policy]
    ]
    return f"{''.join(groups)}User-agent: *\n{paths}{sitemaps}"


def interval(rate: str) -> int:
    """After how many whole seconds the next request of a rate may come."""
    match = RATE.fullmatch(rate)
    return math.ceil(SECONDS[match[2]] / int(match[1])) if match else 1


def _add_map(
    found: dict[str, Any], variable: str, source: str, rows: Sequence[tuple[str, str]], default: str = ""
) -> None:
    found["maps"].append({"source": source, "variable": variable, "rows": rows, "default": default})


def _add_refusal(
    found: dict[str, Any], variable: str, status: int, source: str, rows: Sequence[tuple[str, str]], default: str = ""
) -> None:
    _add_map(found, variable, source, rows, default)
    found["refusals"].append({"variable": variable, "status": status})


def _add_access(
    found: dict[str, Any], site: Mapping[str, Any], identifier: str, free: Sequence[tuple[str, str]]
) -> None:
    """Lists of addresses. Each pair of lists is a geo, which says 1 to whom it keeps out."""
    rules = [rule for rule in by_precedence(site["access"]) if rule["allow"] or rule["deny"]]
    rows, default = [], ""
    for number, rule in enumerate([*rules, site]):
        if not rule["allow"] and not rule["deny"]:
            continue
        variable = f"$denied_{identifier}_{number}"
        lists = {"1": rule["deny"], "": rule["allow"]}
        rows_of = {part: value for value, items in lists.items() for item in items for part in networks(item)}
        found["geos"].append(
            {"variable": variable, "rows": list(rows_of.items()), "default": "1" if rule["allow"] else ""}
        )
        if rule is site:
            default = variable
        else:
            rows.append((pattern(rule["match"], rule["path"]), variable))
    if rows or default:
        _add_refusal(found, f"$denied_{identifier}", 403, "$uri", [*free, *rows], default)


def _add_methods(
    found: dict[str, Any], site: Mapping[str, Any], identifier: str, free: Sequence[tuple[str, str]]
) -> None:
    """Methods. The value is what Allow says to a request whose method is not among them."""
    rules = [rule for rule in by_precedence(site["access"]) if rule["methods"]]
    rows, default = [], ""
    for number, rule in enumerate([*rules, site]):
        if not rule["methods"]:
            continue
        names = list(dict.fromkeys(rule["methods"] + ["HEAD"] * ("GET" in rule["methods"])))
        variable = f"$method_{identifier}_{number}"
        _add_map(found, variable, "$request_method", [(rf"~^(?:{'|'.join(names)})\z", "")], ", ".join(names))
        if rule is site:
            default = variable
        else:
            rows.append((pattern(rule["match"], rule["path"]), variable))
    if rows or default:
        variable = found["allowed_methods"] = f"$method_{identifier}"
        _add_refusal(found, variable, 405, "$uri", [free[0], *rows], default)


def _add_bots(
    found: dict[str, Any],
    bots: Mapping[str, str],
    identifier: str,
    open_paths: Sequence[str],
    limit: Mapping[str, Any],
) -> None:
    meant = {"deny": "deny", "allow": ""}
    rows = [(bot_pattern(name), meant.get(policy, f"limit {name}")) for name, policy in bots.items()]
    if any(value for _pattern, value in rows):
        _add_map(found, f"$bot_{identifier}", "$http_user_agent", rows)
    both = f"$bot_{identifier}:$uri"
    if "deny" in bots.values():
        free = [(rf"~^deny:{re.escape(path)}\z", "") for path in (ROBOTS, *open_paths)]
        _add_refusal(
            found, f"$refused_{identifier}", 403, both, [(f"~^deny:{CHALLENGES[2:]}", ""), *free, ("~^deny:", "1")]
        )
    if "limit" in bots.values():
        free = [(rf"~^limit [^:]*:{re.escape(path)}\z", "") for path in (ROBOTS, *open_paths)]
        _add_zone(found, f"limit_{identifier}_bots", both, [*free, ("~^limit ", f"$bot_{identifier}")], "", limit)


def bot_pattern(name: str) -> str:
    """Where the User-Agent has a name as a word of its own."""
    return rf"~*(?<![a-z0-9]){re.escape(name)}(?![a-z])"


def _add_rates(
    found: dict[str, Any],
    site: Mapping[str, Any],
    identifier: str,
    free: Sequence[tuple[str, str]],
    inside: Sequence[str],
    files: Sequence[tuple[str, str]],
) -> None:
    waits: dict[str, int] = {}
    rules = by_precedence(site["rate_limits"])
    whole = site.get("rate_limit")
    everywhere = interval(whole["rate"]) if whole else 1
    for number, rule in enumerate(rules):
        key = _key(found, f"{identifier}_{number}", rule["key"])
        where = pattern(rule["match"], rule["path"])
        _add_zone(found, f"limit_{identifier}_{number}", "$uri", [*free, (where, key)], "", rule)
        waits[where] = max(waits.get(where, everywhere), interval(rule["rate"]))
    if whole:
        key = _key(found, identifier, whole["key"])
        rows = [*free, *((where, key) for where in inside), *files]
        _add_zone(found, f"limit_{identifier}", "$uri", rows, key, whole)
    if found["requests"]:
        rows = [(where, str(seconds)) for where, seconds in waits.items()]
        _add_map(found, f"$wait_{identifier}", "$uri", rows, str(everywhere))
        found["evaluated"].append(f"$wait_{identifier}")  # an error has another path on its way to a page
        found["retry_after"] = f"$retry_{identifier}"
        _add_map(found, found["retry_after"], "$status", [("429", f"$wait_{identifier}")], "$djangofleet_retry_after")


def _key(found: dict[str, Any], suffix: str, key: str) -> str:
    """The variable that is counted."""
    if key == "path":
        return "$uri"
    if key == "address":
        return CLIENT
    # The name in a zone never changes with what it holds: Nginx refuses to load another key for a zone that it has.
    header = f"$http_{key.removeprefix('header ').lower().replace('-', '_')}"
    _add_map(found, f"$key_{suffix}", header, [(r"~^\z", CLIENT)], f"header {header}")
    return f"$key_{suffix}"


def _add_zone(
    found: dict[str, Any],
    name: str,
    source: str,
    rows: Sequence[tuple[str, str]],
    default: str,
    limit: Mapping[str, Any],
) -> None:
    """A limit whose key is empty where it does not hold."""
    _add_map(found, f"${name}", source, rows, default)
    found["zones"].append({"name": name, "key": f"${name}", "rate": limit["rate"]})
    delay = "nodelay" if limit.get("delay") is None else f"delay={limit['delay']}" if limit["delay"] else ""
    burst = [f"burst={limit['burst']}", *([delay] if delay else [])] if limit["burst"] else []
    found["requests"].append(" ".join([f"zone={name}", *burst]))
    found["evaluated"].append(f"${name}")


def _add_passwords(
    found: dict[str, Any], site: Mapping[str, Any], identifier: str, free: Sequence[tuple[str, str]]
) -> None:
    rules = by_precedence(site["basic_auth"])
    if not rules:
        return
    places = [(pattern(rule["match"], rule["path"]), rule) for rule in rules]
    realms = [(where, rule["realm"]) for where, rule in places]
    found["realm"], found["users"] = f"$realm_{identifier}", f"$users_{identifier}"
    _add_map(found, found["realm"], "$uri", [*((where, "off") for where, _value in free), *realms], "off")
    _add_map(
        found, found["users"], "$uri", [(where, f"{USERS}/{_password_file(site, rule)}") for where, rule in places]
    )
    found["evaluated"] += [found["realm"], found["users"]]
