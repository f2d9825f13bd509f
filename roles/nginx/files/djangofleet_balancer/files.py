"""Files that are whole or not at all, the lock of those who change them, and what tells one version from another."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LockedError

PAUSE = 0.02  # seconds between two attempts to take a lock

Version = tuple[int, int, int]


def version_of(path: Path) -> Version | None:
    """What differs whenever a file has been replaced or written; None if there is none."""
    try:
        found = path.stat()
    except OSError:  # also a directory in its place on the way: reading it says what is wrong
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def content_of(path: Path) -> bytes | None:
    """The content of a file; None if there is none.

    :raises OSError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write(path: Path, content: bytes) -> None:
    """Replace a file by rename, once its content is on the disk. Everybody reads it. Its directory is made if missing.

    :raises OSError: the disk is full or read-only. The file is as it was, and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.new")  # always the same: the next write replaces what a killed one left
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what is meant; a write that fails does not even say which file
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def held(path: Path, wait: float) -> Iterator[None]:
    """Hold a lock. The kernel releases it when the process ends, however it ends.

    Who can read a lock can hold it: only root reads this one.

    :param wait: seconds.
    :raises LockedError: somebody else still holds it.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    end = time.monotonic() + wait
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0) as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    hint = f"see who it is with `fuser {path}`, wait until it has ended, then try again"
                    raise LockedError(f"{path}: another djangofleet-balancer is at work", hint) from None
            time.sleep(PAUSE)
        yield
