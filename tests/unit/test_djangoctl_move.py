"""A move of the database: what happens in which order, and that a failure at any step leaves the app as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from djangoctl import swap
from djangoctl.app import load
from djangoctl.errors import ConfigError, MoveError
from djangoctl.move import MARK, TRANSFER, move
from test_djangoctl_swap import NEXT, SERVICE, FakeSystemd

FILE = "/srv/shop/data/db.sqlite3"
SQLITE = {"vendor": "sqlite", "engine": "django.db.backends.sqlite3", "name": FILE, "host": "", "port": ""}
SERVER = {
    "vendor": "postgresql",
    "engine": "x",
    "name": "shop",
    "host": "/run/postgresql",
    "port": "5432",
    "extensions": [],
    "version": 15,
}
WORKER, TIMER = "django-shop-worker.service", "django-shop-clean.timer"
TABLES = {"a": 2, "b": 3}
OLD, NEW = 'DATABASE_URL="old"\n', 'DATABASE_URL="new"\n'
FROM_SQLITE = [
    *("place old", "look new", "claim new", "migrate new", "rehearse new"),
    *("end manage", "copy new", "end manage", "retire", "unclaim new"),
]
FROM_SERVER = [
    *("place old", "claim new", "dump old", "restore new"),
    *("end manage", "fence old", "dump old", "restore new", "unclaim new"),
]


class Moving(FakeSystemd):
    """Answers the steps of a move, and fails one where a test says so: of two of a name, the second as `name again`."""

    def __init__(self, app, source):
        super().__init__(app)
        self.source, self.steps, self.failed, self.answers = source, [], "", {}
        self.seen = {}  # by step: whether visitors saw the maintenance page, and what ran

    def manage(self, app, release, words, **options):
        if options.get("purpose") == "hook":
            return super().manage(app, release, words, **options)
        side = (app.settings_file.parent / "env").read_text().split('"')[1]
        if str(TRANSFER) not in words:
            return self.said("migrate", f"{words[1]} {side}", options)
        given = json.loads(words[-1])
        step = {True: "rehearse", False: "copy"}.get(given.get("rehearse"), words[3])
        return self.said(step, f"{step} {side}", options)

    def said(self, step, shown, options):
        name = f"{step} again" if shown in self.steps else step
        self.steps.append(shown)
        self.seen[name] = self.app.maintenance.exists(), {WORKER, TIMER} & self.up
        there = {**(self.source if shown.endswith("old") else SERVER), "place": [shown.split()[-1]]}
        answer = {"place": there, "retire": {"kept": f"{FILE}.moved"}}.get(step, {"tables": TABLES})
        answer = {"problem": f"{name} is refused"} if name == self.failed else self.answers.get(name, answer)
        code = 1 if step == "migrate" and name == self.failed else 0
        text = f"noise\n{MARK}{json.dumps(answer)}\n"
        if options.get("output") is None:
            return subprocess.CompletedProcess([], code, text, None)
        os.write(options["output"], text.encode())
        with open(options["stdin"], closefd=False) as orders:
            word = orders.readline().strip()
        self.steps.append(word or "let go")
        os.write(options["output"], f"{MARK}{json.dumps({'kept': f'{FILE}.moved'})}\n".encode())
        return subprocess.CompletedProcess([], 0, None, None)

    def end_interrupted(self, app, purpose):
        self.calls.append((f"end {purpose}", None, None, []))

    def end(self, app, purpose):
        self.steps.append(f"end {purpose}")


@pytest.fixture
def moving(make_app, make_release, tmp_path):
    """moving(source): a system with a live app on that database, and the app as its new configuration has it."""

    def begin(source):
        app = make_app(processes=[WORKER], timers=[TIMER], unit_files=[WORKER, TIMER])
        for name in (WORKER, TIMER):
            (app.config / "units" / name).write_text("[Unit]\n")
        (app.config / "env").write_text(OLD)
        (app.config / "secret").write_text("SECRET_KEY=x\n")
        system = Moving(app, source)
        assert swap.activate(app, make_release(app, "one", application="shop.wsgi:application"), system)
        scratch = tmp_path / "run-of-move/shop"
        shutil.copytree(app.config, scratch, ignore=shutil.ignore_patterns("live", ".live*", "secret"), symlinks=True)
        (scratch / "env").write_text(NEW)
        system.calls.clear()
        return system, load("shop", config=scratch)

    return begin


def is_as_before(system):
    assert (system.app.pinned / "env").read_text() == OLD
    assert (system.app.config / "env").read_text() == OLD
    assert not system.app.maintenance.exists()
    assert {SERVICE, WORKER, TIMER} <= system.up
    assert NEXT not in system.up
    assert not (system.app.root / "move.json").exists()


@pytest.mark.parametrize(("source", "steps"), [(SQLITE, FROM_SQLITE), (SERVER, FROM_SERVER)])
def test_the_steps_of_a_move(moving, source, steps):
    system, app = moving(source)
    done = move(app, system)
    assert system.steps == steps
    assert (done["rows"], done["tables"], done["from"]) == (5, TABLES, source["vendor"])
    assert done["maintenance_seconds"] >= 0
    assert (system.app.pinned / "env").read_text() == NEW
    assert (system.app.config / "env").read_text() == NEW, "the next activation would go back"
    assert (system.app.pinned / "secret").read_text() == "SECRET_KEY=x\n"
    assert {SERVICE, WORKER, TIMER} <= system.up
    assert not app.maintenance.exists()


@pytest.mark.parametrize(("source", "steps"), [(SQLITE, FROM_SQLITE), (SERVER, FROM_SERVER)])
def test_a_rehearsal_may_be_a_run_of_its_own(moving, source, steps):
    """The other hosts of the app show their page when it is known that the rows can be moved."""
    system, app = moving(source)
    rehearsed = steps[: steps.index("end manage")]
    assert move(app, system, only="rehearsal") == {"changed": False}
    assert system.steps == rehearsed
    is_as_before(system)
    system.steps.clear()
    assert move(app, system, only="move")["rows"] == 5
    assert system.steps == ["place old", *steps[len(rehearsed) :]]


@pytest.mark.parametrize(("source", "last"), [(SQLITE, "copy"), (SERVER, "dump again")])
def test_nobody_is_disturbed_before_the_last_copy(moving, source, last):
    system, app = moving(source)
    move(app, system)
    for step, (maintenance, running) in system.seen.items():
        late = list(system.seen).index(step) >= list(system.seen).index(last)
        if step not in ("unclaim", "fence"):
            assert maintenance is late, step
            assert bool(running) is not late, step


STEPS = [
    *((SQLITE, step) for step in ("look", "claim", "migrate", "rehearse", "copy")),
    *((SERVER, step) for step in ("claim", "dump", "restore", "fence", "dump again", "restore again")),
]


@pytest.mark.parametrize(("source", "step"), STEPS)
def test_a_failure_leaves_the_app_as_it_was(moving, source, step):
    system, app = moving(source)
    system.failed = step
    with pytest.raises(MoveError) as caught:
        move(app, system)
    assert "refused" in str(caught.value) or step == "migrate"
    assert caught.value.state == "the app is live on the database that it had: release one"
    is_as_before(system)
    assert ("unfence old" in system.steps) is (source is SERVER and step in ("fence", "dump again", "restore again"))
    system.failed = ""
    assert move(app, system)["rows"] == 5, "the next run begins anew"


@pytest.mark.parametrize("source", [SQLITE, SERVER])
@pytest.mark.parametrize("call", [("start", NEXT), ("restart", SERVICE)])
def test_a_release_that_does_not_start_on_the_new_database(moving, source, call):
    system, app = moving(source)
    system.failing[call] = 1
    with pytest.raises(MoveError) as caught:
        move(app, system)
    assert "on the new database: " in caught.value.message
    is_as_before(system)
    assert ("let go" if source is SQLITE else "unfence old") in system.steps
    assert "retire" not in system.steps


def test_rows_that_did_not_arrive_are_named(moving):
    system, app = moving(SERVER)
    system.answers["restore again"] = {"tables": {"a": 2, "b": 1}}
    with pytest.raises(MoveError, match="b: 3 rows, 1 copied"):
        move(app, system)
    is_as_before(system)


def test_visitors_may_write_during_the_rehearsal(moving):
    system, app = moving(SERVER)
    system.answers["restore"] = {"tables": {"a": 1, "b": 1}}
    assert move(app, system)["rows"] == 5


def test_a_hook_that_fails_after_the_move_does_not_undo_it(moving, make_app):
    system, app = moving(SQLITE)
    app.settings["hooks"] = {"after_activate": ["no"]}
    (app.config / "app.json").write_text(json.dumps(app.settings))
    system.broken = {"no"}
    with pytest.raises(Exception, match="no"):
        move(app, system)
    assert (system.app.config / "env").read_text() == NEW
    assert not app.maintenance.exists()


def test_an_operator_s_maintenance_page_stays(moving):
    system, app = moving(SQLITE)
    app.maintenance.write_text("of somebody")
    move(app, system)
    assert app.maintenance.read_text() == "of somebody"


class Photographs:
    """What each step of a run finds: the disk, and the units that are up. A run that is killed there leaves that."""

    def __init__(self, system, root):
        self.system, self.root, self.taken = system, root, []
        for name in ("said", "control"):
            setattr(system, name, self.watched(getattr(system, name)))

    def watched(self, call):
        def watch(*words, **options):
            place = self.root.parent / f"{self.root.name}-{len(self.taken)}"
            shutil.copytree(self.root, place, symlinks=True)
            self.taken.append((place, set(self.system.up), set(self.system.on)))
            return call(*words, **options)

        return watch

    def go_back(self, place, up, on):
        for path in self.root.iterdir():
            shutil.rmtree(path)
        shutil.copytree(place, self.root, symlinks=True, dirs_exist_ok=True)
        self.system.up, self.system.on = set(up), set(on)


@pytest.mark.parametrize("source", [SQLITE, SERVER])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_move_that_is_killed_at_any_step_is_ended_by_the_next_one(moving, tmp_path, source, goes_on):
    """By one that goes on, or by one for an inventory that means the old database again."""
    system, app = moving(source)
    back = tmp_path / "run-of-going-back/shop"
    shutil.copytree(app.config, back, symlinks=True)
    (back / "env").write_text(OLD)
    seen = Photographs(system, tmp_path)
    move(app, system)
    steps, photographs = [*system.steps], [*seen.taken]
    assert len(photographs) > 15
    for photograph in photographs:
        seen.go_back(*photograph)
        system.steps.clear()
        is_old = (system.app.pinned / "env").read_text() == OLD
        note = system.app.pinned.with_name("move.json")
        if goes_on and (is_old or note.exists()):
            done = move(load("shop", config=app.config), system)
            assert bool(done.get("ended")) is not is_old
            is_at = NEW
        elif not goes_on and is_old and note.exists():
            assert move(load("shop", config=back), system)["ended"]
            is_at = OLD
        else:
            continue
        assert (system.app.pinned / "env").read_text() == (system.app.config / "env").read_text() == is_at
        assert {SERVICE, WORKER, TIMER} <= system.up
        assert NEXT not in system.up
        assert not system.app.maintenance.exists()
        assert not note.exists()
        if is_old and goes_on:
            assert [step for step in steps if step in system.steps] == steps


@pytest.mark.parametrize("source", [SQLITE, SERVER])
@pytest.mark.parametrize("only", ["rehearsal", None])
def test_a_secret_that_a_killed_move_has_left_is_not_used_again(moving, source, only):
    """It may have leaked since, and another one be in its place."""
    system, app = moving(source)
    (app.config / "secret").write_text("SECRET_KEY=leaked\n")
    move(app, system, only=only)
    assert (app.config / "secret").read_text() == "SECRET_KEY=x\n"
    assert (system.app.pinned / "secret").read_text() == "SECRET_KEY=x\n"
    assert (system.app.config / "secret").read_text() == "SECRET_KEY=x\n"


def test_a_secret_that_the_host_no_longer_has_is_not_used_either(moving):
    system, app = moving(SQLITE)
    (system.app.config / "secret").unlink()
    (app.config / "secret").write_text("SECRET_KEY=leaked\n")
    move(app, system)
    assert not (system.app.pinned / "secret").exists()
    assert not (system.app.config / "secret").exists()


@pytest.mark.parametrize("is_over", [True, False])
def test_the_end_of_a_killed_move_leaves_newer_secrets(moving, tmp_path, is_over):
    """Whether the app has gone over by then, or the inventory means the old database again."""
    system, app = moving(SQLITE)
    if is_over:
        move(app, system)
    else:
        (app.config / "env").write_text(OLD)
    system.app.pinned.with_name("move.json").write_text(json.dumps({"maintenance": False, "source": SQLITE}))
    (app.config / "secret").write_text("SECRET_KEY=leaked\n")
    (system.app.config / "secret").write_text("SECRET_KEY=newer\n")
    assert move(app, system)["ended"]
    assert (system.app.config / "secret").read_text() == "SECRET_KEY=newer\n"
    assert "leaked" not in (system.app.pinned / "secret").read_text()


def test_a_page_that_was_there_before_a_killed_move_stays(moving):
    system, app = moving(SQLITE)
    app.maintenance.write_text("of somebody")
    system.app.pinned.with_name("move.json").write_text(json.dumps({"maintenance": True, "source": SQLITE}))
    move(app, system)
    assert app.maintenance.read_text() == "of somebody"
    assert "end move" in [call[0] for call in system.calls]


def test_a_dry_run_counts(moving):
    system, app = moving(SQLITE)
    assert move(app, system, leave=["x_*"], dry_run=True)["rows"] == 5
    assert system.steps == ["place old", "look new"]
    is_as_before(system)


def test_a_missing_adapter_is_explained(moving, monkeypatch):
    system, app = moving(SQLITE)
    log = "ImproperlyConfigured: Error loading psycopg2 or psycopg module"
    found = {"place": (0, MARK + json.dumps(SQLITE)), "look": (1, log)}
    monkeypatch.setattr(system, "said", lambda step, *_: subprocess.CompletedProcess([], *found[step], None))
    with pytest.raises(MoveError) as caught:
        move(app, system)
    assert "the live release lacks psycopg" in caught.value.hint


def test_rows_of_another_engine_stay(moving):
    system, app = moving({**SQLITE, "vendor": "mysql"})
    with pytest.raises(MoveError, match="rows of mysql cannot be moved"):
        move(app, system)


def test_nothing_is_live(make_app):
    app = make_app()
    with pytest.raises(ConfigError, match="nothing is live"):
        move(app, FakeSystemd(app))
