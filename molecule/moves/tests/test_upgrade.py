"""PostgreSQL goes to the next major version where the distribution was upgraded; elsewhere the run says why not."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from shared.outside import PROVE, ROOT

HOST = "djangofleet-moves-12"
UPGRADE = "playbooks/upgrade-postgresql.yml"
ROWS = 1000
UNTESTED = "host_allow_untested_distribution=true"
in_full = pytest.mark.skipif(not PROVE, reason="the distribution is upgraded, which takes minutes")


def on(*words: str, seconds: float = 300) -> str:
    result = subprocess.run(
        ["docker", "exec", HOST, *words], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert result.returncode == 0, f"{words}: {result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout


def sql(statement: str) -> str:
    return on("psql", "-U", "postgres", "-qtA", "-d", "shop", "-c", statement).strip()


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """play(playbook): run it for a host with a database, and no app."""
    path = tmp_path_factory.mktemp("upgrade") / "inventory.yml"
    groups = {"app": {}, "web": {}, "database": {"hosts": {HOST: {}}}}
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_user": "root",
        "django_apps": [],
        "postgresql_databases": [{"name": "shop", "owner": "shop", "extensions": ["pg_trgm"]}],
        "postgresql_roles": [{"name": "shop", "password": "a-password"}],
        "postgresql_access": [{"role": "shop", "database": "shop"}],
        "postgresql_settings": {"work_mem": "7MB"},
    }
    path.write_text(yaml.safe_dump({"all": {"children": groups, "vars": variables}}))

    def run(*words: str, code: int = 0) -> str:
        result = subprocess.run(
            ["ansible-playbook", f"--inventory={path}", *words],
            cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert (result.returncode != 0) == (code != 0), result.stdout[-8000:] + result.stderr
        return " ".join(result.stdout.split())

    return run


def test_a_server_with_rows(play):
    play("site.yml")
    sql(f"create table kept as select generate_series(1, {ROWS}) as number; alter table kept owner to shop")


def test_a_host_without_a_later_version_is_told(play):
    said = play(UPGRADE)
    assert "cluster main: is of version 15, the one that Debian 12 has" in said
    assert re.search(r"changed=0 ", said)


def test_data_of_another_version_is_refused(play):
    """Neither is a server started on it, nor is it made anew."""
    on("sh", "-c", "install -d /var/lib/postgresql/13/main && echo 13 > /var/lib/postgresql/13/main/PG_VERSION")
    try:
        said = play("site.yml", code=2)
        assert "has the data of cluster main in version 13, which 15 cannot read" in said
        assert UPGRADE in said
        said = play(UPGRADE, code=2)
        assert "cluster main: has data of the versions 13, 15; look which one is wanted" in said
        assert sql("select count(*) from kept") == str(ROWS)
    finally:
        on("rm", "-r", "/var/lib/postgresql/13")


@in_full
def test_the_distribution_is_upgraded(play):
    on("sh", "-c", "sed -i 's/bookworm/trixie/g' $(ls -d /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)")
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Options::=--force-confold"
    on("sh", "-c", f"apt-get -q update && {install} full-upgrade", seconds=1500)
    assert sql("show server_version_num")[:2] == "15", "the old server still runs"
    said = play("site.yml", "-e", UNTESTED, code=2)
    assert "has the data of cluster main in version 15, which 17 cannot read" in said


@in_full
def test_an_upgrade_that_is_killed_leaves_the_old_server(play):
    watch = "until test -e /var/lib/postgresql/17/main/PG_VERSION; do sleep 0.05; done; pkill -9 -f pg_upgradecluster"
    process = subprocess.Popen(["docker", "exec", HOST, "sh", "-c", watch])
    play(UPGRADE, code=2)
    process.kill()
    assert sql("show server_version_num")[:2] == "15"
    assert sql("select count(*) from kept") == str(ROWS)
    assert "in version 15, which 17 cannot read" in play("site.yml", "-e", UNTESTED, code=2)


@in_full
def test_the_data_is_upgraded(play, figure):
    said = play(UPGRADE)
    found = re.search(r"upgraded from 15 to 17 in 0:(\d+):([\d.]+)", said)
    assert found, said[-3000:]
    figure("seconds without PostgreSQL while it was upgraded", int(found[1]) * 60 + float(found[2]))
    assert sql("show server_version_num")[:2] == "17"
    assert sql("select count(*) from kept") == str(ROWS)
    assert sql("select extname from pg_extension where extname = 'pg_trgm'") == "pg_trgm"
    assert sql("show work_mem") == "7MB"
    assert re.search(r"^15 +main +5433 +down", on("pg_lsclusters"), re.MULTILINE), "the old cluster is kept"


@in_full
def test_nothing_is_left_to_do(play):
    play("site.yml")
    assert re.search(r"changed=0 ", play("site.yml"))
    said = play(UPGRADE)
    assert "cluster main: is of version 17" in said
    assert re.search(r"changed=0 ", said)
