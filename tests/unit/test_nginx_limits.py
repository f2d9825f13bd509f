"""Who may ask for what, how often, and with which password: the rules, row by row, and what is written of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import test_role_nginx
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_limits, nginx_networks
from test_role_nginx import CERTIFICATE, SHOP, Directive, facts

DOCS = Path(__file__).resolve().parents[2] / "docs"
# The fixtures of its tests
nginx, site, tree, problems = (getattr(test_role_nginx, name) for name in ("nginx", "site", "tree", "problems"))

HASH = "$6$salt$hash.of/the0password"
LIMITS: dict[str, Any] = {
    "rate_limit": {"rate": "20r/s", "burst": 40},
    "rate_limits": [
        {"path": "/login", "rate": "5r/m", "burst": 2, "delay": 0},
        {"path": "/api/", "rate": "10r/s", "burst": 20, "delay": 10, "key": "header X-Api-Key"},
        {"path": r"\.csv$", "match": "regex", "rate": "1r/m", "key": "path"},
    ],
    "allow": ["10.0.0.0/8", "2001:db8::1"],
    "deny": ["10.1.0.7/16"],
    "methods": ["GET", "POST"],
    "access": [
        {"path": "/hook/", "allow": ["0.0.0.0/0", "::/0"]},
        {"path": "/hook/own/", "match": "exact", "allow": ["192.0.2.7"], "methods": ["POST"]},
    ],
    "basic_auth": [{"path": "/staff/", "realm": "Staff only", "users": [{"name": "ada", "password_hash": HASH}]}],
    "open_paths": ["/healthz"],
    "bots": [{"name": "ai_crawlers"}, {"name": "Slurp", "policy": "limit"}],
    "robots": {"mode": "policy", "disallow": ["/search"], "sitemaps": ["https://shop.example.com/sitemap.xml"]},
}
FILES = {kind: [{"url": f"/{kind}/", "path": f"/srv/{kind}"}] for kind in ("static", "media")}
FULL = {**SHOP, **FILES, **LIMITS, "certificate": CERTIFICATE, "redirect_to_https": False}


def maps(root: Directive) -> dict[str, tuple[str, dict[str, str]]]:
    """The source and the rows of each map, by the variable it makes."""
    return {found.args[1]: (found.args[0], dict(entry.words for entry in found.block)) for found in root.all("map")}


# Who may ask ----------------------------------------------------------------------------------------------------------


def test_lists_of_addresses(site):
    root = site(FULL)
    geos = {found.args[0]: dict(entry.words for entry in found.block) for found in root.all("geo")}
    source, rows = maps(root)["$denied_shop"]
    assert source == "$uri"
    # The exact path before the beginning of one; the site's own lists for all others.
    assert list(rows)[-2:] == [r"~^/hook/own/\z", "~^/hook/"]
    assert geos[rows["default"]] == {"default": "1", "10.1.0.0/16": "1", "10.0.0.0/8": "", "2001:db8::1/128": ""}
    assert geos[rows[r"~^/hook/own/\z"]] == {"default": "1", "192.0.2.7/32": ""}
    # Nginx warns of 0.0.0.0/0 beside a default.
    assert set(geos[rows["~^/hook/"]]) == {"default", "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"}
    assert rows[r"~^/\.well-known/acme-challenge/"] == rows[r"~^/healthz\z"] == ""
    for server in root.all("server"):
        assert [found.one("return") for found in server.all("if") if found.args == ["($denied_shop)"]] == ["403"]


def test_only_denied_addresses_are_kept_out(site):
    root = site({**SHOP, "deny": ["192.0.2.0/24"]})
    (geo,) = root.all("geo")
    assert [entry.words for entry in geo.block] == [["default", ""], ["192.0.2.0/24", "1"]]


def test_methods(site):
    root = site(FULL)
    found = maps(root)
    _source, rows = found["$method_shop"]
    assert found[rows["default"]] == (
        "$request_method",
        {"default": "GET, POST, HEAD", r"~^(?:GET|POST|HEAD)\z": ""},
    )
    assert found[rows[r"~^/hook/own/\z"]][1]["default"] == "POST"
    assert "~^/hook/" not in rows, "the site's methods hold where a path names none"
    for server in root.all("server"):
        assert server.headers()["Allow"] == "$method_shop"
        assert [place.one("return") for place in server.all("if") if place.args == ["($method_shop)"]] == ["405"]


def test_passwords(site, tree, evaluate, render):
    wish = {
        **FULL,
        "basic_auth": [*LIMITS["basic_auth"], {"path": "/static/x/", "users": LIMITS["basic_auth"][0]["users"]}],
    }
    root = site(wish)
    found = maps(root)
    (_plain, tls) = root.all("server")
    assert (tls.one("auth_basic"), tls.one("auth_basic_user_file")) == ("$realm_shop", "$users_shop")
    assert not [place for place in tls.all("location") if place.all("auth_basic")]
    assert found["$realm_shop"][1]["default"] == "off"
    assert found["$realm_shop"][1]["~^/staff/"] == "Staff only"
    assert found["$realm_shop"][1][r"~^/healthz\z"] == "off"
    files = evaluate("nginx", "__nginx_config.password_files", nginx_sites=[wish])
    staff, static = (f"/etc/nginx/users/{file['name']}" for file in files)
    assert found["$users_shop"][1] == {"default": "", "~^/static/x/": static, "~^/staff/": staff}
    assert render("nginx", "etc/nginx/users/site.j2", file=files[0]) == f"ada:{HASH}\n"
    (entry,) = [entry for entry in tree["entries"] if entry["path"] == "/etc/nginx/users/{name}"]
    assert (entry["mode"], entry["group"], entry["sensitive"]) == ("0640", "www-data", True)
    assert {"path": "/etc/nginx/users", "patterns": ["*"]} in tree["purge"]


def test_a_password_file_stays_that_of_its_path(evaluate):
    """Nginx reads it anew with each request, also before it has loaded the configuration that names it."""
    one = {"path": "/staff/", "users": LIMITS["basic_auth"][0]["users"]}
    other = {**one, "path": "/press/"}
    regex = {**one, "match": "regex"}
    names = [
        {place["path"] + place.get("match", ""): file["name"] for place, file in zip(places, files, strict=True)}
        for places in ([one], [other, one, regex])
        for files in [evaluate("nginx", "__nginx_config.password_files", nginx_sites=[{**SHOP, "basic_auth": places}])]
    ]
    assert names[0]["/staff/"] == names[1]["/staff/"]
    assert len(set(names[1].values())) == 3


# How often ------------------------------------------------------------------------------------------------------------


def test_rates(nginx, site):
    root = site(FULL)
    found, server = maps(root), root.all("server")[1]
    zones = {
        words[1].split(":")[0].removeprefix("zone="): (words[0], words[2]) for words in root.values("limit_req_zone")
    }
    # Nginx refuses to load another key for a zone that it has: the key is always a variable of the zone's own name.
    assert all(key == f"${name}" for name, (key, _rate) in zones.items())
    requests = {words[0].removeprefix("zone="): words[1:] for words in server.values("limit_req")}
    assert set(requests) == set(zones)
    told = {}
    for name in zones:
        for where, key in found[f"${name}"][1].items():
            if key:
                told[where] = (key, zones[name][1], requests[name])
    assert told["default"] == ("$djangofleet_client", "rate=20r/s", ["burst=40", "nodelay"])
    assert told["~^/login"] == ("$djangofleet_client", "rate=5r/m", ["burst=2"])
    assert told[r"~\.csv$"] == ("$uri", "rate=1r/m", [])
    key, *rest = told["~^/api/"]
    assert rest == ["rate=10r/s", ["burst=20", "delay=10"]]
    assert found[key] == ("$http_x_api_key", {"default": "header $http_x_api_key", r"~^\z": "$djangofleet_client"})
    # A page has more files than a visitor asks for pages.
    assert found["$limit_shop"][1]["~^/static/"] == found["$limit_shop"][1]["~^/media/"] == ""
    assert nginx("djangofleet/limits.conf").one("limit_req_status") == "429"


def test_an_app_location_among_files_is_the_app(site):
    places = [{"path": "/media/resize/"}, {"path": "^/static/x", "match": "regex"}, {"path": "/live/"}]
    found = maps(site({**FULL, "app_locations": places}))
    rows = list(found["$limit_shop"][1].items())
    assert rows.index(("~^/media/resize/", "$djangofleet_client")) < rows.index(("~^/media/", ""))
    rows = list(found["$blocked_shop"][1].items())
    assert rows[1:] == [("~^/media/resize/", "$djangofleet_blocked"), ("~^/static/", ""), ("~^/media/", "")]


def test_how_long_to_wait_is_told(nginx, site):
    root = site(FULL)
    found = maps(root)
    pages = "@djangofleet_error", "@djangofleet_error_json"
    for page in pages:
        assert root.all("server")[1].location(page).headers()["Retry-After"] == "$retry_shop"
    assert found["$retry_shop"] == ("$status", {"default": "$djangofleet_retry_after", "429": "$wait_shop"})
    assert found["$wait_shop"][1] == {"default": "1", r"~\.csv$": "60", "~^/login": "12", "~^/api/": "1"}
    # Where nothing but the number of requests is limited.
    for page in pages:
        assert site(SHOP).all("server")[0].location(page).headers()["Retry-After"] == "$djangofleet_retry_after"
    assert maps(nginx("djangofleet/errors.conf"))["$djangofleet_retry_after"][1]["429"] == "1"


@pytest.mark.parametrize(("rate", "seconds"), [("20r/s", 1), ("1r/s", 1), ("5r/m", 12), ("7r/m", 9), ("90r/m", 1)])
def test_interval(rate, seconds):
    assert nginx_limits.interval(rate) == seconds


def test_what_a_location_needs_is_evaluated_before_it_is_chosen(site):
    (words,) = site(FULL).all("server")[1].values("set")
    assert set(words[1].split("$")[1:]) == {
        *(f"limit_shop{suffix}" for suffix in ("", "_0", "_1", "_2", "_bots")), "realm_shop", "users_shop", "wait_shop",
    }  # fmt: skip
    assert not site(SHOP).all("server")[0].all("set")


def test_an_own_page_of_an_error_is_not_refused_in_its_turn(site):
    """Nginx goes through the server's own directives again on the way to a page that is a path."""
    root = site({**FULL, "error_pages": {"403": "/srv/403.html", "429": "/srv/429.html"}})
    for server in root.all("server"):
        (way,) = [found for found in server.all("if") if found.all("break")]
        assert way.args == ["($uri", "~", r"^/\.djangofleet/errors/", ")"]
        assert server.block.index(way) < min(server.block.index(found) for found in server.all("set"))
        refusals = [
            found for found in server.all("if") if found.args[0].startswith(("($denied", "($method", "($block"))
        ]
        assert len(refusals) == 3
        assert server.block.index(way) < min(map(server.block.index, refusals))
        # Before the path changes to that of the page
        assert "$wait_shop" in server.one("set")
        # Otherwise a visitor who asks for such a path would be refused nothing.
        assert server.location("^~", "/.djangofleet/errors/").all("internal")
    assert not [found for found in site(FULL).all("server")[1].all("if") if found.all("break")]


