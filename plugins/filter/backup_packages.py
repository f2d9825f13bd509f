# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages of the role backup."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_packages
short_description: The packages of the role backup
author: djangofleet developers (@djangofleet)
description:
  - Gives pgBackRest where there are clusters, and restic where there are files.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__backup_packages: "{{ __backup_options | djangofleet.stack.backup_packages }}"
"""

RETURN = r"""
_value:
  description: Names of Debian packages.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import backup_packages


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"backup_packages": backup_packages}
