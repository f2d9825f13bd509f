# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which certificates role certificate issues."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_plan
short_description: Which certificates are issued, and why
author: djangofleet developers (@djangofleet)
description:
  - Compares what the role's authority is to have signed with what lies on the host, and gives a request for each
    certificate that is not as it should be. A key of the right kind is kept.
positional: answers, host
options:
  _input:
    description: The variables by name, as P(djangofleet.stack.role_options#filter) gives them.
    type: dict
    required: true
  answers:
    description: The C(certificates) that M(djangofleet.stack.survey) found.
    type: dict
    default: {}
  host:
    description: The host that this is about, by its name in the inventory.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Say why certificates are issued
  ansible.builtin.debug:
    msg: "{{ (options | djangofleet.stack.certificate_plan(survey.certificates)).messages }}"
"""

RETURN = r"""
_value:
  description: What is issued.
  type: dict
  contains:
    signer:
      description: The certificate in PEM of the authority that signs, empty when it is issued now.
      type: str
    authority:
      description: The request for the host's own authority, in a list of one; empty when it stays.
      type: list
      elements: dict
    certificates:
      description: A request for each certificate.
      type: list
      elements: dict
      contains:
        name: {description: The name of the certificate., type: str}
        reasons: {description: Why it is issued., type: list, elements: str}
        key: {description: "V(new), V(kept), or V(open) when the key is kept and has a wrong mode.", type: str}
        key_path: {description: Where the key lies., type: str}
        key_type: {description: "V(ecc) or V(rsa).", type: str}
        key_size: {description: Bits of an RSA key., type: int}
        days: {description: How long it is valid., type: int}
        common_name: {description: Its common name., type: str}
        subject_alt_name: {description: Its names., type: list, elements: str}
    requests:
      description: The requests of both.
      type: list
      elements: dict
    new_keys:
      description: The requests whose key is to be made.
      type: list
      elements: dict
    open_keys:
      description: The requests whose key is kept and has a wrong mode.
      type: list
      elements: dict
    messages:
      description: A line for each, which says why.
      type: list
      elements: str
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_plan import plan


def certificate_plan(
    options: Mapping[str, Any], answers: Mapping[str, Any] | None = None, host: str = ""
) -> dict[str, Any]:
    """What is issued today, and why."""
    return plan(options, answers or {}, datetime.datetime.now(datetime.UTC), host)


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable]:
        return {"certificate_plan": certificate_plan}