# What is refused ------------------------------------------------------------------------------------------------------


def blocked(nginx, path: str, **variables: Any) -> bool:
    rows = maps(nginx("djangofleet/limits.conf", **variables))["$djangofleet_blocked"][1]
    return any(re.search(row.removeprefix("~*"), path, re.I) for row in rows if row.startswith("~"))


@pytest.mark.parametrize(
    ("path", "is_blocked"),
    [
        *((path, True) for path in (
            "/.env", "/.git/config", "/a/.svn/entries", "/.aws/credentials", "/wp-login.php", "/a/B.PHP", "/x.php/y",
            "/wp-admin/", "/wp-includes/x", "/cgi-bin/luci", "/phpMyAdmin/", "/server-status", "/dump.sql", "/a.bak",
            "/prod.env", "/x.aspx", "/x.jsp", "/_ignition/execute-solution", "/HNAP1/", "/.well-knownx",
        )),
        *((path, False) for path in (
            "/", "/.well-known/security.txt", "/.well-known", "/admin/login/", "/wp/", "/php", "/a.phpx", "/api/v1.2/",
            "/sql/", "/environment", "/a.old.html", "/server-status-page", "/blog/what-is-php/", "/@me/", "/a..b",
        )),
    ],
)  # fmt: skip
def test_what_scanners_look_for(nginx, path, is_blocked):
    assert blocked(nginx, path) is is_blocked


