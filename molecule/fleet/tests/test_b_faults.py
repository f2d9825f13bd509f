"""Hosts that go away, and how visitors notice."""

from __future__ import annotations

import time

import pytest
from fleet import ADDRESS, APP2, BALANCER, DATA, all_in, answered, browser, docker, on, out, visitors
from shared.outside import PROVE, within

# Seconds. Longer than a frozen host keeps what it has in hand.
AWAY = 30 if PROVE else 10


@pytest.fixture(autouse=True)
def whole():
    """Each begins with hosts that have not fallen before, for which they would be out for longer."""
    on(BALANCER, "systemctl", "restart", "djangofleet-balancer")
    all_in(60)
    yield
    all_in(60)


@pytest.mark.parametrize("fault", ["killed", "frozen"] if PROVE else ["frozen"])  # the worse one
def test_an_app_host_goes_and_comes_back(authority, figure, fault):
    go, back = {"killed": ("kill", "start"), "frozen": ("pause", "unpause")}[fault]
    with visitors(authority, "--timeout=20", "--pause=0") as seen:
        docker(go, APP2)
        try:
            figure(f"an app host {fault}: seconds until it is out", within(lambda: APP2 in out(), 15, "it is out"))
            time.sleep(AWAY)
        finally:
            docker(back, APP2)
        figure(f"an app host {fault}: seconds until it is back", all_in(90))
        # A form that the host had in hand is lost, and nobody can send it again: one of so many.
        within(lambda: seen["answered"]() > 2000, 120, "enough have been served to speak of a share")
    slowest = max(ms for _at, ms in seen["answers"]) / 1000
    figure(f"an app host {fault}: percent answered", answered(seen))
    figure(f"an app host {fault}: seconds of the slowest answer", slowest)
    assert slowest < 9, "what a host has in hand is given up before it is back"
    assert answered(seen) >= 99.9, seen["examples"]


def test_the_app_of_a_host_is_gone(authority, figure):
    """Its Nginx answers for it: 502, which another host makes good."""
    with visitors(authority, "--post-every=0") as seen:
        on(APP2, "systemctl", "stop", "django-guestbook.socket", "django-guestbook.service")
        try:
            figure("the app of a host stopped: seconds until it is out", within(lambda: APP2 in out(), 15, "it is out"))
        finally:
            on(APP2, "systemctl", "start", "django-guestbook.socket", "django-guestbook.service")
        figure("the app of a host started: seconds until it is back", all_in())
    assert answered(seen) >= 99.9, seen["examples"]


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_balancers_nginx_goes(authority, figure, how):
    visitor = browser(authority)

    def serves() -> bool:
        try:
            return visitor.get("/healthz").status == 200
        except Exception:
            return False

    words = ["systemctl", "restart", "nginx"] if how == "restart" else ["systemctl", "kill", "--signal=KILL", "nginx"]
    on(BALANCER, *words)
    figure(f"the balancer's Nginx after a {how}: seconds until it serves", within(serves, 15, "it serves"))


def test_the_program_that_watches_is_killed(authority):
    with visitors(authority) as seen:
        on(BALANCER, "systemctl", "kill", "--signal=KILL", "djangofleet-balancer")
        within(lambda: "active" in on(BALANCER, "systemctl", "is-active", "djangofleet-balancer", check=False).split(),
               15, "systemd starts it again")  # fmt: skip
        time.sleep(2)
        assert out() == {}, "it takes nobody out for its own absence"
    assert seen["failed"] == 0, seen["examples"]


def test_the_database_is_away(authority, figure):
    """All hosts are ill alike: none is taken out, and visitors see the app's own page."""
    visitor = browser(authority)
    on(DATA, "systemctl", "stop", "postgresql")
    try:
        figure("the database away: seconds until 503",
               within(lambda: visitor.get("/healthz").status == 503, 10, "503"))  # fmt: skip
        time.sleep(AWAY)
        assert visitor.get("/healthz").status == 503
        assert out() == {}
    finally:
        on(DATA, "systemctl", "start", "postgresql")
    figure("the database back: seconds until 200", within(lambda: visitor.get("/healthz").status == 200, 5, "200"))
    assert ADDRESS
