"""A requirement that only a private index has, behind a certificate that only a private authority vouches for."""

import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fleet
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from variants import project

WHEEL = "heirloom-1.0-py3-none-any.whl"
BUNDLE = "/etc/ssl/heirloom-bundle.pem"
SERVER = """
import functools, http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/index/index.pem")
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/index/public")
server = http.server.ThreadingHTTPServer(("", 8443), handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
INDEX = {"django_extra_index_urls": [f"https://{fleet.CLIENT}:8443/simple/"]}


def certificate(path: Path) -> str:
    """Make a key with a certificate for the index, in one file; returns the certificate of who vouches for it."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = issue("A private authority", authority_key, "A private authority", authority_key, is_authority=True)
    made = issue(fleet.CLIENT, key, "A private authority", authority_key, is_authority=False)
    path.write_text(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() + made)
    return authority


def issue(subject: str, key, issuer: str, issuer_key, *, is_authority: bool) -> str:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return made.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The index on the client, and on each host a bundle that knows its authority besides the usual ones."""
    root = tmp_path_factory.mktemp("index")
    package = root / "public" / "simple" / "heirloom"
    package.mkdir(parents=True)
    with zipfile.ZipFile(package / WHEEL, "w") as wheel:
        wheel.writestr("heirloom.py", "AGE = 100\n")
        wheel.writestr("heirloom-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: heirloom\nVersion: 1.0\n")
        wheel.writestr("heirloom-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("heirloom-1.0.dist-info/RECORD", "heirloom.py,,\nheirloom-1.0.dist-info/RECORD,,\n")
    (package / "index.html").write_text(f'<!doctype html><a href="{WHEEL}">{WHEEL}</a>')
    trusted = certificate(root / "index.pem")
    (root / "serve.py").write_text(SERVER)
    fleet.on(fleet.CLIENT, "rm", "-rf", "/srv/index")
    subprocess.run(["docker", "cp", str(root), f"{fleet.CLIENT}:/srv/index"], check=True)
    fleet.on(fleet.CLIENT, "systemd-run", "--unit=index", "--collect", "python3", "/srv/index/serve.py")
    for host in fleet.HOSTS:
        usual = fleet.on(host, "cat", "/etc/ssl/certs/ca-certificates.crt").stdout
        fleet.on(host, "tee", BUNDLE, stdin=usual + trusted)
    yield
    fleet.on(fleet.CLIENT, "systemctl", "stop", "index")


def test_private_index_with_a_bundle(index):
    source = project("heirloom", {"requirements.txt": "\nheirloom==1.0\n", "guestbook/wsgi.py": "\nimport heirloom\n"})
    with fleet.visitors():
        result = fleet.attempt("heirloom", source, host=fleet.HOSTS[0], **INDEX)
        assert result.returncode != 0
        assert "certificate" in result.stdout.lower(), result.stdout[-4000:]
        result = fleet.attempt("heirloom", source, django_ca_bundle=BUNDLE, **INDEX)
        assert result.returncode == 0, result.stdout[-4000:]
    assert set(fleet.both(fleet.version).values()) == {"heirloom"}
