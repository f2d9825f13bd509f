"""An app with rows goes from SQLite to PostgreSQL, and from there to PostgreSQL on another host, while visitors write.

The tests follow each other: each begins with what the one before has left. The gate moves twice. What is refused,
breaks off or is killed takes a run of its own, and is tried under PROVE alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared.outside import PROVE, ROOT, Browser, address_of, control, visiting

APP, OTHER, DATABASE = "djangofleet-moves-app", "djangofleet-moves-12", "djangofleet-moves-db"
HOSTS = (APP, OTHER) if PROVE else (APP,)  # of the app, at the end
PROJECT = ROOT / "build/moves"
ROWS = 20_000 if PROVE else 5_000
FILE = "/srv/shop/data/db.sqlite3"
MOVE = ("playbooks/move-database.yml", "-e", "app=shop")
WORKER = {"name": "worker", "command": "sleep infinity"}
ON_SERVER = {"engine": "postgresql"}
in_full = pytest.mark.skipif(not PROVE, reason="a run of its own")


def on(host: str, *words: str, check: bool = True) -> str:
    result = subprocess.run(["docker", "exec", host, *words], capture_output=True, text=True, timeout=300, check=False)
    assert not check or result.returncode == 0, f"{words} on {host}: {result.stdout}{result.stderr}"
    return result.stdout + ("" if check else result.stderr)


@pytest.fixture(scope="module", autouse=True)
def project() -> None:
    """The guestbook with an app that has one of each kind of column."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(ROOT / "examples/guestbook", PROJECT)
    shutil.copytree(ROOT / "molecule/moves/project", PROJECT, dirs_exist_ok=True)
    (PROJECT / "guestbook/settings_moves.py").write_text(
        "from guestbook.settings import *\n\nINSTALLED_APPS = [*INSTALLED_APPS, 'ledger']\n"
    )


def inventory(
    directory: Path, database: dict[str, Any], server: str = APP, app_hosts: Sequence[str] = (APP,), **app: Any
) -> Path:
    """An inventory with an app, its database, and the host of the server."""
    shop = {
        "name": "shop",
        "domains": ["shop.test"],
        "source": {"path": str(PROJECT), "version": "first"},
        "settings_module": "guestbook.settings_moves",
        "health": {"path": "/healthz", "contains": '"ok"'},
        "network": "local",
        "media": {"shared": True},  # of several hosts, which none of these tests asks for
        "processes": [WORKER],
        "database": database,
        **app,
    }
    hosts = {name: {"host_private_address": address_of(name)} for name in (APP, OTHER, DATABASE)}
    groups = {"web": [*app_hosts], "app": [*app_hosts], "database": [server] if database else []}
    path = directory / "inventory.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "all": {
                    "hosts": hosts,
                    "children": {name: {"hosts": {host: {} for host in found}} for name, found in groups.items()},
                    "vars": {
                        "ansible_connection": "community.docker.docker",
                        "ansible_user": "root",
                        "django_apps": [shop],
                    },
                }
            },
            sort_keys=False,  # the first host of a group is the one that signs
        )
    )
    return path


@pytest.fixture
def given(tmp_path):
    """given(database, server): the path of an inventory."""
    return lambda *words, **app: inventory(tmp_path, *words, **app)


def play(path: Path, *words: str, code: int = 0) -> str:
    result = control("ansible-playbook", f"--inventory={path}", *words, seconds=1200, COLUMNS="10000")
    assert (result.returncode != 0) == (code != 0), result.stdout[-8000:] + result.stderr
    return " ".join(result.stdout.split())  # long lines are broken


def manage(*words: str) -> str:
    """What a command of the project says, with the environment of the service."""
    return on(APP, "djangoctl", "shop", "manage", "--env", "LEDGER_FILLS=1", *words)


def ledger(action: str, *words: str) -> str:
    return next(line for line in manage("ledger", action, *words).splitlines() if line.startswith(action))


