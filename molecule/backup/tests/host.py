"""A host with backups, and ways to ask it."""

from __future__ import annotations

import json

import pytest
from shared.outside import PROVE, within

LONG = pytest.mark.skipif(not PROVE, reason="takes a minute: `make prove` runs it")
PROGRAM = "djangofleet-backup"


class Host:
    """A host with backups, as root sees it."""

    within = staticmethod(within)

    def __init__(self, host, name: str) -> None:
        self.host, self.name = host, name

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        done = self.host.run(" ".join(["%s"] * len(words)), *words)
        return done.rc, done.stdout + done.stderr

    def ok(self, *words: str) -> str:
        code, said = self.run(*words)
        assert code == 0, f"{' '.join(words)}: {code}: {said}"
        return said.strip()

    def sql(self, statement: str, database: str = "guestbook") -> str:
        return self.ok("psql", "-XqtA", "-U", "postgres", "-d", database, "-c", statement)

    def switch_wal(self) -> None:
        """Give the archive a segment. In one transaction with the row, the server would see nothing to switch."""
        self.sql("select pg_current_xact_id()")
        self.sql("select pg_switch_wal()")

    def now(self) -> str:
        """The time as `to` takes it, after all that has been committed."""
        return self.ok("psql", "-XqtA", "-U", "postgres", "-c", "select clock_timestamp()")

    def wait(self) -> None:
        """Until the first backup and its drill are over."""
        within(lambda: PROGRAM not in self.ok("systemctl", "list-jobs"), 180, "the first backup and its drill")

    def status(self) -> tuple[int, dict]:
        done = self.host.run(f"{PROGRAM} status --json")
        return done.rc, {part["part"]: part for part in json.loads(done.stdout)["parts"]}

    def faults(self, part: str) -> str:
        return "\n".join(fault["found"] for fault in self.status()[1][part]["faults"])
