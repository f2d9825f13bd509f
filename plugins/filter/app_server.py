# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a database or cache needs for apps on other hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_server
short_description: What a database or cache needs for apps on other hosts
author: djangofleet developers (@djangofleet)
description:
  - Empty where the server and its apps are alone on one host.
positional: kind, groups, hostvars, host, certificates, separate
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
  groups:
    description: The inventory's groups with their hosts.
    type: dict
    required: true
  hostvars:
    description: C(hostvars) of the play.
    type: dict
    required: true
  host:
    description: The server's host.
    type: str
    required: true
  certificates:
    description: The directory of the role certificate. Its default if not given.
    type: path
  separate:
    description: Whether each host is a site of its own.
    type: bool
    default: false
"""

EXAMPLES = r"""
__database_server: "{{ __apps | djangofleet.stack.app_server('database', groups, hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: C(listens), C(certificates) and C(rules), what the roles postgresql, certificate and host take.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import server


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_server": server}
