"""The rules of role postgresql: settings, who may connect, what is wrong, what is to be done."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.template import trust_as_template
from ansible_collections.djangofleet.stack.plugins.module_utils.login import login_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as base
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import (
    memory_settings,
    postgresql_clusters,
    postgresql_packages,
    postgresql_questions,
    quoted,
    sandbox_of,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_plan import (
    identifier,
    plan,
    verifier,
    verifies,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_problems import problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_upgrade import postgresql_upgrades
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"12": {"distribution_major_version": "12"}, "13": {"distribution_major_version": "13"}}
SHOP = {"name": "shop", "owner": "shop"}


def options(**given):
    """The role's variables as its spec means them."""
    found, wrong = resolve(
        spec_of("postgresql"),
        {
            "postgresql_enabled": True,
            "postgresql_allow_restart": False,
            "postgresql_allow_new_password": False,
            **given,
        },
    )
    assert wrong == []
    return found


def wrong(debian="13", survey=None, **given):
    return problems({"postgresql_enabled": True, **given}, FACTS.get(debian, {}), survey or {})


# What the server is made of


@pytest.mark.parametrize(("debian", "version"), [("12", 15), ("13", 17)])
def test_the_version_is_the_distributions(debian, version):
    assert postgresql_packages(options(), FACTS[debian])[0] == f"postgresql-{version}"
    (cluster,) = postgresql_clusters(options(), FACTS[debian], {})
    assert cluster["configuration"] == f"/etc/postgresql/{version}/main"
    assert cluster["unit"] == f"postgresql@{version}-main.service"


def test_a_host_without_databases_gets_nothing():
    given = {"postgresql_enabled": False}
    assert postgresql_packages({**options(), **given}, FACTS["13"]) == []
    assert postgresql_questions(given, FACTS["13"]) == {}
    assert wrong(**given, postgresql_clusters=[]) == []


def test_memory_follows_the_host_and_is_shared_by_the_clusters():
    assert memory_settings(4000, 0.25)["shared_buffers"] == "1000MB"
    assert memory_settings(64, 0.25)["shared_buffers"] == "32MB"
    assert memory_settings(400_000, 0.25)["shared_buffers"] == "16384MB"
    assert memory_settings(0, 0.25) == {}
    clusters = [{"name": "main"}, {"name": "second", "port": 5433}]
    found = postgresql_clusters(options(postgresql_clusters=clusters), FACTS["13"], {"memory": 8000})
    assert [cluster["settings"]["shared_buffers"] for cluster in found] == ["'1000MB'", "'1000MB'"]
    assert [cluster["settings"]["port"] for cluster in found] == ["5432", "5433"]


def test_settings_of_the_cluster_win_over_those_of_the_host_over_those_of_the_role():
    clusters = [{"name": "main", "settings": {"work_mem": "8MB"}}]
    (found,) = postgresql_clusters(
        options(postgresql_clusters=clusters, postgresql_settings={"work_mem": "1MB", "max_connections": 20}),
        FACTS["13"],
        {"memory": 8000},
    )
    assert (found["settings"]["work_mem"], found["settings"]["max_connections"]) == ("'8MB'", "20")


@pytest.mark.parametrize(
    ("value", "text"), [(True, "on"), (False, "off"), (5, "5"), (0.9, "0.9"), ("it's", "'it''s'"), ("on", "'on'")]
)
def test_values_are_written_as_the_server_reads_them(value, text):
    assert quoted(value) == text


def test_nobody_listens_to_the_network_by_itself():
    (found,) = postgresql_clusters(options(), FACTS["13"], {})
    assert found["settings"]["listen_addresses"] == "''"


HBA = """\
# What the role wrote
local   all postgres peer
local   "shop" +"shop" scram-sha-256
hostssl "shop" +"shop" 10.0.0.1/32 scram-sha-256
hostssl "shop" +"team" 10.0.0.9/32 scram-sha-256
hostssl "shop" "report" 10.0.0.9/32 scram-sha-256
"""
LISTENER = {"listen_addresses": ["10.0.0.5"], "certificate_file": "/c", "key_file": "/k"}


@pytest.mark.parametrize(
    ("access", "changing", "kept", "listens"),
    [
        ([], ["shop"], ["local", "hostssl"], "'10.0.0.5'"),
        ([{"role": "+shop", "database": "shop"}], ["shop"], ["hostssl"], "'10.0.0.5'"),
        ([{"role": "+shop", "database": "shop"}], [], [], "''"),
        ([{"role": "+shop", "database": "shop"}], ["blog"], [], "''"),
    ],
)
def test_an_app_may_come_as_before_until_it_comes_in_another_way(access, changing, kept, listens):
    """As when an app of two hosts stays on that of its server alone, or leaves the server."""
    given = options(postgresql_app_access=access, postgresql_app_changing=changing, postgresql_app_listener=LISTENER)
    survey = {"files": {"/etc/postgresql/17/main/pg_hba.conf": HBA}}
    (found,) = postgresql_clusters(given, FACTS["13"], survey)
    mine = [line for line in found["hba"] if '+"shop"' in line][len(access) :]
    assert [line.split()[0] for line in mine] == kept
    assert found["settings"]["listen_addresses"] == listens
    assert (found["settings"]["ssl_cert_file"] == "'/c'") == (listens != "''")
    assert not [line for line in found["hba"] if "team" in line or "report" in line], "they are not the apps'"


