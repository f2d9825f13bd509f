"""The swap, with a fake systemd that records its calls and fails where a test tells it to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import pin
from djangoctl import atomic, launch, swap
from djangoctl import release as releases
from djangoctl.app import load
from djangoctl.errors import ActivationError, ConfigError, GateError, HookError

NEXT, SERVICE, SOCKET = "django-shop-next.service", "django-shop.service", "django-shop.socket"


def mark(unit, worker):
    """What a worker of a unit does when it is ready."""
    directory = swap.RUN / unit.removesuffix(".service")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"worker-{worker}").touch()


class FakeSystemd:
    """The active units, and every call with what was live and served at that moment."""

    def __init__(self, app):
        self.app, self.up, self.on, self.calls, self.failing = app, set(), set(), [], {}
        self.managed, self.mute, self.broken, self.falling = [], set(), set(), {}
        self.reloads = 0  # how often it has read all units of the host
        self.workers = 1  # how many the service says that it starts
        self.shown, self.logged = {}, []
        self.environments = []  # what the live environment was when each unit was started

    def control(self, *words):
        verb, units = words[0], [word for word in words[1:] if not word.startswith("-")]
        self.reloads += verb == "daemon-reload" or (verb == "enable" and "--no-reload" not in words)
        self.calls.append(
            (
                " ".join([verb, *units]),
                releases.live_id(self.app),
                releases.linked(self.app.next_link),
                sorted(path.name for path in self.app.static.iterdir()),
            )
        )
        if verb in ("start", "restart"):
            env = self.app.pinned / "env"
            self.environments.append((units[-1], env.read_text() if env.exists() else None))
        for unit in units if verb in ("stop", "restart") else ():  # as systemd does with a RuntimeDirectory=
            shutil.rmtree(swap.RUN / unit.removesuffix(".service"), ignore_errors=True)
        left = self.failing.get((verb, units[-1] if units else ""), 0)
        if left:
            self.failing[verb, units[-1]] = left - 1
            if verb == "restart":
                self.up -= set(units)
            return subprocess.CompletedProcess(words, 1, "", "Job failed. See journalctl.\n")
        if verb in ("start", "restart"):
            self.up |= set(units)
            started = {SERVICE: releases.live_id(self.app), NEXT: f"next {releases.linked(self.app.next_link)}"}
            for unit in started.keys() & set(units):
                if started[unit] not in self.mute:
                    mark(unit, 7)
            if SERVICE in units and (swap.RUN / "django-shop").exists():
                (swap.RUN / "django-shop/workers").write_text(str(self.workers))
        elif verb == "stop":
            self.up -= set(units)
        elif verb == "enable":
            self.on |= set(units)
        return subprocess.CompletedProcess(words, 0, "", "")

    def manage(self, app, release, words, **options):
        """A hook, recorded among the calls to show its place in the order."""
        self.managed.append((release, words, options))
        self.calls.append((f"hook {' '.join(words)}", releases.live_id(app), None, []))
        failed = " ".join(words) in self.broken
        return subprocess.CompletedProcess(words, 3 if failed else 0, "said\n" if failed else "", None)

    def active(self, unit):
        return unit in self.up

    def steady(self, unit):
        """`falling` names the releases in which a unit does not stay up."""
        return unit in self.up and releases.live_id(self.app) not in self.falling.get(unit, ())

    def show(self, units):
        """What a test says of a unit, over what follows from whether it is up."""
        states = {unit: {"Id": unit, "ActiveState": "active" if unit in self.up else "inactive"} for unit in units}
        return {unit: state | self.shown.get(unit, {}) for unit, state in states.items()}

    def events(self, units, pattern, since):
        return [(unit, message) for unit, message in self.logged if unit in units and re.search(pattern, message)]

    def enabled(self, unit):
        return unit in self.on

    def journal(self, unit, lines, since=None):
        return f"the last {lines} lines of {unit}"

    @property
    def asked(self):
        """The calls, without those that reset a failed state."""
        return [call[0] for call in self.calls if not call[0].startswith("reset-failed")]


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def system(app):
    return FakeSystemd(app)


@pytest.fixture
def old(app, make_release, system):
    """A release that is live and whose units are up."""
    release = make_release(app, "old", {"a.css": "old"})
    assert swap.activate(app, release, system)
    system.calls.clear()
    return release


def installed():
    """The names of the unit files that systemd reads."""
    return {path.name for path in swap.units.DIRECTORY.iterdir()}


def live_json(app):
    return json.loads((app.root / "live.json").read_text())


def test_the_order_of_a_swap(app, make_release, system, old):
    new = make_release(app, "new", {"b.css": "new", "a.css": "other"})
    assert swap.activate(app, new, system) is True
    assert system.asked == [
        "daemon-reload",
        f"stop {NEXT}",
        f"start {NEXT}",
        f"enable {SOCKET} {SERVICE}",
        f"restart {SERVICE}",
        f"stop {NEXT}",
    ]
    moments = {call[0]: call[1:] for call in system.calls}
    assert moments["daemon-reload"] == ("old", None, ["a.css"])
    # What its pages name is served before the stand-in answers; `current` is turned over before the restart only.
    assert moments[f"start {NEXT}"] == ("old", "new", ["a.css", "b.css"])
    assert moments[f"restart {SERVICE}"] == ("new", "new", ["a.css", "b.css"])
    assert (app.static / "a.css").read_text() == "other"
    assert releases.live_id(app) == "new"
    assert not os.path.lexists(app.next_link)
    assert system.up == {SOCKET, SERVICE}


def test_systemd_reads_its_units_once_in_a_swap(app, make_release, system, old):
    """It takes a second of a busy host each time, while visitors wait for its processors."""
    system.reloads = 0
    swap.activate(app, make_release(app, "new"), system)
    assert system.reloads == 1


def test_the_first_release_opens_the_socket(app, make_release, system):
    assert swap.activate(app, make_release(app, "one"), system)
    assert system.asked[:4] == ["daemon-reload", f"restart {SOCKET}", f"stop {NEXT}", f"start {NEXT}"]
    assert system.on == {SOCKET, SERVICE}
    assert live_json(app)["release"] == "one"
    assert live_json(app)["history"] == ["one"]


def test_a_first_release_that_needs_data_says_how_to_load_it(app, make_release, system):
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert "djangoctl shop manage --release one loaddata" in caught.value.hint
    make_release(app, "zero", live=True)
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "two"), system)
    assert "loaddata" not in caught.value.hint


def test_activating_a_live_release_again_does_nothing(app, system, old):
    before = (app.root / "live.json").read_text()
    assert swap.activate(app, old, system) is False
    assert system.asked == []
    assert (app.root / "live.json").read_text() == before


@pytest.mark.parametrize("state", ["failed", "building"])
def test_only_a_good_release_goes_live(app, make_release, system, old, state):
    with pytest.raises(ConfigError, match=f"release new is {state}") as caught:
        swap.activate(app, make_release(app, "new", state=state), system)
    assert caught.value.state == "release old is still live"
    assert system.asked == []


def test_a_release_that_fails_its_gate_changes_nothing_for_visitors(app, make_release, system, old):
    system.failing["start", NEXT] = 1
    before = (app.root / "live.json").read_text()
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "new", {"a.css": "other", "b.css": "new"}), system)
    assert releases.live_id(app) == "old"
    assert (app.root / "live.json").read_text() == before
    assert system.up == {SOCKET, SERVICE}
    assert not [call for call in system.asked if SERVICE in call and not call.startswith("enable")]
    assert (app.static / "a.css").read_text() == "old", "users of the old release got the new one's file"
    assert not os.path.lexists(app.next_link)
    error = caught.value
    assert error.code == 6
    assert "release new did not pass its gate" in error.message
    assert error.state == "no visitor has seen it: release old is still live"
    assert error.log == f"the last 25 lines of {NEXT}"
    assert str(app.releases / "new") in error.hint
    assert f"reset-failed {NEXT}" in [call[0] for call in system.calls]


def test_a_first_release_that_fails_its_gate(app, make_release, system):
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.state == "nothing was live before"
    assert releases.live_id(app) is None


def test_the_old_release_is_put_back_when_the_service_does_not_start(app, make_release, system, old):
    system.failing["restart", SERVICE] = 1
    before = live_json(app)
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new", {"a.css": "other"}), system)
    assert (app.static / "a.css").read_text() == "old"
    started = [call for call in system.asked if not call.startswith("enable")]
    assert started[-4:] == [f"start {NEXT}", f"restart {SERVICE}", f"restart {SERVICE}", f"stop {NEXT}"]
    assert [call[1] for call in system.calls if call[0] == f"restart {SERVICE}"] == ["new", "old"]
    assert releases.live_id(app) == "old"
    assert live_json(app) == before
    assert system.up == {SOCKET, SERVICE}
    assert (caught.value.code, caught.value.state) == (7, "release old was put back")
    assert caught.value.log == f"Job failed. See journalctl.\nthe last 25 lines of {SERVICE}"


def test_a_service_that_starts_on_neither_release_is_reported(app, make_release, system, old):
    system.failing["restart", SERVICE] = 2
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert releases.live_id(app) == "old"
    assert caught.value.state == "release old was put back, but did not start either: nothing serves"


def test_a_first_release_whose_service_does_not_start(app, make_release, system):
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.state == "nothing serves"
    assert not (app.root / "live.json").exists()


def test_a_socket_that_cannot_be_opened(app, make_release, system):
    system.failing["restart", SOCKET] = 1
    with pytest.raises(ActivationError, match="socket could not be opened") as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.log == "Job failed. See journalctl."
    assert releases.live_id(app) is None
    assert f"start {NEXT}" not in system.asked


def test_units_that_cannot_be_enabled(app, make_release, system, old):
    system.failing["enable", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert (caught.value.state, releases.live_id(app)) == ("release old was put back", "old")


# Pending restarts


def pend_configuration(app, system):
    (app.config / "env").write_text('DEBUG="1"\n')


def pend_interrupted(app, system):
    """The activation was killed after `current` had changed: the service still runs the old release."""
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
def test_activating_clears_whatever_was_pending(app, system, old, change):
    assert not swap.pending(app, "old", system)
    change(app, system)
    assert swap.pending(app, "old", system)
    assert swap.activate(app, old, system) is True
    assert not swap.pending(app, "old", system)
    assert (system.up, system.on) == ({SOCKET, SERVICE}, {SOCKET, SERVICE})


def test_another_release_is_pending(app, make_release, system, old):
    make_release(app, "new")
    assert swap.pending(app, "new", system)


def test_status_of_a_live_app(app, system, old):
    found = swap.status(app, system)
    assert (found["app"], found["release"], found["service"], found["socket"]) == ("shop", "old", True, True)
    assert found["restart_pending"] is False
    assert found["activated_at"] == live_json(app)["activated_at"]
    pend_configuration(app, system)
    assert swap.status(app, system)["restart_pending"] is True


def test_status_of_an_app_that_was_never_live(app, system):
    found = swap.status(app, system)
    assert (found["release"], found["service"], found["activated_at"]) == (None, False, None)


def test_a_stand_in_left_behind_is_replaced(app, make_release, system, old):
    system.up.add(NEXT)
    make_release(app, "cut-short")
    releases.point(app.next_link, app.releases / "cut-short")
    swap.activate(app, make_release(app, "new"), system)
    moments = [call[:3] for call in system.calls if NEXT in call[0] and not call[0].startswith("reset")]
    assert moments[:2] == [(f"stop {NEXT}", "old", "cut-short"), (f"start {NEXT}", "old", "new")]


# Going back


def test_the_first_release_has_no_previous_one(app, system, old):
    with pytest.raises(ConfigError, match="no release to go back to"):
        swap.previous(app)


def test_going_back_and_forth(app, make_release, system, old):
    new = make_release(app, "new")
    swap.activate(app, new, system)
    assert swap.previous(app).id == "old"
    swap.activate(app, swap.previous(app), system)
    assert (releases.live_id(app), live_json(app)["history"]) == ("old", ["new", "old"])
    assert swap.previous(app).id == "new"


def test_a_rollback_never_goes_back_to_what_was_rolled_back_from(app, make_release, system, old):
    newer = [make_release(app, name) for name in ("newer", "newest")]
    for release in newer:
        swap.activate(app, release, system)
    swap.activate(app, swap.previous(app), system, rolls_back=True)
    assert releases.live_id(app) == "newer"
    assert swap.previous(app).id == "old", "a second one goes further back"
    swap.activate(app, swap.previous(app), system, rolls_back=True)
    assert live_json(app)["rolled_back"] == ["newer", "newest"]
    with pytest.raises(ConfigError, match="newer, newest was rolled back from, and goes live only by its name"):
        swap.previous(app)
    swap.activate(app, newer[1], system, rolls_back=True)
    assert live_json(app)["rolled_back"] == ["newer"], "it is taken for good now, and no other for bad"
    swap.activate(app, old, system)
    assert swap.previous(app).id == "newest"


@pytest.mark.parametrize("damage", [7, [["old"]], "old"])
def test_a_damaged_list_of_what_was_rolled_back_is_not_read(app, make_release, system, old, damage):
    swap.activate(app, make_release(app, "new"), system)
    record = releases.read_json(app.root / "live.json")
    releases.write_json(app.root / "live.json", record | {"rolled_back": damage})
    assert swap.previous(app).id == "old"
    assert swap.activate(app, make_release(app, "newest"), system)


def test_the_previous_release_is_neither_removed_nor_failed(app, make_release, system, old):
    for identity in ("gone", "spoilt", "new"):
        swap.activate(app, make_release(app, identity), system)
    (app.releases / "gone").rename(app.root / "elsewhere")
    (app.releases / "spoilt/release.json").write_text("{")
    assert swap.previous(app).id == "old"


# A schema that is ahead


def test_a_release_behind_the_schema_is_refused(app, make_release, system, old):
    swap.activate(app, make_release(app, "new", migrations=["a.0001", "a.0002"]), system)
    system.calls.clear()
    target = make_release(app, "older", migrations=["a.0001"])
    with pytest.raises(ConfigError, match=r"ahead of release older, which lacks a\.0002\n") as caught:
        swap.activate(app, target, system)
    assert caught.value.state == "nothing was changed: release new is still live"
    assert (system.asked, releases.live_id(app)) == ([], "new")
    assert swap.activate(app, target, system, allow_schema_ahead=True) is True
    assert releases.live_id(app) == "older"


LIVE = {"migrations": ["a.0001", "a.0002", "b.0001"], "leaves": ["a.0002", "b.0001"]}


@pytest.mark.parametrize(
    ("live", "target", "unknown"),
    [
        (LIVE, {"migrations": ["a.0001", "a.0002", "b.0001"]}, ""),
        (LIVE, {"migrations": ["a.0001", "b.0001"]}, "a.0002"),
        ({**LIVE, "database": False}, {"migrations": ["a.0001", "b.0001"]}, ""),
        (LIVE, {"migrations": ["a.0001", "b.0001"], "database": False}, ""),
        # Squashed migrations go once every database has them.
        (
            {"migrations": ["a.0001", "a.0002", "a.0001_squashed", "a.0003"], "leaves": ["a.0003"]},
            {"migrations": ["a.0001_squashed", "a.0003"]},
            "",
        ),
        # A whole app goes.
        (LIVE, {"migrations": ["a.0001", "a.0002"]}, ""),
        (LIVE, {}, ""),
        # A release of which the last ones were not recorded yet.
        ({"migrations": ["a.0001", "a.0002"]}, {"migrations": ["a.0002"]}, "a.0001"),
    ],
)
def test_migrations_that_a_release_must_have(app, make_release, system, old, live, target, unknown):
    swap.activate(app, make_release(app, "new", **live), system)
    target = make_release(app, "target", **target)
    if unknown:
        with pytest.raises(ConfigError, match=rf"which lacks {unknown}\n"):
            swap.activate(app, target, system)
    else:
        assert swap.activate(app, target, system)


def migrated(app, *leaves):
    releases.write_json(app.root / "schema.json", {"release": "new", "leaves": list(leaves)})


def test_migrations_that_broke_off_count(app, make_release, system, old):
    """djangoctl was killed while they ran, and any of them may be applied."""
    target = make_release(app, "target", migrations=["a.0001"], leaves=["a.0001"])
    make_release(app, "killed", migrations=["a.0001", "a.0002"], leaves=["a.0002"])
    releases.write_json(app.root / "schema.json", {"leaves": ["a.0001"], "migrating": "killed"})
    with pytest.raises(ConfigError, match=r"which lacks a\.0002\n"):
        swap.activate(app, target, system)
    assert swap.activate(app, target, system, allow_schema_ahead=True)


@pytest.mark.parametrize("name", ["gone", "../old", ""])
def test_a_record_of_broken_off_migrations_may_name_no_release(app, make_release, system, old, name):
    target = make_release(app, "target", migrations=["a.0001"], leaves=["a.0001"])
    releases.write_json(app.root / "schema.json", {"leaves": ["a.0001"], "migrating": name})
    assert swap.activate(app, target, system)


def test_a_migration_for_a_release_that_did_not_go_live_counts(app, make_release, system, old):
    one, two = (make_release(app, name, migrations=["a.0001"], leaves=["a.0001"]) for name in ("one", "two"))
    swap.activate(app, one, system)
    migrated(app, "a.0002", "gone.0001")
    with pytest.raises(ConfigError, match=r"ahead of release two, which lacks a\.0002\n") as caught:
        swap.activate(app, two, system)
    assert caught.value.state == "nothing was changed: release one is still live"
    assert swap.activate(app, two, system, allow_schema_ahead=True)


def test_the_live_release_may_get_another_environment_whatever_the_schema_is(app, make_release, system, old):
    swap.activate(app, make_release(app, "one", migrations=["a.0001"], leaves=["a.0001"]), system)
    migrated(app, "a.0002")
    pend_configuration(app, system)
    assert swap.activate(app, releases.read(app, "one"), system) is True


def test_a_first_release_behind_the_schema_is_refused(app, make_release, system):
    migrated(app, "a.0002")
    with pytest.raises(ConfigError, match=r"which lacks a\.0002") as caught:
        swap.activate(app, make_release(app, "one", migrations=["a.0001"]), system)
    assert caught.value.state == "nothing was live before"


def test_a_release_ahead_of_the_schema_goes_live(app, make_release, system, old):
    swap.activate(app, make_release(app, "new", migrations=["a.0001"]), system)
    assert swap.activate(app, make_release(app, "newer", migrations=["a.0001", "a.0002"]), system)


# Hooks


HOOKS = {"before_migrate": ["no 1"], "after_migrate": ["no 2"], "before_activate": ["b 1", "b 2"]}
HOOKS |= {"after_activate": ["a 1"]}


@pytest.fixture
def hooked(make_app, old):
    return make_app(hooks=HOOKS)


def test_hooks_run_before_and_after_the_swap(hooked, make_release, system):
    swap.activate(hooked, make_release(hooked, "new"), system)
    moments = {call[0]: call[1] for call in system.calls}
    assert [word for word in system.asked if word.startswith(("hook", "start", "restart"))] == [
        "hook b 1",
        "hook b 2",
        f"start {NEXT}",
        f"restart {SERVICE}",
        "hook a 1",
    ]
    assert (moments["hook b 2"], moments["hook a 1"]) == ("old", "new")
    assert {release for release, _words, _options in system.managed} == {"new"}


def test_a_failing_before_activate_hook_stops_the_swap(hooked, make_release, system):
    system.broken.add("b 1")
    with pytest.raises(HookError) as caught:
        swap.activate(hooked, make_release(hooked, "new", {"b.css": "new"}), system)
    assert caught.value.state == "release old is live"
    assert (releases.live_id(hooked), live_json(hooked)["release"]) == ("old", "old")
    assert not [call for call in system.asked if call.startswith(("start", "restart", "hook b 2"))]
    assert not (hooked.static / "b.css").exists()


def test_a_failing_after_activate_hook_leaves_the_release_live(hooked, make_release, system):
    system.broken.add("a 1")
    with pytest.raises(HookError) as caught:
        swap.activate(hooked, make_release(hooked, "new"), system)
    assert caught.value.state == "release new is live"
    assert (releases.live_id(hooked), live_json(hooked)["release"]) == ("new", "new")
    assert NEXT not in system.up
    assert swap.status(hooked, system)["restart_pending"], "the next activation has its hooks to run"


# The first worker


@pytest.fixture
def hasty(make_app, old):
    app = make_app(start_timeout=0.2)
    shutil.copy(app.config / "app.json", app.pinned)  # the old release waits no longer either
    return app


def test_the_old_release_is_put_back_when_no_worker_starts(hasty, make_release, system):
    system.mute.add("new")
    with pytest.raises(ActivationError) as caught:
        swap.activate(hasty, make_release(hasty, "new", {"b.css": "new"}), system)
    assert (releases.live_id(hasty), live_json(hasty)["release"]) == ("old", "old")
    assert (caught.value.code, caught.value.state) == (7, "release old was put back")
    assert f"no worker of {SERVICE} was ready within 0.2 s" in caught.value.log
    # The stand-in covers all of it: it goes when the old release is up again.
    again = [call for call in system.asked if call in (f"restart {SERVICE}", f"stop {NEXT}")]
    assert again[-3:] == [f"restart {SERVICE}", f"restart {SERVICE}", f"stop {NEXT}"]


def test_no_worker_on_either_release_is_reported(hasty, make_release, system):
    """The master may be up: without a worker it answers no request."""
    system.mute |= {"new", "old"}
    with pytest.raises(ActivationError) as caught:
        swap.activate(hasty, make_release(hasty, "new"), system)
    assert (releases.live_id(hasty), SERVICE in system.up) == ("old", True)
    assert caught.value.state == "release old was put back, but did not start either: nothing serves"


def test_the_stand_in_stays_until_there_is_a_worker(app, make_release, system, old, monkeypatch):
    waited = []

    def sleep(_seconds):
        waited.append(NEXT in system.up)
        if len(waited) == 3:
            mark(SERVICE, 8)

    system.mute.add("new")
    monkeypatch.setattr(swap.time, "sleep", sleep)
    assert swap.activate(app, make_release(app, "new"), system)
    assert waited == [True, True, True]
    assert NEXT not in system.up


def test_all_workers_are_waited_for(app, make_release, system, old, monkeypatch):
    """As many as Gunicorn's master says that it starts."""
    seen = []

    def sleep(_seconds):
        seen.append(NEXT in system.up)
        mark(SERVICE, 7 + len(seen))

    system.workers = 3
    monkeypatch.setattr(swap.time, "sleep", sleep)
    assert swap.activate(app, make_release(app, "new"), system)
    assert seen == [True, True]


