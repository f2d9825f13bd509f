"""Role certificate: when it issues anew, what it puts where, and which input it refuses."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, both as objects and in PEM."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return key_pem(self.key)

    @property
    def public_pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def key_pem(key: Key, passphrase: bytes = b"") -> str:
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked).decode()


def alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(
    name: str,
    domains: tuple[str, ...] = (),
    issuer: Certificate | None = None,
    key: Key | None = None,
    start: datetime.datetime = NOW,
    days: int = 366,
) -> Certificate:
    """Issue a certificate; an authority when it has no domains, signed by itself when it has no issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + days * DAY)
        .add_extension(x509.BasicConstraints(ca=not domains, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if domains:
        names = x509.SubjectAlternativeName([alternative_name(domain) for domain in domains])
        builder = builder.add_extension(names, critical=False)
    return Certificate(builder.sign(signer, hashes.SHA256()), key)


AUTHORITY = issue("djangofleet web1", days=3650)
STRANGER = issue("someone else", days=3650)
SHOP = ("shop.example.com", "www.shop.example.com")
ITEM = {"name": "shop", "domains": list(SHOP)}
RIGHT_MODES = "600:root:root 644:root:root"


HOME = "/etc/djangofleet/authority"  # where the authority lies, and its name


def held(certificate: Certificate, key: str = "", modes: str = RIGHT_MODES) -> dict[str, str]:
    """What the survey says of a key and a certificate."""
    return {"modes": modes, "public_key": key or certificate.public_pem, "certificate": certificate.pem}


def on_host(
    leaf: Certificate | None, authority: Certificate = AUTHORITY, key: str = "", modes: str = RIGHT_MODES
) -> dict[str, dict[str, str]]:
    """What the survey says of a host."""
    nothing = {"modes": "", "public_key": "", "certificate": ""}
    return {HOME: held(authority), "shop": held(leaf, key, modes) if leaf else nothing}


@pytest.fixture
def plan(evaluate):
    """`plan(answers, **variables)`: what is issued on a host that the survey has looked at."""

    def run(answers: dict[str, dict[str, str]], **variables: Any) -> dict[str, Any]:
        given = {"certificate_certificates": [ITEM], "certificate_authority_name": "djangofleet web1", **variables}
        expression = "__certificate_options | djangofleet.stack.certificate_plan(__answers)"
        return evaluate("certificate", expression, __answers=answers, **given)

    return run


@pytest.fixture
def reasons(plan):
    """`reasons(answers, item={...}, **variables)`: why the certificate is issued."""

    def run(answers: dict[str, dict[str, str]], **variables: Any) -> list[str]:
        item = ITEM | variables.pop("item", {})
        requests = plan(answers, certificate_certificates=[item], **variables)["certificates"]
        return list(requests[0]["reasons"]) if requests else []

    return run


# --- when a certificate is issued -------------------------------------------------------------------------------------


def test_a_good_certificate_is_left_alone(reasons):
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY))) == []


@pytest.mark.parametrize("domains", [("WWW.shop.example.com", "SHOP.example.com"), (*SHOP, *SHOP)])
def test_order_case_and_repetition_of_domains_do_not_matter(reasons, domains):
    state = on_host(issue("shop", SHOP, AUTHORITY))
    assert reasons(state, item={"domains": list(domains)}) == []


def test_addresses_do_not_lead_to_a_new_one(reasons):
    names = ("shop.test", "*.shop.test", "10.0.0.1", "2001:db8::1", "::1", "fe80::1:0:0:2")
    assert reasons(on_host(issue("shop", names, AUTHORITY)), item={"domains": list(names)}) == []


def test_nothing_there_is_issued(reasons):
    assert reasons(on_host(None)) == ["there is none yet"]


@pytest.mark.parametrize("domains", [SHOP[:1], (*SHOP, "new.example.com"), ("10.0.0.1",)])
def test_other_domains_are_issued(reasons, domains):
    found = reasons(on_host(issue("shop", SHOP, AUTHORITY)), item={"domains": list(domains)})
    assert found == ["its names are DNS:shop.example.com, DNS:www.shop.example.com"]


