#!/usr/bin/env python3
"""A bounded load on one site of our own: GETs and POSTs over TLS, each answer counted, none repeated.

Standard library only, so that a bare test host can run it. It stops by itself: at a number of requests, at a time, or
when its standard input closes, whichever comes first; until then --count has how many were answered. Prints one JSON
object: requests, failed (with up to ten examples), cut (how many of those broke off after a good status), the
references of all POSTs that were answered 201, and the time of each answer in milliseconds with when it began (seconds
since the start, which is given on the machine's monotonic clock), for percentiles.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import sys
import time
import uuid
from pathlib import Path

HEADERS = "Host: {host}\r\nUser-Agent: djangofleet-load\r\nAccept: */*\r\n"


class Connection:
    """One keep-alive connection, as a browser has."""

    def __init__(self, options: argparse.Namespace, context: ssl.SSLContext) -> None:
        self.options, self.context = options, context
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        # A status below 500 has come, and its body is to follow.
        self.answering = False

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            self.options.address, self.options.port, ssl=self.context, server_hostname=self.options.host
        )

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one request and read its answer whole. Every error is the caller's to count."""
        if self.writer is None:
            await self.open()
        self.answering = False
        self.writer.write(request)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, headers = int(head.split()[1]), {}
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.answering = status < 500
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return body


class Load:
    """All connections together, and what they have seen."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.context = ssl.create_default_context(cafile=options.authority)
        self.sent = self.failed = self.cut = 0
        self.examples: list[str] = []
        self.references: list[str] = []
        self.answers: list[tuple[float, float]] = []
        self.over = False
        self.start = time.monotonic()

    def request(self, number: int) -> tuple[bytes, str]:
        """A request and, for a POST, its reference. Every n-th is a POST."""
        head = HEADERS.format(host=self.options.host) + ("Connection: close\r\n" if self.options.fresh else "")
        if self.options.post_every and number % self.options.post_every == 0:
            reference = f"{self.options.prefix}{uuid.uuid4().hex}"
            body = json.dumps({"name": "load", "message": "from the load", "reference": reference}).encode()
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            return f"POST {self.options.post_path} HTTP/1.1\r\n{head}\r\n".encode() + body, reference
        return f"GET {self.options.path} HTTP/1.1\r\n{head}\r\n".encode(), ""

    def late(self) -> bool:
        return time.monotonic() - self.start > self.options.seconds

    def fail(self, what: str) -> None:
        self.failed += 1
        if len(self.examples) < 10:
            self.examples.append(f"{time.monotonic() - self.start:.2f} s: {what}")

    async def one(self) -> None:
        """One visitor: request after request until it is over."""
        connection = Connection(self.options, self.context)
        while self.sent < self.options.requests and not self.over and not self.late():
            self.sent += 1
            request, reference = self.request(self.sent)
            began = time.monotonic()
            try:
                status, _body = await asyncio.wait_for(connection.ask(request), self.options.timeout)
            except Exception as error:
                self.cut += connection.answering and isinstance(error, asyncio.IncompleteReadError)
                self.fail(f"{request.split()[0].decode()}: {type(error).__name__}: {error}")
                connection.close()
                continue
            self.answers.append((began - self.start, (time.monotonic() - began) * 1000))
            if reference and status == 201:
                self.references.append(reference)
            elif status != 200:
                self.fail(f"{request.split()[0].decode()}: {status}")
            if self.options.pause:
                await asyncio.sleep(self.options.pause)
        connection.close()

    async def run(self) -> dict:
        async def stop() -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(sys.stdin.buffer.read), self.options.seconds)
            self.over = True

        async def count() -> None:
            while True:
                Path(self.options.count).write_text(str(len(self.answers)))
                await asyncio.sleep(0.2)

        watches = [asyncio.ensure_future(stop()), *([asyncio.ensure_future(count())] if self.options.count else [])]
        await asyncio.gather(*(self.one() for _ in range(self.options.connections)))
        for watch in watches:
            watch.cancel()
        return {
            "start": self.start,
            "requests": self.sent,
            "failed": self.failed,
            "cut": self.cut,
            "examples": self.examples,
            "references": self.references,
            "answers": [(round(at, 3), round(ms, 2)) for at, ms in self.answers],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--host", required=True)
    parser.add_argument("--authority", required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--post-path", default="/api/entries/")
    parser.add_argument("--post-every", type=int, default=0, help="every n-th request is a POST; 0 for none")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--fresh", action="store_true", help="a connection for each request: a reload of Nginx closes idle ones"
    )
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a visitor waits between two requests")
    parser.add_argument("--requests", type=int, default=100_000, help="at most so many")
    parser.add_argument("--count", default="", help="a file for the number of answers, while it runs")
    parser.add_argument("--seconds", type=float, default=600, help="at most so long")
    parser.add_argument("--timeout", type=float, default=30)
    result = asyncio.run(Load(parser.parse_args()).run())
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    # A thread still waits for the standard input.
    os._exit(0)


if __name__ == "__main__":
    main()
