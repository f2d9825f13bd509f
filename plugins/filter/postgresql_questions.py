# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role postgresql asks a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_questions
short_description: What the role postgresql asks a host
author: djangofleet developers (@djangofleet)
description:
  - Gives the arguments of M(djangofleet.stack.survey) that tell which clusters a host has, and which of them run.
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
# {units: [postgresql@17-main.service], paths: [/etc/postgresql/*/*/postgresql.conf, ...]}
__postgresql_questions: "{{ __postgresql_given | djangofleet.stack.postgresql_questions(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: The arguments; none where a value makes no sense.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as rules


def postgresql_questions(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """The arguments of djangofleet.stack.survey."""
    return rules.postgresql_questions(given, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_questions": postgresql_questions}
