# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done so that EC2 has what is declared: the steps, in the order in which a person reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    ec2,
    ec2_leaving,
    ec2_network,
    ec2_records,
    ec2_removal,
    ec2_volumes,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import (
    CHANGE,
    CREATE,
    REMOVE,
    State,
    Step,
    step,
)


def changes(state: State) -> Iterator[Step]:
    """The steps towards what is declared, in order."""
    yield from ec2_network.network(state)
    yield from _key(state)
    yield from _role(state)
    yield from ec2_network.groups(state)
    for machine in state.machines:
        there = state.instances.get(machine["name"])
        yield from _new(state, machine) if there is None else _in_place(state, machine, there)
    yield from _addresses(state)
    yield from ec2_records.steps(state.options, state.found, state.machines)
    yield from ec2_leaving.leaving(state)
    for place in state.found["elsewhere"]:
        yield from ec2_removal.place_gone(state, place)


def _key(state: State) -> Iterator[Step]:
    key = state.options["ec2_public_key"]
    has, text, tags = state.found["key"], f"key pair {state.prefix}", state.tags("key")
    if not has:
        yield step("key", CREATE, text, bool(key), name=state.prefix, material=key, tags=tags)
    elif state.is_ours(has["tags"]):
        yield from ec2_network.changed_tags(state, has["id"], text, has["tags"], tags)


def _role(state: State) -> Iterator[Step]:
    """The role by which instances reach the bucket of backups."""
    bucket, role, name = state.options["ec2_backup_bucket"], state.found["role"], ec2.role_name(state.options)
    has = role.get("policies", {}).get("backup")
    if not bucket:
        if has and state.is_ours(role["tags"]):  # without one the role may do nothing, and no instance misses it
            yield step("policy_gone", REMOVE, f"permission of role {name} to keep backups", name=name)
        return
    wanted = ec2.policy(bucket)
    tags = state.tags("role", {"djangofleet_region": state.options["ec2_region"]})
    if has == wanted and name in role["profiles"] and tags.items() <= role["tags"].items():
        return
    text = f"role {name}, which may keep backups in {bucket}"
    yield step("role", CHANGE if role else CREATE, text, name=name, policy=json.dumps(wanted), tags=tags)


def _new(state: State, machine: Mapping[str, Any]) -> Iterator[Step]:
    image, subnet = state.image(machine), _subnet(state, machine)
    ids, profile = state.group_ids(machine), state.profile
    waits = bool(profile) and profile not in state.found["role"].get("profiles", [])
    has_way_out = (
        not state.owns_network or ec2_network.table(state, "public" if machine["public"] else "private") is not None
    )
    way_out = has_way_out or (not machine["public"] and not ec2_network.wants_nat(state))
    ready = bool(
        image and subnet and state.found["key"] and len(ids) == len(machine["groups"]) and not waits and way_out
    )
    where = f"in {subnet['zone']}" if subnet else "in a public subnet" if machine["public"] else "in a private subnet"
    made_of = image.get("name") or f"the newest Debian {state.options['ec2_image']['debian']}"
    keeps = ", keeps data: protected from termination" if machine["data"] else ""
    text = (
        f"instance {machine['name']}: {machine['type']} {where}, {machine['size']} GiB of {machine['volume_type']}, "
        f"{made_of}{keeps}"
    )
    yield step(
        "instance",
        CREATE,
        text,
        ready,
        machine=machine,
        image=image.get("id", ""),
        subnet=(subnet or {}).get("id", ""),
        device=image.get("root_device", ""),
        groups=ids,
        key=state.prefix,
        profile=profile,
        size=machine["size"],
    )
    yield from ec2_volumes.planned(machine)


def _subnet(state: State, machine: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where a new machine of a set is: one zone after the other, so that those of a set are spread."""
    subnets = state.subnets(machine["public"])
    number = ec2.number_of(machine["name"], machine["set"])
    return subnets[(number - 1) % len(subnets)] if subnets else None


def _in_place(state: State, machine: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[Step]:
    """What of an instance changes without another one in its place."""
    name, identity = machine["name"], there["id"]
    yield from ec2_network.changed_tags(state, identity, f"instance {name}", there["tags"], machine["tags"])
    yield from ec2_volumes.steps(state, machine, there)
    if set(there["groups"]) != set(machine["groups"]):
        ids = state.group_ids(machine)
        joins, leaves = set(machine["groups"]) - set(there["groups"]), set(there["groups"]) - set(machine["groups"])
        words = [f"joins {each}" for each in sorted(joins)] + [f"leaves {each}" for each in sorted(leaves)]
        ready = len(ids) == len(machine["groups"])
        yield step(
            "firewall",
            CHANGE,
            f"instance {name} {', '.join(words)}",
            ready,
            id=identity,
            groups=ids,
            subnet=there["subnet"],
        )
    if there["protected"] != machine["data"]:
        text = f"instance {name}: {'protected' if machine['data'] else 'no longer protected'} from termination"
        yield step("protection", CHANGE, text, id=identity, protected=machine["data"])
    if there["tokens"] and there["tokens"] != "required":
        yield step("metadata", CHANGE, f"instance {name}: its metadata by tokens only (IMDSv2)", id=identity)
    if state.profile and there["profile"] != state.profile:
        text = f"instance {name}: role {state.profile}"
        ready = state.profile in state.found["role"].get("profiles", [])
        yield step("profile", CHANGE, text, ready, id=identity, profile=state.profile)
    if there["type"] != machine["type"]:
        text = f"instance {name}: {there['type']} → {machine['type']}, stops for it"
        yield step("type", CHANGE, text, id=identity, type=machine["type"], name=name)
    elif there["state"] in ("stopped", "stopping"):
        yield step("start", CHANGE, f"instance {name}: starts", there["state"] == "stopped", id=identity)


def _addresses(state: State) -> Iterator[Step]:
    """Addresses that stay: one for each machine that is to have one."""
    by_name = {entry["name"]: entry for entry in state.found["addresses"] if entry["name"]}
    for machine in state.machines:
        there, entry = state.instances.get(machine["name"]), by_name.get(machine["name"])
        what = f"elastic address of {machine['name']}"
        tags = state.tags(machine["name"], {"djangofleet_name": machine["name"]})
        if machine["elastic"] and not (entry and there and entry["instance"] == there["id"]):
            yield step(
                "address",
                CHANGE if entry else CREATE,
                what,
                bool(there) and there["state"] == "running",
                instance=(there or {}).get("id", ""),
                address=(entry or {}).get("address", ""),
                tags=tags,
            )
        elif machine["elastic"]:
            yield from ec2_network.changed_tags(state, entry["id"], what, entry["tags"], tags)
        elif entry:
            yield ec2_leaving.released(entry)
