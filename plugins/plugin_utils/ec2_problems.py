# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables of role ec2, one line each, before Amazon is asked anything."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2, ec2_records, ec2_volumes
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_domain, is_network
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,22}[a-z0-9])?")
SET = re.compile(r"[a-z](?:[a-z0-9-]{0,20}[a-z])?")  # its machines have numbers
REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
ZONE = re.compile(rf"{REGION.pattern}[a-z]")
TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
GROUP = re.compile(r"[a-z_][a-z0-9_]{0,31}")
KEY = re.compile(r"ssh-(?:rsa|ed25519) [A-Za-z0-9+/]{60,}={0,2}(?: .*)?")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")
RESERVED = {ec2.ALL, ec2.JUMP, "ec2", "ungrouped", "localhost"}
PORTS = re.compile(r"([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?")


def problems(given: Mapping[str, Any], inventory: Any = None) -> list[str]:
    """What is wrong with the variables.

    :param given: the variables by name, as an inventory gives them.
    :param inventory: the content of aws_ec2.yml; nothing where there is none to compare with.
    """
    options, found = resolve(spec_of("ec2"), given)
    if found:
        return found
    found = [*_whose(options), *_inventory(options, inventory)]
    if options["ec2_state"] == "present":
        found += [*_access(options), *_network(options), *_sets(options), *_openings(options), *_records(options)]
        found += _others(options)
    return found


def _whose(options: Mapping[str, Any]) -> Iterator[str]:
    for name in ("ec2_project", "ec2_environment"):
        if not NAME.fullmatch(options[name]):
            yield problem(name, options[name], "a name of up to 24 small letters, digits and hyphens")
    if not REGION.fullmatch(options["ec2_region"]):
        yield problem("ec2_region", options["ec2_region"], "a region such as us-east-1")


def _inventory(options: Mapping[str, Any], inventory: Any) -> Iterator[str]:
    """The dynamic inventory has to look for what is made: it cannot read these variables."""
    if inventory is None:
        return
    if not isinstance(inventory, Mapping):
        yield "aws_ec2.yml: is no mapping; give the one of inventories/ec2"
        return
    filters = inventory.get("filters")
    filters = filters if isinstance(filters, Mapping) else {}
    wanted = {
        "regions": (inventory.get("regions"), [options["ec2_region"]]),
        "filters.tag:djangofleet_project": (filters.get("tag:djangofleet_project"), options["ec2_project"]),
        "filters.tag:djangofleet_environment": (filters.get("tag:djangofleet_environment"), options["ec2_environment"]),
    }
    for path, (has, should) in wanted.items():
        if has != should:
            yield problem(f"aws_ec2.yml: {path}", has, f"{should}, as group_vars/all.yml says")


def _access(options: Mapping[str, Any]) -> Iterator[str]:
    key = options["ec2_public_key"].strip()
    if key and not KEY.fullmatch(key):  # without one the plan is shown, and says so
        yield problem("ec2_public_key", key, "a public key of the kind ssh-ed25519 or ssh-rsa, as a line of text")
    if not options["ec2_ssh_from"]:
        yield "ec2_ssh_from: is empty; give the networks that you log in from, or anywhere for the whole internet"
    for number, source in enumerate(options["ec2_ssh_from"]):
        if source != ec2.ANYWHERE and not is_network(source):
            yield problem(
                f"ec2_ssh_from[{number}]", source, "an address or a network such as 203.0.113.7/32, or anywhere"
            )
        elif set(ec2.networks(source)) & set(ec2.EVERYWHERE) and source != ec2.ANYWHERE:
            yield problem(f"ec2_ssh_from[{number}]", source, "the word anywhere if you mean the whole internet")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", options["ec2_user"]):
        yield problem("ec2_user", options["ec2_user"], "the name of a user")
    for number, port in enumerate(options["ec2_app_ssh_ports"]):
        if not 0 < port < 65536:
            yield problem(f"ec2_app_ssh_ports[{number}]", port, "a port")


def _network(options: Mapping[str, Any]) -> Iterator[str]:
    network = options["ec2_network"]
    if not network["vpc"].strip():
        yield problem("ec2_network.vpc", network["vpc"], "default, own, or the id or name of a VPC")
    try:
        length = ipaddress.IPv4Network(network["cidr"]).prefixlen
    except ValueError:
        length = 0
    if not 16 <= length <= 24:
        yield problem("ec2_network.cidr", network["cidr"], "a network from /16 to /24, such as 10.42.0.0/16")
    for number, zone in enumerate(network["zones"]):
        if not ZONE.fullmatch(zone) or not zone.startswith(options["ec2_region"]):
            wanted = f"an availability zone of the region, such as {options['ec2_region']}a"
            yield problem(f"ec2_network.zones[{number}]", zone, wanted)
    if len(network["zones"]) > 8 or len(set(network["zones"])) < len(network["zones"]):
        yield problem("ec2_network.zones", network["zones"], "up to eight, each once")