def test_blocked_paths_can_be_changed_and_switched_off(nginx, site):
    assert blocked(nginx, "/old-shop/x", nginx_blocked_paths=["^/old-shop/"])
    assert not blocked(nginx, "/.env", nginx_blocked_paths=["^/old-shop/"])
    rows = maps(site(FULL))["$blocked_shop"][1]
    assert rows == {"default": "$djangofleet_blocked", "~^/static/": "", "~^/media/": ""}
    for variables in ({"nginx_blocked_paths": []}, {"nginx_sites": [{**SHOP, "blocked_paths_enabled": False}]}):
        wish = variables.get("nginx_sites", [SHOP])[0]
        root = site(wish, **{name: value for name, value in variables.items() if name != "nginx_sites"})
        assert "$blocked_shop" not in maps(root)


@pytest.mark.parametrize(
    ("uri", "refused"),
    [
        *((uri, True) for uri in (
            "/a/../b", "/a/..", "/..", "/./a", "/a/.", "/a/%2e%2E/b", "/a%2f..%2Fb", "/a/.%2e", "/a/..?x", "/a/..#b",
        )),
        *((uri, False) for uri in ("/", "/a..b", "/a/..b", "/a/b..", "/...", "/a?b=/../", "/a?/..", "/.well-known/x")),
    ],
)  # fmt: skip
def test_paths_that_two_readers_understand_differently(nginx, uri, refused):
    _source, rows = maps(nginx("djangofleet/limits.conf"))["$djangofleet_ambiguous"]
    (row,) = [row for row in rows if row.startswith("~")]
    assert bool(re.search(row.removeprefix("~*"), uri, re.I)) is refused


