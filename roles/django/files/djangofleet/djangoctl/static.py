"""Publishes the static files of a release beside those of the releases before it.

Pages of the release before are still open in browsers when the next one is live, and a rollback brings them back: each
asset they name has to answer. Hashed names never clash. A plain name belongs to the release published last.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from pathlib import Path

from .app import App
from .release import Release

# As Django's ManifestStaticFilesStorage names its files: twelve hexadecimal digits before the last ending.
HASHED = re.compile(r"\.[0-9a-f]{12}\.")


def publish(app: App, release: Release, *, replace: bool = True) -> int:
    """Put a release's static files where Nginx serves them; returns how many were new or other than before.

    Where one release has a file and another a directory of the same name, the one published last has it its way.

    :param replace: False leaves alone what is there under the same name: it is in use until the release has passed
        its gate.
    """
    source = (release.path / "static").resolve()  # a link where the settings collect inside of the source
    return sum(
        _place(Path(directory, name), app.static / os.path.relpath(os.path.join(directory, name), source), replace)
        for directory, _names, files in os.walk(source)
        for name in files
        if not Path(directory, name).is_symlink()
    )


def _place(source: Path, target: Path, replace: bool) -> bool:
    obstacle = _obstacle(target)
    if obstacle and not replace:
        return False
    if not obstacle and target.exists() and (not replace or HASHED.search(source.name) or _same(source, target)):
        return False
    if obstacle and obstacle != target:
        obstacle.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    shutil.copystat(source, temporary)
    temporary.chmod(0o644)
    if obstacle == target:
        shutil.rmtree(target)
    os.replace(temporary, target)
    for ending in (".gz", ".br"):  # of what was here before; Nginx prefers them
        if not source.with_name(source.name + ending).exists():
            target.with_name(target.name + ending).unlink(missing_ok=True)
    return True


def _obstacle(target: Path) -> Path | None:
    """What another release published in the way: a directory of that name, or a file that should be its directory."""
    if target.parent.is_dir():
        return target if target.is_dir() else None
    return next((parent for parent in target.parents if parent.is_file()), None)


def _same(source: Path, target: Path) -> bool:
    """Whether both hold the same. Neither size nor time tells: builds may give all files one date."""
    filecmp.clear_cache()  # it goes by size and time too
    return filecmp.cmp(source, target, shallow=False)
