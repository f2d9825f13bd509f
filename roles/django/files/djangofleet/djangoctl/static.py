"""Publishes the static files of a release beside those of the releases before it.

Pages of the release before are still open in browsers when the next one is live, and a rollback brings them back: each
asset they name has to answer. Hashed names never clash. A plain name belongs to the release published last.
"""

from __future__ import annotations

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
    if target.exists() and (not replace or HASHED.search(source.name) or _same(source, target)):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    shutil.copystat(source, temporary)
    temporary.chmod(0o644)
    os.replace(temporary, target)
    return True


def _same(source: Path, target: Path) -> bool:
    one, other = source.stat(), target.stat()
    return one.st_size == other.st_size and int(one.st_mtime) == int(other.st_mtime)
