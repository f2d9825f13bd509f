"""The scenario's hosts as a team sees them: deploys from the controller, visitors from outside, a look at a host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from shared.outside import ROOT, Browser, address_of, hosts_of

HOSTS = hosts_of("release")
CLIENT = "djangofleet-release-client"


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


def ctl(host: str, *words: str) -> dict:
    """What djangoctl answers."""
    return json.loads(on(host, "djangoctl", *words, "--json").stdout)


def command(*words: str, host: str = "", app: str = "guestbook", **variables: object) -> list[str]:
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], "molecule/release/inventory"]
    return [
        "ansible-playbook",
        *(f"--inventory={inventory}" for inventory in inventories),
        *([f"--limit={host}"] if host else []),
        f"--extra-vars={json.dumps({'app': app, **variables})}",
        *words,
    ]


ENVIRONMENT = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}


def play(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a playbook from the root: play("deploy", host=…, app=…, variable=…). Options become extra variables."""
    return subprocess.run(
        command(f"playbooks/{words[0]}.yml", *words[1:], **options),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def begin(*words: str, output: Path, **options: Any) -> subprocess.Popen:
    """The same without waiting for its end, in a process group of its own."""
    with output.open("w") as handle:
        return subprocess.Popen(
            command(f"playbooks/{words[0]}.yml", *words[1:], **options),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """End a controller as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def attempt(version: str, project: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Deploy the guestbook to both hosts at once: neither has anything to do with the other."""
    if project:
        options["release_project"] = str(project)
    return play("deploy", release_version=version, deploy_serial="100%", **options)


def deploy(version: str, project: Path | None = None, **options: Any) -> str:
    """A deploy that must succeed; returns what it said."""
    result = attempt(version, project, **options)
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
            ["docker", "exec", "-i", CLIENT, "python3", "/root/load.py", *target, f"--prefix={self.prefix}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> dict:
        out, _ = self.process.communicate(timeout=600)  # closes its standard input: it ends when all are answered
        self.result = json.loads(out)
        return self.result

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


GENTLE = ("--connections=3", "--pause=0.3", "--post-every=5")


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