def engine(host: str = APP) -> str:
    """The engine, and the host of its server, as a host of the app has it."""
    code = "from django.db import connection as c; print('on', c.vendor, c.get_connection_params().get('host', ''))"
    said = on(host, "djangoctl", "shop", "manage", "--env", "LEDGER_FILLS=1", "shell", "-c", code)
    return next(line for line in said.splitlines() if line.startswith("on ")).strip()


def browser(tmp_path: Path) -> Browser:
    path = tmp_path / "ca.pem"
    path.write_text(on(APP, "cat", "/etc/djangofleet/authority/ca.pem"))
    return Browser(address_of(APP), "shop.test", str(path))


@contextmanager
def visitors(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Visitors who write all along; afterwards, what they saw and which references they were promised."""
    gentle = ("--path=/healthz", "--fresh", "--connections=2", "--pause=0.1", "--post-every=2", "--seconds=1000")
    authority = browser(tmp_path).authority
    with visiting(address_of(APP), "shop.test", authority, *gentle, f"--prefix={tmp_path.name}-") as seen:
        yield seen


@contextmanager
def clerk(tmp_path: Path) -> Iterator[set[str]]:
    """A command that writes all along by a connection of its own; afterwards, the references that it knows as saved."""
    words = ["djangoctl", "shop", "manage", "--env", "LEDGER_FILLS=1", "ledger", "write", "--prefix", prefix(tmp_path)]
    process = subprocess.Popen(
        ["docker", "exec", APP, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    kept: set[str] = set()
    try:
        assert process.stdout.readline().strip()
        yield kept
        kept |= set(process.communicate(timeout=60)[0].split())
        assert len(kept) > 10
    finally:
        process.kill()


def prefix(tmp_path: Path) -> str:
    return f"clerk-{tmp_path.name}-"


def promised(tmp_path: Path, prefix: str = "") -> set[str]:
    """The references of this test's visitors that the site has."""
    kept = f"filter(reference__startswith='{prefix or f'{tmp_path.name}-'}').values_list('reference', flat=True)"
    code = f"from entries.models import Entry as e; print('has', *e.objects.{kept})"
    return set(next(line for line in manage("shell", "-c", code).splitlines() if line.startswith("has")).split()[1:])


def told(output: str) -> tuple[int, int, float]:
    """Rows, tables and the seconds of the maintenance page, as a run says them."""
    found = re.search(r"shop: (\d+) rows of (\d+) tables are moved, with the maintenance page for ([\d.]+) s", output)
    assert found, output[-4000:]
    return int(found[1]), int(found[2]), float(found[3])


def serves(tmp_path: Path, host: str = APP) -> None:
    """The app is well, no visitor sees the maintenance page, and its processes run."""
    if host == APP:
        assert browser(tmp_path).get("/healthz").status == 200
    status = json.loads(on(host, "djangoctl", "shop", "status", "--json"))
    assert status["serves"], status
    assert not status["maintenance"], status
    assert status["idle_units"] == [], status


def sql(host: str, statement: str) -> str:
    return on(host, "psql", "-U", "postgres", "-qtA", "-d", "shop", "-c", statement).strip()


@contextmanager
def killed(when: str) -> Iterator[None]:
    """djangoctl is killed on the app's host as soon as a command of the shell succeeds there."""
    watch = f"until {when}; do sleep 0.02; done; pkill -9 -f '[d]jangoctl shop move'"
    process = subprocess.Popen(["docker", "exec", APP, "sh", "-c", watch])
    yield
    assert process.wait(timeout=60) == 0


def shows_maintenance() -> bool:
    return json.loads(on(APP, "djangoctl", "shop", "status", "--json"))["maintenance"]


PAGE = "test -e /srv/shop/static/.maintenance.html"


def is_kept(before: str) -> None:
    """What a reader of the rows saw before the move is what one sees now."""
    after = json.loads(ledger("digest").partition(" ")[2])
    for table, found in json.loads(before.partition(" ")[2]).items():
        if table != "entries_entry":
            assert after[table] == found, table


# On SQLite


def test_the_app_has_rows_in_sqlite(given, tmp_path):
    play(given({}), "site.yml")
    manage("ledger", "fill", str(ROWS))
    assert engine() == "on sqlite"
    serves(tmp_path)


@pytest.mark.parametrize("playbook", ["site.yml", pytest.param("playbooks/deploy.yml", marks=in_full)])
def test_no_run_brings_it_up_on_an_empty_database(given, tmp_path, playbook):
    before = on(APP, "sh", "-c", "cat /etc/djangofleet/shop/env; dpkg -l")
    said = play(given(ON_SERVER), playbook, code=2)
    assert (
        "is live on sqlite:////srv/shop/data/db.sqlite3, and would come up on an empty database of PostgreSQL" in said
    )
    assert "playbooks/move-database.yml -e app=shop" in said
    assert "allow_other_database=true" in said
    assert re.search(r"changed=0 ", said)
    assert on(APP, "sh", "-c", "cat /etc/djangofleet/shop/env; dpkg -l") == before


def test_a_move_names_its_app(given):
    said = play(given(ON_SERVER), MOVE[0], code=2)
    assert "app: is missing; name the app that is to move" in said


@in_full
def test_check_mode_counts_and_changes_nothing(given, tmp_path):
    said = play(given(ON_SERVER), *MOVE, "--check")
    assert re.search(r"shop: \d+ rows of \d+ tables would move", said), said[-4000:]
    assert engine() == "on sqlite"
    assert on(APP, "ls", "/run/djangofleet-move", check=False).count("No such file")
    serves(tmp_path)


@in_full
def test_a_row_that_postgresql_refuses_is_found_while_visitors_are_served(given, tmp_path):
    manage("ledger", "spoil")
    with visitors(tmp_path) as seen:
        said = play(given(ON_SERVER), *MOVE, code=2)
    assert "ledger_tag: PostgreSQL refuses the row with id " in said
    assert "value too long" in said
    assert "the app is live on the database that it had" in said
    assert seen["failed"] == 0, seen["examples"]
    assert engine() == "on sqlite"
    assert set(seen["references"]) == promised(tmp_path)
    serves(tmp_path)
    manage("ledger", "mend")


@in_full
def test_a_table_without_a_model_is_not_forgotten(given, tmp_path):
    script = (
        f"import sqlite3; c = sqlite3.connect('{FILE}'); c.execute('create table notes as select 1 as a'); c.commit()"
    )
    on(APP, "runuser", "-u", "django-shop", "--", "python3", "-c", script)
    said = play(given(ON_SERVER), *MOVE, code=2)
    assert "notes: has 1 rows, and no model of the release describes it" in said
    serves(tmp_path)


@in_full
def test_an_app_that_does_not_start_there_stays(given, tmp_path):
    """Its gate asks for what the new configuration cannot show."""
    with visitors(tmp_path) as seen:
        inventory = given(ON_SERVER, health={"path": "/healthz", "contains": "nowhere to be seen", "retries": 0})
        said = play(inventory, *MOVE, "-e", "leave_tables=notes", code=2)
    assert "did not pass its gate" in said
    assert "the app is live on the database that it had" in said
    assert engine() == "on sqlite"
    assert set(seen["references"]) == promised(tmp_path)
    assert "sqlite" in on(APP, "grep", "DATABASE_URL", "/etc/djangofleet/shop/env")
    serves(tmp_path)


@in_full
def test_a_move_that_is_killed_is_ended_where_it_came_from(given, tmp_path):
    """The app serves as before behind its maintenance page, until a run says which database is meant."""
    with killed(PAGE):
        play(given(ON_SERVER), *MOVE, "-e", "leave_tables=notes", code=2)
    assert engine() == "on sqlite"
    assert shows_maintenance()
    assert "a move to another database was broken off" in play(given({}), "site.yml", code=2)
    said = play(given({}), *MOVE)
    assert "shop: the move that was broken off is at its end" in said
    assert engine() == "on sqlite"
    serves(tmp_path)
    assert re.search(r"changed=0 ", play(given({}), *MOVE))


def test_the_rows_go_to_postgresql(given, tmp_path, figure):
    before = ledger("digest")
    with visitors(tmp_path) as seen, clerk(tmp_path) as saved:
        said = play(given(ON_SERVER), *MOVE, "-e", "leave_tables=notes")
    rows, tables, seconds = told(said)
    figure("rows moved from SQLite to PostgreSQL", rows)
    figure("seconds of maintenance, to PostgreSQL", seconds)
    figure("requests meanwhile, to PostgreSQL", seen["requests"])
    figure("requests that saw the maintenance page, to PostgreSQL", seen["failed"])
    assert rows > ROWS
    assert tables > 10
    assert engine() == "on postgresql /run/postgresql"
    assert all(" 503" in example for example in seen["examples"]), seen["examples"]
    assert set(seen["references"]) == promised(tmp_path), "a row that was acknowledged is lost"
    assert saved <= promised(tmp_path, prefix(tmp_path)), "a row that a command has saved is lost"
    is_kept(before)
    serves(tmp_path)


def test_the_old_file_is_kept_under_another_name():
    kept = on(APP, "sh", "-c", f"ls {FILE}.moved-* && test ! -e {FILE}")
    count = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('select count(*) from ledger_booking'))"
    assert on(APP, "python3", "-c", count, kept.strip()).strip() == f"({ROWS},)"


