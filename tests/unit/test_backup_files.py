"""The steps that run as the app's user: copies of databases in use, and files that come back beside newer ones."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest
from djangofleet_backup import asapp, core, drill
from djangofleet_backup import files as disk

ME = pwd.getpwuid(os.getuid()).pw_name
DEEP = Path(*["d"] * 1020)  # more than Python follows by itself


def fill(path, *values: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table if not exists entry (text)")
        connection.executemany("insert into entry values (?)", [(value,) for value in values])
        connection.commit()


def content(path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("select text from entry")]


def test_a_copy_has_what_lies_in_the_log_of_a_database_in_use(tmp_path):
    database = tmp_path / "data/db.sqlite3"
    fill(database, "a")
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("insert into entry values ('b')")
        writer.commit()
        assert (tmp_path / "data/db.sqlite3-wal").stat().st_size > 0
        (tmp_path / "data/note.txt").write_text("x")
        (found,) = asapp.databases_of(tmp_path / "data")
        assert asapp.stage(tmp_path / "data", tmp_path / "copy", [found])["copied"] == ["db.sqlite3"]
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["db.sqlite3"]
    assert content(tmp_path / "copy/db.sqlite3") == ["a", "b"]


def test_a_database_that_a_link_leads_to_is_not_copied(tmp_path):
    (tmp_path / "data").mkdir()
    fill(tmp_path / "other.db", "x")
    (tmp_path / "data/link.db").symlink_to(tmp_path / "other.db")
    assert asapp.databases_of(tmp_path / "data") == {}


def test_hardly_an_upload_is_opened_to_see_whether_it_is_a_database(tmp_path, monkeypatch):
    for number in range(600):
        (tmp_path / str(number)).write_bytes(b"x" * (number + 1))
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *words, real=Path.open: opened.append(path) or real(path, *words))
    assert asapp.databases_of(tmp_path) == {}
    assert [path.name for path in opened] == ["511"]


def test_a_database_that_goes_while_it_is_to_be_copied_is_not_made_anew(tmp_path):
    (tmp_path / "data").mkdir()
    assert asapp.stage(tmp_path / "data", tmp_path / "copy", ["db"]) == {"copied": [], "spoiled": {}}
    assert list((tmp_path / "data").iterdir()) == list((tmp_path / "copy").iterdir()) == []


def test_a_copy_is_no_more_readable_than_the_database(tmp_path):
    fill(tmp_path / "data/db", "a")
    (tmp_path / "data/db").chmod(0o600)
    asapp.stage(tmp_path / "data", tmp_path / "copy", ["db"])
    assert asapp.load(tmp_path / "copy/db", tmp_path / "live/db", tmp_path / "kept/db")
    assert (tmp_path / "live/db").stat().st_mode & 0o777 == 0o600
    assert content(tmp_path / "live/db") == ["a"]


def test_a_database_in_use_gets_the_old_content_and_the_new_is_kept(tmp_path):
    live, copy, kept = tmp_path / "live.db", tmp_path / "copy.db", tmp_path / "kept/live.db"
    fill(copy, "old")
    fill(live, "old", "new")
    with closing(sqlite3.connect(live)) as reader:
        assert reader.execute("select count(*) from entry").fetchone() == (2,)
        asapp.load(copy, live, kept)
        assert reader.execute("select text from entry").fetchall() == [("old",)]
    assert content(kept) == ["old", "new"]


def test_a_database_that_is_damaged_is_put_away(tmp_path):
    live, copy, kept = tmp_path / "live.db", tmp_path / "copy.db", tmp_path / "kept/live.db"
    fill(copy, "old")
    live.write_bytes(b"no database at all" * 100)
    asapp.load(copy, live, kept)
    assert content(live) == ["old"]
    assert kept.read_bytes().startswith(b"no database")


def test_a_full_disk_leaves_the_live_database(tmp_path, monkeypatch):
    live, copy, kept = tmp_path / "live.db", tmp_path / "copy.db", tmp_path / "kept/live.db"
    fill(copy, "old")
    fill(live, "new")

    def copy_half(source, target):
        Path(target).write_bytes(b"half")
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(asapp, "copy_database", copy_half)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        asapp.load(copy, live, kept)
    assert content(live) == ["new"]
    assert not kept.exists()


@pytest.mark.parametrize(("overwrite", "text"), [(True, "old"), (False, "new text")])
def test_files_come_back_and_newer_ones_stay(tmp_path, overwrite, text):
    copy, tree, kept = tmp_path / "copy", tmp_path / "tree", tmp_path / "kept"
    for place, files in ((copy, {"a/gone": "old", "changed": "old", "same": "s"}),
                         (tree, {"changed": "new text", "same": "s", "later": "l"})):  # fmt: skip
        for name, words in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(words)
            os.utime(place / name, (100, 100))
    asapp.merge(copy, tree, kept, overwrite)
    assert (tree / "a/gone").read_text() == "old"
    assert (tree / "later").read_text() == "l"
    assert (tree / "changed").read_text() == text
    assert (kept / "changed").exists() is overwrite


def test_a_check_tells_what_a_database_answers(tmp_path):
    fill(tmp_path / "db", "a")
    found = asapp.check(tmp_path / "db", "select count(*) > 0 from entry")
    assert found == {"whole": "ok", "tables": 1, "answer": 1}


def test_files_come_back_where_a_directory_or_a_file_is_by_now(tmp_path):
    copy, tree, kept = tmp_path / "copy", tmp_path / "tree", tmp_path / "kept"
    (copy / "a").mkdir(parents=True)
    (copy / "a/one").write_text("1")
    (copy / "b").write_text("2")
    (copy / "link").symlink_to("/etc/shadow")
    (tree / "b").mkdir(parents=True)
    (tree / "b/two").write_text("new")
    (tree / "a").write_text("new")
    assert asapp.merge(copy, tree, kept, True) == {"restored": 3, "replaced": 2, "left": 0}
    assert ((tree / "a/one").read_text(), (tree / "b").read_text()) == ("1", "2")
    assert os.readlink(tree / "link") == "/etc/shadow"
    assert ((kept / "a").read_text(), (kept / "b/two").read_text()) == ("new", "new")


def test_a_failure_is_told_without_the_programs_stack():
    """As the restic of Debian 12 tells of a full disk."""
    stack = "main.lock\\n\\tgithub.com/restic/lock.go:42\\n" * 40
    said = f"write locks/3a: no space left on device\\n{stack}\\tnot a place\\nunable to create lock\\n"
    with pytest.raises(core.BackupError) as caught:
        core.run(["sh", "-c", f"printf '{said}' >&2; exit 1"])
    lines = ["sh: write locks/3a: no space left on device", "\tnot a place", "unable to create lock"]
    assert caught.value.message.splitlines() == lines


def test_a_file_that_may_not_be_put_back_keeps_no_other_from_it(tmp_path, monkeypatch):
    """As into a directory that another user has brought."""
    copy, tree, kept = tmp_path / "copy", tmp_path / "tree", tmp_path / "kept"
    for name in ("a", "foreign/b", "z"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("old")

    def move(source, target, real=shutil.move):
        if tree / "foreign" in Path(target).parents:
            raise PermissionError(13, "Permission denied", str(target))
        real(source, target)

    monkeypatch.setattr(asapp.shutil, "move", move)
    found = asapp.merge(copy, tree, kept, True)
    assert found == {"restored": 2, "replaced": 0, "left": 0, "barred": [str(tree / "foreign/b")]}
    assert (tmp_path / "kept.not-restored/foreign/b").read_text() == "old"


def test_a_database_that_a_file_replaces_takes_its_log_along(tmp_path):
    """Beside another file the log would be played into that one."""
    copy, tree, kept = tmp_path / "copy", tmp_path / "tree", tmp_path / "kept"
    copy.mkdir()
    (copy / "db").write_text("no database")
    fill(tree / "db", "a")
    with closing(sqlite3.connect(tree / "db")) as writer:
        writer.execute("insert into entry values ('b')")
        writer.commit()
        asapp.merge(copy, tree, kept, True)
    assert [path.name for path in tree.iterdir()] == ["db"]
    assert content(kept / "db") == ["a", "b"]


def test_directories_may_be_nested_more_deeply_than_python_follows(tmp_path):
    asapp.make(tmp_path / "copy" / DEEP)
    (tmp_path / "copy" / DEEP / "f").write_text("x")
    assert asapp.count_of(tmp_path / "copy") == 1
    assert asapp.merge(tmp_path / "copy", tmp_path / "tree", tmp_path / "kept", True)["restored"] == 1
    assert (tmp_path / "tree" / DEEP / "f").read_text() == "x"
    for path in ("copy", "tree"):
        disk._remove(tmp_path / path)  # pytest could not
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_a_database_does_not_know_is_no_failure_of_the_check(tmp_path):
    fill(tmp_path / "db", "a")
    found = asapp.check(tmp_path / "db", "select count(*) from orders_order")
    assert (found["whole"], found["answer"]) == ("ok", None)
    assert "no such table" in found["error"]


# All of it, with a repository that is a directory


class Repository:
    """Does what restic does with the words that it is given."""

    def __init__(self, place: Path) -> None:
        self.place, self.told, self.failure = place, [], ""

    def __call__(self, *words: str, before=()) -> str:
        if words[0] == "backup":
            if self.failure:
                raise core.BackupError(self.failure)
            lines = Path(words[words.index("--exclude-file") + 1]).read_text().splitlines()
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            targets = words[words.index("--exclude-file") + 2 :]
            for target in targets:
                asapp.make(Path(f"{self.place}{target}").parent)
                subprocess.run(["cp", "-a", target, f"{self.place}{target}"], check=True)
            for line in lines:
                path = re.sub(r"\\(.)", r"\1", line).replace("$$", "$")
                Path(f"{self.place}{path}").unlink(missing_ok=True)
            done = {"total_files_processed": self.count(), "total_bytes_processed": 1, "snapshot_id": "0123456789"}
            return "\n".join(json.dumps(line) for line in (*self.told, {"message_type": "summary", **done}))
        if words[0] == "restore":
            subprocess.run(["cp", "-a", f"{self.place}/.", words[-1]], check=True)
        return ""

    def count(self) -> int:
        return sum(entry.is_file(follow_symlinks=False) for entry in asapp.walk(self.place))


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Repository:
    found = Repository(tmp_path / "repository")
    monkeypatch.setattr(disk, "restic", found)
    monkeypatch.setattr(disk, "STATE", tmp_path / "state")
    monkeypatch.setattr(core, "STATE", tmp_path / "state")
    monkeypatch.setattr(disk.Files, "scratch", property(lambda files: tmp_path / ".restore"))
    monkeypatch.setattr(disk.shutil, "chown", lambda *words: None)
    monkeypatch.setattr(drill, "manage_check", lambda app, places: bool(places))

    def as_owner(files, *words, given=""):
        return core.run([sys.executable, "-I", str(disk.STEPS), *words], given=given)

    monkeypatch.setattr(disk, "as_owner", as_owner)
    return found


@pytest.fixture
def shop(tmp_path, repository) -> disk.Files:
    """An app with its database among the shared files, a log of its own beside a file, and uploads."""
    home = tmp_path / "shop"
    for name, text in {"data/note": "n", "data/note-wal": "w", "media/photo.jpg": "p"}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "media/broken.db").write_bytes(asapp.MAGIC + b"x" * (512 - len(asapp.MAGIC)))
    fill(home / "data/cache $x [1].db", "data")
    fill(home / "shared/var/db.sqlite3", "a")
    trees = (str(home / "media"), str(home / "shared"))
    return disk.Files("shop", "shop", ME, str(home / "data"), trees, "select count(*) = 2 from entry")


PLAN = disk.Plan("0123456789", 1.0, 1)


@pytest.fixture
def known(monkeypatch):
    """The drill asks for the newest."""
    monkeypatch.setattr(disk, "plan", lambda files, moment: PLAN)


@pytest.mark.usefixtures("known")
def test_databases_of_all_trees_are_saved_in_use_and_come_back_into_use(tmp_path, shop, repository):
    home = tmp_path / "shop"
    with closing(sqlite3.connect(home / "shared/var/db.sqlite3")) as app:
        app.execute("insert into entry values ('b')")
        app.commit()
        saved = disk.back_up(shop)
        assert not shop.staging.exists()
        raw = Path(f"{repository.place}{home}")
        assert [path.name for path in sorted(raw.rglob("*")) if path.is_file()] == [
            "note", "note-wal", "broken.db", "photo.jpg"
        ]  # fmt: skip

        with pytest.raises(core.BackupError, match="the assertion does not hold"):  # of the one among the data
            drill.of_files(shop)
        found = drill.of_files(disk.Files(**{**vars(shop), "assertion": "select count(*) > 0 from entry"}))
        assert found["checked"] == ["shop"]
        assert found["files"] == {str(home / "data"): 3, str(home / "media"): 2, str(home / "shared"): 1}
        assert not shop.scratch.exists()

        app.execute("insert into entry values ('c')")
        app.commit()
        for path in (*(home / "data").iterdir(), *(home / "media").iterdir()):
            path.unlink()
        restored = disk.to_scratch(shop, PLAN)
        assert restored["count"] == saved["count"]
        said, is_whole = disk.go_live(shop, restored, overwrite=True)
        assert is_whole
        assert app.execute("select text from entry").fetchall() == [("a",), ("b",)]
    assert content(home / "data/cache $x [1].db") == ["data"]
    for name, text in {"data/note": "n", "data/note-wal": "w", "media/photo.jpg": "p"}.items():
        assert (home / name).read_text() == text
    assert (home / "media/broken.db").stat().st_size == 512
    kept = Path(said[-1].rpartition(" ")[2])
    assert content(Path(f"{kept}{home}/shared/var/db.sqlite3")) == ["a", "b", "c"]


def test_a_backup_of_which_all_data_was_staged_comes_back(tmp_path, shop, repository):
    """As they were made before: the databases of trees lie there as files."""
    home = tmp_path / "shop"
    staged = Path(f"{repository.place}{shop.staging}/data")
    shutil.copytree(shop.data, staged)
    (staged / "cache $x [1].db").unlink()
    fill(staged / "db", "staged")
    for tree in shop.trees:
        shutil.copytree(tree, f"{repository.place}{tree}")
    (home / "data/note").unlink()
    fill(home / "shared/var/db.sqlite3", "b")
    disk.go_live(shop, disk.to_scratch(shop, PLAN), overwrite=True)
    assert (home / "data/note").read_text() == "n"
    assert content(home / "data/db") == ["staged"]
    assert content(home / "shared/var/db.sqlite3") == ["a"]


@pytest.mark.usefixtures("known")
def test_the_drill_looks_at_databases_wherever_they_are(shop, repository):
    disk.back_up(shop)
    (database,) = repository.place.rglob("db.sqlite3")
    size = database.stat().st_size
    with database.open("r+b") as handle:
        handle.seek(size - 4096)
        handle.write(b"x" * 4096)
    with pytest.raises(core.BackupError, match=r"shared/var/db.sqlite3: is damaged"):
        drill.of_files(shop)


@pytest.mark.usefixtures("known")
def test_the_assertion_is_asked_of_the_first_database_that_knows_its_tables(shop):
    with closing(sqlite3.connect(Path(shop.trees[1], "other.db"))) as connection:
        connection.execute("create table orders (number)")
    disk.back_up(shop)
    for query, word in (("select count(*) = 0 from orders", ""), ("select 1 from nowhere", "no such table")):
        asked = disk.Files(**{**vars(shop), "assertion": query})
        if word:
            with pytest.raises(core.BackupError, match=word):
                drill.of_files(asked)
        else:
            assert drill.of_files(asked)["checked"] == ["shop"]


def test_data_that_is_damaged_is_told_by_the_backup(shop):
    shutil.copy(Path(shop.trees[0], "broken.db"), shop.data)
    with pytest.raises(core.BackupError, match=r"broken.db: cannot be read as a database: file is not a database"):
        disk.back_up(shop)
    assert not shop.staging.exists()


def test_a_backup_that_fails_leaves_no_copies(shop, repository):
    repository.failure = "Fatal: no space left on device"
    with pytest.raises(core.BackupError, match="no space left"):
        disk.back_up(shop)
    assert not shop.staging.exists()


def test_copies_of_databases_ask_for_room_first(shop, monkeypatch):
    space = namedtuple("space", "f_bavail f_frsize")(1, 100)
    monkeypatch.setattr(core.os, "statvfs", lambda path: space)
    monkeypatch.setattr(asapp, "stage", None)
    with pytest.raises(core.BackupError, match="MB free, and copies of the databases take"):
        disk.back_up(shop)


def test_a_restore_asks_for_room_before_anything_is_live(tmp_path, shop, monkeypatch):
    disk.back_up(shop)
    restored = disk.to_scratch(shop, PLAN)
    fill(tmp_path / "shop/shared/var/db.sqlite3", *("new" * 100 for number in range(100)))
    live = (tmp_path / "shop/shared/var/db.sqlite3").stat().st_size + Path(shop.data, "cache $x [1].db").stat().st_size
    asked = []
    monkeypatch.setattr(disk, "require_room", lambda path, size: asked.append(size))
    disk.require_room_to_load(shop, restored)
    assert asked == [2 * (live + 512)]  # what is kept, and as much again for the log; the broken upload counts, too

    def refuse(path, size):
        raise core.Refused("no room")

    monkeypatch.setattr(disk, "require_room", refuse)
    with pytest.raises(core.Refused):
        disk.require_room_to_load(shop, restored)


def test_a_directory_that_is_a_link_is_refused(tmp_path, shop):
    os.rename(tmp_path / "shop/media", tmp_path / "elsewhere")
    (tmp_path / "shop/media").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(core.BackupError) as caught:
        disk.back_up(shop)
    assert "shop/media: is a link" in str(caught.value)
    assert f"give the directory that it leads to, {tmp_path}/elsewhere" in str(caught.value)


@pytest.mark.usefixtures("known")
def test_a_link_of_a_backup_leads_to_nothing_live(tmp_path, shop, repository):
    """As of one that an earlier release has taken."""
    disk.back_up(shop)
    media = Path(f"{repository.place}{shop.trees[0]}")
    shutil.rmtree(media)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/live").write_text("x")
    media.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(core.BackupError, match="shop/media: the backup has a link"):
        drill.of_files(shop)
    restored = disk.to_scratch(shop, PLAN)
    assert set(restored["trees"]) == {shop.data, shop.trees[1]}
    disk.go_live(shop, restored, overwrite=True)
    assert (tmp_path / "elsewhere/live").exists()


@pytest.mark.usefixtures("known")
def test_a_drill_takes_directories_that_are_nested_too_deeply(tmp_path, shop):
    asapp.make(tmp_path / "shop/media" / DEEP)
    try:
        disk.back_up(shop)
        drill.of_files(disk.Files(**{**vars(shop), "assertion": ""}))
        assert not shop.scratch.exists()
    finally:
        for path in ("shop", "repository", ".restore"):
            disk._remove(tmp_path / path)


def test_a_file_that_goes_meanwhile_fails_no_backup_and_one_that_stays_does(shop, repository):
    error = {"message_type": "error", "during": "archival", "error": {}}
    repository.told = [{**error, "item": f"{shop.data}/gone"}]
    assert disk.back_up(shop)["label"] == "01234567"
    repository.told = [{**error, "item": f"{shop.data}/note"}]
    with pytest.raises(core.BackupError, match="data/note: could not be read"):
        disk.back_up(shop)


def test_restic_that_has_saved_all_but_some_files_is_heard(tmp_path, monkeypatch):
    """It ends with 3 then, and with 1 when it has saved nothing."""
    (tmp_path / "restic.env").write_text("")
    monkeypatch.setattr(disk, "CONFIG", tmp_path)
    program = tmp_path / "restic"
    monkeypatch.setattr(disk, "run", lambda words, **_options: core.run([
        str(program) if word == "restic" and number in (0, 4) else word for number, word in enumerate(words)
    ]))  # fmt: skip
    summary = {"message_type": "summary", "total_files_processed": 1, "total_bytes_processed": 1, "snapshot_id": "x"}
    files = disk.Files("shop", "shop", ME, str(tmp_path), ())
    monkeypatch.setattr(disk, "STATE", tmp_path)
    files.staging.mkdir(parents=True)
    for code in (3, 1):
        program.write_text(f"#!/bin/sh\necho lost >&2\necho '{json.dumps(summary)}'\nexit {code}\n")
        program.chmod(0o755)
        if code == 3:
            assert disk._snapshot(files, [])["count"] == 1
        else:
            with pytest.raises(core.BackupError, match=r"^restic: lost"):
                disk._snapshot(files, [])


def test_a_pattern_means_one_path():
    """What no line can tell is saved twice rather than not at all."""
    names = ["/a/*[x]?$HOME\\y-wal", "/a/line\nbreak", "/a/space "]
    assert disk.patterns([Path(name) for name in names]) == [r"/a/\*\[x\]\?$$HOME\\y-wal"]


@pytest.mark.parametrize(
    ("mode", "is_own", "given"),
    [
        (0o100644, False, None),
        (0o100600, False, 0o600),
        (0o104700, False, 0o700),  # what another user has made does not run as this one
        (0o104300, True, 0o4700),
        (0o100640, True, None),
        (0o040755, False, 0o755),
        (0o042550, True, 0o2750),
        (0o042700, True, None),
        (0o041777, False, 0o1777),
        (0o040777, False, None),
    ],
)
def test_what_the_user_could_not_move_is_given_to_them(tmp_path, monkeypatch, mode, is_own, given):
    path = tmp_path / "x"
    path.mkdir() if mode & 0o040000 else path.touch()
    path.chmod(mode & 0o7777)
    user = namedtuple("user", "pw_uid pw_gid")(os.getuid() + (not is_own), os.getgid() + 1)
    owners = []
    monkeypatch.setattr(disk.os, "lchown", lambda path, uid, gid: owners.append((uid, gid)))
    disk._make_movable(str(path), user)
    assert owners == ([] if given is None else [(user.pw_uid, -1)])
    assert path.stat().st_mode & 0o7777 == (mode & 0o7777 if given is None else given)
    path.chmod(0o700)


@pytest.mark.usefixtures("known")
def test_uploads_of_others_are_given_to_the_user_before_the_way_is_open(shop, monkeypatch):
    Path(shop.trees[0], "photo.jpg").chmod(0o600)
    disk.back_up(shop)
    steps = []
    monkeypatch.setattr(disk, "_make_movable", lambda path, user: steps.append(Path(path).name))
    monkeypatch.setattr(disk, "_open_way", lambda files, copies: steps.append("open"))
    disk.to_scratch(shop, PLAN)
    assert "photo.jpg" in steps[: steps.index("open")]
    assert "media" in steps


def test_the_app_checks_itself_with_all_that_has_a_database(monkeypatch):
    said = []
    monkeypatch.setattr(drill, "Path", lambda path: Path("/"))
    monkeypatch.setattr(drill, "DJANGOCTL", "/")
    monkeypatch.setattr(drill, "run", said.extend)
    assert drill.manage_check("shop", {"/srv/shop/data": Path("/copy/data"), "/srv/shop/shared": Path("/copy/shared")})
    mounts = [word for word in said if word.startswith("BindPaths=")]
    assert mounts == ["BindPaths=/copy/data:/srv/shop/data", "BindPaths=/copy/shared:/srv/shop/shared"]
