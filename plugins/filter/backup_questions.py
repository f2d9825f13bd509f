# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role backup asks a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_questions
short_description: What the role backup asks a host
author: djangofleet developers (@djangofleet)
description:
  - Gives the arguments of M(djangofleet.stack.survey) that tell whether its timers run and whether it was there before.
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__backup_questions: "{{ __backup_given | djangofleet.stack.backup_questions }}"
"""

RETURN = r"""
_value:
  description: The arguments; none where a value makes no sense.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import backup_questions


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"backup_questions": backup_questions}
