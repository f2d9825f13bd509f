# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is probably not meant in the apps of an inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_warnings
short_description: What is probably not meant in the apps of an inventory
author: djangofleet developers (@djangofleet)
description:
  - A value of C(environment) that refers to a name which neither the contract nor C(environment) has.
positional: sites
options:
  _input:
    description: C(django_apps) as the inventory has it, or none.
    type: raw
    required: true
  sites:
    description: C(nginx_sites) as the inventory has it.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
# {'DJANGO_SECRET_KEY': '${SECRET_KEZ}'} is told, with the name that is probably meant
django_apps_warnings: "{{ django_apps | default(none) | djangofleet.stack.apps_warnings }}"
"""

RETURN = r"""
_value:
  description: The warnings, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import apps_warnings


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_warnings": apps_warnings}
