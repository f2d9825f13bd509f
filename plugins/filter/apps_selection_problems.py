# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the choice of apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_selection_problems
short_description: What is wrong with the choice of apps
author: djangofleet developers (@djangofleet)
description:
  - Looks at C(django_apps) as a whole and at the name that was given, and not into the apps. A rollback needs no more.
positional: name, present
options:
  _input:
    description: C(django_apps) as the inventory has it.
    type: list
    elements: dict
    required: true
  name:
    description: The app's name. Empty for all.
    type: str
    default: ""
  present:
    description: Refuse an app that is to go. No release of it is put live.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check which apps are meant
  ansible.builtin.assert:
    that: django_apps | djangofleet.stack.apps_selection_problems('shop') | length == 0
"""

RETURN = r"""
_value:
  description: The problems, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import selection_problems


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_selection_problems": selection_problems}
