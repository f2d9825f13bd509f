# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sandbox of the role postgresql."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_sandbox
short_description: The sandbox of the units of PostgreSQL
author: djangofleet developers (@djangofleet)
description:
  - Gives the lines of the drop-in for the units of all clusters.
positional: sandbox
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  sandbox:
    description: Settings of systemd by name, over which the inventory's go.
    type: dict
    required: true
"""

EXAMPLES = r"""
# ["NoNewPrivileges=yes", "ProtectSystem=full", ...]
lines: "{{ __postgresql_options | djangofleet.stack.postgresql_sandbox(__postgresql_sandbox) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as rules


def postgresql_sandbox(options: Mapping[str, Any], sandbox: Mapping[str, Any]) -> list[str]:
    """The lines of the drop-in."""
    return rules.sandbox_of(options, sandbox)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_sandbox": postgresql_sandbox}
