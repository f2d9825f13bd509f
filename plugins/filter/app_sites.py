# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sites of the role nginx for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_sites
short_description: The sites of the role nginx for apps
author: djangofleet developers (@djangofleet)
description:
  - C(nginx) of an app has the last word on its site; mappings are merged key by key.
positional: certificate_directory
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
  certificate_directory:
    description: Where certificates lie. The default of the role certificate if not given.
    type: path
"""

EXAMPLES = r"""
nginx_app_sites: "{{ __apps | djangofleet.stack.app_sites(certificate_directory | default(none)) }}"
"""

RETURN = r"""
_value:
  description: A site for each app.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import app_sites


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_sites": app_sites}