def test_one_worker_is_enough_in_the_end(hasty, make_release, system):
    system.workers = 3
    assert swap.activate(hasty, make_release(hasty, "new"), system)


def test_the_service_runs_until_the_stand_in_has_a_worker(app, make_release, system, old, monkeypatch):
    """Gunicorn says that it is ready before it has one, and with preload off long before."""
    waited = []

    def sleep(_seconds):
        waited.append(f"restart {SERVICE}" in system.asked)
        if len(waited) == 3:
            mark(NEXT, 8)

    system.mute.add("next new")
    monkeypatch.setattr(swap.time, "sleep", sleep)
    assert swap.activate(app, make_release(app, "new"), system)
    assert waited == [False, False, False]


def test_a_stand_in_without_a_worker_has_not_passed_its_gate(hasty, make_release, system):
    system.mute.add("next new")
    with pytest.raises(GateError):
        swap.activate(hasty, make_release(hasty, "new"), system)
    assert f"restart {SERVICE}" not in system.asked
    assert NEXT not in system.up
    assert releases.live_id(hasty) == "old"


# What goes with it


def test_processes_restart_after_the_service_and_are_recorded(make_app, make_release, system, old):
    app = make_app(processes=["django-shop-mail.service"], timers=["django-shop-tidy.timer"])
    assert swap.pending(app, "old", system)
    swap.activate(app, make_release(app, "new"), system)
    assert system.asked[-4:] == [
        f"restart {SERVICE}",
        "restart django-shop-mail.service",
        "restart django-shop-tidy.timer",
        f"stop {NEXT}",
    ]
    assert live_json(app)["units"] == ["django-shop-mail.service", "django-shop-tidy.timer"]
    system.up.discard("django-shop-mail.service")
    assert swap.pending(app, "new", system)


