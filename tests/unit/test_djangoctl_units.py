"""Units that change on a live app, with a fake systemd that keeps its rules about sockets and services."""

from __future__ import annotations

import grp
import json
import os
import re
import socket
import subprocess

import pytest
from djangoctl import swap, units
from djangoctl.errors import ActivationError, ConfigError, GateError
from djangoctl.release import live_id
from test_djangoctl_swap import NEXT, SERVICE, SOCKET, FakeSystemd

A, B, C = "/run/a.sock", "127.0.0.1:8001", "127.0.0.1:8002"


class Systemd(FakeSystemd):
    """Knows unit files as they were at the last daemon-reload, and hands open sockets to what it starts.

    After each call somebody must answer at the addresses in `needed`.
    """

    def __init__(self, app):
        super().__init__(app)
        self.loaded, self.open, self.answering, self.needed = {}, {}, {}, set()

    def control(self, *words):
        verb, names = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb in ("start", "restart"):
            for name in names:
                if refused := self._refuses(name):
                    self.up -= {name}
                    return subprocess.CompletedProcess(words, 1, "", refused)
        result = super().control(*words)
        if verb == "daemon-reload":
            self.loaded = {path.name: path.read_text() for path in units.DIRECTORY.iterdir()}
        for name in names:
            self._follow(verb, name, result.returncode == 0)
        seen = set().union(*self.answering.values())
        assert self.needed <= seen, f"{words}: nobody answers at {self.needed - seen}"
        return result

    def _follow(self, verb, name, done):
        if name.endswith(".socket"):
            if verb == "stop":
                self.open.pop(name, None)
            elif verb in ("start", "restart"):
                self.open[name] = units.address(self.loaded[name])
        elif name in (SERVICE, NEXT):
            if verb in ("stop", "restart"):
                self.answering.pop(name, None)
            if verb in ("start", "restart") and done:
                listed = units.setting(self.loaded[name], "Sockets").split()
                self.open |= {one: units.address(self.loaded[one]) for one in listed if one not in self.open}
                self.up |= set(listed)
                # Those too that name the service themselves.
                mine = {one for one in self.open if units.setting(self.loaded[one], "Service") == name}
                self.answering[name] = {self.open[one] for one in {*listed, *mine}}

    def _refuses(self, name):
        if re.sub("@.*[.]", "@.", name) not in self.loaded:
            return f"Unit {name} not found."
        if name.endswith(".socket") and units.setting(self.loaded[name], "Service") not in self.loaded:
            return "Socket service not loaded, refusing."
        if name.endswith(".socket") and units.setting(self.loaded[name], "Service") in self.up:
            return "Socket service already active, refusing."
        if name in self.open and self.open[name] != units.address(self.loaded[name]):
            return "Socket unit configuration has changed while unit has been running"
        return ""


@pytest.fixture
def app(make_app):
    return make_app(listen=A)


@pytest.fixture
def system(app):
    return Systemd(app)


@pytest.fixture
def old(app, make_release, system):
    """A release that is live at A."""
    release = make_release(app, "old")
    assert swap.activate(app, release, system)
    system.needed = {A}
    system.calls.clear()
    return release


@pytest.fixture
def move(make_app, system, old):
    """`move(address)`: change `listen` on the live app and activate; returns where it answers."""

    def to(address, **settings):
        app = make_app(listen=address, **settings)
        assert swap.pending(app, "old", system)
        assert swap.activate(app, old, system)
        assert not swap.pending(app, "old", system), "the run after would change something"
        return system.answering[SERVICE]

    return to


def files():
    return {path.name: path.read_text() for path in units.DIRECTORY.iterdir()}


def recorded(app):
    return json.loads((app.root / "live.json").read_text())["sockets"]


# Addresses


def test_a_new_address_is_served_before_the_old_one_is_left(app, move, system):
    assert move(B) == {A, B}
    system.needed = {A, B}
    assert recorded(app)[1] == SOCKET
    assert re.fullmatch(r"django-shop-[0-9a-f]{8}\.socket", recorded(app)[0])
    assert system.on >= {*recorded(app), SERVICE}
    assert swap.status(app, system)["socket"] is True


