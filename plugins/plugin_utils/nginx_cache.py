# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cache of a site's pages: what the templates see, which directories a host has for it, what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

# Root's, so that www-data cannot put a link in the place of a site's directory.
ROOT = "/var/cache/nginx/sites"
CACHES = f"{ROOT}/*"
# A request with one of these is not what its URL says it is: the answer to it is for nobody else.
DISTURBING = (
    *("$djangofleet_upgrade", "$djangofleet_stream", "$djangofleet_body"),
    *("$http_content_length", "$http_transfer_encoding"),
    *("$http_x_http_method_override", "$http_x_http_method", "$http_x_method_override"),
)
DURATION = "a time such as 5s, 10m or 1h"
# What Python strips, of Unicode too, of which Nginx sees bytes: all but what ASCII prints.
SPACES = "[^!-~]*"
SIZE = "a size such as 256m or 2g"
TOKENS = "names of cookies, of letters, digits, '-', '_' and '.'"


def directory(name: str) -> str:
    """Where the pages of a site are kept."""
    return f"{ROOT}/{name}"


def is_on(site: Mapping[str, Any]) -> bool:
    """Whether a site keeps pages of its app."""
    return bool(site.get("upstream")) and bool((site.get("cache") or {}).get("enabled"))


def caches(sites: Sequence[Mapping[str, Any]], survey: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The directories of caches that a host still has to get, and those that no site uses any more, each as `path`.

    :param survey: what the host answered to `questions`.
    """
    wanted = [directory(site["name"]) for site in sites if is_on(site)]
    there = survey.get("paths", {}).get(CACHES, [])
    return {
        "missing": [{"path": path} for path in wanted if path not in there],
        "left": [{"path": path} for path in sorted(there) if path not in wanted],
    }


def of_app(sites: Sequence[Mapping[str, Any]], name: str = "") -> dict[str, Any]:
    """The cache of an app's site, as djangoctl needs to know it; empty if it has none.

    :param sites: what app_sites gives.
    """
    options = spec_of("nginx")["nginx_sites"]["options"]["cache"]["options"]
    for site in sites:
        if site["name"] == name:
            given = site.get("cache")
            cache, wrong = resolve(options, given if isinstance(given, Mapping) else {})
            if not wrong and is_on({**site, "cache": cache}):
                return {"path": directory(name), "purge_on_release": cache["purge_on_release"]}
    return {}


def resolved(site: Mapping[str, Any], identifier: str, scheme: str, passed: Sequence[str]) -> dict[str, Any] | None:
    """What the templates see of the cache of a site; None if it has none.

    :param identifier: the site's name as a part of a variable.
    :param scheme: the variable with the scheme that the app is told.
    :param passed: variables with headers of trusted proxies, such as who somebody is.
    """
    if not is_on(site):
        return None
    cache = site["cache"]
    cookies, headers = cache["bypass_cookies"], [_header(name) for name in cache["bypass_headers"]]
    seen = [f"$cache_uri_{identifier}", *([f"$cache_cookies_{identifier}"] if cookies else []), *headers, *passed]
    stale = ["error", "timeout", "http_500", "http_502", "http_503", "http_504"] if cache["stale_if_error"] else []
    return {
        **cache,
        "directory": directory(site["name"]),
        "zone": f"pages_{identifier}",
        "variable": f"$cache_zone_{identifier}",
        "bypass": "".join([*seen, *DISTURBING]),
        # As parsers of cookies read them: case and spaces aside, whatever stands before.
        "cookies": rf"~*(?:^|[;,]){SPACES}(?:{'|'.join(map(re.escape, cookies))}){SPACES}=" if cookies else "",
        "kept": [f"~^{re.escape(path)}" for path in cache["paths"]],
        "left_out": [f"~^{re.escape(path)}" for path in cache["except_paths"]],
        "key": " ".join(filter(None, [f"{scheme}://$host$request_uri", cache["key"]])),
        "use_stale": " ".join([*(["updating"] if cache["stale_while_revalidate"] else []), *stale]) or "off",
    }


def _header(name: str) -> str:
    return f"$http_{name.lower().replace('-', '_')}"


def problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the cache of a site."""
    cache, where = site["cache"], f"{path}.cache"
    if cache["enabled"] and "upstream" not in site:
        yield f"{where}.enabled: is on and the site has no upstream; give it one, or leave it out"
    if cache["valid"] and not matches("seconds", cache["valid"]):
        yield problem(f"{where}.valid", cache["valid"], f"{DURATION}, or an empty text")
    for key, kind in {"inactive": "seconds", "lock_timeout": "duration"}.items():
        if not matches(kind, cache[key]):
            yield problem(f"{where}.{key}", cache[key], DURATION)
    if not matches("bytes", cache["max_size"]):
        yield problem(f"{where}.max_size", cache["max_size"], SIZE)
    if cache["min_uses"] < 1:
        yield problem(f"{where}.min_uses", cache["min_uses"], "a number from 1 on")
    if not matches("variables", cache["key"]):
        wish = "variables of Nginx such as $cookie_django_language, or an empty text"
        yield problem(f"{where}.key", cache["key"], wish)
    for place, name in labelled(f"{where}.bypass_cookies", cache["bypass_cookies"]):
        if not matches("cookie", name):
            yield problem(place, name, TOKENS)
    for place, name in labelled(f"{where}.bypass_headers", cache["bypass_headers"]):
        if not matches("header", name):
            yield problem(place, name, "the name of a header")
    for key in ("paths", "except_paths"):
        for place, prefix in labelled(f"{where}.{key}", cache[key]):
            if not matches("request", prefix) or "?" in prefix:
                yield problem(place, prefix, "the beginning of a path, such as /news/")
            elif re.search("%[0-9A-Fa-f]{2}", prefix):
                yield problem(place, prefix, "the path without percent-encoding: Nginx compares what it means")
