"""Trees that code of others wrote: given away, written to and copied without following a link."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

import pytest
from djangoctl import tree

ME = (os.getuid(), os.getgid())


@pytest.fixture
def outside(tmp_path):
    """A directory of somebody else, with a file in it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_text("s3cret")
    (tmp_path / "outside/key").chmod(0o600)
    return tmp_path / "outside"


@pytest.fixture
def root(tmp_path, outside):
    """A tree with a link at every place."""
    made = tmp_path / "root"
    (made / "real/deep").mkdir(parents=True)
    (made / "link").symlink_to(outside)
    (made / "real/link").symlink_to(outside)
    (made / "file").write_text("x")
    (made / "real/key").symlink_to(outside / "key")
    return made


@pytest.fixture(autouse=True)
def nothing_outside_changes(outside):
    yield
    assert [path.name for path in outside.iterdir()] == ["key"]
    assert (outside / "key").read_text() == "s3cret"
    assert stat.S_IMODE((outside / "key").stat().st_mode) == 0o600


LED_OUT = ["link", "link/new", "real/link", "real/link/new/er", "file", "file/new"]


@pytest.mark.parametrize("name", LED_OUT)
@pytest.mark.parametrize("create", [False, True])
def test_no_directory_is_opened_through_a_link(root, name, create):
    with pytest.raises(NotADirectoryError), tree.directory(root, name, create=create):
        pass


@pytest.mark.parametrize("name", [".", "real", "real/deep", "new", "real/new/er/"])
def test_directories_are_opened_and_made(root, name):
    with tree.directory(root, name, create=True) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), (root / name).stat())


def test_descriptors_are_closed(root):
    before = len(os.listdir("/proc/self/fd"))
    for name in [*LED_OUT, "real/deep", "none"]:
        with suppress(OSError), tree.directory(root, name):
            pass
    tree.give(root, ME)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["link/new", "real/link/key", "file/new"])
def test_nothing_is_written_through_a_link(root, outside, name):
    with pytest.raises(NotADirectoryError):
        tree.put(root, name, b"x", 0o644)
    with pytest.raises(NotADirectoryError):
        tree.link(root, name, outside)


@pytest.mark.parametrize("name", ["link", "real/key", "real", "file", "new/er"])
def test_what_is_at_the_name_itself_is_replaced(root, outside, name):
    tree.put(root, name, b"mine", 0o640)
    assert ((root / name).read_bytes(), stat.S_IMODE((root / name).lstat().st_mode)) == (b"mine", 0o640)
    tree.link(root, name, outside / "key")
    assert (root / name).readlink() == outside / "key"


def test_only_regular_files_are_opened(root):
    os.mkfifo(root / "fifo")
    for name in ("fifo", "link", "real/key", "real"):
        with pytest.raises(OSError):  # noqa: PT011
            tree.open_file(root / name)
    with tree.open_file(root / "file") as file:
        assert file.read() == b"x"


@pytest.mark.parametrize(
    ("mode", "given"), [(0o600, 0o640), (0o700, 0o750), (0o666, 0o644), (0o6777, 0o755), (0o400, 0o440), (0o644, 0o644)]
)
def test_a_tree_is_given_without_its_links(root, mode, given):
    (root / "file").chmod(mode)
    (root / "real/deep").chmod(0o2707)
    tree.give(root, ME)
    assert stat.S_IMODE((root / "file").stat().st_mode) == given
    assert stat.S_IMODE((root / "real/deep").stat().st_mode) == 0o755


def test_a_link_is_not_given(root, outside, monkeypatch):
    given = []
    monkeypatch.setattr(
        os, "fchown", lambda descriptor, *_ids: given.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    tree.give(root / "link", ME)
    assert given == []
    tree.give(root, ME)
    assert sorted(given) == sorted(str(path) for path in (root, root / "real", root / "real/deep"))


def copied(root, target, **options):
    target.mkdir(exist_ok=True)
    with tree.directory(root.parent) as source, tree.directory(target) as into:
        tree.copy(root.name, source, "copy", into, ME, **options)
    return target / "copy"


def test_a_copy_has_links_and_not_what_they_lead_to(root, outside, tmp_path):
    os.mkfifo(root / "fifo")
    (root / "file").chmod(0o4755)
    copy = copied(root, tmp_path / "target")
    assert (copy / "link").readlink() == (copy / "real/link").readlink() == outside
    assert (copy / "file").read_text() == "x"
    assert stat.S_IMODE((copy / "file").stat().st_mode) == 0o755
    assert (copy / "real/deep").is_dir()
    assert not os.path.lexists(copy / "fifo")


def test_a_copy_replaces_nothing(root, tmp_path, outside):
    (tmp_path / "target").mkdir()
    (tmp_path / "target/copy").symlink_to(outside)
    with pytest.raises(FileExistsError):
        copied(root, tmp_path / "target")
    with pytest.raises(FileExistsError):
        copied(root / "file", tmp_path / "target")


def test_a_copy_may_leave_out_large_files(root, tmp_path):
    (root / "large").write_bytes(bytes(11))
    copy = copied(root, tmp_path / "target", limit=10)
    assert not (copy / "large").exists()
    assert (copy / "file").exists()


def test_a_tree_of_any_depth_is_removed(tmp_path):
    """Build code may make one that Python's own functions give up on."""
    (tmp_path / "trap").mkdir()
    descriptor = os.open(tmp_path / "trap", os.O_RDONLY)
    for _number in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    tree.remove(tmp_path / "trap")
    assert not (tmp_path / "trap").exists()
    tree.remove(tmp_path / "trap")  # what is not there is no error
