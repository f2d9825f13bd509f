"""The database and the cache of a live app change by the inventory, there and back; what is wrong changes nothing."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from shared.outside import PROVE, ROOT, play
from test_caches import root
from test_databases import as_app, sql

INVENTORY = yaml.safe_load((ROOT / "molecule/data/inventory/group_vars/all.yml").read_text())
SECOND = {
    "database": {
        "engine": "postgresql",
        "scheme": "postgresql",
        "password": "of-the-second-round",
        "extensions": ["pg_trgm", "citext"],
        "options": {"statement_timeout": "20s", "work_mem": "9MB"},
    },
    "cache": {"engine": "redis", "prefix": "visitors:", "password": "of-the-second-cache"},
}


@pytest.fixture
def converge(host, tmp_path) -> Callable[..., str]:
    """converge(changes of the guestbook, code, tags, other variables) -> what the run of site.yml says."""

    def converging(changes: dict[str, Any], code: int = 0, tags: str = "all", **variables: Any) -> str:
        apps = copy.deepcopy(INVENTORY["django_apps"])
        apps[0] |= changes
        given = tmp_path / "given.yml"
        one = {} if code else {"app": "guestbook"}  # what is wrong may be about others
        given.write_text(yaml.safe_dump({"django_apps": apps, **one, **variables}))
        name = host.backend.host
        result = play("data", "site.yml", f"--limit={name}", f"--tags={tags}", f"--extra-vars=@{given}")
        assert result.returncode == code, result.stdout[-6000:] + result.stderr
        return result.stdout

    return converging


def test_everything_about_a_database_and_a_cache_changes(host, browse, visitors, converge, figure):
    """A password of the user's own comes and goes as one that is rotated: the one before it is valid until then."""
    ways = ("--path=/healthz", "--connections=4", "--pause=0.1", "--post-every=2")  # the page that asks both servers
    with visitors("guestbook.test", *ways) as seen:
        converge(SECOND)
        assert sql(host, "select count(*) from pg_extension where extname in ('pg_trgm', 'citext')") == "2"
        for setting, value in SECOND["database"]["options"].items():
            code, said = as_app(
                host, f"show {setting}", user="guestbook", database="guestbook", password="of-the-second-round"
            )
            assert (code, said.strip()) == (0, value)
        url = "import os; print(os.environ['DATABASE_URL'].partition(':')[0])"
        assert host.check_output("djangoctl guestbook manage shell -c %s", url).splitlines()[-1] == "postgresql"
        browse("guestbook.test").text("/")
        keep = "from django.core.cache import cache; cache.set('kept', 1, 60); print(cache.get('kept'))"
        assert host.check_output("djangoctl guestbook manage shell -c %s", keep).splitlines()[-1] == "1"
        assert "visitors::1:kept" in root(host, "KEYS", "*").splitlines()
        converge({})
        assert as_app(host, "show work_mem", user="guestbook", database="guestbook", password="of-the-second-round")[0]
    figure("requests answered while the database and the cache of an app changed", seen["requests"])
    figure("of them failed", seen["failed"])
    assert seen["failed"] == 0, seen["examples"]
    assert seen["requests"] > 100


@pytest.mark.skipif(not PROVE, reason="two runs; unit tests see when a server restarts")
def test_a_setting_that_needs_a_restart_waits_for_a_word(host, converge):
    started = "select pg_postmaster_start_time()"
    before, connections = sql(host, started), sql(host, "show max_connections")
    said = converge({}, tags="database", postgresql_settings={"max_connections": 77})
    assert "new values of max_connections" in said
    assert (sql(host, started), sql(host, "show max_connections")) == (before, connections)
    converge({}, tags="database", postgresql_settings={"max_connections": 77}, allow_database_restart=True)
    assert sql(host, "show max_connections") == "77"


BAD = [
    ({"database": {"engine": "oracle"}}, {}, r"django_apps\[guestbook\]\.database\.engine: found 'oracle'"),
    ({"database": {"engine": "postgresql", "name": "ledger"}}, {}, r"two apps|twice|2 times|'ledger'"),
    (
        {"database": {"engine": "postgresql", "extensions": ["timescaledb"]}},
        {},
        r"extensions\[0\]: found 'timescaledb'; give one that the distribution has",
    ),
    (
        {"database": {"engine": "postgresql", "password": "with a\nline"}},
        {},
        r"database\.password: found \(not shown\)",
    ),
    ({}, {"postgresql_version": 99}, r"postgresql_version: found 99"),
    ({"database": {"engine": "sqlite"}}, {}, r"guestbook"),
]


@pytest.mark.parametrize(("changes", "variables", "line"), BAD if PROVE else BAD[2:3])
def test_what_is_wrong_stops_before_anything_changes(host, browse, converge, changes, variables, line):
    said = converge(changes, 2, **variables)
    assert re.search(line, said), said[-3000:]
    assert re.search(r"changed=(\d+)", said)[1] == "0", said[-3000:]
    assert json.loads(browse("guestbook.test").text("/healthz"))["status"] == "ok"
