"""The rules of role ec2, row by row: what is declared, what is wrong with it, what a plan does about what there is."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.filter.ec2 import planned
from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    ec2,
    ec2_plan,
    ec2_prices,
    ec2_problems,
    ec2_records,
    ec2_said,
    ec2_ssh,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import options_of, spec_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkMr7pUQYRkHrTTZxDMhnKYRlzo2l9tXlOm4NxrqPbY me@desk"
APP = {"name": "app", "groups": ["web", "app"], "type": "t4g.small"}
DB = {"name": "db", "groups": ["database"], "type": "t4g.medium", "volume": {"size": 40}}
LEAST: dict[str, Any] = {
    "ec2_project": "shop",
    "ec2_environment": "test",
    "ec2_region": "us-east-1",
    "ec2_public_key": KEY,
    "ec2_ssh_from": ["203.0.113.7/32"],
    "ec2_instances": [APP],
}
WHOSE = {"djangofleet_project": "shop", "djangofleet_environment": "test"}


def options(**given: Any) -> dict[str, Any]:
    return options_of("ec2", {**LEAST, **given})


def image(architecture: str = "arm64", day: str = "20260201", debian: int = 13) -> dict[str, Any]:
    name = f"debian-{debian}-{architecture}-{day}-2"
    asked = f"debian-{debian}-{architecture}-*"
    return {"id": f"ami-{architecture}{day}", "name": name, "asked": asked, "architecture": architecture,
            "root_device": "/dev/xvda", "smallest": 8}  # fmt: skip


def empty() -> dict[str, Any]:
    """An account in which nobody has made anything, with a default network."""
    zones = ["us-east-1a", "us-east-1b"]
    return {
        "zones": zones,
        "vpc": {"id": "vpc-1", "cidr": "172.31.0.0/16", "tags": {}},
        "vpcs": ["vpc-1"],
        "subnets": [
            {"id": f"subnet-{zone[-1]}", "zone": zone, "cidr": f"172.31.{16 * number}.0/20", "public": True, "tags": {}}
            for number, zone in enumerate(zones)
        ],
        "gateway": {}, "nat": {}, "tables": [], "groups": [], "key": {}, "instances": [], "addresses": [],
        "volumes": [], "snapshots": [], "images": [image(), image("amd64")], "role": {}, "zone": {},
        "hosted_zones": [], "records": [],
    }  # fmt: skip


def made(given: dict[str, Any]) -> dict[str, Any]:
    """An account that has what is declared, as Amazon would tell it."""
    found = empty()
    tags = lambda name: ec2.tags(given, name)  # noqa: E731
    prefix = ec2.prefix(given)
    found["key"] = {"id": "key-1", "name": prefix, "public_key": given["ec2_public_key"], "tags": tags("key")}
    zoned = {f"{prefix}-all": {"djangofleet_zones": given["ec2_dns_zone"]}} if given["ec2_dns_zone"] else {}
    ids = {name: f"sg-{number}" for number, name in enumerate(ec2.rules(given))}
    found["groups"] = [
        {"id": ids[name], "name": name, "tags": {**tags(name.removeprefix(f"{prefix}-")), **zoned.get(name, {})},
         "rules": [" ".join([*rule.split()[:2], ids.get(rule.split()[2], rule.split()[2])]) for rule in lines]}
        for name, lines in ec2.rules(given).items()
    ]  # fmt: skip
    for number, machine in enumerate(ec2.machines(given)):
        subnet = found["subnets"][(ec2.number_of(machine["name"], machine["set"]) - 1) % 2]
        found["instances"].append({
            "id": f"i-{number:08x}", "name": machine["name"], "set": machine["set"], "tags": machine["tags"],
            "state": "running", "type": machine["type"], "image": image(machine["architecture"])["id"],
            "architecture": machine["architecture"], "subnet": subnet["id"], "vpc": "vpc-1", "zone": subnet["zone"],
            "private_address": f"172.31.0.{number + 4}", "public_address": f"198.51.100.{number + 1}",
            "groups": machine["groups"], "profile": "", "tokens": "required", "protected": machine["data"],
            "root": f"vol-{number}", "root_device": "/dev/xvda", "launched": "2026-02-02T10:00:00",
            "keeps": [f"vol-{number}", f"vol-{number}f"] if machine["data"] else [],
        })  # fmt: skip
        base = {"encrypted": True, "instance": f"i-{number:08x}"}
        found["volumes"].append({**base, "id": f"vol-{number}", "size": machine["size"], "device": "/dev/xvda",
                                 "type": machine["volume_type"], "iops": 3000, "throughput": 125,
                                 "tags": machine["tags"]})  # fmt: skip
        for each in machine["volumes"]:
            letter = each["device"][-1]
            own = {"Name": f"{prefix}-{machine['name']}-sd{letter}", "djangofleet_device": each["device"],
                   "djangofleet_of": f"i-{number:08x}"}  # fmt: skip
            found["volumes"].append({**base, **each, "id": f"vol-{number}{letter}", "tags": {**machine["tags"], **own}})
    return found


def texts(plan: dict[str, Any]) -> list[str]:
    return [f"{step['sign']} {step['text']}" for step in plan["steps"]]


# What is declared


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("t4g.small", "arm64"), ("t3.small", "amd64"), ("m7g.large", "arm64"), ("c6gn.large", "arm64"),
     ("a1.large", "arm64"), ("g4dn.xlarge", "amd64"), ("g5g.xlarge", "arm64"), ("m7i-flex.large", "amd64"),
     ("x2gd.large", "arm64"),
     ("r7a.large", "amd64")],
)  # fmt: skip
def test_the_architecture_of_a_type(kind, architecture):
    assert ec2.architecture(kind) == architecture


@pytest.mark.parametrize(
    ("count", "there", "names"),
    [
        (2, [], ["app1", "app2"]),
        (3, ["app1", "app2"], ["app1", "app2", "app3"]),
        (1, ["app1", "app2", "app3"], ["app1"]),
        (2, ["app2"], ["app1", "app2"]),
        (2, ["app1", "app3"], ["app1", "app3"]),
        (2, ["application1", "app10"], ["app1", "app10"]),
        (0, ["app1"], []),
    ],
)
def test_lowest_numbers_stay_and_gaps_are_filled(count, there, names):
    given = options(ec2_instances=[{**APP, "count": count}])
    assert [machine["name"] for machine in ec2.machines(given, {name: {} for name in there})] == names


def test_the_first_of_each_group_is_marked():
    """It keeps what the environment has once, and Amazon tells instances in no order."""
    sets = [{**APP, "count": 2}, {"name": "worker", "groups": ["app"], "type": "t4g.small"}, DB]
    found = {m["name"]: m["tags"]["djangofleet_first"] for m in ec2.machines(options(ec2_instances=sets))}
    assert found == {"app1": "web,app", "app2": "none", "worker1": "none", "db1": "database"}


def test_who_is_first_stays_it():
    """It has the secrets that an environment has once: a set that is declared before it does not take that away."""
    there = {each["name"]: each for each in ec2.machines(options(ec2_instances=[{**APP, "count": 2}]))}
    new = {**APP, "name": "fast"}

    def firsts(*sets: dict[str, Any]) -> dict[str, str]:
        found = ec2.machines(options(ec2_instances=list(sets)), there)
        return {m["name"]: m["tags"]["djangofleet_first"] for m in found if m["tags"]["djangofleet_first"] != "none"}

    assert firsts(new, {**APP, "count": 2}) == {"app1": "web,app"}
    assert firsts(new) == {"fast1": "web,app"}
    there["app1"]["tags"]["djangofleet_first"] = "none"
    there["app2"]["tags"]["djangofleet_first"] = "app"
    assert firsts(new, {**APP, "count": 2}) == {"app1": "web", "app2": "app"}, "one that is there, and not a new one"


APPS = [{"database_name": "shop", "cache_user": "shop"}]


@pytest.mark.parametrize(
    ("sets", "apps", "opened"),
    [
        ([APP], [], ["web 80 anywhere", "web 443 anywhere"]),
        ([APP], APPS, ["web 80 anywhere", "web 443 anywhere"]),
        ([APP, DB], APPS, ["web 80 anywhere", "web 443 anywhere", "database 5432 app"]),
        ([APP, DB], [{"database_name": "", "cache_user": ""}], ["web 80 anywhere", "web 443 anywhere"]),
        ([{**APP, "groups": ["web", "app", "cache"], "count": 2}], APPS,
         ["web 80 anywhere", "web 443 anywhere", "cache 6379 app"]),
        ([APP, {**APP, "name": "lb", "groups": ["balancer"]}], [],
         ["balancer 80 anywhere", "balancer 443 anywhere", "web 80 balancer", "web 443 balancer"]),
        ([DB], APPS, []),
        ("nonsense", APPS, []),
    ],
)  # fmt: skip
def test_what_roles_listen_on_is_opened(sets, apps, opened):
    found = ec2.openings(apps, sets, [80, 443])
    assert [f"{entry['group']} {entry['port']} {' '.join(entry['sources'])}" for entry in found] == opened


def test_http3_is_opened_to_visitors():
    found = ec2.openings([], [APP], [443], [443])
    assert [(entry["port"], entry["protocol"]) for entry in found] == [("443", "tcp"), ("443", "udp")]


def test_ssh_is_open_to_those_alone_who_are_named():
    private = {**DB, "placement": "private"}
    found = ec2.rules(options(ec2_instances=[APP, private], ec2_network={"vpc": "own"}, ec2_app_ssh_ports=[2222]))
    assert found["shop-test-all"] == ["tcp 2222 203.0.113.7/32", "tcp 2222 shop-test-jump"]
    assert found["shop-test-jump"] == found["shop-test-database"] == []
    machines = {m["name"]: m["groups"] for m in ec2.machines(options(ec2_instances=[APP, private]))}
    assert "shop-test-jump" in machines["app1"]
    assert "shop-test-jump" not in machines["db1"]


@pytest.mark.parametrize(
    ("source", "networks"),
    [("anywhere", ["0.0.0.0/0", "::/0"]), ("203.0.113.7", ["203.0.113.7/32"]), ("203.0.113.7/24", ["203.0.113.0/24"]),
     ("2001:db8::1", ["2001:db8::1/128"]), ("app", [])],
)  # fmt: skip
def test_what_a_source_stands_for(source, networks):
    assert ec2.networks(source) == networks


def test_nobody_else_sets_the_tags_that_say_whose_it_is():
    found = ec2.tags({**options(), "ec2_tags": {"djangofleet_project": "x", "Owner": "me"}}, "app1", {"Owner": 7})
    assert found == {**WHOSE, "Name": "shop-test-app1", "Owner": "7"}


# What is wrong

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ec2_region": ""}, "ec2_region: found ''; give a region such as us-east-1"),
    ({"ec2_region": "frankfurt"}, "ec2_region: found 'frankfurt'; give a region"),
    ({"ec2_project": "Shop 1"}, "ec2_project: found 'Shop 1'; give a name"),
    ({"ec2_environment": ""}, "ec2_environment: found ''; give a name"),
    ({"ec2_public_key": "/home/me/.ssh/id.pub"}, "ec2_public_key: found '/home/me/.ssh/id.pub'; give a public key"),
    ({"ec2_ssh_from": []}, "ec2_ssh_from: is empty; give the networks"),
    ({"ec2_ssh_from": ["0.0.0.0/0"]}, "ec2_ssh_from[0]: found '0.0.0.0/0'; give the word anywhere"),
    ({"ec2_ssh_from": ["home"]}, "ec2_ssh_from[0]: found 'home'; give an address"),
    ({"ec2_instances": []}, "ec2_instances: is empty"),
    ({"ec2_instances": [APP, APP]}, "ec2_instances: 'app' is there 2 times"),
    ({"ec2_instances": [{**APP, "name": "app1"}]}, "ec2_instances[app1].name: found 'app1'; give a name"),
    ({"ec2_instances": [{**APP, "groups": ["all"]}]}, "ec2_instances[app].groups[0]: found 'all'; give a group"),
    ({"ec2_instances": [{**APP, "groups": []}]}, "ec2_instances[app].groups: is empty"),
    ({"ec2_instances": [{**APP, "count": -1}]}, "ec2_instances[app].count: found '-1'"),
    ({"ec2_instances": [{**APP, "type": "small"}]}, "ec2_instances[app].type: found 'small'"),
    ({"ec2_instances": [{**APP, "volume": {"size": 4}}]}, "ec2_instances[app].volume.size: found '4'"),
    ({"ec2_instances": [{**APP, "image": "debian"}]}, "ec2_instances[app].image: found 'debian'"),
    ({"ec2_instances": [{**APP, "tags": {"Name": "x"}}]}, "ec2_instances[app].tags: found 'Name'; give another name"),
    ({"ec2_instances": [APP, {**DB, "placement": "private"}]}, "ec2_network.vpc: found 'default', which has no"),
    ({"ec2_instances": [{**DB, "placement": "private"}], "ec2_network": {"vpc": "own"}}, "ec2_instances: all are"),
    ({"ec2_instances": [APP, {**DB, "placement": "private", "elastic_address": True}],
      "ec2_network": {"vpc": "own"}}, "ec2_instances[db].elastic_address: a private"),
    ({"ec2_network": {"cidr": "10.0.0.0/8"}}, "ec2_network.cidr: found '10.0.0.0/8'; give a network from /16"),
    ({"ec2_network": {"zones": ["eu-west-1a"]}}, "ec2_network.zones[0]: found 'eu-west-1a'; give an availability zone"),
    ({"ec2_openings": [{"group": "db", "port": "1", "sources": ["app"]}]}, "ec2_openings[0].group: found 'db'; give"),
    ({"ec2_openings": [{"group": "app", "port": "9-1", "sources": ["app"]}]}, "ec2_openings[0].port: found '9-1'"),
    ({"ec2_openings": [{"group": "app", "port": "80", "sources": ["x"]}]}, "ec2_openings[0].sources: found 'x'; give"),
    ({"ec2_openings": [{"group": "app", "port": "80", "sources": []}]}, "ec2_openings[0].sources: is empty; give"),
    ({"ec2_openings": [{"group": "app", "port": "20-30", "sources": ["anywhere"]}]}, "ec2_openings[0]: would open ssh"),
    ({"ec2_dns_records": [{"name": "a.example.com", "set": "app"}]}, "ec2_dns_zone: is not given"),
    ({"ec2_dns_zone": "example.com", "ec2_dns_records": [{"name": "a.b.org", "set": "app"}]},
     "ec2_dns_records[a.b.org].name: found 'a.b.org'; give a name in the zone"),
    ({"ec2_dns_zone": "example.com", "ec2_dns_records": [{"name": "a.example.com", "set": "x"}]},
     "ec2_dns_records[a.example.com].set: found 'x'; give one of app"),
    ({"ec2_tags": {"aws:x": "y"}}, "ec2_tags: found 'aws:x'; give another name"),
    ({"ec2_image": {"id": "debian"}}, "ec2_image.id: found 'debian'; give the id of an image"),
    ({"ec2_backup_bucket": "My Bucket"}, "ec2_backup_bucket: found 'My Bucket'"),
    ({"ec2_prices": {"t4g.small": "cheap"}}, "ec2_prices.t4g.small: found 'cheap'; give US dollars"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "line"), WRONG)
def test_bad_input_is_told(given, line):
    found = ec2_problems.problems({**LEAST, **given})
    assert len(found) == 1, found
    assert found[0].startswith(line)


def test_good_input_has_no_problems():
    sets = [APP, {**DB, "placement": "private", "data": False}]
    more = {"ec2_network": {"vpc": "own"}, "ec2_ssh_from": ["anywhere"], "ec2_openings": [
        {"group": "app", "port": "8000-8010", "sources": ["database", "10.0.0.0/8"]}]}  # fmt: skip
    assert ec2_problems.problems({**LEAST, **more, "ec2_instances": sets}) == []


FILTERS = {"tag:djangofleet_project": "shop", "tag:djangofleet_environment": "test"}


@pytest.mark.parametrize(
    ("inventory", "line"),
    [
        (None, ""),
        ({"regions": ["us-east-1"], "filters": FILTERS}, ""),
        ({"regions": ["eu-west-1"], "filters": FILTERS},
         "aws_ec2.yml: regions: found '['eu-west-1']'; give ['us-east-1']"),
        ({"regions": ["us-east-1"], "filters": {**FILTERS, "tag:djangofleet_environment": "production"}},
         "aws_ec2.yml: filters.tag:djangofleet_environment: found 'production'; give test"),
        (["x"], "aws_ec2.yml: is no mapping"),
    ],
)  # fmt: skip
def test_the_dynamic_inventory_looks_for_what_is_made(inventory, line):
    """Or a copy of the folder for another environment would show the hosts of the first one."""
    found = ec2_problems.problems(LEAST, inventory)
    assert len(found) == bool(line)
    assert all(each.startswith(line) for each in found)


# The plan


def test_a_plan_of_nothing_names_all_that_is_to_be_made():
    """As somebody without an account sees it."""
    plan = ec2_plan.plan(options(ec2_instances=[APP, DB]), {})
    assert texts(plan) == [
        "+ key pair shop-test",
        "+ security group shop-test-all",
        "+ shop-test-all opens 22/tcp to 203.0.113.7/32",
        "+ security group shop-test-web",
        "+ security group shop-test-app",
        "+ security group shop-test-database",
        "+ instance app1: t4g.small in a public subnet, 20 GiB of gp3, the newest Debian 13",
        "+ instance db1: t4g.medium in a public subnet, 40 GiB of gp3, the newest Debian 13, keeps data: "
        "protected from termination",
    ]
    assert plan["refusals"] == []


@pytest.mark.parametrize(
    "given",
    [{}, {"ec2_instances": [{**APP, "count": 3}, DB]}, {"ec2_tags": {"Owner": "web"}},
     {"ec2_instances": [{**APP, "volumes": [{"device_name": "/dev/sdf", "size": 100}]},
                        {**DB, "volumes": [{"device_name": "/dev/sdf", "size": 200, "type": "io2", "iops": 5000}]}]},
     {"ec2_openings": [{"group": "app", "port": "8000-8000", "sources": ["web"]}]},
     {"ec2_openings": [{"group": "app", "port": "8000-8010", "sources": ["web", "10.1.2.3/8", "2001:DB8::/32"]}]}],
)  # fmt: skip
def test_nothing_is_done_about_what_is_as_declared(given):
    declared = options(**given)
    plan = ec2_plan.plan(declared, made(declared))
    assert (texts(plan), plan["refusals"], plan["notes"]) == ([], [], [])


class Lazy(dict):
    """A mapping as Ansible hands it to a filter: its items are no set."""

    def items(self) -> Any:
        return ((key, self[key]) for key in self)


def test_a_plan_takes_what_ansible_hands_on():
    def lazy(value: Any) -> Any:
        if isinstance(value, dict):
            return Lazy({key: lazy(each) for key, each in value.items()})
        return [lazy(each) for each in value] if isinstance(value, list) else value

    given = options(ec2_backup_bucket="b", ec2_instances=[{**APP, "volumes": [{"device_name": "/dev/sdf", "size": 9}]}])
    name = ec2.role_name(given)
    tags = ec2.tags(given, "role", {"djangofleet_region": "us-east-1"})
    role = {"name": name, "profiles": [name], "policies": {"backup": ec2.policy("b")}, "tags": tags}
    found = {**change(made(given), profile=name), "role": role}
    found["volumes"][1] |= {"instance": "", "device": ""}
    plan = planned(given, lazy({"found": found}))
    assert texts(plan) == ["~ volume /dev/sdf of app1: vol-0f is attached"]


def test_what_is_not_there_yet_is_waited_for():
    declared = options(ec2_app_openings=[{"group": "app", "port": "8000", "sources": ["web"]}])
    plan = ec2_plan.plan(declared, empty())
    ready = {step["kind"] for step in plan["steps"] if step["ready"]}
    assert ready == {"key", "group"}
    found = made(declared)
    found["instances"], found["volumes"] = [], []
    plan = ec2_plan.plan(declared, found)
    (step,) = plan["todo"]["instance"]
    assert (step["image"], step["subnet"], step["groups"]) == (
        "ami-arm6420260201",
        "subnet-a",
        ["sg-0", "sg-2", "sg-1"],
    )
    assert step["machine"]["tags"]["djangofleet_groups"] == "web,app"


def change(found: dict[str, Any], name: str = "app1", **values: Any) -> dict[str, Any]:
    """The account with another value of an instance."""
    found = copy.deepcopy(found)
    for instance in found["instances"]:
        if instance["name"] == name:
            instance.update(values)
    return found


CHANGED: list[tuple[dict[str, Any], list[str]]] = [
    ({"tokens": "optional"}, ["~ instance app1: its metadata by tokens only (IMDSv2)"]),
    ({"state": "stopped"}, ["~ instance app1: starts"]),
    ({"protected": True}, ["~ instance app1: no longer protected from termination"]),
    ({"groups": ["shop-test-all", "shop-test-app", "x"]}, ["~ instance app1 joins shop-test-web, leaves x"]),
]


@pytest.mark.parametrize(("values", "lines"), CHANGED)
def test_what_changes_in_place(values, lines):
    declared = options()
    plan = ec2_plan.plan(declared, change(made(declared), **values))
    assert texts(plan) == lines
    assert all(step["ready"] for step in plan["steps"])


def test_a_tag_and_a_rule_change_in_place():
    plan = ec2_plan.plan(
        options(ec2_instances=[{**APP, "tags": {"Owner": "web"}}], ec2_ssh_from=["203.0.113.8"]), made(options())
    )
    assert texts(plan) == [
        "~ shop-test-all opens 22/tcp to 203.0.113.8/32, closes 22/tcp to 203.0.113.7/32",
        "~ tags of instance app1: Owner=web",
        "~ tags of volume of app1: Owner=web",
    ]
    (step,) = plan["todo"]["rules"]
    assert step["rules"] == [{"proto": "tcp", "from_port": 22, "to_port": 22, "cidr_ip": "203.0.113.8/32"}]


def test_a_rule_that_somebody_has_added_is_closed():
    found = made(options())
    found["groups"][0]["rules"].append("tcp 3306 0.0.0.0/0")
    assert texts(ec2_plan.plan(options(), found)) == ["~ shop-test-all closes 3306/tcp to everybody"]


def test_a_volume_grows_and_does_not_shrink():
    larger = options(ec2_instances=[{**APP, "volume": {"size": 30}}])
    assert texts(ec2_plan.plan(larger, made(options()))) == ["~ volume of app1: 20 GiB of gp3 → 30 GiB of gp3"]
    plan = ec2_plan.plan(options(), made(larger))
    assert not any(step["ready"] for step in plan["steps"])
    assert plan["refusals"] == [
        "ec2_instances[app].volume.size: found '20', and the volume of app1 has 30 GiB; give 30 or more: a volume does "
        "not shrink"
    ]


def test_another_type_stops_an_instance_and_has_to_be_allowed():
    larger = {"ec2_instances": [{**APP, "type": "t4g.large"}]}
    (line,) = ec2_plan.plan(options(**larger), made(options()))["refusals"]
    assert line.endswith("stops for some minutes; say that it may: -e ec2_allow_stop=true")
    plan = ec2_plan.plan(options(**larger, ec2_allow_stop=True), made(options()))
    assert (texts(plan), plan["refusals"]) == (["~ instance app1: t4g.small → t4g.large, stops for it"], [])


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        (
            {},
            {"type": "t3.small"},
            "ec2_instances[app].type: found 't3.small' (amd64), and there is arm64: app1 would have",
        ),
        (
            {"data": True},
            {"type": "t3.small", "data": True},
            "its data would be gone; make a second set and move the data",
        ),
    ],
)
def test_what_would_replace_an_instance_is_refused(before, now, line):
    found = made(options(ec2_instances=[{**APP, **before}]))
    plan = ec2_plan.plan(options(ec2_instances=[{**APP, **now}], ec2_allow_stop=True), found)
    assert len(plan["refusals"]) == 1
    assert line in plan["refusals"][0]


def test_what_is_named_and_not_there_is_refused():
    found = {**empty(), "vpc": {}, "vpcs": [], "subnets": []}
    (line,) = ec2_plan.plan(options(ec2_network={"vpc": "office"}), found)["refusals"]
    assert line == "ec2_network.vpc: found 'office', of which there is none; give the id of one, or own"
    (line,) = ec2_plan.plan(options(ec2_network={"zones": ["us-east-1f"]}), empty())["refusals"][:1]
    assert line == "ec2_network.zones: found 'us-east-1f'; give some of us-east-1a, us-east-1b"
    (line,) = ec2_plan.plan(options(), {**empty(), "images": []})["refusals"]
    assert line == "ec2_image: there is no image of Debian 13 for arm64 of account 136693071363 in us-east-1"
    (line,) = ec2_plan.plan(options(ec2_image={"id": "ami-amd6420260201"}), empty())["refusals"]
    assert line.endswith("is for amd64, and t4g.small of app1 is arm64; give an image for it, or another type")


@pytest.mark.parametrize(
    ("named", "there"),
    [("own", {"vpc": {}, "vpcs": []}), ("vpc-2", {"vpc": {"id": "vpc-2", "cidr": "10.2.0.0/16", "tags": {}}})],
    ids=["of its own, not made yet", "another one"],
)
def test_instances_do_not_leave_their_network(named, there):
    found = {**made(options()), **there}
    refused = ec2_plan.plan(options(ec2_network={"vpc": named}), found)["refusals"]
    assert f"ec2_network.vpc: found '{named}', and app1 is in vpc-1, which it cannot leave; make a second" in refused[0]
    assert len(refused) == len(found["instances"])


def test_an_image_that_is_larger_than_a_volume_is_told():
    """The volume would have the image's size, and the next run would find it too large."""
    large = {**image(), "smallest": 30}
    (line,) = ec2_plan.plan(options(), {**empty(), "images": [large]})["refusals"]
    assert line == (
        "ec2_instances[app].volume.size: found '20', and image 'ami-arm6420260201' has 30 GiB; give 30 or more"
    )
    found = {**made(options()), "images": [large]}
    assert ec2_plan.plan(options(), found)["refusals"] == [], "one that is there"


