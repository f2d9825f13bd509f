# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What role certificate asks of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_questions
short_description: What role certificate asks of djangofleet.stack.survey
author: djangofleet developers (@djangofleet)
description:
  - Gives arguments for M(djangofleet.stack.survey), which reads the certificates that the role's authority signs, and
    the authority under the name of its directory.
  - Gives nothing when a variable is not as it is to be, so that a host can be asked before its input is checked.
positional: host
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  host:
    description: The host that is to be asked, by its name in the inventory.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Read the certificates of the host
  djangofleet.stack.survey:
    certificates: "{{ (__certificate_given | djangofleet.stack.certificate_questions).certificates | default([]) }}"
"""

RETURN = r"""
_value:
  description: Arguments of the module; empty when there is nothing to ask.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import questions


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_questions": questions}
