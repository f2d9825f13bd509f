"""What the scenarios' tests share: a browser's view of a host, from outside of it, and a controller's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import docker
import urllib3

ROOT = Path(__file__).resolve().parents[2]
# `make prove` counts in full and takes both distributions everywhere; the gate does everything once.
PROVE = bool(os.environ.get("PROVE"))


def distributions(gate: int) -> tuple[int, ...]:
    """The Debian releases to try something on, of which the gate takes that one."""
    return (12, 13) if PROVE else (gate,)


@dataclass
class Browser:
    """Speaks HTTP with one host as if a domain led there: real names, a real TLS handshake, cookies, no redirects.

    :param address: the host's address.
    :param authority: a PEM file with the authorities that are believed.
    """

    address: str
    domain: str
    authority: str
    cookies: dict[str, str] = field(default_factory=dict)

    def pool(self, timeout: float = 20) -> urllib3.HTTPSConnectionPool:
        return urllib3.HTTPSConnectionPool(
            self.address,
            443,
            server_hostname=self.domain,
            assert_hostname=self.domain,
            ca_certs=self.authority,
            cert_reqs="CERT_REQUIRED",
            timeout=timeout,
            retries=False,
            maxsize=8,
        )

    def request(self, method: str, path: str, *, headers: dict | None = None, scheme: str = "https", **options):
        """Send one request and remember the cookies of its answer."""
        pool = (
            self.pool()
            if scheme == "https"
            else urllib3.HTTPConnectionPool(self.address, 80, timeout=20, retries=False)
        )
        sent = {"Host": self.domain, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with pool:
            answer = pool.request(method, path, headers=sent, redirect=False, **options)
        for line in answer.headers.getlist("Set-Cookie"):
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        return answer

    def get(self, path: str, **options):
        return self.request("GET", path, **options)

    def text(self, path: str, **options) -> str:
        """The body of a page that must be there."""
        answer = self.get(path, **options)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.data[:500]!r}"
        return answer.data.decode()

    def submit(self, path: str, fields: dict):
        """Fill in the form of a page and send it, with the page's own CSRF token."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.text(path))
        assert token, f"{path} has no form with a CSRF token"
        headers = {"Referer": f"https://{self.domain}{path}", "Origin": f"https://{self.domain}"}
        return self.request("POST", path, headers=headers, fields={"csrfmiddlewaretoken": token[1], **fields})


def address_of(name: str) -> str:
    """The address of a test host on its own network."""
    networks = docker.from_env().containers.get(name).attrs["NetworkSettings"]["Networks"]
    return next(network["IPAddress"] for network in networks.values() if network["IPAddress"])


def ask(address: str, domain: str, path: str) -> tuple[int, bytes]:
    """Status and body of a plain HTTP request."""
    with urllib3.HTTPConnectionPool(address, 80, timeout=20, retries=False) as pool:
        answer = pool.request("GET", path, headers={"Host": domain}, redirect=False)
    return answer.status, answer.data


def hosts_of(scenario: str, gate: int = 0) -> list[str]:
    """The hosts of a scenario.

    :param gate: the Debian release that the gate takes, where it does not take both.
    """
    return [f"djangofleet-{scenario}-{release}" for release in (distributions(gate) if gate else (12, 13))]


# Of a controller whose words a test reads
CONTROLLER = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}


def control(*words: str, seconds: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the controller from the root."""
    return subprocess.run(
        words,
        cwd=ROOT,
        env={**CONTROLLER, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def play(scenario: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook from the root against the hosts of the scenario that Molecule verifies."""
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], f"molecule/{scenario}/inventory"]
    return control("ansible-playbook", *(f"--inventory={inventory}" for inventory in inventories), *words)


@contextmanager
def visiting(address: str, domain: str, authority: str, *words: str) -> Iterator[dict[str, Any]]:
    """Visitors of a site meanwhile; the dictionary has what they saw when they have gone.

    Until then `seen["answered"]()` is how many requests have been answered.

    :param words: for shared/load.py.
    """
    count = Path(tempfile.mkdtemp()) / "answered"
    target = [f"--address={address}", f"--host={domain}", f"--authority={authority}", f"--count={count}"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "molecule/shared/load.py"), *target, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # It is written anew each time, so that it may be empty for a moment.
    seen: dict[str, Any] = {"answered": lambda: int((count.exists() and count.read_text()) or 0)}
    try:
        yield seen
        seen |= json.loads(process.communicate(timeout=120)[0])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(count.parent)


def within(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until something holds, and return how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began
