"""An app on one host and its database on another: TLS, and nobody else."""

from __future__ import annotations

import json
import shlex
import subprocess
import time

import pytest
from shared.outside import PROVE, Browser, address_of, control
from shared.project import COLUMN, NO_COLUMN, guestbook, way_back

pytestmark = pytest.mark.skipif(not PROVE, reason="runs more; in the gate scenario fleet has a database elsewhere")

APP, DATABASE = "djangofleet-data-app", "djangofleet-data-db"
AUTHORITY = f"/etc/ssl/djangofleet/{DATABASE}.pem"


def on(host: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(["docker", "exec", host, *words], capture_output=True, text=True, timeout=120, check=False)
    assert not check or result.returncode == 0, f"{words} on {host}: {result.stdout}{result.stderr}"
    return result


def play(*words: str) -> subprocess.CompletedProcess[str]:
    given = json.dumps({"addresses": {host: address_of(host) for host in (APP, DATABASE)}})
    return control("ansible-playbook", "--inventory=molecule/data/two", "--extra-vars", given, *words)


@pytest.fixture(scope="module", autouse=True)
def deployed() -> None:
    """The pair, converged once; the second run changes nothing."""
    result = play("site.yml")
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr
    again = play("site.yml")
    assert again.returncode == 0, again.stdout[-8000:]
    assert again.stdout.count("changed=0") == 2, again.stdout[-3000:]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Browser:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(on(APP, "cat", "/etc/djangofleet/authority/ca.pem").stdout)
    return Browser(address_of(APP), "guestbook.test", str(path))


def sql(statement: str) -> str:
    return on(DATABASE, "psql", "-U", "postgres", "-qtA", "-d", "guestbook", "-c", statement).stdout.strip()


def password() -> str:
    lines = on(APP, "cat", "/etc/djangofleet/guestbook/secret").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)["DATABASE_PASSWORD"]


def login() -> str:
    return sql("select rolname from pg_roles where rolcanlogin and starts_with(rolname, 'guestbook_')")


def connect(source: str, query: str) -> subprocess.CompletedProcess[str]:
    """Ask the server from a host, as somebody who has the password."""
    address = address_of(DATABASE)
    url = f"host={address} user={login()} dbname=guestbook connect_timeout=3 {query}"
    words = ["env", f"PGPASSWORD={password()}", "psql", "-w", "-qtA", "-d", url, "-c", "select 1"]
    return on(source, *words, check=False)


VERIFIED = f"sslmode=verify-full sslrootcert={AUTHORITY}"


def test_what_a_visitor_writes_is_on_the_other_host(browser):
    text = f"across the network at {time.time()}"
    assert browser.submit("/", {"name": "tester", "message": text}).status == 302
    assert sql(f"select count(*) from entries_entry where message = '{text}'") == "1"
    assert on(APP, "test", "-e", "/srv/guestbook/data/db.sqlite3", check=False).returncode == 1


def test_the_app_speaks_tls(browser):
    browser.text("/")
    with_tls = (
        "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)"
        " where datname = 'guestbook' and client_addr is not null"
    )
    assert sql(with_tls) in ("t", ""), "Django may have closed its connection already"
    code = "from django.db import connection as c; c.ensure_connection(); print(c.connection.info.get_parameters())"
    settings = on(APP, "djangoctl", "guestbook", "manage", "shell", "-c", code)
    assert "'sslmode': 'verify-full'" in settings.stdout


def test_who_has_the_password_enters_by_tls_alone():
    assert connect(APP, VERIFIED).stdout.strip() == "1"
    refused = connect(APP, "sslmode=disable")
    assert refused.returncode != 0
    assert "no encryption" in refused.stderr


def test_a_server_that_is_another_one_is_not_believed():
    """The name in the certificate is the address, and no other authority will do."""
    others = connect(APP, "sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt")
    assert "certificate verify failed" in others.stderr


