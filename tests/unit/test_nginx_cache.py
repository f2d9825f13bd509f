"""The cache of a site: which requests it is for, where it lies, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_cache
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import options_of
from test_role_nginx import Directive, nginx, site  # noqa: F401  # the fixtures
from test_rules_nginx import SHOP, config, given
from test_rules_nginx import problems as problems_of

CACHED: dict[str, Any] = {**SHOP, "cache": {"enabled": True}}
RANGES = Path(__file__).resolve().parents[2] / "molecule/edge/ranges.txt"
TRUSTING = {"nginx_real_ip": {"trusted": ["10.0.0.0/8"], "passed_headers": ["X-Forwarded-User"]}}


def cache_of(cache: dict[str, Any], **variables: Any) -> dict[str, Any]:
    (found,) = config({**SHOP, "cache": {"enabled": True, **cache}}, **variables)["sites"]
    return found["cache"]


# Rules


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"valid": "soon"}, "valid"),
        ({"valid": "1s; off"}, "valid"),
        ({"valid": "500ms"}, "valid"),
        ({"inactive": ""}, "inactive"),
        ({"inactive": "100ms"}, "inactive"),
        ({"lock_timeout": "-1s"}, "lock_timeout"),
        ({"max_size": "all"}, "max_size"),
        ({"min_uses": 0}, "min_uses"),
        ({"key": '$a"; }'}, "key"),
        ({"key": "${a}"}, "key"),
        ({"bypass_cookies": ["a b"]}, "bypass_cookies[0]"),
        ({"bypass_cookies": ["a", "b;"]}, "bypass_cookies[1]"),
        ({"bypass_headers": ["X Key"]}, "bypass_headers[0]"),
        ({"paths": ["news/"]}, "paths[0]"),
        ({"except_paths": ["/a?b"]}, "except_paths[0]"),
        ({"except_paths": ["/caf%C3%A9/"]}, "except_paths[0]"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"enable": True}, "enable"),
    ],
)
def test_bad_caches_are_refused_with_their_path(change, path):
    (problem,) = problems_of({**SHOP, "cache": {"enabled": True, **change}})
    assert problem.startswith(f"nginx_sites[shop].cache.{path}: ")


def test_a_cache_needs_an_app():
    wish = {"name": "files", "domains": ["files.test"], "cache": {"enabled": True}}
    assert problems_of(wish) == [
        "nginx_sites[files].cache.enabled: is on and the site has no upstream; give it one, or leave it out"
    ]


def test_off_by_default():
    assert config(SHOP)["sites"][0]["cache"] is None
    assert cache_of({"enabled": False}) is None
    assert cache_of({})["zone"] == "pages_shop"


@pytest.mark.parametrize(
    ("cookie", "somebody"),
    [
        ("sessionid=a", True),
        ("a=b; sessionid=a", True),
        ("a=b;sessionid=a", True),
        ("a=b;  SessionId =a", True),
        ("a=b,messages=a", True),
        ("messages=", True),
        # Python strips them.
        ("\xa0sessionid=a", True),
        ("a=b;\xe2\x80\x83sessionid\x1f=a", True),
        ("", False),
        ("csrftoken=a; _ga=sessionid", False),
        ("my_sessionid=a", False),
        ("sessionid2=a", False),
    ],
)
def test_whose_cookies_mean_somebody(cookie, somebody):
    pattern = cache_of({})["cookies"].removeprefix("~*")
    assert bool(re.search(pattern, cookie, re.IGNORECASE)) is somebody


@pytest.mark.parametrize(
    ("cache", "variables", "part"),
    [
        ({}, {}, "$http_authorization"),
        ({"bypass_headers": ["X-Api-Key"]}, {}, "$http_x_api_key"),
        ({}, TRUSTING, "$djangofleet_passed_x_forwarded_user"),
        ({}, {}, "$http_content_length"),
        ({}, {}, "$djangofleet_upgrade"),
        ({}, {}, "$djangofleet_stream"),
        ({}, {}, "$djangofleet_body"),
        ({}, {}, "$cache_uri_shop"),
        ({}, {}, "$cache_cookies_shop"),
    ],
)
def test_what_makes_a_request_somebodys(cache, variables, part):
    assert part in re.findall(r"\$\w+", cache_of(cache, **variables)["bypass"])


def test_no_cookie_means_somebody():
    found = cache_of({"bypass_cookies": []})
    assert (found["cookies"], "cookies" in found["bypass"]) == ("", False)


@pytest.mark.parametrize(
    ("cache", "variables", "key"),
    [
        ({}, {}, "$scheme://$host$request_uri"),
        ({"key": "$cookie_django_language"}, {}, "$scheme://$host$request_uri $cookie_django_language"),
        # As the app is told it, or plain HTTP behind a balancer would be one page with HTTPS.
        ({}, {"nginx_real_ip": {"trusted_files": [str(RANGES)]}}, "$djangofleet_scheme://$host$request_uri"),
        ({}, TRUSTING, "$djangofleet_scheme://$host$request_uri"),
    ],
)
def test_the_key(cache, variables, key):
    assert cache_of(cache, **variables)["key"] == key


@pytest.mark.parametrize(
    ("cache", "stale"),
    [
        ({}, "updating error timeout http_500 http_502 http_503 http_504"),
        ({"stale_if_error": False}, "updating"),
        ({"stale_while_revalidate": False}, "error timeout http_500 http_502 http_503 http_504"),
        ({"stale_while_revalidate": False, "stale_if_error": False}, "off"),
    ],
)
def test_when_an_old_page_is_sent(cache, stale):
    assert cache_of(cache)["use_stale"] == stale


@pytest.mark.parametrize(
    ("there", "missing", "left"),
    [
        ([], ["/var/cache/nginx/sites/shop"], []),
        (["/var/cache/nginx/sites/shop"], [], []),
        (
            ["/var/cache/nginx/sites/shop", "/var/cache/nginx/sites/blog", "/var/cache/nginx/sites/off"],
            [],
            ["/var/cache/nginx/sites/blog", "/var/cache/nginx/sites/off"],
        ),
    ],
)
def test_which_directories_come_and_go(there, missing, left):
    off = {**SHOP, "name": "off", "domains": ["off.test"]}
    values = options_of("nginx", given(CACHED, off))
    found = rules.caches(values, {"paths": {"/var/cache/nginx/sites/*": there}})
    assert found == {"missing": [{"path": path} for path in missing], "left": [{"path": path} for path in left]}


@pytest.mark.parametrize(
    ("cache", "found"),
    [
        ({"enabled": True}, {"path": "/var/cache/nginx/sites/shop", "purge_on_release": True}),
        (
            {"enabled": "yes", "purge_on_release": False},
            {"path": "/var/cache/nginx/sites/shop", "purge_on_release": False},
        ),
        ({"enabled": False}, {}),
        ({"enabled": [7]}, {}),
        (None, {}),
        ("on", {}),
    ],
)
def test_what_djangoctl_is_told(cache, found):
    assert nginx_cache.of_app([{**SHOP, "cache": cache}], "shop") == found
    assert nginx_cache.of_app([{**SHOP, "cache": cache}], "blog") == {}


# What is done


def test_directories_come_before_the_test_and_go_after_the_reload(dataloader):
    main = dataloader.load_from_file("roles/nginx/tasks/main.yml", trusted_as_template=True)
    files = [task.get("ansible.builtin.import_tasks") for task in main]
    assert files.index("caches.yml") < files.index("configure.yml")
    (task,) = dataloader.load_from_file("roles/nginx/tasks/caches.yml", trusted_as_template=True)
    parent, each = task["djangofleet.stack.tree"]["entries"]
    assert parent == {"path": nginx_cache.ROOT, "directory": True}, "root's"
    assert (each["owner"], each["mode"], each["for_each"]) == ("www-data", "0700", "{{ __nginx_caches.missing }}")
    handlers = [task["name"] for task in dataloader.load_from_file("roles/nginx/handlers/main.yml")]
    assert handlers.index("Reload nginx") < handlers.index("Remove caches that no site uses")


@pytest.mark.parametrize(("there", "tested"), [(["/var/cache/nginx/sites/shop"], True), ([], False)])
def test_a_check_does_not_let_nginx_make_the_directory(evaluate, dataloader, there, tested):
    (task,) = dataloader.load_from_file("roles/nginx/tasks/configure.yml", trusted_as_template=True)
    survey = {"paths": {"/var/cache/nginx/sites/*": there}, "units": {}}
    given = {"nginx_sites": [CACHED], "ansible_check_mode": True, "__nginx_survey": survey}
    install = {"missing": []}
    expression = task["vars"]["__nginx_can_be_tested"].strip().removeprefix("{{").removesuffix("}}")
    assert evaluate("nginx", expression, **given, __nginx_install=install) is tested


# What is written


def locations(server: Directive) -> dict[str, Directive]:
    return {" ".join(found.args): found for found in server.all("location")}


def test_what_nginx_is_told(site):  # noqa: F811
    root = site({**CACHED, "cache": {"enabled": True, "valid": "1s", "max_size": "1g", "min_uses": 2}})
    assert root.one("proxy_cache_path").split() == [
        "/var/cache/nginx/sites/shop",
        "levels=1:2",
        "keys_zone=pages_shop:4m",
        "max_size=1g",
        "inactive=10m",
        "min_free=64m",
        "use_temp_path=off",
    ]
    zone = next(found for found in root.all("map") if found.args[1] == "$cache_zone_shop")
    assert [entry.words for entry in zone.block] == [["default", "off"], ["", "pages_shop"]]
    (server,) = root.all("server")
    place = locations(server)["/"]
    assert place.one("proxy_cache") == "$cache_zone_shop"
    assert place.one("proxy_cache_valid") == "200 301 302 404 1s"
    assert place.one("proxy_cache_min_uses") == "2"
    assert place.one("proxy_cache_background_update") == "on"
    assert place.headers() == {**server.headers(), "X-Cache": "$djangofleet_cache"}
    assert ["X-Cache"] in server.values("proxy_hide_header")


def test_an_answer_that_says_nothing_is_not_kept_unasked(site):  # noqa: F811
    (server,) = site(CACHED).all("server")
    assert locations(server)["/"].all("proxy_cache_valid") == []


@pytest.mark.parametrize(
    ("cache", "entries"),
    [
        ({}, [["default", ""]]),
        ({"except_paths": ["/a.b/"]}, [["default", ""], [r"~^/a\.b/", "1"]]),
        ({"paths": ["/news/"]}, [["default", "1"], ["~^/news/", ""]]),
        (
            {"paths": ["/news/"], "except_paths": ["/news/mine/"]},
            [["default", "1"], ["~^/news/mine/", "1"], ["~^/news/", ""]],
        ),
    ],
)
def test_which_paths_are_cached(site, cache, entries):  # noqa: F811
    root = site({**SHOP, "cache": {"enabled": True, **cache}})
    (found,) = [found for found in root.all("map") if found.args[1] == "$cache_uri_shop"]
    assert [[word.replace("\\\\", "\\") for word in entry.words] for entry in found.block] == entries


def test_streams_are_not_cached(site):  # noqa: F811
    wish = {**CACHED, "app_locations": [{"path": "/live/", "buffering": False}, {"path": "/up/"}]}
    # Before a body has come, nobody knows whether a request of HTTP/2 has one.
    wish["app_locations"].append({"path": "/upload/", "request_buffering": False})
    (server,) = site(wish).all("server")
    found = locations(server)
    assert {path: bool(place.all("proxy_cache")) for path, place in found.items() if place.all("proxy_pass")} == {
        "/live/": False,
        "/upload/": False,
        "/up/": True,
        "/": True,
    }


def test_files_and_locations_of_ones_own_have_no_cache(site):  # noqa: F811
    own = {"path": "/api/", "config": "proxy_pass http://app_shop;"}
    wish = {**CACHED, "static": [{"url": "/static/", "path": "/srv/static"}], "locations": [own]}
    (server,) = site(wish).all("server")
    assert server.all("proxy_cache") == []
    found = locations(server)
    assert not found["/api/"].all("proxy_cache")
    assert "X-Cache" not in {**server.headers(), **found["^~ /static/"].headers()}


def test_a_site_without_a_cache_has_nothing_of_it(site):  # noqa: F811
    root = site(SHOP)
    (server,) = root.all("server")
    assert root.all("proxy_cache_path") == []
    assert server.location("/").all("add_header") == []
