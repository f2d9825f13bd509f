"""The rules of role certificate, row by row: names, pairs of keys and certificates, and what becomes of them."""

from __future__ import annotations

import datetime
import ipaddress
import random
from functools import cache
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    certificate,
    certificate_plan,
    certificate_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_shortest_address
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, options_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
HOME = "/etc/djangofleet/authority"
DEFAULTS = yaml.safe_load((ROLES / "certificate/defaults/main.yml").read_text()) | {
    "certificate_authority_name": "djangofleet web1"
}
MODES = "600:root:root 644:root:root"
SHOP = {"name": "shop", "domains": ["shop.example.com"]}


def problems(files: dict[str, str] | None = None, **given: Any) -> list[str]:
    return certificate_problems.problems({**DEFAULTS, **given}, files or {}, NOW)


def options(**given: Any) -> dict[str, Any]:
    return options_of("certificate", {**DEFAULTS, "certificate_certificates": [SHOP], **given})


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop", "shop.example.com", "_default", "a-b_c.9", "A" * 64])
def test_good_names(name):
    assert problems(certificate_certificates=[SHOP | {"name": name}]) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-n", "a/b", "../etc", "a b", "a\n", "a\nb", 'a"b', "ü", "{{ x }}", "$(id)", "a" * 65],
)
def test_bad_names(name):
    (line,) = problems(certificate_certificates=[SHOP | {"name": name}])
    assert "since it becomes a directory" in line
    assert certificate.questions({**DEFAULTS, "certificate_certificates": [SHOP | {"name": name}]}) == {}


@pytest.mark.parametrize(
    "domain",
    ["localhost", "a.b", "*.example.com", "xn--bcher-kva.example", "1and1.example", "a-b.c", "A.Example", "10.0.0.1",
     "::1", "2001:DB8::1"],
)  # fmt: skip
def test_good_domains(domain):
    assert problems(certificate_certificates=[SHOP | {"domains": [domain]}]) == []


@pytest.mark.parametrize(
    "domain",
    ["", "bücher.example", "a b", "-a.example", "a-.example", "a..b", "*", "a.*.b", "a.b.", "a.b\n", "a,b", "http://a",
     "a:443", "10.0.0.256", "10.0.0.01", "1.2", "a" * 64 + ".example", "{{ x }}", 'a"b', "2001:0db8::1", "fe80::1%eth0",
     ".".join(["a" * 49] * 6)],
)  # fmt: skip
def test_bad_domains(domain):
    (line,) = problems(certificate_certificates=[SHOP | {"domains": [domain]}])
    assert line.startswith("certificate_certificates[shop].domains: found '")
    assert "\n" not in line


def test_ipv6_addresses_pass_in_their_shortest_form_only():
    chance = random.Random(1)  # noqa: S311 - the same addresses in each run
    pool = [0, 0, 0, 0, 1, 0xDB8, 0xFFFF]
    for _ in range(60):
        groups = [chance.choice(pool) for _ in range(8)]
        long = ":".join(f"{group:04x}" for group in groups)
        plain = ":".join(f"{group:x}" for group in groups)
        short = str(ipaddress.IPv6Address(long))
        assert is_shortest_address(short)
        for text in {long, plain, short.upper(), short + "/64", ":" + short, short + ":", short + "\n"} - {short}:
            assert not is_shortest_address(text), text


@pytest.mark.parametrize(
    ("names", "domain", "covered"),
    [
        (["DNS:a.example"], "a.example", True),
        (["DNS:A.example"], "a.example", True),
        (["DNS:*.example"], "a.example", True),
        (["DNS:*.example"], "b.a.example", False),
        (["DNS:*.example"], "example", False),
        (["DNS:*.example"], "*.example", True),
        (["DNS:*.a.example"], "*.b.a.example", False),
        (["DNS:a.example"], "*.example", False),
        (["IP:10.0.0.1"], "10.0.0.1", True),
        (["DNS:10.0.0.1"], "10.0.0.1", True),
        ([], "a.example", False),
    ],
)
def test_names_cover_domains(names, domain, covered):
    assert certificate_problems.covers(names, domain) is covered


@pytest.mark.parametrize(
    ("domains", "wanted"),
    [
        (["a.example", "b.example"], "a.example"),
        (["A.example"], "a.example"),
        ([f"{'a' * 60}.example", "b.example"], "b.example"),
        ([f"{'a' * 60}.example"], "shop"),
    ],
)
def test_the_common_name_has_64_characters_at_most(domains, wanted):
    assert certificate_plan.request(SHOP | {"domains": domains}, options())["common_name"] == wanted


def test_a_text_is_one_domain():
    requests = certificate_plan.plan(options(certificate_certificates=[SHOP | {"domains": "localhost"}]), {}, NOW)
    assert [one["subject_alt_name"] for one in requests["certificates"]] == [["DNS:localhost"]]


# --- two lists --------------------------------------------------------------------------------------------------------


def test_two_of_one_name_are_both_named():
    assert problems(certificate_certificates=[SHOP], certificate_app_certificates=[SHOP]) == [
        "certificate_certificates[shop], certificate_app_certificates[shop]: the name 'shop' is there twice;"
        " give each certificate its own"
    ]


