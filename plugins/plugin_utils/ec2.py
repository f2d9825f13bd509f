# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the variables of role ec2 declare: instances with their names, security groups and tags, and what is let in.

C(options) are the role's variables by name, as the role's spec means them. A I(set) is an item of C(ec2_instances), a
I(machine) one of the instances that it stands for.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import KINDS
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_network
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

ANYWHERE = "anywhere"
EVERYWHERE = ("0.0.0.0/0", "::/0")
# A family of Arm processors has a g behind its generation, but for the first one.
ARM = re.compile(r"(?:a1|[a-z]+\d+[a-z]*g[a-z]*(?:-flex)?)\.")
# What every gp3 has, and nobody pays for.
BASE = {"iops": 3000, "throughput": 125}
# The group of all instances, and the one of those that ssh passes through. No group of an inventory is called so.
ALL, JUMP = "all", "jump"


def prefix(options: Mapping[str, Any]) -> str:
    """What names begin with."""
    return f"{options['ec2_project']}-{options['ec2_environment']}"


def role_name(options: Mapping[str, Any]) -> str:
    """The role of IAM, and the instance profile: an account has them once for all of its regions.

    With the longest names and region it has the 64 characters that Amazon takes.
    """
    return f"{prefix(options)}-{options['ec2_region']}"