@pytest.mark.parametrize(
    ("left", "wanted"), [(31, []), (29, ["fewer than 30 days are left"]), (-1, ["fewer than 30 days are left"])]
)
def test_renewed_in_time(reasons, left, wanted):
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY, start=NOW - (366 - left) * DAY))) == wanted


def test_renewed_earlier_when_wanted(reasons):
    state = on_host(issue("shop", SHOP, AUTHORITY, start=NOW - 270 * DAY))
    assert reasons(state, certificate_renew_days=90) == []
    assert reasons(state, certificate_renew_days=100) == ["fewer than 100 days are left"]


@pytest.mark.parametrize("where", ["role", "item"])
def test_another_lifetime_is_issued(reasons, where):
    given = {"certificate_days": 90} if where == "role" else {"item": {"days": 90}}
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY)), **given) == ["it is made for 366 days"]
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY, days=90)), **given) == []


def test_a_key_that_does_not_fit_is_issued(reasons):
    state = on_host(issue("shop", SHOP, AUTHORITY), key=STRANGER.public_pem)
    assert reasons(state) == ["it does not fit its key"]


def test_another_kind_of_key_is_issued(reasons):
    ecc = on_host(issue("shop", SHOP, AUTHORITY))
    rsa_2048 = on_host(issue("shop", SHOP, AUTHORITY, key=rsa.generate_private_key(65537, 2048)))
    p384 = on_host(issue("shop", SHOP, AUTHORITY, key=ec.generate_private_key(ec.SECP384R1())))
    other = ["its key is of another kind"]
    assert [reasons(ecc, item={"key_type": "rsa"}), reasons(ecc, certificate_key_type="rsa")] == [other, other]
    assert [reasons(rsa_2048), reasons(p384)] == [other, other]
    assert reasons(rsa_2048, item={"key_type": "rsa"}) == []
    assert reasons(rsa_2048, item={"key_type": "rsa", "key_size": 3072}) == other


def test_another_authority_issues_again(reasons):
    other = ["it is signed by another authority"]
    assert reasons(on_host(issue("shop", SHOP, STRANGER))) == other
    # The same key under another name makes no chain either.
    renamed = issue("djangofleet web1", key=AUTHORITY.key), issue("old name", key=AUTHORITY.key)
    assert reasons(on_host(issue("shop", SHOP, renamed[1]), authority=renamed[0])) == other
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY), authority=renamed[0])) == []


def test_a_shared_authority_issues_again(reasons):
    given = {"certificate_authority_certificate": STRANGER.pem, "certificate_authority_key": STRANGER.key_pem}
    assert reasons(on_host(issue("shop", SHOP, AUTHORITY)), **given) == ["it is signed by another authority"]
    assert reasons(on_host(issue("shop", SHOP, STRANGER)), **given) == []


@pytest.mark.parametrize("modes", ["644:root:root 644:root:root", "600:www-data:root 644:root:root", ""])
def test_wrong_modes_issue_again(reasons, modes):
    found = reasons(on_host(issue("shop", SHOP, AUTHORITY), modes=modes))
    assert found == ["the modes of its files are wrong"]


def test_the_authority_is_made_again_when_it_must(plan):
    def run(authority: dict[str, str] | None, **variables: Any) -> list[str]:
        answers = {**on_host(None), **({HOME: authority} if authority else {})}
        if not authority:
            del answers[HOME]
        requests = plan(answers, **variables)["authority"]
        return list(requests[0]["reasons"]) if requests else []

    assert run(held(AUTHORITY)) == []
    assert run(None) == ["there is none yet"]
    assert run(held(AUTHORITY), certificate_authority_name="acme") == ["its name is another one"]
    assert run(held(issue("djangofleet web1", days=29))) == ["fewer than 30 days are left"]
    assert run(held(issue("d" * 64, days=3650)), certificate_authority_name="d" * 80) == []
    wrong = held(AUTHORITY, key=STRANGER.public_pem, modes="644:root:root 644:root:root")
    assert run(wrong) == ["its key is another one", "the modes of its files are wrong"]


# --- what is put where ------------------------------------------------------------------------------------------------


