#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask sites for a page, through the web server of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: visit
short_description: Ask sites for a page through the web server of this host
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
      path:
        description: What is asked for.
        type: str
        default: /
      status_min:
        description: The lowest status that is well.
        type: int
        default: 200
      status_max:
        description: The highest status that is well. 400 never is, since Django refuses a host or a proxy with it.
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
"""

import http.client
import os
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

REDIRECTS = (301, 302, 307, 308)
LONGEST_BODY = 1 << 20


class Answer:
    """What one request came to.

    :param error: why there is no answer; empty if there is one.
    """

    def __init__(self, status: int = 0, location: str = "", body: str = "", certificate: str = "", error: str = ""):
        self.status, self.location, self.body = status, location, body
        self.certificate, self.error = certificate, error


def ask(address: str, domain: str, site: dict[str, Any]) -> Answer:
    """Send one GET to the web server at that address, in the name of the domain."""
    certificate = ""
    try:
        with socket.create_connection((address, site["port"]), timeout=site["timeout"]) as plain:
            stream = plain
            if site["tls"]:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE  # a site may be signed by an authority of its own
                stream = context.wrap_socket(plain, server_hostname=domain)
                certificate = ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True) or b"")
            connection = http.client.HTTPConnection(domain)
            connection.sock = stream
            connection.request("GET", site["path"], headers={"User-Agent": "djangofleet", "Accept": "*/*"})
            answer = connection.getresponse()
            body = answer.read(LONGEST_BODY).decode(errors="replace")
            return Answer(answer.status, answer.getheader("Location") or "", body, certificate)
    except (OSError, http.client.HTTPException) as error:
        return Answer(certificate=certificate, error=str(error) or type(error).__name__)


def own_addresses(domain: str, site: dict[str, Any]) -> tuple[str, ...]:
    """The addresses of the very page that was asked for, as a redirect would name them."""
    scheme = "https" if site["tls"] else "http"
    return tuple(f"{scheme}://{domain}{port}{site['path']}" for port in ("", f":{site['port']}"))


def judge(answer: Answer, domain: str, site: dict[str, Any]) -> tuple[bool, str]:
    """Whether an answer is well, and what is to be said about it."""
    if not answer.status:
        return False, f"no answer: {answer.error}"
    if answer.status == 503 and site["maintenance"] and os.path.exists(site["maintenance"]):
        return True, "in maintenance"
    if answer.status in REDIRECTS and answer.location in own_addresses(domain, site):
        return False, f"{answer.status} to itself, without end: the app does not see that it is asked over HTTPS"
    if answer.status in REDIRECTS and urlsplit(answer.location).hostname in site["domains"]:
        return True, f"{answer.status} to {answer.location}"
    if answer.status == 400:
        return False, "400: Django refuses the host or what the proxy says; look at ALLOWED_HOSTS and the proxy headers"
    if not site["status_min"] <= answer.status <= site["status_max"]:
        return False, f"{answer.status} and not {site['status_min']} to {site['status_max']}"
    if site["contains"] not in answer.body:
        return False, f"{answer.status}, but the answer lacks '{site['contains']}'"
    return True, str(answer.status)


def visit(address: str, domain: str, site: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Ask a domain until it answers well or the deadline, in monotonic seconds, has passed."""
    while True:
        began = time.monotonic()
        answer = ask(address, domain, site)
        seconds = time.monotonic() - began
        is_well, verdict = judge(answer, domain, site)
        if is_well or time.monotonic() > deadline:
            return {
                "name": site["name"],
                "domain": domain,
                "ok": is_well,
                "status": answer.status,
                "seconds": round(seconds, 3),
                "verdict": verdict,
                "certificate": answer.certificate,
            }
        time.sleep(0.5)


def main() -> None:
    site = {
        "name": {"type": "str", "required": True},
        "domains": {"type": "list", "elements": "str", "required": True},
        "tls": {"type": "bool", "default": True},
        "port": {"type": "int", "default": 443},
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
    module.exit_json(changed=False, visits=visits)


if __name__ == "__main__":
    main()
