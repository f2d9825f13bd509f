"""The volumes of instances of EC2: what is wrong with them, what a plan does about them, and whose data goes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import ec2_plan, ec2_prices, ec2_problems, ec2_said
from test_rules_ec2 import APP, DB, LEAST, WHOSE, change, empty, made, options, texts

DISK = {"device_name": "/dev/sdf", "size": 100}


def app(*volumes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The options of one instance with further volumes."""
    return options(ec2_instances=[{**APP, "volumes": list(volumes), **more}])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"size": 100}, "ec2_instances[app].volumes[0].device_name: is missing"),
    ({"device_name": "/dev/sdf"}, "ec2_instances[app].volumes[0].size: is missing"),
    ({**DISK, "device_name": "sdf"}, "ec2_instances[app].volumes[0].device_name: found 'sdf'; give a device from"),
    ({**DISK, "device_name": "/dev/sda"}, "ec2_instances[app].volumes[0].device_name: found '/dev/sda'; give a device"),
    ({**DISK, "device_name": "/dev/nvme1n1"}, "ec2_instances[app].volumes[0].device_name: found '/dev/nvme1n1'; give"),
    ({**DISK, "device_name": ""}, "ec2_instances[app].volumes[0].device_name: found ''; give a device"),
    ({**DISK, "size": 0}, "ec2_instances[app].volumes[/dev/sdf].size: found '0'; give GiB from 1 to 16384, as gp3 has"),
    ({**DISK, "type": "st1"}, "ec2_instances[app].volumes[/dev/sdf].size: found '100'; give GiB from 125 to 16384"),
    ({**DISK, "type": "standard"}, "ec2_instances[app].volumes[0].type: found 'standard'; give one of gp3, gp2, io2"),
    ({**DISK, "type": "gp2", "iops": 3000}, "ec2_instances[app].volumes[/dev/sdf].iops: is for gp3 and io2"),
    ({**DISK, "type": "io2"}, "ec2_instances[app].volumes[/dev/sdf].iops: is not given; io2 needs it"),
    ({**DISK, "iops": 0}, "ec2_instances[app].volumes[/dev/sdf].iops: found '0'; give a number from 3000 to 16000"),
    ({**DISK, "size": 8, "iops": 5000}, "ec2_instances[app].volumes[/dev/sdf].iops: found '5000'; give a number from "
     "3000 to 4000, as 8 GiB"),
    ({**DISK, "throughput": 1000}, "ec2_instances[app].volumes[/dev/sdf].throughput: found '1000'; give MiB a second "
     "from 125 to 750"),
    ({**DISK, "throughput": 0}, "ec2_instances[app].volumes[/dev/sdf].throughput: found '0'; give MiB a second"),
    ({**DISK, "type": "io2", "iops": 500, "throughput": 125}, "ec2_instances[app].volumes[/dev/sdf].throughput: is"),
    ({**DISK, "encrypted": False}, "ec2_instances[app].volumes[0].encrypted: "),
]  # fmt: skip


@pytest.mark.parametrize(("given", "line"), WRONG)
def test_bad_volumes_are_told(given, line):
    found = ec2_problems.problems({**LEAST, "ec2_instances": [{**APP, "volumes": [given]}]})
    assert len(found) == 1, found
    assert found[0].startswith(line)


def test_a_device_is_there_once():
    """A kernel of another kind of machine calls /dev/sdf /dev/xvdf."""
    twice = [DISK, {**DISK, "device_name": "/dev/xvdf"}]
    (line,) = ec2_problems.problems({**LEAST, "ec2_instances": [{**APP, "volumes": twice}]})
    assert line.startswith("ec2_instances[app].volumes: /dev/sdf and /dev/xvdf are one device")


@pytest.mark.parametrize(
    "given",
    [DISK, {**DISK, "iops": 16000, "throughput": 1000}, {**DISK, "size": 1, "iops": 3000}, {**DISK, "type": "gp2"},
     {**DISK, "type": "io2", "iops": 64000}, {**DISK, "type": "sc1", "size": "125"}],
)  # fmt: skip
def test_good_volumes_have_no_problems(given):
    assert ec2_problems.problems({**LEAST, "ec2_instances": [{**APP, "volumes": [given]}]}) == []
    assert ec2_problems.problems({**LEAST, "ec2_instances": [{**APP, "volumes": None}]}) == []


