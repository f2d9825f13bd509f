#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answer many questions about a host in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: survey
short_description: Answer many questions about a host in one execution
description:
  - Looks at units, users, paths and certificates together, since each execution of a module costs about the same
    whatever it does.
  - What the variable C(djangofleet_survey) answers is not asked again. A playbook that needs the answers of several
    roles asks for all of them in one step and registers that variable. A certificate is known by its name there.
  - It changes nothing, and it runs in check mode too.
options:
  units:
    description: Units of systemd, with their suffix.
    type: list
    elements: str
    default: []
  users:
    description: Names of users.
    type: list
    elements: str
    default: []
  paths:
    description: Paths or shell patterns. A pattern does not match names that begin with a dot.
    type: list
    elements: str
    default: []
  certificates:
    description: Certificates to read. Of a key only the public part leaves the host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name that the answer is given under.
        type: str
        required: true
      certificate:
        description: Path of the certificate, or of a chain that begins with it.
        type: str
        required: true
      key:
        description: Path of its private key.
        type: str
        required: true
  databases:
    description:
      - Environment files of systemd, or shell patterns of such. Of each, what C(DATABASE_URL) leads to is told, without
        name and password.
    type: list
    elements: str
    default: []
  files:
    description: Text files to read whole. What they say is shown, so that nothing secret may be in them.
    type: list
    elements: str
    default: []
  questions:
    description:
      - Further questions, each item as the options above have them; what several items ask is asked once.
      - What takes long to evaluate is evaluated once here, and for each option that is made of it otherwise.
    type: list
    elements: dict
    default: []
  fresh:
    description: Ask the host everything, whatever C(djangofleet_survey) answers.
    type: bool
    default: false
attributes:
  check_mode:
    description: The same answers as without it.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Look what is there
  djangofleet.stack.survey:
    units: [nginx.service]
    users: [shop]
    paths: [/etc/nginx/sites/*.conf]
    certificates:
      - {name: shop, certificate: /etc/ssl/shop/fullchain.pem, key: /etc/ssl/shop/privkey.pem}
  register: found

- name: Start Nginx
  ansible.builtin.systemd_service: {name: nginx, state: started, enabled: true}
  when: not (found.units['nginx.service'].active and found.units['nginx.service'].enabled)
"""

RETURN = r"""
units:
  description: For each unit whether it runs and whether it starts at boot. Both are false for a unit that is not there.
  returned: success
  type: dict
  sample: {nginx.service: {active: true, enabled: true}}
users:
  description: For each user whether the host has it.
  returned: success
  type: dict
  sample: {shop: true}
paths:
  description: For each pattern the paths that match it, in order. A link counts, whatever it points to.
  returned: success
  type: dict
  sample: {"/etc/nginx/sites/*.conf": [/etc/nginx/sites/shop.conf]}
certificates:
  description:
    - For each name C(modes), the mode, owner and group of the key and of the certificate, and C(public_key) and
      C(certificate) as PEM.
    - What is missing, or cannot be read by openssl without a passphrase, is an empty string.
  returned: success
  type: dict
  sample: {shop: {modes: "600:root:root 644:root:root", public_key: "-----BEGIN…", certificate: "-----BEGIN…"}}
databases:
  description:
    - For each pattern the files that match it, and for each of these the address of the database. It is empty where
      there is none, and for a file of SQLite that is not there or has nothing in it.
  returned: success
  type: dict
  sample: {"/etc/djangofleet/*/live/env": {/etc/djangofleet/shop/live/env: "sqlite:////srv/shop/data/db.sqlite3"}}
files:
  description: For each file its text. It is empty for one that is not there.
  returned: success
  type: dict
  sample: {/etc/hostname: "web1"}
memory:
  description: The memory of the host in MB, or what a container may have of it.
  returned: success
  type: int
  sample: 3900
"""

import glob
import grp
import os
import pwd
import re
import stat
import subprocess

from ansible.module_utils.basic import AnsibleModule

BOOTED = "/run/systemd/system"  # sd_booted(3)
RUNNING = ("active", "reloading", "refreshing")
ENABLED = ("enabled", "enabled-runtime", "alias")
LIMIT = "/sys/fs/cgroup/memory.max"  # of a container; a host has none at its root
DATABASE = re.compile(r'^DATABASE_URL="((?:[^"\\]|\\.)*)"', re.MULTILINE)  # as systemd.exec(5) quotes it
SQLITE = re.compile(r"(?:sqlite|spatialite):/{2,3}([^?]*)")
PATIENCE = 10  # seconds for openssl: a key may be a named pipe, which nobody ever writes to


class SurveyError(Exception):
    """A question that the host cannot answer."""


def read_units(names: list[str]) -> dict[str, dict[str, bool]]:
    """Ask systemd about all units in one call. Where it does not run, as in a chroot, no unit does.

    :raises SurveyError: systemd runs, but did not answer for each unit, as for a name that it does not allow.
    """
    blocks: list[dict[str, str]] = []
    if names and os.path.isdir(BOOTED):
        # Id is never empty, so that each unit has its paragraph.
        words = ["systemctl", "show", "--property=Id,ActiveState,UnitFileState", "--", *names]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        paragraphs = answer.stdout.strip().split("\n\n") if answer.stdout.strip() else []
        blocks = [dict(line.split("=", 1) for line in paragraph.splitlines()) for paragraph in paragraphs]
        if len(blocks) != len(names):
            raise SurveyError(f"units: systemctl did not answer for all of them: {answer.stderr.strip()}")
    return {
        name: {"active": block.get("ActiveState") in RUNNING, "enabled": block.get("UnitFileState") in ENABLED}
        for name, block in zip(names, blocks or [{}] * len(names), strict=True)
    }


def has_user(name: str) -> bool:
    """Whether the host knows a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def matching(pattern: str) -> list[str]:
    """The paths that match a shell pattern, or the path itself if it is there."""
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern))
    return [pattern] if os.path.lexists(pattern) else []


