#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what an environment has on EC2, in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_survey
short_description: Read what an environment has on EC2, in one execution
description:
  - Reads network, security groups, instances with their volumes, addresses, images and records together. A run of the
    role ec2 asks it before it plans and after each round of changes.
  - What belongs to the environment is known by its tags C(djangofleet_project) and C(djangofleet_environment).
  - Credentials are found as boto3 finds them, in the environment, a profile or the role of an instance.
  - It changes nothing, and it runs in check mode too.
options:
  region:
    description: The region.
    type: str
    required: true
  project:
    description: The value of the tag C(djangofleet_project).
    type: str
    required: true
  environment:
    description: The value of the tag C(djangofleet_environment).
    type: str
    required: true
  vpc:
    description: V(default), V(own) for the one with the environment's tags, or the id or name of another one.
    type: str
    default: default
  images:
    description: Names of images with wildcards, or ids. Of each name the newest image is told.
    type: list
    elements: str
    default: []
  image_owner:
    description: The account that images are looked for by name in.
    type: str
    default: self
  key_name:
    description: The name of a key pair.
    type: str
    default: ""
  zone:
    description: The name of a hosted zone whose records are told.
    type: str
    default: ""
  role_name:
    description: The name of a role of IAM, whose instance profile has the same name.
    type: str
    default: ""
  role_needed:
    description: Whether IAM is asked where no instance has that role. It has an address of its own.
    type: bool
    default: false
  serving_name:
    description: A name in the zone. Instances that its record does not lead to are asked for its first page.
    type: str
    default: ""
  serving_port:
    description: Where they are asked, by TLS. Nobody's certificate is looked at.
    type: int
    default: 443
attributes:
  check_mode:
    description: The same answers as without it.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
requirements: [boto3]
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Look what is there
  djangofleet.stack.ec2_survey:
    region: us-east-1
    project: shop
    environment: production
  register: found
"""

RETURN = r"""
reached:
  description: Whether an account could be asked. Without one there is C(reason), and nothing of what follows.
  returned: success
  type: bool
  sample: true
reason:
  description: Why no account could be asked, and what helps.
  returned: when none could be asked
  type: str
  sample: there are no credentials
found:
  description:
    - What there is. C(vpc), C(gateway), C(nat), C(key), C(zone) and C(role) are empty where there is none.
    - C(subnets), C(tables), C(groups), C(instances), C(addresses), C(volumes), C(snapshots), C(images), C(records),
      C(zones), the availability zones, and C(hosted_zones) are lists.
    - C(serving) has the ids of instances that answer for O(serving_name), of those that its record does not lead to.
    - C(left_zones) has C(id), C(name) and C(records) of other hosted zones in which there have been records of the
      environment. The tag C(djangofleet_zones) of its security groups names them.
    - C(foreign_groups) has the names of the other security groups in the network.
    - C(elsewhere) has C(vpc), C(gateway), C(nat), C(subnets), C(tables) and C(groups) of each other network in which
      something carries the environment's tags.
  returned: when an account was asked
  type: dict
  sample: {vpc: {id: vpc-1, cidr: 10.42.0.0/16}}
