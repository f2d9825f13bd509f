# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role host about the ssh daemon: what it is told, and what would lock out who is at work.

C(options) are the role's variables by name, as the role's spec means them. The host tries the outcome as well before it
is put in place (C(files/sshd_trial.py)): only there it is known how somebody came, and what else sshd is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_port, matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem

DAEMON = "/usr/sbin/sshd"
CONFIGURATION = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh/sshd_config.d"
# sshd goes by what it reads first, and cloud-init has a file 50-cloud-init.conf that may allow passwords.
DROP_IN = "etc/ssh/sshd_config.d/00-djangofleet.conf"
INCLUDE = re.compile(rf"^[ \t]*Include[ \t]+(?:\S+[ \t]+)*{DIRECTORY}/\*\.conf\b", re.IGNORECASE | re.MULTILINE)
MATCH = re.compile(r"^[ \t]*Match\b", re.IGNORECASE | re.MULTILINE)

# What is told of algorithms follows ssh-audit's hardening guides for Debian 12 and 13, which follow Mozilla's guideline
# for OpenSSH where that is newer. Algorithms of host keys and of users' keys stay the distribution's: who has another
# key of the host on record, or an older one, would be locked out.
KEY_EXCHANGES = (
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)
POST_QUANTUM = "mlkem768x25519-sha256"  # from OpenSSH 9.9 on; sshd 9.2 of Debian 12 does not start with it
DEFAULTS: dict[str, Any] = {
    "PasswordAuthentication": False,
    "KbdInteractiveAuthentication": False,
    "PermitEmptyPasswords": False,
    "PermitRootLogin": "prohibit-password",
    # A client offers all keys of its agent, one a try: fewer would refuse somebody with several keys.
    "MaxAuthTries": 6,
    "LoginGraceTime": 30,
    "MaxStartups": "10:30:60",
    "X11Forwarding": False,
    "AllowAgentForwarding": False,
    "Ciphers": ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"],
    "MACs": ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"],
}
JOINED_BY_COMMAS = {
    "kexalgorithms",
    "ciphers",
    "macs",
    "hostkeyalgorithms",
    "pubkeyacceptedalgorithms",
    "hostbasedacceptedalgorithms",
    "casignaturealgorithms",
}
# A list of these is a line for each.
REPEATED = {"port", "listenaddress", "hostkey", "hostcertificate"}
# They would change what the lines below them mean, those of other files as well.
REFUSED = {"match", "include"}


class Login(NamedTuple):
    """How Ansible is connected, as far as the controller knows."""

    user: str = ""  # empty where nobody said
    port: int = 22
    by_password: bool = False


