"""Asks each domain for a page of this host, as the authority would, before the authority is asked.

An authority counts failed validations, and locks out who has too many of them.
"""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

PATH = "/.well-known/acme-challenge/"
REDIRECTS = 10  # as many as Let's Encrypt follows
TIMEOUT = 10
ELSEWHERE = "correct its records in the DNS, or take it out of the domains"


@contextmanager
def token(webroot: str) -> Iterator[tuple[str, str]]:
    """A page below the directory of challenges: its path, and what it says."""
    directory = Path(webroot) / PATH.strip("/")
    directory.mkdir(parents=True, exist_ok=True)
    name, text = f"djangofleet-{secrets.token_hex(8)}", secrets.token_urlsafe(32)
    page = directory / name
    page.write_text(text)
    page.chmod(0o644)
    try:
        yield PATH + name, text
    finally:
        page.unlink(missing_ok=True)


def addresses(domain: str, port: int) -> list[str]:
    """The addresses of a domain, as the host's name service has them."""
    try:
        found = socket.getaddrinfo(domain, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(each[4][0] for each in found))


def fetch(url: str, address: str, port: int) -> tuple[int, str, str]:
    """Status, body and target of a redirect.

    :param address: where to connect to; empty for the address of the URL's host.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        # An authority does not ask for a valid certificate either: this is how a host gets one.
        context = ssl._create_unverified_context()  # noqa: S323
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port or 443, timeout=TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(address or host, parts.port or port, timeout=TIMEOUT)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc, "User-Agent": "djangofleet-acme"})
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode("utf-8", "replace"), answer.getheader("Location") or ""
    finally:
        connection.close()


def ask(domain: str, address: str, port: int, path: str, text: str) -> str:
    """What is wrong with the way to a domain over one of its addresses; empty if nothing is."""
    where = f"{address} port {port}"
    host = f"[{domain}]" if ":" in domain else domain
    url = f"http://{host}{path}"
    try:
        for _turn in range(REDIRECTS + 1):
            status, body, target = fetch(url, address if urlsplit(url).hostname == domain else "", port)
            if status == 200 and body == text:
                return ""
            if status not in (301, 302, 303, 307, 308) or not target:
                break
            url = urljoin(url, target)
        else:
            return f"{domain}: {where} redirects more than {REDIRECTS} times; let it answer below {PATH} itself"
    except ConnectionRefusedError:
        return (
            f"{domain}: {where} refuses connections; let the web server listen there, or, if that is no address of"
            f" this host, {ELSEWHERE}"
        )
    except TimeoutError:
        return (
            f"{domain}: {where} does not answer; open the port in the firewalls on the way, or, if that is no address"
            f" of this host, {ELSEWHERE}"
        )
    except ConnectionError:
        return (
            f"{domain}: {where} hangs up, so it is another server, or has no site of that name; {ELSEWHERE}, or add a"
            " site for it"
        )
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a redirect to what is no address
        return f"{domain}: {where} cannot be asked ({error or type(error).__name__}); {ELSEWHERE}"
    found = f"with status {status}" if status != 200 else "with another page"
    return (
        f"{domain}: {where} answers {url} {found}, so it is another server, or has no site of that name; {ELSEWHERE},"
        " add a site for it, or use challenge dns where several hosts share the domain"
    )


def problems(item: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Why the authority would not find this host under the domains of a certificate, a line each."""
    check, request = settings["check"], item["request"]
    if request["challenge"] != "http" or not check["enabled"]:
        return []
    found = []
    with token(settings["webroot"]) as (path, text):
        for domain in request["domains"]:
            known = [check["address"]] if check["address"] else addresses(domain, check["port"])
            if not known:
                found.append(f"{domain}: has no address; add a record to the DNS that leads to this host")
            # A name may have an address of IPv6 while this host has none: one that answers is enough then.
            answers = [(address, ask(domain, address, check["port"], path, text)) for address in known]
            unreachable = [address for address, line in answers if "unreachable" in line]
            wrong = [line for address, line in answers if line and address not in unreachable]
            if len(unreachable) == len(answers):
                wrong = [line for _address, line in answers]
            found += wrong[:1]
    return found
