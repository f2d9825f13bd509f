# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done so that nothing of an environment is left. All of it carries the environment's tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2_records
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_leaving import released, removed, snapshot
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import CHANGE, REMOVE, State, Step, step


def removal(state: State) -> Iterator[Step]:
    """The steps, in order: what others stand on goes last."""
    found = state.found
    yield from ec2_records.steps(state.options, found, [])
    for each in found["instances"]:
        yield from removed(state, each, drained=False)
    is_empty = not found["instances"]
    places = [found, *found["elsewhere"]]
    allocations = {each for place in places for each in place["nat"].get("allocations", [])}
    for entry in found["addresses"]:
        # That of a NAT gateway goes with it.
        if entry["id"] not in allocations:
            yield released(entry, not entry["instance"] or is_empty)
    yield from _volumes(state, is_empty)
    for place in places:
        yield from place_gone(state, place)
    if state.is_ours(found["key"].get("tags", {})):
        yield step("key_gone", REMOVE, f"key pair {found['key']['name']}", name=found["key"]["name"])
    if state.is_ours(found["role"].get("tags", {})):
        yield step("role_gone", REMOVE, f"role {found['role']['name']}", is_empty, name=found["role"]["name"])


def left_with_data(state: State) -> list[dict[str, Any]]:
    """The volumes with data whose instances are gone already."""
    ours = (each for each in state.found["volumes"] if not each["instance"] and state.is_ours(each["tags"]))
    return [each for each in ours if each["tags"].get("djangofleet_data") == "true"]


def _volumes(state: State, is_empty: bool) -> Iterator[Step]:
    """The volumes that have not gone with their instances. Nobody writes to them: one snapshot is the last one."""
    taken = {each["volume"] for each in state.found["snapshots"]}
    completed = {each["volume"] for each in state.found["snapshots"] if each["state"] == "completed"}
    kept = {each["id"] for each in left_with_data(state)} if state.options["ec2_final_backup"] == "snapshot" else set()
    for volume in state.found["volumes"]:
        if not state.is_ours(volume["tags"]):
            continue
        name = volume["tags"].get("djangofleet_name", "nobody")
        if volume["id"] in kept - taken:
            yield snapshot(state, volume, name)
        text = f"volume {volume['id']} of {name}, {volume['size']} GiB"
        ready = is_empty and not volume["instance"] and volume["id"] not in kept - completed
        yield step("volume_gone", REMOVE, text, ready, id=volume["id"])


def place_gone(state: State, place: Mapping[str, Any]) -> Iterator[Step]:
    """What the environment has in a network, and the network if it is its own. Its main table goes with it."""
    vpc, nat, gateway = (place[name] for name in ("vpc", "nat", "gateway"))
    identity = vpc.get("id", "")
    is_empty = not any(each["vpc"] == identity for each in state.found["instances"])
    where = "" if identity == state.vpc else f" in {identity}"
    if nat:
        yield step("nat_gone", REMOVE, f"NAT gateway{where}", is_empty, id=nat["id"])
    groups = place["groups"]
    for group in groups:
        name = f"{group['name']}{where}"
        if group["rules"]:  # a group that another one names stays until it does not
            given = {"name": group["name"], "vpc": identity, "rules": []}
            yield step("rules", CHANGE, f"{name} lets nobody in", is_empty, **given)
        ready = is_empty and not any(each["rules"] for each in groups)
        yield step("group_gone", REMOVE, f"security group {name}", ready, id=group["id"], name=group["name"])
    is_unused = is_empty and not nat and not groups
    tables = [table for table in place["tables"] if state.is_ours(table["tags"])]
    for table in tables:
        text = f"routes {table['tags'].get('Name', table['id'])}{where}"
        yield step("table_gone", REMOVE, text, is_unused, id=table["id"], vpc=identity)
    for subnet in place["subnets"]:
        if state.is_ours(subnet["tags"]):
            text = f"subnet {subnet['cidr']} in {subnet['zone']}{where}"
            yield step("subnet_gone", REMOVE, text, is_unused and not tables, cidr=subnet["cidr"], vpc=identity)
    is_bare = is_unused and not tables and not place["subnets"]
    # One in a network of its own that a run could not tag is no one else's.
    if gateway and (state.is_ours(gateway["tags"]) or state.is_ours(vpc.get("tags", {}))):
        text = f"internet gateway{where if vpc else ', which is attached to nothing'}"
        yield step("gateway_gone", REMOVE, text, is_bare, id=gateway["id"])
    if state.is_ours(vpc.get("tags", {})):
        yield step("vpc_gone", REMOVE, f"network {vpc['cidr']}{where}", is_bare and not gateway, id=identity)
