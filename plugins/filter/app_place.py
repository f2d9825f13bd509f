# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an app finds its database or cache."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_place
short_description: Where an app finds its database or cache
author: djangofleet developers (@djangofleet)
description:
  - An app that is alone on one host with its server finds it by the unix socket.
positional: kind, groups, hostvars, separate
options:
  _input:
    description: An app, as P(djangofleet.stack.resolve_apps#filter) gives it.
    type: dict
    required: true
  kind:
    description: Which server is meant.
    type: str
    choices: [database, cache]
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
"""

EXAMPLES = r"""
django_app_database: "{{ __apps[0] | djangofleet.stack.app_place('database', groups, hostvars) }}"
"""

RETURN = r"""
_value:
  description: What C(django_app_database) takes; empty for the socket.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import place


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_place": place}