def test_who_may_connect():
    access = [
        {"role": "shop", "database": "shop"},
        {"role": "+team", "database": "shop"},
        {"role": "report", "database": "all", "sources": ["10.0.1.7", "2001:db8::/32", "10.0.1.7/24"]},
    ]
    (found,) = postgresql_clusters(
        options(postgresql_access=access[:2], postgresql_app_access=access[2:]), FACTS["13"], {}
    )
    assert found["hba"] == [
        'local   "shop" "shop" scram-sha-256',
        'local   "shop" +"team" scram-sha-256',
        'local   all "report" scram-sha-256',
        'hostssl all "report" 10.0.1.7/32 scram-sha-256',
        'hostssl all "report" 2001:db8::/32 scram-sha-256',
        'hostssl all "report" 10.0.1.0/24 scram-sha-256',
    ]


def test_the_sandbox_can_be_overruled():
    sandbox = {"PrivateDevices": True, "ProtectSystem": "full"}
    lines = sandbox_of(options(postgresql_sandbox={"PrivateDevices": False}), sandbox)
    assert lines == ["PrivateDevices=no", "ProtectSystem=full"]


# What is wrong


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"postgresql_version": 16}, "postgresql_version: found '16'; give 17, which is what Debian 13 has"),
        ({"postgresql_clusters": []}, "postgresql_clusters: is empty; give a cluster such as {name: main}"),
        ({"postgresql_clusters": [{"name": "a-b"}]}, "postgresql_clusters[a-b].name: found 'a-b'; give lower-case"),
        ({"postgresql_clusters": [{"name": "a"}, {"name": "b"}]}, "postgresql_clusters[].port: '5432' is there 2"),
        ({"postgresql_clusters": [{"name": "main", "port": 70000}]}, "postgresql_clusters[main].port: found '70000'"),
        ({"postgresql_memory_share": 25}, "postgresql_memory_share: found '25.0'; give a share from 0.02 to 0.8"),
        ({"postgresql_settings": {"port": 1}}, "postgresql_settings.port: is the role's own; give postgresql_clusters"),
        ({"postgresql_settings": {"a b": 1}}, "postgresql_settings: found 'a b'; give the name of a setting"),
        ({"postgresql_settings": {"work_mem": [1]}}, "postgresql_settings.work_mem: found '[1]'; give a text"),
        ({"postgresql_settings": {"work_mem": "1\nx"}}, "postgresql_settings.work_mem: found '1 x'; give a text"),
        ({"postgresql_settings": {"Port": 1}}, "postgresql_settings.Port: is the role's own; give postgresql_clusters"),
        (
            {"postgresql_databases": [{**SHOP, "settings": {"timezone": "UTC", "TimeZone": "UTC"}}]},
            "postgresql_databases[shop].settings.TimeZone: is there in another spelling too",
        ),
        *(
            (
                {"postgresql_databases": [{**SHOP, "settings": {"search_path": text}}]},
                f"postgresql_databases[shop].settings.search_path: found '{text}'; give names with commas between them",
            )
            for text in ("app, \"public", "app,, public", "app,", "a\"b")
        ),
        ({"postgresql_listen_addresses": ["db.test"]}, "postgresql_listen_addresses[0]: found 'db.test'; give an"),
        ({"postgresql_listen_addresses": ["*"]}, "postgresql_certificate_file: is missing"),
        ({"postgresql_key_file": "/k"}, "postgresql_certificate_file: is missing beside postgresql_key_file"),
        ({"postgresql_databases": [{"name": "Shop"}]}, "postgresql_databases[Shop].name: found 'Shop'; give up"),
        ({"postgresql_databases": [{**SHOP, "cluster": "x"}]}, "postgresql_databases[shop].cluster: found 'x'; give"),
        ({"postgresql_databases": [SHOP, SHOP]}, "postgresql_databases[].name: 'shop' is there 2 times"),
        ({"postgresql_databases": [SHOP], "postgresql_app_databases": [SHOP]}, "postgresql_databases[].name: 'shop'"),
        (
            {"postgresql_databases": [{**SHOP, "extensions": ["a;b"]}]},
            "postgresql_databases[shop].extensions[0]: found 'a;b'",
        ),
        ({"postgresql_roles": [{"name": "postgres"}]}, "postgresql_roles[postgres].name: found 'postgres'; give"),
        ({"postgresql_roles": [{"name": "a", "password": "ä"}]}, "postgresql_roles[a].password: found (not shown)"),
        (
            {"postgresql_access": [{"role": "a", "database": "b", "sources": ["10.0.0.1"]}]},
            "postgresql_access[0].sources: lets others in, and the server listens on its unix socket alone",
        ),
        (
            {"postgresql_access": [{"role": "a", "database": "b", "sources": ["db"]}]},
            "postgresql_access[0].sources[0]: found 'db'; give an address or network",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(given, line):
    assert [found for found in wrong(**given) if found.startswith(line)], wrong(**given)


def test_a_distribution_that_nobody_knows_has_to_be_told_of():
    assert problems({"postgresql_enabled": True}, {"distribution_major_version": "14"}, {})[0].startswith(
        "ansible_facts['distribution_major_version']: found '14'; give postgresql_version"
    )


DATA, CONFIGURED = "/var/lib/postgresql/*/*/PG_VERSION", "/etc/postgresql/*/*/postgresql.conf"


def test_data_of_another_version_is_never_passed_over():
    """The server of Debian 13 would begin with nothing beside the data of Debian 12."""
    found = wrong(survey={"paths": {DATA: ["/var/lib/postgresql/15/main/PG_VERSION"], CONFIGURED: []}})
    assert found[0].startswith("postgresql_version: found 17, and the host has the data of cluster main in version 15")
    assert wrong(survey={"paths": {DATA: ["/var/lib/postgresql/17/main/PG_VERSION"],
                                   CONFIGURED: ["/etc/postgresql/17/main/postgresql.conf"]}}) == []  # fmt: skip


def test_data_without_a_configuration_is_never_started_on_something_else():
    found = wrong(survey={"paths": {DATA: ["/var/lib/postgresql/17/main/PG_VERSION"], CONFIGURED: []}})
    assert found[0].startswith("postgresql_clusters[main]: /var/lib/postgresql/17/main has data, and no configuration")


def test_it_listens_for_apps_where_its_host_is():
    wired = {"listen_addresses": ["203.0.113.5"], "certificate_file": "/c", "key_file": "/k"}
    given = {"postgresql_enabled": True, "postgresql_allow_restart": False, "postgresql_app_server": wired}
    (line,) = problems(given, {**FACTS["13"], "all_ipv4_addresses": ["10.0.0.7"]}, {})
    assert line.startswith("host_private_address: PostgreSQL is to listen at 203.0.113.5 for apps on other hosts")
    assert problems(given, {**FACTS["13"], "all_ipv4_addresses": ["10.0.0.7", "203.0.113.5"]}, {}) == []
    assert problems(given, FACTS["13"], {}) == []


# What is to be done

CLUSTER = {"name": "main", "port": 5432, "unit": "postgresql@17-main.service"}
ROLE = {"verifier": None, "login": True, "createdb": False, "connection_limit": -1, "member_of": [], "settings": []}
ROLE |= {"in_use": False}
DATABASE = {"owner": "shop", "public": False, "encoding": "UTF8", "locale": "C.UTF-8", "settings": []}


def catalog(roles=None, databases=None, **more):
    found = {"roles": roles or {}, "databases": {"postgres": DATABASE, **(databases or {})}, "listening": []}
    return {"main": {**found, **more}}


def test_a_new_app_gets_a_role_and_a_database_that_others_cannot_enter():
    given = options(postgresql_app_databases=[SHOP], postgresql_app_roles=[{"name": "shop", "password": "secret"}])
    found = plan(given, [CLUSTER], catalog())
    (role,) = found["roles"]
    assert (role["name"], role["flags"], role["port"]) == ("shop", "LOGIN,NOCREATEDB", 5432)
    assert verifies(role["password"], "secret")
    assert [database["name"] for database in found["databases"]] == ["shop"]
    assert [each["query"] for each in found["statements"]] == ['REVOKE ALL ON DATABASE "shop" FROM PUBLIC']


def test_check_mode_knows_what_a_server_cannot_be_asked_about():
    """It makes neither roles nor databases, and a statement about one of them would fail."""
    given = options(postgresql_app_roles=APP_ROLES, postgresql_app_databases=[{**SHOP, "extensions": ["citext"]}])
    found = plan(given, [CLUSTER], catalog())
    assert {each["new"] for name in ("statements", "extensions") for each in found[name]} == {True}
    there = {"shop": ROLE, NEW: {**ROLE, "verifier": verifier("new-password")}}
    found = plan(given, [CLUSTER], catalog(there, {"shop": {**DATABASE, "public": True}}))
    assert {each["new"] for name in ("statements", "extensions") for each in found[name]} == {False}
    assert len(found["statements"]) == 3


def test_nothing_is_done_for_what_is_there():
    given = options(
        postgresql_databases=[{**SHOP, "settings": {"statement_timeout": "30s", "jit": False}}],
        postgresql_roles=[{"name": "shop", "password": "secret", "member_of": ["pg_monitor"]}],
    )
    role = {**ROLE, "verifier": verifier("secret"), "member_of": ["pg_monitor"]}
    database = {**DATABASE, "settings": ["statement_timeout=30s", "jit=off"]}
    found = plan(given, [CLUSTER], catalog({"shop": role}, {"shop": database}, pending=[]))
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("role", "there", "changes"),
    [
        ({"password": "new"}, {"verifier": verifier("old")}, {"password"}),
        ({"password": "new"}, {"verifier": "md5c55efc5c40d6ebaa2a4a0f4ac5ea0ae7"}, {"password"}),
        ({"password": "new"}, {"verifier": None}, {"password"}),
        ({}, {"verifier": verifier("old")}, None),
        ({"login": False}, {}, set()),
        ({"createdb": True}, {}, set()),
        ({"connection_limit": 5}, {}, set()),
    ],
)
def test_a_role_is_changed_where_it_differs(role, there, changes):
    found = plan(options(postgresql_roles=[{"name": "shop", **role}]), [CLUSTER], catalog({"shop": {**ROLE, **there}}))
    assert [set(each) - {"name", "port", "flags", "connection_limit"} for each in found["roles"]] == (
        [] if changes is None else [changes]
    )