def test_the_old_release_is_put_back_when_a_process_does_not_start(make_app, make_release, system, old):
    app = make_app(processes=["django-shop-mail.service"])
    system.failing["restart", "django-shop-mail.service"] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert (releases.live_id(app), caught.value.state) == ("old", "release old was put back")


def test_the_old_release_is_put_back_when_a_process_does_not_stay_up(make_app, make_release, system, old):
    app = make_app(processes=["django-shop-mail.service"])
    system.falling["django-shop-mail.service"] = ["new"]
    before = live_json(app)
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert (releases.live_id(app), live_json(app)) == ("old", before)
    assert (caught.value.code, caught.value.state) == (7, "release old was put back")
    assert caught.value.log.startswith("django-shop-mail.service did not stay up\n")
    # The stand-in serves until it is known that they stay up.
    moved = [f"restart {SERVICE}", "restart django-shop-mail.service"]
    assert [call for call in system.asked if call.startswith("restart")][-3:] == [*moved, f"restart {SERVICE}"]
    assert system.asked[-1] == f"stop {NEXT}"
    assert "django-shop-mail.service" not in system.up, "the old release's configuration does not have it"
    assert installed() == {SOCKET, SERVICE, NEXT}


def test_a_process_that_stays_up_on_neither_release_does_not_mean_that_nothing_serves(
    make_app, make_release, system, old
):
    app = make_app(processes=["django-shop-mail.service"])
    swap.activate(app, old, system)
    system.falling["django-shop-mail.service"] = ["new", "old"]
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert SERVICE in system.up
    assert caught.value.state == "release old was put back, but not all of its processes run"


