"""Bytes to a server and what comes back: clients refuse to send what is not allowed."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from forms import CLOSED, Fields

SECONDS = 5
# RFC 7541, appendix A: statuses that stand in HPACK's static table
STATIC = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
DATA, HEADERS, RESET, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9


@dataclass
class Answer:
    """One answer: its status, its headers by name in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def told(self) -> dict[str, Any]:
        """What backend.py says that reached it; nothing if it was not asked."""
        return json.loads(self.body) if self.headers.get("content-type", "").startswith("application/json") else {}

    def seen(self) -> dict[str, list[str]]:
        """The request's headers as the app got them, by name."""
        found: dict[str, list[str]] = {}
        for name, value in self.told()["headers"]:
            found.setdefault(name, []).append(value)
        return found


def connected(address: str, name: str = "", *protocols: str) -> socket.socket:
    """A connection, with TLS if a name for it is given."""
    plain = socket.create_connection((address, 443 if name else 80), timeout=SECONDS)
    if not name:
        return plain
    context = ssl._create_unverified_context()  # noqa: S323  # the forms are about HTTP
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(plain, server_hostname=name)


def sent(stream: socket.socket, data: bytes) -> bytes:
    """All that comes back until the server closes, or says nothing for a while."""
    found = b""
    try:
        stream.sendall(data)
        while part := stream.recv(65536):
            found += part
    except (TimeoutError, ConnectionError, ssl.SSLError):
        pass
    return found


def answers(found: bytes) -> list[Answer]:
    """The answers that stand one after another, read by their own lengths."""
    read = []
    while found:
        head, mark, rest = found.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        words = lines[0].split(b" ")
        is_answer = bool(mark) and words[0] in (b"HTTP/1.1", b"HTTP/1.0") and words[1].isdigit()
        assert is_answer, f"no answer: {found[:80]!r}"
        headers = {
            name.decode().lower(): value.strip().decode()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if headers.get("transfer-encoding") == "chunked":
            body, rest = _unchunked(rest)
        else:
            length = int(headers.get("content-length", len(rest)))
            body, rest = rest[:length], rest[length:]
        read.append(Answer(int(words[1]), headers, body))
        found = rest
    return read


def _unchunked(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _mark, rest = rest.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, rest


# HTTP/2 ---------------------------------------------------------------------------------------------------------------


def block(fields: Fields) -> bytes:
    """Fields as HPACK writes them that no table knows."""

    def text(value: bytes) -> bytes:
        length, more = min(len(value), 127), len(value) - 127
        head = bytes([length])
        while more >= 0:
            head += bytes([more & 127 | (128 if more > 127 else 0)])
            if more <= 127:
                break
            more >>= 7
        return head + value

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def request_frames(stream: int, fields: Fields) -> bytes:
    """A request without a body: a first frame, and more where its fields are long."""
    content = block(fields)
    parts = [content[start : start + 16000] for start in range(0, len(content), 16000)] or [b""]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    last = len(parts) - 1
    return b"".join(
        frame(kind, (1 if number == 0 else 0) | (4 if number == last else 0), stream, part)
        for number, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    )


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)


def h2(address: str, name: str, data: bytes, streams: int) -> dict[int, int]:
    """The status of each stream, CLOSED where it ended without one; it waits for so many."""
    found: dict[int, int] = {}
    with connected(address, name, "h2") as stream:
        source = stream.makefile("rb")
        try:
            stream.sendall(PREFACE + data)
            while len(found) < streams:
                head = source.read(9)
                if len(head) < 9:
                    break
                content = source.read(int.from_bytes(head[:3], "big"))
                identity = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                if head[3] == HEADERS:
                    found[identity] = _status(content)
                elif head[3] == RESET:
                    found.setdefault(identity, CLOSED)
                elif head[3] == GOAWAY:
                    break
        except (TimeoutError, ConnectionError, ssl.SSLError):
            pass
    return found


def _status(content: bytes) -> int:
    """:status is the first field, as a number of the static table or as text."""
    while content[0] & 0xE0 == 0x20:  # an update of the table's size
        content = content[1:]
    if content[0] & 0x80:
        return STATIC[content[0] & 0x7F]
    length = content[1] & 0x7F
    assert not content[1] & 0x80, "digits take no less room in Huffman's code"
    return int(content[2 : 2 + length])
