"""The rules of role backup: what it configures, what it refuses, what apps give it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import resolve_apps
from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import (
    account,
    app_address,
    app_clusters,
    app_databases,
    app_files,
    backup_config,
    backup_packages,
    backup_passphrase_differs,
    backup_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from djangofleet_backup.core import sealed

CLUSTER = {"name": "main", "version": 17, "data": "/var/lib/postgresql/17/main"}
FILES = {"name": "shop", "user": "django-shop", "data": "/srv/shop/data", "trees": ["/srv/shop/media"]}
GIVEN: dict[str, Any] = {
    "backup_enabled": True,
    "backup_name": "db1",
    "backup_repository": {"path": "/mnt/backup/"},
    "backup_passphrase": "correct-horse-battery",
    "backup_clusters": [CLUSTER],
    "backup_files": [FILES],
}
STORE = {
    "type": "s3", "path": "/fleet", "bucket": "acme", "endpoint": "s3.test:9000", "key": "id", "key_secret": "secret",
    "ca_file": "/etc/ssl/s3.pem",
}  # fmt: skip


AWAY = {"type": "sftp", "host": "vault", "path": "/srv/backup"}
HOSTS = ["db1", "vault"]
TRIXIE = {"distribution_major_version": "13"}


def options(**given: Any) -> dict[str, Any]:
    found, wrong = resolve(spec_of("backup"), {**GIVEN, **given})
    assert wrong == []
    return found


def test_programs_for_what_there_is():
    assert backup_packages(options()) == ["pgbackrest", "restic"]
    assert backup_packages(options(backup_files=[])) == ["pgbackrest"]
    assert backup_packages(options(backup_clusters=[])) == ["restic"]
    assert backup_packages(options(backup_enabled=False)) == []


def test_a_directory():
    found = backup_config(options())
    (postgresql,), (restic,) = found["postgresql"], found["restic"]
    assert postgresql["settings"]["repo1-path"] == "/mnt/backup/db1/postgresql"
    assert postgresql["settings"]["repo1-cipher-pass"] == "correct-horse-battery"
    assert restic["variables"] == {
        "RESTIC_REPOSITORY": "/mnt/backup/db1/files", "RESTIC_PASSWORD": "correct-horse-battery",
    }  # fmt: skip
    assert found["places"] == {
        "root": [{"path": "/mnt/backup/db1/files"}], "postgres": [{"path": "/mnt/backup/db1/postgresql"}],
    }  # fmt: skip


def test_a_store():
    found = backup_config(options(backup_repository=STORE))
    settings = found["postgresql"][0]["settings"]
    assert settings["repo1-type"] == "s3"
    assert (settings["repo1-s3-endpoint"], settings["repo1-storage-port"]) == ("s3.test", "9000")
    assert settings["repo1-path"] == "/fleet/db1/postgresql"
    assert found["restic"][0]["variables"]["RESTIC_REPOSITORY"] == "s3:https://s3.test:9000/acme/fleet/db1/files"
    assert found["settings"]["repository"] == "s3 s3.test:9000/acme/fleet/db1"
    assert found["places"] == {"root": [], "postgres": []}


def test_a_directory_of_another_host():
    found = backup_config(options(backup_repository={**AWAY, "port": 2222}, backup_app_address="10.0.0.9"))
    user = account("db1")
    assert len(user) <= 32
    assert user != account("db2")
    assert found["remote"]["known_as"] == "[10.0.0.9]:2222"
    assert (found["remote"]["host"], found["remote"]["account"]) == ("vault", user)
    settings, variables = found["postgresql"][0]["settings"], found["restic"][0]["variables"]
    assert (settings["repo1-type"], settings["repo1-sftp-host"], settings["repo1-sftp-host-user"]) == (
        "sftp", "10.0.0.9", user,
    )  # fmt: skip
    assert settings["repo1-path"] == "/srv/backup/db1/postgresql"
    assert variables["RESTIC_REPOSITORY"] == f"sftp:{user}@10.0.0.9:/srv/backup/db1/files"
    assert f"-p 2222 {user}@10.0.0.9 -s sftp" in variables["SFTP_COMMAND"]
    assert found["places"] == {"root": [], "postgres": []}
    assert found["settings"]["repository"] == "sftp vault/srv/backup/db1"
    assert "openssh-client" in backup_packages(options(backup_repository=AWAY))


def test_where_the_host_of_a_repository_is_reached():
    assert app_address("vault", {"vault": {"ansible_host": "10.0.0.9"}}) == "10.0.0.9"
    assert app_address("vault", {"vault": {"host_private_address": "10.1.0.9", "ansible_host": "x"}}) == "10.1.0.9"
    assert app_address("vault", {"vault": {}}) == "vault"
    assert app_address("", {}) == ""


def test_the_pgbackrest_of_debian_12_speaks_no_sftp():
    bookworm = {"distribution_major_version": "12"}
    (line,) = backup_problems({**GIVEN, "backup_repository": AWAY}, bookworm, HOSTS)
    assert line.startswith("backup_repository.type: found 'sftp' on Debian 12")
    assert backup_problems({**GIVEN, "backup_repository": AWAY, "backup_clusters": []}, bookworm, HOSTS) == []


def test_no_secret_is_in_what_the_program_is_told():
    settings = backup_config(options(backup_repository=STORE))["settings"]
    assert "correct-horse" not in str(settings)
    assert "secret" not in str(settings)


def test_the_wired_passphrase_is_for_who_has_given_none():
    wired = options(backup_passphrase="", backup_app_passphrase="made")
    assert backup_config(wired)["restic"][0]["variables"]["RESTIC_PASSWORD"] == "made"
    both = options(backup_app_passphrase="made")
    assert backup_config(both)["restic"][0]["variables"]["RESTIC_PASSWORD"] == "correct-horse-battery"


def test_the_passphrase_of_backups_that_there_are_is_kept():
    """The program on the host notes by which one it has opened which repository."""
    entry = {"repository": "posix /mnt/backup/db1", "passphrase": sealed(GIVEN["backup_passphrase"])}
    record = json.dumps({"prepared": {"files": entry, "cluster main": {**entry, "system": 1}}})
    assert not backup_passphrase_differs(options(), record)
    other = {"backup_passphrase": "another-battery"}
    assert backup_passphrase_differs(options(**other), record)
    assert not backup_passphrase_differs(options(**other, backup_repository={"path": "/mnt/new"}), record)
    assert not backup_passphrase_differs(options(backup_passphrase=""), record), "a check mode has made none"
    for nothing in ("{}", "damaged", json.dumps({"prepared": {"files": "posix /mnt/backup/db1"}})):
        assert not backup_passphrase_differs(options(**other), nothing)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"backup_repository": {"type": "posix"}}, "backup_repository.path: is missing"),
        ({"backup_repository": {"path": "backup"}}, "backup_repository.path: found 'backup'"),
        ({"backup_repository": {"path": "/home/backup"}}, "backup_repository.path: found '/home/backup'"),
        ({"backup_repository": {"path": "/tmp"}}, "backup_repository.path: found '/tmp'"),
        ({"backup_repository": {"path": "/srv/shop/media/backup"}}, "backup_repository.path: found"),
        ({"backup_repository": {"path": "/var/lib/postgresql"}}, "backup_repository.path: found"),
        ({"backup_repository": {"type": "ftp"}}, "backup_repository.type: found 'ftp'"),
        ({"backup_repository": {**STORE, "bucket": ""}}, "backup_repository.bucket: is missing"),
        ({"backup_repository": {**STORE, "key_secret": ""}}, "backup_repository.key_secret: is missing"),
        ({"backup_repository": {**AWAY, "host": "nobody"}}, "backup_repository.host: found 'nobody'"),
        ({"backup_repository": {**AWAY, "host": "db1"}}, "backup_repository.host: found 'db1'"),
        ({"backup_repository": {**AWAY, "path": ""}}, "backup_repository.path: is missing"),
        ({"backup_passphrase": "short"}, "backup_passphrase: found (not shown)"),
        ({"backup_retention_days": 0}, "backup_retention_days: found '0'"),
        ({"backup_calendar": "daily; reboot"}, "backup_calendar: found 'daily; reboot'"),
        ({"backup_wal_queue": "4 GB"}, "backup_wal_queue: found '4 GB'"),
        ({"backup_name": "a/b"}, "backup_name: found 'a/b'"),
        ({"backup_files": [FILES, FILES]}, "backup_files[].name: 'shop' is there 2 times"),
        ({"backup_files": [{"name": "x", "user": "x"}]}, "backup_files[x]: has neither data nor trees"),
        ({"backup_files": [{"name": "x", "user": "x", "trees": ["srv/x"]}]}, "backup_files[x].trees: found 'srv/x'"),
        ({"backup_databases": [{"name": "x", "cluster": "y"}]}, "backup_databases[x].cluster: found 'y'"),
        ({"backup_databases": [{"name": "x", "assertion": "a\nb"}]}, "backup_databases[x].assertion: found"),
    ],
)
def test_what_is_refused(given, line):
    found = backup_problems({**GIVEN, **given}, TRIXIE, HOSTS)
    assert len(found) == 1, found
    assert found[0].startswith(line)
    assert "short" not in found[0] or "passphrase" not in found[0]


def test_what_is_taken():
    for repository in (GIVEN["backup_repository"], STORE, AWAY):
        assert backup_problems({**GIVEN, "backup_repository": repository}, TRIXIE, HOSTS) == []
    assert backup_problems({"backup_enabled": False, "backup_repository": {}}, {}, []) == []


# What is wired

GROUPS = {"app": ["app1", "app2"], "database": ["db1"]}
APPS = [
    {"name": "shop", "domains": ["shop.test"], "source": {"path": "/x"}, "database": {"engine": "postgresql"},
     "backup": {"assertion": "select 1"}},
    {"name": "notes", "domains": ["notes.test"], "source": {"path": "/x"}, "database": {"url": "postgres://x/y"},
     "backup": {"assertion": "select 2"}},
    {"name": "bare", "domains": ["bare.test"], "source": {"path": "/x"}, "backup": {"files": False}},
]  # fmt: skip


def test_databases_of_apps():
    (found,) = app_databases(resolve_apps(APPS, GROUPS), GROUPS)
    assert found == {"name": "shop", "app": "shop", "assertion": "select 1", "manage": False}
    alone = {"app": ["one"], "database": ["one"]}
    assert app_databases(resolve_apps(APPS, alone), alone)[0]["manage"] is True


def test_files_are_saved_once():
    apps = resolve_apps(APPS, GROUPS)
    assert [each["name"] for each in app_files(apps, "app1")] == ["shop", "notes"]
    assert app_files(apps, "app2") == []
    assert [each["name"] for each in app_files(apps, "app2", separate=True)] == ["shop", "notes"]
    shop, notes = app_files(apps, "app1")
    assert (shop["data"], shop["trees"]) == ("/srv/shop/data", ["/srv/shop/media", "/srv/shop/shared"])
    assert (shop["assertion"], notes["assertion"]) == ("", "select 2")


def test_clusters_of_role_postgresql():
    facts = {"distribution_major_version": "12"}
    given = {"postgresql_enabled": True, "postgresql_clusters": [{"name": "main"}, {"name": "two", "port": 5433}]}
    assert [each["data"] for each in app_clusters(given, facts)] == [
        "/var/lib/postgresql/15/main", "/var/lib/postgresql/15/two",
    ]  # fmt: skip
    assert app_clusters({"postgresql_enabled": False}, facts) == []
