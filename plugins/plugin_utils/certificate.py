# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role certificate: what is wrong with its input, what is issued and why, and what lies where.

C(options) are the role's variables by name, as the role's spec means them. C(files) are files of the controller by the
path that a variable gives, C(answers) are the C(certificates) that djangofleet.stack.survey found on the host. Times
are aware of their zone.

The library cryptography comes with ansible-core.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address, is_domain, matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

LISTS = ("certificate_certificates", "certificate_app_certificates")  # the user's, and what apps are wired to
PARTS = ("key", "chain")
CURVE = "secp256r1"
KEY_MODE = "600:root:root"
MODES = f"{KEY_MODE} 644:root:root"
LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name
NOTHING = {"modes": "", "public_key": "", "certificate": ""}
BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
NO_PEM = "found what is no PEM, or is damaged"
DAY = datetime.timedelta(days=1)


# --- X.509 ------------------------------------------------------------------------------------------------------------


def blocks(text: str, kind: str) -> list[bytes]:
    """The PEM blocks of a text whose label ends with a word such as CERTIFICATE or PRIVATE KEY."""
    return [match[0].encode() for match in BLOCK.finditer(str(text)) if match[1].endswith(kind)]


@dataclass(frozen=True)
class Certificate:
    """What the rules want to know of a certificate."""

    certificate: x509.Certificate

    @classmethod
    def all_of(cls, text: str) -> list[Certificate]:
        """The certificates in a text.

        :raises ValueError: one of them is damaged.
        """
        return [cls(x509.load_pem_x509_certificate(block)) for block in blocks(text, "CERTIFICATE")]

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @cached_property
    def public_key(self) -> bytes:
        return public_bytes(self.certificate.public_key())

    @property
    def start(self) -> datetime.datetime:
        return self.certificate.not_valid_before_utc

    @property
    def end(self) -> datetime.datetime:
        return self.certificate.not_valid_after_utc

    @property
    def days(self) -> int:
        return round((self.end - self.start) / DAY)

    @property
    def common_name(self) -> str:
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @property
    def is_authority(self) -> bool:
        constraints = self._extension(ExtensionOID.BASIC_CONSTRAINTS)
        return bool(constraints and constraints.ca)

    @property
    def is_root(self) -> bool:
        return self.certificate.issuer == self.certificate.subject

    @property
    def names(self) -> list[str]:
        """The alternative names, such as DNS:shop.example.com and IP:10.0.0.1."""
        found = self._extension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME) or []
        return [named(name) for name in found]

    @property
    def key_identifier(self) -> bytes:
        found = self._extension(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
        return found.digest if found else key_identifier(self.certificate.public_key())

    @property
    def signer_identifier(self) -> bytes:
        found = self._extension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
        return (found.key_identifier if found else None) or b""

    def _extension(self, oid: x509.ObjectIdentifier) -> Any:
        try:
            return self.certificate.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            return None


def named(name: x509.GeneralName) -> str:
    """An alternative name as openssl and Ansible write it."""
    kind = {x509.DNSName: "DNS", x509.IPAddress: "IP"}.get(type(name), type(name).__name__)
    return f"{kind}:{name.value}"


def public_bytes(key: Any) -> bytes:
    """A public key, so that two can be compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_identifier(key: Any) -> bytes:
    """The identifier that certificates give a key."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def is_of_kind(key: Any, key_type: str, key_size: int) -> bool:
    """Whether a public key is what the role would make."""
    if key_type == "rsa":
        return isinstance(key, rsa.RSAPublicKey) and key.key_size == key_size
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == CURVE


def is_shortest_address(value: Any) -> bool:
    """Whether this is an address as certificates print it: in lower case, IPv6 with its zeros left out."""
    return is_address(value) and str(ipaddress.ip_address(str(value))) == str(value)


# --- the input --------------------------------------------------------------------------------------------------------


def certificates(options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All certificates, each with the path of its variable."""
    return [pair for name in LISTS for pair in labelled(name, options[name])]


def selfsigned(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The certificates that the role's authority signs."""
    return [item for _path, item in certificates(options) if item["source"] == "selfsigned"]


def domains(item: Mapping[str, Any]) -> list[str]:
    """The names of a certificate, each once and in lower case."""
    return list(dict.fromkeys(domain.lower() for domain in item["domains"]))


@dataclass(frozen=True)
class Provided:
    """A key and a chain that the user provides."""

    path: str
    item: Mapping[str, Any]
    files: Mapping[str, str]

    def option(self, part: str) -> str:
        """The option that gives a part: key_file or key_content, chain_file or chain_content."""
        return f"{part}_file" if f"{part}_file" in self.item else f"{part}_content"

    def where(self, part: str) -> str:
        """The path of that variable."""
        return f"{self.path}.{self.option(part)}"

    def content(self, part: str) -> str:
        """The text of a part; empty when its file is not there."""
        if f"{part}_file" in self.item:
            return self.files.get(self.item[f"{part}_file"], "")
        return self.item.get(f"{part}_content", "")

    def lacks(self, part: str, what: str) -> str:
        """The line about a part that holds nothing of what it should."""
        found = self.item.get(f"{part}_file", "the content")
        return f"{self.where(part)}: '{found}' holds no {what}, or is not there; give "


def provided(options: Mapping[str, Any], files: Mapping[str, str]) -> list[Provided]:
    """What the user provides, with the content of its files."""
    return [Provided(path, item, files) for path, item in certificates(options) if item["source"] == "files"]


def controller_paths(given: Mapping[str, Any]) -> list[str]:
    """The files of the controller that variables name; none as long as the variables make no sense."""
    options, found = resolve(spec_of("certificate"), given)
    if found:
        return []
    return [
        one.item[option]
        for one in provided(options, {})
        for option in (one.option(part) for part in PARTS)
        if option.endswith("_file") and option in one.item
    ]


# --- what is wrong with the input -------------------------------------------------------------------------------------


def problems(given: Mapping[str, Any], files: Mapping[str, str], now: datetime.datetime) -> list[str]:
    """What is wrong with the role's variables and with the files that they name, one line each."""
    options, found = resolve(spec_of("certificate"), given)
    if found:
        return found
    for path, item in certificates(options):
        found += _item_problems(path, item, options)
    found += _repeated(options)
    found += _authority_options_problems(options)
    if found:
        return found
    for one in provided(options, files):
        found += _provided_problems(one, now)
    return [*found, *_authority_problems(options, now)]


def _item_problems(path: str, item: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    if not matches("file_name", item["name"]):
        yield problem(
            f"{path}.name",
            item["name"],
            "letters, digits, '.', '-' and '_', not beginning with '.' or '-', since it becomes a directory",
        )
    if not item["domains"]:
        yield f"{path}.domains: is empty; give the names the certificate is for"
    for domain in (domain.lower() for domain in item["domains"]):
        if not is_domain(domain) and not is_shortest_address(domain):
            yield problem(
                f"{path}.domains",
                domain,
                "a host name (one with other letters as xn--...), a wildcard such as *.example.com, or an address (IPv6"
                " in its shortest form)",
            )
    given = [f"{part}_{form}" for part in PARTS for form in ("file", "content") if f"{part}_{form}" in item]
    if item["source"] == "files":
        for part in PARTS:
            found = [option for option in given if option.startswith(f"{part}_")]
            if len(found) != 1:
                yield f"{path}: found {' and '.join(found) or 'neither'}; give either {part}_file or {part}_content"
    elif given:
        yield f"{path}.{given[0]}: is given, but the source is selfsigned; set source to files, or drop it"
    else:
        yield from _renewed_in_each_run(f"{path}.days", item.get("days", options["certificate_days"]), options)


def _renewed_in_each_run(path: str, days: int, options: Mapping[str, Any]) -> Iterator[str]:
    if days <= options["certificate_renew_days"]:
        yield problem(
            path,
            days,
            f"more than certificate_renew_days ({options['certificate_renew_days']}), or it would be renewed in each"
            " run",
        )


def _repeated(options: Mapping[str, Any]) -> Iterator[str]:
    """Two certificates of one name would lie in one directory."""
    paths: dict[str, list[str]] = {}
    for path, item in certificates(options):
        paths.setdefault(item["name"], []).append(path)
    for name, found in paths.items():
        if len(found) > 1:
            yield f"{', '.join(dict.fromkeys(found))}: the name '{name}' is there twice; give each certificate its own"


def _authority_options_problems(options: Mapping[str, Any]) -> Iterator[str]:
    yield from _renewed_in_each_run("certificate_authority_days", options["certificate_authority_days"], options)
    if bool(options["certificate_authority_key"]) != bool(options["certificate_authority_certificate"]):
        yield (
            "certificate_authority_key, certificate_authority_certificate: only one of them is given; give both, or"
            " none for an authority of the host"
        )


def private_key(text: str) -> Any:
    """The private key in a text.

    :raises ValueError: it is damaged, or of no use.
    """
    try:
        return serialization.load_pem_private_key(blocks(text, "PRIVATE KEY")[0], password=None)
    except (IndexError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error


def _provided_problems(one: Provided, now: datetime.datetime) -> Iterator[str]:
    """What is wrong with a key and a chain: each has to be one, they have to fit, and to be of use today."""
    try:
        chain = Certificate.all_of(one.content("chain"))
    except ValueError:
        yield f"{one.where('chain')}: {NO_PEM}; give the chain as PEM, the leaf first"
        return
    if not chain:
        yield one.lacks("chain", "certificate") + "the chain as PEM, the leaf first"
    elif not blocks(one.content("key"), "PRIVATE KEY"):
        yield one.lacks("key", "private key") + "the key as PEM"
    elif "ENCRYPTED" in one.content("key"):
        yield (
            f"{one.where('key')}: the key has a passphrase, which nobody could type when a service starts; remove it"
            " (openssl pkey) and keep the key in Ansible Vault"
        )
    else:
        yield from _key_problems(one, chain)
        yield from _names_problems(one, chain[0])
        yield from _chain_problems(one.where("chain"), chain, now)


def _key_problems(one: Provided, chain: list[Certificate]) -> Iterator[str]:
    try:
        key = public_bytes(private_key(one.content("key")).public_key())
    except ValueError:
        yield f"{one.where('key')}: {NO_PEM}; give the key as PEM"
        return
    if key != chain[0].public_key:
        later = any(certificate.public_key == key for certificate in chain)
        advice = (
            "that of the key comes later in it: put it first"
            if later
            else "give the key that the certificate was made for"
        )
        yield (
            f"{one.where('key')}: does not fit the first certificate of {one.option('chain')}"
            f" ({', '.join(chain[0].names)}); {advice}"
        )


def covers(names: Iterable[str], domain: str) -> bool:
    """Whether alternative names are good for a domain: a wildcard stands for one label."""
    known = {name.lower() for name in names}
    wildcard = f"dns:*.{domain.partition('.')[2]}"
    return f"dns:{domain}" in known or f"ip:{domain}" in known or (wildcard in known and not domain.startswith("*"))


def _names_problems(one: Provided, leaf: Certificate) -> Iterator[str]:
    for domain in domains(one.item):
        if not covers(leaf.names, domain):
            yield (
                f"{one.where('chain')}: does not cover {domain}, only {', '.join(leaf.names) or 'nothing'}; give a"
                " certificate for all domains, or drop the domain"
            )


def _chain_problems(path: str, chain: list[Certificate], now: datetime.datetime) -> Iterator[str]:
    for number, certificate in enumerate(chain, 1):
        who = f"{path}: certificate {number} ({certificate.common_name or 'no name'})"
        if certificate.end < now:
            yield f"{who} expired on {certificate.end:%Y-%m-%d %H:%M:%S}; provide its successor"
        if certificate.start > now:
            yield (
                f"{who} is valid from {certificate.start:%Y-%m-%d %H:%M:%S} only; wait, or check the clock of this"
                " machine"
            )
        if number < len(chain) and certificate.certificate.issuer != chain[number].certificate.subject:
            yield f"{who} is not signed by the next one; put the leaf first and each signer after it"


def _authority_problems(options: Mapping[str, Any], now: datetime.datetime) -> Iterator[str]:
    """What is wrong with an authority that the user provides."""
    if not options["certificate_authority_certificate"]:
        return
    path = "certificate_authority_certificate"
    try:
        chain = Certificate.all_of(options[path])
    except ValueError:
        chain = []
    if not chain:
        yield f"{path}: {NO_PEM}; give a certificate as PEM"
        return
    try:
        key = public_bytes(private_key(options["certificate_authority_key"]).public_key())
    except ValueError:
        yield f"certificate_authority_key: {NO_PEM}, or has a passphrase; give a key as PEM"
        return
    if key != chain[0].public_key:
        yield (
            f"certificate_authority_key: does not fit the first certificate of {path}; give the key that it was made"
            " for"
        )
    if not chain[0].is_authority:
        yield f"{path}: is no authority (CA:TRUE is missing); give one that may sign"
    if chain[0].end < now:
        yield f"{path}: expired on {chain[0].end:%Y-%m-%d %H:%M:%S}; provide its successor"


def warnings(options: Mapping[str, Any], files: Mapping[str, str], now: datetime.datetime) -> list[str]:
    """What the user provides and what ends soon, one line each."""
    ends = [(one.where("chain"), one.content("chain")) for one in provided(options, files)]
    if options["certificate_authority_certificate"]:
        ends.append(("certificate_authority_certificate", options["certificate_authority_certificate"]))
    return [
        f"{path}: ends on {chain[0].end:%Y-%m-%d}; provide its successor"
        for path, chain in ((path, Certificate.all_of(text)) for path, text in ends)
        if chain[0].end < now + options["certificate_warn_days"] * DAY
    ]


# --- what is there, and what is issued --------------------------------------------------------------------------------


def paths(options: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Where the key and the chain of a certificate lie."""
    directory = f"{options['certificate_directory']}/{name}"
    return f"{directory}/privkey.pem", f"{directory}/fullchain.pem"


def authority_paths(options: Mapping[str, Any]) -> tuple[str, str]:
    """Where the key and the certificate of the host's own authority lie."""
    directory = options["certificate_authority_directory"]
    return f"{directory}/ca.key", f"{directory}/ca.pem"


def questions(given: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """What the role asks of djangofleet.stack.survey; empty when there is nothing to ask, or a value makes no sense.

    The authority is asked for by its directory, which is the name of no certificate.
    """
    options, found = resolve(spec_of("certificate"), given)
    names = [item["name"] for item in selfsigned(options)] if not found else []
    if not names or not all(matches("file_name", name) for name in names):
        return {}
    pairs = {
        options["certificate_authority_directory"]: authority_paths(options),
        **{name: paths(options, name) for name in names},
    }
    return {"certificates": [{"name": name, "certificate": pair[1], "key": pair[0]} for name, pair in pairs.items()]}


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
            public = blocks(found["public_key"], "PUBLIC KEY")
            key = serialization.load_pem_public_key(public[0]) if public else None
            certificate = next(iter(Certificate.all_of(found["certificate"])), None)
        except (ValueError, UnsupportedAlgorithm):
            key = certificate = None
        return cls(found["modes"], key, certificate)

    @property
    def is_whole(self) -> bool:
        return self.key is not None and self.certificate is not None

    @property
    def fits(self) -> bool:
        return self.is_whole and public_bytes(self.key) == self.certificate.public_key

    @property
    def key_is_open(self) -> bool:
        """Whether others than root may have the key in their hands."""
        return self.key is not None and not self.modes.startswith(f"{KEY_MODE} ")


@dataclass(frozen=True)
class Authority:
    """Who signs: its name and the identifier of its key, as certificates name them. A new key has none yet."""

    subject: x509.Name
    identifier: bytes | None
    is_there: bool = True
    pem: str = ""

    @classmethod
    def of(cls, certificate: Certificate) -> Authority:
        return cls(certificate.certificate.subject, certificate.key_identifier, pem=certificate.pem)

    def signed(self, found: Certificate) -> bool:
        return found.signer_identifier == self.identifier and found.certificate.issuer == self.subject


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
            "the modes of its files are wrong": held.modes != MODES,
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
            "the modes of its files are wrong": held.modes != MODES,
        }
    )


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
        "key_type": "ecc",
        "key_size": 0,
        "days": options["certificate_authority_days"],
        "common_name": authority_name(options),
        "subject_alt_name": [],
        "basic_constraints": ["CA:TRUE", "pathlen:0"],
        "key_usage": ["keyCertSign", "cRLSign"],
        "extended_key_usage": [],
    }


def plan(options: Mapping[str, Any], answers: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """What is issued and why.

    :returns: C(signer), the certificate of the authority that stays, in PEM, or nothing; C(authority), the request for
        a new one, in a list of one or none; C(certificates), a request for each; C(requests), both of them;
        C(new_keys) and C(open_keys), those of both whose key is made, and those whose key stays and has a wrong mode;
        C(messages), a line for each.
    """
    items = selfsigned(options)
    signer, own = _authority(options, answers, now) if items else (None, [])
    pairs = ((item, Held.of(answers, item["name"])) for item in items)
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
        "messages": [
            *(f"The authority of this host is issued: {'; '.join(one['reasons'])}." for one in own),
            *(f"Certificate {one['name']} is issued: {'; '.join(one['reasons'])}." for one in signed),
        ],
    }


def _planned(wanted: Mapping[str, Any], held: Held, found: list[str]) -> dict[str, Any]:
    """A request with its reasons, and what becomes of the key: one of the right kind is kept."""
    kept = held.key is not None and is_of_kind(held.key, wanted["key_type"], wanted["key_size"])
    return {**wanted, "reasons": found, "key": "new" if not kept else "open" if held.key_is_open else "kept"}


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
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, planned["common_name"])]),
        identifier=None if planned["key"] == "new" else key_identifier(held.key),
        is_there=held.certificate is not None,
    ), [planned]


# --- what lies where --------------------------------------------------------------------------------------------------


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
    if selfsigned(options):
        found.append({"path": options["certificate_authority_directory"], "directory": True})
        name = options["certificate_authority_directory"]
        given = options["certificate_authority_certificate"]
        found += _pair(authority_paths(options), made.get(name, ""), given or issued.get(name, planned["signer"]))
    for _path, item in certificates(options):
        found.append({"path": f"{options['certificate_directory']}/{item['name']}", "directory": True})
    for one in provided(options, files):
        found += _pair(paths(options, one.item["name"]), one.content("key"), one.content("chain"))
    further = between(options)
    for name in (item["name"] for item in selfsigned(options)):
        held = Held.of(answers, name).certificate
        leaf = issued.get(name, held.pem if held else "")
        found += _pair(paths(options, name), made.get(name, ""), leaf and leaf + further)
    return found


def _pair(where: tuple[str, str], key: str, chain: str) -> list[dict[str, Any]]:
    """A key and a chain, both or neither; a key that is not given is left as it is on the host."""
    if not chain:
        return []
    found = [{"path": where[0], "content": key, "mode": "0600", "sensitive": True}] if key else []
    return [*found, {"path": where[1], "content": chain}]
