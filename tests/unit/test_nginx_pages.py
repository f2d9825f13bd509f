"""The pages of errors, private files and their headers, as the role nginx writes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_pages as rules
from djangoctl import pages as ctl
from djangoctl import render as renderer
from test_role_nginx import SECURE, SHOP, nginx, problems, site  # noqa: F401  (fixtures)

STATUSES = [str(status) for status in rules.STATUSES]


@pytest.mark.parametrize("wish", [SHOP, SECURE, {**SECURE, "redirect_to_https": False}])
def test_what_nginx_itself_answers_has_a_page(site, wish):  # noqa: F811
    for server in site(wish).all("server"):
        if not server.location("/").all("proxy_pass"):
            continue
        # Neither "=" nor a code: the status stays. A location with a name keeps the method, in the log too.
        assert server.values("error_page") == [[*STATUSES, "$djangofleet_error_page"]]
        for name in ("@djangofleet_error", "@djangofleet_error_json"):
            headers = server.location(name).headers()
            assert headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert ("Strict-Transport-Security" in headers) is bool(server.all("ssl_certificate"))
            assert (headers["X-Request-ID"], headers["Cache-Control"]) == ("$request_id", "no-store")
            assert headers["Retry-After"] == "$djangofleet_retry_after"
    assert site({"name": "files", "domains": ["files.test"]}).all("server")[0].all("error_page")


def test_the_page_needs_nothing_from_elsewhere(nginx):  # noqa: F811
    page = nginx("djangofleet/error_page.conf")
    ((_status, text),) = page.values("return")
    assert page.one("default_type") == "text/html"
    # A page under the name of a style sheet is no style sheet.
    assert page.all("types")[0].block == []
    assert "prefers-color-scheme:dark" in text
    assert set(re.findall(r'(?:src|href)="([^"]*)', text)) == {"data:,"}
    assert not re.search(r"url\(|@import|https?:", text)
    known = {"$request_id", "$status", *(f"$djangofleet_error_{name}" for name in ("title", "text", "link"))}
    assert set(re.findall(r"\$\w+", text)) == known
    assert len(text) < 4000, "Nginx takes no longer word"
    # One design: djangoctl writes the page of a closed site.
    assert ctl.STYLE in text
    assert ctl.FLOURISH in text


def test_programs_get_json(nginx):  # noqa: F811
    page = nginx("djangofleet/error_json.conf")
    assert page.one("default_type") == "application/json"
    told = json.loads(re.sub(r"\$\w+", "1", page.values("return")[0][1].replace("\\n", "")))
    assert set(told) == {"status", "title", "detail", "request_id"}
    (accept,) = [found for found in nginx("djangofleet/errors.conf").all("map") if found.args[0] == "$http_accept"]
    ((pattern, place),) = [entry.words for entry in accept.block if entry.name != "default"]
    assert place == "@djangofleet_error_json"
    for header, is_program in (
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("application/vnd.api+json", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/html, application/json", False),
        ("*/*", False),
        ("", False),
    ):
        assert bool(re.search(pattern.removeprefix("~*"), header, re.I)) is is_program, header


def chosen(place: Any, value: str) -> str:
    """What a map of Nginx gives for a value."""
    words = [entry.words for entry in place.block]
    for key, found in words:
        if key == value or (key.startswith("~") and re.search(key[1:], value)):
            return found
    return dict(words).get("default", "")


def test_each_status_has_a_text_and_the_busy_ones_a_time(nginx):  # noqa: F811
    maps = {found.args[1].removeprefix("$djangofleet_"): found for found in nginx("djangofleet/errors.conf").all("map")}
    titles = [chosen(maps["error_title"], status) for status in STATUSES]
    texts = [chosen(maps["error_text"], f"{status} {method}") for status in STATUSES for method in ("GET", "POST")]
    assert len({*titles, "This did not work"}) == len(STATUSES) + 1
    assert "The request was not answered. Please go back and try again." not in texts
    assert not [text for text in (*titles, *texts) if re.search(r"[\"'<>$\\]", text)], "it stands in HTML and in JSON"
    later = [status for status in STATUSES if chosen(maps["retry_after"], status)]
    assert later == ["429", "502", "503", "504"]
    # What was sent into a closed site is lost, and whoever sent it is told.
    assert "Nothing of what you sent was kept" in chosen(maps["error_text"], "503 POST")
    assert "kept" not in chosen(maps["error_text"], "503 HEAD")


def test_an_error_page_of_extra_config_comes_first(site):  # noqa: F811
    (server,) = site({**SHOP, "extra_config": "error_page 502 /own.html;"}).all("server")
    assert [args[0] for args in server.values("error_page")] == ["502", STATUSES[0]]


OWN = {**SHOP, "name": "my-shop", "error_pages": {"502": "/srv/a b/502.html", "404": "/srv/a b/404.html"}}


def test_pages_of_a_site_s_own(site, problems):  # noqa: F811
    assert problems(OWN) == []
    root = site(OWN)
    (server,) = root.all("server")
    maps = {found.args[1]: found for found in root.all("map")}
    for (status, variable), wanted in zip(server.values("error_page")[:2], ("404", "502"), strict=True):
        assert status == wanted
        place = chosen(maps[variable], "@djangofleet_error")
        assert chosen(maps[variable], "@djangofleet_error_json") == "@djangofleet_error_json"
        location = server.location("=", place)
        assert (location.one("root"), location.values("rewrite")) == ("/srv/a b", [["^", f"/{status}.html", "break"]])
        # Nobody asks for it by its address, and what keeps a visitor out lets the page about it through.
        assert location.all("internal")
        assert (location.one("allow"), location.one("auth_basic")) == ("all", "off")
        assert location.values("sub_filter") == [[rules.PLACEHOLDER, "$request_id"]]
        # A release that has none: ours, with the status of the answer.
        (absent,) = location.all("if")
        assert absent.args == ["(!-f", f"/srv/a b/{status}.html", ")"]
        (fallback,) = [found for found in server.all("location") if found.args == ["^~", rules.URL]]
        assert absent.values("rewrite")[0][1].startswith(rules.URL)
        assert fallback.all("internal")
        assert ["djangofleet/error_page.conf"] in fallback.values("include")
        assert "Content-Security-Policy" not in location.headers()


def test_what_is_refused_gets_its_page(site):  # noqa: F811
    """On its way to a file an error comes to the server's own rules again, which refuse it as they did before."""
    refused = {"deny": ["192.0.2.0/24"], "methods": ["GET"]}
    (server,) = site({**OWN, **refused}).all("server")
    names = [found.name for found in server.block]
    (way,) = [number for number, found in enumerate(server.block) if found.args[:1] == ["($uri"]]
    assert server.block[way].args == ["($uri", "~", r"^/\.djangofleet/errors/", ")"]
    assert server.block[way].all("break")
    first = min(number for number, found in enumerate(server.block) if "_my_hshop" in " ".join(found.args))
    assert way < first
    assert names[way - 1] == "include", "requests that no app is to see have no page"
    # Without such a page no request comes that way.
    (plain,) = site({**SHOP, **refused}).all("server")
    assert not [found for found in plain.all("if") if found.args[:1] == ["($uri"]]


