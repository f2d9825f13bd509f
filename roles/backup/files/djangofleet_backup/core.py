"""What all parts of a backup share: the configuration, the record of what was done, commands and their failures."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CONFIG = Path(os.environ.get("DJANGOFLEET_BACKUP", "/etc/djangofleet-backup"))
STATE = Path(os.environ.get("DJANGOFLEET_BACKUP_STATE", "/var/lib/djangofleet/backup"))
LAST_LINES = 12
FRAME = re.compile(r"\t\S+\.(go|s):\d+$")  # of a program in Go: where a function of its stack is
MARGIN = 1.1  # room that a restore needs, by the size of what it restores
_held: set[Path] = set()  # locks, by this process


class BackupError(Exception):
    """A failure that an operator can act on.

    :param heals: what to do next.
    """

    code = 1

    def __init__(self, message: str, heals: str = "") -> None:
        super().__init__(message)
        self.message, self.heals = message, heals

    def __str__(self) -> str:
        return "\n  heals: ".join(part for part in (self.message, self.heals) if part)


class Refused(BackupError):
    """What was asked for cannot or must not be done. Nothing has changed."""

    code = 2


def run(
    words: Sequence[str],
    *,
    user: str = "",
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """What a command prints. The journal or the caller's terminal gets nothing of it.

    :param user: who runs it; root if empty.
    :param given: its standard input. A secret goes this way, or by the environment, and never as an argument.
    :raises BackupError: it fails, with the last lines of what it said.
    """
    identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    try:
        done = subprocess.run(
            list(words),
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/", **(environment or {})},
            **identity,
        )
    except FileNotFoundError:
        raise BackupError(f"{words[0]}: is not installed", "run site.yml, which installs it") from None
    except subprocess.TimeoutExpired:
        raise BackupError(f"{words[0]}: has not ended within {timeout:.0f} s") from None
    if done.returncode:
        lines = _without_stacks([line for line in (done.stderr + done.stdout).splitlines() if line.strip()])
        raise BackupError(f"{os.path.basename(words[0])}: " + "\n".join(lines[-LAST_LINES:]))
    return done.stdout


def _without_stacks(lines: Sequence[str]) -> list[str]:
    """What an older restic says beside its stack, which is a line for a function and one for its place below it."""
    places = [bool(FRAME.match(line)) for line in (*lines, "")]
    return [
        line for line, is_place, is_above in zip(lines, places, places[1:], strict=False) if not is_place | is_above
    ]


def say(text: str) -> None:
    """Tell what is going on: a terminal shows it, and the journal keeps it."""
    print(text, file=sys.stderr, flush=True)


# Times


def moment(text: str) -> float:
    """Seconds since the epoch for a time that an operator gives.

    :raises Refused: it is none, or has no zone, so that the host and the operator may mean different ones.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(
            f"to: found '{text}'", 'give a time such as "2026-11-22 05:00:00+00", or a restore point'
        ) from None
    if found.tzinfo is None:
        raise Refused(f"to: found '{text}', which has no zone", f'give one, such as "{text}+00" for UTC')
    return found.timestamp()


def shown(seconds: float | None) -> str:
    """A time as it is printed and as `to` takes it; empty for none."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S+00")


def exact(seconds: float) -> str:
    """A time to the microsecond, as `to` takes it, too."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "microseconds")


def stamp(seconds: float) -> str:
    """A time as part of a name."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dt%H%M%S")


# The configuration, and the record


def config() -> dict[str, Any]:
    """What the role wrote.

    :raises Refused: there is none, or it is damaged.
    """
    path = CONFIG / "config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(
            f"{path}: is missing: this host has no backup", "give backup_repository, and run site.yml"
        ) from None
    except PermissionError:
        raise Refused(f"{path}: cannot be read", "run djangofleet-backup as root") from None
    except ValueError as error:
        raise Refused(f"{path}: is damaged: {error}", "run site.yml, which writes it anew") from None


def record() -> dict[str, Any]:
    """What was done: `since`, when the backup was configured; `prepared` and `parts`, by name; `restores`, `points` and
    `swaps`, the restores that have not ended, by cluster.
    """
    try:
        return json.loads((STATE / "state.json").read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BackupError(f"{STATE}/state.json: is damaged: {error}", "move it away, then take a backup") from None


def passphrase(name: str, variable: str) -> str:
    """The passphrase that one of the files of the configuration has; empty if there is none."""
    try:
        lines = (CONFIG / name).read_text().splitlines()
    except FileNotFoundError:
        return ""
    return dict(line.partition("=")[::2] for line in lines).get(variable, "")


def sealed(text: str, like: str = "") -> str:
    """A passphrase as the record has it, to be told from another one and not to be read. The role does the same.

    :param like: one of the record, whose salt it gets.
    """
    salt = like.partition("$")[0] or secrets.token_hex(16)
    return f"{salt}${hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**14, r=8, p=1).hex()}"


def note(change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record. It is replaced whole."""
    found = record()
    change(found)
    write(STATE / "state.json", json.dumps(found, indent=2, sort_keys=True) + "\n", 0o600)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file by rename: nobody reads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text)
            handle.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def alone() -> Iterator[None]:
    """One backup, drill or restore at a time. Whoever comes later waits. Within another one of this process it is that.

    Who can read a lock can hold it: this one lies where only root writes, and only root reads it.
    """
    lock = STATE / "lock"
    if lock in _held:
        yield
        return
    STATE.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            say(f"waiting for process {handle.read().strip()}, which holds {lock}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        print(os.getpid(), file=handle, flush=True)
        _held.add(lock)
        try:
            yield
        finally:
            _held.discard(lock)


def require_room(path: Path, size: float, what: str = "the restore takes") -> None:
    """Refuse what would fill a disk.

    :param path: a directory on it.
    :param size: in bytes, of what is to be written.
    """
    found = os.statvfs(path)
    free, needed = found.f_bavail * found.f_frsize, size * MARGIN
    if free < needed:
        raise Refused(
            f"{path}: has {free / 1e6:.0f} MB free, and {what} {needed / 1e6:.0f} MB beside what is there",
            "make room on that file system",
        )


def within(check: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
