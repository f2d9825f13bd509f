"""The units of an app's processes and timers, read back by systemd's rules."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import trust_as_template
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import django_problems
from loading import load
from test_role_django import ENTRIES, remembered, shop, unit

ROOT = Path(__file__).resolve().parents[2]
UNITS = "/etc/djangofleet/"
MAIL: dict[str, Any] = {"name": "mail", "command": "celery -A shop worker"}
TIDY: dict[str, Any] = {"name": "tidy", "command": "manage.py clearsessions", "calendar": "daily"}
COMMANDS = [
    "celery -A shop worker --hostname=w@%h",
    "manage.py report --format '%Y-%m-%d' --title \"two  words\"",
    "sh -c 'echo \"in double\" quotes'",
    "printf 100%",
    "printf %%",
    'printf "it\'s 50% off"',
    "celery -A shop worker --hostname=${INSTANCE}",
]


@pytest.fixture(scope="session")
def unit_files(evaluate, render):
    """All unit files of an app by name, as the role's entries make them."""
    expand = load("plugins/action/tree.py").ActionModule._expand

    @remembered
    def run(app: dict[str, Any], **variables: Any) -> dict[str, str]:
        entries = evaluate("django", ENTRIES, django_app=app, **variables)
        found: dict[str, str] = {}
        for entry in entries:
            directory, _slash, _name = entry["path"].rpartition("/")
            if directory != f"{UNITS}{app['name']}/units":
                continue
            for single, more in expand(entry):
                name = single["path"].removeprefix(f"{directory}/")
                assert name not in found, f"{name} is there twice"
                found[name] = render("django", single["template"], **more)
        return found

    return run


@pytest.fixture(scope="session")
def units(unit_files):
    """The same, read: section, key, its values in order."""

    def run(app: dict[str, Any], **variables: Any) -> dict[str, dict[str, dict[str, list[str]]]]:
        return {name: unit(text) for name, text in unit_files(app, **variables).items()}

    return run


@pytest.fixture(scope="session")
def app_json(evaluate):
    @remembered
    def run(app: dict[str, Any], **variables: Any) -> dict[str, Any]:
        return json.loads(json.dumps(evaluate("django", "__django_settings.settings", django_app=app, **variables)))

    return run


def wanted_by_service(found: dict[str, Any]) -> list[str]:
    return [name for name in found["django-shop.service"]["Unit"]["Wants"] if name != "network-online.target"]


# Commands


