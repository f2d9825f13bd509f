# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done about the network of an environment on EC2, and about what its security groups let in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2, ec2_records
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import (
    CHANGE,
    CREATE,
    REMOVE,
    State,
    Step,
    step,
)

ZONES = "djangofleet_zones"  # the tag of the hosted zones that the environment has records in
NAT = "nat"  # the name of its address: those of machines have numbers


def network(state: State) -> Iterator[Step]:
    """A network of its own, with a public and a private subnet in each zone."""
    if not state.owns_network:
        return
    cidr = str(ipaddress.ip_network(state.options["ec2_network"]["cidr"]))
    if not state.vpc:
        yield step(
            "vpc", CREATE, f"network {state.prefix}: {cidr}", name=state.prefix, cidr=cidr, tags=state.tags("network")
        )
    if not state.found["gateway"]:
        yield step("gateway", CREATE, "internet gateway", bool(state.vpc), vpc=state.vpc, tags=state.tags("gateway"))
    blocks = [str(block) for block in ipaddress.ip_network(cidr).subnets(prefixlen_diff=4)]
    taken = {subnet["cidr"] for subnet in state.found["subnets"]}
    for number, zone in enumerate(state.zones() or ["(first zone)", "(second zone)"]):
        for kind, own in (("public", blocks[:8]), ("private", blocks[8:])):
            free = [block for block in (own[number], *own) if block not in taken]  # an earlier zone may have had it
            if free and zone not in {subnet["zone"] for subnet in state.own_subnets(kind)}:
                block = free[0]
                taken.add(block)
                tags = state.tags(f"{kind}-{zone}", {"djangofleet_subnet": kind})
                yield step(
                    "subnet",
                    CREATE,
                    f"{kind} subnet in {zone}: {block}",
                    bool(state.vpc),
                    vpc=state.vpc,
                    cidr=block,
                    zone=zone,
                    public=kind == "public",
                    tags=tags,
                )
    yield from _ways_out(state)
    yield from _tags(state)


def _tags(state: State) -> Iterator[Step]:
    """The tags of what the network is made of."""
    found = state.found
    things = [("network", found["vpc"], "network", {}), ("internet gateway", found["gateway"], "gateway", {})]
    things.append(("NAT gateway", found["nat"] if wants_nat(state) else {}, "nat", {}))
    for kind in ("public", "private"):
        for subnet in state.own_subnets(kind):
            name, own = f"{kind}-{subnet['zone']}", {"djangofleet_subnet": kind}
            things.append((f"{kind} subnet in {subnet['zone']}", subnet, name, own))
        things.append((f"routes of the {kind} subnets", table(state, kind) or {}, f"{kind}-routes", {}))
    for what, thing, name, own in things:
        if thing:
            yield from changed_tags(state, thing["id"], what, thing["tags"], state.tags(name, own))


def wants_nat(state: State) -> bool:
    is_private = any(not machine["public"] for machine in state.machines)
    return state.owns_network and state.options["ec2_network"]["nat"] and is_private


def _ways_out(state: State) -> Iterator[Step]:
    """The NAT gateway and the routes of both kinds of subnets."""
    public, gateway, nat = state.subnets(True), state.found["gateway"].get("id"), state.found["nat"].get("id")
    if wants_nat(state) and not nat:
        # The module would make the address without tags, and one more at each run that breaks off.
        address = next((entry for entry in state.found["addresses"] if entry["name"] == NAT), None)
        if not address:
            tags = state.tags(NAT, {"djangofleet_name": NAT})
            yield step("nat_address", CREATE, "elastic address of the NAT gateway", tags=tags)
        ready = bool(public and gateway and address and table(state, "public"))
        subnet, allocation = public[0]["id"] if public else "", address["id"] if address else ""
        yield step("nat", CREATE, "NAT gateway", ready, subnet=subnet, allocation=allocation, tags=state.tags("nat"))
    if nat and not wants_nat(state):
        yield step("nat_gone", REMOVE, "NAT gateway", id=nat)
    for kind, target in (("public", gateway), ("private", nat if wants_nat(state) else None)):
        subnets = state.own_subnets(kind)
        if kind == "private" and not wants_nat(state) and not table(state, kind):
            continue  # the network's main table has no way out
        has_table = table(state, kind) or {"subnets": [], "routes": {}}
        wanted = {subnet["id"] for subnet in subnets}
        routes = {} if kind == "private" and not wants_nat(state) else {"0.0.0.0/0": target}
        has = {to: via for to, via in has_table["routes"].items() if via != "local"}
        if not subnets or set(has_table["subnets"]) != wanted or has != routes:
            is_whole = bool(state.zones()) and set(state.zones()) <= {subnet["zone"] for subnet in subnets}
            ready = is_whole and bool(target or not routes)
            yield step(
                "table",
                CHANGE if table(state, kind) else CREATE,
                f"routes of the {kind} subnets",
                ready,
                id=has_table.get("id", ""),
                vpc=state.vpc,
                subnets=sorted(wanted),
                tags=state.tags(f"{kind}-routes", {"djangofleet_routes": kind}),
                routes=[{"dest": to, "gateway_id": via} for to, via in routes.items()],
            )


