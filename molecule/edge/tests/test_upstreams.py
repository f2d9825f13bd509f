"""Several servers of an app: who gets a request, who leaves and comes back, who stays where."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from shared.outside import PROVE, Browser, hosts_of, within

testinfra_hosts = hosts_of("edge", gate=12)
PORTS = (9101, 9102, 9103)
MANY = 300 if PROVE else 60


@pytest.fixture
def fetch(address) -> Callable[..., tuple[int, int]]:
    """fetch(site, path) -> the status, and the server that answered."""

    def run(site: str, path: str = "/", browser: Browser | None = None, method: str = "GET") -> tuple[int, int]:
        browser = browser or Browser(address, f"{site}.test", "")
        answer = browser.request(method, path, scheme="http")
        return answer.status, json.loads(answer.data)["port"] if answer.status == 200 else 0

    return run


@pytest.fixture
def dead(host) -> Callable:
    """dead(port…) -> a block in which these servers are not there."""

    def answers(port: int) -> bool:
        return host.run(f"curl -s http://127.0.0.1:{port}/").rc == 0

    @contextmanager
    def run(*ports: int) -> Iterator[None]:
        for port in ports:
            # -9 and at once: whoever has a request in hand answers no more
            host.check_output(f"systemctl kill -s KILL backend-{port}; systemctl stop backend-{port}; true")
            assert not answers(port)
        try:
            yield
        finally:
            for port in ports:
                host.check_output(
                    f"systemctl reset-failed backend-{port} 2>/dev/null; "
                    f"systemd-run --unit=backend-{port} --property=Restart=always /usr/local/bin/backend {port}"
                )
                within(lambda port=port: answers(port), 5, f"{port} is back")

    return run


def shares(fetch, site: str, count: int = 30, **options) -> Counter[int]:
    seen = [fetch(site, **options) for _ in range(count)]
    assert {status for status, _port in seen} == {200}
    return Counter(port for _status, port in seen)


def test_all_servers_get_requests(fetch):
    assert set(shares(fetch, "pool")) == set(PORTS)


def test_a_dead_server_costs_no_request_and_comes_back(fetch, dead):
    with dead(9101):
        assert set(shares(fetch, "pool", MANY)) == {9102, 9103}
    within(lambda: fetch("pool")[1] == 9101, 6, "9101 gets requests again")


def test_two_dead_of_three_cost_no_request(fetch, dead):
    with dead(9101, 9103):
        assert set(shares(fetch, "pool", MANY)) == {9102}


def test_a_slow_server_is_left_and_asked_again(fetch):
    """It answers after the time that the site gives it, and another one answers meanwhile."""
    within(lambda: set(shares(fetch, "pool")) == set(PORTS), 6, "those that were dead are asked again")
    began, seen = time.monotonic(), []
    for number in range(30):
        seen.append(fetch("pool", f"/slow-{number}?sleep=1.5&at=9102"))
    assert {status for status, _port in seen} == {200}
    assert 9102 not in {port for _status, port in seen}
    assert time.monotonic() - began < 15, "it is asked although it is slow"
    within(lambda: fetch("pool")[1] == 9102, 6, "9102 gets requests again")


def test_a_form_is_never_sent_twice(fetch, host):
    for port in PORTS:
        host.check_output(f"curl -s http://127.0.0.1:{port}/reset")
    assert fetch("pool", "/form?sleep=1.5", method="POST")[0] == 504
    time.sleep(1)
    told = [json.loads(host.check_output(f"curl -s 'http://127.0.0.1:{port}/count?of=/form'")) for port in PORTS]
    assert sum(entry["count"] for entry in told) == 1


def test_weights_and_a_backup(fetch, dead):
    assert shares(fetch, "weighted", 40) == {9101: 30, 9102: 10}
    with dead(9101, 9102):
        assert set(shares(fetch, "weighted")) == {9103}
    within(lambda: fetch("weighted")[1] == 9101, 5, "the others take over again")


def test_a_visitor_stays_by_a_cookie_of_nginx(fetch, address, dead):
    visitors = [Browser(address, "sticky.test", "") for _ in range(20)]
    places = {}
    for number, visitor in enumerate(visitors):
        (port,) = shares(fetch, "sticky", 4, browser=visitor)  # the first request, which brings the cookie, too
        places[number] = port
    assert set(places.values()) == set(PORTS)
    with dead(9101):
        meanwhile = {number: fetch("sticky", browser=visitor)[1] for number, visitor in enumerate(visitors)}
        assert 9101 not in meanwhile.values()
        assert all(meanwhile[number] == port for number, port in places.items() if port != 9101), "others stay"
    moved = [number for number, port in places.items() if port == 9101]
    within(lambda: fetch("sticky", browser=visitors[moved[0]])[1] == 9101, 8, "a visitor returns")


def test_the_cookie_is_given_once_and_says_nothing(address):
    visitor = Browser(address, "sticky.test", "")
    first = visitor.get("/", scheme="http").headers.getlist("Set-Cookie")
    assert len(first) == 1
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in first[0].split(";")}
    assert visitor.get("/", scheme="http").headers.getlist("Set-Cookie") == []


def test_a_visitor_stays_by_a_cookie_of_django(fetch, address):
    found = set()
    for number in range(20):
        visitor = Browser(address, "session.test", "", {"sessionid": f"session-{number}"})
        (port,) = shares(fetch, "session", 3, browser=visitor)
        found.add(port)
    assert found == set(PORTS)
    assert len(shares(fetch, "session", 10)) == 1, "without it, by the address"


def test_a_path_and_an_address_stay(fetch):
    places = {path: set(shares(fetch, "hashed", 3, path=path)) for path in (f"/{number}" for number in range(20))}
    assert {len(ports) for ports in places.values()} == {1}
    assert set.union(*places.values()) == set(PORTS)
    assert len(shares(fetch, "address", 10)) == 1


@pytest.mark.parametrize(("path", "reaches"), [("/upload/x", True), ("/elsewhere/x", False)])
def test_an_upload_reaches_the_app_while_it_is_sent(address, host, path, reaches):
    """Or only when all of it is there, where nothing else is said."""

    def arrived() -> bool:
        told = [json.loads(host.check_output(f"curl -s 'http://127.0.0.1:{port}/count?of={path}'")) for port in PORTS]
        return sum(entry["count"] for entry in told) > 0

    for port in PORTS:
        host.check_output(f"curl -s http://127.0.0.1:{port}/reset")
    with socket.create_connection((address, 80), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: pool.test\r\nContent-Length: 8\r\n\r\nhalf".encode())
        if reaches:
            within(arrived, 3, "the app has the first half")
        else:
            time.sleep(0.7)
            assert not arrived()
        connection.sendall(b"half")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_path_has_a_limit_of_its_own(address):
    body = b"x" * 11_000_000
    for path, status in (("/upload/x", 200), ("/elsewhere/x", 413)):
        assert Browser(address, "pool.test", "").request("POST", path, scheme="http", body=body).status == status
