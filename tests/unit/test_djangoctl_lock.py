"""The lock and the audit trail: one action at a time, and a record of each."""

from __future__ import annotations

import fcntl
import getpass
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from djangoctl import lock
from djangoctl.errors import Interrupted, LockedError
from djangoctl.interrupt import finished_first

LIBRARY = Path(lock.__file__).resolve().parents[1]
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from djangoctl import app, lock
with lock.held(app.App("shop", Path("/nowhere"), {}), "build v1-1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(make_app, request):
    """Another process that holds the app's lock; its parameter is when its rollout began."""
    make_app()
    environment = {
        **os.environ,
        "DJANGOFLEET_RUN": str(lock.RUN),
        "DJANGOCTL_ACTOR": "ada by ansible",
        "DJANGOCTL_ROLLOUT": getattr(request, "param", ""),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(LIBRARY)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def actor(monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ACTOR", "grace")


def test_a_refusal_names_the_holder_its_action_and_since_when(make_app, holder):
    with pytest.raises(LockedError) as caught, lock.held(make_app(), "activate v2-1"):
        pytest.fail("two had the lock")
    assert re.fullmatch(
        rf"shop: locked by ada by ansible since {MOMENT} for build v1-1 \(process {holder.pid}\)",
        caught.value.message,
    )
    assert caught.value.code == 3
    assert caught.value.state == "nothing was changed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_is_free_however_its_holder_ended(make_app, holder, how):
    app = make_app()
    holder.send_signal(how)
    holder.wait()
    with lock.held(app, "activate v2-1"):
        text = (lock.RUN / "shop.lock").read_text()
    assert json.loads(text)["action"] == "activate v2-1"


def test_the_lock_is_free_after_a_failure(make_app):
    app = make_app()
    with pytest.raises(ValueError, match="broken"), lock.held(app, "build"):
        raise ValueError("broken")
    with lock.held(app, "build again"):
        pass
    assert (lock.RUN / "shop.lock").read_text() == ""


def test_a_lock_whose_holder_is_not_written_yet(make_app, holder):
    app = make_app()
    (lock.RUN / "shop.lock").write_text("")
    with pytest.raises(LockedError, match="locked by somebody"), lock.held(app, "x"):
        pytest.fail("two had the lock")


@pytest.mark.parametrize("holder", ["2026-01-01T00:00:01"], indirect=True)
def test_the_earlier_of_two_rollouts_waits(make_app, holder, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", "2026-01-01T00:00:00")
    app = make_app()
    ender = threading.Timer(0.5, holder.kill)
    ender.start()
    with lock.held(app, "build v2-1"):
        assert not ender.is_alive(), "two had the lock"
        assert json.loads((lock.RUN / "shop.lock").read_text())["rollout"] == "2026-01-01T00:00:00"


@pytest.mark.parametrize(
    ("holder", "own"),
    [("2026-01-01T00:00:00", "2026-01-01T00:00:01"), ("2026-01-01T00:00:00", ""), ("", "2026-01-01T00:00:00")],
    ids=["later", "no rollout", "by hand"],
    indirect=["holder"],
)
def test_all_others_fail_at_once(make_app, holder, own, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", own)
    with pytest.raises(LockedError, match="locked by ada by ansible"), lock.held(make_app(), "build v2-1"):
        pytest.fail("two had the lock")
    assert holder.poll() is None


@pytest.mark.parametrize("holder", ["2026-01-01T00:00:01"], indirect=True)
def test_the_earlier_rollout_waits_for_a_limited_time(make_app, holder, monkeypatch):
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", "2026-01-01T00:00:00")
    monkeypatch.setattr(lock, "WAIT", 0.5)
    with pytest.raises(LockedError), lock.held(make_app(), "build v2-1"):
        pytest.fail("two had the lock")


@pytest.mark.parametrize("holder", ["2026-01-01T00:00:01"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_of_an_action_that_is_finished_first(make_app, holder, monkeypatch, number):
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", "2026-01-01T00:00:00")
    monkeypatch.setattr(lock, "WAIT", 5)
    app = make_app()
    sender = threading.Timer(0.3, os.kill, (os.getpid(), number))
    sender.start()
    with pytest.raises(Interrupted), finished_first(), lock.held(app, "activate v2-1"):
        pytest.fail("two had the lock")
    assert holder.poll() is None


def test_a_signal_does_not_end_what_has_the_lock(make_app):
    app = make_app()
    with finished_first() as came, lock.held(app, "activate v2-1"):
        os.kill(os.getpid(), signal.SIGTERM)
        assert lock.holder(app)["pid"] == os.getpid()
    assert came == [signal.SIGTERM]


def test_apps_do_not_wait_for_each_other(make_app, holder):
    with lock.held(make_app("blog"), "build"):
        assert (lock.RUN / "blog.lock").exists()


def test_asking_for_the_holder_does_not_take_the_lock_away(make_app, holder):
    found = lock.holder(make_app())
    assert re.fullmatch(MOMENT, found.pop("since"))
    assert found == {"actor": "ada by ansible", "action": "build v1-1", "pid": holder.pid}
    with pytest.raises(LockedError), lock.held(make_app(), "activate v2-1"):
        pytest.fail("two had the lock")


def test_a_free_lock_has_no_holder(make_app, holder):
    app = make_app()
    assert lock.holder(make_app("blog")) is None
    assert not (lock.RUN / "blog.lock").exists()
    holder.kill()
    holder.wait()
    assert "build v1-1" in (lock.RUN / "shop.lock").read_text(), "what a killed one leaves is no sign of life"
    assert lock.holder(app) is None
    with lock.held(app, "build"):
        assert lock.holder(app)["pid"] == os.getpid()
    assert lock.holder(app) is None


def test_asking_for_the_holder_blocks_nobody(make_app, monkeypatch):
    """Asking takes a shared lock for a moment. A deploy that begins in that moment has to get the lock."""
    app = make_app()
    with lock.held(app, "build"):
        pass
    waited = []
    with open(lock.RUN / "shop.lock") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)

        def sleep(seconds):
            waited.append(seconds)
            if len(waited) == 2:
                asking.close()

        monkeypatch.setattr(lock.time, "sleep", sleep)
        with lock.held(app, "activate v2-1"):
            assert lock.holder(app)["action"] == "activate v2-1"
    assert len(waited) == 2


@pytest.mark.usefixtures("actor")
def test_each_action_is_a_line_of_the_audit_trail(make_app):
    app = make_app()
    lock.audit(app, "build", release="v1-1", ok=False, error="two\nlines 'ünï'")
    lock.audit(app, "activate", release="v1-1", before=None, ok=True)
    one, two = [json.loads(line) for line in (lock.LOGS / "shop.log").read_text().splitlines()]
    assert re.fullmatch(MOMENT, one.pop("time"))
    assert one == {
        "app": "shop",
        "action": "build",
        "actor": "grace",
        "release": "v1-1",
        "ok": False,
        "error": "two\nlines 'ünï'",
    }
    assert (two["action"], two["before"], two["ok"]) == ("activate", None, True)


@pytest.mark.usefixtures("actor")
def test_the_journal_gets_the_same_line(make_app, monkeypatch):
    seen = []
    app = make_app()
    monkeypatch.setattr(lock.syslog, "syslog", lambda _level, line: seen.append(line))
    lock.audit(app, "build", release="v1-1", ok=True)
    assert seen == (lock.LOGS / "shop.log").read_text().splitlines()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"DJANGOCTL_ACTOR": "ada by ansible", "SUDO_USER": "grace"}, "ada by ansible"),
        ({"SUDO_USER": "grace"}, "grace"),
        ({"DJANGOCTL_ACTOR": ""}, getpass.getuser()),
    ],
)
def test_the_actor_of_an_action(monkeypatch, variables, name):
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("DJANGOCTL_ACTOR", raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert lock.actor() == name


# Who may take the lock, and what a damaged one does


def test_only_its_owner_can_open_a_lock(make_app):
    app = make_app()
    with lock.held(app, "build"):
        assert (lock.RUN / "shop.lock").stat().st_mode & 0o777 == 0o600
    assert lock.RUN.stat().st_mode & 0o777 == 0o755, "Nginx enters it, for the app's socket"


def test_a_lock_that_others_can_open_is_replaced(make_app):
    """Earlier versions made it 0644. Who has it open can lock it for ever, since flock asks for no more."""
    app = make_app()
    lock.RUN.mkdir()
    (lock.RUN / "shop.lock").touch(mode=0o644)
    (lock.RUN / "shop.lock").chmod(0o644)
    with open(lock.RUN / "shop.lock") as foreign:
        with lock.held(app, "build"):
            assert lock.holder(app)["action"] == "build"
        fcntl.flock(foreign, fcntl.LOCK_SH)
        with lock.held(app, "build again"):
            assert (lock.RUN / "shop.lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_that_others_can_open_still_holds_while_an_earlier_version_is_at_work(make_app, holder):
    (lock.RUN / "shop.lock").chmod(0o644)
    with pytest.raises(LockedError, match="locked by ada"), lock.held(make_app(), "activate"):
        pytest.fail("two had the lock")


def test_a_replaced_lock_is_not_taken_for_the_lock(make_app, monkeypatch):
    """Who waited for the file that another one has replaced by now must lock the new one."""
    app = make_app()
    lock.RUN.mkdir()
    take, opened = lock._take, []

    def replace_meanwhile(handle):
        if not opened:
            opened.append(True)
            (lock.RUN / "shop.lock").unlink()
            (lock.RUN / "shop.lock").touch(mode=0o600)
        return take(handle)

    monkeypatch.setattr(lock, "_take", replace_meanwhile)
    with lock.held(app, "build"):
        assert json.loads((lock.RUN / "shop.lock").read_text())["action"] == "build"


def test_a_directory_that_others_may_write_to_is_closed(make_app):
    app = make_app()
    lock.RUN.mkdir()
    lock.RUN.chmod(0o777)
    with lock.held(app, "build"):
        assert lock.RUN.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("content", ["[1]", "5", "null", '{"pid": [1], "actor": 3}', "{", "[" * 100_000, "\x80"])
def test_a_damaged_lock_has_a_holder_all_the_same(make_app, holder, content):
    (lock.RUN / "shop.lock").write_bytes(content.encode("latin-1"))
    with pytest.raises(LockedError, match="locked by somebody since just now"), lock.held(make_app(), "x"):
        pytest.fail("two had the lock")
    assert lock.holder(make_app())["actor"] == "somebody"


def test_who_is_refused_learns_how_to_look(make_app, holder):
    with pytest.raises(LockedError) as caught, lock.held(make_app(), "x"):
        pytest.fail("two had the lock")
    assert f"ps -fp {holder.pid}" in caught.value.hint
    assert "djangoctl shop status" in caught.value.hint


def test_a_full_run_does_not_keep_the_lock_from_being_held(make_app, monkeypatch):
    app = make_app()
    real = os.fdopen

    def fdopen(*words, **options):
        opened.append(real(*words, **options))
        return Full(opened[-1])

    class Full:
        """A file on a disk that takes nothing any more."""

        def __init__(self, handle):
            self.handle = handle

        def __getattr__(self, name):
            return getattr(self.handle, name)

        def __enter__(self):
            return self

        def __exit__(self, *_words):
            self.handle.close()

        def write(self, _content):
            raise OSError(28, "No space left on device")

    opened = []
    monkeypatch.setattr(lock.os, "fdopen", fdopen)
    with lock.held(app, "build"):
        assert isinstance(opened[0], io.RawIOBase), "what a buffer holds is written again when the file is closed"
        assert lock.holder(app)["actor"] == "somebody"


def test_a_trail_that_cannot_be_written_fails_no_action(make_app, monkeypatch):
    said = []
    app = make_app()
    lock.LOGS.write_text("a file in place of the directory")
    monkeypatch.setattr(lock.syslog, "syslog", lambda _level, line: said.append(line))
    lock.audit(app, "build", ok=True)
    assert json.loads(said[0])["action"] == "build"
    assert "lacks this line" in said[1]
