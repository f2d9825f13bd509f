"""What sshd is told, and who would be locked out: on the controller, and by the trial on the host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import host, host_ssh
from ansible_collections.djangofleet.stack.plugins.plugin_utils.host_ssh import Login
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, options_of
from loading import load

DEFAULTS = {
    **yaml.safe_load((ROLES / "host/defaults/main.yml").read_text()),
    "host_firewall_allowed_tcp_ports": [80, 443],
    "host_firewall_allowed_udp_ports": [],
    "host_ssh_enabled": True,
}
FACTS = {release: {"distribution": "Debian", "distribution_major_version": release} for release in ("12", "13")}


trial = load("roles/host/files/sshd_trial.py")


def options(**given: Any) -> dict[str, Any]:
    return options_of("host", {**DEFAULTS, **given})


def problems(
    login: Login | None = None, connection: str = "ssh", survey: dict[str, Any] | None = None, **given: Any
) -> list[str]:
    return host.problems({**DEFAULTS, **given}, FACTS["13"], survey or {}, connection, login or Login("root"))


# --- what sshd is told ------------------------------------------------------------------------------------------------


def test_nobody_gets_in_by_password():
    lines = host_ssh.lines(options(), FACTS["13"])
    for line in ("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitEmptyPasswords no",
                 "PermitRootLogin prohibit-password", "X11Forwarding no", "AllowAgentForwarding no"):  # fmt: skip
        assert line in lines


@pytest.mark.parametrize(("release", "first"), [("12", "sntrup761x25519-sha512"), ("13", "mlkem768x25519-sha256")])
def test_the_key_exchange_is_one_that_the_release_knows(release, first):
    (line,) = [line for line in host_ssh.lines(options(), FACTS[release]) if line.startswith("KexAlgorithms ")]
    assert line.split()[1].startswith(first)
    assert ("mlkem" in line) == (release == "13")


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"PasswordAuthentication": True}, ["PasswordAuthentication yes"]),
        ({"passwordauthentication": "yes"}, ["PasswordAuthentication yes"]),
        ({"PasswordAuthentication": None}, []),
        ({"Port": [22, 2222]}, ["Port 22", "Port 2222"]),
        ({"Ciphers": ["a", "b"]}, ["Ciphers a,b"]),
        ({"Ciphers": "a,b"}, ["Ciphers a,b"]),
        ({"AllowUsers": ["a", "b@192.0.2.1"]}, ["AllowUsers a b@192.0.2.1"]),
        ({"MaxAuthTries": 3}, ["MaxAuthTries 3"]),
    ],
)
def test_a_setting_of_the_user_wins(settings, wanted):
    lines = host_ssh.lines(options(host_ssh_settings=settings), FACTS["13"])
    keyword = next(iter(settings)).lower()
    assert [line for line in lines if line.lower().startswith(f"{keyword} ")] == wanted


def test_users_and_groups():
    given = {"host_ssh_allowed_users": ["deploy", "*@192.0.2.0/24"], "host_ssh_allowed_groups": "wheel"}
    lines = host_ssh.lines(options(**given), FACTS["13"])
    assert {"AllowUsers deploy *@192.0.2.0/24", "AllowGroups wheel"} <= set(lines)
    assert not [line for line in host_ssh.lines(options(), FACTS["13"]) if line.startswith("Allow") and "Users" in line]


def test_a_host_without_sshd_is_left_alone():
    paths = [each["path"] for each in host.entries(options(), FACTS["13"], {"paths": {host_ssh.DAEMON: []}})]
    assert f"/{host_ssh.DROP_IN}" not in paths
    there = {"paths": {host_ssh.DAEMON: [host_ssh.DAEMON]}}
    assert f"/{host_ssh.DROP_IN}" in [each["path"] for each in host.entries(options(), FACTS["13"], there)]
    off = options(host_ssh_enabled=False)
    assert f"/{host_ssh.DROP_IN}" not in [each["path"] for each in host.entries(off, FACTS["13"], there)]
    assert host_ssh.DAEMON in host.questions(DEFAULTS, FACTS["13"])["paths"]


def test_the_file_comes_before_that_of_cloud_init(render):
    text = render("host", f"{host_ssh.DROP_IN}.j2", lines=["PasswordAuthentication no"])
    assert text.splitlines()[-1] == "PasswordAuthentication no"
    assert sorted(["50-cloud-init.conf", Path(host_ssh.DROP_IN).name])[0] == Path(host_ssh.DROP_IN).name


# --- what the controller refuses --------------------------------------------------------------------------------------

REFUSED = {
    "keyword": ({"host_ssh_settings": {"Max Auth": 1}}, "host_ssh_settings: found 'Max Auth'"),
    "match": ({"host_ssh_settings": {"Match": "all"}}, "host_ssh_settings[Match]"),
    "include": ({"host_ssh_settings": {"include": "/x"}}, "host_ssh_settings[include]"),
    "twice": ({"host_ssh_settings": {"Port": 22, "port": 22}}, "give each keyword once"),
    "lines": ({"host_ssh_settings": {"Banner": "a\nPermitRootLogin yes"}}, "host_ssh_settings[Banner]"),
    "comment": ({"host_ssh_settings": {"Banner": "a # b"}}, "host_ssh_settings[Banner]"),
    "mapping": ({"host_ssh_settings": {"Banner": {"a": 1}}}, "host_ssh_settings[Banner]"),
    "empty": ({"host_ssh_settings": {"AllowUsers": []}}, "host_ssh_settings[AllowUsers]"),
    "port": ({"host_ssh_settings": {"Port": "ssh"}}, "host_ssh_settings[Port]: found 'ssh'"),
    "user": ({"host_ssh_allowed_users": ["a b"]}, "host_ssh_allowed_users[0]: found 'a b'"),
    "group": ({"host_ssh_allowed_groups": [""]}, "host_ssh_allowed_groups[0]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_values_are_refused(name):
    given, wanted = REFUSED[name]
    (line,) = problems(**given)
    assert wanted in line
    assert "; give " in line
    assert problems(**given, host_ssh_enabled=False) == []


@pytest.mark.parametrize(
    ("login", "given", "wanted"),
    [
        (Login("root"), {}, ""),
        (Login("root", by_password=True), {}, "ansible_password: found '(not shown)'; give a key"),
        (Login("root", by_password=True), {"host_ssh_settings": {"PasswordAuthentication": True}}, ""),
        (Login("root"), {"host_ssh_settings": {"PermitRootLogin": False}}, "host_ssh_settings[PermitRootLogin]"),
        (Login("root"), {"host_ssh_settings": {"permitrootlogin": "no"}}, "host_ssh_settings[PermitRootLogin]"),
        (Login("maria"), {"host_ssh_settings": {"PermitRootLogin": False}}, ""),
        (Login(), {"host_ssh_settings": {"PermitRootLogin": False}}, ""),
        (
            Login("root"),
            {"host_ssh_settings": {"Port": [22, 2222]}},
            "host_firewall_ssh_ports: found '[22]'; give 2222",
        ),
        (Login("root"), {"host_ssh_settings": {"Port": [22, 2222]}, "host_firewall_ssh_ports": [22, 2222]}, ""),
        (Login("root"), {"host_ssh_settings": {"Port": 2222}, "host_firewall_ssh_ports": [22, 2222]}, "give 22 too"),
        (Login("root", 2222), {"host_ssh_settings": {"Port": 2222}, "host_firewall_ssh_ports": [2222]}, ""),
    ],
)
def test_what_would_end_the_way_in_is_refused(login, given, wanted):
    found = problems(login, **given)
    assert wanted in found[0] if wanted else found == [], found
    assert len(found) <= 1
    assert [line for line in problems(login, "community.docker.docker", **given) if "password" in line] == []


CONFIGURATION = "# Comment\n\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (CONFIGURATION, True),
        ("  include /etc/ssh/mine.conf /etc/ssh/sshd_config.d/*.conf\n", True),
        ("Port 22\n", False),
        ("Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\n", True),  # the trial sees whether that matters
        ("#Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", False),
        ("Match all\n Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("", True),  # not there: nothing is known
    ],
)
def test_a_configuration_that_does_not_read_the_file_is_refused(text, good):
    survey = {"paths": {host_ssh.DAEMON: [host_ssh.DAEMON]}, "files": {host_ssh.CONFIGURATION: text}}
    assert (problems(survey=survey) == []) == good
    assert problems(survey={**survey, "paths": {host_ssh.DAEMON: []}}) == []


# --- what the trial on the host refuses -------------------------------------------------------------------------------

BY_KEY = trial.Login("maria", "192.0.2.9", "192.0.2.1", 22, "publickey")
ROOT = trial.Login("root", "192.0.2.9", "192.0.2.1", 22, "publickey")
PERSON = trial.Account(1000, ("maria", "staff"), True)
EFFECTIVE = """port 22
listenaddress [::]:22
listenaddress 0.0.0.0:22
permitrootlogin without-password
pubkeyauthentication yes
passwordauthentication no
kbdinteractiveauthentication no
authenticationmethods any
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
"""


def refused(more: str = "", login: Any = BY_KEY, account: Any = PERSON, before: str = "") -> list[str]:
    """The keywords that are refused, of settings that are overruled by more lines."""
    found = trial.parse(EFFECTIVE) | trial.parse(more)
    lines = list(trial.lock_outs(found, login, account, trial.parse(EFFECTIVE) | trial.parse(before)))
    assert all(f"Ansible is connected as {login.user}" in line and "; give " in line for line in lines)
    return [line.partition(":")[0] for line in lines]


def by(method: str, login: Any = BY_KEY) -> Any:
    return trial.Login(login.user, login.address, login.own_address, login.own_port, method)


NO_KEYS = trial.Account(1000, ("maria",), False)
ADMIN = trial.Account(0, ("root",), True)


@pytest.mark.parametrize(
    ("more", "login", "account", "wanted"),
    [
        ("", BY_KEY, PERSON, []),
        ("", ROOT, ADMIN, []),
        ("permitrootlogin no", ROOT, ADMIN, ["PermitRootLogin"]),
        ("permitrootlogin forced-commands-only", ROOT, ADMIN, ["PermitRootLogin"]),
        ("permitrootlogin no", BY_KEY, PERSON, []),
        ("", by("password", ROOT), ADMIN, ["PermitRootLogin", "passwordauthentication"]),
        ("permitrootlogin yes\npasswordauthentication yes", by("password", ROOT), ADMIN, []),
        ("", by("password"), PERSON, ["passwordauthentication"]),
        ("", by("keyboard-interactive"), PERSON, ["kbdinteractiveauthentication"]),
        ("pubkeyauthentication no", BY_KEY, PERSON, ["pubkeyauthentication"]),
        ("authenticationmethods publickey,password", BY_KEY, PERSON, ["AuthenticationMethods"]),
        ("authenticationmethods publickey,password publickey", BY_KEY, PERSON, []),
        ("", BY_KEY, NO_KEYS, ["AuthorizedKeysFile"]),
        ("", by(""), NO_KEYS, ["AuthorizedKeysFile"]),
        ("", by(""), PERSON, []),
        ("passwordauthentication yes", by(""), NO_KEYS, []),
        ("allowusers deploy", BY_KEY, PERSON, ["AllowUsers"]),
        ("allowusers deploy\nallowusers mar*", BY_KEY, PERSON, []),
        ("allowusers maria@192.0.2.0/24", BY_KEY, PERSON, []),
        ("allowusers maria@198.51.100.*", BY_KEY, PERSON, ["AllowUsers"]),
        ("allowusers !maria *", BY_KEY, PERSON, ["AllowUsers"]),
        ("denyusers maria", BY_KEY, PERSON, ["DenyUsers"]),
        ("denyusers root", BY_KEY, PERSON, []),
        ("allowgroups wheel", BY_KEY, PERSON, ["AllowGroups"]),
        ("allowgroups wheel staff", BY_KEY, PERSON, []),
        ("denygroups staff", BY_KEY, PERSON, ["DenyGroups"]),
        ("listenaddress 0.0.0.0:2222", BY_KEY, PERSON, ["ListenAddress"]),
        ("listenaddress 192.0.2.1:22", BY_KEY, PERSON, []),
        ("listenaddress 192.0.2.2:22", BY_KEY, PERSON, ["ListenAddress"]),
    ],
)
def test_who_is_at_work_is_not_locked_out(more, login, account, wanted):
    assert refused(more, login, account) == wanted


@pytest.mark.parametrize(
    ("key", "accepted", "wanted"),
    [
        ("ED25519", "ssh-ed25519,rsa-sha2-512", True),
        ("RSA", "ssh-ed25519,rsa-sha2-512", True),
        ("RSA", "ssh-ed25519", False),
        ("ECDSA", "ssh-ed25519,sk-ecdsa-sha2-nistp256@openssh.com", False),
        ("ED25519-SK", "ssh-ed25519", False),
        ("ED25519-SK", "sk-ssh-ed25519@openssh.com", True),
        ("ED25519-CERT", "ssh-ed25519", False),
        ("ED25519-CERT", "ssh-ed25519-cert-v01@openssh.com", True),
        ("", "ssh-ed25519", True),
        ("XMSS", "ssh-ed25519", True),
    ],
)
def test_the_key_somebody_came_by_stays_good(key, accepted, wanted):
    login = BY_KEY.__class__(BY_KEY.user, BY_KEY.address, BY_KEY.own_address, BY_KEY.own_port, "publickey", key)
    found = refused(f"pubkeyacceptedalgorithms {accepted}", login)
    assert found == ([] if wanted else ["PubkeyAcceptedAlgorithms"])


def test_who_came_by_several_methods_comes_by_them_again():
    """The journal has the last of them."""
    both = "authenticationmethods publickey,keyboard-interactive\nkbdinteractiveauthentication yes"
    assert refused(both, by("keyboard-interactive"), before=both) == []
    assert refused(both, by("keyboard-interactive")) == ["AuthenticationMethods"]


def test_what_another_file_says_before_is_told():
    alone = trial.parse("passwordauthentication no\nport 22\n")
    (line,) = trial.overruled(
        "# x\nPasswordAuthentication no\nPort 22\n", alone, trial.parse("passwordauthentication yes\nport 22\nport 23")
    )
    assert line.startswith("passwordauthentication: found 'yes'; give ")
    assert list(trial.overruled("PasswordAuthentication no\n", alone, alone)) == []


@pytest.mark.parametrize(("text", "wanted"), [("", False), ("\n# none\n", False), ("ssh-ed25519 AAAA x\n", True)])
def test_a_file_of_keys_has_one(tmp_path, text, wanted):
    (tmp_path / "keys").write_text(text)
    assert trial.has_key(str(tmp_path / "keys")) is wanted
    assert trial.has_key(str(tmp_path / "none")) is False


def test_what_another_user_logs_as_sshd_does_not_count(monkeypatch):
    asked = []

    def run(words, **more):
        asked.extend(words)
        line = "Accepted publickey for maria from 192.0.2.9 port 4242 ssh2: ED25519 SHA256:x"
        return subprocess.CompletedProcess(words, 0, stdout=f"{line}\n")

    monkeypatch.setattr(trial.subprocess, "run", run)
    assert trial.method_of("maria", "192.0.2.9", "4242") == ("publickey", "ED25519")
    assert "_UID=0" in asked


def test_the_connection_is_that_of_the_sessions_first_process(monkeypatch):
    """sudo drops SSH_CONNECTION, and the daemon above may have been started over ssh itself."""
    processes = {
        9: ("python3", {}),
        8: ("sudo", {"LOGNAME": "root"}),
        7: ("sh", {"SSH_CONNECTION": "a 1 b 22", "LOGNAME": "maria"}),
        6: ("sshd-session", {}),
        5: ("sshd", {"SSH_CONNECTION": "c 1 d 22", "LOGNAME": "root"}),
    }
    monkeypatch.setattr(trial, "above", lambda process: [(each, processes[each][0]) for each in range(process, 4, -1)])
    monkeypatch.setattr(trial, "environment_of", lambda process: processes[process][1])
    assert trial.connection(9) == ("maria", ["a", "1", "b", "22"])
    processes[7] = ("sh", {})
    assert trial.connection(9) is None