# The configuration that is live


def configure(app, text, **settings):
    """Write the next configuration, as the role does."""
    (app.config / "env").write_text(text)
    content = json.loads((app.config / "app.json").read_text()) | settings
    (app.config / "app.json").write_text(json.dumps(content))


def live_configuration(app):
    return (app.pinned / "env").read_text(), json.loads((app.pinned / "app.json").read_text())["keep_releases"]


def test_the_configuration_is_pinned_once_the_release_has_passed_its_gate(app, make_release, system, old):
    configure(app, "A=1\n", keep_releases=7)
    assert live_configuration(app) == ("", app["keep_releases"])
    system.environments.clear()
    swap.activate(app, make_release(app, "new"), system)
    assert system.environments == [(NEXT, ""), (SERVICE, "A=1\n")]
    assert live_configuration(app) == ("A=1\n", 7)
    configure(app, "A=2\n")
    assert live_configuration(app) == ("A=1\n", 7), "it is no copy"


def test_the_configuration_of_a_release_that_fails_its_gate_is_not_pinned(app, make_release, system, old):
    configure(app, "A=1\n", keep_releases=7)
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError):
        swap.activate(app, make_release(app, "new"), system)
    assert live_configuration(app) == ("", app["keep_releases"])


def test_what_an_older_djangoctl_pinned_gets_the_secret_key(app, make_release, system):
    """Its own units read the role's file; those of the next release, which may outlive a put-back, do not."""
    swap.activate(app, make_release(app, "old"), system)
    before = app.pinned.resolve()
    (app.config / "secret").write_text("SECRET_KEY=one\n")
    (app.config / "secret").chmod(0o600)
    swap.activate(app, make_release(app, "new"), system)
    assert (before / "secret").read_text() == "SECRET_KEY=one\n"
    assert (before / "secret").stat().st_mode & 0o777 == 0o600


