"""What playbooks/ec2.yml makes, changes and takes down, in a copy of Amazon's API."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from account import APP, DB, PLAIN, ROOT, Run, ended, tags
from shared.outside import PROVE

in_full = pytest.mark.skipif(not PROVE, reason="several runs, and unit tests see the rules: make prove has it")
DISK = {"device_name": "/dev/sdf", "size": 100, "iops": 4000, "throughput": 250}
EVERYBODY = {("0.0.0.0/0", 80), ("0.0.0.0/0", 8443)}


def opened(amazon, group: str) -> set[tuple[str, int]]:
    """Who reaches which port of a security group."""
    client = amazon.client("ec2")
    (found,) = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": [group]}])["SecurityGroups"]
    return {
        (source, permission["FromPort"])
        for permission in found["IpPermissions"]
        for source in [entry["CidrIp"] for entry in permission["IpRanges"]]
        + [entry.get("GroupName") or entry["GroupId"] for entry in permission["UserIdGroupPairs"]]
    }


def further(amazon, instance, region: str = "us-east-1") -> list[dict]:
    """The volumes of an instance beside the one that it starts from."""
    disks = [entry["Ebs"]["VolumeId"] for entry in instance["BlockDeviceMappings"][1:]]
    return amazon.client("ec2", region).describe_volumes(VolumeIds=disks)["Volumes"] if disks else []


def deletes(made) -> list[bool]:
    """Of each volume of the first instance whether it goes with it."""
    return [entry["Ebs"]["DeleteOnTermination"] for entry in made.instances()["app1"]["BlockDeviceMappings"]]


def roles(amazon, environment: str) -> list[str]:
    found = [role["RoleName"] for role in amazon.client("iam").list_roles()["Roles"]]
    return [name for name in found if name.startswith(f"shop-{environment}-")]


def records(amazon) -> dict[tuple[str, str], list[str]]:
    client = amazon.client("route53")
    (zone,) = client.list_hosted_zones()["HostedZones"]
    found = client.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    return {(entry["Name"], entry["Type"]): [value["Value"] for value in entry["ResourceRecords"]] for entry in found}


@contextmanager
def served_at(address: str, port: int) -> Iterator[None]:
    """A site at an address of loopback, where the copy of Amazon's API has its elastic addresses."""
    assert ipaddress.ip_address(address).is_loopback
    with tempfile.TemporaryDirectory() as folder:
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout key -out pem"
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
        server = subprocess.Popen(
            ["openssl", "s_server", "-quiet", "-www", "-key", "key", "-cert", "pem", "-accept", f"{address}:{port}"],
            cwd=folder, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            server.terminate()
            server.wait(20)


def test_without_an_account_the_plan_explains_itself(environment):
    made = environment("dream", ec2_instances=[{**APP, "count": 2}, DB])
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(made.folder)}
    check = made.run("--check", **nobody)
    for words in (
        "No account was asked: there are no credentials; give AWS_PROFILE",
        "+ instance app1: t4g.small in a public subnet, 20 GiB of gp3, the newest Debian 13",
        "+ instance db1: t4g.medium in a public subnet, 20 GiB of gp3, the newest Debian 13, keeps data",
        "+ shop-dream-web opens 443/tcp to everybody, opens 80/tcp to everybody",
        "+ shop-dream-database opens 5432/tcp to shop-dream-app",
        "a month, about",
        "Prices of us-east-1 as of 20",
    ):
        assert words in check.said, check.text
    assert made.run(fails=True, **nobody).said.count("there are no credentials; give AWS_PROFILE") >= 1


