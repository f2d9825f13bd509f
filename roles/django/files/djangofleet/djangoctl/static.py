"""Publishes the static files of a release beside those of earlier releases.

Browsers still show pages of the earlier release when the next one is live, and a rollback brings those pages back. So
every asset that they name stays available. Hashed names never clash. Under a plain name, the most recently published
release wins.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from . import tree
from .app import App
from .atomic import beside
from .release import Release

# As Django's ManifestStaticFilesStorage names its files: twelve hexadecimal digits before the last ending.
HASHED = re.compile(r"\.[0-9a-f]{12}\.")
COMPRESSED = (".gz", ".br")  # what Nginx serves in place of the file that it was made of


def collected(release: Release) -> Path | None:
    """The directory of a release's static files; None if there is none.

    It is a link where the settings collect into the source tree. What a build put in the way of it may lead anywhere:
    nothing outside of the release is ever published.
    """
    path = (release.path / "static").resolve()
    return path if path.is_dir() and tree.is_inside(release.path, path) else None


def publish(app: App, release: Release, *, replace: bool = True) -> int:
    """Put a release's static files where Nginx serves them; returns how many were new or changed.

    Where one release has a file and another has a directory of the same name, the most recently published one wins.

    :param replace: whether to replace files of the same name. The live release uses them until this one has passed its
        gate.
    """
    published = 0
    for source, target in _files(app, release):
        if _is_due(source, target, replace=replace):
            _place(source, target)
            published += 1
    return published


def unpublished(app: App, release: Release) -> int:
    """How many files `publish` would add without replacing any."""
    return sum(_is_due(source, target, replace=False) for source, target in _files(app, release))


def _files(app: App, release: Release) -> Iterator[tuple[Path, Path]]:
    """The static files of a release, and where Nginx serves them. A compressed file comes after its original."""
    source = collected(release)
    for directory, _names, files in os.walk(source) if source else ():
        for path in (Path(directory, name) for name in sorted(files)):
            inner = path.relative_to(source)
            # The page of a closed site is the operator's: a file of its name closes the site, a directory opens it.
            if stat.S_ISREG(path.lstat().st_mode) and inner.parts[0] != app.maintenance.name:
                yield path, app.static / inner


def _is_due(source: Path, target: Path, *, replace: bool) -> bool:
    """Whether a file is to be put in its place."""
    if _obstacle(target):
        return replace
    if target.exists():
        return replace and not HASHED.search(source.name) and not _same(source, target)
    original = source.with_suffix("")
    if replace or source.suffix not in COMPRESSED or not original.is_file():
        return True
    # Nginx prefers it to the file of that name, which may be the one that the live release uses.
    published = target.with_name(original.name)
    return not published.exists() or (published.is_file() and _same(original, published))


def _place(source: Path, target: Path) -> None:
    obstacle = _obstacle(target)
    if obstacle and obstacle != target:
        obstacle.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(target)
    with tree.open_file(source) as file, open(temporary, "wb") as copy:
        shutil.copyfileobj(file, copy)
        times = os.fstat(file.fileno())
    os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
    temporary.chmod(0o644)
    if obstacle == target:
        shutil.rmtree(target)
    os.replace(temporary, target)
    for ending in COMPRESSED:  # Nginx prefers these: they must not outlive the file that they were made of
        if not source.with_name(source.name + ending).exists():
            target.with_name(target.name + ending).unlink(missing_ok=True)


def _obstacle(target: Path) -> Path | None:
    """What another release published in the way: a directory in place of the file, or a file in place of a parent."""
    if target.parent.is_dir():
        return target if target.is_dir() else None
    return next((parent for parent in target.parents if parent.is_file()), None)


def _same(source: Path, target: Path) -> bool:
    """Whether both have the same content. Size and time do not tell: a build may give all files the same time."""
    filecmp.clear_cache()  # the cache compares size and time only
    return filecmp.cmp(source, target, shallow=False)
