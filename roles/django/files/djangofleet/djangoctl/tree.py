"""Touches trees that code of others wrote: below the descriptor of a directory, and never through a link.

A build may leave a link, a fifo or a setuid bit at any name. Root gives such trees away, reads them and writes to them
with these functions only.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a fifo would block for ever

TEXT_LIMIT = 1_000_000
Owner = tuple[int, int]  # the ids of user and group


@contextmanager
def directory(root: Path, name: str = ".", *, create: bool = False, owner: Owner | None = None) -> Iterator[int]:
    """The descriptor of a directory below another one.

    :param root: a directory whose own path only root can change.
    :param name: relative to it.
    :param create: make the parts that are missing.
    :param owner: who gets the parts that are made; root if not given.
    :raises NotADirectoryError: a part of the name is a link or a file; `filename` tells which.
    """
    descriptor = os.open(root, DIRECTORY)
    try:
        for part in Path(name).parts:
            made = create and _make(part, descriptor)
            below = os.open(part, DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
            if made and owner:
                os.fchown(descriptor, *owner)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True


@contextmanager
def parent_of(root: Path, name: str, *, create: bool = False, owner: Owner | None = None) -> Iterator[tuple[int, str]]:
    """The directory that a name below a root is in, as a descriptor, and the last part of the name."""
    path = Path(name)
    with directory(root, str(path.parent), create=create, owner=owner) as descriptor:
        yield descriptor, path.name


def open_file(name: str | Path, parent: int | None = None) -> IO[bytes]:
    """A regular file, opened for reading.

    :raises OSError: it is a link, a fifo or anything else.
    """
    descriptor = os.open(name, REGULAR, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def beginning(path: Path) -> str:
    """The first characters of a text file: as many as a file that people write has, and as memory holds."""
    with open(path, errors="replace") as file:
        return file.read(TEXT_LIMIT)


def give(root: Path, owner: Owner) -> None:
    """Give a tree to a user. The group may read it, only the owner may write to it, and no setuid bit stays."""
    for _path, names, files, descriptor in os.fwalk(root):
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, group_readable(os.fstat(descriptor).st_mode))
        for name in (*names, *files):
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                continue  # its turn comes
            os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) != group_readable(mode):
                with open_file(name, descriptor) as file:
                    os.fchmod(file.fileno(), group_readable(mode))


def group_readable(mode: int) -> int:
    """The mode with the owner's read and execute bits for the group too, and write access for the owner alone."""
    owner = stat.S_IMODE(mode) & 0o700
    return (stat.S_IMODE(mode) | (owner >> 3)) & 0o755


def put(root: Path, name: str, content: bytes, mode: int) -> None:
    """Write a file below a root in place of what is there. Missing directories are made."""
    with parent_of(root, name, create=True) as (parent, last):
        discard(last, parent)
        with os.fdopen(os.open(last, NEW, 0o600, dir_fd=parent), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)


def link(root: Path, name: str, target: Path) -> None:
    """Make a link below a root in place of what is there. Missing directories are made."""
    with parent_of(root, name, create=True) as (parent, last):
        discard(last, parent)
        os.symlink(target, last, dir_fd=parent)


def exists(name: str, parent: int) -> bool:
    """Whether a directory has something of that name, be it a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def discard(name: str, parent: int) -> None:
    """Remove what has that name in a directory, if anything."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def copy(
    name: str,
    source: int,
    copied: str,
    target: int,
    owner: Owner,
    *,
    limit: int | None = None,
    without: Collection[str] = (),
) -> None:
    """Copy a file, a link or a tree from one directory into another, where nothing has that name.

    Fifos, sockets and devices are left out. A link is never followed, also one that appears during the copy.

    :param copied: the name of the copy.
    :param limit: leave out files of more bytes.
    :param without: names that are left out, at any depth.
    """
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), copied, dir_fd=target)
        os.chown(copied, *owner, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISDIR(info.st_mode):
        os.mkdir(copied, 0o700, dir_fd=target)
        below = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
        into = os.open(copied, DIRECTORY | os.O_NOFOLLOW, dir_fd=target)
        try:
            for entry in sorted(set(os.listdir(below)) - set(without)):
                copy(entry, below, entry, into, owner, limit=limit, without=without)
            _finish(into, info.st_mode, owner)
        finally:
            os.close(below)
            os.close(into)
    elif stat.S_ISREG(info.st_mode) and (limit is None or info.st_size <= limit):
        with open_file(name, source) as original, os.fdopen(os.open(copied, NEW, 0o600, dir_fd=target), "wb") as file:
            shutil.copyfileobj(original, file)
            file.flush()  # a later write would change the time
            os.utime(file.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
            _finish(file.fileno(), info.st_mode, owner)


def _finish(descriptor: int, mode: int, owner: Owner) -> None:
    os.fchown(descriptor, *owner)
    os.fchmod(descriptor, group_readable(mode))


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path stays below a root where links lead. Holds while nobody else changes the tree."""
    return path.resolve().is_relative_to(root.resolve())


def remove(path: Path) -> None:
    """Remove a tree, however deep it is; shutil.rmtree recurses and gives up at some depth."""
    subprocess.run(["rm", "-rf", "--", str(path)], check=True, capture_output=True)