def test_keys_are_never_given_twice():
    """The last booking was deleted on SQLite: its key is not the next one's."""
    assert int(ledger("next").split()[1]) == ROWS + 2


def test_nothing_is_left_to_move(given):
    said = play(given(ON_SERVER), *MOVE)
    assert re.search(r"changed=0 ", said), said[-3000:]


@in_full
def test_nothing_is_left_to_do(given):
    play(given(ON_SERVER), "site.yml")
    said = play(given(ON_SERVER), "site.yml")
    assert re.search(r"changed=0 ", said), said[-3000:]


# To another host


def test_no_run_connects_it_to_an_empty_database_on_another_host(given):
    said = play(given(ON_SERVER, DATABASE), "site.yml", code=2)
    assert "the app is live on postgres:///shop?host=/run/postgresql&port=5432, and would come up on an empty" in said
    assert "playbooks/move-database.yml -e app=shop" in said
    assert re.search(r"changed=0 ", said)


@in_full
def test_a_killed_move_leaves_the_old_database_read_only_until_it_is_ended(given, tmp_path):
    with visitors(tmp_path) as seen, killed(PAGE):
        play(given(ON_SERVER, OTHER), *MOVE, code=2)
    assert shows_maintenance()
    said = play(given(ON_SERVER), *MOVE)
    assert "shop: the move that was broken off is at its end" in said
    assert engine() == "on postgresql /run/postgresql"
    ledger("next")
    assert set(seen["references"]) == promised(tmp_path)
    serves(tmp_path)


