"""The table of the scenario `transitions` knows every option of every role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import django_problems
from loading import load

ROOT = Path(__file__).resolve().parents[2]


table = load("molecule/transitions/tests/table.py")


def paths(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The path of every option, with those of mappings and of items instead of their own."""
    for name, option in options.items():
        path = f"{prefix}{name}"
        if option.get("options"):
            yield from paths(option["options"], path + ("[]." if option["type"] == "list" else "."))
        else:
            yield path


def test_every_option_has_a_second_value_or_a_reason(role_specs):
    wanted = {path for specs in role_specs.values() for entry in specs.values() for path in paths(entry["options"])}
    missing, unknown = sorted(wanted - set(table.TABLE)), sorted(set(table.TABLE) - wanted)
    assert not missing, "give each two values in molecule/transitions/tests/table.py, or say why it has one"
    assert not unknown, "no role has these"


@pytest.mark.parametrize("path", [path for path, _change in table.changes() if not path.endswith("[].name")])
def test_the_two_values_differ(path):
    change = table.TABLE[path]
    assert change.first != change.second
    assert re.compile(change.shown)


@pytest.mark.parametrize("turn", ["first", "second"])
def test_both_rounds_are_good_input(turn):
    found = table.variables(turn)
    (app,) = found["django_apps"]
    given = {"django_app": app, **{key: value for key, value in found.items() if key.startswith("django_so")}}
    assert django_problems(given, lambda _path, _kind: True) == []
    assert ("listen" in app, "host_firewall_rules" in found) == (2 * (turn == "second",))