def test_a_secret_key_of_a_release_that_fails_its_gate_is_not_pinned(app, make_release, system):
    """The hosts of an app may be given another one, and a service may restart at any moment."""
    (app.config / "secret").write_text("SECRET_KEY=one\n")
    swap.activate(app, make_release(app, "old"), system)
    (app.config / "secret").write_text("SECRET_KEY=two\n")
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError):
        swap.activate(app, releases.read(app, "old"), system)
    assert load("shop", pinned=True).secret.read_text() == "SECRET_KEY=one\n"
    assert swap.activate(app, releases.read(app, "old"), system)
    assert load("shop", pinned=True).secret.read_text() == "SECRET_KEY=two\n"
    assert not swap.pending(app, "old", system)


def test_the_previous_configuration_is_pinned_again_when_a_release_does_not_start(app, make_release, system, old):
    configure(app, "A=1\n", keep_releases=7)
    system.failing["restart", SERVICE] = 1
    system.environments.clear()
    with pytest.raises(ActivationError):
        swap.activate(app, make_release(app, "new"), system)
    assert system.environments == [(NEXT, ""), (SERVICE, "A=1\n"), (SERVICE, "")]
    assert live_configuration(app) == ("", app["keep_releases"])
    assert swap.pending(app, "old", system), "what the inventory says is still to come"


