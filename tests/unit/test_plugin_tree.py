"""The tree module: all of it, or nothing; and the action plugin that makes plain entries of a role's wishes."""

from __future__ import annotations

import base64
import errno
import grp
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args
from loading import load

ROOT = Path(__file__).resolve().parents[2]
ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name


tree = load("plugins/modules/tree.py")
action = load("plugins/action/tree.py")


def file(path, content="", mode="0644", **more):
    content = content.encode() if isinstance(content, str) else content
    return {"path": str(path), "kind": "file", "content": content, "mode": mode, "owner": ME, "group": MINE, **more}


def directory(path, mode="0755"):
    return {"path": str(path), "kind": "directory", "mode": mode, "owner": ME, "group": MINE}


def link(path, target):
    return {"path": str(path), "kind": "link", "target": str(target)}


def absent(path):
    return {"path": str(path), "kind": "absent"}


def run(*entries, purge=(), check=False):
    """Apply entries as the module does; returns the paths that changed and their diff."""
    pending = tree.Tree([dict(entry) for entry in entries], list(purge), check).pending()
    if not check:
        tree.apply(pending)
    return [entry["path"] for entry in pending], [tree.describe(entry) for entry in pending]


def snapshot(root):
    """Everything below a directory: kind, mode, content or target."""
    return {
        str(path.relative_to(root)): (
            stat.S_IFMT(path.lstat().st_mode),
            stat.S_IMODE(path.lstat().st_mode),
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(root.rglob("*"))
    }


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


# What is put in place


@pytest.fixture
def wanted(tmp_path):
    (tmp_path / "old").write_text("old")
    return [
        file(tmp_path / "a", "text\n"),
        file(tmp_path / "deep/er/b", bytes(range(256)), "0600"),
        directory(tmp_path / "dir", "2750"),
        link(tmp_path / "dir/link", "../nowhere"),
        absent(tmp_path / "old"),
        absent(tmp_path / "never"),
    ]


def test_everything_comes_about_and_once(tmp_path, wanted):
    changed, _diff = run(*wanted)
    assert changed == [str(tmp_path / name) for name in ("a", "deep/er/b", "dir", "dir/link", "old")]
    assert (tmp_path / "a").read_text() == "text\n"
    assert (tmp_path / "deep/er/b").read_bytes() == bytes(range(256))
    assert (mode(tmp_path / "a"), mode(tmp_path / "deep/er/b"), mode(tmp_path / "dir")) == (0o644, 0o600, 0o2750)
    assert os.readlink(tmp_path / "dir/link") == "../nowhere"
    assert not (tmp_path / "old").exists()
    before = snapshot(tmp_path)
    assert run(*wanted) == ([], [])
    assert snapshot(tmp_path) == before


def test_check_mode_says_the_same_and_writes_nothing(tmp_path, wanted):
    before = snapshot(tmp_path)
    said = run(*wanted, check=True)
    assert snapshot(tmp_path) == before
    assert said == run(*wanted)


def test_parents_can_be_entered_whatever_the_mask(tmp_path):
    before = os.umask(0o077)
    try:
        run(file(tmp_path / "x/y/z", "1"))
    finally:
        os.umask(before)
    assert (mode(tmp_path / "x"), mode(tmp_path / "x/y"), mode(tmp_path / "x/y/z")) == (0o755, 0o755, 0o644)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_mode_alone_is_a_change(tmp_path, kind):
    def make(mode):
        return file(tmp_path / "a", "same", mode) if kind == "file" else directory(tmp_path / "a", mode)

    run(make("0700"))
    changed, (diff,) = run(make("0750"))
    assert changed == [str(tmp_path / "a")]
    assert mode(tmp_path / "a") == 0o750
    assert diff["before"] == diff["after"]
    assert ("0700" in diff["before_header"], "0750" in diff["after_header"]) == (True, True)


def test_a_link_to_elsewhere_and_a_link_in_place_of_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    assert run(link(tmp_path / "l", "/one"), link(tmp_path / "file", "/two"))[0] == [
        str(tmp_path / "l"),
        str(tmp_path / "file"),
    ]
    assert run(link(tmp_path / "l", "/other"))[0] == [str(tmp_path / "l")]
    assert (os.readlink(tmp_path / "l"), os.readlink(tmp_path / "file")) == ("/other", "/two")


def test_a_file_takes_the_place_of_a_link_and_not_of_its_target(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    run(file(tmp_path / "a", "new"))
    assert ((tmp_path / "target").read_text(), (tmp_path / "a").is_symlink()) == ("mine", False)


def test_absent_takes_a_directory_and_not_what_a_link_names(tmp_path):
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    run(absent(tmp_path / "dir"), absent(tmp_path / "link"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_purge_takes_what_matches_and_is_no_entry(tmp_path):
    for name in ("a.conf", "b.conf", "c.txt", "sub/d.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    rules = [{"path": str(tmp_path), "patterns": ["*.conf"]}, {"path": str(tmp_path / "none"), "patterns": ["*"]}]
    before = snapshot(tmp_path)
    changed, _diff = run(file(tmp_path / "a.conf", "x"), purge=rules, check=True)
    assert (changed, snapshot(tmp_path)) == ([str(tmp_path / "b.conf")], before)
    assert run(file(tmp_path / "a.conf", "x"), purge=rules)[0] == [str(tmp_path / "b.conf")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conf", "c.txt", "sub"]
    assert run(file(tmp_path / "a.conf", "x"), purge=rules)[0] == []


# What cannot be


def test_an_owner_who_is_not_there(tmp_path):
    entry = {**file(tmp_path / "a"), "owner": "no-such-user"}
    with pytest.raises(tree.TreeError, match=re.escape(f"{tmp_path}/a: there is no owner 'no-such-user'")):
        run(entry)
    # In check mode the user would have been made by a task before.
    assert run(entry, check=True)[0] == [str(tmp_path / "a")]


@pytest.mark.parametrize(
    ("blocked", "message"),
    [
        (lambda root: file(root / "wall/x", "1"), "wall"),
        (lambda root: file(root / "house", "1"), "house: is a directory, wanted a file"),
        (lambda root: link(root / "house", "1"), "house: is a directory, wanted a link"),
        (lambda root: directory(root / "wall"), "wall: is a file, wanted a directory"),
    ],
)
def test_one_that_fails_leaves_all_as_it_was(tmp_path, blocked, message):
    (tmp_path / "wall").write_text("a file")
    (tmp_path / "house").mkdir()
    (tmp_path / "a").write_text("old")
    before = snapshot(tmp_path)
    with pytest.raises(tree.TreeError, match=message):
        run(absent(tmp_path / "wall.old"), file(tmp_path / "a", "new"), blocked(tmp_path), file(tmp_path / "z", "new"))
    assert snapshot(tmp_path) == before


def test_a_full_disk_leaves_all_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    before = snapshot(tmp_path)
    calls = []

    def full(_descriptor):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(tree.TreeError, match="No space left on device"):
        run(file(tmp_path / "a", "new"), file(tmp_path / "b", "new"), absent(tmp_path / "a.old"))
    assert len(calls) == 2
    assert snapshot(tmp_path) == before


# Staging


class Module:
    """What validate_copy wants of a module."""

    def __init__(self, code=0, out="", check=False):
        self.check_mode, self.answer, self.seen = check, (code, out, ""), []

    def run_command(self, words, data=None):
        copy = Path(words[-1]).parent
        self.seen.append((words, snapshot(copy) if copy.exists() else None))
        return self.answer[0], self.answer[1].replace("{stage}", str(copy)), self.answer[2]


@pytest.fixture
def stage(tmp_path):
    stage = tmp_path / "nginx"
    (stage / "sites").mkdir(parents=True)
    (stage / "nginx.conf").write_text("old")
    (stage / "sites/gone.conf").write_text("gone")
    (stage / "sites/link").symlink_to("../nginx.conf")
    return stage


def staged(stage, module, *entries, command="sh -t {stage}/nginx.conf"):
    pending = tree.Tree([dict(entry) for entry in entries], [], module.check_mode).pending()
    tree.validate_copy(module, pending, {"path": str(stage), "validate": command, "name": None, "triggers": []})


@pytest.mark.parametrize("check", [False, True])
def test_a_copy_takes_the_change_first(stage, check):
    module = Module(check=check)
    before = snapshot(stage.parent)
    entries = [file(stage / "nginx.conf", "new"), absent(stage / "sites/gone.conf"), file(stage.parent / "other", "x")]
    staged(stage, module, *entries)
    ((words, seen),) = module.seen
    assert words[:2] == ["sh", "-t"]
    assert words[2] != f"{stage}/nginx.conf"
    assert {name: state[2] for name, state in seen.items()} == {
        "nginx.conf": b"new",
        "sites": None,
        "sites/link": "../nginx.conf",
    }
    assert snapshot(stage.parent) == before, "the real directory was touched, or the copy left behind"


def test_a_copy_that_is_refused_leaves_all_as_it_was(stage):
    before = snapshot(stage.parent)
    module = Module(1, "unknown directive in {stage}/nginx.conf:1")
    with pytest.raises(tree.TreeError) as caught:
        staged(stage, module, file(stage / "nginx.conf", "bad"))
    assert snapshot(stage.parent) == before
    assert f"unknown directive in {stage}/nginx.conf:1" in str(caught.value), "the path of a copy helps nobody"
    assert "nothing was changed" in str(caught.value)


def test_what_lies_elsewhere_needs_no_test(stage):
    module = Module(1)
    staged(stage, module, file(stage.parent / "nginx-other/x", "1"), file(stage / "nginx.conf", "old", "0644"))
    assert module.seen == []


def test_check_mode_on_an_empty_host(tmp_path):
    module = Module(1, check=True)
    staged(tmp_path / "nginx", module, file(tmp_path / "nginx/nginx.conf", "1"))
    assert module.seen == []
    staged(tmp_path, module, file(tmp_path / "x", "1"), command="no-such-program {stage}")
    assert module.seen == []


def test_the_program_that_tests_is_no_shell(stage):
    module = Module()
    staged(stage, module, file(stage / "nginx.conf", "new"), command="sh -c 'a; b' $HOME {stage}/x")
    words = module.seen[0][0]
    assert words[:4] == ["sh", "-c", "a; b", "$HOME"]


# Diffs


def test_a_diff_shows_text_before_and_after(tmp_path):
    (tmp_path / "a").write_text("one\n")
    ((diff,),) = [run(file(tmp_path / "a", "two\n"))[1]]
    assert (diff["before"], diff["after"]) == ("one\n", "two\n")
    ((diff,),) = [run(absent(tmp_path / "a"))[1]]
    assert (diff["before"], diff["after"]) == ("two\n", "")
    ((diff,),) = [run(file(tmp_path / "b", b"\xff\xfe"))[1]]
    assert "\ufffd" not in diff["after"]
    assert "binary" in diff["after"]
    ((diff,),) = [run(link(tmp_path / "c", "/x"))[1]]
    assert diff["after"] == "link to /x\n"


def test_a_secret_is_never_in_a_diff(tmp_path):
    path = tmp_path / "env"
    said = [run(file(path, f"s3cret {number}", "0600", sensitive=True)) for number in (1, 2)]
    said.append(run(file(path, "s3cret 2", "0640", sensitive=True)))
    said.append(run({**absent(path), "sensitive": True}))
    assert "s3cret" not in json.dumps([diff for _changed, diff in said])
    assert [changed for changed, _diff in said] == 4 * [[str(path)]]
    first, second, third = (diffs[0] for _changed, diffs in said[:3])
    assert first["before"] != first["after"]
    assert second["before"] != second["after"], "a change has to show, if not what it is"
    assert third["before"] == third["after"]


def test_purge_spares_files_without_the_line(tmp_path):
    (tmp_path / "mine.service").write_text("[Unit]\nX-App=shop\n")
    (tmp_path / "foreign.service").write_text("[Unit]\n")
    (tmp_path / "longer.service").write_text("[Unit]\nX-App=shop-two\n")
    (tmp_path / "link.service").symlink_to("mine.service")
    (tmp_path / "mine.txt").write_text("X-App=shop\n")
    rules = [{"path": str(tmp_path), "patterns": ["*.service"], "containing": "X-App=shop"}]
    assert run(purge=rules)[0] == [str(tmp_path / "mine.service")]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"foreign.service", "longer.service", "link.service", "mine.txt"}


def test_purged_content_is_not_shown(tmp_path):
    (tmp_path / "a.conf").write_text("s3cret")
    _changed, diff = run(purge=[{"path": str(tmp_path), "patterns": ["*.conf"]}])
    assert "s3cret" not in json.dumps(diff)


# The module as Ansible calls it


@pytest.fixture
def execute(tmp_path, monkeypatch, capsys):
    """`execute(entry, ..., check=False, **options)`: what the module answers; its stamps lie below tmp_path."""
    monkeypatch.setattr(tree, "STAMPS", str(tmp_path / "applied"))
    monkeypatch.setattr(tree.AnsibleModule, "log", lambda *_words, **_options: None)

    def run(*entries, check=False, **options):
        owned = [{"owner": ME, "group": MINE, **entry} for entry in entries]
        arguments = {"entries": owned, "_ansible_check_mode": check, "_ansible_diff": True, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            tree.main()
        return json.loads(capsys.readouterr().out)

    return run


def text(path, content, **more):
    """A file as the controller hands it on. Plain text would be masked wherever it appears in the answer."""
    content = base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()
    return {"path": str(path), "content": content, "encoding": "base64", **more}


def test_documented_options_are_the_accepted_ones(monkeypatch):
    class Asked(Exception):
        pass

    def module(argument_spec, **_more):
        raise Asked(argument_spec)

    def same(documented, accepted):
        assert set(documented) == set(accepted)
        for name, option in documented.items():
            for key in ("type", "elements", "choices", "default", "required"):
                assert option.get(key) == accepted[name].get(key), (name, key)
            same(option.get("suboptions", {}), accepted[name].get("options", {}))

    monkeypatch.setattr(tree, "AnsibleModule", module)
    with pytest.raises(Asked) as caught:
        tree.main()
    same(yaml.safe_load(tree.DOCUMENTATION)["options"], caught.value.args[0])


def test_each_kind_of_entry(tmp_path, execute):
    (tmp_path / "old").write_text("old")
    entries = [
        {"path": str(tmp_path / "a"), "content": "ünï\n"},
        text(tmp_path / "b", b"\xff\x00", mode="0600"),
        {"path": str(tmp_path / "c"), "directory": True, "mode": "0700"},
        {"path": str(tmp_path / "d"), "link": "/x"},
        {"path": str(tmp_path / "old"), "absent": True},
    ]
    result = execute(*entries)
    assert result["changed_paths"] == [entry["path"] for entry in entries]
    assert "stamp" not in result
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_bytes()) == ("ünï\n", b"\xff\x00")
    assert [mode(tmp_path / name) for name in "abc"] == [0o644, 0o600, 0o700]
    assert (os.readlink(tmp_path / "d"), (tmp_path / "old").exists()) == ("/x", False)
    assert not (tmp_path / "applied").exists()
    again = execute(*entries)
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])


def test_what_only_the_controller_can_make_is_refused(tmp_path, execute):
    result = execute({"path": str(tmp_path / "a"), "template": "a.j2"})
    assert result["failed"]
    assert not (tmp_path / "a").exists()


def test_the_content_is_in_no_log(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(tree.AnsibleModule, "log", lambda _self, message, **_more: logged.append(message))
    entries = [text(tmp_path / f"{name}@.env", "s3cret@elsewhere: the one", owner=ME, group=MINE) for name in "ab"]
    secret = entries[0]["content"]
    with patch_module_args({"entries": entries}), pytest.raises(SystemExit):
        tree.main()
    assert len(logged) == 1
    assert "entries=" in logged[0]
    assert secret[:12] not in logged[0]


@pytest.mark.parametrize("check", [False, True])
def test_all_stages_are_tested_before_anything_is_put_in_place(tmp_path, execute, check):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conf").write_text("old")
    before = snapshot(tmp_path)
    stages = [
        {"path": f"{tmp_path}/one/", "validate": "grep -q new {stage}/conf"},
        {"path": f"{tmp_path}/two", "validate": "grep good {stage}/conf /dev/null"},
    ]
    entries = [text(tmp_path / "one/conf", "new"), text(tmp_path / "two/conf", "bad")]
    result = execute(*entries, stages=stages, stamp="web", check=check)
    assert result["failed"]
    assert f"{tmp_path}/two: the new content was refused" in result["msg"]
    assert snapshot(tmp_path) == before
    result = execute(entries[0], text(tmp_path / "two/conf", "good"), stages=stages, check=check)
    assert result["changed_paths"] == [f"{tmp_path}/one/conf", f"{tmp_path}/two/conf"]
    assert (snapshot(tmp_path) == before) is check


def test_a_path_outside_of_a_stage_calls_for_its_test(tmp_path, execute):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/conf").write_text("old")
    unit = tmp_path / "unit"
    stages = [
        {"path": f"{tmp_path}/one", "validate": "grep new {stage}/conf", "name": "the test", "triggers": [str(unit)]}
    ]
    assert execute(text(tmp_path / "other", "x"), stages=stages)["changed"]
    result = execute(text(unit, "x"), stages=stages)
    assert result["failed"]
    assert f"{tmp_path}/one: the new content was refused by 'the test'" in result["msg"]
    assert not unit.exists()


def test_a_test_reads_what_a_stage_gives_it(tmp_path, execute):
    (tmp_path / "one").mkdir()
    program = "import pathlib, sys; sys.exit('new' not in pathlib.Path(sys.argv[1], 'conf').read_text())"
    stages = [{"path": f"{tmp_path}/one", "validate": "python3 - {stage}", "stdin": program}]
    assert execute(text(tmp_path / "one/conf", "old"), stages=stages)["failed"]
    assert execute(text(tmp_path / "one/conf", "new"), stages=stages)["changed"]


# What has been loaded


@pytest.fixture
def load_all(execute):
    """What a handler does in the end: the stamp of a result is written."""

    def run(result):
        return execute(text(result["stamp"]["path"], result["stamp"]["content"]))

    return run


def test_a_change_is_reported_until_it_is_loaded(tmp_path, execute, load_all):
    path = str(tmp_path / "a")
    for content in ("one", "two"):
        first = execute(text(path, content), stamp="web")
        broken_off = execute(text(path, content), stamp="web")
        assert first["changed_paths"] == broken_off["changed_paths"] == [path]
        assert broken_off["changed"]
        assert broken_off["diff"] == [{"prepared": f"{path}: changed earlier, and not loaded yet\n"}]
        assert load_all(broken_off)["changed_paths"] == [f"{tmp_path}/applied/web.json"]
        assert execute(text(path, content), stamp="web")["changed"] is False


def test_only_what_is_not_loaded_is_reported(tmp_path, execute, load_all):
    entries = [text(tmp_path / name, "x") for name in "abc"]
    load_all(execute(*entries, stamp="web"))
    entries[1] = text(tmp_path / "b", "y")
    execute(*entries, stamp="web")
    (tmp_path / "c").unlink()
    result = execute(*entries, stamp="web")
    assert result["changed_paths"] == [f"{tmp_path}/c", f"{tmp_path}/b"]


@pytest.mark.parametrize("way", ["absent", "purge", "by hand"])
def test_a_file_that_was_removed_counts_until_that_is_loaded(tmp_path, execute, load_all, way):
    (tmp_path / "sites").mkdir()
    kept, gone = tmp_path / "sites/kept.conf", tmp_path / "sites/gone.conf"
    load_all(execute(text(kept, "x"), text(gone, "x"), stamp="web"))
    more = [{"path": str(gone), "absent": True}] if way == "absent" else []
    options = {"purge": [{"path": f"{tmp_path}/sites", "patterns": ["*.conf"]}]} if way == "purge" else {}
    if way == "by hand":
        gone.unlink()
    for _times in range(2):
        result = execute(text(kept, "x"), *more, stamp="web", **options)
        assert result["changed_paths"] == [str(gone)]
    load_all(result)
    assert execute(text(kept, "x"), *more, stamp="web", **options)["changed"] is False


def test_a_file_that_is_left_to_itself_is_no_change(tmp_path, execute, load_all):
    load_all(execute(text(tmp_path / "a", "x"), text(tmp_path / "b", "x"), stamp="web"))
    assert execute(text(tmp_path / "a", "x"), stamp="web")["changed"] is False


@pytest.mark.parametrize("change", [{"mode": "0600"}, text("", "y")])
def test_whatever_was_changed_counts(tmp_path, execute, load_all, change):
    load_all(execute(text(tmp_path / "a", "x"), stamp="web"))
    for _times in range(2):
        assert execute({**text("", "x"), **change, "path": str(tmp_path / "a")}, stamp="web")["changed"]


def test_check_mode_tells_what_is_not_loaded_and_writes_nothing(tmp_path, execute):
    path = str(tmp_path / "a")
    assert execute(text(path, "x"), stamp="web", check=True)["changed_paths"] == [path]
    assert list(tmp_path.iterdir()) == []
    execute(text(path, "x"), stamp="web")
    before = snapshot(tmp_path)
    result = execute(text(path, "x"), stamp="web", check=True)
    assert result["changed_paths"] == [path]
    assert execute(text(result["stamp"]["path"], result["stamp"]["content"]), check=True)["changed"]
    assert snapshot(tmp_path) == before


def test_calls_with_stamps_of_their_own_do_not_meet(tmp_path, execute, load_all):
    path = str(tmp_path / "a")
    load_all(execute(text(path, "x"), stamp="one"))
    assert execute(text(path, "x"), stamp="two")["changed_paths"] == [path]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"x": 1}'])
def test_a_damaged_stamp_knows_nothing(tmp_path, execute, load_all, damage):
    path = str(tmp_path / "a")
    load_all(execute(text(path, "x"), stamp="web"))
    (tmp_path / "applied/web.json").write_text(damage)
    assert path in execute(text(path, "x"), stamp="web")["changed_paths"]


def test_a_stamp_tells_nothing_of_a_secret(tmp_path, execute, load_all):
    secret = text(tmp_path / "env", "1234", mode="0600", sensitive=True)
    result = execute(secret, stamp="web")
    load_all(result)
    assert mode(tmp_path / "applied/key") == 0o600
    assert (mode(tmp_path / "applied"), mode(tmp_path / "applied/web.json")) == (0o755, 0o644)
    (tmp_path / "applied/key").unlink()
    other = execute(secret, stamp="web")
    assert other["stamp"]["content"] != result["stamp"]["content"], "who knows the digest could try all short secrets"
    assert other["changed"]


@pytest.mark.parametrize("name", ["../web", "a/b", "", ".hidden", "a b", "web\n"])
def test_a_stamp_is_a_name(tmp_path, execute, name):
    result = execute(text(tmp_path / "a", "x"), stamp=name)
    if name:
        assert "stamp: " in result["msg"]
        assert list(tmp_path.iterdir()) == []
    else:
        assert "stamp" not in result


# The controller's half


def expand(entry):
    return list(action.ActionModule._expand(entry))


def plain(entry):
    return list(action.ActionModule.__new__(action.ActionModule)._plain(entry, {}))


def test_an_entry_for_each_item():
    items = [{"name": "a", "x": 1}, {"name": "b-{name}", "x": 2}]
    entry = {"path": "/etc/{name}.conf", "content": "", "for_each": items, "loop_var": "site", "vars": {"v": 1}}
    found = expand(entry)
    assert [single["path"] for single, _variables in found] == ["/etc/a.conf", "/etc/b-{name}.conf"]
    assert [variables for _single, variables in found] == [{"v": 1, "site": items[0]}, {"v": 1, "site": items[1]}]


def test_an_entry_of_its_own_keeps_its_braces():
    assert expand({"path": "/etc/{name}", "content": ""}) == [({"path": "/etc/{name}", "content": ""}, {})]
    assert expand({"path": "/etc/{name}", "content": "", "for_each": []}) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "/a", "content": "", "when": True}, "/a: unknown key 'when'"),
        ({"path": "/{name}", "content": "", "for_each": [{"dest": "x"}]}, "no key 'name'"),
        ({"path": "relative", "content": ""}, "'relative' is no plain absolute path"),
        ({"path": "/a/../b", "content": ""}, "'/a/../b' is no plain absolute path"),
        ({"path": "/a//b", "content": ""}, "no plain absolute path"),
        ({"path": "/a/", "directory": True}, "no plain absolute path"),
        ({"path": "", "content": ""}, "no plain absolute path"),
        ({"content": ""}, "no plain absolute path"),
        ({"path": "/a"}, "takes exactly one of"),
        ({"path": "/a", "content": "", "directory": True}, "takes exactly one of"),
        ({"path": "/a", "absent": False}, "takes exactly one of"),
        ({"path": "/a", "content": "", "encoding": "utf-16"}, "encoding is text or base64, not 'utf-16'"),
        ({"path": "/a", "content": "x", "encoding": "base64"}, "the content is no base64"),
        ({"path": "/a", "content": "", "mode": 644}, "octal number as a string"),
        ({"path": "/a", "content": "", "mode": "u=rw"}, "octal number as a string"),
        ({"path": "/a", "content": "", "mode": "0689"}, "octal number as a string"),
        ({"path": "/{name}", "content": "", "for_each": [{"name": "../etc/passwd"}]}, "no plain absolute path"),
    ],
)
def test_entries_that_make_no_sense(entry, message):
    with pytest.raises(AnsibleActionFail, match=re.escape(message)):
        [plain(single) for single, _variables in expand(entry)]


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"content": ""}, {"content": "", "encoding": "base64", "mode": "0644", "owner": "root", "group": "root"}),
        ({"content": "/wA=", "encoding": "base64"}, {"content": "/wA=", "encoding": "base64"}),
        ({"content": "ünï\n", "sensitive": True}, {"content": base64.b64encode("ünï\n".encode()).decode()}),
        ({"directory": True, "owner": "me"}, {"directory": True, "mode": "0755", "owner": "me", "group": "root"}),
        ({"link": "/x"}, {"link": "/x"}),
        ({"absent": True, "sensitive": False}, {"absent": True, "sensitive": False}),
    ],
)
def test_entries_become_plain(entry, wanted):
    (found,) = plain({"path": "/a", **entry})
    assert wanted.items() <= found.items()
    assert found["sensitive"] is entry.get("sensitive", False)


