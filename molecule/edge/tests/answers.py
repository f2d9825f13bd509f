"""A client that sends what it is told, and nothing better."""

from __future__ import annotations

import http.client
from contextlib import suppress
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def all(self, name: str) -> list[str]:
        return self.headers.get_all(name) or []


def send(
    address: str, host: str, target: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Answer:
    """One request over plain HTTP. `Accept_Language` is the header Accept-Language."""
    connection = http.client.HTTPConnection(address, 80, timeout=20)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if body is not None:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was sent, and the answer is there
                connection.send(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))
    finally:
        connection.close()