OLD, NEW = login_of("shop", "old-password"), login_of("shop", "new-password")
APP_ROLES = [
    {"name": "shop", "login": False},
    {"name": NEW, "password": "new-password", "member_of": ["shop"], "settings": {"role": "shop"}},
]
LOGIN = {**ROLE, "member_of": ["shop"], "settings": ["role=shop"]}
THERE = {"shop": {**ROLE, "login": False}, NEW: {**LOGIN, "verifier": verifier("new-password")}}


def retired(there, settled=("shop",), roles=APP_ROLES):
    given = options(postgresql_app_roles=roles, postgresql_app_settled=list(settled))
    return [each["query"] for each in plan(given, [CLUSTER], catalog({**THERE, **there}))["retired"]]


def test_another_password_is_another_login():
    given = options(postgresql_app_roles=APP_ROLES)
    found = plan(given, [CLUSTER], catalog({"shop": THERE["shop"], OLD: LOGIN}))
    assert [(role["name"], role["flags"]) for role in found["roles"]] == [(NEW, "LOGIN,NOCREATEDB")]
    assert {each["query"] for each in found["statements"]} == {
        f'ALTER ROLE "{NEW}" SET "role" TO \'shop\'',
        f'GRANT "shop" TO "{NEW}"',
    }
    assert found["retired"] == [], "the app is not live with it yet"
    assert not any(plan(given, [CLUSTER], catalog(THERE, pending=[])).values())


