"""The processes and timers of an app, which follow its service from release to release."""

from __future__ import annotations

import time

from .app import App
from .release import read_json
from .systemd import Systemd

# Seconds that a process has to stay up: systemd calls it started before it has imported anything.
SETTLE = 3
LOG_LINES = 25


def move(app: App, system: Systemd) -> str:
    """Restart the processes on the live release, start the timers, and stop what is no longer configured.

    A process has its own stop timeout to finish what it has in hand; all of them drain side by side. A timer's run that
    is under way ends in the release it began with.

    :returns: what systemd said if something did not start; empty if all is well.
    """
    gone = sorted(set(read_json(app.root / "live.json").get("units", [])) - set(app["processes"]) - set(app["timers"]))
    if gone:
        system.control("stop", *gone)
        system.control("reset-failed", *gone)
    if app["processes"]:  # else one that waits to be started again keeps the count of the release before
        system.control("reset-failed", *app["processes"])
    for units in (app["processes"], app["timers"]):
        if units:
            result = system.control("restart", *units)
            if result.returncode != 0:
                return result.stderr.strip()
    return _settled(app, system)


def _settled(app: App, system: Systemd) -> str:
    """Which process does not stay up; empty if all do."""
    deadline = time.monotonic() + SETTLE
    while app["processes"] and time.monotonic() < deadline:
        time.sleep(0.5)
        if ended := [unit for unit in app["processes"] if not system.steady(unit)]:
            log = system.journal(ended[0], LOG_LINES)
            return f"{', '.join(ended)} did not stay up\n{log}"
    return ""


def idle(app: App, system: Systemd) -> list[str]:
    """The processes and timers that should be up and are not."""
    return [unit for unit in (*app["processes"], *app["timers"]) if not system.active(unit)]
