# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The databases of the role postgresql for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_databases
short_description: The databases of the role postgresql for apps
author: djangofleet developers (@djangofleet)
description:
  - An app with C(database.engine=postgresql) has one, which a role of the same name owns.
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
postgresql_app_databases: "{{ __apps | djangofleet.stack.app_databases }}"
"""

RETURN = r"""
_value:
  description: A database for each of these apps.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import databases


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_databases": databases}
