# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a server of the roles postgresql and redis listens for other hosts, and by which certificate they know it.

Both have the same variables for it, after their own names: those of the inventory, and those that a playbook wires.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address


def addresses(role: str, options: Mapping[str, Any]) -> list[str]:
    """Where the server listens beside its unix socket: for the inventory's clients, and for those that are wired."""
    wired = options[f"{role}_app_server"].get("listen_addresses", ())
    return list(dict.fromkeys([*options[f"{role}_listen_addresses"], *wired]))


def pair(role: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """The certificate and the key of the server, the inventory's before the wired ones; empty for none."""
    given = options[f"{role}_certificate_file"], options[f"{role}_key_file"]
    wired = options[f"{role}_app_server"]
    return given if any(given) else (wired.get("certificate_file", ""), wired.get("key_file", ""))


def pair_problems(role: str, options: Mapping[str, Any]) -> Iterator[str]:
    """A certificate without its key, or a key without its certificate."""
    files = {name: options[f"{role}_{name}_file"] for name in ("certificate", "key")}
    for name, other in (("certificate", "key"), ("key", "certificate")):
        if files[other] and not files[name]:
            yield f"{role}_{name}_file: is missing beside {role}_{other}_file; give both or neither"


def address_problems(title: str, addresses: Sequence[str], facts: Mapping[str, Any]) -> Iterator[str]:
    """Where a server is to listen for apps on other hosts, and cannot, since its host has no such address.

    :param title: of the server.
    :param facts: C(ansible_facts) of the host; nothing is compared without its addresses.
    """
    own = [*facts.get("all_ipv4_addresses", ()), *facts.get("all_ipv6_addresses", ())]
    known = {ipaddress.ip_address(address) for address in own if is_address(address)}
    for address in filter(is_address, addresses):
        if known and ipaddress.ip_address(address) not in known:
            yield (
                f"host_private_address: {title} is to listen at {address} for apps on other hosts, and the host has "
                f"{', '.join(own)} alone, as behind NAT; give the one of these that the other hosts reach"
            )