WEB = {"name": "web", "password": "new-password", "member_of": ["shop"], "settings": {"role": "shop"}}
OTHER = verifier("old-password")


@pytest.mark.parametrize(
    ("role", "there", "is_refused"),
    [
        (WEB, {"verifier": OTHER}, True),
        ({"name": "shop", "password": "new-password"}, {"verifier": OTHER}, True),  # the owner is the login
        (WEB, None, False),
        (WEB, {"verifier": verifier("new-password")}, False),
        (WEB, {"verifier": OTHER, "login": False}, False),
        (WEB, {"verifier": None}, False),
        (WEB, {"verifier": "md5c55efc5c40d6ebaa2a4a0f4ac5ea0ae7"}, False),  # by which nobody is let in
        ({**WEB, "name": NEW}, {"verifier": OTHER}, False),  # by its name it has the new one: somebody has altered it
        ({"name": "shop", "login": False}, {"verifier": OTHER}, False),
    ],
)
def test_no_password_changes_under_a_live_app(role, there, is_refused):
    """New connections would fail until the app is live with the new one."""
    now = catalog({role["name"]: {**LOGIN, **there}} if there else {})
    given = options(postgresql_app_roles=[role])
    found = plan(given, [CLUSTER], now)["problems"]
    assert bool(found) is is_refused
    if is_refused:
        assert f"PostgreSQL has for database.user {role['name']}, " in found[0]
        assert "give another database.user too, or say -e allow_new_password=true" in found[0]
    assert plan({**given, "postgresql_allow_new_password": True}, [CLUSTER], now)["problems"] == []
    own = plan(options(postgresql_roles=[role]), [CLUSTER], now)
    assert own["problems"] == [], "a role of the inventory's own has the password that it says"


@pytest.mark.parametrize(
    ("role", "query"),
    [
        ({}, f'DROP ROLE "{OLD}"'),
        ({"login": False}, f'DROP ROLE "{OLD}"'),
        ({"in_use": True}, f'ALTER ROLE "{OLD}" NOLOGIN'),
        ({"in_use": True, "login": False}, None),
        ({"member_of": []}, None),
        ({"member_of": ["blog"]}, None),
        ({"settings": []}, None),
    ],
)
def test_a_login_goes_when_the_app_is_live_with_another(role, query):
    assert retired({OLD: {**LOGIN, **role}}) == ([query] if query else [])
    assert retired({OLD: {**LOGIN, **role}}, settled=()) == []


