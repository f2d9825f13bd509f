"""Websockets and server-sent events of an ASGI app, through TLS, by clients that know nothing of the server."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from shared.outside import PROVE, hosts_of

testinfra_hosts = hosts_of("edge", gate=13)
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass
class Websocket:
    """A client of RFC 6455: whole messages, masked as a client has to."""

    connection: ssl.SSLSocket
    rest: bytes = b""

    def take(self, count: int) -> bytes:
        while len(self.rest) < count:
            more = self.connection.recv(65536)
            assert more, "the connection is closed"
            self.rest += more
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def head(self) -> list[str]:
        lines = b""
        while not lines.endswith(b"\r\n\r\n"):
            lines += self.take(1)
        return lines.decode().split("\r\n")

    def send(self, kind: int, data: bytes) -> None:
        mask, size = os.urandom(4), len(data)
        short = size if size < 126 else 126 if size < 65536 else 127
        length = b"" if short < 126 else struct.pack("!H" if short == 126 else "!Q", size)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        self.connection.sendall(bytes([0x80 | kind, 0x80 | short]) + length + mask + masked)

    def receive(self) -> tuple[int, bytes]:
        data = b""
        while True:
            first, second = self.take(2)
            size = second & 0x7F
            if size > 125:
                size = struct.unpack("!H" if size == 126 else "!Q", self.take(2 if size == 126 else 8))[0]
            data += self.take(size)
            kind = first & 0x0F or TEXT
            if kind == PING:
                self.send(PONG, data)
                data = b""
            elif first & 0x80:
                return kind, data


@pytest.fixture
def connect(address, authority):
    """connect() -> a TLS connection to feed.test."""
    opened: list[ssl.SSLSocket] = []

    def run() -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection((address, 443), timeout=15)
        opened.append(context.wrap_socket(plain, server_hostname="feed.test"))
        return opened[-1]

    yield run
    for connection in opened:
        connection.close()


@pytest.fixture
def websocket(connect):
    """websocket(path) -> a websocket, and the head of the answer that opened it."""

    def run(path: str = "/live/echo", upgrade: str = "websocket") -> tuple[Websocket, list[str]]:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: feed.test",
            f"Upgrade: {upgrade}",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "Origin: https://feed.test",
        ]
        client = Websocket(connect())
        client.connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = client.head()
        if upgrade == "websocket":
            accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()  # noqa: S324  # RFC 6455
            assert head[0].startswith("HTTP/1.1 101"), head
            assert f"sec-websocket-accept: {accept}".lower() in [line.lower() for line in head]
        return client, head

    return run


def test_a_websocket_echoes_through_tls(websocket):
    client, _head = websocket()
    for kind, data in ((TEXT, "Grüezi".encode()), (BINARY, os.urandom(300)), (BINARY, os.urandom(70_000))):
        client.send(kind, data)
        assert client.receive() == (kind, data)
    client.send(CLOSE, struct.pack("!H", 1000))
    assert client.receive()[0] == CLOSE


def test_websockets_stay_open_while_nothing_is_said(websocket):
    """For longer than the timeouts of a client that is slow to send a head or a body."""
    clients = [websocket()[0] for _ in range(5)]
    time.sleep(65 if PROVE else 12)
    for number, client in enumerate(clients):
        client.send(TEXT, str(number).encode())
        assert client.receive() == (TEXT, str(number).encode())


def test_nothing_else_is_upgraded(websocket):
    _client, head = websocket("/news/", upgrade="h2c")
    assert head[0].startswith("HTTP/1.1 200"), "it is a request like any other"


def test_events_arrive_one_by_one(connect):
    connection = connect()
    head = "GET /live/events HTTP/1.1\r\nHost: feed.test\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    seen = list(arrivals(connection))
    assert [name for name, _when in seen] == ["id: 0", "id: 1", "id: 2", "id: 3"]
    gaps = [later - earlier for (_a, earlier), (_b, later) in pairwise(seen)]
    assert min(gaps) > 0.2, f"they came together: {gaps}"


def arrivals(connection: ssl.SSLSocket) -> Iterator[tuple[str, float]]:
    """Each event's id with the time when it arrived."""
    rest = b""
    while more := connection.recv(65536):
        rest += more
        while (at := rest.find(b"\n\n")) >= 0:
            event, rest = rest[:at], rest[at + 2 :]
            found = [line for line in event.decode().splitlines() if line.startswith("id: ")]
            if found:
                yield found[0], time.monotonic()


def test_events_are_nobody_elses(browse):
    answers = [browse("feed.test").get("/live/events", headers={"Accept": "text/event-stream"}) for _ in range(2)]
    assert [answer.headers["X-Cache"] for answer in answers] == ["BYPASS"] * 2
    assert answers[0].data != answers[1].data
