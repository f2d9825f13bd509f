# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role pgbouncer."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pgbouncer_problems
short_description: What is wrong with the variables of the role pgbouncer
author: djangofleet developers (@djangofleet)
description:
  - Gives a line for each value that cannot work, with the variable's path, what was found and what to give.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
# ["pgbouncer_max_client_conn: found '0'; give a number above 0"]
__pgbouncer_problems: "{{ __pgbouncer_given | djangofleet.stack.pgbouncer_problems }}"
"""

RETURN = r"""
_value:
  description: The lines; none if the role can work.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import pgbouncer as rules


def pgbouncer_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong, a line each."""
    return rules.pgbouncer_problems(given)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"pgbouncer_problems": pgbouncer_problems}