def test_one_host_has_the_key_of_the_authority_that_both_show():
    found = {
        host: on(host, "sh", "-c", "cd /etc/djangofleet/authority; ls; cat ca.pem").stdout for host in (APP, DATABASE)
    }
    assert found[APP].startswith("ca.key\nca.pem\n")
    assert found[APP] == "ca.key\n" + found[DATABASE]
    chain = "/etc/djangofleet/certificates/postgresql/fullchain.pem"
    assert on(DATABASE, "openssl", "verify", "-CAfile", "/etc/djangofleet/authority/ca.pem", chain).stdout.endswith(
        "OK\n"
    )


def test_an_authority_is_not_made_anew_where_another_host_comes_first():
    """As after another order of the hosts in the inventory."""
    result = play("site.yml", "--extra-vars", json.dumps({"certificate_authority_host": DATABASE}))
    assert result.returncode == 2
    assert f"certificate_authority_host: {DATABASE} is to sign" in result.stdout
    assert f"while {APP} has one" in result.stdout


def test_another_host_does_not_reach_the_server():
    """Neither through the firewall, nor past pg_hba.conf where there is none."""
    other = "djangofleet-data-13"
    on(other, "mkdir", "-p", "/etc/ssl/djangofleet")
    subprocess.run(["docker", "cp", f"{APP}:{AUTHORITY}", "/tmp/data-authority.pem"], check=True)
    subprocess.run(["docker", "cp", "/tmp/data-authority.pem", f"{other}:{AUTHORITY}"], check=True)
    assert "timeout" in connect(other, VERIFIED).stderr
    on(DATABASE, "systemctl", "stop", "nftables")
    try:
        assert "no pg_hba.conf entry" in connect(other, VERIFIED).stderr
    finally:
        on(DATABASE, "systemctl", "start", "nftables")


def test_a_deploy_needs_the_app_host_alone():
    result = play("playbooks/deploy.yml", "-e", '{"django_apps": [], "app": ""}', "--list-hosts")
    assert DATABASE not in result.stdout


def test_a_run_for_one_host_leaves_who_may_connect():
    before = on(DATABASE, "sh", "-c", "cat /etc/postgresql/*/main/pg_hba.conf; nft list ruleset").stdout
    result = play("site.yml", f"--limit={DATABASE}")
    assert result.returncode == 0, result.stdout[-4000:]
    assert on(DATABASE, "sh", "-c", "cat /etc/postgresql/*/main/pg_hba.conf; nft list ruleset").stdout == before
    assert connect(APP, VERIFIED).stdout.strip() == "1"


def test_a_deploy_that_destroys_takes_its_point_where_the_database_is(browser, tmp_path):
    """The app's host has no backup, and the database's host has no app."""

    def run(*words: str, **variables) -> str:
        result = play(*words, "--extra-vars", json.dumps(variables))
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr
        return result.stdout + result.stderr

    saved = {"backup_repository": {"path": "/srv/repository"}}

    def deploy(version: str, *operations: str, **variables) -> str:
        path = str(guestbook(tmp_path / version, *operations))
        return run("playbooks/deploy.yml", two_project=path, two_version=version, **saved, **variables)

    run("site.yml", **saved)  # the server, too, has to know where its WAL goes
    on(DATABASE, "systemctl", "start", "djangofleet-backup.service")  # waits for the one that has begun
    deploy("mood", COLUMN)
    count = "select count(*) from entries_entry where mood = 'calm'"
    sql("update entries_entry set mood = 'calm'")
    before = sql(count)
    assert before != "0"
    words = shlex.split(way_back(deploy("no-mood", COLUMN, NO_COLUMN, allow_destructive_migrations=True)))
    assert sql("select count(*) from information_schema.columns where column_name = 'mood'") == "0"
    run(*words[1:], **saved)
    assert sql(count) == before
    assert browser.get("/").status == 200
