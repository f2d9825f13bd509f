"""The command line of djangoctl: exit codes, JSON and text."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import djangoctl.app
import pytest
import yaml
from conftest import pin
from djangoctl import answer, backups, cli, errors, launch, lock, swap
from djangoctl import build as builds
from djangoctl import release as releases
from loading import load
from test_djangoctl_swap import NEXT, SERVICE, FakeSystemd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def system(app, monkeypatch):
    fake = FakeSystemd(app)
    fake.managed, fake.ended, fake.result = [], [], subprocess.CompletedProcess([], 0, "", "")
    fake.end_interrupted = lambda app, purpose: fake.ended.append((app.name, purpose, lock.holder(app) is not None))

    def manage(_app, release, words, **options):
        fake.managed.append((release, words, options))
        return fake.result

    fake.manage = manage
    fake.answer = {"ok": True, "status": 200, "seconds": 0.1, "verdict": "200", "certificate": ""}
    monkeypatch.setattr(answer, "seen", lambda *_words: fake.answer)
    monkeypatch.setattr(cli, "Systemd", lambda: fake)
    return fake


@pytest.fixture
def ctl(capsys, system):
    """`ctl("shop", "status")`: exit code, stdout and stderr; with --json, stdout is parsed."""

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


KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CtlError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_failure_has_its_code_and_is_audited(ctl, app, make_release, monkeypatch, kind):
    code = kind.code
    make_release(app, "v1-1")
    fail_with(monkeypatch, kind("it 'broke'", state="as before", hint="fix it", log="line 1\nline 2"))
    assert ctl("shop", "activate", "v1-1", "--json") == (
        code,
        {
            "failed": True,
            "code": code,
            "message": "it 'broke'",
            "state": "as before",
            "hint": "fix it",
            "log": "line 1\nline 2",
        },
        "",
    )
    found, out, err = ctl("shop", "activate", "v1-1")
    assert (found, out) == (code, "")
    assert err == "djangoctl: it 'broke'\n\nline 1\nline 2\n\nas before\nfix it\n"
    noted = [(line["action"], line["ok"], line["error"]) for line in audited()]
    assert noted == 2 * [("activate", False, "it 'broke'")]


HOSTILE = "red \x1b[31m\x1b]0;title\x07 \x9b2J \x7f \r back \u202e and \udcff\ttab\nline ünï"
SHOWN = r"red \x1b[31m\x1b]0;title\x07 \x9b2J \x7f \r back \u202e and \udcff" + "\ttab\nline ünï"


def test_what_a_project_prints_does_not_act_on_the_terminal(ctl, app, make_release, monkeypatch):
    make_release(app, "v1-1")
    fail_with(monkeypatch, errors.BuildError(HOSTILE, log=HOSTILE, facts={"faults": [{"found": HOSTILE}]}))
    err = ctl("shop", "activate", "v1-1")[2]
    assert err == f"djangoctl: {SHOWN}\n\n{SHOWN}\n\n"
    found = ctl("shop", "activate", "v1-1", "--json")[1]
    assert (found["message"], found["log"], found["faults"]) == (SHOWN, SHOWN, [{"found": SHOWN}])


def test_what_a_record_holds_does_not_act_on_the_terminal(ctl, app, make_release):
    make_release(app, "v1-1", error=HOSTILE, state="failed")
    assert SHOWN in ctl("shop", "releases")[1]
    assert ctl("shop", "releases", "--json")[1]["releases"][0]["error"] == SHOWN


def test_a_failure_shows_and_records_no_credentials(ctl, app, make_release, monkeypatch):
    make_release(app, "v1-1")
    text = "from https://t0ken@example.com/x and postgres://me:t0ken@db/shop"
    fail_with(monkeypatch, errors.BuildError(text, log=text))
    shown = "from https://***@example.com/x and postgres://***@db/shop"
    assert ctl("shop", "activate", "v1-1")[2] == f"djangoctl: {shown}\n\n{shown}\n\n"
    assert audited()[-1]["error"] == shown


def fail_unexpectedly(system, monkeypatch):
    fail_with(monkeypatch, errors.CtlError("it broke"))


def fail_locked(system, monkeypatch):
    def refuse(*_words):
        raise BlockingIOError

    monkeypatch.setattr(lock.fcntl, "flock", refuse)


def fail_build(system, monkeypatch):
    monkeypatch.setattr(builds.shutil, "disk_usage", lambda _path: namedtuple("usage", "free")(0))


def fail_commands(system, monkeypatch):
    system.result = subprocess.CompletedProcess([], 1, "no\n", "")


def fail_gate(system, monkeypatch):
    system.failing["start", NEXT] = 1


def fail_restart(system, monkeypatch):
    system.failing["restart", SERVICE] = 1


ACTIVATE = ("activate", "new")
BUILD = ("build", "--revision", "abc", "--tree", "/nowhere")
# Each class of failure: what causes it, the command, its code, and its words in the help text.
FAILURES = {
    "CtlError": (fail_unexpectedly, ACTIVATE, 1, "unexpected failure"),
    "ConfigError": (lambda *_words: None, ("activate", "v9-9"), 2, "bad usage or input"),
    "LockedError": (fail_locked, ACTIVATE, 3, "locked by somebody else"),
    "BuildError": (fail_build, BUILD, 4, "the build failed"),
    "MigrationError": (fail_commands, ("migrate", "new"), 5, "a migration failed or was refused"),
    "GateError": (fail_gate, ACTIVATE, 6, "the gate refused the release"),
    "UnhealthyError": (fail_commands, ("check",), 6, "or the app is not healthy"),
    "ActivationError": (fail_restart, ACTIVATE, 7, "the previous release was put back if possible"),
    "HookError": (fail_commands, ACTIVATE, 8, "a hook failed"),
    "MoveError": (fail_commands, ("move", "--config", "etc/shop"), 10, "the database was not moved"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_has_its_documented_exit_code(ctl, make_app, make_release, system, monkeypatch, tmp_path, kind):
    monkeypatch.chdir(tmp_path)
    provoke, words, code, text = FAILURES[kind.__name__]
    documented = ctl("--help")[1].partition("exit codes:\n")[2]
    app = make_app(hooks={"before_activate": ["x"] if kind is errors.HookError else [], "after_activate": []})
    make_release(app, "old", application="x:y")
    make_release(app, "new", application="x:y", migrations=["a.0001"])
    assert ctl("shop", "activate", "old")[0] == 0
    system.calls.clear()
    serves = (app.root / "live.json").read_text()
    provoke(system, monkeypatch)
    found, answer, _err = ctl("shop", *words, "--json")
    assert (found, answer["code"], kind.code) == (code, code, code)
    (line,) = [line for line in documented.splitlines() if line.startswith(f"{code:3}  ")]
    assert text in line
    for words in (
        "After 2 to 6 and 10 the same release is live as before.",
        "After 7 and 8 the message says which one is.",
    ):
        assert words in documented
    assert (releases.live_id(app), (app.root / "live.json").read_text()) == ("old", serves)
    if 2 <= code <= 6 or code == 10:
        assert not [call for call in system.asked if call.startswith(("stop", "restart")) and SERVICE in call]
    if code in (7, 8):
        assert "release old" in answer["state"]


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
def test_invalid_input(ctl, words, message):
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
def test_unknown_arguments(ctl, words):
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


@pytest.mark.parametrize("words", [(), ("list",), ("shop", "status")])
def test_an_ordinary_user_is_told_to_be_root(ctl, app, monkeypatch, words):
    with tempfile.TemporaryDirectory() as root:  # tmp_path lies below a directory that only its owner may enter
        os.chmod(root, 0o755)
        shutil.copytree(app.config, Path(root, "shop"))
        monkeypatch.setattr(djangoctl.app, "CONFIG_ROOT", Path(root))
        assert ctl(*words)[0] == 6  # nothing is live
        os.chmod(Path(root, "shop"), 0o600)
        with ordinary_user():
            code, out, err = ctl(*words)
    assert (code, out) == (2, "")
    assert re.search(r"app\.json(: permission denied| cannot be read)\nrun djangoctl as root$", err.strip())


@contextmanager
def ordinary_user():
    """Give up root for a while: root may read everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


