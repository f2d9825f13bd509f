# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each app's site is asked at the end of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_visits
short_description: What to ask the sites of apps
author: djangofleet developers (@djangofleet)
description:
  - Gives the sites of P(djangofleet.stack.visit#module), one for each app.
  - Each domain is asked for the app's health page.
positional: sites, port, http_port, public_port
options:
  _input:
    description: The resolved apps.
    type: list
    elements: dict
    required: true
  sites:
    description: Their sites, as P(djangofleet.stack.app_sites#filter) gives them.
    type: list
    elements: dict
    required: true
  port:
    description: The port that Nginx listens on for HTTPS.
    type: int
    required: true
  http_port:
    description: The port that Nginx listens on for plain HTTP. A site without a certificate is asked there.
    type: int
    default: 80
  public_port:
    description: The port for HTTPS that visitors name, where something in front of Nginx maps it.
    type: int
"""

EXAMPLES = r"""
- name: Ask the sites
  djangofleet.stack.visit:
    sites: "{{ apps | djangofleet.stack.app_visits(apps | djangofleet.stack.app_sites, 443) }}"
"""

RETURN = r"""
_value:
  description: The sites to ask.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import visits_of


def app_visits(
    apps: Sequence[Mapping[str, Any]],
    sites: Sequence[Mapping[str, Any]],
    port: int,
    http_port: int = 80,
    public_port: int | None = None,
) -> list[dict[str, Any]]:
    """The sites to ask."""
    return visits_of(apps, sites, int(port), int(http_port), int(public_port) if public_port else None)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_visits": app_visits}
