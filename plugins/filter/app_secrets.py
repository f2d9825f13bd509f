# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The passwords that apps and their servers share."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_secrets
short_description: The passwords that apps and their servers share
author: djangofleet developers (@djangofleet)
description:
  - Those that nobody has given, each with the app, the variable and the host that makes it.
positional: host
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  host:
    description: The host that is a site of its own. Empty where each app's primary host makes them for all.
    type: str
    default: ""
"""

EXAMPLES = r"""
__secrets: "{{ __apps | djangofleet.stack.app_secrets }}"
"""

RETURN = r"""
_value:
  description: C(app), C(variable) and C(host) of each.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import secrets


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_secrets": secrets}
