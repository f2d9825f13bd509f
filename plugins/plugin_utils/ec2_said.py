# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a run of role ec2 says: the plan with its price, what there is at its end, and what an error of Amazon means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2, ec2_ssh, ec2_volumes

CODE = re.compile(r"An error occurred \((\w+)\)|\b([A-Z]\w+(?:Exceeded|InstanceCapacity))\b")
# What helps, by how Amazon's code begins or ends.
ADVICE = {
    "InsufficientInstanceCapacity": "the zone has none of this type: take another type, or other ec2_network.zones",
    "VcpuLimitExceeded": "the account may not have so many processors: ask for more in Service Quotas",
    "InstanceLimitExceeded": "the account may not have more instances: ask for more in Service Quotas",
    "AddressLimitExceeded": "the account may not have more elastic addresses: ask for more in Service Quotas",
    "VpcLimitExceeded": "the account may not have more networks: use ec2_network.vpc: default, or ask for more",
    "NatGatewayLimitExceeded": "the account may not have more NAT gateways in the zone: ask for more in Service Quotas",
    "Unsupported": "this type is not to be had in the zone: take another type, or other ec2_network.zones",
    "UnauthorizedOperation": "your user or role needs that permission",
    "AccessDenied": "your user or role needs that permission",
    "RequestLimitExceeded": "Amazon throttles the account: wait a minute",
    "Throttling": "Amazon throttles the account: wait a minute",
    "OptInRequired": "the account is not signed up for this, or the region is not open to it",
    "PendingVerification": "Amazon still looks at the new account: it may take some hours",
}
# The same where a module hides Amazon's code.
HIDDEN = {
    "Error while modifying volume": "Amazon changes a volume once in some hours: run it again then",
    "Error while attaching EBS volume": "an instance has room for some volumes, while it runs or is stopped",
}


def shown(plan: Mapping[str, Any], options: Mapping[str, Any], survey: Mapping[str, Any] | None = None) -> str:
    """The plan as a person reads it before anything is made."""
    where = f"{ec2.prefix(options)} in {options['ec2_region']}"
    survey = survey or {}
    found = []
    if not survey.get("reached"):
        found += [
            f"No account was asked: {survey.get('reason') or 'nothing has been read'}.",
            "This is what would be made where there is nothing yet.",
            "",
        ]
    steps = plan["steps"]
    if not steps:
        found.append(f"{where}: all is as declared.")
    else:
        signs = [step["sign"] for step in steps]
        counts = [
            (signs.count(sign), word) for sign, word in (("+", "to create"), ("~", "to change"), ("-", "to remove"))
        ]
        found.append(f"{where}: {', '.join(f'{count} {word}' for count, word in counts if count)}")
        found += [f"  {step['sign']} {step['text']}" for step in steps]
    if plan["costs"]:
        found += ["", "What it costs when it is made:", *(f"  {line}" for line in plan["costs"])]
    if plan["notes"]:
        found += ["", *plan["notes"]]
    if plan["refusals"]:
        found += ["", *(f"  ! {line}" for line in plan["refusals"])]
    return "\n".join(found)


def report(plan: Mapping[str, Any], options: Mapping[str, Any], survey: Mapping[str, Any]) -> str:
    """What there is when a run ends, and what comes next."""
    found = survey["found"]
    if options["ec2_state"] == "absent":
        kept = [each["id"] for each in found["snapshots"]]
        said = [f"Nothing of {ec2.prefix(options)} is left in {options['ec2_region']}."]
        said += [f"Snapshots stay, and are paid for: {', '.join(kept)}."] if kept else []
        return "\n".join(said)
    lines = [f"{ec2.prefix(options)} in {options['ec2_region']}"]
    for each in found["instances"]:
        groups = each["tags"].get("djangofleet_groups", "")
        address = f"{each['public_address'] or 'private':<15} {each['private_address']:<15}"
        lines.append(f"  {each['name']:<12} {address} {each['type']:<12} {groups}")
        volumes = [volume for volume in found["volumes"] if volume["instance"] == each["id"]]
        further = [volume for volume in volumes if volume["id"] != each["root"]]
        lines += [f"    {volume['device']:<10} {ec2_volumes.described(volume)}: {volume['id']}" for volume in further]
    names = {entry["name"]: entry["values"] for entry in found["records"] if entry["type"] == "A"}
    for domain in options["ec2_app_domains"]:
        led = names.get(domain.lower())
        lines.append(
            f"  {domain}: leads to {', '.join(led)}"
            if led
            else f"  {domain}: no record of ours; point it there yourself"
        )
    lines += [f"  a month costs about {plan['month']:,.2f} USD", *(f"  {note}" for note in plan["notes"])]
    return "\n".join([*lines, "", "next: ansible-playbook site.yml, with this inventory"])


def unknown(found: Mapping[str, Any], text: str) -> list[str]:
    """The running instances whose host keys a file does not have."""
    known = ec2_ssh.known(text)
    return [each["id"] for each in found["instances"] if each["id"] not in known and each["state"] == "running"]


def advice(failure: Any) -> str:
    """What has failed, in Amazon's words, and what helps."""
    message = str(failure.get("msg", "")) if isinstance(failure, Mapping) else str(failure)
    results = failure.get("results", []) if isinstance(failure, Mapping) else []
    failed = [str(each.get("msg", "")) for each in results if isinstance(each, Mapping) and each.get("failed")]
    text = " ".join(dict.fromkeys([*failed, *([] if failed else [message])]))
    match = CODE.search(text)
    code = (match[1] or match[2]) if match else ""
    helps = next((words for begin, words in ADVICE.items() if code.startswith(begin)), "")
    helps = helps or next((words for said, words in HIDDEN.items() if said in text), "")
    return f"{text}{'; ' if helps else ''}{helps}. What has been made stays, and the next run goes on from there."
