# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of role certificate, and what of it ends soon.

Times are aware of their zone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import certificate_acme_problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import (
    PARTS,
    Provided,
    certificates,
    domains,
    provided,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_domain, is_shortest_address, matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.x509 import (
    DAY,
    Certificate,
    blocks,
    private_key,
    public_bytes,
)

NO_PEM = "found what is no PEM, or is damaged"


def problems(given: Mapping[str, Any], files: Mapping[str, str], now: datetime.datetime) -> list[str]:
    """What is wrong with the role's variables and with the files that they name, one line each."""
    options, found = resolve(spec_of("certificate"), given)
    if found:
        return found
    for path, item in certificates(options):
        found += _item_problems(path, item, options)
    found += _repeated(options)
    found += _authority_options_problems(options)
    found += certificate_acme_problems.problems(options)
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
        yield f"{path}.{given[0]}: is given, but the source is {item['source']}; set source to files, or drop it"
    else:
        yield from _renewed_in_each_run(f"{path}.days", item.get("days", options["certificate_days"]), options)
    if item["source"] != "acme":
        yield from certificate_acme_problems.unused(path, item)


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
    for name in ("certificate_directory", "certificate_authority_directory"):
        if not matches("directory", options[name]):
            yield problem(name, options[name], "the absolute path of a directory, without spaces")
    yield from _renewed_in_each_run("certificate_authority_days", options["certificate_authority_days"], options)
    if bool(options["certificate_authority_key"]) != bool(options["certificate_authority_certificate"]):
        yield (
            "certificate_authority_key, certificate_authority_certificate: only one of them is given; give both, or"
            " none for an authority of the host"
        )


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
        if number < len(chain) and certificate.issuer != chain[number].subject:
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
