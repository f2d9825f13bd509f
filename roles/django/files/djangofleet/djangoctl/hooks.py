"""Runs the commands that an app has at the points of a deploy."""

from __future__ import annotations

import shlex

from .app import App
from .errors import HookError
from .release import Release, live_id
from .systemd import Systemd

LOG_LINES = 25


def run_hooks(app: App, release: Release, system: Systemd, point: str) -> None:
    """Run the hooks of one point in a release, as its service runs; their output goes to the release's log.

    :raises HookError: one of them failed; those after it were not run.
    """
    for command in app["hooks"][point]:
        result = system.manage(app, release.id, shlex.split(command), purpose="hook")
        with open(release.log, "a") as log:
            log.write(f"{point}: {command}\n{result.stdout or ''}")
        if result.returncode != 0:
            raise HookError(
                f"django_app.hooks.{point} of app '{app.name}': '{command}' failed with exit code {result.returncode}",
                state=f"release {live_id(app)} is live",
                hint=f"fix it and deploy again; its output is in {release.log}",
                log="\n".join((result.stdout or "").splitlines()[-LOG_LINES:]),
            )
