#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask sites for a page, through the web server of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: visit
short_description: Ask sites for a page through the web server of this host, and djangoctl for the apps behind it
description:
  - Asks each domain once, as a visitor would whom the domain leads to this host, with the site's name in the handshake
    and in the request. A site that does not answer well is asked again until O(retry_seconds) are over, since a web
    server takes a moment to turn to a new configuration.
  - Changes nothing, in check mode as otherwise. Whether a client trusts the certificate is not looked at.
author: djangofleet developers (@djangofleet)
options:
  sites:
    description: The sites to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The site's name, as the answer bears it.
        type: str
        required: true
      domains:
        description: Its domains. Wildcards are left out, since they name no host.
        type: list
        elements: str
        required: true
      tls:
        description: Whether the site is served over HTTPS.
        type: bool
        default: true
      port:
        description: The port that the web server listens on.
        type: int
        default: 443
      public_port:
        description: The port that visitors name, where something in front maps it. O(sites[].port) if not given.
        type: int
      path:
        description: What is asked for.
        type: str
        default: /
      status_min:
        description: The lowest status that is well.
        type: int
        default: 200
      status_max:
        description:
          - The highest status that is well.
          - 400 is well only if this or O(sites[].status_min) is 400, since Django refuses a host or a proxy with it.
        type: int
        default: 399
      contains:
        description: A text that the answer has to contain.
        type: str
        default: ""
      timeout:
        description: Seconds the answer may take.
        type: int
        default: 30
      maintenance:
        description: The page that closes the site while it is there. A 503 is well then.
        type: str
        default: ""
  services:
    description: Whether djangoctl is asked too how the apps of this host are, after the sites. Wants root.
    type: bool
    default: false
  address:
    description: Where the web server listens.
    type: str
    default: 127.0.0.1
  retry_seconds:
    description: For how long a site that does not answer well is asked again. 0 asks once.
    type: int
    default: 10
attributes:
  check_mode:
    description: Changes nothing at any time.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Ask the shop for its health
  djangofleet.stack.visit:
    sites:
      - {name: shop, domains: [shop.example.com, www.shop.example.com], path: /healthz}
"""

RETURN = r"""
visits:
  description: What each domain answered.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The site's name.
      type: str
    domain:
      description: The domain.
      type: str
    ok:
      description: Whether it answered well.
      type: bool
    status:
      description: The status, 0 where there was no answer.
      type: int
    seconds:
      description: How long the answer took.
      type: float
    verdict:
      description: What is to be said about it.
      type: str
    certificate:
      description: The certificate that was shown, in PEM; empty without TLS.
      type: str
services:
  description: What C(djangoctl list --json) says on this host; empty where it was not asked or is not there.
  returned: always
  type: str
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.djangofleet.stack.plugins.module_utils.answer import seen

PROGRAM = "/usr/local/bin/djangoctl"


def services(module: AnsibleModule) -> str:
    """What djangoctl says of the apps. Its exit code is that of all apps of the host, so it decides nothing."""
    if not os.path.exists(PROGRAM):
        return ""
    _code, out, _err = module.run_command([PROGRAM, "list", "--json"])
    return out


def visit(address: str, domain: str, site: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Ask a domain until it answers well or the deadline, in monotonic seconds, has passed."""
    while True:
        found = seen((address, site["port"]), domain, site)
        if found["ok"] or time.monotonic() > deadline:
            return {"name": site["name"], "domain": domain, **found}
        time.sleep(0.5)


def main() -> None:
    site = {
        "name": {"type": "str", "required": True},
        "domains": {"type": "list", "elements": "str", "required": True},
        "tls": {"type": "bool", "default": True},
        "port": {"type": "int", "default": 443},
        "public_port": {"type": "int"},
        "path": {"type": "str", "default": "/"},
        "status_min": {"type": "int", "default": 200},
        "status_max": {"type": "int", "default": 399},
        "contains": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 30},
        "maintenance": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "dict", "required": True, "options": site},
            "services": {"type": "bool", "default": False},
            "address": {"type": "str", "default": "127.0.0.1"},
            "retry_seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["retry_seconds"]
    visits = [
        visit(module.params["address"], domain, site, deadline)
        for site in module.params["sites"]
        for domain in site["domains"]
        if "*" not in domain
    ]
    said = services(module) if module.params["services"] else ""
    module.exit_json(changed=False, visits=visits, services=said)


if __name__ == "__main__":
    main()
