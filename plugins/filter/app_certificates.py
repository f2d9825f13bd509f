# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates of the role certificate for apps."""

from __future__ import annotations

DOCUMENTATION = r"""
name: app_certificates
short_description: The certificates of the role certificate for apps
author: djangofleet developers (@djangofleet)
description:
  - A certificate is self-signed unless C(certificate) of the app says otherwise.
options:
  _input:
    description: The resolved apps, as P(djangofleet.stack.resolve_apps#filter) gives them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
certificate_app_certificates: "{{ __apps | djangofleet.stack.app_certificates }}"
"""

RETURN = r"""
_value:
  description: A certificate for each app.
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import app_certificates


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"app_certificates": app_certificates}