@pytest.fixture
def entries(evaluate):
    """`entries(answers, keys, signed, **variables)`: what is written, by path."""

    def run(
        answers: dict[str, dict[str, str]], keys: Any = (), signed: Any = (), **variables: Any
    ) -> dict[str, dict[str, Any]]:
        expression = (
            "__certificate_options | djangofleet.stack.certificate_entries(__certificate_files, __answers,"
            " __certificate_options | djangofleet.stack.certificate_plan(__answers), keys=__keys, signed=__signed)"
        )
        given = {"certificate_certificates": [ITEM], "certificate_authority_name": "djangofleet web1", **variables}
        scope = {"__answers": answers, "__keys": list(keys), "__signed": list(signed)}
        return {entry["path"]: entry for entry in evaluate("certificate", expression, **scope, **given)}

    return run


def made(name: str, certificate: Certificate) -> dict[str, Any]:
    """The result of a loop that has made a key."""
    return {"item": {"name": name}, "privatekey": certificate.key_pem}


def signed(name: str, certificate: Certificate) -> dict[str, Any]:
    """The result of a loop that has signed a certificate."""
    return {"item": {"name": name}, "certificate": certificate.pem}


def test_one_path_whatever_the_source(entries, tmp_path):
    leaf = issue("blog", ("blog.example.com",), AUTHORITY)
    (tmp_path / "key.pem").write_text(leaf.key_pem)
    files = {
        "name": "blog",
        "domains": ["blog.example.com"],
        "source": "files",
        "chain_content": leaf.pem + AUTHORITY.pem,
    }
    by_path = entries(
        {},
        certificate_certificates=[ITEM, {**files, "key_file": str(tmp_path / "key.pem")}],
        certificate_directory="/srv/tls",
    )
    assert {path for path, entry in by_path.items() if entry.get("directory")} == {
        "/srv/tls", "/srv/tls/shop", "/srv/tls/blog", HOME}  # fmt: skip
    key = by_path["/srv/tls/blog/privkey.pem"]
    assert (key["content"], key["mode"], key["sensitive"]) == (leaf.key_pem, "0600", True)
    assert by_path["/srv/tls/blog/fullchain.pem"]["content"] == leaf.pem + AUTHORITY.pem
    assert len(by_path) == 6


CERTIFICATES = "/etc/djangofleet/certificates/shop"


def test_key_and_certificate_are_put_in_place_together(entries):
    leaf = issue("shop", SHOP, AUTHORITY)
    keys, certificates = [made("shop", leaf), made(HOME, AUTHORITY)], [signed(HOME, AUTHORITY), signed("shop", leaf)]
    found = entries({}, keys, certificates)
    for path, one in ((f"{HOME}/ca.key", AUTHORITY), (f"{CERTIFICATES}/privkey.pem", leaf)):
        assert found[path] == {"path": path, "content": one.key_pem, "mode": "0600", "sensitive": True}
    assert found[f"{HOME}/ca.pem"]["content"] == AUTHORITY.pem
    assert found[f"{CERTIFICATES}/fullchain.pem"]["content"] == leaf.pem


def test_a_key_without_its_certificate_is_not_put_in_place(entries):
    """As when signing has failed."""
    found = entries({}, [made("shop", STRANGER), made(HOME, AUTHORITY)], [])
    assert all(entry.get("directory") for entry in found.values())


def test_check_mode_puts_nothing_in_place(entries):
    skipped = [{"item": {"name": name}, "skipped": True} for name in (HOME, "shop")]
    assert all(entry.get("directory") for entry in entries({}, skipped, skipped).values())


def test_a_key_that_stays_is_not_written(entries):
    old, new = issue("shop", SHOP[:1], AUTHORITY), issue("shop", SHOP, AUTHORITY)
    # What an earlier inclusion of the role has made is not taken for this one's.
    found = entries(on_host(old), [made("shop", STRANGER)], [signed("shop", new)])
    assert f"{CERTIFICATES}/privkey.pem" not in found
    assert found[f"{CERTIFICATES}/fullchain.pem"]["content"] == new.pem


def test_what_stays_is_written_as_it_is(entries):
    """So that the stamp knows of it, and a reload that did not happen is made up for."""
    leaf = issue("shop", SHOP, AUTHORITY)
    found = entries(on_host(leaf), [made("shop", STRANGER)], [signed("shop", STRANGER)])
    contents = {path: entry["content"] for path, entry in found.items() if "content" in entry}
    assert contents == {f"{HOME}/ca.pem": AUTHORITY.pem, f"{CERTIFICATES}/fullchain.pem": leaf.pem}


