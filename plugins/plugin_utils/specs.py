# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A role's variables as its argument_specs mean them: coerced, nested defaults filled in, or what is wrong with them.

Ansible's own validation accepts text where a list is meant and hands the raw value on. The value that comes out of here
is the one that everybody uses.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, nearest, one_line, problem

ROLES = Path(__file__).resolve().parents[2] / "roles"
CHECKED = ("type", "elements", "choices")
WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a mapping",
    "str": "a text",
    "path": "a path",
}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. The C loader takes a tenth of the time, and each task reads anew."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506  # both are safe


@cache
def spec_of(role: str) -> dict[str, dict[str, Any]]:
    """The options of a role's entry point `main`, by name.

    :raises FileNotFoundError: there is no such role in this collection.
    """
    document = read_yaml(ROLES / role / "meta" / "argument_specs.yml")
    return document["argument_specs"]["main"].get("options") or {}


def resolve(options: Mapping[str, dict], values: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], list[str]]:
    """What the values mean by a spec, and what is wrong with them.

    :param options: options of an argument spec by name.
    :param values: what was given; None counts as not given, and is wrong for a variable that the role derives.
    :param path: where the values stand, as messages name it; empty for top-level variables.
    :returns: the coerced values with defaults, without what was not given and has none; the problems, one line each.
    """
    return _resolve(options, plain(values), path)


def plain(value: Any) -> Any:
    """A copy without Ansible's lazy containers, which the validator would copy many times over."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _resolve(options: Mapping[str, dict], values: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    found, problems = {}, []
    for name in values:
        if name not in options:
            problems.append(_unknown(one_line(f"{path}.{name}" if path else name), str(name), options))
    for name, option in options.items():
        where = f"{path}.{name}" if path else name
        given = values.get(name)
        if given is None:
            if option.get("required"):
                problems.append(f"{where}: is missing; give {wanted(option)}")
            elif not path and name in values and "default" not in option:  # the role derives it where it is not given
                problems.append(f"{where}: is empty; give {wanted(option)}, or leave it out")
            if "default" not in option:
                continue
            given = copy.deepcopy(option["default"])
        value, wrong = _value(option, given, where)
        problems += wrong
        if not wrong:
            found[name] = value
    return found, problems


def wanted(option: Mapping[str, Any]) -> str:
    """What an option takes, in words."""
    if "choices" in option:
        return f"one of {', '.join(str(choice) for choice in option['choices'])}"
    if option.get("type") == "list":
        elements = option.get("elements", "str")
        return f"a list of {'mappings' if elements == 'dict' else 'whole numbers' if elements == 'int' else 'texts'}"
    return WANTED[option.get("type", "str")]


def _value(option: Mapping[str, Any], given: Any, where: str) -> tuple[Any, list[str]]:
    """One value, coerced, and what is wrong with it or with what is below it."""
    hidden = "(not shown)" if is_secret(option) else given
    kind = option.get("type", "str")
    if advice := _misfit(option, given):
        return None, [problem(where, hidden, advice)]
    flat = {key: option[key] for key in CHECKED if key in option}
    if kind == "path":
        flat["type"] = "str"  # Ansible would expand '~' and variables of the controller in a path of a host
    if kind == "list" and not isinstance(given, (list, tuple)):
        given = [given]  # Ansible would split a text at its commas, which a command or a requirement may have
    value = given
    if not _is_typed(flat, given):  # the validator copies all that it is given
        outcome = ArgumentSpecValidator({"value": flat}).validate({"value": given})
        if outcome.error_messages:
            return None, [problem(where, hidden, wanted(option))]
        value = outcome.validated_parameters["value"]
    if "options" not in option:
        return value, []
    if kind == "list":
        pairs = [_resolve(option["options"], item, label) for label, item in labelled(where, value)]
        return [below for below, _lines in pairs], [line for _below, lines in pairs for line in lines]
    return _resolve(option["options"], value, where)


def is_secret(option: Mapping[str, Any]) -> bool:
    """Whether a value may hold a secret: a text where a mapping is meant may be the secret itself, such as a URL."""
    return bool(option.get("no_log")) or any(is_secret(below) for below in (option.get("options") or {}).values())


TYPES: dict[str, type] = {"str": str, "bool": bool, "int": int, "dict": dict, "list": list}


def _is_typed(option: Mapping[str, Any], given: Any) -> bool:
    """Whether a value is what the option takes already, so that there is nothing to coerce."""
    kind = option.get("type", "str")
    if kind not in TYPES or not isinstance(given, TYPES[kind]) or (kind == "int" and isinstance(given, bool)):
        return False
    if "choices" in option:
        return kind != "list" and given in option["choices"]
    return kind != "list" or all(_is_typed({"type": option.get("elements", "str")}, item) for item in given)


def _misfit(option: Mapping[str, Any], given: Any) -> str:
    """What to give where a value has not the outline of its type; empty if it has.

    The validator would write a list out as a text, and read a text such as "a=b" as a mapping.
    """
    kind, elements = option.get("type", "str"), option.get("elements", "str")
    items = given if kind == "list" and isinstance(given, (list, tuple)) else [given]
    if kind == "list" and isinstance(given, Mapping):
        return wanted(option)
    if not all(_is_like(elements if kind == "list" else kind, item) for item in items):
        return wanted(option)
    if kind == "dict" and not all(isinstance(key, str) for key in given):
        return "a mapping with texts as its keys, in quotes where they look like something else"
    # YAML has read it before anybody could: 1.10 is 1.1, and on is true.
    is_text = kind in ("str", "path") or (kind == "list" and elements == "str")
    if is_text and "choices" not in option and any(isinstance(item, (bool, float)) for item in items):
        return f"{wanted(option)} in quotes, or 1.10 is 1.1 and on is true"
    return ""


def _is_like(kind: str, given: Any) -> bool:
    """Whether a value could be meant for a type, and the validator may coerce it."""
    if kind == "dict":
        return isinstance(given, Mapping)
    if kind == "int":
        return given.is_integer() if isinstance(given, float) else not isinstance(given, bool)
    return given is not None and not isinstance(given, (Mapping, list, tuple, bytes))


def _unknown(where: str, name: str, options: Mapping[str, Any]) -> str:
    if meant := nearest(name, options):
        return f"{where}: is not known; did you mean '{meant}'?"
    return f"{where}: is not known; give one of {', '.join(sorted(options))}"


def options_of(role: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A role's variables as its spec means them.

    :raises ValueError: with all problems, a line each.
    """
    found, problems = resolve(spec_of(role), values)
    if problems:
        raise ValueError("\n".join(problems))
    return found
