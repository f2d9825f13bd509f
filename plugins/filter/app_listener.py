# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a database or cache listens for apps on other hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_listener
short_description: Where a database or cache listens for apps on other hosts
author: djangofleet developers (@djangofleet)
description:
  - The same whether there are such apps or not, so that a server can go on with it until the last of them has left.
positional: _input, hostvars, host, certificates
options:
  _input:
    description: Which server is meant.
    type: str
    choices: [database, cache]
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
"""

EXAMPLES = r"""
postgresql_app_listener: "{{ 'database' | djangofleet.stack.app_listener(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: C(listen_addresses), C(certificate_file) and C(key_file).
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import listener


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_listener": listener}
