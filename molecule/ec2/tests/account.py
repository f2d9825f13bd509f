"""A copy of Amazon's API, what is in it, and inventories of environments, as a user copies and edits them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
import docker
import yaml

ROOT = Path(__file__).resolve().parents[3]
ALIVE = ["pending", "running", "stopping", "stopped"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkMr7pUQYRkHrTTZxDMhnKYRlzo2l9tXlOm4NxrqPbY me@desk"
APP = {"name": "app", "groups": ["web", "app"], "type": "t4g.small"}
DB = {"name": "db", "groups": ["database"], "type": "t4g.medium"}
SHOP = {
    "name": "shop",
    "domains": ["www.example.com"],
    "source": {"package": "shop==1.0"},
    "database": {"engine": "postgresql"},
}

# What Ansible runs in: nobody's account, nothing of Molecule's, no colours.
PLAIN = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "BOTO", "MOLECULE_"))},
    **{"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
}


class Amazon:
    """The API: what is in it, and what it is to refuse."""

    def __init__(self, port: int, state: Path) -> None:
        self.state = state
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return boto3.client(service, region_name=region, endpoint_url=self.environment["AWS_ENDPOINT_URL"],
                            aws_access_key_id="test", aws_secret_access_key="test")  # fmt: skip

    def instances(self, environment: str, region: str = "us-east-1") -> dict[str, dict[str, Any]]:
        """Those of an environment that are not gone, by name."""
        filters = [{"Name": "tag:djangofleet_environment", "Values": [environment]},
                   {"Name": "instance-state-name", "Values": ALIVE}]  # fmt: skip
        found = self.client("ec2", region).describe_instances(Filters=filters)["Reservations"]
        each = [instance for reservation in found for instance in reservation["Instances"]]
        return {tags(instance)["djangofleet_name"]: instance for instance in each}

    def refuse(self, *faults: dict[str, Any]) -> None:
        (self.state / "faults.json").write_text(json.dumps(faults))

    def calls(self) -> list[dict[str, Any]]:
        """What has changed something, or tried to, since the last time that this was asked."""
        path = self.state / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found


def tags(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}


def sh(host: str, *command: str) -> str:
    """What a command says on a test host that stands for an instance."""
    code, output = docker.from_env().containers.get(host).exec_run(list(command))
    assert code == 0, output.decode()
    return output.decode()


def let_in(folder: Path, *hosts: str) -> Path:
    """A new key that admin of test hosts lets in; its public one stands beside it."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    for host in hosts:
        sh(host, "sh", "-c", f"echo '{public}' >/home/admin/.ssh/authorized_keys && chown -R admin: /home/admin/.ssh")
    return key


class Run:
    """A run that has ended."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        # As a person reads it: Ansible breaks lines of messages.
        self.said = re.sub(r"\s+", " ", text.replace("''", "'"))

    @property
    def changed(self) -> int:
        return int(re.search(r"localhost .*changed=(\d+)", self.text)[1])


def ended(process: subprocess.Popen[str]) -> Run:
    """A run that has been started, when it has ended."""
    text = process.communicate(timeout=900)[0]
    return Run(process.returncode, text)


class Environment:
    """An inventory as a user copies and edits it, in an account."""

    def __init__(self, amazon: Amazon, folder: Path, name: str, region: str = "us-east-1", **given: Any) -> None:
        self.amazon, self.folder, self.name, self.region = amazon, folder, name, region
        shutil.copytree(ROOT / "inventories/ec2", folder)
        path = folder / "aws_ec2.yml"
        text = path.read_text().replace("production", name).replace("us-east-1", region)
        path.write_text(text)
        self.given = {
            "ec2_project": "shop",
            "ec2_environment": name,
            "ec2_region": region,
            "ec2_public_key": KEY,
            "ec2_ssh_from": ["203.0.113.7/32"],
            "ec2_ssh_awaited": False,  # nobody is at the addresses that the copy gives
            "ec2_dns_ttl": 1,
            "ec2_wait_seconds": 20,
            "django_apps": [SHOP],
        }
        self.declare(**given)

    def declare(self, **given: Any) -> None:
        self.given |= given
        (self.folder / "group_vars/all.yml").write_text(yaml.safe_dump(self.given))

    def start(self, *words: str, book: str = "ec2", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ansible-playbook", f"playbooks/{book}.yml", f"--inventory={self.folder}", *words],
            cwd=ROOT,
            env={**PLAIN, "COLUMNS": "10000",
                 "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **self.amazon.environment,
                 # Addresses that are made up may be somebody's: ssh goes to those alone that a test has.
                 "ANSIBLE_SSH_EXTRA_ARGS": "-o ProxyCommand=false", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def run(self, *words: str, fails: bool = False, **how: str) -> Run:
        """Run the playbook to its end, which is a good one unless it says that it fails."""
        run = ended(self.start(*words, **how))
        assert (run.code != 0) == fails, run.text
        return run

    def instances(self) -> dict[str, dict[str, Any]]:
        return self.amazon.instances(self.name, self.region)
