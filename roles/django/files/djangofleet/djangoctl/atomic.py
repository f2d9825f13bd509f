"""Files that are whole or not at all: neither a reader, nor a crash, nor a full disk leaves half of one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path


def beside(path: Path) -> Path:
    """Where the replacement of a file or link is made. Whoever writes holds a lock, so that one process does at a time.

    The name is always the same: the next write replaces what a killed process has left.
    """
    return path.with_name(f".{path.name}.new")


def write(path: Path, content: str | bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace a file by rename, once its content is on the disk.

    :param owner: the ids of user and group; those of the caller if not given.

    :raises OSError: the disk is full or read-only. The file is as it was, and nothing is left beside it.
    """
    temporary = beside(path)
    try:
        temporary.unlink(missing_ok=True)  # a killed process may have left it
        # Nobody else reads the file before it has its mode.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content.encode() if isinstance(content, str) else content)
            handle.flush()
            if owner:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what is meant; a write that fails does not even say which file
        _remove(temporary)
        raise


def write_json(path: Path, content: dict) -> None:
    """Replace a JSON file as `write` does."""
    write(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def put_link(link: Path, target: str) -> None:
    """Point a link to a path. The link is replaced by rename, so it exists at every moment."""
    temporary = beside(link)
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
