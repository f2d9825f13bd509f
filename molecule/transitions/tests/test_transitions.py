"""Every setting changes on a live app, there and back, while visitors ask for its pages through Nginx.

The tests follow each other: each begins with what the one before has left.
"""

import copy
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import table
import urllib3
import yaml
from shared.outside import PROVE, ROOT, Browser, address_of, distributions, play, within

SERVICE = "django-guestbook.service"
MARK = "----- "
# What every process of a release loads
BREAKING = {"InaccessiblePaths": "/srv/guestbook/current/venv /srv/guestbook/releases"}


class Host:
    """A host that converges to variables, with visitors of its site."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.given = name, directory / "given.yml"
        self.authority = str(directory / "authority.pem")

    def run(self, *words: str, check: bool = True) -> str:
        result = subprocess.run(
            ["docker", "exec", self.name, *words], capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
        return result.stdout

    def converge(self, variables: dict[str, Any], code: int = 0) -> str:
        self.given.write_text(yaml.safe_dump(variables))
        result = play("transitions", "site.yml", f"--limit={self.name}", f"--extra-vars=@{self.given}")
        assert (result.returncode != 0) == (code != 0), result.stdout[-6000:] + result.stderr
        return result.stdout

    def settle(self, variables: dict[str, Any]) -> None:
        """Converge, and again: the second run changes nothing."""
        self.converge(variables)
        again = self.converge(variables)
        assert re.search(r"changed=(\d+)", again)[1] == "0", again[-6000:]

    def shows(self, turn: str) -> dict[str, str]:
        """The options that are not in effect as that round has them, with what their commands print instead."""
        changes = dict(table.changes())
        script = "\n".join(f"echo '{MARK}{path}'; {change.command} 2>&1" for path, change in changes.items())
        wrong = {}
        for part in self.run("sh", "-c", script, check=False).split(MARK)[1:]:
            path, _line, printed = part.partition("\n")
            is_second = bool(re.search(changes[path].shown, printed.strip(), re.MULTILINE))
            if changes[path].shown and is_second != (turn == "second"):
                wrong[path] = printed[-600:]
        return wrong

    def listens(self) -> set[str]:
        """The addresses that the app answers at, asked without Nginx."""
        headers = "-H 'Host: guestbook.test' -H 'X-Forwarded-Proto: https'"
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 10 {headers}"
        asked = {
            "/run/djangofleet/guestbook.sock": f"{ask} --unix-socket /run/djangofleet/guestbook.sock http://x/healthz"
        }
        asked |= {f"127.0.0.1:{port}": f"{ask} http://127.0.0.1:{port}/healthz" for port in (8000, 8001, 8002)}
        return {address for address, command in asked.items() if self.run("sh", "-c", command, check=False) == "200"}

    def trust(self) -> None:
        Path(self.authority).write_text(self.run("cat", "/etc/djangofleet/authority/ca.pem"))

    def health(self) -> dict[str, Any]:
        return json.loads(Browser(address_of(self.name), "guestbook.test", self.authority).text("/healthz"))


@pytest.fixture(scope="module", params=distributions(13))
def host(request, tmp_path_factory) -> Host:
    """The host with the first value of every option."""
    found = Host(f"djangofleet-transitions-{request.param}", tmp_path_factory.mktemp("transitions"))
    found.run("sh", "-c", "groupadd --force web && usermod --append --groups web www-data")
    # Whose key the servers show in the second round
    for user in ("postgres", "redis"):
        found.run("usermod", "--append", "--groups", "www-data", user)
    found.converge(table.variables("first"))
    found.trust()
    return found


@pytest.fixture(scope="module")
def visit(host) -> Iterator[Callable[[], dict]]:
    """Visitors from before the first change on; a call ends their visit and says what they saw."""
    target = [f"--address={address_of(host.name)}", "--host=guestbook.test", f"--authority={host.authority}"]
    gentle = ["--path=/healthz", "--fresh", "--connections=2", "--pause=0.5", "--seconds=3000"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "molecule/shared/load.py"), *target, *gentle],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield lambda: json.loads(process.communicate(timeout=120)[0])
    process.kill()


def test_the_first_values_are_in_effect(host, visit):
    assert host.shows("first") == {}


def test_the_second_values_are_in_effect(host, visit):
    host.settle(table.variables("second"))
    assert host.shows("second") == {}
    assert host.listens() == {"127.0.0.1:8001", "/run/djangofleet/guestbook.sock"}


def with_app(turn: str, **changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(table.variables(turn))
    found["django_apps"][0] |= changes
    return found


def test_from_port_to_port(host, visit):
    host.converge(with_app("second", listen="127.0.0.1:8002"))
    assert host.listens() == {"127.0.0.1:8001", "127.0.0.1:8002"}
    assert re.search("server 127.0.0.1:8002 ", host.run("nginx", "-T"))


def test_an_address_that_overlaps_is_refused(host, visit):
    said = host.converge(with_app("second", listen="0.0.0.0:8002"), code=1)
    assert "cannot listen on 0.0.0.0:8002: Address already in use" in said
    assert host.listens() == {"127.0.0.1:8001", "127.0.0.1:8002"}


def test_the_first_values_are_in_effect_again(host, visit):
    back = host.settle if PROVE else host.converge  # the gate has seen a second run after the way there
    back(table.variables("first"))
    assert host.shows("first") == {}
    assert host.listens() == {"127.0.0.1:8002", "/run/djangofleet/guestbook.sock"}


def test_another_group_may_connect_through_the_same_socket(host, visit):
    sock = "/run/djangofleet/guestbook.sock"
    before = host.run("stat", "--format=%i", sock)
    host.converge({**table.variables("first"), "django_socket_group": "web"})
    assert host.run("stat", "--format=%G %i", sock) == f"web {before}", "another socket was opened in its place"
    assert host.health()["status"] == "ok"


def answers(host: Host) -> bool:
    try:
        return host.health()["status"] == "ok"
    except (urllib3.exceptions.HTTPError, AssertionError):
        return False


def main_pid(host: Host) -> str:
    return host.run("systemctl", "show", "--property=MainPID", "--value", SERVICE).strip()


def test_after_a_refused_change_a_crash_starts_what_served(host, visit):
    before = host.run("systemctl", "cat", SERVICE)
    said = host.converge({**with_app("first", sandbox=BREAKING), "django_socket_group": "web"}, code=1)
    assert "is still live" in said
    pid = main_pid(host)
    host.run("kill", "-9", pid)
    within(lambda: main_pid(host) not in (pid, "0"), 90, "systemd starts it again")
    assert host.health()["status"] == "ok"
    assert host.run("systemctl", "cat", SERVICE) == before


def test_no_visitor_was_turned_away(host, visit, figure):
    seen = visit()
    figure("requests answered while every setting changed", seen["requests"])
    figure("of them failed", seen["failed"])
    assert seen["failed"] == 0, f"{seen['failed']} of {seen['requests']} failed: {seen['examples']}"
    assert seen["requests"] > 100


def test_after_a_refused_change_a_reboot_starts_what_served(host):
    """The refused sandbox is still what the inventory says."""
    assert json.loads(host.run("djangoctl", "guestbook", "status", "--json"))["restart_pending"] is True
    subprocess.run(["docker", "restart", host.name], capture_output=True, check=True, timeout=120)
    within(lambda: answers(host), 90, "the site answers after the boot")
    assert host.run("systemctl", "show", "--property=InaccessiblePaths", "--value", SERVICE).strip() == ""


def test_a_socket_that_was_lost_is_opened_by_the_next_run(host):
    """A unit file that changes beneath a running socket leaves a service that nobody can ask."""
    sockets = shlex.split(host.run("sh", "-c", "ls /run/djangofleet/guestbook.sock"))
    host.run("rm", *sockets)
    host.converge(table.variables("first"))
    assert host.health()["status"] == "ok"
