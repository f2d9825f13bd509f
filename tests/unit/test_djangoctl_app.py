"""How djangoctl reads app.json, its own and that of other versions."""

from __future__ import annotations

import json
from pathlib import Path

import djangoctl.app
import pytest
import yaml
from djangoctl.app import load
from djangoctl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def rewrite(app, change):
    content = json.loads((app.config / "app.json").read_text())
    change(content)
    (app.config / "app.json").write_text(json.dumps(content))


def test_the_role_writes_the_version_that_djangoctl_reads(app_settings):
    assert app_settings["version"] == djangoctl.app.VERSION


def test_every_older_version_has_its_rule():
    assert sorted(djangoctl.app.OLDER) == list(range(djangoctl.app.VERSION))


def test_a_file_without_a_version_is_read(make_app):
    """The first hosts have such files, and keep the pinned one until their next activation."""
    app = make_app()
    rewrite(app, lambda content: content.pop("version"))
    assert load("shop").settings == app.settings


def test_an_older_file_gets_what_it_lacks(make_app, app_settings, monkeypatch):
    monkeypatch.setattr(djangoctl.app, "VERSION", 3)
    older = {0: {}, 1: {"health": {"warm": ["/"], "path": "/other"}, "new": 1}, 2: {"health": {"more": True}, "new": 2}}
    monkeypatch.setattr(djangoctl.app, "OLDER", older)
    health = {key: value for key, value in app_settings["health"].items() if key != "warm"} | {"path": "/healthz"}
    app = make_app(health=health, version=1)
    assert app["health"] == health | {"warm": ["/"], "more": True}
    assert (app["new"], app["version"]) == (1, 3)
    rewrite(app, lambda content: content.update(version=2))
    assert load("shop")["health"] == health | {"more": True}


def test_a_newer_file_is_refused(make_app):
    app = make_app()
    rewrite(app, lambda content: content.update(version=99))
    with pytest.raises(ConfigError, match=r"app\.json has version 99, and this djangoctl reads up to") as caught:
        load("shop")
    assert "site.yml" in caught.value.hint


def test_deploy_brings_djangoctl_too(evaluate):
    """It configures as site.yml does. Without this, a new app.json would meet an old djangoctl."""
    plays = yaml.safe_load((ROOT / "playbooks/deploy.yml").read_text())
    roles = [task["ansible.builtin.include_role"] for play in plays for task in play.get("tasks", [])
             if "ansible.builtin.include_role" in task]  # fmt: skip
    assert [(role["name"], role["tasks_from"]) for role in roles] == [("django", "configure")]
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/configure.yml").read_text())
    (entries,) = [task["djangofleet.stack.tree"]["entries"] for task in tasks if "djangofleet.stack.tree" in task]
    app = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/home/me/shop"}}
    paths = [entry["path"] for entry in evaluate("django", entries.strip().strip("{}").strip(), django_app=app)]
    assert {"/usr/local/bin/djangoctl", "/usr/lib/djangofleet", "/etc/djangofleet/shop/app.json"} <= set(paths)
