"""Rehearses a build for check mode: in a scratch directory, beside a deploy if there is one, leaving nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from . import atomic, tree
from .app import App
from .build import Build, Source, lacks_secret, require_space
from .errors import BuildError
from .release import Release
from .steps import Steps, hidden_configuration
from .systemd import Systemd

NAME = ".rehearsal"
LOG_LINES = 200  # of a build that failed: its log goes with the directory
PLACE = ("DATABASE_NAME=", "DATABASE_HOST=", "DATABASE_PORT=")
SHARED_LIMIT = 1_000_000  # bytes of a shared file that a rehearsal gets a copy of


@contextmanager
def rehearsal(
    app: App, identity: str, source: Source, system: Systemd, **facts: object
) -> Iterator[tuple[Release, dict]]:
    """Build a release in a scratch directory, which is removed at the end. Nothing else is written to.

    In its sandbox the build finds itself at the paths that it would have. It needs no lock and may run beside a deploy.

    :returns: the release, and how Systemd.manage finds it: sandbox and environment.
    :raises BuildError: a step failed.
    """
    require_space(app)
    environment = {"SECRET_KEY": secrets.token_urlsafe(50)} if lacks_secret(app) else {}
    with _scratch(app) as root:
        place = replace(app, settings={**app.settings, "root": str(root)})
        steps = Steps(app, place, Release(place.releases / identity, {}), system, environment)
        _copy_shared(steps)
        trial = Build(source, steps)
        try:
            trial.run(facts)
        except BuildError as error:
            if steps.release.log.exists() and str(steps.release.log) in error.hint:  # it is removed with the release
                steps.begins = 0
                error.log = "\n".join(steps.output()[-LOG_LINES:])
                error.hint = "fix it and try again; nothing of the rehearsal was kept"
            raise
        sandbox = [
            *app["sandbox"],
            *hidden_configuration(app),
            *(f"TemporaryFileSystem={path}:ro" for path in (app.releases, app.venvs)),
            *(f"BindReadOnlyPaths={path}:{steps.seen(path)}" for path in (steps.release.path, trial.venv)),
        ]
        yield steps.release, {"sandbox": sandbox, "environment": environment, "further": _entrance(app, root)}


def _entrance(app: App, root: Path) -> list[str]:
    """Settings by which a plan enters the database as the live release does.

    A new password is known to the server only after a run. Another database is entered as the new configuration says.
    """
    paths = [app.pinned / name for name in ("secret", "env")]
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    wanted = app.settings_file.with_name("env").read_text().splitlines()
    place = [line for line in lines if line.startswith(PLACE)]
    if not place or place != [line for line in wanted if line.startswith(PLACE)]:
        return []
    entrance = root / "entrance"
    atomic.write(entrance, "".join(f"{line}\n" for line in lines if line.startswith("DATABASE_")), mode=0o600)
    return [f"EnvironmentFile={entrance}"]


@contextmanager
def _scratch(app: App) -> Iterator[Path]:
    """A directory for one rehearsal, named after this process."""
    remove_interrupted(app)
    root = app.root / f"{NAME}-{os.getpid()}"
    root.mkdir(mode=0o700)
    try:
        yield root
    finally:
        tree.remove(root)


def remove_interrupted(app: App) -> None:
    """Remove what rehearsals have left behind whose process is gone."""
    for path in sorted([*app.root.glob(f"{NAME}-*"), *app.releases.glob(NAME)]):
        if not Path("/proc", path.name.rpartition("-")[2]).is_dir():
            tree.remove(path)


def _copy_shared(steps: Steps) -> None:
    """Give a rehearsal copies of the shared files, as far as they are small."""
    if not steps.app.build["shared_paths"]:
        return
    with tree.directory(steps.app.root) as source, tree.directory(steps.place.root) as target:
        if tree.exists("shared", source):
            tree.copy("shared", source, "shared", target, steps.owner, limit=SHARED_LIMIT)
