"""Asks a server for a page, as a visitor behind the balancer would, and says what is wrong with its answer."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import address_of
from .files import Version, version_of

LONGEST = 1024  # bytes of a status line
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\n]*)?\r?\n")


SILENT = "it takes no connection"
UNREACHABLE = tuple(os.strerror(number).lower() for number in (errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH))


class Unconnected(Exception):
    """A server has not taken the connection in time."""


_contexts: dict[tuple[str, Version | None], ssl.SSLContext] = {}


async def fault(address: str, health: Mapping[str, Any], seconds: float, first: float | None = None) -> str:
    """What is wrong with a server; empty if it is well.

    :param address: host and port.
    :param health: what to ask for, and which answers are right.
    :param seconds: what all of it may take: connection, handshake and answer.
    :param first: what connection and handshake may take, which no work of the app delays; as long as all of it if not
        given.
    """
    try:
        async with asyncio.timeout(seconds):
            return _judged(await _status_line(address, health, first), health)
    except Unconnected:
        return f"{SILENT} within {first:g} s"
    except TimeoutError:
        return f"timed out after {seconds:g} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is refused: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS fails: {(error.reason or str(error)).replace('_', ' ').lower()}"
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
        return "it hangs up"
    except OSError as error:  # asyncio words errors of its own; those of a name service have negative numbers
        text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        return text[:1].lower() + text[1:] + (f": {error.filename}" if error.filename else "")
    except ValueError as error:  # a name that TLS or the name service does not take
        return f"it cannot be asked: {error}"


def is_silent(fault: str) -> bool:
    """Whether a server was not there at all, by what was wrong with it: it may have frozen."""
    return fault.startswith((SILENT, *UNREACHABLE))


def _judged(line: bytes, health: Mapping[str, Any]) -> str:
    """What is wrong with a status line."""
    if not line:
        return "it hangs up"
    found = STATUS.fullmatch(line)
    if not found:
        return "it does not speak HTTP"
    lowest, highest = health["status_min"], health["status_max"]
    wanted = str(lowest) if lowest == highest else f"{lowest} to {highest}"
    return "" if lowest <= int(found[1]) <= highest else f"it answers {int(found[1])} and not {wanted}"


async def _status_line(address: str, health: Mapping[str, Any], first: float | None) -> bytes:
    """The first line of an answer; empty if the server ends the connection before. Nothing after it is read."""
    host, port = address_of(address)
    tls = health["tls"]
    options = {"ssl": _context(tls["authority_file"]), "server_hostname": tls["name"]} if tls else {}
    try:
        async with asyncio.timeout(first):
            reader, writer = await asyncio.open_connection(host, port, limit=LONGEST, **options)
    except TimeoutError:
        raise Unconnected from None
    try:
        writer.write(request(health))
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return b"\n"
    finally:
        writer.transport.abort()  # to close it would be to wait for the other side


def request(health: Mapping[str, Any]) -> bytes:
    """What a server is sent."""
    lines = [
        f"GET {health['path']} HTTP/1.1",
        f"Host: {health['host']}",
        "X-Forwarded-Proto: https",  # as a visitor's request comes, whatever these two hosts speak
        "User-Agent: djangofleet-balancer",
        "Accept: */*",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _context(path: str) -> ssl.SSLContext:
    """TLS that trusts one authority and no other. It is made anew when the file has changed.

    :raises OSError: the file is missing, or has no certificate.
    """
    key = (path, version_of(Path(path)))
    if key not in _contexts:
        with open(path, "rb"):  # the library does not say which file is missing
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(path)
        for known in [known for known in _contexts if known[0] == path]:
            del _contexts[known]
        _contexts[key] = context
    return _contexts[key]