@pytest.mark.parametrize(
    ("pages", "line"),
    [
        ({"418": "/a"}, "nginx_sites[shop].error_pages: found '418'; give one of 401, 403, 404, 405, 413"),
        ({"400": "/a"}, "nginx_sites[shop].error_pages: found '400'"),
        ({"404": "a.html"}, "nginx_sites[shop].error_pages.404: found 'a.html'; give the absolute path of a file"),
        ({"404": "/a/$b"}, "nginx_sites[shop].error_pages.404: found '/a/$b'"),
        ({"404": "/a/"}, "nginx_sites[shop].error_pages.404: found '/a/'"),
        ({"404": None}, "nginx_sites[shop].error_pages.404: found"),
        ({404: "/a"}, "nginx_sites[shop].error_pages: found"),
    ],
)
def test_pages_that_cannot_be(problems, pages, line):  # noqa: F811
    (found,) = problems({**SHOP, "error_pages": pages})
    assert found.startswith(line)


def test_maintenance(nginx, site):  # noqa: F811
    page = {"page": "/srv/shop/static/.maintenance.html", "allow": ["192.0.2.7", "2001:db8::/32"]}
    root = site({**SHOP, "name": "my-shop.1", "maintenance": page})
    (geo,) = root.all("geo")
    assert [entry.words for entry in geo.block] == [["default", "yes"], ["192.0.2.7", ""], ["2001:db8::/32", ""]]
    (server,) = root.all("server")
    # A location is no place for a set in an if. All but the app goes on: files, and the challenges of an authority.
    (closed,) = [test for test in server.all("if") if test.args == ["(-f", page["page"], ")"]]
    assert closed.values("set") == [["$closed", geo.args[0]]]
    assert server.values("set") == [["$closed", ""]]
    (answer,) = server.location("/").all("if")
    assert (answer.args, answer.one("return")) == (["($closed)"], "503")
    assert server.values("error_page")[0] == ["503", "$djangofleet_maintenance_page"]
    location = server.location("@djangofleet_maintenance")
    assert location.one("root") == "/srv/shop/static"
    # A password of the site does not keep the page from visitors.
    assert (location.one("allow"), location.one("auth_basic")) == ("all", "off")
    assert location.values("rewrite") == [["^", "/.maintenance.html", "break"]]
    assert (location.one("auth_basic"), location.one("allow")) == ("off", "all"), "the page is for everybody"
    assert location.one("limit_req") == "zone=djangofleet_nobody"
    assert location.headers()["X-Request-ID"] == "$request_id"
    assert location.headers()["Retry-After"] == "$djangofleet_retry_after"
    # A form gets no file: Nginx would say 405. A program gets no page.
    (place,) = [m for m in nginx("djangofleet/errors.conf").all("map") if m.args[1] == "$djangofleet_maintenance_page"]
    assert place.block[0].words == ["default", "$djangofleet_error_page"]
    (rule,) = place.block[1:]
    wanted = {"GET @djangofleet_error": True, "HEAD @djangofleet_error": True}
    for asked in (*wanted, "POST @djangofleet_error", "GET @djangofleet_error_json"):
        assert bool(re.search(rule.name[1:], asked)) is wanted.get(asked, False)


