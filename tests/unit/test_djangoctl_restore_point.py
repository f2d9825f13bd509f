"""Before an allowed destructive migration there is a way back, whatever the database is."""

from __future__ import annotations

import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from djangoctl import restore_point
from djangoctl.errors import MigrationError

LOCAL = {"name": "shop", "host": "/run/postgresql", "port": "5432"}
AWAY = {**LOCAL, "host": "10.0.0.5"}


@pytest.fixture
def app(make_app, make_release):
    found = make_app()
    make_release(found, "old", live=True)
    return found


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host without backups. What another user runs, this one does; `answers` are those of what is not there."""
    monkeypatch.setattr(restore_point, "DUMPS", tmp_path / "dumps")
    monkeypatch.setattr(restore_point.backups, "CONFIG", str(tmp_path / "backup.json"))
    answers: dict[str, tuple[int, str, str]] = {}

    def run(*words, output=subprocess.PIPE):
        program, *rest = words[words.index("--") + 1 :] if words[0] == "runuser" else words
        if program in ("python3", "rm"):
            program = sys.executable if program == "python3" else program
            return subprocess.run([program, *rest], capture_output=True, text=True, check=False)
        code, said, error = answers[Path(program).name]
        if output != subprocess.PIPE:
            output.write(said.encode())
        return subprocess.CompletedProcess(words, code, said, error)

    monkeypatch.setattr(restore_point, "_run", run)
    run.answers, run.is_saved = answers, (tmp_path / "backup.json").touch
    return run


@pytest.fixture
def database(tmp_path):
    """An SQLite database in use, whose last rows are not in its file yet."""
    path = tmp_path / "data" / "db.sqlite3"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table entry (note)")
        connection.execute("insert into entry values ('first'), ('second')")
        yield path


def notes(path):
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("select note from entry")]


def test_sqlite_is_copied_and_the_command_brings_it_back(app, host, database):
    said = restore_point.take(app, "sqlite", {"name": str(database)})
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("drop table entry")
    command = shlex.split(said.partition("back to it: ")[2])
    assert command[:4] == ["runuser", "-u", app["user"], "--"]
    assert host(*command).returncode == 0
    assert notes(database) == ["first", "second"]


def test_without_room_for_a_copy_nothing_goes_on(app, host, database, monkeypatch):
    def full(*words):
        if "rm" in words:
            return host(*words)
        Path(words[-1]).write_text("half")
        return subprocess.CompletedProcess(words, 1, "", "sqlite3.OperationalError: database or disk is full")

    monkeypatch.setattr(restore_point, "_run", full)
    with pytest.raises(MigrationError, match="could not be copied") as caught:
        restore_point.take(app, "sqlite", {"name": str(database)})
    assert "disk is full" in caught.value.log
    assert "old is still live" in caught.value.state
    assert list(database.parent.glob("before-*")) == []


@pytest.mark.parametrize(("vendor", "name"), [("sqlite", "/nowhere/:memory:"), ("mysql", ""), ("oracle", "")])
def test_what_cannot_be_kept_is_not(app, host, vendor, name):
    assert restore_point.take(app, vendor, {"name": name}) == ""


def test_what_is_backed_up_gets_a_point(app, host):
    host.is_saved()
    host.answers["djangofleet-backup"] = (0, "ansible-playbook restore.yml -e to=before\n", "")
    assert restore_point.take(app, "postgresql", LOCAL).endswith(
        "back to it: ansible-playbook restore.yml -e to=before"
    )
    assert not restore_point.DUMPS.exists()


def test_a_backup_that_takes_no_point_lets_nothing_be_destroyed(app, host):
    host.is_saved()
    host.answers["djangofleet-backup"] = (1, "", "the WAL has not come to the repository")
    with pytest.raises(MigrationError, match="no restore point could be taken") as caught:
        restore_point.take(app, "postgresql", LOCAL)
    assert caught.value.log == "the WAL has not come to the repository"


@pytest.mark.parametrize("is_saved", [True, False])
def test_what_is_not_backed_up_is_dumped(app, host, is_saved):
    if is_saved:  # others of this host are
        host.is_saved()
    host.answers |= {"djangofleet-backup": (2, "", "no such database"), "pg_dump": (0, "PGDMP", "")}
    said = restore_point.take(app, "postgresql", LOCAL)
    (dump,) = restore_point.DUMPS.iterdir()
    assert dump.read_text() == "PGDMP"
    assert (dump.stat().st_mode & 0o777, restore_point.DUMPS.stat().st_mode & 0o777) == (0o600, 0o700)
    assert said.endswith(f"--clean --if-exists -d shop < {dump}")


def test_a_dump_that_fails_lets_nothing_be_destroyed(app, host):
    host.answers["pg_dump"] = (1, "PGD", "No space left on device")
    with pytest.raises(MigrationError, match="could not be dumped"):
        restore_point.take(app, "postgresql", LOCAL)
    assert list(restore_point.DUMPS.iterdir()) == []


def test_a_database_elsewhere_is_told(app, host):
    assert "its database is on 10.0.0.5" in restore_point.take(app, "postgresql", AWAY)
