# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the command line of a playbook asks of one app: playbooks/manage.yml and logs.yml."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_fleet import hosts_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import (
    apps_selected,
    selection_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import (
    no_answer,
    one_line,
    printable_lines,
    problem,
)

RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # as djangoctl takes it


def one_app(apps: Any, name: str = "") -> tuple[Mapping[str, Any], list[str]]:
    """The app that is meant, as the inventory has it, and what is wrong with the choice.

    :param name: may be empty where the inventory has one app alone.
    """
    if wrong := selection_problems(apps, name, present=True):
        return {}, wrong
    found = apps_selected(apps, name)
    if len(found) == 1:
        return found[0], []
    if not found:
        return {}, ["app: the inventory has no app"]
    return {}, [f"app: is missing, and the inventory has several; give one of: {_named(found)}"]


def _named(apps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"-e app={one_line(app['name'])}" for app in apps)


def manage_asked(
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    name: str = "",
    command: Any = "",
    release: Any = "",
    hosts: Sequence[str] = (),
    separate: bool = False,
) -> dict[str, Any]:
    """What of manage.py is to run where: C(app), C(host), C(words), C(release), and C(problems), a line each.

    :param command: a text, which is split as a shell would, or a list of words.
    :param hosts: the hosts of the run, without those that --limit leaves out.
    :param separate: each host is a site of its own.
    """
    app, problems = one_app(apps, name)
    words, wrong = _words(command)
    problems += wrong
    if release and not RELEASE.fullmatch(str(release)):
        problems.append(problem("release", release, "the id of a release, such as djangoctl <app> releases lists them"))
    host, wrong = _place(hosts_of(app, groups) if app else [], hosts, separate)
    problems += wrong
    return {
        "app": app.get("name", ""),
        "host": host,
        "words": words,
        "release": str(release),
        "problems": problems,
    }


def _place(known: Sequence[str], hosts: Sequence[str], separate: bool) -> tuple[str, list[str]]:
    """The host to run on, and what is wrong with the choice of hosts.

    :param known: the hosts of the app.
    """
    if not known:
        return "", ["app: lives on no host; put one into the group app"]
    if not separate:
        wrong = f"--limit: leaves out {known[0]}, the app's first host, on which manage.py runs; name it too"
        return known[0], [] if known[0] in hosts else [wrong]
    found = [host for host in known if host in hosts]
    if len(found) == 1:
        return found[0], []
    return "", [f"--limit: each host is a site of its own (allow_separate_hosts); name one of: {', '.join(known)}"]


def _words(command: Any) -> tuple[list[str], list[str]]:
    """The words of a command, and what is wrong with it."""
    wanted = "what manage.py is to do, such as -e command='migrate --plan'"
    if not command:
        return [], [f"command: is missing; give {wanted}"]
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:  # a quote that is not closed
            return [], [f"{problem('command', command, wanted)} ({error})"]
    elif isinstance(command, (list, tuple)) and not any(isinstance(word, (Mapping, list, tuple)) for word in command):
        words = [str(word) for word in command]
    else:
        return [], [problem("command", command, f"{wanted}, or a list of words")]
    if not words:
        return [], [problem("command", command, wanted)]
    if words[0] == "manage.py" or words[0].startswith("-"):
        return [], [problem("command", command, f"a command of manage.py first: {wanted}")]
    return words, []


def manage_report(answer: Mapping[str, Any], host: str) -> dict[str, str]:
    """What to show of a run, C(text), and why it failed, C(wrong); the latter is empty if it did not.

    :param answer: what Ansible has registered of the module manage.
    """
    if "command" not in answer:
        return {"text": "", "wrong": f"{host}: {no_answer(answer)}"}
    line = shlex.join(answer["command"])
    if answer["rc"] is None:
        return {"text": f"Would run on {host}: {line}", "wrong": ""}
    text = "\n".join([f"{host}: {line}", *printable_lines(answer["output"].rstrip("\n")), f"exit code {answer['rc']}"])
    return {"text": text, "wrong": f"{host}: {line} ended with {answer['rc']}" if answer["rc"] else ""}
