"""djangofleet-balancer on the host: whom it asks, who is out, what Nginx includes, and who may drain whom."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest
from djangofleet_balancer import cli, config, connections, files, health, nginx, notify, probe, state, upstream, watch
from test_role_certificate import AUTHORITY, ROOT, STRANGER, issue

HEADER = "# What djangofleet-balancer finds out: `djangofleet-balancer status` says why a server is down.\n"
LONG = 60.0  # seconds: what takes longer has failed, however busy the machine is
MARK = {"since": "2026-11-22T05:00:00Z", "why": "timed out after 1 s"}
DRAINED = {"since": "2026-11-22T05:00:00Z", "by": "ada", "why": "a new disk"}
HEALTH: dict[str, Any] = {"enabled": True, "host": "shop.example.com", "path": "/healthz", "status_min": 200,
                          "status_max": 399, "tls": None}  # fmt: skip
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\n\r\n"


def server(name: str, address: str = "10.0.0.5:443", options: str = "") -> dict[str, str]:
    return {"name": name, "address": address, "line": f"server {address} max_fails=1 fail_timeout=2s{options}"}


def site(name: str, *servers: str | dict[str, str], **checked: Any) -> dict[str, Any]:
    listed = [server(each) if isinstance(each, str) else each for each in servers]
    return {"name": name, "file": name, "servers": listed, "health": {**HEALTH, **checked}}


def settings(*sites: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "interval": 0.05,
        "connect_timeout": 20,
        "timeout": 20,
        "falls": 2,
        "rises": 2,
        "sites": list(sites),
        **others,
    }


def known(drained: tuple[str, ...] = (), **unhealthy: tuple[str, ...]) -> dict[str, Any]:
    """A state: who is drained, and who is unhealthy, by site."""
    return {
        "version": 1,
        "drained": dict.fromkeys(drained, DRAINED),
        "unhealthy": {name: dict.fromkeys(hosts, MARK) for name, hosts in unhealthy.items()},
    }


def written(*paths: Path) -> list[tuple[int, int]]:
    """What differs when a file was written meanwhile."""
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]


def until(check: Callable[[], Any], what: str = "") -> Any:
    """What a check returns once it is true. A file that it reads may not be there yet."""
    end = time.monotonic() + LONG
    while True:
        with suppress(FileNotFoundError, ValueError):
            if found := check():
                return found
        assert time.monotonic() < end, what or "it has not come to hold"
        time.sleep(0.02)


# --- who is out, and what Nginx includes ------------------------------------------------------------------------------


def test_what_nginx_includes():
    shop = site("shop", server("app1", "10.0.0.5:443"), server("app2", "[fd00::6]:443", " backup"))
    first, second = (
        "server 10.0.0.5:443 max_fails=1 fail_timeout=2s",
        "server [fd00::6]:443 max_fails=1 fail_timeout=2s",
    )
    assert upstream.rendered(shop, set()) == f"{HEADER}{first};\n{second} backup;\n"
    assert upstream.rendered(shop, {"app2", "app3"}) == f"{HEADER}{first};\n{second} backup down;\n"
    assert upstream.rendered(site("shop"), ()) == HEADER


@pytest.mark.parametrize(
    ("shop", "found", "out"),
    [
        (site("shop", "a", "b"), known(), set()),
        (site("shop", "a", "b"), known(shop=("a",)), {"a"}),
        (site("shop", "a", "b"), known(other=("a",)), set()),
        (site("shop", "a", "b"), known(("a",)), {"a"}),
        (site("shop", "a", "b"), known(("c",), shop=("d",)), set()),
        # Health never takes the last ones: neither of all, nor of those that are not drained.
        (site("shop", "a", "b"), known(shop=("a", "b")), set()),
        (site("shop", "a"), known(shop=("a",)), set()),
        (site("shop", "a", "b"), known(("a",), shop=("b",)), {"a"}),
        (site("shop", "a", "b", "c"), known(("a",), shop=("b",)), {"a", "b"}),
        (site("shop", "a", "b", "c"), known(("a",), shop=("b", "c")), {"a"}),
        (site("shop", "a", "b"), known(("a",), shop=("a", "b")), {"a"}),
        # Somebody who drains all of them gets that.
        (site("shop", "a", "b"), known(("a", "b")), {"a", "b"}),
        (site("shop", "a", "b", enabled=False), known(shop=("a",)), set()),
        # One that the inventory calls down takes no requests, so that it does not count as one that is left.
        (site("shop", "a", server("b", options=" down")), known(shop=("a",)), set()),
        (site("shop", "a", server("b", options=" down")), known(("b",)), set()),
        (site("shop"), known(("a",), shop=("a",)), set()),
    ],
)
def test_who_is_out(shop, found, out):
    assert upstream.out_of(shop, found) == out


def record_of(*faults: str, mark: Mapping[str, str] | None = None, **limits: int) -> health.Record:
    record = health.Record(mark)
    for number, found in enumerate(faults):
        record = health.judged(record, found, {"falls": 2, "rises": 2, **limits}, f"at {number}")
    return record


@pytest.mark.parametrize(
    ("faults", "limits", "mark"),
    [
        (["x"], {}, None),
        (["x", "y"], {}, {"since": "at 1", "why": "y"}),
        (["x", "", "y"], {}, None),
        (["x", "y", "z"], {}, {"since": "at 1", "why": "y"}),
        (["x", "y", ""], {}, {"since": "at 1", "why": "y"}),
        (["x", "y", "", "z", ""], {}, {"since": "at 1", "why": "y"}),
        (["x", "y", "", ""], {}, None),
        (["x"], {"falls": 1}, {"since": "at 0", "why": "x"}),
        (["x", "y", ""], {"rises": 1}, None),
        (["x", "y"], {"falls": 3}, None),
    ],
)
def test_so_many_answers_in_a_row_decide(faults, limits, mark):
    assert record_of(*faults, **limits).mark == mark


@pytest.mark.parametrize(
    ("between", "taken"),
    [(0, [2, 4, 8, 16, 32, 60, 60]), (100, [2, 4, 8, 16, 32, 60, 60]), (200, [2, 2, 2, 2, 2, 2, 2])],
)
def test_a_server_that_falls_again_and_again_comes_back_later_each_time(between, taken):
    """Each change is a reload. Once it has been well for a minute, nothing is held against it."""
    record, found, limits = health.Record(), [], {"falls": 2, "rises": 2}
    for _ in taken:
        while not record.mark:
            record = health.judged(record, "x", limits, "now")
        number = 0
        while record.mark:
            record, number = health.judged(record, "", limits, "now"), number + 1
        found.append(number)
        for _ in range(between - number):
            record = health.judged(record, "", limits, "now")
    assert found == taken


def test_a_restart_forgets_nothing():
    assert record_of("", mark=MARK).mark == MARK
    assert record_of("x", mark=MARK).mark == MARK
    assert record_of("", "", mark=MARK).mark is None


def test_another_address_is_another_server():
    shop, found = site("shop", server("app1", "10.0.0.5:443")), known(shop=("app1",))
    before = health.records(settings(shop), found, {})
    (key,) = before
    before[key] = health.judged(before[key], "", settings(rises=2), "now")
    assert health.records(settings(shop), found, before)[key].good == 1
    moved = health.records(settings(site("shop", server("app1", "10.0.0.9:443"))), found, before)
    assert moved == {health.Key("shop", "app1", "10.0.0.9:443"): health.Record(MARK)}, "it stays out, and begins anew"


def test_who_is_not_asked_is_not_unhealthy():
    shop = settings(site("shop", "app1", enabled=False))
    assert health.with_records(known(("app2",), shop=("app1",)), health.records(shop, known(), {})) == known(("app2",))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (known(), known(), []),
        (known(), known(shop=("a",)), ["shop: a is out: timed out after 1 s"]),
        (known(shop=("a",)), known(), ["shop: a is back"]),
        (known(), known(("a",)), ["shop: a is out: drained by ada; a new disk"]),
        (known(shop=("a",)), known(("a",), shop=("a",)),
         ["shop: a is out: drained by ada; a new disk; timed out after 1 s"]),
        (known(("a",), shop=("a",)), known(shop=("a",)), ["shop: a is out: timed out after 1 s"]),
        (known(shop=("a",)), known(shop=("a", "b")),
         ["shop: a is back, since none would be left: timed out after 1 s",
          "shop: b stays in, since none would be left: timed out after 1 s"]),
        (known(shop=("a", "b")), known(shop=("a",)), ["shop: a is out: timed out after 1 s", "shop: b is well again"]),
    ],
)  # fmt: skip
def test_what_is_told_of_a_change(before, after, lines):
    shop = settings(site("shop", "a", "b"))
    assert list(health.changes(health.standings(shop, before), health.standings(shop, after))) == lines


# --- what others write ------------------------------------------------------------------------------------------------


def test_a_good_configuration_is_taken():
    tls = {"authority_file": "/etc/ssl/ca.pem", "name": "shop.example.com"}
    shop = site("shop", server("app1"), server("app2", "[::1]:443"), server("app3", "app3.internal:8001"), tls=tls)
    blog = {"name": "blog", "file": "blog", "servers": [server("app1")], "health": {"enabled": False}}
    found = settings(shop, blog)
    assert config.parsed(json.dumps(found).encode()) == found
    assert [config.address_of(each["address"]) for each in shop["servers"]] == [
        ("10.0.0.5", 443), ("::1", 443), ("app3.internal", 8001)]  # fmt: skip
    assert config.parsed(json.dumps(settings()).encode())["sites"] == []


@pytest.mark.parametrize(
    ("found", "path"),
    [
        ([], "it"),
        (settings(version=2), "version"),
        (settings(interval=0), "interval"),
        (settings(interval=True), "interval"),
        (settings(timeout=float("inf")), "timeout"),
        (settings(connect_timeout=0), "connect_timeout"),
        (settings(timeout=float("nan")), "timeout"),
        (settings(falls=0), "falls"),
        (settings(rises=1.5), "rises"),
        (settings(sites={}), "sites"),
        (settings(site("../shop", "a")), "sites[0].name"),
        (settings(site("shop", "a"), site("shop", "a")), "sites[1].name"),
        (settings(site("shop", "a", "a")), "sites[0].servers[1].name"),
        (settings(site("shop", server("a", "10.0.0.5"))), "sites[0].servers[0].address"),
        (settings(site("shop", server("a", "10.0.0.5:0"))), "sites[0].servers[0].address"),
        (settings(site("shop", server("a", "10.0.0.5:99999"))), "sites[0].servers[0].address"),
        (settings(site("shop", server("a", options=";} http {"))), "sites[0].servers[0].line"),
        (settings(site("shop", server("a", options=" # x"))), "sites[0].servers[0].line"),
        (settings(site("shop", server("a", options="\n"))), "sites[0].servers[0].line"),
        (settings(site("shop", "a", enabled="yes")), "sites[0].health.enabled"),
        (settings(site("shop", "a", host="a\r\nX: y")), "sites[0].health.host"),
        (settings(site("shop", "a", path="healthz")), "sites[0].health.path"),
        (settings(site("shop", "a", path="/a b")), "sites[0].health.path"),
        (settings(site("shop", "a", status_min="200")), "sites[0].health.status_min"),
        (settings(site("shop", "a", tls={"authority_file": "/ca.pem", "name": ""})), "sites[0].health.tls.name"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_path(found, path):
    with pytest.raises(ValueError, match="^" + path.translate({91: r"\[", 93: r"\]", 46: r"\."}) + ": found "):
        config.parsed(json.dumps(found).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # json words it
        config.parsed(text)
    with pytest.raises(ValueError):  # noqa: PT011
        state.parsed(text)


def test_equal_states_are_equal_bytes():
    found = known(("b", "a"), shop=("d", "c"), blog=("e",))
    other = {"unhealthy": {"blog": {"e": MARK}, "none": {}, "shop": {"c": MARK, "d": MARK}},
             "drained": {"a": DRAINED, "b": DRAINED}, "version": 1}  # fmt: skip
    assert state.serialised(found) == state.serialised(other)
    assert state.parsed(state.serialised(other)) == found


@pytest.mark.parametrize(
    "found",
    [
        {"version": 2, "drained": {}, "unhealthy": {}},
        {"version": 1, "drained": {}},
        {"version": 1, "drained": [], "unhealthy": {}},
        {"version": 1, "drained": {"a": {"since": "x"}}, "unhealthy": {}},
        {"version": 1, "drained": {"a": {**DRAINED, "why": None}}, "unhealthy": {}},
        {"version": 1, "drained": {}, "unhealthy": {"shop": ["a"]}},
        {"version": 1, "drained": {}, "unhealthy": {"shop": {"a": "b"}}},
    ],
)
def test_a_damaged_state_is_told(host, found):
    host.state.mkdir()
    (host.state / "out.json").write_text(json.dumps(found))
    empty, warning = state.read()
    assert empty == known()
    assert warning.startswith(f"{host.state}/out.json is damaged: no server counts as drained or unhealthy")


# --- the host ---------------------------------------------------------------------------------------------------------


class Host:
    """The files of a host and its programs. Nginx refuses what has the text in `refuses` within its upstreams."""

    def __init__(self, path: Path) -> None:
        self.path, self.config, self.state, self.upstreams = (
            path, path / "balancer.json", path / "lib/balancer", path / "upstreams")  # fmt: skip
        self.calls, self.refuses, self.active = path / "calls", path / "refuses", path / "active"
        self.pid, self.slow, self.log = path / "pid", path / "slow", path / "log"
        for program in (path / "bin/nginx", path / "bin/ss", path / "bin/systemctl"):
            program.parent.mkdir(exist_ok=True)
            program.write_text(PROGRAM.format(path=path))
            program.chmod(0o755)
        self.active.write_text("active\n")
        self.calls.touch()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.path}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "roles/nginx/files"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGOFLEET_BALANCER_CONFIG": str(self.config),
            "DJANGOFLEET_BALANCER_STATE": str(self.state),
            "DJANGOFLEET_BALANCER_UPSTREAMS": str(self.upstreams),
            "DJANGOFLEET_BALANCER_ACTOR": "ada",
        }

    def write(self, *sites: dict[str, Any], **others: Any) -> None:
        """Configure it, as the role does: whole, by rename."""
        part = self.config.with_name("part")
        part.write_text(json.dumps(settings(*sites, **others)))
        part.rename(self.config)

    def know(self, found: Mapping[str, Any]) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "out.json").write_bytes(state.serialised(found))

    @property
    def known(self) -> dict[str, Any]:
        return json.loads((self.state / "out.json").read_text())

    def out(self, name: str = "shop") -> list[str]:
        """The addresses that Nginx is told to pass by."""
        lines = (self.upstreams / f"{name}.conf").read_text().splitlines()
        return [line.split()[1] for line in lines if line.endswith(" down;")]

    def asked(self, *words: str) -> int:
        """How often a program was called so."""
        return self.calls.read_text().splitlines().count(" ".join(words))

    @property
    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the program. What it says goes to `log`."""
        program = "import sys; from djangofleet_balancer.cli import main; sys.exit(main(sys.argv[1:]))"
        with open(self.log, "ab") as log:
            found = subprocess.Popen(
                [sys.executable, "-c", program, *words], env={**self.environment, **environment}, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(found)
        return found

    def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert not self.processes or not [line for line in self.said if "Traceback" in line], self.said


PROGRAM = """\
#!/bin/sh
echo "${{0##*/}} $*" >> {path}/calls
case "${{0##*/}} $1" in
"nginx "*)
    [ ! -e {path}/slow ] || exec sleep 30
    if [ -e {path}/refuses ] && grep -qrf {path}/refuses {path}/upstreams; then
        echo "nginx: [emerg] bad"
        exit 1
    fi;;
"ss --kill") echo "0 0 10.0.0.2:40000 10.0.0.3:443"; echo "0 0 10.0.0.2:40001 10.0.0.3:443";;
"systemctl is-active") cat {path}/active; grep -q '^active' {path}/active;;
"systemctl show") cat {path}/pid 2>/dev/null;;
"systemctl reload") [ ! -e {path}/stuck ] || {{ echo "Job failed."; exit 1; }};;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    found = Host(tmp_path)
    monkeypatch.setattr(config, "CONFIG", found.config)
    monkeypatch.setattr(state, "STATE", found.state)
    monkeypatch.setattr(nginx, "UPSTREAMS", found.upstreams)
    monkeypatch.setattr(nginx, "PID_FILE", tmp_path / "nginx.pid")
    for name in ("PATH", "DJANGOFLEET_BALANCER_ACTOR"):
        monkeypatch.setenv(name, found.environment[name])
    found.state.parent.mkdir()
    yield found
    found.end()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that find the disk full."""
    names: list[str] = []
    fsync = os.fsync

    def no_room(descriptor: int) -> None:
        if any(name in os.readlink(f"/proc/self/fd/{descriptor}") for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", no_room)
    return names


SHOP = site("shop", server("app1", "10.0.0.5:443"), server("app2", "10.0.0.6:443"))
BLOG = site("blog", server("app2", "10.0.0.6:8443"), server("app3", "10.0.0.7:443"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of a command, and what it printed."""
    capsys.readouterr()
    code = cli.main(words)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


# --- to Nginx ---------------------------------------------------------------------------------------------------------


def test_nginx_is_tested_then_reloaded_once(host, capsys):
    host.write(SHOP, BLOG)
    host.know(known(shop=("app2",)))
    code, printed = run(capsys, "apply", "--json")
    assert (code, json.loads(printed)) == (
        0, {"changed": True, "files": ["blog", "shop"], "reloaded": True, "forgotten": [], "warnings": []})  # fmt: skip
    lines = [f"{each['line']};\n" for each in SHOP["servers"]]
    assert (host.upstreams / "shop.conf").read_text() == HEADER + lines[0] + lines[1].replace(";", " down;")
    assert host.out("blog") == []
    assert (host.upstreams / "shop.conf").stat().st_mode & 0o7777 == 0o644
    assert sorted(path.name for path in host.upstreams.iterdir()) == ["blog.conf", "shop.conf"]
    assert host.calls.read_text().splitlines() == [
        "systemctl is-active nginx.service", "nginx -t -q", "systemctl reload nginx.service"]  # fmt: skip
    before = written(host.upstreams / "shop.conf")
    code, printed = run(capsys, "apply", "--json")
    assert json.loads(printed)["changed"] is False
    assert written(host.upstreams / "shop.conf") == before
    assert host.asked("nginx", "-t", "-q") == 1
    before = written(host.upstreams / "blog.conf")
    host.know(known())
    code, printed = run(capsys, "apply", "--json")
    assert json.loads(printed)["files"] == ["shop"]
    assert written(host.upstreams / "blog.conf") == before


def test_what_nginx_refuses_does_not_stay(host, capsys):
    host.write(SHOP)
    assert run(capsys, "apply")[0] == 0
    host.refuses.write_text("6:443.* down\n")
    host.know(known(shop=("app2",)))
    code, printed = run(capsys, "apply")
    assert code == 1
    assert "Nginx refuses what would take effect, and goes on as before: nginx: [emerg] bad\n" in printed
    assert host.out() == []
    assert host.asked("systemctl", "reload", "nginx.service") == 1
    host.refuses.unlink()
    assert run(capsys, "apply")[0] == 0
    assert host.out() == ["10.0.0.6:443"]


def test_what_was_not_there_before_goes_again(host, capsys):
    host.write(SHOP)
    host.refuses.write_text("server\n")
    assert run(capsys, "apply")[0] == 1
    assert list(host.upstreams.iterdir()) == []


def test_what_was_not_loaded_is_loaded_later(host, capsys):
    """Also where the files are right: a process may be killed between its writing and the reload."""
    host.write(SHOP)
    (host.path / "stuck").touch()
    code, printed = run(capsys, "apply")
    assert (code, host.upstreams.exists()) == (1, True)
    assert "nginx.service could not be reloaded, and goes on as before: Job failed." in printed
    assert run(capsys, "status")[0] == 1
    (host.path / "stuck").unlink()
    code, printed = run(capsys, "apply", "--json")
    assert (code, json.loads(printed)["reloaded"], json.loads(printed)["files"]) == (0, True, [])
    assert run(capsys, "status")[0] == 0


@pytest.mark.parametrize(
    ("says", "is_told"),
    [("inactive", False), ("failed", False), ("deactivating", False), ("activating", True), ("reloading", True)],
)
def test_nginx_is_not_started(host, capsys, says, is_told):
    host.active.write_text(f"{says}\n")
    host.write(SHOP)
    code, printed = run(capsys, "apply", "--json")
    assert (code, json.loads(printed)["changed"], json.loads(printed)["reloaded"]) == (0, True, is_told)
    assert host.out() == []
    assert ("nginx -t -q" in host.calls.read_text()) is is_told
    assert "start" not in host.calls.read_text()


def test_a_systemd_that_says_nothing_is_told(host, capsys):
    host.active.write_text("Failed to connect to bus\n")
    host.write(SHOP)
    code, printed = run(capsys, "apply")
    assert code == 1
    assert "systemd does not say whether nginx.service runs: Failed to connect to bus" in printed
    assert list(host.upstreams.iterdir()) == []


def test_what_nobody_serves_is_forgotten(host, capsys):
    host.write(SHOP, site("blog", "app3", enabled=False))
    host.know(known(("app2", "app9"), shop=("app1", "app9"), blog=("app3",), old=("app1",)))
    code, printed = run(capsys, "apply", "--json")
    assert code == 0
    assert json.loads(printed)["forgotten"] == ["app9", "blog: app3", "old: app1", "shop: app9"]
    assert host.known == known(("app2",), shop=("app1",))


def test_a_configuration_that_is_away_forgets_nothing(host, capsys):
    host.know(known(("app2",)))
    assert run(capsys, "apply")[0] == 0
    assert host.known == known(("app2",))
    assert host.calls.read_text() == ""
    host.write()
    code, printed = run(capsys, "apply", "--json")
    assert (code, json.loads(printed)["forgotten"], host.known) == (0, ["app2"], known())
    assert host.calls.read_text() == "", "there is nothing that Nginx could load"


def test_a_damaged_configuration_changes_nothing(host, capsys):
    host.know(known(("app2",)))
    host.config.write_text("{")
    for words in (["apply"], ["status"], ["drain", "app1"], ["undrain", "app2"]):
        code, printed = run(capsys, *words)
        assert code == 2
        assert f"{host.config}: is damaged: " in printed
    assert host.known == known(("app2",))


def test_a_state_directory_that_is_missing_is_made(host, capsys):
    host.write(SHOP)
    os.rmdir(host.state.parent)
    assert run(capsys, "apply")[0] == 0
    assert host.state.stat().st_mode & 0o7777 == 0o755
    assert (host.state / "out.json").stat().st_mode & 0o7777 == 0o644
    assert (host.state / "lock").stat().st_mode & 0o7777 == 0o600, "who can open a lock can hold it"


def test_a_full_disk_leaves_whole_files(host, capsys, full):
    host.write(SHOP, BLOG)
    assert run(capsys, "apply")[0] == 0
    content, before = (host.upstreams / "blog.conf").read_bytes(), host.known
    full.append("out.json")
    code, printed = run(capsys, "drain", "app2", "--wait", "0")
    assert code == 1
    assert f"{host.state}/out.json: No space left on device\nmake room on the file system" in printed
    assert (host.known, host.out()) == (before, [])
    full[:] = ["shop.conf"]
    code, printed = run(capsys, "drain", "app2", "--wait", "0")
    assert code == 1
    assert f"app2 is marked as drained, and Nginx does not know: {host.upstreams}/shop.conf: No space left" in printed
    assert (host.out("shop"), host.out("blog")) == ([], [])
    assert (host.upstreams / "blog.conf").read_bytes() == content
    assert sorted(path.name for path in host.upstreams.iterdir()) == ["blog.conf", "shop.conf"]
    full.clear()
    assert run(capsys, "apply")[0] == 0
    assert (host.out("shop"), host.out("blog")) == (["10.0.0.6:443"], ["10.0.0.6:8443"])


# --- drain and undrain ------------------------------------------------------------------------------------------------


def test_a_drained_host_is_out_of_all_sites(host, capsys):
    host.write(SHOP, BLOG)
    code, printed = run(capsys, "drain", "app2", "--why", "a new disk", "--json")
    assert (code, json.loads(printed)) == (
        0, {"host": "app2", "changed": True, "sites": ["shop", "blog"], "why": "a new disk",
                "connections": 0, "warnings": []})  # fmt: skip
    assert (host.out("shop"), host.out("blog")) == (["10.0.0.6:443"], ["10.0.0.6:8443"])
    mark = host.known["drained"]["app2"]
    assert (mark["by"], mark["why"]) == ("ada", "a new disk")
    assert time.strptime(mark["since"], "%Y-%m-%dT%H:%M:%SZ")
    before = written(host.state / "out.json")
    code, printed = run(capsys, "drain", "app2", "--why", "another", "--json")
    assert (code, json.loads(printed)["changed"]) == (0, False)
    assert written(host.state / "out.json") == before
    assert host.asked("systemctl", "reload", "nginx.service") == 1
    code, printed = run(capsys, "undrain", "app2", "--json")
    assert (code, json.loads(printed)["changed"]) == (0, True)
    assert (host.known, host.out("shop"), host.out("blog")) == (known(), [], [])
    code, printed = run(capsys, "undrain", "app2", "--json")
    assert (code, json.loads(printed)["changed"]) == (0, False)


@pytest.mark.parametrize(
    ("sites", "found", "drained", "is_refused"),
    [
        ([SHOP], known(), "app1", False),
        ([site("shop", "app1")], known(), "app1", True),
        ([SHOP, site("one", "app1")], known(), "app1", True),
        ([SHOP], known(("app2",)), "app1", True),
        ([SHOP], known(("app1",)), "app1", False),
        # One that is not well takes over from nobody, though it would get the requests.
        ([SHOP], known(shop=("app2",)), "app1", True),
        ([SHOP], known(shop=("app2",)), "app2", False),
        ([SHOP], known(shop=("app1", "app2")), "app1", True),
        ([site("shop", "app1", server("app2", options=" down"))], known(), "app1", True),
        ([site("shop", "app1", server("app2", options=" down"))], known(), "app2", False),
        ([SHOP, site("odd", server("app1", options=" down"))], known(), "app1", False),
    ],
)
def test_the_last_server_of_a_site_is_not_drained(host, capsys, sites, found, drained, is_refused):
    host.write(*sites)
    host.know(found)
    before = host.known
    code, printed = run(capsys, "drain", drained, "--wait", "0")
    if is_refused:
        assert code == 2
        assert f"{drained}: is the last server that is in and well of {sites[-1]['name']}" in printed
        assert host.known == before
        assert not host.upstreams.exists()
        assert run(capsys, "drain", drained, "--force", "--wait", "0")[0] == 0
    assert code == 2 * is_refused
    assert drained in host.known["drained"]


def test_who_serves_nothing_cannot_be_drained(host, capsys):
    assert run(capsys, "drain", "app1")[0] == 2
    host.write(SHOP)
    for command in ("drain", "undrain"):
        code, printed = run(capsys, command, "app9", "--json")
        failure = json.loads(printed)
        assert (code, failure["failed"], failure["hint"]) == (2, True, "give one of: app1, app2")
        assert failure["message"] == "host: found 'app9', which serves no site here"
    assert not (host.state / "out.json").exists()
    host.know(known(("app9",)))
    assert run(capsys, "undrain", "app9")[0] == 0, "it has left the configuration, and its mark may go"
    assert host.known == known()


def test_a_drain_that_nginx_refuses_is_told(host, capsys):
    host.write(SHOP)
    host.refuses.write_text("down\n")
    code, printed = run(capsys, "drain", "app1", "--wait", "0")
    assert code == 1
    assert "app1 is marked as drained, and Nginx does not know: Nginx refuses what would take effect" in printed


@pytest.mark.parametrize(
    ("family", "bound", "address", "reached"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}", "127.0.0.1"),
        (socket.AF_INET6, "::1", "[::1]:{}", "::1"),
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}", "::ffff:127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "localhost:{}", "127.0.0.1"),
    ],
)
def test_a_drain_waits_for_connections(host, capsys, family, bound, address, reached):
    with socket.socket(family) as listener:
        try:
            listener.bind((bound, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        port = listener.getsockname()[1]
        host.write(site("shop", server("app1", address.format(port)), "app2", enabled=False))
        with socket.socket(socket.AF_INET6 if ":" in reached else socket.AF_INET) as stream:
            stream.connect((reached, port))
            code, printed = run(capsys, "drain", "app1", "--wait", "0.5")
            assert code == 1
            assert "app1: is drained; after 0.5 s 1 connection is left\nlook at them" in printed
            assert host.out() == [address.format(port)]
            host.pid.write_text(f"{os.getpid()}\n")
            assert run(capsys, "drain", "app1", "--wait", "0.5")[0] == 0, "those of the service do not count"
            host.pid.write_text("0\n")
            assert run(capsys, "drain", "app1", "--wait", "0")[0] == 1
            threading.Timer(0.3, stream.close).start()
            assert run(capsys, "drain", "app1", "--wait", str(LONG))[0] == 0


def test_one_look_is_not_enough(monkeypatch):
    looks = [2, 1, 0, 1, 0, 0, 7]
    monkeypatch.setattr(connections, "count", lambda peers: looks.pop(0))
    monkeypatch.setattr(connections, "PAUSE", 0)
    assert connections.left(set(), LONG) == 0
    assert looks == [7]


def test_only_established_connections_to_that_port_count():
    line = "   {}: 0100007F:A1B2 {} {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 20 4 30 10 -1"
    rows = [line.format(0, "0500000A:01BB", "01", 11), line.format(1, "0500000A:01BB", "06", 12),
            line.format(2, "0500000A:0050", "01", 13)]  # fmt: skip
    found = list(connections.listed("\n".join(["  sl  local_address rem_address", *rows])))
    wanted = "10.0.0.5" if sys.byteorder == "little" else "5.0.0.10"
    assert found == [((wanted, 443), "11"), ((wanted, 80), "13")]


def test_a_drain_waits_for_the_workers_from_before(tmp_path, monkeypatch):
    """A reload returns before they stop taking requests."""
    monkeypatch.setattr(nginx, "PROC", tmp_path)
    monkeypatch.setattr(nginx, "PID_FILE", tmp_path / "nginx.pid")
    assert nginx.workers() == []
    (tmp_path / "nginx.pid").write_text("10\n")
    (tmp_path / "10/task/10").mkdir(parents=True)
    (tmp_path / "10/task/10/children").write_text("11 12 13 14")
    titles = {"11": "nginx: worker process", "12": "nginx: cache manager process",
              "13": "nginx: worker process is shutting down"}  # fmt: skip
    for number, title in titles.items():
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text(title)
    assert nginx.workers() == [11]
    assert nginx.retired([11], time.monotonic()) is False
    threading.Timer(0.2, (tmp_path / "11/cmdline").write_text, ["nginx: worker process is shutting down"]).start()
    assert nginx.retired([11], time.monotonic() + LONG) is True
    shutil.rmtree(tmp_path / "11")
    assert nginx.retired([11], time.monotonic()) is True


def test_a_drain_is_not_over_while_workers_from_before_take_requests(host, capsys, monkeypatch):
    host.write(SHOP)
    seen = []
    monkeypatch.setattr(
        nginx, "workers", lambda: [11] if host.asked("systemctl", "reload", "nginx.service") == 0 else []
    )
    monkeypatch.setattr(nginx, "retired", lambda earlier, end: bool(seen.append(earlier)))
    code, printed = run(capsys, "drain", "app1", "--wait", "0")
    assert (code, seen) == (1, [(11,), (11,)]), "those of before the reload"
    assert "app1: is drained; after 0 s workers of Nginx from before still take requests" in printed


def test_nginx_has_loaded_nothing_while_workers_from_before_take_requests(host, capsys, monkeypatch):
    """So it is told again."""
    host.write(SHOP)
    monkeypatch.setattr(nginx, "retired", lambda earlier, end: False)
    code, printed = run(capsys, "apply", "--json")
    assert (code, json.loads(printed)["warnings"]) == (
        0, ["workers of Nginx from before still take requests after 5 s"])  # fmt: skip
    assert json.loads(run(capsys, "status", "--json")[1])["loaded"] is False
    monkeypatch.setattr(nginx, "retired", lambda earlier, end: True)
    assert json.loads(run(capsys, "apply", "--json")[1])["reloaded"] is True
    assert json.loads(run(capsys, "status", "--json")[1])["loaded"] is True


def test_who_is_not_well_comes_back_when_it_is(host, capsys):
    host.write(SHOP)
    host.know(known(("app1",), shop=("app1",)))
    code, printed = run(capsys, "undrain", "app1", "--wait", "0.2")
    assert code == 1
    assert "app1: is no longer drained; after 0.2 s it is still out of shop: timed out after 1 s\n" in printed
    assert host.known == known(shop=("app1",))
    threading.Timer(0.3, host.know, [known()]).start()
    assert run(capsys, "undrain", "app1", "--wait", str(LONG))[0] == 0
    assert host.out() == []
    host.write(site("shop", "app1", "app2", enabled=False))
    host.know(known(("app1",), shop=("app1",)))
    assert run(capsys, "undrain", "app1", "--wait", "0")[0] == 0, "nobody asks whether it is well"


def test_who_changes_the_state_does_so_alone(host, capsys, monkeypatch):
    host.write(SHOP)
    assert run(capsys, "apply")[0] == 0
    monkeypatch.setattr(files, "PAUSE", 0)
    monkeypatch.setattr(state, "locked", lambda: files.held(host.state / "lock", 0.1))
    with open(host.state / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["drain", "app1"], ["undrain", "app1"], ["apply"]):
            code, printed = run(capsys, *words)
            assert code == 3
            assert "another djangofleet-balancer is at work" in printed
        assert run(capsys, "status")[0] == 0, "who only looks waits for nobody"
    assert host.known == known()


def test_no_change_is_lost(host):
    hosts = [f"app{number}" for number in range(6)]
    host.write(site("shop", *hosts, "app9"))
    for process in [host.start("drain", each, "--wait", "0") for each in hosts]:
        assert process.wait(LONG) == 0, host.said
    assert sorted(host.known["drained"]) == hosts
    assert len(host.out()) == len(hosts)


def test_status(host, capsys):
    assert run(capsys, "status") == (0, "no site has servers here\n")
    host.write(SHOP, BLOG, site("one", "app1"))
    assert run(capsys, "apply")[0] == 0
    assert run(capsys, "status")[0] == 0
    host.know(known(("app3",), shop=("app2",), one=("app1",)))
    code, printed = run(capsys, "status", "--json")
    assert (code, json.loads(printed)["loaded"]) == (1, False)
    assert json.loads(printed)["servers"][1] == {
        "site": "shop", "host": "app2", "address": "10.0.0.6:443", "in": False, "drained": False, "healthy": False,
        **MARK}  # fmt: skip
    assert run(capsys, "apply")[0] == 0
    code, printed = run(capsys, "status")
    assert code == 1
    assert [line.split(maxsplit=6) for line in printed.splitlines()] == [
        ["site", "host", "address", "in", "healthy", "since", "why"],
        ["shop", "app1", "10.0.0.5:443", "yes", "yes", "-", "-"],
        ["shop", "app2", "10.0.0.6:443", "no", "no", MARK["since"], MARK["why"]],
        ["blog", "app2", "10.0.0.6:8443", "yes", "yes", "-", "-"],
        ["blog", "app3", "10.0.0.7:443", "no", "yes", MARK["since"], "drained by ada; a new disk"],
        ["one", "app1", "10.0.0.5:443", "yes", "no", MARK["since"], MARK["why"]],
    ]


def test_a_reason_does_not_act_on_a_terminal(host, capsys):
    host.write(SHOP)
    assert run(capsys, "drain", "app1", "--why", "\x1b[2J\nbad", "--wait", "0")[0] == 0
    assert "\\x1b[2J" in run(capsys, "status")[1]


def test_bad_usage(host, capsys):
    for words in ([], ["drain"], ["drain", "app1", "--wait", "-1"], ["drain", "app1", "--wait", "nan"], ["frobnicate"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2


# --- a server is asked ------------------------------------------------------------------------------------------------


class Backend:
    """A server on loopback. `answer` gets each connection, and may be another one at any time."""

    def __init__(self, answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self.answer, self._tls, self.requests, self.accepted = answer, tls, [], 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                stream, _address = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._handle, args=[stream], daemon=True).start()

    def _handle(self, stream: socket.socket) -> None:
        with suppress(OSError), stream:
            if self._tls:
                stream = self._tls.wrap_socket(stream, server_side=True)
            with stream:
                self.answer(stream)

    def says(self, text: bytes) -> Callable[[socket.socket], None]:
        """An answer that reads a request, sends a text and hangs up."""

        def answer(stream: socket.socket) -> None:
            self.requests.append(stream.recv(4096))
            stream.sendall(text)

        return answer

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def hangs(stream: socket.socket) -> None:
    while stream.recv(4096):
        pass


def drips(stream: socket.socket) -> None:
    """Send a byte now and then: no single read takes long."""
    for sign in b"HTTP/1.1 200 OK" + b"!" * 10_000:
        stream.sendall(bytes([sign]))
        time.sleep(0.1)


def floods(first: bytes) -> Callable[[socket.socket], None]:
    def answer(stream: socket.socket) -> None:
        stream.sendall(first)
        while True:
            stream.sendall(b"x" * 65536)

    return answer


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    """`backend(text or a function)`: a server that answers so."""
    found: list[Backend] = []

    def make(answer: bytes | Callable[[socket.socket], None] = OK, tls: ssl.SSLContext | None = None) -> Backend:
        one = Backend(hangs, tls)
        one.answer = answer if callable(answer) else one.says(answer)
        found.append(one)
        return one

    yield make
    for one in found:
        one.close()


def fault(address: str, seconds: float = LONG, **checked: Any) -> str:
    return asyncio.run(probe.fault(address, {**HEALTH, **checked}, seconds))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (OK, ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 399 Odd\n\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "it answers 503 and not 200 to 399"),
        (b"HTTP/1.1 199 Odd\r\n\r\n", "it answers 199 and not 200 to 399"),
        (b"HTTP/1.1 2000 Odd\r\n\r\n", "it does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK", "it does not speak HTTP"),
        (b"", "it hangs up"),
        (floods(b"HTTP/1.1 200 OK\r\n\r\n"), ""),
        (floods(b""), "it does not speak HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 4096 + b"\r\n", "it does not speak HTTP"),
    ],
)
def test_what_a_server_answers(backend, answer, found):
    assert fault(backend(answer).address) == found


@pytest.mark.parametrize("answer", [hangs, drips])
def test_a_server_gets_so_much_time_and_no_more(backend, answer):
    assert fault(backend(answer).address, 0.5) == "timed out after 0.5 s"


def test_a_server_that_takes_no_connection_is_known_before_one_that_is_slow():
    """A handshake is the host's; an answer is the app's, which may have much to do."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the kernel takes the connection, nobody shakes hands
        address = f"127.0.0.1:{frozen.getsockname()[1]}"
        tls = {"authority_file": certifi.where(), "name": "shop.example.com"}
        found = asyncio.run(probe.fault(address, {**HEALTH, "tls": tls}, LONG, 0.2))
    assert found == "it takes no connection within 0.2 s"


def test_what_a_server_is_asked(backend):
    one = backend()
    assert fault(one.address, status_min=200, status_max=200) == ""
    assert fault(one.address, status_min=204, status_max=204) == "it answers 200 and not 204"
    assert one.requests[0].decode().split("\r\n") == [
        "GET /healthz HTTP/1.1", "Host: shop.example.com", "X-Forwarded-Proto: https",
        "User-Agent: djangofleet-balancer", "Accept: */*", "Connection: close", "", ""]  # fmt: skip


def test_a_closed_port_is_told(backend):
    one = backend()
    one.close()
    assert fault(one.address) == "connection refused"
    assert "nowhere.invalid" not in fault("nowhere.invalid:80"), "the line names the server already"
    assert fault("nowhere.invalid:80") != ""


def test_a_server_of_ipv6_is_asked():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")

    def serve() -> None:
        stream, _address = listener.accept()
        with stream:
            stream.recv(4096)
            stream.sendall(OK)

    with listener:
        threading.Thread(target=serve, daemon=True).start()
        assert fault(f"[::1]:{listener.getsockname()[1]}") == ""


LEAF = issue("shop", ("shop.example.com",), AUTHORITY)


@pytest.fixture
def tls(tmp_path) -> ssl.SSLContext:
    """That of a server with a certificate of AUTHORITY, whose own is in ca.pem."""
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem)
    (tmp_path / "leaf.pem").write_text(LEAF.pem + LEAF.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem")
    return context


def test_a_server_proves_who_it_is(backend, tls, tmp_path, capfd):
    one, path = backend(OK, tls), tmp_path / "ca.pem"
    checked = {"authority_file": str(path), "name": "shop.example.com"}
    assert fault(one.address, tls=checked) == ""
    refused = fault(one.address, tls={**checked, "name": "blog.example.com"})
    assert refused.startswith("its certificate is refused: Hostname mismatch")
    path.write_text(STRANGER.pem)  # of another size, so that the file is another version at once
    assert fault(one.address, tls=checked).startswith("its certificate is refused: unable to get local issuer")
    path.write_text("none")
    assert fault(one.address, tls=checked).startswith("TLS fails: ")
    path.unlink()
    assert fault(one.address, tls=checked) == f"no such file or directory: {path}"
    path.write_text(AUTHORITY.pem)
    assert fault(one.address, tls=checked) == ""
    assert fault(backend(OK).address, tls=checked).startswith(("TLS fails: ", "it hangs up"))
    assert fault(backend(hangs).address, 0.5, tls=checked) == "timed out after 0.5 s", "in the handshake"
    assert capfd.readouterr().err == "", "asyncio has nothing of its own to say"


# --- the service ------------------------------------------------------------------------------------------------------


def pair(one: Backend, other: Backend, **checked: Any) -> dict[str, Any]:
    return site("shop", server("app1", one.address), server("app2", other.address), **checked)


def test_who_is_not_well_is_out_until_it_is(host, backend):
    one, other = backend(), backend()
    host.write(pair(one, other))
    process = host.start("watch")
    until(lambda: host.asked("systemctl", "reload", "nginx.service") == 1)
    other.answer = other.says(BROKEN)
    until(lambda: host.out() == [other.address])
    until(lambda: "shop: app2 is out: it answers 500 and not 200 to 399" in host.said)
    assert list(host.known["unhealthy"]["shop"]) == ["app2"]
    other.answer = other.says(OK)
    until(lambda: "shop: app2 is back" in host.said)
    assert (host.out(), host.known) == ([], known())
    assert host.asked("systemctl", "reload", "nginx.service") == 3
    # Nothing is written, and nobody is reloaded, while nothing changes.
    paths, asked = [*host.upstreams.iterdir(), *host.state.iterdir()], len(one.requests)
    before = written(*paths)
    until(lambda: len(one.requests) > asked + 10)
    assert written(*paths) == before
    assert host.asked("nginx", "-t", "-q") == 3
    process.terminate()
    assert process.wait(LONG) == 0


def test_the_last_ones_stay_in(host, backend):
    one, other = backend(BROKEN), backend(BROKEN)
    alone = backend(BROKEN)
    host.write(pair(one, other), site("alone", server("app3", alone.address)))
    host.start("watch")
    until(lambda: len(host.known["unhealthy"].get("shop", ())) == 2)
    until(lambda: "alone: app3 stays in, since none would be left: it answers 500 and not 200 to 399" in host.said)
    # On a busy machine the other one may have failed later, after which this one is back.
    told = [
        f"shop: app1 {how}, since none would be left: it answers 500 and not 200 to 399"
        for how in ("stays in", "is back")
    ]
    until(lambda: set(told) & set(host.said))
    assert (host.out(), host.out("alone")) == ([], [])
    one.answer = one.says(OK)
    until(lambda: host.out() == [other.address])
    until(lambda: "shop: app1 is well again" in host.said)


def test_a_slow_server_delays_nobody(host, backend):
    slow, other, third = backend(hangs), backend(), backend()
    host.write(site("shop", server("app0", slow.address), server("app1", other.address), server("app2", third.address)),
               timeout=10 * LONG)  # fmt: skip
    process = host.start("watch")
    until(lambda: len(third.requests) > 2)
    other.answer = other.says(BROKEN)
    until(lambda: host.out() == [other.address])
    assert slow.accepted == 1, "it still owes an answer"
    process.terminate()
    assert process.wait(LONG) == 0, "it does not wait for an answer"


def test_a_server_that_never_answers_is_out(host, backend):
    slow, other = backend(hangs), backend()
    host.write(pair(slow, other), timeout=3, falls=1)
    host.start("watch")
    until(lambda: host.out() == [slow.address])
    until(lambda: "shop: app1 is out: timed out after 3 s" in host.said)


def test_what_a_frozen_server_has_in_hand_is_given_up_once_it_is_out(host, backend, tls, tmp_path):
    known = {"authority_file": str(tmp_path / "ca.pem"), "name": "shop.example.com"}
    asked = itertools.count()

    def limps(stream: socket.socket) -> None:
        """It takes some connections only, and answers those: it is alive."""
        if next(asked) % 3 == 0:
            hangs(stream)
        else:
            with tls.wrap_socket(stream, server_side=True) as taken:
                limping.says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")(taken)

    limping = backend(limps)
    one, kill = backend(OK, tls), ["ss", "--kill", "--tcp", "--numeric", "--no-header", "state", "established", "dst"]
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        other = f"127.0.0.1:{frozen.getsockname()[1]}"
        sites = [site(name, server("app1", one.address), server("app2", other), tls=known) for name in ("shop", "blog")]
        alone = site("alone", server("app2", other), tls=known)
        sites[0]["servers"].append(server("app3", limping.address))
        host.write(*sites, alone, connect_timeout=0.2)
        host.start("watch")
        for each in ("shop", "blog"):
            until(lambda name=each: f"{name}: app2 stays silent, connections to it that are given up: 2" in host.said)
        time.sleep(1)
    assert host.asked(*kill, other) == 2, "once for each site that has another server"
    assert host.asked(*kill, one.address) == 0
    assert limping.requests
    assert host.asked(*kill, limping.address) == 0


def test_a_server_with_a_certificate_of_somebody_else_is_out(host, backend, tls, tmp_path):
    stranger = issue("shop", ("shop.example.com",), STRANGER)
    (tmp_path / "stranger.pem").write_text(stranger.pem + stranger.key_pem)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "stranger.pem")
    one, other = backend(OK, tls), backend(OK, theirs)
    host.write(pair(one, other, tls={"authority_file": str(tmp_path / "ca.pem"), "name": "shop.example.com"}))
    host.start("watch")
    until(lambda: host.out() == [other.address])
    until(lambda: any(line.startswith("shop: app2 is out: its certificate is refused: ") for line in host.said))
    asked = len(one.requests)
    until(lambda: len(one.requests) > asked + 3)
    assert host.out() == [other.address]
    assert [line for line in host.said if not line.startswith(("shop: ", "warning: "))] == []


def test_a_start_begins_with_what_was_known(host, backend):
    gate = threading.Event()

    def waits(stream: socket.socket) -> None:
        stream.recv(4096)
        gate.wait()
        stream.sendall(OK)

    one, other = backend(waits), backend()
    host.write(pair(one, other), timeout=10 * LONG)
    host.know(known(shop=("app1",)))
    process = host.start("watch")
    until(lambda: len(other.requests) > 5 and host.out() == [one.address])
    process.kill()
    process.wait()
    assert host.known == known(shop=("app1",))
    gate.set()
    host.start("watch")
    until(lambda: host.out() == [])
    assert host.said.count("shop: app1 is out: timed out after 1 s") == 2
    until(lambda: "shop: app1 is back" in host.said)


def test_it_notices_who_is_drained_and_what_is_configured(host, backend, capsys):
    one, other, third = backend(), backend(), backend()
    host.write(pair(one, other))
    host.start("watch")
    until(lambda: host.out() == [])
    assert run(capsys, "drain", "app1", "--wait", str(LONG))[0] == 0
    until(lambda: "shop: app1 is out: drained by ada" in host.said)
    host.config.write_text("{")
    until(lambda: any("is damaged" in line for line in host.said))
    asked = len(one.requests)
    until(lambda: len(one.requests) > asked + 5, "the one from before goes on")
    assert sum("is damaged" in line for line in host.said) == 1
    host.write(pair(third, other), site("blog", server("app1", one.address), server("app2", other.address)))
    until(lambda: (host.upstreams / "blog.conf").exists() and host.out("blog") == [one.address])
    until(lambda: host.out() == [third.address] and third.requests)
    assert run(capsys, "undrain", "app1")[0] == 0
    assert (host.out(), host.out("blog")) == ([], [])
    until(lambda: {"shop: app1 is back", "blog: app1 is back"} <= set(host.said))
    one.answer = one.says(BROKEN)
    until(lambda: host.known["unhealthy"].keys() == {"blog"})
    before = host.known
    host.config.unlink()

    def is_asked() -> bool:
        asked = len(one.requests)
        time.sleep(1)
        return len(one.requests) > asked

    until(lambda: not is_asked())
    assert host.processes[0].poll() is None
    assert host.known == before, "it may come back"


def test_another_interval_holds_at_once(host, backend):
    one, other = backend(), backend()
    host.write(pair(one, other), interval=10 * LONG)
    host.start("watch")
    until(lambda: one.requests and other.requests)
    host.write(pair(one, other))
    until(lambda: len(one.requests) > 2)


def test_another_address_has_to_prove_itself(host, backend):
    one, other, moved = backend(BROKEN), backend(), backend(BROKEN)
    host.write(pair(one, other))
    host.start("watch")
    until(lambda: host.out() == [one.address])
    gate, asked = threading.Event(), threading.Event()

    def waits(stream: socket.socket) -> None:
        asked.set()
        gate.wait()
        stream.sendall(OK)

    one.answer = waits
    assert asked.wait(LONG)
    host.write(pair(moved, other))
    until(lambda: host.out() == [moved.address])
    gate.set()  # what the old address answers now is of no interest
    answered = len(moved.requests)
    until(lambda: len(moved.requests) > answered + 3)
    assert host.out() == [moved.address]
    moved.answer = moved.says(OK)
    until(lambda: host.out() == [])


def test_health_that_is_no_longer_asked_lets_servers_in(host, backend):
    one, other = backend(BROKEN), backend()
    host.write(pair(one, other))
    host.start("watch")
    until(lambda: host.out() == [one.address])
    host.write(pair(one, other, enabled=False))
    until(lambda: host.out() == [] and host.known == known())


def test_what_nginx_refuses_is_tried_again_but_not_all_the_time(host, backend):
    one, other = backend(), backend()
    host.write(pair(one, other))
    process = host.start("watch")
    until(lambda: host.asked("systemctl", "reload", "nginx.service") == 1)
    host.refuses.write_text(" down\n")
    one.answer = one.says(BROKEN)
    until(lambda: host.asked("nginx", "-t", "-q") == 2)
    until(lambda: any("nginx: [emerg] bad; tried again in 30 s" in line for line in host.said))
    asked = len(one.requests)
    until(lambda: len(one.requests) > asked + 20)
    assert host.asked("nginx", "-t", "-q") == 2
    assert host.out() == []
    assert not any("is out" in line for line in host.said), "it is not"
    one.answer = one.says(OK)
    until(lambda: host.known == known())
    assert process.poll() is None


def test_who_falls_is_out_before_the_next_look(host, backend, monkeypatch):
    monkeypatch.setattr(watch, "TICK", 10 * LONG)
    gate = threading.Event()

    def waits(stream: socket.socket) -> None:
        stream.recv(4096)
        gate.wait()
        stream.sendall(BROKEN)

    one, other = backend(waits), backend()
    host.write(pair(one, other), interval=10 * LONG, timeout=10 * LONG, falls=1)

    async def scene() -> None:
        service = watch.Watch(notify.Notifier({}))
        task = asyncio.create_task(service.run())
        while not (host.state / "loaded").exists() or service._bringing:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        gate.set()
        while host.out() != [one.address]:
            await asyncio.sleep(0.02)
        service._end()
        await task

    asyncio.run(asyncio.wait_for(scene(), LONG))


def test_what_is_tried_again(host, monkeypatch):
    """What failed comes to Nginx without another change."""
    monkeypatch.setattr(watch, "RETRY", 0.2)
    shop = site("shop", "app1", enabled=False)
    host.write(shop)
    host.refuses.write_text("server\n")

    async def scene() -> None:
        service = watch.Watch(notify.Notifier({}))
        task = asyncio.create_task(service.run())
        while host.asked("nginx", "-t", "-q") < 3:
            await asyncio.sleep(0.02)
        host.refuses.unlink()
        while not nginx.is_brought(nginx.wanted(settings(shop), known())):
            await asyncio.sleep(0.02)
        service._end()
        await task

    asyncio.run(asyncio.wait_for(scene(), LONG))


def test_a_full_disk_keeps_nobody_in(host, full):
    host.write(SHOP)
    full += ["out.json", "loaded"]
    records = {health.Key("shop", "app1", "10.0.0.5:443"): health.Record(MARK)}
    after, problems = watch.brought(settings(SHOP), records)
    assert after == known(shop=("app1",))
    assert problems == [f"{host.state}/{name}: No space left on device" for name in ("out.json", "loaded")]
    assert host.out() == ["10.0.0.5:443"]
    assert host.asked("systemctl", "reload", "nginx.service") == 1
    assert not (host.state / "out.json").exists()


@pytest.mark.parametrize("content", [None, "{"])
def test_a_state_that_is_lost_is_told_and_written_anew(host, backend, content):
    one, other = backend(BROKEN), backend()
    host.write(pair(one, other))
    host.know(known())
    host.start("watch")
    until(lambda: host.out() == [one.address])
    path = host.state / "out.json"
    path.unlink() if content is None else path.write_text(content)
    until(lambda: any(line.startswith(f"warning: {path} is ") for line in host.said))
    until(lambda: path.exists() and path.read_text() not in ("", "{") and list(host.known["unhealthy"]) == ["shop"])
    assert host.out() == [one.address]


@pytest.mark.parametrize("content", [None, "{", json.dumps(settings())])
def test_nobody_to_watch(host, systemd, tmp_path, content):
    if content:
        host.config.write_text(content)
    host.know(known(("app1",), shop=("app2",)))
    process = host.start("watch", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000000")
    until(lambda: systemd().count("WATCHDOG=1") > 2)
    assert "READY=1" in systemd()
    assert process.poll() is None
    assert host.calls.read_text() == ""
    assert host.known == known(("app1",), shop=("app2",))
    process.terminate()
    assert process.wait(LONG) == 0


def test_two_do_not_watch(host, backend):
    one, other = backend(), backend()
    host.write(pair(one, other))
    host.start("watch")
    until(lambda: one.requests)
    assert host.start("watch").wait(LONG) == 2
    assert any("another djangofleet-balancer watches already" in line for line in host.said)


def test_it_ends_although_nginx_hangs(host, backend):
    one, other = backend(), backend()
    host.write(pair(one, other))
    host.slow.touch()
    process = host.start("watch")
    until(lambda: host.asked("nginx", "-t", "-q") == 1)
    asked = len(one.requests)
    until(lambda: len(one.requests) > asked + 3, "the servers are asked all the while")
    process.terminate()
    assert process.wait(20) == 0, "nginx takes 30 s"


@pytest.fixture
def systemd(tmp_path) -> Iterator[Callable[[], list[str]]]:
    """What systemd has been told so far."""
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
        stream.bind(str(tmp_path / "notify"))
        stream.setblocking(False)

        def read() -> list[str]:
            with suppress(BlockingIOError):
                while True:
                    told.append(stream.recv(4096).decode())
            return told

        yield read


def test_systemd_is_told(host, backend, systemd, tmp_path):
    gate = threading.Event()

    def waits(stream: socket.socket) -> None:
        stream.recv(4096)
        gate.wait()
        stream.sendall(BROKEN)

    one, other = backend(waits), backend()
    host.write(pair(one, other), timeout=10 * LONG)
    process = host.start("watch", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="30000000")
    until(lambda: systemd().count("WATCHDOG=1") > 5)
    assert "READY=1" not in systemd(), "not before all have been asked"
    assert "STATUS=1 sites, 2 servers, 0 out" in systemd()
    gate.set()
    until(lambda: "READY=1" in systemd())
    until(lambda: "STATUS=1 sites, 2 servers, 1 out" in systemd())
    process.terminate()
    process.wait(LONG)
    assert systemd().count("READY=1") == 1
    assert systemd()[-1] == "STOPPING=1"


def test_without_a_watchdog_systemd_hears_less(systemd, tmp_path):
    for extra in ({}, {"WATCHDOG_USEC": "1"}):
        one = notify.Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **extra})
        one.alive()
        one.status("x")
        one.status("x")
    assert systemd() == ["STATUS=x", "WATCHDOG=1", "STATUS=x"]
    notify.Notifier({"NOTIFY_SOCKET": str(tmp_path / "away")}).ready()  # systemd is being restarted
    notify.Notifier({}).ready()


# --- what the role installs -------------------------------------------------------------------------------------------


def test_the_service_runs_in_the_sandbox_of_nginx(render, evaluate):
    unit = render(
        "nginx", "etc/systemd/system/djangofleet-balancer.service.j2", nginx=evaluate("nginx", "__nginx_config")
    )
    lines = unit.splitlines()
    assert lines[0].startswith("#")
    assert {"Type=notify", "Restart=always", "RestartSec=1", "WatchdogSec=30", "ProtectSystem=strict"} <= set(lines)
    assert {"StateDirectory=djangofleet/balancer", "ReadWritePaths=-/etc/nginx/upstreams"} <= set(lines)
    assert any(line.startswith("ReadWritePaths=") and "/var/log/nginx" in line and "/run" in line for line in lines)
    assert "ExecStart=/usr/local/bin/djangofleet-balancer watch" in lines
    assert {"CapabilityBoundingSet=CAP_NET_ADMIN", "RestrictAddressFamilies=AF_NETLINK"} <= set(lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_understands_the_service(render, evaluate, tmp_path):
    name = "djangofleet-balancer.service"
    unit = render("nginx", f"etc/systemd/system/{name}.j2", nginx=evaluate("nginx", "__nginx_config"))
    path = tmp_path / name
    path.write_text(unit.replace("/usr/local/bin/djangofleet-balancer", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if name in line] == []


def test_the_program_starts_in_isolation(render, tmp_path, host):
    text = render("nginx", "usr/local/bin/djangofleet-balancer.j2")
    assert text.startswith("#!/usr/bin/python3 -I\n")
    path = tmp_path / "djangofleet-balancer"
    path.write_text(text.replace("/usr/lib/djangofleet", str(ROOT / "roles/nginx/files")))
    answer = subprocess.run([sys.executable, "-IB", path, "status"], capture_output=True, text=True, check=False,
                            env=host.environment)  # fmt: skip
    assert (answer.returncode, answer.stdout) == (0, "no site has servers here\n")
