"""One deploy at a time per app, and everybody else is told who is at it."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import syslog
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .app import App
from .errors import LockedError
from .release import now

RUN = Path(os.environ.get("DJANGOFLEET_RUN", "/run/djangofleet"))
LOGS = Path(os.environ.get("DJANGOFLEET_LOGS", "/var/log/djangofleet"))


def actor() -> str:
    """Who is at work: said by the caller, else the user behind sudo, else the user."""
    return os.environ.get("DJANGOCTL_ACTOR") or os.environ.get("SUDO_USER") or getpass.getuser()


@contextmanager
def held(app: App, action: str) -> Iterator[None]:
    """Hold the app's lock. The kernel lets go of it when the process ends, however it ends.

    :raises LockedError: somebody has it; the text says who, since when and what for.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{app.name}.lock", "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            try:
                holder = json.loads(handle.read())
            except json.JSONDecodeError:
                holder = {"actor": "somebody", "action": "something", "since": "just now", "pid": "?"}
            raise LockedError(
                "{app}: locked by {actor} since {since} for {action} (process {pid})".format(app=app.name, **holder),
                state="nothing was changed",
                hint="wait for it to end, then try again",
            ) from None
        handle.truncate(0)
        json.dump({"actor": actor(), "action": action, "since": now(), "pid": os.getpid()}, handle)
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


def audit(app: App, action: str, **facts: object) -> None:
    """Note what was done, by whom and with what end, in a file and in the journal."""
    LOGS.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": now(), "app": app.name, "action": action, "actor": actor(), **facts}, sort_keys=True)
    with open(LOGS / f"{app.name}.log", "a") as handle:
        handle.write(line + "\n")
    syslog.openlog("djangoctl", syslog.LOG_PID)
    syslog.syslog(syslog.LOG_INFO, line)
