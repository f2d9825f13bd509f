# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of the role backup for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_backup_files
short_description: The files of the role backup for apps
author: djangofleet developers (@djangofleet)
description:
  - On the primary host of an app, its SQLite databases, uploads and shared files.
positional: host, separate
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  host:
    description: The host.
    type: str
    required: true
  separate:
    description: Each host is a site of its own.
    type: bool
    default: false
"""

EXAMPLES = r"""
backup_app_files: "{{ apps | djangofleet.stack.app_backup_files(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The files of each app.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import app_files


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_backup_files": app_files}
