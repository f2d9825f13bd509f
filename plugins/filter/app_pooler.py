# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What apps with a pooler need of the role pgbouncer."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_pooler
short_description: What apps with a pooler need of the role pgbouncer
author: djangofleet developers (@djangofleet)
description:
  - Gives C(users), the logins of the apps of a host that have C(pooler), and C(server), where their databases are.
positional: groups, hostvars, host, answers, separate
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
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
    description: The host.
    type: str
    required: true
  answers:
    description: What C(playbooks/secrets.yml) has registered. Empty before it has run.
    type: dict
    required: true
  separate:
    description: Whether each host is a site of its own.
    type: bool
    default: false
"""

EXAMPLES = r"""
__pooler: "{{ __apps | djangofleet.stack.app_pooler(groups, hostvars, inventory_hostname, djangofleet_secrets) }}"
"""

RETURN = r"""
_value:
  description: What C(pgbouncer_app_users) and C(pgbouncer_app_server) take.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import pooler


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_pooler": pooler}
