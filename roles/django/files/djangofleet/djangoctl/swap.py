"""Puts a release live without dropping a request.

The service and its stand-in list the same socket, so the kernel shares new connections between those of them that are
up. The stand-in starts the new release first and passes the gate. Only then does `current` point to that release and
the service restart, while the stand-in answers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from . import release as releases
from . import workers
from .app import App
from .errors import ActivationError, ConfigError, GateError
from .hooks import run_hooks
from .prune import prune
from .release import GOOD, Release, beside, now, point, read_json, write_json
from .static import publish
from .systemd import Systemd

JOURNAL_LINES = 25
RUN = Path("/run")


def status(app: App, system: Systemd) -> dict:
    """What is live, whether it is up, and whether a restart is pending.

    A restart is pending when the configuration has changed or an activation broke off.
    """
    record = read_json(app.root / "live.json")
    live = releases.live_id(app)
    return {
        "app": app.name,
        "release": live,
        "activated_at": record.get("activated_at"),
        "service": system.active(f"{app.unit}.service"),
        "socket": system.active(f"{app.unit}.socket"),
        "idle_units": workers.idle(app, system),
        "maintenance": app.maintenance.exists(),
        "restart_pending": record.get("release") != live or record.get("fingerprint") != app.fingerprint(),
    }


def pending(app: App, identity: str, system: Systemd) -> bool:
    """Whether activating that release would change anything."""
    seen = status(app, system)
    up = seen["service"] and seen["socket"] and not seen["idle_units"] and system.enabled(f"{app.unit}.socket")
    done = read_json(app.root / "live.json").get("done", True)  # an older djangoctl did not write it
    return seen["release"] != identity or seen["restart_pending"] or not up or not done


def activate(app: App, release: Release, system: Systemd, *, allow_schema_ahead: bool = False) -> bool:
    """Make a release the live one; returns False if it is live already and nothing is pending.

    :raises ConfigError: the release is not good, or the database is ahead of it.
    :raises GateError: the release did not pass its health check; no visitor has seen it.
    :raises ActivationError: the service did not start on it; the previous release was put back if possible.
    :raises HookError: a hook failed; the state says what is live.
    """
    _require_good(app, release)
    if not pending(app, release.id, system):
        return False
    before, _pin = _completed(app)
    if not allow_schema_ahead:
        _require_schema(app, release, before)
    _reload_units(app, system)
    run_hooks(app, release, system, "before_activate")
    publish(app, release, replace=False)
    _start_stand_in(app, release, system)
    publish(app, release)
    previous_pin = pin_configuration(app, release.path)
    point(app.current, release.path)
    _restart_service(app, release, before, previous_pin, system)
    _stop_stand_in(app, system)
    _record_live(app, release, is_done=False)
    run_hooks(app, release, system, "after_activate")
    prune(app)
    _record_live(app, release, is_done=True)
    return True


def _completed(app: App) -> tuple[str | None, Path | None]:
    """The release of the last activation that was completed, and the directory of the configuration pinned for it.

    After an activation that broke off, what is pinned may never have started.
    """
    record, live = read_json(app.root / "live.json"), releases.live_id(app)
    pin = app.pinned.resolve() if app.pinned.exists() else None
    recorded, recorded_pin = record.get("release"), app.config / record.get("pin", app.pinned.name)
    if recorded and recorded_pin.is_dir() and (app.releases / recorded).is_dir():
        return recorded, recorded_pin.resolve()
    return live, pin


def _require_good(app: App, release: Release) -> None:
    if release.state != GOOD:
        raise ConfigError(
            f"{app.name}: release {release.id} is {release.state}, only a good one can go live",
            state=f"release {releases.live_id(app)} is still live",
            hint=f"djangoctl {app.name} releases lists them",
        )


def _require_schema(app: App, release: Release, before: str | None) -> None:
    """Refuse a release that lacks migrations the database has: it may write rows that later migrations forbid.

    Two records tell which migrations were applied: that of the live release, and schema.json, since a release may
    migrate and then fail to go live. Migrations of a Django app that the release does not have at all do not matter.
    """
    if release.id == before:
        return
    live = releases.read(app, before).leaves if before and (app.releases / before).is_dir() else set()
    applied = live | set(read_json(app.root / "schema.json").get("leaves", []))
    known = {name.partition(".")[0] for name in release.migrations}
    ahead = sorted(name for name in applied - release.migrations if name.partition(".")[0] in known)
    if ahead:
        raise ConfigError(
            f"{app.name}: the database is ahead of release {release.id}, which lacks {', '.join(ahead)}",
            state=f"nothing was changed: release {before} is still live" if before else "nothing was live before",
            hint="if the release works with that schema, repeat with --allow-schema-ahead (allow_schema_ahead=true)",
        )


def _record_live(app: App, release: Release, *, is_done: bool) -> None:
    """Write live.json: the live release, what its service was started with, and the history of activations.

    :param is_done: whether the hooks have run, and old releases are removed.
    """
    history = [entry for entry in read_json(app.root / "live.json").get("history", []) if entry != release.id]
    write_json(
        app.root / "live.json",
        {
            "release": release.id,
            "activated_at": now(),
            "fingerprint": app.fingerprint(),
            "history": [*history, release.id],
            "units": [*app["processes"], *app["timers"]],
            "pin": app.pinned.resolve().name,
            "done": is_done,
        },
    )


def previous(app: App) -> Release:
    """The good release that was live before the current one.

    :raises ConfigError: there is none.
    """
    live, record = releases.live_id(app), read_json(app.root / "live.json")
    history = record.get("history", [])
    if live in history and live != record.get("release"):  # going back to it broke off
        history = [live]
        live = None
    for identity in reversed(history):
        if identity != live and (app.releases / identity).is_dir():
            release = releases.read(app, identity)
            if release.state == GOOD:
                return release
    raise ConfigError(
        f"{app.name}: there is no release to go back to", hint=f"djangoctl {app.name} releases lists them"
    )


def pin_configuration(app: App, release: Path | None = None) -> Path | None:
    """Pin the configuration as the role last wrote it, together with the release that it is for.

    Both change in one step. Between two, a reboot would start a release with a configuration that no gate has seen.

    :param release: the live one by default.
    :returns: the directory of the configuration that the last completed activation has pinned, if any.
    """
    before = _completed(app)[1]
    release = release or (app.current.resolve() if app.current.exists() else None)
    contents = [(name, (app.config / name).read_bytes()) for name in ("app.json", "env")]
    material = b"\0".join([str(release).encode(), *(content for _name, content in contents)])
    directory = app.config / f".live-{hashlib.sha256(material).hexdigest()[:12]}"
    for stale in set(app.config.glob(".live-*")) - {directory, before, app.pinned.resolve()}:
        shutil.rmtree(stale)
    directory.mkdir(mode=0o750, exist_ok=True)
    for name, _content in contents:
        # Replace each file by rename. An unchanged configuration has the same digest: this directory is in use already.
        temporary = beside(directory / name)
        shutil.copy2(app.config / name, temporary)
        os.chown(temporary, (app.config / name).stat().st_uid, (app.config / name).stat().st_gid)
        os.replace(temporary, directory / name)
    os.chown(directory, app.config.stat().st_uid, app.config.stat().st_gid)
    if release:
        point(directory / "release", release)
    point(app.pinned, directory)
    return before


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
    _stop_stand_in(app, system)  # an interrupted activation may have left one behind
    point(app.next_link, release.path)
    if system.control("start", unit).returncode != 0:
        log = system.journal(unit, JOURNAL_LINES, since)
        _stop_stand_in(app, system)
        live = releases.live_id(app)
        raise GateError(
            f"{app.name}: release {release.id} did not pass its gate and was not put live",
            state=f"no visitor has seen it: release {live} is still live" if live else "nothing was live before",
            hint=f"fix it and deploy again; the release is kept in {release.path}",
            log=log,
        )


def _restart_service(
    app: App, release: Release, before: str | None, previous_pin: Path | None, system: Systemd
) -> None:
    """Restart the service, processes and timers on `current`; put the previous release back if that fails.

    :param before: the release that was live.
    :param previous_pin: the pinned configuration that it ran with.
    """
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    if not (failure := _start_all(app, system)):
        return
    log = "\n".join(filter(None, [failure, system.journal(f"{app.unit}.service", JOURNAL_LINES, since)]))
    state = "nothing serves"
    if before:
        if previous_pin:
            point(app.pinned, previous_pin)
        point(app.current, app.releases / before)
        publish(app, Release(app.releases / before, {}))
        state = f"release {before} was put back"
        if _start_all(app, system):
            up = system.active(f"{app.unit}.service") and any((RUN / app.unit).glob("worker-*"))
            state += ", but not all of its processes run" if up else ", but did not start either: nothing serves"
    _stop_stand_in(app, system)
    raise ActivationError(
        f"{app.name}: release {release.id} passed its gate but did not start",
        state=state,
        hint=f"look at: journalctl -u '{app.unit}*'",
        log=log,
    )


def _start_all(app: App, system: Systemd) -> str:
    """Restart the service, wait until a worker of it accepts requests, then restart the processes.

    :returns: what failed; empty if nothing did.
    """
    result = system.control("restart", f"{app.unit}.service")
    if result.returncode != 0:
        return result.stderr.strip()
    if not _wait_for_worker(app):
        return f"no worker of {app.unit}.service was ready within {app['start_timeout']} s"
    return workers.restart(app, system)


def _wait_for_worker(app: App) -> bool:
    """Whether a worker is ready in time.

    Gunicorn tells systemd that it is ready before it has a worker. Until then only the stand-in answers.
    """
    deadline = time.monotonic() + app["start_timeout"]
    while not any((RUN / app.unit).glob("worker-*")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _stop_stand_in(app: App, system: Systemd) -> None:
    system.control("stop", f"{app.unit}-next.service")
    system.control("reset-failed", f"{app.unit}-next.service")
    app.next_link.unlink(missing_ok=True)
