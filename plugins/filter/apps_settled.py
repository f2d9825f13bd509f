# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps that need no earlier password of their server any more."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_settled
short_description: The apps that need no earlier password of their server any more
author: djangofleet developers (@djangofleet)
description:
  - Those that this run has put live on all of their hosts, by what their server calls them.
positional: kind, hostvars, host
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  kind:
    description: What the apps are called by, their own names or those that their servers have for them.
    type: str
    choices: [app, database, cache]
    required: true
  hostvars:
    description: The variables of the hosts.
    type: dict
    required: true
  host:
    description: The host that is a site of its own. Empty where the hosts of an app share its server.
    type: str
    default: ""
"""

EXAMPLES = r"""
postgresql_app_settled: "{{ __apps | djangofleet.stack.apps_settled('database', hostvars) }}"
"""

RETURN = r"""
_value:
  description: Their names, or those of their roles or users.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import settled


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_settled": settled}