def table(state: State, kind: str) -> dict[str, Any] | None:
    return next((table for table in state.found["tables"] if table["tags"].get("djangofleet_routes") == kind), None)


def groups(state: State) -> Iterator[Step]:
    """The security groups, then what they let in: that names them."""
    ids = {name: group["id"] for name, group in state.groups.items()}
    names = {identity: name for name, identity in ids.items()}
    for name, wanted in ec2.rules(state.options).items():
        group = state.groups.get(name)
        tags = state.tags(name.removeprefix(f"{state.prefix}-"))
        zones = " ".join(ec2_records.zones(state.options, state.found))
        if name == f"{state.prefix}-{ec2.ALL}" and (zones or (group or {"tags": {}})["tags"].get(ZONES)):
            tags[ZONES] = zones
        if group is None:
            yield step("group", CREATE, f"security group {name}", bool(state.vpc), name=name, vpc=state.vpc, tags=tags)
        else:
            yield from changed_tags(state, group["id"], f"security group {name}", group["tags"], tags)
        has = [_named(rule, names) for rule in (group or {"rules": []})["rules"]]
        opened, closed = sorted(set(wanted) - set(has)), sorted(set(has) - set(wanted))
        if opened or closed:
            lines = dict.fromkeys(
                [f"opens {_rule(rule)}" for rule in opened] + [f"closes {_rule(rule)}" for rule in closed]
            )
            ready = group is not None and all(_source(rule) in ids for rule in wanted if not _is_network(_source(rule)))
            yield step(
                "rules",
                CHANGE if group else CREATE,
                f"{name} {', '.join(lines)}",
                ready,
                name=name,
                vpc=state.vpc,
                rules=[_entry(rule, ids) for rule in wanted],
            )
    for name in sorted(set(state.groups) - set(ec2.rules(state.options))):
        users = [each for each in state.found["instances"] if name in each["groups"]]
        named = any(
            _source(rule) == state.groups[name]["id"]
            for group in state.found["groups"]
            if group["name"] != name
            for rule in group["rules"]
        )
        ready = not users and not named
        yield step("group_gone", REMOVE, f"security group {name}", ready, id=state.groups[name]["id"], name=name)


def _source(rule: str) -> str:
    return rule.split()[2]


def _is_network(source: str) -> bool:
    return "/" in source


def _named(rule: str, names: Mapping[str, str]) -> str:
    protocol, ports, source = rule.split()
    return f"{protocol} {ports} {names.get(source, source)}"


def _rule(rule: str) -> str:
    protocol, ports, source = rule.split()
    return f"{ports}/{protocol} to {'everybody' if source in ec2.EVERYWHERE else source}"


def _entry(rule: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """A rule as amazon.aws.ec2_security_group takes it."""
    protocol, ports, source = rule.split()
    low, _dash, high = ports.partition("-")
    where = (
        {"cidr_ipv6" if ":" in source else "cidr_ip": source}
        if _is_network(source)
        else {"group_id": ids.get(source, "")}
    )
    return {"proto": protocol, "from_port": int(low), "to_port": int(high or low), **where}


def changed_tags(
    state: State, identity: str, what: str, has: Mapping[str, str], wanted: Mapping[str, str]
) -> Iterator[Step]:
    """Tags that are declared. Others stay: somebody else may have set them."""
    other = {key: value for key, value in wanted.items() if has.get(key) != value}
    if other:
        said = ", ".join(f"{key}={value}" for key, value in sorted(other.items()))
        yield step("tags", CHANGE, f"tags of {what}: {said}", id=identity, tags=other)