def test_what_nginx_blames_itself_for_is_the_clients(nginx, site):
    refuse = nginx("djangofleet/refuse.conf")
    assert refuse.values("error_page") == [
        ["494", "=431", "/djangofleet-refused/431"], ["501", "505", "=400", "/djangofleet-refused/400"],
    ]  # fmt: skip
    for code in ("431", "400"):
        location = refuse.location("=", f"/djangofleet-refused/{code}")
        assert location.all("internal")
        assert location.one("return").split()[0] == code
    for server in (*site(FULL).all("server"), *nginx("djangofleet/default_server.conf").all("server")):
        assert ["djangofleet/refuse.conf"] in server.values("include")


# Bots -----------------------------------------------------------------------------------------------------------------


def test_the_first_word_about_a_bot_counts():
    policies = [
        {"name": "ClaudeBot", "policy": "allow"},
        {"name": "ai_crawlers", "policy": "deny"},
        {"name": "gptbot", "policy": "limit"},
        {"name": "Own", "policy": "limit"},
    ]
    found = nginx_limits.named_bots(policies)
    assert (found["ClaudeBot"], found["GPTBot"], found["Own"]) == ("allow", "deny", "limit")
    assert "gptbot" not in found


def test_bots(site):
    root = site(FULL, nginx_bots=[{"name": "Own"}, {"name": "Slurp"}], nginx_bot_rate_limit={"rate": "6r/m"})
    found = maps(root)
    agents = found["$bot_shop"][1]
    assert agents[nginx_limits.bot_pattern("GPTBot")] == agents[nginx_limits.bot_pattern("Own")] == "deny"
    assert agents[nginx_limits.bot_pattern("Slurp")] == "limit Slurp", "the site's own policy stands first"
    assert found["$refused_shop"][1][r"~^deny:/robots\.txt\z"] == ""
    assert ["$limit_shop_bots", "zone=limit_shop_bots:10m", "rate=6r/m"] in root.values("limit_req_zone")
    (server, _tls) = root.all("server")
    assert [place.one("return") for place in server.all("if") if place.args == ["($refused_shop)"]] == ["403"]
    assert not maps(site(SHOP)).keys() & {"$bot_shop", "$refused_shop"}


