"""The contestant Ansible: runs playbooks as a user does, and reads the counter on the host."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .hosts import BenchError, Host
from .timing import Clock, Timed

COUNTER = Path(__file__).resolve().parents[1] / "contestants/counting-python"
RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) ", re.MULTILINE)
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[", re.MULTILINE)
# The groups of bench/inventory/hosts.yml
GROUPS = ("web", "app", "database", "cache", "monitoring")


@dataclass(frozen=True)
class Run:
    """One run of a playbook.

    :param executions: how often the hosts started Ansible's interpreter: once for each execution of a module.
    :param tasks: how many tasks and handlers the playbook went through.
    """

    timed: Timed
    executions: int
    tasks: int


def prepare(clock: Clock, host: Host) -> None:
    """Put the counter in place and see that it counts.

    :raises BenchError: one execution is not counted as one.
    """
    host.run("mkdir", "--parents", "/opt/bench")
    host.put(COUNTER, "/opt/bench/python")
    host.shell(": >/opt/bench/executions")
    words = ["ansible", "bench", *inventory(clock, [host]), "-m", "ansible.builtin.ping"]
    clock.run(f"{host.name}: ping", [host], words)
    if (counted := executions(host)) != 1:
        raise BenchError(f"{host.name}: one execution of a module was counted as {counted}")


def executions(host: Host) -> int:
    return len(host.shell("cat /opt/bench/executions"))


def site(
    clock: Clock,
    label: str,
    hosts: Sequence[Host],
    *options: str,
    apps: int = 1,
    same: bool = False,
    **environment: str,
) -> Run:
    """Run site.yml.

    :param apps: how many of the inventory's apps there are to be.
    """
    options = ("-e", f"bench_apps_count={apps}", *options)
    return play(clock, label, hosts, "site.yml", *options, same=same, **environment)


def play(
    clock: Clock,
    label: str,
    hosts: Sequence[Host],
    playbook: str,
    *options: str,
    same: bool = False,
    **environment: str,
) -> Run:
    """Run a playbook.

    :param label: names the run on the screen and its log, which ends with the tasks that took longest.
    :param same: the hosts are as they should be already.
    :raises BenchError: the run failed, or changed something where all was as it should be.
    """
    for host in hosts:
        host.shell(": >/opt/bench/executions")
    words = ["ansible-playbook", playbook, *inventory(clock, hosts), *options]
    environment = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks", **environment}
    timed = clock.run(label, hosts, words, **environment)
    changed = [int(number) for number in RECAP.findall(timed.output)]
    if len(changed) != len(hosts):
        raise BenchError(f"{label}: {clock.log(label)} has no recap of {len(hosts)} hosts")
    if same and any(changed):
        raise BenchError(
            f"{label}: {sum(changed)} tasks changed something on an unchanged host; see {clock.log(label)}"
        )
    return Run(timed, sum(executions(host) for host in hosts), len(TASK.findall(timed.output)))


def inventory(clock: Clock, hosts: Sequence[Host]) -> list[str]:
    """The words that name the inventory: the one in bench/inventory, and beside it one with the further hosts.

    The first host has the same name in every run, since what the roles write may contain it.
    """
    words = ["-i", "bench/inventory", "-e", f"bench_container={hosts[0].name}"]
    if len(hosts) > 1:
        further = {f"bench-{number}": {"ansible_host": host.name} for number, host in enumerate(hosts[1:], 2)}
        path = clock.logs / f"hosts-{len(hosts)}.json"
        members = {group: {"hosts": dict.fromkeys(further)} for group in GROUPS}
        path.write_text(json.dumps({"all": {"hosts": further, "children": members}}, indent=1))
        words += ["-i", str(path)]
    return words
