"""One backup, drill or restore at a time, and nobody else who could keep them from it."""

from __future__ import annotations

import fcntl

import pytest
from djangofleet_backup import cli, core


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(core, "STATE", tmp_path / "state")
    return tmp_path / "state"


def test_only_root_can_open_the_lock(state):
    with core.alone():
        (lock,) = state.iterdir()
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(state, tmp_path):
    state.mkdir()
    (tmp_path / "other").write_text("kept")
    (state / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"), core.alone():
        pass
    assert (tmp_path / "other").read_text() == "kept"


def test_who_holds_the_lock_keeps_it_until_the_outermost_ends(state):
    with core.alone():
        with core.alone():
            pass
        with (state / "lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (state / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_drill_that_waited_behind_a_restore_to_scratch_leaves_the_copy(monkeypatch):
    """The restore has noted its copy while the drill waited for the lock."""

    def wait(handle, how):
        core.note(lambda record: record.update(scratch=1.0))

    monkeypatch.setattr(core.fcntl, "flock", wait)
    with pytest.raises(core.Refused, match="a restore to scratch is in use"):
        cli.do_drill({"clusters": [], "databases": [], "files": [], "metrics_directory": ""}, None)
