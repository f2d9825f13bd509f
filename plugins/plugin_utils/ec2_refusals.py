# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is not done on EC2, with what to do instead, and what is as it is and perhaps not meant."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    ec2,
    ec2_records,
    ec2_removal,
    ec2_volumes,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import State, holds_data

WITHOUT_KEY = "ec2_public_key: is empty; give the public key that you log in with: ssh-keygen -t ed25519 makes one"


def refusals(state: State) -> Iterator[str]:
    """What is not done, with what to do instead."""
    yield from _unknown_places(state)
    names = [each["name"] for each in state.found["instances"]]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        ids = ", ".join(each["id"] for each in state.found["instances"] if each["name"] == name)
        yield f"instance {name}: there are several ({ids}); terminate all but one"
    given, key = state.options["ec2_public_key"], state.found["key"].get("public_key", "").split()[:2]
    if state.asked and not given and not state.found["key"]:
        yield WITHOUT_KEY
    if key and given and given.split()[:2] != key:
        yield (
            f"ec2_public_key: the key pair {state.prefix} has another key, which the instances know; log in with it, "
            "and add yours to authorized_keys, or delete the pair for the instances to come"
        )
    yield from _foreign(state)
    for machine in state.machines:
        there = state.instances.get(machine["name"])
        if there:
            yield from _unlike(state, machine, there)
    yield from without_backup(state, state.leaving)
    yield from ec2_records.refusals(state.options, state.found)
    yield from ec2_records.stranded(state.options, state.found, state.machines)


def _foreign(state: State) -> Iterator[str]:
    """What has a name of ours and carries other tags: Amazon lets no two have it, and the modules would take it."""
    whose = "is there and does not carry this environment's tags; delete it, or give another ec2_environment"
    for name in sorted(set(ec2.rules(state.options)) & set(state.found["foreign_groups"])):
        yield f"security group {name}: {whose}"
    role = state.found["role"]
    if state.options["ec2_backup_bucket"] and role and not state.is_ours(role["tags"]):
        yield f"role {role['name']}: {whose}"