def test_the_old_address_is_left_by_the_next_activation(app, move, make_release, system, tmp_path):
    move(B)
    system.needed = {B}
    system.calls.clear()
    assert swap.activate(app, make_release(app, "new"), system)
    assert system.answering == {SERVICE: {B}}
    assert len(recorded(app)) == 1
    assert set(files()) == {SERVICE, NEXT, *recorded(app)}
    assert f"disable {SOCKET}" in system.asked
    assert SOCKET not in system.up


def test_the_node_of_a_socket_that_is_left_disappears(make_app, make_release, system, old, tmp_path):
    path, system.needed = tmp_path / "gone.sock", set()
    for where in (str(path), B):
        swap.activate(make_app(listen=where), old, system)
    path.touch()
    swap.activate(make_app(listen=B), make_release(make_app(listen=B), "new"), system)
    assert not path.exists()


def test_there_and_back(app, move, system):
    assert move(B) == {A, B}
    system.needed = {B}
    assert move(A) == {A, B}
    assert recorded(app)[0] == SOCKET
    assert len(files()) == 4


def test_from_port_to_port_to_port(app, move, system):
    assert move(B) == {A, B}
    system.needed = {B}
    assert move(C) == {B, C}
    system.needed = {C}
    assert move(A) == {A, C}
    assert len(set(recorded(app))) == 2


def test_an_address_is_kept_while_the_web_server_names_it(app, move, make_release, system):
    """A deploy writes no site: Nginx would pass requests to where nobody listens."""
    site = units.WEB_SERVER / "sites/shop.conf"
    site.parent.mkdir(parents=True)
    site.write_text(f"upstream shop {{ server unix:{A}; }}")
    move(B)
    system.needed = {A, B}
    swap.activate(app, make_release(app, "one"), system)
    site.write_text(f"upstream shop {{ server {B}; server unix:{A}2; }}")
    system.needed = {B}
    swap.activate(app, make_release(app, "two"), system)
    assert system.answering[SERVICE] == {B}


@pytest.mark.parametrize(
    ("text", "named"),
    [("server 127.0.0.1:80;", True), ("server 127.0.0.1:8001;", False), ("server unix:/run/x;", False), ("", False)],
)
def test_what_a_web_server_names(make_app, text, named):
    make_app()
    units.WEB_SERVER.mkdir()
    (units.WEB_SERVER / "nginx.conf").write_text(text)
    assert units._is_named_by_web_server("127.0.0.1:80") is named


def test_a_release_that_fails_its_gate_leaves_the_address_as_it_was(make_app, make_release, system, old):
    before = {name: text for name, text in files().items() if name != NEXT}
    app = make_app(listen=B, processes=["django-shop-mail.service"])
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError):
        swap.activate(app, make_release(app, "new"), system)
    assert {name: text for name, text in files().items() if name != NEXT} == before
    assert system.open == {SOCKET: A}
    # What the inventory said before is not pending when it says it again.
    assert not swap.pending(make_app(listen=A), "old", system)


def test_the_old_address_serves_when_a_release_does_not_start_on_the_new_one(make_app, make_release, system, old):
    before = {name: text for name, text in files().items() if name != NEXT}
    system.failing["restart", SERVICE] = 1
    app = make_app(listen=B)
    with pytest.raises(ActivationError, match="passed its gate but did not start") as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert caught.value.state == "release old was put back"
    assert system.answering == {SERVICE: {A}}
    assert {name: text for name, text in files().items() if name != NEXT} == before


def test_an_activation_that_broke_off_is_finished_by_the_next(make_app, system, old, monkeypatch):
    """Killed after the service has restarted: the record still says that the old address serves."""
    app = make_app(listen=B)
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_record_live", lambda *_words, **_options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            swap.activate(app, old, system)
    system.needed = {A, B}
    assert swap.pending(app, "old", system)
    assert swap.activate(app, old, system)
    assert system.answering[SERVICE] == {A, B}
    assert len(files()) == 4


