"""Repositories that are elsewhere: a directory of another host, and a store that speaks the protocol of S3."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
import testinfra
import urllib3
from host import LONG, Host
from shared.outside import ROOT, play

pytestmark = LONG
VAULT = "djangofleet-backup-12"
AWAY = {"type": "sftp", "host": VAULT, "path": "/srv/vault"}


def move(there: Host, repository: dict) -> str:
    """Give the host another repository, as a run of the playbook does, and wait for its first backup and drill."""
    words = ("--tags=backup", f"--limit={there.name}", "-e", json.dumps({"backup_repository": repository}))
    result = play("backup", "site.yml", *words)
    assert result.returncode == 0, result.stdout[-4000:]
    there.wait()
    return result.stdout


@pytest.fixture(scope="module")
def vault(there) -> Iterator[Host]:
    """The host that has the repository. Afterwards the one of the other tests is in use again."""
    if there.name == VAULT:
        pytest.skip("the pgBackRest of Debian 12 speaks no SFTP; a unit test sees it refused")
    found = Host(testinfra.get_host(f"docker://{VAULT}"), VAULT)
    found.ok("systemctl", "start", "ssh")
    move(there, AWAY)
    yield found
    found.ok("systemctl", "start", "ssh")
    move(there, {"path": "/mnt/backup"})


def test_another_host_has_the_repository(there, vault):
    code, parts = there.status()
    assert code == 0, parts
    assert all(part["restored"] for part in parts.values()), parts
    there.switch_wal()
    assert vault.ok("ls", "/srv/vault") == there.name
    code, said = vault.run("grep", "-rlF", "-e", "entries_entry", "-e", "SQLite format", "/srv/vault")
    assert code == 1, said


def test_its_account_keeps_files_and_nothing_else(there, vault):
    account = vault.ok("stat", "-c", "%U", f"/srv/vault/{there.name}")
    assert vault.ok("stat", "-c", "%a", f"/srv/vault/{there.name}") == "700"
    assert vault.ok("stat", "-c", "%U %a", f"/var/lib/{account}/.ssh/authorized_keys") == "root 644"
    ssh = ["ssh", "-i", "/etc/djangofleet-backup/ssh/key", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    ssh += ["-o", "UserKnownHostsFile=/etc/djangofleet-backup/ssh/known_hosts", f"{account}@{VAULT}"]
    code, said = there.run("timeout", "10", *ssh, "id")
    assert code != 0, said
    assert "uid=" not in said
    assert there.ok("stat", "-c", "%a", "/etc/djangofleet-backup/ssh/key") == "600"


def test_a_host_that_is_away_is_told(there, vault):
    vault.ok("systemctl", "stop", "ssh")
    there.switch_wal()
    assert there.run("djangofleet-backup", "run")[0] == 1
    for part in ("cluster main", "files of notes"):
        assert "failed" in there.faults(part)
    assert there.run("djangoctl", "notes", "status")[0] == 9
    assert there.run("djangoctl", "notes", "check")[0] == 0
    there.within(lambda: "WAL" in there.faults("cluster main"), 90, "status tells that WAL does not come there")
    vault.ok("systemctl", "start", "ssh")
    there.ok("djangofleet-backup", "run")
    assert there.status()[0] == 0


def test_it_may_be_the_first_run_of_a_host(there, vault):
    """A second run changes nothing, and a check mode says so."""
    words = ("--tags=backup", f"--limit={there.name}", "-e", json.dumps({"backup_repository": AWAY}))
    for mode in ((), ("--check",)):
        result = play("backup", "site.yml", *words, *mode)
        assert result.returncode == 0, result.stdout[-4000:]
        assert "changed=0 " in result.stdout, result.stdout[-4000:]


# A store


@pytest.fixture(scope="module")
def store(there, tmp_path_factory) -> Iterator[dict]:
    """A store on the controller, with a certificate of its own."""
    place = tmp_path_factory.mktemp("store")
    certificate, key = place / "store.pem", place / "store.key"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=store.test -addext subjectAltName=DNS:store.test"
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with socket.create_server(("0.0.0.0", 0)) as free:
        port = free.getsockname()[1]
    tls = (f"--bind=0.0.0.0:{port}", f"--certfile={certificate}", f"--keyfile={key}")
    command = ["gunicorn", *tls, "--threads=8", "--no-control-socket", "--chdir=molecule/backup", "store:application"]
    environment = {**os.environ, "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **quiet) as server:
        name = {"server_hostname": "store.test", "assert_hostname": "store.test", "ca_certs": str(certificate)}
        patience = urllib3.Retry(20, backoff_factor=0.1)
        pool = urllib3.HTTPSConnectionPool("127.0.0.1", port, retries=patience, **name)
        assert pool.request("PUT", "/acme").status == 200
        gateway = there.ok("sh", "-c", "ip route show default | cut -d' ' -f3")
        there.ok("sh", "-c", f"echo {gateway} store.test >>/etc/hosts")
        there.ok("sh", "-c", 'printf %s "$1" >/etc/ssl/store.pem', "sh", certificate.read_text())
        yield {
            "type": "s3", "bucket": "acme", "endpoint": f"store.test:{port}", "path": "/fleet", "key": "id",
            "key_secret": "not-to-be-seen", "ca_file": "/etc/ssl/store.pem",
        }  # fmt: skip
        move(there, {"path": "/mnt/backup"})
        server.terminate()


def test_a_store_has_the_repository(there, store):
    """moto is the store: it keeps objects in memory, and takes any signature."""
    said = move(there, store)
    assert store["key_secret"] not in said
    code, parts = there.status()
    assert code == 0, parts
    assert all(part["restored"] for part in parts.values()), parts
    there.ok("djangofleet-backup", "run")
    found = there.run("grep", "-rlsF", "--", store["key_secret"], "/etc", "/var/lib/djangofleet", "/run")[1].split()
    modes = {there.ok("stat", "-c", "%a %U %G", path) for path in found}
    assert modes == {"600 root root", "640 root postgres"}