def without_backup(state: State, leaving: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The refusals about instances whose data would be gone."""
    for each in leaving:
        if holds_data(each) and not state.options["ec2_final_backup"]:
            yield (
                f"instance {each['name']}: has data and would go; say what becomes of it: -e ec2_final_backup=snapshot "
                "keeps a snapshot of its volumes, -e ec2_final_backup=taken says that playbooks/backup.yml has taken "
                "the last one"
            )


def _unknown_places(state: State) -> Iterator[str]:
    """What is named and not there."""
    if not state.asked:
        return
    network = state.options["ec2_network"]
    if not state.owns_network and not state.vpc:
        several = (
            f"there are {len(state.found['vpcs'])}: {', '.join(state.found['vpcs'])}"
            if state.found["vpcs"]
            else "there is none"
        )
        yield f"ec2_network.vpc: found '{network['vpc']}', of which {several}; give the id of one, or own"
    if state.owns_network and len(state.found["vpcs"]) > 1:
        yield f"ec2_network.vpc: the environment has several: {', '.join(state.found['vpcs'])}; delete all but one"
    if state.owns_network and state.vpc:
        cidr, has = ipaddress.ip_network(network["cidr"]), state.found["vpc"]["cidr"]
        if cidr != ipaddress.ip_network(has):
            yield f"ec2_network.cidr: found '{cidr}', and the environment has {has}; give that: a network does not move"
    for zone in network["zones"]:
        if zone not in state.found["zones"]:
            yield f"ec2_network.zones: found '{zone}'; give some of {', '.join(state.found['zones'])}"
    for entry in state.options["ec2_instances"]:
        public = entry["placement"] == "public"
        if not state.owns_network and state.vpc and entry["count"] and not state.subnets(public):
            kind = entry["placement"]
            yield (
                f"ec2_instances[{entry['name']}].placement: found '{kind}', and {state.vpc} has no {kind} subnets; "
                "give ec2_network.vpc: own, or another placement"
            )
    for machine in state.machines:
        if machine["name"] in state.instances:
            continue
        image = state.image(machine)
        if not image:
            named = machine["image"] or state.options["ec2_image"]["id"]
            what = (
                f"image '{named}'"
                if named
                else f"image of Debian {state.options['ec2_image']['debian']} for {machine['architecture']}"
            )
            owner = state.options["ec2_image"]["owner"]
            yield f"ec2_image: there is no {what} of account {owner} in {state.options['ec2_region']}"
        elif image["architecture"] != machine["architecture"]:
            yield (
                f"ec2_image: '{image['id']}' is for {image['architecture']}, and {machine['type']} of "
                f"{machine['name']} is {machine['architecture']}; give an image for it, or another type"
            )
        elif image["smallest"] > machine["size"]:
            yield (
                f"ec2_instances[{machine['set']}].volume.size: found '{machine['size']}', and image '{image['id']}' "
                f"has {image['smallest']} GiB; give {image['smallest']} or more"
            )


def _unlike(state: State, machine: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    """What would need another instance in the place of one."""
    where = f"ec2_instances[{machine['set']}]"
    instead = (
        f"{machine['name']} would have to be replaced, and its data would be gone; make a second set and move the data "
        "(docs/moves.md)"
        if machine["data"]
        else f"{machine['name']} would have to be replaced; make a second set, and shrink this one when it serves"
    )
    has = ec2.architecture(there["type"])
    if has != machine["architecture"]:
        yield f"{where}.type: found '{machine['type']}' ({machine['architecture']}), and there is {has}: {instead}"
    elif there["type"] != machine["type"] and not state.options["ec2_allow_stop"]:
        yield (
            f"{where}.type: found '{machine['type']}', for which {machine['name']} ({there['type']}) stops for some "
            "minutes; say that it may: -e ec2_allow_stop=true"
        )
    # A network of the environment's own that is still to be made is another one as well.
    if there["vpc"] and there["vpc"] != state.vpc and (state.vpc or state.owns_network):
        named = state.options["ec2_network"]["vpc"]
        yield (
            f"ec2_network.vpc: found '{named}', and {machine['name']} is in {there['vpc']}, which it cannot leave; "
            "make a second environment, and take this one down when that serves"
        )
    else:
        subnet = next((each for each in state.found["subnets"] if each["id"] == there["subnet"]), None)
        if (
            subnet
            and subnet["id"] not in {each["id"] for each in state.subnets(machine["public"])}
            and (subnet["id"] in {each["id"] for each in state.subnets(not machine["public"])})
        ):
            kind = "public" if machine["public"] else "private"
            yield f"{where}.placement: found '{kind}', and {subnet['id']} is not: {instead}"
    yield from ec2_volumes.refusals(state, machine, there, instead)


def notes(state: State) -> Iterator[str]:
    """What is as it is, and perhaps not meant."""
    waiting: dict[str, list[str]] = {}
    for name in ec2_records.wanted(state.options):
        for each in ec2_records.held(state.options, state.found, name, state.machines):
            waiting.setdefault(each, []).append(name)
    for each, names in waiting.items():
        yield f"{each} does not serve yet; run site.yml, then this again, and {', '.join(names)} leads there too."
    if not state.asked and not state.options["ec2_public_key"]:
        yield WITHOUT_KEY
    named = state.options["ec2_image"]["id"]
    for machine in state.machines:
        there, wanted = state.instances.get(machine["name"]), machine["image"] or named
        if there and wanted and there["image"] != wanted:
            yield f"{machine['name']} began with {there['image']}, and stays; new ones begin with {wanted}."
        name = state.images.get(there["image"], {}).get("name", "") if there and not wanted else ""
        debian = state.options["ec2_image"]["debian"]
        if name.startswith("debian-") and not name.startswith(f"debian-{debian}-"):
            yield f"{machine['name']} began with {name}, and stays; new ones begin with Debian {debian}."
    yield from ec2_volumes.notes(state)
    if (
        state.owns_network
        and not state.options["ec2_network"]["nat"]
        and any(not each["public"] for each in state.machines)
    ):
        yield "Private instances have no way out (ec2_network.nat: false): they install from a mirror inside alone."


def removal_refusals(state: State) -> Iterator[str]:
    """What keeps an environment from being taken down."""
    if not state.asked:
        return
    yield from without_backup(state, state.found["instances"])
    ids = {each["id"] for each in state.found["instances"]}
    for volume in state.found["volumes"]:
        if volume["instance"] and volume["instance"] not in ids:
            where = f"is attached to {volume['instance']}, which does not carry this environment's tags"
            yield f"volume {volume['id']}: would go, and {where}; detach it first"
    for volume in ec2_removal.left_with_data(state):
        if not state.options["ec2_final_backup"]:
            name = volume["tags"].get("djangofleet_name", "nobody")
            yield (
                f"volume {volume['id']} of {name}: has data and would go; say what becomes of it: -e "
                "ec2_final_backup=snapshot keeps a snapshot of it, -e ec2_final_backup=taken says that its data is safe"
            )