@pytest.mark.parametrize(
    ("agent", "is_it"),
    [("Mozilla/5.0 (compatible; GPTBot/1.2)", True), ("gptbot", True), ("NotGPTBot", False), ("GPTBots", False)],
)
def test_a_bot_is_known_by_a_word_of_its_own(agent, is_it):
    assert bool(re.search(nginx_limits.bot_pattern("GPTBot").removeprefix("~*"), agent, re.I)) is is_it


def test_robots(site):
    server = site(FULL).all("server")[1]
    location = server.location("=", "/robots.txt")
    assert location.one("default_type") == "text/plain"
    ((status, text),) = location.values("return")
    assert status == "200"
    assert "User-agent: GPTBot\n" in text
    assert text.endswith(
        "\nUser-agent: Slurp\nCrawl-delay: 1\nDisallow: /search\n\nUser-agent: *\nDisallow: /search\n"
        "\nSitemap: https://shop.example.com/sitemap.xml\n"
    )
    ((_status, text),) = (
        site({**SHOP, "robots": {"mode": "deny_all"}}).all("server")[0].location("=", "/robots.txt").values("return")
    )
    assert text == "User-agent: *\nDisallow: /\n"
    assert not [place for place in site(SHOP).all("server")[0].all("location") if "/robots.txt" in place.args]


# TLS, headers and proxies ---------------------------------------------------------------------------------------------


def test_modern_is_tls_1_3_alone(nginx):
    modern, usual = (nginx("djangofleet/tls.conf", nginx_tls_profile=name) for name in ("modern", "intermediate"))
    assert modern.values("ssl_protocols") == [["TLSv1.3"]]
    assert not modern.all("ssl_ciphers")
    assert usual.values("ssl_protocols") == [["TLSv1.2", "TLSv1.3"]]
    assert len(usual.one("ssl_ciphers").split(":")) == 6


def test_http3(nginx, site):
    secure = {**SHOP, "certificate": CERTIFICATE}
    default = nginx("djangofleet/default_server.conf", nginx_http3_enabled=True, nginx_ipv6_enabled=True).all("server")[
        1
    ]
    sockets = [words for words in default.values("listen") if "quic" in words]
    assert sockets == [[place, "quic", "reuseport", "default_server"] for place in ("443", "[::]:443")]
    plain, tls = site(secure, nginx_http3_enabled=True, nginx_https_public_port=8443).all("server")
    assert ["443", "quic"] in tls.values("listen")
    assert not [words for words in tls.values("listen") if "reuseport" in words], "one server makes the sockets"
    assert tls.headers()["Alt-Svc"] == 'h3=":8443"; ma=86400'
    assert "Alt-Svc" not in plain.headers()
    assert "Alt-Svc" not in site(secure).all("server")[1].headers()


def test_http3_is_refused_where_nginx_has_none(problems):
    assert problems(SHOP, nginx_http3_enabled=True) == []
    (line,) = problems(SHOP, nginx_http3_enabled=True, **facts("12"))
    assert line.startswith("nginx_http3_enabled: is on and Nginx of Debian 12 has no HTTP/3; ")


def test_buffers_of_headers(nginx):
    assert nginx("nginx.conf").all("http")[0].values("large_client_header_buffers") == [["4", "8k"]]
    http = nginx("nginx.conf", nginx_large_client_header_buffers={"number": 8, "size": "16k"}).all("http")[0]
    assert http.values("large_client_header_buffers") == [["8", "16k"]]
    rows = maps(nginx("djangofleet/maps.conf", nginx_max_uri_length=77))["$djangofleet_too_long"][1]
    assert "~^.{77}." in rows


