"""An app as the role configured it: app.json, and the paths derived from it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

CONFIG_ROOT = Path(os.environ.get("DJANGOFLEET_CONFIG", "/etc/djangofleet"))


@dataclass(frozen=True)
class App:
    """One app of this host.

    :param config: its directory below /etc/djangofleet.
    :param settings: the content of app.json. Only the role that writes it lists its keys.
    :param is_pinned: whether these settings come from the pinned configuration, not from the role's latest.
    """

    name: str
    config: Path
    settings: dict
    is_pinned: bool = False

    def __getitem__(self, key: str):
        return self.settings[key]

    @property
    def build(self) -> dict:
        """The settings that a release depends on: a change in any of them makes another release."""
        return self.settings["build"]

    @property
    def root(self) -> Path:
        return Path(self.settings["root"])

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def venvs(self) -> Path:
        """The virtual environments, one per set of requirements. A release has a link to its own."""
        return self.root / "venvs"

    @property
    def packages(self) -> Path:
        """uv's package cache, which keeps what was compiled. Builds write to it, and nothing live is linked to it."""
        return self.releases / ".packages"

    @property
    def current(self) -> Path:
        """The link to the live release."""
        return self.root / "current"

    @property
    def next_link(self) -> Path:
        """The link to the release that the stand-in runs during a swap; on disk it is called `next`."""
        return self.root / "next"

    @property
    def static(self) -> Path:
        """The static files of all kept releases, as Nginx serves them."""
        return self.root / "static"

    @property
    def maintenance(self) -> Path:
        """While this file exists, Nginx shows it to visitors instead of the site."""
        return self.static / ".maintenance.html"

    @property
    def pinned(self) -> Path:
        """The pinned configuration: a link to copies of env, app.json and units, as the live release was activated.

        The role writes the configuration of the next activation beside it. Until that passes its gate, a service that
        restarts, after a crash or a reboot, starts with the pinned one.
        """
        return self.config / "live"

    @property
    def settings_file(self) -> Path:
        """The app.json that these settings were read from."""
        return (self.pinned if self.is_pinned else self.config) / "app.json"

    @property
    def secret(self) -> Path:
        """The generated SECRET_KEY, in the format of an environment file."""
        return CONFIG_ROOT / self.name / "secret"  # also of a rehearsal, whose configuration is elsewhere

    @property
    def unit(self) -> str:
        return self.settings["unit"]

    @property
    def units(self) -> list[Path]:
        """The unit files of the app as the role last wrote them. An activation installs them."""
        return sorted(self.config / "units" / name for name in self.settings["unit_files"])

    def fingerprint(self) -> str:
        """A digest of what a service starts with besides its release: Gunicorn's settings, environment and units."""
        digest = hashlib.sha256(json.dumps(self["gunicorn"], sort_keys=True).encode())
        for path in [self.config / "env", *self.units]:
            digest.update(b"\0" + (path.read_bytes() if path.exists() else b""))
        return digest.hexdigest()


def load(name: str, *, pinned: bool = False, config: Path | None = None) -> App:
    """Read the app of that name.

    :param pinned: read the pinned configuration, which the live release runs with, not the role's latest.
    :param config: a directory to read instead, with the configuration that a rehearsal is to use.
    :raises ConfigError: there is no such app, or its configuration cannot be read.
    """
    config = config or CONFIG_ROOT / name
    path = config / "live" / "app.json" if pinned else config / "app.json"
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError:
        if (config / "app.json").exists():
            hint = f"djangoctl {name} releases lists them"
            raise ConfigError(f"{name} has no release 'current'", hint=hint) from None
        known = ", ".join(names()) or "none"
        raise ConfigError(f"there is no app '{name}' on this host", hint=f"known here: {known}") from None
    except PermissionError:
        raise ConfigError(f"{path} cannot be read", hint="run djangoctl as root") from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}", hint="run the play that wrote it again") from None
    return App(name, config, settings, pinned)


def names() -> list[str]:
    """The names of the apps on this host, sorted.

    :raises PermissionError: the user may not read the configuration of an app. A glob would leave it out in silence.
    """
    directories = CONFIG_ROOT.iterdir() if CONFIG_ROOT.is_dir() else ()
    return sorted(path.name for path in directories if _is_file(path / "app.json"))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