@pytest.mark.parametrize("taken", ["127.0.0.1", "0.0.0.0"])
def test_an_address_that_is_taken_is_refused_before_anything_changes(make_app, system, old, taken):
    """That of somebody else, and one of the app's own that overlaps."""
    before = files()
    with socket.socket() as other:
        other.bind((taken, 0))
        other.listen()
        app = make_app(listen=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use") as caught:
            swap.activate(app, old, system)
    assert caught.value.state == "nothing was changed: release old is still live"
    assert "change to another port first" in caught.value.hint
    assert (system.asked, files()) == ([], before)


def test_an_address_that_the_host_does_not_have_is_refused(make_app, system, old):
    with pytest.raises(ConfigError, match="Cannot assign requested address") as caught:
        swap.activate(make_app(listen="192.0.2.1:8000", path="django_apps[shop]"), old, system)
    assert caught.value.message.startswith("django_apps[shop].listen: "), "as the inventory has it"
    assert system.asked == []


@pytest.mark.parametrize(
    ("where", "target"),
    [
        ("/run/x.sock", (socket.AF_UNIX, "/run/x.sock")),
        ("127.0.0.1:80", (socket.AF_INET, ("127.0.0.1", 80))),
        ("[::1]:80", (socket.AF_INET6, ("::1", 80))),
    ],
)
def test_addresses_are_read_as_unit_files_write_them(where, target):
    with units._stream(where) as stream:
        assert (stream.family, units.reachable(where)) == target


def test_a_first_release_opens_its_address_whatever_an_earlier_try_left(make_app, make_release):
    app = make_app(listen=A)
    system = Systemd(app)
    system.failing["start", NEXT] = 1
    with pytest.raises(GateError):
        swap.activate(app, make_release(app, "one"), system)
    app = make_app(listen=B)
    assert swap.activate(app, make_release(app, "two"), system)
    assert system.answering == {SERVICE: {B}}


@pytest.mark.parametrize("listening", [True, False])
def test_a_socket_is_open_if_somebody_listens(make_app, tmp_path, monkeypatch, listening):
    monkeypatch.undo()  # the fixture's answer
    monkeypatch.setattr(units, "DIRECTORY", tmp_path / "systemd")
    (tmp_path / "systemd").mkdir(exist_ok=True)
    path = tmp_path / "x.sock"
    (tmp_path / "systemd" / SOCKET).write_text(f"X-Djangofleet-App=shop\nListenStream={path}\n")
    app = type("App", (), {"name": "shop", "unit": "django-shop"})()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        if listening:
            server.listen()
        assert units.is_open(app, SOCKET) is listening
    path.unlink()
    assert units.is_open(app, SOCKET) is False


def test_a_socket_that_nobody_listens_on_is_opened_again(app, system, old, monkeypatch):
    """systemd goes on to call a socket active whose address has changed beneath it."""
    system.needed = set()
    monkeypatch.setattr(units, "is_open", lambda _app, name: f"restart {name}" in system.asked)
    assert swap.pending(app, "old", system)
    assert swap.activate(app, old, system)
    assert system.asked[:3] == ["daemon-reload", f"stop {SERVICE}", f"restart {SOCKET}"]


def test_a_lost_socket_that_cannot_be_opened_is_no_small_matter(app, system, old, monkeypatch):
    """The service was stopped for it, and needs the socket to start."""
    system.needed = set()
    monkeypatch.setattr(units, "is_open", lambda _app, _name: False)
    system.failing["restart", SOCKET] = 1
    with pytest.raises(ActivationError, match="could not be opened") as caught:
        swap.activate(app, old, system)
    assert (caught.value.state, SERVICE in system.up) == ("nothing serves", False)
    assert SOCKET in caught.value.hint


def test_an_old_address_that_cannot_be_opened_again_stops_nothing(app, move, make_release, system):
    """After a boot, say: what is to be left need not be there."""
    move(B)
    system.needed = {B}
    system.up.discard(SOCKET)
    assert swap.activate(app, make_release(app, "new"), system)
    assert f"restart {SOCKET}" not in system.asked


# The group that may connect


def test_a_group_that_is_not_there_is_refused(app, system, old):
    """systemd would open no socket after the next boot."""
    unit = app.config / "units" / SOCKET
    unit.write_text(unit.read_text() + "SocketGroup=no-such-group\n")
    with pytest.raises(ConfigError, match="there is no group 'no-such-group'"):
        swap.activate(app, old, system)
    assert system.asked == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to any group")
def test_another_group_may_connect_at_once(make_app, make_release, tmp_path):
    groups = [entry.gr_name for entry in grp.getgrall() if entry.gr_gid != os.getgid()]
    path = tmp_path / "x.sock"
    app = make_app(listen=str(path))
    system, release = Systemd(app), make_release(app, "old")
    swap.activate(app, release, system)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        unit = app.config / "units" / SOCKET
        unit.write_text(unit.read_text() + f"SocketGroup={groups[0]}\n")
        system.calls.clear()
        assert swap.activate(app, release, system)
        assert path.group() == groups[0]
    assert not [call for call in system.asked if SOCKET in call and not call.startswith("enable")], "it was closed"


def test_an_old_release_is_put_back_although_its_group_has_gone(
    make_app, make_release, system, old, monkeypatch, tmp_path
):
    system.needed, path = set(), tmp_path / "x.sock"
    swap.activate(make_app(listen=str(path)), old, system)
    swap.activate(make_app(listen=str(path)), make_release(make_app(listen=str(path)), "newer"), system)
    pinned = make_app(listen=str(path)).pinned / "units" / SOCKET
    pinned.write_text(pinned.read_text() + "SocketGroup=gone\n")
    system.failing["restart", SERVICE] = 1
    app = make_app(listen=str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(ActivationError) as caught:
            swap.activate(app, make_release(app, "new"), system)
    assert re.fullmatch(
        r"release newer was put back, but not all of its units \(.*: no such group.*", caught.value.state
    )
    assert (live_id(app), SERVICE in system.up, NEXT in system.up) == ("newer", True, False)


# Which units


def test_units_are_installed_when_the_gate_has_passed(make_app, make_release, system, old):
    app = make_app(listen=A, processes=["django-shop-mail.service"])
    seen = []
    control = system.control
    system.control = lambda *words: (seen.append((words[0], words[-1], set(files()))), control(*words))[1]
    swap.activate(app, make_release(app, "new"), system)
    moments = {(verb, name): names for verb, name, names in seen}
    assert moments["start", NEXT] == {SOCKET, SERVICE, NEXT}
    assert moments["restart", SERVICE] == {SOCKET, SERVICE, NEXT, "django-shop-mail.service"}
    assert {oct((units.DIRECTORY / name).stat().st_mode)[-3:] for name in files()} == {"644"}


def test_units_that_are_no_longer_wanted_disappear(make_app, make_release, system, old):
    names = ["django-shop-mail@1.service", "django-shop-mail@2.service"]
    swap.activate(make_app(listen=A, processes=names, timers=["django-shop-tidy.timer"]), old, system)
    assert set(files()) >= {"django-shop-mail@.service", "django-shop-tidy.timer"}
    other = units.DIRECTORY / "django-shop-two-mail.service"
    other.write_text("[Unit]\nX-Djangofleet-App=shop-two\n")
    theirs = units.DIRECTORY / "django-shop-backup.service"
    theirs.write_text("[Service]\nExecStart=/usr/local/bin/backup\n")
    system.calls.clear()
    app = make_app(listen=A)
    swap.activate(app, make_release(app, "new"), system)
    assert set(files()) == {SOCKET, SERVICE, NEXT, other.name, theirs.name}
    assert "stop django-shop-mail@*.service django-shop-tidy.timer" in system.asked
    assert "disable django-shop-mail@.service django-shop-tidy.timer" in system.asked
    assert system.asked[-1] == "daemon-reload"


def test_a_process_that_only_the_failed_release_had_is_stopped(make_app, make_release, system, old):
    one, two = "django-shop-mail@1.service", "django-shop-mail@2.service"
    swap.activate(make_app(listen=A, processes=[one]), old, system)
    app = make_app(listen=A, processes=[one, two])
    system.falling[two] = ["new"]
    with pytest.raises(ActivationError):
        swap.activate(app, make_release(app, "new"), system)
    assert system.up & {one, two} == {one}


def change_by_hand(name):
    (units.DIRECTORY / name).write_text(files()[name].replace("[Unit]", "[Unit]\nDescription=mine"))


def remove_by_hand(name):
    (units.DIRECTORY / name).unlink()


@pytest.mark.parametrize("name", [SERVICE, SOCKET])
@pytest.mark.parametrize("damage", [change_by_hand, remove_by_hand])
def test_a_unit_that_was_changed_by_hand_is_put_back(app, system, old, name, damage):
    before = files()[name]
    damage(name)
    assert swap.status(app, system)["restart_pending"] is True
    assert swap.activate(app, old, system)
    assert files()[name] == before
    assert not swap.pending(app, "old", system)


def test_what_was_written_and_not_loaded_is_loaded_by_the_next_run(make_app, make_release, system, old, monkeypatch):
    """Killed between the two: systemd still has the old unit, and files alone do not tell."""
    app = make_app(listen=A, processes=["django-shop-mail.service"])

    def killed(texts):
        write(texts)
        if SERVICE in texts:
            raise KeyboardInterrupt
        return True

    write = units._write
    with monkeypatch.context() as patch:
        patch.setattr(units, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            swap.activate(app, old, system)
    assert "django-shop-mail.service" not in system.loaded
    assert swap.pending(app, "old", system)
    assert swap.activate(app, old, system)
    assert system.loaded == files()


def test_a_full_disk_puts_the_old_units_back(make_app, make_release, system, old, monkeypatch):
    before = {name: text for name, text in files().items() if name != NEXT}
    app, replace = make_app(listen=B), os.replace

    def full(source, target):
        if str(target).endswith(f"systemd/{SERVICE}") and "Sockets=django-shop-" in source.read_text():
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(units.os, "replace", full)
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert "No space left on device" in caught.value.log
    assert {name: text for name, text in files().items() if name != NEXT} == before
    assert system.answering == {SERVICE: {A}}


# Hosts of an older djangoctl


@pytest.fixture
def older(app, make_release, system):
    """A host that commit 5ab392e made: units that the role has installed, and a pinned configuration without any."""
    release = make_release(app, "old")
    swap.activate(app, release, system)
    record = json.loads((app.root / "live.json").read_text())
    for key in ("sockets", "pin", "rolled_back", "goes_back", "done"):
        del record[key]
    (app.pinned / "release").unlink()
    (app.root / "live.json").write_text(json.dumps(record | {"fingerprint": "another"}))
    for path in (app.pinned / "units").iterdir():
        path.unlink()
    (app.pinned / "units").rmdir()
    for name in files():
        text = files()[name].replace("X-Djangofleet-App=shop\n", "").replace(f"serve {SOCKET}", "serve")
        (units.DIRECTORY / name).write_text(text.replace(f"Service={SERVICE}\n", ""))
    system.needed = {A}
    return release


def test_an_older_host_keeps_its_socket(app, system, older):
    system.calls.clear()
    assert swap.activate(app, older, system)
    assert not [call for call in system.asked if call.startswith(("stop", "restart", "disable")) and SOCKET in call]
    assert set(files()) == {SOCKET, SERVICE, NEXT}
    assert not swap.pending(app, "old", system)


def test_an_older_host_gets_its_units_back_when_a_release_does_not_start(make_app, make_release, system, older):
    before = {name: text for name, text in files().items() if name != NEXT}
    app = make_app(listen=B)
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert caught.value.state == "release old was put back"
    assert {name: text for name, text in files().items() if name != NEXT} == before
    assert system.answering == {SERVICE: {A}}


def test_an_older_host_keeps_its_configuration_when_its_first_activation_breaks_off(
    app, make_release, system, older, monkeypatch
):
    """Its record does not name what is pinned for it."""
    pin = app.pinned.resolve()
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_restart_service", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            swap.activate(app, make_release(app, "broken"), system)
    system.failing["restart", SERVICE] = 1
    with pytest.raises(ActivationError) as caught:
        swap.activate(app, make_release(app, "new"), system)
    assert caught.value.state == "release old was put back"
    assert (live_id(app), app.pinned.resolve()) == ("old", pin)


def test_an_older_configuration_is_refused_with_what_to_do(app, system, old):
    (app.config / "units" / SOCKET).unlink()
    (app.config / "env").write_text("A=1\n")
    with pytest.raises(ConfigError, match="is missing") as caught:
        swap.activate(app, old, system)
    assert "site.yml" in caught.value.hint
    assert system.asked == []
