# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What role certificate has to say of what the user provides."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_warnings
short_description: The provided certificates that end soon
author: djangofleet developers (@djangofleet)
description:
  - Names what the user provides, and so nobody renews, when fewer than C(certificate_warn_days) are left to it.
positional: files
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  files:
    description: The files that they name, as P(djangofleet.stack.certificate_files#lookup) gives them.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Warn of certificates that end soon
  ansible.builtin.debug:
    msg: "{{ __certificate_options | djangofleet.stack.certificate_warnings(__certificate_files) }}"
"""

RETURN = r"""
_value:
  description: One line for each certificate.
  type: list
  elements: str
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_problems import warnings


def certificate_warnings(options: Mapping[str, Any], files: Mapping[str, str] | None = None) -> list[str]:
    """What ends soon, one line each."""
    return warnings(options, files or {}, datetime.datetime.now(datetime.UTC))


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_warnings": certificate_warnings}
