# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The clusters of the role postgresql."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_clusters
short_description: The clusters of a host, with their settings and who may connect
author: djangofleet developers (@djangofleet)
description:
  - Gives each cluster with its places, its unit, the settings that follow from the host and from the variables, and
    the lines of its pg_hba.conf.
positional: facts, survey
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
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
__postgresql_clusters: "{{ __postgresql_options | djangofleet.stack.postgresql_clusters(ansible_facts, found) }}"
"""

RETURN = r"""
_value:
  description: The clusters.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql as rules


def postgresql_clusters(
    options: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The clusters of a host."""
    return rules.postgresql_clusters(options, facts or {}, survey or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_clusters": postgresql_clusters}
