# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages of the role pgbouncer."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pgbouncer_packages
short_description: The packages of the role pgbouncer
author: djangofleet developers (@djangofleet)
description:
  - Gives the pooler's package, and the client that speaks to its console.
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
# [pgbouncer, postgresql-client-17]
__pgbouncer_packages: "{{ __pgbouncer_options | djangofleet.stack.pgbouncer_packages(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: Names of Debian packages.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import pgbouncer as rules


def pgbouncer_packages(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """The packages."""
    return rules.pgbouncer_packages(options, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"pgbouncer_packages": pgbouncer_packages}
