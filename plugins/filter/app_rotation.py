# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which secrets of which apps a rotation makes anew."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_rotation
short_description: Which secrets of which apps a rotation makes anew
author: djangofleet developers (@djangofleet)
description:
  - Those that hosts have made. What the inventory gives is told, with what to do about it.
positional: groups, secret, forget, host
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  groups:
    description: The groups of the inventory with their hosts.
    type: dict
    required: true
  secret:
    description: C(secret_key), C(database) or C(cache). Empty for all.
    type: str
    default: ""
  forget:
    description: Make no key, and end the earlier ones.
    type: bool
    default: false
  host:
    description: The host that is a site of its own. Empty where each app's primary host makes the secrets of all.
    type: str
    default: ""
"""

EXAMPLES = r"""
__rotation: "{{ __apps | djangofleet.stack.app_rotation(groups, 'database') }}"
"""

RETURN = r"""
_value:
  description: The lines C(problems) and C(given), the C(steps), the names of the C(apps), the hosts of the C(servers).
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.rotation import rotation


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_rotation": rotation}
