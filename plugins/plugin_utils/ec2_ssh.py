# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How ssh reaches instances and knows them: by the id of the instance, whatever its address is today."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2 import JUMP

BEGINNING = "# Host keys of instances by their ids, read from their consoles. Kept by playbooks/ec2.yml.\n"
IDENTITY = re.compile(r"i-[0-9a-f]{8,17}")


def arguments(
    hostvars: Mapping[str, Any], identity: str, address: str, file: str, groups: Mapping[str, Sequence[str]]
) -> str:
    """What ssh needs to know about an instance: C(ansible_ssh_common_args).

    One without an address outside is reached by way of the first one that has one and that the others let in.

    :param hostvars: those of the inventory C(amazon.aws.aws_ec2), with C(aws_) before what Amazon says.
    :param identity: the id of the instance.
    :param address: its address outside; empty where it has none.
    :param file: the file of host keys.
    """
    found = _believed(identity, file)
    public = [hostvars[name] for name in sorted(groups.get("ec2", [])) if hostvars[name].get("aws_public_ip_address")]
    if address or not public:
        return shlex.join(found)
    jump = next((each for each in public if _is_let_in(each)), public[0])
    where = [*_believed(str(jump["aws_instance_id"]), file), "-p", str(jump.get("ansible_port") or 22), "-W", "%h:%p"]
    if key := jump.get("ansible_ssh_private_key_file"):
        where += ["-i", str(key)]
    command = shlex.join(["ssh", *where, f"{jump.get('ansible_user', 'admin')}@{jump['ansible_host']}"])
    return shlex.join([*found, "-o", f"ProxyCommand={command}"])


def _is_let_in(host: Mapping[str, Any]) -> bool:
    """Whether an instance is in the security group that ssh of all others is open to."""
    groups = host.get("aws_security_groups") or []
    return any(str(group.get("group_name", "")).endswith(f"-{JUMP}") for group in groups)


def _believed(identity: str, file: str) -> list[str]:
    """No other key than the one of this instance, and no question."""
    path = f'"{file}"' if " " in file else file  # several files may stand there
    words = ["StrictHostKeyChecking=yes", f"UserKnownHostsFile={path}", f"HostKeyAlias={identity}", "UpdateHostKeys=no"]
    return [part for word in words for part in ("-o", word)]


def known(text: str) -> set[str]:
    """The instances that a file has keys of."""
    return {line.split()[0] for line in text.splitlines() if IDENTITY.match(line)}


def known_hosts(text: str, keys: Mapping[str, Iterable[str]], living: Iterable[str]) -> str:
    """The file with what has been learnt, and without the instances that are gone.

    :param text: the file as it is.
    :param keys: by the id of an instance, its keys as sshd prints them.
    :param living: the ids of all instances of the environment.
    """
    alive, lines = set(living), set()
    for line in text.splitlines():
        identity = line.split(" ")[0]
        if IDENTITY.fullmatch(identity) and identity in alive and identity not in keys:
            lines.add(line.strip())
    for identity, own in keys.items():
        lines |= {f"{identity} {' '.join(key.split()[:2])}" for key in own if identity in alive}
    foreign = [
        line for line in text.splitlines() if line.strip() and not IDENTITY.match(line) and not line.startswith("#")
    ]
    return BEGINNING + "".join(f"{line}\n" for line in [*foreign, *sorted(lines)])
