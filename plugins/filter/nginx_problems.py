# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role nginx."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_problems
short_description: What is wrong with the variables of the role nginx
author: djangofleet developers (@djangofleet)
description:
  - Gives a line for each value that cannot work, with the variable's path, what was found and what to give.
  - Rules between variables are asked only where all types are right.
positional: survey
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  survey:
    description:
      - What the host answered to the questions of P(djangofleet.stack.nginx_questions#filter). With it, empty lists of
        sites are refused where the host serves some.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# ["nginx_sites[shop].domains[0]: found 'a b'; give letters, digits, ..."]
__nginx_problems: "{{ __nginx_given | djangofleet.stack.nginx_problems(djangofleet_survey | default({})) }}"
"""

RETURN = r"""
_value:
  description: The lines; none if the role can work.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx import problems


def nginx_problems(given: Mapping[str, Any], survey: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong, a line each."""
    return problems(given, survey or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"nginx_problems": nginx_problems}
