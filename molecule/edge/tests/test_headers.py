"""What every kind of answer tells a browser."""

import pytest
from answers import send
from shared.outside import hosts_of

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), display-capture=(self), geolocation=(self), microphone=(self), usb=(self)",
}
PAGE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STATIC = "base-uri 'self'; object-src 'self'"
UPLOAD = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def told(answer) -> dict[str, list[str]]:
    """The headers of an answer, each with all that it says."""
    return {name: answer.headers.get_all(name) or [] for name in SECURITY}


@pytest.fixture(scope="module", autouse=True)
def files(host):
    host.check_output("mkdir -p /srv/pages/static /srv/pages/media && echo a > /srv/pages/static/a.css")
    host.check_output("echo b > /srv/pages/media/b.txt; chmod -R a+rX /srv/pages")


@pytest.mark.parametrize(
    ("site", "method", "target", "status", "policy"),
    [
        ("pages.test", "GET", "/static/a.css", 200, STATIC),
        ("pages.test", "GET", "/media/b.txt", 200, UPLOAD),
        ("pages.test", "GET", "/static/none", 404, PAGE),
        ("pages.test", "GET", "/media/none", 404, PAGE),
        ("pages.test", "GET", "/media/invoices/x", 404, PAGE),
        ("pages.test", "POST", "/static/a.css", 405, PAGE),
        ("pages.test", "GET", "/?" + "x" * 8100, 414, None),
        ("pages.test", "GET", "/limited", 429, PAGE),
        ("pages.test", "GET", "/broken", 500, PAGE),
        ("pages.test", "GET", "/closed", 503, PAGE),
        ("gone.test", "GET", "/missing", 404, PAGE),
        ("guestbook.test", "GET", "/", 301, None),
        ("bad host", "GET", "/", 400, None),
    ],
)
def test_every_answer_of_nginx(address, site, method, target, status, policy):
    answer = send(address, site, target, method)
    assert answer.status == status
    assert told(answer) == {name: [value] for name, value in SECURITY.items()}
    assert answer.all("Content-Security-Policy") == ([policy] if policy else [])
    # Over plain HTTP a browser is told nothing about HTTPS.
    assert not answer.all("Strict-Transport-Security")
    assert answer.all("Server") == ["nginx"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/static/none", 404), ("GET", "/media/none", 404), ("DELETE", "/static/x", 405)],
)
def test_hsts_goes_with_every_answer_over_tls(browse, method, path, status):
    answer = browse("guestbook.test").request(method, path)
    assert answer.status == status
    assert answer.headers.getlist("Strict-Transport-Security") == ["max-age=63072000"]
    assert {name: answer.headers.getlist(name) for name in SECURITY} == {
        name: [value] for name, value in SECURITY.items()
    }


def test_the_wrong_name_over_tls(address, browse):
    answer = browse("guestbook.test").get("/", headers={"Host": "elsewhere.test"})
    assert answer.status == 421
    assert {name: answer.headers.getlist(name) for name in SECURITY} == {
        name: [value] for name, value in SECURITY.items()
    }


def test_the_app_has_the_last_word(host, address, browse):
    answer = browse("guestbook.test").get("/about/")
    assert answer.headers.getlist("X-Frame-Options") == ["DENY"]
    assert answer.headers.getlist("Cross-Origin-Opener-Policy") == ["same-origin"]
    # Django 6.0 sends a policy of its own, which is the only one. 5.2, on Debian 12, knows none.
    policies = answer.headers.getlist("Content-Security-Policy")
    version = host.check_output("djangoctl guestbook manage version").split()[-1]
    assert len(policies) == (0 if version.startswith("5.") else 1)
    own = {"Content-Security-Policy": "default-src%20'self'", "Referrer-Policy": "no-referrer"}
    query = "&".join(f"header={name}:{value}" for name, value in own.items())
    answer = send(address, "pages.test", f"/x?{query}")
    assert answer.all("Content-Security-Policy") == ["default-src 'self'"]
    assert answer.all("Referrer-Policy") == ["no-referrer"]
    # An app that leaves these out may mean it.
    assert not answer.all("X-Frame-Options") + answer.all("Cross-Origin-Opener-Policy")


def test_the_release_is_nobody_s_business(browse):
    assert "X-Release" not in browse("guestbook.test").get("/healthz").headers
