"""The contestant Ansible: runs playbooks as a user does, and reads the counter on the host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .hosts import BenchError, Host
from .timing import Clock, Timed

COUNTER = Path(__file__).resolve().parents[1] / "contestants/counting-python"
RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of a playbook.

    :param executions: how often the host started Ansible's interpreter: once for each execution of a module.
    """

    timed: Timed
    executions: int


def prepare(clock: Clock, host: Host) -> None:
    """Put the counter in place and see that it counts.

    :raises BenchError: one execution is not counted as one.
    """
    host.run("mkdir", "/opt/bench")
    host.put(COUNTER, "/opt/bench/python")
    host.shell(": >/opt/bench/executions")
    words = ["ansible", "bench", *_inventory(host), "-m", "ansible.builtin.ping"]
    clock.run(f"{host.name}: ping", host, words)
    if (counted := executions(host)) != 1:
        raise BenchError(f"{host.name}: one execution of a module was counted as {counted}")


def executions(host: Host) -> int:
    return len(host.shell("cat /opt/bench/executions"))


def site(clock: Clock, label: str, host: Host, *options: str, apps: int = 1, same: bool = False, **environment) -> Run:
    """Run site.yml.

    :param apps: how many of the inventory's apps there are to be.
    """
    options = ("-e", f"bench_apps_count={apps}", *options)
    return play(clock, label, host, "site.yml", *options, same=same, **environment)


def play(
    clock: Clock, label: str, host: Host, playbook: str, *options: str, same: bool = False, **environment: str
) -> Run:
    """Run a playbook.

    :param label: names the run on the screen and its log, which ends with the tasks that took longest.
    :param same: the host is as it should be already.
    :raises BenchError: the run failed, or changed something where all was as it should be.
    """
    host.shell(": >/opt/bench/executions")
    words = ["ansible-playbook", playbook, *_inventory(host), *options]
    environment = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks", **environment}
    timed = clock.run(label, host, words, **environment)
    recap = RECAP.search(timed.output)
    if not recap:
        raise BenchError(f"{label}: {clock.log(label)} has no recap")
    if same and recap[1] != "0":
        raise BenchError(f"{label}: {recap[1]} tasks changed something on an unchanged host; see {clock.log(label)}")
    return Run(timed, executions(host))


def _inventory(host: Host) -> list[str]:
    return ["-i", "bench/inventory", "-e", f"bench_container={host.name}"]
