# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role postgresql."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_problems
short_description: What is wrong with the variables of the role postgresql
author: djangofleet developers (@djangofleet)
description:
  - Gives a line for each value that cannot work, with the variable's path, what was found and what to give.
  - With the answers of the host, data of another version is refused, and data without its configuration.
positional: facts, survey
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    default: {}
  survey:
    description: What the host answered to the questions of P(djangofleet.stack.postgresql_questions#filter).
    type: dict
    default: {}
"""

EXAMPLES = r"""
# ["postgresql_databases[shop].cluster: found 'other'; give one of postgresql_clusters: main"]
__postgresql_problems: "{{ __postgresql_given | djangofleet.stack.postgresql_problems(ansible_facts, found) }}"
"""

RETURN = r"""
_value:
  description: The lines; none if the role can work.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_problems import problems


def postgresql_problems(
    given: Mapping[str, Any], facts: Mapping[str, Any] | None = None, survey: Mapping[str, Any] | None = None
) -> list[str]:
    """What is wrong, a line each."""
    return problems(given, facts or {}, survey or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_problems": postgresql_problems}
