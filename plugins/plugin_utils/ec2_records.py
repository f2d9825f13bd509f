# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Records of a hosted zone that lead to instances.

A record has no tags. Beside each of ours stands a TXT record that says whose it is, so that nobody else's is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import CHANGE, CREATE, REMOVE, step

MARK = "_djangofleet"


def marker(name: str) -> str:
    """The name of the TXT record beside a name."""
    return f"{MARK}.{name.replace('*', '_wildcard', 1)}"


def owner(options: Mapping[str, Any]) -> str:
    """What that record says, in the quotes that such a record has. Regions may share a zone."""
    return f'"{options["ec2_project"]}/{options["ec2_environment"]}/{options["ec2_region"]}"'


def wanted(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """The sets that each name leads to. Domains outside of the zone are somebody else's."""
    zone = zone_name(options)
    if not zone or options["ec2_state"] == "absent":
        return {}
    sets = [entry["name"] for entry in options["ec2_instances"] if front(options) in entry["groups"]]
    found = {domain.lower(): sets for domain in options["ec2_app_domains"] if is_in(domain.lower(), zone) and sets}
    return found | _given(options)


def _given(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Those of C(ec2_dns_records), which lead wherever they are told."""
    return {record["name"].lower().rstrip("."): [record["set"]] for record in options["ec2_dns_records"]}


def front(options: Mapping[str, Any]) -> str:
    """The group that visitors come to."""
    return "balancer" if "balancer" in ec2.group_names(options) else "web"


def question(options: Mapping[str, Any]) -> dict[str, Any]:
    """As whose visitor djangofleet.stack.ec2_survey asks instances: an app's domain, and where Nginx has TLS."""
    names = [name for name in wanted(options) if name not in _given(options) and "*" not in name]
    ports = [
        opening["port"]
        for opening in options["ec2_app_openings"]
        if opening["group"] == front(options) and opening["protocol"] == "tcp" and opening["port"].isdigit()
    ]
    return {"serving_name": names[0] if names else "", "serving_port": int(ports[-1]) if ports else 443}


def held(
    options: Mapping[str, Any], found: Mapping[str, Any], name: str, machines: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The machines that the record of an app does not lead to yet: new ones, while others serve and they do not."""
    if not _is_asked(options, found, name):
        return []
    sets = wanted(options).get(name, [])
    meant = [each for each in machines if each["set"] in sets]
    led = _led(found, name)
    serving = {each["name"] for each in found["instances"] if each["id"] in found["serving"]} | led
    return [each["name"] for each in meant if each["name"] not in serving] if led & {m["name"] for m in meant} else []


def _is_asked(options: Mapping[str, Any], found: Mapping[str, Any], name: str) -> bool:
    """Whether it is known who serves a name: nobody asks for one with a wildcard."""
    return name in ours(options, found) and name not in _given(options) and bool(question(options)["serving_name"])


def _led(found: Mapping[str, Any], name: str) -> set[str]:
    """The instances that a record leads to."""
    has = next((entry["values"] for entry in found["records"] if (entry["name"], entry["type"]) == (name, "A")), [])
    elastic = {entry["instance"]: entry["address"] for entry in found["addresses"]}
    return {
        each["name"]
        for each in found["instances"]
        if {elastic.get(each["id"]) or each["public_address"], each["private_address"]} & set(has)
    }


def stranded(
    options: Mapping[str, Any], found: Mapping[str, Any], machines: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """The refusals about instances that would go while those in their place do not serve yet."""
    for name, sets in wanted(options).items():
        meant = {each["name"] for each in machines if each["set"] in sets}
        led = _led(found, name)
        serving = {each["name"] for each in found["instances"] if each["id"] in found["serving"]} | led
        going = sorted(led - {each["name"] for each in machines})
        if meant and going and not serving & meant and _is_asked(options, found, name):
            yield (
                f"instance {', '.join(going)}: would go, and nobody else serves {name} yet; declare its set beside the "
                "new one, run this and site.yml, and take it away when the new one serves"
            )


def zones(options: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The hosted zones in which records are this environment's, or are to be. A tag remembers them."""
    left = (zone["name"] for zone in found["left_zones"] if ours(options, {**found, "records": zone["records"]}))
    own = zone_name(options)
    return sorted({*left, *([own] if own else [])})


def zone_name(options: Mapping[str, Any]) -> str:
    """The hosted zone that is declared, as names are compared with it; empty where none is."""
    return options["ec2_dns_zone"].rstrip(".").lower()


def is_in(name: str, zone: str) -> bool:
    """Whether a name is in a zone; both in small letters."""
    return name == zone or name.endswith(f".{zone}")


def ours(options: Mapping[str, Any], found: Mapping[str, Any]) -> set[str]:
    """The names whose TXT record says that they are this environment's."""
    marked = {
        entry["name"] for entry in found["records"] if entry["type"] == "TXT" and entry["values"] == [owner(options)]
    }
    names = {entry["name"] for entry in found["records"]} | set(wanted(options))
    left = {
        mark.removeprefix(f"{MARK}.").replace("_wildcard", "*", 1) for mark in marked if mark.startswith(f"{MARK}.")
    }
    return {name for name in names if marker(name) in marked} | left


def addresses(
    options: Mapping[str, Any], found: Mapping[str, Any], sets: Sequence[str], machines: Sequence[Mapping[str, Any]]
) -> tuple[list[str], bool]:
    """Where a name leads, and whether all of it is known already."""
    there = {each["name"]: each for each in found["instances"]}
    elastic = {entry["instance"]: entry["address"] for entry in found["addresses"]}
    known, complete = [], True
    for machine in (each for each in machines if each["set"] in sets):
        instance = there.get(machine["name"], {})
        address = instance.get("public_address") if machine["public"] else instance.get("private_address")
        if machine["elastic"]:
            address = elastic.get(instance.get("id", ""))
        complete = complete and bool(address)
        known += [address] if address else []
    return sorted(known), complete


def steps(
    options: Mapping[str, Any], found: Mapping[str, Any], machines: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The records that are to be made, changed or removed."""
    zone = found["zone"]
    has = {entry["name"]: entry for entry in found["records"] if entry["type"] == "A"}
    known, names = ours(options, found), wanted(options)
    leads_nowhere: list[str] = []  # a record would lead to addresses that are somebody else's by then
    for name, sets in names.items():
        waiting = held(options, found, name, machines)
        ready_ones = [each for each in machines if each["name"] not in waiting]
        values, complete = addresses(options, found, sets, ready_ones)
        there = has.get(name)
        same = there and there["values"] == values and there["ttl"] == options["ec2_dns_ttl"]
        if complete and not values:
            leads_nowhere.append(name)
            continue
        if not complete or not same or name not in known:
            ready = bool(zone) and complete and (there is None or name in known or options["ec2_allow_record_takeover"])
            leads = ", ".join(values) if complete else "the new instances"
            was = f"{', '.join(there['values'])} → " if there else ""
            yield step(
                "record",
                CHANGE if there else CREATE,
                f"record {name}: {was}{leads}",
                ready,
                zone=zone.get("id", ""),
                name=name,
                values=values,
                ttl=options["ec2_dns_ttl"],
                marker=marker(name),
                owner=owner(options),
                state="present",
                mark=name not in known,
            )
    yield from _gone(options, found, (known - set(names)) | (known & set(leads_nowhere)))
    for left in found["left_zones"]:
        there = {**found, "zone": left, "records": left["records"]}
        yield from _gone(options, there, ours(options, there))


def _gone(options: Mapping[str, Any], found: Mapping[str, Any], names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records of names that go."""
    zone, has = found["zone"], {entry["name"]: entry for entry in found["records"] if entry["type"] == "A"}
    for name in sorted(names):
        values = has.get(name, {}).get("values", [])
        yield step(
            "record",
            REMOVE,
            f"record {name}",
            True,
            zone=zone.get("id", ""),
            name=name,
            values=values,
            ttl=has.get(name, {}).get("ttl", 0),
            marker=marker(name),
            owner=owner(options),
            state="absent",
            mark=True,
        )


def refusals(options: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What the zone does not let happen."""
    zone = options["ec2_dns_zone"]
    if not zone or not found["zones"]:  # no account was asked
        return
    if not found["zone"]:
        has = ", ".join(found["hosted_zones"]) or "none"
        yield f"ec2_dns_zone: found '{zone}'; the public hosted zones of the account are: {has}"
        return
    known = ours(options, found)
    for name in wanted(options):
        others = [
            entry for entry in found["records"] if entry["name"] == name and entry["type"] in ("A", "AAAA", "CNAME")
        ]
        for other in others:
            if other["type"] != "A":
                values = ", ".join(other["values"])
                yield f"record {name}: there is {other['type']} {values}; remove it, or leave the name out"
            elif name not in known and not options["ec2_allow_record_takeover"]:
                yield (
                    f"record {name}: leads to {', '.join(other['values'])}, and is not marked as this environment's; "
                    "say that it is to lead here: -e ec2_allow_record_takeover=true"
                )
