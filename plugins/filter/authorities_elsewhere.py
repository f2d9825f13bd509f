# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the authority of an environment would be made anew."""

from __future__ import annotations

DOCUMENTATION = r"""
name: authorities_elsewhere
short_description: Which hosts have an authority while the one that is to sign has none
author: djangofleet developers (@djangofleet)
description:
  - Gives the hosts that have the key of an authority, if the one that is to sign for all of them has none.
  - A host that comes first in an inventory later would sign all certificates anew, by an authority that nobody trusts
    yet.
positional: hostvars, keeper
options:
  _input:
    description: The hosts that RV(djangofleet.stack.survey#module:certificates) were asked of as C(djangofleet_survey).
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of the inventory's hosts.
    type: dict
    required: true
  keeper:
    description: The host that is to sign, by its name in the inventory; empty where each signs for itself.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say who has an authority
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | djangofleet.stack.authorities_elsewhere(hostvars, 'web1.example.com') }}"
"""

RETURN = r"""
_value:
  description: Names of hosts; none where all is well.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import authorities_elsewhere


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"authorities_elsewhere": authorities_elsewhere}
