"""Apps on the PostgreSQL of their host: it serves, it is closed to everybody else, and it comes back."""

from __future__ import annotations

import json
import time

import pytest

OTHER = "second_shop"
OTHER_PASSWORD = "a$b'c\"d/e@f:g%h+i"


def sql(host, statement: str, database: str = "guestbook") -> str:
    """What root asks the server."""
    return host.check_output("psql -U postgres -qtA -d %s -c %s", database, statement)


def login(host, role: str) -> str:
    """By which an app of that role enters; the role itself where it is none of an app."""
    of_it = f"select rolname from pg_roles where rolcanlogin and rolname ~ '^{role}_[0-9a-f]{{8}}$'"
    return sql(host, of_it, "postgres") or role


def as_app(host, statement: str, *, user: str, database: str, password: str) -> tuple[int, str]:
    """What a role of an app asks over the unix socket, as the app's user."""
    result = host.run(
        # runuser would write its command line into the journal.
        "setpriv --reuid=django-guestbook --clear-groups env PGPASSWORD=%s"
        " psql -w -qtA -h /run/postgresql -U %s -d %s -c %s",
        password,
        login(host, user),
        database,
        statement,
    )
    return result.rc, result.stdout + result.stderr


def password_of(host) -> str:
    lines = host.check_output("cat /etc/djangofleet/guestbook/secret").splitlines()
    return dict(line.split("=", 1) for line in lines)["DATABASE_PASSWORD"]


# By DATABASE_URL, by a file of JSON, and by variables of its own
@pytest.mark.parametrize(
    ("domain", "database"), [("guestbook.test", "guestbook"), ("second.test", OTHER), ("third.test", "ledger")]
)
def test_what_a_visitor_writes_is_in_postgresql(host, browse, domain, database):
    text = f"written on {domain} at {time.time()}"
    answer = browse(domain).submit("/", {"name": "tester", "message": text})
    assert answer.status == 302, answer.data
    assert text in browse(domain).text("/")
    assert sql(host, f"select count(*) from entries_entry where message = '{text}'", database) == "1"


def test_the_app_owns_what_it_made(host):
    assert sql(host, "select distinct tableowner from pg_tables where schemaname = 'public'") == "guestbook"


def test_no_database_is_left_in_a_file(host):
    assert not host.file("/srv/guestbook/data/db.sqlite3").exists


def test_extensions_and_options_are_in_effect(host):
    assert sql(host, "select extname from pg_extension where extname = 'pg_trgm'") == "pg_trgm"
    code, said = as_app(
        host, "show statement_timeout", user="guestbook", database="guestbook", password=password_of(host)
    )
    assert (code, said.strip()) == (0, "30s")


# Who is refused


def test_the_server_listens_on_no_network(host):
    assert ":5432" not in host.check_output("ss -lnt")


def test_nobody_enters_without_the_password(host):
    for password in ("", "wrong"):
        code, said = as_app(host, "select 1", user="guestbook", database="guestbook", password=password)
        assert code != 0, said
    code, said = as_app(host, "select 1", user="postgres", database="postgres", password="postgres")
    assert code != 0, said
    assert "Peer authentication failed" in said


def test_an_app_cannot_enter_the_database_of_another(host):
    password = password_of(host)
    for user, database, given in (("guestbook", OTHER, password), (OTHER, "guestbook", OTHER_PASSWORD)):
        code, said = as_app(host, "select * from entries_entry", user=user, database=database, password=given)
        assert code != 0, said
        assert "no pg_hba.conf entry" in said
    code, _said = as_app(host, "select 1", user=OTHER, database=OTHER, password=OTHER_PASSWORD)
    assert code == 0, "its own it may enter"


def test_passwords_are_kept_as_scram_verifiers(host):
    kinds = sql(host, "select distinct split_part(rolpassword, '$', 1) from pg_authid where rolpassword is not null")
    assert kinds == "SCRAM-SHA-256"


def test_public_has_no_right_to_a_database(host):
    rights = sql(host, "select bool_or(has_database_privilege('public', datname, 'connect')) from pg_database"
                       " where datname in ('guestbook', 'second_shop')")  # fmt: skip
    assert rights == "f"


def test_the_password_is_in_no_place_that_others_read(host):
    password = password_of(host)
    assert len(password) > 30
    assert host.file("/etc/djangofleet/guestbook/secret").mode == 0o600
    shown = host.check_output("systemctl show django-guestbook.service postgresql@*.service")
    assert password not in shown
    places = "/etc /run /var/log /var/lib/djangofleet /srv/guestbook /tmp /var/tmp"
    found = host.run(f"grep -rlsF -- %s {places}", password).stdout.split()
    assert all(host.file(path).mode == 0o600 and host.file(path).user == "root" for path in found), found
    assert password not in host.check_output("journalctl --no-pager")


def test_status_is_well(host):
    status = json.loads(host.check_output("djangoctl guestbook status --json"))
    assert status["serves"], status
