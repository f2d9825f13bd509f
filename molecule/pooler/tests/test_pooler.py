"""Apps behind pgbouncer: they serve, they are closed to each other, and what changes or fails turns nobody away."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pytest
import urllib3
from shared.outside import PROVE, within
from transitions.tests.table import PGBOUNCER, Change

DOMAIN = "guestbook.test"
AWAY = 30 if PROVE else 6  # seconds
LOAD = ("--connections=4", "--pause=0.05", "--post-every=5")
POOLER, DATABASE = "/run/pgbouncer", "/run/postgresql"
PORTS = {POOLER: 6432, DATABASE: 5432}
# What the host has in place of the values of the inventory, and how each shows.
CHANGES = {
    name: change
    for name, change in PGBOUNCER.items()
    if isinstance(change, Change) and "[]" not in name and name != "pgbouncer_port"
}


def sql(host, statement: str, database: str = "guestbook") -> str:
    """What root asks the server."""
    return host.check_output("psql -U postgres -qtA -d %s -c %s", database, statement)


def console(host, command: str) -> list[list[str]]:
    """What the pooler's console says, as rows."""
    said = host.check_output("runuser -u pgbouncer -- psql -h /run/pgbouncer -p 6432 -qAtc %s pgbouncer", command)
    return [line.split("|") for line in said.splitlines()]


def environment(host, app: str = "guestbook") -> dict[str, str]:
    """What the processes that serve an app have."""
    unit = f"django-{app}.service"
    text = host.check_output(f"tr '\\0' '\\n' </proc/$(systemctl show -P MainPID {unit})/environ")
    return dict(line.partition("=")[::2] for line in text.splitlines())


def connect(host, app: str, database: str, *, at: str = POOLER, password: str = "", options: str = "") -> str:
    """What an app's login is told that asks a database for a number, as the app's user."""
    own = environment(host, app)
    return host.run(
        f"setpriv --reuid=django-{app} --clear-groups env PGPASSWORD=%s PGOPTIONS=%s"
        f" psql -w -qtA -h {at} -p {PORTS[at]} -U %s -d %s -c 'select 42' 2>&1",
        password or own["DATABASE_PASSWORD"],
        options,
        own["DATABASE_USER"],
        database,
    ).stdout


def health(browser) -> int:
    try:
        return browser.get("/healthz").status
    except urllib3.exceptions.HTTPError:
        return 0


# It serves


@pytest.mark.parametrize("app", ["guestbook", "second"])
def test_what_a_visitor_writes_is_in_postgresql(host, browse, app):
    text = f"written on {app} at {time.time()}"
    answer = browse(f"{app}.test").submit("/", {"name": "tester", "message": text})
    assert answer.status == 302, answer.data
    assert text in browse(f"{app}.test").text("/")
    assert sql(host, f"select count(*) from entries_entry where message = '{text}'", app) == "1"
    assert sql(host, "select distinct tableowner from pg_tables where schemaname = 'public'", app) == app


def test_what_serves_speaks_to_the_pooler_alone(host, browse):
    assert browse(DOMAIN).get("/").status == 200
    own = environment(host)
    assert "host=/run/pgbouncer" in own["DATABASE_URL"]
    assert "host=/run/postgresql" in own["DATABASE_DIRECT_URL"]
    lent = [row for row in console(host, "SHOW SERVERS") if own["DATABASE_USER"] in row]
    there = sql(host, f"select count(*) from pg_stat_activity where usename = '{own['DATABASE_USER']}'")
    assert int(there) == len(lent) > 0


def test_commands_speak_to_the_database(host):
    code = "from django.db import connection as c; print(c.settings_dict['OPTIONS']['host'], c.cursor() and 'up')"
    assert host.check_output("djangoctl guestbook manage shell -c %s", code).splitlines()[-1] == f"{DATABASE} up"


def test_what_a_migration_needs_the_pooler_refuses(host):
    """So the migrations, which have a lock_timeout, have gone past it."""
    options = "-c lock_timeout=5s"
    assert "42" in connect(host, "guestbook", "guestbook", at=DATABASE, options=options)
    assert "unsupported startup parameter" in connect(host, "guestbook", "guestbook", options=options)


