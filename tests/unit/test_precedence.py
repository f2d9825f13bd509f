"""What an inventory says in its group_vars/all is what a role sees, in every play of site.yml that has the role."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.playbook.role_include import IncludeRole
from ansible.playbook.task import Task
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

ROOT = Path(__file__).resolve().parents[2]
# Role ec2 makes hosts, and is in none of these plays.
ROLES = sorted({path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml")} - {"ec2"})
APP = {"name": "shop", "domains": ["shop.example.com"], "source": {"package": "shop==1.0"}}
# Where a text of the spec's type alone would not do
TEXTS = {"nginx_worker_processes": "3", "host_time_servers": "ntp.example.com"}


def wired(name: str, role: str) -> bool:
    """Whether a variable is the playbooks' own: what they say of each app, which an inventory does not set."""
    return name == f"{role}_app" or name.startswith(f"{role}_app_")


def another(name: str, option: Mapping[str, Any]) -> Any:
    """A value that an option takes and that is not its default."""
    kind, default = option.get("type", "str"), option.get("default")
    if "choices" in option:
        return next(choice for choice in option["choices"] if choice != default)
    if kind == "bool":
        return default is not True
    if kind == "int":
        return (default or 1) + 1
    if kind == "list":
        elements = {"type": option.get("elements", "str"), "options": option.get("options", {})}
        return [another(name, elements)]
    if kind == "dict":
        inner = option.get("options", {})
        chosen = {key: below for key, below in inner.items() if below.get("required")} or dict(list(inner.items())[:1])
        return {key: another(key, below) for key, below in chosen.items()} or {"another": "value"}
    return TEXTS.get(name, "/another/value" if kind == "path" else "another-value")


@pytest.fixture(scope="session")
def defaults(evaluate) -> dict[str, dict[str, Any]]:
    """`defaults[role]`: the variables of each role where an inventory says nothing, derived ones too."""
    return {role: evaluate(role, f"lookup('djangofleet.stack.role_variables', '{role}')") for role in ROLES}


@pytest.fixture(scope="session")
def given(role_specs, defaults) -> dict[str, dict[str, Any]]:
    """`given[role]`: another value for each of its variables."""
    return {
        role: {
            name: another(name, {**option, "default": defaults[role].get(name)})
            for name, option in role_specs[role]["main"]["options"].items()
            if not wired(name, role)
        }
        for role in ROLES
    }


@pytest.fixture(scope="module")
def inventory(tmp_path_factory, given) -> Path:
    """An inventory that sets every public variable of every role."""
    root = tmp_path_factory.mktemp("inventory")
    (root / "group_vars").mkdir()
    everything = {name: value for role in ROLES for name, value in given[role].items()}
    (root / "group_vars/all.yml").write_text(yaml.safe_dump({**everything, "django_apps": [APP]}))
    groups = {group: {"hosts": {"one": {}}} for group in ("app", "web", "database", "cache", "balancer", "monitoring")}
    (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    return root / "hosts.yml"


def tasks_of(blocks: list[Any]) -> Iterator[Task]:
    for each in blocks:
        if isinstance(each, Block):
            yield from tasks_of([*each.block, *each.rescue, *each.always])
        else:
            yield each


def role_of(task: Task) -> str:
    """The role that a task includes, or that it is a part of."""
    if isinstance(task, IncludeRole):
        return str(task.args.get("name") or task.args.get("role") or "").rpartition(".")[2]
    return task._role.get_name() if task._role else ""


def plays_with(playbook: Playbook) -> dict[str, list[tuple[Play, Task]]]:
    """The plays that each role is in, each with the first task that is about it."""
    found: dict[str, list[tuple[Play, Task]]] = {}
    for play in playbook.get_plays():
        seen = set()
        for task in tasks_of(play.compile()):
            role = role_of(task)
            if role and role not in seen:
                seen.add(role)
                found.setdefault(role, []).append((play, task))
    return found


@pytest.fixture(scope="module", params=["site.yml", "playbooks/site.yml"])
def scopes(request, inventory) -> dict[str, list[Mapping[str, Any]]]:
    """`scopes[role]`: what each play with the role has in scope for a host, by either way in."""
    loader = DataLoader()
    loader.set_basedir(str((ROOT / request.param).parent))
    hosts = InventoryManager(loader=loader, sources=[str(inventory)])
    manager = VariableManager(loader=loader, inventory=hosts)
    playbook = Playbook.load(str(ROOT / request.param), variable_manager=manager, loader=loader)
    loader.set_basedir(str((ROOT / request.param).parent))  # as a run does, once it has read the playbook
    host = hosts.get_host("one")
    found = {
        role: [manager.get_vars(play=play, host=host, task=task) for play, task in pairs]
        for role, pairs in plays_with(playbook).items()
    }
    return {"loader": loader, **found}


@pytest.mark.parametrize("role", ROLES)
def test_an_inventory_is_honoured_in_every_play(scopes, given, role):
    wanted = given[role]
    assert wanted
    assert scopes.get(role), f"no play of site.yml has the role {role}"
    for scope in scopes[role]:
        variables = {**scope, "hostvars": {"one": {}}, "django_app": copy.deepcopy(APP)}
        templar = Templar(loader=scopes["loader"], variables=variables)
        lookup = lookup_loader.get("djangofleet.stack.role_variables", loader=scopes["loader"], templar=templar)
        (seen,) = lookup.run([role], variables)
        assert {name: seen[name] for name in wanted} == wanted


@pytest.mark.parametrize("role", ROLES)
def test_each_value_is_another_than_the_default(given, defaults, role):
    """A value that nobody sets would pass for one that is honoured."""
    for name, value in given[role].items():
        assert value != defaults[role].get(name), name


def test_the_wiring_is_in_scope(scopes):
    """What stands beside the playbooks outranks what stands beside the inventory: without it nothing is tested."""
    assert "nginx_app_sites" in scopes["nginx"][0]
    assert "django_app_primary" in scopes["django"][0]
