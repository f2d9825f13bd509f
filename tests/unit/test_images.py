"""The warmed image has what the roles install by default: else every scenario waits for it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
INSTALLERS = ("ansible.builtin.apt", "djangofleet.stack.packages")


def warm() -> set[str]:
    lines = (ROOT / "molecule/images/warm.packages").read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


def named(tasks: list[dict]) -> Iterator[str | list[str]]:
    """What the tasks of a file install, blocks included."""
    for task in tasks:
        yield from (task[name]["name"] for name in INSTALLERS if "name" in (task.get(name) or {}))
        yield from named([inner for key in ("block", "rescue", "always") for inner in task.get(key, [])])


@pytest.mark.parametrize("role", ROLES)
def test_packages_of_a_role_are_in_the_warmed_image(templar, role):
    engine = templar(role, django_app={"name": "shop"})
    names = [
        name
        for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))
        for name in named(yaml.safe_load(path.read_text()) or [])
    ]
    assert names, f"role {role} installs nothing: does this test still find its tasks?"
    wanted = {package for name in names for package in engine.template(trust_as_template(name))}
    assert wanted <= warm(), f"add to molecule/images/warm.packages: {sorted(wanted - warm())}"
