"""What apps with a PostgreSQL or a Redis of ours mean for its host, and where they find it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.module_utils.login import login_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils import app_servers as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import apps_problems, resolve_apps
from ansible_collections.djangofleet.stack.plugins.plugin_utils.listening import address_problems

ROOT = Path(__file__).resolve().parents[2]
SHOP = {
    "name": "web-shop",
    "domains": ["shop.example.com"],
    "source": {"package": "shop==1"},
    "database": {"engine": "postgresql", "extensions": ["pg_trgm"], "options": {"statement_timeout": "30s"}},
    "media": {"shared": True},
}
PLAIN = {"name": "plain", "domains": ["plain.example.com"], "source": {"package": "plain==1"}}
HOSTVARS = {
    "app1": {"host_private_address": "10.0.0.1"},
    "app2": {"ansible_host": "10.0.0.2"},
    "db1": {"host_private_address": "10.0.0.7", "ansible_host": "192.0.2.7"},
    "db2": {},
}
ONE = {"app": ["app1"], "database": ["app1"]}
TWO = {"app": ["app1"], "database": ["db1"]}
FLEET = {"app": ["app1", "app2"], "database": ["app1"]}


def resolved(groups, *apps):
    return resolve_apps(list(apps), groups)


def wrong(groups, *apps, hostvars=HOSTVARS, separate=False):
    return apps_problems(list(apps), groups, "", {}, lambda _path, _kind: True, separate, hostvars)


def test_each_app_has_a_database_and_a_role_of_its_name():
    apps = resolved(ONE, SHOP, PLAIN)
    assert rules.databases(apps) == [
        {"name": "web_shop", "owner": "web_shop", "extensions": ["pg_trgm"], "settings": {"statement_timeout": "30s"}}
    ]
    assert rules.roles(apps, {}) == [OWNER], "nobody was asked: there is no login to make"


OWNER = {"name": "web_shop", "login": False}


def login(password):
    """The login of the app's role by a password."""
    name = login_of("web_shop", password)
    return {"name": name, "password": password, "member_of": ["web_shop"], "settings": {"role": "web_shop"}}


ANSWERS = {
    "results": [
        {"item": {"app": "web-shop", "variable": "DATABASE_PASSWORD"}, "value": "made"},
        {"item": {"app": "web-shop", "variable": "REDIS_PASSWORD"}, "value": "other"},
    ]
}
BOTH = SHOP | {"cache": {"engine": "redis"}}


def test_the_password_is_the_one_that_the_run_has_read():
    apps = resolved(FLEET, BOTH)
    assert rules.roles(apps, ANSWERS) == [OWNER, login("made")]
    assert rules.users(apps, ANSWERS) == [{"name": "web-shop", "passwords": ["other"], "keys": ["*"]}]
    given = SHOP | {"database": {"engine": "postgresql", "password": "given-by-hand"}}
    assert rules.roles(resolved(FLEET, given), ANSWERS) == [OWNER, login("given-by-hand")]


POOLED = SHOP | {"database": {"engine": "postgresql", "pooler": "pgbouncer"}}


@pytest.mark.parametrize(("groups", "host"), [(ONE, ""), (TWO, "10.0.0.7")])
def test_a_pooler_knows_the_logins_of_its_hosts_apps(groups, host):
    found = rules.pooler(resolved(groups, POOLED, PLAIN), groups, HOSTVARS, "app1", ANSWERS)
    assert found["users"] == [{"owner": "web_shop", "name": login_of("web_shop", "made"), "password": "made"}]
    assert found["server"].get("host", "") == host


def test_a_pooler_of_an_unread_password_is_one_all_the_same():
    found = rules.pooler(resolved(ONE, POOLED), ONE, HOSTVARS, "app1", {})
    assert found == {"users": [{"owner": "web_shop", "name": "", "password": ""}], "server": {}}


@pytest.mark.parametrize(("app", "host"), [(SHOP, "app1"), (POOLED, "db1"), (PLAIN, "app1")])
def test_nobody_else_has_a_pooler(app, host):
    assert rules.pooler(resolved(TWO, app), TWO, HOSTVARS, host, ANSWERS) == {"users": [], "server": {}}


def test_a_login_follows_from_its_password():
    assert login_of("shop", "a-password") == login_of("shop", "a-password") != login_of("shop", "another")
    assert login_of("shop", "a-password").removeprefix("shop") != login_of("blog", "a-password").removeprefix("blog")
    assert len(login_of("x" * 54, "a-password")) == 63, "the longest name that PostgreSQL takes"


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("web_shop", [{"name": "web_shop", "password": "given-by-hand"}]),
        ("till", [OWNER, login("given-by-hand") | {"name": "till"}]),
    ],
)
def test_a_login_may_be_named(user, found):
    database = {"engine": "postgresql", "user": user, "password": "given-by-hand"}
    assert rules.roles(resolved(ONE, SHOP | {"database": database}), {}) == found


