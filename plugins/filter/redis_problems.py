# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role redis."""

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_problems
short_description: What is wrong with the variables of the role redis
author: djangofleet developers (@djangofleet)
description:
  - Gives a line for each value that cannot work, with the variable's path, what was found and what to give.
positional: facts
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# ["redis_maxmemory: found 'much'; give a size such as 512mb"]
__redis_problems: "{{ __redis_given | djangofleet.stack.redis_problems(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: The lines; none if the role can work.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import redis as rules


def redis_problems(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong, a line each."""
    return rules.redis_problems(given, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"redis_problems": redis_problems}