def settings(options: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What sshd is told, by keyword. The user's value wins, whatever the case of its keyword; nothing takes it out."""
    version = str(facts.get("distribution_major_version", ""))
    newer = version.isdigit() and int(version) >= 13 and facts.get("distribution") == "Debian"
    found = {**DEFAULTS, "KexAlgorithms": [POST_QUANTUM] * newer + list(KEY_EXCHANGES)}
    if options["host_ssh_allowed_users"]:
        found["AllowUsers"] = options["host_ssh_allowed_users"]
    if options["host_ssh_allowed_groups"]:
        found["AllowGroups"] = options["host_ssh_allowed_groups"]
    names = {name.lower(): name for name in found}
    for keyword, value in options["host_ssh_settings"].items():
        found[names.get(keyword.lower(), keyword)] = value
    return {keyword: value for keyword, value in found.items() if value is not None}


def said(value: Any) -> str:
    """A single value in sshd's words."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def lines(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The lines of the drop-in."""
    found = []
    for keyword, value in sorted(settings(options, facts).items()):
        words = [said(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        if keyword.lower() in JOINED_BY_COMMAS:
            words = [",".join(words)]
        elif keyword.lower() not in REPEATED:
            words = [" ".join(words)]
        found += [f"{keyword} {word}" for word in words if word]
    return found


def entries(options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The drop-in, on a host that has sshd."""
    if not (survey.get("paths") or {}).get(DAEMON):
        return []
    return [{"path": f"/{DROP_IN}", "template": f"{DROP_IN}.j2", "vars": {"lines": lines(options, facts)}}]


# --- what is wrong with the input -------------------------------------------------------------------------------------


def value_problems(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with single values."""
    for name in ("host_ssh_allowed_users", "host_ssh_allowed_groups"):
        for number, value in enumerate(options[name]):
            if not re.fullmatch(r"[^\s\"'\\#\x00-\x1f\x7f]+", value):
                yield problem(f"{name}[{number}]", value, "a name or a pattern such as deploy or *@192.0.2.0/24")
    seen: set[str] = set()
    for keyword, value in options["host_ssh_settings"].items():
        where = f"host_ssh_settings[{keyword}]"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", keyword):
            yield problem("host_ssh_settings", keyword, "keywords of sshd_config(5), such as MaxAuthTries")
        elif keyword.lower() in REFUSED:
            yield problem(where, value, "a file of your own in /etc/ssh/sshd_config.d, which may have such a block")
        elif keyword.lower() in seen:
            yield problem("host_ssh_settings", keyword, "each keyword once, whatever its case")
        elif value is not None and not _is_value(value):
            yield problem(where, value, "a text of one line, a number, true or false, or a list of such")
        elif keyword.lower() == "port" and not all(is_port(port) for port in as_list(value)):
            yield problem(where, value, "a port from 1 to 65535, or a list of such")
        seen.add(keyword.lower())


def as_list(value: Any) -> list[Any]:
    """A value as a list of its items."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _is_value(value: Any) -> bool:
    items = as_list(value)
    plain = all(isinstance(item, (str, int, bool)) for item in items)
    return bool(items) and plain and all(matches("unquoted", item) and "#" not in str(item) for item in items)


def setting(found: Mapping[str, Any], keyword: str) -> Any:
    """A setting by its keyword, whatever the case."""
    return next((value for name, value in found.items() if name.lower() == keyword.lower()), None)


def lock_outs(options: Mapping[str, Any], facts: Mapping[str, Any], login: Login) -> Iterator[str]:
    """By what the connection in use could not be made again, as far as it shows on the controller."""
    found = settings(options, facts)
    words = {
        keyword: said(setting(found, keyword) or False)
        for keyword in ("PasswordAuthentication", "KbdInteractiveAuthentication")
    }
    if login.by_password and set(words.values()) == {"no"}:
        yield problem(
            "ansible_password",
            "(not shown)",
            "a key: Ansible logs in by password, which host_ssh_enabled ends. Bring the user's key to the host first,"
            " or keep passwords: host_ssh_settings: {PasswordAuthentication: true}",
        )
    root = said(setting(found, "PermitRootLogin"))
    if login.user == "root" and root == "no":
        wanted = "prohibit-password, or let Ansible connect as another user: it is connected as root"
        yield problem("host_ssh_settings[PermitRootLogin]", root, wanted)
    ports = [int(port) for port in as_list(setting(found, "Port"))]
    if ports and login.port not in ports:
        wanted = f"{login.port} too until Ansible connects to another port: it is connected to {login.port}"
        yield problem("host_ssh_settings[Port]", ports, wanted)
    closed = sorted(set(ports) - set(options["host_firewall_ssh_ports"]))
    if closed and options["host_firewall_enabled"]:
        wanted = f"{', '.join(str(port) for port in closed)} too, where sshd is to listen (host_ssh_settings)"
        yield problem("host_firewall_ssh_ports", options["host_firewall_ssh_ports"], wanted)


def unread(survey: Mapping[str, Any]) -> list[str]:
    """Whether the host's own configuration leaves the drop-in unread. What it says before is found by the trial."""
    text = (survey.get("files") or {}).get(CONFIGURATION, "")
    if not (survey.get("paths") or {}).get(DAEMON) or not text.strip() or INCLUDE.search(MATCH.split(text)[0]):
        return []
    line = f"Include {DIRECTORY}/*.conf"
    wanted = f"false, or put the line '{line}' at the top of {CONFIGURATION} on the host, as Debian has it"
    return [problem("host_ssh_enabled", True, wanted)]
