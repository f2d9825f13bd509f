"""The interface to systemd: what goes on command lines, and what does not."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import stat
import subprocess
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import pin
from djangoctl import systemd
from djangoctl.errors import Interrupted
from djangoctl.release import point
from test_role_django import HOSTILE, environment_file


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The commands that would run, each with the content of its environment file."""
    seen = []

    def run(words, **options):
        start = "--property=EnvironmentFile="
        paths = [Path(word.removeprefix(start)) for word in words if word.startswith(f"{start}{tmp_path}/djangoctl-")]
        given = {path: (path.read_bytes().decode(), stat.S_IMODE(path.stat().st_mode)) for path in paths}
        seen.append((words, options, given))
        return subprocess.CompletedProcess(words, 0, "  out  \n", "")

    monkeypatch.setattr(systemd.subprocess, "run", run)
    named = functools.partial(tempfile.NamedTemporaryFile)
    monkeypatch.setattr(
        systemd.tempfile, "NamedTemporaryFile", lambda *words, **options: named(*words, **{**options, "dir": tmp_path})
    )
    return seen


def test_variables_reach_a_command_literally(calls, make_app):
    variables = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    systemd.Systemd().run(make_app(), ["true"], properties=[], environment=variables)
    ((_words, _options, given),) = calls
    ((text, mode),) = given.values()
    assert environment_file(text) == variables
    assert mode == 0o600


def test_no_variable_is_on_a_command_line_and_none_is_left_behind(calls, make_app, tmp_path):
    systemd.Systemd().run(make_app(), ["true"], properties=["NoNewPrivileges=yes"], environment={"KEY": "s3cret"})
    ((words, _options, given),) = calls
    assert "s3cret" not in " ".join(words)
    assert not [path for path in given if path.exists()]
    assert not list(tmp_path.glob("djangoctl-*"))


def test_a_command_runs_as_the_app_in_a_unit_of_its_own(calls, make_app):
    app = make_app(user="django-shop", group="django-shop")
    for _ in range(2):
        systemd.Systemd().run(app, ["echo", "--user", "two words"], properties=["A=b c"], purpose="build")
    words = calls[0][0]
    end = words.index("--")
    assert words[0] == "systemd-run"
    assert words[end + 1 :] == ["echo", "--user", "two words"]
    assert {"--property=User=django-shop", "--property=Group=django-shop", "--property=A=b c"} <= set(words[:end])
    assert {"--pipe", "--wait", "--collect"} <= set(words[:end])
    units = [word for call in calls for word in call[0] if word.startswith("--unit=")]
    assert len(set(units)) == 2, "a second one at the same time would clash"
    assert all(re.fullmatch(r"--unit=django-shop-build-\d+-\d+", unit) for unit in units)


def test_what_is_printed_need_not_be_text(make_app, monkeypatch, tmp_path):
    """It comes when a hook has run already: to fail then would leave a swap half way."""
    real = subprocess.run
    monkeypatch.setattr(systemd, "environment_file", lambda _variables: nullcontext(tmp_path / "env"))
    monkeypatch.setattr(systemd.subprocess, "run", lambda _words, **options: real(["printf", r"a\377b"], **options))
    assert systemd.Systemd().run(make_app(), ["hook"], properties=[]).stdout == "a\ufffdb"
    assert systemd.Systemd().journal("django-shop.service") == "a\ufffdb"


def test_what_a_killed_djangoctl_has_left_at_work_is_stopped(make_app, monkeypatch):
    asked, gone, alive = [], 2**22 + 1, os.getpid()  # above what the kernel numbers processes with
    listed = [
        f"django-shop-build-{gone}-1.service loaded active running x",
        f"django-shop-build-{gone}-12.service loaded active running x",
        f"django-shop-build-{alive}-1.service loaded active running a rehearsal",
        f"django-shop-build-{gone}-9.service loaded active running a process of the app",
        "django-shop-build-next.service loaded active running another app",
    ]

    def control(_self, *words):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "\n".join(listed), "")

    monkeypatch.setattr(systemd.Systemd, "control", control)
    app = make_app()
    app.settings["unit_files"].append(f"django-shop-build-{gone}-9.service")
    systemd.Systemd().end_interrupted(app, "build")
    assert asked[0][-1] == "django-shop-build-*.service"
    assert asked[1:] == [("stop", f"django-shop-build-{gone}-1.service", f"django-shop-build-{gone}-12.service")]
    listed.clear()
    systemd.Systemd().end_interrupted(app, "build")
    assert len(asked) == 3, "nothing to stop"


