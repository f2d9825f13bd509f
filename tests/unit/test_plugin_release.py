"""How a local source is named and packed: by what it is, not by where and when it lies."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from loading import load

ROOT = Path(__file__).resolve().parents[2]
action = load("plugins/action/release.py")
module = load("plugins/modules/release.py")

EXCLUDE = action.EXCLUDE


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "checkout"
    for name in ("manage.py", "shop/__init__.py", "shop/ünï file", "shop/static/a.css", "b/c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}\n")
    (root / "manage.py").chmod(0o755)
    (root / "link").symlink_to("manage.py")
    (root / "assets").symlink_to("shop/static")
    return root


def digest(root, exclude=EXCLUDE):
    return action.digest(str(root), exclude)


# The same


def test_neither_place_nor_time_nor_mask_matter(source, tmp_path):
    before = digest(source)
    copy = tmp_path / "elsewhere/copy"
    shutil.copytree(source, copy, symlinks=True)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o077 | 0o020)
    assert digest(copy) == before


@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True)])
def test_the_order_on_disk_does_not_matter(source, monkeypatch, order):
    before = digest(source)
    walk = os.walk

    def ordered(root):
        for directory, names, files in walk(root):
            names[:] = order(names)
            yield directory, names, order(files)

    monkeypatch.setattr(action.os, "walk", ordered)
    assert digest(source) == before


@pytest.mark.parametrize(
    "name",
    [".git/HEAD", "venv/bin/python", ".venv/x", "a/node_modules/x.js", "shop/__pycache__/x.pyc", "a.pyc", ".DS_Store"],
)
def test_what_belongs_to_the_checkout_is_left_out(source, name):
    before = digest(source)
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("x")
    assert digest(source) == before
    assert name not in dict(action.members(str(source), EXCLUDE))


# Another


def rename(root):
    (root / "shop/static/a.css").rename(root / "shop/static/b.css")


def swap_contents(root):
    one, other = root / "manage.py", root / "b/c"
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def edit(root):
    (root / "b/c").write_text("content of b/C\n")


def add_empty(root):
    (root / "new").write_text("")


def remove(root):
    (root / "b/c").unlink()


def make_executable(root):
    (root / "b/c").chmod(0o755)


def retarget(root):
    (root / "link").unlink()
    (root / "link").symlink_to("b/c")


def retarget_directory(root):
    (root / "assets").unlink()
    (root / "assets").symlink_to("shop")


def replace_link(root):
    (root / "link").unlink()
    (root / "link").write_text("manage.py")


@pytest.mark.parametrize(
    "change",
    [rename, swap_contents, edit, add_empty, remove, make_executable, retarget, retarget_directory, replace_link],
)
def test_any_change_of_the_code_makes_another(source, change):
    before = digest(source)
    change(source)
    assert digest(source) != before


def test_one_file_is_not_taken_for_two(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_text("1bfile 2")
    (two / "a").write_text("1")
    (two / "b").write_text("2")
    assert digest(one) != digest(two)


def test_a_name_that_is_no_text(source):
    before = digest(source)
    with open(os.fsencode(source) + b"/\xff\xfe", "wb"):
        pass
    (source / "odd").symlink_to(os.fsdecode(b"\xfd"))
    assert digest(source) != before


# Patterns


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("*.css", {"shop/static/a.css"}),
        ("shop", {"shop/__init__.py", "shop/ünï file", "shop/static/a.css"}),
        ("static", {"shop/static/a.css"}),
        ("link", {"link"}),
        ("assets", {"assets"}),
        ("[bm]*", {"manage.py", "b/c"}),
        ("nothing", set()),
    ],
)
def test_patterns_leave_out_names_at_any_depth(source, pattern, left_out):
    every = dict(action.members(str(source), ()))
    assert set(every) - set(dict(action.members(str(source), (pattern,)))) == left_out
    assert (digest(source, (*EXCLUDE, pattern)) == digest(source)) == (not left_out)


def test_sockets_and_fifos_are_left_out(source):
    before = dict(action.members(str(source), ()))
    os.mkfifo(source / "pipe")
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    assert dict(action.members(str(source), ())) == before


def test_links_are_not_walked_into(source):
    assert not [name for name, _path in action.members(str(source), ()) if name.startswith("assets/")]


# Packing


def test_what_is_packed_is_what_was_named(source, tmp_path):
    (source / ".git").mkdir()
    (source / ".git/HEAD").write_text("x")
    action.pack(str(source), EXCLUDE, str(tmp_path / "source.tar.gz"))
    with tarfile.open(tmp_path / "source.tar.gz") as archive:
        assert not [name for name in archive.getnames() if name.startswith((".git", "/", ".."))]
        archive.extractall(tmp_path / "there", filter="fully_trusted")  # noqa: S202, it was packed two lines above
    assert digest(tmp_path / "there") == digest(source)
    assert (tmp_path / "there/assets").is_symlink()
    assert os.access(tmp_path / "there/manage.py", os.X_OK)


# The plugin


class Fake(action.ActionModule):
    """The plugin with a host that answers as it is told."""

    def __init__(self, arguments, check_mode=False, answers=()):
        self._task = type("Task", (), {"args": arguments, "check_mode": check_mode, "async_val": 0, "no_log": False})()
        self.answers, self.asked, self.sent = list(answers), [], []

    def _ask(self, arguments, task_vars):
        self.asked.append(arguments)
        return self.answers.pop(0) if self.answers else {"changed": False}

    def _make_tmp_path(self):
        return "/tmp/remote"

    def _remove_tmp_path(self, _path):
        self.sent.append("removed")

    @property
    def _connection(self):
        return type("C", (), {"_shell": type("S", (), {"join_path": staticmethod(os.path.join)})})

    def _transfer_file(self, local, remote):
        self.sent.append((Path(local).read_bytes()[:2], remote))


@pytest.fixture
def ask(monkeypatch, tmp_path):
    monkeypatch.setattr(action.ActionBase, "run", lambda *_words, **_options: {})
    monkeypatch.setattr(action.C, "DEFAULT_LOCAL_TMP", str(tmp_path))

    def run(arguments, **options):
        fake = Fake({"app": "shop", "state": "built", **arguments}, **options)
        return fake.run(task_vars={}), fake

    return run


@pytest.fixture
def large(source, monkeypatch):
    """A source that is too large to be sent unasked."""
    monkeypatch.setattr(action, "SMALL", sum(path.lstat().st_size for path in source.rglob("*") if path.is_file()) - 1)
    return source


def test_a_small_source_goes_along_with_the_question(ask, source, tmp_path):
    answer, fake = ask({"source": {"path": str(source)}, "version": "v1"}, answers=[{"changed": True, "release": "x"}])
    assert answer == {"changed": True, "release": "x"}
    (asked,) = fake.asked
    assert (asked["revision"], asked["version"], fake.sent) == (digest(source), "v1", [])
    archive = module.decoded(asked["source"]["content"], str(tmp_path))
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "there", filter="fully_trusted")  # noqa: S202, the plugin has just packed it
    assert digest(tmp_path / "there") == digest(source)


def test_what_is_left_out_makes_no_source_large(ask, large):
    (large / ".git").mkdir()
    (large / "manage.py").write_text("")
    (large / ".git/pack").write_bytes(b"x" * 1000)
    assert "content" in ask({"source": {"path": str(large)}})[1].asked[0]["source"]


def test_a_known_source_is_not_sent(ask, large):
    _answer, fake = ask({"source": {"path": str(large)}})
    assert [call["revision"] for call in fake.asked] == [digest(large)]
    assert fake.sent == []


def test_a_new_source_is_sent_once(ask, large, tmp_path):
    answers = [{"changed": True, "release": "x"}, {"changed": True, "release": "x"}]
    answer, fake = ask({"source": {"path": str(large)}, "version": "v1"}, answers=answers)
    assert answer["release"] == "x"
    assert fake.sent == [(b"\x1f\x8b", "/tmp/remote/source.tar.gz"), "removed"]
    assert "source" not in fake.asked[0]
    assert fake.asked[1]["source"] == {"archive": "/tmp/remote/source.tar.gz"}
    assert fake.asked[1]["version"] == "v1"
    assert not list(tmp_path.glob("tmp*")), "the archive was left on the controller"


@pytest.mark.parametrize(
    "answer",
    [
        {"failed": True, "changed": True, "release": "x"},
        {"changed": False, "release": "x"},
        {"changed": True, "release": ""},  # check mode, on a host that knows nothing of the app yet
    ],
)
def test_nothing_is_sent_where_it_is_of_no_use(ask, large, answer):
    found, fake = ask({"source": {"path": str(large)}}, check_mode=True, answers=[answer])
    assert (len(fake.asked), fake.sent, found) == (1, [], answer)


def test_check_mode_sends_what_a_rehearsal_needs(ask, large):
    answers = [{"changed": True, "release": "x"}, {"changed": True, "release": "x", "plan": ["p"]}]
    answer, fake = ask({"source": {"path": str(large)}}, check_mode=True, answers=answers)
    assert answer["plan"] == ["p"]
    assert fake.asked[1]["source"] == {"archive": "/tmp/remote/source.tar.gz"}
    assert fake.sent[-1] == "removed"


def test_a_text_for_excluded_names_is_one_of_them(ask, source):
    given = [
        ask({"source": {"path": str(source), "exclude": one}})[1].asked[0]["revision"] for one in ("*.py", ["*.py"])
    ]
    assert given[0] == given[1]


def test_excluded_names_change_nothing(ask, source):
    before = ask({"source": {"path": str(source), "exclude": ["*.log"]}})[1].asked[0]["revision"]
    (source / "debug.log").write_text("x")
    assert ask({"source": {"path": str(source), "exclude": ["*.log"]}})[1].asked[0]["revision"] == before
    assert ask({"source": {"path": str(source)}})[1].asked[0]["revision"] != before


def test_a_wheel_is_named_by_its_content(ask, tmp_path):
    wheel = tmp_path / "shop-1.4.2-py3-none-any.whl"
    wheel.write_bytes(b"PK1")
    _answer, fake = ask({"source": {"package": str(wheel)}}, answers=[{"changed": True, "release": "x"}])
    first = fake.asked[0]
    assert first["version"] == "shop-1.4.2-py3-none-any"
    assert fake.sent[0] == (b"PK", f"/tmp/remote/{wheel.name}")
    assert fake.asked[1]["source"] == {"package": f"/tmp/remote/{wheel.name}"}
    wheel.write_bytes(b"PK2")
    assert ask({"source": {"package": str(wheel)}})[1].asked[0]["revision"] != first["revision"]


def test_a_wheel_may_have_extras(ask, tmp_path):
    wheel = tmp_path / "shop-1.4.2-py3-none-any.whl"
    wheel.write_bytes(b"PK1")
    answers = [{"changed": True, "release": "x"}]
    _answer, fake = ask({"source": {"package": f"{wheel}[server]"}}, answers=answers)
    assert fake.asked[0]["version"] == "shop-1.4.2-py3-none-any"
    assert fake.sent[0] == (b"PK", f"/tmp/remote/{wheel.name}")
    assert fake.asked[1]["source"] == {"package": f"/tmp/remote/{wheel.name}[server]"}
    assert ask({"source": {"package": str(wheel)}})[1].asked[0]["revision"] != fake.asked[0]["revision"]


def test_a_requirement_names_itself(ask):
    _answer, fake = ask({"source": {"package": "shop==1.4.2"}})
    assert (fake.asked[0]["revision"], fake.sent) == ("shop==1.4.2", [])
    assert fake.asked[0]["source"] == {"package": "shop==1.4.2"}


@pytest.mark.parametrize(
    ("package", "plain", "credentials"),
    [
        (
            "shop @ git+https://t0ken@git.example.com/shop@v1",
            "shop @ git+https://@git.example.com/shop@v1",
            "://t0ken@",
        ),
        ("git+https://me:t0ken@git.example.com/shop", "git+https://@git.example.com/shop", "://me:t0ken@"),
        ("shop @ https://me:t0@ken@example.com/shop.zip", "shop @ https://@example.com/shop.zip", "://me:t0@ken@"),
        # Ansible masks the text wherever it is: in the id of the release, if it were the user alone.
        ("git+https://git@git.example.com/shop", "git+https://@git.example.com/shop", "://git@"),
    ],
)
def test_the_credentials_of_a_package_are_sent_apart(ask, package, plain, credentials):
    """They are neither in the id of the release nor in what Ansible shows and logs."""
    asked = ask({"source": {"package": package}})[1].asked[0]
    assert asked.pop("source") == {"package": plain, "credentials": credentials}
    assert asked["revision"] == plain
    assert "t0" not in str(asked)


def test_the_user_of_an_address_for_ssh_is_no_secret(ask):
    package = "shop @ git+ssh://git@git.example.com/shop"
    asked = ask({"source": {"package": package}})[1].asked[0]
    assert (asked["source"], asked["revision"]) == ({"package": package}, package)


def test_a_list_of_names_to_leave_out_replaces_the_default(ask, source):
    (source / "node_modules").mkdir()
    (source / "node_modules/x.js").write_text("x")
    kept = ask({"source": {"path": str(source), "exclude": [".git"]}})[1].asked[0]["revision"]
    assert kept == digest(source, (".git",)) != digest(source)


def test_the_default_is_what_the_role_says(role_specs):
    (spec,) = [role_specs["django"]["main"]["options"]["django_app"]["options"]["source"]["options"]["exclude"]]
    assert tuple(spec["default"]) == EXCLUDE


def test_the_action_takes_what_the_module_takes(monkeypatch):
    """A task is refused by the one before the other is asked."""
    taken = {}
    monkeypatch.setattr(
        module, "AnsibleModule", lambda argument_spec, **_other: taken.update(argument_spec) or sys.exit()
    )
    with pytest.raises(SystemExit):
        module.main()
    assert taken.keys() == action.ActionModule._VALID_ARGS


@pytest.mark.parametrize(
    ("requirement", "label"),
    [
        ("ara[server]==1.7.2", "ara-server-1.7.2"),
        ("shop == 1.4.2 ; python_version > '3'", "shop-1.4.2"),
        ("shop===1.4", "shop-1.4"),
        ("shop>=1.4,<2", "shop"),
        ("shop", "shop"),
        ("my.shop_x==1!2.0+local", "my.shop_x-1!2.0+local"),
        ("git+https://git.example.com/shop", "git+https://git.example.com/shop"),
        ("shop @ git+https://git.example.com/shop", "shop"),
    ],
)
def test_the_id_of_a_package_has_its_version(ask, requirement, label):
    _answer, fake = ask({"source": {"package": requirement}})
    assert (fake.asked[0]["version"], fake.asked[0]["revision"]) == (label, requirement)
    assert ask({"source": {"package": requirement}, "version": "spring"})[1].asked[0]["version"] == "spring"


@pytest.mark.parametrize("source", [{"tree": "/srv/shop/repo"}, {"archive": "/srv/shop/source.tar.gz"}])
def test_a_source_on_the_host(ask, source):
    _answer, fake = ask({"source": source, "revision": "abc"})
    assert (fake.asked[0]["source"], fake.asked[0]["revision"], fake.sent) == (source, "abc", [])


def test_the_record_names_who_asks(ask):
    assert ask({"state": "active", "release": "x"})[1].asked[0]["actor"].endswith(" by ansible")
    assert ask({"state": "active", "release": "x", "actor": "the pipeline"})[1].asked[0]["actor"] == "the pipeline"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "/no/such/place"}, r"django_app\.source\.path of app 'shop': '/no/such/place' is no directory"),
        ({"package": "/no/such.whl"}, r"django_app\.source\.package of app 'shop': '/no/such\.whl' is no file"),
        ({}, "exactly one of tree, archive, path, package; found none"),
        ({"path": "/x", "package": "y"}, "exactly one of"),
    ],
)
def test_a_source_that_is_not_there(ask, source, message):
    with pytest.raises(AnsibleActionFail, match=message):
        ask({"source": source})
