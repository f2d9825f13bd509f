"""Processes and timers: how they restart on a release, and what is reported when one does not."""

from __future__ import annotations

import subprocess

import pytest
from djangoctl import workers
from djangoctl.release import write_json

MAIL, SYNC, TIDY = "django-shop-mail@1.service", "django-shop-sync.service", "django-shop-tidy.timer"


class FakeSystemd:
    """`falling` names units with the moment from which on they are no longer steady."""

    def __init__(self, failing=(), up=(), falling=None):
        self.asked, self.failing, self.up, self.falling = [], failing, up, falling or {}

    def control(self, *words):
        self.asked.append(words)
        if words[-1] in self.failing:
            return subprocess.CompletedProcess(words, 1, "", f"Job for {words[-1]} failed.\n")
        return subprocess.CompletedProcess(words, 0, "", "")

    def active(self, unit):
        return unit in self.up

    def steady(self, unit):
        return workers.time.now < self.falling.get(unit, float("inf"))

    def journal(self, unit, lines, since=None):
        return f"the last {lines} lines of {unit}"


@pytest.fixture
def app(make_app):
    return make_app(processes=[MAIL, SYNC], timers=[TIDY])


def test_processes_drain_side_by_side_then_timers_restart(app):
    system = FakeSystemd()
    assert workers.restart(app, system) == ""
    # NRestarts would otherwise include the restarts of the previous release.
    assert system.asked == [("reset-failed", MAIL, SYNC), ("restart", MAIL, SYNC), ("restart", TIDY)]


def test_units_no_longer_configured_are_stopped_first(app):
    gone = ["django-shop-mail@2.service", "django-shop-old.timer"]
    write_json(app.root / "live.json", {"units": [TIDY, gone[1], MAIL, gone[0]]})
    system = FakeSystemd()
    assert workers.restart(app, system) == ""
    assert system.asked == [
        ("stop", *gone),
        ("reset-failed", *gone),
        ("reset-failed", MAIL, SYNC),
        ("restart", MAIL, SYNC),
        ("restart", TIDY),
    ]


def test_the_last_process_is_stopped_too(make_app):
    app = make_app(processes=[], timers=[])
    write_json(app.root / "live.json", {"units": [SYNC]})
    system = FakeSystemd()
    assert workers.restart(app, system) == ""
    assert system.asked == [("stop", SYNC), ("reset-failed", SYNC)]


def test_an_app_without_processes_asks_systemd_for_nothing(make_app):
    system = FakeSystemd()
    assert workers.restart(make_app(), system) == ""
    assert system.asked == []


def test_a_process_that_does_not_start_is_reported(app):
    system = FakeSystemd(failing=[SYNC])
    assert workers.restart(app, system) == f"Job for {SYNC} failed."
    assert system.asked[1:] == [("restart", MAIL, SYNC)], "timers were started beside processes that are down"


def test_a_timer_that_does_not_start_is_reported(app):
    assert workers.restart(app, FakeSystemd(failing=[TIDY])) == f"Job for {TIDY} failed."


# Staying up: systemd reports a process as started before it has imported anything


def test_processes_are_watched_until_they_have_settled(app):
    assert workers.restart(app, FakeSystemd()) == ""
    assert workers.SETTLE <= workers.time.slept < workers.SETTLE + 1


@pytest.mark.parametrize("moment", [0.0, 2.0])
def test_a_process_that_does_not_stay_up_is_reported_with_its_log(app, moment):
    system = FakeSystemd(falling={SYNC: moment})
    assert workers.restart(app, system) == f"{SYNC} did not stay up\nthe last {workers.LOG_LINES} lines of {SYNC}"
    assert workers.time.slept <= moment + 0.5, "it was waited for though it was down"


def test_all_that_do_not_stay_up_are_named(app):
    said = workers.restart(app, FakeSystemd(falling={MAIL: 0.0, SYNC: 0.0}))
    assert said.splitlines()[0] == f"{MAIL}, {SYNC} did not stay up"


def test_a_process_that_ends_later_does_not_fail_the_deploy(app):
    assert workers.restart(app, FakeSystemd(falling={MAIL: workers.SETTLE + 1})) == ""


@pytest.mark.parametrize("units", [{}, {"timers": [TIDY]}])
def test_without_processes_there_is_nothing_to_wait_for(make_app, units):
    """A timer is active as soon as it is started; the runs that it starts are not expected to stay."""
    assert workers.restart(make_app(**units), FakeSystemd(falling={TIDY: 0.0})) == ""
    assert workers.time.slept == 0


def test_idle_units_are_configured_and_not_active(app):
    assert workers.idle(app, FakeSystemd(up=[SYNC])) == [MAIL, TIDY]
    assert workers.idle(app, FakeSystemd(up=[MAIL, SYNC, TIDY])) == []