LIVE = {"__django_builds": {"web-shop": {}}}


def test_apps_are_changing_until_they_are_live_on_all_of_their_hosts():
    """By the names that they have or would have, since they may be leaving."""
    apps = resolved(FLEET, BOTH, PLAIN)
    assert rules.changing(apps, "database", {}) == ["web_shop", "plain"]
    assert rules.changing(apps, "cache", {"app1": LIVE}) == ["web-shop", "plain"]
    assert rules.changing(apps, "cache", {"app1": LIVE, "app2": LIVE}) == ["plain"]
    named = resolved(FLEET, SHOP | {"database": {"engine": "postgresql", "name": "ledger"}})
    assert rules.changing(named, "database", {}) == ["ledger", "web_shop"]


def test_where_a_server_would_listen_does_not_depend_on_the_apps():
    (wired,) = [rules.server(resolved(TWO, SHOP), "database", TWO, HOSTVARS, "db1")["listens"]]
    assert rules.listener("database", HOSTVARS, "db1") == wired
    assert rules.listener("database", {}, "db1")["listen_addresses"] == []


@pytest.mark.parametrize(
    ("hostvars", "host", "found"),
    [
        ({}, "", []),
        ({"app1": LIVE}, "", []),
        ({"app1": LIVE, "app2": {"__django_builds": {"other": {}}}}, "", []),
        ({"app1": LIVE, "app2": LIVE}, "", ["web_shop"]),
        ({"app1": LIVE}, "app1", ["web_shop"]),
        ({"app1": LIVE}, "app2", []),
    ],
)
def test_an_app_is_settled_when_all_of_its_hosts_are_live(hostvars, host, found):
    apps = resolved(FLEET, BOTH, PLAIN)
    assert rules.settled(apps, "database", hostvars, host) == found
    assert rules.settled(apps, "cache", hostvars, host) == [name.replace("_", "-") for name in found]


def test_before_the_run_has_read_it_nobody_has_a_password():
    apps = resolved(FLEET, BOTH)
    assert rules.roles(apps, {}) == [OWNER]
    assert rules.users(apps, {"skipped": True})[0]["passwords"] == []


def test_passwords_are_made_by_the_primary_host_or_by_each():
    apps = resolved(FLEET, BOTH, PLAIN)
    assert rules.secrets(apps) == [
        {"app": "web-shop", "variable": "DATABASE_PASSWORD", "host": "app1"},
        {"app": "web-shop", "variable": "REDIS_PASSWORD", "host": "app1"},
    ]
    assert {each["host"] for each in rules.secrets(apps, "app2")} == {"app2"}
    assert rules.secrets(apps, "db1") == []
    given = SHOP | {"database": {"engine": "postgresql", "password": "given-by-hand"}}
    assert rules.secrets(resolved(FLEET, given)) == []


def test_an_app_has_the_keys_of_its_prefix():
    (user,) = rules.users(resolved(ONE, SHOP | {"cache": {"engine": "redis", "prefix": "shop:"}}), ANSWERS)
    assert user["keys"] == ["shop:*"]


def test_a_cache_of_its_own_is_reached_by_tls():
    groups = {"app": ["app1"], "cache": ["db1"]}
    apps = resolved(groups, PLAIN | {"cache": {"engine": "redis"}})
    assert rules.place(apps[0], "cache", groups, HOSTVARS)["port"] == 6379
    found = rules.server(apps, "cache", groups, HOSTVARS, "db1")
    assert (found["certificates"][0]["name"], found["certificates"][0]["key_group"]) == ("redis", "redis")
    assert (found["rules"][0]["port"], found["rules"][0]["sources"]) == ("6379", ["10.0.0.1"])
    assert rules.server(apps, "database", groups, HOSTVARS, "db1") == {}


