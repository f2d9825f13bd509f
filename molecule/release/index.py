#!/usr/bin/env python3
"""Makes a private package index: one wheel, and a server's certificate that only an authority of its own vouches for.

Usage: index.py DIRECTORY HOST. The directory goes to /srv/index on that host; authority.pem in it is what others trust.
"""

from __future__ import annotations

import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

WHEEL = "heirloom-1.0-py3-none-any.whl"
AUTHORITY = "A private authority"
SERVER = """
import functools, http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/index/index.pem")
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/index/public")
server = http.server.ThreadingHTTPServer(("", 8443), handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def issue(subject: str, key, issuer_key, *, is_authority: bool) -> str:
    """Sign a certificate for a name; returns it in PEM."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return made.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def main(directory: str, host: str) -> None:
    root = Path(directory)
    package = root / "public" / "simple" / "heirloom"
    package.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(package / WHEEL, "w") as wheel:
        wheel.writestr("heirloom.py", "AGE = 100\n")
        wheel.writestr("heirloom-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: heirloom\nVersion: 1.0\n")
        wheel.writestr("heirloom-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("heirloom-1.0.dist-info/RECORD", "heirloom.py,,\nheirloom-1.0.dist-info/RECORD,,\n")
    (package / "index.html").write_text(f'<!doctype html><a href="{WHEEL}">{WHEEL}</a>')
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (root / "index.pem").write_text(private + issue(host, key, authority, is_authority=False))
    (root / "authority.pem").write_text(issue(AUTHORITY, authority, authority, is_authority=True))
    (root / "serve.py").write_text(SERVER)


if __name__ == "__main__":
    main(*sys.argv[1:])
