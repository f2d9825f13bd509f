# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What role host asks of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_questions
short_description: What role host asks of djangofleet.stack.survey
author: djangofleet developers (@djangofleet)
description:
  - Gives arguments for M(djangofleet.stack.survey), the services that are to run and the files by which the host knows
    a time zone, a locale or a kernel setting. The defaults of the role need no files looked up.
  - Gives nothing when a variable is not as it is to be, so that a host can be asked before its input is checked.
positional: facts
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_variables#lookup) gives them.
    type: dict
    required: true
  facts:
    description: C(ansible_facts) of the host.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# by default: {'units': ['nftables.service', 'systemd-timesyncd.service']}
__host_questions: "{{ __host_given | djangofleet.stack.host_questions(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: Arguments of the module; empty when there is nothing to ask.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host


def host_questions(given: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """What the role asks of a host."""
    return host.questions(given, facts or {})


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"host_questions": host_questions}