def words(line: str) -> list[str]:
    """The words of an ExecStart= line. systemd splits and quotes as a shell does, once %% has become %."""
    assert "%" not in line.replace("%%", ""), f"systemd would put something in place of a specifier: {line}"
    return shlex.split(line.replace("%%", "%"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_arrives_as_it_was_written(units, command):
    found = units(shop(processes=[MAIL | {"command": command}], timers=[TIDY | {"command": command}]))
    for name in ("django-shop-mail.service", "django-shop-tidy.service"):
        (line,) = found[name]["Service"]["ExecStart"]
        start = ["/usr/local/bin/djangoctl", "shop", "exec", "current"]
        assert words(line) == [*start, *shlex.split(command)]


def test_a_variable_in_a_command_is_left_to_systemd(units):
    found = units(shop(processes=[MAIL | {"command": COMMANDS[-1], "count": 2}]))
    assert found["django-shop-mail@.service"]["Service"]["ExecStart"][0].endswith(" --hostname=${INSTANCE}")


# Processes


def test_an_app_without_any_has_its_three_units_and_nothing_else(units, app_json):
    for app in (shop(), shop(processes=[], timers=[])):
        found = units(app)
        assert set(found) == {"django-shop.socket", "django-shop.service", "django-shop-next.service"}
        assert wanted_by_service(found) == []
        settings = app_json(app)
        assert (settings["processes"], settings["timers"]) == ([], [])
        assert set(settings["unit_files"]) == set(found)


def test_one_process_is_a_plain_unit(units, app_json):
    app = shop(processes=[MAIL])
    found = units(app)
    service = found["django-shop-mail.service"]["Service"]
    assert "Environment" not in service
    assert (service["KillSignal"], service["TimeoutStopSec"], service["KillMode"]) == (["SIGTERM"], ["30"], ["mixed"])
    assert service["Restart"] == ["always"]
    assert found["django-shop-mail.service"]["Unit"]["StartLimitIntervalSec"] == ["0"], "it would give up one day"
    assert app_json(app)["processes"] == wanted_by_service(found) == ["django-shop-mail.service"]


@pytest.mark.parametrize("count", [3, "3"])
def test_several_are_instances_of_a_template(units, app_json, count):
    app = shop(processes=[MAIL | {"count": count}, {"name": "sync", "command": "manage.py sync", "count": "1"}])
    found = units(app)
    assert "django-shop-mail.service" not in found
    assert found["django-shop-mail@.service"]["Service"]["Environment"] == ["INSTANCE=%i"]
    wanted = [*(f"django-shop-mail@{number}.service" for number in (1, 2, 3)), "django-shop-sync.service"]
    assert app_json(app)["processes"] == wanted_by_service(found) == wanted


def test_a_process_says_how_it_wants_to_be_stopped(units):
    app = shop(processes=[MAIL | {"stop_signal": "SIGQUIT", "stop_timeout": "3600"}, MAIL | {"name": "other"}])
    found = units(app)
    service = found["django-shop-mail.service"]["Service"]
    assert (service["KillSignal"], service["TimeoutStopSec"]) == (["SIGQUIT"], ["3600"])
    assert found["django-shop-other.service"]["Service"]["KillSignal"] == ["SIGTERM"]


def test_they_run_as_the_service_does(units):
    app = shop(processes=[MAIL], timers=[TIDY], sandbox={"MemoryDenyWriteExecute": False, "PrivateNetwork": True})
    found = units(app)
    service = found["django-shop.service"]["Service"]
    boxed = [key for key in service if key.startswith(("Protect", "Private", "Restrict", "System", "Memory", "ReadW"))]
    assert len(boxed) > 15
    for name in ("django-shop-mail.service", "django-shop-tidy.service"):
        for key in [*boxed, "User", "Group", "EnvironmentFile", "UMask", "NoNewPrivileges", "CapabilityBoundingSet"]:
            assert found[name]["Service"][key] == service[key], f"{name}: {key}"


def test_only_the_service_pulls_them_up(units):
    """The stand-in runs for seconds and must start nothing; what is wanted by a target would outlive the app."""
    found = units(shop(processes=[MAIL], timers=[TIDY | {"overlap": "replace"}]))
    assert wanted_by_service(found) == ["django-shop-mail.service", "django-shop-tidy.timer"]
    assert found["django-shop-next.service"]["Unit"]["Wants"] == ["network-online.target"]
    assert all("Install" not in found[name] for name in found if "mail" in name or "tidy" in name)


def test_a_change_of_any_unit_that_runs_calls_for_a_swap(units, app_json):
    app = shop(processes=[MAIL, MAIL | {"name": "many", "count": 2}], timers=[TIDY | {"overlap": "replace"}])
    listed = app_json(app)["unit_files"]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(units(app))


# One host of several


@pytest.mark.parametrize(
    ("primary", "wanted"),
    [
        (True, ["beat.service", "mail.service", "everywhere.timer", "tidy.timer"]),
        (False, ["mail.service", "everywhere.timer"]),
    ],
)
def test_a_singleton_is_on_the_primary_host_only(units, app_json, primary, wanted):
    app = shop(
        processes=[{"name": "beat", "command": "celery -A shop beat", "singleton": True}, MAIL],
        timers=[TIDY | {"name": "everywhere", "singleton": False}, TIDY],  # a timer is one unless it says otherwise
    )
    found = units(app, django_primary=primary)
    names = [f"django-shop-{name}" for name in wanted]
    assert wanted_by_service(found) == names
    settings = app_json(app, django_primary=primary)
    assert [*settings["processes"], *settings["timers"]] == names
    assert ("django-shop-beat.service" in found) is primary
    assert ("django-shop-tidy.timer" in found) is ("django-shop-tidy.service" in found) is primary


# Timers


def test_a_timer_has_defaults_that_lose_no_run(units):
    found = units(shop(timers=[TIDY]))
    timer, service = found["django-shop-tidy.timer"]["Timer"], found["django-shop-tidy.service"]["Service"]
    assert timer == {"OnCalendar": ["daily"], "Persistent": ["true"], "RandomizedDelaySec": ["0"]}
    assert (service["Type"], service["TimeoutStartSec"]) == (["oneshot"], ["infinity"])
    assert "Restart" not in service


def test_a_timer_takes_all_it_is_given(units):
    more = {"calendar": "*-*-* 03:30:00", "persistent": False, "random_delay": "5min", "timeout": "10min"}
    found = units(shop(timers=[TIDY | more]))
    assert found["django-shop-tidy.timer"]["Timer"] == {
        "OnCalendar": ["*-*-* 03:30:00"],
        "Persistent": ["false"],
        "RandomizedDelaySec": ["5min"],
    }
    assert found["django-shop-tidy.service"]["Service"]["TimeoutStartSec"] == ["10min"]


@pytest.mark.parametrize("overlap", [{}, {"overlap": "skip"}])
def test_a_run_under_way_is_left_alone(units, overlap):
    """systemd does not start a oneshot service a second time while it is at work."""
    found = units(shop(timers=[TIDY | overlap]))
    assert "Unit" not in found["django-shop-tidy.timer"]["Timer"]
    assert found["django-shop-tidy.service"]["Service"]["Type"] == ["oneshot"]
    assert not [name for name in found if "replace" in name]


def test_a_run_under_way_is_replaced_where_that_is_asked_for(units):
    found = units(shop(timers=[TIDY | {"overlap": "replace"}, TIDY | {"name": "other"}]))
    assert found["django-shop-tidy.timer"]["Timer"]["Unit"] == ["django-shop-tidy-replace.service"]
    service = found["django-shop-tidy-replace.service"]["Service"]
    assert service["Type"] == ["oneshot"]
    assert service["ExecStart"] == ["/usr/bin/systemctl restart --no-block django-shop-tidy.service"]
    assert "django-shop-tidy.service" in found
    assert "django-shop-other-replace.service" not in found


# What djangoctl finds again, and removes when the inventory no longer names it


def test_every_unit_carries_the_apps_mark(unit_files):
    found = unit_files(
        shop(processes=[MAIL, MAIL | {"name": "many", "count": 2}], timers=[TIDY | {"overlap": "replace"}])
    )
    assert len(found) == 8
    for name, text in found.items():
        assert unit(text)["Unit"]["X-Djangofleet-App"] == ["shop"], f"{name}: not where systemd takes unknown settings"


def test_the_role_writes_no_unit_where_systemd_reads_it(evaluate):
    """A change that the gate refuses would be started by the next crash or reboot."""
    entries = evaluate("django", ENTRIES, django_app=shop(processes=[MAIL], timers=[TIDY]))
    assert not [entry["path"] for entry in entries if entry["path"].startswith("/etc/systemd")]


def test_the_role_leaves_no_unit_that_the_inventory_does_not_name(templar):
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/configure.yml").read_text())
    (rules,) = [task["djangofleet.stack.tree"]["purge"] for task in tasks if "djangofleet.stack.tree" in task]
    found = templar("django", django_app=shop()).template(trust_as_template(rules[0]["path"]))
    assert (len(rules), found, rules[0]["patterns"]) == (1, "/etc/djangofleet/shop/units", ["*"])


# systemd's own opinion, where there is one on this machine; all of the above holds without it


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_finds_nothing_to_say(unit_files, tmp_path):
    app = shop(
        processes=[MAIL | {"command": COMMANDS[1], "stop_signal": "SIGUSR1"}, MAIL | {"name": "many", "count": 2}],
        timers=[TIDY | {"overlap": "replace", "timeout": "10min", "random_delay": "5min"}],
    )
    for name, text in unit_files(app).items():
        # What the units start is not on this machine, and neither are the app's user and its environment.
        there = re.sub(r"/usr/(local/)?bin/(djangoctl|systemctl)", shutil.which("true") or "", text)
        (tmp_path / name).write_text(re.sub(r"^(EnvironmentFile|User|Group)=.*\n", "", there, flags=re.MULTILINE))
    (tmp_path / "django-shop-many@1.service").symlink_to("django-shop-many@.service")
    ours = [str(path) for path in sorted(tmp_path.iterdir()) if "@." not in path.name]
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *ours], capture_output=True, text=True, check=False
    )
    assert [line for line in result.stderr.splitlines() if "django-shop" in line] == []


# What the documents say


def test_the_examples_of_the_documents_are_good_input(role_specs):
    """Each block is a part of an app, or variables of the role."""
    spec = role_specs["django"]["main"]["options"]
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/projects.md").read_text(), re.DOTALL)
    seen: set[str] = set()
    for text in blocks:
        given = yaml.safe_load(re.sub(r"\{\{ vault_\w+_url \}\}", "postgres://db1.example.com/shop", text))
        seen |= set(given)
        outside = {key: value for key, value in given.items() if key.startswith("django_")}
        inside = {key: value for key, value in given.items() if key not in outside}
        # The validator fills in the defaults of the spec itself.
        result = ArgumentSpecValidator(copy.deepcopy(spec)).validate({"django_app": shop(**inside), **outside})
        assert result.error_messages == [], text
        given = {"django_app": shop(**inside), **outside}
        assert django_problems(given, lambda _path, _kind: True) == [], text
    assert {"processes", "timers", "hooks", "source", "database", "django_index_url", "django_ca_bundle"} <= seen
