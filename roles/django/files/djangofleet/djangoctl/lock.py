"""One deploy at a time per app, and everybody else is told who is at it."""

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
# How long, in seconds, a rollout waits for one that gives way to it: as long as what that one has begun may take.
PATIENCE = 900


def actor() -> str:
    """Who is at work: said by the caller, else the user behind sudo, else the user."""
    return os.environ.get("DJANGOCTL_ACTOR") or os.environ.get("SUDO_USER") or getpass.getuser()


def rollout() -> str:
    """When the rollout began that this command is a part of, as text that sorts; empty if it is none."""
    return os.environ.get("DJANGOCTL_ROLLOUT", "")


def holder(app: App) -> dict | None:
    """Who has the app's lock: actor, action, since, pid, and rollout if it is part of one. None if nobody has."""
    with suppress(FileNotFoundError), open(RUN / f"{app.name}.lock") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _signature(handle)
    return None


@contextmanager
def held(app: App, action: str) -> Iterator[None]:
    """Hold the app's lock. The kernel lets go of it when the process ends, however it ends.

    Two rollouts that begin at once may each be first on some of the hosts, and would stop each other. So the one that
    began later gives way at once, and the earlier one waits for what the other has begun. Nobody waits in a circle.

    :raises LockedError: somebody has it; the text says who, since when and what for.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{app.name}.lock", "a+") as handle:
        deadline = time.monotonic() + PATIENCE
        while not _taken(handle):
            if rollout() and rollout() < _signature(handle).get("rollout", "") and time.monotonic() < deadline:
                continue
            raise LockedError(
                "{app}: locked by {actor} since {since} for {action} (process {pid})".format(
                    app=app.name, **_signature(handle)
                ),
                state="nothing was changed",
                hint="wait for it to end, then try again",
            )
        handle.truncate(0)
        said = {"actor": actor(), "action": action, "since": now(), "pid": os.getpid()}
        json.dump({**said, "rollout": rollout()} if rollout() else said, handle)
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


def _taken(handle: IO[str]) -> bool:
    """Take the lock, or find that it is held. Whoever asks for its holder has a share in it for a moment."""
    for pause in PAUSES:
        time.sleep(pause)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _signature(handle: IO[str]) -> dict:
    handle.seek(0)
    try:
        return json.loads(handle.read())
    except json.JSONDecodeError:
        return {"actor": "somebody", "action": "something", "since": "just now", "pid": "?"}


def audit(app: App, action: str, **facts: object) -> None:
    """Note what was done, by whom and with what end, in a file and in the journal."""
    LOGS.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": now(), "app": app.name, "action": action, "actor": actor(), **facts}, sort_keys=True)
    with open(LOGS / f"{app.name}.log", "a") as handle:
        handle.write(line + "\n")
    syslog.openlog("djangoctl", syslog.LOG_PID)
    syslog.syslog(syslog.LOG_INFO, line)
