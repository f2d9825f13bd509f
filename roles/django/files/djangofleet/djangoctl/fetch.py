"""Fetches a version of a Git repository and keeps the tree of its commit.

All fetches of an app share one cache of objects, `repo/git`. Each commit has a tree of its own, `repo/trees/<commit>`,
which appears by rename and never changes. So a build that is given a commit gets the content of that commit, whoever
fetches what meanwhile, and whatever happens to the branch.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .app import App
from .errors import BuildError, LockedError
from .scm import Settings, configured, login, version_of
from .tree import remove

WAIT = 900  # seconds for another fetch to end: a first one may take long
KEEP = 3600  # seconds that a tree stays for the build that follows
COMMIT = re.compile(r"[0-9a-f]{40}")
ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")
BRANCHES_AND_TAGS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
WANTED = "refs/wanted"  # what no branch and no tag names
# git of the host as a fetch runs it: it leaves no process behind, and runs no hook of a template.
SETTINGS = (("gc.autoDetach", "false"), ("advice.detachedHead", "false"), ("core.hooksPath", "/dev/null"))


@dataclass(frozen=True)
class Fetched:
    """A commit, the directory with its files, and its version in the words of setuptools-scm and pbr."""

    commit: str
    tree: Path
    scm_version: str


def fetch(
    app: App, repository: str, version: str = "HEAD", *, key: Path | None = None, known_hosts: Path | None = None
) -> Fetched:
    """Fetch a branch, a tag or a commit of a repository; a branch comes before a tag of the same name.

    :param key: the private key to log in with.
    :param known_hosts: the only host keys to trust; without it the key that a host shows first is trusted.
    :raises BuildError: the repository or the version cannot be had.
    :raises LockedError: another fetch does not end.
    """
    address, settings, secret = login(repository)
    git = _Git(address, _ssh(key, known_hosts) | secret | configured([*SETTINGS, *_without_filters(), *settings]))
    root = app.root / "repo"
    root.mkdir(mode=0o700, exist_ok=True)
    with _alone(root):
        _clear(root)
        cache, trees = root / "git", root / "trees"
        trees.mkdir(exist_ok=True)
        if not (cache / "HEAD").exists():
            git.run("init", "--bare", "--quiet", str(cache))
        commit = _resolve(git, cache, version)
        tree = trees / commit
        if not tree.exists():
            _check_out(git, cache, commit, tree)
        os.utime(tree)
        return Fetched(commit, tree, version_of(git.run("describe", "--tags", commit, at=cache, fails=True), commit))


@dataclass(frozen=True)
class _Git:
    """Git as root runs it: it asks nobody, and leaves no process behind that goes on after the fetch."""

    repository: str
    environment: Mapping[str, str]

    def run(self, *words: str, at: Path | None = None, fails: bool = False) -> str:
        """Run git and return what it prints.

        :param at: the repository that it is about.
        :param fails: return an empty text where git fails.
        """
        where = ["-C", str(at)] if at else []
        result = subprocess.run(
            ["git", *where, *words],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode == 0:
            return result.stdout.strip()
        if fails:
            return ""
        raise _failed(result.stderr.strip())


def _failed(found: str) -> BuildError:
    return BuildError(found, state="nothing was changed")


def _without_filters() -> Settings:
    """Settings that switch off the filters that the host knows, such as those of git-lfs.

    They would run as root, and the files of a repository say which one and on what.
    """
    words = ["git", "config", "--name-only", "--get-regexp", r"^filter\."]
    known = subprocess.run(words, cwd="/", capture_output=True, text=True, errors="replace", check=False).stdout
    names = dict.fromkeys(line.rpartition(".")[0] for line in known.splitlines())
    off = (("smudge", ""), ("process", ""), ("required", "false"))
    return [(f"{name}.{key}", value) for name in names for key, value in off]


def _ssh(key: Path | None, known_hosts: Path | None) -> dict[str, str]:
    words = ["ssh", "-o", "BatchMode=yes"]
    if key:
        words += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    if known_hosts:
        words += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts}"]
    else:
        words += ["-o", "StrictHostKeyChecking=accept-new"]
    return {"GIT_SSH_COMMAND": shlex.join(words), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One fetch at a time. Only root can open the file, so nobody else can hold it."""
    with open(root / "lock", "a") as handle:
        deadline = time.monotonic() + WAIT
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockedError(
                        f"{root}: another fetch has not ended for {WAIT} s",
                        state="nothing was changed",
                        hint="look for a process named git",
                    ) from None
                time.sleep(0.1)
        yield


def _clear(root: Path) -> None:
    """Remove the trees of earlier fetches, what a broken-off one left, and the checkout of an earlier djangoctl."""
    for path in root.iterdir():
        if path.name not in ("git", "trees", "lock"):
            remove(path)
    for path in sorted((root / "trees").glob("*")):
        if path.name.startswith(".") or time.time() - path.stat().st_mtime > KEEP:
            remove(path)
    for path in sorted(
        (root / "git").rglob("*.lock")
    ):  # no ref may end so; a git that was killed refuses itself with it
        path.unlink()


def _resolve(git: _Git, cache: Path, version: str) -> str:
    """The commit of a version, once its objects are in the cache."""
    if COMMIT.fullmatch(version) and (cache.parent / "trees" / version).exists():
        return version
    elsewhere = [f"+{version}:{WANTED}"] if version == "HEAD" or version.startswith("refs/") else []
    refspecs = (*BRANCHES_AND_TAGS, *elsewhere)
    git.run("fetch", "--quiet", "--prune", "--force", "--no-tags", "--", git.repository, *refspecs, at=cache)
    names = [WANTED] if elsewhere else [f"refs/heads/{version}", f"refs/tags/{version}"]
    if COMMIT.fullmatch(version):  # whoever may push could name a branch like it
        names = [version]
    elif ABBREVIATED.fullmatch(version):
        names.append(version)
    for name in names:
        if commit := git.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", at=cache, fails=True):
            return commit
    if COMMIT.fullmatch(version):  # no branch has it any more; some servers still give it
        git.run("fetch", "--quiet", "--no-tags", "--", git.repository, version, at=cache)
        return version
    raise _failed(f"there is no branch, tag or commit '{version}'")


def _check_out(git: _Git, cache: Path, commit: str, tree: Path) -> None:
    """Make the tree of a commit, with its submodules, and nothing of Git in it."""
    temporary = tree.with_name(f".{commit}")
    git.run("clone", "--shared", "--no-checkout", "--quiet", "--", str(cache), str(temporary))
    git.run("checkout", "--quiet", "--detach", commit, at=temporary)
    if (temporary / ".gitmodules").is_file():
        # Their addresses may be relative to that of the repository.
        git.run("config", "remote.origin.url", git.repository, at=temporary)
        git.run("submodule", "--quiet", "update", "--init", "--recursive", at=temporary)
    for directory, names, files in os.walk(temporary):
        if ".git" in names:
            shutil.rmtree(Path(directory, ".git"))
            names.remove(".git")
        if ".git" in files:
            Path(directory, ".git").unlink()
    os.replace(temporary, tree)
