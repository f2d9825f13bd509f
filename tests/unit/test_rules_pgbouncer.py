"""The rules of role pgbouncer: settings, who may connect, what is wrong."""

from __future__ import annotations

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.pgbouncer import (
    pgbouncer_config,
    pgbouncer_packages,
    pgbouncer_problems,
    pgbouncer_questions,
    userline,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

NEW = {"name": "shop_00000002", "password": "new-password", "owner": "shop"}
NAME = "lower-case letters, digits and underscores, a letter first"
OLD = '"shop_00000001" "old-password" "shop"'
REMOTE = {"host": "10.0.0.7", "port": 5433, "authority_file": "/etc/ssl/djangofleet/db1.pem", "authority": "PEM\n"}


def options(**given):
    """The role's variables as its spec means them."""
    found, wrong = resolve(spec_of("pgbouncer"), {"pgbouncer_enabled": True, **given})
    assert wrong == []
    return found


def wrong(**given):
    return pgbouncer_problems({"pgbouncer_enabled": True, **given})


def config(userlist="", **given):
    return pgbouncer_config(options(**given), {"NoNewPrivileges": True}, userlist)


def test_a_host_whose_apps_have_no_pooler_gets_nothing():
    assert pgbouncer_packages({**options(), "pgbouncer_enabled": False}, {}) == []
    assert pgbouncer_questions({"pgbouncer_enabled": False}) == {}
    assert pgbouncer_problems({"pgbouncer_enabled": False, "pgbouncer_max_client_conn": 0}) == []


@pytest.mark.parametrize(("debian", "client"), [("12", "15"), ("13", "17")])
def test_the_client_is_the_distributions(debian, client):
    facts = {"distribution_major_version": debian}
    assert pgbouncer_packages(options(), facts) == ["pgbouncer", f"postgresql-client-{client}"]


def test_it_lends_connections_of_the_socket_for_a_transaction():
    found = config()
    assert found["databases"] == ["* = host=/run/postgresql port=5432"]
    assert (found["settings"]["pool_mode"], found["settings"]["listen_addr"]) == ("transaction", "")
    assert "server_tls_sslmode" not in found["settings"]
    assert (found["sandbox"], found["authorities"]) == (["NoNewPrivileges=yes"], [])


def test_another_host_is_reached_by_tls_alone():
    found = config(pgbouncer_app_server=REMOTE)
    assert found["databases"] == ["* = host=10.0.0.7 port=5433"]
    assert found["settings"]["server_tls_sslmode"] == "verify-full"
    assert found["settings"]["server_tls_ca_file"] == REMOTE["authority_file"]
    assert found["authorities"] == [{"path": REMOTE["authority_file"], "content": "PEM\n"}]


def test_the_inventorys_server_wins_over_the_wired_one():
    given = {"pgbouncer_host": "10.0.0.8", "pgbouncer_ca_file": "/ca.pem"}
    found = config(pgbouncer_app_server=REMOTE, **given)
    assert found["databases"] == ["* = host=10.0.0.8 port=5432"]
    assert (found["settings"]["server_tls_ca_file"], found["authorities"]) == ("/ca.pem", [])


def test_a_database_may_be_another():
    databases = [{"name": "shop", "settings": {"pool_size": 5}}, {"name": "ledger", "host": "/run/other", "port": 5433}]
    assert config(pgbouncer_databases=databases)["databases"] == [
        "shop = host=/run/postgresql port=5432 pool_size=5",
        "ledger = host=/run/other port=5433",
        "* = host=/run/postgresql port=5432",
    ], "any other comes last"


def test_a_value_with_spaces_is_quoted():
    databases = [{"name": "shop", "settings": {"connect_query": "set x = 'y'"}}]
    assert config(pgbouncer_databases=databases)["databases"][0].endswith("connect_query='set x = ''y'''")


def test_settings_have_the_last_word_over_the_roles_defaults():
    settings = config(pgbouncer_settings={"pool_mode": "session", "verbose": True})["settings"]
    assert (settings["pool_mode"], settings["verbose"]) == ("session", "1")


# Who may connect


def test_users_of_the_inventory_and_of_apps():
    given = {"pgbouncer_users": [{"name": "audit", "password": 'p4ss"word'}], "pgbouncer_app_users": [NEW]}
    assert config(**given)["users"] == [
        '"audit" "p4ss""word"',
        '"shop_00000002" "new-password" "shop"',
    ]


def test_an_app_whose_password_is_not_read_yet_is_known():
    assert config(pgbouncer_app_users=[{"owner": "shop"}])["users"] == []
    assert wrong(pgbouncer_app_users=[{"owner": "shop"}, {"owner": "blog"}]) == []


def test_an_earlier_login_stays_until_the_app_is_live_with_the_next():
    before = config(OLD, pgbouncer_app_users=[NEW])
    assert (len(before["users"]), before["retired"]) == (2, [])
    after = config("\n".join(before["users"]), pgbouncer_app_users=[NEW], pgbouncer_app_settled=["shop"])
    assert after["users"] == [userline(**NEW)]
    assert after["retired"] == ["shop_00000001"]


def test_an_app_that_gives_up_its_pooler_keeps_its_login_until_it_is_live_without():
    assert config(OLD)["users"] == [OLD]
    assert config(OLD, pgbouncer_app_settled=["shop"])["users"] == []


def test_a_user_of_the_inventory_goes_with_its_line():
    assert config('"audit" "p4ssword"')["users"] == []


def test_signs_of_a_password_survive():
    user = {**NEW, "password": 'a"b\\c$d\'e" "f'.replace(" ", "_")}
    assert config(userline(**user))["users"] == [userline(**user)]


# What is wrong


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"pgbouncer_default_pool_size": 0}, "pgbouncer_default_pool_size: found '0'; give a number above 0"),
        ({"pgbouncer_max_client_conn": -1}, "pgbouncer_max_client_conn: found '-1'; give a number above 0"),
        ({"pgbouncer_query_wait_timeout": 0}, "pgbouncer_query_wait_timeout: found '0'; give a number above 0"),
        (
            {"pgbouncer_settings": {"auth_file": "/x"}},
            "pgbouncer_settings.auth_file: is the role's own; give nothing in its place",
        ),
        (
            {"pgbouncer_settings": {"max_client_conn": 5}},
            "pgbouncer_settings.max_client_conn: is the role's own; give pgbouncer_max_client_conn",
        ),
        (
            {"pgbouncer_settings": {"Verbose": 1}},
            "pgbouncer_settings: found 'Verbose'; give the name of a setting, such as server_idle_timeout",
        ),
        (
            {"pgbouncer_settings": {"verbose": [1]}},
            "pgbouncer_settings.verbose: found '[1]'; give a text, a number, or true or false",
        ),
        (
            {"pgbouncer_settings": {"verbose": "1\nauth_type = trust"}},
            "pgbouncer_settings.verbose: found '1 auth_type = trust'; give a text, a number, or true or false",
        ),
        (
            {"pgbouncer_host": "db one"},
            "pgbouncer_host: found 'db one'; give an address, a host name, or the directory of a socket",
        ),
        (
            {"pgbouncer_host": "10.0.0.8"},
            "pgbouncer_ca_file: is missing, and pgbouncer_host is '10.0.0.8'; give the authority that it is known by",
        ),
        (
            {"pgbouncer_databases": [{"name": "pgbouncer"}]},
            f"pgbouncer_databases[pgbouncer].name: found 'pgbouncer'; give {NAME}, and not pgbouncer, the console",
        ),
        (
            {"pgbouncer_users": [{"name": "pgbouncer", "password": "p4ssw0rd"}]},
            f"pgbouncer_users[pgbouncer].name: found 'pgbouncer'; give {NAME}, and not pgbouncer, who asks the console",
        ),
        (
            {"pgbouncer_users": [{"name": "audit", "password": "short"}]},
            "pgbouncer_users[audit].password: found (not shown); give eight letters, digits and signs or more, "
            "and no space",
        ),
        (
            {"pgbouncer_users": [{"name": "audit", "password": "p4ssw0rd"}] * 2},
            "pgbouncer_users[].name: 'audit' is there 2 times; each needs its own",
        ),
    ],
)
def test_what_is_wrong(given, line):
    assert line in wrong(**given)


def test_a_problem_of_the_server_is_told_once():
    assert len(wrong(pgbouncer_host="db one")) == 1