def test_a_cursor_of_the_server_is_not_used(host):
    settings = "from django.db import connection as c; print(c.settings_dict['DISABLE_SERVER_SIDE_CURSORS'])"
    unit = "systemd-run -q --wait --pipe -p User=django-guestbook -E DATABASE_POOLER=pgbouncer"
    files = " ".join(f"-p EnvironmentFile=/etc/djangofleet/guestbook/live/{name}" for name in ("secret", "env"))
    run = f"{unit} {files} djangoctl guestbook exec current manage.py shell -c %s"
    assert host.check_output(run, settings).splitlines()[-1] == "True"


# Who may what


def test_the_apps_own_login_enters(host):
    assert connect(host, "guestbook", "guestbook") == "42\n"
    assert connect(host, "second", "second") == "42\n", "its password has signs of a shell, a URL and a file"


@pytest.mark.parametrize(
    ("app", "database", "password", "said"),
    [
        ("second", "guestbook", "", "no pg_hba.conf entry"),
        ("second", "postgres", "", "no pg_hba.conf entry"),
        ("guestbook", "guestbook", "another", "SASL authentication failed"),
        ("guestbook", "pgbouncer", "", "not allowed"),
    ],
)
def test_everybody_else_is_refused(host, app, database, password, said):
    answer = connect(host, app, database, password=password)
    assert said in answer
    assert "42" not in answer.splitlines()


@pytest.mark.parametrize("user", ["django-guestbook", "postgres"])
def test_the_console_and_the_passwords_are_not_theirs(host, user):
    console = f"runuser -u {user} -- psql -w -h {POOLER} -p 6432 -U pgbouncer -qAtc 'SHOW USERS' pgbouncer"
    assert host.run(console).rc != 0
    assert host.run(f"runuser -u {user} -- cat /etc/pgbouncer/djangofleet.users").rc != 0


def test_the_pooler_is_a_user_without_rights(host):
    assert host.check_output("ps -o user= -C pgbouncer") == "pgbouncer"
    assert host.check_output("id -Gn pgbouncer") == "pgbouncer"
    assert host.run("runuser -u pgbouncer -- psql -w -h /run/postgresql -U postgres -c 'select 1'").rc != 0
    assert not host.socket("tcp://0.0.0.0:6432").is_listening
    assert not host.socket("tcp://127.0.0.1:6432").is_listening


# What fails


def test_the_server_goes_and_comes_back(host, browse, visitors, figure):
    browser = browse(DOMAIN)
    assert health(browser) == 200
    with visitors(DOMAIN, "--connections=4", "--pause=0.2", "--post-every=2", "--fresh") as seen:
        host.check_output("systemctl stop 'postgresql@*.service'")
        try:
            figure(
                "behind a pooler, PostgreSQL away: seconds until 503", within(lambda: health(browser) == 503, 5, "503")
            )
            time.sleep(AWAY)
            assert health(browser) == 503
        finally:
            host.check_output("systemctl start postgresql@$(ls /etc/postgresql)-main")
        figure("behind a pooler, PostgreSQL back: seconds until 200", within(lambda: health(browser) == 200, 5, "200"))
        time.sleep(1)
    slowest = max(milliseconds for _at, milliseconds in seen["answers"]) / 1000
    figure("behind a pooler, PostgreSQL away: seconds of the slowest answer", slowest)
    assert slowest < 5, "a worker hangs"
    there = sql(host, "select reference from entries_entry").splitlines()
    assert set(seen["references"]) <= set(there), "what was acknowledged is lost"


@pytest.mark.parametrize("way", ["systemctl restart pgbouncer", "pkill -9 -x pgbouncer"])
def test_the_pooler_starts_anew(host, browse, visitors, figure, way):
    """The socket stays open. What the old one had in hand may fail, and nothing after it."""
    browser = browse(DOMAIN)
    with visitors(DOMAIN, *LOAD) as seen:
        time.sleep(1)
        host.check_output(way)
        figure(f"{way}: seconds until 200", within(lambda: health(browser) == 200, 5, "200"))
        time.sleep(1)
    figure(f"{way}: requests failed of those under way, at the most 4", seen["failed"])
    assert seen["failed"] <= 4, seen["examples"]
    assert seen["requests"] > 20