def test_a_chain_ends_below_the_root(entries):
    middle = issue("middle", issuer=STRANGER)
    leaf = issue("shop", SHOP, middle)
    given = {"certificate_authority_certificate": middle.pem + STRANGER.pem,
             "certificate_authority_key": middle.key_pem}  # fmt: skip
    assert entries(on_host(leaf), **given)[f"{CERTIFICATES}/fullchain.pem"]["content"] == leaf.pem + middle.pem


def test_the_key_of_a_shared_authority_is_not_left_on_the_host(entries):
    found = entries({}, certificate_authority_certificate=STRANGER.pem, certificate_authority_key=STRANGER.key_pem)
    contents = {path: entry["content"] for path, entry in found.items() if "content" in entry}
    assert contents == {f"{HOME}/ca.pem": STRANGER.pem}


def test_apps_and_users_have_lists_of_their_own(evaluate):
    given = {"certificate_certificates": [ITEM],
             "certificate_app_certificates": [{"name": "blog", "domains": "b.test"}],
             "certificate_reload_units": ["exim4.service"],
             "certificate_app_reload_units": ["nginx.service", "exim4.service"]}  # fmt: skip
    assert evaluate("certificate", "__certificate_problems", **given) == []
    asked = evaluate("certificate", "__certificate_questions", **given)["certificates"]
    assert [one["name"] for one in asked] == [HOME, "shop", "blog"]
    assert evaluate("certificate", "__certificate_reload_units", **given) == ["exim4.service", "nginx.service"]


def test_files_are_found_beside_the_inventory(evaluate, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "a.key").write_text("a key")
    (tmp_path / "files" / "a.pem").write_text("a chain")
    items = [{"name": name, "domains": ["a.test"], "source": "files", "key_file": key, "chain_file": chain}
             for name, key, chain in (("a", "a.key", "a.pem"), ("b", "gone.key", "gone.pem"))]  # fmt: skip
    found = evaluate("certificate", "__certificate_files", certificate_certificates=items, inventory_dir=str(tmp_path))
    assert found == {"a.key": "a key", "a.pem": "a chain"}


def test_the_host_needs_nothing_for_what_is_provided(evaluate):
    leaf = issue("blog", ("blog.example.com",), AUTHORITY)
    item = {"name": "blog", "domains": ["blog.example.com"], "source": "files",
            "key_content": leaf.key_pem, "chain_content": leaf.pem}  # fmt: skip
    assert evaluate("certificate", "__certificate_packages", certificate_certificates=[item]) == []
    asked = evaluate("certificate", "__certificate_questions", certificate_certificates=[item])
    assert asked == {"paths": ["/etc/djangofleet-acme/config.json"]}  # whether ACME has been here
    assert "openssl" in evaluate("certificate", "__certificate_packages", certificate_certificates=[ITEM, item])


def test_warns_in_time(evaluate):
    def run(days: int) -> list[str]:
        leaf = issue("blog", ("blog.example.com",), AUTHORITY, days=days)
        item = {"name": "blog", "domains": ["blog.example.com"], "source": "files",
                "key_content": leaf.key_pem, "chain_content": leaf.pem}  # fmt: skip
        return list(evaluate("certificate", "__certificate_warnings", certificate_certificates=[ITEM, item]))

    assert run(31) == []
    ends = (NOW + 29 * DAY).date().isoformat()
    assert run(29) == [f"certificate_certificates[blog].chain_content: ends on {ends}; provide its successor"]


# --- input ------------------------------------------------------------------------------------------------------------

MIDDLE = issue("middle", issuer=STRANGER, days=3650)
LEAF = issue("shop", SHOP, MIDDLE)
WILD = issue("wild", ("*.example.com", "10.0.0.1"), MIDDLE)
OLD = issue("shop", SHOP, MIDDLE, start=NOW - 10 * DAY, days=9)
COMING = issue("shop", SHOP, MIDDLE, start=NOW + 2 * DAY)
OLD_AUTHORITY = issue("old", start=NOW - 10 * DAY, days=9)
DAMAGED = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def provided(chain: str, key: str, **more: Any) -> dict[str, Any]:
    return {"certificate_certificates": [ITEM | {"source": "files", "chain_content": chain, "key_content": key} | more]}


