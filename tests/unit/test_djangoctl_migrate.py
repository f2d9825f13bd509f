"""Migrations: what runs, in which order, with which limits, and what is refused."""

from __future__ import annotations

import json
import subprocess

import pytest
from djangoctl import restore_point
from djangoctl.errors import HookError, MigrationError
from djangoctl.migrate import MARK, PLAN, migrate, plan
from djangoctl.release import read_json, write_json

MIGRATE = "manage.py migrate --noinput --no-color"
SAFE = {"migration": "shop.0002_more", "operations": ["Add field more to entry"], "destructive": []}
DESTRUCTIVE = {
    "migration": "shop.0003_less",
    "operations": ["Remove field note from entry", "Delete model Tag"],
    "destructive": ["Remove field note from entry", "Delete model Tag"],
}
HOOKS = {
    "before_migrate": ["one", "two"],
    "after_migrate": ["three"],
    "after_first_migrate": ["load data"],
    "before_activate": ["x"],
    "after_activate": ["y"],
}


class FakeSystemd:
    """Answers with a plan and records other calls. `left` is the plan after `migrate`, whether it failed or not."""

    def __init__(self, steps):
        self.steps, self.left, self.ran, self.failing = steps, steps, [], {}
        self.facts = {}  # what plan.py tells besides

    def manage(self, app, release, words, **options):
        self.ran.append((release, " ".join(words), options))
        name = "plan" if str(PLAN) in words else self.ran[-1][1]
        steps = self.steps
        if name == "plan" and MIGRATE in self.words:
            name, steps = "plan again", self.left
        for failing in {name, words[0]} & set(self.failing):
            return subprocess.CompletedProcess(words, 1, self.failing[failing], None)
        said = f"noise\n{MARK}{json.dumps({'vendor': '', 'database': {}, 'steps': steps, **self.facts})}\nmore noise\n"
        return subprocess.CompletedProcess(words, 0, said if name.startswith("plan") else f"output of {name}\n", None)

    @property
    def words(self):
        """The recorded calls, without the planning."""
        return [words for _release, words, _options in self.ran if str(PLAN) not in words]


@pytest.fixture
def app(make_app):
    return make_app(hooks=HOOKS, lock_timeout="7s")


@pytest.fixture
def release(app, make_release):
    make_release(app, "old", live=True)
    return make_release(app, "new", application="shop.wsgi:application")


def test_the_plan_is_asked_of_the_release(app, release):
    system = FakeSystemd([SAFE])
    assert plan(app, release, system) == [SAFE]
    assert system.ran == [("new", f"python {PLAN} shop.wsgi:application", {"purpose": "plan"})]


def test_hooks_run_before_and_after_the_migrations(app, release):
    system = FakeSystemd([SAFE])
    assert migrate(app, release, system).plan == [SAFE]
    assert system.words == ["one", "two", MIGRATE, "three"]
    assert {entry[0] for entry in system.ran} == {"new"}
    assert f"output of {MIGRATE}" in release.log.read_text()


def test_statements_wait_for_a_lock_no_longer_than_lock_timeout(app, release):
    system = FakeSystemd([SAFE])
    migrate(app, release, system)
    ((_release, _words, options),) = [entry for entry in system.ran if entry[1] == MIGRATE]
    assert options["environment"] == {"PGOPTIONS": "-c lock_timeout=7s"}


@pytest.mark.parametrize("limit", ["", "0"])
def test_the_limit_can_be_left_out(make_app, release, limit):
    system = FakeSystemd([SAFE])
    migrate(make_app(lock_timeout=limit), release, system)
    ((_release, _words, options),) = [entry for entry in system.ran if entry[1] == MIGRATE]
    assert options["environment"] == {}, "PgBouncer refuses a startup parameter that it does not know"


def test_the_limit_comes_after_what_the_app_says(app, release):
    """Otherwise what was planned in one schema would be migrated in another."""
    system = FakeSystemd([SAFE])
    system.facts = {"pgoptions": "-c search_path=shop"}
    migrate(app, release, system)
    ((_release, _words, options),) = [entry for entry in system.ran if entry[1] == MIGRATE]
    assert options["environment"] == {"PGOPTIONS": "-c search_path=shop -c lock_timeout=7s"}


def test_an_empty_plan_runs_nothing(app, release):
    system = FakeSystemd([])
    assert migrate(app, release, system).plan == []
    assert system.words == []


