"""What is malformed, ambiguous, or says that it is somebody else: nothing of it reaches an app as what it is not."""

from __future__ import annotations

import json
import subprocess

import pytest
import urllib3
from forms import CLOSED, H1, H2, SPOOFED, UNKNOWN
from shared.outside import hosts_of
from wire import CONTINUATION, HEADERS, answers, block, connected, frame, h2, request_frames, sent

CHUNKED_LAST = (
    "coding ' identity, chunked'",
    r"coding line 'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked'",
)
testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]
AFTER = "GET /after/{n} HTTP/1.1\r\nHost: forms.test\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def forgotten(address):
    ask(address, "/reset")


def ask(address: str, path: str) -> dict:
    with urllib3.HTTPConnectionPool(address, 80, timeout=20, retries=False) as pool:
        return json.loads(pool.request("GET", path, headers={"Host": "forms.test"}).data)


def reached(address: str, path: str) -> int:
    """How many requests for a path the app has seen."""
    return ask(address, f"/count?of={path}")["count"]


def judged(form, number: int, found: bytes) -> str:
    """What is wrong with what came back; empty if nothing is."""
    # HTTP/0.9 has no head: the page alone.
    if found.startswith(b"<html>") and (b"<title>400 " in found or b"<title>421 " in found):
        return ""
    try:
        read = answers(found)
    except (AssertionError, ValueError) as error:
        return f"not to be read: {error}"
    statuses = [answer.status for answer in read] or [CLOSED]
    if statuses[0] not in form.statuses:
        return f"{statuses}"
    if any(status >= 500 for status in statuses):
        return f"a fault of ours: {statuses}"
    for answer in read:
        told = answer.told()
        if told and "smuggled" in told["path"]:
            return f"smuggled: {told['path']}"
        if told and dict(told["headers"]).get("host") != "forms.test":
            return f"under a wrong name: {told['headers']}"
    if len(read) > 2:
        return f"{len(read)} answers to two requests"
    if len(read) == 2 and read[1].told().get("path") != f"/after/{number}":
        return f"the next request got another answer: {read[1].status} {read[1].body[:80]!r}"
    return ""


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_no_form_leads_to_another_request(address, tls):
    wrong = {}
    for number, form in enumerate(H1):
        with connected(address, "forms.test" if tls else "", "http/1.1") as stream:
            stream.settimeout(2)
            found = sent(stream, form.data(number) + AFTER.replace("{n}", str(number)).encode())
        # A form may end in what Nginx takes for the beginning of a body: then it is the body that ends the connection.
        if said := judged(form, number, found):
            wrong[form.name] = said
        if reached(address, f"/smuggled/{number}"):
            wrong[form.name] = "reached the app as a request of its own"
    assert wrong == {}


RUN = """
import json, socket, sys
for text in json.load(sys.stdin):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(1)
    stream.connect('/run/djangofleet/guestbook.sock')
    found = b''
    try:
        stream.sendall(text.encode('latin-1'))
        while part := stream.recv(65536):
            found += part
    except OSError:
        pass
    stream.close()
    print(json.dumps(found.decode('latin-1')))
"""


def test_no_form_at_the_socket_leads_to_another_request(name):
    """Past Nginx, what Gunicorn makes of them: it may take what Nginx refuses, and answers no more than was asked."""
    after = AFTER.replace("/after/{n}", "/healthz")
    texts = [(form.text + after).replace("{n}", "1").replace("forms.test", "guestbook.test") for form in H1]
    run = subprocess.run(
        ["docker", "exec", "-i", name, "python3", "-c", RUN],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = run.stdout.splitlines()
    wrong = {}
    for form, line in zip(H1, lines, strict=True):
        found = json.loads(line).encode("latin-1")
        try:
            read = answers(found)
        except (AssertionError, ValueError) as error:
            wrong[form.name] = f"not to be read: {error}"
            continue
        statuses = [answer.status for answer in read]
        # Chunked in the last place counts (RFC 9112, 6.1): then a body has ended, and a request follows.
        most = 3 if form.name in CHUNKED_LAST else 2
        # 501 is what Gunicorn says to a coding that it does not know; no visitor sees it.
        if len(read) > most or any(status >= 500 and status != 501 for status in statuses):
            wrong[form.name] = f"{statuses}"
        if any(b"smuggled" in answer.body for answer in read):
            wrong[form.name] = "answered what was smuggled"
    assert wrong == {}


def test_no_form_of_http2_reaches_the_app_as_another(address):
    wrong = {}
    for number, (name, fields, statuses) in enumerate(H2):
        marked = [(key, value.replace(b"{n}", b"h2-%d" % number)) for key, value in fields]
        after = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/after"), (b":authority", b"forms.test")]
        found = h2(address, "forms.test", request_frames(1, marked) + request_frames(3, after), 2)
        if found.get(1, CLOSED) not in statuses:
            wrong[name] = f"{found}"
        if found.get(3, 200) not in (200, CLOSED):
            wrong[name] = f"the next request: {found}"
        if reached(address, f"/smuggled/h2-{number}"):
            wrong[name] = "reached the app"
    assert wrong == {}


def test_headers_over_http2_have_an_end(address):
    """Frames that continue a head for ever: the connection ends long before they do."""
    start = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/form/flood"), (b":authority", b"forms.test")]
    flood = b"".join(frame(CONTINUATION, 0, 1, block([(b"x", b"y" * 8000)])) for _ in range(200))
    found = h2(address, "forms.test", frame(HEADERS, 1, 1, block(start)) + flood, 1)
    assert found.get(1, CLOSED) in (CLOSED, 400, 431)
    assert reached(address, "/form/flood") == 0


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_unknown_hosts_reach_no_app(address, tls):
    wrong = {}
    for number, host in enumerate(UNKNOWN):
        path = f"/unknown/{number}-{tls}"
        text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        with connected(address, "forms.test" if tls else "", "http/1.1") as stream:
            read = answers(sent(stream, text.encode("latin-1")))
        statuses = [answer.status for answer in read] or [CLOSED]
        if statuses[0] not in ((400, 421) if tls else (400, CLOSED)) or len(statuses) > 1 or reached(address, path):
            wrong[host] = statuses
    assert wrong == {}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_spoofed_headers_are_not_honoured(address, tls):
    wrong = {}
    for name in SPOOFED:
        text = f"GET /spoofed HTTP/1.1\r\nHost: forms.test\r\n{name}: spoofed.test\r\nConnection: close\r\n\r\n"
        with connected(address, "forms.test" if tls else "", "http/1.1") as stream:
            (answer,) = answers(sent(stream, text.encode()))
        seen = answer.seen()
        told = [key for key, values in seen.items() if "spoofed.test" in values]
        if answer.status != 200 or told or len(seen["x-forwarded-for"]) > 1:
            wrong[name] = (answer.status, told)
        if seen["host"] + seen["x-forwarded-host"] + seen["x-forwarded-proto"] != (
            ["forms.test"] * 2 + ["https" if tls else "http"]
        ):
            wrong[name] = seen
    assert wrong == {}
