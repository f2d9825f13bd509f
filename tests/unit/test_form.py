"""The form of the house: what would grow back if nobody looked."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
YAML = sorted(
    path
    for pattern in ("roles/*/vars/**/*.yml", "roles/*/tasks/*.yml", "roles/*/handlers/*.yml", "roles/*/defaults/*.yml",
                    "group_vars/**/*.yml", "playbooks/*.yml", "playbooks/components/*.yml",
                    "playbooks/tasks/*.yml")
    for path in ROOT.glob(pattern)
)  # fmt: skip
TASKS = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")])
TEMPLATES = sorted(ROOT.glob("roles/*/templates/**/*.j2"))
FILTERS = "ansible_collections.djangofleet.stack.plugins.filter"
ROOMS = {"defaults", "files", "handlers", "meta", "README.md", "tasks", "templates", "vars"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", YAML, ids=name)
def test_rules_live_in_python(path):
    """A value that takes more than one expression is computed by a filter."""
    assert "{%" not in path.read_text(), f"{name(path)} has a program in Jinja"


@pytest.mark.parametrize("path", TASKS, ids=name)
def test_task_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 110


def variables(node: object) -> Iterator[str]:
    """The names that plays and tasks set for themselves. Those that they give to a role are the role's."""
    if isinstance(node, list):
        for item in node:
            yield from variables(item)
    elif isinstance(node, dict):
        given = {"ansible.builtin.include_role", "ansible.builtin.import_role", "ansible.builtin.import_playbook"}
        if not given & set(node):
            yield from node.get("vars", {})
        for key in ("tasks", "block", "rescue", "always"):
            yield from variables(node.get(key))


@pytest.mark.parametrize("path", TASKS, ids=name)
def test_variables_of_tasks_are_private(path):
    """An inventory may say `nginx_https_port: "{{ https_port }}"`: no `https_port` of a task may stand for it."""
    assert [each for each in variables(yaml.safe_load(path.read_text())) if not each.startswith("__")] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_templates_stay_short(path):
    assert len(path.read_text().splitlines()) <= 150


def test_roles_have_the_same_rooms():
    for role in (path for path in ROOT.glob("roles/*") if path.is_dir()):
        assert {path.name for path in role.iterdir()} <= ROOMS, role.name


def test_every_filter_is_documented():
    """ansible-doc finds the documentation of a filter in the file of its name."""
    modules = [path.stem for path in ROOT.glob("plugins/filter/*.py")]
    registered = [name for module in modules for name in import_module(f"{FILTERS}.{module}").FilterModule().filters()]
    assert sorted(registered) == sorted(path.stem for path in ROOT.glob("plugins/filter/*.yml"))
    for path in ROOT.glob("plugins/filter/*.yml"):
        documented = yaml.safe_load(path.read_text())
        assert set(documented) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}, path
        assert documented["DOCUMENTATION"]["name"] == path.stem


def test_filters_of_a_role_share_a_file():
    """For each filter that a template names, Ansible goes through all Python files beside it, in each fork anew."""
    roles = {path.name for path in ROOT.glob("roles/*") if path.is_dir()}
    assert {path.stem for path in ROOT.glob("plugins/filter/*.py")} <= roles | {"apps", "roles", "summary"}


@pytest.mark.parametrize("place", ["playbooks", "playbooks/components"])
def test_every_play_is_wired(place):
    """Ansible reads the group_vars beside the file that a play is in. A collection may link files, not directories."""
    wiring = {path.name for path in (ROOT / "group_vars/all").glob("*.yml")}
    links = {path.name: path for path in (ROOT / place / "group_vars/all").iterdir()}
    assert set(links) == wiring
    assert all(path.is_symlink() and path.resolve() == ROOT / "group_vars/all" / name for name, path in links.items())