TASKS = """---
- name: Check
  djangofleet.stack.tree: &files
    entries: "{{ sample_entries }}"
    purge: [{path: "{{ sample_root }}/sites", patterns: ["*.conf"]}]
    vars: {extra: less}
  check_mode: true
  diff: true
- name: Write
  djangofleet.stack.tree: *files
  diff: true
- name: Again
  djangofleet.stack.tree: *files
- name: Twice
  djangofleet.stack.tree: {entries: "{{ [sample_twice, sample_twice] }}"}
  ignore_errors: true
- name: Evaluate once
  djangofleet.stack.tree:
    entries:
      - path: "{{ sample_root }}/count/{n}"
        template: etc/count.j2
        for_each: [{n: 1}, {n: 2}]
        owner: "{{ sample_me }}"
        group: "{{ sample_mine }}"
    vars:
      shared: "{{ lookup('ansible.builtin.pipe', 'echo >> ' ~ sample_root ~ '/n; wc -l < ' ~ sample_root ~ '/n') }}"
"""
ROLE = {
    "templates/etc/app.conf.j2": "{{ ansible_managed }} {{ sample_text }} {{ extra }}\n"
    "{{ 'a\\\\b' }}\n{% if 1 %}\nyes\n{% endif %}\n",
    "templates/etc/site.j2": "{{ site.name }}: {{ site.path }} {{ extra }}\n{% include 'part.j2' %}\n",
    "templates/etc/count.j2": "{{ shared }} {{ shared }} {{ shared }}",
    "templates/etc/part.j2": "part of {{ site.name }}\n",
    "files/library/a.py": "{{ not a template }}\n",
    "files/library/run": "#!/bin/sh\n",
    "files/library/__pycache__/a.pyc": "x",
    "tasks/main.yml": TASKS,
}
WRITTEN = ["app.conf", "sites/shop.conf", "sites/blog.conf", "lib/a.py", "lib/run", "secret", "sites/gone.conf"]


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """A role run on this machine: its directory, the results of its tasks by name and all that was printed."""
    root = tmp_path_factory.mktemp("play")
    for name, content in ROLE.items():
        path = root / "roles/sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "roles/sample/files/library/run").chmod(0o755)
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": ["sample"]}]
    (root / "play.yml").write_text(json.dumps(book))
    target = root / "target"
    (target / "sites").mkdir(parents=True)
    (target / "sites/gone.conf").write_text("")
    owned = {"owner": ME, "group": MINE}
    variables = {
        "ansible_python_interpreter": sys.executable,
        "sample_root": str(target),
        "sample_me": ME,
        "sample_mine": MINE,
        "sample_text": {"__ansible_unsafe": 'hostile "{{ x }}" \\n ünï'},
        "sample_twice": {"path": f"{target}/twice", "content": "x"},
        "sample_entries": [
            {"path": f"{target}/app.conf", "template": "etc/app.conf.j2", "vars": {"extra": "more"}, **owned},
            {"path": f"{target}/sites/{{name}}.conf", "template": "etc/site.j2", "loop_var": "site", **owned,
             "for_each": [{"name": "shop", "path": "/a b/"}, {"name": "blog", "path": "/c/"}]},
            {"path": f"{target}/lib", "copy": "library", **owned},
            {"path": f"{target}/secret", "content": "s3cret\n", "sensitive": True, "mode": "0600", **owned},
        ],
    }  # fmt: skip
    result = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "play.yml",
         "-e", json.dumps(variables)],
        cwd=root,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_STDOUT_CALLBACK": "json",
             "ANSIBLE_LOCAL_TEMP": str(root / "tmp"), "ANSIBLE_REMOTE_TEMP": str(root / "tmp")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = result.stdout + result.stderr
    try:
        tasks = json.loads(result.stdout)["plays"][0]["tasks"]
    except ValueError:
        pytest.fail(said)
    return target, {task["task"]["name"].rpartition(" : ")[2]: task["hosts"]["localhost"] for task in tasks}, said


