"""From the dynamic inventory to a served site by ssh: an ordinary user with sudo, host keys from consoles.

The addresses that the copy of Amazon's API gives are those of test hosts here. The database's is a private one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from account import APP, DB, PLAIN, ROOT, Environment, ended, let_in, sh
from ec2.amazon import console
from shared.outside import PROVE, Browser, address_of

HOSTS = {"app1": "djangofleet-ec2-app", "db1": "djangofleet-ec2-db"}
GUESTBOOK = {
    "name": "guestbook",
    "domains": ["guestbook.example.com"],
    "source": {"path": str(ROOT / "examples/guestbook"), "version": "first"},
    "database": {"engine": "postgresql"},
    "health": {"path": "/healthz"},
}
COUNTING = "/opt/bench/counting-python"


@pytest.fixture(scope="module")
def fleet(amazon, tmp_path_factory) -> Environment:
    """The environment with its instances, which are the test hosts, and a key that admin lets in."""
    folder = tmp_path_factory.mktemp("served")
    key = let_in(folder, *HOSTS.values())
    public = key.with_suffix(".pub").read_text().strip()
    keys = {}
    for host, name in HOSTS.items():
        keys[host] = sh(name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_rsa_key.pub").split("\n")
    made = Environment(
        amazon,
        folder / "inventory",
        "served",
        "eu-west-3",
        ec2_public_key=public,
        ec2_network={"vpc": "own"},
        ec2_instances=[APP, {**DB, "placement": "private"}],
        django_apps=[GUESTBOOK],
        ansible_ssh_private_key_file=str(key),
    )
    # The consoles show the keys of the hosts from the beginning: which instance is which is known when they are made.
    waiting = made.start()
    (amazon.state / "consoles").mkdir(exist_ok=True)
    (amazon.state / "consoles/default").write_text("[    0.000000] Linux version 6.12\r\n")
    while waiting.poll() is None:
        for host, instance in made.instances().items():
            lines = [line for line in keys[host] if line.strip()]
            (amazon.state / "consoles" / instance["InstanceId"]).write_text(console(lines))
        time.sleep(1)
    run = ended(waiting)
    assert run.code == 0, run.text
    (amazon.state / "consoles/default").unlink()
    mapped = {host: {"ansible_host": address_of(name), "host_private_address": address_of(name)}
              for host, name in HOSTS.items()}  # fmt: skip
    # Read after aws_ec2.yml and hosts.yml.
    (made.folder / "mapped.yml").write_text(yaml.safe_dump({"all": {"hosts": mapped}}))
    return made


def play(fleet: Environment, *words: str, folder: Path | None = None) -> tuple[str, float]:
    """Run site.yml against the fleet. What it says, and how long it took."""
    began = time.monotonic()
    answer = subprocess.run(
        ["ansible-playbook", "site.yml", f"--inventory={folder or fleet.folder}", *words],
        cwd=ROOT,
        env={**PLAIN, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **fleet.amazon.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout, time.monotonic() - began


@pytest.fixture(scope="module")
def served(fleet) -> str:
    """What the first run said."""
    return play(fleet)[0]


def test_a_site_is_served(served):
    assert "unreachable=0" in served
    authority = sh(HOSTS["app1"], "cat", "/etc/djangofleet/authority/ca.pem")
    path = Path("/tmp") / f"djangofleet-ec2-{os.getpid()}.pem"
    path.write_text(authority)
    try:
        page = Browser(address_of(HOSTS["app1"]), "guestbook.example.com", str(path)).get("/healthz")
        assert page.status == 200
        assert json.loads(page.data)["checks"]["database"] == "ok"
    finally:
        path.unlink()


def test_the_connection_is_ssh_as_an_ordinary_user(fleet, served):
    for host in HOSTS:
        said = subprocess.run(
            ["ansible", host, f"--inventory={fleet.folder}", "-m", "ansible.builtin.command", "-a",
             "sh -c 'id -un; echo $SUDO_USER; echo $SSH_CONNECTION'", "-e", "ansible_become=true"],
            cwd=ROOT, env={**PLAIN, **fleet.amazon.environment}, capture_output=True, text=True, check=True,
        ).stdout.split("\n")  # fmt: skip
        assert said[1:3] == ["root", "admin"], said


def test_the_private_host_is_reached_by_way_of_the_public_one(served):
    """Its sshd has seen nobody but the app's host."""
    journal = sh(HOSTS["db1"], "journalctl", "-u", "ssh", "--no-pager", "-o", "cat")
    assert set(re.findall(r"Accepted publickey for admin from (\S+)", journal)) == {address_of(HOSTS["app1"])}


def test_another_host_key_is_not_believed(fleet, served):
    """Whoever answers at the address of an instance has to have the key that its console has shown."""
    path = fleet.folder / "known_hosts.txt"
    before = path.read_text()
    first, second = dict.fromkeys(line.split()[0] for line in before.splitlines() if line.startswith("i-"))
    path.write_text(before.replace(first, "i-x").replace(second, first).replace("i-x", second))
    try:
        answer = subprocess.run(
            ["ansible", "app1", f"--inventory={fleet.folder}", "-m", "ansible.builtin.ping"],
            cwd=ROOT,
            env={**PLAIN, **fleet.amazon.environment, "ANSIBLE_SSH_ARGS": "-o ControlPath=none"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode != 0
        assert "Host key verification failed" in answer.stdout + answer.stderr
    finally:
        path.write_text(before)


@pytest.mark.skipif(not PROVE, reason="two runs for a figure")
def test_an_unchanged_run_by_ssh_beside_one_by_docker(fleet, served, figure, tmp_path):
    """By the inventory as it is, pipelining and sudo included; then by the connection that the other scenarios take."""
    for name in HOSTS.values():
        program = (ROOT / "bench/contestants/counting-python").read_text()
        put = f"mkdir -p /opt/bench && cat >{COUNTING} <<'END'\n{program}END\n"
        sh(name, "sh", "-c", f"{put}chmod +x {COUNTING}")
    seen = {}
    ways = {"ssh": {}, "docker": {"ansible_connection": "community.docker.docker", "ansible_become": False,
                                  "ansible_user": "root"}}  # fmt: skip
    for way, variables in ways.items():
        mapped = yaml.safe_load((fleet.folder / "mapped.yml").read_text())
        for host, name in HOSTS.items():
            own = {**variables, "ansible_python_interpreter": COUNTING}
            mapped["all"]["hosts"][host] |= own | ({"ansible_host": name} if way == "docker" else {})
            sh(name, "sh", "-c", ": >/opt/bench/executions")
        (fleet.folder / "zz.yml").write_text(yaml.safe_dump(mapped))
        said, seconds = play(fleet)
        (fleet.folder / "zz.yml").unlink()
        assert re.findall(r"^\S+ +: ok=\d+ +changed=(\d+)", said, re.MULTILINE) == ["0", "0"], said
        executions = sum(len(sh(name, "cat", "/opt/bench/executions")) for name in HOSTS.values())
        seen[way] = executions
        print(f"unchanged run by {way}: {seconds:.1f} s, {executions} executions")
        figure(f"unchanged run by {way}, seconds", seconds)
        figure(f"unchanged run by {way}, executions", executions)
    assert seen["ssh"] == seen["docker"]
