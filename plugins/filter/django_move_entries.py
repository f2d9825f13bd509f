# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a move of the database writes on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_move_entries
short_description: What a move of the database writes on a host
author: djangofleet developers (@djangofleet)
description:
  - The configuration that names the new database lies beside the app's own until its rows are there.
positional: library, scratch
options:
  _input:
    description: What P(djangofleet.stack.django_settings#filter) gives.
    type: dict
    required: true
  library:
    description: The directory of djangoctl's package.
    type: str
    required: true
  scratch:
    description: The directory of that configuration.
    type: str
    required: true
"""

EXAMPLES = r"""
entries: "{{ __django_settings | djangofleet.stack.django_move_entries(__django_library, __django_move) }}"
"""

RETURN = r"""
_value:
  description: >-
    Entries for P(djangofleet.stack.tree#module), C(lasting) ones and C(passing) ones, which are removed after the move.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import django_move_entries


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_move_entries": django_move_entries}
