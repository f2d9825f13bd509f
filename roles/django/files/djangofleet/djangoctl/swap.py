"""Puts a release live without dropping a request.

The service and its stand-in list the same socket, so the kernel shares new connections between those of them that are
up. The stand-in starts the new release first and passes the gate. Only then does `current` point to that release and
the service restart, while the stand-in answers.

The role writes the configuration whenever it runs, and asks for no lock. So an activation copies it once, and works
with the copies alone: what passes the gate is what is pinned and installed, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cached, fleet, units, workers
from . import release as releases
from .app import App, load, parsed
from .atomic import write
from .errors import ActivationError, ConfigError, GateError, refused
from .fleet import Claim
from .hooks import run_hooks
from .lock import say
from .prune import prune
from .release import GOOD, Release, now, point, read_json, write_json
from .static import publish
from .systemd import Systemd

JOURNAL_LINES = 25
CHOSEN = Claim()
RUN = Path("/run")


def status(app: App, system: Systemd) -> dict:
    """What is live, whether it is up, and whether a restart is pending.

    A restart is pending when the configuration or an installed unit has changed, or when an activation broke off.
    """
    record = read_json(app.root / "live.json")
    live = releases.live_id(app)
    changed = record.get("fingerprint") != app.fingerprint() or units.differ(app)
    return {
        "app": app.name,
        "release": live,
        "activated_at": record.get("activated_at"),
        "service": system.active(units.service(app)),
        "socket": system.active(units.socket_name(app)),
        "maintenance": app.maintenance.exists(),
        "restart_pending": changed or broke_off(app) or _built_since(app, live, record.get("activated_at", "")),
    }


def is_recorded(app: App) -> bool:
    """Whether the service has started on what is pinned: an activation that breaks off before does not record it.

    An older djangoctl did not record the pin.
    """
    record, pin = read_json(app.root / "live.json"), app.pinned.resolve().name
    return record.get("release") == releases.live_id(app) and record.get("pin", pin) == pin


def broke_off(app: App) -> bool:
    """Whether an activation was not finished: what it has pinned may not serve yet, or its hooks are left.

    An older djangoctl did not record the end.
    """
    return not is_recorded(app) or not read_json(app.root / "live.json").get("done", True)


def _built_since(app: App, live: str | None, activated_at: str) -> bool:
    """Whether the live release was built again since it went live, after somebody had removed it."""
    return bool(live) and read_json(app.releases / live / "release.json").get("ended_at", "") > activated_at


def pending(app: App, identity: str, system: Systemd, *, is_choice: bool = True) -> bool:
    """Whether activating that release would change anything.

    :param is_choice: whether it is chosen: that makes a host ready which is not.
    """
    return (is_choice and not fleet.is_ready(app)) or _is_due(app, identity, system)


def _is_due(app: App, identity: str, system: Systemd) -> bool:
    """Whether activating that release would start anything."""
    seen = status(app, system)
    socket = units.socket_name(app)
    is_up = seen["service"] and seen["socket"] and units.is_open(app, socket)
    if not is_up or seen["restart_pending"] or seen["release"] != identity:
        return True
    return bool(workers.idle(app, system)) or not system.enabled(socket)


def activate(
    app: App,
    release: Release,
    system: Systemd,
    *,
    allow_schema_ahead: bool = False,
    rolls_back: bool = False,
    claim: Claim = CHOSEN,
) -> bool:
    """Make a release the live one; returns False if it is live already and nothing is pending.

    :param rolls_back: the release that was live is a bad one: no rollback chooses it until it is activated again.
    :param claim: what this says about the app's hosts together.
    :raises ConfigError: the release is not good, or the database is ahead of it.
    :raises GateError: the release did not pass its health check; no visitor has seen it.
    :raises ActivationError: the service did not start on it; the previous release was put back if possible.
    :raises HookError: a hook failed; the state says what is live.
    """
    require_good(app, release)
    if not _is_due(app, release.id, system):
        if not claim.is_choice or fleet.is_ready(app):
            return False
        fleet.confirm(app, release, claim)
        fleet.set_ready(app)
        return True
    standing = fleet.standing(app)
    before, previous_pin = _last_started(app)
    if not allow_schema_ahead:
        _require_schema(app, release, before)
    app = copy_configuration(app, release.path)
    sockets = units.sockets(app)
    units.require_usable(app, sockets[0])
    units.prepare(app, sockets, system)
    run_hooks(app, release, system, "before_activate")
    publish(app, release, replace=False)
    _start_stand_in(app, release, system)
    claim = fleet.returned(app, release, claim)
    try:
        publish(app, release)
        point(app.pinned, app.config)
        point(app.current, release.path)
        _restart_service(app, release, before, previous_pin, sockets, system)
    finally:  # also on a full disk: visitors must not see for a while what is not live
        _stop_stand_in(app, system)
        _purge_pages(app)
    units.remove_others(app, sockets, system)
    times = fleet.claimed(app, release, claim)
    _record_live(app, release, sockets, standing, times, bad=before if rolls_back else None)
    fleet.tell(app, release, times)
    run_hooks(app, release, system, "after_activate")
    prune(app)
    if claim.is_choice:  # at the end: whoever is killed before leaves a host that is ready on nothing but this release
        fleet.set_ready(app)
    _record_done(app)
    return True


def _last_started(app: App) -> tuple[str | None, Path | None]:
    """The release that the service has started on last, and the directory of the configuration pinned for it.

    After an activation that broke off, what is pinned now may never have started.
    """
    record, live = read_json(app.root / "live.json"), releases.live_id(app)
    pin = app.pinned.resolve() if app.pinned.exists() else None
    recorded, recorded_pin = record.get("release"), app.pinned.parent / record.get("pin", app.pinned.name)
    if recorded and recorded_pin.is_dir() and (app.releases / recorded).is_dir():
        return recorded, recorded_pin.resolve()
    return live, pin


def require_good(app: App, release: Release) -> None:
    """Refuse a release that was not built to its end."""
    if release.state != GOOD:
        raise ConfigError(
            f"{app.name}: release {release.id} is {release.state}, only a good one can go live",
            state=f"release {releases.live_id(app)} is still live",
            hint=f"djangoctl {app.name} releases lists them",
        )


def _require_schema(app: App, release: Release, before: str | None) -> None:
    """Refuse a release that lacks migrations the database has: it may write rows that later migrations forbid.

    Two records tell which migrations were applied: that of the live release, and schema.json, since a release may
    migrate and then fail to go live. One whose migrations broke off may have applied any of them. Migrations of a
    Django app that the release does not have at all do not matter.
    """
    if release.id == before:
        return
    record = read_json(app.root / "schema.json")
    named = [name for name in (before, record.get("migrating")) if name and releases.is_identity(name)]
    there = [releases.read(app, name) for name in named if (app.releases / name).is_dir()]
    applied = set(record.get("leaves", [])).union(*(other.leaves for other in there))
    known = {name.partition(".")[0] for name in release.migrations}
    ahead = sorted(name for name in applied - release.migrations if name.partition(".")[0] in known)
    if ahead:
        raise ConfigError(
            f"{app.name}: the database is ahead of release {release.id}, which lacks {', '.join(ahead)}",
            state=f"nothing was changed: release {before} is still live" if before else "nothing was live before",
            hint="if the release works with that schema, repeat with --allow-schema-ahead (allow_schema_ahead=true)",
        )


def _record_live(
    app: App,
    release: Release,
    sockets: list[str],
    standing: Mapping[str, Any],
    times: Mapping[str, str],
    bad: str | None = None,
) -> None:
    """Write live.json: the live release, what its service was started with, and the history of activations.

    :param standing: how the host stood among the others before.
    :param times: those that it tells them now.
    :param bad: the release that was rolled back from.
    """
    record = read_json(app.root / "live.json")
    history = [entry for entry in record.get("history", []) if entry != release.id]
    rolled_back = set(record.get("rolled_back", []))
    if release.id not in rolled_back:  # else somebody takes a rollback back, and leaves nothing bad
        rolled_back.add(bad)
    rolled_back &= set(history)
    if record.get("release") == release.id and not record.get("done", True):
        standing = record.get("before", standing)  # this finishes what broke off
    write_json(
        app.root / "live.json",
        {
            "release": release.id,
            "activated_at": now(),
            "fingerprint": app.fingerprint(),
            "history": [*history, release.id],
            "rolled_back": sorted(rolled_back),
            "units": [*app["processes"], *app["timers"]],
            "sockets": sockets,
            "pin": app.pinned.resolve().name,
            "goes_back": _goes_back(record, release.id),
            "before": dict(standing),
            "told": dict(times),
            "done": False,
        },
    )


def _purge_pages(app: App) -> None:
    """Show visitors the pages of what is live. Whatever was before has drained: no page of it comes after this.

    A failure keeps no release from going live.
    """
    if not app.cache.get("purge_on_release"):
        return
    try:
        cached.purge(app)
    except OSError as error:
        say(f"{app.name}: pages of the release before may still be in the cache of Nginx: {error}")


def _record_done(app: App) -> None:
    """Record that nothing of the activation is left to do: its hooks have run, and old releases are removed."""
    write_json(app.root / "live.json", {**read_json(app.root / "live.json"), "done": True})


def _goes_back(record: dict, live: str) -> bool:
    """Whether the release became live again after another one, by an activation that broke off."""
    if record.get("release") == live:
        return record.get("goes_back", False) and not record.get("done", True)
    return live in record.get("history", [])


def previous(app: App) -> Release:
    """The good release that was live before the current one, and that nobody has rolled back from.

    A rollback that broke off is finished first, so the release is the same when the command is repeated.

    :raises ConfigError: there is none.
    """
    live, record = releases.live_id(app), read_json(app.root / "live.json")
    if live and _goes_back(record, live):
        return releases.read(app, live)
    rolled_back = record.get("rolled_back", [])
    good = {release.id: release for release in releases.all_of(app) if release.state == GOOD and release.id != live}
    history = record.get("history")
    if history is None:  # lost with a damaged live.json: the release that was built last is the best guess
        history = list(good) if live or (app.root / "live.json").exists() else []
    for identity in reversed(history):
        if identity in good and identity not in rolled_back:
            return good[identity]
    left = f"; {', '.join(rolled_back)} was rolled back from, and goes live only by its name" if rolled_back else ""
    raise ConfigError(
        f"{app.name}: there is no release to go back to{left}", hint=f"djangoctl {app.name} releases lists them"
    )


def copy_configuration(app: App, release: Path) -> App:
    """Copy the configuration as the role last wrote it, together with the release that it is for.

    The copies are pinned by a link, which changes configuration and release in one step. Between two, a reboot would
    start a release with a configuration that no gate has seen.

    :returns: the app as the copies configure it.
    :raises ConfigError: an older role has written the configuration, without units.
    """
    contents = configuration_files(app)
    digest = hashlib.sha256(b"".join(b"%b\0%b\0" % (name.encode(), text) for name, text in contents.items()))
    digest.update(str(release).encode())
    home = app.pinned.parent
    directory = home / f".live-{digest.hexdigest()[:12]}"
    before = _last_started(app)[1]
    used = {before, *(link.resolve() for link in (app.pinned, app.next_pinned) if link.exists())} - {None}
    for stale in set(home.glob(".live-*")) - {directory, *used}:
        shutil.rmtree(stale)
    for pin in used:
        units.adopt(app, pin)
        if "secret" in contents and not (pin / "secret").exists():  # an older djangoctl pinned it
            _copy(app, pin, "secret", contents["secret"])
    for path in (directory, directory / "units"):
        path.mkdir(mode=0o750, exist_ok=True)
        os.chown(path, home.stat().st_uid, home.stat().st_gid)
    for name, text in contents.items():
        _copy(app, directory, name, text)
    point(directory / "release", release)
    record = read_json(app.root / "live.json")
    if before and record and "pin" not in record:  # an older djangoctl wrote it
        write_json(app.root / "live.json", {**record, "pin": before.name})
    return load(app.name, config=directory)


def _copy(app: App, pin: Path, name: str, text: bytes) -> None:
    """Write a file of a pinned configuration, for those who may read the role's.

    By rename: an unchanged configuration has the same digest, and its directory is in use already.
    """
    seen = (app.config / name).stat()
    write(pin / name, text, mode=stat.S_IMODE(seen.st_mode), owner=(seen.st_uid, seen.st_gid))


def configuration_files(app: App) -> dict[str, bytes]:
    """The files that are pinned, by name, each read once. app.json tells which units there are."""
    path = app.config / "app.json"
    settings = path.read_bytes()
    names = ["env", *(["secret"] if (app.config / "secret").exists() else [])]
    names += [f"units/{name}" for name in sorted(parsed(settings, path)["unit_files"])]
    try:
        return {"app.json": settings} | {name: (app.config / name).read_bytes() for name in names}
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} is missing", hint="run site.yml, which writes the app's units") from None


def _start_stand_in(app: App, release: Release, system: Systemd) -> None:
    unit = units.stand_in(app)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    _stop_stand_in(app, system)  # an interrupted activation may have left one behind
    point(app.next_pinned, app.config)
    point(app.next_link, release.path)
    if system.control("start", unit).returncode != 0 or not _wait_for_workers(app, unit):
        log = system.journal(unit, JOURNAL_LINES, since)
        _stop_stand_in(app, system)
        raise GateError(
            f"{app.name}: release {release.id} did not pass its gate and was not put live",
            state=releases.still_live(app, "no visitor has seen it: "),
            hint=_gate_hint(app, release, releases.live_id(app)),
            log=log,
        )


def _gate_hint(app: App, release: Release, live: str | None) -> str:
    hint = f"fix it and deploy again; the release is kept in {release.path}"
    if live:
        return hint
    load = f"djangoctl {app.name} manage --release {release.id} loaddata ..."
    return f"{hint}; if its page needs data, load it (hooks.after_first_migrate does that next time): {load}"


def _restart_service(
    app: App, release: Release, before: str | None, previous_pin: Path | None, sockets: list[str], system: Systemd
) -> None:
    """Restart the service, processes and timers on `current`; put the previous release back if that fails.

    The service starts from what a boot would start from. So a host that goes down before a release that does not start
    has been given up serves nothing after its boot, until the next activation or rollback. Only a release that has
    served as the stand-in, and does not as the service, gets there.

    :param before: the release that was live.
    :param previous_pin: the pinned configuration that it ran with.
    :param sockets: the socket units that the service is to listen on.
    """
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    failure = units.install(app, app.pinned, sockets, system) or _start_all(app, system)
    if not failure:
        return
    log = "\n".join(filter(None, [failure, system.journal(units.service(app), JOURNAL_LINES, since)]))
    state = (
        f"release {release.id} serves, but not all of its processes run" if _serves(app, system) else "nothing serves"
    )
    if before:
        try:
            state = _put_back(app, before, previous_pin, system)
        except (ConfigError, OSError) as error:
            why = refused(error).message if isinstance(error, OSError) else error.message
            state = f"{state}: release {before} could not be put back: {why}"
    raise ActivationError(
        f"{app.name}: release {release.id} passed its gate but did not start",
        state=state,
        hint=f"look at: journalctl -u '{app.unit}*'",
        log=log,
    )


def _put_back(app: App, before: str, pin: Path | None, system: Systemd) -> str:
    """Start the release before with the configuration that it ran with; returns what serves then.

    That configuration is gone where somebody removed the app and kept its data. Where it is gone or damaged, the
    release starts with the one that the gate has just tried.
    """
    point(app.current, app.releases / before)  # first: what an older djangoctl pinned names no release itself
    previous, flaw = app, ""
    try:
        if pin:
            previous, failure = _put_back_configuration(app, pin, system)
            flaw = f", but not all of its units ({failure})" if failure else ""
    except ConfigError as error:
        flaw = f", with the new configuration, since its own is damaged ({error.message})"
    if previous is app:
        point(app.pinned, copy_configuration(app, app.releases / before).config)
    publish(app, Release(app.releases / before, {}))
    state = f"release {before} was put back{flaw}"
    if _start_all(previous, system, started=[*app["processes"], *app["timers"]]):
        is_up = _serves(app, system)
        state += ", but not all of its processes run" if is_up else ", but did not start either: nothing serves"
    return state


def _put_back_configuration(app: App, pin: Path, system: Systemd) -> tuple[App, str]:
    """Pin a previous configuration again and install its units.

    :returns: the app as that configures it, and what failed of the units; empty if nothing did.
    :raises ConfigError: it is damaged. No unit was changed.
    """
    sockets = [name for name in units.serving(app) if system.active(name)] or [units.plain_socket(app)]
    for name in ("env", f"units/{units.plain_socket(app)}", f"units/{units.service(app)}"):
        if not (pin / name).is_file():
            raise ConfigError(f"{pin / name} is missing")
    point(app.pinned, pin)
    previous = load(app.name, pinned=True)
    failure = units.install(previous, pin, sockets, system)
    units.remove_others(previous, sockets, system)
    return previous, failure


def _serves(app: App, system: Systemd) -> bool:
    """Whether the service has a worker that answers."""
    return system.active(units.service(app)) and any((RUN / app.unit).glob("worker-*"))


def _start_all(app: App, system: Systemd, started: Sequence[str] = ()) -> str:
    """Restart the service, wait until its workers accept requests, then restart the processes.

    :param started: units that a failed activation has started.
    :returns: what failed; empty if nothing did.
    """
    result = system.control("restart", units.service(app))
    if result.returncode != 0:
        return result.stderr.strip()
    if not _wait_for_workers(app, units.service(app)):
        return f"no worker of {app.unit}.service was ready within {app['start_timeout']} s"
    return workers.restart(app, system, started)


def _wait_for_workers(app: App, unit: str) -> bool:
    """Whether the workers of a unit are ready in time, or one of them at least.

    Gunicorn tells systemd that it is ready before it has a worker. Until then only the other unit answers.
    """
    directory = RUN / unit.removesuffix(".service")
    deadline = time.monotonic() + app["start_timeout"]
    while (ready := len(list(directory.glob("worker-*")))) < _workers(directory):
        if time.monotonic() > deadline:
            return ready > 0
        time.sleep(0.05)
    return True


def _workers(directory: Path) -> int:
    """How many workers Gunicorn is to have, as its master wrote beside their marks."""
    try:
        return int((directory / "workers").read_text())
    except (FileNotFoundError, ValueError):
        return 1


def _stop_stand_in(app: App, system: Systemd) -> None:
    system.control("stop", units.stand_in(app))
    system.control("reset-failed", units.stand_in(app))
    for link in (app.next_link, app.next_pinned):
        link.unlink(missing_ok=True)
