"""A project whose code attacks whoever builds it: it noted what came of it, and here is what it left."""

from __future__ import annotations

import json
import re

import pytest

SOURCE = "/srv/hostile/current/source"
STEPS = ["install", "before", "import", "after"]
DENIED = {"EACCES", "EROFS", "ENOENT", "EPERM"}


@pytest.fixture(params=STEPS)
def step(request) -> str:
    return request.param


@pytest.fixture(params=["current", "again"])
def release(request, host) -> str:
    """The id of a release: of the live one, and of one that was built while that served."""
    if request.param == "current":
        return host.check_output("basename $(readlink /srv/hostile/current)")
    return host.check_output("basename /srv/hostile/releases/again-*")


@pytest.fixture
def came_of(host, release, step) -> dict:
    """What a step could do: {"write": {path: result}, "read": {...}, "list": {...}, "processes": [...]}."""
    return json.loads(host.check_output("cat %s", f"/srv/hostile/releases/{release}/source/{step}.json"))


def test_nothing_outside_of_the_build_was_written_or_read(came_of):
    assert set(came_of["write"].values()) <= DENIED, came_of["write"]
    assert set(came_of["read"].values()) <= DENIED, came_of["read"]


def test_a_build_sees_no_other_app_and_no_other_release(came_of, release, step):
    seen = came_of["list"]
    assert seen["/srv"] == ["hostile"]
    assert seen["/srv/hostile/releases"] == ([".packages", release] if step == "install" else [release])
    assert len(seen["/srv/hostile/venvs"]) == 1
    assert seen["/etc/djangofleet"] == ["hostile"]
    rooms = {"releases", "venvs"} if step == "install" else {"releases", "venvs", "data", "media", "cache", "shared"}
    assert set(seen["/srv/hostile"]) == rooms


def test_a_build_sees_no_process_of_the_live_release(came_of):
    """By /proc/<pid>/root another process of the same user would show all that the service sees."""
    assert came_of["processes"]
    assert all(entry == came_of["list"]["/srv/hostile/releases"] for entry in came_of["processes"]), came_of[
        "processes"
    ]


def test_what_is_roots_is_as_it_was(host):
    kept = host.file("/root/kept/authorized_keys")
    assert kept.content_string == "ssh-ed25519 of root\n"
    assert (kept.user, kept.mode, host.file("/root/kept").mode) == ("root", 0o600, 0o700)
    assert host.check_output("ls /root/kept") == "authorized_keys"
    assert (host.file("/etc/passwd").user, host.file("/etc/passwd").mode) == ("root", 0o644)
    assert host.file("/var/log").user == "root"
    for app in ("hostile", "locked"):
        directory = host.file(f"/etc/djangofleet/{app}")
        assert (directory.user, directory.group, directory.mode) == ("root", f"django-{app}", 0o750)
        assert host.file(f"/etc/djangofleet/{app}/env").mode == 0o600


def test_the_user_of_the_app_owns_nothing_elsewhere(host):
    found = host.check_output("find / -xdev -user django-hostile -not -path '/srv/hostile/*' -not -path '/proc/*'")
    assert found == ""


def test_what_is_live_belongs_to_root(host):
    places = "/srv/hostile/current/ $(readlink -f /srv/hostile/current/venv) /srv/hostile/static"
    assert host.check_output(f"find {places} -not -user root") == ""
    assert host.check_output(f"find {places} -not -type l -perm /022") == ""
    assert host.check_output(f"find {places} -perm /6000") == ""
    environment = host.check_output("readlink -f /srv/hostile/current/venv")
    assert host.file(f"{environment}/keys").is_symlink, "the installation has planted it"


def test_nothing_of_the_live_release_has_another_name(host):
    """A file that a build may write, such as one of uv's cache, would be the live one too."""
    places = "/srv/hostile/current/source/ $(readlink -f /srv/hostile/current/venv)"
    assert host.check_output(f"find {places} -type f -links +1") == ""


def test_the_links_it_came_with_and_planted_are_links(host):
    for name, target in {
        "docs": "/etc",
        "configuration": "/etc/djangofleet",
        "passwd.txt": "/etc/passwd",
        "var": "/srv/hostile/shared/var",
    }.items():
        assert host.file(f"{SOURCE}/{name}").linked_to == target
    assert host.file("/srv/hostile/shared/var/log").is_symlink
    assert host.check_output("ls /srv/hostile/media /srv/hostile/data") == "/srv/hostile/data:\n\n/srv/hostile/media:"


def test_only_its_own_files_are_published(host):
    found = host.check_output("find /srv/hostile/static -type f -o -type l -o -type p | sort").splitlines()
    names = {path.rpartition("/")[2].partition(".")[0] for path in found}
    assert names == {"site", "setuid"}, found
    assert "root" not in host.check_output("cat /srv/hostile/static/*.css")


@pytest.mark.parametrize(
    "path",
    [
        "configuration/locked/app.json",
        "passwd.txt",
        "authorized_keys.txt",
        "fifo.css",
    ],
)
def test_nginx_shows_nothing_of_the_host(browse, path):
    asked, nowhere = (browse("hostile.test").get(f"/static/{name}") for name in (path, "nowhere.css"))
    assert asked.status == 404
    page, usual = (re.sub(rb"<code>\w+</code>", b"", answer.data) for answer in (asked, nowhere))  # a request's id
    assert page == usual


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_its_own_style_sheet_is_served(browse, encoding):
    """Under the names of which it has planted links to a file of root."""
    answer = browse("hostile.test").get("/static/site.css", headers={"Accept-Encoding": encoding})
    assert answer.status == 200
    assert answer.data.startswith(b"body { color: black }") or encoding == "br"
    assert b"ssh-ed25519" not in answer.data


def test_it_serves(browse):
    """Else there would be nothing to see of what it did."""
    assert browse("hostile.test").text("/") == "harmless"
