# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Timers whose calendar systemd refuses."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_calendar_problems
short_description: Timers whose calendar systemd refuses
author: djangofleet developers (@djangofleet)
description:
  - Names the variable of each calendar that systemd does not understand.
positional: path, refused
options:
  _input:
    description: The app.
    type: dict
    required: true
  path:
    description: How messages name the app.
    type: str
    required: true
  refused:
    description: The calendars that systemd does not understand.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show which timers could never start
  ansible.builtin.debug:
    msg: "{{ django_app | djangofleet.stack.django_calendar_problems('django_app', ['dayly']) }}"
"""

RETURN = r"""
_value:
  description: The problems, a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import calendar_problems


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_calendar_problems": calendar_problems}
