#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Print a text as it is. The action plugin of this name does it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print a text as it is
description:
  - Prints a text on the controller, after an empty line and as it is, where M(ansible.builtin.debug) quotes, indents or
    escapes it. A table stays a table, and a line of JSON is one for the next program.
  - It asks no host and changes nothing.
author: djangofleet developers (@djangofleet)
options:
  text:
    description: The text. Control characters in it act on the terminal.
    type: str
    required: true
attributes:
  check_mode:
    description: Prints the same.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Show what was found
  djangofleet.stack.show:
    text: "{{ found | to_json }}"
  run_once: true
"""

RETURN = r"""# """
