"""Takes an app off the host: what starts it always, what it has written only when that is said."""

from __future__ import annotations

import shutil
from pathlib import Path

from .app import App
from .errors import ActivationError
from .release import read_json
from .systemd import Systemd

UNITS = Path("/etc/systemd/system")


def remove(app: App, system: Systemd, *, with_data: bool = False) -> None:
    """Stop an app and remove its units and its configuration. Releases, data and the SECRET_KEY stay.

    :param with_data: remove these too.
    :raises ActivationError: something of it runs on. Nothing was removed.
    """
    started = read_json(app.root / "live.json").get("units", [])
    services = [f"{app.unit}.socket", f"{app.unit}.service", f"{app.unit}-next.service"]
    services += [*app["processes"], *app["timers"], *(name for name in started if isinstance(name, str))]
    names = list(dict.fromkeys(services))
    system.control("disable", "--now", "--quiet", *names)
    running = [name for name in names if system.active(name)]
    if running:
        raise ActivationError(
            f"{app.name}: {', '.join(running)} did not stop",
            state="nothing was removed",
            hint=f"look at: journalctl -u '{app.unit}*'",
        )
    for path in _unit_files(app):
        path.unlink(missing_ok=True)
    system.control("daemon-reload")
    system.control("reset-failed", *names)
    for path in [app.root, app.config] if with_data else _configuration(app):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _unit_files(app: App) -> list[Path]:
    """The unit files that app.json names, and those that say that they are of this app."""
    named = {UNITS / name for name in app["unit_files"]}
    mark = f"X-Djangofleet-App={app.name}"
    marked = {path for path in UNITS.glob(f"{app.unit}*") if path.is_file() and mark in path.read_text().splitlines()}
    return sorted(named | marked)


def _configuration(app: App) -> list[Path]:
    """What is in the app's configuration apart from its key. app.json is the last: with it this can be repeated."""
    kept = ("secret", "app.json")
    return [*(path for path in sorted(app.config.iterdir()) if path.name not in kept), app.config / "app.json"]
