# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which releases hosts go back to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_returns
short_description: Which releases hosts go back to
author: djangofleet developers (@djangofleet)
description:
  - The one that was live on each host when the rollout began, for each app that the rollout has built.
positional: hostvars
options:
  _input:
    description: The hosts of the play, the failed ones too.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
loop: "{{ ansible_play_hosts_all | djangofleet.stack.django_returns(hostvars) }}"
"""

RETURN = r"""
_value:
  description: C(host), C(app) and C(release) of each.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import django_returns


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_returns": django_returns}
