"""The modules that read from an account: what they make of Amazon's answers, and of its refusals."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import exceptions
from loading import load
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[2]


survey, host_keys = load("plugins/modules/ec2_survey.py"), load("plugins/modules/ec2_host_keys.py")
termination = load("plugins/modules/ec2_delete_on_termination.py")
WORDS: dict[str, Any] = {
    "region": "us-east-1", "project": "shop", "environment": "test", "vpc": "default", "images": [],
    "image_owner": "self", "key_name": "", "zone": "", "role_name": "",
    "role_needed": False, "serving_name": "", "serving_port": 443,
}  # fmt: skip
OURS = [{"Key": "djangofleet_project", "Value": "shop"}, {"Key": "djangofleet_environment", "Value": "test"}]


@pytest.fixture
def account(monkeypatch):
    """account(vpc=…): what the survey finds."""
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield lambda **words: survey.Account({**WORDS, **words}).survey()


def test_an_account_that_has_nothing(account):
    found = account()
    assert found["vpc"]["cidr"] == "172.31.0.0/16"
    assert all(subnet["public"] for subnet in found["subnets"])
    empty = (
        "instances",
        "groups",
        "addresses",
        "volumes",
        "records",
        "images",
        "key",
        "role",
        "zone",
        "nat",
        "gateway",
    )
    assert not any(found[name] for name in empty)


def test_only_what_carries_the_tags_is_found(account):
    client = boto3.client("ec2", region_name="us-east-1")
    image = client.describe_images()["Images"][0]["ImageId"]
    for environment in ("test", "production"):
        tags = [
            OURS[0],
            {"Key": "djangofleet_environment", "Value": environment},
            {"Key": "djangofleet_name", "Value": "a1"},
        ]
        client.run_instances(ImageId=image, MinCount=1, MaxCount=1,
                             TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])  # fmt: skip
    client.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    (instance,) = account()["instances"]
    assert (instance["name"], instance["state"], instance["protected"]) == ("a1", "running", False)
    assert account()["volumes"][0]["instance"] == instance["id"]


def test_volumes_are_told_with_where_they_are(account):
    client = boto3.client("ec2", region_name="us-east-1")
    image = client.describe_images()["Images"][0]["ImageId"]
    instance = client.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[
        {"ResourceType": "instance", "Tags": OURS}])["Instances"][0]["InstanceId"]  # fmt: skip
    zone = account()["instances"][0]["zone"]
    words = {"AvailabilityZone": zone, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250, "Encrypted": True,
             "TagSpecifications": [{"ResourceType": "volume", "Tags": OURS}]}  # fmt: skip
    made = [client.create_volume(Size=size, **words)["VolumeId"] for size in (5, 6)]
    client.attach_volume(InstanceId=instance, VolumeId=made[0], Device="/dev/sdf")
    found = account()
    volumes = {volume["id"]: volume for volume in found["volumes"]}
    assert volumes[made[0]] == {
        "id": made[0], "size": 5, "type": "gp3", "iops": 4000, "throughput": 250, "encrypted": True,
        "instance": instance, "device": "/dev/sdf", "tags": {tag["Key"]: tag["Value"] for tag in OURS},
    }  # fmt: skip
    assert (volumes[made[1]]["instance"], volumes[made[1]]["device"]) == ("", "")
    (there,) = found["instances"]
    assert there["root"] in volumes
    assert volumes[there["root"]]["device"] == there["root_device"]
    assert there["keeps"] == [made[0]]
    assert there["launched"].startswith("20")


def test_a_volume_that_is_being_changed_is_told_as_it_will_be():
    """Or the next round would change it once more, which Amazon refuses for hours."""
    volume = {"VolumeId": "vol-1", "Size": 20, "VolumeType": "gp2", "Iops": 100, "Encrypted": True}
    other = {"VolumeId": "vol-2", "TargetSize": 99, "TargetVolumeType": "io2", "TargetIops": 999}
    assert survey.volume_of(volume, [other])["size"] == 20
    target = {"VolumeId": "vol-1", "TargetSize": 30, "TargetVolumeType": "gp3", "TargetIops": 3000}
    found = survey.volume_of(volume, [other, {**target, "TargetThroughput": 125}])
    assert [found[key] for key in ("size", "type", "iops", "throughput")] == [30, "gp3", 3000, 125]


def test_a_volume_stays_when_its_instance_goes_or_does_not(account, monkeypatch):
    client = boto3.client("ec2", region_name="us-east-1")
    image = client.describe_images()["Images"][0]["ImageId"]
    instance = client.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[
        {"ResourceType": "instance", "Tags": OURS}])["Instances"][0]["InstanceId"]  # fmt: skip
    (there,) = account()["instances"]
    ended: dict[str, Any] = {}

    def run(check: bool = False, **given: Any) -> dict[str, Any]:
        words = {"region": "us-east-1", "instance": instance, "device_name": there["root_device"], **given}
        module = type("Module", (), {"params": words, "check_mode": check})()

        def end(**said: Any) -> None:
            ended.clear()
            ended.update(said)
            raise SystemExit

        module.exit_json = module.fail_json = end
        monkeypatch.setattr(termination, "AnsibleModule", lambda **_words: module)
        with pytest.raises(SystemExit):
            termination.main()
        return dict(ended)

    assert run(check=True, delete_on_termination=False)["changed"]
    assert account()["instances"][0]["keeps"] == [], "check mode has changed it"
    assert run(delete_on_termination=False) == {"changed": True, "volume_id": there["root"]}
    assert account()["instances"][0]["keeps"] == [there["root"]]
    assert not run(delete_on_termination=False)["changed"]
    assert "has nothing at /dev/sdz" in run(device_name="/dev/sdz", delete_on_termination=True)["msg"]
    assert run(instance="i-0123456789abcdef0", delete_on_termination=True)["msg"].startswith(there["root_device"])


def test_security_groups_of_others_are_told_by_name_alone(account):
    client = boto3.client("ec2", region_name="us-east-1")
    vpc = account()["vpc"]["id"]
    for name, tags in (("shop-test-web", OURS), ("shop-test-app", OURS[:1]), ("office", [])):
        given = [{"ResourceType": "security-group", "Tags": tags}] if tags else []
        client.create_security_group(GroupName=name, Description=name, VpcId=vpc, TagSpecifications=given)
    found = account()
    assert [group["name"] for group in found["groups"]] == ["shop-test-web"]
    assert found["foreign_groups"] == ["default", "office", "shop-test-app"]


def test_what_carries_the_tags_is_found_in_other_networks(account):
    """After the inventory has named another one."""
    client = boto3.client("ec2", region_name="us-east-1")
    assert account()["elsewhere"] == []

    def tagged(kind: str, tags: list[dict[str, str]] = OURS) -> dict[str, Any]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]}

    before, other = (client.create_vpc(CidrBlock=f"10.{n}.0.0/16")["Vpc"]["VpcId"] for n in (1, 2))
    client.create_security_group(GroupName="shop-test-web", Description="x", VpcId=before, **tagged("security-group"))
    client.create_security_group(GroupName="shop-test-web", Description="x", VpcId=other)
    own = client.create_vpc(CidrBlock="10.3.0.0/16", **tagged("vpc"))["Vpc"]["VpcId"]
    client.create_subnet(VpcId=own, CidrBlock="10.3.0.0/20", **tagged("subnet"))
    lost = client.create_internet_gateway(**tagged("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    client.create_internet_gateway()
    found = account()
    assert found["groups"] == []
    places = {place["vpc"].get("id"): place for place in found["elsewhere"]}
    assert set(places) == {before, own, None}
    assert [group["name"] for group in places[before]["groups"]] == ["shop-test-web"]
    assert [subnet["cidr"] for subnet in places[own]["subnets"]] == ["10.3.0.0/20"]
    assert places[None]["gateway"]["id"] == lost
    here = account(vpc="own")
    assert here["vpc"]["id"] == own
    assert {place["vpc"].get("id") for place in here["elsewhere"]} == {before, None}


def test_the_newest_image_of_a_name_is_found(account):
    client = boto3.client("ec2", region_name="us-east-1")
    image = client.describe_images()["Images"][0]["ImageId"]
    instance = client.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    made = [client.create_image(InstanceId=instance, Name=f"debian-13-amd64-{day}")["ImageId"] for day in (1, 2)]
    (found,) = account(images=["debian-13-amd64-*"])["images"]
    assert found["id"] in made
    assert found["asked"] == "debian-13-amd64-*"
    assert account(images=["debian-12-*"])["images"] == []
    assert [each["id"] for each in account(images=[made[0]])["images"]] == [made[0]]


def test_a_zone_is_found_by_its_name_alone(account):
    client = boto3.client("route53")
    client.create_hosted_zone(Name="example.com", CallerReference="1")
    assert account(zone="example.com.")["zone"]["name"] == "example.com"
    found = account(zone="example.org")
    assert (found["zone"], found["hosted_zones"]) == ({}, ["example.com"])


def test_iam_is_asked_by_those_who_need_it(account, monkeypatch):
    """Somebody may reach EC2 and nothing else."""
    iam, client = boto3.client("iam"), boto3.client("ec2", region_name="us-east-1")
    name = "shop-test-us-east-1"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}", Tags=OURS)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    assert account(role_name=name)["role"] == {}
    assert account(role_name=name, role_needed=True)["role"]["profiles"] == [name]
    image = client.describe_images()["Images"][0]["ImageId"]
    client.run_instances(ImageId=image, MinCount=1, MaxCount=1, IamInstanceProfile={"Name": name},
                         TagSpecifications=[{"ResourceType": "instance", "Tags": OURS}])  # fmt: skip
    assert account(role_name=name)["role"]["name"] == name


def test_a_zone_is_remembered_that_is_named_no_more(account):
    client, zones = boto3.client("ec2", region_name="us-east-1"), boto3.client("route53")
    for number, name in enumerate(("example.com", "example.org", "example.net")):
        zones.create_hosted_zone(Name=name, CallerReference=str(number))
    tags = [*OURS, {"Key": "djangofleet_zones", "Value": "example.com example.org gone.example"}]
    client.create_security_group(GroupName="shop-test-all", Description="x", VpcId=account()["vpc"]["id"],
                                 TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}])  # fmt: skip
    found = account(zone="example.org")
    assert found["zone"]["name"] == "example.org"
    (left,) = found["left_zones"]
    assert left["name"] == "example.com"
    assert {entry["type"] for entry in left["records"]} == {"NS", "SOA"}
    assert [zone["name"] for zone in account()["left_zones"]] == ["example.com", "example.org"]


def test_several_networks_of_a_name_are_told(account):
    client = boto3.client("ec2", region_name="us-east-1")
    for _ in range(2):
        client.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=[
            {"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "office"}]}])  # fmt: skip
    found = account(vpc="office")
    assert found["vpc"] == {}
    assert len(found["vpcs"]) == 2


class Page(BaseHTTPRequestHandler):
    """A server that has one site, and an error for all others."""

    def do_GET(self) -> None:
        self.send_response(302 if self.headers["Host"] == "www.example.com" else 502)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Its port."""
    folder = tmp_path_factory.mktemp("page")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=x", "-keyout", folder / "key", "-out", folder / "pem"],
                   check=True, capture_output=True)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_who_serves_answers_without_an_error(page):
    assert survey.serves("127.0.0.1", page, "www.example.com")
    assert not survey.serves("127.0.0.1", page, "shop.example.com"), "Nginx is there, and the app is not"
    assert not survey.serves("127.0.0.1", 1, "www.example.com")


