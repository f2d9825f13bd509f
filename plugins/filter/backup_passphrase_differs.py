# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the backups of a host would be left without their passphrase."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_passphrase_differs
short_description: Whether another passphrase opens the backups of a host
author: djangofleet developers (@djangofleet)
description:
  - Tells whether the host has prepared the repository that it is to have with another passphrase than the one that it
    is to get. It never does while no passphrase is known.
positional: record
options:
  _input:
    description: The options of the role, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  record:
    description: What djangofleet-backup has noted on the host.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say whether it does
  ansible.builtin.debug:
    msg: "{{ __backup_options | djangofleet.stack.backup_passphrase_differs(record) }}"
"""

RETURN = r"""
_value:
  description: Whether it does.
  type: bool
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import backup_passphrase_differs


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"backup_passphrase_differs": backup_passphrase_differs}
