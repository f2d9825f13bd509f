"""Several servers of an app, and paths of it that are passed on otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from test_role_nginx import Directive, nginx, site  # noqa: F401  # the fixtures
from test_rules_nginx import SHOP, config, problems

A, B, C = "10.0.0.5:8001", "10.0.0.6:8001", "10.0.0.7:8001"


def pool(*servers: str, **upstream: Any) -> dict[str, Any]:
    return {**SHOP, "upstream": {"servers": list(servers or (A, B)), **upstream}}


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ({"method": "fastest"}, "method"),
        ({"method": "hash"}, "hash_key"),
        ({"method": "hash", "hash_key": '$uri" a'}, "hash_key"),
        ({"hash_key": "$uri"}, "hash_key"),
        ({"sticky_cookie": "sessionid"}, "sticky_cookie"),
        ({"method": "sticky", "sticky_cookie": "session-id"}, "sticky_cookie"),
        ({"server_options": [{"weight": 2}]}, "server_options[0].address"),
        ({"server_options": [{"address": C}]}, "server_options[0].address"),
        ({"server_options": [{"address": A}, {"address": A}]}, "server_options[1].address"),
        ({"server_options": [{"address": A, "weight": 0}]}, "server_options[0].weight"),
        ({"server_options": [{"address": A, "max_fails": -1}]}, "server_options[0].max_fails"),
        ({"server_options": [{"address": A, "fail_timeout": "5s;"}]}, "server_options[0].fail_timeout"),
        ({"server_options": [{"address": A, "fail_timeout": "500ms"}]}, "server_options[0].fail_timeout"),
        ({"server_options": [{"address": A, "slow_start": "5s"}]}, "server_options[0].slow_start"),
        ({"method": "ip_hash", "server_options": [{"address": A, "backup": True}]}, "server_options[0].backup"),
        ({"method": "sticky", "server_options": [{"address": A, "backup": True}]}, "server_options[0].backup"),
        ({"server_options": [{"address": A, "backup": True}, {"address": B, "down": True}]}, "server_options"),
    ],
)
def test_bad_upstreams_are_refused_with_their_path(upstream, path):
    (problem,) = problems(pool(**upstream))
    assert problem.startswith(f"nginx_sites[shop].upstream.{path}: ")


@pytest.mark.parametrize(
    ("places", "path"),
    [
        ([{"path": "live/"}], "[0].path"),
        ([{"path": "/"}], "[0].path"),
        ([{"path": "/a b"}], "[0].path"),
        ([{"path": "/a"}, {"path": "/a"}], "[1].path"),
        ([{"path": "/own/"}], "[0].path"),
        ([{"path": "/static/"}], "[0].path"),
        ([{"path": "/a", "read_timeout": "long"}], "[0].read_timeout"),
        ([{"path": "/a", "client_max_body_size": "1 GB"}], "[0].client_max_body_size"),
        ([{"path": "/a", "buffering": "perhaps"}], "[0].buffering"),
        ([{"path": "/a", "match": "glob"}], "[0].match"),
        ([{"buffering": False}], "[0].path"),
    ],
)
def test_bad_places_are_refused_with_their_path(places, path):
    own = [{"path": "/own/", "config": "return 204;"}]
    static = [{"url": "/static/", "path": "/srv/static"}]
    (problem,) = problems({**SHOP, "app_locations": places, "locations": own, "static": static})
    assert problem.startswith(f"nginx_sites[shop].app_locations{path}: ")


def test_places_need_an_app():
    (problem,) = problems({"name": "files", "domains": ["files.test"], "app_locations": [{"path": "/a"}]})
    assert problem.startswith("nginx_sites[files].app_locations: are given and the site has no upstream")


def test_good_input_passes():
    places = [{"path": "/a", "match": "exact"}, {"path": "/a"}, {"path": "^/[a-z]{2}/$", "match": "regex"}]
    assert problems({**pool(method="sticky", sticky_cookie="sessionid"), "app_locations": places}) == []
    assert problems(pool(method="hash", hash_key="$host$uri")) == []
    assert problems(pool(A, server_options=[{"address": A, "weight": 2}])) == [], "one that may get company"


def servers_of(root: Directive) -> tuple[list[str], list[str]]:
    """The lines of the upstream: its servers, and what else it has."""
    (found,) = root.all("upstream")
    lines = [" ".join(entry.words) for entry in found.block]
    return [line for line in lines if line.startswith("server ")], [
        line for line in lines if not line.startswith("server ")
    ]


@pytest.mark.parametrize(
    ("upstream", "lines"),
    [
        ({}, ["zone app_shop 256k"]),
        ({"method": "least_conn"}, ["zone app_shop 256k", "least_conn"]),
        ({"method": "ip_hash"}, ["zone app_shop 256k", "ip_hash"]),
        ({"method": "hash", "hash_key": "$uri"}, ["zone app_shop 256k", "hash $uri consistent"]),
        ({"method": "sticky"}, ["zone app_shop 256k", "hash $sticky_shop consistent"]),
        # Nginx asks for the method before keepalive.
        ({"method": "least_conn", "keepalive": 4},
         ["zone app_shop 256k", "least_conn", "keepalive 4", "keepalive_timeout 1s"]),
    ],
)  # fmt: skip
def test_methods(site, upstream, lines):  # noqa: F811
    servers, others = servers_of(site(pool(**upstream)))
    assert servers == [f"server {server} max_fails=2 fail_timeout=5s" for server in (A, B)]
    assert others == lines


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "max_fails=2 fail_timeout=5s"),
        ({"weight": 3}, "weight=3 max_fails=2 fail_timeout=5s"),
        ({"backup": True}, "max_fails=2 fail_timeout=5s backup"),
        ({"down": True}, "max_fails=2 fail_timeout=5s down"),
        ({"max_fails": 0, "fail_timeout": "30s"}, "max_fails=0 fail_timeout=30s"),
    ],
)
def test_what_is_said_about_a_server(site, options, line):  # noqa: F811
    servers, _others = servers_of(site(pool(server_options=[{"address": B, **options}])))
    assert servers == [f"server {A} max_fails=2 fail_timeout=5s", f"server {B} {line}"]


def test_one_server_stands_there_twice_and_is_never_down(site):  # noqa: F811
    servers, others = servers_of(site(pool(A)))
    assert (servers, others) == ([f"server {A} max_fails=0"] * 2, [])


@pytest.mark.parametrize(("servers", "tries"), [((A,), 2), ((A, B), 2), ((A, B, C), 3), ((A, B, C, "10.0.0.8:80"), 3)])
def test_a_request_finds_the_server_that_is_left(servers, tries):
    (found,) = config(pool(*servers))["sites"]
    assert found["upstream"]["tries"] == tries


@pytest.mark.parametrize(
    ("cookie", "key", "header"),
    [
        ("", [["default", "$cookie_djangofleet_server"], ["", "$request_id"]], True),
        ("sessionid", [["default", "$cookie_sessionid"], ["", "$remote_addr"]], False),
    ],
)
def test_what_a_visitor_stays_by(site, cookie, key, header):  # noqa: F811
    root = site(pool(method="sticky", sticky_cookie=cookie))
    maps = {found.args[1]: [entry.words for entry in found.block] for found in root.all("map")}
    assert maps["$sticky_shop"] == key
    assert ("$sticky_header_shop" in maps) is header
    (server,) = root.all("server")
    assert (server.location("/").headers().get("Set-Cookie") == "$sticky_header_shop") is header
    if header:
        given = {words[0]: words[1] for words in maps["$sticky_header_shop"]}
        assert given["default"] == ""
        assert given["on:"] == f"{given[':']}; Secure"


def test_places(site):  # noqa: F811
    places = [
        {"path": "/live/", "buffering": False, "read_timeout": "1h"},
        {"path": "/up", "match": "exact", "request_buffering": False, "client_max_body_size": "1g"},
        {"path": "^/x{2}/", "match": "regex", "buffering": True},
    ]
    maintenance = {"page": "/srv/page.html"}
    (server,) = site({**SHOP, "app_locations": places, "request_buffering": False, "maintenance": maintenance}).all(
        "server"
    )
    assert server.one("proxy_request_buffering") == "off"
    found = {" ".join(place.args): place for place in server.all("location")}
    live, up, regex, root = (found[path] for path in ("/live/", "= /up", "~ ^/x{2}/", "/"))
    assert (live.one("proxy_buffering"), live.one("proxy_read_timeout"), live.one("proxy_send_timeout")) == (
        "off",
        "1h",
        "1h",
    )
    assert (up.one("proxy_request_buffering"), up.one("client_max_body_size")) == ("off", "1g")
    assert regex.one("proxy_buffering") == "on"
    for place in (live, up, regex, root):
        assert place.one("proxy_pass") == "http://app_shop"
        assert place.one("limit_conn") == "djangofleet_addresses 100", "limits hold for them too"
        assert place.all("if"), "and so does the page of maintenance"
    assert root.all("proxy_buffering") == []


def test_places_stay_where_a_location_takes_the_rest(site):  # noqa: F811
    own = [{"path": "/", "config": "return 204;"}]
    (server,) = site({**SHOP, "app_locations": [{"path": "/live/"}], "locations": own}).all("server")
    assert server.location("/").one("return") == "204"
    assert server.location("/live/").one("proxy_pass") == "http://app_shop"