def test_a_volume_is_planned_with_its_instance_and_made_when_that_is_there():
    declared = app({**DISK, "iops": 4000, "throughput": 250}, count=2)
    line = "+ volume /dev/sdf of app1: 100 GiB of gp3, 4000 IOPS, 250 MiB/s"
    for found in ({}, empty()):
        plan = ec2_plan.plan(declared, found)
        assert line in texts(plan)
        assert plan["todo"]["volume_new"] == []
    found = made(options(ec2_instances=[{**APP, "count": 2}]))
    plan = ec2_plan.plan(declared, found)
    assert texts(plan) == [line, line.replace("app1", "app2")]
    step = plan["todo"]["volume_new"][1]
    assert (step["id"], step["instance"], step["device"], step["deletes"]) == ("", "i-00000001", "/dev/sdf", True)
    assert (step["size"], step["type"], step["iops"], step["throughput"]) == (100, "gp3", 4000, 250)
    assert step["tags"].items() >= {**WHOSE, "Name": "shop-test-app2-sdf", "djangofleet_of": "i-00000001"}.items()
    booting = ec2_plan.plan(declared, change(found, state="pending"))
    assert [step["instance"] for step in booting["todo"]["volume_new"]] == ["i-00000001"]


def test_a_volume_with_data_stays_when_its_instance_goes():
    declared = options(ec2_instances=[{**DB, "volumes": [DISK]}])
    (step,) = ec2_plan.plan(declared, made(options(ec2_instances=[DB])))["todo"]["volume_new"]
    assert step["deletes"] is False


def test_a_volume_that_a_run_has_made_and_not_attached_is_taken():
    declared = app(DISK)
    found = made(declared)
    found["volumes"][1] |= {"instance": "", "device": ""}
    plan = ec2_plan.plan(declared, found)
    assert texts(plan) == ["~ volume /dev/sdf of app1: vol-0f is attached"]
    assert [step["id"] for step in plan["todo"]["volume_new"]] == ["vol-0f"]
    assert plan["notes"] == []
    assert plan["costs"][1].startswith("120 GiB of gp3 "), "once"
    found["volumes"][1]["tags"] = {**found["volumes"][1]["tags"], "djangofleet_of": "i-0000000e"}
    plan = ec2_plan.plan(declared, found)
    assert texts(plan) == ["+ volume /dev/sdf of app1: 100 GiB of gp3"], "one of an instance that is gone is not"
    assert plan["notes"] == ["Volume vol-0f of app1 (100 GiB) is kept, and paid for: its instance is gone."]
    assert plan["costs"][1].startswith("220 GiB of gp3 ")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"size": 150}, "100 GiB of gp3 → 150 GiB of gp3"),
        ({"iops": 5000}, "100 GiB of gp3 → 100 GiB of gp3, 5000 IOPS"),
        ({"throughput": 300}, "100 GiB of gp3 → 100 GiB of gp3, 300 MiB/s"),
        ({"type": "io2", "iops": 3000}, "100 GiB of gp3 → 100 GiB of io2, 3000 IOPS"),
        ({"type": "gp2"}, "100 GiB of gp3 → 100 GiB of gp2"),
    ],
)
def test_a_volume_changes_where_it_is(given, line):
    plan = ec2_plan.plan(app({**DISK, **given}), made(app(DISK)))
    assert texts(plan) == [f"~ volume /dev/sdf of app1: {line}"]
    (step,) = plan["todo"]["volume"]
    assert (step["id"], step["size"], step["type"]) == ("vol-0f", given.get("size", 100), given.get("type", "gp3"))
    assert (step["iops"], step["throughput"]) == {
        "gp3": (given.get("iops", 3000), given.get("throughput", 125)), "io2": (3000, 0), "gp2": (0, 0),
    }[step["type"]]  # fmt: skip


def test_what_is_asked_for_no_more_is_taken_back():
    plan = ec2_plan.plan(app(DISK), made(app({**DISK, "iops": 5000, "throughput": 300})))
    assert texts(plan) == ["~ volume /dev/sdf of app1: 100 GiB of gp3, 5000 IOPS, 300 MiB/s → 100 GiB of gp3"]


def test_what_amazon_tells_of_gp2_and_nobody_has_asked_for_is_let_be():
    found = made(app({**DISK, "type": "gp2"}))
    found["volumes"][1] |= {"iops": 300, "throughput": 0}
    assert texts(ec2_plan.plan(app({**DISK, "type": "gp2"}), found)) == []


