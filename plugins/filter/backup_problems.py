# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role backup."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_problems
short_description: What is wrong with the variables of the role backup
author: djangofleet developers (@djangofleet)
description:
  - Gives a line for each value that cannot work, with the variable's path, what was found and what to give.
positional: facts, hosts
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    required: true
  hosts:
    description: The hosts of the inventory.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# ["backup_repository.path: is missing; give a directory, such as \"/mnt/backup\""]
__backup_problems: "{{ __backup_given | djangofleet.stack.backup_problems(ansible_facts, groups.all) }}"
"""

RETURN = r"""
_value:
  description: The lines; none if the role can work.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import backup_problems


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"backup_problems": backup_problems}