"""

import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.djangofleet.stack.plugins.module_utils.amazon import (
    UnreadableAnswer,
    clients,
    failures,
    need_boto,
)

ALIVE = ["pending", "running", "stopping", "stopped"]
# The account says who asks no more: what it answers to credentials that are wrong or too old.
UNKNOWN = {"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
REQUEST = "GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: djangofleet\r\nConnection: close\r\n\r\n"
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}


def tags_of(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or item.get("TagSet") or []}


def gateway_of(gateway: dict[str, Any]) -> dict[str, Any]:
    return {"id": gateway["InternetGatewayId"], "tags": tags_of(gateway)}


def moment(when: Any) -> str:
    """A time that can be compared with others as text."""
    return when.strftime("%Y-%m-%dT%H:%M:%S") if when else ""


def volume_of(volume: dict[str, Any], changes: list[dict[str, Any]]) -> dict[str, Any]:
    """A volume; one that is being changed as it will be. Amazon shows it as it was for some seconds or minutes more.

    :param changes: the changes of any volumes that Amazon has begun.
    """
    target = next((each for each in changes if each["VolumeId"] == volume["VolumeId"]), {})
    attachment = next(iter(volume.get("Attachments", [])), {})
    return {
        "id": volume["VolumeId"],
        "size": target.get("TargetSize") or volume["Size"],
        "type": target.get("TargetVolumeType") or volume["VolumeType"],
        "iops": target.get("TargetIops") or volume.get("Iops") or 0,
        "throughput": target.get("TargetThroughput") or volume.get("Throughput") or 0,
        "encrypted": volume["Encrypted"],
        "instance": attachment.get("InstanceId", ""),
        "device": attachment.get("Device", ""),
        "tags": tags_of(volume),
    }


class Account:
    """What one region of an account answers about an environment."""

    def __init__(self, words: dict[str, Any]) -> None:
        self.words = words
        self.ec2, self.route53, self.iam = clients(words["region"], "ec2", "route53", "iam")
        self.ours = [
            {"Name": "tag:djangofleet_project", "Values": [words["project"]]},
            {"Name": "tag:djangofleet_environment", "Values": [words["environment"]]},
        ]

    def all(self, what: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
        """All items of a list that comes in pages."""
        if not self.ec2.can_paginate(what):
            return getattr(self.ec2, what)(**arguments).get(key, [])
        return [item for page in self.ec2.get_paginator(what).paginate(**arguments) for item in page.get(key, [])]

    def survey(self) -> dict[str, Any]:
        zones = self.all(
            "describe_availability_zones", "AvailabilityZones", Filters=[{"Name": "state", "Values": ["available"]}]
        )
        vpc, candidates = self.vpc()
        found: dict[str, Any] = {
            "zones": sorted(
                zone["ZoneName"] for zone in zones if zone.get("ZoneType", "availability-zone") == "availability-zone"
            ),
            "vpc": vpc,
            "vpcs": candidates,
            "gateway": {},
            "nat": {},
            "subnets": [],
            "tables": [],
            "groups": [],
            "foreign_groups": [],
            "elsewhere": self.elsewhere(vpc.get("id", "")),
        }
        if vpc:
            found |= self.network(vpc["id"])
        instances, addresses = self.instances(), self.addresses()
        groups = [group for place in (found, *found["elsewhere"]) for group in place["groups"]]
        zone = self.zone({name for group in groups for name in group["tags"].get("djangofleet_zones", "").split()})
        return (
            found
            | {
                "key": self.key(),
                "instances": instances,
                "addresses": addresses,
                "serving": self.serving(instances, addresses, zone["records"]),
                "volumes": self.volumes([instance["id"] for instance in instances]),
                "snapshots": self.snapshots(),
                "images": self.images([instance["image"] for instance in instances]),
                "role": self.role() if self.uses_role(instances) else {},
            }
            | zone
        )

    def vpc(self) -> tuple[dict[str, Any], list[str]]:
        """The network, and the ids of all that could be meant."""
        wanted = self.words["vpc"]
        if wanted == "default":
            filters = [{"Name": "is-default", "Values": ["true"]}]
        elif wanted == "own":
            filters = self.ours
        elif wanted.startswith("vpc-"):
            filters = [{"Name": "vpc-id", "Values": [wanted]}]
        else:
            filters = [{"Name": "tag:Name", "Values": [wanted]}]
        vpcs = self.all("describe_vpcs", "Vpcs", Filters=filters)
        return self.vpc_of(vpcs[0]) if len(vpcs) == 1 else {}, [vpc["VpcId"] for vpc in vpcs]

    @staticmethod
    def vpc_of(vpc: dict[str, Any]) -> dict[str, Any]:
        return {"id": vpc["VpcId"], "cidr": vpc["CidrBlock"], "tags": tags_of(vpc)}

    def elsewhere(self, here: str) -> list[dict[str, Any]]:
        """Other networks in which something of the environment is: one that the inventory named before, or its own."""
        gateways = self.all("describe_internet_gateways", "InternetGateways", Filters=self.ours)
        tagged = [
            *self.all("describe_vpcs", "Vpcs", Filters=self.ours),
            *self.all("describe_security_groups", "SecurityGroups", Filters=self.ours),
            *self.all("describe_subnets", "Subnets", Filters=self.ours),
            *self.all("describe_route_tables", "RouteTables", Filters=self.ours),
            *self.nats(),
            *(entry for gateway in gateways for entry in gateway.get("Attachments", [])),
        ]
        ids = sorted({each["VpcId"] for each in tagged} - {here})
        vpcs = self.all("describe_vpcs", "Vpcs", Filters=[{"Name": "vpc-id", "Values": ids}]) if ids else []
        nothing = {"vpc": {}, "nat": {}, "subnets": [], "tables": [], "groups": []}
        return [
            *({**self.network(vpc["VpcId"]), "vpc": self.vpc_of(vpc)} for vpc in vpcs),
            *({**nothing, "gateway": gateway_of(each)} for each in gateways if not each.get("Attachments")),
        ]

    def nats(self, *filters: dict[str, Any]) -> list[dict[str, Any]]:
        """The environment's NAT gateways that there are."""
        there = {"Name": "state", "Values": ["pending", "available"]}
        return self.all("describe_nat_gateways", "NatGateways", Filter=[*filters, *self.ours, there])

    def network(self, vpc: str) -> dict[str, Any]:
        inside = [{"Name": "vpc-id", "Values": [vpc]}]
        gateways = self.all(
            "describe_internet_gateways", "InternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}]
        )
        nats = self.nats(*inside)
        tables = [self.table(table) for table in self.all("describe_route_tables", "RouteTables", Filters=inside)]
        main = next((table for table in tables if table["main"]), {"routes": {}})
        by_subnet = {subnet: table for table in tables for subnet in table["subnets"]}
        subnets = [
            {
                "id": subnet["SubnetId"],
                "zone": subnet["AvailabilityZone"],
                "cidr": subnet["CidrBlock"],
                "public": bool(subnet.get("DefaultForAz"))
                or by_subnet.get(subnet["SubnetId"], main)["routes"].get("0.0.0.0/0", "").startswith("igw-"),
                "tags": tags_of(subnet),
            }
            for subnet in self.all("describe_subnets", "Subnets", Filters=inside)
        ]
        groups = self.all("describe_security_groups", "SecurityGroups", Filters=inside)
        ours = {"djangofleet_project": self.words["project"], "djangofleet_environment": self.words["environment"]}
        own = [group for group in groups if tags_of(group).items() >= ours.items()]
        return {
            "gateway": gateway_of(gateways[0]) if gateways else {},
            "nat": {
                "id": nats[0]["NatGatewayId"],
                "state": nats[0]["State"],
                "tags": tags_of(nats[0]),
                "allocations": [entry.get("AllocationId", "") for entry in nats[0].get("NatGatewayAddresses", [])],
            }
            if nats
            else {},
            "tables": tables,
            "subnets": sorted(subnets, key=lambda subnet: (subnet["zone"], subnet["cidr"])),
            "groups": [
                {
                    "id": group["GroupId"],
                    "name": group["GroupName"],
                    "tags": tags_of(group),
                    "rules": sorted(rule for entry in group["IpPermissions"] for rule in rules_of(entry)),
                }
                for group in own
            ],
            "foreign_groups": sorted(group["GroupName"] for group in groups if group not in own),
        }

    def table(self, table: dict[str, Any]) -> dict[str, Any]:
        routes = {
            route["DestinationCidrBlock"]: route.get("GatewayId") or route.get("NatGatewayId") or ""
            for route in table["Routes"]
            if "DestinationCidrBlock" in route
        }
        bound = table.get("Associations", [])
        return {
            "id": table["RouteTableId"],
            "tags": tags_of(table),
            "main": any(entry.get("Main") for entry in bound),
            "subnets": [entry["SubnetId"] for entry in bound if entry.get("SubnetId")],
            "routes": routes,
        }

    def key(self) -> dict[str, Any]:
        if not self.words["key_name"]:
            return {}
        pairs = self.all(
            "describe_key_pairs",
            "KeyPairs",
            IncludePublicKey=True,
            Filters=[{"Name": "key-name", "Values": [self.words["key_name"]]}],
        )
        if not pairs:
            return {}
        return {
            "id": pairs[0].get("KeyPairId", ""),
            "name": pairs[0]["KeyName"],
            "public_key": pairs[0].get("PublicKey", ""),
            "tags": tags_of(pairs[0]),
        }

    def instances(self) -> list[dict[str, Any]]:
        filters = [*self.ours, {"Name": "instance-state-name", "Values": ALIVE}]
        reservations = self.all("describe_instances", "Reservations", Filters=filters)
        found = [self.instance(each) for reservation in reservations for each in reservation["Instances"]]
        return sorted(found, key=lambda instance: (instance["name"], instance["id"]))

    def instance(self, instance: dict[str, Any]) -> dict[str, Any]:
        tags = tags_of(instance)
        protection = self.ec2.describe_instance_attribute(
            InstanceId=instance["InstanceId"], Attribute="disableApiTermination"
        )
        disks = {entry["DeviceName"]: entry["Ebs"] for entry in instance.get("BlockDeviceMappings", [])}
        root = instance.get("RootDeviceName", "")
        return {
            "id": instance["InstanceId"],
            "name": tags.get("djangofleet_name", ""),
            "set": tags.get("djangofleet_set", ""),
            "tags": tags,
            "state": instance["State"]["Name"],
            "type": instance["InstanceType"],
            "image": instance["ImageId"],
            "architecture": instance.get("Architecture", ""),
            "subnet": instance.get("SubnetId", ""),
            "vpc": instance.get("VpcId", ""),
            "zone": instance.get("Placement", {}).get("AvailabilityZone", ""),
            "private_address": instance.get("PrivateIpAddress", ""),
            "public_address": instance.get("PublicIpAddress", ""),
            "groups": sorted(group["GroupName"] for group in instance.get("SecurityGroups", [])),
            "profile": instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
            "tokens": instance.get("MetadataOptions", {}).get("HttpTokens", ""),
            "protected": bool(protection.get("DisableApiTermination", {}).get("Value")),
            "launched": moment(instance.get("LaunchTime")),
            "root": disks.get(root, {}).get("VolumeId", ""),
            "root_device": root,
            "keeps": sorted(disk["VolumeId"] for disk in disks.values() if not disk.get("DeleteOnTermination")),
        }

    def addresses(self) -> list[dict[str, Any]]:
        return [
            {
                "id": entry["AllocationId"],
                "address": entry["PublicIp"],
                "instance": entry.get("InstanceId", ""),
                "association": entry.get("AssociationId", ""),
                "name": tags_of(entry).get("djangofleet_name", ""),
                "tags": tags_of(entry),
            }
            for entry in self.all("describe_addresses", "Addresses", Filters=self.ours)
        ]

    def serving(
        self, instances: list[dict[str, Any]], addresses: list[dict[str, Any]], records: list[dict[str, Any]]
    ) -> list[str]:
        """The instances that answer, of those that the record does not lead to. Where there is none nobody is asked."""
        name = self.words["serving_name"]
        led = [each["values"] for each in records if (each["name"], each["type"]) == (name, "A")]
        if not led:
            return []
        elastic = {entry["instance"]: entry["address"] for entry in addresses}
        places = {each["id"]: elastic.get(each["id"]) or each["public_address"] for each in instances}
        asked = {identity: address for identity, address in places.items() if address and address not in led[0]}
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = pool.map(lambda address: serves(address, self.words["serving_port"], name), asked.values())
            return [identity for identity, answer in zip(asked, answers, strict=True) if answer]

    def volumes(self, instances: list[str]) -> list[dict[str, Any]]:
        """Those with the environment's tags, and those that its instances have."""
        found = self.all("describe_volumes", "Volumes", Filters=self.ours)
        if instances:
            attached = [{"Name": "attachment.instance-id", "Values": instances}]
            found += self.all("describe_volumes", "Volumes", Filters=attached)
        volumes = {volume["VolumeId"]: volume for volume in found}
        under_way = [{"Name": "modification-state", "Values": ["modifying"]}]
        changing = self.all("describe_volumes_modifications", "VolumesModifications", Filters=under_way)
        return [volume_of(volume, changing) for _name, volume in sorted(volumes.items())]

    def snapshots(self) -> list[dict[str, Any]]:
        return [
            {
                "id": entry["SnapshotId"],
                "volume": entry.get("VolumeId", ""),
                "state": entry.get("State", ""),
                "started": moment(entry.get("StartTime")),
                "tags": tags_of(entry),
            }
            for entry in self.all("describe_snapshots", "Snapshots", Filters=self.ours, OwnerIds=["self"])
        ]

    def images(self, used: list[str]) -> list[dict[str, Any]]:
        """The newest image of each name, those by their id, and those that instances were made of."""
        ids = {name for name in self.words["images"] if name.startswith("ami-")} | set(used)
        found = (
            self.all("describe_images", "Images", Filters=[{"Name": "image-id", "Values": sorted(ids)}]) if ids else []
        )
        for name in self.words["images"]:
            if not name.startswith("ami-"):
                known = self.all(
                    "describe_images",
                    "Images",
                    Owners=[self.words["image_owner"]],
                    Filters=[{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}],
                )
                found += [{**max(known, key=lambda image: image["CreationDate"]), "Asked": name}] if known else []
        return [
            {
                "id": image["ImageId"],
                "name": image.get("Name", ""),
                "asked": image.get("Asked", image["ImageId"]),
                "architecture": {"x86_64": "amd64"}.get(image["Architecture"], image["Architecture"]),
                "root_device": image.get("RootDeviceName", "/dev/xvda"),
                "smallest": max(
                    [
                        entry["Ebs"].get("VolumeSize", 0)
                        for entry in image.get("BlockDeviceMappings", [])
                        if "Ebs" in entry and entry.get("DeviceName") == image.get("RootDeviceName")
                    ]
                    or [0]
                ),
            }
            for image in found
        ]

    def uses_role(self, instances: list[dict[str, Any]]) -> bool:
        name = self.words["role_name"]
        return bool(name) and (self.words["role_needed"] or any(each["profile"] == name for each in instances))

    def role(self) -> dict[str, Any]:
        name = self.words["role_name"]
        try:
            role = self.iam.get_role(RoleName=name)["Role"]
        except failures.ClientError as error:
            # Who may not even ask has made none.
            if error.response["Error"]["Code"] not in {"NoSuchEntity", *DENIED}:
                raise
            return {}
        policies = self.iam.list_role_policies(RoleName=name)["PolicyNames"]
        documents = {
            each: self.iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in policies
        }
        profiles = self.iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]
        return {
            "name": name,
            "tags": tags_of(role),
            "policies": documents,
            "profiles": [profile["InstanceProfileName"] for profile in profiles],
        }

    def zone(self, known: set[str]) -> dict[str, Any]:
        """The hosted zone with its records, and others in which there have been some.

        :param known: the names of these.
        """
        wanted = self.words["zone"].rstrip(".").lower()
        if not wanted and not known:
            return {"zone": {}, "hosted_zones": [], "records": [], "left_zones": []}
        pages = self.route53.get_paginator("list_hosted_zones").paginate()
        zones = [
            zone for page in pages for zone in page["HostedZones"] if not zone.get("Config", {}).get("PrivateZone")
        ]
        names = sorted(zone["Name"].rstrip(".") for zone in zones)
        ids: dict[str, str] = {}
        for zone in zones:
            ids.setdefault(zone["Name"].rstrip(".").lower(), zone["Id"].rpartition("/")[2])
        left = [
            {"id": ids[name], "name": name, "records": self.records(ids[name])}
            for name in sorted(known - {wanted})
            if name in ids
        ]
        here = {"id": ids[wanted], "name": wanted} if wanted in ids else {}
        records = self.records(here["id"]) if here else []
        return {"zone": here, "hosted_zones": names, "records": records, "left_zones": left}

    def records(self, zone: str) -> list[dict[str, Any]]:
        sets = self.route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
        return [
            {
                "name": entry["Name"].rstrip(".").lower().replace("\\052", "*"),
                "type": entry["Type"],
                "ttl": entry.get("TTL", 0),
                "values": sorted(value["Value"] for value in entry.get("ResourceRecords", [])),
            }
            for page in sets
            for entry in page["ResourceRecordSets"]
        ]


