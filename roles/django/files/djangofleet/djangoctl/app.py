"""An app as the role configured it: app.json, and the paths derived from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

# The schema of app.json. Another key or another meaning is another version, and OLDER says what older files mean.
VERSION = 1
# By the last version that lacks them: keys that files of later versions have, with what an older file means.
OLDER: dict[int, dict] = {0: {}}
CONFIG_ROOT = Path(os.environ.get("DJANGOFLEET_CONFIG", "/etc/djangofleet"))
NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
# What app.json holds: the type of each key, a list with the type of its items, or a mapping with its keys, `*` for any.
TEXTS = [str]
SHAPE: dict = {
    **dict.fromkeys(("name", "unit", "user", "group", "root", "uv", "lock_timeout"), str),
    **dict.fromkeys(("minimum_free_space", "keep_releases"), int),
    "start_timeout": float,
    **dict.fromkeys(("domains", "processes", "timers", "unit_files", "sandbox", "build_sandbox"), TEXTS),
    "generate_secret": bool,
    "gunicorn": dict,
    "hooks": {"*": TEXTS},
    "health": {
        "enabled": bool,
        **dict.fromkeys(("path", "contains"), str),
        **dict.fromkeys(("status_min", "status_max", "timeout", "retries", "delay"), int),
    },
    "build": {
        "packaged": bool,
        **dict.fromkeys(("python", "project_dir", "requirements", "settings_module", "interface"), str),
        **dict.fromkeys(("application", "static_root", "media_root"), str),
        **dict.fromkeys(("shared_paths", "files", "hooks"), TEXTS),
    },
}
KINDS = {
    str: (str, "a text"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    bool: (bool, "true or false"),
    dict: (dict, "a mapping"),
}
# What an earlier version of the role did not write.
ADDED: dict = {
    "version": int,
    "path": str,
    "site": {"domains": TEXTS, "port": int, "tls": bool},
    "site_cache": {"path": str, "purge_on_release": bool},
    "fleet": {
        "peers": {"*": str},
        "port": int,
        **dict.fromkeys(("host", "domain", "authority_file", "repository"), str),
    },
}
# Without these the live release cannot start. Whatever else is missing must not keep it down.
ESSENTIAL = ("name", "unit", "root", "build")


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
        """The pinned configuration: a link to copies of env, secret, app.json and units that the gate has tried.

        The role writes the configuration of the next activation beside it. Until that passes its gate, a service that
        restarts, after a crash or a reboot, starts with the pinned one.
        """
        return CONFIG_ROOT / self.name / "live"  # also of a copy or a rehearsal, whose configuration is elsewhere

    @property
    def next_pinned(self) -> Path:
        """The link to the copies that the stand-in runs with during a swap; on disk it is called `next`."""
        return self.pinned.with_name("next")

    @property
    def settings_file(self) -> Path:
        """The app.json that these settings were read from."""
        return (self.pinned if self.is_pinned else self.config) / "app.json"

    @property
    def secret(self) -> Path:
        """The generated SECRET_KEY, in the format of an environment file.

        It is copied with the rest. What an older djangoctl pinned has no copy of it, and neither has a rehearsal.
        """
        copy = self.settings_file.with_name("secret")
        return copy if copy.exists() else self.pinned.with_name("secret")

    @property
    def site(self) -> dict:
        """Where Nginx of this host serves the app: `domains`, `port` and `tls`; empty if it does not."""
        return self.settings.get("site") or {}

    @property
    def cache(self) -> dict:
        """Where Nginx of this host keeps pages of the app: `path` and `purge_on_release`; empty if it keeps none."""
        return self.settings.get("site_cache") or {}

    @property
    def fleet(self) -> dict:
        """How the app's other hosts are asked: `peers`, `port`, `domain`, `authority_file`; empty if it is on one host.

        `host` is what the inventory calls this one, `repository` where anybody can fetch the source, empty if nobody.
        """
        return self.settings.get("fleet") or {}

    @property
    def peers(self) -> dict[str, str]:
        """The addresses of the app's other hosts, by name; empty if it is on one host."""
        return self.fleet.get("peers", {})

    def variable(self, key: str) -> str:
        """A setting of the app as the inventory names it, django_apps[shop].key, if the role was told."""
        path = self.settings.get("path", "django_app")
        return f"django_app.{key} of app '{self.name}'" if path == "django_app" else f"{path}.{key}"

    @property
    def unit(self) -> str:
        return self.settings["unit"]

    @property
    def units(self) -> list[Path]:
        """The unit files of the app as the role last wrote them. An activation installs them."""
        return sorted(self.config / "units" / name for name in self.settings["unit_files"])

    def fingerprint(self) -> str:
        """A digest of what a service starts with besides its release: Gunicorn, environment, SECRET_KEY and units."""
        digest = hashlib.sha256(json.dumps(self["gunicorn"], sort_keys=True).encode())
        for path in [self.config / "env", self.secret, *self.units]:
            digest.update(b"\0" + (path.read_bytes() if path.exists() else b""))
        return digest.hexdigest()


