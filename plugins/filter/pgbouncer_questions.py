# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role pgbouncer asks a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pgbouncer_questions
short_description: What the role pgbouncer asks a host
author: djangofleet developers (@djangofleet)
description:
  - Gives the arguments of M(djangofleet.stack.survey) that tell whether the pooler runs.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__pgbouncer_questions: "{{ __pgbouncer_given | djangofleet.stack.pgbouncer_questions }}"
"""

RETURN = r"""
_value:
  description: The arguments; none where a value makes no sense.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import pgbouncer as rules


def pgbouncer_questions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """The arguments of djangofleet.stack.survey."""
    return rules.pgbouncer_questions(given)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"pgbouncer_questions": pgbouncer_questions}