def test_another_debian_is_for_new_ones():
    plan = ec2_plan.plan(options(ec2_image={"debian": 12}), made(options()))
    assert (texts(plan), plan["refusals"]) == ([], [])
    assert plan["notes"] == ["app1 began with debian-13-arm64-20260201-2, and stays; new ones begin with Debian 12."]


def test_a_key_that_is_not_at_hand_keeps_nobody_from_the_plan():
    """And nobody from the environment whose key pair is made."""
    declared = options(ec2_public_key="")
    assert ec2_problems.problems({**LEAST, "ec2_public_key": ""}) == []
    plan = ec2_plan.plan(declared, {})
    assert (plan["refusals"], len(plan["notes"])) == ([], 1)
    assert plan["notes"][0].startswith("ec2_public_key: is empty; give the public key that you log in with")
    assert ec2_plan.plan(declared, empty())["refusals"] == plan["notes"]
    assert ec2_plan.plan(declared, empty())["todo"]["key"] == []
    plan = ec2_plan.plan(declared, made(options()))
    assert (texts(plan), plan["refusals"], plan["notes"]) == ([], [], [])


def test_another_key_than_that_of_the_pair_is_refused():
    (line,) = ec2_plan.plan(options(ec2_public_key=KEY.replace("KkMr", "OtHe")), made(options()))["refusals"]
    assert line.startswith("ec2_public_key: the key pair shop-test has another key")