def tags(options: Mapping[str, Any], name: str, own: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The tags of a thing: those that say whose it is have the last word."""
    given = {str(key): str(value) for key, value in {**options["ec2_tags"], **(own or {})}.items()}
    return given | {
        "Name": f"{prefix(options)}-{name}",
        "djangofleet_project": options["ec2_project"],
        "djangofleet_environment": options["ec2_environment"],
    }


def architecture(kind: str) -> str:
    """The architecture of an instance type, as Debian calls it."""
    return "arm64" if ARM.match(kind) else "amd64"


def has_data(entry: Mapping[str, Any]) -> bool:
    """Whether a set keeps what is nowhere else."""
    given = entry.get("data")
    return "database" in entry["groups"] if given is None else given


def group_names(options: Mapping[str, Any]) -> list[str]:
    """The groups of the inventory that instances are in."""
    return list(dict.fromkeys(group for entry in options["ec2_instances"] for group in entry["groups"]))


def jump_set(options: Mapping[str, Any]) -> str:
    """The set whose first machine ssh passes through; empty where no instance is private."""
    sets = [entry for entry in options["ec2_instances"] if entry["count"]]
    if all(entry["placement"] == "public" for entry in sets):
        return ""
    return next((entry["name"] for entry in sets if entry["placement"] == "public"), "")


def machine(options: Mapping[str, Any], entry: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One instance of a set."""
    name = f"{entry['name']}{number}"
    groups = [ALL, *entry["groups"], *([JUMP] if entry["name"] == jump_set(options) else [])]
    own = {
        "djangofleet_name": name,
        "djangofleet_set": entry["name"],
        "djangofleet_groups": ",".join(entry["groups"]),
        "djangofleet_data": "true" if has_data(entry) else "false",
    }
    return {
        "name": name,
        "set": entry["name"],
        "type": entry["type"],
        "architecture": architecture(entry["type"]),
        "public": entry["placement"] == "public",
        "elastic": entry["elastic_address"],
        "size": entry["volume"]["size"],
        "volume_type": entry["volume"]["type"],
        "volumes": [further(each) for each in entry["volumes"]],
        "data": has_data(entry),
        "image": entry["image"],
        "groups": sorted(f"{prefix(options)}-{group}" for group in dict.fromkeys(groups)),
        "tags": {**tags(options, name, entry["tags"]), **own},
    }


def further(given: Mapping[str, Any]) -> dict[str, Any]:
    """A volume beside the one that an instance starts from: what is not given is what its type has."""
    base = BASE if given["type"] == "gp3" else dict.fromkeys(BASE, 0)
    return {
        "device": given["device_name"],
        "size": given["size"],
        "type": given["type"],
        **{key: given.get(key) or least for key, least in base.items()},
    }


def machines(options: Mapping[str, Any], there: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The instances that are declared.

    :param there: those that there are, by their names. Of them the lowest numbers stay, and gaps are filled.
    """
    there = there or {}
    names, found = set(there), []
    if options["ec2_state"] == "absent":
        return []
    for entry in options["ec2_instances"]:
        numbers = sorted(number for name in names if (number := number_of(name, entry["name"])))
        kept = numbers[: entry["count"]]
        free = (number for number in range(1, entry["count"] + len(numbers) + 1) if number not in numbers)
        kept += itertools.islice(free, max(entry["count"] - len(kept), 0))
        found += [machine(options, entry, number) for number in sorted(kept)]
    first = _firsts(found, there)
    for each in found:
        own = [group for group, name in first.items() if name == each["name"]]
        each["tags"]["djangofleet_first"] = ",".join(own) or "none"
    return found


def _firsts(machines: Sequence[Mapping[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The machine of each group that keeps what an environment has once.

    It is the one that has been it, whatever sets are declared before it; then one that is there already.
    """

    def order(name: str, group: str) -> int:
        was = there.get(name, {}).get("tags", {}).get("djangofleet_first", "").split(",")
        return 0 if group in was else 1 if name in there else 2

    found: dict[str, str] = {}
    for each in machines:
        for group in each["tags"]["djangofleet_groups"].split(","):
            has = found.get(group)
            if has is None or order(each["name"], group) < order(has, group):
                found[group] = each["name"]
    return found


def number_of(name: str, of: str) -> int:
    """The number of a machine in its set; 0 where it is of another one."""
    match = re.fullmatch(rf"{re.escape(of)}([1-9]\d*)", name)
    return int(match[1]) if match else 0


def questions(options: Mapping[str, Any]) -> dict[str, Any]:
    """What djangofleet.stack.ec2_survey is asked."""
    image = options["ec2_image"]
    wanted = {architecture(entry["type"]) for entry in options["ec2_instances"]}
    names = [f"debian-{image['debian']}-{each}-*" for each in sorted(wanted)]
    ids = [image["id"], *(entry["image"] for entry in options["ec2_instances"])]
    return {
        "region": options["ec2_region"],
        "project": options["ec2_project"],
        "environment": options["ec2_environment"],
        "vpc": options["ec2_network"]["vpc"],
        "images": [*names, *dict.fromkeys(each for each in ids if each)],
        "image_owner": image["owner"],
        "key_name": prefix(options),
        "zone": options["ec2_dns_zone"],
        "role_name": role_name(options),
        "role_needed": bool(options["ec2_backup_bucket"]) or options["ec2_state"] == "absent",
    }


def openings(
    apps: Sequence[Mapping[str, Any]], given: Any, tcp: Sequence[int], udp: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """What the roles listen on, for the groups that the declared instances are in.

    :param apps: resolved ones.
    :param given: C(ec2_instances). What is wrong with it is said elsewhere.
    :param tcp: the ports of Nginx.
    :param udp: those that it has for HTTP/3.
    """
    variable = {"ec2_instances": spec_of("ec2")["ec2_instances"]}
    resolved, wrong = resolve(variable, {"ec2_instances": given})
    sets = [] if wrong else resolved["ec2_instances"]
    there = {group for entry in sets for group in entry["groups"]}
    is_alone = sum(entry["count"] for entry in sets) < 2  # an app and its server speak over a unix socket there
    front = [group for group in ("balancer", "web") if group in there]
    found: list[dict[str, Any]] = []
    # What stands behind a balancer is asked by it alone.
    for group, sources in zip(front, [[ANYWHERE], front[:1]], strict=False):
        found += [{"group": group, "port": str(port), "protocol": "tcp", "sources": sources} for port in tcp]
        if sources == [ANYWHERE]:
            found += [{"group": group, "port": str(port), "protocol": "udp", "sources": sources} for port in udp]
    for kind in KINDS.values():
        if not is_alone and {kind.group, "app"} <= there and any(app.get(kind.name) for app in apps):
            found.append({"group": kind.group, "port": str(kind.port), "protocol": "tcp", "sources": ["app"]})
    return found


def rules(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each security group lets in, by its name, as djangofleet.stack.ec2_survey tells it.

    Another group stands in it by its name.
    """
    found: dict[str, set[str]] = {f"{prefix(options)}-{group}": set() for group in security_groups(options)}
    for opening in [*options["ec2_openings"], *options["ec2_app_openings"]]:
        name = f"{prefix(options)}-{opening['group']}"
        low, _dash, high = opening["port"].partition("-")
        port = low if high in ("", low) else opening["port"]  # as Amazon tells it
        for source in opening["sources"]:
            for each in networks(source) or [f"{prefix(options)}-{source}"]:
                found.setdefault(name, set()).add(f"{opening['protocol']} {port} {each}")
    for port in options["ec2_app_ssh_ports"]:
        for source in options["ec2_ssh_from"]:
            found[f"{prefix(options)}-{ALL}"] |= {f"tcp {port} {each}" for each in networks(source)}
        if jump_set(options):
            found[f"{prefix(options)}-{ALL}"].add(f"tcp {port} {prefix(options)}-{JUMP}")
    return {name: sorted(lines) for name, lines in found.items()}


def security_groups(options: Mapping[str, Any]) -> list[str]:
    """The security groups, without what their names begin with."""
    if options["ec2_state"] == "absent":
        return []
    return [ALL, *group_names(options), *([JUMP] if jump_set(options) else [])]


def networks(source: str) -> list[str]:
    """The networks that a source stands for; none for a group of the inventory."""
    if source == ANYWHERE:
        return list(EVERYWHERE)
    if not is_network(source):
        return []
    return [str(ipaddress.ip_network(source, strict=False))]  # Amazon tells it without the bits of the host


def policy(bucket: str) -> dict[str, Any]:
    """What a role may do that keeps backups in a bucket."""
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Resource": arn},
            {
                "Effect": "Allow",
                "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                "Resource": f"{arn}/*",
            },
        ],
    }
