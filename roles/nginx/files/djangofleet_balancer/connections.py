"""Which TCP connections of this host to a server are left, by what the kernel lists of them."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from .config import address_of

PROC = Path("/proc")
UNIT = "djangofleet-balancer.service"
ESTABLISHED = "01"
# One look may come just before a worker of Nginx connects.
LOOKS = 2
PAUSE = 0.2  # seconds between two looks

Peer = tuple[str, int]


def peers_of(addresses: Iterable[str]) -> set[Peer]:
    """The addresses and ports that connections to these servers have at their other end. Names are looked up."""
    found = set()
    for host, port in map(address_of, addresses):
        with suppress(OSError):  # of a name that nobody knows there are no connections
            found |= {(_plain(each[4][0]), port) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return found


def left(peers: Collection[Peer], seconds: float) -> int:
    """Wait until no connection to these peers is left. Returns how many are, which is 0 unless the time is over."""
    end, clear = time.monotonic() + seconds, 0
    while True:
        found = count(peers)
        clear = 0 if found else clear + 1
        if clear == LOOKS or time.monotonic() >= end:
            return found
        time.sleep(PAUSE)


def count(peers: Collection[Peer]) -> int:
    """How many connections there are to these peers, without those by which `watch` asks whether they are well."""
    found = [inode for peer, inode in _established() if peer in peers]
    probes = _probes() if found else ()  # not before: a probe that begins in between would count
    return sum(inode not in probes for inode in found)


def cut(addresses: Iterable[str]) -> int:
    """End all connections to these servers on this side, whatever they would say. Returns how many there were.

    Nginx sees an error in what it waits for, and asks another server where the request may be repeated. The kernel does
    it, where it can (CONFIG_INET_DIAG_DESTROY, which those of Debian have).
    """
    found = 0
    for host, port in peers_of(addresses):
        peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        words = ["ss", "--kill", "--tcp", "--numeric", "--no-header", "state", "established", "dst", peer]
        with suppress(OSError, subprocess.SubprocessError):
            found += len(
                subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
            )
    return found


def _established() -> Iterator[tuple[Peer, str]]:
    """The other end of each connection of this host, and its inode."""
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # of a kernel without IPv6
            yield from listed((PROC / "net" / name).read_text())


def listed(table: str) -> Iterator[tuple[Peer, str]]:
    """The other end of each established connection in a table of the kernel, and its inode."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if words[3] == ESTABLISHED:
            address, port = words[2].split(":")
            yield (_address(address), int(port, 16)), words[9]


def _address(text: str) -> str:
    """An address as the kernel lists it: words of 32 bits in the order of this machine."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    return _plain(str(ipaddress.ip_address(b"".join(words))))


def _plain(text: str) -> str:
    """An address in one form: that of IPv4 within IPv6 is that of IPv4."""
    found = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(found, "ipv4_mapped", None) or found)


def _probes() -> set[str]:
    """The inodes of the connections that `watch` has. None if it does not run, or if its files cannot be seen."""
    words = ["systemctl", "show", "--property=MainPID", "--value", UNIT]
    found = set()
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        for entry in (PROC / (answer.stdout.strip() or "none") / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    found.add(target[len("socket:[") : -1])
    return found