def test_the_example_explains_itself_to_somebody_who_has_nothing(tmp_path):
    """No account, no key for ssh, no edit: the first command of the guide."""
    run = subprocess.run(
        ["ansible-playbook", "playbooks/ec2.yml", "-i", "inventories/ec2", "--check"],
        cwd=ROOT,
        env={**PLAIN, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    said = Run(0, run.stdout).said
    for words in ("+ instance app2", "+ instance db1", "a month, about", "ec2_public_key: is empty; give"):
        assert words in said, run.stdout


def test_an_environment_is_made_once_and_taken_down(amazon, environment):
    made = environment("test", ec2_instances=[{**APP, "elastic_address": True}, {**DB, "volumes": [DISK]}],
                       ec2_dns_zone="example.com", nginx_https_port=8443)  # fmt: skip
    amazon.calls()
    check = made.run("--check")
    assert check.changed == 1
    assert "in us-east-1: 13 to create" in check.said
    assert amazon.calls() == [], "check mode has changed something"

    assert "app1" in made.run().said
    found = made.instances()
    assert sorted(found) == ["app1", "db1"]
    for name, instance in found.items():
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert tags(instance)["Name"] == f"shop-test-{name}"
        attribute = amazon.client("ec2").describe_instance_attribute(
            InstanceId=instance["InstanceId"], Attribute="disableApiTermination"
        )
        assert attribute["DisableApiTermination"]["Value"] == (name == "db1")
        volume = instance["BlockDeviceMappings"][0]["Ebs"]
        (disk,) = amazon.client("ec2").describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"]
        assert (disk["Encrypted"], disk["Size"], disk["VolumeType"]) == (True, 20, "gp3")
        assert volume["DeleteOnTermination"] == (name == "app1")
    (disk,) = further(amazon, found["db1"])
    assert (disk["Size"], disk["VolumeType"], disk["Iops"], disk["Throughput"]) == (100, "gp3", 4000, 250)
    assert (disk["Encrypted"], tags(disk)["Name"]) == (True, "shop-test-db1-sdf")
    assert not found["db1"]["BlockDeviceMappings"][1]["Ebs"]["DeleteOnTermination"], "it has data"
    (image,) = amazon.client("ec2").describe_images(ImageIds=[found["app1"]["ImageId"]])["Images"]
    assert image["Name"] == "debian-13-arm64-20260201-2", "not the newest official one"
    assert opened(amazon, "shop-test-web") == EVERYBODY
    assert opened(amazon, "shop-test-all") == {("203.0.113.7/32", 22)}
    assert {port for _source, port in opened(amazon, "shop-test-database")} == {5432}
    assert records(amazon)["www.example.com.", "A"] == [found["app1"]["PublicIpAddress"]]
    known = (made.folder / "known_hosts.txt").read_text()
    assert {instance["InstanceId"] for instance in found.values()} <= set(known.split())

    amazon.calls()
    again = made.run()
    assert again.changed == 0
    assert "all is as declared" in again.said
    assert made.run("--check").changed == 0
    assert amazon.calls() == []

    # Down: not without its name, and not without a word about the data. Records go from a zone that is named no more.
    made.declare(ec2_dns_zone="")
    absent = ("-e", "djangofleet_state=absent")
    refused = made.run(*absent, "-e", "ec2_confirm=prod", fails=True).said
    assert "db1: has data and would go" in refused
    kept = ("-e", "ec2_final_backup=snapshot")
    assert "ec2_confirm: found 'prod'" in made.run(*absent, *kept, "-e", "ec2_confirm=prod", fails=True).said
    assert sorted(made.instances()) == ["app1", "db1"]
    assert made.run(*absent, *kept, "--check").changed == 1
    down = made.run(*absent, *kept, "-e", "ec2_confirm=test")
    assert "Nothing of shop-test is left" in down.said
    assert made.instances() == {}
    assert ("www.example.com.", "A") not in records(amazon)
    client = amazon.client("ec2")
    assert client.describe_addresses()["Addresses"] == []
    ours = [{"Name": "tag:djangofleet_environment", "Values": ["test"]}]
    assert client.describe_security_groups(Filters=ours)["SecurityGroups"] == []
    assert client.describe_volumes(Filters=ours)["Volumes"] == []
    assert client.describe_key_pairs(Filters=ours)["KeyPairs"] == []
    snapshots = client.describe_snapshots(Filters=ours, OwnerIds=["self"])["Snapshots"]
    assert sorted(tags(each)["Name"] for each in snapshots) == ["shop-test-db1-final", "shop-test-db1-sdf-final"]
    assert made.run(*absent, *kept, "-e", "ec2_confirm=test").changed == 0


@in_full
def test_an_environment_is_changed_in_place(amazon, environment):
    web = {**APP, "elastic_address": True, "tags": {"Owner": "web"}}
    made = environment("grow", ec2_instances=[{**APP, "elastic_address": True}, DB], ec2_dns_zone="example.com",
                       nginx_https_port=8443)  # fmt: skip
    made.run()
    address = made.instances()["app1"]["PublicIpAddress"]
    made.declare(
        ec2_instances=[{**web, "count": 2}, {**DB, "volume": {"size": 30}, "volumes": [DISK]}],
        ec2_ssh_from=["203.0.113.8/32"],
    )
    amazon.calls()
    check = made.run("--check")
    assert check.changed == 1
    assert "closes 22/tcp to 203.0.113.7/32" in check.said
    assert amazon.calls() == []
    made.run()
    found = made.instances()
    assert sorted(found) == ["app1", "app2", "db1"]
    assert found["app1"]["PublicIpAddress"] == address
    assert tags(found["app1"])["Owner"] == "web"
    assert opened(amazon, "shop-grow-all") == {("203.0.113.8/32", 22)}
    assert records(amazon)["www.example.com.", "A"] == [address], "nobody serves at the new one yet"
    (disk,) = amazon.client("ec2").describe_volumes(
        VolumeIds=[found["db1"]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]]
    )["Volumes"]
    assert disk["Size"] == 30
    (disk,) = further(amazon, found["db1"])
    assert (disk["Size"], disk["Iops"]) == (100, 4000)
    waits = "app2 does not serve yet; run site.yml, then this again, and www.example.com leads there too."
    again = made.run()
    assert (again.changed, waits in again.said) == (0, True)
    with served_at(found["app2"]["PublicIpAddress"], 8443):
        assert "~ record www.example.com" in made.run().said
        assert sorted(records(amazon)["www.example.com.", "A"]) == sorted(
            found[name]["PublicIpAddress"] for name in ("app1", "app2")
        )
    assert made.run().changed == 0

    # Nobody is there who could finish anything: it has to be said, and then it goes.
    larger = {**DB, "volume": {"size": 30}, "volumes": [{**DISK, "size": 150, "iops": 3000}]}
    made.declare(ec2_instances=[web, larger])
    assert "app2: would go, and has not finished what it has in hand" in made.run(fails=True).said
    assert sorted(made.instances()) == ["app1", "app2", "db1"]
    made.run("-e", "ec2_allow_undrained=true")
    assert sorted(made.instances()) == ["app1", "db1"]
    assert records(amazon)["www.example.com.", "A"] == [address]
    assert len(amazon.client("ec2").describe_addresses()["Addresses"]) == 1
    assert found["app2"]["InstanceId"] not in (made.folder / "known_hosts.txt").read_text()
    (grown,) = further(amazon, found["db1"])
    assert (grown["VolumeId"], grown["Size"], grown["Iops"]) == (disk["VolumeId"], 150, 3000)

    # Another type, by the word for the stop.
    made.declare(ec2_instances=[{**web, "type": "t4g.large"}, larger])
    assert "stops for some minutes; say that it may: -e ec2_allow_stop=true" in made.run(fails=True).said
    made.run("-e", "ec2_allow_stop=true")
    assert made.instances()["app1"]["InstanceType"] == "t4g.large"
    assert made.instances()["app1"]["State"]["Name"] == "running"


@in_full
def test_a_database_that_goes_leaves_a_snapshot(amazon, environment):
    """It finishes what it has in hand before it stops for that, and is not asked again when it has stopped."""
    region = "ap-southeast-2"
    made = environment("less", region, ec2_instances=[APP, {**DB, "count": 2}])
    made.run()
    made.declare(ec2_instances=[APP, DB])
    kept = ("-e", "ec2_final_backup=snapshot")
    assert "db2: would go, and has not finished what it has in hand" in made.run(*kept, fails=True).said
    assert made.instances()["db2"]["State"]["Name"] == "running"
    made.run(*kept, "-e", "ec2_allow_undrained=true")
    assert sorted(made.instances()) == ["app1", "db1"]
    found = amazon.client("ec2", region).describe_snapshots(
        Filters=[{"Name": "tag:djangofleet_environment", "Values": ["less"]}], OwnerIds=["self"]
    )["Snapshots"]
    assert [tags(each)["djangofleet_name"] for each in found] == ["db2"]
    said = made.run()
    assert said.changed == 0
    assert "is kept, and paid for: its instance is gone" in said.said, "its volume"


@in_full
def test_a_volume_that_was_not_attached_is_not_made_twice(amazon, environment):
    """Nor is data left behind when a set has some from now on."""
    region = "eu-central-1"
    made = environment("disk", region, ec2_instances=[{**APP, "volumes": [DISK]}])
    amazon.refuse({"action": "AttachVolume", "times": 99, "code": "IncorrectState", "message": "no"})
    assert "Failed to attach volume; an instance has room" in made.run(fails=True).said
    amazon.refuse()
    ours = [{"Name": "tag:djangofleet_device", "Values": ["/dev/sdf"]}]
    (before,) = amazon.client("ec2", region).describe_volumes(Filters=ours)["Volumes"]
    assert before["Attachments"] == []
    assert f"/dev/sdf of app1: {before['VolumeId']} is attached" in made.run().said
    (disk,) = further(amazon, made.instances()["app1"], region)
    assert disk["VolumeId"] == before["VolumeId"]
    assert deletes(made) == [True, True]
    assert made.run().changed == 0
    made.declare(ec2_instances=[{**APP, "volumes": [DISK], "data": True}])
    made.run()
    assert deletes(made) == [False, False]
    assert made.run().changed == 0
    made.declare(ec2_instances=[{**APP, "volumes": [], "data": True}])
    assert "/dev/sdf is declared no more" in made.run(fails=True).said


@in_full
def test_environments_do_not_touch_each_other_nor_what_is_foreign(amazon, environment):
    region = "us-west-2"
    client = amazon.client("ec2", region)
    image = client.describe_images()["Images"][0]["ImageId"]
    foreign = client.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    near = client.run_instances(
        ImageId=image, MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "djangofleet_environment", "Value": "blue"}]}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    blue = environment("blue", region, ec2_instances=[APP])
    green = environment("green", region, ec2_instances=[{**APP, "type": "t3.small"}])
    both = [each.start() for each in (blue, green)]
    for run in map(ended, both):
        assert run.code == 0, run.text
    before = green.instances()
    assert sorted(before) == ["app1"]
    blue.run("-e", "djangofleet_state=absent", "-e", "ec2_confirm=blue")
    assert green.instances() == before
    assert green.run().changed == 0
    states = {
        instance["InstanceId"]: instance["State"]["Name"]
        for reservation in client.describe_instances(InstanceIds=[foreign, near])["Reservations"]
        for instance in reservation["Instances"]
    }
    assert states == {foreign: "running", near: "running"}


