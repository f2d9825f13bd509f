"""The swap, with a systemd that notes what it is asked and fails where it is told to."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from djangoctl import release as releases
from djangoctl import swap
from djangoctl.errors import ActivationError, ConfigError, GateError

NEXT, SERVICE, SOCKET = "django-shop-next.service", "django-shop.service", "django-shop.socket"


class FakeSystemd:
    """Units that are up, and every change asked for with what was live and served at that moment."""

    def __init__(self, app):
        self.app, self.up, self.on, self.calls, self.failing = app, set(), set(), [], {}

    def control(self, *words):
        verb, units = words[0], [word for word in words[1:] if not word.startswith("-")]
        self.calls.append(
            (
                " ".join([verb, *units]),
                releases.live_id(self.app),
                releases.linked(self.app.following),
                sorted(path.name for path in self.app.static.iterdir()),
            )
        )
        left = self.failing.get((verb, units[-1] if units else ""), 0)
        if left:
            self.failing[verb, units[-1]] = left - 1
            if verb == "restart":
                self.up -= set(units)
            return subprocess.CompletedProcess(words, 1, "", "Job failed. See journalctl.\n")
        if verb in ("start", "restart"):
            self.up |= set(units)
        elif verb == "stop":
            self.up -= set(units)
        elif verb == "enable":
            self.on |= set(units)
        return subprocess.CompletedProcess(words, 0, "", "")

    def active(self, unit):
        return unit in self.up

    def enabled(self, unit):
        return unit in self.on

    def journal(self, unit, lines, since=None):
        return f"the last {lines} lines of {unit}"

    @property
    def asked(self):
        """What was asked for, without the cleaning up of a unit's failed state."""
        return [call[0] for call in self.calls if not call[0].startswith("reset-failed")]


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def system(app):
    return FakeSystemd(app)


@pytest.fixture
def old(app, make_release, system):
    """A release that is live in all respects."""
    release = make_release(app, "old", {"a.css": "old"})
    assert swap.activate(app, release, system)
    system.calls.clear()
    return release


def live_json(app):
    return json.loads((app.root / "live.json").read_text())


def test_the_order_of_a_swap(app, make_release, system, old):
    new = make_release(app, "new", {"b.css": "new", "a.css": "other"})
    assert swap.activate(app, new, system) is True
    assert system.asked == [
        "daemon-reload",
        f"enable {SOCKET} {SERVICE}",
        f"stop {NEXT}",
        f"start {NEXT}",
        f"restart {SERVICE}",
        f"stop {NEXT}",
    ]
    moments = {call[0]: call[1:] for call in system.calls}
    assert moments[f"enable {SOCKET} {SERVICE}"] == ("old", None, ["a.css"])
    # What its pages name is served before the stand-in answers; `current` is turned over before the restart only.
    assert moments[f"start {NEXT}"] == ("old", "new", ["a.css", "b.css"])
    assert moments[f"restart {SERVICE}"] == ("new", "new", ["a.css", "b.css"])
    assert (app.static / "a.css").read_text() == "other"
    assert releases.live_id(app) == "new"
    assert not os.path.lexists(app.following)
    assert system.up == {SOCKET, SERVICE}


def test_the_first_release_opens_the_socket(app, make_release, system):
    assert swap.activate(app, make_release(app, "one"), system)
    assert system.asked[:3] == ["daemon-reload", f"enable {SOCKET} {SERVICE}", f"start {SOCKET}"]
    assert system.on == {SOCKET, SERVICE}
    assert live_json(app)["release"] == "one"
    assert live_json(app)["history"] == ["one"]


def test_nothing_to_do_is_nothing_done(app, system, old):
    before = (app.root / "live.json").read_text()
    assert swap.activate(app, old, system) is False
    assert system.asked == []
    assert (app.root / "live.json").read_text() == before


@pytest.mark.parametrize("state", ["failed", "building"])
def test_only_a_good_release_goes_live(app, make_release, system, old, state):
    with pytest.raises(ConfigError, match=f"release new is {state}") as caught:
        swap.activate(app, make_release(app, "new", state=state), system)
    assert caught.value.state == "release old serves on"
    assert system.asked == []


def test_a_gate_that_says_no_changes_nothing_for_users(app, make_release, system, old):
    system.failing["start", NEXT] = 1
    before = (app.root / "live.json").read_text()
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "new", {"a.css": "other", "b.css": "new"}), system)
    assert releases.live_id(app) == "old"
    assert (app.root / "live.json").read_text() == before
    assert system.up == {SOCKET, SERVICE}
    assert not [call for call in system.asked if SERVICE in call and not call.startswith("enable")]
    assert (app.static / "a.css").read_text() == "old", "users of the old release got the new one's file"
    assert not os.path.lexists(app.following)
    error = caught.value
    assert error.code == 6
    assert "release new did not pass its gate" in error.message
    assert error.state == "nothing was changed for any user: release old serves on"
    assert error.log == f"the last 25 lines of {NEXT}"
    assert str(app.releases / "new") in error.hint
    assert f"reset-failed {NEXT}" in [call[0] for call in system.calls]


