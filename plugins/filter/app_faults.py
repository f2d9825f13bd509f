# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What keeps apps from serving, as djangoctl says."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_faults
short_description: What keeps apps of a host from serving
author: djangofleet developers (@djangofleet)
description:
  - Reads what C(djangoctl list --json) has printed. Nothing is said about an app that serves, or that is not listed.
positional: apps
options:
  _input:
    description: What djangoctl has printed.
    type: str
    required: true
  apps:
    description: The resolved apps that are meant.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop if an app does not serve
  ansible.builtin.assert:
    that: djangofleet_visit.services | djangofleet.stack.app_faults(apps) | length == 0
"""

RETURN = r"""
_value:
  description: A line for each fault, with what heals it.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import faults_of, health_of


def app_faults(printed: str, apps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The faults of the apps that do not serve."""
    found = health_of(printed)
    listed = [found[app["name"]] for app in apps if app["name"] in found]
    return [f"{entry['app']}: {line}" for entry in listed if not entry["serves"] for line in faults_of(entry)]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_faults": app_faults}
