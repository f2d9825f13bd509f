"""Releases on disk: their ids, their records, and which of them is live."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from .app import App
from .errors import ConfigError

BUILDING, GOOD, FAILED = "building", "good", "failed"


def now() -> str:
    """The present time in the format of records: UTC, ISO 8601, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def identify(app: App, version: str, revision: str) -> str:
    """The id of the release that this source and these settings make.

    The id is the same on every host of a fleet, and the same in a second run, which then finds the release built. It
    begins with a readable label: the version, or the first twelve digits of a commit or digest.
    """
    material = json.dumps([revision, app.build, files_digest(app)], sort_keys=True)
    digest = hashlib.sha256(material.encode()).hexdigest()[:8]
    label = re.sub(r"[^A-Za-z0-9.]+", "-", version).strip("-.")[:40] or "release"
    return f"{label}-{digest}"


def files_digest(app: App) -> dict[str, str]:
    """The digests of the files that the inventory adds to the source."""
    return {name: hashlib.sha256((app.config / "files" / name).read_bytes()).hexdigest() for name in app.build["files"]}


@dataclass
class Release:
    """A directory below releases/ and its release.json."""

    path: Path
    record: dict

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def state(self) -> str:
        return self.record.get("state", FAILED)

    @property
    def migrations(self) -> set[str]:
        """The migrations of the release, as "app.name"; none if the project has no database."""
        return set(self.record.get("migrations", [])) if self.record.get("database", True) else set()

    @property
    def leaves(self) -> set[str]:
        """The last migrations of each Django app; all migrations if an older djangoctl wrote the record."""
        return set(self.record.get("leaves", self.migrations)) if self.record.get("database", True) else set()

    @property
    def log(self) -> Path:
        return self.path / "build.log"

    def write(self, **changes: object) -> None:
        """Update release.json atomically."""
        self.record.update(changes)
        write_json(self.path / "release.json", self.record)


def beside(path: Path) -> Path:
    """Where the replacement of a file or link is made. The lock lets one process write at a time.

    The name is always the same, so that the next write replaces what a killed process has left.
    """
    return path.with_name(f".{path.name}.new")


def write_json(path: Path, content: dict) -> None:
    """Replace a JSON file by rename, so that a reader never sees half of it."""
    temporary = beside(path)
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)


def read_json(path: Path) -> dict:
    """The content of a JSON file; empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read(app: App, identity: str) -> Release:
    """A release by id.

    :raises ConfigError: there is no such release.
    """
    path = app.releases / identity
    if not identity or not path.is_dir() or "/" in identity or identity.startswith("."):
        raise ConfigError(f"{app.name} has no release '{identity}'", hint=f"djangoctl {app.name} releases lists them")
    return Release(path, read_json(path / "release.json"))


def all_of(app: App) -> list[Release]:
    """Every release of an app, oldest build first."""
    if not app.releases.is_dir():
        return []
    paths = [path for path in app.releases.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [Release(path, read_json(path / "release.json")) for path in paths]
    return sorted(found, key=lambda release: (release.record.get("started_at", ""), release.id))


def live_id(app: App) -> str | None:
    """The id of the live release; None before the first activation.

    It is pinned with its configuration. `current` follows, and stands alone where an older djangoctl pinned.
    """
    return linked(app.pinned / "release") or linked(app.current)


def linked(link: Path) -> str | None:
    """The name that a link points to; None if there is no link."""
    try:
        return Path(os.readlink(link)).name
    except OSError:
        return None


def point(link: Path, target: Path) -> None:
    """Point a link to a directory. The link is replaced by rename, so it exists at every moment."""
    temporary = beside(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)
