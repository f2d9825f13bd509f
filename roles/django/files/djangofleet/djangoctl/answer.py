# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One request to a site, and whether its answer is well.

djangoctl and the module visit share it, so that they call the same answers well. It imports nothing of either.

A site is a mapping: `domains`, `path`, `status_min`, `status_max`, `contains`, `timeout` in seconds, `tls`, `port`, and
`maintenance`, the page that closes the site while it is there. `scheme` is what the visitor used, where a proxy in
front has ended TLS, and `public_port` the port that they name. `authority_file` has the only authorities to trust.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

REDIRECTS = (301, 302, 307, 308)
LONGEST_BODY = 1 << 20
BAD_REQUEST = 400
UNAVAILABLE = 503
HEADERS = {"User-Agent": "djangofleet", "Accept": "*/*"}


class Answer:
    """What one request came to.

    :param error: why there is no answer; empty if there is one.
    """

    def __init__(self, status: int = 0, location: str = "", body: str = "", certificate: str = "", error: str = ""):
        self.status, self.location, self.body = status, location, body
        self.certificate, self.error = certificate, error


def ask(address: str | tuple[str, int], domain: str, site: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Send one GET in the name of the domain.

    :param address: the path of a unix socket, or a host and a port.
    :param headers: further headers.
    """
    certificate, timed_out = "", []
    try:
        stream = _connected(address, site["timeout"])
        with _closed_after(site["timeout"], lambda: stream, timed_out):
            if site["tls"]:
                stream = _encrypted(stream, domain, site.get("authority_file", ""))
                stream.do_handshake()
                certificate = ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True) or b"")
            connection = http.client.HTTPConnection(domain)
            connection.sock = stream
            connection.request("GET", site["path"], headers={**HEADERS, **headers})
            answer = connection.getresponse()
            body = answer.read(LONGEST_BODY).decode(errors="replace")
        if timed_out:
            raise TimeoutError
        return Answer(answer.status, answer.getheader("Location") or "", body, certificate)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answer(certificate=certificate, error="timed out" if timed_out else reason)


@contextmanager
def _closed_after(seconds: float, stream: Callable[[], socket.socket], timed_out: list[bool]) -> Iterator[None]:
    """Close a connection at the end of the block, and cut it off if that does not come in time.

    The timeout of a socket is that of a single read: an answer in small pieces would take as long as it likes.
    """

    def cut_off() -> None:
        timed_out.append(True)
        with suppress(OSError):
            socket.socket.shutdown(stream(), socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        stream().close()


def _connected(address: str | tuple[str, int], timeout: float) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, timeout=timeout)
    plain = socket.socket(socket.AF_UNIX)
    try:
        plain.settimeout(timeout)
        plain.connect(address)
    except BaseException:
        plain.close()
        raise
    return plain


def _encrypted(plain: socket.socket, domain: str, authority: str) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(authority)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # a site may be signed by an authority of its own
    return context.wrap_socket(plain, server_hostname=domain, do_handshake_on_connect=False)


def own_addresses(domain: str, site: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of the very page that was asked for, as a redirect would name them.

    The port that visitors name may be another one than that of the web server, where something in front maps it.
    """
    scheme = site.get("scheme") or ("https" if site["tls"] else "http")
    ports = {site["port"], site.get("public_port") or site["port"]}
    return tuple(f"{scheme}://{domain}{port}{site['path']}" for port in ("", *(f":{port}" for port in sorted(ports))))


def _host_of(address: str) -> str:
    """The host of an address; empty where a site sends what is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def judge(answer: Answer, domain: str, site: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether an answer is well, and what is to be said about it."""
    lowest, highest = site["status_min"], site["status_max"]
    if not answer.status:
        return False, f"no answer: {answer.error}"
    if answer.status == UNAVAILABLE and site["maintenance"] and os.path.exists(site["maintenance"]):
        return True, "in maintenance"
    if answer.status in REDIRECTS and answer.location in own_addresses(domain, site):
        return False, f"{answer.status} to itself, without end: the app does not see that it is asked over HTTPS"
    if answer.status in REDIRECTS and _host_of(answer.location) in site["domains"]:
        return True, f"{answer.status} to {answer.location}"
    # A range that 400 lies within does not mean it: Django answers so to a host or a proxy that it does not trust.
    if answer.status == BAD_REQUEST and BAD_REQUEST not in (lowest, highest):
        return False, "400: Django refuses the host or what the proxy says; look at ALLOWED_HOSTS and the proxy headers"
    if not lowest <= answer.status <= highest:
        return False, f"{answer.status} and not {lowest} to {highest}"
    if site["contains"] not in answer.body:
        return False, f"{answer.status}, but the answer lacks '{site['contains']}'"
    return True, str(answer.status)


def seen(
    address: str | tuple[str, int], domain: str, site: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Ask a domain once: `ok`, `status` (0 without an answer), `seconds`, `verdict` and `certificate`."""
    began = time.monotonic()
    answer = ask(address, domain, site, headers or {})
    seconds = time.monotonic() - began
    is_well, verdict = judge(answer, domain, site)
    return {
        "ok": is_well,
        "status": answer.status,
        "seconds": round(seconds, 3),
        "verdict": "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in verdict),  # a site may say it
        "certificate": answer.certificate,
    }
