"""The measured hosts: fresh containers, gone at the end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# As scripts/demo and .config/molecule/config.yml start theirs.
OPTIONS = [
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),
]


class BenchError(Exception):
    """What makes the figures worthless: a contestant failed, or did other work than the rest."""


@dataclass(frozen=True)
class Host:
    """A running container."""

    name: str

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command on the host as root and return what it printed.

        :raises BenchError: it failed, unless check is False.
        """
        result = docker("exec", self.name, *words)
        if check and result.returncode != 0:
            raise BenchError(f"{self.name}: {' '.join(words)[:200]}\n{result.stdout}{result.stderr}")
        return result.stdout

    def shell(self, script: str, *, check: bool = True) -> str:
        return self.run("bash", "-c", script, check=check)

    def put(self, source: Path, target: str) -> None:
        """Copy a file or a directory to a path that does not exist yet. /run and /tmp cannot be reached."""
        result = docker("cp", str(source), f"{self.name}:{target}")
        if result.returncode != 0:
            raise BenchError(f"{self.name}: {source} could not be copied: {result.stderr}")

    @property
    def address(self) -> str:
        """The host's address on the containers' network."""
        words = ("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", self.name)
        found = docker(*words).stdout.split()
        if not found:
            raise BenchError(f"{self.name} has no address")
        return found[0]

    def cpu_seconds(self) -> float:
        """The processor time that the host's processes have taken so far."""
        first, second = "/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpuacct/cpuacct.usage"  # cgroup v2, v1
        text = self.shell(f"if [ -e {first} ]; then cat {first}; else cat {second}; fi").split()
        return int(text[1]) / 1e6 if text[0] == "usage_usec" else int(text[0]) / 1e9


def image(distribution: str = os.environ.get("DISTRO", "13"), *, warm: bool = False) -> str:
    """The test image of a Debian release.

    :param warm: the one that has the roles' packages already, if scripts/image has built it.
    """
    name = f"djangofleet/warm:{distribution}"
    if warm and docker("image", "inspect", name).returncode == 0:
        return name
    return f"djangofleet/host:{distribution}"


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@contextmanager
def fresh(containers: Mapping[str, str]) -> Iterator[list[Host]]:
    """Start these containers and remove them at the end, whatever happens in between.

    :param containers: the image of each, by name.
    """
    remove(containers)  # left over by a run that was killed
    try:
        for name, image in containers.items():
            result = docker("run", "--detach", "--name", name, "--hostname", name, *OPTIONS, image)
            if result.returncode != 0:
                raise BenchError(f"{name} did not start: {result.stderr.strip()}")
        hosts = [Host(name) for name in containers]
        for host in hosts:
            _wait(host)
        yield hosts
    finally:
        remove(containers)


def remove(names: Iterable[str]) -> None:
    for name in names:
        docker("rm", "--force", "--volumes", name)


def _wait(host: Host) -> None:
    state = ""
    for _ in range(60):
        state = host.run("systemctl", "is-system-running", "--wait", check=False).strip()
        if state in ("running", "degraded"):
            return
        time.sleep(1)
    raise BenchError(f"systemd in {host.name} did not come up within a minute (it says: {state or 'nothing'})")
