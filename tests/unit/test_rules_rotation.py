"""Which secrets a rotation makes anew, and what it says of the others."""

from __future__ import annotations

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import resolve_apps
from ansible_collections.djangofleet.stack.plugins.plugin_utils.rotation import rotation

PLAIN = {"name": "plain", "domains": ["plain.example.com"], "source": {"package": "plain==1"}}
SHOP = PLAIN | {"name": "shop", "database": {"engine": "postgresql"}, "cache": {"engine": "redis"}}
GIVEN = SHOP | {
    "name": "given",
    "secret_key": "x" * 50,
    "database": {"engine": "postgresql", "password": "of-the-inventory"},
    "cache": {"engine": "redis", "password": "of-the-inventory"},
}
GROUPS = {"app": ["app1", "app2"], "database": ["db1"], "cache": ["db1"]}


def rotated(*apps, **words):
    return rotation(resolve_apps(list(apps), GROUPS), GROUPS, **words)


@pytest.mark.parametrize(
    ("apps", "words", "steps"),
    [
        ([PLAIN], {}, ["plain SECRET_KEY announced app1"]),
        (
            [SHOP],
            {},
            [
                "shop SECRET_KEY announced app1",
                "shop DATABASE_PASSWORD renewed app1",
                "shop REDIS_PASSWORD renewed app1",
            ],
        ),
        ([SHOP, PLAIN], {"secret": "cache"}, ["shop REDIS_PASSWORD renewed app1"]),
        ([SHOP], {"secret": "database", "host": "app2"}, ["shop DATABASE_PASSWORD renewed app2"]),
        ([SHOP, GIVEN], {"forget": True}, ["shop SECRET_KEY forgotten app1"]),
    ],
)
def test_what_hosts_have_made_is_made_anew(apps, words, steps):
    found = rotated(*apps, **words)
    assert [" ".join(step[key] for key in ("app", "variable", "state", "host")) for step in found["steps"]] == steps
    assert found["problems"] == []
    assert {step["former"] for step in found["steps"] if step["variable"] != "SECRET_KEY"} <= {""}


@pytest.mark.parametrize(
    ("apps", "words", "hosts"),
    [
        ([SHOP, SHOP | {"name": "other"}], {}, ["db1"]),
        ([SHOP], {"secret": "secret_key"}, []),
        ([PLAIN, GIVEN], {}, []),
        ([SHOP], {"host": "app2"}, ["app2"]),
    ],
)
def test_servers_of_new_passwords_are_part_of_the_run(apps, words, hosts):
    assert rotated(*apps, **words)["servers"] == hosts


def test_what_the_inventory_gives_is_told():
    found = rotated(SHOP, GIVEN)
    assert found["apps"] == ["shop"]
    assert [line.partition(": is the inventory's")[0] for line in found["given"]] == [
        "django_apps[given].secret_key",
        "django_apps[given].database.password",
        "django_apps[given].cache.password",
    ]
    assert "this one in django_apps[given].secret_key_fallbacks" in found["given"][0]
    assert rotated(PLAIN | {"environment": {"SECRET_KEY": "mine"}})["steps"] == []


@pytest.mark.parametrize(
    ("apps", "words", "line"),
    [
        ([SHOP], {"secret": "databse"}, "secret: found 'databse'; give one of secret_key, database, cache"),
        ([SHOP], {"secret": "cache", "forget": True}, "forget: ends earlier keys, and secret is cache"),
        ([GIVEN], {"secret": "cache"}, "django_apps[given].cache.password: is the inventory's"),
        ([PLAIN], {"secret": "cache"}, "secret: no app of this run has one of its own for cache"),
    ],
)
def test_what_cannot_be_meant_is_told(apps, words, line):
    found = rotated(*apps, **words)
    assert found["problems"][0].startswith(line)
    assert found["steps"] == []