def test_no_login_goes_that_is_none_of_ours_or_that_nobody_has_asked_for():
    assert retired({OLD: LOGIN}, roles=APP_ROLES[:1]) == [], "which one is wanted is not known"
    given = options(postgresql_roles=[{"name": OLD}], postgresql_app_roles=APP_ROLES, postgresql_app_settled=["shop"])
    assert plan(given, [CLUSTER], catalog({**THERE, OLD: LOGIN}))["retired"] == [], "the inventory names it"


def test_the_role_of_an_app_enters_until_the_app_has_a_login_beside_it():
    there = {**THERE, "shop": {**ROLE, "verifier": verifier("old-password")}}
    given = options(postgresql_app_roles=APP_ROLES)
    assert plan(given, [CLUSTER], catalog(there))["roles"] == []
    assert retired(there) == ['ALTER ROLE "shop" NOLOGIN PASSWORD NULL']
    assert retired(there, roles=[{"name": "shop", "password": "old-password"}]) == [f'DROP ROLE "{NEW}"']


def statements(settings, there):
    """What a database that has these settings is told, where others are wanted."""
    given = options(postgresql_databases=[{**SHOP, "settings": settings}])
    found = plan(given, [CLUSTER], catalog(databases={"shop": {**DATABASE, "settings": there}}))["statements"]
    return [each["query"].removeprefix('ALTER DATABASE "shop" ') for each in found]


def test_settings_come_and_go():
    settings = {"search_path": 'a, "b"', "x.y": "it's"}
    assert statements(settings, ["statement_timeout=30s", "search_path=a"]) == [
        "SET \"search_path\" TO 'a', 'b'",
        "SET \"x\".\"y\" TO 'it''s'",
        'RESET "statement_timeout"',
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("timezone", "TimeZone"), ("datestyle", "DateStyle"), ("WORK_MEM", "work_mem"), ("App.Tenant", "app.tenant")],
)
def test_the_server_spells_the_name_of_a_setting_in_its_own_way(given, kept):
    assert statements({given: "x"}, [f"{kept}=x"]) == []
    assert statements({given: "y"}, [f"{kept}=x"]) == [
        f"SET {'.'.join(map(identifier, given.split('.')))} TO 'y'",
    ]
    assert statements({}, [f"{kept}=x"]) == [f"RESET {'.'.join(map(identifier, kept.split('.')))}"]


@pytest.mark.parametrize(
    ("name", "given", "values", "kept"),
    [
        ("search_path", "app, public", "'app', 'public'", "app, public"),
        ("search_path", "App,public", "'app', 'public'", "app, public"),
        ("search_path", '"$user", public', "'$user', 'public'", '"$user", public'),
        ("search_path", "$user", "'$user'", '"$user"'),
        ("search_path", '"A, ""b""", c', "'A, \"b\"', 'c'", '"A, ""b""", c'),
        ("search_path", "", "''", '""'),
        ("Search_Path", "app", "'app'", "app"),
        ("temp_tablespaces", "Fast, slow", "'fast', 'slow'", "fast, slow"),
        ("session_preload_libraries", "auto_explain, $libdir/X", "'auto_explain', '$libdir/X'",
         'auto_explain, "$libdir/X"'),
        ("local_preload_libraries", "a,b", "'a', 'b'", "a, b"),
        ("DateStyle", "ISO, DMY", "'ISO, DMY'", "ISO, DMY"),  # its value is one text
    ],
)  # fmt: skip
def test_a_list_is_set_item_by_item_and_compared_as_the_server_keeps_it(name, given, values, kept):
    assert statements({name: given}, []) == [f'SET "{name}" TO {values}']
    assert statements({name: given}, [f"{name.lower()}={kept}"]) == []
    assert statements({name: given}, [f"{name.lower()}=other"]) != []


@pytest.mark.parametrize(
    ("databases", "allowed", "kind"),
    [({}, False, "restarts"), ({"shop": DATABASE}, False, "waiting"), ({"shop": DATABASE}, True, "restarts")],
)
def test_a_server_that_somebody_uses_restarts_when_it_is_allowed(databases, allowed, kind):
    found = plan(
        options(postgresql_allow_restart=allowed), [CLUSTER], catalog(databases=databases, pending=["max_connections"])
    )
    assert found[kind] == [{"unit": "postgresql@17-main.service", "pending": ["max_connections"]}]
    assert sum(bool(found[each]) for each in ("restarts", "waiting")) == 1