def name_of(lookup, number: int) -> str:
    """The name of a user or group, as stat(1) prints it."""
    try:
        return lookup(number)[0]
    except KeyError:
        return "UNKNOWN"


def mode_of(path: str) -> str:
    """Mode, owner and group of a path, or nothing if it is not there."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    owner, group = name_of(pwd.getpwuid, found.st_uid), name_of(grp.getgrgid, found.st_gid)
    return f"{stat.S_IMODE(found.st_mode):o}:{owner}:{group}"


def openssl(*words: str) -> str:
    """What openssl prints, or nothing if it fails."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        answer = subprocess.run(["openssl", *words], **quiet, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def read_certificate(certificate: str, key: str) -> dict[str, str]:
    """The public parts of a certificate and its key."""
    return {
        "modes": f"{mode_of(key)} {mode_of(certificate)}".strip(),
        # The empty passphrase makes openssl fail on an encrypted key, where it would ask a terminal.
        "public_key": openssl("pkey", "-in", key, "-passin", "pass:", "-pubout") if os.path.exists(key) else "",
        "certificate": openssl("x509", "-in", certificate) if os.path.exists(certificate) else "",
    }


def database_of(path: str) -> str:
    """Where DATABASE_URL in an environment file leads to, without name and password."""
    try:
        with open(path, errors="replace") as handle:
            found = DATABASE.search(handle.read())
    except OSError:
        return ""
    url = re.sub(r"\\(.)", r"\1", found[1]) if found else ""
    if file := SQLITE.match(url):
        return url if os.path.exists(file[1]) and os.path.getsize(file[1]) else ""
    return re.sub(r"://.*@", "://", url)


def text_of(path: str) -> str:
    """What a file says; nothing if it cannot be read."""
    try:
        with open(path, errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def memory() -> int:
    """The memory of the host in MB, or the limit of a container, if that is lower."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open(LIMIT) as handle:
            found = min(found, int(handle.read()))
    except (OSError, ValueError):  # "max"
        pass
    return found // 1_000_000


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "str", "default": []},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "certificate": {"type": "str", "required": True},
                    "key": {"type": "str", "required": True, "no_log": False},
                },
            },
            "databases": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "str", "default": []},
            "questions": {"type": "list", "elements": "dict", "default": []},
            "fresh": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        module.exit_json(
            changed=False,
            units=read_units(list(dict.fromkeys(asked["units"]))),
            users={name: has_user(name) for name in asked["users"]},
            paths={pattern: matching(pattern) for pattern in asked["paths"]},
            certificates={
                each["name"]: read_certificate(each["certificate"], each["key"]) for each in asked["certificates"]
            },
            databases={
                pattern: {path: database_of(path) for path in matching(pattern)} for pattern in asked["databases"]
            },
            files={path: text_of(path) for path in asked["files"]},
            memory=memory(),
        )
    except SurveyError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
