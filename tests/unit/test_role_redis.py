"""What root runs for Redis: it trusts nothing that the user redis can write."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from loading import load

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to any user")


@pytest.fixture
def program(render: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions of redis-reload, whose files are below tmp_path."""
    settings = {"aclfile": str(tmp_path / "users.acl"), "unixsocket": str(tmp_path / "sock")}
    text = render(
        "redis",
        "usr/local/lib/djangofleet/redis-reload.j2",
        redis={"settings": settings, "own": {"maxmemory": "1"}},
        administrator="djangofleet",
        password_file=str(tmp_path / "secret"),
        ansible_managed="managed",
    )
    path = tmp_path / "redis_reload.py"
    path.write_text(text[: text.index("with open(PASSWORD)")])
    found = load(str(path))
    monkeypatch.setattr(found, "CONFIGURATION", str(tmp_path / "djangofleet.conf"))
    (tmp_path / "djangofleet.conf").write_text("timeout 300\n")
    return found


@as_root
def test_the_server_aside_has_the_rights_of_redis_alone(program, tmp_path, monkeypatch):
    started, given = [], []

    def start(words: list[str], **options: Any) -> SimpleNamespace:
        started.append((words, options["stdin"].read(), options))
        Path(words[words.index("--unixsocket") + 1]).touch()
        return SimpleNamespace(poll=lambda: None, kill=lambda: None, wait=lambda: None)

    directory = tempfile.TemporaryDirectory
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda prefix, dir: directory(dir=tmp_path))
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr("shutil.chown", lambda path, user, group: given.append((os.path.isdir(path), user, group)))
    monkeypatch.setenv("REDISCLI_AUTH", "of-root")
    monkeypatch.setattr(program, "ask", lambda *_words: ["timeout", "300"])
    assert program.OWNER == "redis"
    monkeypatch.setattr(program, "OWNER", "root")  # there is no user redis here
    assert program.meant() == {"timeout": "300"}
    ((words, content, options),) = started
    assert (words[:2], content) == (["redis-server", "-"], "timeout 300\n"), "the file that was looked at"
    assert (options["user"], options["group"]) == ("root", "root")
    assert options["extra_groups"] == os.getgrouplist("root", 0)
    assert "REDISCLI_AUTH" not in options["env"]
    assert given == [(True, "root", "root")]


def of_another(path: Path) -> None:
    path.write_text("loadmodule /var/lib/redis/evil.so\n")
    os.chown(path, 65534, 65534)


FOUND: dict[str, Callable[[Path], Any]] = {
    "of another user": of_another,
    "a link": lambda path: path.symlink_to("/etc/shadow"),
    "a fifo": os.mkfifo,
    "a directory": os.mkdir,
}


@as_root
@pytest.mark.parametrize("make", FOUND.values(), ids=FOUND)
@pytest.mark.parametrize(("name", "function"), [("djangofleet.conf", "meant"), ("users.acl", "load_users")])
def test_root_reads_no_file_that_redis_has_put_there(program, tmp_path, monkeypatch, name, function, make):
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    monkeypatch.setattr(subprocess, "Popen", lambda *_words, **_options: pytest.fail("a server was started"))
    monkeypatch.setattr(subprocess, "run", lambda *_words, **_options: pytest.fail("the server was told"))
    began = time.monotonic()
    with pytest.raises((program.RedisError, OSError)):
        getattr(program, function)()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("code", "said"), [(0, ""), (1, "line 3\nline 4\nline 5\n")])
def test_a_trial_start_has_the_rights_of_redis_alone(evaluate, tmp_path, code, said):
    stage, log = tmp_path / "stage", tmp_path / "log"
    stage.mkdir()
    programs = {
        "chown": 'echo "chown $*" >>$LOG',
        "runuser": 'echo "$1 $2 $3" >>$LOG; shift 3; exec "$@"',
        "redis-server": f"for n in 1 2 3 4 5; do echo line $n; done; exit {code}",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    words = [word.replace("{stage}", str(stage)) for word in shlex.split(evaluate("redis", "__redis_trial"))]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
    assert log.read_text() == f"chown -hR redis:redis {stage}\n-u redis --\n"
    assert list(stage.iterdir()) == [], "root opens nothing where redis may have put a link"


def test_a_pipe_in_the_place_of_a_file_keeps_no_run_waiting(dataloader, tmp_path):
    (task,) = [
        each["ansible.builtin.command"]
        for each in dataloader.load_from_file("roles/redis/tasks/install.yml")
        if "ansible.builtin.command" in each
    ]
    os.mkfifo(tmp_path / "users.acl")
    (tmp_path / "djangofleet.conf").write_text("timeout 300\ntls-port 6379\n")
    words = [word.replace("/etc/redis", str(tmp_path)) for word in task["argv"]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    assert done.stdout == "tls-port 6379\n"