@pytest.mark.parametrize("name", certificate.LISTS)
def test_files_of_both_lists_are_read(name):
    item = SHOP | {"source": "files", "key_file": "a.key", "chain_content": "x"}
    given = {**DEFAULTS, name: [item, SHOP | {"name": "b"}]}
    assert certificate.controller_paths(given) == ["a.key"]
    assert certificate.controller_paths({**given, "certificate_days": "many"}) == []


# --- keys and certificates --------------------------------------------------------------------------------------------


@cache
def key(kind: str = "secp256r1", _number: int = 0) -> Any:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ec.generate_private_key({"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}[kind])


def sign(
    name: str, subject_key: Any, issuer: str, issuer_key: Any, domains: tuple[str, ...] = (), days: int = 366
) -> str:
    """A certificate in PEM; an authority when it has no domains."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(subject_key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + days * DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if domains:
        names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def public_pem(private: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def held(private: Any, pem: str, modes: str = MODES) -> dict[str, str]:
    return {"modes": modes, "public_key": public_pem(private), "certificate": pem}


ROOT_KEY = key("secp256r1", 1)
AUTHORITY = sign("djangofleet web1", ROOT_KEY, "djangofleet web1", ROOT_KEY, days=3650)
LEAF = sign("shop", key(), "djangofleet web1", ROOT_KEY, ("shop.example.com",))
GOOD = {HOME: held(ROOT_KEY, AUTHORITY), "shop": held(key(), LEAF)}


def plan(answers: dict[str, dict[str, str]], **given: Any) -> dict[str, Any]:
    return certificate_plan.plan(options(**given), answers, NOW)


def test_nothing_is_issued_when_all_is_well():
    found = plan(GOOD)
    assert found.pop("signer") == AUTHORITY
    assert not any(found.values())


def test_an_empty_host_gets_all():
    found = plan({})
    assert [one["name"] for one in found["requests"]] == [HOME, "shop"]
    assert [one["name"] for one in found["new_keys"]] == [HOME, "shop"]
    assert found["signer"] == ""
    assert found["messages"] == [
        "The authority of this host is issued: there is none yet.",
        "Certificate shop is issued: there is none yet.",
    ]


def test_only_what_has_to_be_is_issued():
    found = plan(GOOD, certificate_certificates=[SHOP, {"name": "blog", "domains": ["b.test"]}])
    assert [one["name"] for one in found["requests"]] == ["blog"]
    assert found["signer"] == AUTHORITY


@pytest.mark.parametrize(
    ("given", "private", "what"),
    [
        ({"certificate_days": 90}, key(), "kept"),
        ({"certificate_key_type": "rsa"}, key(), "new"),
        ({"certificate_days": 90}, key("secp384r1"), "new"),
        ({"certificate_days": 90}, key("ed25519"), "new"),
        ({"certificate_days": 90}, key("rsa2048"), "new"),
        ({"certificate_key_type": "rsa", "certificate_days": 90}, key("rsa2048"), "kept"),
        ({"certificate_key_type": "rsa", "certificate_key_size": 3072}, key("rsa2048"), "new"),
    ],
)
def test_a_key_is_kept_as_long_as_its_kind_is_wanted(given, private, what):
    leaf = sign("shop", private, "djangofleet web1", ROOT_KEY, ("shop.example.com",))
    (one,) = plan({**GOOD, "shop": held(private, leaf)}, **given)["certificates"]
    assert one["key"] == what


def test_a_key_without_a_certificate_is_kept():
    (one,) = plan({**GOOD, "shop": {**GOOD["shop"], "certificate": ""}})["certificates"]
    assert (one["key"], one["reasons"]) == ("kept", ["there is none yet"])


@pytest.mark.parametrize(
    "damaged", [{"public_key": "x"}, {"certificate": LEAF.replace("M", "N")}, {"public_key": "\x00"}]
)
def test_what_cannot_be_read_counts_as_missing(damaged):
    (one,) = plan({**GOOD, "shop": {**GOOD["shop"], **damaged}})["certificates"]
    assert one["reasons"] == ["there is none yet"]


@pytest.mark.parametrize(
    ("modes", "what"), [("644:root:root 644:root:root", "open"), ("600:root:root 600:root:root", "kept"), (MODES, None)]
)
def test_a_key_that_others_may_read_is_closed(modes, what):
    found = plan({**GOOD, "shop": held(key(), LEAF, modes)})
    assert [one["key"] for one in found["certificates"]] == ([what] if what else [])
    assert [one["name"] for one in found["open_keys"]] == (["shop"] if what == "open" else [])


def test_a_new_authority_issues_all_again():
    found = plan({**GOOD, HOME: held(key("secp384r1"), AUTHORITY)})
    assert [one["key"] for one in found["authority"]] == ["new"]
    assert found["certificates"][0]["reasons"] == ["it is signed by another authority"]


def test_an_authority_that_keeps_its_key_and_name_issues_nothing_again():
    soon = sign("djangofleet web1", ROOT_KEY, "djangofleet web1", ROOT_KEY, days=20)
    found = plan({**GOOD, HOME: held(ROOT_KEY, soon)})
    assert [one["key"] for one in found["authority"]] == ["kept"]
    assert found["certificates"] == []


def test_an_authority_that_keeps_its_key_under_another_name_issues_all_again():
    found = plan(GOOD, certificate_authority_name="acme")
    assert [one["key"] for one in found["authority"]] == ["kept"]
    assert found["certificates"][0]["reasons"] == ["it is signed by another authority"]


def test_a_missing_authority_issues_all_again():
    found = plan({"shop": GOOD["shop"]})
    assert found["certificates"][0]["reasons"] == ["there is no authority yet"]


@pytest.mark.parametrize(
    ("given", "host", "elsewhere", "keeps"),
    [
        ({}, "web1", "", True),
        ({"certificate_app_authority_host": "web1"}, "web1", "", True),
        ({"certificate_app_authority_host": "web1"}, "db1", "web1", False),
        ({"certificate_app_authority_host": "web1", "certificate_authority_host": "db1"}, "db1", "", True),
        # For the certificates of others, and for none
        ({"certificate_app_authority_host": "web1", "certificate_certificates": []}, "web1", "", True),
        ({"certificate_app_authority_host": "web1", "certificate_certificates": []}, "db1", "", False),
        ({"certificate_certificates": []}, "web1", "", False),
        # One that the user brings
        ({"certificate_app_authority_host": "web1", "certificate_authority_certificate": "PEM"}, "db1", "", True),
    ],
)
def test_who_signs(given, host, elsewhere, keeps):
    assert certificate.signer(options(**given), host) == elsewhere
    assert certificate.has_authority(options(**given), host) is keeps
    if "certificate_authority_certificate" not in given:
        asked = certificate.questions({**DEFAULTS, "certificate_certificates": [SHOP], **given}, host)
        assert bool(asked) == (keeps or bool(elsewhere))


def test_an_authority_that_signs_for_others_is_issued_without_a_certificate_of_its_own():
    given = options(certificate_certificates=[], certificate_app_authority_host="web1")
    assert [one["name"] for one in certificate_plan.plan(given, {}, NOW, "web1")["requests"]] == [HOME]
    assert certificate_plan.plan(given, {}, NOW, "db1")["requests"] == []


def surveyed(**keys):
    """The hosts with what djangofleet_survey tells of their authorities."""
    return {
        host: {"djangofleet_survey": {"certificates": {HOME: {"public_key": key}, "shop": {"public_key": "its own"}}}}
        for host, key in keys.items()
    }


@pytest.mark.parametrize(
    ("found", "keeper", "elsewhere"),
    [
        ({"web1": "", "db1": ""}, "web1", []),
        ({"web1": "key", "db1": ""}, "web1", []),
        ({"web1": "", "db1": "key"}, "web1", ["db1"]),
        ({"web1": "key", "db1": "key"}, "web1", []),  # each had its own
        ({"web1": "", "db1": "key"}, "", []),
        ({"db1": "key"}, "web1", []),  # --limit
    ],
)
def test_an_authority_that_would_be_made_anew(found, keeper, elsewhere):
    assert certificate.authorities_elsewhere(list(found), surveyed(**found), keeper) == elsewhere


def test_without_certificates_to_sign_there_is_no_authority():
    assert not any(plan({}, certificate_certificates=[]).values())
    assert certificate.questions(DEFAULTS) == {}


def test_the_authority_may_sign_leaf_certificates_only():
    (one,) = plan({})["authority"]
    assert one["basic_constraints"] == ["CA:TRUE", "pathlen:0"]
    assert one["key_usage"] == ["keyCertSign", "cRLSign"]
    assert one["subject_alt_name"] == []


@pytest.mark.parametrize(("kind", "wanted"), [("ecc", []), ("rsa", ["keyEncipherment"])])
def test_leaf_certificates_are_for_servers(kind, wanted):
    (one,) = plan(GOOD, certificate_days=90, certificate_key_type=kind)["certificates"]
    assert one["basic_constraints"] == ["CA:FALSE"]
    assert one["key_usage"] == ["digitalSignature", *wanted]
    assert one["extended_key_usage"] == ["serverAuth"]


def test_it_ends_within_what_mozilla_allows():
    assert DEFAULTS["certificate_days"] <= 366


# --- what is provided -------------------------------------------------------------------------------------------------


def test_a_key_after_its_parameters_is_found():
    """As `openssl ecparam -genkey` writes it."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    pem = key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    files = {"a.key": parameters + pem, "a.pem": "subject=shop\n" + LEAF}
    item = SHOP | {"source": "files", "key_file": "a.key", "chain_file": "a.pem"}
    assert problems(files, certificate_certificates=[item]) == []


def test_a_damaged_key_is_told_without_a_word_of_it():
    text = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAsecret\n-----END PRIVATE KEY-----\n"
    item = SHOP | {"source": "files", "key_content": text, "chain_content": LEAF}
    assert problems(certificate_certificates=[item]) == [
        "certificate_certificates[shop].key_content: found what is no PEM, or is damaged; give the key as PEM"
    ]