def test_networks_of_a_file(tmp_path, nginx, problems):
    file = tmp_path / "cdn.txt"
    # Editors of Windows put a mark before the first word.
    file.write_text("\ufeff# published\n192.0.2.0/24  # here\n\n2001:db8::/32\n10.0.0.0/8\n")
    real_ip = {"trusted": ["10.0.0.0/8"], "trusted_files": [str(file)], "passed_headers": ["X-Forwarded-User"]}
    assert problems(SHOP, nginx_real_ip={**real_ip, "trusted": []}) == []
    root = nginx("djangofleet/maps.conf", nginx_real_ip=real_ip)
    assert root.values("set_real_ip_from") == [["10.0.0.0/8"], ["192.0.2.0/24"], ["2001:db8::/32"]]
    assert [entry.words[0] for entry in root.all("geo")[0].block][1:] == ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
    file.write_text("10.0.0.0/8\nexample.com\n")
    (line,) = problems(SHOP, nginx_real_ip=real_ip)
    assert line.startswith("nginx_real_ip.trusted_files[0], line 2: found 'example.com'; give ")
    file.write_text("# nothing\n")
    (line,) = problems(SHOP, nginx_real_ip=real_ip)
    assert line.startswith("nginx_real_ip.trusted_files[0]: names no network")
    for missing in (str(tmp_path / "none"), "relative.txt"):
        (line,) = problems(SHOP, nginx_real_ip={"trusted_files": [missing]})
        assert line.startswith(f"nginx_real_ip.trusted_files[0]: found '{missing[:70]}")


@pytest.mark.parametrize("name", ["locations", "app_locations"])
def test_robots_txt_has_one_place(problems, name):
    place = {"path": "/robots.txt", "match": "exact", **({"config": "return 204;"} if name == "locations" else {})}
    (line,) = problems({**SHOP, name: [place], "robots": {"mode": "deny_all"}})
    assert line == f"nginx_sites[shop].robots.mode: found 'deny_all' and {name} has /robots.txt; give mode: app"


def test_lines_of_a_file():
    assert nginx_networks.networks_in("a # b\n#\n\n c \n") == [(1, "a"), (4, "c")]


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"rate_limit": {"rate": "20"}}, "rate_limit.rate: found '20'"),
        ({"rate_limit": {"rate": "0r/s"}}, "rate_limit.rate: found '0r/s'"),
        ({"rate_limit": {"rate": "1r/s; x"}}, "rate_limit.rate: "),
        ({"rate_limit": {"rate": "1r/s", "burst": -1}}, "rate_limit.burst: found '-1'"),
        ({"rate_limit": {"rate": "1r/s", "burst": 2, "delay": 3}}, "rate_limit.delay: found '3'; give a "),
        ({"rate_limit": {"rate": "1r/s", "key": "cookie"}}, "rate_limit.key: found 'cookie'"),
        ({"rate_limit": {"rate": "1r/s", "key": "header a b"}}, "rate_limit.key: "),
        ({"rate_limits": [{"path": "login", "rate": "1r/s"}]}, "rate_limits[0].path: found 'login'"),
        ({"access": [{"path": "/caf%C3%A9/", "deny": ["::1"]}]}, "access[0].path: found '/caf%C3%A9/'; give the path "),
        ({"open_paths": ["/a%20b"]}, "open_paths[0]: found '/a%20b'; give the path without "),
        ({"rate_limits": [{"path": "(", "match": "regex", "rate": "1r/s"}]}, "rate_limits[0].path: found '('"),
        ({"allow": ["example.com"]}, "allow[0]: found 'example.com'"),
        ({"deny": ["10.0.0.0/33"]}, "deny[0]: found '10.0.0.0/33'"),
        ({"allow": ["10.0.0.1/8"], "deny": ["10.0.0.0/8"]}, "allow, nginx_sites[shop].deny: found '10.0.0.0/8'"),
        ({"methods": ["get"]}, "methods[0]: found 'get'"),
        ({"access": [{"path": "/x"}]}, "access[0]: says nothing"),
        ({"access": [{"path": "/x", "deny": ["::1"]}, {"path": "/x", "allow": ["::1"]}]}, "access: found '/x'"),
        ({"basic_auth": [{"path": "/x", "users": []}]}, "basic_auth[0].users: is empty"),
        ({"open_paths": ["healthz"]}, "open_paths[0]: found 'healthz'"),
        ({"bots": [{"name": 'a"b'}]}, "bots["),
        ({"robots": {"mode": "policy", "disallow": ["/*.pdf$"]}}, "robots.disallow[0]: "),
        ({"robots": {"mode": "policy", "sitemaps": ["/sitemap.xml"]}}, "robots.sitemaps[0]: "),
        ({"robots": {"disallow": ["/x"]}}, "robots.disallow: is given and mode is app"),
        ({"robots": {"mode": "policy", "disallow": ["/" + "x" * 4000]}}, "robots: makes a text of"),
        (
            {"robots": {"mode": "deny_all"}, "locations": [{"path": "/robots.txt", "match": "exact", "config": ""}]},
            "robots.mode: found 'deny_all'",
        ),
    ],
)  # fmt: skip
def test_wrong_limits_are_refused_with_their_path(problems, change, path):
    (line,) = problems({**SHOP, **change})
    assert line.startswith(f"nginx_sites[shop].{path}")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"nginx_blocked_paths": ["("]}, "nginx_blocked_paths[0]: found '('"),
        ({"nginx_bots": [{"name": "$x"}]}, "nginx_bots["),
        ({"nginx_bot_rate_limit": {"rate": "fast"}}, "nginx_bot_rate_limit.rate: found 'fast'"),
        ({"nginx_large_client_header_buffers": {"number": 0}}, "nginx_large_client_header_buffers.number: "),
        ({"nginx_large_client_header_buffers": {"size": "8kb"}}, "nginx_large_client_header_buffers.size: "),
        ({"nginx_max_uri_length": 70000}, "nginx_max_uri_length: found '70000'"),
    ],
)
def test_wrong_limits_of_a_host_are_refused(problems, change, path):
    (line,) = problems(SHOP, **change)
    assert line.startswith(path)


