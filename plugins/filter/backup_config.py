# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the programs of the role backup are configured with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_config
short_description: What the programs of the role backup are configured with
author: djangofleet developers (@djangofleet)
description:
  - Gives C(settings), the content of config.json, C(postgresql) and C(restic), an entry for each of their files, and
    C(places), the directories of the repository by owner.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__backup_config: "{{ __backup_options | djangofleet.stack.backup_config }}"
"""

RETURN = r"""
_value:
  description: What the role's files are made of.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import backup_config


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"backup_config": backup_config}