@in_full
def test_a_network_of_its_own_is_made_and_goes(amazon, environment):
    region = "eu-west-1"
    made = environment("own", region, ec2_instances=[APP, {**DB, "placement": "private"}], ec2_network={"vpc": "own"},
                       ec2_backup_bucket="shop-backups")  # fmt: skip
    client = amazon.client("ec2", region)
    amazon.refuse({"action": "CreateNatGateway", "times": 99, "code": "NatGatewayLimitExceeded", "message": "no"})
    assert "more NAT gateways in the zone" in made.run(fails=True).said
    amazon.refuse()
    made.run()
    assert made.run().changed == 0
    (address,) = client.describe_addresses()["Addresses"]
    assert tags(address)["Name"] == "shop-own-nat", "the one of the run that broke off"
    found = made.instances()
    assert "PublicIpAddress" not in found["db1"]
    routes = {
        kind: table["Routes"][-1]
        for kind in ("public", "private")
        for table in client.describe_route_tables(Filters=[{"Name": "tag:djangofleet_routes", "Values": [kind]}])[
            "RouteTables"
        ]
    }
    assert routes["public"]["GatewayId"].startswith("igw-")
    assert routes["private"]["NatGatewayId"].startswith("nat-")
    assert found["app1"]["IamInstanceProfile"]["Arn"].endswith("/shop-own-eu-west-1")
    document = amazon.client("iam").get_role_policy(RoleName="shop-own-eu-west-1", PolicyName="backup")[
        "PolicyDocument"
    ]
    assert document["Statement"][1]["Resource"] == "arn:aws:s3:::shop-backups/*"
    made.declare(ec2_network={"vpc": "default"})  # what is in the other one goes all the same
    down = made.run("-e", "djangofleet_state=absent", "-e", "ec2_confirm=own", "-e", "ec2_final_backup=taken")
    assert "Nothing of shop-own is left" in down.said
    ours = [{"Name": "tag:djangofleet_environment", "Values": ["own"]}]
    assert client.describe_security_groups(Filters=ours)["SecurityGroups"] == []
    assert client.describe_addresses()["Addresses"] == []
    assert len(client.describe_vpcs()["Vpcs"]) == 1, "the default one alone"
    assert roles(amazon, "own") == []


