"""The playbooks as a user calls them, on this machine and as far as nothing is changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SHOP = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/x"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"path": "/y"}}

# What validate.yml says to apps. Each set is a host of its own, so that one run shows all.
INPUTS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "clash": (
        [SHOP, BLOG | {"domains": ["Shop.example.com"]}],
        ["django_apps[].domains: 'shop.example.com' is there 2 times"],
    ),
    "name": (
        [BLOG, SHOP | {"name": "Shop 1"}],
        ["django_app.name of app 'Shop 1': found 'Shop 1'; give up to 24 lower-case letters"],
    ),
    "key": ([SHOP | {"gunicorn": {"worker": 3}}], ["gunicorn.worker", "Supported parameters include", "workers"]),
    "good": ([SHOP, BLOG], []),
}
COMMANDS = {
    "syntax": ["site.yml", "-i", "prod", "--syntax-check"],
    "tasks": ["site.yml", "-i", "prod", "--list-tasks"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of the runs at once: each takes seconds. (Exit code, output) by name."""
    root = tmp_path_factory.mktemp("playbooks")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    hosts = {name: {**local, "django_apps": apps} for name, (apps, _said) in INPUTS.items()}
    groups = {group: {"hosts": {name: {} for name in INPUTS}} for group in ("app", "web")}
    (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
    # The playbook as it is, but for the setting by which the first failure would end it for all.
    (play,) = yaml.safe_load((ROOT / "playbooks/validate.yml").read_text())
    del play["any_errors_fatal"]
    play["gather_subset"] = ["min"]  # four times those of one machine: the rest takes as long as all else here
    (root / "validate.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    (root / "group_vars").symlink_to(ROOT / "group_vars")
    commands = {**COMMANDS, "validate": [str(root / "validate.yml"), "-i", str(root / "hosts.yml")]}
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(root / "home")}
    started = {
        name: subprocess.Popen(
            [str(PLAYBOOK), *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, words in commands.items()
    }
    return {name: (process.communicate()[0], process.returncode)[::-1] for name, process in started.items()}


def test_the_literal_command_is_understood(runs):
    assert runs["syntax"][0] == 0, runs["syntax"][1]


def test_the_roles_come_in_order(runs):
    code, text = runs["tasks"]
    assert code == 0, text
    plays = re.findall(r"^  play #\d+ \((\w+)\): (.+?)\tTAGS", text, re.MULTILINE)
    assert plays == [
        ("all", "Check the input"),
        ("all", "Prepare the hosts"),
        ("app", "Deploy the apps"),
        ("web", "Serve the sites"),
    ]
    checks, work = text.split("Prepare the hosts")
    assert re.findall(r"^      (.+)\tTAGS", checks, re.MULTILINE)[0] == "Check the apps against each other"
    steps = ("host : ", "Deploy\t", "certificate : ", "nginx : ")
    found = [re.search(rf"^      {step}", work, re.MULTILINE) for step in steps]
    assert all(found), text
    assert [match.start() for match in found] == sorted(match.start() for match in found)


def test_the_checks_change_nothing():
    """What stands before the first change is an assertion, or the part of a role that consists of them."""
    (play,) = yaml.safe_load((ROOT / "playbooks/validate.yml").read_text())
    assert play["any_errors_fatal"] is True
    for task in play["tasks"]:
        (action,) = [key for key in task if key.startswith("ansible.builtin.")]
        assert action in ("ansible.builtin.assert", "ansible.builtin.import_role", "ansible.builtin.include_role")
        assert action == "ansible.builtin.assert" or task[action]["tasks_from"] == "validate"
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    assert site[0]["ansible.builtin.import_playbook"] == "validate.yml"


def outcome(text, host):
    """What the run said of that host: all of its failures in one line, and its line in the recap."""
    failures = re.findall(rf"^(?:\[ERROR\]: .*?)?fatal: \[{host}\]: .*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    (recap,) = re.findall(rf"^{host} +: (.*)", text, re.MULTILINE)
    return " ".join(" ".join(failures).split()), recap


@pytest.mark.parametrize("name", [name for name in INPUTS if name != "good"])
def test_bad_input_stops_with_its_reason(runs, name):
    code, text = runs["validate"]
    assert code == 2, text
    said, recap = outcome(text, name)
    for words in INPUTS[name][1]:
        assert words in said, text
    assert re.search(r"changed=0 .*failed=1 ", recap)
    checks_of_sites = text[text.index("TASK [nginx : Validating") :].partition("PLAY RECAP")[0]
    assert f"[{name}]" not in checks_of_sites, "it went on after the failure"


def test_good_input_passes_all_checks(runs):
    _code, text = runs["validate"]
    said, recap = outcome(text, "good")
    assert said == ""
    assert re.search(r"changed=0 .*unreachable=0 .*failed=0 ", recap)
    for role in ("host", "django", "certificate", "nginx"):
        assert f"TASK [{role} : " in text
    assert "Traceback" not in text
    assert "WARNING" not in text, text
