# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of role host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_entries
short_description: The files that role host writes
author: djangofleet developers (@djangofleet)
description:
  - Gives entries for M(djangofleet.stack.tree), those of the parts that are switched on. Their templates see the
    variables of the role as C(host), and what an entry has in C(vars).
positional: facts
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the configuration
  djangofleet.stack.tree:
    entries: "{{ __host_options | djangofleet.stack.host_entries(ansible_facts) }}"
    vars: {host: "{{ __host_options }}"}
"""

RETURN = r"""
_value:
  description: Entries of the module.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host


def host_entries(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The files of the host."""
    return host.entries(options, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"host_entries": host_entries}
