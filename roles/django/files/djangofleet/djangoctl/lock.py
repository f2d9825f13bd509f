"""One action at a time per app. Whoever comes second learns who holds the lock, since when and for what."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
import stat
import syslog
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .app import App
from .errors import CtlError, Interrupted, LockedError, refused
from .interrupt import interruptible
from .release import live_id, now

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
    """Who holds the app's lock: actor, action, since, pid, and rollout if it belongs to one. None if it is free.

    :raises PermissionError: the user may not open the lock, and so cannot hold it against anybody.
    """
    with suppress(FileNotFoundError), open(_path(app), "rb", buffering=0) as handle:
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
    _own_directory()
    with interruptible():  # nothing has begun: a signal ends the wait, also of an action that is finished first
        handle = _locked(app)
    with handle:
        me = {"actor": actor(), "action": action, "since": now(), "pid": os.getpid()}
        with suppress(OSError):  # a full /run: the lock is held all the same, and its holder has no name
            handle.truncate(0)
            handle.seek(0)
            handle.write(json.dumps({**me, "rollout": rollout()} if rollout() else me).encode())
        try:
            yield
        finally:
            with suppress(OSError):
                handle.truncate(0)


@contextmanager
def recorded(app: App, action: str, identity: str) -> Iterator[dict]:
    """Hold the lock for an action and record its result in the audit trail. Yields a dictionary for further facts."""
    facts: dict = {"release": identity}
    with held(app, f"{action} {identity}"):
        try:
            yield facts
        except CtlError as error:
            audit(app, action, **facts, ok=False, error=error.message)
            raise
        except Interrupted as stop:
            audit(app, action, **facts, ok=False, error=f"ended by {signal.Signals(stop.number).name}")
            raise
        except OSError as error:
            failure = refused(error, state=f"release {live_id(app)} is live")
            audit(app, action, **facts, ok=False, error=failure.message)
            raise failure from error
        audit(app, action, **facts, ok=True)


def _path(app: App) -> Path:
    return RUN / f"{app.name}.lock"


def _own_directory() -> None:
    """Make the directory of locks and sockets, which Nginx enters and only root writes to."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    if stat.S_IMODE(RUN.stat().st_mode) & 0o022 or RUN.stat().st_uid != os.geteuid():
        os.chown(RUN, os.geteuid(), os.getegid())
        RUN.chmod(0o755)


def _locked(app: App) -> IO[bytes]:
    """The app's lock file, locked.

    :raises LockedError: somebody else holds the lock.
    """
    deadline = time.monotonic() + WAIT
    while True:
        handle = _open(app)
        if _take(handle):
            if _is_current(app, handle):
                if _is_private(handle):
                    return handle
                # Others can lock a file that they can read, as earlier versions made it: put another in its place.
                _path(app).unlink()
            handle.close()
            continue
        found = _holder_in(handle)
        handle.close()
        if not (rollout() and rollout() < found.get("rollout", "") and time.monotonic() < deadline):
            raise _refusal(app, found)


def _open(app: App) -> IO[bytes]:
    path = _path(app)
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)
    except (IsADirectoryError, NotADirectoryError) as error:
        raise CtlError(f"{path} cannot be opened: {error.strerror}", hint=f"remove {path}, which is no lock") from None


def _is_current(app: App, handle: IO[bytes]) -> bool:
    """Whether this file is still the one that others ask for. Only who has locked it puts another in its place."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.lstat(_path(app)))
    except FileNotFoundError:
        return False


def _is_private(handle: IO[bytes]) -> bool:
    """Whether root alone can open it."""
    seen = os.fstat(handle.fileno())
    return (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (os.geteuid(), 0o600)


def _refusal(app: App, found: dict) -> LockedError:
    pid = found["pid"]
    return LockedError(
        "{app}: locked by {actor} since {since} for {action} (process {pid})".format(app=app.name, **found),
        state="nothing was changed",
        hint=(
            "it may be what an interrupted run left at work: that ends by itself, and the lock with it\n"
            f"look at it with `ps -fp {pid}` and `djangoctl {app.name} status`, wait until no lock is shown, try again"
        ),
    )


def _take(handle: IO[bytes]) -> bool:
    """Whether the lock could be taken. `holder` takes a shared lock for a moment, so one refusal proves nothing."""
    for pause in PAUSES:
        time.sleep(pause)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _holder_in(handle: IO[bytes]) -> dict:
    """The holder that a lock file names; placeholders until it has written itself."""
    unknown = {"actor": "somebody", "action": "something", "since": "just now", "pid": "?"}
    handle.seek(0)
    try:
        found = json.loads(handle.read())
    except (ValueError, RecursionError):
        return unknown
    if not isinstance(found, dict):
        return unknown
    return unknown | {key: value for key, value in found.items() if isinstance(value, str) or key == "pid"}


def audit(app: App, action: str, **facts: object) -> None:
    """Record an action, its actor and its result, in the app's audit trail and in the journal.

    A trail that cannot be written, on a full disk, takes nothing from the action: the journal has the line.
    """
    line = json.dumps({"time": now(), "app": app.name, "action": action, "actor": actor(), **facts}, sort_keys=True)
    say(line)
    try:
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(LOGS / f"{app.name}.log", "a") as handle:
            handle.write(line + "\n")
    except OSError as error:
        say(f"{LOGS / app.name}.log lacks this line: {error}")


def say(text: str) -> None:
    """Write lines to the journal. syslog takes no NUL."""
    syslog.openlog("djangoctl", syslog.LOG_PID)
    for line in text.replace("\0", "").splitlines():
        syslog.syslog(syslog.LOG_INFO, line)
