"""Programs that the documents tell a reader to take over, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(("environ", "address"), [({"HTTP_X_REAL_IP": "192.0.2.7"}, "192.0.2.7"), ({}, "")])
def test_the_visitors_address_becomes_remote_addr(environ, address):
    chapter = (DOCS / "projects.md").read_text().split("## The visitor's address")[1]
    program = re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1]
    seen: list[dict[str, Any]] = []
    scope: dict[str, Any] = {"application": lambda given, start: seen.append(given) or [b"page"]}
    exec(program, scope)  # noqa: S102
    assert scope["application"]({"REMOTE_ADDR": "", **environ}, None) == [b"page"]
    assert seen[0]["REMOTE_ADDR"] == address


@pytest.mark.parametrize(("guide", "program"), [("private-media", "entries/private.py"), ("logs", "guestbook/sql.py")])
def test_a_recipe_of_the_guestbook_is_what_the_guide_shows(guide, program):
    """Its Django tests run it."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (DOCS / f"{guide}.md").read_text(), re.DOTALL)
    assert snippet.strip() in (DOCS.parent / "examples/guestbook" / program).read_text()


def test_the_guide_names_every_field_of_the_log():
    template = DOCS.parent / "roles/nginx/templates/etc/nginx/djangofleet/log.conf.j2"
    fields = re.findall(r"""^    '"(\w+)":""", template.read_text(), re.MULTILINE)
    chapter = (DOCS / "logs.md").read_text().split("## What a line says")[1].split("The app's workers")[0]
    assert re.findall(r"`(\w+)`", chapter) == fields


def test_the_scenario_runs_what_the_guide_says_about_streams():
    """molecule/edge/tests/test_streams.py asks the app that is set up so."""
    chapter = (DOCS / "upstreams.md").read_text().split("## Websockets")[1]
    shown = yaml.safe_load(re.search(r"```yaml\n(.*?)```", chapter, re.DOTALL)[1])
    apps = yaml.safe_load((ROOT / "molecule/edge/inventory/group_vars/all/apps.yml").read_text())["django_apps"]
    (feed,) = [app for app in apps if app["name"] == "feed"]
    assert feed["nginx"]["app_locations"] == shown["nginx"]["app_locations"]