@pytest.mark.parametrize("version", [252, 256, 257, 258])
def test_a_command_that_sees_its_own_processes_only(calls, make_app, monkeypatch, version):
    said = subprocess.CompletedProcess([], 0, f"systemd {version} ({version}.1-1)\n+PAM", "")
    monkeypatch.setattr(systemd.Systemd, "control", lambda *_words: said)
    app = make_app(user="django-shop", group="django-shop")
    systemd.Systemd().run(app, ["uv", "venv"], properties=[], alone=True)
    ((words, _options, _given),) = calls
    end = words.index("--")
    settings, command = words[:end], words[end + 1 :]
    if version >= 257:
        assert {"--property=User=django-shop", "--property=Group=django-shop", "--property=PrivatePIDs=yes"} <= set(
            settings
        )
        assert command == ["uv", "venv"]
        return
    assert not [word for word in settings if "User=" in word], "root makes the namespace"
    assert command[:5] == ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    assert {"--reuid=django-shop", "--regid=django-shop", "--init-groups", "--no-new-privs"} <= set(command)
    assert command[-3:] == ["--", "uv", "venv"]
    unset = next(word for word in settings if word.startswith("--property=UnsetEnvironment=")).split("=", 2)[2].split()
    assert {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH"} <= set(unset), (
        "root would load what the app names"
    )


def test_a_systemd_that_does_not_say_its_version_is_taken_for_an_old_one(monkeypatch):
    monkeypatch.setattr(systemd.Systemd, "control", lambda *_words: subprocess.CompletedProcess([], 1, "", "no"))
    assert systemd.Systemd().version() == 0


@pytest.mark.parametrize("output", [None, 1])
def test_output_is_captured_or_passed_on(calls, make_app, output):
    systemd.Systemd().run(make_app(), ["true"], properties=[], output=output)
    options = calls[0][1]
    assert options["stdout"] == (subprocess.PIPE if output is None else 1)
    assert options["stderr"] == (subprocess.STDOUT if output is None else 1)
    assert options["stdin"] == subprocess.DEVNULL


def test_manage_runs_as_the_service_does(calls, make_app):
    app = make_app(sandbox=["NoNewPrivileges=yes", "SystemCallFilter=~@privileged @resources"])
    systemd.Systemd().manage(app, "v1-1", ["manage.py", "migrate"])
    words = calls[0][0]
    files = [word.removeprefix("--property=") for word in words if "EnvironmentFile" in word]
    assert files[:2] == [f"EnvironmentFile=-{app.secret}", f"EnvironmentFile={app.config}/env"]
    assert "--property=NoNewPrivileges=yes" in words
    assert "--property=SystemCallFilter=~@privileged @resources" in words
    assert words[words.index("--") + 1 :] == [systemd.ENTRY, "shop", "exec", "v1-1", "manage.py", "migrate"]


@pytest.mark.parametrize(("release", "env"), [("current", "live"), ("v1-1", "."), ("next", "next")])
def test_the_live_release_runs_with_its_pinned_environment(calls, make_app, release, env):
    app = make_app(sandbox=["PrivateTmp=yes"])
    (app.config / "secret").write_text("SECRET_KEY=one\n")
    point(app.next_pinned, pin(app).config)
    coming = make_app(sandbox=["PrivateTmp=no"])
    systemd.Systemd().manage(coming, release, ["manage.py", "shell"])
    assert ("--property=PrivateTmp=yes" in calls[0][0]) is (release != "v1-1")
    files = [word.rpartition("=")[2] for word in calls[0][0] if word.startswith("--property=EnvironmentFile=")]
    assert files[:2] == [f"-{app.config / env}/secret", f"{app.config / env}/env"]


def test_what_an_older_djangoctl_pinned_runs_with_the_one_key(calls, make_app):
    app = make_app()
    pin(app)
    (app.config / "secret").write_text("SECRET_KEY=one\n")
    systemd.Systemd().manage(app, "current", ["manage.py", "shell"])
    assert f"--property=EnvironmentFile=-{app.config}/secret" in calls[0][0]


def test_manage_in_another_sandbox(calls, make_app):
    systemd.Systemd().manage(make_app(sandbox=["ProtectHome=yes"]), "v1-1", ["x"], sandbox=["ProtectSystem=strict"])
    words = calls[0][0]
    assert "--property=ProtectSystem=strict" in words
    assert "--property=ProtectHome=yes" not in words


