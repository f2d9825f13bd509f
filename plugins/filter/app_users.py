# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The users of the role redis for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_users
short_description: The users of the role redis for apps
author: djangofleet developers (@djangofleet)
description:
  - A password that nobody has given is the one that the primary host of the app has read or made in this run.
  - Each may use the keys of its prefix alone.
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
redis_app_users: "{{ __apps | djangofleet.stack.app_users(djangofleet_secrets) }}"
"""

RETURN = r"""
_value:
  description: A user for each app with a cache.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import users


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_users": users}
