# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Variables that are probably misspelt."""

from __future__ import annotations

DOCUMENTATION = r"""
name: misspelt_variables
short_description: Variables that are probably misspelt
author: djangofleet developers (@djangofleet)
description:
  - Names that begin as the variables of a role of this collection do, come near one of them and are none.
options:
  _input:
    description: The names of all variables of a host.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# django_keep_release: is not known; did you mean 'django_keep_releases'?
- name: Warn of misspelt variables
  ansible.builtin.debug:
    msg: "{{ query('ansible.builtin.varnames', '.') | djangofleet.stack.misspelt_variables }}"
"""

RETURN = r"""
_value:
  description: The warnings, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import misspelt_variables


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"misspelt_variables": misspelt_variables}
