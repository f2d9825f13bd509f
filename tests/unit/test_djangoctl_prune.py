"""Retention: which releases stay, and which static files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from djangoctl import release as releases
from djangoctl import tree
from djangoctl.prune import prune, running
from djangoctl.release import write_json
from djangoctl.static import publish


@pytest.fixture
def app(make_app):
    return make_app(keep_releases=2)


@pytest.fixture
def make(make_release):
    """`make(app, "a", "b", live="b")`: good releases, built and activated in that order."""

    def run(app, *names, live, history=None):
        for name in names:
            make_release(app, name)
        releases.point(app.current, app.releases / live)
        write_json(app.root / "live.json", {"release": live, "history": list(names) if history is None else history})

    return run


@pytest.fixture
def worker():
    """`worker(directory)`: a process with that working directory until the test ends."""
    started = []

    def run(directory):
        words = [sys.executable, "-c", "print('up', flush=True); import sys; sys.stdin.read()"]
        process = subprocess.Popen(words, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "up\n"
        return process

    yield run
    for process in started:
        process.communicate()


def left(app):
    return [release.id for release in releases.all_of(app)]


def test_the_last_good_releases_stay(app, make):
    make(app, "a", "b", "c", "d", live="d")
    assert prune(app) == ["a", "b"]
    assert left(app) == ["c", "d"]
    assert prune(app) == []


def test_the_inventory_sets_the_number(make_app, make):
    app = make_app(keep_releases=3)
    make(app, "a", "b", "c", "d", live="d")
    assert prune(app) == ["a"]


def test_the_history_of_activations_decides_about_age(app, make):
    """The release that was built first is live again: neither the order of building nor a file's time counts."""
    make(app, "a", "b", "c", "d", live="a", history=["b", "c", "d", "a"])
    for age, name in enumerate(["d", "c", "b", "a"]):
        for path in (app.releases / name, app.releases / name / "release.json"):
            os.utime(path, (age, age))
    assert prune(app) == ["b", "c"]
    assert left(app) == ["a", "d"]


def test_a_release_that_was_never_live_is_removed_first(app, make, make_release):
    make(app, "a", "b", live="b")
    for name in ("never", "newest"):
        make_release(app, name)
    assert prune(app) == ["never"]
    # The newest may be waiting for its activation. It does not replace one to roll back to.
    assert left(app) == ["a", "b", "newest"]


def test_the_live_release_stays_whatever_the_history_says(make_app, make):
    app = make_app(keep_releases=1)
    make(app, "a", "b", "c", live="a")
    assert prune(app) == ["b"]
    assert left(app) == ["a", "c"]


def test_the_release_of_the_stand_in_stays(app, make):
    make(app, "a", "b", "c", "d", live="d")
    releases.point(app.next_link, app.releases / "a")
    assert prune(app) == ["b"]


@pytest.mark.parametrize("linked", [False, True], ids=["plain", "root-is-a-link"])
def test_a_release_that_a_process_runs_in_stays_until_the_process_ends(app, make, worker, linked):
    if linked:
        elsewhere = app.root.with_name("disk")
        app.root.rename(elsewhere)
        app.root.symlink_to(elsewhere)
    make(app, "a", "b", "c", "d", live="d")
    draining = worker(app.releases / "a/source")
    assert running(app) == {"a"}
    assert prune(app) == ["b"]
    draining.communicate()
    assert running(app) == set()
    assert prune(app) == ["a"]


def test_only_the_last_failed_release_stays(app, make, make_release):
    make(app, "a", "b", live="b")
    for name in ("bad", "worse"):
        make_release(app, name, state="failed")
        (app.releases / name / "build.log").write_text("why")
    make_release(app, "cut-short", state="building")
    assert prune(app) == ["bad", "cut-short"]
    assert (app.releases / "worse/build.log").read_text() == "why"


def test_a_failed_release_does_not_count_as_a_good_one(app, make, make_release):
    make(app, "a", "b", live="b")
    make_release(app, "bad", state="failed")
    assert prune(app) == []


def test_the_package_cache_stays(app, make):
    (app.releases / ".packages/wheel").write_text("x")
    make(app, "a", "b", "c", live="c")
    assert prune(app) == ["a"]
    assert (app.releases / ".packages/wheel").exists()


def test_static_files_are_removed_with_the_last_release_that_has_them(app, make_release):
    names = ["a", "b", "c"]
    for number, name in enumerate(names, 1):
        files = {f"app.{name}.css": name, f"deep/{name}/x.js": name, "shared.css": name * number}
        release = make_release(app, name, files, live=True)
        publish(app, release)
    write_json(app.root / "live.json", {"history": names})
    app.maintenance.write_text("back soon")
    (app.static / "stray.txt").write_text("x")
    assert prune(app) == ["a"]
    found = {str(path.relative_to(app.static)) for path in app.static.rglob("*")}
    assert found == {
        ".maintenance.html",
        "app.b.css",
        "app.c.css",
        "deep",
        "deep/b",
        "deep/b/x.js",
        "deep/c",
        "deep/c/x.js",
        "shared.css",
    }
    assert (app.static / "shared.css").read_text() == "ccc"


def test_a_failed_release_keeps_no_static_files(make_app, make_release):
    app = make_app(keep_releases=1)
    old = make_release(app, "old", {"a.css": "a"})
    publish(app, old)
    make_release(app, "new", {"b.css": "b"}, live=True)
    failed = make_release(app, "failed", {"a.css": "a"}, state="failed")
    subprocess.run(["mkdir", "-p", f"{failed.path}/static/{'d/' * 1500}"], check=True)
    try:
        assert prune(app) == ["old"]
        assert not (app.static / "a.css").exists()
    finally:
        tree.remove(failed.path)


def test_static_files_that_are_collected_in_the_source_stay(app, make_release):
    for name in ("a", "b", "c"):
        release = make_release(app, name, live=True)
        (release.path / "static").rmdir()
        (release.path / "source/public").mkdir()
        (release.path / f"source/public/{name}.css").write_text(name)
        (release.path / "static").symlink_to("source/public")
        publish(app, release)
    write_json(app.root / "live.json", {"history": ["a", "b", "c"]})
    prune(app)
    assert sorted(path.name for path in app.static.iterdir()) == ["b.css", "c.css"]


def test_static_files_stay_where_no_release_is_removed(app, make):
    make(app, "a", live="a")
    (app.static / "stray.txt").write_text("x")
    assert prune(app) == []
    assert (app.static / "stray.txt").exists()
