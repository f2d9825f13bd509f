# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apps that are live on another database than the inventory's."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_moves
short_description: Apps that are live on another database than the inventory's
author: djangofleet developers (@djangofleet)
description:
  - An app that is live on SQLite while the inventory gives it PostgreSQL, or on the PostgreSQL of another host.
  - A database that an app has by its URL is left to whoever gave it.
  - An app whose move was killed is among them too, wherever it is live.
positional: databases, host, groups, hostvars, separate, notes
options:
  _input:
    description: Apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  databases:
    description: What M(djangofleet.stack.survey) answers of the environment files of live apps.
    type: dict
    required: true
  host:
    description: The host that was asked.
    type: str
    required: true
  groups:
    description: The inventory's groups with their hosts.
    type: dict
    required: true
  hostvars:
    description: C(hostvars) of the play.
    type: dict
    required: true
  separate:
    description: Whether each host is a site of its own.
    type: bool
    default: false
  notes:
    description: The files that killed moves have left.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
django_apps_moves: >-
  {{ __apps | djangofleet.stack.app_moves(djangofleet_survey.databases, inventory_hostname, groups, hostvars) }}
"""

RETURN = r"""
_value:
  description: >-
    A mapping for each app, with its C(name), what it is live on as C(engine) and C(address), and the C(problem) for the
    operator. An C(engine) that is empty cannot be moved.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_moves import moves


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_moves": moves}
