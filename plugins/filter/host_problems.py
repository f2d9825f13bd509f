# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of role host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_problems
short_description: What is wrong with the variables of role host
author: djangofleet developers (@djangofleet)
description:
  - Checks the variables against the role's spec, and the distribution of the host.
  - Checks that the firewall leaves Ansible's own connection open, and that the host knows the time zone, locales and
    kernel settings that it is to have.
positional: facts, survey
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host. What was not gathered is not checked.
    type: dict
    default: {}
  survey:
    description: What M(djangofleet.stack.survey) answered. What was not asked is not checked.
    type: dict
    default: {}
  connection:
    description: The connection plugin that Ansible uses.
    type: str
    default: local
  port:
    description: The port that Ansible connects to. The fact of the connection outranks it.
    type: int
    default: 22
"""

EXAMPLES = r"""
# {'host_timezone': 'Berlin time'} gives
# ["host_timezone: found 'Berlin time'; give a name such as Europe/Berlin"]
__host_problems: "{{ __host_given | djangofleet.stack.host_problems(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: One line for each problem, empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host


def host_problems(
    given: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
    connection: str = "local",
    port: int = 22,
) -> list[str]:
    """What is wrong with the variables, one line each."""
    return host.problems(given, facts or {}, survey or {}, connection, int(port))


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"host_problems": host_problems}