@pytest.mark.parametrize(
    ("listening", "databases", "allowed", "is_refused"),
    [
        ([], {"shop": DATABASE}, False, True),
        (["10.0.0.9"], {"shop": DATABASE}, False, True),
        (["10.0.0.9", "10.0.0.5"], {"shop": DATABASE}, False, False),
        (["*"], {"shop": DATABASE}, False, False),
        ([], {"shop": DATABASE}, True, False),
        (["localhost"], {}, False, False),
    ],
)
def test_no_app_is_told_to_go_where_the_server_does_not_listen_yet(listening, databases, allowed, is_refused):
    """As when an app that was alone with its server gets a second host."""
    given = options(
        postgresql_app_databases=[SHOP],
        postgresql_app_server={"listen_addresses": ["10.0.0.5"], "certificate_file": "/c", "key_file": "/k"},
        postgresql_allow_restart=allowed,
    )
    problems = plan(given, [CLUSTER], catalog(databases=databases, listening=listening))["problems"]
    assert bool(problems) == is_refused
    if is_refused:
        assert "connect to 10.0.0.5, where it does not listen until it restarts" in problems[0]
        assert "allow_database_restart=true" in problems[0]


@pytest.mark.parametrize(
    ("debian", "wanted", "packages"),
    [
        ("12", ["pg_trgm", "postgis", "postgis_raster"], ["postgresql-15-postgis-3"]),
        ("13", ["vector", "pg_partman"], ["postgresql-17-partman", "postgresql-17-pgvector"]),
        ("12", ["old_snapshot"], []),
    ],
)
def test_extensions_bring_their_packages(debian, wanted, packages):
    given = options(postgresql_app_databases=[{**SHOP, "extensions": wanted}])
    assert postgresql_packages(given, FACTS[debian])[3:] == packages
    assert problems(given, FACTS[debian], {}) == []


@pytest.mark.parametrize(("debian", "name"), [("12", "vector"), ("13", "old_snapshot"), ("13", "timescaledb")])
def test_an_extension_that_the_distribution_lacks_stops_it(debian, name):
    given = options(postgresql_databases=[{**SHOP, "extensions": ["hstore", name]}])
    (line,) = problems(given, FACTS[debian], {})
    assert line.startswith(
        f"postgresql_databases[shop].extensions[1]: found {name!r}; give one that the distribution has"
    )
    with_package = {**given, "postgresql_extra_packages": ["postgresql-of-somebody"]}
    assert problems(with_package, FACTS[debian], {}) == []


def test_an_extension_that_the_server_lacks_stops_it():
    given = options(postgresql_databases=[{**SHOP, "extensions": ["postgis", "pg_trgm"]}])
    (line,) = plan(given, [CLUSTER], catalog(extensions={"pg_trgm": None}))["problems"]
    assert line.startswith("postgresql_databases[shop].extensions: found 'postgis'; give one that")


def test_extensions_go_to_the_public_schema_or_to_their_own():
    given = options(postgresql_databases=[{**SHOP, "extensions": ["pg_trgm", "postgis_topology"]}])
    found = plan(given, [CLUSTER], catalog(extensions={"pg_trgm": None, "postgis_topology": "topology"}))
    assert [(each["name"], each["schema"]) for each in found["extensions"]] == [
        ("pg_trgm", "public"),
        ("postgis_topology", ""),
    ]
    (task,) = [task for task in tasks() if "community.postgresql.postgresql_ext" in task]
    assert "item.schema" in task["community.postgresql.postgresql_ext"]["schema"]


