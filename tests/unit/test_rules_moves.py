"""Which apps an inventory would bring up on an empty database, row by row."""

from __future__ import annotations

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_moves import moves
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import resolve_apps

SHOP = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/x"}}
FILE = "sqlite:////srv/shop/data/db.sqlite3"
SOCKET = "postgres:///shop?host=/run/postgresql&port=5432"
REMOTE = "postgres://10.0.0.7:5432/shop?sslmode=verify-full"
HOSTVARS = {"app1": {"host_private_address": "10.0.0.5"}, "db1": {"host_private_address": "10.0.0.7"}, "db2": {}}
PG = {"engine": "postgresql"}


def asked(
    live: str, database: dict, server: str = "app1", separate: bool = False, notes: tuple = (), **app: object
) -> list[dict]:
    groups = {"app": ["app1"], "database": [server] if server else []}
    apps = resolve_apps([{**SHOP, "database": database, **app}], groups)
    found = {"/etc/djangofleet/*/live/env": {"/etc/djangofleet/shop/live/env": live}}
    return moves(apps, found, "app1", groups, HOSTVARS, separate, notes)


@pytest.mark.parametrize(
    ("live", "database", "server", "engine"),
    [
        (FILE, PG, "app1", "sqlite"),
        (FILE.replace("sqlite", "spatialite", 1), PG, "app1", "sqlite"),
        (FILE, PG, "db1", "sqlite"),
        (SOCKET, PG, "db1", "postgresql"),
        (REMOTE, PG, "db2", "postgresql"),
        (REMOTE, PG, "app1", "postgresql"),
        (SOCKET, {**PG, "name": "other"}, "db1", "postgresql"),
        ("postgis://10.0.0.9/shop", PG, "app1", "postgresql"),
        ("mysql://10.0.0.9/shop", PG, "app1", ""),
        (SOCKET, {}, "", ""),
    ],
)
def test_another_database_is_told(live, database, server, engine):
    (found,) = asked(live, database, server)
    assert (found["name"], found["engine"], found["address"]) == ("shop", engine, live)
    assert found["problem"].startswith(f"django_apps[shop].database: the app is live on {live}, and would come up on")
    assert "-e allow_other_database=true" in found["problem"]
    assert ("playbooks/move-database.yml -e app=shop" in found["problem"]) is bool(engine)


@pytest.mark.parametrize(
    ("live", "database", "server", "kept"),
    [
        (SOCKET, {**PG, "name": "store"}, "app1", "shop"),
        (SOCKET, {**PG, "name": "store", "pooler": "pgbouncer"}, "app1", "shop"),
        (REMOTE, {**PG, "name": "store"}, "db1", "shop"),
        (REMOTE.replace("/shop", "/store"), PG, "db1", "store"),  # the name was taken out of the inventory
    ],
)
def test_no_playbook_renames_a_database(live, database, server, kept):
    """pg_hba.conf would let in the app to the new name alone: it would go down before its rows are read."""
    (found,) = asked(live, database, server)
    assert found["engine"] == "", "playbooks/move-database.yml refuses it too"
    assert f"keep it with database.name: {kept}, or rename it by hand as in docs/moves.md" in found["problem"]
    assert "move-database.yml" not in found["problem"]


@pytest.mark.parametrize("live", [FILE, SOCKET])
def test_an_app_moves_without_its_pooler(live):
    """The pooler would lead the live app to the new server before its rows are there."""
    (found,) = asked(live, {**PG, "pooler": "pgbouncer"}, "db1")
    assert found["engine"] == ""
    assert "leave out database.pooler until its rows have moved" in found["problem"]


@pytest.mark.parametrize(
    ("live", "database", "server"),
    [
        ("", PG, "app1"),  # nothing is live, or nothing is in it
        (FILE, {}, ""),
        (FILE.replace("db", "second"), {}, ""),
        (SOCKET, PG, "app1"),
        (SOCKET.replace("5432", "6432"), PG, "app1"),  # a pooler of the same server
        (SOCKET.replace("postgres:", "postgresql+psycopg:"), {**PG, "scheme": "postgis"}, "app1"),
        (REMOTE, PG, "db1"),
        (REMOTE.replace("10.0.0.7", "10.0.0.5"), PG, "app1"),  # the same server, as another host of the app sees it
        (FILE, {"url": "postgres://shop@db.example.com/shop"}, ""),
        (SOCKET, {"url": "sqlite:////srv/shop/data/other.sqlite3"}, ""),
    ],
)
def test_the_same_database_is_not(live, database, server):
    assert asked(live, database, server) == []


def test_a_database_of_the_environment_is_the_user_s():
    assert asked(SOCKET, {}, "", environment={"DATABASE_URL": "postgres://db.example.com/shop"}) == []


def test_each_host_may_be_a_site_of_its_own():
    assert asked(SOCKET, PG, "db1", separate=True) == []


@pytest.mark.parametrize(("live", "database"), [(FILE, {}), (SOCKET, PG)])
def test_a_move_that_was_killed_is_to_be_ended(live, database):
    (found,) = asked(live, database, notes=("/etc/djangofleet/blog/move.json", "/etc/djangofleet/shop/move.json"))
    assert "django_apps[shop].database: a move to another database was broken off" in found["problem"]
    assert found["engine"]
    assert asked(live, database, notes=("/etc/djangofleet/blog/move.json",)) == []


def test_another_app_of_the_host_is_not_asked_about():
    groups = {"app": ["app1"], "database": ["app1"]}
    apps = resolve_apps([{**SHOP, "database": PG}], groups)
    assert moves(apps, {"x": {"/etc/djangofleet/blog/live/env": FILE}}, "app1", groups, HOSTVARS) == []
