"""Runs the steps of a build: commands in a sandbox that sees this build and nothing else of any app.

The directory of all apps is replaced by an empty file system that cannot be written. What a step needs is mounted into
it, where the app will find it later. So a build sees nothing of another release or app, by the kernel, and a rehearsal
finds its scratch directory at the usual paths.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from . import app as apps
from . import release as releases
from .app import App
from .errors import BuildError
from .release import Release
from .systemd import Systemd
from .tree import Owner

LOG_LINES = 25
LOG_LIMIT = 1_000_000  # bytes of a step's output that are read: it may print more than fits into memory
SCRATCH = ("data", "media", "cache")  # rooms of the app that a build sees empty, and whose content goes with the step


class Steps:
    """What the parts of a build share.

    :param app: the app, with the paths that the build sees.
    :param place: the same app with the paths of this host. They differ in a rehearsal.
    :param environment: variables for the project's commands beside those of the app.
    """

    def __init__(
        self, app: App, place: App, release: Release, system: Systemd, environment: Mapping[str, str] | None = None
    ) -> None:
        self.app, self.place, self.release, self.system = app, place, release, system
        self.environment = dict(environment or {})
        self.owner: Owner = (pwd.getpwnam(app["user"]).pw_uid, grp.getgrnam(app["group"]).gr_gid)
        self.root: Owner = (pwd.getpwnam("root").pw_uid, self.owner[1])
        self.begins = 0

    def seen(self, path: Path) -> Path:
        """The path by which a step sees a path of this host."""
        for here, there in ((self.place.root, self.app.root), (self.place.root.resolve(), self.app.root.resolve())):
            if path.is_relative_to(here):
                return there / path.relative_to(here)
        return path

    # Sandboxes

    def sandbox(
        self, *, writable: Iterable[Path], readable: Iterable[Path] = (), empty: Iterable[str] = ()
    ) -> list[str]:
        """systemd's settings for a step.

        :param writable: paths of this host that the step may write to.
        :param readable: paths of this host that it may read.
        :param empty: rooms of the app that are there for the time of the step, without what they hold.
        """
        app = self.app
        return [
            *app["build_sandbox"],
            f"TemporaryFileSystem={app.root.parent}:ro",
            *hidden_configuration(app),
            *(f"BindReadOnlyPaths={path}" for path in self._programs()),
            *(f"BindReadOnlyPaths={path}:{self.seen(path)}" for path in readable),
            *(f"BindPaths={path}:{self.seen(path)}" for path in writable),
            *(
                f"TemporaryFileSystem={app.root / room}:mode=0700,uid={self.owner[0]},gid={self.owner[1]}"
                for room in empty
            ),
        ]

    def _programs(self) -> list[Path]:
        """The directories of uv and of the interpreter, if they are in the directory that is replaced."""
        programs = {Path(self.app["uv"]), Path(self.app.build["python"]), Path(self.app.build["python"]).resolve()}
        return sorted(path.parent.parent for path in programs if path.is_relative_to(self.app.root.parent))

    # Commands

    def manage(self, words: Sequence[str], venv: Path) -> subprocess.CompletedProcess:
        """Run a command of the project with the app's environment. It may write to its release and to shared paths."""
        shared = [self.place.root / "shared"] if self.app.build["shared_paths"] else []
        sandbox = self.sandbox(writable=[self.release.path, *shared], readable=[venv], empty=SCRATCH)
        return self.system.manage(
            self.app,
            self.release.id,
            words,
            sandbox=sandbox,
            environment=self.environment,
            output=self.log(),
            purpose="build",
            alone=True,
        )

    def run(
        self,
        words: Sequence[str],
        *,
        properties: Iterable[str],
        environment: Mapping[str, str] | None = None,
        **options,
    ) -> subprocess.CompletedProcess:
        """Run a command that needs nothing of the project's environment."""
        return self.system.run(
            self.app,
            words,
            properties=list(properties),
            environment={"HOME": "/tmp", **(environment or {})},  # noqa: S108  (private, and empty for each step)
            output=self.log(),
            purpose="build",
            alone=True,
            **options,
        )

    # What came of it

    def log(self) -> IO:
        """The build's log, opened for the next step, whose output begins here."""
        handle = open(self.release.log, "a")  # noqa: SIM115  (a child writes to it)
        self.begins = handle.tell()
        return handle

    def output(self) -> list[str]:
        """The last lines of the last step."""
        with open(self.release.log, "rb") as log:
            log.seek(max(self.begins, log.seek(0, os.SEEK_END) - LOG_LIMIT))
            return log.read(LOG_LIMIT).decode(errors="replace").splitlines()

    def check(self, key: str, failure: str, result: subprocess.CompletedProcess, hint: str = "") -> None:
        """Fail if a step did."""
        if result.returncode != 0:
            log = f"the whole log is in {self.release.log}"
            self.fail(key, failure, f"{hint or 'fix it and deploy again'}; {log}", self.output()[-LOG_LINES:])

    def fail(self, key: str, found: str, hint: str, lines: Sequence[str] = ()) -> None:
        raise BuildError(
            f"{self.app.variable(key)}: {found}",
            state=untouched(self.app),
            hint=hint,
            log="\n".join(lines),
        )


def hidden_configuration(app: App) -> list[str]:
    """Settings that show the app's own configuration where djangoctl looks for it, and nothing of another app."""
    return [
        f"TemporaryFileSystem={apps.CONFIG_ROOT}:ro",
        f"BindReadOnlyPaths={app.config}:{apps.CONFIG_ROOT / app.name}",
    ]


def untouched(app: App) -> str:
    """Which release is live after a build that failed."""
    return releases.still_live(app, "nothing live was changed: ")


# The last line of a traceback: the exception and what it says.
EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|ImproperlyConfigured|DoesNotExist)\b.*")


def cause(lines: Sequence[str]) -> str:
    """The exception that ended a program, from its output; empty if none did."""
    return next((line.strip() for line in reversed(lines) if EXCEPTION.match(line)), "")
