# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the rules want to know of certificates and keys.

This alone uses the library cryptography. ansible-core requires it, so that it is there wherever a filter is called.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# ansible-test imports every plugin, and has ansible-doc read them, without it: there no certificate is looked at.
with contextlib.suppress(ImportError):
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtensionOID, NameOID

CURVE = "secp256r1"
BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
DAY = datetime.timedelta(days=1)


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
    def subject(self) -> x509.Name:
        return self.certificate.subject

    @property
    def issuer(self) -> x509.Name:
        return self.certificate.issuer

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
        names = self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @property
    def is_authority(self) -> bool:
        constraints = self._extension(ExtensionOID.BASIC_CONSTRAINTS)
        return bool(constraints and constraints.ca)

    @property
    def is_root(self) -> bool:
        return self.issuer == self.subject

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


def name_of(common_name: str) -> x509.Name:
    """A subject that has a common name and nothing else."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def private_key(text: str) -> Any:
    """The private key in a text.

    :raises ValueError: it is damaged, or of no use.
    """
    try:
        return serialization.load_pem_private_key(blocks(text, "PRIVATE KEY")[0], password=None)
    except (IndexError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error


def public_key(text: str) -> Any:
    """The public key in a text; None when there is none.

    :raises ValueError: it is damaged, or of no use.
    """
    found = blocks(text, "PUBLIC KEY")
    try:
        return serialization.load_pem_public_key(found[0]) if found else None
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
