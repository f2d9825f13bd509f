# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The clusters of the role backup for those of role postgresql."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_backup_clusters
short_description: The clusters of the role backup for those of role postgresql
author: djangofleet developers (@djangofleet)
description:
  - Gives each cluster with its version and its data directory.
positional: facts
options:
  _input:
    description: The variables of role postgresql, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    required: true
"""

EXAMPLES = r"""
backup_app_clusters: >-
  {{ lookup('djangofleet.stack.role_variables', 'postgresql')
     | djangofleet.stack.app_backup_clusters(ansible_facts) }}
"""

RETURN = r"""
_value:
  description: The clusters; none where the host has no server.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.backup import app_clusters


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_backup_clusters": app_clusters}
