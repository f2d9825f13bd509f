"""A restore that ends between any two of its steps: what was live is live again."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from djangofleet_backup import cli, core, postgresql


@pytest.fixture
def started(monkeypatch):
    """The units that were started; no server answers."""
    found: list[str] = []
    monkeypatch.setattr(postgresql, "run", lambda words, **_options: found.append(words[1]) or "")
    monkeypatch.setattr(postgresql.subprocess, "run", lambda words, **_options: None)
    monkeypatch.setattr(postgresql, "answers", lambda *_words, **_options: False)
    monkeypatch.setattr(postgresql, "sql", lambda *_words, **_options: "")
    return found


@pytest.fixture
def cluster(tmp_path, monkeypatch, started):
    monkeypatch.setattr(core, "STATE", tmp_path / "state")
    found = postgresql.Cluster("main", 17, 5432, tmp_path / "17/main")
    for path, content in ((found.data, "live"), (found.scratch, "restored")):
        path.mkdir(parents=True)
        (path / "PG_VERSION").write_text(content)
    return found


PLAN = postgresql.Plan("", "label", "latest", 1.0, 0)


@pytest.mark.parametrize(("moment", "label"), [(100.9, "first"), (200.0, "first"), (200.7, "first"), (201.0, "second")])
def test_no_backup_is_begun_with_that_may_end_after_the_moment(cluster, monkeypatch, moment, label):
    """pgBackRest says 200 of a backup that ended at 200.8: nothing of it leads to 200.7."""
    there = [
        {"label": name, "type": "full", "timestamp": {"stop": stop}, "info": {"size": 1}}
        for name, stop in (("first", 99), ("second", 200))
    ]
    monkeypatch.setattr(
        postgresql, "pgbackrest", lambda *_words: json.dumps([{"status": {"code": 0}, "backup": there}])
    )
    assert postgresql.plan(cluster, "", moment).backup == label


def test_data_that_no_rename_swaps_is_refused_before_a_server_stops(cluster, monkeypatch):
    cli._refuse_unfit([cluster], "")
    monkeypatch.setattr(postgresql.os.path, "ismount", lambda path: path == cluster.data)
    with pytest.raises(core.Refused, match=r"17/main is on a file system of its own, which no rename swaps"):
        cli._refuse_unfit([cluster], "")


@pytest.mark.parametrize("last", [0, 1])
def test_a_restore_that_is_interrupted_puts_back_what_was_live(cluster, monkeypatch, last):
    renamed = []

    def rename(source, target, real=os.rename):
        renamed.append(source)
        if len(renamed) == last + 1:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(postgresql.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        postgresql.swap(cluster, PLAN)
    assert (cluster.data / "PG_VERSION").read_text() == "live"
    assert (cluster.scratch / "PG_VERSION").read_text() == "restored"
    assert core.record()["restores"]["main"] == []


def test_a_server_that_does_not_start_with_the_copy_has_its_own_data_again(cluster, monkeypatch):
    monkeypatch.setattr(postgresql, "STARTED", 0)
    with pytest.raises(core.BackupError, match="the data from before is live again"):
        postgresql.swap(cluster, PLAN)
    assert (cluster.data / "PG_VERSION").read_text() == "live"


def test_a_restore_that_was_killed_is_undone_by_the_next_command(cluster, started):
    before = cluster.data.with_name("main.before-20260101t000000")
    entries = [{"at": 1, "before": "other"}, {"at": 2, "before": str(before)}]
    core.note(lambda state: state.update(restores={"main": entries}))
    os.rename(cluster.data, before)
    assert postgresql.discard(cluster)
    assert (cluster.data / "PG_VERSION").read_text() == "live"
    assert not cluster.scratch.exists()
    assert core.record()["restores"]["main"] == entries[:1]
    assert started == ["start"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), core.BackupError("systemctl: failed")])
def test_a_restore_that_ends_while_the_server_stops_starts_it(cluster, started, monkeypatch, error):
    def run(words, **_options):
        started.append(words[1])
        if words[1] == "stop":
            raise error
        return ""

    monkeypatch.setattr(postgresql, "run", run)
    with pytest.raises(type(error)):
        postgresql.swap(cluster, PLAN)
    assert started[-2:] == ["stop", "start"]
    assert (cluster.data / "PG_VERSION").read_text() == "live"
    assert core.record() == {"restores": {"main": []}, "swaps": {}}


def test_a_restore_that_cannot_be_noted_stops_nothing(cluster, started, monkeypatch):
    monkeypatch.setattr(postgresql, "note", full)
    with pytest.raises(OSError, match="No space left"):
        postgresql.swap(cluster, PLAN)
    assert "stop" not in started
    assert (cluster.data / "PG_VERSION").read_text() == "live"


def test_a_disk_that_fills_keeps_no_server_from_starting(cluster, started, monkeypatch):
    """What has not been noted then is noted when the copy has gone."""
    with monkeypatch.context() as patch:

        def rename(source, target, real=os.rename):
            patch.setattr(postgresql, "note", full)
            patch.setattr(postgresql.os, "rename", real)
            raise OSError(28, "No space left on device")

        patch.setattr(postgresql.os, "rename", rename)
        with pytest.raises(OSError, match="No space left"):
            postgresql.swap(cluster, PLAN)
    assert started[-1] == "start"
    assert len(core.record()["restores"]["main"]) == 1
    assert postgresql.discard(cluster)
    assert core.record() == {"restores": {"main": []}, "swaps": {}}


def full(*_words):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_the_next_command_starts_the_server_that_a_killed_restore_has_stopped(cluster, started, renamed):
    before = cluster.data.with_name("main.before-20260101t000000")
    entry = {"at": 2, "before": str(before)}
    core.note(lambda state: state.update(restores={"main": [entry]}, swaps={"main": str(before)}))
    for source, target in ((cluster.data, before), (cluster.scratch, cluster.data))[:renamed]:
        os.rename(source, target)
    postgresql.discard(cluster)
    assert started == ["start"]
    assert (cluster.data / "PG_VERSION").read_text() == ("restored" if renamed == 2 else "live")
    assert core.record() == {"restores": {"main": [entry] if renamed == 2 else []}, "swaps": {}}
    postgresql.discard(cluster)
    assert started == ["start"], "whoever stops it later has a reason"


def test_a_restore_that_went_live_is_noted_once(cluster, monkeypatch):
    monkeypatch.setattr(postgresql, "within", lambda *_words: True)
    before = postgresql.swap(cluster, PLAN)
    assert (cluster.data / "PG_VERSION").read_text() == "restored"
    state = core.record()
    assert [each["before"] for each in state["restores"]["main"]] == [str(before)]
    assert state["swaps"] == {}


def test_data_that_somebody_else_has_put_away_stays_there(cluster):
    """Without a copy it was no restore."""
    os.rename(cluster.data, cluster.data.with_name("main.before-20260101t000000"))
    os.rename(cluster.scratch, cluster.data.with_name("elsewhere"))
    assert not postgresql.discard(cluster)
    assert not cluster.data.exists()


@pytest.mark.parametrize(
    ("came", "last", "is_whole"),
    [
        ("000000030000000000000007", "000000020000000000000007", True),
        ("000000030000000000000005", "000000020000000000000007", False),
        ("000000030000000000000005", "000000010000000000000007", True),  # a history that was left behind
        ("", None, True),
    ],
)
def test_the_newest_is_refused_if_wal_before_it_is_missing(cluster, monkeypatch, came, last, is_whole):
    """The copy has followed the second timeline, and begun the third."""
    history = cluster.scratch / "pg_wal/00000003.history"
    history.parent.mkdir()
    history.write_text("1\t0/3000000\tbefore\n\n2\t0/5000000\tbefore\n")
    monkeypatch.setattr(
        postgresql, "pgbackrest", lambda *_words: json.dumps([{"status": {"code": 0}, "archive": [{"max": last}]}])
    )
    monkeypatch.setattr(postgresql, "sql", lambda *_words, **_options: came)
    if is_whole:
        postgresql._require_all_wal(cluster)
    else:
        with pytest.raises(core.BackupError, match="has a gap"):
            postgresql._require_all_wal(cluster)


def test_a_new_repository_has_nothing_of_the_old_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(core, "STATE", tmp_path)
    monkeypatch.setattr(cli.disk, "prepare", lambda: None)
    entry = {"name": "shop", "app": "shop", "user": "shop", "data": "/x", "trees": [], "assertion": ""}
    settings = {"clusters": [], "databases": [], "files": [entry], "repository": "posix /one", "directory": ""}

    def prepare(**changed) -> dict:
        assert cli.do_prepare({**settings, **changed}, None) == 0
        return json.loads(capsys.readouterr().out)

    assert (prepare()["changed"], prepare()["changed"]) == (["files"], [])
    core.note(lambda state: state.update(parts={"files of shop": {"backup": {"stop": 1}}}))
    assert prepare()["unsaved"] == []
    assert prepare(files=[entry, {**entry, "name": "blog"}])["unsaved"] == ["files of blog"]
    assert prepare(repository="posix /two") == {"changed": ["files"], "unsaved": ["files of shop"], "warnings": []}


@pytest.fixture
def host(tmp_path, monkeypatch) -> dict:
    """The configuration of a host with the files of two apps."""
    monkeypatch.setattr(core, "STATE", tmp_path)
    monkeypatch.setattr(cli.status, "publish", lambda settings: None)
    entry = {"app": "", "user": "shop", "data": "/x", "trees": [], "assertion": ""}
    files = [{**entry, "name": name} for name in ("shop", "blog")]
    return {"clusters": [], "databases": [], "files": files, "retention_days": 14, "full_every_days": 7}


def test_whatever_fails_in_a_drill_the_next_one_has_its_turn(host, monkeypatch):
    def drill(files) -> dict:
        if files.name == "shop":
            raise RecursionError("too deep")
        return {"label": "x"}

    monkeypatch.setattr(cli.drill, "of_files", drill)
    assert cli.do_drill(host, None) == 1
    parts = core.record()["parts"]
    assert parts["files of shop"]["drill_failure"]["error"] == "RecursionError: too deep"
    assert parts["files of blog"]["drill"]["label"] == "x"


@pytest.mark.parametrize("fails", ["shop", "blog", ""])
def test_old_snapshots_go_whichever_backup_fails(host, monkeypatch, fails):
    forgotten = []

    def back_up(files) -> dict:
        if files.name == fails:
            raise core.BackupError("is not there")
        return {"label": "x"}

    monkeypatch.setattr(cli.disk, "back_up", back_up)
    monkeypatch.setattr(cli.disk, "forget", forgotten.append)
    assert cli.do_run(host, argparse.Namespace(full=False)) == bool(fails)
    assert forgotten == [14]
    failed = {name for name, part in core.record()["parts"].items() if part["backup_failure"]}
    assert failed == ({f"files of {fails}"} if fails else set())


def test_a_backup_that_fails_is_told_rather_than_what_follows_from_it(host, monkeypatch):
    def fail(what):
        raise core.BackupError(f"{what} fails")

    monkeypatch.setattr(cli.disk, "back_up", lambda files: fail("the backup"))
    monkeypatch.setattr(cli.disk, "forget", lambda days: fail("forget"))
    cli.do_run(host, argparse.Namespace(full=False))
    assert core.record()["parts"]["files of blog"]["backup_failure"]["error"] == "the backup fails"


@pytest.mark.parametrize("other", [False, True], ids=["the only copy", "one of two"])
def test_a_restore_that_fails_lets_drills_run_unless_a_copy_is_left(cluster, tmp_path, monkeypatch, other):
    """It has taken away the copy that an earlier one has left to look at."""
    settings = {
        "clusters": [
            {"name": name, "version": 17, "port": 5432, "data": str(tmp_path / f"17/{name}")}
            for name in ("main", *(["two"] if other else []))
        ],
        "databases": [],
        "files": [],
    }
    if other:
        cluster.scratch.with_name("17-two").mkdir()
    core.note(lambda state: state.update(scratch=1.0))

    def fail(*_words, **_options):
        raise core.BackupError("no room")

    monkeypatch.setattr(postgresql, "to_scratch", fail)
    with pytest.raises(core.BackupError, match="no room"):
        cli._restore(settings, [(cluster, PLAN)], [], cli.parser().parse_args(["restore", "--scratch"]))
    assert not cluster.scratch.exists()
    assert ("scratch" in core.record()) is other


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("search_path=shop, public", "'shop', 'public'"),
        ('search_path="$user", public', "'$user', 'public'"),
        ('search_path="My ""Shop""", "a, b"', "'My \"Shop\"', 'a, b'"),
        ('search_path=""', "''"),
        ("search_path=", "''"),
        ("DateStyle=ISO, DMY", "'ISO, DMY'"),
        ("statement_timeout=30s", "'30s'"),
        ("app.name=O'Hara", "'O''Hara'"),
    ],
)
def test_a_restore_keeps_the_settings_of_logins(line, statement):
    """A list of schemas stays a list."""
    login = {"name": "shop", "password": "SCRAM", "groups": ["staff"], "settings": [line]}
    assert postgresql.logins_of([login], ["shop", "staff"]) == [
        "ALTER ROLE \"shop\" LOGIN PASSWORD 'SCRAM';",
        'GRANT "staff" TO "shop";',
        f'ALTER ROLE "shop" SET "{line.partition("=")[0]}" TO {statement};',
    ]