@pytest.mark.parametrize(
    ("caches", "lines"),
    [
        ([{}, {}], 2),
        ([{"prefix": "a:"}, {}], 1),
        ([{"prefix": "a:"}, {"prefix": "a:"}], 2),
        ([{"prefix": "a:"}, {"prefix": "b:"}], 0),
        ([{"prefix": ""}, {"prefix": ""}], 0),
        ([{"prefix": "a:"}, {"prefix": ""}], 0),  # which sees the keys of all, and says so
        ([{"prefix": "shop"}, {"prefix": "shop2:"}], 1),
        ([{"prefix": "shop:"}, {"prefix": "shop:b:"}, {"prefix": "shop:c:"}], 1),
        ([{"prefix": "shop:"}, {"prefix": "shop2:"}], 0),
    ],
)
def test_apps_on_one_redis_say_which_keys_are_theirs(caches, lines):
    groups = {"app": ["app1"], "cache": ["app1"]}
    apps = [
        {**PLAIN, "name": f"app{number}", "domains": [f"{number}.test"], "cache": {"engine": "redis", **cache}}
        for number, cache in enumerate(caches)
    ]
    found = wrong(groups, *apps)
    assert len(found) == lines, found
    assert all(".cache.prefix: " in line for line in found)


def test_the_app_that_would_reach_the_keys_of_another_one_is_named():
    caches = [{"engine": "redis", "prefix": prefix} for prefix in ("shop2:", "shop")]
    apps = [
        {**PLAIN, "name": f"app{number}", "domains": [f"{number}.test"], "cache": cache}
        for number, cache in enumerate(caches)
    ]
    (line,) = wrong({"app": ["app1"], "cache": ["app1"]}, *apps)
    assert line.startswith("django_apps[app1].cache.prefix: found 'shop', with which the keys of another app begin too")
    assert "'shop2:'" in line


@pytest.mark.parametrize(
    ("cache", "line"),
    [
        ({"engine": "memcached"}, "django_apps[plain].cache.engine: found 'memcached'; give one of file, redis"),
        ({"engine": "redis", "url": "redis://x"}, "django_apps[plain].cache.url: stands beside"),
        ({"prefix": "a:"}, "django_apps[plain].cache.prefix: needs django_apps[plain].cache.engine: redis"),
        ({"engine": "redis", "prefix": "a b"}, "django_apps[plain].cache.prefix: found 'a b'; give letters"),
        ({"engine": "redis", "password": "short"}, "django_apps[plain].cache.password: found (not shown)"),
    ],
)
def test_a_cache_that_cannot_be_is_told(cache, line):
    (found,) = wrong({"app": ["app1"], "cache": ["app1"]}, PLAIN | {"cache": cache})
    assert found.startswith(line), found


def test_on_one_host_nothing_goes_over_the_network():
    apps = resolved(ONE, SHOP)
    assert rules.place(apps[0], "database", ONE, HOSTVARS) == {}
    assert rules.access(apps, ONE, HOSTVARS) == [{"role": "+web_shop", "database": "web_shop", "sources": []}]
    assert rules.server(apps, "database", ONE, HOSTVARS, "app1") == {}


def test_a_server_of_its_own_is_reached_by_tls_from_the_apps_hosts_alone():
    apps = resolved(TWO, SHOP, PLAIN)
    assert rules.access(apps, TWO, HOSTVARS)[0]["sources"] == ["10.0.0.1"]
    found = rules.server(apps, "database", TWO, HOSTVARS, "db1")
    assert found["listens"]["listen_addresses"] == ["10.0.0.7"]
    (certificate,) = found["certificates"]
    assert (certificate["domains"], certificate["key_group"]) == (["10.0.0.7"], "postgres")
    assert found["rules"][0]["sources"] == ["10.0.0.1"]
    assert rules.server(apps, "database", TWO, HOSTVARS, "app1") == {}, "the app's host listens for nobody"
    assert rules.place(apps[0], "database", TWO, HOSTVARS) == {
        "host": "10.0.0.7",
        "port": 5432,
        "authority_file": "/etc/ssl/djangofleet/db1.pem",
    }


def test_hosts_that_share_an_app_all_speak_tls_also_the_one_with_the_server():
    apps = resolved(FLEET, SHOP)
    assert rules.access(apps, FLEET, HOSTVARS)[0]["sources"] == ["10.0.0.1", "10.0.0.2"]
    assert rules.place(apps[0], "database", FLEET, HOSTVARS)["host"] == "10.0.0.1"


def test_the_authority_goes_with_the_run_that_has_read_it():
    content = base64.b64encode(b"PEM").decode()
    hostvars = {**HOSTVARS, "db1": {**HOSTVARS["db1"], "djangofleet_authority": {"content": content}}}
    (app,) = resolved(TWO, SHOP)
    assert rules.place(app, "database", TWO, hostvars)["authority"] == "PEM"
    skipped = {**HOSTVARS, "db1": {**HOSTVARS["db1"], "djangofleet_authority": {"skipped": True}}}
    assert "authority" not in rules.place(app, "database", TWO, skipped)


