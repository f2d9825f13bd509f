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
  text:
    description:
      - Take all of the argument that gives the variable, such as C(-e command="migrate --plan"). A shell takes the
        quotes away, and what Ansible itself understands then is C(migrate).
      - The text is taken as it stands. It is no template.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show which release was asked for
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.extra_variable', 'release') }}"

- name: Show which command was asked for, with all of its words
  ansible.builtin.debug:
    msg: "{{ lookup('djangofleet.stack.extra_variable', 'command', text=true) }}"
"""

RETURN = r"""
_raw:
  description: For each name the value, or an empty text if the command line does not give it.
  type: list
  elements: raw
"""

from collections.abc import Iterable
from typing import Any

from ansible import context
from ansible.parsing.splitter import parse_kv
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars


def text_of(arguments: Iterable[str], name: str) -> str | None:
    """The text that the last argument of -e gives to a variable it begins with; None if none does.

    Ansible makes variables and loose words of C(command=migrate --plan). Only an argument that it takes for this
    variable alone, such as C(command='migrate --plan'), has quotes that are not a part of the text.
    """
    for argument in reversed(list(arguments)):
        key, sign, rest = argument.partition("=")
        if sign and key.strip() == name:
            try:
                understood = parse_kv(argument)
            except Exception:  # such as an apostrophe that stands alone, of which Ansible says what it thinks itself
                return rest
            return str(understood[name]) if set(understood) == {name} else rest
    return None


class LookupModule(LookupBase):
    """Reads what the command line gives."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        given = load_extra_vars(self._loader)
        return [self._of(name, given) for name in terms]

    def _of(self, name: str, given: dict[str, Any]) -> Any:
        if self.get_option("text"):
            text = text_of(context.CLIARGS.get("extra_vars", ()), name)
            if text is not None:
                return text
        return self._templar.template(given[name]) if name in given else ""
