# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the fetch of a repository needs on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: django_fetch
short_description: What the fetch of a private repository needs on the host
author: djangofleet developers (@djangofleet)
description:
  - Deploy key and known hosts lie below C(/run), in memory, for the time of the fetch.
options:
  _input:
    description: The app, as its spec means it.
    type: dict
    required: true
"""

EXAMPLES = r"""
__django_fetch: "{{ __django_options.django_app | djangofleet.stack.django_fetch }}"
"""

RETURN = r"""
_value:
  description: >-
    C(key) and C(known_hosts), paths or empty, C(entries) that put them there, C(removals) that take them away.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import django_fetch


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"django_fetch": django_fetch}
