# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of the role django."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_problems
short_description: What is wrong with the variables of the role django
author: djangofleet developers (@djangofleet)
description:
  - Holds the variables to their spec, and the app to the rules between its values.
  - Looks on the controller whether C(source.path) and a wheel are there.
options:
  _input:
    description: The role's variables, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
"""

EXAMPLES = r"""
__django_problems: "{{ __django_given | djangofleet.stack.django_problems }}"
"""

RETURN = r"""
_value:
  description: The problems, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import django_problems as rules


def django_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables, one line each."""
    return rules.django_problems(given, rules.is_on_controller)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_problems": django_problems}
