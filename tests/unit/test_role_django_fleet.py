"""What the role django gives a host whose apps run on others too: how it asks them, and the unit of its boot."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import django_problems
from djangoctl import app as apps

ROOT = Path(__file__).resolve().parents[2]
PEERS = {"app2": "10.0.0.6", "app3": "2001:db8::7"}
UNIT = "/etc/systemd/system/djangofleet-catch-up.service"
PUBLIC = "https://git.example.com/acme/shop.git"


def shop(**more: Any) -> dict[str, Any]:
    return {"name": "shop", "domains": ["shop.example.com", "www.shop.example.com"], "source": {"git": PUBLIC}, **more}


@pytest.fixture
def settings(evaluate):
    def run(app: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
        return evaluate("django", "__django_settings.settings", django_app=app or shop(), **variables)

    return run


@pytest.fixture
def entries(evaluate):
    def run(first: bool = True, **variables: Any) -> dict[str, dict[str, Any]]:
        expression = f"__django_settings | djangofleet.stack.django_entries({str(first).lower()}, __django_library)"
        return {entry["path"]: entry for entry in evaluate("django", expression, django_app=shop(), **variables)}

    return run


# app.json


def test_an_app_on_one_host_has_nobody_to_ask(settings):
    assert "fleet" not in settings()


def test_djangoctl_is_told_whom_to_ask(settings):
    found = settings(django_app_peers=PEERS, django_app_peer_port="8443", django_app_peer_authority="/etc/x/ca.pem")
    assert found["fleet"] == {
        "host": "web1",
        "peers": PEERS,
        "port": 8443,
        "domain": "shop.example.com",
        "authority_file": "/etc/x/ca.pem",
        "repository": PUBLIC,
    }
    assert apps.parsed(json.dumps(found).encode(), Path("app.json"))["fleet"] == found["fleet"]
    plain = settings(django_app_peers=PEERS)["fleet"]
    assert (plain["port"], plain["authority_file"]) == (443, "")


def test_the_hosts_that_an_app_runs_on_are_no_part_of_its_releases(settings):
    assert settings(django_app_peers=PEERS)["build"] == settings()["build"]


@pytest.mark.parametrize(
    ("domains", "asked"),
    [
        (["*.example.com"], "www.example.com"),
        (["*.example.com", "shop.example.com"], "shop.example.com"),
    ],
)
def test_the_others_are_asked_by_a_name_that_a_host_can_have(settings, domains, asked):
    assert settings(shop(domains=domains), django_app_peers=PEERS)["fleet"]["domain"] == asked


@pytest.mark.parametrize(
    ("source", "repository"),
    [
        ({"git": PUBLIC, "version": "v1.4.2"}, PUBLIC),
        ({"git": "http://git.example.com/shop"}, "http://git.example.com/shop"),
        ({"git": "git://git.example.com/shop"}, "git://git.example.com/shop"),
        ({"git": PUBLIC, "known_hosts": ["git.example.com ssh-ed25519 AAAA"]}, PUBLIC),
        ({"git": PUBLIC, "deploy_key": "secret"}, ""),
        ({"git": "https://t0ken@git.example.com/acme/shop.git"}, ""),
        ({"git": "https://me:t0ken@git.example.com/acme/shop.git"}, ""),
        ({"git": "https://git.example.com/acme/shop.git?private_token=t0ken"}, ""),
        ({"git": "https://git.example.com/acme/shop.git#t0ken"}, ""),
        ({"git": "git@github.com:acme/shop.git"}, ""),
        ({"git": "ssh://git@git.example.com/acme/shop.git"}, ""),
        ({"git": "/srv/git/shop.git"}, ""),
        ({"git": "file:///srv/git/shop.git"}, ""),
        ({"git": "https://[git.example.com/shop.git"}, ""),
        ({"path": "/home/me/shop"}, ""),
        ({"package": "shop==1.4.2"}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("git", value)),
)
def test_only_what_anybody_can_read_is_a_source_for_others(settings, source, repository):
    found = settings(shop(source=source), django_app_peers=PEERS)
    assert found["fleet"]["repository"] == repository
    assert "t0ken" not in json.dumps(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("django_app_peers", ["10.0.0.6"]), ("django_app_peer_port", "https"), ("django_app_peer_authority", ["a"])],
)
def test_what_is_wired_wrongly_is_told(name, value):
    lines = django_problems({"django_app": shop(), name: value}, lambda _path, _kind: True)
    assert [line for line in lines if line.startswith(f"{name}: found")], lines


# The boot


def test_a_host_of_several_catches_up_at_its_boot(entries):
    """Whichever app of the host it is: the first of a run may be on one host alone."""
    for first in (True, False):
        found = entries(first, django_app_peers=PEERS)
        assert found[UNIT]["template"] == f"{UNIT.removeprefix('/')}.j2"
        assert found["/etc/systemd/system/multi-user.target.wants/djangofleet-catch-up.service"]["link"] == UNIT


def test_a_host_alone_has_no_unit_of_it(entries):
    assert not [path for path in entries() if path.startswith("/etc/systemd")]


def test_the_unit_of_the_boot(render):
    text = render("django", f"{UNIT.removeprefix('/')}.j2")
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str
    parser.read_string(text)
    unit, service = parser["Unit"], parser["Service"]
    assert "network-online.target" in unit["Wants"].split()
    assert {"network-online.target", "sockets.target"} <= set(unit["After"].split())
    assert service["ExecStart"] == "/usr/local/bin/djangoctl catch-up"
    assert (service["Type"], service["Restart"], service["RestartSec"]) == ("oneshot", "on-failure", "300")
    assert unit["StartLimitIntervalSec"] == "0", "it is tried until it is done"
    assert parser["Install"]["WantedBy"] == "multi-user.target"
    # It writes to /srv, /etc and /run, makes units, and looks for what runs a release.
    assert service["ProtectSystem"] == "yes"
    assert not {"ProtectProc", "CapabilityBoundingSet", "PrivateTmp", "PrivateUsers", "User"} & set(service)


# The steps


def tasks(path: str) -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize(
    ("peers", "pending", "check", "asked"),
    [
        ({}, True, False, True),
        ({}, False, False, False),
        (PEERS, True, False, True),
        (PEERS, False, False, True),  # to note that the release was chosen again
        (PEERS, True, True, True),
        (PEERS, False, True, False),
    ],
)
def test_an_activation_is_asked_for_where_it_has_something_to_do(evaluate, peers, pending, check, asked):
    (block,) = tasks("roles/django/tasks/activate.yml")
    assert block["when"] == "__django_activates | bool"
    given = {"django_app": shop(), "django_app_peers": peers, "ansible_check_mode": check}
    given["__django_builds"] = {"shop": {"pending": pending}}
    assert evaluate("django", block["when"], **given) is asked


def test_files_are_published_everywhere_before_the_first_host_goes_live():
    """In the play that has no `serial`, after the migrations: so no host shows a page that another has no files for."""
    build, live = tasks("playbooks/rollout.yml")
    steps = [task["ansible.builtin.include_role"]["tasks_from"] for task in build["tasks"]]
    assert steps == ["build", "migrate", "publish"]
    assert ("serial" in build, "serial" in live) == (False, True)
    assert build["tasks"][2]["when"] == "django_app_peers | length > 0", "a host alone pays for no execution"
    assert [task["name"] for task in tasks("roles/django/tasks/main.yml")] == [
        *("Prepare", "Build", "Migrate", "Publish", "Activate")
    ]
    (task,) = tasks("roles/django/tasks/publish.yml")
    assert task["djangofleet.stack.release"]["state"] == "published"
    assert task["when"] == "__django_builds[django_app.name].pending"
