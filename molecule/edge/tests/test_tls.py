"""TLS as scanners see it: Mozilla's guideline 6.0, the groups of keys, a grade.

scanners/guideline.json is the guideline's intermediate profile in sslyze's form, whose own is 5.7. It lacks the hybrid
group, which sslyze's OpenSSL does not know: openssl asks for that one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import testinfra
from shared.outside import PROVE, ROOT, hosts_of

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]
in_full = pytest.mark.skipif(not PROVE, reason="scanners take a minute to install and to scan: make prove has them")

SCANNERS = ROOT / "molecule/edge/scanners"
DOMAIN = "guestbook.test"
HYBRID = "X25519MLKEM768"


@pytest.fixture(scope="module")
def client():
    """A host whose OpenSSL knows all groups."""
    return testinfra.get_host("docker://djangofleet-edge-client")


@pytest.fixture(scope="module")
def sslyze() -> Path:
    """Where sslyze is, which is nobody's but this test's."""
    there = ROOT / "build/sslyze"
    words = ("install", "--quiet", "--require-hashes", "--upgrade", f"--target={there}")
    subprocess.run([sys.executable, "-m", "pip", *words, f"--requirement={SCANNERS / 'sslyze.txt'}"], check=True)
    return there


def shake_hands(client, address: str, *words: str) -> bool:
    asked = f"openssl s_client -connect {address}:443 -servername {DOMAIN} {' '.join(words)} </dev/null 2>&1"
    said = client.run(asked).stdout
    assert "CONNECTED" in said, said
    return "Cipher is (NONE)" not in said


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_the_groups_of_the_guideline_are_taken(client, address, group):
    assert shake_hands(client, address, "-groups", group)


@pytest.mark.parametrize("group", ["P-521", "X448", "ffdhe2048"])
def test_no_other_group_is(client, address, group):
    assert not shake_hands(client, address, "-groups", group)


def test_the_hybrid_group_is_taken_where_openssl_has_it(client, name, address):
    assert shake_hands(client, address, "-groups", HYBRID) == (name == "djangofleet-edge-13")
    # Somebody who offers both gets what the host has.
    assert shake_hands(client, address, "-groups", f"{HYBRID}:X25519")


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(client, address, version):
    assert not shake_hands(client, address, version, "-cipher", "ALL:@SECLEVEL=0")


@in_full
def test_the_guideline_is_kept(address, authority, sslyze):
    """But for HSTS, at which sslyze does not look with a configuration: test_headers.py does."""
    command = [sys.executable, "-m", "sslyze", f"--sni={DOMAIN}", f"--certinfo_ca_file={authority}"]
    command += [f"--custom_tls_config={SCANNERS / 'guideline.json'}", f"{address}:443"]
    seen = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(sslyze)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert seen.returncode == 0, seen.stdout[-3000:] + seen.stderr[-1000:]
    assert "OK - Compliant" in seen.stdout


@in_full
def test_the_grade(host, client, name, address, figure):
    """testssl.sh of Debian 13, which believes the host's authority."""
    client.check_output("which testssl || (apt-get -qq update && apt-get -qq -y install testssl.sh) >/dev/null")
    client.check_output("echo %s >/tmp/authority.pem", host.check_output("cat /etc/djangofleet/authority/ca.pem"))
    told = f"/tmp/{name}.json"
    client.run(
        f"rm -f {told}; testssl --quiet --color 0 --add-ca /tmp/authority.pem --ip {address}"
        f" --jsonfile {told} https://{DOMAIN}/"
    )
    found = {line["id"]: line for line in json.loads(client.check_output(f"cat {told}"))}
    reasons = [line["finding"] for key, line in found.items() if key.startswith("grade_cap_reason")]
    assert found["overall_grade"]["finding"] == "A+", reasons
    # A host's own authority revokes nothing: its certificates are made anew.
    bad = {key: line["finding"] for key, line in found.items() if line["severity"] in ("HIGH", "CRITICAL")}
    assert set(bad) <= {"cert_revocation"}, bad
    figure(f"points of testssl.sh's 100 on {name[-2:]}, graded A+", float(found["final_score"]["finding"]))
