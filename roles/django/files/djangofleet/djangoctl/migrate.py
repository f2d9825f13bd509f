"""Brings the database to a release: plans its migrations, then runs them, once for all hosts of an app."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import restore_point
from .app import App
from .errors import MigrationError
from .hooks import run_hooks
from .release import Release, is_identity, live_id, read, read_json, still_live, write_json
from .systemd import Systemd

PLAN = Path(__file__).with_name("plan.py")
MARK = "djangofleet-plan: "
LOG_LINES = 25


@dataclass(frozen=True)
class Migrated:
    """What a migration has done.

    :param plan: the migrations that ran.
    :param changed: whether anything ran: migrations, or hooks that an earlier run still owed.
    :param restore_point: how to go back to before migrations that destroyed data; empty where none did.
    """

    plan: list[dict]
    changed: bool
    restore_point: str = ""


def plan(app: App, release: Release, system: Systemd, **options) -> list[dict]:
    """What the release's migrations would do: for each its name, its operations and the destructive ones among them.

    :param options: for Systemd.manage, where the release is not at its usual place.
    :raises MigrationError: the database does not answer, or the migrations contradict each other.
    """
    return _ask(app, release, system, **options)["steps"]


def _ask(app: App, release: Release, system: Systemd, **options) -> dict:
    """What plan.py answers: the steps, whether the database is new, the app's own PGOPTIONS, and what is applied that
    the release does not have.

    The migrations of a new database destroy nothing: there is no data, and nobody is served.
    """
    if not release.record.get("database", True):
        return {"steps": []}
    words = ["python", str(PLAN), release.application]
    result = system.manage(app, release.id, words, purpose="plan", **options)
    lines = (result.stdout or "").splitlines()
    if result.returncode != 0:
        raise _failed(app, f"the migrations of release {release.id} cannot be planned", lines)
    answer = next(line for line in reversed(lines) if line.startswith(MARK))
    found = json.loads(answer.removeprefix(MARK))
    found["new"] = found.get("new") or _is_first(app)
    if found["new"] and not live_id(app):
        found["steps"] = [{**step, "destructive": []} for step in found["steps"]]
    return found


def is_due(app: App, release: Release, steps: list[dict]) -> bool:
    """Whether `migrate` has anything to do: migrations, hooks that are owed, or a record that is behind.

    :param steps: the release's plan.
    """
    record = read_json(app.root / "schema.json")
    left = [record.get(key) for key in ("first", "migrating", "owing")]
    return bool(steps) or any(left) or _leaves(record, release) != set(record.get("leaves", []))


def migrate(app: App, release: Release, system: Systemd, *, allow_destructive: bool = False) -> Migrated:
    """Run the release's migrations and the hooks around them.

    On PostgreSQL a statement waits for a lock no longer than the app's lock_timeout. Without that limit a blocked
    migration would block every query of the site behind it.

    :raises MigrationError: a migration failed, or a destructive one was not allowed. The live release keeps serving.
    """
    found = _ask(app, release, system)
    _keep_interrupted(app, release, set(found.get("unknown", [])))
    steps = found["steps"]
    if not steps:
        interrupted = read_json(app.root / "schema.json").get("migrating")
        # An earlier run migrated, and then it was killed or a hook failed.
        is_owing = bool(_record_schema(app, release, hooks_pending=interrupted)) or _is_first(app)
        if is_owing:
            _run_after_hooks(app, release, system)
        return Migrated([], is_owing)
    destructive = [f"{step['migration']}: {operation}" for step in steps for operation in step["destructive"]]
    if destructive and not allow_destructive:
        raise MigrationError(
            f"{app.name}: release {release.id} has migrations that destroy or rewrite data, or break the live release",
            state=still_live(app),
            hint="first deploy a release that does not use these; then allow_destructive_migrations=true lets them run",
            log="\n".join(destructive),
        )
    back = restore_point.take(app, found["vendor"], found["database"]) if destructive else ""
    _log(release, filter(None, [back]))  # for whoever finds the rest of this run dead
    run_hooks(app, release, system, "before_migrate")
    if found["new"]:
        _note(app, first=True)  # if a migration fails, the database is not new any more
    # Whoever finds the migrations applied has to know that they are this run's, if it does not come to record them.
    _note(app, migrating=release.id)
    result = system.manage(
        app,
        release.id,
        ["manage.py", "migrate", "--noinput", "--no-color"],
        environment=_limits(app, found.get("pgoptions", "")),
        purpose="migrate",
    )
    lines = (result.stdout or "").splitlines()
    _log(release, lines)
    if result.returncode != 0:
        _record_schema(app, release, applied=_applied(app, release, steps, system))
        raise _failed(app, f"a migration of release {release.id} failed", [*lines, *filter(None, [back])])
    _record_schema(app, release, hooks_pending=release.id)
    _run_after_hooks(app, release, system)
    return Migrated(steps, True, back)


def _keep_interrupted(app: App, release: Release, unknown: set[str]) -> None:
    """Record which migrations of another release are applied that broke off: the record of this one replaces its name.

    :param unknown: the applied migrations that this release does not have.
    """
    record = read_json(app.root / "schema.json")
    other = record.get("migrating")
    if not other or other == release.id:
        return
    theirs = read(app, other).migrations if is_identity(other) and (app.releases / other).is_dir() else set()
    _note(app, leaves=sorted({*record.get("leaves", []), *(unknown & theirs)}))


def _applied(app: App, release: Release, steps: list[dict], system: Systemd) -> set[str]:
    """The migrations of a plan that ran before one failed; none if the database does not answer."""
    try:
        remaining = plan(app, release, system)
    except MigrationError:
        remaining = steps
    return {step["migration"] for step in steps} - {step["migration"] for step in remaining}


def _limits(app: App, given: str) -> dict[str, str]:
    """PGOPTIONS with a limit for locks after what the app says itself, such as a search_path.

    :param given: the app's own PGOPTIONS.
    """
    limit = app["lock_timeout"]
    return {"PGOPTIONS": f"{given} -c lock_timeout={limit}".strip()} if limit not in ("", "0") else {}


def _run_after_hooks(app: App, release: Release, system: Systemd) -> None:
    """Run the hooks after the migrations; first those that a new database gets once."""
    if _is_first(app):
        run_hooks(app, release, system, "after_first_migrate")
        _note(app, first=None)
    run_hooks(app, release, system, "after_migrate")
    _note(app, owing=None)


def _is_first(app: App) -> bool:
    """Whether the first migrations of a new database have begun and are not done, with the hooks after them."""
    return bool(read_json(app.root / "schema.json").get("first"))


def _note(app: App, **changes: object) -> None:
    """Change schema.json.

    `first` is there from the first migration until hooks.after_first_migrate have run, `migrating` while migrations do.
    """
    record = {**read_json(app.root / "schema.json"), **changes}
    passing = ("first", "migrating")
    write_json(app.root / "schema.json", {key: value for key, value in record.items() if key not in passing or value})


def _record_schema(
    app: App, release: Release, *, applied: set[str] | None = None, hooks_pending: str | None = None
) -> str | None:
    """Write schema.json: the last applied migrations, and the release whose after_migrate hooks have not run yet.

    :param applied: the migrations that ran; all of the release's by default.
    :param hooks_pending: the release whose hooks run next.
    :returns: the release whose hooks are pending, from this run or an earlier one.
    """
    record = read_json(app.root / "schema.json")
    if release.migrations:
        record = {**record, "release": release.id, "leaves": sorted(_leaves(record, release, applied))}
        record["owing"] = hooks_pending or record.get("owing")
        record.pop("migrating", None)
        write_json(app.root / "schema.json", record)
    return record.get("owing")


def _leaves(record: dict, release: Release, applied: set[str] | None = None) -> set[str]:
    """The last applied migrations after those of a release.

    :param record: schema.json from before.
    :param applied: the migrations that ran; all of the release's by default.
    """
    recorded = set(record.get("leaves", []))
    # Migrations that the release does not have are ahead of it. They stay applied.
    ahead = recorded - release.migrations
    return ahead | (release.leaves if applied is None else applied | recorded)


def _log(release: Release, lines: Iterable[str]) -> None:
    with open(release.log, "a") as log:
        log.writelines(f"{line}\n" for line in lines)


def _failed(app: App, message: str, lines: list[str]) -> MigrationError:
    return MigrationError(
        f"{app.name}: {message}",
        state=still_live(app),
        hint="fix it and deploy again; if a migration was not atomic, look at the database first",
        log="\n".join(lines[-LOG_LINES:]),
    )
