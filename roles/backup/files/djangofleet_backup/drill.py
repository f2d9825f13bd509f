"""Restores the newest backup to scratch and asks it: a backup that nobody has restored is none.

Nothing live is touched. The app's own `manage.py check` sees the restored database in the place of the live one, by a
mount that only it has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import files as disk
from . import postgresql
from .asapp import count_of
from .core import BackupError, record, run

DJANGOCTL = "/usr/local/bin/djangoctl"
TRUE = ("t", "true", "1")


def holds(answer: object) -> bool:
    """Whether an assertion's answer says yes: true, or a number that is not 0."""
    text = str(answer).strip().lower()
    return text in TRUE or (text.lstrip("-").isdecimal() and int(text) != 0)


def require(answer: object, query: str) -> None:
    """Stop if an assertion does not hold."""
    if query and not holds(answer):
        raise BackupError(f"the assertion does not hold: {query}: answered '{answer}'",
                          "look at the backup: djangofleet-backup restore --scratch")  # fmt: skip


def manage_check(app: str, places: Mapping[str, Path]) -> bool:
    """Let the app check itself on restored data. Returns whether the app is on this host.

    :param places: restored directories, of a database or of a socket, by the one that the app knows.
    """
    if not Path(f"/etc/djangofleet/{app}/live").exists() or not os.path.exists(DJANGOCTL):
        return False
    mounts = [word for target, source in places.items() for word in ("--property", f"BindPaths={source}:{target}")]
    try:
        run([DJANGOCTL, app, "manage", *mounts, "check", "--database", "default"])
    except BackupError as error:
        raise BackupError(f"manage.py check on the restored data fails: {error.message}",
                          f"djangoctl {app} manage check --database default, for the live one") from None  # fmt: skip
    return True


def of_cluster(cluster: postgresql.Cluster) -> dict[str, Any]:
    """Restore the newest backup with all WAL, and ask each database."""
    began = time.time()
    plan = postgresql.plan(cluster, "", began)
    newest = next(each for each in postgresql.backups(cluster) if each["label"] == plan.backup)
    try:
        postgresql.to_scratch(cluster, plan)
        socket = cluster.scratch_socket
        checked, rows = [], {}
        there = postgresql.sql(cluster, "SELECT datname FROM pg_database", socket=socket).splitlines()
        for database in cluster.databases:
            name, query = database["name"], database["assertion"]
            if name not in there:
                raise BackupError(f"database {name} is not in the backup", "djangofleet-backup run")
            if query:
                rows[name] = postgresql.as_guest(cluster, query, name)
                require(rows[name], query)
            if database["manage"] and manage_check(database["app"], {str(postgresql.SOCKETS): socket}):
                checked.append(database["app"])
    finally:
        postgresql.discard(cluster)
    seconds = round(time.time() - began, 1)
    return {"label": plan.backup, "of": newest["stop"], "seconds": seconds, "checked": checked, "asserted": rows}


def of_files(files: disk.Files) -> dict[str, Any]:
    """Restore the newest snapshot, count its files and ask its databases."""
    began = time.time()
    plan = disk.plan(files, began)
    try:
        restored = disk.to_scratch(files, plan)
        known = record().get("parts", {}).get(files.part, {}).get("backup", {})
        if known.get("label") == plan.backup and known["count"] != restored["count"]:
            raise BackupError(f"the backup had {known['count']} files, and {restored['count']} came back")
        if links := restored["links"]:
            raise BackupError(f"{', '.join(links)}: the backup has a link, and nothing that is in it",
                              "djangofleet-backup run, which tells what to do")  # fmt: skip
        databases, trees = restored["databases"], restored["trees"]
        found = [disk.check(files, database) for database in databases]
        if files.assertion and found:
            answers = [each["answer"] for each in found if "error" not in each]
            require((answers or [found[0]["error"]])[0], files.assertion)
        mounts = {place: copy for place, copy in trees.items() if any(copy in path.parents for path in databases)}
        checked = [files.app] if mounts and manage_check(files.app, mounts) else []
        counts = {place: count_of(copy) for place, copy in trees.items()}
    finally:
        disk.discard(files)
    seconds = round(time.time() - began, 1)
    return {"label": plan.backup, "of": plan.moment, "seconds": seconds, "checked": checked, "files": counts}
