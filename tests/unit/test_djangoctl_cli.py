"""djangoctl as it is called: exit codes, JSON, and what a person reads."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
from djangoctl import cli, errors, launch, lock, swap
from djangoctl import release as releases
from test_djangoctl_swap import FakeSystemd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def system(app, monkeypatch):
    fake = FakeSystemd(app)
    fake.managed, fake.result = [], subprocess.CompletedProcess([], 0, "", "")

    def manage(_app, release, words, **options):
        fake.managed.append((release, words, options))
        return fake.result

    fake.manage = manage
    monkeypatch.setattr(cli, "Systemd", lambda: fake)
    return fake


@pytest.fixture
def ctl(capsys, system):
    """`ctl("shop", "status")`: the exit code and what was printed; parsed where --json was asked for."""

    def run(*words):
        try:
            code = cli.main(list(words))
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, (json.loads(out) if "--json" in words else out), err

    return run


def audited():
    path = lock.LOGS / "shop.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fail_with(monkeypatch, error):
    def fail(*_words, **_options):
        raise error

    monkeypatch.setattr(swap, "activate", fail)


# Failures


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.CtlError, 1),
        (errors.ConfigError, 2),
        (errors.LockedError, 3),
        (errors.BuildError, 4),
        (errors.MigrationError, 5),
        (errors.GateError, 6),
        (errors.ActivationError, 7),
    ],
)
def test_each_failure_has_its_code_and_is_audited(ctl, app, make_release, monkeypatch, kind, code):
    make_release(app, "v1-1")
    fail_with(monkeypatch, kind("it 'broke'", state="as before", hint="mend it", log="line 1\nline 2"))
    assert ctl("shop", "activate", "v1-1", "--json") == (
        code,
        {
            "failed": True,
            "code": code,
            "message": "it 'broke'",
            "state": "as before",
            "hint": "mend it",
            "log": "line 1\nline 2",
        },
        "",
    )
    found, out, err = ctl("shop", "activate", "v1-1")
    assert (found, out) == (code, "")
    assert err == "djangoctl: it 'broke'\n\nline 1\nline 2\n\nas before\nmend it\n"
    noted = [(line["action"], line["ok"], line["error"]) for line in audited()]
    assert noted == 2 * [("activate", False, "it 'broke'")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shpo", "status"), "there is no app 'shpo' on this host"),
        (("shop", "activate", "v9-9"), "shop has no release 'v9-9'"),
        (("shop", "migrate", "../shop"), "shop has no release '../shop'"),
        (("shop", "rollback"), "shop: there is no release to go back to"),
        (("shop", "exec", "current", "serve"), "shop has no release 'current'"),
    ],
)
def test_input_that_makes_no_sense(ctl, words, message):
    code, out, err = ctl(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"djangoctl: {message}")
    if words[1] != "exec":
        code, answer, err = ctl(*words, "--json")
        assert (code, answer["code"], answer["message"], err) == (2, 2, message, "")


@pytest.mark.parametrize(
    "words",
    [("shop",), ("shop", "restart"), ("shop", "build"), ("shop", "status", "x"), ("shop", "logs", "--lines", "x")],
)
def test_words_it_does_not_know(ctl, words):
    code, out, err = ctl(*words)
    assert (code, out) == (2, "")
    assert "usage: djangoctl" in err


def test_a_locked_app(ctl, app, make_release, monkeypatch):
    make_release(app, "v1-1")
    with lock.held(app, "build v2-1"):
        code, answer, _err = ctl("shop", "activate", "v1-1", "--json")
    assert code == 3
    assert "for build v2-1" in answer["message"]
    assert releases.live_id(app) is None


def test_a_configuration_that_may_not_be_read(ctl, app, monkeypatch):
    def refuse(*_words, **_options):
        raise PermissionError(13, "Permission denied", str(app.config / "app.json"))

    monkeypatch.setattr(Path, "read_text", refuse)
    code, _out, err = ctl("shop", "status")
    assert code == 2
    assert "run djangoctl as root" in err


# Results


def test_apps_are_listed(ctl, app, make_app, make_release):
    make_app("blog")
    make_release(app, "v1-1", live=True)
    code, answer, _err = ctl("--json")
    assert code == 0
    assert [(entry["app"], entry["release"]) for entry in answer["apps"]] == [("blog", None), ("shop", "v1-1")]
    code, text, _err = ctl()
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:2] == ["app", "release"]
    assert [row[:2] for row in rows[1:]] == [["blog", "-"], ["shop", "v1-1"]]


def test_status(ctl, app, make_release):
    make_release(app, "v1-1", live=True)
    assert ctl("shop", "status", "--json")[1]["swap_pending"] is True
    assert "release: v1-1\n" in ctl("shop", "status")[1]
    assert "service: no\n" in ctl("shop", "status")[1]


def test_releases_are_listed(ctl, app, make_release):
    make_release(app, "v1-1", live=True, version="v1")
    make_release(app, "v2-1", state="failed", error="it 'broke'")
    answer = ctl("shop", "releases", "--json")[1]
    assert [(entry["id"], entry["state"], entry["live"], entry["error"]) for entry in answer["releases"]] == [
        ("v1-1", "good", True, None),
        ("v2-1", "failed", False, "it 'broke'"),
    ]
    assert ctl("shop", "releases")[1].splitlines()[1].split()[:4] == ["v1-1", "good", "yes", "v1"]


def test_activating_and_going_back(ctl, app, make_release, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ACTOR", "ada")
    make_release(app, "v1-1")
    make_release(app, "v2-1")
    assert ctl("shop", "activate", "v1-1", "--json")[:2] == (0, {"release": "v1-1", "before": None, "changed": True})
    assert ctl("shop", "activate", "v1-1", "--json")[1]["changed"] is False
    assert ctl("shop", "activate", "v2-1", "--json")[1] == {"release": "v2-1", "before": "v1-1", "changed": True}
    assert ctl("shop", "rollback", "--json")[1] == {"release": "v1-1", "before": "v2-1", "changed": True}
    assert ctl("shop", "rollback", "v2-1", "--json")[1]["release"] == "v2-1"
    assert [(line["action"], line["release"], line["before"], line["actor"]) for line in audited()] == [
        ("activate", "v1-1", None, "ada"),
        ("activate", "v2-1", "v1-1", "ada"),
        ("rollback", "v1-1", "v2-1", "ada"),
        ("rollback", "v2-1", "v1-1", "ada"),
    ]


@pytest.mark.parametrize("action", ["activate", "rollback"])
def test_a_dry_run_tells_and_does_not_do(ctl, app, make_release, system, action):
    make_release(app, "v1-1")
    answer = ctl("shop", action, "v1-1", "--dry-run", "--json")[1]
    assert answer == {"release": "v1-1", "before": None, "changed": True}
    assert releases.live_id(app) is None
    assert (system.asked, audited(), lock.RUN.exists()) == ([], [], False)


# Builds


@pytest.fixture
def built(monkeypatch, make_release):
    """Builds that succeed at once, and with what they were asked for."""
    seen = []

    def build(app, identity, source, system, **facts):
        seen.append((identity, source, facts))
        return make_release(app, identity, warnings=["mind the gap"], deploy_check="System check\nidentified 1 issue")

    monkeypatch.setattr(cli, "build", build)
    return seen


def test_a_build_is_done_once(ctl, app, built):
    words = ("shop", "build", "--revision", "abcdef0123456789", "--tree", "/srv/repo", "--json")
    code, answer, _err = ctl(*words)
    identity = answer["release"]
    assert code == 0
    assert identity.startswith("abcdef012345-")
    assert answer == {
        "release": identity,
        "before": None,
        "changed": True,
        "pending": True,
        "warnings": ["mind the gap"],
        "deploy_check": "System check\nidentified 1 issue",
    }
    assert built[0][1].tree == Path("/srv/repo")
    again = ctl(*words)[1]
    assert (again["release"], again["changed"], again["pending"], len(built)) == (identity, False, True, 1)
    ctl("shop", "activate", identity)
    assert ctl(*words)[1]["pending"] is False
    assert [(line["action"], line["ok"]) for line in audited()] == [("build", True), ("activate", True)]


@pytest.mark.parametrize("words", [("--dry-run", "--tree", "/srv/repo"), ()])
def test_a_question_builds_nothing(ctl, built, words):
    answer = ctl("shop", "build", "--revision", "abc", "--version", "v1", *words, "--json")[1]
    assert (answer["changed"], answer["pending"], built, audited()) == (True, True, [], [])
    assert answer["release"].startswith("v1-")


def test_a_failed_build_is_built_again(ctl, app, built, make_release):
    words = ("shop", "build", "--revision", "abc", "--package", "shop==1", "--json")
    identity = ctl(*words)[1]["release"]
    (app.releases / identity / "release.json").write_text('{"state": "failed"}')
    (app.releases / identity).rename(app.root / "elsewhere")
    assert ctl(*words)[1]["changed"] is True
    assert len(built) == 2


def test_a_build_that_fails_is_audited(ctl, monkeypatch):
    def fail(*_words, **_options):
        raise errors.BuildError("django_app.requirements of app 'shop': 'x' is not in the source")

    monkeypatch.setattr(cli, "build", fail)
    code, answer, _err = ctl("shop", "build", "--revision", "abc", "--tree", "/x", "--json")
    assert (code, answer["failed"]) == (4, True)
    assert [(line["action"], line["ok"]) for line in audited()] == [("build", False)]


# Migrations


def test_migrations_are_named(ctl, app, make_release, system):
    make_release(app, "v1-1", live=True)
    system.result.stdout = "Operations:\n  Applying entries.0001_initial... OK\n  Applying auth.0002_x... OK\n"
    answer = ctl("shop", "migrate", "v1-1", "--json")[1]
    assert answer == {"release": "v1-1", "changed": True, "applied": ["entries.0001_initial", "auth.0002_x"]}
    assert system.managed[0][:2] == ("v1-1", ["manage.py", "migrate", "--noinput", "--no-color"])
    assert audited()[0]["applied"] == ["entries.0001_initial", "auth.0002_x"]
    assert "entries.0001_initial" in releases.read(app, "v1-1").log.read_text()
    system.result.stdout = "  No migrations to apply.\n"
    assert ctl("shop", "migrate", "v1-1", "--json")[1]["changed"] is False


def test_an_app_without_a_database_is_not_migrated(ctl, app, make_release, system):
    make_release(app, "v1-1", database=False)
    assert ctl("shop", "migrate", "v1-1", "--json")[1] == {"release": "v1-1", "changed": False, "applied": []}
    assert system.managed == []


def test_a_migration_that_fails(ctl, app, make_release, system):
    make_release(app, "old", live=True)
    make_release(app, "new")
    system.result = subprocess.CompletedProcess([], 1, "line\n" * 40 + "relation exists\n", "")
    code, answer, _err = ctl("shop", "migrate", "new", "--json")
    assert code == 5
    assert "a migration of release new failed" in answer["message"]
    assert answer["state"] == "release old serves on"
    assert answer["log"].splitlines()[-1] == "relation exists"
    assert len(answer["log"].splitlines()) == 25
    assert releases.live_id(app) == "old"
    assert audited()[0]["ok"] is False


# Passing on


def test_manage_passes_words_and_variables_on(ctl, system, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "s3cret")
    system.result = subprocess.CompletedProcess([], 3)
    words = ("--env", "FROM_HERE", "--env", "A=b=c", "--env", "NOT_THERE", "shell", "-c", "print(1)", "--json")
    code = cli.main(["shop", "manage", *words])
    ((release, command, options),) = system.managed
    assert code == 3
    assert (release, command) == ("current", ["manage.py", "shell", "-c", "print(1)", "--json"])
    assert options["environment"] == {"FROM_HERE": "s3cret", "A": "b=c", "NOT_THERE": ""}


def test_logs_are_those_of_this_app_alone(ctl, monkeypatch):
    seen = []
    monkeypatch.setattr(
        cli.subprocess, "run", lambda words, **_options: seen.append(words) or subprocess.CompletedProcess(words, 0)
    )
    assert ctl("shop", "logs", "--lines", "7", "--follow")[0] == 0
    units = [word.removeprefix("--unit=") for word in seen[0] if word.startswith("--unit=")]
    assert set(units) == {"django-shop.service", "django-shop-next.service"}
    assert {"--lines=7", "--follow"} <= set(seen[0])


def test_a_process_keeps_the_mask_of_its_unit(app, make_release, monkeypatch):
    make_release(app, "v1-1", live=True, application="x:y")
    seen = []
    monkeypatch.setattr(launch.os, "execvpe", lambda *_words: seen.append(os.umask(0o027)))
    monkeypatch.chdir("/")
    before = os.umask(0o027)
    try:
        with pytest.raises(SystemExit):
            cli.main(["shop", "exec", "current", "serve"])
    finally:
        os.umask(before)
    assert seen == [0o027]


def test_a_strict_mask_of_the_caller_locks_nobody_out(ctl, app, make_release):
    make_release(app, "v1-1", {"deep/a.css": "x"})
    before = os.umask(0o077)
    try:
        assert ctl("shop", "activate", "v1-1")[0] == 0
    finally:
        os.umask(before)
    for path in (lock.RUN, app.static / "deep"):
        assert path.stat().st_mode & 0o755 == 0o755, f"Nginx cannot enter {path.name}"


# The module that asks


@pytest.fixture(scope="module")
def module():
    path = ROOT / "plugins/modules/release.py"
    spec = importlib.util.spec_from_file_location("release_module", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


PARAMS = dict.fromkeys(["revision", "version", "tree", "archive", "package", "release"])


@pytest.mark.parametrize("version", ["v1", None, "--json", "-x", "a b", "ünï"])
@pytest.mark.parametrize("source", [("tree", "/srv/my repo"), ("archive", "/tmp/x.tar.gz"), ("package", "-e x==1")])
@pytest.mark.parametrize("check", [True, False])
def test_the_module_and_the_program_understand_each_other(module, version, source, check):
    params = PARAMS | {"app": "shop", "state": "built", "revision": "-abc", "version": version, source[0]: source[1]}
    options = cli.parser().parse_args(module.words(params, check))
    assert (options.app, options.command, options.json, options.dry_run) == ("shop", "build", True, check)
    assert (options.revision, options.version) == ("-abc", version or "")
    assert str(getattr(options, source[0])) == source[1]


@pytest.mark.parametrize(("state", "verb", "dry"), [("migrated", "migrate", False), ("active", "activate", True)])
def test_the_module_asks_for_a_release(module, state, verb, dry):
    params = PARAMS | {"app": "shop", "state": state, "release": "v1-1"}
    options = cli.parser().parse_args(module.words(params, True))
    assert (options.command, options.release, getattr(options, "dry_run", False)) == (verb, "v1-1", dry)
