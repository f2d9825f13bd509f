"""The processes and timers of an app, which restart on each release that goes live."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .app import App
from .release import read_json
from .systemd import Systemd

# Seconds that a process has to stay up. systemd reports it as started before it has imported anything.
SETTLE = 3
LOG_LINES = 25


def restart(app: App, system: Systemd, started: Sequence[str] = ()) -> str:
    """Restart the processes on the live release, start the timers, and stop what is no longer configured.

    Processes stop at the same time, each with its own stop timeout to finish its current work. A timer's run that is
    under way finishes in the release that it started in.

    :param started: units beside those of the live release that may run.
    :returns: systemd's message if something did not start; empty otherwise.
    """
    running = {*read_json(app.root / "live.json").get("units", []), *started}
    removed = sorted(running - set(app["processes"]) - set(app["timers"]))
    if removed:
        system.control("stop", *removed)
        system.control("reset-failed", *removed)
    if app["processes"]:  # resets NRestarts, which otherwise counts the restarts of the previous release too
        system.control("reset-failed", *app["processes"])
    for units in (app["processes"], app["timers"]):
        if units:
            result = system.control("restart", *units)
            if result.returncode != 0:
                return result.stderr.strip()
    return _unsettled(app, system)


def stop(app: App, system: Systemd) -> None:
    """Stop the timers, what they have started, and the processes, until `restart`."""
    jobs = [f"{timer.removesuffix('.timer')}.service" for timer in app["timers"]]
    if units := [*app["timers"], *jobs, *app["processes"]]:
        system.control("stop", *units)


def _unsettled(app: App, system: Systemd) -> str:
    """The processes that do not stay up, with the log of the first; empty if all of them do."""
    deadline = time.monotonic() + SETTLE
    while app["processes"] and time.monotonic() < deadline:
        time.sleep(0.5)
        if failed := [unit for unit in app["processes"] if not system.steady(unit)]:
            log = system.journal(failed[0], LOG_LINES)
            return f"{', '.join(failed)} did not stay up\n{log}"
    return ""


def idle(app: App, system: Systemd) -> list[str]:
    """The processes and timers that are configured and not active."""
    return [unit for unit in (*app["processes"], *app["timers"]) if not system.active(unit)]
