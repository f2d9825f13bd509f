"""The scenario's hosts as a team sees them: deploys from the controller, djangoctl on a host, visitors from outside.

A deploy from the controller takes ten times as long as what djangoctl does on a host. So the tests use the controller
for what it alone does, and djangoctl for the rest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from shared.outside import CONTROLLER, PROVE, ROOT, Browser, address_of, control, hosts_of
from variants import BUILD, project

HOSTS = hosts_of("release")
CLIENT = "djangofleet-release-client"
GUESTBOOK = "django-guestbook.service"
STAND_IN = "django-guestbook-next.service"
DATA = "/srv/guestbook/data"
BRINGING = Lock()


def both(what: Callable[[str], Any]) -> dict[str, Any]:
    """Do something to each host, side by side; the first error is raised when all have ended."""
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        futures = {host: pool.submit(what, host) for host in HOSTS}
    return {host: future.result() for host, future in futures.items()}


def on(host: str, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a host."""
    result = subprocess.run(
        ["docker", "exec", "-i", host, *words],
        capture_output=True,
        text=True,
        input=stdin or "",
        timeout=300,
        check=False,
    )
    assert not check or result.returncode == 0, f"{words} on {host}: {result.stdout}{result.stderr}"
    return result


def ctl(host: str, *words: str, code: int = 0) -> dict:
    """What djangoctl answers, when it ends with that code."""
    result = on(host, "djangoctl", *words, "--json", check=False)
    assert result.returncode == code, f"djangoctl {' '.join(words)} on {host}: {result.stdout}{result.stderr}"
    return json.loads(result.stdout)


def build_words(host: str, name: str) -> list[str]:
    """Bring a version of the project to a host, and return the words that build it there."""
    tree = f"/root/variants/{name}"
    if on(host, "test", "-d", tree, check=False).returncode:
        with BRINGING:
            path = BUILD / name
            source = path if path.is_dir() else project(name)
        on(host, "mkdir", "-p", "/root/variants")
        subprocess.run(["docker", "cp", str(source), f"{host}:{tree}"], check=True)
    return ["build", f"--tree={tree}", f"--revision={name}", f"--version={name}"]


def build(host: str, name: str, *, code: int = 0) -> dict:
    """Build a version of the guestbook on a host, unless it is there."""
    return ctl(host, "guestbook", *build_words(host, name), code=code)


def release(host: str, name: str) -> str:
    """The id of a version of the guestbook. The first test that wants it waits for its build."""
    return build(host, name)["release"]


def activate(host: str, name: str) -> str:
    """Put a version of the guestbook live on a host, and return the id."""
    identity = release(host, name)
    ctl(host, "guestbook", "activate", identity)
    assert served(host) == identity
    return identity


class Point:
    """A point at which a release waits on a host until the test lets it go: project/entries/points.py."""

    def __init__(self, host: str, name: str) -> None:
        self.host, self.name = host, name
        self.fifo = f"/usr/local/lib/points/{name}"
        script = (
            f"mkdir -p {Path(self.fifo).parent}; rm -f {self.fifo}; mkfifo -m 0644 {self.fifo}; echo set;"
            f" exec 3>{self.fifo}; echo reached; read -r _"
        )
        words = ["docker", "exec", "-i", host, "timeout", "120", "sh", "-c", script]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "set\n", f"{name} on {host}"

    def wait(self) -> None:
        """Until somebody is there: a FIFO opens for its writer when a reader has come."""
        assert self.process.stdout.readline() == "reached\n", f"nobody came to {self.name} on {self.host}"

    def let_go(self) -> None:
        on(self.host, "rm", "-f", self.fifo)
        self.process.communicate()


@contextmanager
def held(host: str, name: str) -> Iterator[Point]:
    """Hold whoever comes to a point, for as long as the block lasts."""
    point = Point(host, name)
    try:
        yield point
    finally:
        point.let_go()


@contextmanager
def started(host: str, *words: str) -> Iterator[subprocess.Popen]:
    """Start `djangoctl guestbook …`; the block's end waits for it."""
    process = subprocess.Popen(
        ["docker", "exec", host, "djangoctl", "guestbook", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=120)


@contextmanager
def held_at(host: str, name: str, *words: str) -> Iterator[subprocess.Popen]:
    """Start `djangoctl guestbook …` and hold it at a point, for as long as the block lasts."""
    with ExitStack() as stack:
        point = Point(host, name)
        process = stack.enter_context(started(host, *words))
        stack.callback(point.let_go)  # first, for the process to end
        point.wait()
        yield process


def command(*words: str, host: str = "", app: str = "guestbook", **variables: object) -> list[str]:
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], "molecule/release/inventory"]
    return [
        "ansible-playbook",
        *(f"--inventory={inventory}" for inventory in inventories),
        *([f"--limit={host}"] if host else []),
        f"--extra-vars={json.dumps({'app': app, **variables})}",
        *words,
    ]