def test_without_a_database_nothing_is_asked(app, make_release):
    system = FakeSystemd([DESTRUCTIVE])
    assert migrate(app, make_release(app, "flat", database=False), system).plan == []
    assert system.ran == []


def test_destructive_operations_are_refused_by_name(app, release):
    system = FakeSystemd([SAFE, DESTRUCTIVE])
    with pytest.raises(MigrationError, match="migrations that destroy or rewrite data") as caught:
        migrate(app, release, system)
    assert system.words == [], "something was run"
    error = caught.value
    assert error.log == "shop.0003_less: Remove field note from entry\nshop.0003_less: Delete model Tag"
    assert (error.code, error.state) == (5, "release old is still live")
    assert "allow_destructive_migrations=true" in error.hint


def test_the_way_back_is_told_whatever_becomes_of_the_migration(app, release, monkeypatch):
    monkeypatch.setattr(restore_point, "take", lambda *words: f"back to it: {words[1:]}")
    system = FakeSystemd([DESTRUCTIVE])
    system.facts = {"vendor": "postgresql", "database": {"name": "shop"}}
    back = "back to it: ('postgresql', {'name': 'shop'})"
    assert migrate(app, release, system, allow_destructive=True).restore_point == back
    assert release.log.read_text().startswith(f"{back}\n"), "it was told when the rest was over"
    system = FakeSystemd([DESTRUCTIVE])
    system.facts, system.failing[MIGRATE] = {"vendor": "postgresql", "database": {"name": "shop"}}, "no\n"
    with pytest.raises(MigrationError) as caught:
        migrate(app, release, system, allow_destructive=True)
    assert caught.value.log.endswith(back)


def test_nothing_is_destructive_for_a_new_database(app, make_release):
    system = FakeSystemd([SAFE, DESTRUCTIVE])
    system.facts = {"new": True}
    steps = migrate(app, make_release(app, "one", application="x:y"), system).plan
    assert [step["destructive"] for step in steps] == [[], []]
    assert MIGRATE in system.words


def test_while_a_release_is_live_a_database_without_migrations_is_guarded(app, release):
    system = FakeSystemd([SAFE, DESTRUCTIVE])
    system.facts = {"new": True}
    with pytest.raises(MigrationError, match="migrations that destroy or rewrite data"):
        migrate(app, release, system)


def test_first_migrations_that_failed_can_go_on(app, make_release):
    """The database is not new any more, and the guard's advice could not be followed: nothing is live."""
    release = make_release(app, "one", application="x:y", migrations=["shop.0001_initial"])
    system = FakeSystemd([SAFE, DESTRUCTIVE])
    system.facts, system.left, system.failing[MIGRATE] = {"new": True}, [DESTRUCTIVE], "no\n"
    with pytest.raises(MigrationError, match="a migration of release one failed"):
        migrate(app, release, system)
    system = FakeSystemd([DESTRUCTIVE])
    migrate(app, release, system)
    assert system.words == ["one", "two", MIGRATE, "load data", "three"]
    assert "first" not in noted(app)


def test_a_new_database_gets_its_data_once(app, make_release):
    release = make_release(app, "one", application="x:y", migrations=["shop.0001_initial"])
    system = FakeSystemd([SAFE])
    system.facts, system.failing["load"] = {"new": True}, "no such fixture\n"
    with pytest.raises(HookError, match=r"hooks\.after_first_migrate"):
        migrate(app, release, system)
    assert system.words == ["one", "two", MIGRATE, "load data"]
    system = FakeSystemd([])
    migrate(app, release, system)
    assert system.words == ["load data", "three"], "it failed, and nothing of it was forgotten"
    for steps in ([], [SAFE]):
        system = FakeSystemd(steps)
        migrate(app, release, system)
        assert "load data" not in system.words


def test_destructive_operations_run_when_allowed(app, release):
    system = FakeSystemd([SAFE, DESTRUCTIVE])
    assert migrate(app, release, system, allow_destructive=True).plan == [SAFE, DESTRUCTIVE]
    assert MIGRATE in system.words


def test_a_plan_that_fails_runs_nothing(app, release):
    system = FakeSystemd([SAFE])
    system.failing["plan"] = "Traceback\nConflicting migrations detected\n"
    with pytest.raises(MigrationError, match="migrations of release new cannot be planned") as caught:
        migrate(app, release, system, allow_destructive=True)
    assert caught.value.log.endswith("Conflicting migrations detected")
    assert system.words == []


