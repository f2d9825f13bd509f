"""Brings the database to a release: the plan first, then the migrations, once for all hosts of an app."""

from __future__ import annotations

import json
from pathlib import Path

from .app import App
from .errors import MigrationError
from .hooks import run_hooks
from .release import Release, live_id, read_json, write_json
from .systemd import Systemd

PLAN = Path(__file__).with_name("plan.py")
MARK = "djangofleet-plan: "
LOG_LINES = 25


def plan(app: App, release: Release, system: Systemd) -> list[dict]:
    """What the release's migrations would do: for each its name, its operations and those that destroy or rewrite.

    :raises MigrationError: the database does not answer, or the migrations contradict each other.
    """
    if not release.record.get("database", True):
        return []
    words = ["python", str(PLAN), release.record["application"]]
    result = system.manage(app, release.id, words, purpose="plan")
    lines = (result.stdout or "").splitlines()
    if result.returncode != 0:
        raise _failed(app, f"the migrations of release {release.id} cannot be planned", lines)
    answer = next(line for line in reversed(lines) if line.startswith(MARK))
    return json.loads(answer.removeprefix(MARK))["steps"]


def migrate(app: App, release: Release, system: Systemd, *, allow_destructive: bool = False) -> list[dict]:
    """Run the release's migrations, with the hooks around them, and return the plan that was carried out.

    On PostgreSQL a statement waits for a lock no longer than the app's lock_timeout: a migration that cannot get one
    fails, instead of queueing every query of the site behind it.

    :raises MigrationError: one failed, or would destroy what nobody has allowed it to. The release is not activated,
        what is live serves on.
    """
    steps = plan(app, release, system)
    if not steps:
        if _note(app, release):  # migrations ran, and then a hook failed
            _run_hooks_after(app, release, system)
        return []
    destructive = [f"{step['migration']}: {operation}" for step in steps for operation in step["destructive"]]
    if destructive and not allow_destructive:
        raise MigrationError(
            f"{app.name}: release {release.id} has migrations that destroy or rewrite data, or break the live release",
            state=_unmoved(app),
            hint="first deploy a release that does not use these; then allow_destructive_migrations=true lets them run",
            log="\n".join(destructive),
        )
    run_hooks(app, release, system, "before_migrate")
    result = system.manage(
        app,
        release.id,
        ["manage.py", "migrate", "--noinput", "--no-color"],
        environment={"PGOPTIONS": f"-c lock_timeout={app['lock_timeout']}"},
        purpose="migrate",
    )
    lines = (result.stdout or "").splitlines()
    with open(release.log, "a") as log:
        log.write("\n".join(lines) + "\n")
    if result.returncode != 0:
        _note(app, release, reached=_reached(app, release, steps, system))
        raise _failed(app, f"a migration of release {release.id} failed", lines)
    _note(app, release, owing=release.id)
    _run_hooks_after(app, release, system)
    return steps


def _reached(app: App, release: Release, steps: list[dict], system: Systemd) -> set[str]:
    """Which migrations of a plan ran before one failed; none if the database does not say."""
    try:
        left = plan(app, release, system)
    except MigrationError:
        left = steps
    return {step["migration"] for step in steps} - {step["migration"] for step in left}


def _run_hooks_after(app: App, release: Release, system: Systemd) -> None:
    run_hooks(app, release, system, "after_migrate")
    record = read_json(app.root / "schema.json")
    write_json(app.root / "schema.json", {**record, "owing": None})


def _note(app: App, release: Release, *, reached: set[str] | None = None, owing: str | None = None) -> str | None:
    """Note how far the database is, whether the release goes live after this or not.

    :param reached: the migrations of the release that ran, if not all did.
    :param owing: the release whose after_migrate hooks are to be run now.
    :returns: the release whose hooks are owed since an earlier time.
    """
    record = read_json(app.root / "schema.json")
    if release.migrations:
        # What the release does not know is ahead of it, and still there.
        beyond = set(record.get("leaves", [])) - release.migrations
        leaves = beyond | (release.leaves if reached is None else reached | set(record.get("leaves", [])))
        record = {"release": release.id, "leaves": sorted(leaves), "owing": owing or record.get("owing")}
        write_json(app.root / "schema.json", record)
    return record.get("owing")


def _failed(app: App, message: str, lines: list[str]) -> MigrationError:
    return MigrationError(
        f"{app.name}: {message}",
        state=_unmoved(app),
        hint="mend it and deploy again; if a migration was not atomic, look at the database first",
        log="\n".join(lines[-LOG_LINES:]),
    )


def _unmoved(app: App) -> str:
    live = live_id(app)
    return f"release {live} serves on" if live else "nothing was live before"