@in_full
def test_rows_that_nobody_has_marked_are_not_overwritten(given, tmp_path):
    mark = sql(OTHER, "select shobj_description(oid, 'pg_database') from pg_database where datname = 'shop'")
    assert mark
    sql(OTHER, "comment on database shop is null")
    with visitors(tmp_path) as seen:
        said = play(given(ON_SERVER, OTHER), *MOVE, code=2)
    assert re.search(r"the new database shop is not empty: it has \d+ tables", said)
    assert seen["failed"] == 0, seen["examples"]
    sql(OTHER, f"comment on database shop is '{mark}'")
    serves(tmp_path)


@in_full
def test_a_move_that_is_killed_after_the_app_went_over_is_ended_there(given, tmp_path):
    before = ledger("digest")
    with visitors(tmp_path) as seen, killed(f"grep -q {address_of(OTHER)} /etc/djangofleet/shop/live/env"):
        play(given(ON_SERVER, OTHER), *MOVE, code=2)
    said = play(given(ON_SERVER, OTHER), *MOVE)
    assert "shop: the move that was broken off is at its end" in said
    assert engine() == f"on postgresql {address_of(OTHER)}"
    assert set(seen["references"]) == promised(tmp_path)
    is_kept(before)
    serves(tmp_path)


@in_full
def test_a_host_goes_on_without_its_controller(given, tmp_path):
    """The host that had the database may have it again, when what it kept has been dropped."""
    on(APP, "dropdb", "-U", "postgres", "shop")
    before = ledger("digest")
    with visitors(tmp_path) as seen:
        path = given(ON_SERVER)
        controller = subprocess.Popen(
            ["ansible-playbook", f"--inventory={path}", *MOVE],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        on(APP, "sh", "-c", f"until {PAGE}; do sleep 0.02; done")
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        on(APP, "sh", "-c", f"while {PAGE}; do sleep 0.1; done")
    assert engine() == "on postgresql /run/postgresql"
    assert set(seen["references"]) == promised(tmp_path)
    is_kept(before)
    serves(tmp_path)
    assert re.search(r"changed=0 ", play(path, *MOVE))
    on(OTHER, "dropdb", "-U", "postgres", "shop")


@in_full
def test_an_app_of_two_hosts_stays_on_both(given, tmp_path):
    """The gate of the first one asks for what it cannot show on the new database. A second host has come before: the
    server has listened to nobody elsewhere until then.
    """
    said = play(given(ON_SERVER, app_hosts=HOSTS), "site.yml", code=2)
    assert "where it does not listen until it restarts" in said
    serves(tmp_path)
    play(given(ON_SERVER, app_hosts=HOSTS), "site.yml", "-e", "allow_database_restart=true")
    before = [engine(host) for host in HOSTS]
    health = {"path": "/healthz", "contains": "nowhere to be seen", "retries": 0}
    said = play(given(ON_SERVER, DATABASE, HOSTS, health=health), *MOVE, code=2)
    assert "did not pass its gate" in said
    assert [engine(host) for host in HOSTS] == before
    for host in HOSTS:
        serves(tmp_path, host)


def test_the_database_goes_to_a_host_of_its_own(given, tmp_path, figure):
    before = ledger("digest")
    with visitors(tmp_path) as seen, clerk(tmp_path) as saved:
        said = play(given(ON_SERVER, DATABASE, HOSTS), *MOVE)
    rows, _tables, seconds = told(said)
    figure("rows moved to a host of their own", rows)
    figure("seconds of maintenance, to another host", seconds)
    figure("requests meanwhile, to another host", seen["requests"])
    figure("requests that saw the maintenance page, to another host", seen["failed"])
    assert all(" 503" in example for example in seen["examples"]), seen["examples"]
    assert set(seen["references"]) == promised(tmp_path), "a row that was acknowledged is lost"
    assert saved <= promised(tmp_path, prefix(tmp_path)), "a row that a command has saved is lost"
    is_kept(before)
    for host in HOSTS:
        assert engine(host) == f"on postgresql {address_of(DATABASE)}"
        serves(tmp_path, host)


def test_nobody_writes_to_the_old_database():
    assert sql(APP, "select count(*) > 0 from ledger_booking") == "t"
    said = on(APP, "sh", "-c", "psql -U postgres -d shop -c 'delete from ledger_tag' 2>&1", check=False)
    assert "read-only transaction" in said


@in_full
def test_nothing_is_left_to_do_there(given):
    play(given(ON_SERVER, DATABASE, HOSTS), "site.yml")
    said = play(given(ON_SERVER, DATABASE, HOSTS), "site.yml")
    assert said.count("changed=0 ") == 1 + len(HOSTS), said[-3000:]


@in_full
def test_no_version_goes_back(given, tmp_path):
    with visitors(tmp_path) as seen:
        said = play(given(ON_SERVER, app_hosts=HOSTS), *MOVE, code=2)
    assert "the new server is PostgreSQL 15 and the old one 17, and no version goes back" in said
    assert seen["failed"] == 0, seen["examples"]
    assert engine() == f"on postgresql {address_of(DATABASE)}"
    serves(tmp_path)
