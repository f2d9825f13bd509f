"""Puts a release live without dropping a request.

The service and its stand-in list the same socket, so that the kernel shares new connections between whichever of them
is up. The stand-in starts the release first and passes the gate; only then is `current` turned over and the service
restarted under its cover.
"""

from __future__ import annotations

import time

from . import release as releases
from .app import App
from .errors import ActivationError, ConfigError, GateError
from .release import GOOD, Release, now, point, read_json, write_json
from .static import publish
from .systemd import Systemd

JOURNAL_LINES = 25


def status(app: App, system: Systemd) -> dict:
    """What is live, how it is, and whether a swap is owed: the configuration changed, or one was cut short."""
    record = read_json(app.root / "live.json")
    live = releases.live_id(app)
    return {
        "app": app.name,
        "release": live,
        "activated_at": record.get("activated_at"),
        "service": system.active(f"{app.unit}.service"),
        "socket": system.active(f"{app.unit}.socket"),
        "swap_pending": record.get("release") != live or record.get("fingerprint") != app.fingerprint(),
    }


def pending(app: App, identity: str, system: Systemd) -> bool:
    """True if activating that release would change anything."""
    seen = status(app, system)
    up = seen["service"] and seen["socket"] and system.enabled(f"{app.unit}.socket")
    return seen["release"] != identity or seen["swap_pending"] or not up


def activate(app: App, release: Release, system: Systemd) -> bool:
    """Make a release the live one; False if it is already and nothing else changed.

    :raises GateError: it did not pass its health check; nothing has changed for any user.
    :raises ActivationError: it could not be started after all; what served before was put back.
    """
    if release.state != GOOD:
        raise ConfigError(
            f"{app.name}: release {release.id} is {release.state}, only a good one can go live",
            state=f"release {releases.live_id(app)} serves on",
            hint=f"djangoctl {app.name} releases lists them",
        )
    if not pending(app, release.id, system):
        return False
    before = releases.live_id(app)
    _reload_units(app, system)
    publish(app, release, replace=False)
    _start_stand_in(app, release, system)
    publish(app, release)
    point(app.current, release.path)
    _restart_service(app, release, before, system)
    _stop_stand_in(app, system)
    history = [entry for entry in read_json(app.root / "live.json").get("history", []) if entry != release.id]
    write_json(
        app.root / "live.json",
        {
            "release": release.id,
            "activated_at": now(),
            "fingerprint": app.fingerprint(),
            "history": [*history, release.id],
        },
    )
    return True


def previous(app: App) -> Release:
    """The release that was live before the one that is, if it is still there and good.

    :raises ConfigError: there is none.
    """
    live = releases.live_id(app)
    for identity in reversed(read_json(app.root / "live.json").get("history", [])):
        if identity != live and (app.releases / identity).is_dir():
            release = releases.read(app, identity)
            if release.state == GOOD:
                return release
    raise ConfigError(
        f"{app.name}: there is no release to go back to", hint=f"djangoctl {app.name} releases lists them"
    )


def _reload_units(app: App, system: Systemd) -> None:
    system.control("daemon-reload")
    result = system.control("enable", "--quiet", f"{app.unit}.socket", f"{app.unit}.service")
    if result.returncode == 0 and not system.active(f"{app.unit}.socket"):
        result = system.control("start", f"{app.unit}.socket")
    if result.returncode != 0:
        raise ActivationError(
            f"{app.name}: the socket could not be opened", state="nothing was changed", log=result.stderr.strip()
        )


def _start_stand_in(app: App, release: Release, system: Systemd) -> None:
    unit = f"{app.unit}-next.service"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    _stop_stand_in(app, system)  # one that an interrupted activation left behind
    point(app.following, release.path)
    if system.control("start", unit).returncode != 0:
        log = system.journal(unit, JOURNAL_LINES, since)
        _stop_stand_in(app, system)
        live = releases.live_id(app)
        raise GateError(
            f"{app.name}: release {release.id} did not pass its gate and was not put live",
            state=f"nothing was changed for any user: release {live} serves on" if live else "nothing was live before",
            hint=f"mend it and deploy again; the release is kept in {release.path}",
            log=log,
        )


def _restart_service(app: App, release: Release, before: str | None, system: Systemd) -> None:
    unit = f"{app.unit}.service"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    if system.control("restart", unit).returncode == 0:
        return
    log = system.journal(unit, JOURNAL_LINES, since)
    state = "nothing serves"
    if before:
        point(app.current, app.releases / before)
        publish(app, Release(app.releases / before, {}))
        again = system.control("restart", unit).returncode == 0
        state = f"release {before} was put back" if again else f"nothing serves: release {before} did not start either"
    _stop_stand_in(app, system)
    raise ActivationError(
        f"{app.name}: release {release.id} passed its gate but its service did not start",
        state=state,
        hint=f"look at: journalctl -u {unit}",
        log=log,
    )


def _stop_stand_in(app: App, system: Systemd) -> None:
    system.control("stop", f"{app.unit}-next.service")
    system.control("reset-failed", f"{app.unit}-next.service")
    app.following.unlink(missing_ok=True)
