# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The databases of the role backup for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_backup_databases
short_description: The databases of the role backup for apps
author: djangofleet developers (@djangofleet)
description:
  - An app with C(database.engine=postgresql) has one, with its C(backup.assertion).
positional: groups, separate
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
  separate:
    description: Each host is a site of its own.
    type: bool
    default: false
"""

EXAMPLES = r"""
backup_app_databases: "{{ apps | djangofleet.stack.app_backup_databases(groups) }}"
"""

RETURN = r"""
_value:
  description: A database for each of these apps.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import app_databases


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_backup_databases": app_databases}
