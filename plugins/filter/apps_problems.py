# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the apps of an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_problems
short_description: What is wrong with the apps of an inventory
author: djangofleet developers (@djangofleet)
description:
  - Holds each app to its spec and to the rules between its values, and apps against each other.
  - An app on several hosts needs what they would otherwise each make for themselves.
  - Looks on the controller whether C(source.path) and a wheel are there.
positional: groups, name, variables, separate, hostvars
options:
  _input:
    description: C(django_apps) as the inventory has it, or none.
    type: raw
    required: true
  groups:
    description: The inventory's groups with their hosts.
    type: dict
    required: true
  name:
    description: The one app that the run is about. Empty for all.
    type: str
    default: ""
  variables:
    description: The role django's variables, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    default: {}
  separate:
    description: Each host is a site of its own, so that hosts of an app need not share a key and a database.
    type: bool
    default: false
  hostvars:
    description: C(hostvars) of the play, for the addresses of hosts that speak to each other.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Check the apps
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ django_apps | default(none) | djangofleet.stack.apps_problems(groups) }}"
"""

RETURN = r"""
_value:
  description: The problems, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import apps as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import is_on_controller


def apps_problems(
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    name: str = "",
    variables: Mapping[str, Any] | None = None,
    separate: bool = False,
    hostvars: Mapping[str, Any] | None = None,
) -> list[str]:
    """What is wrong with the apps of an inventory, one line each."""
    return rules.apps_problems(apps, groups, name, variables or {}, is_on_controller, separate, hostvars)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_problems": apps_problems}