def test_hosts_that_are_sites_of_their_own_share_nothing():
    apps = resolved(FLEET | {"database": ["app1", "app2"]}, SHOP)
    groups = {"app": ["app1", "app2"], "database": ["app1", "app2"]}
    assert rules.place(apps[0], "database", groups, HOSTVARS, separate=True) == {}
    assert rules.server(apps, "database", groups, HOSTVARS, "app2", separate=True) == {}
    assert wrong(groups, SHOP, separate=True) == []


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        (
            {"app": ["app1"]},
            "django_apps[web-shop].database.engine: is postgresql, and no host is in the group database",
        ),
        (
            {"app": ["app1"], "database": ["db1", "db2"]},
            "django_apps[web-shop].database.engine: is postgresql, and the group database has 2 hosts",
        ),
        (
            {"app": ["app1"], "database": ["db2"]},
            "host_private_address: is missing for db2, while django_apps[web-shop]",
        ),
    ],
)
def test_a_database_that_nobody_reaches_is_told(groups, line):
    (found,) = wrong(groups, SHOP)
    assert found.startswith(line)


@pytest.mark.parametrize("groups", [ONE, TWO, FLEET])
def test_what_can_be_reached_is_well(groups):
    assert wrong(groups, SHOP) == []


@pytest.mark.parametrize(
    ("database", "line"),
    [
        ({"engine": "mysql"}, "django_apps[web-shop].database.engine: found 'mysql'; give one of sqlite, postgresql"),
        ({"engine": "postgresql", "url": "postgres://x/y"}, "django_apps[web-shop].database.url: stands beside"),
        ({"name": "shop"}, "django_apps[web-shop].database.name: needs django_apps[web-shop].database.engine"),
        ({"engine": "sqlite", "extensions": ["a"]}, "django_apps[web-shop].database.extensions: needs"),
        ({"engine": "postgresql", "name": "Shop"}, "django_apps[web-shop].database.name: found 'Shop'; give up to 54"),
        (
            {"engine": "postgresql", "user": "pg_shop", "password": "p4ssw0rd"},
            "django_apps[web-shop].database.user: found",
        ),
        ({"engine": "postgresql", "scheme": "mysql"}, "django_apps[web-shop].database.scheme: found 'mysql'"),
        ({"engine": "postgresql", "user": "till"}, "django_apps[web-shop].database.password: is missing beside"),
        ({"engine": "postgresql", "password": "with space"}, "django_apps[web-shop].database.password: found (not sh"),
        ({"engine": "postgresql", "password": "short"}, "django_apps[web-shop].database.password: found (not shown)"),
    ],
)
def test_what_cannot_be_is_told(database, line):
    (found,) = wrong(ONE, SHOP | {"database": database})
    assert found.startswith(line), found


def test_two_apps_with_one_database_are_told():
    other = PLAIN | {"database": {"engine": "postgresql", "name": "web_shop"}}
    assert wrong(ONE, SHOP, other) == [
        "django_apps[].database.name: 'web_shop' is there 2 times; each app needs its own"
    ]


@pytest.mark.parametrize(
    ("address", "facts", "is_refused"),
    [
        ("203.0.113.5", {"all_ipv4_addresses": ["10.0.0.7"], "all_ipv6_addresses": ["fe80::1"]}, True),  # behind NAT
        ("127.0.0.1", {"all_ipv4_addresses": ["10.0.0.7"]}, True),  # where no other host comes
        ("10.0.0.7", {"all_ipv4_addresses": ["192.0.2.1", "10.0.0.7"]}, False),
        ("2001:DB8:0::7", {"all_ipv4_addresses": [], "all_ipv6_addresses": ["2001:db8::7"]}, False),
        ("2001:db8::8", {"all_ipv4_addresses": ["10.0.0.7"], "all_ipv6_addresses": ["2001:db8::7"]}, True),
        ("203.0.113.5", {}, False),  # nobody has asked the host
        ("203.0.113.5", {"all_ipv4_addresses": [], "all_ipv6_addresses": []}, False),  # it has no program to tell
    ],
)
def test_a_server_listens_at_an_address_of_its_host(address, facts, is_refused):
    """Otherwise PostgreSQL does not start again, and Redis not at the next boot."""
    found = list(address_problems("PostgreSQL", [address], facts))
    assert bool(found) is is_refused
    if is_refused:
        assert found[0].startswith(
            f"host_private_address: PostgreSQL is to listen at {address} for apps on other hosts"
        )
        assert "10.0.0.7" in found[0]


def test_the_check_asks_hosts_for_their_addresses():
    check = yaml.safe_load((ROOT / "playbooks/check.yml").read_text())
    (play,) = [play for play in check if play.get("gather_facts")]
    assert "network" in play["gather_subset"]
