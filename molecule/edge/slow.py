#!/usr/bin/python3
"""Slow clients: `slow ADDRESS DOMAIN COUNT SECONDS` opens COUNT connections of each kind in turn and takes its time.

Prints for each kind how many there were, how long the longest was kept, and how many were still open at the end.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time

KINDS = ("handshake", "header", "body", "read")
ADDRESS, DOMAIN, COUNT, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
CONTEXT = ssl._create_unverified_context()  # noqa: S323  # it never reads what is said
HEAD = f"Host: {DOMAIN}\r\n"
FIRST = {
    "header": f"GET /slow HTTP/1.1\r\n{HEAD}X: ",
    "body": f"POST /slow HTTP/1.1\r\n{HEAD}Content-Length: 100000\r\n\r\n",
    "read": f"GET /slow?bytes=3000000 HTTP/1.1\r\n{HEAD}\r\n",
}


def opened(kind: str) -> socket.socket:
    plain = socket.socket()
    if kind == "read":
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(10)
    plain.connect((ADDRESS, 443))
    if kind == "handshake":
        plain.sendall(b"\x16\x03\x01\x02\x00")  # the head of a record, of which nothing follows
        return plain
    stream = CONTEXT.wrap_socket(plain, server_hostname=DOMAIN)
    stream.sendall(FIRST[kind].encode())
    return stream


open_ones, lasted, poll = {}, {kind: [0.0] for kind in KINDS}, select.poll()
began = time.monotonic()
for number in range(COUNT):
    kind = KINDS[number % len(KINDS)]
    stream = opened(kind)
    open_ones[stream.fileno()] = (kind, stream, time.monotonic())
    poll.register(stream.fileno(), select.POLLRDHUP)
while open_ones and time.monotonic() - began < SECONDS:
    ended = [number for number, _event in poll.poll(1000)]
    time.sleep(0.2)
    for number, (kind, stream, _since) in open_ones.items():
        if kind in ("header", "body") and number not in ended:
            try:
                stream.send(b"x")
            except OSError:
                ended.append(number)
    for number in ended:
        if number in open_ones:
            kind, stream, since = open_ones.pop(number)
            lasted[kind].append(time.monotonic() - since)
            poll.unregister(number)
            stream.close()
left = [kind for kind, _stream, _since in open_ones.values()]
print(json.dumps({kind: {"longest": round(max(lasted[kind]), 1), "left": left.count(kind)} for kind in KINDS}))
