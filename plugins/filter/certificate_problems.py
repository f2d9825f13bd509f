# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of role certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_problems
short_description: What is wrong with the variables of role certificate
author: djangofleet developers (@djangofleet)
description:
  - Checks the variables against the role's spec, and what they say against each other.
  - Checks that the keys and chains that the user provides can be read, belong together, cover their domains and are
    valid today.
positional: files
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  files:
    description: The files that they name, as P(djangofleet.stack.certificate_files#lookup) gives them.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# {'certificate_certificates': [{'name': 'shop', 'domains': []}]} gives
# ['certificate_certificates[shop].domains: is empty; give the names the certificate is for']
__certificate_problems: "{{ __certificate_given | djangofleet.stack.certificate_problems(__certificate_files) }}"
"""

RETURN = r"""
_value:
  description: One line for each problem, empty when all is well.
  type: list
  elements: str
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_problems import problems


def certificate_problems(given: Mapping[str, Any], files: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with the variables today, one line each."""
    return problems(given, files or {}, datetime.datetime.now(datetime.UTC))


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_problems": certificate_problems}
