"""Back to what was live before: at once, without a build, with all assets of both."""

import re
import time

import fleet
import pytest


@pytest.fixture(scope="module")
def assets() -> dict[str, dict[str, set[str]]]:
    """The assets that the page of each host names, by version."""
    return {host: {} for host in fleet.HOSTS}


def named_by_the_page(host: str) -> set[str]:
    return set(re.findall(r'"(/static/[^"]+)"', fleet.browser(host).text("/")))


def statuses(host: str, paths: set[str]) -> set[int]:
    return {fleet.browser(host).get(path).status for path in paths}


def test_rollback_shows_the_old_page_and_keeps_all_assets(assets, figure):
    def one(host: str) -> float:
        seen = assets[host]
        old, seen["red"] = fleet.activate(host, "red"), named_by_the_page(host)
        new, seen["blue"] = fleet.activate(host, "blue"), named_by_the_page(host)
        assert seen["red"] != seen["blue"]
        for path in seen["red"] | seen["blue"]:
            answer = fleet.browser(host).get(path)
            assert answer.status == 200, path
            hashed = re.search(r"\.[0-9a-f]{12}\.", path)
            wanted = "immutable" if hashed else "max-age=2592000"
            assert wanted in answer.headers["Cache-Control"], (path, answer.headers["Cache-Control"])
        began = time.monotonic()
        answer = fleet.ctl(host, "guestbook", "rollback")
        took = time.monotonic() - began
        assert (answer["before"], answer["release"]) == (new, old)
        assert fleet.served(host) == old
        assert named_by_the_page(host) == seen["red"]
        assert statuses(host, seen["red"] | seen["blue"]) == {200}
        return took

    with fleet.visitors():
        figure("seconds of a rollback on two hosts that share two cores", max(fleet.both(one).values()))


def test_rollback_to_a_named_release(assets):
    """Continues the test above: not to `blue`, which was live before."""
    named = fleet.both(lambda host: fleet.release(host, "green"))
    assert len(set(named.values())) == 1, "the same source has the same id on every host"

    def one(host: str) -> None:
        assert fleet.ctl(host, "guestbook", "rollback", named[host])["changed"]
        assert fleet.served(host) == named[host]
        assets[host]["green"] = named_by_the_page(host)
        refused = fleet.ctl(host, "guestbook", "rollback", "nobody-knows-it", code=2)
        assert "no release 'nobody-knows-it'" in str(refused)
        assert fleet.served(host) == named[host]

    fleet.both(one)


def test_retention(assets):
    """Continues the tests above. Three good ones are kept and the last failed one with its log; files of what is gone
    are gone too."""

    def one(host: str) -> None:
        seen = assets[host]
        fleet.activate(host, "grey")
        seen["grey"] = named_by_the_page(host)
        fleet.build(host, "no-package", code=4)
        kept = fleet.ctl(host, "guestbook", "releases")["releases"]
        assert {entry["version"] for entry in kept if entry["state"] == "good"} == {"red", "green", "grey"}
        failed = [entry["id"] for entry in kept if entry["state"] == "failed"]
        assert len(failed) == 1
        log = fleet.on(host, "sh", "-c", f"cat /srv/guestbook/releases/{failed[0]}/*.log").stdout
        assert "a-package-nobody-has" in log
        there = seen["red"] | seen["green"] | seen["grey"]
        # Nginx keeps a file open for up to a minute after it was last asked for.
        fleet.wait(lambda: statuses(host, seen["blue"] - there) == {404}, 70, "files of what is gone are gone", pause=2)
        assert statuses(host, there) == {200}

    fleet.both(one)


def test_maintenance():
    """A swap behind the page does not open the site."""
    host = fleet.HOSTS[0]
    fleet.activate(host, "grey")
    assert fleet.ctl(host, "guestbook", "maintenance", "on", "--message", "Back at <noon>")["changed"]
    try:
        answer = fleet.browser(host).get("/")
        assert answer.status == 503
        assert b"Back at &lt;noon&gt;" in answer.data
        assert answer.headers["Retry-After"]
        local = ["curl", "-sk", "--resolve", "guestbook.test:443:127.0.0.1", "https://guestbook.test/healthz"]
        assert '"ok"' in fleet.on(host, *local).stdout, "an address that may see the site does"
        fleet.ctl(host, "guestbook", "activate", fleet.release(host, "red"))
        assert fleet.browser(host).get("/").status == 503
    finally:
        assert fleet.ctl(host, "guestbook", "maintenance", "off")["changed"]
    assert fleet.version(host) == "red"
