"""The way back: to a time, to scratch, one app of several, files; and what is refused before anything changes."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time

import pytest
from host import LONG
from shared.outside import PROVE, play
from shared.project import COLUMN, NO_COLUMN, guestbook, way_back

ROWS = 100_000 if PROVE else 20_000
# Names that nobody would give, a link that root must not follow, and a pipe, at which a reader would wait for ever
HOSTILE = r"""
cd /srv/notes/media && ln -sfn /etc/shadow link && mkdir -p 'a
b' && echo x >'a
b/--help' && echo x >"$(printf 'caf\351')" && chown -hR django-notes .
[ -e /srv/notes/data/pipe ] || mkfifo /srv/notes/data/pipe
"""
LISTED = r"""
cd /srv/notes/media && find . ! -name later.txt ! -type d -printf '%p %y %l %U %m\n' | LC_ALL=C sort | base64
"""
INSERT = "insert into entries_entry (name, message, image, reference, created_at) "


def restore(there, *words: str):
    """Run the playbook, as an operator does."""
    extra = [part for word in words for part in ("-e", word)]
    return play("backup", "playbooks/restore.yml", f"--limit={there.name}", *extra)


def refused(there, *words: str) -> str:
    result = restore(there, *words)
    assert result.returncode != 0, result.stdout
    return result.stdout


def rows(there, database: str = "guestbook") -> str:
    """What the table is, as one value."""
    return there.sql(
        "select count(*) || ' ' || md5(string_agg(t::text, '|' order by id)) from entries_entry t", database
    )


@pytest.fixture(scope="module", autouse=True)
def saved(there) -> None:
    """Rows that make a backup worth its name, and a backup of them."""
    for database in ("guestbook", "second_shop"):
        there.sql(
            f"{INSERT} select 'n' || i, repeat(md5(i::text), 30), '', '', now() from generate_series(1, {ROWS}) i",
            database,
        )
    there.ok("sh", "-c", "echo uploaded >/srv/notes/media/a.txt; chown django-notes: /srv/notes/media/a.txt")
    there.ok("djangofleet-backup", "run", "--full")


class Writer(threading.Thread):
    """Writes rows until it is told to stop, and knows which were acknowledged."""

    def __init__(self, there, database: str) -> None:
        super().__init__(daemon=True)
        self.there, self.database, self.name = there, database, f"load {time.time()}"
        self.ends, self.begun, self.kept = threading.Event(), 0, []

    def run(self) -> None:
        while not self.ends.is_set():
            self.begun += 1
            query = f"{INSERT} values ('{self.name}', 'x', '', '{self.begun}', clock_timestamp())"
            words = ("psql", "-XqtA", "-U", "postgres", "-d", self.database, "-c", query)
            if self.there.run(*words)[0] == 0:
                self.kept.append(self.begun)

    def end(self) -> None:
        self.ends.set()
        self.join()

    def found(self) -> set[int]:
        """Its rows that are in the database."""
        query = f"select reference from entries_entry where name = '{self.name}'"
        return {int(number) for number in self.there.sql(query, self.database).splitlines()}


@pytest.fixture
def write(there):
    """write(database) -> rows that are written to it meanwhile."""
    threads = []

    def begin(database: str) -> Writer:
        threads.append(Writer(there, database))
        threads[-1].start()
        there.within(lambda: len(threads[-1].kept) > 3, 30, "rows are written")
        return threads[-1]

    yield begin
    for thread in threads:
        thread.end()


def test_a_dropped_table_comes_back_and_the_neighbour_is_left(there, browse, write, figure):
    """Rows of just before are there, those of after are not, and the other app has been written to all along."""
    neighbour = write("second_shop")
    there.sql(f"{INSERT} select 'late', 'x', '', '', now() from generate_series(1, 100)")
    before, moment = rows(there), there.now()
    there.sql(f"{INSERT} values ('too late', 'x', '', '', now())")
    there.sql("drop table entries_entry cascade")
    assert browse("guestbook.test").get("/").status == 500

    began = time.monotonic()
    result = restore(there, "app=guestbook", f"to='{moment}'", "overwrite=true")
    figure("RTO of one database among several, s", time.monotonic() - began)
    assert result.returncode == 0, result.stdout[-4000:]

    assert rows(there) == before
    assert browse("guestbook.test").get("/").status == 200
    neighbour.end()
    assert set(neighbour.kept) == neighbour.found(), "the neighbour has lost or gained rows"
    assert "_before_" in there.sql("select string_agg(datname, ' ') from pg_database")


def test_the_whole_cluster_comes_back_to_a_time(there, browse, write, figure):
    """The time is noted while rows are written: those that were acknowledged are there, and none that came later."""
    load, other = write("guestbook"), rows(there, "second_shop")
    sure, moment, later = list(load.kept), there.now(), load.begun + 1
    there.within(lambda: load.begun > later + 3, 30, "rows are written after it, too")
    there.sql("drop table entries_entry cascade")
    there.sql("drop table entries_entry cascade", "second_shop")
    load.end()

    began = time.monotonic()
    result = restore(there, f"to='{moment}'", "overwrite=true")
    figure("RTO of a cluster, s", time.monotonic() - began)
    figure("MB of the cluster", int(there.sql("select sum(pg_database_size(oid)) from pg_database")) / 1e6)
    assert result.returncode == 0, result.stdout[-4000:]

    found = load.found()
    assert set(sure) <= found
    assert not [number for number in found if number > later]
    assert rows(there, "second_shop") == other
    assert browse("guestbook.test").get("/").status == 200
    assert browse("second.test").get("/").status == 200
    assert there.sql("show archive_command") != "/bin/false"


@LONG
def test_rows_after_a_restore_are_saved_too(there):
    """On the new timeline, and back to it."""
    there.ok("systemctl", "start", "djangofleet-backup.service")  # waits for the one that the restore has begun
    there.sql(f"{INSERT} values ('after', 'x', '', 'new history', now())")
    before, moment = rows(there), there.now()
    time.sleep(1.1)
    there.sql("delete from entries_entry")
    result = restore(there, f"to='{moment}'", "overwrite=true")
    assert result.returncode == 0, result.stdout[-4000:]
    assert rows(there) == before


@LONG
def test_a_lost_server_is_as_new_as_a_minute_ago(there, write, figure):
    """The disk is lost amid writes. RPO: how long before it the last row was written that comes back."""
    there.ok("systemctl", "start", "djangofleet-backup.service")
    load = write("guestbook")
    time.sleep(75)  # longer than archive_timeout
    died = float(there.sql("select extract(epoch from clock_timestamp())"))
    there.ok("sh", "-c", "systemctl kill -s KILL 'postgresql@*'; rm -rf /var/lib/postgresql/*/main/*")
    load.end()
    began = time.monotonic()
    result = restore(there, "overwrite=true")
    figure("RTO of a lost server, s", time.monotonic() - began)
    assert result.returncode == 0, result.stdout[-4000:]
    query = f"select extract(epoch from max(created_at)) from entries_entry where name = '{load.name}'"
    lost = died - float(there.sql(query))
    figure("RPO, s", lost)
    assert lost < 75
    found = load.found()
    assert found == set(range(1, max(found) + 1)), "what has come back has holes"


@LONG
def test_a_scratch_leaves_what_is_live(there):
    moment = there.now()
    there.sql(f"{INSERT} values ('x', 'x', '', 'only live', now())")
    result = restore(there, "scratch=true", "app=guestbook", f"to='{moment}'")
    assert result.returncode == 0, result.stdout[-4000:]
    (asked,) = re.findall(r"runuser -u postgres -- psql -h \S+ -p \d+", result.stdout)
    query = "select count(*) from entries_entry where reference = 'only live'"
    assert there.ok(*shlex.split(asked), "-XqtA", "-d", "guestbook", "-c", query) == "0"
    assert there.sql(query) == "1"
    there.ok("djangofleet-backup", "discard")
    assert there.run("ls", "/var/lib/postgresql/scratch")[1].strip() == ""


def test_sqlite_and_uploads_come_back(there, browse):
    assert browse("notes.test").submit("/", {"name": "me", "message": "first words"}).status == 302
    there.ok("sh", "-c", HOSTILE)
    hostile = there.ok("sh", "-c", LISTED)
    there.ok("djangofleet-backup", "run")
    assert browse("notes.test").submit("/", {"name": "me", "message": "second words"}).status == 302
    there.ok("sh", "-c", "rm -r /srv/notes/media/*; echo later >/srv/notes/media/later.txt")
    assert "newer" in refused(there, "app=notes")
    result = restore(there, "app=notes", "overwrite=true")
    assert result.returncode == 0, result.stdout[-4000:]
    page = browse("notes.test").text("/")
    assert "first words" in page
    assert "second words" not in page
    assert there.ok("cat", "/srv/notes/media/a.txt") == "uploaded"
    assert there.ok("stat", "-c", "%U", "/srv/notes/media/a.txt") == "django-notes"
    assert there.ok("sh", "-c", LISTED) == hostile
    there.ok("djangofleet-backup", "run")
    there.ok("djangofleet-backup", "drill")
    assert there.ok("cat", "/srv/notes/media/later.txt") == "later", "what was added since stays"
    assert browse("notes.test").submit("/", {"name": "me", "message": "third words"}).status == 302


# What is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["app=guestbook"], "what is live is newer"),
        (["app=guestbook", "overwrite=true", "to='2020-01-01 00:00:00+00'"], "nothing leads to 2020-01-01"),
        (["app=guestbook", "overwrite=true", "to='2120-01-01 00:00:00+00'"], "is still to come"),
        (["app=guestbook", "overwrite=true", "to='2026-11-22 05:00:00'"], "has no zone"),
        (["app=guestbook", "overwrite=true", "to=nopoint"], "is no restore point"),
        (["app=nobody"], "of which no host has a backup"),
    ],
)
def test_what_is_refused_changes_nothing(there, words, said):
    before = rows(there)
    assert said in " ".join(refused(there, *words).split())
    assert rows(there) == before
    assert not there.host.file("/srv/guestbook/static/.maintenance.html").exists


@LONG
def test_a_time_whose_wal_is_gone_is_refused(there, browse):
    """The copy does not come to that time; what is live has not been touched."""
    there.ok("djangofleet-backup", "run", "--full")
    there.sql(f"{INSERT} values ('x', 'x', '', '', now())")
    wal = there.sql("select pg_walfile_name(pg_current_wal_lsn())")
    there.sql("select pg_switch_wal()")
    there.within(lambda: there.sql("select last_archived_wal from pg_stat_archiver") >= wal, 30, "it is archived")
    there.ok("sh", "-c", f"rm /mnt/backup/*/postgresql/archive/main/*/*/{wal}-*")
    moment = there.now()
    time.sleep(1.1)
    before = rows(there)
    try:
        said = refused(there, "app=guestbook", "overwrite=true", f"to='{moment}'")
    finally:
        there.ok("djangofleet-backup", "run", "--full")
    assert "before configured recovery target" in said
    assert rows(there) == before
    assert browse("guestbook.test").get("/").status == 200


@LONG
def test_a_restore_point_is_a_way_back(there):
    point = f"before-cleanup-{time.time():.0f}"
    said = there.ok("djangofleet-backup", "point", point, "--app", "guestbook")
    assert f"-e app=guestbook -e to={point}" in said
    before = rows(there)
    there.sql("delete from entries_entry")
    result = restore(there, "app=guestbook", f"to={point}", "overwrite=true")
    assert result.returncode == 0, result.stdout[-4000:]
    assert rows(there) == before


@LONG
@pytest.mark.parametrize("app", ["guestbook", "notes"], ids=["PostgreSQL", "SQLite"])
def test_a_deploy_that_destroys_says_the_way_back(there, browse, tmp_path, app):
    """The command that it prints is run as it stands, and what was destroyed is there again."""

    def deploy(version: str, *operations: str, **variables) -> str:
        given = {"app": app, "backup_project": str(guestbook(tmp_path / version, *operations)), **variables}
        words = (f"--limit={there.name}", "-e", json.dumps({"backup_version": version, **given}))
        result = play("backup", "playbooks/deploy.yml", *words)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr
        return result.stdout + result.stderr

    def ask(query: str, what: str = "fetchall()") -> str:
        code = f"from django.db import connection as c; u = c.cursor(); u.execute({query!r}); print(u.{what})"
        return there.ok("djangoctl", app, "manage", "shell", "-c", code).splitlines()[-1]

    deploy("mood", COLUMN)
    ask("update entries_entry set mood = 'calm' returning 1")
    before = ask("select count(*) from entries_entry where mood = 'calm'")
    assert before != "[(0,)]"
    said = deploy("no-mood", COLUMN, NO_COLUMN, allow_destructive_migrations=True)
    assert "'mood'" not in ask("select * from entries_entry", "description")
    words = shlex.split(way_back(said))
    if words[0] == "ansible-playbook":
        result = restore(there, *(word for word in words if "=" in word))
        assert result.returncode == 0, result.stdout[-4000:]
    else:
        there.ok(*words)
    assert ask("select count(*) from entries_entry where mood = 'calm'") == before
    assert browse({"guestbook": "guestbook.test", "notes": "notes.test"}[app]).get("/").status == 200