def test_what_has_a_name_of_ours_and_is_not_ours_is_left_alone():
    found = {**empty(), "foreign_groups": ["default", "shop-test-web", "shop-test-other"]}
    (line,) = ec2_plan.plan(options(), found)["refusals"]
    assert line.startswith("security group shop-test-web: is there and does not carry this environment's tags; delete")
    role = {"name": "shop-test-us-east-1", "policies": {}, "profiles": [], "tags": {}}
    kept = options(ec2_backup_bucket="shop-backups")
    (line,) = ec2_plan.plan(kept, {**empty(), "role": role})["refusals"]
    assert line.startswith("role shop-test-us-east-1: is there and does not carry")
    assert ec2_plan.plan(kept, {**empty(), "role": {**role, "tags": WHOSE}})["refusals"] == []
    key = {"id": "key-9", "name": "shop-test", "public_key": KEY, "tags": {}}
    assert ec2_plan.plan(options(), {**empty(), "key": key})["todo"]["tags"] == []


def test_regions_of_one_environment_have_roles_of_their_own():
    """IAM has no regions: to take down one would take the role from the other."""
    steps = {}
    for region in ("us-east-1", "eu-west-1"):
        declared = options(ec2_backup_bucket="shop-backups", ec2_region=region)
        (steps[region],) = ec2_plan.plan(declared, empty())["todo"]["role"]
        assert ec2.questions(declared)["role_name"] == steps[region]["name"] == f"shop-test-{region}"
        assert ec2.questions(declared)["role_needed"]
        assert steps[region]["tags"].items() >= {**WHOSE, "djangofleet_region": region}.items()
    longest = options(ec2_project="p" * 24, ec2_environment="e" * 24, ec2_region="ap-southeast-1")
    assert ec2_problems.problems(longest) == []
    assert len(ec2.role_name(longest)) <= 64, "as many as Amazon takes"


