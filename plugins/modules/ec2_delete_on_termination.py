#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say whether a volume goes when its instance does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_delete_on_termination
short_description: Say whether a volume goes when its instance does
description:
  - Sets C(DeleteOnTermination) of a volume that is attached already. M(amazon.aws.ec2_vol) sets it when it attaches
    one, and M(amazon.aws.ec2_instance) when it makes an instance.
options:
  region:
    description: The region.
    type: str
    required: true
  instance:
    description: The id of the instance.
    type: str
    required: true
  device_name:
    description: Where the volume is attached, as Amazon names it.
    type: str
    required: true
  delete_on_termination:
    description: Whether the volume is deleted when the instance is terminated.
    type: bool
    required: true
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: It is one word.
    support: none
requirements: [boto3]
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Keep a volume when its instance goes
  djangofleet.stack.ec2_delete_on_termination:
    region: us-east-1
    instance: i-0123456789abcdef0
    device_name: /dev/sdf
    delete_on_termination: false
"""

RETURN = r"""
volume_id:
  description: The volume.
  returned: success
  type: str
  sample: vol-0123456789abcdef0
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.djangofleet.stack.plugins.module_utils.amazon import clients, failures, need_boto


def attached(client: Any, instance: str, device: str) -> dict[str, Any]:
    """What an instance has at a device; empty where there is nothing."""
    (reservation,) = client.describe_instances(InstanceIds=[instance])["Reservations"]
    mappings = reservation["Instances"][0].get("BlockDeviceMappings", [])
    return next((entry["Ebs"] for entry in mappings if entry["DeviceName"] == device), {})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "str", "required": True} for name in ("region", "instance", "device_name")},
            "delete_on_termination": {"type": "bool", "required": True},
        },
        supports_check_mode=True,
    )
    need_boto(module)
    instance, device, wanted = (module.params[name] for name in ("instance", "device_name", "delete_on_termination"))
    try:
        (client,) = clients(module.params["region"], "ec2")
        has = attached(client, instance, device)
        if not has:
            module.fail_json(msg=f"{instance} has nothing at {device}")
        changed = bool(has.get("DeleteOnTermination")) != wanted
        if changed and not module.check_mode:
            mapping = {"DeviceName": device, "Ebs": {"DeleteOnTermination": wanted}}
            client.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[mapping])
    except (failures.BotoCoreError, failures.ClientError) as error:
        module.fail_json(msg=f"{device} of {instance}: {error}")
    module.exit_json(changed=changed, volume_id=has["VolumeId"])


if __name__ == "__main__":
    main()