def test_a_migration_that_fails_says_why(app, release):
    system = FakeSystemd([SAFE])
    system.failing[MIGRATE] = "line\n" * 40 + "canceling statement due to lock timeout\n"
    with pytest.raises(MigrationError, match="shop: a migration of release new failed") as caught:
        migrate(app, release, system)
    lines = caught.value.log.splitlines()
    assert (len(lines), lines[-1]) == (25, "canceling statement due to lock timeout")
    assert caught.value.state == "release old is still live"
    assert "if a migration was not atomic" in caught.value.hint
    assert len(release.log.read_text().splitlines()) > 40, "the log has all of it"
    assert system.words == ["one", "two", MIGRATE], "the hook after it was run"


def test_a_first_migration_that_fails_leaves_nothing_live(app, make_release):
    system = FakeSystemd([SAFE])
    system.failing[MIGRATE] = "no\n"
    with pytest.raises(MigrationError) as caught:
        migrate(app, make_release(app, "one", application="x:y"), system)
    assert caught.value.state == "nothing was live before"


def test_a_failing_before_migrate_hook_leaves_the_database_alone(app, release):
    system = FakeSystemd([SAFE])
    system.failing["one"] = "no\n"
    with pytest.raises(HookError, match=r"hooks\.before_migrate"):
        migrate(app, release, system)
    assert system.words == ["one"]


# Applied migrations


@pytest.fixture
def known(app, make_release):
    known = {"migrations": ["shop.0001_initial", "shop.0002_more", "tags.0001_initial"]}
    return make_release(
        app, "known", application="x:y", leaves=["shop.0002_more", "tags.0001_initial"], database=True, **known
    )


NOTED = {"release": "known", "leaves": ["shop.0002_more", "tags.0001_initial"], "owing": None}


def noted(app):
    return read_json(app.root / "schema.json")


@pytest.mark.parametrize("steps", [[SAFE], []])
def test_applied_migrations_are_recorded(app, known, steps):
    migrate(app, known, FakeSystemd(steps))
    assert noted(app) == NOTED


def test_applied_migrations_are_recorded_though_a_later_hook_fails(app, known):
    system = FakeSystemd([SAFE])
    system.failing["three"] = "no\n"
    with pytest.raises(HookError, match=r"hooks\.after_migrate"):
        migrate(app, known, system)
    assert noted(app) == {**NOTED, "owing": "known"}


@pytest.mark.parametrize("what", ["plan", "one", MIGRATE])
def test_migrations_that_did_not_run_are_not_recorded(app, known, what):
    system = FakeSystemd([SAFE])
    system.failing[what] = "no\n"
    with pytest.raises((MigrationError, HookError)):
        migrate(app, known, system)
    assert noted(app).get("leaves", []) == []
    assert noted(app).get("owing") is None
    assert (app.root / "schema.json").exists() is (what == MIGRATE)


def test_migrations_before_the_failed_one_are_recorded(app, known):
    write_json(app.root / "schema.json", {"release": "old", "leaves": ["shop.0001_initial"], "owing": None})
    tags = {"migration": "tags.0001_initial", "operations": ["Create model Tag"], "destructive": []}
    system = FakeSystemd([SAFE, tags])
    system.left, system.failing[MIGRATE] = [tags], "no such table\n"
    with pytest.raises(MigrationError, match="a migration of release known failed") as caught:
        migrate(app, known, system)
    assert caught.value.log == "no such table", "the plan that was made again is no part of it"
    assert noted(app) == {"release": "known", "leaves": ["shop.0001_initial", "shop.0002_more"], "owing": None}
    assert "three" not in system.words


def test_nothing_is_recorded_where_the_database_no_longer_answers(app, known):
    before = {"release": "old", "leaves": ["shop.0001_initial"], "owing": None}
    write_json(app.root / "schema.json", before)
    system = FakeSystemd([SAFE])
    system.left, system.failing = [], {MIGRATE: "server closed the connection\n", "plan again": "refused\n"}
    with pytest.raises(MigrationError, match="a migration of release known failed") as caught:
        migrate(app, known, system)
    assert caught.value.log == "server closed the connection"
    assert noted(app)["leaves"] == before["leaves"]


