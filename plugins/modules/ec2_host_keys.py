#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the host keys of new instances from their consoles."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_host_keys
short_description: Read the host keys of new instances from their consoles
description:
  - At its first boot cloud-init prints the public host keys of sshd on the console, which only Amazon can have told.
    Who takes them from there need not believe whoever answers first.
  - It waits until all of them have been printed, and gives what it has when the time is over.
  - It changes nothing.
options:
  region:
    description: The region.
    type: str
    required: true
  instances:
    description: Ids of instances.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 600
attributes:
  check_mode:
    description: The same answers as without it, at once.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
requirements: [boto3]
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Read by which keys a new instance is known
  djangofleet.stack.ec2_host_keys:
    region: us-east-1
    instances: [i-0123456789abcdef0]
  register: keys
"""

RETURN = r"""
host_keys:
  description: For each instance that has printed them its keys.
  returned: success
  type: dict
  sample: {i-0123456789abcdef0: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA]}
missing:
  description: The instances that have printed none.
  returned: success
  type: list
  elements: str
  sample: []
"""

import base64
import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.djangofleet.stack.plugins.module_utils.amazon import clients, failures, need_boto

BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(
    r"^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) AAAA[A-Za-z0-9+/]+={0,2}(?= |$)", re.MULTILINE
)
PAUSE = 5


def keys_of(console: str) -> list[str]:
    """The host keys that a console shows last: a machine may have got new ones at a later boot."""
    blocks = BLOCK.findall(console.replace("\r", ""))
    return sorted(key for key in set(KEY.findall(blocks[-1])) if is_whole(key)) if blocks else []


def is_whole(key: str) -> bool:
    """Whether a key has all of its parts. The kernel writes to the same console, and may cut a line in two.

    RFC 4251 section 5: each part has its length before it; the first one names the kind of key.
    """
    kind, text = key.split()
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    parts = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            return False
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return len(parts) > 1 and parts[0] == kind.encode()


def console_of(client: Any, instance: str) -> str:
    """What the console of an instance shows: now, or where its hypervisor cannot tell that, some minutes ago."""
    try:
        return client.get_console_output(InstanceId=instance, Latest=True).get("Output", "")
    except failures.ClientError as error:
        if error.response["Error"]["Code"] not in ("UnsupportedOperation", "InvalidParameterCombination"):
            raise
    return client.get_console_output(InstanceId=instance).get("Output", "")


def wait_for(client: Any, instances: list[str], timeout: float) -> dict[str, list[str]]:
    """The keys by instance, of those that have printed them in time."""
    found: dict[str, list[str]] = {}
    end = time.monotonic() + timeout
    while True:
        for instance in instances:
            if instance not in found and (keys := keys_of(console_of(client, instance))):
                found[instance] = keys
        left = end - time.monotonic()
        if len(found) == len(instances) or left <= 0:
            return found
        time.sleep(min(PAUSE, left))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "region": {"type": "str", "required": True},
            "instances": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    need_boto(module)
    words = module.params
    try:
        (client,) = clients(words["region"], "ec2")
        found = wait_for(client, words["instances"], 0 if module.check_mode else words["timeout"])
    except (failures.BotoCoreError, failures.ClientError) as error:
        module.fail_json(msg=f"the consoles cannot be read: {error}")
    module.exit_json(changed=False, host_keys=found, missing=[each for each in words["instances"] if each not in found])


if __name__ == "__main__":
    main()