def test_a_login_may_belong_to_one_that_comes_after_it():
    logins = [
        {"name": "shop_1", "password": "x", "groups": ["shop"], "settings": []},
        {"name": "shop", "password": "y", "groups": [], "settings": []},
    ]
    assert postgresql.logins_of(logins, ["postgres"])[:2] == ['CREATE ROLE "shop_1";', 'CREATE ROLE "shop";']


def test_a_host_with_files_alone_takes_the_moment_of_a_point_of_another(cluster, capsys):
    core.note(lambda state: state.update(points={"main": [{"name": "before-shop", "at": 1795323600.25}]}))
    assert cli.do_moment({}, cli.parser().parse_args(["moment", "before-shop"])) == 0
    said = capsys.readouterr().out.strip()
    assert cli._moment(cluster, "before-shop") == core.moment(said) == 1795323600.25
    core.note(lambda state: state.clear())
    assert cli.do_moment({}, cli.parser().parse_args(["moment", "before-shop"])) == cli.ABSENT
    assert cli._moment(None, "before-shop", said) == 1795323600.25
    for words in ((None, "before-shop"), (cluster, "before-shop")):
        with pytest.raises(core.Refused, match="is no restore point"):
            cli._moment(*words)


@pytest.fixture
def restores(monkeypatch, host, cluster):
    """A restore of a cluster and of files, whose copies are there. What goes live is noted."""
    live: list[str] = []
    monkeypatch.setattr(postgresql, "is_saved", lambda cluster: False)
    monkeypatch.setattr(postgresql, "to_scratch", lambda *words, **options: None)
    monkeypatch.setattr(cli.disk, "to_scratch", lambda files, plan: {"trees": {}})
    monkeypatch.setattr(cli.disk, "require_room_to_load", lambda files, restored: None)
    monkeypatch.setattr(cli.disk, "go_live", lambda *words, **options: live.append("files") or (["done"], True))
    monkeypatch.setattr(cli, "_go_live", lambda *words: live.append("cluster"))
    monkeypatch.setattr(cli, "_discard", lambda *words: [])
    (files, *_others) = cli.disk.of(host)
    options = argparse.Namespace(scratch=False, overwrite=True, app="")
    return live, lambda: cli._restore(host, [(cluster, PLAN)], [(files, None)], options)


