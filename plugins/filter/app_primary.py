# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The primary host of an app."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_primary
short_description: The host that migrates an app first and runs its singletons
author: djangofleet developers (@djangofleet)
description:
  - It is defined once, for all playbooks, and does not depend on C(--limit).
positional: name
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  name:
    description: The app's name.
    type: str
    default: ""
"""

EXAMPLES = r"""
django_app_primary: "{{ __apps | djangofleet.stack.app_primary(django_app.name) }}"
"""

RETURN = r"""
_value:
  description: The host's name, empty if there is no such app.
  type: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import app_primary


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_primary": app_primary}
