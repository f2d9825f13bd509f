"""Render the roles' templates with Ansible's own engine, without a host and without a play."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"

# What a role may ask of a host when a test does not care. A test that does passes its own `ansible_facts`.
FACTS: dict[str, Any] = {
    "distribution": "Debian",
    "distribution_major_version": "13",
    "distribution_release": "trixie",
    "os_family": "Debian",
    "service_mgr": "systemd",
    "hostname": "web1",
    "fqdn": "web1.example.com",
    "processor_vcpus": 2,
    "processor_nproc": 2,
    "memtotal_mb": 2048,
}


@pytest.fixture(scope="session")
def dataloader() -> Iterator[DataLoader]:
    """One loader for all tests, with the plugin loader (and this collection) initialised once."""
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader([str(ROOT / "collections")])
    loader = DataLoader()
    loader.set_basedir(str(ROOT))
    yield loader
    loader.cleanup_all_tmp_files()


def _load(loader: DataLoader, path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return loader.load_from_file(str(path), cache="all", trusted_as_template=True) or {}


@pytest.fixture(scope="session")
def templar(dataloader: DataLoader) -> Callable[..., Templar]:
    """`templar(role, **variables)`: an engine that sees the role's defaults and vars, then the given variables.

    Text in the given variables is data: what looks like a template in it is not evaluated. Pass it through
    `ansible.template.trust_as_template` where a test needs the contrary.
    """

    def build(role: str, **variables: Any) -> Templar:
        path = ROLES / role
        scope = {"ansible_facts": FACTS, "inventory_hostname": "web1", "ansible_check_mode": False}
        # Ansible's order of precedence: defaults, then what a user sets, then the role's own vars.
        scope |= _load(dataloader, path / "defaults" / "main.yml")
        scope |= {name: value for name, value in variables.items() if not name.startswith("__")}
        scope |= _load(dataloader, path / "vars" / "main.yml")
        scope |= {name: value for name, value in variables.items() if name.startswith("__")}
        scope |= {"role_name": role, "role_path": str(path), "ansible_search_path": [str(path)]}
        return Templar(loader=dataloader, variables=copy.copy(scope))

    return build


@pytest.fixture(scope="session")
def render(templar: Callable[..., Templar]) -> Callable[..., str]:
    """`render(role, template, **variables)`: the text of roles/<role>/templates/<template>."""

    def run(role: str, template: str, **variables: Any) -> str:
        path = ROLES / role / "templates" / template
        assert path.is_file(), f"no such template: {path.relative_to(ROOT)}"
        query = trust_as_template("{{ query('ansible.builtin.template', __unit_template) | first }}")
        result = templar(role, __unit_template=str(path), **variables).template(query)
        assert isinstance(result, str), f"{template} rendered to {type(result).__name__}"
        return result

    return run


@pytest.fixture(scope="session")
def evaluate(templar: Callable[..., Templar]) -> Callable[..., Any]:
    """`evaluate(role, expression, **variables)`: a Jinja expression in the role's scope, as a native value."""

    def run(role: str, expression: str, **variables: Any) -> Any:
        return templar(role, **variables).evaluate_expression(trust_as_template(expression))

    return run


@pytest.fixture(scope="session")
def role_specs() -> dict[str, dict[str, Any]]:
    """Every role's argument_specs, by role name."""
    return {
        path.parents[1].name: yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        for path in sorted(ROLES.glob("*/meta/argument_specs.yml"))
    }
