# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which other host signs the certificates of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_signer
short_description: Which other host signs the certificates of a host
author: djangofleet developers (@djangofleet)
description:
  - Gives the host whose authority signs, where that is another one and there is something to sign.
positional: host
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  host:
    description: The host that needs the certificates, by its name in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say who signs
  ansible.builtin.debug:
    msg: "{{ options | djangofleet.stack.certificate_signer(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The name of a host, empty where the host signs itself.
  type: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import signer


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_signer": signer}
