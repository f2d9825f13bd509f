"""What all commands share: the configuration, the record of what has been done, the lock, and errors."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/djangofleet-acme/config.json")


class AcmeError(Exception):
    """What keeps a certificate from being issued or served, in one line, with what to do."""


def config(path: Path = CONFIG) -> dict[str, Any]:
    """The configuration that role certificate has written."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise AcmeError(f"{path}: is not there; give a certificate the source acme, and run site.yml") from None
    except PermissionError:
        raise AcmeError(f"{path}: is root's; run djangofleet-acme as root") from None


class Record:
    """What is known of each certificate: the request that it was issued for, the pair that units have loaded, and the
    last problem. It is written whole after each step, so that a run that breaks off is made up for.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.path = Path(settings["state"]) / "state.json"
        try:
            self.content: dict[str, Any] = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            self.content = {"email": "", "certificates": {}}

    def of(self, name: str) -> dict[str, Any]:
        """What is known of a certificate."""
        return self.content["certificates"].get(name, {})

    def note(self, name: str, **known: Any) -> None:
        self.content["certificates"][name] = {**self.of(name), **known}
        self.write()

    def forget(self, name: str) -> None:
        self.content["certificates"].pop(name, None)
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(self.path, json.dumps(self.content, indent=1, sort_keys=True).encode(), 0o600)


def write(path: Path, content: bytes, mode: int, group: int = 0) -> None:
    """Put a file in place whole, on the disk before its name is."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        if group:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)


@contextmanager
def alone(settings: Mapping[str, Any], name: str) -> Iterator[None]:
    """Hold a lock. Who comes second waits: a run of the timer may be at work."""
    place = Path(settings["state"])
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(place / f"{name}.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def digest_of(chain: bytes) -> str:
    """The fingerprint of the first certificate of a chain in PEM."""
    end = "-----END CERTIFICATE-----"
    leaf = chain.decode("ascii", "replace").partition(end)[0] + end
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf.strip())).hexdigest()


def end_of(path: Path) -> float:
    """When a certificate ends, in seconds since the epoch; 0 for what is none."""
    words = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return ssl.cert_time_to_seconds(answer.stdout.strip().partition("=")[2]) if answer.returncode == 0 else 0


def lineage(settings: Mapping[str, Any], name: str) -> Path:
    """Where certbot keeps the newest pair of a certificate."""
    return Path(settings["state"]) / "certbot" / "live" / name


def place(settings: Mapping[str, Any], name: str) -> Path:
    """Where servers read it."""
    return Path(settings["directory"]) / name


def is_served(settings: Mapping[str, Any], record: Record, item: Mapping[str, Any]) -> bool:
    """Whether a certificate of an authority, valid today and for all domains, lies where servers read it."""
    known, chain = record.of(item["name"]), place(settings, item["name"]) / "fullchain.pem"
    covered = set(known.get("request", {}).get("domains", []))
    return (
        bool(known.get("loaded"))
        and chain.is_file()
        and digest_of(chain.read_bytes()) == known["loaded"]
        and set(item["request"]["domains"]) <= covered
        and end_of(chain) > time.time()
    )


def run(words: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a program; its exit code, and what it printed."""
    try:
        answer = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except FileNotFoundError:
        return 127, f"{words[0]} is not there; run site.yml"
    except subprocess.TimeoutExpired:
        return 124, f"{words[0]} did not end within {seconds:.0f} s"
    return answer.returncode, answer.stdout
