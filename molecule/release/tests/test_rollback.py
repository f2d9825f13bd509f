"""Back to what was live before: at once, without a build, with all assets of both."""

import re
import time

import fleet
from variants import project

STYLE = "entries/static/entries/css/site.css"


def assets(host: str) -> set[str]:
    return set(re.findall(r'"(/static/[^"]+)"', fleet.browser(host).text("/")))


def test_rollback_is_quick_and_keeps_all_assets():
    fleet.deploy("before", project("before", {STYLE: "/* before */\n"}))
    old, old_assets = fleet.both(fleet.served), fleet.both(assets)
    fleet.deploy("after", project("after", {STYLE: "/* after */\n"}))
    new_assets = fleet.both(assets)
    for host in fleet.HOSTS:
        assert new_assets[host] != old_assets[host]
    everything = {host: old_assets[host] | new_assets[host] for host in fleet.HOSTS}

    def all_answer(host: str) -> None:
        for path in everything[host]:
            answer = fleet.browser(host).get(path)
            assert answer.status == 200, path
            hashed = re.search(r"\.[0-9a-f]{12}\.", path)
            wanted = "immutable" if hashed else "max-age=2592000"
            assert wanted in answer.headers["Cache-Control"], (path, answer.headers["Cache-Control"])

    fleet.both(all_answer)
    with fleet.visitors():
        for host in fleet.HOSTS:
            began = time.monotonic()
            process = fleet.begin("rollback", output=fleet.ROOT / "build/release/rollback.log", host=host)
            fleet.wait(lambda host=host: fleet.served(host) == old[host], 10, f"the old page on {host}")
            print(host, "showed the old page after", time.monotonic() - began)
            assert process.wait(timeout=60) == 0
    fleet.both(all_answer)


def test_retention():
    """Three good ones are kept and the last failed one with its log; files of what is gone are gone too."""
    gone, styles = fleet.both(assets), {}
    for number in (1, 2, 3):
        fleet.deploy(f"kept-{number}", project(f"kept-{number}", {STYLE: f"/* kept {number} */\n"}))
        styles[number] = fleet.both(assets)
    result = fleet.play(
        "deploy",
        release_version="broken",
        release_project=str(project("broken", {"requirements.txt": "\nno-such==1\n"})),
    )
    assert result.returncode != 0
    for host in fleet.HOSTS:
        kept = fleet.ctl(host, "guestbook", "releases")["releases"]
        good = [entry["version"] for entry in kept if entry["state"] == "good"]
        assert good == ["kept-1", "kept-2", "kept-3"]
        failed = [entry["id"] for entry in kept if entry["state"] == "failed"]
        assert len(failed) == 1
        assert "no-such" in fleet.on(host, "sh", "-c", f"cat /srv/guestbook/releases/{failed[0]}/*.log").stdout
        get = fleet.browser(host).get
        only_before = gone[host] - styles[1][host] - styles[2][host] - styles[3][host]
        assert {get(path).status for path in only_before} == {404}
        assert {get(path).status for path in styles[1][host] | styles[3][host]} == {200}


def test_rollback_to_a_named_release():
    """Continues the test above: of three that are kept, to the oldest and not to the one before."""
    named = {host: fleet.ctl(host, "guestbook", "releases")["releases"][0]["id"] for host in fleet.HOSTS}
    release = named[fleet.HOSTS[0]]
    assert set(named.values()) == {release}, "the same source has the same id on every host"
    assert release.startswith("kept-1-")
    with fleet.visitors():
        result = fleet.play("rollback", release=release)
    assert result.returncode == 0, result.stdout
    assert fleet.both(fleet.served) == named
    result = fleet.play("rollback", release="nobody-knows-it")
    assert result.returncode != 0
    assert "no release 'nobody-knows-it'" in result.stdout
    assert fleet.both(fleet.served) == named


def test_maintenance():
    host = fleet.HOSTS[0]
    assert fleet.ctl(host, "guestbook", "maintenance", "on", "--message", "Back at <noon>")["changed"]
    try:
        answer = fleet.browser(host).get("/")
        assert answer.status == 503
        assert b"Back at &lt;noon&gt;" in answer.data
        assert answer.headers["Retry-After"]
        local = ["curl", "-sk", "--resolve", "guestbook.test:443:127.0.0.1", "https://guestbook.test/healthz"]
        assert '"ok"' in fleet.on(host, *local).stdout, "an address that may see the site does"
        fleet.deploy("behind", host=host)
        assert fleet.browser(host).get("/").status == 503
    finally:
        assert fleet.ctl(host, "guestbook", "maintenance", "off")["changed"]
    assert fleet.version(host) == "behind"
