# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The packages of the role postgresql."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_packages
short_description: The packages of the role postgresql
author: djangofleet developers (@djangofleet)
description:
  - Gives the server's package of the wanted version, and what Ansible asks it with.
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
# [postgresql-17, python3-psycopg2, ssl-cert]
__postgresql_packages: "{{ __postgresql_options | djangofleet.stack.postgresql_packages(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: Names of Debian packages.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as rules


def postgresql_packages(options: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """The packages."""
    return rules.postgresql_packages(options, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_packages": postgresql_packages}
