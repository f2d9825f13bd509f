"""The cache of a site's pages, asked from outside: what it keeps, for whom, for how long, and how it is emptied."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from shared.outside import Browser, hosts_of, within

testinfra_hosts = hosts_of("edge")
KEPT = "header=Cache-Control:max-age=60"
SHORT = "header=Cache-Control:max-age=1"


@pytest.fixture
def fetch(address) -> Callable[..., tuple[str, int, Any]]:
    """fetch(path, host=…, **headers) -> what the cache had to do with it, the status, and what reached the app."""

    def run(path: str, host: str = "told.test", method: str = "GET", body: str = "", **headers: str):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        options = {"body": body} if body else {}
        answer = Browser(address, host, "").request(method, path, headers=sent, scheme="http", **options)
        seen = json.loads(answer.data) if answer.data[:1] == b"{" else answer
        return answer.headers.get("X-Cache"), answer.status, seen

    return run


@pytest.fixture(autouse=True)
def fresh(host) -> None:
    """Each test begins with an app that has not been asked and a cache without a page."""
    host.check_output(
        "find /var/cache/nginx/sites -type f -delete && curl -s http://127.0.0.1:9101/reset http://127.0.0.1:9102/reset"
    )


def asked(fetch, path: str, host: str = "told.test") -> int:
    """How many requests for a path reached the app."""
    return fetch(f"/count?of={path}&{time.time_ns()}", host, Authorization="x")[2]["count"]


def test_a_request_with_a_body_is_nobody_elses(host):
    """HTTP/2 needs no header to send one."""
    words = "-sk --http2 -X GET -T - -o /dev/null -D - --resolve feed.test:443:127.0.0.1"
    told = host.check_output(f"printf x | curl {words} https://feed.test/news/a/").lower()
    assert told.startswith("http/2")
    assert "x-cache: bypass" in told


def test_a_page_that_the_app_allows_is_kept(fetch):
    (first, *_), (second, status, _seen) = fetch(f"/a?{KEPT}"), fetch(f"/a?{KEPT}")
    assert (first, second, status) == ("MISS", "HIT", 200)
    assert asked(fetch, "/a") == 1
    assert fetch(f"/a?{KEPT}&page=2")[0] == "MISS", "the whole URI is in the key"
    assert fetch(f"/a?{KEPT}", method="HEAD")[0] == "HIT"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Cache-Control:private,max-age=60",
        "Cache-Control:no-store",
        "Cache-Control:no-cache",
        "Expires:Thu, 01 Jan 1970 00:00:00 GMT",
        f"Set-Cookie:a=b&{KEPT}",
        f"Vary:*&{KEPT}",
    ],
)
def test_what_the_app_does_not_allow_is_not_kept(fetch, header):
    path = f"/b?header={header}" if header else "/b"
    assert [fetch(path)[0] for _ in range(3)] == ["MISS"] * 3
    assert asked(fetch, "/b") == 3


def test_a_variant_for_what_vary_names(fetch):
    path = f"/v?{KEPT}&header=Vary:Accept-Language"
    seen = [fetch(path, Accept_Language=language)[0] for language in ("de", "en", "de", "en")]
    assert seen == ["MISS", "MISS", "HIT", "HIT"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "sid=1"},
        {"Cookie": "a=b; sid=1"},
        {"Cookie": "a=b;SID =1"},
        {"Authorization": "Bearer x"},
        {"Accept": "text/event-stream"},
        {"X_HTTP_Method_Override": "DELETE"},
        {"body": "of a GET"},
    ],
)
def test_a_request_of_somebody_neither_reads_nor_writes(fetch, headers):
    path = f"/c?{KEPT}"
    assert [fetch(path, **headers)[0] for _ in range(2)] == ["BYPASS"] * 2, "not read"
    assert fetch(path)[0] == "MISS", "not written"
    assert (fetch(path)[0], fetch(path, **headers)[0]) == ("HIT", "BYPASS")
    assert asked(fetch, "/c") == 4


def test_somebodys_conditions_and_ranges_reach_the_app(fetch):
    wishes = {"If_None_Match": '"1"', "Range": "bytes=0-1"}
    _cache, _status, seen = fetch(f"/d?{KEPT}", Cookie="sid=1", **wishes)
    assert {"if-none-match", "range"} <= {name for name, _value in seen["headers"]}
    _cache, _status, seen = fetch(f"/d?{KEPT}", **wishes)
    assert not {"if-none-match", "range"} & {name for name, _value in seen["headers"]}, "what is kept is the whole page"


def test_a_header_that_is_not_in_the_key_changes_no_page(fetch):
    lies = {
        "X_Forwarded_Host": "evil.test",
        "X_Forwarded_Proto": "ftp",
        "X_Original_URL": "/evil",
        "X_Host": "evil.test",
    }
    _cache, _status, seen = fetch(f"/p?{KEPT}", **lies)
    assert "evil" not in json.dumps(seen["headers"])
    assert dict(seen["headers"])["x-forwarded-proto"] == "http"


def test_microcaching_of_pages_that_say_nothing(fetch):
    host = "cached.test"
    assert [fetch("/m", host)[0] for _ in range(2)] == ["MISS", "HIT"]
    assert fetch("/m", host, Cookie="csrftoken=x")[0] == "HIT", "who has seen a form is still anybody"
    for cookie in ("sessionid=x", "messages=x"):
        assert fetch("/m", host, Cookie=cookie)[0] == "BYPASS"
    assert fetch("/m", host, Cookie="django_language=de")[0] == "MISS", "in the key of this site"
    assert [fetch("/private/m", host)[0] for _ in range(2)] == ["BYPASS"] * 2


def test_an_old_page_is_sent_while_a_new_one_is_made(fetch):
    path = "/s?sleep=2&after=1&header=Cache-Control:max-age=1"
    assert fetch(path, "cached.test")[0] == "MISS"
    time.sleep(2.1)
    began = time.monotonic()
    assert [fetch(path, "cached.test")[0] for _ in range(3)] == ["STALE", "UPDATING", "UPDATING"]
    assert time.monotonic() - began < 1.5, "a visitor has waited for the app"
    within(lambda: fetch(path, "cached.test")[0] == "HIT", 4, "the new page")
    assert asked(fetch, "/s", "cached.test") == 2


def test_an_old_page_is_sent_while_the_app_fails_or_is_away(fetch, host):
    failing, away = "/f?status=500&after=1&" + SHORT, "/w?" + SHORT
    assert [fetch(path, "cached.test")[0] for path in (failing, away)] == ["MISS", "MISS"]
    time.sleep(2.1)
    for _ in range(3):
        assert fetch(failing, "cached.test")[1] == 200
        time.sleep(0.2)
    host.check_output("systemctl stop backend-9101 2>/dev/null; ! curl -s http://127.0.0.1:9101/")
    try:
        answers = [fetch(away, "cached.test") for _ in range(3)]
    finally:
        host.check_output("systemd-run --unit=backend-9101 --property=Restart=always /usr/local/bin/backend 9101")
        within(lambda: host.run("curl -s http://127.0.0.1:9101/").rc == 0, 5, "the app is back")
    assert [status for _cache, status, _seen in answers] == [200] * 3
    assert {cache for cache, _status, _seen in answers} <= {"STALE", "UPDATING"}
    told = f"/t?status=500&after=1&{SHORT}"
    assert fetch(told)[1] == 200
    time.sleep(2.1)
    assert fetch(told)[1] == 500, "a site that does not want that"


def test_of_many_visitors_one_asks_the_app(fetch):
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _number: fetch(f"/l?sleep=0.1&{KEPT}", "cached.test"), range(10)))
    assert [status for _cache, status, _seen in answers] == [200] * 10
    assert asked(fetch, "/l", "cached.test") == 1


def test_one_header_of_each_name_on_a_page_of_the_cache(fetch, address):
    path = f"/h?{KEPT}&header=X-Frame-Options:DENY&header=X-Cache:mine"
    fetch(path)
    answer = Browser(address, "told.test", "").get(path, scheme="http")
    assert answer.headers.getlist("X-Cache") == ["HIT"]
    assert answer.headers.getlist("X-Frame-Options") == ["DENY"]
    assert len(answer.headers.getlist("X-Request-ID")) == 1


def test_the_log_tells_it(fetch, host):
    path = f"/log-{time.time_ns()}?{KEPT}"
    fetch(path), fetch(path), fetch(path, Authorization="x")
    lines = [json.loads(line) for line in host.check_output("grep %s /var/log/nginx/access.log", path).splitlines()]
    assert [line["cache"] for line in lines] == ["MISS", "HIT", "BYPASS"]


def test_nobody_else_reads_what_is_kept(host, fetch):
    fetch(f"/k?{KEPT}")
    assert host.check_output("stat --format=%U:%a /var/cache/nginx/sites /var/cache/nginx/sites/told").split() == [
        "root:755",
        "www-data:700",
    ]


# An app's pages: purged by djangoctl on a host, by a playbook on all


@pytest.fixture
def page(browse) -> Callable[..., str]:
    """page(path) -> the text of a page of the app feed, and what the cache had to do with it."""

    def run(path: str, **headers: str) -> tuple[str, str]:
        answer = browse("feed.test").get(path, headers=headers)
        assert answer.status == 200, answer.data[:300]
        return answer.data.decode(), answer.headers["X-Cache"]

    return run


PAGES = ("/", "/news/", "/news/a/", "/news/a/?page=2")


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("--url https://feed.test/news/", {"/news/"}),
        ("--url /news/a/", {"/news/a/"}),
        ("--url /n%65ws/a/?page=2", {"/news/a/?page=2"}),
        ("--prefix /news/", {"/news/", "/news/a/", "/news/a/?page=2"}),
        ("--prefix https://other.test/news/", set()),
        ("--all", set(PAGES)),
    ],
)
def test_djangoctl_purges(host, page, words, gone):
    before = {path: page(path)[0] for path in PAGES}
    assert {page(path)[1] for path in PAGES} == {"HIT"}
    shown = json.loads(host.check_output(f"djangoctl feed purge {words} --dry-run --json"))
    said = json.loads(host.check_output(f"djangoctl feed purge {words} --json"))
    assert said == shown == {"app": "feed", "changed": bool(gone), "removed": len(gone)}
    for path in PAGES:
        text, cache = page(path)
        assert (text != before[path], cache) == ((True, "MISS") if path in gone else (False, "HIT")), path
    assert {page(path)[1] for path in PAGES} == {"HIT"}, "what was purged is kept again"


def test_a_link_in_a_cache_leads_a_purge_nowhere(host, page):
    page("/")
    host.check_output("install -d /srv/outside && printf '\\nKEY: https://feed.test/\\n' > /srv/outside/page")
    where = "/var/cache/nginx/sites/feed"
    host.check_output(
        f"ln -sfn /srv/outside {where}/0 && ln -sf /srv/outside/page {where}/link && mkfifo -m 666 {where}/p"
    )
    try:
        said = json.loads(host.check_output("djangoctl feed purge --all --json"))
        assert said["removed"] == 1
        assert host.file("/srv/outside/page").exists
    finally:
        host.check_output(f"rm -f {where}/0 {where}/link {where}/p; rm -r /srv/outside")


def test_bad_words_are_told(host):
    for words in ("", "--url feed.test/", "--all --url /", "--url ftp://feed.test/"):
        assert host.run(f"djangoctl feed purge {words}").rc == 2
    result = host.run("djangoctl guestbook purge --all")
    assert (result.rc, "has no cache on this host" in result.stderr) == (2, True)


def test_a_release_that_goes_live_shows_new_pages(host, page):
    before, _cache = page("/")
    assert page("/") == (before, "HIT")
    host.check_output("echo 'ROUND=\"%s\"' >> /etc/djangofleet/feed/env", str(time.time_ns()))
    assert json.loads(host.check_output("djangoctl feed activate current --json"))["changed"]
    after, cache = page("/")
    assert (after != before, cache) == (True, "MISS")
