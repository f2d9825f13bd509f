"""What the tests of the fleet share: its hosts, their commands, and visitors of the balancer."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.outside import PROVE, Browser, play, visiting, within
from urllib3.exceptions import HTTPError

BALANCER, APP1, APP2, DATA = (f"djangofleet-fleet-{name}" for name in ("balancer", "app1", "app2", "data"))
ADDRESS = {BALANCER: "10.217.64.2", APP1: "10.217.64.3", APP2: "10.217.64.4", DATA: "10.217.64.5"}
DOMAIN = "guestbook.test"
HOSTS = (APP1, APP2)
# Ordinary visitors, with a connection of their own for each request: a browser asks again where one was closed idle.
# The gate has fewer of them: what works beside them shares two processors with them.
PAUSE = "--pause=0" if PROVE else "--pause=0.1"
VISITORS = ("--fresh", "--seconds=900", "--connections=6", "--post-every=5", PAUSE)


def on(host: str, *words: str, check: bool = True) -> str:
    """What a command on a host says."""
    done = subprocess.run(["docker", "exec", host, *words], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"{words} on {host}: {done.stdout}{done.stderr}"
    return done.stdout


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, timeout=120)


def run(playbook: str, *words: str, code: int = 0, **variables: Any) -> str:
    """What a playbook of the checkout says; its variables are those of -e."""
    given = ["--extra-vars", json.dumps(variables)] if variables else []
    done = play("fleet", playbook, *given, *words)
    assert (done.returncode != 0) == (code != 0), done.stdout[-8000:] + done.stderr
    return " ".join(done.stdout.split())  # long lines are broken


def browser(authority: str, **options: Any) -> Browser:
    """A visitor of the site, whom the domain leads to the balancer."""
    return Browser(ADDRESS[BALANCER], DOMAIN, authority, **options)


def served_by(visitor: Browser) -> str:
    """The host whose app has written a page, as its footer says."""
    return host_of(visitor.text("/"))


def host_of(page: str) -> str:
    """The host whose app has written a page."""
    return re.search(r"<dt>Host</dt><dd>([^<]+)</dd>", page)[1]


def out() -> dict[str, str]:
    """The hosts that get no requests, with what djangofleet-balancer says of each, once Nginx knows too."""
    said: dict[str, Any] = {}

    def is_loaded() -> bool:
        said.update(json.loads(on(BALANCER, "djangofleet-balancer", "status", "--json", check=False)))
        return said["loaded"]

    within(is_loaded, 20, "Nginx has loaded what djangofleet-balancer says")
    return {entry["host"]: entry["why"] for entry in said["servers"] if not entry["in"]}


def all_in(seconds: float = 30) -> float:
    return within(lambda: not out(), seconds, "all hosts are in")


@contextmanager
def visitors(authority: str, *words: str) -> Iterator[dict[str, Any]]:
    """Visitors of the balancer meanwhile; afterwards what they saw, and whether all they were promised is there."""
    prefix = f"{time.monotonic_ns():x}-"
    with visiting(ADDRESS[BALANCER], DOMAIN, authority, *VISITORS, f"--prefix={prefix}", *words) as seen:
        within(lambda: seen["answered"]() > 20, 30, "visitors are served")
        yield seen
    kept = on(DATA, "psql", "-U", "postgres", "-qtA", "-d", "guestbook", "-c",
              f"select reference from entries_entry where reference like '{prefix}%'").split()  # fmt: skip
    assert set(seen["references"]) <= set(kept), "what was acknowledged is lost"
    assert len(kept) == len(set(kept)), "an entry is there twice"


def answered(seen: dict[str, Any]) -> float:
    """The share of requests that were answered well, in percent."""
    return 100 * (1 - seen["failed"] / seen["requests"])


class Readers(threading.Thread):
    """Visitors who load pages with their assets, and keep old pages open whose assets they ask for again."""

    def __init__(self, authority: str) -> None:
        super().__init__(daemon=True)
        self.visitor, self.over, self.lost, self.loaded = browser(authority), threading.Event(), [], 0

    def run(self) -> None:
        tabs: list[str] = []
        while not self.over.is_set():
            try:
                page = self.visitor.get("/")
                if page.status == 200:
                    tabs += re.findall(r'(?:href|src)="(/static/[^"]+)"', page.data.decode())
                    tabs = list(dict.fromkeys(tabs))
                for asset in tabs:
                    status = self.visitor.get(asset).status
                    self.loaded += 1
                    if status != 200:
                        self.lost.append(f"{asset}: {status}")
            except HTTPError as error:
                self.lost.append(str(error))

    def __enter__(self) -> Readers:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.over.set()
        self.join(30)


def release(host: str) -> str:
    """What is live on a host."""
    return Path(on(host, "readlink", "/srv/guestbook/current").strip()).name
