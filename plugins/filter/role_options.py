# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A role's variables, coerced by its spec."""

from __future__ import annotations

DOCUMENTATION = r"""
name: role_options
short_description: A role's variables as its argument spec means them
author: djangofleet developers (@djangofleet)
description:
  - Coerces each value to its type, so that a text where a list is meant becomes a list of one, and fills in the
    defaults of nested options. What was not given and has no default is left out.
positional: role
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  role:
    description: The role's name.
    type: str
    required: true
"""

EXAMPLES = r"""
# {'nginx_sites': [{'name': 'shop', 'domains': 'shop.example.com'}]} gives domains as a list, and hsts with its defaults
__nginx: "{{ lookup('djangofleet.stack.role_variables', 'nginx') | djangofleet.stack.role_options('nginx') }}"
"""

RETURN = r"""
_value:
  description: The values by name.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import options_of


def role_options(values: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The values as the role's spec means them.

    :raises AnsibleFilterError: with all problems, a line each.
    """
    try:
        return options_of(role, values)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"role_options": role_options}
