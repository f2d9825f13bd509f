"""Runs an app's hooks: commands before and after the steps of a deploy."""

from __future__ import annotations

import shlex

from .app import App
from .errors import HookError
from .release import Release, live_id
from .systemd import Systemd

LOG_LINES = 25


def run_hooks(app: App, release: Release, system: Systemd, point: str) -> None:
    """Run the hooks of one point inside a release, with user, environment and sandbox of its service.

    Their output goes to the release's log.

    :raises HookError: a hook failed; those after it did not run.
    """
    for command in app["hooks"].get(point, []):
        result = system.manage(app, release.id, _words(app, point, command), purpose="hook")
        with open(release.log, "a") as log:
            log.write(f"{point}: {command}\n{result.stdout or ''}")
        if result.returncode != 0:
            raise HookError(
                f"{app.variable(f'hooks.{point}')}: '{command}' failed with exit code {result.returncode}",
                state=f"release {live_id(app)} is live",
                hint=f"fix it and deploy again; its output is in {release.log}",
                log="\n".join((result.stdout or "").splitlines()[-LOG_LINES:]),
            )


def _words(app: App, point: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise HookError(
            f"{app.variable(f'hooks.{point}')}: '{command}' is no command: {str(error).lower()}",
            state=f"release {live_id(app)} is live",
            hint="quote it as a shell would want it, and deploy again",
        ) from None