def tasks():
    """All tasks of all roles and playbooks, those of blocks too."""

    def inside(found):
        for task in found or []:
            if isinstance(task, dict):
                yield task
                for part in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
                    yield from inside(task.get(part))

    for path in [*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/**/*.yml")]:
        content = yaml.safe_load(path.read_text())
        yield from inside(content if isinstance(content, list) else [])


def test_no_database_says_what_a_name_means_to_postgres():
    """Its owner could: by search_path, and an operator that does what the owner may not."""

    def goes_there(task):
        words = [task.get(name) or {} for name in task if name.startswith("community.postgresql.")]
        command = task.get("ansible.builtin.command") or {}
        script = [*command.get("argv", ()), *(task.get("vars") or {}).values()]
        return any("login_db" in each for each in words) or "pg_upgradecluster --" in " ".join(map(str, script))

    found = [task for task in tasks() if goes_there(task)]
    assert len(found) == 3
    assert {task.get("environment") for task in found} == {"{{ __postgresql_environment }}"}
    variables = yaml.safe_load((ROOT / "roles/postgresql/vars/main.yml").read_text())
    assert variables["__postgresql_environment"] == {"PGOPTIONS": "-c search_path=pg_catalog"}


def test_a_verifier_has_the_keys_of_the_standard():
    """The exchange in section 3 of RFC 7677: the server's key signs it as it stands there."""
    salt, nonce = "W22ZaJ0SNY7soEsUEjb6gQ==", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{nonce},s={salt},i=4096,c=biws,{nonce}"
    text = verifier("pencil", base64.b64decode(salt))
    assert text.startswith(f"SCRAM-SHA-256$4096:{salt}$")
    key = base64.b64decode(text.rpartition(":")[2])
    signature = base64.b64encode(hmac.digest(key, message.encode(), "sha256")).decode()
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_verifier_is_that_of_one_password():
    text = verifier("pencil")
    assert verifies(text, "pencil")
    assert verifier("pencil") != text, "each has a salt of its own"
    assert not verifies(text, "pen")
    assert not verifies("SCRAM-SHA-256$nonsense", "pencil")
    assert not verifies("", "pencil")


# Upgrades

PLACES = {
    "data": "/var/lib/postgresql/{}/main/PG_VERSION",
    "retired": "/etc/postgresql/{}/main/djangofleet.retired",
    "upgrading": "/etc/postgresql/{}/main/djangofleet.upgrading",
    "programs": "/usr/lib/postgresql/{}/bin/postgres",
}


def upgrades(debian: str = "13", whole: tuple[str, ...] = (), **versions: list[int]) -> dict[str, list]:
    """What there is to do on a host that has these versions of data, notes and programs."""
    patterns = {"data": base.VERSION_FILES, "retired": base.RETIRED, "programs": base.PROGRAMS}
    patterns["upgrading"] = base.UPGRADING
    paths = {patterns[kind]: [PLACES[kind].format(version) for version in versions.get(kind, [])] for kind in patterns}
    return postgresql_upgrades(options(), {"distribution_major_version": debian}, {"paths": paths}, whole)


def test_data_of_the_version_before_is_upgraded():
    found = upgrades(data=[15], programs=[15])
    assert found["problems"] == found["notes"] == []
    (cluster,) = found["clusters"]
    assert (cluster["name"], cluster["old"], cluster["new"]) == ("main", 15, 17)
    assert (cluster["old_unit"], cluster["unit"]) == ("postgresql@15-main.service", "postgresql@17-main.service")


def test_an_upgrade_that_was_killed_begins_anew():
    found = upgrades(data=[15, 17], upgrading=[15], programs=[15, 17])
    assert found["problems"] == []
    assert [(cluster["old"], cluster["was_killed"]) for cluster in found["clusters"]] == [(15, True)]
    (cluster,) = upgrades(data=[15], upgrading=[15], programs=[15, 17])["clusters"]
    assert not cluster["was_killed"], "nothing has been made yet"
    assert cluster["has_begun"], "its maintenance page may still be there"


@pytest.mark.parametrize(
    "versions",
    [
        {"data": [15, 17], "retired": [15], "upgrading": [15], "programs": [15, 17]},
        {"data": [15, 17], "upgrading": [15], "programs": [15, 17], "whole": ("/etc/postgresql/15/main",)},
        {"data": [15, 17], "upgrading": [15], "programs": [17], "whole": ("/etc/postgresql/15/main",)},
        {"data": [17], "retired": [15], "upgrading": [15], "programs": [17]},
    ],
)
def test_data_that_was_upgraded_counts_whatever_became_of_the_run(versions):
    """Visitors may have written into it: it is never dropped, and the old server is never started."""
    found = upgrades(**versions)
    assert found["problems"] == found["notes"] == []
    (cluster,) = found["clusters"]
    assert (cluster["old"], cluster["has_begun"], cluster["is_done"], cluster["was_killed"]) == (15, True, True, False)


def test_an_upgrade_that_is_not_asked_for_any_more_retires_nothing():
    assert upgrades("12", data=[15], upgrading=[15], programs=[15])["clusters"] == []
    assert upgrades(data=[17], upgrading=[15], programs=[17])["clusters"] == [], "nobody has brought its data over"
    assert upgrades(data=[15, 17], programs=[15, 17], whole=("/etc/postgresql/15/main",))["problems"], (
        "not by this role"
    )


ROOT = Path(__file__).resolve().parents[2]
TASKS, UPGRADE = ROOT / "roles/postgresql/tasks", ROOT / "playbooks/upgrade-postgresql.yml"
MANUAL = "# This cluster was upgraded to a newer major version. The old\n# cluster has been preserved\n\nmanual\n"


def task(name: str, file: str) -> dict:
    """A task of the role by its name, wherever in the file it stands."""
    tasks = yaml.safe_load((TASKS / file).read_text())
    found = [*tasks, *(each for task in tasks for part in ("block", "rescue") for each in task.get(part, ()))]
    return next(each for each in found if each["name"] == name)


def run_script(name: str, file: str, path: str, *words: object) -> subprocess.CompletedProcess:
    """Run the shell script of a task, with the programs below a path before those of this machine."""
    script = task(name, file)["vars"]["__script"]
    words = ("sh", "-c", script, "sh", *map(str, words))
    return subprocess.run(words, env={"PATH": f"{path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 3])
def test_the_command_that_upgrades_a_cluster_notes_that_it_has(tmp_path, code):
    """The next cluster may fail, and nobody may be there any more to write a note."""
    program = tmp_path / "pg_upgradecluster"
    program.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    program.chmod(0o755)
    upgraded = ("Upgrade the data", "upgrade.yml", str(tmp_path), 17, 15, "main", tmp_path)
    result = run_script(*upgraded)
    assert (result.returncode, result.stdout) == (code, "--method=dump -v 17 15 main\n")
    assert (tmp_path / "djangofleet.retired").exists() == (code == 0)


@pytest.mark.parametrize(
    ("start", "is_later", "is_whole"),
    [
        (MANUAL, True, True),
        ("auto\n", True, False),
        ("manual\n", True, False),  # by whoever runs the host
        (MANUAL, False, False),  # of another upgrade, which was taken back
        (None, True, False),
    ],
)
def test_what_pg_upgradecluster_has_written_last_tells_that_all_rows_are_there(tmp_path, start, is_later, is_whole):
    place = tmp_path / "with a space"
    place.mkdir()
    note = place / "djangofleet.upgrading"
    note.touch()
    os.utime(note, (1000, 1000))
    if start is not None:
        (place / "start.conf").write_text(start)
        os.utime(place / "start.conf", (2000 if is_later else 500,) * 2)
    result = run_script("Look whose data has all been brought over", "look_at_upgrades.yml", "", place)
    assert (result.returncode, result.stdout) == (0, f"{place}\n" if is_whole else "")


def test_a_failure_starts_the_old_servers_of_those_alone_that_are_not_done():
    started = task("Run the old servers, where the new ones have not taken over", "after_failure.yml")
    assert started["vars"] == {"__postgresql_old": "{{ __postgresql_upgrades.clusters | rejectattr('is_done') }}"}
    stopped = task("Retire those whose data is upgraded", "after_failure.yml")
    assert stopped["vars"] == {"__postgresql_old": "{{ __postgresql_upgrades.clusters | selectattr('is_done') }}"}


def test_a_server_that_is_retired_does_not_come_back(render):
    unit = task("Stop the old servers, also at boot", "stop_old.yml")["ansible.builtin.systemd_service"]
    assert (unit["state"], unit["enabled"]) == ("stopped", False)
    cluster = {"settings": {"port": "5432", "work_mem": "'4MB'"}}
    text = render("postgresql", "etc/postgresql/cluster/conf.d/djangofleet.conf.j2", cluster=cluster)
    line = task("Leave the port to the new servers", "stop_old.yml")["ansible.builtin.lineinfile"]
    assert [each for each in text.splitlines() if re.search(line["regexp"], each)] == ["port = 5432"]


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"data": [15]}, "has data of version 15, whose programs are not on this host"),
        ({"data": [15, 17], "programs": [15, 17]}, "has data of the versions 15, 17; look which one is wanted"),
        ({"data": [15, 17], "retired": [13], "programs": [15, 17]}, "has data of the versions 15, 17"),
        ({"data": [18], "programs": [18]}, "has data of version 18, which 17 cannot read; no version goes back"),
    ],
)
def test_what_cannot_be_upgraded(versions, problem):
    (line,) = upgrades(**versions)["problems"]
    assert line.startswith("cluster main: ")
    assert problem in line