def test_what_the_role_writes_after_the_gate_has_begun_is_for_the_next_activation(app, make_app, make_release, system):
    """It takes no lock: another run may write at any moment."""
    configure(app, "A=1\n", keep_releases=7)
    control, seen = system.control, []

    def write_meanwhile(*words):
        if words == ("start", NEXT):
            seen.append((app.next_pinned / "env").read_text())
            make_app(keep_releases=8, processes=["django-shop-mail.service"])
            configure(app, "A=2\n")
        return control(*words)

    system.control = write_meanwhile
    assert swap.activate(load("shop"), make_release(app, "new"), system)
    assert (seen, live_configuration(app)) == (["A=1\n"], ("A=1\n", 7))
    assert installed() == {SOCKET, SERVICE, NEXT}
    assert live_json(app)["units"] == []
    assert swap.pending(load("shop"), "new", system), "what it wrote is still to come"
    assert swap.activate(load("shop"), releases.read(app, "new"), system)
    assert live_configuration(app) == ("A=2\n", 8)


def test_what_the_role_wrote_before_the_activation_is_all_of_it(app, make_app, make_release, system):
    """djangoctl has read app.json, and waited for its lock since."""
    make_app(processes=["django-shop-mail.service"])
    assert swap.activate(app, make_release(app, "new"), system)
    assert live_json(app)["units"] == ["django-shop-mail.service"]
    assert not swap.pending(load("shop"), "new", system)


