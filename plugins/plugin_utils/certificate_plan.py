# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which certificates role certificate issues on a host, and why.

C(answers) are the C(certificates) that djangofleet.stack.survey found there.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import (
    authority_paths,
    domains,
    has_authority,
    paths,
    selfsigned,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address
from ansible_collections.djangofleet.stack.plugins.plugin_utils.x509 import (
    DAY,
    Certificate,
    is_of_kind,
    key_identifier,
    name_of,
    public_bytes,
    public_key,
)

LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name
NOTHING = {"modes": "", "public_key": "", "certificate": ""}


def key_mode(group: str) -> str:
    """The mode, owner and group of a key, as djangofleet.stack.survey tells it.

    :param group: who may read it beside root; empty for nobody.
    """
    return f"640:root:{group}" if group else "600:root:root"


def modes(group: str = "") -> str:
    """Those of a key and its certificate."""
    return f"{key_mode(group)} 644:root:root"


@dataclass(frozen=True)
class Held:
    """A key and a certificate as they lie on the host. What cannot be read counts as missing."""

    modes: str
    key: Any
    certificate: Certificate | None

    @classmethod
    def of(cls, answers: Mapping[str, Any], name: str) -> Held:
        found = {**NOTHING, **answers.get(name, {})}
        try:
            key = public_key(found["public_key"])
            certificate = next(iter(Certificate.all_of(found["certificate"])), None)
        except ValueError:
            key = certificate = None
        return cls(found["modes"], key, certificate)

    @property
    def is_whole(self) -> bool:
        return self.key is not None and self.certificate is not None

    @property
    def fits(self) -> bool:
        return self.is_whole and public_bytes(self.key) == self.certificate.public_key

    def key_is_open(self, group: str) -> bool:
        """Whether others than root and that group may have the key in their hands."""
        return self.key is not None and not self.modes.startswith(f"{key_mode(group)} ")


@dataclass(frozen=True)
class Authority:
    """Who signs: its name and the identifier of its key, as certificates name them. A new key has none yet."""

    subject: Any
    identifier: bytes | None
    is_there: bool = True
    pem: str = ""

    @classmethod
    def of(cls, certificate: Certificate) -> Authority:
        return cls(certificate.subject, certificate.key_identifier, pem=certificate.pem)

    def signed(self, found: Certificate) -> bool:
        return found.signer_identifier == self.identifier and found.issuer == self.subject


def authority_name(options: Mapping[str, Any]) -> str:
    """The common name of the host's own authority."""
    return options["certificate_authority_name"][:LONGEST_COMMON_NAME]


def authority_reasons(options: Mapping[str, Any], held: Held, now: datetime.datetime) -> list[str]:
    """Why the host's own authority is issued; empty when it is as it should be."""
    if not held.is_whole:
        return ["there is none yet"]
    return _true(
        {
            "its key is another one": not held.fits,
            "its name is another one": held.certificate.common_name != authority_name(options),
            **_ends_soon(held.certificate, options, now),
            "the modes of its files are wrong": held.modes != modes(),
        }
    )


def reasons(
    item: Mapping[str, Any], options: Mapping[str, Any], held: Held, authority: Authority, now: datetime.datetime
) -> list[str]:
    """Why a certificate is issued; empty when it is as it should be."""
    if not held.is_whole:
        return ["there is none yet"]
    if not authority.is_there:
        return ["there is no authority yet"]
    wanted, found = request(item, options), held.certificate
    return _true(
        {
            "it does not fit its key": not held.fits,
            "its key is of another kind": not is_of_kind(held.key, wanted["key_type"], wanted["key_size"]),
            f"its names are {', '.join(found.names)}": sorted(found.names) != sorted(wanted["subject_alt_name"]),
            "it is signed by another authority": not authority.signed(found),
            f"it is made for {found.days} days": found.days != wanted["days"],
            **_ends_soon(found, options, now),
            "the modes of its files are wrong": held.modes != modes(item.get("key_group", "")),
        }
    )


def is_anothers(item: Mapping[str, Any], held: Held, authority: Authority) -> bool:
    """Whether a pair is there that an ACME authority has signed: what this role signs never takes its place."""
    return item["source"] == "acme" and held.fits and not authority.signed(held.certificate)


def _true(reasons: Mapping[str, bool]) -> list[str]:
    return [reason for reason, holds in reasons.items() if holds]


def _ends_soon(found: Certificate, options: Mapping[str, Any], now: datetime.datetime) -> dict[str, bool]:
    days = options["certificate_renew_days"]
    return {f"fewer than {days} days are left": found.end < now + days * DAY}


def request(item: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a certificate of the role's authority is to be, in the terms of community.crypto.openssl_csr_pipe."""
    key_type = item.get("key_type", options["certificate_key_type"])
    names = domains(item)
    return {
        "name": item["name"],
        "key_path": paths(options, item["name"])[0],
        "key_group": item.get("key_group", ""),
        "key_type": key_type,
        "key_size": item.get("key_size", options["certificate_key_size"]),
        "days": item.get("days", options["certificate_days"]),
        "common_name": next((name for name in names if len(name) <= LONGEST_COMMON_NAME), item["name"]),
        "subject_alt_name": [f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names],
        "basic_constraints": ["CA:FALSE"],
        "key_usage": ["digitalSignature", *(["keyEncipherment"] if key_type == "rsa" else [])],
        "extended_key_usage": ["serverAuth"],
    }


def authority_request(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the host's own authority is to be; it is the name of no host."""
    return {
        "name": options["certificate_authority_directory"],
        "key_path": authority_paths(options)[0],
        "key_group": "",
        "key_type": "ecc",
        "key_size": 0,
        "days": options["certificate_authority_days"],
        "common_name": authority_name(options),
        "subject_alt_name": [],
        "basic_constraints": ["CA:TRUE", "pathlen:0"],
        "key_usage": ["keyCertSign", "cRLSign"],
        "extended_key_usage": [],
    }


def plan(
    options: Mapping[str, Any], answers: Mapping[str, Any], now: datetime.datetime, host: str = ""
) -> dict[str, Any]:
    """What is issued and why.

    :param host: the one that this is about, by the name that C(certificate_authority_host) may have.
    :returns: C(signer), the certificate of the authority that stays, in PEM, or nothing; C(authority), the request for
        a new one, in a list of one or none; C(certificates), a request for each; C(requests), both of them;
        C(new_keys) and C(open_keys), those of both whose key is made, and those whose key stays and has a wrong mode;
        C(left), the names of those that an ACME authority has signed; C(messages), a line for each.
    """
    items = selfsigned(options)
    signer, own = _authority(options, answers, now) if items or has_authority(options, host) else (None, [])
    pairs = [(item, Held.of(answers, item["name"])) for item in items]
    left = [item["name"] for item, held in pairs if is_anothers(item, held, signer)]
    pairs = [(item, held) for item, held in pairs if item["name"] not in left]
    judged = ((item, held, reasons(item, options, held, signer, now)) for item, held in pairs)
    signed = [_planned(request(item, options), held, found) for item, held, found in judged if found]
    requests = [*own, *signed]
    return {
        "signer": signer.pem if signer else "",
        "authority": own,
        "certificates": signed,
        "requests": requests,
        "new_keys": [one for one in requests if one["key"] == "new"],
        "open_keys": [one for one in requests if one["key"] == "open"],
        "left": left,
        "messages": [
            *(f"The authority of this host is issued: {'; '.join(one['reasons'])}." for one in own),
            *(f"Certificate {one['name']} is issued: {'; '.join(one['reasons'])}." for one in signed),
        ],
    }


def _planned(wanted: Mapping[str, Any], held: Held, found: list[str]) -> dict[str, Any]:
    """A request with its reasons, and what becomes of the key: one of the right kind is kept."""
    kept = held.key is not None and is_of_kind(held.key, wanted["key_type"], wanted["key_size"])
    return {
        **wanted,
        "reasons": found,
        "key": "new" if not kept else "open" if held.key_is_open(wanted["key_group"]) else "kept",
    }


def _authority(
    options: Mapping[str, Any], answers: Mapping[str, Any], now: datetime.datetime
) -> tuple[Authority, list[dict[str, Any]]]:
    """Who signs from now on, and the request for it if it is issued."""
    if options["certificate_authority_certificate"]:
        return Authority.of(Certificate.all_of(options["certificate_authority_certificate"])[0]), []
    held = Held.of(answers, options["certificate_authority_directory"])
    found = authority_reasons(options, held, now)
    if not found:
        return Authority.of(held.certificate), []
    planned = _planned(authority_request(options), held, found)
    return Authority(
        subject=name_of(planned["common_name"]),
        identifier=None if planned["key"] == "new" else key_identifier(held.key),
        is_there=held.certificate is not None,
    ), [planned]
