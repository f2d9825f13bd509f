# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app means on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_settings
short_description: What an app means on a host
author: djangofleet developers (@djangofleet)
description:
  - Names, places, units, environments and the settings for C(djangoctl), all that follows from the role's variables.
positional: uv, sandbox, networks, build_sandbox
options:
  _input:
    description: The role's variables, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  uv:
    description: The directory that uv is installed in.
    type: path
    required: true
  sandbox:
    description: systemd's settings for every process of an app.
    type: dict
    required: true
  networks:
    description: What each value of C(network) adds to them.
    type: dict
    required: true
  build_sandbox:
    description: systemd's settings for builds, a line each.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
__django_settings: >-
  {{ __django_options | djangofleet.stack.django_settings(__django_uv, __django_sandbox, __django_networks, []) }}
"""

RETURN = r"""
_value:
  description: The settings by name. C(settings) is what C(app.json) holds.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_settings import django_settings


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_settings": django_settings}
