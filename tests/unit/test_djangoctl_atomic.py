"""Files that are whole or not at all, on a disk that takes nothing any more."""

from __future__ import annotations

import errno
import os

import pytest
from djangoctl import atomic


@pytest.fixture(params=["write", "fsync", "replace", "open"])
def broken(request, monkeypatch):
    """`broken()`: from now on one of the calls that a write consists of fails as on a full disk."""
    real = os.fdopen

    def fail(*words, **_options):
        raise OSError(
            errno.ENOSPC, "No space left on device", *(str(word) for word in words[:1] if not isinstance(word, int))
        )

    def start():
        if request.param == "write":
            monkeypatch.setattr(atomic.os, "fdopen", lambda *words: Unwritable(real(*words)))
        else:
            monkeypatch.setattr(atomic.os, request.param, fail)

    return start


class Unwritable:
    """A file that writes half of what it is given."""

    def __init__(self, handle):
        self.handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handle.close()

    def write(self, content):
        self.handle.write(content[: len(content) // 2])
        self.handle.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [None, "before"])
def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, broken, before):
    path = tmp_path / "page.html"
    if before:
        path.write_text(before)
    broken()
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write(path, "after")
    assert caught.value.filename == str(path), "the message would name no file, or one that is gone"
    assert (path.read_text() if path.exists() else None) == before
    assert os.listdir(tmp_path) == ([path.name] if before else [])


def test_a_link_is_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "current").symlink_to("old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.put_link(tmp_path / "current", "new")
    assert os.readlink(tmp_path / "current") == "old"
    assert os.listdir(tmp_path) == ["current"]


@pytest.mark.parametrize(("content", "mode"), [("ünï\n", 0o644), (b"\xff\0", 0o600)])
def test_content_and_mode_do_not_depend_on_the_umask(tmp_path, content, mode):
    before = os.umask(0o077)
    try:
        atomic.write(tmp_path / "file", content, mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_file_with_a_secret_is_private_from_the_first_moment(tmp_path, monkeypatch):
    seen = []
    real = os.fdopen

    def watch(descriptor, *words):
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        return real(descriptor, *words)

    monkeypatch.setattr(atomic.os, "fdopen", watch)
    atomic.write(tmp_path / "secret", "x", mode=0o600)
    assert seen == [0o600]


def test_what_a_link_points_to_is_not_written(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / ".file.new").symlink_to("target")
    atomic.write(tmp_path / "file", "new")
    assert (tmp_path / "target").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]
