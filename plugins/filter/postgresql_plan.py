# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done to the databases and roles of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_plan
short_description: What is to be done to the databases and roles of a host
author: djangofleet developers (@djangofleet)
description:
  - Compares what the clusters have with what is wanted, so that nothing is executed for what is there.
  - A password is compared with the verifier that the server keeps, and never sent to it.
positional: clusters, answers
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  clusters:
    description: What P(djangofleet.stack.postgresql_clusters#filter) gives.
    type: list
    elements: dict
    required: true
  answers:
    description: The results of a loop over them with M(community.postgresql.postgresql_query), for C(catalog.sql).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
__postgresql_plan: "{{ __postgresql_options | djangofleet.stack.postgresql_plan(__postgresql_clusters, answers) }}"
"""

RETURN = r"""
_value:
  description: What is to be done, a list of each kind.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_plan import plan


def postgresql_plan(
    options: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]] = ()
) -> dict[str, list[Any]]:
    """What is to be done, a list of each kind."""
    found = {answer["item"]["name"]: answer["query_result"][0]["catalog"] for answer in answers}
    return plan(options, clusters, found)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_plan": postgresql_plan}