def load(name: str, *, pinned: bool = False, config: Path | None = None) -> App:
    """Read the app of that name.

    :param pinned: read the pinned configuration, which the live release runs with, not the role's latest.
    :param config: a directory to read instead, with the configuration that an activation or a rehearsal is to use.
    :raises ConfigError: there is no such app, or its configuration cannot be read.
    """
    config = config or CONFIG_ROOT / name
    path = config / "live" / "app.json" if pinned else config / "app.json"
    if not NAME.fullmatch(name):
        raise _unknown(name)
    try:
        settings = parsed(path.read_bytes(), path, pinned)
    except (FileNotFoundError, NotADirectoryError):
        if (config / "app.json").exists():
            hint = f"djangoctl {name} releases lists them"
            raise ConfigError(f"{name} has no release 'current'", hint=hint) from None
        raise _unknown(name) from None
    except PermissionError:
        raise ConfigError(f"{path} cannot be read", hint="run djangoctl as root") from None
    except OSError as error:
        raise _damaged(path, str(error)) from None
    return App(name, config, settings, pinned)


def parsed(text: bytes, path: Path, pinned: bool = False) -> dict:
    """The settings that an app.json holds.

    :param path: where the text is from.
    :param pinned: it may be older than this djangoctl.
    :raises ConfigError: they are damaged, or of a newer version.
    """
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(settings, dict):
        raise _damaged(path, f"found {_shown(settings)}, expected a mapping")
    settings = upgraded(settings, path)
    if wrong := next(problems(settings, pinned), ""):
        raise _damaged(path, wrong)
    return settings


def load_for(name: str, release: str) -> App:
    """Read the app as a process of a release starts with it: by its id, or by one of the links `current` and `next`.

    :raises ConfigError: there is no such app, or its configuration cannot be read.
    """
    copies = CONFIG_ROOT / name / "next"
    if release == "next" and NAME.fullmatch(name) and copies.exists():
        return load(name, config=copies)
    return load(name, pinned=release == "current")


def upgraded(settings: dict, path: Path) -> dict:
    """The content of an app.json as the present version has it. A host keeps that of the live release over upgrades.

    :raises ConfigError: the version is no number, or a newer djangoctl is needed to read the file.
    """
    version = settings.get("version", 0)  # the first files had none
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise _damaged(path, f"'version' is {_shown(version)}, expected a whole number")
    if version > VERSION:
        raise ConfigError(
            f"{path} has version {version}, and this djangoctl reads up to {VERSION}",
            hint="run site.yml or deploy.yml of the collection that wrote it; either brings its djangoctl",
        )
    for step in range(version, VERSION):
        settings = _with_defaults(settings, OLDER[step])
    return {**settings, "version": VERSION}


def _with_defaults(settings: dict, defaults: dict) -> dict:
    """The settings with what they lack. Mappings are completed key by key."""
    missing = {key: value for key, value in defaults.items() if key not in settings}
    both = {key: value for key, value in defaults.items() if isinstance(settings.get(key), dict)}
    return settings | missing | {key: _with_defaults(settings[key], value) for key, value in both.items()}


def problems(settings: Mapping, pinned: bool = False) -> Iterator[str]:
    """What is wrong with the content of app.json.

    :param pinned: it may be older than this djangoctl, and lack what has been added since.
    """
    lacking = [key for key in (ESSENTIAL if pinned else SHAPE) if key not in settings]
    yield from (f"'{key}' is missing" for key in lacking)
    yield from _misfits(settings, {**SHAPE, **ADDED}, "", pinned)


def is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _misfits(settings: Mapping, shape: Mapping, where: str, pinned: bool) -> Iterator[str]:
    """The keys whose value has another type than the shape says, and those that are missing from an inner mapping."""
    for key, kind in shape.items():
        if key not in settings:
            if where and not pinned:
                yield f"'{where}{key}' is missing"
            continue
        value, name = settings[key], f"'{where}{key}'"
        if isinstance(kind, dict) and isinstance(value, dict):
            inner = dict.fromkeys(value, kind["*"]) if "*" in kind else kind
            yield from _misfits(value, inner, f"{where}{key}.", pinned)
        elif isinstance(kind, dict):
            yield f"{name} is {_shown(value)}, expected a mapping"
        elif isinstance(kind, list):
            if not is_list_of(kind[0], value):
                yield f"{name} is {_shown(value)}, expected a list of texts"
        elif not isinstance(value, KINDS[kind][0]) or (kind is not bool and isinstance(value, bool)):
            yield f"{name} is {_shown(value)}, expected {KINDS[kind][1]}"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path} is damaged: {what}", hint="run the play that wrote it again: site.yml")


def _unknown(name: str) -> ConfigError:
    known = ", ".join(names()) or "none"
    shown = name if len(name) <= 64 else f"{name[:64]}…"
    return ConfigError(f"there is no app '{shown}' on this host", hint=f"known here: {known}")


def names() -> list[str]:
    """The names of the apps on this host, sorted.

    :raises PermissionError: the user may not read the configuration of an app. A glob would leave it out in silence.
    """
    directories = CONFIG_ROOT.iterdir() if CONFIG_ROOT.is_dir() else ()
    return sorted(path.name for path in directories if NAME.fullmatch(path.name) and _is_file(path / "app.json"))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
