"""What visitors see when a server goes, is killed, or has no room left, and that all is well again by itself."""

from __future__ import annotations

import re
import time

import pytest
import urllib3
from shared.outside import PROVE, Browser, within

DOMAIN = "guestbook.test"
AWAY = 30 if PROVE else 6  # seconds
WRITERS = ("--connections=4", "--pause=0.05", "--post-every=2")
STOP = "systemctl stop postgresql.service 'postgresql@*.service'"  # the first alone waits for none of the others
SERVERS = {"postgresql": "postgresql.service", "redis": "redis-server.service"}


def health(browser: Browser) -> int:
    try:
        return browser.get("/healthz").status
    except urllib3.exceptions.HTTPError:
        return 0


def stored(host, references: list[str]) -> list[str]:
    """Those that are in the database."""
    there = host.check_output("psql -U postgres -qtA -d guestbook -c %s", "select reference from entries_entry")
    return sorted(set(there.splitlines()) & set(references))


def slowest(seen: dict) -> float:
    """Seconds of the slowest answer."""
    return max(milliseconds for _at, milliseconds in seen["answers"]) / 1000


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_goes_and_comes_back(host, browse, visitors, figure, server):
    """No process of the app hangs while it is away, and nobody has to restart anything afterwards."""
    browser = browse(DOMAIN)
    assert health(browser) == 200
    with visitors(DOMAIN, "--connections=4", "--pause=0.2", "--post-every=2") as seen:
        host.check_output("systemctl stop %s", SERVERS[server])
        try:
            figure(f"{server} away: seconds until 503", within(lambda: health(browser) == 503, 5, "health says it"))
            time.sleep(AWAY)
            assert health(browser) == 503
        finally:
            host.check_output("systemctl start %s", SERVERS[server])
        figure(f"{server} back: seconds until 200", within(lambda: health(browser) == 200, 5, "health is well again"))
        time.sleep(2)
    figure(f"{server} away: seconds of the slowest answer", slowest(seen))
    assert slowest(seen) < 5, "a worker hangs"
    assert stored(host, seen["references"]) == sorted(seen["references"]), "what was acknowledged is lost"


def write_on(seen: dict) -> None:
    """Wait for more than twenty rows more: every second request writes. In a second, a busy machine writes fewer."""
    enough = seen["answered"]() + 50
    within(lambda: seen["answered"]() >= enough, 60, "rows are being written")


def test_every_acknowledged_row_outlives_a_kill(host, browse, visitors, figure):
    with visitors(DOMAIN, *WRITERS) as seen:
        for _ in range(5 if PROVE else 1):
            write_on(seen)
            host.check_output("pkill -9 -u postgres postgres")
            within(lambda: health(browse(DOMAIN)) == 200, 20, "health is well again")
    figure("rows acknowledged around a kill -9 of postgres", len(seen["references"]))
    figure("requests failed around it", seen["failed"])
    assert len(seen["references"]) > 20
    assert stored(host, seen["references"]) == sorted(seen["references"]), "what was acknowledged is lost"


@pytest.fixture
def narrow(host) -> str:
    """The data of the server on a disk of its own, which has little room left; its path."""
    data = host.check_output("ls -d /var/lib/postgresql/*/main")
    move = "cp -a {0} {0}.aside && mount -t tmpfs -o size=400m,mode=0700,uid=postgres,gid=postgres tmpfs {0}"
    host.check_output(f"{STOP} && {move.format(data)} && cp -a {data}.aside/. {data}/")
    host.check_output("systemctl start postgresql")
    yield data
    host.check_output(f"{STOP} && cp -a {data}/. {data}.new/ && umount {data}")
    host.check_output(f"rm -r {data} {data}.aside && mv {data}.new {data} && systemctl start postgresql")


def test_a_full_disk(host, browse, visitors, narrow, figure):
    """Pages of the database fail with a reason in the log, files are served, and room is all that it takes."""
    browser = browse(DOMAIN)
    within(lambda: health(browser) == 200, 10, "the server is back")
    with visitors(DOMAIN, *WRITERS) as seen:
        time.sleep(1)
        host.run(f"dd if=/dev/zero of={narrow}/full bs=1M")
        # WAL that has room already takes some more.
        rows = "select 'full', repeat(md5(g::text), 9), '', '', now() from generate_series(1, 400000) g"
        fill = f"insert into entries_entry (name, message, image, reference, created_at) {rows}"
        filled = host.run(f'psql -U postgres -d guestbook -c "{fill}"')
        assert filled.rc != 0
        time.sleep(2)
        page = host.check_output("find /srv/guestbook/static -name 'site.*.css' | head -n 1").rpartition("static/")[2]
        assert browser.get(f"/static/{page}").status == 200
        log = host.check_output("cat /var/log/postgresql/*.log")
        # PostgreSQL 15 may have written half a page.
        assert re.search(r"No space left on device|could not extend file .* wrote only", log), filled.stderr
        host.check_output(f"rm {narrow}/full")
        figure("a full disk: seconds until it is well", within(lambda: health(browser) == 200, 30, "it recovers"))
        within(lambda: browser.submit("/", {"name": "tester", "message": "room again"}).status == 302, 10, "it writes")
    assert stored(host, seen["references"]) == sorted(seen["references"]), "what was acknowledged is lost"
