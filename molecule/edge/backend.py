#!/usr/bin/python3
"""Stands for an app: tells as JSON what reached it. `backend PORT` listens on 127.0.0.1.

The query says how it answers: status=503, sleep=2 (seconds before the head), header=Name:value (repeated), bytes=100.
after=1 says the status and the sleep of the requests for the path after the first, at=9101 those of that port alone.
/count?of=/path tells how many requests for a path reached it, /reset forgets them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(sys.argv[1])
seen: Counter[str] = Counter()


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        length = int(self.headers.get("Content-Length") or 0)
        if address.path == "/reset":
            seen.clear()
        elif address.path != "/count":
            seen[address.path] += 1
        is_meant = seen[address.path] > int(query.get("after", ["0"])[0]) and query.get("at", [str(PORT)]) == [
            str(PORT)
        ]
        body = self.rfile.read(length)
        if is_meant:
            time.sleep(float(query.get("sleep", ["0"])[0]))
        told = {
            "port": PORT,
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": len(body),
            "count": seen[query.get("of", [address.path])[0]],
            "fill": "x" * int(query.get("bytes", ["0"])[0]),
        }
        text = json.dumps(told).encode()
        self.send_response(int(query.get("status", ["200"])[0]) if is_meant or "after" not in query else 200)
        for line in query.get("header", []):
            self.send_header(*line.split(":", 1))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *words: object) -> None:
        """Nothing: the tests ask for what reached it."""


ThreadingHTTPServer(("127.0.0.1", PORT), Backend).serve_forever()