def serves(address: str, port: int, name: str) -> bool:
    """Whether the first page of a name is to be had at an address: an answer, and no error of the server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what is asked for is no secret
    try:
        with (
            socket.create_connection((address, port), timeout=5) as connection,
            context.wrap_socket(connection, server_hostname=name) as secure,
        ):
            secure.sendall(REQUEST.format(name=name).encode())
            response = http.client.HTTPResponse(secure)
            response.begin()
            return response.status < 500
    except (OSError, http.client.HTTPException):
        return False


def rules_of(permission: dict[str, Any]) -> list[str]:
    """What one entry lets in, as texts such as "tcp 443 0.0.0.0/0", "tcp 5432 sg-1" or "all * 10.0.0.0/8"."""
    protocol = {"-1": "all"}.get(permission["IpProtocol"], permission["IpProtocol"])
    low, high = permission.get("FromPort"), permission.get("ToPort")
    ports = "*" if low is None or protocol == "all" else str(low) if low == high else f"{low}-{high}"
    sources = [entry["CidrIp"] for entry in permission.get("IpRanges", [])]
    sources += [entry["CidrIpv6"] for entry in permission.get("Ipv6Ranges", [])]
    sources += [entry["GroupId"] for entry in permission.get("UserIdGroupPairs", []) if entry.get("GroupId")]
    sources += [entry["PrefixListId"] for entry in permission.get("PrefixListIds", [])]
    return [f"{protocol} {ports} {source}" for source in sources]


def explained(error: Exception, region: str) -> str:
    """What an error means that no account could be asked for; empty for one that an account has answered."""
    if isinstance(error, (failures.NoCredentialsError, failures.PartialCredentialsError)):
        return (
            "there are no credentials; give AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the "
            "environment, or run where an instance has a role"
        )
    if isinstance(error, (failures.ProfileNotFound, failures.ConfigParseError, failures.CredentialRetrievalError)):
        return f"the credentials cannot be read: {error}"
    if isinstance(error, (failures.TokenRetrievalError, failures.SSOError)):
        return f"the session of single sign-on is over: {error}; log in again"
    if isinstance(error, (failures.EndpointConnectionError, failures.ConnectTimeoutError)):
        return f"the region '{region}' cannot be reached: {error}; is ec2_region right, and is there a network?"
    if isinstance(error, failures.InvalidRegionError):
        return f"ec2_region: found '{region}'; give a region such as us-east-1"
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    if code in UNKNOWN:
        return f"the account does not know these credentials, or the region '{region}' is not open to it ({code})"
    if code in EXPIRED:
        return f"the credentials have expired ({code}); fetch new ones"
    return ""


def main() -> None:
    text = {"type": "str"}
    module = AnsibleModule(
        argument_spec={
            **{name: {**text, "required": True} for name in ("region", "project", "environment")},
            "vpc": {**text, "default": "default"},
            "images": {"type": "list", "elements": "str", "default": []},
            "image_owner": {**text, "default": "self"},
            **{name: {**text, "default": ""} for name in ("key_name", "zone", "role_name", "serving_name")},
            "role_needed": {"type": "bool", "default": False},
            "serving_port": {"type": "int", "default": 443},
        },
        supports_check_mode=True,
    )
    need_boto(module)
    try:
        found = Account(module.params).survey()
    except UnreadableAnswer as error:
        module.fail_json(msg=f"what answers is no API of Amazon: {error}; is AWS_ENDPOINT_URL set, or a proxy between?")
    except (failures.BotoCoreError, failures.ClientError) as error:
        reason = explained(error, module.params["region"])
        if reason:
            module.exit_json(changed=False, reached=False, reason=reason, found={})
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        advice = "; its user or role needs that permission" if code in DENIED else ""
        module.fail_json(msg=f"Amazon refused to tell what there is: {error}{advice}")
    module.exit_json(changed=False, reached=True, reason="", found=found)


if __name__ == "__main__":
    main()
