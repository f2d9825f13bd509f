"""The argument specs are the one place where a variable is described: hold defaults and entry points to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
# Files that main.yml is made of. Whatever else lies in tasks/ may be called by tasks_from, and needs a spec.
INNER = {"validate", "install", "configure", "service"}


def load(role: str, name: str) -> Any:
    path = ROLES / role / name
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def specs(role: str) -> dict[str, Any]:
    return load(role, "meta/argument_specs.yml").get("argument_specs", {})


def options(spec: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in (spec.get("options") or {}).items():
        yield f"{path}{name}", option
        yield from options(option, f"{path}{name}.")


def is_template(value: Any) -> bool:
    if isinstance(value, dict):
        return any(is_template(item) for item in value.values())
    if isinstance(value, list):
        return any(is_template(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def included(role: str) -> set[str]:
    """Task files that other task files of the role import or include: its own affair."""
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key.removeprefix("ansible.builtin.") in ("import_tasks", "include_tasks"):
                    found.add(Path(value if isinstance(value, str) else value["file"]).stem)
                else:
                    walk(value)

    for path in (ROLES / role / "tasks").rglob("*.yml"):
        walk(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


def test_there_are_roles():
    assert NAMES, "no role was found, so nothing here was tested"


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_spec_have_the_same_keys(role):
    described = specs(role)["main"].get("options") or {}
    # What is required may be left out of the defaults, or stand there as an empty one.
    required = {name for name, option in described.items() if option.get("required")}
    defaults = load(role, "defaults/main.yml")
    assert not [name for name in required if defaults.get(name)], "required, and yet there is a default"
    assert set(defaults) - required == set(described) - required


@pytest.mark.parametrize("role", NAMES)
def test_literal_defaults_are_the_same(role):
    described = specs(role)["main"].get("options") or {}
    for name, value in load(role, "defaults/main.yml").items():
        option = described[name]
        if option.get("required"):
            continue
        if is_template(value):
            assert "default" not in option, f"{name}: is derived; a default in the spec would be a second truth"
        else:
            assert "default" in option or value is None, f"{name}: the spec does not say its default {value!r}"
            assert (type(option.get("default")), option.get("default")) == (type(value), value), name


@pytest.mark.parametrize("role", NAMES)
def test_variables_bear_the_roles_name(role):
    strange = [name for name in load(role, "defaults/main.yml") if not name.startswith(f"{role}_")]
    assert not strange
    strange = [name for path in (ROLES / role / "vars").glob("*.yml") for name in load(role, f"vars/{path.name}")
               if not name.startswith(f"__{role}_")]  # fmt: skip
    assert not strange


@pytest.mark.parametrize("role", NAMES)
def test_no_text_of_a_spec_is_a_template(role):
    """Ansible evaluates the whole spec when it validates a role's input, the descriptions too."""
    path = ROLES / role / "meta/argument_specs.yml"
    assert "{{" not in path.read_text(encoding="utf-8")
    assert "{%" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("role", NAMES)
def test_entry_points_are_described(role):
    assert "main" in specs(role)
    for name, spec in specs(role).items():
        assert spec.get("short_description"), name
        assert spec.get("description"), name
        assert (ROLES / role / "tasks" / f"{name}.yml").is_file(), f"{name}: there is no such entry point"


@pytest.mark.parametrize("role", NAMES)
def test_public_task_files_have_a_spec(role):
    files = {path.stem for path in (ROLES / role / "tasks").glob("*.yml") if not path.stem.startswith("_")}
    assert files - included(role) - INNER == set(specs(role)) - included(role) - INNER


@pytest.mark.parametrize("role", NAMES)
def test_options_are_described_and_typed(role):
    for entry_point, spec in specs(role).items():
        for path, option in options(spec):
            where = f"{entry_point}: {path}"
            assert option.get("description"), f"{where} has no description"
            assert option.get("type"), f"{where} has no type"
            assert option["type"] != "list" or option.get("elements"), f"{where} does not say what it is a list of"
            assert not is_template(option.get("default")), f"{where}: a default in a spec is literal"
            assert not (option.get("required") and "default" in option), f"{where} is required and has a default"
