"""ssh and bans: what the guide shows is put on hosts over ssh, while somebody is connected and others visit."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared.outside import PROVE, ROOT, Browser, hosts_of, play, within

testinfra_hosts = hosts_of("edge", gate=13)

CLIENT = "djangofleet-edge-client"
SCANNER = "198.51.100.7"  # of a block for documentation (RFC 5737), which is nobody's
JAIL = "djangofleet-nginx-scan"
DROP_IN = "/etc/ssh/sshd_config.d/00-djangofleet.conf"
QUIET = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=INFO"]


def snippets() -> dict[str, Any]:
    """What the guide says first about ssh and about bans."""
    found: dict[str, Any] = {}
    for chapter in ("ssh", "Bans"):
        text = Path(ROOT, "docs/hardening.md").read_text().split(f"\n## {chapter}\n")[1]
        found |= yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    return found


def on_client(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "exec", CLIENT, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def key(host, tmp_path_factory) -> Iterator[Path]:
    """A key of root's, on the controller and on the client, and a daemon that takes it."""
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    subprocess.run(["docker", "cp", str(path), f"{CLIENT}:/root/edge_key"], check=True)
    assert on_client("chown", "root:root", "/root/edge_key").returncode == 0
    host.check_output("install -d -m 0700 /root/.ssh")
    host.check_output("echo %s >/root/.ssh/authorized_keys", path.with_suffix(".pub").read_text())
    host.check_output("echo root:a-password-that-is-known | chpasswd")
    host.check_output("systemctl start ssh.service")
    yield path
    host.check_output(f"rm -f {DROP_IN} /root/.ssh/authorized_keys && passwd --quiet --lock root")
    host.check_output("systemctl stop ssh.service && systemctl disable --now fail2ban.service")


@pytest.fixture(scope="module")
def run(name, address, key) -> Callable:
    """run(**variables) -> a run of the playbook's part for hosts, over ssh."""

    def over_ssh(**variables: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "ansible_connection": "ssh",
            "ansible_host": address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": f"{' '.join(QUIET)} -o ControlPath=none",
            "nginx_real_ip": {},  # scanners come without a proxy
            **variables,
        }
        return play("edge", "site.yml", "--tags=host", f"--limit={name}", "-e", json.dumps(given))

    return over_ssh


@pytest.fixture(scope="module")
def ssh(address, key) -> Callable:
    """ssh(*options, command) -> what came of it, from the client."""

    def connect(*words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        *options, command = words
        identity = ["-i", "/root/edge_key", "-o", "BatchMode=yes"]
        return on_client("ssh", *QUIET, *identity, *options, f"{user}@{address}", command)

    return connect


@pytest.fixture(scope="module")
def hardened(host, address, run, ssh) -> dict[str, Any]:
    """The host as the guide says, and what was seen before, during and after."""
    before = ssh("-o", "PubkeyAuthentication=no", "true").stderr
    words = ["docker", "exec", "-i", CLIENT, "ssh", *QUIET, "-i", "/root/edge_key", f"root@{address}", "cat"]
    given = snippets()
    # The tests of other topics ask for much that is refused, from the controller and the client.
    network = f"{address.rsplit('.', 2)[0]}.0.0/16"
    given["host_bans_ignored"] = [*given["host_bans_ignored"], network]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdin is not None
        assert held.stdout is not None
        held.stdin.write("before\n")
        held.stdin.flush()
        said = [held.stdout.readline()]
        result = run(**given)
        assert result.returncode == 0, result.stdout[-6000:] + result.stderr
        held.stdin.write("after\n")
        held.stdin.flush()
        said.append(held.stdout.readline())
        held.stdin.close()
    within(lambda: host.run(f"fail2ban-client status {JAIL}").rc == 0, 15, "fail2ban is ready")
    return {"given": given, "before": before, "held": said}


def test_a_connection_in_use_stays(hardened, ssh):
    assert hardened["held"] == ["before\n", "after\n"]
    assert ssh("echo new").stdout == "new\n"


def test_nobody_gets_in_by_password(hardened, ssh):
    assert "password" in hardened["before"], "it was asked for before"
    refused = ssh("-o", "PubkeyAuthentication=no", "true")
    assert (refused.returncode, refused.stderr.strip().endswith("Permission denied (publickey).")) == (255, True)


def test_what_is_weak_is_not_spoken(hardened, ssh):
    for option in ("KexAlgorithms=ecdh-sha2-nistp256", "MACs=hmac-sha1", "Ciphers=chacha20-poly1305@openssh.com"):
        # A cipher that brings its own authentication would leave the MAC unasked.
        refused = ssh("-o", option, *(["-o", "Ciphers=aes256-ctr"] if option.startswith("MACs") else []), "true")
        assert "no matching" in refused.stderr, option


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"AllowUsers": "deploy"}, "AllowUsers: found 'deploy'; give one of root: Ansible is connected as root from "),
        ({"PermitRootLogin": False}, "host_ssh_settings[PermitRootLogin]: found 'no'; give prohibit-password"),
    ][: None if PROVE else 1],
)
def test_who_is_at_work_is_not_locked_out(host, hardened, run, ssh, settings, line):
    before = host.file(DROP_IN).content_string
    result = run(**hardened["given"] | {"host_ssh_allowed_users": [], "host_ssh_settings": settings})
    assert result.returncode != 0
    assert line in result.stdout + result.stderr
    assert host.file(DROP_IN).content_string == before
    assert ssh("echo in").stdout == "in\n"