@in_full
def test_regions_of_one_environment_do_not_take_the_role_from_each_other(amazon, environment):
    given = {"ec2_instances": [APP], "ec2_backup_bucket": "shop-backups"}
    made = {region: environment("both", region, **given) for region in ("us-east-2", "eu-west-3")}
    for region, each in made.items():
        each.run()
        assert each.instances()["app1"]["IamInstanceProfile"]["Arn"].endswith(f"/shop-both-{region}")
    made["eu-west-3"].run("-e", "djangofleet_state=absent", "-e", "ec2_confirm=both")
    assert roles(amazon, "both") == ["shop-both-us-east-2"]
    stays = made["us-east-2"]
    assert stays.run().changed == 0
    stays.declare(ec2_backup_bucket="")
    stays.run()
    assert amazon.client("iam").list_role_policies(RoleName="shop-both-us-east-2")["PolicyNames"] == []
    assert stays.run().changed == 0


@in_full
def test_an_image_is_begun_anew_after_a_run_that_broke_off(amazon, environment):
    """The instance of that one may have forgotten its keys. Nothing of a database is on either."""
    all_in_one = {**APP, "groups": ["web", "app", "database", "cache"]}
    made = environment("cut", "us-west-1", ec2_instances=[all_in_one])
    builders = []
    for _ in range(2):
        assert "builder1" in made.run(book="image", fails=True).said
        (builder,) = amazon.instances("cut-image", "us-west-1").values()
        builders.append(builder["InstanceId"])
    assert builders[0] != builders[1]
    assert made.instances() == {}