def _sets(options: Mapping[str, Any]) -> Iterator[str]:
    sets = options["ec2_instances"]
    if not sets:
        yield "ec2_instances: is empty; give at least one set, such as {name: app, groups: [web, app], type: t4g.small}"
    yield from _twice("ec2_instances", [entry["name"] for entry in sets])
    for path, entry in labelled("ec2_instances", sets):
        if not SET.fullmatch(entry["name"]) or entry["name"] in RESERVED:
            yield problem(
                f"{path}.name", entry["name"], "a name of small letters and hyphens, without a digit at its end"
            )
        for number, group in enumerate(entry["groups"]):
            if not GROUP.fullmatch(group) or group in RESERVED:
                yield problem(
                    f"{path}.groups[{number}]", group, "a group of the inventory, such as web, app or database"
                )
        if not entry["groups"]:
            yield f"{path}.groups: is empty; give the groups of the inventory, such as [web, app]"
        if not 0 <= entry["count"] <= 99:
            yield problem(f"{path}.count", entry["count"], "a whole number from 0 to 99")
        if not TYPE.fullmatch(entry["type"]):
            yield problem(f"{path}.type", entry["type"], "an instance type such as t4g.small")
        if not 8 <= entry["volume"]["size"] <= 16384:
            yield problem(f"{path}.volume.size", entry["volume"]["size"], "GiB from 8 to 16384")
        yield from ec2_volumes.problems(path, entry)
        if entry["image"] and not IMAGE.fullmatch(entry["image"]):
            yield problem(f"{path}.image", entry["image"], "the id of an image, such as ami-0123456789abcdef0")
        if entry["placement"] == "private" and entry["elastic_address"]:
            yield f"{path}.elastic_address: a private instance has no address outside; give placement: public"
        yield from _tags(f"{path}.tags", entry["tags"])
    if any(entry["placement"] == "private" for entry in sets):
        if options["ec2_network"]["vpc"] == "default":
            yield "ec2_network.vpc: found 'default', which has no private subnets; give own"
        if not any(entry["placement"] == "public" and entry["count"] for entry in sets):
            yield "ec2_instances: all are private; give a public set too, by way of which ssh reaches them"


def _twice(path: str, names: Sequence[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{path}: '{name}' is there {times} times; give each its own name"


def _tags(path: str, tags: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tags.items():
        if key.lower().startswith(("djangofleet_", "aws:")) or key == "Name" or not 0 < len(key) <= 128:
            yield problem(path, key, "another name: those that begin with djangofleet_ or aws:, and Name, are taken")
        if isinstance(value, (Mapping, list, tuple, bytes)) or value is None or len(str(value)) > 256:
            yield problem(f"{path}.{key}", value, "a text of up to 256 characters")


def _openings(options: Mapping[str, Any]) -> Iterator[str]:
    groups = {*ec2.group_names(options), ec2.ALL}
    for variable in ("ec2_openings", "ec2_app_openings"):
        for number, opening in enumerate(options[variable]):
            path = f"{variable}[{number}]"
            match = PORTS.fullmatch(opening["port"])
            low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 0 < low <= high < 65536:
                yield problem(f"{path}.port", opening["port"], "a port, or a range such as 8000-8010")
            if opening["group"] not in groups:
                yield problem(f"{path}.group", opening["group"], f"one of {', '.join(sorted(groups))}")
            if not opening["sources"]:
                yield f"{path}.sources: is empty; give networks, groups of the inventory, or anywhere"
            for source in opening["sources"]:
                if source not in groups and not ec2.networks(source):
                    wanted = f"a network, anywhere, or one of {', '.join(sorted(groups))}"
                    yield problem(f"{path}.sources", source, wanted)
            is_ssh = opening["protocol"] == "tcp" and any(low <= port <= high for port in options["ec2_app_ssh_ports"])
            everywhere = any(set(ec2.networks(source)) & set(ec2.EVERYWHERE) for source in opening["sources"])
            if is_ssh and everywhere and ec2.ANYWHERE not in options["ec2_ssh_from"]:
                yield f"{path}: would open ssh to the whole internet; say so in ec2_ssh_from if you mean it"


def _records(options: Mapping[str, Any]) -> Iterator[str]:
    zone, sets = ec2_records.zone_name(options), {entry["name"] for entry in options["ec2_instances"]}
    if zone and not is_domain(zone):
        yield problem("ec2_dns_zone", zone, "the name of a hosted zone, such as example.com")
    if not 1 <= options["ec2_dns_ttl"] <= 86400:
        yield problem("ec2_dns_ttl", options["ec2_dns_ttl"], "seconds from 1 to 86400")
    if options["ec2_dns_records"] and not zone:
        yield "ec2_dns_zone: is not given, and ec2_dns_records are; give the hosted zone that they are in"
    for path, record in labelled("ec2_dns_records", options["ec2_dns_records"]):
        name = record["name"].lower().rstrip(".")
        if zone and (not is_domain(name) or not ec2_records.is_in(name, zone)):
            yield problem(f"{path}.name", record["name"], f"a name in the zone, such as db.{zone}")
        if record["set"] not in sets:
            yield problem(f"{path}.set", record["set"], f"one of {', '.join(sorted(sets))}")
    for number, domain in enumerate(options["ec2_app_domains"]):
        if not is_domain(domain):
            yield problem(f"ec2_app_domains[{number}]", domain, "a domain")


def _others(options: Mapping[str, Any]) -> Iterator[str]:
    yield from _tags("ec2_tags", options["ec2_tags"])
    image = options["ec2_image"]
    if image["id"] and not IMAGE.fullmatch(image["id"]):
        yield problem("ec2_image.id", image["id"], "the id of an image, such as ami-0123456789abcdef0")
    if not re.fullmatch(r"\d{12}|self|amazon", image["owner"]):
        yield problem("ec2_image.owner", image["owner"], "the number of an account, or self")
    bucket = options["ec2_backup_bucket"]
    if bucket and not BUCKET.fullmatch(bucket):
        yield problem("ec2_backup_bucket", bucket, "the name of a bucket")
    for name, price in options["ec2_prices"].items():
        if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < 10**6:
            yield problem(f"ec2_prices.{name}", price, "US dollars, such as 0.0168")
    if not 1 <= options["ec2_wait_seconds"] <= 3600:
        yield problem("ec2_wait_seconds", options["ec2_wait_seconds"], "seconds from 1 to 3600")