@pytest.fixture
def scanner(host, name, address) -> Iterator[Callable]:
    """scanner(path) -> what curl says to a request from the scanner's address; 0 if an answer came."""
    assert on_client("ip", "address", "replace", f"{SCANNER}/32", "dev", "eth0").returncode == 0
    host.check_output(f"ip route replace {SCANNER}/32 dev eth0")

    def get(path: str) -> int:
        words = ["curl", "-sk", "-o", "/dev/null", "--max-time", "3", "--interface", SCANNER]
        return on_client(
            *words, "--resolve", f"guestbook.test:443:{address}", f"https://guestbook.test{path}"
        ).returncode

    yield get
    host.run(f"fail2ban-client unban {SCANNER}")
    host.check_output(f"ip route del {SCANNER}/32 dev eth0")
    on_client("ip", "address", "del", f"{SCANNER}/32", "dev", "eth0")


def test_a_scanner_is_banned_and_nobody_else(host, hardened, address, authority, scanner, figure):
    browser = Browser(address, "guestbook.test", authority)
    assert scanner("/healthz") == 0
    began = time.monotonic()
    scanner("/wp-[1-30].php")
    within(lambda: scanner("/healthz") != 0, 15, "the scanner is kept away")
    figure("seconds until a scanner is banned", time.monotonic() - began)
    assert browser.get("/healthz").status == 200
    # What the role does after a change of its rules, and what an operator may do: the one leaves the bans, the other
    # flushes all tables.
    host.check_output("systemctl reload nftables.service")
    assert scanner("/healthz") != 0
    host.check_output("systemctl restart nftables.service")
    within(lambda: scanner("/healthz") != 0, 15, "the bans are back")
    assert browser.get("/healthz").status == 200
    within(lambda: host.run(f"fail2ban-client set {JAIL} unbanip {SCANNER}").rc == 0, 15, "fail2ban is back")
    assert scanner("/healthz") == 0


def test_who_tries_logins_is_banned(host, hardened, address, scanner):
    """By the journal: Debian 13 has no auth.log."""
    for number in range(6):
        on_client("ssh", *QUIET, "-b", SCANNER, "-o", "BatchMode=yes", f"nobody{number}@{address}", "true")
    within(lambda: SCANNER in host.check_output("fail2ban-client get sshd banip"), 15, "it is banned")
    refused = on_client("ssh", *QUIET, "-b", SCANNER, "-o", "BatchMode=yes", f"root@{address}", "true")
    assert "Connection refused" in refused.stderr
    assert scanner("/healthz") == 0, "from ssh alone"


def test_an_address_of_ipv6_is_banned(host, hardened):
    within(lambda: host.run(f"fail2ban-client set {JAIL} banip 2001:db8::7").rc == 0, 15, "fail2ban is there")
    bans = "nft list table inet f2b-table"
    within(lambda: "2001:db8::7" in host.check_output(bans), 10, "it is banned")
    host.check_output(f"fail2ban-client set {JAIL} unbanip 2001:db8::7")
    within(lambda: "2001:db8::7" not in host.check_output(bans), 10, "it is not any more")


def test_the_firewall_opens_what_nginx_listens_on(host):
    opened = re.findall(r"^\s+(tcp|udp) dport (.+?) accept", host.check_output("nft list table inet djangofleet"), re.M)
    assert ("tcp", "{ 80, 443 }") in opened