def test_the_role_is_given_to_instances_that_are_there():
    kept = options(ec2_backup_bucket="shop-backups")
    role = {"name": "shop-test-us-east-1", "profiles": ["shop-test-us-east-1"],
            "tags": ec2.tags(kept, "role", {"djangofleet_region": "us-east-1"}),
            "policies": {"backup": ec2.policy("shop-backups")}}  # fmt: skip
    found = {**made(kept), "role": role}
    assert texts(ec2_plan.plan(kept, found)) == ["~ instance app1: role shop-test-us-east-1"]
    has = change(found, profile="shop-test-us-east-1")
    assert texts(ec2_plan.plan(kept, has)) == []
    other = options(ec2_backup_bucket="other-backups")
    assert texts(ec2_plan.plan(other, has)) == ["~ role shop-test-us-east-1, which may keep backups in other-backups"]
    has["role"]["tags"] = WHOSE
    assert texts(ec2_plan.plan(kept, has)) == ["~ role shop-test-us-east-1, which may keep backups in shop-backups"]


def test_a_bucket_that_is_named_no_more_is_closed():
    role = {"name": "shop-test-us-east-1", "tags": WHOSE, "profiles": ["shop-test-us-east-1"],
            "policies": {"backup": ec2.policy("shop-backups")}}  # fmt: skip
    found = {**change(made(options()), profile="shop-test-us-east-1"), "role": role}
    plan = ec2_plan.plan(options(), found)
    assert texts(plan) == ["- permission of role shop-test-us-east-1 to keep backups"]
    assert [step["name"] for step in plan["todo"]["policy_gone"]] == ["shop-test-us-east-1"]
    role["policies"] = {}
    assert texts(ec2_plan.plan(options(), found)) == []
    role |= {"tags": {}, "policies": {"backup": {}}}
    assert texts(ec2_plan.plan(options(), found)) == [], "somebody else's"


def test_two_instances_of_one_name_are_refused():
    """As a run leaves them that has asked Amazon twice."""
    found = made(options())
    found["instances"].append({**found["instances"][0], "id": "i-0000000f"})
    (line,) = ec2_plan.plan(options(), found)["refusals"]
    assert line == "instance app1: there are several (i-00000000, i-0000000f); terminate all but one"


def test_an_image_is_chosen_once():
    declared = options(ec2_instances=[{**APP, "count": 2}])
    found = made(options())
    newer = image(day="20260301")
    found["images"] = [newer, {**image(), "asked": image()["id"]}]
    (step,) = ec2_plan.plan(declared, found)["todo"]["instance"]
    assert step["image"] == image()["id"]
    plan = ec2_plan.plan(options(ec2_instances=[{**APP, "count": 2}], ec2_image={"id": newer["id"]}), found)
    assert plan["todo"]["instance"][0]["image"] == newer["id"]
    assert plan["notes"] == [f"app1 began with {image()['id']}, and stays; new ones begin with {newer['id']}."]


def test_the_last_instances_go_after_they_have_drained():
    found = made(options(ec2_instances=[{**APP, "count": 3}]))
    plan = ec2_plan.plan(options(), found)
    assert texts(plan) == [
        "- instance app3 finishes what it has in hand",
        "- instance app3 (i-00000002, t4g.small)",
        "- instance app2 finishes what it has in hand",
        "- instance app2 (i-00000001, t4g.small)",
    ]
    assert ec2_plan.KINDS.index("record") < ec2_plan.KINDS.index("leave") < ec2_plan.KINDS.index("terminate")


