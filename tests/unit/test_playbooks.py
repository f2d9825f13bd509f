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
    "rollback": ["playbooks/rollback.yml", "-i", "prod", "-e", "app=sohp"],  # ends before any host is asked
}


def checks() -> list[dict]:
    """The plays of validate.yml: first those about the apps, which deploy.yml has too."""
    apps, rest = yaml.safe_load((ROOT / "playbooks/validate.yml").read_text())
    assert apps["ansible.builtin.import_playbook"] == "validate_apps.yml"
    return [*yaml.safe_load((ROOT / "playbooks/validate_apps.yml").read_text()), rest]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of the runs at once: each takes seconds. (Exit code, output) by name."""
    root = tmp_path_factory.mktemp("playbooks")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    hosts = {name: {**local, "django_apps": apps} for name, (apps, _said) in INPUTS.items()}
    groups = {group: {"hosts": {name: {} for name in INPUTS}} for group in ("app", "web")}
    (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
    # The playbook as it is, but for the setting by which the first failure would end it for all.
    plays = checks()
    for play in plays:
        del play["any_errors_fatal"]
    plays[-1]["gather_subset"] = ["min"]  # four times those of one machine: the rest takes as long as all else here
    (root / "validate.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
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
        ("all", "Check the apps"),
        ("all", "Check the input"),
        ("all", "Prepare the hosts"),
        ("app", "Prepare the apps"),
        ("app", "Build"),
        ("app", "Put live"),
        ("web", "Serve the sites"),
    ]
    checks, work = text.split("Prepare the hosts")
    assert re.findall(r"^      (.+)\tTAGS", checks, re.MULTILINE)[0] == "Check the apps against each other"
    steps = ("host : ", "Prepare\t", "Build\t", "Migrate\t", "Activate\t", "certificate : ", "nginx : ")
    found = [re.search(rf"^      {step}", work, re.MULTILINE) for step in steps]
    assert all(found), text
    assert [match.start() for match in found] == sorted(match.start() for match in found)


def test_the_checks_change_nothing():
    """What stands before the first change is an assertion, or the part of a role that consists of them."""
    assert all(play["any_errors_fatal"] is True for play in checks())
    for task in [task for play in checks() for task in play["tasks"]]:
        (action,) = [key for key in task if key.startswith("ansible.builtin.")]
        assert action in ("ansible.builtin.assert", "ansible.builtin.import_role", "ansible.builtin.include_role")
        assert action == "ansible.builtin.assert" or task[action]["tasks_from"] == "validate"
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    assert site[0]["ansible.builtin.import_playbook"] == "validate.yml"
    deploy = yaml.safe_load((ROOT / "playbooks/deploy.yml").read_text())
    assert deploy[0]["ansible.builtin.import_playbook"] == "validate_apps.yml"


def test_a_rollback_begins_with_the_check_of_its_input_alone():
    """Facts, or the whole of validate.yml, would take longer than the rollback itself."""
    check, work = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    assert (check["hosts"], check["any_errors_fatal"]) == (work["hosts"], True)
    assert [play["gather_facts"] for play in (check, work)] == [False, False]
    assert "serial" not in check, "the first hosts would be back before the input of the others is looked at"
    assert check["tasks"] == checks()[0]["tasks"][:1]
    assert "ansible.builtin.assert" in check["tasks"][0]


def test_a_rollback_of_an_unknown_app_is_not_green(runs):
    code, text = runs["rollback"]
    assert code == 2, text
    assert "app: found 'sohp'; give one of: " in text
    assert "PLAY [Roll back]" not in text
    assert re.search(r"changed=0 .*unreachable=0 .*failed=1 ", text)


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