def test_djangoctl_and_nginx_agree_about_placeholders():
    assert renderer.REQUEST_ID == rules.PLACEHOLDER
    assert ctl.ROOM == rules.ROOM


# Private media --------------------------------------------------------------------------------------------------------


def media(**more: Any) -> dict[str, Any]:
    return {**SHOP, "media": [{"url": "/media/", "path": "/srv/shop/media", **more}]}


@pytest.mark.parametrize("name", ["invoices/", "invoices"])
def test_private_media(site, name):  # noqa: F811
    (server,) = site(media(private=[name])).all("server")
    location = server.location("^~", "/media/invoices/")
    assert location.all("internal")
    assert location.one("alias") == "/srv/shop/media/invoices/"
    # The app may write to the directory above, and put a link in place of this one: to the log, or to another app.
    assert location.one("disable_symlinks") == "on from=/srv/shop/media"
    headers = location.headers()
    assert headers["Content-Security-Policy"] == "$djangofleet_media_policy"
    assert headers["Cache-Control"] == "$djangofleet_private_cache"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not location.all("expires"), "it would stand beside what the app says"
    assert len(location.all("location")) == 2, "dot files, and scripts as text"
    # Nginx would lead from the bare name to the directory, and so tell that it is there.
    assert server.location("=", "/media/invoices").one("return") == "404"


def test_private_media_of_an_app_that_says_how_long(nginx):  # noqa: F811
    (cache,) = [m for m in nginx("djangofleet/maps.conf").all("map") if m.args[1] == "$djangofleet_private_cache"]
    assert cache.args[0] == "$upstream_http_cache_control"
    assert [entry.words for entry in cache.block] == [["default", ""], ["", "private, no-cache"]]


@pytest.mark.parametrize(
    "name", ["", "/", "/invoices/", "../x/", "a/../b/", ".git/", "a//b", "a b/", "a$b/", "a\n", "{}"]
)
def test_private_directories_that_cannot_be(problems, name):  # noqa: F811
    (found,) = problems(media(private=[name]))
    assert found.startswith("nginx_sites[shop].media[0].private[0]: found")
    assert problems(media(private=["a", "a/b-c_1/", "~x/"])) == []


# Policies of static files ---------------------------------------------------------------------------------------------


def test_static_files_have_a_policy(site):  # noqa: F811
    wish = {**SHOP, "static": [{"url": "/static/", "path": "/srv/static"}]}

    def policies(wish: dict[str, Any], **variables: Any) -> list[str | None]:
        place = site(wish, **variables).all("server")[0].location("^~", "/static/")
        return [found.headers().get("Content-Security-Policy") for found in (place, place.all("location")[-1])]

    assert policies(wish) == ["base-uri 'self'; object-src 'self'"] * 2
    assert policies(wish, nginx_static_policy="") == [None, None]
    assert policies(wish, nginx_static_policy="sandbox") == ["sandbox"] * 2
    assert policies({**wish, "headers": {"content-security-policy": ""}}) == ["base-uri 'self'; object-src 'self'"] * 2
    own = {"Content-Security-Policy": "default-src 'self'"}
    assert policies({**wish, "headers": own}) == ["default-src 'self'"] * 2
