# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The apps of which some process may still be as before the run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: apps_changing
short_description: The apps of which some process may still be as before the run
author: djangofleet developers (@djangofleet)
description:
  - Those that this run has not put live on all of their hosts, by what their server calls them, or would. What they had
    before stays until then.
positional: kind, hostvars, host
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  kind:
    description: Which server is meant.
    type: str
    choices: [database, cache]
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
postgresql_app_changing: "{{ __apps | djangofleet.stack.apps_changing('database', hostvars) }}"
"""

RETURN = r"""
_value:
  description: The names of their databases or users.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import changing


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"apps_changing": changing}
