# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What role certificate writes on a host, for djangofleet.stack.tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import (
    authority_paths,
    certificates,
    paths,
    provided,
    selfsigned,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_plan import Held
from ansible_collections.djangofleet.stack.plugins.plugin_utils.x509 import Certificate


def between(options: Mapping[str, Any]) -> str:
    """What a client needs besides the leaf: the authorities between it and the root."""
    chain = Certificate.all_of(options["certificate_authority_certificate"])
    return "".join(certificate.pem for certificate in chain if not certificate.is_root)


def entries(
    options: Mapping[str, Any],
    files: Mapping[str, str],
    answers: Mapping[str, Any],
    planned: Mapping[str, Any],
    keys: Mapping[str, str],
    signed: Mapping[str, str],
) -> list[dict[str, Any]]:
    """All that lies on the host, for djangofleet.stack.tree.

    A certificate that stays is written as it was read, so that the stamp knows of it: when a run breaks off before
    units have loaded a new one, the next run makes up for it.

    :param planned: what C(plan) gave.
    :param keys: the keys that have been made, in PEM by name.
    :param signed: the certificates that have been issued, in PEM by name. In check mode none has.
    """
    made = {one["name"]: keys.get(one["name"], "") for one in planned["new_keys"]}
    issued = {one["name"]: signed.get(one["name"], "") for one in planned["requests"]}
    found = [{"path": options["certificate_directory"], "directory": True}]
    if planned["authority"] or planned["signer"]:
        found.append({"path": options["certificate_authority_directory"], "directory": True})
        name = options["certificate_authority_directory"]
        given = options["certificate_authority_certificate"]
        found += _pair(authority_paths(options), made.get(name, ""), given or issued.get(name, planned["signer"]))
    for _path, item in certificates(options):
        found.append({"path": f"{options['certificate_directory']}/{item['name']}", "directory": True})
    for one in provided(options, files):
        found += _pair(paths(options, one.item["name"]), one.content("key"), one.content("chain"), _group(one.item))
    further = between(options)
    for item in selfsigned(options):
        name = item["name"]
        if name in planned.get("left", []):
            continue
        held = Held.of(answers, name).certificate
        leaf = issued.get(name, held.pem if held else "")
        found += _pair(paths(options, name), made.get(name, ""), leaf and leaf + further, _group(item))
    return found


def _group(item: Mapping[str, Any]) -> str:
    return item.get("key_group", "")


def _pair(where: tuple[str, str], key: str, chain: str, group: str = "") -> list[dict[str, Any]]:
    """A key and a chain, both or neither; a key that is not given is left as it is on the host.

    :param group: who may read the key beside root; empty for nobody.
    """
    if not chain:
        return []
    access = {"mode": "0640", "group": group} if group else {"mode": "0600"}
    found = [{"path": where[0], "content": key, "sensitive": True, **access}] if key else []
    return [*found, {"path": where[1], "content": chain}]