def test_data_does_not_go_without_a_word():
    found = made(options(ec2_instances=[APP, DB]))
    plan = ec2_plan.plan(options(), found)
    (line,) = plan["refusals"]
    assert line.startswith("instance db1: has data and would go; say what becomes of it: -e ec2_final_backup=snapshot")
    plan = ec2_plan.plan(options(ec2_final_backup="taken"), found)
    assert plan["refusals"] == []
    assert "- instance db1 (i-00000001, t4g.medium), and its data" in texts(plan)
    plan = ec2_plan.plan(options(ec2_final_backup="snapshot"), found)
    (snapshot,) = plan["todo"]["snapshot"]
    assert (snapshot["id"], snapshot["stops"]) == ("vol-1", "i-00000001")
    assert not plan["todo"]["terminate"], "before the snapshot is there"
    assert [step["name"] for step in plan["todo"]["leave"]] == ["db1"], "before it is stopped"
    assert ec2_plan.KINDS.index("leave") < ec2_plan.KINDS.index("snapshot")
    found["snapshots"] = [{"id": "snap-1", "volume": "vol-1", "state": "completed", "tags": snapshot["tags"],
                           "started": "2026-02-02T11:00:00"}]  # fmt: skip
    plan = ec2_plan.plan(options(ec2_final_backup="snapshot"), change(found, "db1", state="stopped"))
    assert [step["name"] for step in plan["todo"]["terminate"]] == ["db1"]
    assert not plan["todo"]["leave"], "nobody reaches one that has stopped, which has nothing in hand"
    plan = ec2_plan.plan(options(ec2_final_backup="snapshot"), found)
    assert (len(plan["todo"]["snapshot"]), plan["todo"]["terminate"]) == (1, []), "it runs again, and writes"
    again = change(found, "db1", state="stopped", launched="2026-02-02T12:00:00")
    plan = ec2_plan.plan(options(ec2_final_backup="snapshot"), again)
    assert (len(plan["todo"]["snapshot"]), plan["todo"]["terminate"]) == (1, []), "it has run since, and written"


def test_an_address_is_given_kept_and_released():
    declared = options(ec2_instances=[{**APP, "elastic_address": True}])
    found = made(declared)
    (step,) = ec2_plan.plan(declared, found)["todo"]["address"]
    assert (step["instance"], step["address"]) == ("i-00000000", "")
    entry = {
        "id": "eipalloc-1",
        "address": "192.0.2.1",
        "instance": "",
        "association": "",
        "name": "app1",
        "tags": ec2.tags(declared, "app1", {"djangofleet_name": "app1"}),
    }
    (step,) = ec2_plan.plan(declared, {**found, "addresses": [entry]})["todo"]["address"]
    assert step["address"] == "192.0.2.1", "one that a run has left without its instance is taken"
    attached = {**found, "addresses": [{**entry, "instance": "i-00000000"}]}
    assert texts(ec2_plan.plan(declared, attached)) == []
    assert texts(ec2_plan.plan(options(), attached)) == ["- elastic address 192.0.2.1 of app1"]
    owned = {**declared, "ec2_tags": {"Owner": "web"}}
    assert "~ tags of elastic address of app1: Owner=web" in texts(ec2_plan.plan(owned, attached))
    assert "~ tags of key pair shop-test: Owner=web" in texts(ec2_plan.plan(owned, attached))


# Records

ZONE = {"zone": {"id": "Z1", "name": "example.com"}, "hosted_zones": ["example.com"]}
WEB = {"ec2_dns_zone": "example.com", "ec2_app_domains": ["www.example.com", "shop.example.org"]}
MINE = {"name": "_djangofleet.www.example.com", "type": "TXT", "ttl": 300, "values": ['"shop/test/us-east-1"']}


def leads(*addresses: str) -> dict[str, Any]:
    return {"name": "www.example.com", "type": "A", "ttl": 60, "values": list(addresses)}


@pytest.mark.parametrize(
    ("records", "lines", "refused"),
    [
        ([], ["+ record www.example.com: 198.51.100.1"], ""),
        ([MINE, leads("198.51.100.1")], [], ""),
        ([MINE, leads("192.0.2.9")], ["~ record www.example.com: 192.0.2.9 → 198.51.100.1"], ""),
        ([leads("192.0.2.9")], ["~ record www.example.com: 192.0.2.9 → 198.51.100.1"],
         "is not marked as this environment's"),
        ([{**MINE, "values": ['"shop/test/eu-west-1"']}, leads("192.0.2.9")],
         ["~ record www.example.com: 192.0.2.9 → 198.51.100.1"], "is not marked as this environment's"),
        ([{**MINE, "values": ['"shop/production/us-east-1"']}, leads("192.0.2.9")],
         ["~ record www.example.com: 192.0.2.9 → 198.51.100.1"], "is not marked as this environment's"),
        ([{"name": "www.example.com", "type": "CNAME", "ttl": 60, "values": ["x.example.net."]}],
         ["+ record www.example.com: 198.51.100.1"], "there is CNAME x.example.net."),
        ([MINE, leads("198.51.100.1"), {**MINE, "name": "_djangofleet.old.example.com"}, {**leads("192.0.2.8"),
          "name": "old.example.com"}], ["- record old.example.com"], ""),
    ],
)  # fmt: skip
def test_records_lead_to_the_instances_and_are_nobody_elses(records, lines, refused):
    declared = options(**WEB)
    plan = ec2_plan.plan(declared, {**made(declared), **ZONE, "records": records})
    assert texts(plan) == lines
    assert len(plan["refusals"]) == bool(refused)
    assert all(refused in line for line in plan["refusals"])
    if refused:
        assert not any(step["ready"] for step in plan["steps"] if leads("192.0.2.9") in records)


@pytest.mark.parametrize(
    ("serving", "has", "lines"),
    [
        ([], ["198.51.100.1"], []),
        (["i-00000001"], ["198.51.100.1"], ["~ record www.example.com: 198.51.100.1 → 198.51.100.1, 198.51.100.2"]),
        ([], ["198.51.100.1", "198.51.100.2"], []),
        # Where none of them serves, there is nothing to keep visitors from.
        ([], ["192.0.2.9"], ["~ record www.example.com: 192.0.2.9 → 198.51.100.1, 198.51.100.2"]),
    ],
)
def test_no_visitor_is_led_to_a_new_instance_before_it_serves(serving, has, lines):
    declared = options(**WEB, ec2_instances=[{**APP, "count": 2}])
    found = {**made(declared), **ZONE, "records": [MINE, leads(*has)], "serving": serving}
    plan = ec2_plan.plan(declared, found)
    assert texts(plan) == lines
    waits = ["app2 does not serve yet; run site.yml, then this again, and www.example.com leads there too."]
    assert plan["notes"] == (waits if len(has) == 1 and has != ["192.0.2.9"] and not serving else [])


def test_a_record_that_leads_to_nobody_goes():
    """The addresses are somebody else's by then."""
    none = options(**WEB, ec2_instances=[{**APP, "count": 0}])
    found = {**made(options(**WEB)), **ZONE, "records": [MINE, leads("198.51.100.1")]}
    (step,) = ec2_plan.plan(none, found)["todo"]["record"]
    assert (step["name"], step["state"], step["values"]) == ("www.example.com", "absent", ["198.51.100.1"])
    assert ec2_plan.KINDS.index("record") < ec2_plan.KINDS.index("leave")
    assert ec2_plan.plan(none, {**found, "records": [leads("192.0.2.9")]})["todo"]["record"] == [], "not ours"
    gone = {**found, "instances": [], "volumes": [], "records": []}
    assert texts(ec2_plan.plan(none, gone)) == []


def test_nobody_asks_who_serves_a_wildcard():
    declared = options(ec2_dns_zone="example.com", ec2_app_domains=["*.example.com"],
                       ec2_instances=[{**APP, "count": 2}])  # fmt: skip
    mark = {**MINE, "name": "_djangofleet._wildcard.example.com"}
    found = {**made(declared), **ZONE, "records": [mark, {**leads("198.51.100.1"), "name": "*.example.com"}]}
    assert texts(ec2_plan.plan(declared, found)) == [
        "~ record *.example.com: 198.51.100.1 → 198.51.100.1, 198.51.100.2"
    ]