def shared(certificate: str, key: str) -> dict[str, Any]:
    return {"certificate_authority_certificate": certificate, "certificate_authority_key": key}


CHAIN = LEAF.pem + MIDDLE.pem
PATH = "certificate_certificates[shop]"
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "selfsigned": ({"certificate_certificates": [ITEM]}, []),
    "addresses": ({"certificate_certificates": [ITEM | {"domains": ["10.0.0.1", "::1", "*.a.test"]}]}, []),
    "shared-authority": ({"certificate_certificates": [ITEM], **shared(MIDDLE.pem, MIDDLE.key_pem)}, []),
    "provided": (provided(CHAIN, LEAF.key_pem), []),
    "provided-with-root": (provided(CHAIN + STRANGER.pem, LEAF.key_pem), []),
    "provided-upper-case": (provided(CHAIN, LEAF.key_pem, domains=["SHOP.example.com"]), []),
    "wildcard": (provided(WILD.pem, WILD.key_pem, domains=["a.example.com", "*.example.com", "10.0.0.1"]), []),
    "twice": ({"certificate_certificates": [ITEM, ITEM]}, [f"{PATH}: the name 'shop' is there twice"]),
    "of-user-and-app": (
        {"certificate_certificates": [ITEM], "certificate_app_certificates": [ITEM]},
        [f"{PATH}, certificate_app_certificates[shop]: the name 'shop' is there twice"],
    ),
    "of-an-app": (
        {
            "certificate_app_certificates": [
                ITEM | {"source": "files", "chain_file": "gone.pem", "key_file": "gone.key"}
            ]
        },
        ["certificate_app_certificates[shop].chain_file: 'gone.pem' holds no certificate"],
    ),
    "text-for-a-list": ({"certificate_certificates": [ITEM | {"domains": "localhost"}]}, []),
    "bad-name": (
        {"certificate_certificates": [ITEM | {"name": "../shop"}]},
        ["certificate_certificates[../shop].name: found '../shop'", "give letters"],
    ),
    "no-domains": ({"certificate_certificates": [ITEM | {"domains": []}]}, [f"{PATH}.domains: is empty"]),
    "bad-domain": (
        {"certificate_certificates": [ITEM | {"domains": ["a b", "bücher.example", "2001:0db8::1"]}]},
        [f"{PATH}.domains: found 'a b'", "found 'bücher.example'", "xn--", "found '2001:0db8::1'", "shortest form"],
    ),
    "no-time-to-renew": (
        {"certificate_certificates": [ITEM | {"days": 30}]},
        [f"{PATH}.days: found '30'", "certificate_renew_days (30)"],
    ),
    "authority-no-time-to-renew": ({"certificate_authority_days": 7}, ["certificate_authority_days: found '7'"]),
    "key-without-source": (
        {"certificate_certificates": [ITEM | {"key_file": "x"}]},
        [f"{PATH}.key_file: is given, but the source is selfsigned"],
    ),
    "no-chain": (
        {"certificate_certificates": [ITEM | {"source": "files", "key_content": LEAF.key_pem}]},
        [f"{PATH}: found neither; give either chain_file or chain_content"],
    ),
    "two-keys": (
        provided(CHAIN, LEAF.key_pem, key_file="x"),
        [f"{PATH}: found key_file and key_content; give either key_file or key_content"],
    ),
    "no-such-file": (
        {"certificate_certificates": [ITEM | {"source": "files", "chain_file": "gone.pem", "key_file": "gone.key"}]},
        [f"{PATH}.chain_file: ", "holds no certificate, or is not there"],
    ),
    "no-such-key": (
        {"certificate_certificates": [ITEM | {"source": "files", "chain_content": CHAIN, "key_file": "gone.key"}]},
        [f"{PATH}.key_file: ", "holds no private key, or is not there"],
    ),
    "wrong-key": (
        provided(CHAIN, STRANGER.key_pem),
        [f"{PATH}.key_content: does not fit the first certificate of chain_content", "DNS:shop.example.com"],
    ),
    "leaf-not-first": (
        provided(MIDDLE.pem + LEAF.pem, LEAF.key_pem),
        [f"{PATH}.key_content: does not fit", "put it first", "certificate 1 (middle) is not signed by the next one"],
    ),
    "chain-out-of-order": (
        provided(LEAF.pem + STRANGER.pem + MIDDLE.pem, LEAF.key_pem),
        [f"{PATH}.chain_content: certificate 1 (shop) is not signed by the next one", "certificate 2 (someone else)"],
    ),
    "passphrase": (
        provided(CHAIN, key_pem(LEAF.key, b"secret")),
        [f"{PATH}.key_content: the key has a passphrase", "openssl pkey"],
    ),
    "expired": (
        provided(OLD.pem + MIDDLE.pem, OLD.key_pem),
        [f"{PATH}.chain_content: certificate 1 (shop) expired on {(NOW - DAY).date()}", "provide its successor"],
    ),
    "not-yet": (
        provided(COMING.pem + MIDDLE.pem, COMING.key_pem),
        [f"{PATH}.chain_content: certificate 1 (shop) is valid from {(NOW + 2 * DAY).date()}"],
    ),
    "uncovered": (
        provided(CHAIN, LEAF.key_pem, domains=[*SHOP, "blog.example.com"]),
        [f"{PATH}.chain_content: does not cover blog.example.com, only DNS:shop.example.com", "drop the domain"],
    ),
    "wildcard-too-deep": (
        provided(WILD.pem, WILD.key_pem, domains=["a.b.example.com", "example.com"]),
        ["does not cover a.b.example.com", "does not cover example.com"],
    ),
    "wider-wildcard": (provided(CHAIN, LEAF.key_pem, domains=["*.example.com"]), ["does not cover *.example.com"]),
    "damaged-chain": (
        provided(DAMAGED, LEAF.key_pem),
        [f"{PATH}.chain_content", "found what is no PEM, or is damaged; give the chain"],
    ),
    "half-an-authority": (shared("", MIDDLE.key_pem), ["only one of them is given"]),
    "authority-wrong-key": (shared(MIDDLE.pem, LEAF.key_pem), ["certificate_authority_key: does not fit"]),
    "authority-is-none": (
        shared(LEAF.pem, LEAF.key_pem),
        ["certificate_authority_certificate: is no authority (CA:TRUE is missing)"],
    ),
    "authority-damaged": (shared(DAMAGED, LEAF.key_pem), ["certificate_authority_certificate", "found what is no PEM"]),
    "authority-expired": (
        shared(OLD_AUTHORITY.pem, OLD_AUTHORITY.key_pem),
        ["certificate_authority_certificate: expired on"],
    ),
}