# What changes


@dataclass(frozen=True)
class Changed:
    """What a run of the controller has changed while visitors came.

    :param failed: how many of them got no answer, by app, and examples.
    :param said: what the run printed.
    """

    failed: dict[str, tuple[int, list]]
    requests: int
    said: str
    before: dict[str, dict[str, str]]
    after: dict[str, dict[str, str]]


APPS = ("guestbook", "second")
SECOND = {name: change.second for name, change in CHANGES.items()}
PASSWORD = "the-next$of'the\"second"


def run(host, play, visitors, **variables) -> Changed:
    before = {app: environment(host, app) for app in APPS}
    with visitors("guestbook.test", *LOAD) as one, visitors("second.test", *LOAD) as other:
        said = play("site", "-vvv", "--diff", **variables)
    seen = {"guestbook": one, "second": other}
    after = {app: environment(host, app) for app in APPS}
    failed = {app: (found["failed"], found["examples"]) for app, found in seen.items()}
    return Changed(failed, one["requests"] + other["requests"], said, before, after)


@pytest.fixture(scope="module")
def off(host, play, visitors) -> Changed:
    """All options of the pooler have other values, and one of its apps leaves it."""
    return run(host, play, visitors, pooler_option={}, **SECOND)


@pytest.fixture(scope="module")
def on(host, play, visitors, off) -> Changed:
    """That app comes back, and the other one has another password."""
    return run(host, play, visitors, pooler_password=PASSWORD, **SECOND)


def test_nobody_is_turned_away(off, on, figure):
    assert off.failed == on.failed == dict.fromkeys(APPS, (0, []))
    assert min(off.requests, on.requests) > 40
    figure("requests served while the pooler's options changed and an app left it, none failed", off.requests)
    figure("requests served while it came back and another's password changed, none failed", on.requests)


def test_the_pooler_is_reloaded(host, off, on):
    began = host.check_output("systemctl show -P ExecMainStartTimestampMonotonic pgbouncer")
    lives = host.check_output("systemctl show -P ActiveEnterTimestampMonotonic django-guestbook.service")
    assert 0 < int(began) < int(lives)
    assert "Restart pgbouncer" not in "".join(re.findall(r"RUNNING HANDLER.*\n.*changed", off.said + on.said))


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_is_in_effect(host, off, option):
    change = CHANGES[option]
    assert int(host.check_output(f"{change.command} | grep -cE '{change.shown}' || true")) > 0


def test_the_app_speaks_to_the_database_and_then_to_the_pooler_again(off, on):
    assert "host=/run/postgresql" in off.after["guestbook"]["DATABASE_URL"]
    assert "DATABASE_POOLER" not in off.after["guestbook"]
    assert "host=/run/pgbouncer" in on.after["guestbook"]["DATABASE_URL"]


def test_another_password_is_another_login(host, on):
    before, after = on.before["second"]["DATABASE_USER"], on.after["second"]["DATABASE_USER"]
    assert before != after
    users = host.check_output("cut -d' ' -f1 /etc/pgbouncer/djangofleet.users").splitlines()
    assert (f'"{after}"' in users, f'"{before}"' in users) == (True, False)
    left = sql(host, f"select count(*) from pg_roles where rolname = '{before}'")
    assert left == "0", "nobody is connected by it, so that the server has dropped it"


def test_no_password_is_shown(off, on):
    known = {one["DATABASE_PASSWORD"] for run in (off, on) for each in (run.before, run.after) for one in each.values()}
    assert len(known) >= 3
    assert not [each for each in known if each in off.said + on.said]


def test_the_next_run_changes_nothing(play, on):
    assert "changed=0 " in play("site", pooler_password=PASSWORD, **SECOND)
