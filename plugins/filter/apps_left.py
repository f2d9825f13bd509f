# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps of a host that the inventory no longer names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_left
short_description: What to say of apps that a host has and the inventory does not name
author: djangofleet developers (@djangofleet)
description:
  - An app that leaves an inventory loses its site, and runs on.
positional: paths
options:
  _input:
    description: C(django_apps) as the inventory has it.
    type: raw
    required: true
  paths:
    description: The C(app.json) of each app of the host.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
msg: "{{ django_apps | djangofleet.stack.apps_left(['/etc/djangofleet/shop/app.json']) }}"
"""

RETURN = r"""
_value:
  description: A line for each app.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import apps_left


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_left": apps_left}