@pytest.mark.parametrize("steps", [[SAFE], []])
def test_migrations_that_a_release_lacks_stay_recorded(app, known, steps):
    """Migrations that the release has and that are no leaves any more are dropped, or the list would grow for ever."""
    ahead = ["gone.0001_initial", "shop.0001_initial", "shop.0009_ahead"]
    write_json(app.root / "schema.json", {"release": "newer", "leaves": ahead, "owing": None})
    migrate(app, known, FakeSystemd(steps))
    leaves = ["gone.0001_initial", "shop.0002_more", "shop.0009_ahead", "tags.0001_initial"]
    assert noted(app) == {**NOTED, "leaves": leaves}


# Pending hooks


@pytest.fixture
def pending(app, known):
    system = FakeSystemd([SAFE])
    system.failing["three"] = "no\n"
    with pytest.raises(HookError):
        migrate(app, known, system)
    return known


def test_a_hook_that_failed_is_run_by_the_next_migrate(app, pending):
    system = FakeSystemd([])
    assert migrate(app, pending, system).plan == []
    assert system.words == ["three"], "the database is where it should be: nothing but the hook is left to do"
    assert noted(app) == NOTED
    system = FakeSystemd([])
    migrate(app, pending, system)
    assert system.words == [], "it was run twice"


def test_a_hook_that_failed_is_run_by_the_release_that_fixes_it(app, pending, make_release):
    record = {"application": "x:y", "migrations": pending.record["migrations"], "leaves": pending.record["leaves"]}
    system = FakeSystemd([])
    migrate(app, make_release(app, "fixed", **record), system)
    assert system.words == ["three"]
    assert noted(app) == {**NOTED, "release": "fixed"}


def test_a_hook_stays_pending_until_it_has_run(app, pending):
    system = FakeSystemd([])
    system.failing["three"] = "no\n"
    with pytest.raises(HookError, match=r"hooks\.after_migrate"):
        migrate(app, pending, system)
    assert noted(app) == {**NOTED, "owing": "known"}


def test_a_hook_stays_pending_when_migrations_fail(app, pending):
    system = FakeSystemd([SAFE])
    system.failing[MIGRATE] = "no\n"
    with pytest.raises(MigrationError):
        migrate(app, pending, system)
    assert noted(app)["owing"] == "known"


def test_a_pending_hook_runs_once(app, pending):
    system = FakeSystemd([SAFE])
    migrate(app, pending, system)
    assert system.words == ["one", "two", MIGRATE, "three"]
    assert noted(app) == NOTED


def test_a_refused_migration_is_not_recorded(app, known):
    with pytest.raises(MigrationError):
        migrate(app, known, FakeSystemd([DESTRUCTIVE]))
    assert not (app.root / "schema.json").exists()


def test_a_release_without_recorded_leaves_records_all_its_migrations(app, make_release):
    migrate(app, make_release(app, "old-1", application="x:y", migrations=["a.0002", "a.0001"]), FakeSystemd([SAFE]))
    assert noted(app) == {"release": "old-1", "leaves": ["a.0001", "a.0002"], "owing": None}


def test_without_a_database_nothing_is_recorded(app, make_release):
    release = make_release(app, "flat", database=False, migrations=["auth.0001"], leaves=["auth.0001"])
    migrate(app, release, FakeSystemd([]))
    assert not (app.root / "schema.json").exists()


@pytest.mark.parametrize("steps", [[], [SAFE]])
def test_what_another_release_had_applied_when_it_broke_off_stays_known(app, make_release, steps):
    """The release after it takes its place in the record, and does not have its migrations."""
    make_release(app, "killed", migrations=["a.0001", "a.0002", "a.0003"], leaves=["a.0003"])
    revert = make_release(app, "revert", application="x:y", migrations=["a.0001"], leaves=["a.0001"])
    write_json(app.root / "schema.json", {"leaves": ["a.0001"], "migrating": "killed"})
    system = FakeSystemd(steps)
    system.facts = {"unknown": ["a.0002", "squashed.0001"]}  # 0003 was not reached
    migrate(app, revert, system)
    record = read_json(app.root / "schema.json")
    assert (record["leaves"], record.get("migrating")) == (["a.0001", "a.0002"], None)


@pytest.mark.parametrize("name", ["gone", "../old"])
def test_a_release_that_broke_off_may_be_gone(app, make_release, name):
    revert = make_release(app, "revert", application="x:y", migrations=["a.0001"], leaves=["a.0001"])
    write_json(app.root / "schema.json", {"leaves": ["a.0001"], "migrating": name})
    system = FakeSystemd([])
    system.facts = {"unknown": ["a.0002"]}
    migrate(app, revert, system)
    assert read_json(app.root / "schema.json")["leaves"] == ["a.0001"]
