# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where Nginx of a host serves an app."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_site
short_description: Where Nginx of a host serves an app
author: djangofleet developers (@djangofleet)
description:
  - Is what djangoctl needs to know to ask Nginx for the app.
positional: name
options:
  _input:
    description: What the sites of the host's apps are asked, as P(djangofleet.stack.app_visits#filter) gives it.
    type: list
    elements: dict
    required: true
  name:
    description: The app's name.
    type: str
    default: ""
"""

EXAMPLES = r"""
django_app_site: "{{ visits | djangofleet.stack.app_site(django_app.name) }}"
"""

RETURN = r"""
_value:
  description: The site's C(domains), its C(port), and whether it has C(tls); empty if there is none.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import site_of


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_site": site_of}
