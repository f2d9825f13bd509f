# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps that a run is about."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_selected
short_description: The apps that a run is about
author: djangofleet developers (@djangofleet)
description:
  - All apps, or the one that C(-e app=NAME) names.
positional: name, absent
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
  absent:
    description: Those with C(state) V(absent), in place of the others.
    type: bool
    default: false
"""

EXAMPLES = r"""
django_apps_selected: "{{ django_apps | djangofleet.stack.apps_selected('shop') }}"
"""

RETURN = r"""
_value:
  description: The apps as the inventory has them.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import apps_selected


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_selected": apps_selected}
