"""A way back from migrations that destroy: a mark in the WAL of a database that is backed up, a copy of any other."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import backups
from .app import App
from .errors import MigrationError
from .release import still_live

DUMPS = Path("/var/lib/djangofleet/dumps")
NOT_THERE = 2  # the exit code of djangofleet-backup where this host has no such database in a backup


def take(app: App, vendor: str, database: Mapping[str, Any]) -> str:
    """Take a restore point of a database. Returns what to say of it, with the command that goes back; empty if there is
    no way for a database of that vendor.

    :param vendor: what Django calls it, such as `postgresql`.
    :param database: `name`, and of PostgreSQL `host` and `port`, as the app's settings have them.
    :raises MigrationError: no point could be taken. Nothing has been migrated.
    """
    name = f"before-{app.name[:30]}-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    if vendor == "sqlite":
        return _copy(app, Path(database["name"]), name)
    return _of_server(app, database, name) if vendor == "postgresql" else ""


def _of_server(app: App, database: Mapping[str, Any], name: str) -> str:
    if os.path.exists(backups.CONFIG):
        done = _run(backups.PROGRAM, "point", name, "--app", app.name)
        if done.returncode == 0:
            return f"before what it destroyed there is a restore point; back to it: {done.stdout.strip()}"
        if done.returncode != NOT_THERE:
            raise MigrationError(
                f"{app.name}: no restore point could be taken before migrations that destroy data",
                state=still_live(app),
                hint="djangofleet-backup status says why",
                log=done.stderr.strip(),
            )
    if not str(database.get("host", "")).startswith("/"):
        return (
            f"its database is on {database['host']}, where a playbook takes a restore point first if it is saved: "
            "djangofleet-backup status tells it there"
        )
    return _dump(app, database, name)


def _copy(app: App, database: Path, name: str) -> str:
    """Keep a copy beside an SQLite database, made by its online backup as the app's user, as whom it goes back, too: a
    link that the app has put there leads nowhere that it could not go itself.
    """
    if not database.is_file():
        return ""  # in memory, or not there yet
    copy = database.with_name(f"{name}.sqlite3")
    program = "import sqlite3, sys; old, new = map(sqlite3.connect, sys.argv[1:]); old.backup(new)"
    as_owner = ["runuser", "-u", app["user"], "--"]
    words = [*as_owner, "python3", "-I", "-c", program]
    done = _run(*words, str(database), str(copy))
    if done.returncode:
        _run(*as_owner, "rm", "-f", str(copy))
        raise MigrationError(
            f"{app.name}: {database} could not be copied before migrations that destroy data",
            state=still_live(app),
            hint="look whether there is room for a copy beside it",
            log=done.stderr.strip(),
        )
    back = shlex.join([*words, str(copy), str(database)])
    return f"before what it destroyed the database was copied; back to it: {back}"


def _dump(app: App, database: Mapping[str, Any], name: str) -> str:
    """Keep a dump beside the app's data, which only root reads."""
    path = DUMPS / f"{name}.dump"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    where = [f"--host={database['host']}", f"--port={database.get('port') or 5432}"]
    began = time.monotonic()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        done = _run("runuser", "-u", "postgres", "--", "pg_dump", "-w", "-Fc", *where, database["name"], output=handle)
    if done.returncode:
        path.unlink()
        raise MigrationError(
            f"{app.name}: the database could not be dumped before migrations that destroy data",
            state=still_live(app),
            hint="give backup_repository, or look why pg_dump fails",
            log=done.stderr.strip(),
        )
    words = " ".join(where)
    back = f"runuser -u postgres -- pg_restore {words} --clean --if-exists -d {database['name']} < {path}"
    return f"before what it destroyed the database was dumped, in {time.monotonic() - began:.0f} s; back to it: {back}"


def _run(*words: str, output: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), stdout=output, stderr=subprocess.PIPE, text=True, check=False, cwd="/", start_new_session=True
    )