@pytest.mark.parametrize("secret", ["hunter2", "{PLAIN}hunter2", "$6$a:b", "", "$6$x\ny", "hunter2$6$a"])
def test_a_password_is_no_hash_and_is_never_shown(problems, secret):
    rule = {"path": "/x", "users": [{"name": "ada", "password_hash": secret}]}
    (line,) = problems({**SHOP, "basic_auth": [rule]})
    assert line.startswith("nginx_sites[shop].basic_auth[0].users[ada].password_hash: found '(not shown)'")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "value", [HASH, "$apr1$salt$x/y.z", "$y$j9T$salt$hash", "$2y$05$abcdefghijklmnopqrstuv", "{SSHA}abc+/=="]
)
def test_hashes(problems, value):
    rule = {"path": "/x", "users": [{"name": "ada", "password_hash": value}]}
    assert problems({**SHOP, "basic_auth": [rule]}) == []


@pytest.mark.parametrize("name", ["a:b", "a b", "#a", "", "ada\n"])
def test_names_of_users(problems, name):
    rule = {"path": "/x", "users": [{"name": name, "password_hash": HASH}]}
    (line,) = problems({**SHOP, "basic_auth": [rule]})
    assert ".name: " in line


@pytest.mark.parametrize("value", ['/a"b', "/a\\b", "/a;b{c}", "/a $x", "/a#b"])
def test_hostile_paths_stay_one_word(site, value):
    wish = {
        **SHOP,
        "rate_limits": [{"path": value, "rate": "1r/s"}],
        "access": [{"path": value, "deny": ["192.0.2.1"]}],
    }
    wish["basic_auth"] = [{"path": value, "users": [{"name": "ada", "password_hash": HASH}]}]
    root = site(wish)
    for variable in ("$limit_shop_0", "$denied_shop", "$realm_shop"):
        (row,) = [row for row in maps(root)[variable][1] if row.startswith("~^/a")]
        assert re.match(row.removeprefix("~"), value)


# What the guides show -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", ["limits", "tls"])
def test_the_guides_show_good_input(guide, problems, site, tmp_path):
    """Every block, as the role takes it: of an app, of a site, of a host."""
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / f"{guide}.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        given = yaml.safe_load(block.replace("{{ vault_ada_password_hash }}", HASH))
        wishes = [app["nginx"] for app in given.pop("django_apps", [])] + [given.pop("nginx", {})]
        if real_ip := given.get("nginx_real_ip"):
            (tmp_path / "ranges.txt").write_text("192.0.2.0/24\n")
            real_ip["trusted_files"] = [str(tmp_path / "ranges.txt") for _file in real_ip["trusted_files"]]
        for wish in wishes:
            assert problems({**SHOP, **wish}, **given) == []
            assert site({**SHOP, **wish}, **given).all("server")