# Help


def test_the_help_is_written_for_an_operator(ctl):
    code, text, err = ctl("--help")
    assert (code, err) == (0, "")
    assert len(text.splitlines()) < 70
    assert max(map(len, text.splitlines())) <= 120
    assert "Run it as root." in text


def test_every_example_of_the_help_is_a_command(ctl):
    examples = re.findall(r"^  djangoctl (shop .+?)  ", ctl("--help")[1], re.MULTILINE)
    assert len(examples) > 6
    for words in map(str.split, examples):
        options = cli.parser().parse_args(words)
        assert (options.app, options.command) == ("shop", words[1])


@pytest.mark.parametrize("runbook", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=lambda path: path.stem)
def test_every_command_of_a_runbook_is_one(runbook):
    inline_or_block = re.compile(r"`(djangoctl [^`]+)`|^# (djangoctl .+?)(?:  .*)?$", re.MULTILINE)
    text = runbook.read_text()
    found = ["".join(match.groups("")) for match in inline_or_block.finditer(text)]
    commands = [words.split() for line in found for words in line.replace("<id>", "v1-1").split(" && ")]
    assert bool(commands) == ("djangoctl" in text)
    for _program, *words in commands:
        assert cli.parser().parse_args(words).app == "shop"


def test_the_version_is_that_of_the_collection(ctl):
    collection = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert ctl("--version") == (0, f"djangoctl {collection}\n", "")


# Results


def test_apps_are_listed(ctl, app, make_app, make_release):
    make_app("blog")
    make_release(app, "v1-1", live=True)
    code, answer, _err = ctl("--json")
    assert code == 6, "nothing is live of the blog"
    assert [(entry["app"], entry["release"]) for entry in answer["apps"]] == [("blog", None), ("shop", "v1-1")]
    code, text, _err = ctl()
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:2] == ["app", "release"]
    assert [row[:2] for row in rows[1:]] == [["blog", "-"], ["shop", "v1-1"]]


def test_the_list_is_also_a_command(ctl, app, make_app, make_release):
    make_app("blog")
    assert ctl("list") == ctl()
    for words in (("list", "--json"), ("--json", "list")):
        assert ctl(*words) == ctl("--json")
    assert ctl("list", "status")[0] == 2
    make_app("list")
    assert [entry["app"] for entry in ctl("list", "--json")[1]["apps"]] == ["blog", "list", "shop"]
    assert ctl("list", "status", "--json")[1]["app"] == "list"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], {"list", "--json", "--help"}),
        (["li"], {"list"}),
        (["list", ""], {"--json", "--help"}),
        (["cat"], {"catch-up"}),
        (["catch-up", ""], {"--json", "--help"}),
        (["shop", "cat"], {"catch-up"}),
        (["shop", "sta"], {"status"}),
        (["shop", "maintenance", "o"], {"on", "off"}),
    ],
)
def test_the_shell_completes(words, offered):
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _djangoctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = ROOT / "roles/django/files/completion"
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(path), "djangoctl", *words], capture_output=True, text=True, check=True
    )
    assert offered <= set(result.stdout.split())
    if words[0]:
        assert offered == set(result.stdout.split())


