"""Releases on disk: their ids, their records, and which of them is live."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .app import App, is_list_of
from .atomic import put_link, write_json
from .errors import ConfigError

BUILDING, GOOD, FAILED = "building", "good", "failed"
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PYTHON = re.compile(r"python3\.\d+")
SHOWN = 60  # characters of a wrong id that a message repeats


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list_of_text(value: object) -> bool:
    return is_list_of(str, value)


# What the keys of live.json, serving.json, schema.json and release.json hold. What holds something else is damaged, and
# not read.
KINDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("release", "pin", "activated_at", "fingerprint", "state", "started_at", "ended_at"), _is_text),
    **dict.fromkeys(("application", "settings_module", "version", "revision", "deploy_check", "error"), _is_text),
    **dict.fromkeys(("history", "rolled_back", "units", "sockets", "leaves"), _is_list_of_text),
    **dict.fromkeys(("migrations", "warnings"), _is_list_of_text),
    **dict.fromkeys(("database", "done", "goes_back"), lambda value: isinstance(value, bool)),
    **dict.fromkeys(("owing", "migrating"), lambda value: value is None or isinstance(value, str)),
    **dict.fromkeys(("before", "told", "source"), lambda value: isinstance(value, dict)),
    "rollout": _is_text,
}


def now() -> str:
    """The present time in the format of records: UTC, ISO 8601, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def identify(app: App, version: str, revision: str) -> str:
    """The id of the release that this source and these settings make.

    The id is the same on every host of a fleet, and the same in a second run, which then finds the release built. It
    begins with a readable label: the version, or the first twelve digits of a commit or digest.
    """
    label = re.sub(r"[^A-Za-z0-9.]+", "-", version).strip("-.")[:40] or "release"
    return f"{label}-{digest_of(app, revision)}"


def digest_of(app: App, revision: str) -> str:
    """The end of a release's id, which follows from its source and settings alone."""
    material = json.dumps([revision, app.build, files_digest(app)], sort_keys=True)
    return hashlib.sha256(material.encode()).hexdigest()[:8]


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
    def application(self) -> str:
        """What Gunicorn loads, as module:attribute.

        :raises ConfigError: release.json does not name it.
        """
        if "application" not in self.record:
            found = f"{self.path}/release.json is missing or damaged: it names no application"
            raise ConfigError(found, hint="deploy another version, or go back to another release")
        return self.record["application"]

    @property
    def is_usable(self) -> bool:
        """Whether it has been built to its end, and need not be built again."""
        return self.state == GOOD and not lacks_python(self.path / "venv")

    @property
    def damage(self) -> str:
        """What keeps the release from being started; empty if nothing does."""
        if not self.path.is_dir():
            return f"its directory {self.path} is gone"
        if self.record.get("state") in (BUILDING, FAILED):
            return f"its directory was gone, and it is {self.state} again"
        if self.state != GOOD or "application" not in self.record:
            return f"{self.path}/release.json is missing or damaged"
        gone = [name for name in ("source", "venv/bin/python") if not (self.path / name).exists()]
        if gone:
            return f"{self.path}/{gone[0]} is gone"
        return (
            f"{self.path}/venv was made for another Python than the host has"
            if lacks_python(self.path / "venv")
            else ""
        )

    @property
    def log(self) -> Path:
        return self.path / "build.log"

    def write(self, **changes: object) -> None:
        """Update release.json atomically."""
        self.record.update(changes)
        write_json(self.path / "release.json", self.record)


def lacks_python(environment: Path) -> bool:
    """Whether the interpreter of an environment is gone or another one, as after an upgrade of the host."""
    python = environment / "bin/python"
    if not python.exists():
        return python.is_symlink()
    name = os.path.basename(os.path.realpath(python))
    return bool(PYTHON.fullmatch(name)) and not (environment / "lib" / name).is_dir()


def read_json(path: Path) -> dict:
    """The content of a record; empty if the file is missing or damaged, and without keys whose value is damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if KINDS.get(key, lambda _value: True)(value)}


def is_identity(name: str) -> bool:
    """Whether a text can be the id of a release; anything else does not get near a path."""
    return bool(IDENTITY.fullmatch(name))


def read(app: App, identity: str) -> Release:
    """A release by id.

    :raises ConfigError: there is no such release.
    """
    path = app.releases / identity
    if not is_identity(identity) or not path.is_dir():
        raise unknown(app, identity)
    return Release(path, read_json(path / "release.json"))


def unknown(app: App, identity: str) -> ConfigError:
    """The failure of a command that names a release which is not there."""
    shown = identity if len(identity) <= SHOWN else f"{identity[:SHOWN]}…"
    return ConfigError(f"{app.name} has no release '{shown}'", hint=f"djangoctl {app.name} releases lists them")


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


def still_live(app: App, found: str = "") -> str:
    """What a failure that has changed nothing says of the live release.

    :param found: what comes before that where there is one.
    """
    live = live_id(app)
    return f"{found}release {live} is still live" if live else "nothing was live before"


def linked(link: Path) -> str | None:
    """The name that a link points to; None if there is no link."""
    try:
        return Path(os.readlink(link)).name
    except OSError:
        return None


def point(link: Path, target: Path) -> None:
    """Point a link to a directory, by a path that stays right when both are moved."""
    put_link(link, os.path.relpath(target, link.parent))
