# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the host of a repository is reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_backup_address
short_description: Where the host of a repository is reached
author: djangofleet developers (@djangofleet)
description:
  - The address by which the other hosts of the inventory reach the host of a repository, or its name.
positional: hostvars
options:
  _input:
    description: Its name in the inventory; empty for none.
    type: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
backup_app_address: "{{ 'vault' | djangofleet.stack.app_backup_address(hostvars) }}"
"""

RETURN = r"""
_value:
  description: An address, or the name where the inventory has none.
  type: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import app_address


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_backup_address": app_address}
