"""The playbooks as a user calls them, on this machine and as far as nothing is changed."""

from __future__ import annotations

import json
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
SHOP = {"name": "shop", "domains": ["shop.example.com"], "source": {"package": "shop==1.0"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"package": "blog==1.0"}}
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
ANY = {"host_allow_untested_distribution": True}

# What check.yml says to an inventory, whole.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "clash": (
        {"django_apps": [SHOP, BLOG | {"domains": ["Shop.example.com"]}]},
        ["django_apps[].domains: 'shop.example.com' is there 2 times"],
    ),
    "name": (
        {"django_apps": [BLOG, SHOP | {"name": "Shop 1"}]},
        ["django_apps[Shop 1].name: found 'Shop 1'; give up to 24"],
    ),
    "key": (
        {"django_apps": [SHOP | {"gunicorn": {"worker": 3}}]},
        ["django_apps[shop].gunicorn.worker: is not known; did you mean 'workers'?"],
    ),
    "type": (
        {"django_apps": [SHOP | {"gunicorn": {"timeout": "soon"}}]},
        ["django_apps[shop].gunicorn.timeout: found 'soon'; give a whole number"],
    ),
    "apps of another type": ({"django_apps": {"shop": SHOP}}, ["django_apps: found", "give a list"]),
    "a text for apps": ({"django_apps": "shop"}, ["django_apps: found 'shop'; give a list"]),
    "no apps at all": ({}, ["django_apps: is missing"]),
    "web server alone": ({}, ["msg: 'django_apps: is missing"]),  # in no other group
    "database": (
        {"django_apps": [SHOP | {"database": {"url": "postgre://shop@db/shop"}}]},
        ["django_apps[shop].database.url", "postgres"],
    ),
    "role": ({"django_apps": [SHOP], "nginx_http_port": 0}, ["nginx_http_port: found '0'; give a port"]),
    "host": ({"django_apps": [SHOP], "host_timezone": "a b"}, ["host_timezone: found 'a b'; give"]),
    "site": (
        {"django_apps": [SHOP], "nginx_sites": [{"name": "x", "domains": ["a b"]}]},
        ["nginx_sites[x].domains[0]: found 'a b'; give"],
    ),
}  # fmt: skip
COMMANDS = {
    "syntax": ["site.yml", "-i", "prod", "--syntax-check"],
    "tasks": ["site.yml", "-i", "prod", "--list-tasks"],
    "rollback": ["playbooks/rollback.yml", "-i", "prod", "-e", "app=guestbok"],  # ends before any host is asked
    "deploy": ["playbooks/deploy.yml", "-i", "prod", "-e", "app=guestbok"],
    "status": ["playbooks/status.yml", "-i", "prod", "-e", "app=guestbok"],
    "logs": ["playbooks/logs.yml", "-i", "prod", "-e", "app=guestbok", "-e", "since=in a while", "-e", "lines=some",
             "-e", "request=a b"],
    "manage": ["playbooks/manage.yml", "-i", "prod", "-e", "app=guestbok", "-e", "command=--help"],
}  # fmt: skip
# What those that look, or run one command, say to a mistake. No host is asked.
VERBS: dict[str, list[str]] = {
    "status": ["app: found 'guestbok'; did you mean 'guestbook'?"],
    "logs": [
        "app: found 'guestbok'; did you mean 'guestbook'?",
        "request: found 'a b'; give the id of a request",
        "since: found 'in a while'; give a time",
        "lines: found 'some'; give a whole number",
    ],
    "manage": ["app: found 'guestbok'; did you mean 'guestbook'?", "command: found '--help'; give a command"],
    "manage of several": ["app: is missing, and the inventory has several; give one of: -e app=shop, -e app=blog"],
    "manage elsewhere": ["--limit: leaves out one, the app's first host"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of the runs at once: each takes seconds. (Exit code, output) by name."""
    root = tmp_path_factory.mktemp("playbooks")
    commands = dict(COMMANDS)
    inputs = {name: variables for name, (variables, _) in REFUSED.items()} | {
        # Words of the command line mean nothing in an inventory, which may have them for a purpose of its own.
        "good": {"django_apps": [SHOP, BLOG], "app": "crm", "release": "1.2"},
        "app server alone": {"django_apps": [SHOP]},  # its web server is somebody else's
        "mistakes": {"django_apps": [SHOP | {"environment": {"KEY": "${SECRET_KYE}"}}], "django_keep_release": 3},
    }
    for name, variables in inputs.items():
        hosts = {"one": {**LOCAL, **ANY}}
        names = ("web",) if name == "web server alone" else ("app",) if name == "app server alone" else ("app", "web")
        groups = {group: {"hosts": {"one": {}}} for group in names}
        inventory = root / f"{name.replace(' ', '-')}.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups, "vars": variables}}))
        playbook = "summary" if name == "app server alone" else "check"
        commands[name] = [f"playbooks/{playbook}.yml", "-i", str(inventory)]
    gone = root / "gone.yml"
    content = yaml.safe_load((root / "good.yml").read_text())
    content["all"]["vars"] = {"django_apps": [SHOP, {"name": "old", "state": "absent"}]}
    gone.write_text(yaml.safe_dump(content))
    for playbook in ("deploy", "rollback"):
        commands[f"{playbook} of what is to go"] = [f"playbooks/{playbook}.yml", "-i", str(gone), "-e", "app=old"]
    # A host that has none of it, and one that nobody can reach
    hosts = {"one": {**LOCAL}, "two": {"ansible_host": "127.0.0.1", "ansible_port": 1}, "db": {**LOCAL}}
    groups = {"app": {"hosts": {"one": {}, "two": {}}}, "database": {"hosts": {"db": {}}}}
    bare = root / "bare.yml"
    shared = {"django_apps": [SHOP, BLOG], "json": "of the inventory's own"}
    bare.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups, "vars": shared}}))
    commands |= {
        "status of bare hosts": ["playbooks/status.yml", "-i", str(bare)],
        "status as JSON": ["playbooks/status.yml", "-i", str(bare), "-e", "json=true", "-e", "app=shop", "--check"],
        "logs of bare hosts": ["playbooks/logs.yml", "-i", str(bare), "-e", "app=shop", "-e", "since=2 hours ago"],
        "manage of a bare host": ["playbooks/manage.yml", "-i", str(bare), "-e", "app=shop", "-e", "command=check"],
        "manage of several": ["playbooks/manage.yml", "-i", str(bare), "-e", "command=check"],
        "manage elsewhere": ["playbooks/manage.yml", "-i", str(bare), "-e", "app=shop", "-e", "command=check",
                             "--limit=db"],
    }  # fmt: skip
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(root / "home"), "COLUMNS": "10000"}
    found = {}
    names = list(commands)
    for batch in (names[index : index + 4] for index in range(0, len(names), 4)):
        started = {
            name: subprocess.Popen(
                [str(PLAYBOOK), *commands[name]],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name in batch
        }
        found |= {name: (process.communicate()[0], process.returncode)[::-1] for name, process in started.items()}
    return found


def test_the_literal_command_is_understood(runs):
    assert runs["syntax"][0] == 0, runs["syntax"][1]


def test_the_components_come_in_order(runs):
    code, text = runs["tasks"]
    assert code == 0, text
    plays = re.findall(r"^  play #\d+ \((.+?)\): (.+?)\tTAGS", text, re.MULTILINE)
    every = "~^(web|app|balancer|database|cache|monitoring)$"
    assert plays == [
        ("~^(app|web|balancer)$", "Check the apps"),
        (every, "Check the hosts"),
        (every, "Install the packages"),
        (every, "Prepare the hosts"),
        ("~^(web|balancer|database|cache)$", "Provide the certificates"),
        ("~^(app|database|cache)$", "Make the passwords of databases and caches"),
        ("~^(database|cache)$", "Read by which authority apps on other hosts know their servers"),
        ("database", "Run the databases"),
        ("app", "Run the poolers"),
        ("cache", "Run the caches"),
        ("app", "Prepare the apps"),
        ("app", "Build"),
        ("app", "Put live"),
        ("~^(web|balancer)$", "Serve the sites"),
        ("balancer", "Balance them"),
        ("web", "Serve what is left"),
        ("~^(web|balancer|database|cache)$", "Have certificates signed by an authority"),
        ("app", "Forget what no app connects by any more"),
        ("~^(database|cache)$", "Take back what no app uses any more"),
        ("~^(app|database)$", "Back up the databases and the apps"),
        ("database", "Ask how the backups of databases on hosts of their own are"),
        (every, "Remove the apps that are to go"),
        ("~^(app|web|balancer)$", "Say how it went"),
    ]


@pytest.mark.parametrize("path", ["check_apps.yml", "check.yml"])
def test_the_checks_change_nothing(path):
    """What stands before the first change looks, compares and says."""
    plays = [play for play in yaml.safe_load((ROOT / "playbooks" / path).read_text()) if "hosts" in play]
    tasks = [task for play in plays for task in play["tasks"]]
    for task in tasks:  # and those that are appended here
        if file := task.pop("ansible.builtin.import_tasks", None):
            tasks += yaml.safe_load((ROOT / "playbooks" / file).read_text())
    actions = {key for task in tasks for key in task if "." in key}
    assert actions <= {
        "ansible.builtin.assert",
        "ansible.builtin.debug",
        "ansible.builtin.fail",
        "ansible.builtin.set_fact",
        "djangofleet.stack.survey",
    }


def test_a_deploy_writes_the_units_that_site_writes():
    """It gathers no facts, so that the role must not look at any."""
    plays = [play for play in yaml.safe_load((ROOT / "playbooks/deploy.yml").read_text()) if "hosts" in play]
    assert not any(play["gather_facts"] for play in plays)
    for path in (ROOT / "roles/django").glob("[dtv]*/**/*.*"):
        assert "ansible_facts" not in path.read_text(), path


@pytest.mark.parametrize(("path", "check"), [("site", "check"), ("deploy", "check_apps"), ("rotate", "check")])
def test_a_playbook_begins_with_a_check_and_ends_with_a_summary(path, check):
    plays = yaml.safe_load((ROOT / "playbooks" / f"{path}.yml").read_text())
    assert plays[0]["ansible.builtin.import_playbook"] == f"{check}.yml"
    assert plays[-1]["ansible.builtin.import_playbook"] == "summary.yml"


def test_a_rollback_asks_only_which_apps_are_meant():
    """A mistake elsewhere in the inventory must not keep a site from going back."""
    check, choose, back, summary = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    assert check["ansible.builtin.import_playbook"] == "check_apps.yml"
    assert check["vars"] == {"django_apps_problems": "{{ django_apps_selection_problems }}", "django_apps_warnings": []}
    assert "serial" not in choose, "the first hosts would be back before the others are looked at"
    assert choose["any_errors_fatal"] is True
    roles = [play["tasks"][0]["ansible.builtin.include_role"]["tasks_from"] for play in (choose, back)]
    assert roles == ["choose", "rollback"]
    assert summary["ansible.builtin.import_playbook"] == "summary.yml"


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_an_unknown_app_is_refused(runs, name):
    code, text = runs[name]
    assert code == 2, text
    assert re.search(r"app: found 'guestbok'; did you mean 'guestbook'\? give one of: ", text.replace("''", "'"))
    assert re.findall(r"^PLAY \[(.+)\]", text, re.MULTILINE) == ["Check the apps"]
    assert re.search(r"changed=0 .*unreachable=0 .*failed=1 ", text)


@pytest.mark.parametrize("name", VERBS)
def test_a_mistake_in_the_question_is_told_before_a_host_is_asked(runs, name):
    code, text = runs[name]
    assert code == 2, text
    for words in VERBS[name]:
        assert words in text.replace("''", "'"), text
    assert re.search(r"changed=0 .*unreachable=0 .*failed=1 ", text)
    assert "TASK [Ask how" not in text
    assert "TASK [Read what" not in text
    assert "TASK [Run it]" not in text


def test_the_status_shows_all_hosts_and_fails_after_it(runs):
    code, text = runs["status of bare hosts"]
    assert code == 2, text
    lines = text.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("APP   HOST  HEALTH")))
    assert [line.split()[:4] for line in lines[at + 1 : at + 4]] == [
        ["shop", "one", "NOT", "THERE"],
        ["blog", "one", "NOT", "THERE"],
        ["-", "two", "UNREACHABLE", "-"],
    ]
    assert any(line.startswith("db    -") for line in lines), text
    assert "two: cannot be reached: Failed to connect" in text.partition("TASK [Stop if something is wrong]")[2]


def test_the_status_as_json_is_one_line_that_a_program_reads(runs):
    """A word of the command line, which an inventory may have for a purpose of its own. In check mode too."""
    assert not [line for line in runs["status of bare hosts"][1].splitlines() if line.startswith("{")]
    code, text = runs["status as JSON"]
    assert code == 2, text
    (line,) = [line for line in text.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert [(row["app"], row["host"], row["state"]) for row in found["apps"]] == [("shop", "one", "not there")]
    assert [(row["host"], row["answers"]) for row in found["hosts"]] == [("one", True), ("two", False), ("db", True)]
    assert not found["ok"]


def test_logs_of_a_host_that_cannot_be_reached_are_missing(runs):
    """A database has nothing to tell where no request is named: it is not asked."""
    code, text = runs["logs of bare hosts"]
    assert code == 2, text
    assert "# two: cannot be reached, so that its lines are missing: Failed to connect" in text
    assert "# there is no such line" in text
    assert re.search(r"^db +: ok=0 .*skipped=1", text, re.MULTILINE)


def test_a_command_needs_a_host_that_has_the_app(runs):
    code, text = runs["manage of a bare host"]
    assert code == 2, text
    assert "one: there is no djangoctl on this host: run site.yml first" in text
    assert re.search(r"^two +: .*unreachable=0", text, re.MULTILINE), "no other host is asked"


@pytest.mark.parametrize("name", ["status", "logs"])
def test_what_looks_changes_nothing(name):
    (play,) = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text())
    tasks = [task for each in play["tasks"] for task in (*each.get("block", [each]), *each.get("rescue", []))]
    actions = {key for task in tasks for key in task if "." in key}
    assert actions == {
        "ansible.builtin.fail",
        "ansible.builtin.meta",
        "ansible.builtin.set_fact",
        "djangofleet.stack.show",
        {"status": "djangofleet.stack.host_status", "logs": "djangofleet.stack.app_logs"}[name],
    }


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_an_app_that_is_to_go_gets_no_release(runs, name):
    code, text = runs[f"{name} of what is to go"]
    assert code == 2, text
    assert "app: found 'old', whose state is absent: site.yml takes it off its hosts" in text.replace("''", "'")
    assert re.findall(r"^PLAY \[(.+)\]", text, re.MULTILINE) == ["Check the apps"]


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_stops_with_its_reason(runs, name):
    code, text = runs[name]
    assert code == 2, text
    for words in REFUSED[name][1]:
        assert words in " ".join(text.split()), text
    assert re.search(r"changed=0 .*failed=1 ", text)
    assert "Traceback" not in text
    assert len(text.splitlines()) < 60, "the reason drowns in what is said around it"


def test_good_input_passes_all_checks(runs):
    code, text = runs["good"]
    assert code == 0, text
    assert re.search(r"changed=0 .*unreachable=0 .*failed=0 ", text)
    assert "TASK [Look what is there]" in text
    assert "TASK [Show what may be a mistake]" not in text or "skipping: [one]" in text
    assert "Traceback" not in text
    assert "WARNING" not in text, text


def test_a_run_without_web_servers_ends_with_a_summary(runs):
    code, text = runs["app server alone"]
    assert code == 0, text
    assert "shop  https://shop.example.com/" in text


def test_what_may_be_a_mistake_is_told(runs):
    code, text = runs["mistakes"]
    assert code == 0, text
    said = " ".join(text.split())
    assert "django_keep_release" in said
    assert "django_keep_releases" in said
    assert "SECRET_KYE" in said
