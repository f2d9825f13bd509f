"""The module visit against real servers on loopback: what it asks, and which answers it calls well."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import io
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.djangofleet.stack.plugins.modules import visit
from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import certificate_end
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Answers = dict[str, tuple[int, dict[str, str], str]]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path as its server was told, and notes the Host of each request."""

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., http.server.HTTPServer]]:
    """`serve(answers, context=None)`: a server on loopback."""
    servers = []

    def start(answers: Answers, context: ssl.SSLContext | None = None) -> http.server.HTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.asked = answers, []
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def site(port: int, **more: Any) -> dict[str, Any]:
    return {
        "name": "shop", "domains": ["shop.test", "www.shop.test"], "tls": False, "port": port, "path": "/",
        "status_min": 200, "status_max": 399, "contains": "", "timeout": 5, "maintenance": "", **more,
    }  # fmt: skip


def seen(server: http.server.HTTPServer, seconds: float = 0, **more: Any) -> dict[str, Any]:
    return visit.visit("127.0.0.1", "shop.test", site(server.server_port, **more), time.monotonic() + seconds)


@pytest.mark.parametrize(
    ("answer", "more", "ok", "verdict"),
    [
        ((200, {}, "fine"), {}, True, "200"),
        ((204, {}, ""), {}, True, "204"),
        ((200, {}, "fine"), {"contains": "fine"}, True, "200"),
        ((200, {}, "fine"), {"contains": "excellent"}, False, "200, but the answer lacks 'excellent'"),
        ((404, {}, ""), {}, False, "404 and not 200 to 399"),
        ((404, {}, ""), {"status_max": 499}, True, "404"),
        ((400, {}, ""), {"status_max": 499}, False, "400: Django refuses the host"),
        ((400, {}, ""), {"status_max": 400}, True, "400"),
        ((500, {}, ""), {"status_max": 499}, False, "500 and not 200 to 499"),
        ((503, {}, ""), {}, False, "503 and not"),
        ((301, {"Location": "https://www.shop.test/"}, ""), {"status_max": 299}, True, "301 to https://www.shop.test/"),
        ((302, {"Location": "https://evil.test/"}, ""), {"status_max": 299}, False, "302 and not"),
        ((302, {"Location": "/login/"}, ""), {"status_max": 299}, False, "302 and not"),
        ((302, {"Location": "/login/"}, ""), {}, True, "302"),
        ((301, {"Location": "http://shop.test/"}, ""), {}, False, "301 to itself"),
        ((301, {"Location": "https://shop.test/"}, ""), {}, True, "301 to https://shop.test/"),
        ((301, {"Location": "http://shop.test:8443/"}, ""), {"public_port": 8443}, False, "301 to itself"),
        ((301, {"Location": "http://shop.test:8443/"}, ""), {}, True, "301 to http://shop.test:8443/"),
        ((302, {"Location": "https://[shop.test/"}, ""), {}, True, "302"),
        ((302, {"Location": "https://shop.test/\x1b[2J\x9b"}, ""), {}, True, r"302 to https://shop.test/\x1b[2J\x9b"),
    ],
)
def test_what_is_well(serve, answer, more, ok, verdict):
    found = seen(serve({"/": answer}), **more)
    assert found["ok"] is ok
    assert found["verdict"].startswith(verdict)
    assert found["status"] == answer[0]


def test_the_site_is_asked_by_its_name(serve):
    server = serve({"/healthz?x=1": (200, {}, "")})
    assert seen(server, path="/healthz?x=1")["ok"]
    assert server.asked == [("shop.test", "/healthz?x=1")]


def test_a_closed_site_is_in_maintenance_only_while_its_page_is_there(serve, tmp_path):
    server, page = serve({"/": (503, {}, "")}), tmp_path / "page.html"
    assert not seen(server, maintenance=str(page))["ok"]
    page.write_text("closed")
    assert seen(server, maintenance=str(page))["verdict"] == "in maintenance"


def test_nobody_listens(serve):
    server = serve({})
    port = server.server_port
    server.shutdown()
    server.server_close()
    found = visit.visit("127.0.0.1", "shop.test", site(port), time.monotonic())
    assert (found["ok"], found["status"]) == (False, 0)
    assert "no answer: " in found["verdict"]


def test_an_answer_that_takes_too_long(serve, monkeypatch):
    server = serve({"/": (200, {}, "")})
    monkeypatch.setattr(Handler, "do_GET", lambda self: time.sleep(2))
    assert seen(server, timeout=1)["verdict"] == "no answer: timed out"


def test_an_answer_in_small_pieces_does_not_take_as_long_as_it_likes(serve, monkeypatch):
    server = serve({"/": (200, {}, "")})

    def trickle(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(50):
                self.wfile.write(b"x")
                time.sleep(0.2)

    monkeypatch.setattr(Handler, "do_GET", trickle)
    began = time.monotonic()
    assert seen(server, timeout=1)["verdict"] == "no answer: timed out"
    assert time.monotonic() - began < 5


def test_it_asks_again_until_the_deadline(serve):
    server = serve({"/": (502, {}, "")})
    threading.Timer(0.3, lambda: server.answers.update({"/": (200, {}, "")})).start()
    assert seen(server, seconds=10)["ok"]
    assert len(server.asked) >= 2


def test_once_if_there_is_no_time(serve):
    server = serve({"/": (502, {}, "")})
    assert not seen(server)["ok"]
    assert len(server.asked) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that ends in 2031."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other.test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.datetime(2026, 1, 1)).not_valid_after(datetime.datetime(2031, 1, 1))
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


def test_the_certificate_is_told_whoever_signed_it(serve, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    found = seen(serve({"/": (200, {}, "")}, context), tls=True)
    assert found["ok"]
    assert certificate_end(found["certificate"]).year == 2031
    assert names == ["shop.test"]


def test_plain_http_where_tls_is_expected(serve):
    assert not seen(serve({"/": (200, {}, "")}), tls=True)["ok"]


# The services


def run_visit(monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    """What the module answers to these parameters."""
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {"sites": [], **params}}).encode()
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", given)
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        visit.main()
    assert end.value.code == 0
    return json.loads(printed.getvalue())


def test_djangoctl_is_asked_after_the_sites(monkeypatch, tmp_path, serve):
    """An app that does not serve is an answer too: djangoctl ends with a code, and what it printed counts."""
    server = serve({"/": (200, {}, "")})
    program = tmp_path / "djangoctl"
    program.write_text(f'#!/bin/sh\ncurl -s http://127.0.0.1:{server.server_port}/ -H "Host: $*"\necho "$@"\nexit 6\n')
    program.chmod(0o755)
    monkeypatch.setattr(visit, "PROGRAM", str(program))
    answer = run_visit(monkeypatch, sites=[site(server.server_port, domains=["shop.test"])], services=True)
    assert (answer["changed"], answer["services"]) == (False, "list --json\n")
    assert [host for host, _path in server.asked] == ["shop.test", "list --json"]


@pytest.mark.parametrize("params", [{}, {"services": True}])
def test_a_host_without_djangoctl_says_nothing_of_services(monkeypatch, tmp_path, params):
    monkeypatch.setattr(visit, "PROGRAM", str(tmp_path / "nothing"))
    assert run_visit(monkeypatch, **params)["services"] == ""
