"""The repository is that of the server: after an upgrade, on a bare host, with another passphrase or store."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from djangofleet_backup import cli, core, postgresql

OLD, NEW = 1_700_000_000 << 32, 1_800_000_000 << 32  # made before and after the backups that there are
SAVED = 1_750_000_000


class World:
    """A cluster, the repository of it, and what pgBackRest was asked to do."""

    def __init__(self) -> None:
        self.version, self.system, self.tables = 17, OLD, 3
        self.repository, self.passphrase = "posix /one", "right"
        self.db: list[dict] = []
        self.backup: list[dict] = []
        self.asked: list[str] = []

    def settings(self) -> dict:
        data = f"/var/lib/postgresql/{self.version}/main"
        cluster = {"name": "main", "version": self.version, "port": 5432, "data": data}
        return {
            "repository": self.repository, "directory": "", "clusters": [cluster], "databases": [], "files": [],
            "full_every_days": 7, "retention_days": 14, "metrics_directory": "",
        }  # fmt: skip

    def saved(self, version: int, system: int, stop: int = SAVED) -> None:
        """Add a server, and a backup of it."""
        number = len(self.db) + 1
        self.db.append({"id": number, "system-id": system, "version": str(version)})
        self.backup.append(
            {
                "label": f"{version}F", "type": "full", "timestamp": {"stop": stop}, "info": {"size": 1},
                "database": {"id": number},
            }
        )  # fmt: skip

    def pgbackrest(self, cluster, *words: str) -> str:
        if words[0] != "info":
            self.asked.append(words[0])
        if words[0] in ("stanza-create", "stanza-upgrade"):
            own = {"system-id": self.system, "version": str(self.version)}
            if words[0] == "stanza-upgrade" or not self.db:
                self.db.append({"id": len(self.db) + 1, **own})
            elif self.db[-1]["system-id"] != self.system:
                raise core.BackupError("pgbackrest: ERROR: [028]")
        if words[0] == "backup":
            assert self.db[-1]["system-id"] == self.system, "ERROR: [051]"
            number, stop = len(self.db), {"stop": SAVED + 10}
            self.backup.append(
                {**self.backup[-1], "timestamp": stop, "database": {"id": number}}
                if self.backup
                else {"label": "F", "type": "full", "timestamp": stop, "info": {"size": 1}, "database": {"id": number}}
            )
        state = {"code": 0} if self.db else {"code": 1, "message": "missing stanza path"}
        repo = []
        if self.passphrase != "right":
            state = {"code": 99, "message": "other"}
            repo = [{"status": {"code": 99, "message": "[CryptoError] unable to load info file"}}]
        return json.dumps([{"status": state, "repo": repo, "db": self.db, "backup": self.backup}])

    def sql(self, cluster, statement: str, *_words, **_options) -> str:
        if "system_identifier" in statement:
            return str(self.system)
        return "postgres\nshop" if "datname" in statement else str(self.tables)


@pytest.fixture
def world(tmp_path, monkeypatch):
    found = World()
    monkeypatch.setattr(core, "STATE", tmp_path / "state")
    monkeypatch.setattr(core, "CONFIG", tmp_path)
    monkeypatch.setattr(postgresql, "pgbackrest", found.pgbackrest)
    monkeypatch.setattr(postgresql, "sql", found.sql)
    monkeypatch.setattr(postgresql.time, "sleep", lambda _seconds: None)
    return found


@pytest.fixture
def prepare(world, tmp_path, capsys):
    def run() -> dict:
        (tmp_path / "pgbackrest.conf").write_text(f"[global]\nrepo1-cipher-pass={world.passphrase}\n")
        assert cli.do_prepare(world.settings(), None) == 0
        return json.loads(capsys.readouterr().out)

    return run


def take(world) -> str:
    """A backup, as the timer takes it. Returns why it failed."""
    cli.do_run(world.settings(), SimpleNamespace(full=False))
    return (core.record()["parts"]["cluster main"].get("backup_failure") or {}).get("error", "")


def test_a_place_is_made_once(world, prepare):
    assert prepare() == {"changed": ["cluster main"], "unsaved": ["cluster main"], "warnings": []}
    assert take(world) == ""
    assert prepare() == {"changed": [], "unsaved": [], "warnings": []}
    assert world.asked == ["stanza-create", "backup"]


def test_a_backup_makes_no_place_in_a_repository_that_is_away(world, prepare):
    """Such as on a directory whose disk is not mounted, on a host that has prepared nothing yet, or something else."""
    assert "missing stanza path" in take(world)
    prepare()
    world.db = []
    world.system = NEW
    assert "missing stanza path" in take(world)
    with pytest.raises(core.BackupError, match="missing stanza path"):
        prepare()
    assert world.asked == ["stanza-create"]


@pytest.fixture
def upgraded(world, prepare):
    """The server and its data are of a later version than what is saved."""
    world.version = 15
    prepare()
    assert take(world) == ""
    world.asked.clear()
    world.version, world.system = 17, NEW
    return world


def test_a_server_of_a_later_version_is_saved_in_the_same_place(upgraded, prepare):
    assert prepare() == {"changed": ["cluster main"], "unsaved": ["cluster main"], "warnings": []}
    assert upgraded.asked == ["stanza-upgrade"]
    assert take(upgraded) == ""
    assert prepare() == {"changed": [], "unsaved": [], "warnings": []}


def test_a_backup_after_an_upgrade_heals_by_itself(upgraded):
    assert take(upgraded) == ""
    assert upgraded.asked == ["stanza-upgrade", "backup"]


def test_an_earlier_version_is_not_taken_for_an_upgrade(upgraded, prepare):
    prepare()
    upgraded.version, upgraded.system = 15, OLD
    with pytest.raises(core.BackupError, match="backups of another server, of PostgreSQL 17"):
        prepare()


def test_no_moment_before_an_upgrade_is_restored(world):
    world.saved(15, OLD, SAVED)
    world.saved(17, NEW, SAVED + 100)
    (cluster,) = postgresql.of(world.settings())
    assert [each["label"] for each in postgresql.backups(cluster)] == ["17F"]
    assert postgresql.plan(cluster, "", SAVED + 200).backup == "17F"
    with pytest.raises(core.Refused, match="is of PostgreSQL 15, whose server is gone"):
        postgresql.plan(cluster, "", SAVED + 50)
    with pytest.raises(core.Refused, match="nothing leads to"):
        postgresql.plan(cluster, "", SAVED - 50)


def test_wal_of_before_an_upgrade_is_no_gap(world, monkeypatch):
    """The new server begins to count anew."""
    world.saved(15, OLD)
    world.saved(17, NEW)
    (cluster,) = postgresql.of(world.settings())
    archives = [
        {"database": {"id": number}, "max": last}
        for number, last in ((1, "0000000100000000000000F7"), (2, "000000010000000000000005"))
    ]
    monkeypatch.setattr(
        postgresql,
        "pgbackrest",
        lambda *_words: json.dumps([{"status": {"code": 0}, "db": world.db, "archive": archives}]),
    )
    monkeypatch.setattr(postgresql, "sql", lambda *_words, **_options: "000000010000000000000005")
    postgresql._require_all_wal(cluster)


@pytest.mark.parametrize("tables", [0, 3], ids=["bare", "with what the apps have made of their databases"])
def test_a_host_in_the_place_of_a_lost_one_is_told_what_can_be_restored(world, prepare, tables):
    world.saved(17, OLD)
    world.system, world.tables = NEW, tables
    found = prepare()
    assert (found["changed"], found["unsaved"]) == ([], ["cluster main"])
    assert "restore.yml -e overwrite=true" in found["warnings"][0]
    assert world.asked == []
    assert "of another server" in take(world)
    (cluster,) = postgresql.of(world.settings())
    assert postgresql.plan(cluster, "", SAVED + 200).backup == "17F"
    world.system = OLD  # it is restored
    assert take(world) == ""
    assert world.asked == ["stanza-create", "backup"]
    assert prepare() == {"changed": [], "unsaved": [], "warnings": []}


def test_no_wal_of_a_bare_server_is_waited_for(world, monkeypatch):
    world.saved(17, OLD)
    (cluster,) = postgresql.of(world.settings())
    monkeypatch.setattr(postgresql, "answers", lambda *_words: True)
    assert postgresql.is_saved(cluster)
    world.system = NEW
    assert not postgresql.is_saved(cluster)


def test_a_server_with_databases_gets_no_place_of_another(world, prepare):
    """Such as one whose host was given the name of another host."""
    world.saved(17, OLD)
    world.system = OLD + 1
    with pytest.raises(core.BackupError, match="save this one by another backup_name") as error:
        prepare()
    assert not isinstance(error.value, postgresql.Replaced)


def test_a_server_that_was_made_anew_on_its_host_is_told_from_a_bare_host(world, prepare):
    prepare()
    assert take(world) == ""
    world.system = NEW
    with pytest.raises(core.BackupError, match="backups of another server"):
        prepare()
    world.tables = 0
    assert "restore.yml" in prepare()["warnings"][0]


def test_another_passphrase_opens_the_repository_again(world, prepare):
    prepare()
    assert take(world) == ""
    recorded = json.dumps(core.record())
    assert "right" not in recorded
    world.passphrase = "wrong"
    with pytest.raises(core.BackupError, match="backup_passphrase: does not open the repository"):
        prepare()
    assert core.record()["prepared"] == json.loads(recorded)["prepared"]
    world.passphrase = "right"
    assert prepare() == {"changed": [], "unsaved": [], "warnings": []}


def test_a_passphrase_is_known_again_and_not_read():
    once = core.sealed("correct-horse")
    assert core.sealed("correct-horse") != once
    assert core.sealed("correct-horse", once) == once
    assert core.sealed("correct-house", once) != once


def test_another_store_gets_a_place_of_its_own(world, prepare):
    prepare()
    assert take(world) == ""
    world.repository, world.db, world.backup = "s3 other.test/acme/db1", [], []
    assert prepare() == {"changed": ["cluster main"], "unsaved": ["cluster main"], "warnings": []}
    assert world.asked == ["stanza-create", "backup", "stanza-create"]


def test_the_record_of_an_earlier_version_is_understood(world, prepare):
    world.saved(17, OLD)
    core.note(lambda state: state.update(prepared={"cluster main": world.repository}))
    core.note(lambda state: state.update(parts={"cluster main": {"backup": {"stop": 1}}}))
    assert prepare() == {"changed": ["cluster main"], "unsaved": [], "warnings": []}
