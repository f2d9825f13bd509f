"""What leaves the cache of a site, and that nothing else does."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from djangoctl import cached, cli, swap
from djangoctl.errors import ConfigError
from test_djangoctl_swap import FakeSystemd

KEYS = {
    "1": "https://shop.example.com/",
    "2": "https://shop.example.com/news/",
    "3": "https://www.shop.example.com/news/",
    "4": "https://shop.example.com/news/?page=2",
    "5": "http://shop.example.com/news/a%2dz/ de",  # with what cache.key adds
    "6": "https://shop.example.com/newsletter",
}


@pytest.fixture
def root(tmp_path) -> Path:
    """A cache as Nginx writes it: binary before the key, the answer after it."""
    for name, key in KEYS.items():
        path = tmp_path / "cache" / name / f"0{name}" / f"{name * 32}"
        path.parent.mkdir(parents=True)
        head = struct.pack("<QQQ", 5, 2**40, 0) + b'"etag"' + bytes(200)
        path.write_bytes(head + f"\nKEY: {key}\nHTTP/1.1 200 OK\r\n\r\nKEY: https://shop.example.com/other\n".encode())
    return tmp_path / "cache"


@pytest.fixture
def app(make_app, root):
    return make_app(site_cache={"path": str(root), "purge_on_release": True})


def left(root: Path) -> str:
    return "".join(sorted(path.name[0] for path in root.rglob("*") if path.is_file()))


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ({"url": "https://shop.example.com/news/"}, "2"),
        ({"url": "https://SHOP.example.com:443/news/#top"}, "2"),
        ({"url": "https://shop.example.com"}, "1"),
        ({"url": "/news/"}, "23"),
        ({"url": "/news"}, ""),
        ({"url": "/news/?page=2"}, "4"),
        ({"url": "/news/a-z/"}, "5"),
        ({"url": "http://shop.example.com/news/"}, ""),
        ({"url": "/other"}, ""),
        ({"prefix": "/news/"}, "2345"),
        ({"prefix": "/"}, "123456"),
        ({"prefix": "https://www.shop.example.com/"}, "3"),
        ({}, "123456"),
    ],
)
def test_what_goes(app, root, words, gone):
    assert cached.purge(app, **words, dry_run=True) == len(gone)
    assert left(root) == "123456"
    assert cached.purge(app, **words) == len(gone)
    assert left(root) == "".join(name for name in KEYS if name not in gone)


@pytest.mark.parametrize(
    "url", ["shop.example.com/news/", "ftp://shop.example.com/", "https://", "https://[a/", "news"]
)
def test_what_is_no_url(app, url):
    with pytest.raises(ConfigError, match="is no URL"):
        cached.purge(app, url=url)


def test_what_www_data_puts_there_leads_nowhere(app, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "page").write_text("\nKEY: https://shop.example.com/\n")
    (root / "a").symlink_to(outside)
    (root / "1" / "link").symlink_to(outside / "page")
    os.mkfifo(root / "1" / "fifo")
    (root / "1" / "01" / "deeper").mkdir()
    (root / "1" / "01" / "deeper" / "7").write_text("\nKEY: https://shop.example.com/\n")
    (root / "1" / "8").write_bytes(b"\nKEY: " + b"x" * 20_000)
    assert cached.purge(app, url="/") == 1
    assert cached.purge(app) == 6
    assert (outside / "page").exists()
    assert (root / "1" / "01" / "deeper" / "7").exists(), "Nginx has two levels"


def test_a_file_that_nginx_replaces_meanwhile(app, root, monkeypatch):
    unlink = os.unlink

    def quicker(name, **options):
        unlink(name, **options)
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", quicker)
    assert cached.purge(app) == 0
    assert left(root) == ""


def test_a_cache_that_nginx_has_not_made_yet(make_app, tmp_path):
    assert cached.purge(make_app(site_cache={"path": str(tmp_path / "none"), "purge_on_release": True})) == 0


def test_a_site_without_a_cache(make_app):
    with pytest.raises(ConfigError, match="has no cache on this host"):
        cached.purge(make_app())


# The command


@pytest.fixture
def ctl(app, capsys, monkeypatch):
    monkeypatch.setattr(cli, "Systemd", lambda: FakeSystemd(app))

    def run(*words):
        try:
            code = cli.main(["shop", "purge", *words])
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr()

    return run


def test_the_command(ctl, root):
    code, said = ctl("--prefix", "/news/", "--json")
    assert (code, json.loads(said.out)) == (0, {"app": "shop", "changed": True, "removed": 4})
    code, said = ctl("--prefix", "/news/", "--json")
    assert json.loads(said.out)["changed"] is False
    code, said = ctl("--all", "--dry-run", "--json")
    assert (json.loads(said.out)["removed"], left(root)) == (2, "16")
    assert ctl("--all")[0] == 0
    assert left(root) == ""


@pytest.mark.parametrize("words", [(), ("--all", "--url", "/"), ("--url", ""), ("--prefix", "news")])
def test_words_that_name_nothing_remove_nothing(ctl, root, words):
    assert ctl(*words)[0] == 2
    assert left(root) == "123456"


# A release that goes live


@pytest.fixture
def system(app):
    return FakeSystemd(app)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_release_that_goes_live_shows_new_pages(make_app, make_release, root, wanted):
    app = make_app(site_cache={"path": str(root), "purge_on_release": wanted})
    assert swap.activate(app, make_release(app, "v1"), FakeSystemd(app))
    assert left(root) == ("" if wanted else "123456")


def test_no_page_comes_after_the_purge_from_what_was_live(app, make_release, root, monkeypatch):
    """The old workers have ended by then, and so has the stand-in."""
    system = FakeSystemd(app)
    seen = []
    monkeypatch.setattr(swap.cached, "purge", lambda _app: seen.append([call[0] for call in system.calls]) or 0)
    swap.activate(app, make_release(app, "v1"), system)
    (before,) = seen
    assert before[-2:] == ["stop django-shop-next.service", "reset-failed django-shop-next.service"]
    assert before.index("restart django-shop.service") < len(before) - 2


def test_a_cache_that_cannot_be_purged_keeps_no_release_back(app, make_release, monkeypatch):
    said = []

    def fail(_app):
        raise PermissionError(13, "no", "/var/cache")

    monkeypatch.setattr(swap.cached, "purge", fail)
    monkeypatch.setattr(swap, "say", said.append)
    assert swap.activate(app, make_release(app, "v1"), FakeSystemd(app))
    assert "may still be in the cache" in said[0]
