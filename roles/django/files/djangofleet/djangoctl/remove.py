"""Takes an app off the host: what starts it always, what it has written only when that is said."""

from __future__ import annotations

from pathlib import Path

from . import fleet, tree, units
from .app import App
from .errors import ActivationError
from .release import read_json
from .systemd import Systemd


def remove(app: App, system: Systemd, *, with_data: bool = False) -> None:
    """Stop an app and remove its units and its configuration. Releases, data and the SECRET_KEY stay.

    :param with_data: remove these too.
    :raises ActivationError: something of it runs on. Nothing was removed.
    """
    started = read_json(app.root / "live.json").get("units", [])
    files = list(units.installed(app))
    services = [name for name in files if "@." not in name]  # a template is no unit
    services += [*app["processes"], *app["timers"], *(name for name in started if isinstance(name, str))]
    names = list(dict.fromkeys(services))
    fleet.ready_file(app).unlink(missing_ok=True)  # before it answers nobody
    # Not `disable --now`: where the file of one unit is missing, systemd would stop none of them.
    system.control("stop", *names)
    if files:
        system.control("disable", "--quiet", *files)
    running = [name for name in names if system.active(name)]
    if running:
        raise ActivationError(
            f"{app.name}: {', '.join(running)} did not stop",
            state="nothing was removed",
            hint=f"look at: journalctl -u '{app.unit}*'",
        )
    for name in files:
        (units.DIRECTORY / name).unlink(missing_ok=True)
    system.control("daemon-reload")
    system.control("reset-failed", *names)
    for path in [app.root, app.config] if with_data else _configuration(app):
        tree.remove(path)


def _configuration(app: App) -> list[Path]:
    """What is in the app's configuration apart from its key. app.json is the last: with it this can be repeated."""
    kept = ("secret", "app.json")
    return [*(path for path in sorted(app.config.iterdir()) if path.name not in kept), app.config / "app.json"]
