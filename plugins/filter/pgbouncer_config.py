# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the pooler of the role pgbouncer is configured with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pgbouncer_config
short_description: What the pooler of the role pgbouncer is configured with
author: djangofleet developers (@djangofleet)
description:
  - Gives C(databases), C(users) and C(sandbox), their lines, C(settings) by name, and C(authorities), files as entries
    of M(djangofleet.stack.tree).
  - An app keeps its earlier logins until O(_input) names its role among C(pgbouncer_app_settled). C(retired) are those
    that go.
positional: sandbox, userlist
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  sandbox:
    description: Settings of systemd for the pooler.
    type: dict
    default: {}
  userlist:
    description: Who may connect until now, as the host has it.
    type: str
    default: ""
"""

EXAMPLES = r"""
__pgbouncer_config: "{{ __pgbouncer_options | djangofleet.stack.pgbouncer_config(__pgbouncer_sandbox, userlist) }}"
"""

RETURN = r"""
_value:
  description: The lines, settings and entries.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.pgbouncer import pgbouncer_config


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"pgbouncer_config": pgbouncer_config}
