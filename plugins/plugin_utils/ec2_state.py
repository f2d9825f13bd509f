# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is declared for EC2, beside what djangofleet.stack.ec2_survey has found there.

A I(step) has a C(kind), which says the task that makes it, a C(sign), what a person reads, and what the task is given.
A step whose things are not there yet waits for a next round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2

CREATE, CHANGE, REMOVE = "+", "~", "-"
# In the order in which a round makes them.
KINDS = (
    "vpc",
    "gateway",
    "subnet",
    "nat_address",
    "nat",
    "table",
    "key",
    "role",
    "group",
    "rules",
    "instance",
    "start",
    "tags",
    "firewall",
    "protection",
    "metadata",
    "profile",
    "type",
    "volume",
    "volume_new",
    "keep",
    "address",
    "record",
    "leave",
    "snapshot",
    "terminate",
    "release",
    "volume_gone",
    "nat_gone",
    "group_gone",
    "table_gone",
    "subnet_gone",
    "gateway_gone",
    "vpc_gone",
    "key_gone",
    "policy_gone",
    "role_gone",
)
Found = Mapping[str, Any]
Step = dict[str, Any]


def step(kind: str, sign: str, text: str, ready: bool = True, **given: Any) -> Step:
    """One step. What is given reaches the task that makes it."""
    return {"kind": kind, "sign": sign, "text": text, "ready": ready, **given}


class State:
    """What is declared, beside what there is."""

    def __init__(self, options: Mapping[str, Any], found: Found) -> None:
        nothing = {
            "vpc": {},
            "vpcs": [],
            "gateway": {},
            "nat": {},
            "key": {},
            "zone": {},
            "role": {},
            "subnets": [],
            "tables": [],
            "groups": [],
            "foreign_groups": [],
            "elsewhere": [],
            "instances": [],
            "addresses": [],
            "volumes": [],
            "snapshots": [],
            "images": [],
            "records": [],
            "serving": [],
            "zones": [],
            "hosted_zones": [],
            "left_zones": [],
        }
        self.options = options
        self.asked = bool(found)
        self.found: Found = {**nothing, **found}
        self.prefix = ec2.prefix(options)
        self.instances = {each["name"]: each for each in self.found["instances"]}
        self.machines = ec2.machines(options, self.instances)
        self.leaving = [
            each
            for each in self.found["instances"]
            if each["name"] not in {machine["name"] for machine in self.machines}
        ]
        self.groups = {group["name"]: group for group in self.found["groups"]}
        self.volumes = {volume["id"]: volume for volume in self.found["volumes"]}
        self.images = {image["id"]: image for image in self.found["images"]}
        self.vpc = self.found["vpc"].get("id")
        self.owns_network = options["ec2_network"]["vpc"] == "own"
        # The instance profile that instances are to have; empty without a bucket to keep backups in
        self.profile = ec2.role_name(options) if options["ec2_backup_bucket"] else ""

    def tags(self, name: str, own: Mapping[str, Any] | None = None) -> dict[str, str]:
        return ec2.tags(self.options, name, own)

    def is_ours(self, tags: Mapping[str, str]) -> bool:
        """Whether something carries the environment's tags."""
        words = (self.options["ec2_project"], self.options["ec2_environment"])
        return (tags.get("djangofleet_project"), tags.get("djangofleet_environment")) == words

    def zones(self) -> list[str]:
        """The availability zones in use. A network of its own stays in those that it has, if nobody names others."""
        if self.options["ec2_network"]["zones"]:
            return list(self.options["ec2_network"]["zones"])
        own = [*self.own_subnets("public"), *self.own_subnets("private")] if self.owns_network else []
        has = sorted({subnet["zone"] for subnet in own})
        return list(dict.fromkeys([*has, *self.found["zones"]]))[: max(2, len(has))]

    def own_subnets(self, kind: str) -> list[dict[str, Any]]:
        """Those of a network of its own, in zones that nobody names any more too."""
        return [each for each in self.found["subnets"] if each["tags"].get("djangofleet_subnet") == kind]

    def subnets(self, public: bool) -> list[dict[str, Any]]:
        """Those of a kind, where machines may be. In a network of somebody else's zones are a matter of choice."""
        chosen = self.options["ec2_network"]["zones"]
        if self.owns_network:
            own = self.own_subnets("public" if public else "private")
            return [each for each in own if each["zone"] in self.zones()]
        return [
            each
            for each in self.found["subnets"]
            if each["public"] == public and each["zone"] in (chosen or [each["zone"]])
        ]

    def group_ids(self, machine: Mapping[str, Any]) -> list[str]:
        """The security groups of a machine, of those that there are."""
        return [self.groups[name]["id"] for name in machine["groups"] if name in self.groups]

    def image(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        """What a new machine begins with: what is named, what its like have, or the newest."""
        named = machine["image"] or self.options["ec2_image"]["id"]
        if named:
            return self.images.get(named, {})
        begins = f"debian-{self.options['ec2_image']['debian']}-{machine['architecture']}-"
        used = [self.images.get(each["image"], {}) for each in self.found["instances"]]
        like = [each for each in used if each.get("name", "").startswith(begins)]
        newest = [each for each in self.found["images"] if each["asked"] == f"{begins}*"]
        return next(iter([*like, *newest]), {})


def holds_data(there: Mapping[str, Any]) -> bool:
    """Whether an instance keeps what is nowhere else, as it was said when it was made."""
    return there["tags"].get("djangofleet_data") == "true" or there["protected"]