@pytest.mark.parametrize(
    ("debian", "versions", "note"),
    [
        ("12", {"data": [15], "programs": [15]}, "is of version 15, the one that Debian 12 has; to run a later one"),
        ("13", {"data": [15, 17], "retired": [15], "programs": [15, 17]}, "is of version 17"),
        ("13", {}, "has no data; site.yml makes it"),
    ],
)
def test_what_stays_as_it_is(debian, versions, note):
    found = upgrades(debian, **versions)
    assert found["clusters"] == found["problems"] == []
    assert note in found["notes"][0]


def test_a_failure_says_what_each_cluster_said(templar):
    said = task("Stop", "upgrade.yml")["ansible.builtin.fail"]["msg"]
    results = [{"stderr": ""}, {"stderr": "one"}, {"stderr": "two"}, {"skipped": True}]
    for failed, expected in (({"results": results}, "one; two"), ({"msg": "no room"}, "no room")):
        assert templar("postgresql", ansible_failed_result=failed).template(trust_as_template(said)) == expected


@pytest.mark.parametrize(("begun", "is_taken_away"), [(True, True), (False, False)])
def test_the_page_of_a_run_that_broke_off_is_taken_away(templar, begun, is_taken_away):
    (play,) = (each for each in yaml.safe_load(UPGRADE.read_text()) if "hosts" in each)
    page = next(each for each in play["tasks"] if "block" in each)["block"][0]
    answer = {"rc": 0, "stdout": json.dumps({"changed": False})}
    upgrades = {"clusters": [{"was_killed": False, "has_begun": begun}]}
    variables = {"djangofleet_maintenance": answer, "__upgrades": upgrades}
    changed = templar("postgresql", **variables).evaluate_expression(trust_as_template(page["changed_when"]))
    assert changed is is_taken_away