REFUSED = {
    "region": ({"ec2_region": ""}, "ec2_region: found ''; give a region such as us-east-1"),
    # As a region that does not exist: there is nobody by its name.
    "unknown region": ({"ec2_region": "us-east-9"}, "the region 'us-east-9' cannot be reached"),
    "zone": ({"ec2_dns_zone": "example.org"}, "ec2_dns_zone: found 'example.org'; the public hosted zones of the "
             "account are: example.com"),
    "network": ({"ec2_network": {"vpc": "office"}}, "ec2_network.vpc: found 'office', of which there is none"),
    "availability zone": ({"ec2_network": {"zones": ["ap-south-1z"]}}, "ec2_network.zones: found 'ap-south-1z'; give"),
    "ssh": ({"ec2_ssh_from": []}, "ec2_ssh_from: is empty"),
    "image": ({"ec2_image": {"id": "ami-00000000"}}, "ec2_image: there is no image 'ami-00000000'"),
}  # fmt: skip


def test_what_cannot_be_is_refused_before_anything_is_made(amazon, environment):
    amazon.calls()
    ends: dict[str, Run] = {}
    names = list(REFUSED)
    for batch in (names[:4], names[4:]):
        started = {}
        for name in batch:
            made = environment(f"r{names.index(name)}", "ap-south-1", ec2_instances=[APP])
            given = REFUSED[name][0]
            made.declare(**given)
            if "ec2_region" in given:
                path = made.folder / "aws_ec2.yml"
                path.write_text(path.read_text().replace("ap-south-1", given["ec2_region"] or "''"))
            nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"} if name == "unknown region" else {}
            started[name] = made.start(**nobody)
        ends |= {name: ended(process) for name, process in started.items()}
    for name, run in ends.items():
        assert run.code == 2, run.text
        assert REFUSED[name][1] in run.said, run.text
        assert "Traceback" not in run.text
    assert amazon.calls() == []