def test_a_gate_that_says_no_to_the_first_release(app, make_release, system):
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.state == "nothing was live before"
    assert releases.live_id(app) is None


def test_a_service_that_does_not_restart_gets_the_old_release_back(app, make_release, system, old):
    system.failing["restart", SERVICE] = 1
    before = live_json(app)
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new", {"a.css": "other"}), system)
    assert (app.static / "a.css").read_text() == "old"
    assert system.asked[-4:] == [f"start {NEXT}", f"restart {SERVICE}", f"restart {SERVICE}", f"stop {NEXT}"]
    assert [call[1] for call in system.calls if call[0] == f"restart {SERVICE}"] == ["new", "old"]
    assert releases.live_id(app) == "old"
    assert live_json(app) == before
    assert system.up == {SOCKET, SERVICE}
    assert (caught.value.code, caught.value.state) == (7, "release old was put back")
    assert caught.value.log == f"the last 25 lines of {SERVICE}"


def test_a_service_that_starts_with_neither_is_told_so(app, make_release, system, old):
    system.failing["restart", SERVICE] = 2
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert releases.live_id(app) == "old"
    assert caught.value.state == "nothing serves: release old did not start either"


def test_a_first_release_whose_service_does_not_start(app, make_release, system):
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.state == "nothing serves"
    assert not (app.root / "live.json").exists()


@pytest.mark.parametrize("verb", ["enable", "start"])
def test_a_socket_that_cannot_be_opened(app, make_release, system, verb):
    system.failing[verb, {"enable": SERVICE, "start": SOCKET}[verb]] = 1
    with pytest.raises(ActivationError, match="socket could not be opened") as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.log == "Job failed. See journalctl."
    assert releases.live_id(app) is None
    assert f"start {NEXT}" not in system.asked


# What is owed


def pend_configuration(app, system):
    (app.config / "env").write_text('DEBUG="1"\n')


def pend_interrupted(app, system):
    """Killed after `current` was turned over: the service still runs the old release."""
    record = live_json(app)
    (app.root / "live.json").write_text(json.dumps(record | {"release": "older"}))


def pend_unwritten(app, system):
    (app.root / "live.json").unlink()


def pend_service(app, system):
    system.up.discard(SERVICE)


def pend_socket(app, system):
    system.up.discard(SOCKET)


def pend_boot(app, system):
    system.on.discard(SOCKET)


@pytest.mark.parametrize(
    "change",
    [pend_configuration, pend_interrupted, pend_unwritten, pend_service, pend_socket, pend_boot],
)
def test_what_makes_a_swap_due_is_cured_by_it(app, system, old, change):
    assert not swap.pending(app, "old", system)
    change(app, system)
    assert swap.pending(app, "old", system)
    assert swap.activate(app, old, system) is True
    assert not swap.pending(app, "old", system)
    assert (system.up, system.on) == ({SOCKET, SERVICE}, {SOCKET, SERVICE})


def test_another_release_is_pending(app, make_release, system, old):
    make_release(app, "new")
    assert swap.pending(app, "new", system)


def test_status_tells_what_is(app, system, old):
    found = swap.status(app, system)
    assert (found["app"], found["release"], found["service"], found["socket"]) == ("shop", "old", True, True)
    assert found["swap_pending"] is False
    assert found["activated_at"] == live_json(app)["activated_at"]
    pend_configuration(app, system)
    assert swap.status(app, system)["swap_pending"] is True


def test_status_of_an_app_that_was_never_live(app, system):
    found = swap.status(app, system)
    assert (found["release"], found["service"], found["activated_at"]) == (None, False, None)


def test_a_stand_in_left_behind_is_replaced(app, make_release, system, old):
    system.up.add(NEXT)
    make_release(app, "cut-short")
    releases.point(app.following, app.releases / "cut-short")
    swap.activate(app, make_release(app, "new"), system)
    moments = [call[:3] for call in system.calls if NEXT in call[0] and not call[0].startswith("reset")]
    assert moments[:2] == [(f"stop {NEXT}", "old", "cut-short"), (f"start {NEXT}", "old", "new")]


# Going back


def test_there_is_nothing_before_the_first(app, system, old):
    with pytest.raises(ConfigError, match="no release to go back to"):
        swap.previous(app)


def test_going_back_and_forth(app, make_release, system, old):
    new = make_release(app, "new")
    swap.activate(app, new, system)
    assert swap.previous(app).id == "old"
    swap.activate(app, swap.previous(app), system)
    assert (releases.live_id(app), live_json(app)["history"]) == ("old", ["new", "old"])
    assert swap.previous(app).id == "new"


def test_going_back_skips_what_is_gone_or_spoilt(app, make_release, system, old):
    for identity in ("gone", "spoilt", "new"):
        swap.activate(app, make_release(app, identity), system)
    (app.releases / "gone").rename(app.root / "elsewhere")
    (app.releases / "spoilt/release.json").write_text("{")
    assert swap.previous(app).id == "old"