def test_copies_for_a_gate_that_refuses_do_not_pile_up(app, make_release, system, old):
    system.failing["start", NEXT] = 3
    for number in range(3):
        configure(app, f"A={number}\n")
        with pytest.raises(GateError):
            swap.activate(app, make_release(app, f"new-{number}"), system)
    assert len(copies(app)) == 2
    assert not os.path.lexists(app.next_pinned)


@pytest.mark.parametrize("name", ["publish", "point"])
def test_visitors_do_not_see_a_release_that_a_full_disk_keeps_from_going_live(
    app, make_release, system, old, monkeypatch, name
):
    work = getattr(swap, name)

    def full(*words, **options):
        if system.active(NEXT):
            raise OSError(28, "No space left on device")
        return work(*words, **options)

    monkeypatch.setattr(swap, name, full)
    with pytest.raises(OSError, match="No space left"):
        swap.activate(app, make_release(app, "new"), system)
    assert (system.up, releases.live_id(app)) == ({SERVICE, SOCKET}, "old")


def test_a_release_is_put_back_before_its_configuration(app, make_release, system, old, monkeypatch):
    """An older djangoctl pinned no release: what `current` names starts after a crash between the two."""
    (app.pinned / "release").unlink()
    system.failing["restart", SERVICE] = 1
    put_back, seen = swap._put_back_configuration, []
    monkeypatch.setattr(
        swap, "_put_back_configuration", lambda *words: seen.append(releases.linked(app.current)) or put_back(*words)
    )
    with pytest.raises(ActivationError):
        swap.activate(app, make_release(app, "new"), system)
    assert seen == ["old"]


def test_a_release_is_put_back_on_a_host_that_the_app_was_removed_from(app, make_release, system, old):
    """Its releases and `current` were kept, and its pinned configuration was not."""
    shutil.rmtree(app.pinned.resolve())
    app.pinned.unlink()
    for path in swap.units.DIRECTORY.iterdir():
        path.unlink()
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert caught.value.state == "release old was put back"
    assert (releases.live_id(app), launch.resolve(load("shop", pinned=True), "current").name) == ("old", "old")


def spoil_settings(pin):
    (pin / "app.json").write_text("{")


def lose_unit(pin):
    (pin / "units" / SERVICE).unlink()


def lose_environment(pin):
    (pin / "env").unlink()


@pytest.mark.parametrize("damage", [spoil_settings, lose_unit, lose_environment])
def test_a_release_whose_configuration_is_damaged_is_put_back_with_the_new_one(app, make_release, system, old, damage):
    pin = app.pinned.resolve()
    damage(pin)
    configure(app, "A=1\n")
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert (system.up, releases.live_id(app)) == ({SOCKET, SERVICE}, "old")
    assert live_configuration(app)[0] == "A=1\n"
    said = caught.value.state
    assert said.startswith("release old was put back, with the new configuration, since its own is damaged (")
    assert str(pin) in said or str(app.pinned) in said
    assert launch.resolve(load("shop", pinned=True), "current").name == "old"


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("service", "nothing serves"),
        ("process", "release new serves, but not all of its processes run"),
    ],
)
def test_a_release_that_cannot_be_put_back_leaves_no_stand_in(
    make_app, make_release, system, old, monkeypatch, fails, said
):
    app = make_app(processes=["django-shop-mail.service"])
    system.failing["restart", SERVICE if fails == "service" else "django-shop-mail.service"] = 1
    work = swap.point

    def full(link, target):
        if target == app.releases / "old":
            raise OSError(28, "No space left on device", str(link))
        work(link, target)

    monkeypatch.setattr(swap, "point", full)
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert NEXT not in system.up
    assert not os.path.lexists(app.next_link)
    assert caught.value.state == f"{said}: release old could not be put back: {app.current}: No space left on device"


def test_a_first_release_whose_process_does_not_start_serves(make_app, make_release, system):
    app = make_app(processes=["django-shop-mail.service"])
    system.failing["restart", "django-shop-mail.service"] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "one"), system)
    assert caught.value.state == "release one serves, but not all of its processes run"


