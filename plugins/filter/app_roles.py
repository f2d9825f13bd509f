# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The roles of the role postgresql for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_roles
short_description: The roles of the role postgresql for apps
author: djangofleet developers (@djangofleet)
description:
  - A password that nobody has given is the one that the primary host of the app has read or made in this run.
  - Without it the role keeps the password that it has.
positional: answers
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  answers:
    description: What C(playbooks/secrets.yml) has registered. Empty before it has run.
    type: dict
    required: true
"""

EXAMPLES = r"""
postgresql_app_roles: "{{ __apps | djangofleet.stack.app_roles(djangofleet_secrets) }}"
"""

RETURN = r"""
_value:
  description: A role for each app with a database.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import roles


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_roles": roles}