def test_a_volume_does_not_shrink():
    plan = ec2_plan.plan(app({**DISK, "size": 50, "type": "gp2"}), made(app(DISK)))
    assert plan["todo"]["volume"] == []
    assert plan["refusals"] == [
        "ec2_instances[app].volumes[/dev/sdf].size: found '50', and that of app1 has 100 GiB; give 100 or more: a "
        "volume does not shrink"
    ]


def test_a_volume_that_is_declared_no_more_is_not_taken_away():
    """The host may have it mounted."""
    found = made(app(DISK))
    (line,) = ec2_plan.plan(options(), found)["refusals"]
    assert line == (
        "ec2_instances[app].volumes: /dev/sdf is declared no more, and app1 has vol-0f (100 GiB) attached; unmount "
        "it on the host and detach it (aws ec2 detach-volume --volume-id vol-0f), then run this again: the volume is "
        "kept"
    )
    found["volumes"][1] |= {"instance": "", "device": ""}
    plan = ec2_plan.plan(options(), found)
    assert (texts(plan), plan["refusals"]) == ([], [])
    assert plan["notes"] == ["Volume vol-0f of app1 (100 GiB) is kept, and paid for: nothing has it attached."]


def test_a_volume_of_somebody_else_is_let_be():
    found = made(options())
    found["volumes"].append({**found["volumes"][0], "id": "vol-x", "device": "/dev/sdf", "tags": {}})
    plan = ec2_plan.plan(options(), found)
    assert (texts(plan), plan["refusals"], plan["notes"]) == ([], [], [])
    (line,) = ec2_plan.plan(app(DISK), found)["refusals"]
    assert line == "ec2_instances[app].volumes: app1 has vol-x at /dev/sdf, which is not ours; give another device_name"


def test_a_set_that_has_data_from_now_on_keeps_its_volumes():
    now = app(DISK, data=True)
    plan = ec2_plan.plan(now, made(app(DISK)))
    assert "~ volume of app1: stays when its instance goes" in texts(plan)
    assert "~ volume /dev/sdf of app1: stays when its instance goes" in texts(plan)
    assert [(step["device"], step["deletes"]) for step in plan["todo"]["keep"]] == [
        ("/dev/xvda", False), ("/dev/sdf", False),
    ]  # fmt: skip
    plan = ec2_plan.plan(app(DISK), made(now))
    assert "~ volume /dev/sdf of app1: goes when its instance goes" in texts(plan)


def test_every_volume_of_an_instance_with_data_leaves_a_snapshot():
    sets = [APP, {**DB, "volumes": [DISK]}]
    found = made(options(ec2_instances=sets))
    found["volumes"].append({**found["volumes"][0], "id": "vol-x", "device": "/dev/sdx", "tags": {},
                             "instance": "i-00000001"})  # fmt: skip
    going = options(ec2_final_backup="snapshot")
    plan = ec2_plan.plan(going, found)
    assert [(step["id"], step["tags"]["Name"]) for step in plan["todo"]["snapshot"]] == [
        ("vol-1", "shop-test-db1-final"), ("vol-1f", "shop-test-db1-sdf-final"),
    ]  # fmt: skip
    assert "+ snapshot of the volume /dev/sdf of db1, which stays" in texts(plan)
    taken = [{"id": f"snap-{step['id']}", "volume": step["id"], "state": "completed", "tags": step["tags"],
              "started": "2026-02-02T11:00:00"} for step in plan["todo"]["snapshot"]]  # fmt: skip
    stopped = change(found, "db1", state="stopped")
    plan = ec2_plan.plan(going, {**stopped, "snapshots": taken[:1]})
    assert [step["id"] for step in plan["todo"]["snapshot"]] == ["vol-1f"]
    assert not plan["todo"]["terminate"], "before each of them is there"
    plan = ec2_plan.plan(going, {**stopped, "snapshots": [taken[0], {**taken[1], "state": "pending"}]})
    assert (plan["todo"]["snapshot"], plan["todo"]["terminate"]) == ([], [])
    plan = ec2_plan.plan(going, {**stopped, "snapshots": taken})
    assert [step["name"] for step in plan["todo"]["terminate"]] == ["db1"]


