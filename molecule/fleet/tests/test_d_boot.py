"""A host that comes back after a release that it has missed, of a repository that anybody can read."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fleet import APP1, APP2, HOSTS, all_in, answered, docker, release, run, visitors
from shared.outside import PROVE, ROOT, within

CONTROLLER = "10.217.64.1"  # on the network of the hosts


def git(at: Path, *words: str) -> None:
    given = ["-c", "user.name=fixture", "-c", "user.email=fixture@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", str(at), *given, *words], check=True, capture_output=True, timeout=60)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def committed(tmp_path) -> Iterator[Callable[[str], dict[str, str]]]:
    """committed(name): the source of an app, a commit with that tag, which the hosts can fetch over HTTP."""
    work, bare = tmp_path / "work", tmp_path / "git/guestbook.git"
    shutil.copytree(ROOT / "examples/guestbook", work, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
    bare.mkdir(parents=True)
    git(bare, "init", "--quiet", "--bare")
    git(work, "init", "--quiet")
    server = ThreadingHTTPServer((CONTROLLER, 0), partial(Quiet, directory=str(bare.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def commit(name: str) -> dict[str, str]:
        style = work / "entries/static/entries/css/site.css"
        style.write_text(f"{style.read_text()}\n/* {name} */\n")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", f"--message={name}")
        git(work, "tag", name)
        git(work, "push", "--quiet", "--tags", str(bare), "main")
        git(bare, "update-server-info")
        return {"git": f"http://{CONTROLLER}:{server.server_port}/guestbook.git", "version": name}

    yield commit
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not PROVE, reason="two deploys more")
def test_a_host_fetches_at_its_boot_what_the_others_serve(authority, committed, figure):
    """Nobody runs a playbook for it, and it takes no visitor before it serves the same."""
    run("playbooks/deploy.yml", fleet_source=committed("before"))
    before = release(APP2)
    assert {release(host) for host in HOSTS} == {before}
    with visitors(authority) as seen:
        docker("kill", APP2)
        run("playbooks/deploy.yml", f"--limit={APP1}", fleet_source=committed("missed"))
        assert release(APP1) != before
        began = time.monotonic()
        docker("start", APP2)
        within(lambda: release(APP2) == release(APP1), 240, "it has fetched and built the release, and put it live")
        all_in(60)
        figure("a host that boots: seconds until it serves what it has missed", time.monotonic() - began)
    assert answered(seen) >= 99.9, seen["examples"]
