# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One set of patterns for what all roles take: names, domains, ports, addresses, paths.

A pattern matches a whole value: C(matches) uses C(re.fullmatch), so that a newline at the end never passes.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

# RFC 1035 section 2.3.4: labels of up to 63 characters, names of up to 253 as text.
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"(?:\*\.)?(?:{LABEL}\.)*(?!\d+\Z){LABEL}"
LONGEST_DOMAIN = 253
# A relative path that stays inside of the directory it is relative to.
SEGMENT = r"(?!\.\.?(?:/|\Z))[^/\n]+"

PATTERNS: dict[str, str] = {
    # Names
    "name": r"[a-z0-9][a-z0-9._-]{0,63}",  # a file or an upstream of Nginx
    "file_name": r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}",
    "package": r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?(?:=[A-Za-z0-9.+:~-]+)?",
    "group": r"[a-z_][a-z0-9_-]{0,31}",  # as useradd(8) takes it
    "variable": r"[A-Za-z_][A-Za-z0-9_]*",
    "signal": r"SIG[A-Z0-9]+",
    # Paths
    "absolute": r"/[^\x00-\x1f\x7f]*",
    # Stands in units, where '%' is a specifier, and in files of Nginx.
    "directory": r"/[^\s\"'\\%$;{}\x00-\x1f\x7f]+",
    "inside": r"(?!/)(?!(?:.*/)?\.\.(?:/|\Z))\S(?:.*\S)?",
    "below": rf"(?!\s){SEGMENT}(?:/{SEGMENT})*(?<!\s)/?",
    "file": rf"(?!\s){SEGMENT}(?:/{SEGMENT})*(?<!\s)",
    # Python
    "module": r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*",
    "application": r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_][\w.]*)?",
    # Text
    "text": r"[\s\S]*\S[\s\S]*",
    "line": r"(?=.*\S)[^\n\r]+",
    "unquoted": r"[^\"\\\x00-\x1f\x7f]+",  # a line that stands between double quotes
    # Debian and the kernel
    "package_name": r"[a-z0-9][a-z0-9+.-]+",
    "sysctl_key": r"[a-z][A-Za-z0-9_./-]*",
    # systemd and the clock
    "size": r"\d+[KMGT]?",
    "time_of_day": r"(?:[01]\d|2[0-3]):[0-5]\d",
    "timezone": r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*",
    "locale": r"C\.UTF-8|[a-z]{2,3}_[A-Z]{2}\.UTF-8",
    "time_span": r"(?:\d+ ?(?:s|sec|min|h|hr|d|day|days|w|week|weeks|month|months|y|year|years)?)(?: \d+ ?[a-z]+)*",
    # An app
    "app": r"(?!(?:authority|certificates)\Z)(?!.*-next\Z)[a-z][a-z0-9-]{0,22}[a-z0-9]?",
    "unit": r"(?!next\Z)(?!.*-replace\Z)[a-z][a-z0-9-]{0,23}",
    "workers": r"auto|[1-9][0-9]*",
    "instances": r"[1-9][0-9]?",
    "program": r"/\S+",
    "request": r"/[^\s#]*",
    "url": r"/(?:[\w.-]+/)*|https?://\S+/",
    # HTTP
    "header": r"[A-Za-z0-9-]+",
    "url_directory": r"/(?:[A-Za-z0-9._~-]+/)+",
    # No name begins with a dot: those are a tool's.
    "url_below": r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?",
    "cookie": r"[A-Za-z0-9_.-]+",
    # Nginx
    "duration": r"(?:\d+(?:ms|[smhdwMy]))+|\d+",
    "seconds": r"(?:\d+[smhdwMy])+|\d+",  # where Nginx counts no parts of one
    "bytes": r"\d+[kKmMgG]?",
    "variables": r"(?:\$[A-Za-z_]\w*|[A-Za-z0-9 ./:_|-])*",  # with text between them
}
COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
COMPILED_DOMAIN = re.compile(DOMAIN)


def matches(kind: str, value: Any) -> bool:
    """Whether a value is of a kind, whole.

    :param kind: a key of PATTERNS.
    """
    return COMPILED[kind].fullmatch(str(value)) is not None


def is_domain(value: Any) -> bool:
    """Whether this is a host name, or one with "*." before it; case does not count, other letters are punycode."""
    text = str(value).lower()
    return len(text) <= LONGEST_DOMAIN and COMPILED_DOMAIN.fullmatch(text) is not None


def is_port(value: Any) -> bool:
    """Whether this is a number from 1 to 65535, as a number or as text."""
    return re.fullmatch(r"[1-9]\d{0,4}", str(value)) is not None and int(str(value)) <= 65535


def is_address(value: Any) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return "%" not in str(value)


def is_shortest_address(value: Any) -> bool:
    """Whether this is an address as certificates print it: in lower case, IPv6 with its zeros left out."""
    return is_address(value) and str(ipaddress.ip_address(str(value))) == str(value)


def is_network(value: Any) -> bool:
    """Whether this is an address or a network such as 10.0.0.0/8; bits of the host may be set."""
    address, slash, length = str(value).partition("/")
    if not is_address(address):
        return False
    longest = 32 if ipaddress.ip_address(address).version == 4 else 128
    return not slash or (re.fullmatch(r"\d{1,3}", length) is not None and int(length) <= longest)


def is_listen(value: Any) -> bool:
    """Whether a socket can listen there: an absolute path, or address:port with a numeric address.

    sun_path of unix(7) has 108 bytes, the last of them zero; '%' would be a specifier of systemd.
    """
    text = str(value)
    if text.startswith("/"):
        return re.fullmatch(r"/[^\s%]+", text) is not None and len(text.encode()) <= 107
    address, _colon, port = text.rpartition(":")
    if address.startswith("["):
        return address.endswith("]") and is_address(address[1:-1]) and ":" in address and is_port(port)
    return is_address(address) and ":" not in address and is_port(port)


def is_server(value: Any) -> bool:
    """Whether this is a server of an upstream: unix:/path, host:port, address:port or [IPv6]:port."""
    text = str(value)
    if text.startswith("unix:"):
        return re.fullmatch(r"unix:/[^\s;{}$\"'\\:]+", text) is not None
    host, _colon, port = text.rpartition(":")
    if host.startswith("["):
        return host.endswith("]") and is_address(host[1:-1]) and is_port(port)
    return re.fullmatch(r"[A-Za-z0-9.-]+", host) is not None and is_port(port)