def left(data: bool) -> dict[str, Any]:
    """An account with a volume whose instance is gone, and nothing else."""
    found = made(options(ec2_instances=[{**DB, "volumes": [DISK], "data": data}]))
    volume = {**found["volumes"][1], "instance": "", "device": ""}
    return {**empty(), "volumes": [volume]}


def test_taking_down_lists_volumes_and_removes_them():
    found = made(app(DISK))
    plan = ec2_plan.plan(options(ec2_state="absent"), found)
    assert "- volume vol-0f of app1, 100 GiB" in texts(plan)
    assert plan["todo"]["volume_gone"] == [], "while its instance is there"
    plan = ec2_plan.plan(options(ec2_state="absent"), left(data=False))
    assert [step["id"] for step in plan["todo"]["volume_gone"]] == ["vol-0f"]


def test_taking_down_removes_no_data_without_a_word():
    found = left(data=True)
    (line,) = ec2_plan.plan(options(ec2_state="absent"), found)["refusals"]
    assert line.startswith("volume vol-0f of db1: has data and would go; say what becomes of it: -e ec2_final_backup=")
    plan = ec2_plan.plan(options(ec2_state="absent", ec2_final_backup="taken"), found)
    assert (plan["refusals"], len(plan["todo"]["volume_gone"])) == ([], 1)
    kept = options(ec2_state="absent", ec2_final_backup="snapshot")
    plan = ec2_plan.plan(kept, found)
    assert plan["todo"]["volume_gone"] == []
    (step,) = plan["todo"]["snapshot"]
    assert (step["id"], step["stops"], step["tags"]["Name"]) == ("vol-0f", "", "shop-test-db1-sdf-final")
    snapshots = [{"id": "snap-1", "volume": "vol-0f", "state": "completed", "tags": step["tags"], "started": ""}]
    plan = ec2_plan.plan(kept, {**copy.deepcopy(found), "snapshots": snapshots})
    assert (plan["todo"]["snapshot"], len(plan["todo"]["volume_gone"])) == ([], 1)


def test_taking_down_takes_no_volume_from_somebody_elses_instance():
    found = left(data=True)
    found["volumes"][0] |= {"instance": "i-0000000f", "device": "/dev/sdf"}
    (line,) = ec2_plan.plan(options(ec2_state="absent", ec2_final_backup="taken"), found)["refusals"]
    assert line == (
        "volume vol-0f: would go, and is attached to i-0000000f, which does not carry this environment's tags; detach "
        "it first"
    )


def test_a_month_has_the_price_of_all_volumes():
    month = ec2_prices.table()["month"]
    fast = {**DISK, "iops": 4000, "throughput": 225}
    plan = ec2_plan.plan(app(fast, {**DISK, "device_name": "/dev/sdg", "type": "io2", "iops": 500}, count=2), {})
    lines = {line[:32].strip(): float(line[32:].removesuffix("USD")) for line in plan["costs"][:-2]}
    assert lines["240 GiB of gp3"] == pytest.approx(240 * month["gp3"], abs=0.01)
    assert lines["2000 IOPS of gp3"] == pytest.approx(2000 * month["gp3-iops"], abs=0.01)
    assert lines["200 MiB/s of gp3"] == pytest.approx(200 * month["gp3-throughput"], abs=0.01)
    assert lines["200 GiB of io2"] == pytest.approx(200 * month["io2"], abs=0.01)
    assert lines["1000 IOPS of io2"] == pytest.approx(1000 * month["io2-iops"], abs=0.01)
    assert plan["month"] == pytest.approx(sum(lines.values()), abs=0.01)
    plan = ec2_plan.plan({**app(fast), "ec2_prices": {"gp3-iops": 1}}, {})
    assert any(line.startswith("1000 IOPS of gp3") and "1,000.00 USD" in line for line in plan["costs"])


def test_a_volume_that_has_grown_is_paid_for_as_it_is():
    found = made(app(DISK))
    found["volumes"][1]["size"] = 130
    assert ec2_plan.plan(app(DISK), found)["costs"][1].startswith("150 GiB of gp3 ")


def test_a_report_names_the_volumes_by_which_a_host_knows_them():
    declared = app(DISK)
    found = made(declared)
    text = ec2_said.report(ec2_plan.plan(declared, found), declared, {"found": found})
    assert "    /dev/sdf   100 GiB of gp3: vol-0f\n" in text