def test_who_serves_does_not_go_before_others_do():
    """As when a set is called by another name."""
    found = {**made(options(**WEB)), **ZONE, "records": [MINE, leads("198.51.100.1")]}
    other = options(**WEB, ec2_instances=[{**APP, "name": "web"}])
    (line,) = ec2_plan.plan(other, found)["refusals"]
    assert line.startswith("instance app1: would go, and nobody else serves www.example.com yet; declare its set")
    both = options(**WEB, ec2_instances=[APP, {**APP, "name": "web"}])
    assert ec2_plan.plan(both, found)["refusals"] == []
    later = {**made(both), **ZONE, "records": [MINE, leads("198.51.100.1")]}
    assert len(ec2_plan.plan(other, later)["refusals"]) == 1, "it is there, and does not serve"
    later["serving"] = ["i-00000001"]
    plan = ec2_plan.plan(other, later)
    assert plan["refusals"] == []
    assert "~ record www.example.com: 198.51.100.1 → 198.51.100.2" in texts(plan)
    none = options(**WEB, ec2_instances=[{**APP, "count": 0}])
    assert ec2_plan.plan(none, found)["refusals"] == [], "who wants nobody to serve may have it"


def test_a_record_does_not_wait_for_an_instance_that_is_still_to_be_made():
    declared = options(**WEB, ec2_instances=[{**APP, "count": 2}])
    found = {**made(options(**WEB)), **ZONE, "records": [MINE, leads("198.51.100.1")]}
    assert [step["kind"] for step in ec2_plan.plan(declared, found)["steps"]] == ["instance"]


def test_instances_are_asked_as_a_visitor_asks():
    opened = [{"group": "web", "port": port, "sources": ["anywhere"]} for port in ("80", "8443", "9000-9010")]
    given = {**WEB, "ec2_app_domains": ["*.example.com", "www.example.com"], "ec2_app_openings": opened}
    assert ec2_records.question(options(**given)) == {"serving_name": "www.example.com", "serving_port": 8443}
    assert ec2_records.question(options()) == {"serving_name": "", "serving_port": 443}


@pytest.mark.parametrize("zone", ["", "example.org"])
def test_records_do_not_stay_in_a_zone_that_is_named_no_more(zone):
    """They would lead to addresses that become somebody else's."""
    before = options(**WEB)
    found = {**made(before), "hosted_zones": ["example.com", "example.org"]}
    if zone:
        found["zone"] = {"id": "Z2", "name": zone}
    records = [MINE, leads("198.51.100.1"), {**leads("192.0.2.3"), "name": "other.example.com"}]
    found["left_zones"] = [{"id": "Z1", "name": "example.com", "records": records}]
    for now in (options(ec2_dns_zone=zone), options(ec2_dns_zone=zone, ec2_state="absent")):
        plan = ec2_plan.plan(now, found)
        (step,) = plan["todo"]["record"]
        assert (step["zone"], step["name"], step["state"]) == ("Z1", "www.example.com", "absent")
        assert (step["values"], plan["refusals"]) == (["198.51.100.1"], [])
    now = options(ec2_dns_zone=zone)
    tags = [step["tags"] for step in ec2_plan.plan(now, found)["todo"]["tags"]]
    assert tags == ([{"djangofleet_zones": "example.com example.org"}] if zone else []), "as long as there are some"
    found["left_zones"][0]["records"] = records[2:]
    plan = ec2_plan.plan(now, found)
    assert texts(plan) == [f"~ tags of security group shop-test-all: djangofleet_zones={zone}"]
    found["left_zones"], found["groups"][0]["tags"]["djangofleet_zones"] = [], zone
    assert texts(ec2_plan.plan(now, found)) == []


def test_a_record_is_taken_over_when_it_is_said():
    declared = options(**WEB, ec2_allow_record_takeover=True)
    plan = ec2_plan.plan(declared, {**made(declared), **ZONE, "records": [leads("192.0.2.9")]})
    (step,) = plan["todo"]["record"]
    assert (step["values"], step["mark"], plan["refusals"]) == (["198.51.100.1"], True, [])


def test_a_wrong_zone_is_told_with_those_that_there_are():
    declared = options(**WEB)
    found = {**made(declared), "hosted_zones": ["example.net", "example.org"]}
    (line,) = ec2_plan.plan(declared, found)["refusals"]
    assert line == (
        "ec2_dns_zone: found 'example.com'; the public hosted zones of the account are: example.net, example.org"
    )


def test_a_record_waits_for_the_elastic_address():
    declared = options(**WEB, ec2_instances=[{**APP, "elastic_address": True}])
    plan = ec2_plan.plan(declared, {**made(declared), **ZONE})
    assert plan["todo"]["record"] == []


# A network of its own


def own(**more: Any) -> dict[str, Any]:
    return options(ec2_network={"vpc": "own"}, ec2_instances=[APP, {**DB, "placement": "private"}], **more)


def whole(given: dict[str, Any]) -> dict[str, Any]:
    """An account with a network of its own, as far as it is made round by round."""
    zones, tags = ["us-east-1a", "us-east-1b"], lambda name, **own: ec2.tags(given, name, own)
    subnets = [
        {"id": f"subnet-{kind}-{zone[-1]}", "zone": zone, "cidr": f"10.42.{base + 16 * number}.0/20",
         "public": kind == "public", "tags": tags(f"{kind}-{zone}", djangofleet_subnet=kind)}
        for kind, base in (("public", 0), ("private", 128)) for number, zone in enumerate(zones)
    ]  # fmt: skip
    nat, address = "nat-1", ec2.tags(given, "nat", {"djangofleet_name": "nat"})
    return {
        **empty(), "zones": [*zones, "us-east-1c"], "subnets": subnets, "vpcs": ["vpc-9"],
        "vpc": {"id": "vpc-9", "cidr": "10.42.0.0/16", "tags": tags("network")},
        "gateway": {"id": "igw-1", "tags": tags("gateway")},
        "nat": {"id": nat, "state": "available", "allocations": ["eipalloc-9"], "tags": tags("nat")},
        "addresses": [{"id": "eipalloc-9", "address": "192.0.2.9", "instance": "", "association": "x", "name": "nat",
                       "tags": address}],
        "tables": [
            {"id": f"rtb-{kind}", "main": False, "tags": tags(f"{kind}-routes", djangofleet_routes=kind),
             "subnets": [each["id"] for each in subnets if each["tags"]["djangofleet_subnet"] == kind],
             "routes": {"10.42.0.0/16": "local", "0.0.0.0/0": via}}
            for kind, via in (("public", "igw-1"), ("private", nat))
        ],
    }  # fmt: skip


