"""Requests that two readers could understand differently, as bytes and as frames of HTTP/2, and what may come of each.

`{n}` stands for the number of a form, so that the app can tell whether anything of it reached it. A form is followed by
an honest request on the same connection: it is answered as its own, or the connection is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSED = 0  # the connection ends without an answer
REFUSED = frozenset({CLOSED, 400})
TAKEN = frozenset({200})
EITHER = REFUSED | TAKEN
HOST = "Host: forms.test\r\n"
SMUGGLED = "GET /smuggled/{n} HTTP/1.1\r\nHost: forms.test\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST = "0\r\n\r\n"


@dataclass(frozen=True)
class Form:
    """A request, and the statuses that its answer may have."""

    name: str
    text: str
    statuses: frozenset[int] = REFUSED

    def data(self, number: int) -> bytes:
        return self.text.replace("{n}", str(number)).encode("latin-1")


def post(headers: str, body: str = "", line: str = "POST /form/{n} HTTP/1.1") -> str:
    return f"{line}\r\n{HOST}{headers}\r\n{body}"


def get(line: str, headers: str = HOST) -> str:
    return f"{line}\r\n{headers}\r\n"


LENGTH_AND_CODING = [
    Form(f"both lengths, {name}", post(headers, LAST + SMUGGLED))
    for name, headers in {
        "length first": f"Content-Length: 5\r\n{CHUNKED}",
        "coding first": f"{CHUNKED}Content-Length: 5\r\n",
        "length 0": f"Content-Length: 0\r\n{CHUNKED}",
        "length too long": f"Content-Length: 500\r\n{CHUNKED}",
        "lower case": "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "upper case": "CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n",
        "a header between": f"Content-Length: 5\r\nX: y\r\n{CHUNKED}",
        "length twice": f"Content-Length: 5\r\nContent-Length: 5\r\n{CHUNKED}",
    }.items()
]
CODINGS = [
    Form(f"coding {value!r}", post(f"Transfer-Encoding:{value}\r\n", LAST + SMUGGLED))
    for value in (
        " identity", " identity, chunked", " chunked, identity", " gzip, chunked", " chunked, chunked", " x", " ",
        " xchunked", " chunkedx", " chunked;q=1", " \"chunked\"", " chunked,", " ,chunked", " chun ked",
        "\x0bchunked",
        " chunked\x0b", "\x0cchunked", " \xa0chunked", " chunked\xa0", " chunked\x00", " deflate", " trailers",
        " 'chunked'",
    )
]  # fmt: skip
CODING_LINES = [
    Form(f"coding line {line!r}", post(f"{line}\r\n", LAST + SMUGGLED))
    for line in (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
        "Transfer-Encoding\t: chunked", "Transfer-Encoding\x00: chunked", "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: x\r\n\tchunked", "Transfer Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked", "\x00Transfer-Encoding: chunked",
    )
]  # fmt: skip
# Names that Nginx knows for none of its own: it drops the header, and sees a request without a body. What follows is a
# request of its own then, and the app is told nothing of a coding.
DROPPED = [
    Form(f"no coding {line!r}", post(f"Content-Length: 0\r\n{line}\r\n"), EITHER)
    for line in (
        "Transfer_Encoding: chunked",
        "Transfer-Encoding\xad: chunked",
        "X-Transfer-Encoding: chunked",
        "TE: chunked",
    )
]
LENGTHS = [
    Form(f"length {value!r}", post(f"Content-Length:{value}\r\n", "x" + SMUGGLED))
    for value in (
        " +1", " -1", " 0x1", " 1,1", " 1, 1", " 1 1", " 1;", " 1.0", " 1e0", " one", " ", " 1\x00", " \x0b1",
        " \xb9",
        " 99999999999999999999", " 18446744073709551617", " 1_0", " '1'", " 1\r\nContent-Length: 1",
        " 1\r\nContent-Length: 2", " 1\r\ncontent-length: 0", " 1\r\n 0",
    )
] + [
    Form(f"length line {line!r}", post(f"{line}\r\n", "x" + SMUGGLED))
    for line in ("Content-Length : 1", " Content-Length: 1", "Content-Length\t: 1", "X: y\rContent-Length: 1",
                 "Content-Length\x00: 1", "X: y\r\n Content-Length: 1")
]  # fmt: skip
CHUNKS = [
    Form(f"chunk {body!r}", post(CHUNKED, body + SMUGGLED))
    for body in (
        "0x1\r\nx\r\n0\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "+1\r\nx\r\n0\r\n\r\n", "g\r\nx\r\n0\r\n\r\n",
        "\r\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n", "ffffffffffffffff\r\nx\r\n",
        "10000000000000001\r\nx\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n", "1_0\r\nx\r\n0\r\n\r\n", "0_1\r\nx\r\n0\r\n\r\n", "\x001\r\nx\r\n0\r\n\r\n",
        "1,1\r\nx\r\n0\r\n\r\n",
    )
]  # fmt: skip
CHUNKS_TAKEN = [
    Form(f"chunk {body!r}", post(CHUNKED, body), EITHER)
    for body in ("1;a=b\r\nx\r\n0\r\n\r\n", "1\nx\n0\n\n", "01\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n",
    "1\r\nx\r\n0\r\nA: b\r\n\r\n",
                 "1;\"\r\nx\r\n0\r\n\r\n", "000000000000000000001\r\nx\r\n0\r\n\r\n", "0;x\r\n\r\n",
                 "2\r\nx\r\n0\r\n\r\n")
]  # fmt: skip
LINES = [
    Form(f"line {line!r}", get(line))
    for line in (
        "GET", "GET /form/{n}", "GET  ", "GET /form/{n} HTTP/1.1 x", "GET /form/{n} HTTP/2.0",
        "GET /form/{n} HTTP/3.1",
        "GET /form/{n} HTTP/9.9", "GET /form/{n} HTTP/1.x", "GET /form/{n} HTTP/01.1", "GET /form/{n} HTTPS/1.1",
        "GET /form/{n} http/1.1", "GET /form/{n} HTTP/1", "GET /form/{n} HTTP/", "get /form/{n} HTTP/1.1",
        "G\x00T /form/{n} HTTP/1.1",
        " GET /form/{n} HTTP/1.1", "\tGET /form/{n} HTTP/1.1", "GET\t/form/{n} HTTP/1.1", "GET form/{n} HTTP/1.1",
        "GET /form/{n}\x00 HTTP/1.1", "GET /form/{n}%00 HTTP/1.1", "GET /form/{n}%zz HTTP/1.1",
        "GET /form/{n}% HTTP/1.1",
        "GET /form/../{n} HTTP/1.1", "GET /form/%2e%2e/{n} HTTP/1.1", "GET /form%2f..%2f{n} HTTP/1.1",
        "GET /../form/{n} HTTP/1.1", "GET ../form/{n} HTTP/1.1", "GET \\form\\{n} HTTP/1.1", "GET * HTTP/1.1",
        "GET forms.test:80 HTTP/1.1", "GET //../{n} HTTP/1.1", "GET /form/{n}\x7f HTTP/1.1",
        "GET /form/{n}\x01 HTTP/1.1",
        "PRI * HTTP/2.0", "\x16\x03\x01\x02\x00\x01",
    )
] + [
    Form("tunnel", get("CONNECT forms.test:443 HTTP/1.1"), frozenset({CLOSED, 400, 405})),
    Form("trace", get("TRACE /form/{n} HTTP/1.1"), frozenset({CLOSED, 400, 405})),
    Form("a long line", get("GET /form/{n}?" + "x" * 9000 + " HTTP/1.1"), frozenset({CLOSED, 414})),
    Form("a long method", get("A" * 9000 + " /form/{n} HTTP/1.1"), frozenset({CLOSED, 400, 414})),
]  # fmt: skip
HEADERS = [
    Form(f"header {text!r}", get("GET /form/{n} HTTP/1.1", f"{HOST}{text}"))
    for text in ("X : y\r\n", " X: y\r\n", "X: y\r\n z\r\n", "X\x00: y\r\n", "X: y\x00z\r\n", ": y\r\n", "X y: z\r\n")
] + [
    Form("no colon", get("GET /form/{n} HTTP/1.1", f"{HOST}X\r\n"), EITHER),
    Form("line feeds alone", "GET /form/{n} HTTP/1.1\nHost: forms.test\n\n", EITHER),
    Form("a carriage return alone", f"GET /form/{{n}} HTTP/1.1\r\n{HOST}X: a\rb: c\r\n\r\n"),
    Form("a long header", get("GET /form/{n} HTTP/1.1", f"{HOST}X: {'x' * 9000}\r\n"), REFUSED | {431}),
    Form("many headers", get("GET /form/{n} HTTP/1.1", HOST + f"X: {'x' * 4000}\r\n" * 12), REFUSED | {431}),
    Form("a host with a path", get("GET /form/{n} HTTP/1.1", "Host: forms.test/x\r\n")),
    Form("two hosts", get("GET /form/{n} HTTP/1.1", f"{HOST}Host: stranger.test\r\n")),
    Form("two hosts alike", get("GET /form/{n} HTTP/1.1", HOST + HOST)),
    Form("a folded host", get("GET /form/{n} HTTP/1.1", "Host:\r\n forms.test\r\n")),
    Form("no host", get("GET /form/{n} HTTP/1.1", "X: y\r\n")),
    Form("an empty host", get("GET /form/{n} HTTP/1.1", "Host:\r\n")),
    Form("the line names another", get("GET http://stranger.test/form/{n} HTTP/1.1"), REFUSED | {421}),
    Form("the line names a user", get("GET http://a@forms.test/form/{n} HTTP/1.1")),
    Form("the line agrees", get("GET http://forms.test/form/{n} HTTP/1.1"), EITHER),
    Form("HTTP/1.0 in chunks", post(CHUNKED, LAST + SMUGGLED, "POST /form/{n} HTTP/1.0")),
]
H1 = [
    *LENGTH_AND_CODING, *CODINGS, *CODING_LINES, *DROPPED, *LENGTHS, *CHUNKS, *CHUNKS_TAKEN, *LINES, *HEADERS,
]  # fmt: skip

# Hosts that no site has. An app may be asked under the site's own name alone.
UNKNOWN = [
    "stranger.test", "www.forms.test", "forms.test.stranger.test", "xforms.test", "forms.testx", "forms", "test", "*",
    "*.forms.test", "localhost", "127.0.0.1", "[::1]", "10.0.0.1:80", "::1",
    "forms.test@stranger.test", "stranger.test@forms.test", "a@forms.test", "forms.test/..",
    "forms.test/stranger.test",
    "/forms.test", "forms.test?x", "forms.test#x", "forms..test", ".forms.test", "-forms.test", "forms_test", "_",
    "forms.test,stranger.test", "stranger.test,forms.test", "forms.test stranger.test", "forms.test;x",
    "forms.test\\x",
    "forms.test\x00.stranger.test", "forms.t\xebst", "xn--frms-5qa.test", "%66orms.test", "http://forms.test",
    "stranger.test:443", "<forms.test>", "'forms.test'", "\"forms.test\"", "${host}", "0", "forms.test\tx",
]  # fmt: skip

# Headers by which a client could pass for a proxy, a user or somebody else's address
SPOOFED = [
    "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port",
    "X-Forwarded-Protocol",
    "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Path",
    "X-Forwarded-Uri", "X-Forwarded", "Forwarded", "Forwarded-For", "X-Client-IP", "Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP", "X-Remote-IP",
    "X-Remote-Addr", "X-Azure-ClientIP", "X-Host", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL",
    "X-Original-URI",
    "X-Script-Name", "X-Scheme", "X-Url-Scheme", "Front-End-Https", "Remote-User", "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Groups", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-User",
    "X-Authenticated-User", "X-Webauth-User", "X-SSL-Client-Verify", "X-SSL-Client-DN", "X-SSL-Client-S-DN",
    "X-SSL-Cert",
    "X-Client-Cert", "X-Forwarded-Client-Cert", "X-Request-ID", "Proxy", "X_Forwarded_For", "X_FORWARDED_PROTO",
    "Remote_User", "X-Forwarded_For", "x-forwarded-for", "X-FORWARDED-HOST", "Upgrade",
]  # fmt: skip

Fields = list[tuple[bytes, bytes]]
H2_START: Fields = [
    (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/form/{n}"), (b":authority", b"forms.test"),
]  # fmt: skip


def with_fields(*fields: tuple[bytes, bytes]) -> Fields:
    return [*H2_START, *fields]


def replaced(name: bytes, *values: bytes) -> Fields:
    """The pseudo-header with other values: none leaves it out."""
    return [field for field in H2_START if field[0] != name] + [(name, value) for value in values]


H2: list[tuple[str, Fields, frozenset[int]]] = [
    *((f"{name.decode()} {value!r}", with_fields((name, value)), REFUSED) for name, value in (
        (b"transfer-encoding", b"chunked"), (b"te", b"chunked"), (b"te", b"trailers, chunked"), (b"x\r\ny", b"z"),
        (b"x", b"a\r\nsmuggled: b"), (b"x", b"a\nb"), (b"x", b"a\rb"), (b"x", b"a\0b"), (b"x y", b"z"), (b"x:", b"y"),
        (b"X", b"y"), (b"Content-Length", b"0"), (b"content-length", b"5"), (b"content-length", b"-1"),
        (b"content-length", b"x"),
        (b":path", b"/smuggled/{n}"), (b":method", b"POST"), (b":status", b"200"), (b":unknown", b"x"), (b"", b"x"),
        (b"host", b"stranger.test"),
    )),
    *((f"{name.decode()} alone", with_fields((name, value)), EITHER) for name, value in (
        (b"connection", b"close"), (b"keep-alive", b"5"), (b"proxy-connection", b"close"), (b"upgrade", b"h2c"),
    )),
    *((f"{name.decode()} {values!r}", replaced(name, *values), REFUSED | {405, 421}) for name, *values in (
        (b":path", b""), (b":path", b"form/{n}"), (b":path", b"/form/{n} HTTP/1.1\r\nx: y"),
        (b":path", b"/form/\0{n}"),
        (b":path", b"/form/../{n}"), (b":path", b"*"), (b":path", b"/form/{n}", b"/smuggled/{n}"),
        (b":method", b""), (b":method", b"get"),
        (b":method", b"GET /smuggled/{n} HTTP/1.1\r\n"), (b":method",), (b":path",), (b":scheme",), (b":scheme", b""),
        (b":scheme", b"ht tp"), (b":authority", b""), (b":authority", b"stranger.test"),
        (b":authority", b"forms.test", b"stranger.test"),
        (b":authority", b"forms.test\r\nx: y"), (b":authority", b"a@forms.test/"), (b":method", b"CONNECT"),
    )),
    ("pseudo-headers last", [(b"x", b"y"), *H2_START], EITHER),
    ("more than fits", with_fields(*((b"x", b"y" * 4000) for _ in range(12))), REFUSED | {431}),
]  # fmt: skip