def test_check_mode_tells_what_a_role_would_write(play):
    target, tasks, said = play
    assert tasks["Check"].get("changed_paths") == [str(target / name) for name in WRITTEN], said
    assert tasks["Check"]["diff"] == tasks["Write"]["diff"]


def test_a_role_writes_its_files_once(play):
    target, tasks, said = play
    # After check mode: had that written anything, less would be left to change.
    assert tasks["Write"].get("changed_paths") == [str(target / name) for name in WRITTEN], said
    assert (tasks["Again"]["changed"], tasks["Again"]["changed_paths"]) == (False, [])


def test_templates_and_copies_are_found_and_rendered_as_ever(play):
    target, _tasks, _said = play
    assert (target / "app.conf").read_text() == 'Ansible managed hostile "{{ x }}" \\n ünï more\na\\b\nyes\n'
    assert (target / "sites/shop.conf").read_text() == "shop: /a b/ less\npart of shop\n"
    assert (target / "sites/blog.conf").read_text() == "blog: /c/ less\npart of blog\n"
    assert (target / "lib/a.py").read_text() == "{{ not a template }}\n"
    assert (mode(target / "lib/run"), mode(target / "lib/a.py"), mode(target / "secret")) == (0o755, 0o644, 0o600)
    assert not (target / "lib/__pycache__").exists()


def test_the_variables_of_a_call_are_evaluated_once(play):
    target, tasks, said = play
    assert tasks["Evaluate once"].get("changed"), said
    assert [(target / "count" / name).read_text() for name in "12"] == ["1 1 1", "1 1 1"]


def test_nothing_of_a_secret_is_printed(play):
    target, _tasks, said = play
    assert (target / "secret").read_text() == "s3cret\n"
    assert "(content not shown)" in said
    assert "s3cret" not in said


def test_a_path_that_is_described_twice(play):
    target, tasks, said = play
    assert tasks["Twice"].get("failed"), said
    assert f"{target}/twice is there twice" in tasks["Twice"]["msg"]
    assert not (target / "twice").exists()
