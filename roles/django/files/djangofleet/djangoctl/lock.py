"""One action at a time per app. Whoever comes second learns who holds the lock, since when and for what."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import syslog
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .app import App
from .errors import LockedError
from .release import now

RUN = Path(os.environ.get("DJANGOFLEET_RUN", "/run/djangofleet"))
LOGS = Path(os.environ.get("DJANGOFLEET_LOGS", "/var/log/djangofleet"))
PAUSES = (0, 0.02, 0.05, 0.1)  # seconds before each attempt to take a lock
# Seconds that the earlier of two rollouts waits: as long as the current step of the later one may take.
WAIT = 900


def actor() -> str:
    """Who acts: the name that the caller gives, else the user behind sudo, else the user."""
    return os.environ.get("DJANGOCTL_ACTOR") or os.environ.get("SUDO_USER") or getpass.getuser()


def rollout() -> str:
    """When the rollout began that this command belongs to, as text that sorts; empty outside of a rollout."""
    return os.environ.get("DJANGOCTL_ROLLOUT", "")


def holder(app: App) -> dict | None:
    """Who holds the app's lock: actor, action, since, pid, and rollout if it belongs to one. None if it is free."""
    with suppress(FileNotFoundError), open(RUN / f"{app.name}.lock") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder_in(handle)
    return None


@contextmanager
def held(app: App, action: str) -> Iterator[None]:
    """Hold the app's lock. The kernel releases it when the process ends, however it ends.

    Two rollouts that begin at once may each hold the lock on some of the hosts. The later one fails at once, and the
    earlier one waits until the later one has released it. Only one side ever waits, so they never deadlock.

    :raises LockedError: somebody else holds it; the text says who, since when and for what.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{app.name}.lock", "a+") as handle:
        deadline = time.monotonic() + WAIT
        while not _take(handle):
            if rollout() and rollout() < _holder_in(handle).get("rollout", "") and time.monotonic() < deadline:
                continue
            raise LockedError(
                "{app}: locked by {actor} since {since} for {action} (process {pid})".format(
                    app=app.name, **_holder_in(handle)
                ),
                state="nothing was changed",
                hint="wait for it to end, then try again",
            )
        handle.truncate(0)
        me = {"actor": actor(), "action": action, "since": now(), "pid": os.getpid()}
        json.dump({**me, "rollout": rollout()} if rollout() else me, handle)
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


def _take(handle: IO[str]) -> bool:
    """Whether the lock could be taken. `holder` takes a shared lock for a moment, so one refusal proves nothing."""
    for pause in PAUSES:
        time.sleep(pause)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _holder_in(handle: IO[str]) -> dict:
    """The holder that a lock file names; placeholders until it has written itself."""
    handle.seek(0)
    try:
        return json.loads(handle.read())
    except json.JSONDecodeError:
        return {"actor": "somebody", "action": "something", "since": "just now", "pid": "?"}


def audit(app: App, action: str, **facts: object) -> None:
    """Record an action, its actor and its result, in the app's audit trail and in the journal."""
    LOGS.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": now(), "app": app.name, "action": action, "actor": actor(), **facts}, sort_keys=True)
    with open(LOGS / f"{app.name}.log", "a") as handle:
        handle.write(line + "\n")
    syslog.openlog("djangoctl", syslog.LOG_PID)
    syslog.syslog(syslog.LOG_INFO, line)