def run_validation(directory: Path, cases: dict[str, dict[str, Any]]) -> tuple[dict[str, str], str]:
    """Run the role's validate.yml once for all cases, each a host of its own: what each was told, and all output."""
    tasks = [{"ansible.builtin.include_role": {"name": "certificate", "tasks_from": "validate"}}]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in cases.items()}
    (directory / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.yml", "play.yml"],
        cwd=directory,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
             "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "{" in done.stdout, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert set(result["stats"]) == set(cases), done.stdout
    told = dict.fromkeys(cases, "")
    for task in result["plays"][0]["tasks"]:
        for name, outcome in task["hosts"].items():
            told[name] = str(outcome["msg"]) if outcome.get("failed") else told[name]
    failed = {name for name, stats in result["stats"].items() if stats["failures"]}
    assert failed == {name for name, text in told.items() if text}
    return told, done.stdout + done.stderr


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> tuple[dict[str, str], str]:
    return run_validation(tmp_path_factory.mktemp("certificate"), {name: case[0] for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_input(validated, name):
    told, wanted = validated[0][name], CASES[name][1]
    assert bool(told) == bool(wanted), told
    for part in wanted:
        assert part in told


def test_no_key_is_printed(validated):
    output = validated[1]
    for secret in (LEAF, STRANGER, MIDDLE, OLD):
        assert secret.key_pem.splitlines()[1] not in output
    assert "PRIVATE KEY" not in output
