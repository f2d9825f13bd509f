"""Fetches with a real Git: which commit a version is, and that nobody else's fetch changes what is built."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from djangoctl import fetch as fetches
from djangoctl.errors import BuildError, LockedError
from djangoctl.fetch import fetch


def git(*words: str, at: Path) -> str:
    identity = ["-c", "user.name=fixture", "-c", "user.email=fixture@example.com", "-c", "protocol.file.allow=always"]
    result = subprocess.run(["git", *identity, *words], cwd=at, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class Project:
    """A repository of somebody else."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        git("init", "--quiet", "--initial-branch=main", at=path)

    def commit(self, content: str, tag: str = "", name: str = "manage.py") -> str:
        (self.path / name).write_text(content)
        git("add", "--all", at=self.path)
        git("commit", "--quiet", "--allow-empty", f"--message={content}", at=self.path)
        if tag:
            git("tag", "--force", tag, at=self.path)
        return git("rev-parse", "HEAD", at=self.path)


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    """The host's settings of Git, none of whoever runs the tests; submodules may lie on this machine."""
    (tmp_path / "gitconfig").write_text('[protocol "file"]\nallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return tmp_path / "gitconfig"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@pytest.fixture
def app(make_app):
    return make_app()


def content(found) -> str:
    return (found.tree / "manage.py").read_text()


def test_a_version_is_a_branch_a_tag_a_commit_or_the_head(app, project):
    first, second = project.commit("one", "v1"), project.commit("two")
    git("branch", "stable", first, at=project.path)
    git("tag", "stable", second, at=project.path)
    wanted = {"v1": first, "main": second, "HEAD": second, first: first, first[:9]: first, "stable": first}
    assert {version: fetch(app, str(project.path), version).commit for version in wanted} == wanted
    assert fetch(app, str(project.path), "refs/tags/stable").commit == second


def test_an_annotated_tag_is_its_commit(app, project):
    commit = project.commit("one")
    git("tag", "--annotate", "--message=x", "v1", at=project.path)
    assert fetch(app, str(project.path), "v1").commit == commit


def test_a_branch_or_a_tag_never_takes_the_place_of_a_commit(app, project):
    """Who pins a commit trusts that commit, and nobody who may push."""
    pinned, other = project.commit("one"), project.commit("two")
    for kind in ("heads", "tags"):
        git("update-ref", f"refs/{kind}/{pinned}", other, at=project.path)
    assert fetch(app, str(project.path), pinned).commit == pinned


def test_a_fetch_of_somebody_else_changes_nothing_of_a_commit(app, project):
    """Two deploys that meet: the one of v1 builds v1, although v2 was fetched before it came to that."""
    project.commit("one", "v1")
    mine = fetch(app, str(project.path), "v1")
    project.commit("two", "v2")
    assert content(fetch(app, str(project.path), "v2")) == "two"
    assert content(mine) == "one"
    assert mine.tree.name == mine.commit == git("rev-parse", "v1", at=project.path)


def test_fetches_at_the_same_time(app, project):
    versions = [f"v{number}" for number in range(6)]
    commits = {version: project.commit(version, version) for version in versions}
    found: dict[str, object] = {}

    def one(version: str) -> None:
        try:
            found[version] = fetch(app, str(project.path), version)
        except Exception as error:  # it would be lost with the thread
            found[version] = error

    threads = [threading.Thread(target=one, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {version: content(result) for version, result in found.items()} == {v: v for v in versions}, found
    assert {version: result.commit for version, result in found.items()} == commits


def test_a_branch_that_is_pushed_by_force(app, project):
    project.commit("base")
    commit = project.commit("lost")
    mine = fetch(app, str(project.path), "main")
    git("reset", "--quiet", "--hard", "HEAD~1", at=project.path)
    project.commit("other")
    git("reflog", "expire", "--expire=now", "--all", at=project.path)
    git("gc", "--quiet", "--prune=now", at=project.path)
    assert content(fetch(app, str(project.path), "main")) == "other"
    git("gc", "--quiet", "--prune=now", at=app.root / "repo/git")
    assert (mine.commit, content(mine)) == (commit, "lost")
    assert fetch(app, str(project.path), commit) == mine, "no repository has it any more, and the tree is there"


def test_a_branch_that_takes_the_place_of_a_directory_of_branches(app, project):
    project.commit("one")
    git("branch", "release/one", at=project.path)
    fetch(app, str(project.path), "release/one")
    git("branch", "--delete", "--force", "release/one", at=project.path)
    git("branch", "release", at=project.path)
    assert content(fetch(app, str(project.path), "release")) == "one"


def test_the_tree_is_that_of_a_checkout(app, project):
    """Whole, whatever `git archive` would leave out, with modes and links, and without anything of Git."""
    (project.path / ".gitattributes").write_text("docs export-ignore\n")
    (project.path / "docs").mkdir()
    (project.path / "docs/a").write_text("a")
    (project.path / "run").write_text("#!/bin/sh\n")
    (project.path / "run").chmod(0o755)
    (project.path / "link").symlink_to("run")
    project.commit("one")
    tree = fetch(app, str(project.path)).tree
    assert sorted(path.name for path in tree.rglob("*")) == [".gitattributes", "a", "docs", "link", "manage.py", "run"]
    assert os.access(tree / "run", os.X_OK)
    assert (tree / "link").is_symlink()


def test_no_filter_and_no_hook_of_the_host_runs(app, project, tmp_path, settings):
    """git-lfs is such a filter where it is installed for all users: the files of a repository would run it as root."""
    theirs, templates = Project(tmp_path / "theirs"), tmp_path / "templates/hooks"
    for one in (theirs, project):
        one.commit("* filter=lfs\n*.x filter=a.b\n", name=".gitattributes")
        one.commit("as it is", name="file.x")
        one.commit("as it is", name="manage.py")
    git("submodule", "--quiet", "add", "../theirs", "theirs", at=project.path)
    project.commit("print()")
    mark = f"touch {tmp_path}/ran; cat"
    for name in ("lfs", "a.b"):
        for key in ("smudge", "process"):
            git("config", "--file", str(settings), f"filter.{name}.{key}", mark, at=tmp_path)
        git("config", "--file", str(settings), f"filter.{name}.required", "true", at=tmp_path)
    templates.mkdir(parents=True)
    (templates / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (templates / "post-checkout").chmod(0o755)
    git("config", "--file", str(settings), "init.templateDir", str(templates.parent), at=tmp_path)
    found = fetch(app, str(project.path))
    assert (found.tree / "theirs/file.x").read_text() == (found.tree / "file.x").read_text() == "as it is"
    assert not (tmp_path / "ran").exists()


def test_submodules_come_too(app, project, tmp_path):
    theirs = Project(tmp_path / "theirs")
    theirs.commit("theirs", name="theirs.py")
    project.commit("one")
    git("submodule", "--quiet", "add", "../theirs", "vendor/theirs", at=project.path)
    project.commit("with a submodule")
    tree = fetch(app, str(project.path)).tree
    assert (tree / "vendor/theirs/theirs.py").read_text() == "theirs"
    assert list(tree.rglob(".git")) == []


def test_what_cannot_be_fetched(app, project):
    project.commit("one")
    with pytest.raises(BuildError, match="there is no branch, tag or commit 'v9'"):
        fetch(app, str(project.path), "v9")
    with pytest.raises(BuildError, match="no/such/repository"):
        fetch(app, "/no/such/repository")
    for odd in ("--upload-pack=touch x", "-x", "a b", ""):
        with pytest.raises(BuildError):
            fetch(app, str(project.path), odd)
    with pytest.raises(BuildError):
        fetch(app, f"--upload-pack=touch {app.root}/reached", "main")
    assert not (app.root / "reached").exists()


def test_a_token_is_in_no_message(app):
    with pytest.raises(BuildError) as caught:
        fetch(app, "nothing://ada:s3cret@git.example.com/shop")
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def host(tmp_path):
    """A server of Git over HTTP that asks for a name and a password; gives its address."""
    wanted = "Basic " + base64.b64encode(b"ada:s3:cret/").decode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.headers.get("Authorization") == wanted:
                return super().do_GET()
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return None

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_token_is_on_no_command_line(app, project, host, tmp_path, monkeypatch):
    """Not even that of a submodule, whose address is relative."""
    theirs = Project(tmp_path / "theirs")
    theirs.commit("theirs", name="theirs.py")
    project.commit("one")
    git("submodule", "--quiet", "add", "../theirs", "theirs", at=project.path)
    commit = project.commit("with a submodule")
    for name in ("theirs", "project"):
        git("clone", "--quiet", "--bare", str(tmp_path / name), str(tmp_path / "web" / name), at=tmp_path)
        git("update-server-info", at=tmp_path / "web" / name)
    log, real = tmp_path / "log", shutil.which("git")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\nexec {real} "$@"\n')
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_TRACE", str(log))  # what git runs itself
    found = fetch(app, f"http://ada:s3%3Acret%2F@{host}/project", "main")
    assert found.commit == commit
    assert (found.tree / "theirs/theirs.py").read_text() == "theirs"
    assert "remote-http" in log.read_text()
    assert "cret" not in log.read_text()


def test_old_trees_and_leftovers_are_removed(app, project):
    root = app.root / "repo"
    (root / ".git").mkdir(parents=True)  # the checkout of an earlier version
    (root / "manage.py").write_text("")
    (root / "trees/.half").mkdir(parents=True)
    project.commit("one", "v1")
    old = fetch(app, str(project.path), "v1").tree
    assert sorted(path.name for path in root.iterdir()) == ["git", "lock", "trees"]
    assert [path.name for path in (root / "trees").iterdir()] == [old.name]
    project.commit("two", "v2")
    fetch(app, str(project.path), "v2")
    assert old.exists(), "a build may be under way"
    os.utime(old, (time.time() - 2 * fetches.KEEP,) * 2)
    fetch(app, str(project.path), "v2")
    assert not old.exists()
    assert content(fetch(app, str(project.path), "v1")) == "one"


def test_what_a_killed_git_left_does_not_keep_others_from_fetching(app, project):
    project.commit("one")
    fetch(app, str(project.path), "main")
    for name in ("packed-refs.lock", "refs/heads/main.lock", "shallow.lock"):
        (app.root / "repo/git" / name).touch()
    commit = project.commit("two")
    assert fetch(app, str(project.path), "main").commit == commit


def test_a_tree_that_is_deep_is_removed(app, project):
    """Who may push could end all fetches of the app by one such tree."""
    deep = app.root / "repo/trees/.half"
    subprocess.run(["mkdir", "-p", f"{deep}/{'d/' * 1500}"], check=True)
    project.commit("one")
    fetch(app, str(project.path))
    assert not deep.exists()


def test_a_fetch_that_never_ends_is_told(app, project, monkeypatch):
    project.commit("one")
    monkeypatch.setattr(fetches, "WAIT", 0)
    with fetches._alone(_made(app.root / "repo")), pytest.raises(LockedError, match="another fetch has not ended"):
        fetch(app, str(project.path))


def _made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("key", "known", "words"),
    [
        (None, None, ["StrictHostKeyChecking=accept-new"]),
        (Path("/run/a.key"), None, ["-i /run/a.key", "IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new"]),
        (None, Path("/run/known"), ["StrictHostKeyChecking=yes", "UserKnownHostsFile=/run/known"]),
    ],
)
def test_how_ssh_is_called(key, known, words):
    command = fetches._ssh(key, known)["GIT_SSH_COMMAND"]
    assert [word for word in [*words, "BatchMode=yes"] if word not in command] == []
    assert ("accept-new" in command) == (known is None)


def test_the_version_of_a_tag_is_known(app, project):
    project.commit("one", "v1.4")
    assert fetch(app, str(project.path), "main").scm_version == "1.4"
    commit = project.commit("two")
    found = fetch(app, str(project.path), "main").scm_version
    assert found == f"1.4.post1+g{commit[:7]}"
