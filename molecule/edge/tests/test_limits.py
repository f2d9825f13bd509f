"""Who may ask for what, and how often."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forms import CLOSED
from shared.outside import PROVE, hosts_of
from wire import answers, connected, h2, request_frames, sent

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]

SLOW = Path(__file__).resolve().parents[1] / "slow.py"
HEADERS = {"x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN"}


@pytest.fixture(scope="module", autouse=True)
def files(host):
    host.check_output("install -d /srv/limits/static/rated /srv/limits/static/private")
    for name in ("rated/a.css", "private/a.css", "x.php"):
        host.check_output(f"install -m 0644 /etc/hostname /srv/limits/static/{name}")


@pytest.fixture
def get(address) -> Callable:
    """get(domain, path, method=…, **headers) -> an answer, over TLS."""

    def run(domain: str, path: str, method: str = "GET", **headers: str):
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        text = f"{method} {path} HTTP/1.1\r\nHost: {domain}\r\n{lines}Connection: close\r\n\r\n"
        with connected(address, domain, "http/1.1") as stream:
            found = sent(stream, text.encode("latin-1"))
        return answers(found.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else found)[0]

    return run


@pytest.fixture
def near(host) -> Callable:
    """near(address, path, domain=…) -> the status that an address of the host itself gets."""

    def run(source: str, path: str, domain: str = "lists.test", *words: str) -> str:
        resolve = f"--resolve {domain}:443:127.0.0.1 --interface {source} -sk -o /dev/null -w %{{http_code}}"
        return host.check_output(f"curl {resolve} {' '.join(words)} https://{domain}{path}")

    return run


# Rates ----------------------------------------------------------------------------------------------------------------


def test_a_path_has_a_rate_of_its_own(get):
    first, second = get("limits.test", "/login"), get("limits.test", "/%6cogin/x")
    assert (first.status, second.status) == (200, 429)
    assert second.headers["retry-after"] == "10"
    assert HEADERS.items() <= second.headers.items()
    assert "retry-after" not in first.headers


def test_a_rate_of_a_path_holds_for_files(get):
    assert [get("limits.test", "/static/rated/a.css").status for _ in range(2)] == [200, 429]


def test_a_key_has_a_rate_of_its_own_and_none_is_the_address(get):
    keys = ["a", "a", "b", ""]
    statuses = [get("limits.test", "/api/", **({"X_Api_Key": key} if key else {})).status for key in keys]
    assert statuses == [200, 429, 200, 200]
    time.sleep(2)
    assert get("limits.test", "/api/").status == 429


def test_a_path_by_all_together(get):
    time.sleep(2)
    assert [get("limits.test", path).status for path in ("/shared/a", "/shared/a", "/shared/b")] == [200, 429, 200]


def test_a_site_has_a_rate_and_its_health_none(get):
    time.sleep(2)
    statuses = [get("limits.test", "/").status for _ in range(12)]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses
    assert {get("limits.test", "/healthz").status for _ in range(12)} == {200}
    assert get("limits.test", "/static/none").status == 404, "files do not count"
    answer = get("limits.test", "/")
    assert (answer.status, answer.headers.get("retry-after")) == (429, "1")


def test_a_regular_location_keeps_its_captures(get):
    time.sleep(2)
    assert get("limits.test", "/captured/abc").body == b"abc"


def test_a_429_of_the_app_is_its_own(get):
    answer = get("forms.test", "/?status=429&header=Retry-After:77")
    assert (answer.status, answer.headers["retry-after"]) == (429, "77")


# Who ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "path", "status"),
    [
        ("127.0.0.1", "/", "200"),
        ("127.0.0.9", "/", "403"),
        ("127.0.0.9", "/static/x.css", "403"),
        ("127.0.0.9", "/open/", "200"),
        ("127.0.0.9", "/staff/healthz", "200"),
        ("127.0.0.8", "/office/", "200"),
        ("127.0.0.10", "/office/", "403"),
        ("127.0.0.1", "/office/", "403"),
        ("127.0.0.9", "/office/", "200"),
    ],
)
def test_lists_of_addresses(near, source, path, status):
    assert near(source, path) == status


def test_networks_of_a_file_are_believed(host):
    """127.0.0.5 stands in it, and its neighbour does not."""
    told = {}
    for source in ("127.0.0.5", "127.0.0.6"):
        words = f"--resolve forms.test:443:127.0.0.1 --interface {source} -sk -H 'X-Forwarded-For: 203.0.113.9'"
        told[source] = "203.0.113.9" in host.check_output(f"curl {words} https://forms.test/")
    assert told == {"127.0.0.5": True, "127.0.0.6": False}


@pytest.mark.parametrize(
    ("domain", "method", "path", "status"),
    [
        ("limits.test", "DELETE", "/", 405),
        ("limits.test", "OPTIONS", "/static/a.css", 405),
        ("limits.test", "HEAD", "/healthz", 200),
        ("limits.test", "POST", "/healthz", 200),
        ("lists.test", "DELETE", "/", 200),
        ("lists.test", "GET", "/office/hook", 403),
    ],
)
def test_methods(get, domain, method, path, status):
    assert get(domain, path, method).status == status


def test_a_refused_method_is_told_which_are_not(get):
    answer = get("limits.test", "/", "DELETE")
    assert answer.headers["allow"] == "GET, POST, HEAD"
    assert HEADERS.items() <= answer.headers.items()


@pytest.mark.parametrize(
    ("path", "credentials", "status"),
    [
        ("/staff/", "", 401),
        ("/staff/x", "YWRhOnNlY3JldA==", 200),  # ada:secret
        ("/staff/x", "YWRhOndyb25n", 401),  # ada:wrong
        ("/staff/healthz", "", 200),
        ("/staff/healthz%0a", "", 401),
        ("/%73taff/", "", 401),
        ("//staff/", "", 401),
        ("/staff/../other", "", 400),
        ("/x/..%2fstaff/", "", 400),
        ("/other", "", 200),
        ("/static/private/a.css", "", 401),
        ("/static/private/a.css", "YWRhOnNlY3JldA==", 200),
    ],
)
def test_passwords(get, path, credentials, status):
    answer = get("lists.test", path, **({"Authorization": f"Basic {credentials}"} if credentials else {}))
    assert answer.status == status
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_a_challenge_is_no_way_to_the_app(get):
    """No limit holds for it: the app would answer 200, also to whom the site refuses."""
    assert get("lists.test", "/.well-known/acme-challenge/none").status == 404
    assert get("lists.test", "/.well-known/security.txt").status == 200


def test_hashes_are_for_nginx_alone(host):
    names = [name for name in host.file("/etc/nginx/users").listdir() if name.startswith("lists.")]
    assert len(names) == 2
    for name in names:
        file = host.file(f"/etc/nginx/users/{name}")
        assert (file.user, file.group, file.mode) == ("root", "www-data", 0o640)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 404) for path in (
            "/.env", "/.git/config", "/wp-login.php", "/a/B.PHP", "/phpMyAdmin/", "/x.sql", "/%2eenv",
        )),
        *((path, 200) for path in ("/.well-known/security.txt", "/wp/", "/a..b")),
    ],
)  # fmt: skip
def test_what_scanners_look_for(get, path, status):
    answer = get("forms.test", path)
    assert (answer.status, bool(answer.told())) == (status, status == 200)
    assert status == 200 or HEADERS.items() <= answer.headers.items()


def test_a_file_may_have_any_name(get):
    assert get("limits.test", "/static/x.php").status == 200


@pytest.mark.parametrize(("agent", "status"), [("Mozilla/5.0 (compatible; GPTBot/1.2)", 403), ("NotGPTBotX", 404)])
def test_bots(get, agent, status):
    assert get("limits.test", "/static/none", User_Agent=agent).status == status


def test_a_bot_that_is_limited(get):
    statuses = [get("limits.test", "/static/none", User_Agent="Slurp").status for _ in range(12)]
    assert statuses[0] == 404
    assert 429 in statuses


def test_robots(get):
    answer = get("limits.test", "/robots.txt", User_Agent="GPTBot")
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert answer.body == (
        b"User-agent: GPTBot\nDisallow: /\n\nUser-agent: Slurp\nCrawl-delay: 1\nDisallow: /search\n\n"
        b"User-agent: *\nDisallow: /search\n"
    )
    assert get("forms.test", "/robots.txt").told()["path"] == "/robots.txt"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Content_Length": "99999999"}, 413),
        ("/?" + "x" * 8100, {}, 414),
        ("/?" + "x" * 9000, {}, 414),
        ("/", {"X": "y" * 9000}, 431),
        ("/", {f"X{number}": "y" * 7000 for number in range(6)}, 431),
        ("/", {"Transfer_Encoding": "identity"}, 400),
    ],
)
def test_each_limit_has_its_status(get, path, headers, status):
    answer = get("forms.test", path, "POST", **headers)
    assert answer.status == status
    assert HEADERS.items() <= answer.headers.items()


def test_headers_over_http2_are_limited_alike(address):
    fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"forms.test")]
    many = [(b"x%d" % number, b"y" * 7000) for number in range(6)]
    assert h2(address, "forms.test", request_frames(1, [*fields, *many]), 1).get(1, CLOSED) in (CLOSED, 431)


def test_http3(host, get):
    if host.system_info.release.split(".")[0] != "13":
        assert "alt-svc" not in get("forms.test", "/").headers
        return
    assert get("forms.test", "/").headers["alt-svc"] == 'h3=":443"; ma=86400'
    words = "--http3-only --resolve forms.test:443:127.0.0.1 -sk -w '%{http_version} %{http_code}' -o /dev/null"
    assert host.check_output(f"curl {words} https://forms.test/") == "3 200"
    assert "udp dport 443" in host.check_output("nft list ruleset")


# Slow clients ---------------------------------------------------------------------------------------------------------


def test_slow_clients_keep_nobody_out(name, address, get, figure):
    if name not in hosts_of("edge", gate=13):
        pytest.skip("make prove has both distributions")
    count, seconds = (500, 60) if PROVE else (60, 20)
    command = ["docker", "exec", "-i", "djangofleet-edge-client", "python3", "-", address, "forms.test"]
    slow = subprocess.Popen(
        [*command, str(count), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert slow.stdin is not None
    slow.stdin.write(SLOW.read_text())
    slow.stdin.close()
    answered = asked = 0
    try:
        while slow.poll() is None:
            asked += 1
            try:
                answered += get("forms.test", "/ordinary").status == 200
            except (OSError, IndexError):
                continue
            time.sleep(0.05)
        assert slow.stdout is not None
        kinds = json.loads(slow.stdout.read())
    finally:
        slow.kill()
    figure("ordinary requests answered beside slow clients, %", 100 * answered / asked)
    assert asked > 5 * seconds
    assert answered >= 0.999 * asked
    for kind in ("handshake", "header", "read"):
        figure(f"longest slow {kind}, s", kinds[kind]["longest"])
        assert (kinds[kind]["left"], kinds[kind]["longest"] <= 15) == (0, True), kinds
    # A body that goes on holds a connection, of which an address has so many.
    assert kinds["body"]["left"] <= 100
