"""Removes pages from the cache that Nginx keeps of the app's site.

Nginx without a module of its own has no command for that. To remove a page's file is enough: Nginx opens the file anew
for each request (the roles set open_file_cache for static files alone), takes one that is not there for a page that it
does not have, and asks the app. What it remembers of the page in memory then holds the new file. Of a page that nobody
asks for again it forgets that when its time is over (`inactive`), and says once in its error log that there was nothing
to remove.

The directories belong to www-data, which may put anything at any name meanwhile: each is opened below the descriptor of
its parent, and no link is followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import tree
from .app import App
from .errors import ConfigError

# A header of some 350 bytes comes before the key, and Nginx takes no URI of more than 8000.
HEAD = 16_384
KEY = re.compile(rb"\nKEY: ([^\n]*)\n")
SCHEMES = ("http", "https")
LEVELS = 2  # of directories that Nginx makes in a cache


@dataclass(frozen=True)
class Page:
    """What a key names. Of a text that names no scheme or host, those are empty.

    :param path: with the query, its percent encoding resolved: a visitor may write one path in several ways.
    """

    scheme: str
    host: str
    path: str

    def is_of(self, wanted: Page, *, below: bool) -> bool:
        """Whether this is the wanted page.

        :param below: or one whose path begins alike.
        """
        is_there = self.path.startswith(wanted.path) if below else self.path == wanted.path
        return is_there and wanted.scheme in ("", self.scheme) and wanted.host in ("", self.host)


def parsed(text: str) -> Page:
    """The page of a URL, or of a path such as /news/, which is one of all domains."""
    if text.startswith("/"):
        return Page("", "", unquote(text.partition("#")[0], errors="surrogateescape"))
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in SCHEMES:
        raise ConfigError(
            f"'{text}' is no URL", hint="give one such as https://shop.example.com/news/, or a path such as /news/"
        )
    query = f"?{parts.query}" if parts.query else ""
    return Page(parts.scheme, host, unquote(f"{parts.path or '/'}{query}", errors="surrogateescape"))


def place(app: App) -> Path:
    """The directory of the cache.

    :raises ConfigError: the site has none on this host.
    """
    if not app.cache:
        raise ConfigError(
            f"{app.name}: its site has no cache on this host",
            hint=f"{app.variable('nginx')}: {{cache: {{enabled: true}}}} gives it one with the next run of site.yml",
        )
    return Path(app.cache["path"])


def purge(app: App, *, url: str = "", prefix: str = "", dry_run: bool = False) -> int:
    """Remove the pages of a URL or below a prefix, or all; returns how many files that were.

    A page has a file for each variant, such as a language. What the app was asked for before, and answers only after
    this, is kept: the purge comes after the change, and not with it.
    """
    root = place(app)
    if not (url or prefix):
        return _removed(root, lambda _page: True, dry_run)
    wanted = parsed(url or prefix)
    return _removed(root, lambda page: page is not None and page.is_of(wanted, below=not url), dry_run)


def _removed(root: Path, is_meant: Callable[[Page | None], bool], dry_run: bool) -> int:
    removed = 0
    for name, directory in _files(root):
        try:
            if is_meant(_page(name, directory)):
                if not dry_run:
                    os.unlink(name, dir_fd=directory)
                removed += 1
        except FileNotFoundError:
            continue  # Nginx was quicker
    return removed


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Every regular file below a directory, also what Nginx is still writing, with the descriptor of its directory."""
    try:
        with tree.directory(root) as descriptor:
            for path, names, files, directory in os.fwalk(".", dir_fd=descriptor):
                if path.count("/") == LEVELS:
                    names.clear()
                for name in files:
                    try:
                        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(mode):
                        yield name, directory
    except FileNotFoundError:
        return  # Nginx has not made it yet


def _page(name: str, directory: int) -> Page | None:
    """What a file of the cache holds; None if it is no page."""
    try:
        with tree.open_file(name, directory) as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    if not (found := KEY.search(head)):
        return None
    # What `cache.key` adds stands behind a space, which no URI of a request has.
    url = found[1].decode("utf-8", "surrogateescape").partition(" ")[0]
    scheme, _separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return Page(scheme, host, unquote(f"{slash}{path}", errors="surrogateescape"))