def test_no_cluster_goes_live_where_there_is_no_room_for_the_files(restores, monkeypatch):
    live, restore = restores

    def refuse(files, restored):
        raise core.Refused("no room")

    monkeypatch.setattr(cli.disk, "require_room_to_load", refuse)
    with pytest.raises(core.Refused, match="no room"):
        restore()
    assert live == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_restore_that_leaves_files_is_no_success(restores, monkeypatch, is_whole):
    live, restore = restores
    monkeypatch.setattr(cli.disk, "go_live", lambda *words, **options: (["media: 1 files are NOT restored"], is_whole))
    assert restore() == (0 if is_whole else 1)
    assert live == ["cluster"]


SHOP = postgresql.Cluster("main", 17, 5432, Path("/var/lib/postgresql/17/main"))


@pytest.fixture
def asked(monkeypatch):
    """What psql was asked, each with the user of the database and the rest of its environment."""
    found: list[tuple[str, str, dict[str, str]]] = []

    def run(words, given, environment, user):
        found.append((environment.get("PGUSER", user), given, environment))
        return "shop\n"

    monkeypatch.setattr(postgresql, "run", run)
    return found


def test_no_owner_of_a_database_says_what_a_name_means_to_postgres(asked):
    assert postgresql.sql(SHOP, "SELECT 7", "shop") == "shop"
    ((user, statement, environment),) = asked
    assert (user, statement, environment["PGOPTIONS"]) == ("postgres", "SELECT 7", "-c search_path=pg_catalog")


def test_an_assertion_is_asked_with_the_rights_of_the_owner(asked):
    """Its names may mean functions of the owner, in whatever schema the database begins with."""
    postgresql.as_guest(SHOP, "select count(*) from entry", "shop")
    (_postgres, _query, _given), (maker, made, _none), (user, statement, environment) = asked
    assert (maker, user, statement) == ("postgres", postgresql.GUEST, "select count(*) from entry")
    assert made.endswith(f"LOGIN PASSWORD '{environment['PGPASSWORD']}' IN ROLE \"shop\"")
    assert "PGOPTIONS" not in environment