def play(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a playbook from the root: play("deploy", host=…, app=…, variable=…). Options become extra variables."""
    return control(*command(f"playbooks/{words[0]}.yml", *words[1:], **options))


def begin(*words: str, output: Path, **options: Any) -> subprocess.Popen:
    """The same without waiting for its end, in a process group of its own."""
    with output.open("w") as handle:
        return subprocess.Popen(
            command(f"playbooks/{words[0]}.yml", *words[1:], **options),
            cwd=ROOT,
            env=CONTROLLER,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """End a controller as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def deploy(version: str, **options: Any) -> str:
    """Deploy the guestbook to both hosts at once, since neither has anything to do with the other.

    It must succeed; returns what it said.
    """
    result = play("deploy", release_version=version, deploy_serial="100%", **options)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr
    return result.stdout


def wait(what: Callable[[], Any], seconds: float, why: str, pause: float = 0.1) -> Any:
    """The first true answer within some seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {why}"
        time.sleep(pause)
    return answer


@cache
def authority(host: str) -> str:
    path = ROOT / "build" / "release" / f"{host}.pem"
    path.write_text(on(host, "cat", "/etc/djangofleet/authority/ca.pem").stdout)
    return str(path)


def browser(host: str, app: str = "guestbook") -> Browser:
    return Browser(address_of(host), f"{app}.test", authority(host))


def served(host: str, app: str = "guestbook") -> str:
    """The release that answers."""
    return json.loads(browser(host, app).text("/healthz"))["release"]


def version(host: str, app: str = "guestbook") -> str:
    """The readable part of the id of the release that answers."""
    return served(host, app).rpartition("-")[0]


def answers(host: str, seconds: float) -> float:
    """Seconds until the site answers, at the most those given."""
    began = time.monotonic()
    wait(lambda: browser(host).get("/healthz").status == 200, seconds, f"an answer of {host}", pause=0.01)
    return time.monotonic() - began


class Load:
    """Visitors of one site, from the client; `result` is what they have seen, when it is over."""

    def __init__(self, host: str, app: str, *words: str) -> None:
        self.host, self.app = host, app
        self.prefix = f"{app}-{time.monotonic_ns()}-"
        self.result: dict = {}
        target = [f"--address={address_of(host)}", f"--host={app}.test", f"--authority=/root/{host}.pem"]
        self.process = subprocess.Popen(
            [
                *("docker", "exec", "-i", CLIENT, "python3", "/root/load.py", *target),
                *(f"--prefix={self.prefix}", f"--count=/root/{self.prefix}", *words),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> dict:
        out, _ = self.process.communicate(timeout=600)  # closes its standard input: it ends when all are answered
        self.result = json.loads(out)
        return self.result

    def asked(self) -> int:
        """How many requests have been answered until now."""
        return int(on(CLIENT, "cat", f"/root/{self.prefix}", check=False).stdout or 0)

    def stored(self) -> list[str]:
        """The references of this load's entries, as the database has them."""
        found, before = [], ""
        while True:
            page = json.loads(
                browser(self.host, self.app).text(f"/api/entries/?limit=1000&reference_prefix={self.prefix}{before}")
            )["entries"]
            if not page:
                return found
            found += [entry["reference"] for entry in page]
            before = f"&before={page[-1]['id']}"


GENTLE = ("--connections=3", "--pause=0.3" if PROVE else "--pause=0.6", "--post-every=5")


@contextmanager
def visitors(
    *words: str, app: str = "guestbook", hosts: list[str] | None = None, cut: int = 0
) -> Iterator[dict[str, Load]]:
    """Visitors of each host while something happens. All must have been served, and no entry lost or doubled.

    :param cut: how many answers may break off after a good status: nobody can take back what a visitor has begun to
        read, when the process that writes it is killed.
    """
    loads = {host: Load(host, app, *(words or GENTLE)) for host in hosts or HOSTS}
    try:
        yield loads
    except BaseException:
        for load in loads.values():
            load.process.kill()
        raise
    for host, load in loads.items():
        seen = load.end()
        said = f"{host}: {seen['failed']} of {seen['requests']} requests failed, {seen['cut']} of them cut off"
        assert seen["failed"] == seen["cut"] <= cut, f"{said}: {seen['examples']}"
        assert seen["requests"] > 0
        assert sorted(load.stored()) == sorted(seen["references"]), f"{host}: entries were lost or doubled"
        print(f"{said}; {len(seen['references'])} entries")


def environment_of(host: str, unit: str) -> dict[str, str]:
    """The environment of a unit's main process, as the kernel has it."""
    pid = on(host, "systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
    pairs = on(host, "cat", f"/proc/{pid}/environ").stdout.split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)


def main_pid(host: str, unit: str) -> str:
    return on(host, "systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
