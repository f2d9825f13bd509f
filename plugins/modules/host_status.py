#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a host how it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: Ask a host how its apps, backups, certificates and units are
description:
  - Asks C(djangoctl), C(djangofleet-backup) and C(djangofleet-acme) where the host has them, and systemd, and reads the
    certificates that sites of Nginx name. All of it in one execution, and each program at the same time.
  - It changes nothing, and it runs in check mode too. Wants root.
author: djangofleet developers (@djangofleet)
options:
  timeout:
    description: Seconds that each program may take.
    type: int
    default: 60
attributes:
  check_mode:
    description: The same answers as without it.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Ask how the host is
  djangofleet.stack.host_status:
  register: found
"""

RETURN = r"""
status:
  description: What the host says of itself. What could not be asked is null, and RV(status.problems) says why.
  returned: success
  type: dict
  contains:
    apps:
      description: What C(djangoctl list --json) says of each app; empty where there is no djangoctl.
      type: list
      elements: dict
    backups:
      description:
        - What C(djangofleet-backup status --json) says of each part, such as C(newest), in seconds since the epoch, and
          C(faults). It is null too where the host has no backup.
      type: list
      elements: dict
    sites:
      description: >-
        The sites of Nginx that have a certificate, with C(name), C(domains), the path of the C(certificate) and its
        C(end) in seconds since the epoch, which is null where it cannot be read.
      type: list
      elements: dict
    acme:
      description: What is wrong with certificates of an ACME authority, each with C(name) and C(problem).
      type: list
      elements: dict
    failed_units:
      description: The units of systemd that have failed.
      type: list
      elements: str
    reboot:
      description: Whether the host waits for a reboot.
      type: bool
    reboot_packages:
      description: The packages that want it.
      type: list
      elements: str
    problems:
      description: What could not be asked, a line each.
      type: list
      elements: str
"""

import glob
import json
import os
import re
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

DJANGOCTL = "/usr/local/bin/djangoctl"
BACKUP = "/usr/local/bin/djangofleet-backup"
BACKUP_CONFIG = "/etc/djangofleet-backup/config.json"
ACME = "/usr/local/bin/djangofleet-acme"
ACME_CONFIG = "/etc/djangofleet-acme/config.json"
BOOTED = "/run/systemd/system"  # sd_booted(3)
NGINX = "/etc/nginx"
REBOOT = "/run/reboot-required"
CERTIFICATE = re.compile(r'^\s*ssl_certificate\s+(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+));', re.MULTILINE)
NAMES = re.compile(r"^\s*server_name\s+([^;]+);", re.MULTILINE)


class StatusError(Exception):
    """What a program that was asked has not told."""


def answer(words: list[str], timeout: int) -> str:
    """What a program prints, whatever its exit code: that of the programs asked here is about what they found.

    :raises StatusError: it cannot be run, takes too long, or prints nothing but an error.
    """
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace"}
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(words, **quiet, check=False, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired:
        raise StatusError(f"{words[0]}: no answer within {timeout} s") from None
    except OSError as error:
        raise StatusError(f"{words[0]}: {error.strerror}") from None
    if done.returncode and not done.stdout.strip():
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        raise StatusError(f"{words[0]} ended with {done.returncode}: {said[-1]}")
    return done.stdout


def listed(words: list[str], key: str, timeout: int) -> list[dict]:
    """A list out of the JSON that a program prints.

    :raises StatusError: there is no such list.
    """
    said = answer(words, timeout)
    try:
        content = json.loads(said)
        found = content.get(key)
    except (ValueError, AttributeError):
        raise StatusError(f"{words[0]}: prints no JSON") from None
    if not isinstance(found, list):
        raise StatusError(f"{words[0]}: {content.get('message') or f'says nothing of {key}'}")
    return found


def apps(timeout: int) -> list[dict]:
    """What djangoctl says of each app."""
    return listed([DJANGOCTL, "list", "--json"], "apps", timeout) if os.path.exists(DJANGOCTL) else []


def backups(timeout: int) -> list[dict] | None:
    """What is said of each part of the host's backup; None where it has none."""
    if not (os.path.exists(BACKUP) and os.path.exists(BACKUP_CONFIG)):
        return None
    return listed([BACKUP, "status", "--json"], "parts", timeout)


def acme(timeout: int) -> list[dict]:
    """What is wrong with certificates of an ACME authority."""
    is_there = os.path.exists(ACME) and os.path.exists(ACME_CONFIG)
    return listed([ACME, "status", "--json"], "problems", timeout) if is_there else []


def failed_units(timeout: int) -> list[str]:
    """The units that have failed."""
    if not os.path.isdir(BOOTED):
        return []
    words = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full", "--no-pager"]
    return [line.split()[0] for line in answer(words, timeout).splitlines() if line.split()]


def sites(timeout: int) -> list[dict]:
    """The sites of Nginx that have a certificate. One certificate of several sites is read once."""
    found, ends = [], {}
    for path in sorted(glob.glob(f"{NGINX}/sites/*.conf")):
        try:
            with open(path, errors="replace") as handle:
                text = handle.read()
        except OSError:
            continue
        named = CERTIFICATE.search(text)
        if not named:
            continue
        certificate = re.sub(r"\\(.)", r"\1", named[1]) if named[1] is not None else named[2]
        certificate = os.path.join(NGINX, certificate)
        if certificate not in ends:
            ends[certificate] = end_of(certificate, timeout)
        domains = dict.fromkeys(name for names in NAMES.findall(text) for name in names.split())
        site = {"name": os.path.basename(path)[: -len(".conf")], "domains": list(domains)}
        found.append({**site, "certificate": certificate, "end": ends[certificate]})
    return found


def end_of(certificate: str, timeout: int) -> int | None:
    """When a certificate ends, in seconds since the epoch; None if that cannot be read."""
    try:
        said = answer(["openssl", "x509", "-noout", "-enddate", "-in", certificate], timeout)
        return int(ssl.cert_time_to_seconds(said.strip().partition("=")[2]))
    except (StatusError, ValueError):
        return None


def reboot_packages(timeout: int) -> list[str]:
    """The packages that want a reboot, as far as they have said so."""
    try:
        with open(f"{REBOOT}.pkgs", errors="replace") as handle:
            return sorted(set(handle.read().split()))
    except OSError:
        return []


def status(timeout: int) -> dict:
    """All of it. What one program does not tell keeps none of the others from it."""
    asked = {
        "apps": apps,
        "backups": backups,
        "acme": acme,
        "failed_units": failed_units,
        "sites": sites,
        "reboot_packages": reboot_packages,
    }
    found: dict = {"reboot": os.path.exists(REBOOT)}
    problems = []
    with ThreadPoolExecutor(len(asked)) as pool:
        running = {name: pool.submit(ask, timeout) for name, ask in asked.items()}
        for name, answering in running.items():
            try:
                found[name] = answering.result()
            except StatusError as error:
                found[name] = None
                problems.append(str(error))
    return {**found, "problems": problems}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"timeout": {"type": "int", "default": 60}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, status=status(module.params["timeout"]))


if __name__ == "__main__":
    main()
