# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who of the apps may connect to PostgreSQL."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_access
short_description: Who of the apps may connect to PostgreSQL
author: djangofleet developers (@djangofleet)
description:
  - Each app may connect to its own database from its own hosts, and to no other.
positional: groups, hostvars, separate
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  groups:
    description: The inventory's groups with their hosts.
    type: dict
    required: true
  hostvars:
    description: C(hostvars) of the play.
    type: dict
    required: true
  separate:
    description: Whether each host is a site of its own.
    type: bool
    default: false
"""

EXAMPLES = r"""
postgresql_app_access: "{{ __apps | djangofleet.stack.app_access(groups, hostvars) }}"
"""

RETURN = r"""
_value:
  description: An entry for each app with a database.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import access


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_access": access}