def network_lines(given: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is done about the network alone."""
    words = ("subnet", "network", "routes", "gateway")
    return [line for line in texts(ec2_plan.plan(given, found)) if any(word in line for word in words)]


def test_a_network_grows_round_by_round():
    found = {**empty(), "vpc": {}, "vpcs": [], "subnets": []}
    plan = ec2_plan.plan(own(), found)
    assert len(plan["todo"]["vpc"]) == 1
    assert not plan["todo"]["subnet"]
    done = whole(own())
    found |= {"vpc": done["vpc"], "vpcs": ["vpc-9"]}
    plan = ec2_plan.plan(own(), found)
    subnets = plan["todo"]["subnet"]
    assert [(s["zone"][-1], s["cidr"], s["public"]) for s in subnets] == [
        ("a", "10.42.0.0/20", True),
        ("a", "10.42.128.0/20", False),
        ("b", "10.42.16.0/20", True),
        ("b", "10.42.144.0/20", False),
    ]
    found |= {"gateway": done["gateway"], "subnets": done["subnets"]}
    plan = ec2_plan.plan(own(), found)
    (routes,) = plan["todo"]["table"]
    assert routes["routes"] == [{"dest": "0.0.0.0/0", "gateway_id": "igw-1"}]
    assert not plan["todo"]["nat"], "it needs the way out"
    found["tables"] = done["tables"][:1]
    plan = ec2_plan.plan(own(), found)
    assert not plan["todo"]["nat"], "it needs its address, which has the tags"
    (address,) = plan["todo"]["nat_address"]
    assert address["tags"].items() >= {**WHOSE, "djangofleet_name": "nat"}.items()
    found["addresses"] = done["addresses"]
    plan = ec2_plan.plan(own(), found)
    assert [(step["subnet"], step["allocation"]) for step in plan["todo"]["nat"]] == [("subnet-public-a", "eipalloc-9")]
    assert plan["todo"]["nat_address"] == plan["todo"]["release"] == []
    found["nat"] = done["nat"]
    (routes,) = ec2_plan.plan(own(), found)["todo"]["table"]
    assert routes["subnets"] == ["subnet-private-a", "subnet-private-b"]
    assert routes["routes"] == [{"dest": "0.0.0.0/0", "gateway_id": "nat-1"}]
    assert network_lines(own(), done) == []


def test_an_address_of_no_nat_gateway_is_released():
    """A run has broken off before there was one, and nobody wants it any more."""
    alone = options(ec2_network={"vpc": "own"})
    found = whole(alone)
    assert "- NAT gateway" in network_lines(alone, found)
    assert ec2_plan.plan(alone, found)["todo"]["release"] == [], "it goes with the gateway"
    (step,) = ec2_plan.plan(alone, {**found, "nat": {}})["todo"]["release"]
    assert step["address"] == "192.0.2.9"


def test_zones_of_a_network_of_its_own_may_change():
    """Those in which instances are stay, with their routes; new ones are made in the others."""
    given = own()
    found = whole(given)
    moved = {**given, "ec2_network": {**given["ec2_network"], "zones": ["us-east-1b", "us-east-1c"]}}
    assert network_lines(moved, found) == [
        "+ public subnet in us-east-1c: 10.42.32.0/20",
        "+ private subnet in us-east-1c: 10.42.160.0/20",
    ]
    tags = ec2.tags(given, "public-us-east-1c", {"djangofleet_subnet": "public"})
    found["subnets"].append({"id": "subnet-public-c", "zone": "us-east-1c", "cidr": "10.42.32.0/20", "public": True,
                             "tags": tags})  # fmt: skip
    (routes,) = ec2_plan.plan(moved, found)["todo"]["table"]
    assert routes["subnets"] == ["subnet-public-a", "subnet-public-b", "subnet-public-c"]
    found["groups"] = made(moved)["groups"]
    found["key"] = made(moved)["key"]
    (app, _db) = (step for step in ec2_plan.plan(moved, found)["steps"] if step["kind"] == "instance")
    assert app["subnet"] == "subnet-public-b"


def test_a_network_of_its_own_stays_in_its_zones():
    """Also when Amazon opens one that comes first."""
    found = whole(own())
    found["zones"] = ["us-east-1-new", *found["zones"]]
    assert network_lines(own(), found) == []
    half = {**found, "subnets": [each for each in found["subnets"] if each["zone"].endswith("b")]}
    assert [line.split(":")[0] for line in network_lines(own(), half)[:2]] == [
        "+ public subnet in us-east-1-new", "+ private subnet in us-east-1-new",
    ]  # fmt: skip


def test_the_addresses_of_a_network_of_its_own_do_not_change():
    given = own()
    moved = {**given, "ec2_network": {**given["ec2_network"], "cidr": "10.43.0.0/16"}}
    (line,) = ec2_plan.plan(moved, whole(given))["refusals"]
    found = "ec2_network.cidr: found '10.43.0.0/16', and the environment has 10.42.0.0/16"
    assert line == f"{found}; give that: a network does not move"


def test_tags_reach_all_of_a_network():
    given = own()
    plan = ec2_plan.plan({**given, "ec2_tags": {"Owner": "web"}}, whole(given))
    tagged = {step["id"] for step in plan["todo"]["tags"]}
    assert tagged >= {"vpc-9", "igw-1", "nat-1", "subnet-public-a", "subnet-private-b", "rtb-public", "rtb-private"}


def test_a_way_out_without_tags_goes_with_its_network():
    """A run broke off between making and tagging it."""
    declared = options(ec2_state="absent")
    found = {**whole(declared), "nat": {}, "addresses": [], "tables": [], "subnets": []}
    found["gateway"] = {"id": "igw-1", "tags": {}}
    plan = ec2_plan.plan(declared, found)
    assert [step["id"] for step in plan["todo"]["gateway_gone"]] == ["igw-1"]
    found["vpc"] = {**found["vpc"], "tags": {}}
    assert ec2_plan.plan(declared, found)["todo"]["gateway_gone"] == []


# Taking down


def test_taking_down_goes_from_the_top_to_the_bottom():
    declared = options(ec2_instances=[APP, DB], ec2_state="absent", ec2_final_backup="taken")
    found = made(options(ec2_instances=[APP, DB]))
    plan = ec2_plan.plan(declared, found)
    assert {step["kind"] for step in plan["steps"] if step["ready"]} == {"protection", "terminate", "key_gone"}
    assert plan["machines"] == []
    found["instances"], found["volumes"] = [], []
    plan = ec2_plan.plan(declared, found)
    assert not plan["todo"]["group_gone"], "while one names another"
    for group in found["groups"]:
        group["rules"] = []
    plan = ec2_plan.plan(declared, found)
    assert len(plan["todo"]["group_gone"]) == 4
    assert not any("network" in text for text in texts(plan)), "the default network is nobody's"


def elsewhere(**more: Any) -> dict[str, Any]:
    """Another network, which the environment had before."""
    groups = [
        {"id": "sg-8", "name": "shop-test-web", "tags": WHOSE, "rules": ["tcp 80 0.0.0.0/0"]},
        {"id": "sg-9", "name": "shop-test-app", "tags": WHOSE, "rules": ["tcp 8000 sg-8"]},
    ]
    vpc = {"id": "vpc-8", "cidr": "10.8.0.0/16", "tags": {}}
    return {"vpc": vpc, "nat": {}, "gateway": {}, "subnets": [], "tables": [], "groups": groups, **more}


@pytest.mark.parametrize("state", ["absent", "present"])
def test_what_is_in_another_network_goes_too(state):
    """Whatever ec2_network says today. In the other network an instance may still be."""
    declared = options(ec2_state=state, ec2_instances=[{**APP, "count": 0}])
    found = {**empty(), "elsewhere": [elsewhere()]}
    plan = ec2_plan.plan(declared, found)
    lines = [line for line in texts(plan) if "vpc-8" in line]
    assert lines == [
        "~ shop-test-web in vpc-8 lets nobody in",
        "- security group shop-test-web in vpc-8",
        "~ shop-test-app in vpc-8 lets nobody in",
        "- security group shop-test-app in vpc-8",
    ]
    closed = [step for step in plan["todo"]["rules"] if step["vpc"] == "vpc-8"]
    assert [(step["name"], step["rules"]) for step in closed] == [("shop-test-web", []), ("shop-test-app", [])]
    assert not plan["todo"]["group_gone"], "while one names another"
    for group in found["elsewhere"][0]["groups"]:
        group["rules"] = []
    assert [step["id"] for step in ec2_plan.plan(declared, found)["todo"]["group_gone"]] == ["sg-8", "sg-9"]
    found["instances"] = [{**made(options())["instances"][0], "vpc": "vpc-8"}]
    assert not ec2_plan.plan(declared, found)["todo"]["group_gone"], "while an instance is there"


@pytest.mark.parametrize("state", ["absent", "present"])
def test_a_network_of_its_own_goes_when_another_one_is_named(state):
    """It has a NAT gateway, which is paid for."""
    own = {"vpc": {"id": "vpc-8", "cidr": "10.8.0.0/16", "tags": WHOSE}, "groups": [],
           "nat": {"id": "nat-8", "state": "available", "allocations": ["eipalloc-8"]},
           "gateway": {"id": "igw-8", "tags": WHOSE},
           "subnets": [{"id": "s-8", "zone": "us-east-1a", "cidr": "10.8.0.0/20", "public": True, "tags": WHOSE}],
           "tables": [{"id": "rtb-8", "main": False, "tags": WHOSE, "subnets": ["s-8"], "routes": {}}]}  # fmt: skip
    declared = options(ec2_state=state, ec2_instances=[{**APP, "count": 0}])

    def ready(**gone: Any) -> list[tuple[str, str]]:
        own.update(gone)
        found = {**empty(), "elsewhere": [own]}
        steps = ec2_plan.plan(declared, found)["steps"]
        return [(step["kind"], step.get("id", "")) for step in steps if step["ready"] and step["kind"].endswith("gone")]

    assert ready() == [("nat_gone", "nat-8")]
    assert ready(nat={}) == [("table_gone", "rtb-8")]
    assert ready(tables=[]) == [("subnet_gone", "")]
    assert ready(subnets=[]) == [("gateway_gone", "igw-8")]
    assert ready(gateway={}) == [("vpc_gone", "vpc-8")]


def test_a_way_out_that_was_not_attached_goes():
    lost = {**elsewhere(vpc={}, groups=[]), "gateway": {"id": "igw-7", "tags": WHOSE}}
    plan = ec2_plan.plan(options(ec2_state="absent"), {**empty(), "elsewhere": [lost]})
    assert texts(plan) == ["- internet gateway, which is attached to nothing"]
    assert [step["id"] for step in plan["todo"]["gateway_gone"]] == ["igw-7"]


def test_taking_down_leaves_what_is_not_ours():
    declared = options(ec2_state="absent", ec2_final_backup="taken")
    found = {**empty(), "key": {"name": "shop-test", "public_key": KEY, "tags": {}}}
    found["volumes"] = [{"id": "vol-7", "size": 9, "type": "gp3", "encrypted": True, "instance": "", "tags": {},
                         "device": "", "iops": 3000, "throughput": 125}]  # fmt: skip
    assert texts(ec2_plan.plan(declared, found)) == []


def test_taking_down_refuses_data():
    found = made(options(ec2_instances=[APP, DB]))
    (line,) = ec2_plan.plan(options(ec2_state="absent"), found)["refusals"]
    assert line.startswith("instance db1: has data and would go")


# Prices


def test_a_month_is_computed_from_the_table():
    table = ec2_prices.table()
    plan = ec2_plan.plan(options(ec2_instances=[{**APP, "count": 2}]), {})
    expected = 2 * 730 * (table["hour"]["t4g.small"] + table["hour"]["address"]) + 40 * table["month"]["gp3"]
    assert plan["month"] == pytest.approx(expected, abs=0.02)
    assert plan["costs"][-1] == f"Prices of us-east-1 as of {table['date']}, without traffic and taxes."


def test_a_price_that_no_table_has_is_asked_for():
    plan = ec2_plan.plan(options(ec2_instances=[{**APP, "type": "z9g.small"}], ec2_region="eu-west-1"), {})
    assert any(line.startswith("1 x z9g.small") and line.endswith("?") for line in plan["costs"])
    assert plan["costs"][-2].endswith("without 1 that no table has: give ec2_prices")
    assert "those of eu-west-1 differ" in plan["costs"][-1]
    plan = ec2_plan.plan(options(ec2_instances=[{**APP, "type": "z9g.small"}], ec2_prices={"z9g.small": 1}), {})
    assert any(line.startswith("1 x z9g.small") and "730.00 USD" in line for line in plan["costs"])


# What is said


def test_who_has_no_account_is_told_what_would_be_made():
    declared = options()
    text = ec2_said.shown(
        ec2_plan.plan(declared, {}), declared, {"reached": False, "reason": "there are no credentials"}
    )
    assert text.startswith("No account was asked: there are no credentials.")
    assert "+ instance app1: t4g.small" in text
    assert "a month, about" in text


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ({"msg": "Failed: An error occurred (VcpuLimitExceeded) when calling x"}, "more in Service Quotas"),
        ({"msg": "One or more items failed", "results": [
            {"failed": True, "msg": "(x) An error occurred (InsufficientInstanceCapacity) y"}, {"msg": "fine"}]},
            "take another type, or other ec2_network.zones"),
        ({"msg": "Error while modifying volume: Failed to modify volume"}, "volume; Amazon changes a volume once in"),
        ({"msg": "no idea"}, "no idea. What has been made stays, and the next run goes on from there."),
        ({"msg": "An error occurred (UnauthorizedOperation)"}, "your user or role needs that permission"),
    ],
)  # fmt: skip
def test_an_error_is_told_with_what_helps(failure, words):
    assert words in ec2_said.advice(failure)


# ssh


def test_host_keys_are_kept_by_instance_and_those_of_the_dead_go():
    text = ec2_ssh.known_hosts(
        "", {"i-00000001": [KEY, "ssh-rsa AAAAB3 x"], "i-00000002": [KEY]}, ["i-00000001", "i-00000002"]
    )
    assert text.splitlines()[1:] == [
        f"i-00000001 {KEY.rsplit(' ', 1)[0]}",
        "i-00000001 ssh-rsa AAAAB3",
        f"i-00000002 {KEY.rsplit(' ', 1)[0]}",
    ]
    assert ec2_ssh.known_hosts(text, {}, ["i-00000001", "i-00000002"]) == text
    assert ec2_ssh.known(ec2_ssh.known_hosts(text + "gate ssh-rsa AAAA\n", {}, ["i-00000002"])) == {"i-00000002"}
    assert "gate ssh-rsa AAAA\n" in ec2_ssh.known_hosts(text + "gate ssh-rsa AAAA\n", {}, ["i-00000002"])


HOSTVARS = {
    "app1": {"aws_instance_id": "i-00000001", "aws_public_ip_address": "198.51.100.1", "ansible_host": "198.51.100.1",
             "ansible_user": "admin"},
    "db1": {"aws_instance_id": "i-00000002", "ansible_host": "10.42.128.4"},
}  # fmt: skip


def test_ssh_believes_the_key_of_the_instance_alone():
    words = ec2_ssh.arguments(HOSTVARS, "i-00000001", "198.51.100.1", "/x/known_hosts.txt", {"ec2": ["db1", "app1"]})
    assert words == (
        "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/x/known_hosts.txt -o HostKeyAlias=i-00000001 "
        "-o UpdateHostKeys=no"
    )


def test_a_private_instance_is_reached_by_way_of_a_public_one():
    words = ec2_ssh.arguments(HOSTVARS, "i-00000002", "", "/x/known_hosts.txt", {"ec2": ["db1", "app1"]})
    assert "HostKeyAlias=i-00000002" in words
    assert "-o 'ProxyCommand=ssh -o StrictHostKeyChecking=yes" in words
    assert words.endswith("-o HostKeyAlias=i-00000001 -o UpdateHostKeys=no -p 22 -W %h:%p admin@198.51.100.1'")


def test_the_way_there_is_by_one_that_private_instances_let_in():
    """Of several public ones a single set is in the security group that they open ssh to."""
    hosts = {
        "bastion1": {**HOSTVARS["app1"], "aws_instance_id": "i-00000003", "ansible_host": "198.51.100.3",
                     "aws_security_groups": [{"group_id": "sg-1", "group_name": "shop-test-all"}]},
        "app1": {**HOSTVARS["app1"],
                 "aws_security_groups": [{"group_id": "sg-2", "group_name": "shop-test-jump"}]},
        "db1": HOSTVARS["db1"],
    }  # fmt: skip
    words = ec2_ssh.arguments(hosts, "i-00000002", "", "/x/k", {"ec2": ["app1", "bastion1", "db1"]})
    assert words.endswith("admin@198.51.100.1'")
    sets = [{**APP, "name": "old", "count": 0}, APP, {**APP, "name": "bastion"}, {**DB, "placement": "private"}]
    assert ec2.jump_set(options(ec2_instances=sets, ec2_network={"vpc": "own"})) == "app"


def test_a_path_of_host_keys_may_have_spaces():
    """ssh takes several files, and a name in quotes for one."""
    words = ec2_ssh.arguments(HOSTVARS, "i-00000001", "198.51.100.1", "/x y/known_hosts.txt", {"ec2": ["app1"]})
    assert 'UserKnownHostsFile="/x y/known_hosts.txt"' in shlex.split(words)


def test_the_way_there_takes_the_same_key():
    """Ansible gives it to the connection, and not to what the connection passes through."""
    hosts = {**HOSTVARS, "app1": {**HOSTVARS["app1"], "ansible_ssh_private_key_file": "/x/key", "ansible_port": 2222}}
    words = ec2_ssh.arguments(hosts, "i-00000002", "", "/x/known_hosts.txt", {"ec2": ["db1", "app1"]})
    assert words.endswith("-p 2222 -W %h:%p -i /x/key admin@198.51.100.1'")


TASKS = sorted((Path(__file__).resolve().parents[2] / "roles/ec2/tasks").glob("*.yml"))
# Text without a default, which is checked before any task takes it
PLAIN = {"ec2_project", "ec2_environment", "ec2_region", "ec2_state"}


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_tasks_take_variables_as_the_spec_means_them(path):
    """Ansible hands on what an inventory says: text where a list is meant, nothing where there is a default."""
    messages = r"(?:-e|say|among) ec2_\w+|ec2_confirm: found"
    said = re.sub(rf"(?m)^ *#.*|- (?:djangofleet|amazon)\..*|{messages}", "", path.read_text())
    raw = set(re.findall(r"(?<![\w.'-])ec2_\w+", said)) & set(spec_of("ec2"))
    assert raw <= PLAIN
