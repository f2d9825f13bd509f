"""How a fleet is: what its hosts have answered, as one document and as a table."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.filter import summary
from ansible_collections.djangofleet.stack.plugins.plugin_utils.fleet_status import fleet, table
from loading import ROOT

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
SHOP, BLOG = {"name": "shop"}, {"name": "blog"}
FAULT = {"found": "GET /: 500", "heals": "djangoctl shop logs"}
LATE = {"found": "files has no backup of the last 26 hours", "heals": "djangofleet-backup run"}
GONE = {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: refused"}


def app(name: str = "shop", **more: Any) -> dict[str, Any]:
    return {
        "app": name, "release": "v2-b", "activated_at": "2026-11-20T10:00:00Z", "serves": True, "maintenance": False,
        "faults": [], "warnings": [], **more,
    }  # fmt: skip


def host(*apps: dict[str, Any], **more: Any) -> dict[str, Any]:
    status = {"apps": list(apps), "backups": None, "sites": [], "acme": [], "failed_units": [], "reboot": False}
    return {"status": {**status, "reboot_packages": [], "problems": [], **more}}


def site(days: float, name: str = "shop") -> dict[str, Any]:
    end = int(NOW.timestamp() + days * 86400)
    return {"name": name, "domains": [f"{name}.example.com"], "certificate": "/c", "end": end}


def part(hours: float | None, *faults: dict[str, str], name: str = "files") -> dict[str, Any]:
    newest = None if hours is None else NOW.timestamp() - hours * 3600
    return {"part": name, "apps": ["shop"], "newest": newest, "faults": list(faults)}


def of(answers: dict[str, Any], apps: Any = (SHOP,), hosts: Any = ("web1",), named: str = "") -> dict[str, Any]:
    return fleet(answers, list(apps), {"app": list(hosts)}, named, now=NOW)


def test_a_fleet_that_is_well():
    answers = {"web1": host(app(), sites=[site(30.5)], backups=[part(5)]), "db1": host()}
    found = of(answers)
    assert (found["ok"], found["wrong"], found["at"]) == (True, [], "2026-11-21T12:00:00Z")
    assert table(found).splitlines() == [
        "APP   HOST  HEALTH  RELEASE  LIVE SINCE            MAINTENANCE  CERTIFICATE",
        "shop  web1  serves  v2-b     2026-11-20T10:00:00Z  no           30 days",
        "",
        "HOST  LAST BACKUP  FAILED UNITS  REBOOT",
        "web1  5 h ago      none          no",
        "db1   -            none          no",
    ]


@pytest.mark.parametrize(
    ("entry", "state", "cell", "wrong"),
    [
        (app(), "serves", "serves ", ""),
        (app(faults=[FAULT]), "faults", "serves, 1 fault ", ""),
        (app(faults=[FAULT, FAULT]), "faults", "serves, 2 faults ", ""),
        (app(serves=False, faults=[FAULT]), "does not serve", "DOES NOT SERVE ",
         "shop on web1: does not serve: GET /: 500 -> djangoctl shop logs"),
        (app(serves=False), "does not serve", "DOES NOT SERVE ", "shop on web1: does not serve"),
        ({"app": "shop", "serves": False, "error": "app.json is damaged", "hint": "run site.yml"}, "does not serve",
         "DOES NOT SERVE ", "shop on web1: does not serve: app.json is damaged -> run site.yml"),
        (None, "not there", "NOT THERE ", "shop on web1: not there: it is not on this host -> run site.yml"),
        ({"app": "shop", "service": True}, "unknown", "UNKNOWN ", "shop on web1: unknown: djangoctl of this host is"),
        (app(maintenance=True), "serves", "  yes  ", ""),
        (app("shop", warnings=[FAULT]), "serves", "shop: GET /: 500 -> djangoctl shop logs (on web1)", ""),
    ],
)  # fmt: skip
def test_an_app(entry, state, cell, wrong):
    found = of({"web1": host(*([entry] if entry else []))})
    assert [row["state"] for row in found["apps"]] == [state]
    assert cell in table(found)
    assert found["ok"] is (wrong == "")
    assert "\n".join(found["wrong"]).startswith(wrong)


@pytest.mark.parametrize(
    ("apps", "hosts", "word"),
    [
        ([BLOG], ["web1"], "not in the inventory"),
        ([BLOG, {"name": "shop", "state": "absent"}], ["web1"], "is to go"),
        ([BLOG, SHOP], [], "not in the inventory"),  # on a host of no group app
    ],
)
def test_what_is_left_on_a_host_may_do_as_it_likes(apps, hosts, word):
    found = of({"web1": host(app("blog"), app(serves=False))}, apps, hosts)
    assert (found["ok"], found["wrong"]) == (True, [])
    assert f"DOES NOT SERVE, {word}" in table(found)


@pytest.mark.parametrize(
    ("answer", "cell", "wrong"),
    [
        (GONE, "UNREACHABLE", "web2: cannot be reached: Failed to connect to the host via ssh: refused"),
        ({"failed": True, "msg": "no sudo"}, "DOES NOT ANSWER", "web2: does not answer: no sudo"),
        ({}, "DOES NOT ANSWER", "web2: does not answer: it was not asked"),
    ],
)
def test_a_host_without_an_answer_is_a_row(answer, cell, wrong):
    found = of({"web1": host(app()), "web2": answer}, hosts=["web1", "web2"])
    assert found["wrong"] == [wrong]
    assert f"-     web2  {cell}" in table(found)
    assert "web2  -" not in table(found), "nobody knows its units"
    assert [row["answers"] for row in found["hosts"]] == [True, False]


def test_what_could_not_be_asked_is_not_taken_for_nothing():
    problem = "/usr/local/bin/djangoctl: no answer within 60 s"
    found = of({"web1": host(apps=None, problems=[problem])})
    assert found["wrong"] == ["shop on web1: unknown"]
    assert f"{problem} (on web1)" in table(found)


def test_one_app_alone():
    answers = {"web1": host(app(serves=False), app("blog"), sites=[site(3), site(-1, "blog")])}
    found = of(answers, [SHOP, BLOG], named="blog")
    assert [row["app"] for row in found["apps"]] == ["blog"]
    assert found["wrong"] == ["blog on web1: its certificate has ended: 2026-11-20T12:00:00Z"]
    assert [row["site"] for row in found["sites"]] == ["blog"]


@pytest.mark.parametrize(
    ("days", "cell", "ok"), [(0.5, "0 days", True), (1.5, "1 day", True), (90, "90 days", True), (-0.1, "ENDED", False)]
)
def test_the_end_of_a_certificate(days, cell, ok):
    found = of({"web1": host(app(), sites=[site(days)])})
    assert found["ok"] is ok
    assert table(found).splitlines()[1].endswith(f"  {cell}")


def test_sites_without_an_app_on_their_host_have_rows_of_their_own():
    unread = {**site(1, "wiki"), "end": None}
    found = of({"web1": host(app()), "edge": host(sites=[site(9), unread])})
    assert table(found).splitlines()[-3:] == ["SITE  HOST  CERTIFICATE", "shop  edge  9 days", "wiki  edge  -"]
    assert found["ok"]


@pytest.mark.parametrize(
    ("parts", "cell"),
    [
        ([part(0.5)], "30 min ago"),
        ([part(26), part(5)], "26 h ago"),  # a host is saved as of the oldest of its parts
        ([part(24 * 9)], "9 days ago"),
        ([part(5), part(None)], "none yet"),
        ([], "none yet"),
    ],
)
def test_the_age_of_a_backup(parts, cell):
    assert f"web1  {cell}" in table(of({"web1": host(app(), backups=parts)}))


def test_a_fault_of_a_backup_is_said_once_and_with_its_host():
    found = of({"web1": host(app(faults=[LATE]), backups=[part(50, LATE)])})
    assert [row["state"] for row in found["apps"]] == ["serves"]
    lines = [line for line in table(found).splitlines() if "26 hours" in line]
    assert lines == ["files has no backup of the last 26 hours -> djangofleet-backup run (on web1)"]


def test_what_else_a_host_says():
    acme = [{"name": "shop", "problem": "the authority is away"}]
    more = {"failed_units": ["a.service", "b.timer"], "reboot": True, "reboot_packages": ["linux-image"], "acme": acme}
    text = table(of({"web1": host(app(), **more), "web2": host(app(), **more)}, hosts=["web1", "web2"]))
    assert "web1  -            a.service, b.timer  due\n" in text
    assert "a reboot is due for linux-image (on web1, web2)" in text
    assert "certificate shop: the authority is away (on web1, web2)" in text


def test_the_playbook_shows_what_the_hosts_have_answered():
    """By the name that status.yml registers it under."""
    (play,) = yaml.safe_load((ROOT / "playbooks/status.yml").read_text())
    (asked,) = (task["block"][0] for task in play["tasks"] if "block" in task)
    found = summary.status(
        {"web1": {asked["register"]: host(app())}, "web2": {}}, ["web1", "web2"], [SHOP], {"app": ["web1"]}
    )
    assert [row["release"] for row in found["apps"]] == ["v2-b"]
    assert found["wrong"] == ["web2: does not answer: it was not asked"]