def test_the_configuration_of_a_first_release_that_does_not_start_stays_pinned(app, make_release, system):
    """There is no previous configuration, and the service has to read one to start."""
    configure(app, "A=1\n")
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError):
        swap.activate(app, make_release(app, "one"), system)
    assert live_configuration(app)[0] == "A=1\n"


def test_a_configuration_that_was_pinned_and_never_started_does_not_stay(app, make_release, system, old, monkeypatch):
    """The activation broke off, and the inventory took its change back: all that is recorded fits again."""
    configure(app, "A=broken\n")
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_restart_service", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            swap.activate(app, old, system)
    configure(app, "")
    assert live_configuration(app)[0] == "A=broken\n", "a reboot would start with it"
    assert swap.status(app, system)["restart_pending"]
    assert swap.activate(app, old, system)
    assert live_configuration(app)[0] == ""
    assert not swap.pending(app, "old", system)


def test_a_rollback_leaves_a_release_that_was_pinned_and_never_started(app, make_release, system, old, monkeypatch):
    """The host went down before it had started, and boots it."""
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_restart_service", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            swap.activate(app, make_release(app, "new"), system)
    assert (releases.live_id(app), swap.status(app, system)["restart_pending"]) == ("new", True)
    assert swap.previous(app).id == "old"
    assert swap.activate(app, old, system, rolls_back=True)
    assert releases.live_id(app) == "old"


def copies(app):
    return {path.name for path in app.config.glob(".live-*")}


def test_the_link_to_the_pinned_configuration_is_relative(app):
    pin(app)
    assert copies(app) == {os.readlink(app.pinned)}, "the link is to hold wherever the directory is looked at from"


def test_the_previously_pinned_configuration_is_kept(app):
    pin(app)
    first = app.pinned.resolve()
    configure(app, "A=1\n")
    pin(app)
    assert (first / "env").read_text() == ""
    assert copies(app) == {first.name, app.pinned.resolve().name}
    second = app.pinned.resolve()
    configure(app, "A=2\n")
    pin(app)
    assert copies(app) == {second.name, app.pinned.resolve().name}, "older ones pile up, secrets and all"


def test_an_unchanged_configuration_is_pinned_once(app):
    pin(app)
    before = app.pinned.resolve()
    pin(app)
    assert (app.pinned.resolve(), copies(app)) == (before, {before.name})


def test_a_pinned_file_is_always_whole(app, monkeypatch):
    """A timer may start at any moment, also while the same configuration is pinned again."""
    configure(app, "A=1\n")
    pin(app)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pin(app)
    assert live_configuration(app) == ("A=1\n", app["keep_releases"])


@pytest.mark.parametrize("name", ["env", "app.json"])
def test_a_change_in_either_file_makes_another_pinned_configuration(app, name):
    pin(app)
    before = app.pinned.resolve()
    (app.config / name).write_text((app.config / name).read_text() + "\n")
    pin(app)
    assert app.pinned.resolve() != before


def test_an_incomplete_pinned_configuration_is_completed(app):
    pin(app)
    (app.pinned / "env").unlink()
    (app.pinned / "app.json").write_text("{")
    pin(app)
    assert live_configuration(app) == ("", app["keep_releases"])


def test_pinned_files_keep_owner_and_mode(app, monkeypatch):
    """The app's user reads app.json and enters the directory; only root reads the environment."""
    (app.config / "env").chmod(0o600)
    (app.config / "app.json").chmod(0o640)
    owned = {}
    monkeypatch.setattr(swap.os, "chown", lambda path, *ids: owned.__setitem__(path.stat().st_ino, ids))
    monkeypatch.setattr(atomic.os, "fchown", lambda file, *ids: owned.__setitem__(os.fstat(file).st_ino, ids))
    stat = type(app.config).stat
    owners = {app.config: (0, 901), app.config / "app.json": (0, 902), app.config / "env": (903, 904)}
    owners |= {app.config / "units" / SERVICE: (0, 905)}

    def owned_by_others(path, **options):
        found = stat(path, **options)
        if path not in owners:
            return found
        return os.stat_result([*found[:4], *owners[path], *found[6:]])

    monkeypatch.setattr(type(app.config), "stat", owned_by_others)
    pin(app)
    live = app.pinned.resolve()
    paths = {live: (0, 901), live / "app.json": (0, 902), live / "env": (903, 904)}
    paths |= {live / "units": (0, 901), live / "units" / SERVICE: (0, 905)}
    assert {path: owned[stat(path).st_ino] for path in paths} == paths
    modes = {path.name: stat(path).st_mode & 0o777 for path in (live / "app.json", live / "env")}
    assert (stat(live).st_mode & 0o777, modes) == (0o750, {"app.json": 0o640, "env": 0o600})


def test_activating_prunes_old_releases(make_app, make_release, system, old):
    app = make_app(keep_releases=2)
    for identity in ("second", "third"):
        swap.activate(app, make_release(app, identity), system)
    assert {release.id for release in releases.all_of(app)} == {"second", "third"}