def test_the_shell_completes_releases_wherever_apps_lie(app, make_release):
    make_release(app, "v1-1")
    script = 'source "$1"; COMP_WORDS=(djangoctl shop activate v); COMP_CWORD=3; _djangoctl; echo "${COMPREPLY[@]}"'
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(ROOT / "roles/django/files/completion")],
        env={**os.environ, "DJANGOFLEET_CONFIG": str(app.config.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["v1-1"]


def test_status_names_the_holder_of_the_lock(ctl, app, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ACTOR", "ada")
    assert ctl("shop", "status", "--json")[1]["lock"] is None
    assert "lock" not in ctl("shop", "status")[1]
    with lock.held(app, "build v1-1"):
        found = ctl("shop", "status", "--json")[1]["lock"]
        assert "\nlock: actor ada, action build v1-1, since 20" in ctl("shop", "status")[1]
    assert set(found) == {"actor", "action", "since", "pid"}
    assert (found["actor"], found["action"], found["pid"]) == ("ada", "build v1-1", os.getpid())


def test_status(ctl, app, make_release):
    make_release(app, "v1-1", live=True)
    assert ctl("shop", "status", "--json")[1]["restart_pending"] is True
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


def test_what_is_live_is_asked_under_the_lock(ctl, app, make_release, monkeypatch):
    """A deploy that ends while a rotation waits for the lock must not be taken back by it."""
    make_release(app, "v1-1")
    make_release(app, "v2-1")
    ctl("shop", "activate", "v1-1")
    (app.config / "env").write_text("CHANGED=1\n")
    held = lock.held

    @contextmanager
    def waited(*words):
        with held(*words):
            releases.point(app.current, app.releases / "v2-1")
            yield

    monkeypatch.setattr(lock, "held", waited)
    assert ctl("shop", "activate", "current", "--json")[1]["release"] == "v2-1"
    assert releases.live_id(app) == "v2-1"
    assert audited()[-1]["release"] == "v2-1"


def test_publishing_adds_files_once(ctl, app, make_release):
    make_release(app, "v1-1", {"a.css": "live"}, live=True)
    shutil.copy(app.releases / "v1-1/static/a.css", app.static)
    make_release(app, "v2-1", {"a.css": "new", "b.css": "new"})
    answer = {"release": "v2-1", "changed": True, "files": 1}
    assert ctl("shop", "publish", "v2-1", "--dry-run", "--json") == (0, answer, "")
    assert not (app.static / "b.css").exists()
    assert audited() == []
    assert ctl("shop", "publish", "v2-1", "--json") == (0, answer, "")
    assert [(app.static / name).read_text() for name in ("a.css", "b.css")] == ["live", "new"]
    assert [(entry["action"], entry["release"], entry["files"]) for entry in audited()] == [("publish", "v2-1", 1)]
    assert ctl("shop", "publish", "v2-1", "--json") == (0, {**answer, "changed": False, "files": 0}, "")
    assert len(audited()) == 1, "there was nothing to do"


def test_only_a_good_release_is_published(ctl, app, make_release):
    make_release(app, "v1-1", {"a.css": "x"}, state="failed")
    code, answer, _err = ctl("shop", "publish", "v1-1", "--json")
    assert (code, answer["message"]) == (2, "shop: release v1-1 is failed, only a good one can go live")
    assert not (app.static / "a.css").exists()


def test_publishing_waits_for_nobody(ctl, app, make_release):
    make_release(app, "v1-1", {"a.css": "x"})
    with lock.held(app, "build v2"):
        assert ctl("shop", "publish", "v1-1")[0] == 3
    assert not (app.static / "a.css").exists()


def test_activating_and_going_back(ctl, app, make_release, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ACTOR", "ada")
    make_release(app, "v1-1")
    make_release(app, "v2-1")
    assert ctl("shop", "activate", "v1-1", "--json")[:2] == (0, {"release": "v1-1", "before": None, "changed": True})
    assert ctl("shop", "activate", "v1-1", "--json")[1]["changed"] is False
    assert ctl("shop", "activate", "v2-1", "--json")[1] == {"release": "v2-1", "before": "v1-1", "changed": True}
    assert ctl("shop", "rollback", "--json")[1] == {"release": "v1-1", "before": "v2-1", "changed": True}
    assert ctl("shop", "rollback", "--json")[1]["code"] == 2, "back to what was rolled back from"
    assert ctl("shop", "rollback", "v2-1", "--json")[1]["release"] == "v2-1"
    assert [(line["action"], line["release"], line["before"], line["actor"]) for line in audited()] == [
        ("activate", "v1-1", None, "ada"),
        ("activate", "v2-1", "v1-1", "ada"),
        ("rollback", "v1-1", "v2-1", "ada"),
        ("rollback", "v2-1", "v1-1", "ada"),
    ]


@pytest.mark.parametrize("action", ["activate", "rollback"])
def test_a_dry_run_tells_of_a_release_that_cannot_go_live(ctl, app, make_release, action):
    make_release(app, "v1-1", state="failed")
    code, answer, _err = ctl("shop", action, "v1-1", "--dry-run", "--json")
    assert (code, answer["message"]) == (2, "shop: release v1-1 is failed, only a good one can go live")


@pytest.mark.parametrize("action", ["activate", "rollback"])
def test_a_dry_run_changes_nothing(ctl, app, make_release, system, action):
    make_release(app, "v1-1")
    answer = ctl("shop", action, "v1-1", "--dry-run", "--json")[1]
    assert answer == {"release": "v1-1", "before": None, "changed": True}
    assert releases.live_id(app) is None
    assert (system.asked, audited(), lock.RUN.exists()) == ([], [], False)


@pytest.mark.parametrize("action", ["activate", "rollback"])
def test_a_live_release_can_be_left_alone(ctl, app, make_release, system, action):
    """When a rollout stops, its hosts go back to the earlier release. A host that still runs it is not restarted."""
    for identity in ("v1-1", "v2-1"):
        make_release(app, identity)
        ctl("shop", "activate", identity)
    (app.config / "env").write_text("A=1\n")
    assert swap.pending(app, "v2-1", system)
    system.calls.clear()
    words = ("shop", action, "v2-1", "--unless-live", "--json")
    audits = len(audited())
    assert ctl(*words)[:2] == (0, {"release": "v2-1", "before": "v2-1", "changed": False})
    assert (system.asked, len(audited())) == ([], audits)
    assert ctl("shop", action, "v2-1", "--json")[1]["changed"] is True
    assert ctl("shop", action, "v1-1", "--unless-live", "--json")[1]["changed"] is True
    assert releases.live_id(app) == "v1-1"
    assert releases.read_json(app.root / "live.json")["rolled_back"] == ["v2-1"], "it failed on another host"


def test_a_process_that_a_swap_has_broken_is_a_warning(ctl, app, make_release, system):
    make_release(app, "v1-1")
    system.logged = [(SERVICE, "Worker (pid:9) was sent SIGABRT!")]
    code, answer, _err = ctl("shop", "activate", "v1-1", "--json")
    assert (code, answer["changed"]) == (0, True)
    (line,) = answer["warnings"]
    assert line.startswith(f"processes of {SERVICE} ended by SIGABRT during the swap: try django_app.sandbox")


# Builds


@pytest.fixture
def built(monkeypatch, make_release):
    """Builds that succeed at once; returns the arguments of each."""
    seen = []

    def build(app, identity, source, system, **facts):
        seen.append((identity, source, facts))
        advice = {"warnings": ["mind the gap"], "deploy_check": "System check\nidentified 1 issue"}
        return make_release(app, identity, database=False, **advice)

    monkeypatch.setattr(cli, "build", build)
    return seen


def test_a_build_first_ends_what_an_interrupted_one_left(ctl, app, built, system):
    words = ("shop", "build", "--revision", "abcdef0123456789", "--tree", "/srv/repo")
    ctl(*words, "--dry-run")
    assert system.ended == []
    ctl(*words)
    assert system.ended == [("shop", "build", True)]


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
        "plan": [],
        "migrate": False,
        "warnings": ["mind the gap"],
        "deploy_check": "System check\nidentified 1 issue",
    }
    assert built[0][1].tree == Path("/srv/repo")
    again = ctl(*words)[1]
    assert (again["release"], again["changed"], again["pending"], len(built)) == (identity, False, True, 1)
    ctl("shop", "activate", identity)
    live = ctl(*words)[1]
    assert (live["pending"], live["migrate"]) == (False, False)
    assert [(line["action"], line["ok"]) for line in audited()] == [("build", True), ("activate", True)]


MIGRATIONS = ["entries.0001_initial", "entries.0002_more"]
STEPS = [{"migration": "entries.0001_initial", "operations": ["Create model Entry"], "destructive": []}]


@pytest.mark.parametrize(
    ("steps", "record", "due"),
    [
        (STEPS, {"leaves": MIGRATIONS}, True),
        ([], {"leaves": MIGRATIONS}, False),
        ([], {}, True),  # the database has what nobody has recorded: it was restored, or a run was killed
        ([], {"leaves": MIGRATIONS[:1]}, True),
        ([], {"leaves": [*MIGRATIONS, "gone.0001"]}, False),
        ([], {"leaves": MIGRATIONS, "owing": "v0-1"}, True),
        ([], {"leaves": MIGRATIONS, "migrating": "v0-1"}, True),
        ([], {"leaves": MIGRATIONS, "first": True}, True),
    ],
)
def test_a_build_says_whether_migrate_has_anything_to_do(
    ctl, app, make_release, system, monkeypatch, steps, record, due
):
    """A deploy asks for `migrate` only then, so nothing that `migrate` would do may be missing."""

    def build(app, identity, source, system, **facts):
        return make_release(app, identity, application="x:y", migrations=MIGRATIONS)

    monkeypatch.setattr(cli, "build", build)
    releases.write_json(app.root / "schema.json", record)
    before = releases.read_json(app.root / "schema.json")
    system.result = answered(steps)
    words = ("shop", "build", "--revision", "abc", "--tree", "/srv/repo", "--json")
    code, answer, _err = ctl(*words)
    assert (code, answer["changed"], answer["plan"], answer["migrate"]) == (0, True, steps, due)
    assert [release for release, _words, _options in system.managed] == [answer["release"]], "it is asked once"
    system.managed.clear()
    again = ctl(*words)[1]
    assert (again["plan"], again["migrate"]) == ([], True), "it is not live yet, so an earlier run may have broken off"
    assert system.managed == [], "nothing was built"
    done = ctl("shop", "migrate", answer["release"], "--json")[1]
    after = {**releases.read_json(app.root / "schema.json"), "release": None}
    quiet = not done["changed"] and after == {**before, "release": None, "owing": None}
    assert quiet is not due


def test_a_build_without_a_database_is_not_planned(ctl, system, monkeypatch, make_release):
    def build(app, identity, source, system, **facts):
        return make_release(app, identity, application="x:y", migrations=MIGRATIONS, database=False)

    monkeypatch.setattr(cli, "build", build)
    answer = ctl("shop", "build", "--revision", "abc", "--tree", "/srv/repo", "--json")[1]
    assert (answer["plan"], answer["migrate"]) == ([], False)
    assert system.managed == []


def test_of_failed_builds_the_last_one_is_kept(ctl, app, monkeypatch, make_release):
    make_release(app, "v1-1", state="failed", started_at="2026-01-01T00:00:00Z")

    def build(app, identity, source, system, **facts):
        make_release(app, identity, state="failed", started_at="2026-01-02T00:00:00Z")
        raise errors.BuildError("it broke")

    monkeypatch.setattr(cli, "build", build)
    assert ctl("shop", "build", "--revision", "abc", "--version", "v2", "--tree", "/srv/repo", "--json")[0] == 4
    (left,) = app.releases.glob("v*")
    assert left.name.startswith("v2-")


@pytest.mark.parametrize("words", [("--tree", "/srv/repo"), ()])
def test_a_dry_run_builds_nothing(ctl, built, words):
    answer = ctl("shop", "build", "--revision", "abc", "--version", "v1", *words, "--dry-run", "--json")[1]
    assert (answer["changed"], answer["pending"], built, audited()) == (True, True, [], [])
    assert answer["release"].startswith("v1-")


def test_a_build_without_a_source_is_refused(ctl, built):
    code, answer, _err = ctl("shop", "build", "--revision", "abc", "--json")
    assert (code, answer["message"], built) == (2, "shop: a build needs a source", [])


REHEARSE = ("shop", "build", "--revision", "abc", "--tree", "/srv/repo", "--rehearse", "--json")


@pytest.fixture
def rehearsed(monkeypatch, make_release):
    """`rehearsed(error)`: rehearsals without a build, which may fail; returns what they were asked for."""
    asked = []

    def prepare(error=None):
        @contextmanager
        def rehearsal(app, identity, source, system, **facts):
            asked.append((identity, source.tree))
            if error:
                raise error
            yield releases.Release(app.root, {"warnings": ["mind the gap"]}), {"sandbox": ["X=y"]}

        monkeypatch.setattr(cli, "rehearsal", rehearsal)
        return asked

    return prepare


def test_a_rehearsal_shows_the_plan(ctl, app, rehearsed, monkeypatch):
    asked, planned = rehearsed(), []
    monkeypatch.setattr(cli, "plan", lambda *_words, **options: planned.append(options) or [{"x": 1}])
    answer = ctl(*REHEARSE, "--version", "v1")[1]
    assert answer["release"].startswith("v1-")
    assert (answer["changed"], answer["plan"], answer["warnings"]) == (True, [{"x": 1}], ["mind the gap"])
    assert asked == [(answer["release"], Path("/srv/repo"))]
    assert planned == [{"sandbox": ["X=y"]}]
    assert audited() == []


@pytest.mark.parametrize(("error", "code"), [(errors.BuildError("it broke"), 4), (errors.MigrationError("no"), 5)])
def test_a_rehearsal_that_fails(ctl, rehearsed, error, code):
    rehearsed(error)
    found, answer, _err = ctl(*REHEARSE)
    assert (found, answer["message"]) == (code, error.message)


@pytest.fixture
def scratch(app, tmp_path):
    """A configuration that a run would write: the same, with another environment."""
    directory = tmp_path / "run/check/shop"
    shutil.copytree(app.config, directory)
    (directory / "env").write_text('STRIPE_KEY="x"\n')
    return directory


def test_a_rehearsal_takes_the_configuration_that_a_run_would_write(ctl, app, scratch, system, monkeypatch):
    """New code and the variable that it needs come in one run."""
    seen = []

    def rehearsal(app, identity, source, system, **facts):
        seen.append((app.config, (app.config / "env").read_text()))
        raise errors.BuildError("seen enough")

    monkeypatch.setattr(cli, "rehearsal", rehearsal)
    before = {path: path.read_bytes() for path in app.config.rglob("*") if path.is_file()}
    ctl(*REHEARSE, "--config", str(scratch))
    assert seen == [(scratch, 'STRIPE_KEY="x"\n')]
    assert {path: path.read_bytes() for path in app.config.rglob("*") if path.is_file()} == before


def test_a_change_of_settings_alone_is_told(ctl, app, scratch, built):
    identity = ctl("shop", "build", "--revision", "abc", "--tree", "/srv/repo", "--json")[1]["release"]
    ctl("shop", "activate", identity)
    again = ctl("shop", "build", "--revision", "abc", "--dry-run", "--json")[1]
    ask = ("shop", "build", "--revision", "abc", "--dry-run", "--config", str(scratch), "--json")
    changed = ctl(*ask)[1]
    shutil.copy(app.config / "env", scratch / "env")
    same = ctl(*ask)[1]
    assert [(found["release"], found["changed"], found["pending"]) for found in (again, changed, same)] == [
        (identity, False, False),
        (identity, False, True),
        (identity, False, False),
    ]


def test_a_configuration_to_rehearse_builds_no_release(ctl, app, scratch, built):
    assert ctl("shop", "build", "--revision", "abc", "--tree", "/x", "--config", str(scratch), "--json")[0] == 2
    assert ctl(*REHEARSE, "--config", str(scratch.parent))[0] == 2, "it is not named as the app"
    assert built == []


def test_a_rehearsal_without_free_space(ctl, app, monkeypatch):
    fail_build(None, monkeypatch)
    code, answer, _err = ctl(*REHEARSE)
    assert (code, answer["code"]) == (4, 4)
    assert "has 0 MB free" in answer["message"]


def test_a_rehearsal_is_not_listed_and_cannot_go_live(ctl, app, make_release):
    make_release(app, "v1-1")
    make_release(app, ".rehearsal")  # one that is running, or was killed
    assert [entry["id"] for entry in ctl("shop", "releases", "--json")[1]["releases"]] == ["v1-1"]
    assert ctl("shop", "activate", ".rehearsal")[0] == 2
    ctl("shop", "activate", "v1-1")
    assert ctl("shop", "rollback")[0] == 2


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


def answered(steps):
    plan = {"vendor": "", "database": {}, "steps": steps}
    return subprocess.CompletedProcess([], 0, f"noise\ndjangofleet-plan: {json.dumps(plan)}\n", "")


def test_a_plan_is_shown(ctl, app, make_release, system):
    make_release(app, "v1-1", application="shop.wsgi:application")
    system.result = answered(STEPS)
    assert ctl("shop", "plan", "v1-1", "--json")[:2] == (0, {"plan": STEPS})
    assert "Create model Entry" in ctl("shop", "plan", "v1-1")[1]
    assert (len(system.managed), audited()) == (2, [])


def test_migrations_are_named(ctl, app, make_release, system):
    make_release(app, "v1-1", live=True, application="shop.wsgi:application")
    system.result = answered(STEPS)
    assert ctl("shop", "migrate", "v1-1", "--json")[1] == {"release": "v1-1", "changed": True, "plan": STEPS}
    assert system.managed[1][:2] == ("v1-1", ["manage.py", "migrate", "--noinput", "--no-color"])
    assert audited()[0]["applied"] == ["entries.0001_initial"]
    system.result = answered([])
    assert ctl("shop", "migrate", "v1-1", "--json")[1] == {"release": "v1-1", "changed": False, "plan": []}


def test_hooks_that_an_earlier_migrate_owed_are_a_change(ctl, make_app, make_release, system):
    app = make_app(hooks={"after_migrate": ["manage.py loaddata"]})
    release = make_release(app, "v1-1", application="x:y")
    releases.write_json(app.root / "schema.json", {"leaves": [], "owing": release.id})
    system.result = answered([])
    assert ctl("shop", "migrate", "v1-1", "--json")[1]["changed"] is True
    assert system.managed[-1][1] == ["manage.py", "loaddata"]
    assert ctl("shop", "migrate", "v1-1", "--json")[1]["changed"] is False


def test_destructive_migrations_need_a_flag(ctl, app, make_release, system):
    make_release(app, "v1-1", application="shop.wsgi:application")
    system.result = answered([STEPS[0] | {"destructive": ["Delete model Entry"]}])
    code, answer, _err = ctl("shop", "migrate", "v1-1", "--json")
    assert (code, answer["log"]) == (5, "entries.0001_initial: Delete model Entry")
    assert len(system.managed) == 1
    assert ctl("shop", "migrate", "v1-1", "--allow-destructive", "--json")[1]["changed"] is True


def test_an_app_without_a_database_is_not_migrated(ctl, app, make_release, system):
    make_release(app, "v1-1", database=False)
    assert ctl("shop", "migrate", "v1-1", "--json")[1] == {"release": "v1-1", "changed": False, "plan": []}
    assert system.managed == []


def test_a_migration_that_fails(ctl, app, make_release, system):
    make_release(app, "old", live=True)
    make_release(app, "new", application="shop.wsgi:application")
    system.result = subprocess.CompletedProcess([], 1, "line\n" * 40 + "no such host\n", "")
    code, answer, _err = ctl("shop", "migrate", "new", "--json")
    assert code == 5
    assert "migrations of release new cannot be planned" in answer["message"]
    assert answer["state"] == "release old is still live"
    assert answer["log"].splitlines()[-1] == "no such host"
    assert len(answer["log"].splitlines()) == 25
    assert releases.live_id(app) == "old"
    assert audited()[0]["ok"] is False


# Health, maintenance, pruning


def test_check_asks_the_service_that_runs(ctl, app, make_release, system):
    healthy(make_release(app, "v1-1"))
    ctl("shop", "activate", "v1-1")
    code, answer, _err = ctl("shop", "check", "--json")
    assert (code, answer["release"], answer["healthy"]) == (0, "v1-1", True)
    assert [found["through"] for found in answer["answers"]] == ["socket"]
    assert system.managed == [], "in process, nobody is served"
    system.answer = system.answer | {"ok": False, "status": 500, "verdict": "500 and not 200 to 499"}
    code, answer, _err = ctl("shop", "check", "--json")
    assert (code, answer["serves"]) == (6, False)
    assert (
        "GET / as shop.example.com through the socket: 500 and not 200 to 499\n  heals: djangoctl shop" in answer["log"]
    )
    assert ctl("shop", "status")[0] == 6
    system.up.discard("django-shop.socket")
    assert "django-shop.socket is not active" in ctl("shop", "check", "--json")[1]["log"]


def test_check_leaves_the_backups_to_status(ctl, app, make_release, system, monkeypatch):
    healthy(make_release(app, "v1-1"))
    ctl("shop", "activate", "v1-1")
    late = {"part": "cluster main", "newest": None, "restored": None, "drilled": None, "faults": [
        {"found": "no backup of the last 26 hours", "heals": "djangofleet-backup run"}
    ]}  # fmt: skip
    monkeypatch.setattr(backups, "of", lambda name: [late])
    assert ctl("shop", "check")[0] == 0
    assert ctl("shop", "status")[0] == backups.CODE
    system.up.discard("django-shop.socket")
    found = ctl("shop", "check", "--json")[1]["faults"]
    assert [fault["found"] for fault in found] == ["django-shop.socket is not active"]


def test_check_asks_another_release_in_process(ctl, app, make_release, system):
    make_release(app, "v1-1", live=True)
    make_release(app, "v2-1")
    assert ctl("shop", "check", "v2-1")[0] == 0
    assert system.managed[-1][:2] == ("v2-1", ["gate"])
    system.result = subprocess.CompletedProcess([], 1, "/healthz/ answered 500\n", "")
    code, answer, _err = ctl("shop", "check", "v2-1", "--json")
    assert (code, answer["log"], answer["state"]) == (6, "/healthz/ answered 500", "release v1-1 is live")
    assert ctl("shop", "check", "nosuch")[0] == 2


def test_check_says_that_it_has_asked_nobody(ctl, app, make_app, make_release, system):
    make_release(app, "v1-1", live=True)
    make_release(app, "v2-1")
    make_app(health={**app["health"], "enabled": False})
    code, answer, _err = ctl("shop", "check", "v2-1", "--json")
    assert (code, answer["healthy"], system.managed) == (0, None, [])
    out = ctl("shop", "check", "v2-1")[1]
    assert "note: not asked: django_app.health.enabled of app 'shop' is false" in out
    assert "healthy" not in out


def healthy(release):
    """Give a release what keeps it from being called damaged."""
    release.write(application="x:y")
    (release.path / "venv/bin/python").touch()
    return release


def test_a_signal_ends_the_wait_of_maintenance_for_a_deploy(ctl, app):
    deploy = os.open(app.static, os.O_RDONLY)
    fcntl.flock(deploy, fcntl.LOCK_EX)
    timers = [
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)),
        threading.Timer(2, os.close, (deploy,)),
    ]
    for timer in timers:
        timer.start()
    assert ctl("shop", "maintenance", "on")[0] == 128 + signal.SIGTERM
    assert not app.maintenance.exists()
    timers[1].join()


def test_maintenance_is_switched_on_and_off(ctl, app):
    assert ctl("shop", "maintenance", "on", "--message", "Back at <b>9</b>", "--json")[1]["changed"] is True
    assert '<p class="lead">Back at &lt;b&gt;9&lt;/b&gt;</p>' in app.maintenance.read_text()
    assert app.maintenance.stat().st_mode & 0o777 == 0o644
    assert ctl("shop", "maintenance", "on", "--json")[1] == {"app": "shop", "maintenance": True, "changed": False}
    assert ctl("shop", "maintenance", "off", "--json")[1] == {"app": "shop", "maintenance": False, "changed": True}
    assert not app.maintenance.exists()
    assert ctl("shop", "maintenance", "off", "--json")[1]["changed"] is False
    assert [line["action"] for line in audited()] == ["maintenance on", "maintenance off"]


def test_prune_removes_old_releases(ctl, app, make_release):
    make_release(app, "bad", state="failed")
    make_release(app, "worse", state="failed")
    make_release(app, "v1-1", live=True)
    answer = {"app": "shop", "changed": True, "removed": ["bad"]}
    assert ctl("shop", "prune", "--json")[1] == answer
    assert ctl("shop", "prune", "--json")[1] == answer | {"changed": False, "removed": []}
    assert [(line["action"], line["removed"]) for line in audited()] == [("prune", ["bad"])]


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_a_database_that_is_ahead_needs_a_flag(ctl, app, make_release, verb):
    make_release(app, "v1-1", migrations=["a.0001"])
    make_release(app, "v2-1", live=True, migrations=["a.0001", "a.0002"])
    code, _out, err = ctl("shop", verb, "v1-1")
    assert (code, releases.live_id(app)) == (2, "v2-1")
    assert "--allow-schema-ahead" in err
    assert ctl("shop", verb, "v1-1", "--allow-schema-ahead")[0] == 0
    assert releases.live_id(app) == "v1-1"


# Commands that run others


def test_manage_passes_arguments_and_variables_on(ctl, app, make_release, system, monkeypatch):
    make_release(app, "v1-1", live=True)
    monkeypatch.setenv("FROM_HERE", "s3cret")
    system.result = subprocess.CompletedProcess([], 3)
    words = ("--env", "FROM_HERE", "--env", "A=b=c", "--env", "NOT_THERE", "shell", "-c", "print(1)", "--json")
    code = cli.main(["shop", "manage", *words])
    ((release, command, options),) = system.managed
    assert code == 3
    assert (release, command) == ("current", ["manage.py", "shell", "-c", "print(1)", "--json"])
    assert options["environment"] == {"FROM_HERE": "s3cret", "A": "b=c", "NOT_THERE": ""}


def test_logs_are_those_of_this_app_alone(ctl, make_app, monkeypatch):
    files = ["django-shop.service", "django-shop-next.service", "django-shop-mail@.service"]
    make_app(unit_files=files)
    seen = []
    monkeypatch.setattr(
        cli.subprocess, "run", lambda words, **_options: seen.append(words) or subprocess.CompletedProcess(words, 0)
    )
    assert ctl("shop", "logs", "--lines", "7", "--follow")[0] == 0
    units = {word.removeprefix("--unit=") for word in seen[0] if word.startswith("--unit=")}
    names = {"django-shop.service", "django-shop.socket", "django-shop-next.service", "django-shop-mail@*.service"}
    assert units == names
    # What runs is listed too, until an activation has removed it.
    (swap.units.DIRECTORY / "django-shop-old.service").write_text("[Unit]\nX-Djangofleet-App=shop\n")
    (swap.units.DIRECTORY / "django-shop-two.service").write_text("[Unit]\nX-Djangofleet-App=shop-two\n")
    assert ctl("shop", "logs")[0] == 0
    assert {word.removeprefix("--unit=") for word in seen[1] if "unit=" in word} == {*names, "django-shop-old.service"}
    assert {"--lines=7", "--follow"} <= set(seen[0])


@pytest.fixture
def started(app, make_release, monkeypatch):
    """`started("exec", ...)`: the command line and the environment of the program that replaces djangoctl."""
    make_release(app, "v1-1", live=True, application="x:y")
    releases.point(app.next_link, app.releases / "v1-1")
    releases.point(app.next_pinned, pin(app).config)
    seen = []
    monkeypatch.setattr(launch.os, "execvpe", lambda *words: seen.append(words))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "django-shop.socket")
    monkeypatch.chdir("/")

    def run(*words):
        with pytest.raises(SystemExit):
            cli.main(list(words))
        return seen.pop()[1:]

    return run


