# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role django writes for an app."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_entries
short_description: What the role django writes for an app
author: djangofleet developers (@djangofleet)
description:
  - The entries for M(djangofleet.stack.tree), with what the templates see.
positional: first, library
options:
  _input:
    description: What P(djangofleet.stack.django_settings#filter) gives.
    type: dict
    required: true
  first:
    description: Whether djangoctl is to be written too, for the first app of a run.
    type: bool
    required: true
  library:
    description: The directory of djangoctl's package.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Write the app's configuration
  djangofleet.stack.tree:
    entries: "{{ __django_settings | djangofleet.stack.django_entries(true, '/usr/lib/djangofleet') }}"
"""

RETURN = r"""
_value:
  description: The entries.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import django_entries


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_entries": django_entries}
