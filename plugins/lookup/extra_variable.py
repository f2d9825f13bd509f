# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A variable that was given with -e, and nowhere else."""

from __future__ import annotations

DOCUMENTATION = r"""
name: extra_variable
short_description: A variable that was given with -e, and nowhere else
author: djangofleet developers (@djangofleet)
description:
  - A word of the command line, such as C(-e release=ID), is short. An inventory may have a variable of that name for a
    purpose of its own, which must not steer a run.
options:
  _terms:
    description: Names of variables.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show which release was asked for
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.extra_variable', 'release') }}"
"""

RETURN = r"""
_raw:
  description: For each name the value, or an empty text if the command line does not give it.
  type: list
  elements: raw
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars


class LookupModule(LookupBase):
    """Reads what the command line gives."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        given = load_extra_vars(self._loader)
        return [self._templar.template(given[name]) if name in given else "" for name in terms]
