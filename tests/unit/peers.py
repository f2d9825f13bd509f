"""The other hosts of an app: servers on loopback, each on an address of its own and all on one port."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server was told, and notes what it was asked."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        status, body = self.server.answer() if callable(self.server.answer) else self.server.answer
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


class Peers:
    """`peers((status, body), address)`: another host that answers so; a function gives another answer each time."""

    def __init__(self) -> None:
        self.port, self.servers = 0, []

    def __call__(self, answer: Any, address: str = "127.0.0.2", context: ssl.SSLContext | None = None) -> Any:
        server = http.server.ThreadingHTTPServer((address, self.port), Handler, bind_and_activate=False)
        server.daemon_threads = True
        server.server_bind()
        server.server_activate()
        server.handle_error = lambda *_: None
        server.answer, server.asked, self.port = answer, [], server.server_address[1]
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.servers.append(server)
        return server


@contextmanager
def other_hosts() -> Iterator[Peers]:
    """Other hosts, until the end of the block."""
    found = Peers()
    try:
        yield found
    finally:
        for server in found.servers:
            server.shutdown()
            server.server_close()
