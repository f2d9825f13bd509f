"""One set of patterns for all roles, row by row."""

from __future__ import annotations

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import patterns

ROWS = {
    patterns.is_domain: (
        ["localhost", "a.test", "*.a.test", "xn--bcher-kva.example", "EXAMPLE.com", "a" * 63 + ".test", "1.a"],
        ["", "a.test:443", "-a.test", "a-.test", "a..test", "*", "a.*.test", "a_b.test", "a.test\n", "a" * 64 + ".test",
         "bücher.example", "10.0.0.1", ".".join(["a" * 63] * 4) + ".b"],
    ),
    patterns.is_port: ([1, 80, "443", 65535], [0, 65536, "", "80\n", "x", -1, "080", 99999, 1.5]),
    patterns.is_address: (
        ["10.0.0.1", "::1", "2001:db8::5"], ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "a.test", "1.2.3.4\n"]
    ),
    patterns.is_network: (
        ["10.0.0.0/8", "10.0.0.1/8", "10.0.0.1", "2001:db8::/32", "0.0.0.0/0"],
        ["10.0.0.0/33", "2001:db8::/129", "10.0.0.0/", "10/8", "a/8", "10.0.0.0/8\n", "10.0.0.0/-1"],
    ),
    patterns.is_listen: (
        ["/run/a.sock", "10.0.0.5:8001", "[2001:db8::5]:8001", "/" + "a" * 106],
        ["run/a.sock", "/run/a b", "/run/%i", "10.0.0.5", "10.0.0.5:0", "10.0.0.5:65536", "a.test:80", "2001:db8::5:80",
         "[10.0.0.5]:80", ":80", "/" + "a" * 107, "/run/a\n"],
    ),
    patterns.is_server: (
        ["unix:/run/a.sock", "10.0.0.5:8001", "[::1]:80", "app1.internal:8000"],
        ["unix:run", "unix:/a;b", "unix:/a b", "a.test", "a.test:0", "[a]:80", "http://a:80", "unix:/a$b"],
    ),
}  # fmt: skip
CASES = [(function, value, True) for function, (good, _) in ROWS.items() for value in good]
CASES += [(function, value, False) for function, (_, bad) in ROWS.items() for value in bad]


@pytest.mark.parametrize(("function", "value", "good"), CASES)
def test_values(function, value, good):
    assert function(value) is good


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("name", "shop.v2", True),
        ("name", "Shop", False),
        ("name", "a/b", False),
        ("variable", "A_1", True),
        ("variable", "1A", False),
        ("variable", "A-B", False),
        ("absolute", "/srv/with space", True),
        ("absolute", "srv", False),
        ("inside", ".", True),
        ("inside", "a/b", True),
        ("inside", "../a", False),
        ("inside", "a/../b", False),
        ("below", "var/log/", True),
        ("below", ".", False),
        ("below", "/var", False),
        ("file", "a/b.py", True),
        ("file", "a/", False),
        ("file", "a/../b", False),
        ("module", "shop.settings", True),
        ("module", "shop-settings", False),
        ("application", "shop.wsgi:application", True),
        ("application", "shop.wsgi:", False),
        ("package", "libpq5", True),
        ("package", "nginx=1.26.3-3", True),
        ("package", "libc6:amd64", True),
        ("package", "a b", False),
        ("package", "--purge", False),
        ("signal", "SIGTERM", True),
        ("signal", "TERM", False),
        ("size", "500M", True),
        ("size", "500 MB", False),
        ("time_of_day", "04:00", True),
        ("time_of_day", "24:00", False),
        ("time_span", "90day", True),
        ("time_span", "soon", False),
        ("text", "a\nb", True),
        ("text", " \n", False),
        ("line", "manage.py x", True),
        ("line", "a\nb", False),
        ("line", " ", False),
        ("cookie", "__Host-sessionid", True),
        ("cookie", "a=b", False),
        ("duration", "1h30m", True),
        ("duration", "500ms", True),
        ("duration", "10", True),
        ("seconds", "1h30m", True),
        ("seconds", "10", True),
        ("seconds", "500ms", False),
        ("duration", "1h 30m", False),
        ("duration", "", False),
        ("bytes", "256m", True),
        ("bytes", "256 m", False),
        ("variables", "$host$request_uri", True),
        ("variables", "", True),
        ("variables", "${host}", False),
        ("variables", '$host"', False),
    ],
)
def test_kinds(kind, value, good):
    assert patterns.matches(kind, value) is good


@pytest.mark.parametrize("kind", patterns.PATTERNS)
def test_a_newline_at_the_end_never_passes(kind):
    assert kind == "text" or not patterns.matches(kind, "a\n")
