# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done about instances of EC2 that go, with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2_network, ec2_volumes
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import (
    CHANGE,
    CREATE,
    REMOVE,
    State,
    Step,
    holds_data,
    step,
)


def leaving(state: State) -> Iterator[Step]:
    """Instances that go, with what belongs to them."""
    names = {each["name"] for each in state.leaving}
    for each in reversed(state.leaving):
        yield from removed(state, each, drained=True)
    stays = {machine["name"] for machine in state.machines}
    if ec2_network.wants_nat(state) or state.found["nat"]:  # its address goes with it
        stays.add(ec2_network.NAT)
    for entry in state.found["addresses"]:
        is_left = entry["name"] and entry["name"] not in stays
        if entry["name"] in names or is_left:
            yield released(entry, entry["name"] not in names)  # when its instance has gone


def released(entry: Mapping[str, Any], ready: bool = True) -> Step:
    """An elastic address that goes."""
    what = f"elastic address {entry['address']} of {entry['name'] or 'nobody'}"
    return step("release", REMOVE, what, ready, address=entry["address"])


def removed(state: State, there: Mapping[str, Any], drained: bool) -> Iterator[Step]:
    """The steps by which an instance goes."""
    name = there["name"] or there["id"]
    is_data = holds_data(there)
    if drained and there["state"] in ("pending", "running"):  # one that has stopped has nothing in hand
        yield step("leave", REMOVE, f"instance {name} finishes what it has in hand", name=name, id=there["id"])
    ready = True
    if is_data and state.options["ec2_final_backup"] == "snapshot":
        for volume in ec2_volumes.of_instance(state, there):
            taken = _snapshots(state, volume, there)
            ready = ready and any(each["state"] == "completed" for each in taken)
            if not taken:
                yield snapshot(state, volume, name, stops=there["id"])
    if there["protected"]:
        yield step(
            "protection",
            CHANGE,
            f"instance {name}: no longer protected from termination",
            id=there["id"],
            protected=False,
        )
    data = ", and its data" if is_data else ""
    yield step(
        "terminate", REMOVE, f"instance {name} ({there['id']}, {there['type']}){data}", ready, id=there["id"], name=name
    )


def _snapshots(state: State, volume: Mapping[str, Any], there: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The last snapshots of a volume of an instance. One that has run since has written more."""
    found = (each for each in state.found["snapshots"] if each["tags"].get("djangofleet_of") == there["id"])
    if there["state"] != "stopped":
        return []
    return [each for each in found if each["volume"] == volume["id"] and each["started"] >= there["launched"]]


def snapshot(state: State, volume: Mapping[str, Any], name: str, stops: str = "") -> Step:
    """A snapshot of a volume that goes.

    :param name: that of the instance that it is of.
    :param stops: the instance that stops before.
    """
    device = volume["tags"].get("djangofleet_device", "")
    own = {"djangofleet_of": stops or volume["tags"].get("djangofleet_of", ""), "djangofleet_name": name}
    words = " ".join(["the volume", *([device] if device else []), "of", name])
    title = "-".join([name, *([device.rpartition("/")[2]] if device else []), "final"])
    return step(
        "snapshot",
        CREATE,
        f"snapshot of {words}, which stays",
        id=volume["id"],
        tags=state.tags(title, own),
        stops=stops,
    )
