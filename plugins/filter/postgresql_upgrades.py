# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clusters whose data is of an earlier major version."""

from __future__ import annotations

DOCUMENTATION = r"""
name: postgresql_upgrades
short_description: Clusters whose data is of an earlier major version than the one that the host is to run
author: djangofleet developers (@djangofleet)
description:
  - Says what there is to upgrade, what keeps it from that, and what stays as it is.
positional: facts, survey, whole
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
  whole:
    description: Directories of the configuration of clusters whose data an upgrade has brought over, noted or not.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
__postgresql_upgrades: "{{ __postgresql_options | djangofleet.stack.postgresql_upgrades(ansible_facts, found) }}"
"""

RETURN = r"""
_value:
  description: C(clusters), C(problems) and C(notes).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import postgresql_upgrade as rules


def postgresql_upgrades(
    options: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    survey: Mapping[str, Any] | None = None,
    whole: Sequence[str] = (),
) -> dict[str, list[Any]]:
    """What there is to upgrade."""
    return rules.postgresql_upgrades(options, facts or {}, survey or {}, whole)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"postgresql_upgrades": postgresql_upgrades}