FAULTS = {
    "quota": (
        {"action": "RunInstances", "after": 1, "times": 99, "code": "InstanceLimitExceeded",
         "message": "You have requested more instances (2) than your current limit of 1 allows"},
        "the account may not have more instances: ask for more in Service Quotas. What has been made stays",
    ),
    "half way": (
        {"action": "AuthorizeSecurityGroupIngress", "after": 1, "times": 99, "status": 500, "code": "InternalError",
         "message": "An internal error has occurred"},
        # amazon.aws keeps the code of this one to itself.
        "Failed to authorize security group ingress. What has been made stays, and the next run goes on from there",
    ),
    "denied": (
        {"action": "RunInstances", "times": 99, "code": "UnauthorizedOperation", "message": "You may not"},
        "your user or role needs that permission",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS if PROVE else ["quota"])
def test_a_run_that_breaks_off_is_gone_on_with(amazon, environment, name):
    fault, words = FAULTS[name]
    made = environment(f"f-{name.replace(' ', '-')}", "ca-central-1", ec2_instances=[{**APP, "count": 2}])
    amazon.refuse(fault)
    broken = made.run(fails=True)
    assert words in broken.said, broken.text
    assert "Traceback" not in broken.text
    before = made.instances()
    amazon.refuse()
    made.run()
    after = made.instances()
    assert sorted(after) == ["app1", "app2"]
    assert all(after[key]["InstanceId"] == each["InstanceId"] for key, each in before.items()), "made twice"
    assert made.run().changed == 0


@in_full
def test_what_amazon_throttles_is_asked_again(amazon, environment):
    made = environment("slow", "sa-east-1", ec2_instances=[APP])
    throttled = {"status": 503, "code": "RequestLimitExceeded", "message": "Request limit exceeded."}
    amazon.refuse(
        {"action": "DescribeInstances", "times": 2, **throttled}, {"action": "RunInstances", "times": 2, **throttled}
    )
    made.run()
    assert sorted(made.instances()) == ["app1"]


@pytest.mark.parametrize("network", ["default", "own"] if PROVE else ["default"])
def test_the_inventory_has_groups_names_and_addresses(amazon, environment, network):
    placement = "public" if network == "default" else "private"
    made = environment(f"listed-{network}", "eu-north-1", ec2_network={"vpc": network}, ec2_user="debian",
                       ec2_instances=[{**APP, "count": 3}, {**DB, "placement": placement}])  # fmt: skip
    made.run()
    answer = subprocess.run(
        ["ansible-inventory", f"--inventory={made.folder}", "--list"],
        cwd=ROOT, env={**PLAIN, **amazon.environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # What Amazon has said is no template, and is marked so.
    listed = json.loads(answer.stdout, object_hook=lambda each: each.get("__ansible_unsafe", each))

    def hosts(group: str) -> list[str]:
        entry = listed.get(group, {})
        below = [host for child in entry.get("children", []) for host in hosts(child)]
        return list(dict.fromkeys([*entry.get("hosts", []), *below]))

    assert sorted(hosts("web")) == sorted(hosts("app")) == ["app1", "app2", "app3"]
    assert hosts("app")[0] == "app1", "whoever is first keeps what the environment has once"
    assert hosts("database") == ["db1"]
    found, variables = made.instances(), listed["_meta"]["hostvars"]
    assert variables["app2"]["ansible_host"] == found["app2"]["PublicIpAddress"]
    seen = "PublicIpAddress" if placement == "public" else "PrivateIpAddress"
    assert variables["db1"]["ansible_host"] == found["db1"][seen]
    assert variables["db1"]["host_private_address"] == found["db1"]["PrivateIpAddress"]
    shown = subprocess.run(
        ["ansible", "db1", f"--inventory={made.folder}", "-m", "debug",
         "-a", "msg='as {{ ansible_user }}: {{ ansible_ssh_common_args }}'"],
        cwd=ROOT, env={**PLAIN, **amazon.environment}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    said = " ".join(shown.split())
    assert "as debian: " in said
    assert f"HostKeyAlias={found['db1']['InstanceId']}" in said
    assert "StrictHostKeyChecking=yes" in said
    by_way_of = (f"debian@{found['app1']['PublicIpAddress']}", f"HostKeyAlias={found['app1']['InstanceId']}")
    assert [words in said for words in by_way_of] == [placement == "private"] * 2