@pytest.mark.parametrize(("release", "directory"), [("current", "live"), ("next", "next"), ("v1-1", ".")])
def test_the_live_release_starts_with_the_pinned_configuration(started, app, release, directory):
    """After a crash or a reboot, the service must not start with a configuration that has passed no gate.

    The stand-in must not start with another one than will be pinned.
    """
    coming = json.loads((app.config / "app.json").read_text())
    coming["build"] |= {"packaged": True}
    (app.config / "app.json").write_text(json.dumps(coming))
    words, environment = started("shop", "exec", release, "serve")
    assert environment["DJANGOFLEET_APP"] == str(app.config / directory / "app.json")
    words, _environment = started("shop", "exec", release, "gate")
    assert words[2] == str(app.config / directory / "app.json")
    words, _environment = started("shop", "exec", release, "manage.py", "check")
    assert words == ["python", *(["-m", "django"] if release == "v1-1" else ["manage.py"]), "check"]


def test_a_damaged_pinned_configuration_is_named(ctl, app, make_release):
    make_release(app, "v1-1", live=True, application="x:y")
    pin(app)
    (app.pinned / "app.json").write_text("{")
    code, _out, err = ctl("shop", "exec", "current", "serve")
    assert code == 2
    assert err.startswith(f"djangoctl: {app.pinned}/app.json is damaged: ")