def test_only_those_are_asked_that_the_record_does_not_lead_to(account, monkeypatch):
    client, zones = boto3.client("ec2", region_name="us-east-1"), boto3.client("route53")
    image = client.describe_images()["Images"][0]["ImageId"]
    found = client.run_instances(ImageId=image, MinCount=2, MaxCount=2,
                                 TagSpecifications=[{"ResourceType": "instance", "Tags": OURS}])  # fmt: skip
    asked: list[tuple[str, int, str]] = []
    monkeypatch.setattr(survey, "serves", lambda *words: asked.append(words) or True)
    zone = zones.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    words = {"zone": "example.com", "serving_name": "www.example.com"}
    assert account(**words)["serving"] == []
    first, second = sorted(account()["instances"], key=lambda each: each["id"])
    assert len(found["Instances"]) == 2
    change = {"Action": "CREATE", "ResourceRecordSet": {"Name": "www.example.com", "Type": "A", "TTL": 60,
              "ResourceRecords": [{"Value": first["public_address"]}]}}  # fmt: skip
    zones.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})
    assert account(**words)["serving"] == [second["id"]]
    assert asked == [(second["public_address"], 443, "www.example.com")]


def refused(code: str) -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeVpcs")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NoCredentialsError(), "there are no credentials; give AWS_PROFILE"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), "there are no credentials"),
        (exceptions.ProfileNotFound(profile="shop"), "the credentials cannot be read"),
        (exceptions.EndpointConnectionError(endpoint_url="https://ec2.us-east-9"), "the region 'us-east-9' cannot be"),
        (refused("AuthFailure"), "the account does not know these credentials, or the region 'us-east-9' is not open"),
        (refused("ExpiredToken"), "the credentials have expired"),
        (refused("UnauthorizedOperation"), ""),
        (refused("InternalError"), ""),
    ],
)
def test_why_no_account_can_be_asked(error, words):
    found = survey.explained(error, "us-east-9")
    assert found.startswith(words)
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("permission", "rules"),
    [
        ({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
          "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, ["tcp 80 0.0.0.0/0", "tcp 80 ::/0"]),
        ({"IpProtocol": "udp", "FromPort": 1, "ToPort": 9, "UserIdGroupPairs": [{"GroupId": "sg-1"}]},
         ["udp 1-9 sg-1"]),
        ({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}, ["all * pl-1"]),
    ],
)  # fmt: skip
def test_what_a_rule_lets_in(permission, rules):
    assert survey.rules_of(permission) == rules


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkMr7pUQYRkHrTTZxDMhnKYRlzo2l9tXlOm4NxrqPbY"
OTHER = KEY.replace("KkMr", "OtHe")
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


@pytest.mark.parametrize(
    ("console", "keys"),
    [
        ("", []),
        (f"{BEGIN}\r\n{KEY} root@ip\r\n{END}\r\n", [KEY]),
        (f"{BEGIN}\n{KEY} root@ip\n", []),
        (f"ci-info: {OTHER} user's own\n{BEGIN}\n{KEY} root@ip\n{END}\n", [KEY]),
        (f"{BEGIN}\n{OTHER} old\n{END}\nreboot\n{BEGIN}\n{KEY} new\n{END}\n", [KEY]),
        (f"{BEGIN}\n[  12.3] kernel: {KEY[:60]}\n{KEY} root@ip\n{END}\n", [KEY]),
        (f"{BEGIN}\n{KEY[:68]} root@ip\n{END}\n", []),
        (f"{BEGIN}\n{KEY[:40]}[ 12.3] kernel: interrupts\n{END}\n", []),
    ],
)
def test_host_keys_are_read_from_the_console(console, keys):
    assert host_keys.keys_of(console) == keys


class Console:
    """A console that shows its keys at the third look, of a hypervisor that cannot show the latest."""

    def __init__(self) -> None:
        self.looks = 0

    def get_console_output(self, InstanceId: str, Latest: bool = False) -> dict[str, str]:
        if Latest:
            raise refused("UnsupportedOperation")
        self.looks += 1
        return {"Output": f"{BEGIN}\n{KEY} x\n{END}\n"} if self.looks > 2 and InstanceId == "i-1" else {}


def test_a_console_is_waited_for(monkeypatch):
    monkeypatch.setattr(host_keys, "PAUSE", 0.01)
    assert host_keys.wait_for(Console(), ["i-1"], 5) == {"i-1": [KEY]}
    assert host_keys.wait_for(Console(), ["i-2"], 0.05) == {}
