# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done about the volumes of instances: the one that each starts from, and those of C(volumes) beside it.

One of those is known by its device, and by the tags C(djangofleet_device) and C(djangofleet_of), the id of its
instance. They say which one to attach where a run has broken off between making and attaching it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2, ec2_network
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import CHANGE, CREATE, State, Step, step
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem

DEVICE = re.compile(r"/dev/(?:sd|xvd)[b-z]")
# What Amazon takes, by type: GiB, and operations a second where they are said. The module has the latter limits too.
SIZES = {"gp3": (1, 16384), "gp2": (1, 16384), "io2": (4, 16384), "st1": (125, 16384), "sc1": (125, 16384)}
IOPS = {"gp3": (3000, 16000, 500), "io2": (100, 64000, 1000)}  # the last figure is for each GiB
THROUGHPUT = (125, 1000)  # MiB a second, of gp3 alone


def problems(path: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the volumes of a set, before Amazon is asked anything."""
    letters: dict[str, str] = {}
    for number, given in enumerate(entry["volumes"]):
        device = given["device_name"]
        if not DEVICE.fullmatch(device):
            where = f"{path}.volumes[{number}]"
            yield problem(f"{where}.device_name", device, "a device from /dev/sdf to /dev/sdp")
        else:
            where = f"{path}.volumes[{device}]"
            if device[-1] in letters:
                yield f"{path}.volumes: {letters[device[-1]]} and {device} are one device; give each its own letter"
            letters[device[-1]] = device
        yield from _size(where, given)


def _size(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    kind, size, iops, throughput = given["type"], given["size"], given.get("iops"), given.get("throughput")
    low, high = SIZES[kind]
    if not low <= size <= high:
        yield problem(f"{where}.size", size, f"GiB from {low} to {high}, as {kind} has")
        return
    if kind not in IOPS:
        if iops is not None:
            yield f"{where}.iops: is for gp3 and io2; leave it out, or give type: gp3"
    elif kind == "io2" and iops is None:
        yield f"{where}.iops: is not given; io2 needs it, from 100 to 64000"
    elif iops is not None:
        least, most, each = IOPS[kind]
        most = max(least, min(most, each * size))
        if not least <= iops <= most:
            yield problem(f"{where}.iops", iops, f"a number from {least} to {most}, as {size} GiB of {kind} may have")
    if throughput is None:
        return
    least, most = THROUGHPUT
    most = min(most, max(least, (iops or ec2.BASE["iops"]) // 4))
    if kind != "gp3":
        yield f"{where}.throughput: is for gp3; leave it out, or give type: gp3"
    elif not least <= throughput <= most:
        yield problem(f"{where}.throughput", throughput, f"MiB a second from {least} to {most}, a quarter of its iops")


def steps(state: State, machine: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[Step]:
    """What is made or changed of the volumes of an instance that is there."""
    name, root = machine["name"], state.volumes.get(there["root"])
    if root:
        wanted = {"size": machine["size"], "type": machine["volume_type"], "iops": 0, "throughput": 0}
        yield from _changed(state, machine, there, root, {**wanted, "device": there["root_device"]})
    for wanted in machine["volumes"]:
        volume = attached(state, there, wanted["device"])
        if volume:
            yield from _changed(state, machine, there, volume, wanted)
            continue
        left = unattached(state, there, wanted["device"])
        text = f"volume {wanted['device']} of {name}: {described(wanted)}"
        if left:
            text = f"volume {wanted['device']} of {name}: {left['id']} is attached"
        yield step(
            "volume_new",
            CHANGE if left else CREATE,
            text,
            there["state"] in ("running", "stopped"),
            id=left["id"] if left else "",
            instance=there["id"],
            deletes=not machine["data"],
            tags=_tags(state, machine, there, wanted["device"]),
            **wanted,
        )


def planned(machine: Mapping[str, Any]) -> Iterator[Step]:
    """The same of an instance that is still to be made."""
    for wanted in machine["volumes"]:
        yield step("volume_new", CREATE, f"volume {wanted['device']} of {machine['name']}: {described(wanted)}", False)


def _tags(state: State, machine: Mapping[str, Any], there: Mapping[str, Any], device: str) -> dict[str, str]:
    own = {
        "Name": f"{state.prefix}-{machine['name']}-{device.rpartition('/')[2]}",
        "djangofleet_device": device,
        "djangofleet_of": there["id"],
    }
    return {**machine["tags"], **own}


def _changed(
    state: State,
    machine: Mapping[str, Any],
    there: Mapping[str, Any],
    volume: Mapping[str, Any],
    wanted: Mapping[str, Any],
) -> Iterator[Step]:
    """What of a volume changes where it is."""
    is_root = volume["id"] == there["root"]
    what = f"volume of {machine['name']}" if is_root else f"volume {wanted['device']} of {machine['name']}"
    tags = machine["tags"] if is_root else _tags(state, machine, there, wanted["device"])
    yield from ec2_network.changed_tags(state, volume["id"], what, volume["tags"], tags)
    # Amazon tells no throughput of most types, and operations of gp2 that nobody has asked for.
    faster = any(wanted[key] and volume[key] and wanted[key] != volume[key] for key in ("iops", "throughput"))
    if wanted["size"] > volume["size"] or wanted["type"] != volume["type"] or faster:
        yield step(
            "volume",
            CHANGE,
            f"{what}: {described(volume)} → {described(wanted)}",
            wanted["size"] >= volume["size"],
            id=volume["id"],
            zone=there["zone"],
            **{key: wanted[key] for key in ("size", "type", "iops", "throughput")},
        )
    if (volume["id"] in there["keeps"]) != machine["data"]:
        yield step(
            "keep",
            CHANGE,
            f"{what}: {'stays' if machine['data'] else 'goes'} when its instance goes",
            id=there["id"],
            device=wanted["device"],
            deletes=not machine["data"],
        )


def described(volume: Mapping[str, Any]) -> str:
    """A volume in words: what every one of its type has is not said."""
    words = f"{volume['size']} GiB of {volume['type']}"
    if volume["type"] not in IOPS:
        return words
    for key, unit in (("iops", "IOPS"), ("throughput", "MiB/s")):
        if volume[key] and not (volume["type"] == "gp3" and volume[key] == ec2.BASE[key]):
            words += f", {volume[key]} {unit}"
    return words


def attached(state: State, there: Mapping[str, Any], device: str) -> dict[str, Any] | None:
    """What an instance has at a device, whosever it is."""
    found = (each for each in state.found["volumes"] if each["instance"] == there["id"])
    return next((each for each in found if each["device"] == device), None)


def unattached(state: State, there: Mapping[str, Any], device: str) -> dict[str, Any] | None:
    """The volume that was made for an instance and a device, and is attached to nothing."""
    words = {"djangofleet_of": there["id"], "djangofleet_device": device}
    found = (each for each in state.found["volumes"] if not each["instance"] and state.is_ours(each["tags"]))
    return next((each for each in found if words.items() <= each["tags"].items()), None)


def of_instance(state: State, there: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The volumes of an instance that go or stay with it. What somebody else has attached is not looked after."""
    found = (each for each in state.found["volumes"] if each["instance"] == there["id"])
    return [each for each in found if each["id"] == there["root"] or state.is_ours(each["tags"])]


def refusals(state: State, machine: Mapping[str, Any], there: Mapping[str, Any], instead: str) -> Iterator[str]:
    """What would shrink a volume, or take one away."""
    name, where = machine["name"], f"ec2_instances[{machine['set']}]"
    root = state.volumes.get(there["root"])
    if root and machine["size"] < root["size"]:
        yield (
            f"{where}.volume.size: found '{machine['size']}', and the volume of {name} has {root['size']} GiB; give "
            f"{root['size']} or more: a volume does not shrink"
        )
    if root and not root["encrypted"]:
        yield f"{where}: the volume of {name} is not encrypted, and cannot be where it is: {instead}"
    for wanted in machine["volumes"]:
        device = wanted["device"]
        volume = attached(state, there, device) or unattached(state, there, device)
        if volume and not state.is_ours(volume["tags"]):
            yield f"{where}.volumes: {name} has {volume['id']} at {device}, which is not ours; give another device_name"
        elif volume and wanted["size"] < volume["size"]:
            yield (
                f"{where}.volumes[{device}].size: found '{wanted['size']}', and that of {name} has {volume['size']} "
                f"GiB; give {volume['size']} or more: a volume does not shrink"
            )
    devices = {wanted["device"] for wanted in machine["volumes"]}
    for volume in of_instance(state, there):
        device = volume["tags"].get("djangofleet_device", "")
        if device and volume["id"] != there["root"] and volume["device"] not in devices:
            yield (
                f"{where}.volumes: {volume['device']} is declared no more, and {name} has {volume['id']} "
                f"({volume['size']} GiB) attached; unmount it on the host and detach it (aws ec2 detach-volume "
                f"--volume-id {volume['id']}), then run this again: the volume is kept"
            )


def notes(state: State) -> Iterator[str]:
    """The volumes that nothing uses."""
    living, awaited = {each["id"] for each in state.found["instances"]}, _awaited(state)
    for volume in state.found["volumes"]:
        if not volume["instance"] and volume["id"] not in awaited:
            tags = volume["tags"]
            why = "nothing has it attached" if tags.get("djangofleet_of") in living else "its instance is gone"
            name = tags.get("djangofleet_name", "nobody")
            yield f"Volume {volume['id']} of {name} ({volume['size']} GiB) is kept, and paid for: {why}."


def _awaited(state: State) -> set[str]:
    """The volumes that are to be attached where a run has broken off."""
    found = set()
    for machine in state.machines:
        there = state.instances.get(machine["name"])
        for wanted in machine["volumes"] if there else []:
            left = unattached(state, there, wanted["device"])
            if left and not attached(state, there, wanted["device"]):
                found.add(left["id"])
    return found


def paid(state: State) -> list[dict[str, Any]]:
    """What is paid for when all is made: volumes that have grown beyond what is declared as they are, kept ones too."""
    found, awaited = [], _awaited(state)
    for machine in state.machines:
        there = state.instances.get(machine["name"])
        root = state.volumes.get(there["root"]) if there else None
        base = {"size": machine["size"], "type": machine["volume_type"], "iops": 0, "throughput": 0}
        found.append(_larger(base, root))
        for wanted in machine["volumes"]:
            device = wanted["device"]
            has = (attached(state, there, device) or unattached(state, there, device)) if there else None
            found.append(_larger(wanted, has))
    return found + [each for each in state.found["volumes"] if not each["instance"] and each["id"] not in awaited]


def _larger(wanted: Mapping[str, Any], has: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**wanted, "size": max(wanted["size"], has["size"] if has else 0)}