def test_a_process_keeps_the_umask_of_its_unit(app, make_release, monkeypatch):
    make_release(app, "v1-1", live=True, application="x:y")
    pin(app)
    seen = []
    monkeypatch.setattr(launch.os, "execvpe", lambda *_words: seen.append(os.umask(0o027)))
    monkeypatch.setattr(launch, "_require_sockets", lambda *_words: None)
    monkeypatch.chdir("/")
    before = os.umask(0o027)
    try:
        with pytest.raises(SystemExit):
            cli.main(["shop", "exec", "current", "serve"])
    finally:
        os.umask(before)
    assert seen == [0o027]


def test_a_strict_umask_of_the_caller_does_not_lock_nginx_out(ctl, app, make_release):
    make_release(app, "v1-1", {"deep/a.css": "x"})
    before = os.umask(0o077)
    try:
        assert ctl("shop", "activate", "v1-1")[0] == 0
    finally:
        os.umask(before)
    for path in (lock.RUN, app.static / "deep"):
        assert path.stat().st_mode & 0o755 == 0o755, f"Nginx cannot enter {path.name}"


# What a person or a damaged file can give it


DAMAGES = {
    "app.json": ("etc/shop/app.json", ["[]", "{", "5", '{"name": "shop"}', "[" * 100_000]),
    "live.json": ("srv/shop/live.json", ['{"history": 5}', "[]", '{"history": [1], "units": 3, "release": {}}', "\0"]),
    "schema.json": ("srv/shop/schema.json", ["[]", '{"leaves": 5}', '{"owing": 5}']),
    "release.json": (
        "srv/shop/releases/v1-1/release.json",
        ["[]", '{"state": 5}', '{"state": "good"}', '{"state": "good", "migrations": 5, "application": []}'],
    ),
    "lock": ("run/shop.lock", ["[1]", "5", "{", '{"pid": {}}']),
}
COMMANDS = [
    *(("list",), ("shop", "status"), ("shop", "releases"), ("shop", "check"), ("shop", "check", "v1-1")),
    *(("shop", "activate", "v1-1"), ("shop", "rollback"), ("shop", "prune"), ("shop", "migrate", "v1-1")),
    *(("shop", "maintenance", "on"), ("shop", "plan", "v1-1"), ("shop", "exec", "current", "serve")),
    ("shop", "build", "--revision", "abc", "--tree", "/srv/repo"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", DAMAGES)
def test_no_damaged_file_confuses_a_command(ctl, app, make_release, built, system, monkeypatch, tmp_path, name, words):
    monkeypatch.setattr(launch.os, "execvpe", lambda *_words: None)
    monkeypatch.chdir("/")
    said = []
    monkeypatch.setattr(cli, "say", said.append)
    system.result = answered([])
    for identity in ("v0-1", "v1-1"):
        healthy(make_release(app, identity))
        assert ctl("shop", "activate", identity)[0] == 0
    place, contents = DAMAGES[name]
    for content in contents:
        (tmp_path / place).write_text(content)
        code, out, err = ctl(*words)
        assert said == [], f"{content}: {out}{err}"
        assert code in (None, 0, 2, 5, 6), f"{content}: {out}{err}"
        for path in app.releases.glob("abc-*"):
            shutil.rmtree(path)


@pytest.mark.parametrize(
    "words",
    [
        ("shop/", "status"),
        ("../etc/shop", "status"),
        ("s" * 5000, "status"),
        ("shop", "activate", "x" * 5000),
        ("shop", "activate", "../../.."),
        ("shop", "check", "nosuch"),
        ("shop", "check", "../../.."),
        ("shop", "manage", "--release", "../../..", "check"),
        ("shop", "manage", "--release", "x" * 5000, "check"),
        ("shop", "manage", "--release", "v1-1/../v1-1", "check"),
        ("shop", "exec", "current"),
        ("shop", "exec", "../../..", "serve"),
        ("shop", "exec"),
        ("shop", "build", "--revision", "x"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_bad_words_are_bad_usage(ctl, app, make_release, system, words):
    make_release(app, "v1-1", live=True, application="x:y")
    pin(app)
    code, out, err = ctl(*words)
    assert (code, out) == (2, "")
    assert len(err) < 1000
    assert system.managed == [], "it was tried"


def test_a_damaged_app_does_not_hide_the_others(ctl, app, make_app, make_release):
    blog = make_app("blog")
    make_release(app, "v1-1", live=True)
    (blog.config / "app.json").write_text("[]")
    code, answer, _err = ctl("list", "--json")
    assert code == 2
    assert [(entry["app"], entry.get("release")) for entry in answer["apps"]] == [("blog", None), ("shop", "v1-1")]
    assert answer["apps"][0]["error"] == f"{blog.config}/app.json is damaged: found [], expected a mapping"
    code, text, _err = ctl("list")
    assert "app.json is damaged" in text.splitlines()[1]


def test_rollback_finds_a_good_release_without_the_history(ctl, app, make_release):
    for identity in ("v1-1", "v2-1"):
        make_release(app, identity)
        ctl("shop", "activate", identity)
    (app.root / "live.json").write_text("{")
    assert ctl("shop", "rollback", "--json")[1]["release"] == "v1-1"


def test_a_full_disk_closes_no_site(ctl, app, monkeypatch):
    def full(*_words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _out, err = ctl("shop", "maintenance", "on")
    assert (code, app.maintenance.exists(), audited()) == (1, False, [])
    assert err.splitlines()[0] == f"djangoctl: {app.maintenance}: No space left on device"
    assert "make room" in err
    assert os.listdir(app.static) == []


@pytest.mark.parametrize(("number", "hint"), [(28, "make room"), (30, "read-only"), (5, "the disk fails")])
def test_what_the_system_refuses_is_one_message_and_audited(ctl, app, make_release, monkeypatch, number, hint):
    said = []
    make_release(app, "v1-1", live=True)
    monkeypatch.setattr(cli, "say", said.append)
    fail_with(monkeypatch, OSError(number, os.strerror(number), "/srv/shop/live.json"))
    make_release(app, "v2-1")
    code, answer, _err = ctl("shop", "activate", "v2-1", "--json")
    assert (code, answer["state"]) == (1, "release v1-1 is live")
    assert answer["message"] == f"/srv/shop/live.json: {os.strerror(number)}"
    assert hint in answer["hint"]
    assert [line["ok"] for line in audited()] == [False]
    assert "Traceback" in said[0], "the journal has the details"


def test_a_fault_of_djangoctl_is_one_message_too(ctl, app, make_release, monkeypatch):
    said = []
    make_release(app, "v1-1")
    monkeypatch.setattr(cli, "say", said.append)
    fail_with(monkeypatch, KeyError("x"))
    code, _out, err = ctl("shop", "activate", "v1-1")
    assert (code, err.splitlines()[0]) == (1, "djangoctl: KeyError: 'x'")
    assert "Traceback" in said[0]


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
def test_a_result_that_cannot_be_printed_fails_nothing(app, make_release, system, monkeypatch, tmp_path, error):
    make_release(app, "v1-1")

    class Full:
        def write(self, _text):
            raise error

        def fileno(self):
            return os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)

    monkeypatch.setattr(cli.sys, "stdout", Full())
    assert cli.main(["shop", "activate", "v1-1"]) == 0
    assert releases.live_id(app) == "v1-1"


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_swap_waits_for_its_end(ctl, app, make_release, system, number):
    make_release(app, "v1-1")
    control = system.control

    def interrupted(*words):
        if words[:2] == ("start", NEXT):
            os.kill(os.getpid(), number)
        return control(*words)

    system.control = interrupted
    code, _out, err = ctl("shop", "activate", "v1-1")
    assert (code, releases.live_id(app)) == (0, "v1-1")
    assert f"{number.name} came meanwhile; this was finished first" in err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_build_and_its_lock(ctl, app, monkeypatch, number):
    def build(*_words, **_options):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(cli, "build", build)
    code, _out, err = ctl("shop", "build", "--revision", "abc", "--tree", "/srv/repo")
    assert (code, err) == (128 + number, f"djangoctl: ended by {number.name}\n")
    assert (lock.holder(app), [line["error"] for line in audited()]) == (None, [f"ended by {number.name}"])


def test_a_hangup_that_the_caller_ignores_ends_nothing(ctl, app, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        monkeypatch.setattr(cli, "names", lambda: os.kill(os.getpid(), signal.SIGHUP) or [])
        assert ctl("list")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# The module `release`


@pytest.fixture(scope="module")
def module():
    return load("plugins/modules/release.py")


PARAMS = dict.fromkeys(["revision", "version", "scm_version", "config", "source", "release"])
PARAMS |= {"allow_destructive": False, "allow_schema_ahead": False}


@pytest.mark.parametrize("version", ["v1", None, "--json", "-x", "a b", "ünï"])
@pytest.mark.parametrize("source", [("tree", "/srv/my repo"), ("archive", "/tmp/x.tar.gz"), ("package", "-e x==1")])
@pytest.mark.parametrize("check", [True, False])
def test_djangoctl_parses_the_command_line_of_the_module(module, version, source, check):
    params = PARAMS | {"app": "shop", "state": "built", "revision": "-abc", "version": version, "config": "/run/x/shop"}
    params["source"] = dict.fromkeys(["tree", "archive", "path", "package"]) | dict([source])
    options = cli.parser().parse_args(module.words(params, check))
    assert (options.app, options.command, options.json, options.rehearse) == ("shop", "build", True, check)
    assert options.dry_run is False, "a dry run rehearses nothing"
    assert options.config == (Path("/run/x/shop") if check else None)
    assert (options.revision, options.version) == ("-abc", version or "")
    assert str(getattr(options, source[0])) == source[1]


def test_the_module_fetches(module, monkeypatch):
    """The address may have a token, so it is not on the command line."""
    source = {"git": "https://ada:s3cret@git.example.com/shop.git", "key_file": "/run/x.key", "known_hosts_file": None}
    monkeypatch.setenv("DJANGOCTL_REPOSITORY", source["git"])
    params = PARAMS | {"app": "shop", "state": "fetched", "source": source, "version": "v1"}
    for check in (True, False):
        words = module.words(params, check)
        assert "s3cret" not in " ".join(words)
        options = cli.parser().parse_args(words)
        assert (options.command, options.repository, options.version) == ("fetch", source["git"], "v1")
        assert (options.key, options.known_hosts) == (Path("/run/x.key"), None)
    assert cli.parser().parse_args(module.words(params | {"version": None}, False)).version == "HEAD"


def test_the_module_keeps_the_credentials_of_a_package_off_the_command_line(module, ctl, built, monkeypatch):
    def answer(words):
        code, out, err = ctl(*words[1:])
        assert "t0ken" not in str(words)
        return code, json.dumps(out), err

    source = {"package": "shop @ git+https://@example.com/shop", "credentials": "://t0ken@"}
    params = PARAMS | {"app": "shop", "state": "built", "revision": "abc", "source": source, "actor": "", "rollout": ""}
    fake = SimpleNamespace(params=params, check_mode=False, run_command=answer, warn=print, exit_json=dict)
    spec = {}
    monkeypatch.setattr(module, "AnsibleModule", lambda **options: spec.update(options) or fake)
    monkeypatch.setattr(module, "PROGRAM", __file__)
    for name in ("PACKAGE", "REPOSITORY", "ACTOR", "ROLLOUT"):
        monkeypatch.setenv(f"DJANGOCTL_{name}", "")
    module.main()
    assert built[0][1].package == "shop @ git+https://t0ken@example.com/shop"
    assert spec["argument_spec"]["source"]["options"]["credentials"]["no_log"] is True


@pytest.mark.parametrize("version", [None, "1.4.post5+gabc"])
def test_the_version_from_git_reaches_the_release(module, ctl, built, version):
    params = PARAMS | {"app": "shop", "state": "built", "revision": "abc", "source": {"tree": "/x"}}
    ctl(*module.words(params | {"scm_version": version}, False))
    assert built[0][2]["scm_version"] == (version or "")


def test_a_build_without_a_source_is_no_rehearsal(module):
    params = PARAMS | {"app": "shop", "state": "built", "revision": "abc"}
    options = cli.parser().parse_args(module.words(params, True))
    assert (options.rehearse, options.tree, options.archive, options.package) == (False, None, None, None)
    assert options.dry_run is True, "the module only asks what the release is called"


@pytest.mark.parametrize(
    ("state", "check", "verb", "dry"),
    [
        ("migrated", False, "migrate", False),
        ("migrated", True, "plan", False),
        ("published", False, "publish", False),
        ("published", True, "publish", True),
        ("active", False, "activate", False),
        ("active", True, "activate", True),
        ("rolled_back", False, "rollback", False),
        ("rolled_back", True, "rollback", True),
        ("reverted", False, "activate", False),
        ("reverted", True, "activate", True),
    ],
)
@pytest.mark.parametrize("allowed", [False, True])
def test_the_module_asks_for_a_release(module, state, check, verb, dry, allowed):
    params = PARAMS | {"app": "shop", "state": state, "release": "v1-1"}
    params |= {"allow_destructive": allowed, "allow_schema_ahead": allowed}
    options = cli.parser().parse_args(module.words(params, check))
    assert (options.command, options.release, getattr(options, "dry_run", False)) == (verb, "v1-1", dry)
    assert getattr(options, "allow_destructive", None) == {"migrate": allowed}.get(verb)
    # The earlier release ran on this schema a moment ago. Where it is still live, it is left alone.
    assert getattr(options, "allow_schema_ahead", allowed) == (allowed or state == "reverted")
    assert getattr(options, "unless_live", False) == (state == "reverted")


class Ended(Exception):
    """What a module answers."""


@pytest.mark.parametrize("state", ["fetched", "built", "published", "absent"])
@pytest.mark.parametrize("check", [False, True])
def test_check_mode_says_that_an_older_djangoctl_rehearses_nothing(module, monkeypatch, tmp_path, state, check):
    """A run replaces it first; check mode cannot, and must not fail where the run would not."""
    warned = []

    def end(**answer):
        raise Ended(answer)

    fake = SimpleNamespace(
        params=PARAMS | {"app": "shop", "state": state, "actor": "", "rollout": "", "allow_data_removal": False},
        check_mode=check,
        run_command=lambda _words: (2, "", "usage: djangoctl\ndjangoctl: error: invalid choice: 'fetch'"),
        warn=warned.append,
        exit_json=end,
        fail_json=end,
    )
    fake.params["source"] = {"git": "x", "tree": "/x"}
    monkeypatch.setattr(module, "AnsibleModule", lambda **_options: fake)
    monkeypatch.setattr(module, "PROGRAM", __file__)
    monkeypatch.setattr(module.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(module, "unknown", lambda _params: False)
    with pytest.raises(Ended) as ended:
        module.main()
    answer = ended.value.args[0]
    assert module.os.environ["DJANGOCTL_REPOSITORY"] == "x"
    assert ("msg" in answer) is not check
    assert len(warned) == check
    if check:
        assert (answer["changed"], answer["pending"]) == (True, True)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
def test_the_module_removes_an_app(module, check, allowed):
    params = PARAMS | {"app": "shop", "state": "absent", "allow_data_removal": allowed}
    options = cli.parser().parse_args(module.words(params, check))
    assert (options.command, options.dry_run, options.with_data) == ("remove", check, allowed)


def test_the_module_rolls_back_to_the_previous_release(module):
    options = cli.parser().parse_args(module.words(PARAMS | {"app": "shop", "state": "rolled_back"}, False))
    assert (options.command, options.release) == ("rollback", None)


def test_the_help_names_every_command_that_is_finished_first():
    commands = next(action for action in cli.parser()._actions if action.choices).choices
    finishing = {name for name, command in commands.items() if command.get_default("finishes")}
    told = cli.EXIT_CODES.partition("A signal ends")[2]
    assert finishing
    assert {name for name in finishing if not re.search(rf"\b{name}\b", told)} == set()
