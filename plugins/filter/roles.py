# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. What is asked of every role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import misspelt_variables
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
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "misspelt_variables": misspelt_variables,
            "role_options": role_options,
        }
