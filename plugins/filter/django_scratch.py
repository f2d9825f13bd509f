# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration of an app at another place."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_scratch
short_description: The configuration of an app at another place, for a rehearsal
author: djangofleet developers (@djangofleet)
description:
  - Check mode writes nothing, and yet a rehearsal has to run with what a run would write.
positional: config, scratch
options:
  _input:
    description: What P(djangofleet.stack.django_entries#filter) gives.
    type: list
    elements: dict
    required: true
  config:
    description: The directory of the app's configuration.
    type: str
    required: true
  scratch:
    description: The directory in its place.
    type: str
    required: true
"""

EXAMPLES = r"""
entries: "{{ entries | djangofleet.stack.django_scratch('/etc/djangofleet/shop', '/run/djangofleet-check-1/shop') }}"
"""

RETURN = r"""
_value:
  description: Entries for P(djangofleet.stack.tree#module), all of them root's.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import django_scratch


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_scratch": django_scratch}