def test_the_journal_of_a_unit(calls):
    assert systemd.Systemd().journal("django-shop.service", 7, "2026-01-01 00:00:00") == "out"
    words = shlex.join(calls[0][0])
    assert words.startswith("journalctl ")
    assert "--unit=django-shop.service" in words
    assert "--lines=7" in words
    assert "'--since=2026-01-01 00:00:00'" in words


@pytest.mark.parametrize(
    ("shown", "steady"),
    [
        ("NRestarts=0\nActiveState=active\n", True),
        ("NRestarts=1\nActiveState=active\n", False),  # up, for the second time
        ("NRestarts=10\nActiveState=active\n", False),
        ("NRestarts=0\nActiveState=activating\n", False),  # waits to be started again
        ("NRestarts=0\nActiveState=inactive\n", False),
        ("NRestarts=0\nActiveState=failed\n", False),
        ("", False),
    ],
)
def test_a_steady_unit_is_active_and_was_never_restarted(monkeypatch, shown, steady):
    def run(words, **_options):
        assert words[:2] == ["systemctl", "show"]
        assert words[-1] == "x@1.service"
        assert set(words[2].removeprefix("--property=").split(",")) == {"ActiveState", "NRestarts"}
        return subprocess.CompletedProcess(words, 0, shown, "")

    monkeypatch.setattr(systemd.subprocess, "run", run)
    assert systemd.Systemd().steady("x@1.service") is steady


@pytest.mark.parametrize(("question", "word"), [("active", "is-active"), ("enabled", "is-enabled")])
@pytest.mark.parametrize("code", [0, 3])
def test_questions_are_answered_by_the_exit_code(monkeypatch, question, word, code):
    def run(words, **_options):
        assert words == ["systemctl", word, "--quiet", "x.service"]
        return subprocess.CompletedProcess(words, code, "", "")

    monkeypatch.setattr(systemd.subprocess, "run", run)
    assert getattr(systemd.Systemd(), question)("x.service") is (code == 0)


def test_a_command_that_is_interrupted_does_not_run_on(monkeypatch, make_app):
    """systemd-run alone would end: its unit is none of its children."""
    seen = []

    def run(words, **options):
        seen.append(words)
        if words[0] == "systemd-run":
            raise Interrupted(15)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(systemd.subprocess, "run", run)
    with pytest.raises(Interrupted):
        systemd.Systemd().run(make_app(), ["sleep", "9"], properties=[], purpose="build")
    unit = next(word.removeprefix("--unit=") for word in seen[0] if word.startswith("--unit="))
    assert seen[1] == ["systemctl", "stop", f"{unit}.service"]


@pytest.mark.parametrize(("stdin", "own"), [(subprocess.DEVNULL, True), (0, False)])
def test_a_ctrl_c_reaches_what_has_the_terminal_alone(calls, make_app, stdin, own):
    systemd.Systemd().run(make_app(), ["true"], properties=[], stdin=stdin)
    systemd.Systemd().control("start", "x.service")
    assert [call[1]["start_new_session"] for call in calls] == [own, True]


def test_units_are_shown_by_name(monkeypatch):
    text = "Id=a.service\nActiveState=active\nResult=a=b\n\nId=b.timer\nActiveState=inactive\n"
    seen = []

    def run(words, **options):
        seen.append((words, options["env"]["TZ"]))
        return subprocess.CompletedProcess(words, 0, text, "")

    monkeypatch.setattr(systemd.subprocess, "run", run)
    shown = systemd.Systemd().show(["a.service", "b.timer"])
    assert shown["a.service"] == {"Id": "a.service", "ActiveState": "active", "Result": "a=b"}
    assert set(shown) == {"a.service", "b.timer"}
    assert (seen[0][0][-2:], seen[0][1]) == (["a.service", "b.timer"], "UTC")


def test_events_bear_the_unit_that_they_are_about(monkeypatch):
    lines = [
        {"_SYSTEMD_UNIT": "init.scope", "UNIT": "a.service", "MESSAGE": "Main process exited, code=dumped"},
        {"_SYSTEMD_UNIT": "a.service", "MESSAGE": "Worker (pid:9) was sent SIGABRT!"},
        {"_SYSTEMD_UNIT": "a.service", "MESSAGE": [255, 254]},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    monkeypatch.setattr(systemd.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 0, text, ""))
    assert systemd.Systemd().events(["a.service"], "x", 0) == [
        ("a.service", "Main process exited, code=dumped"),
        ("a.service", "Worker (pid:9) was sent SIGABRT!"),
    ]
