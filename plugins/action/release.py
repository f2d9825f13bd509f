# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of djangofleet.stack.release: names a local source by its content and sends it if it is new.

A small one is sent along with the question.
"""

from __future__ import annotations

import base64
import fnmatch
import getpass
import hashlib
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import wheel_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.preload import preload

preload()

# No part of a release unless somebody says otherwise: what belongs to the checkout or to the machine that it lies on.
EXCLUDE = (".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "*.pyc", ".DS_Store")

# Bytes of a source that goes along with the question whether the host has it: to send it takes no longer than to ask.
SMALL = 1_000_000

REQUIREMENT = re.compile(
    r"\s*(?P<name>[\w.-]+)(?=\s|$|[\[=<>~!;,@])\s*(?:\[(?P<extras>[^]]*)\])?\s*(?:===?\s*(?P<version>[^\s;,]+))?"
)

# A name and a password, or a token. The user of an address for ssh is no secret.
CREDENTIALS = re.compile(r"(?:(?<=http://)|(?<=https://))[^/\s]+(?=@)")


def members(root: str, exclude: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files and links below a directory in a fixed order, as (relative name, path).

    A checkout may also have sockets and fifos, of an editor or a database: nobody deploys them, and to read one blocks.
    """
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in exclude))
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in sorted((*files, *links)):
            if not any(fnmatch.fnmatch(name, pattern) for pattern in exclude):
                path = os.path.join(directory, name)
                if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFLNK):
                    yield os.path.relpath(path, root), path


def digest(root: str, exclude: Sequence[str]) -> str:
    """A digest of names, contents and executable bits: the same for the same code, wherever and whenever it lies."""
    result = hashlib.sha256()
    for name, path in members(root, exclude):
        if os.path.islink(path):
            content = b"link " + os.fsencode(os.readlink(path))
        else:
            with open(path, "rb") as handle:
                content = (b"exec " if os.access(path, os.X_OK) else b"file ") + handle.read()
        result.update(os.fsencode(f"{name}\0{len(content)}\0") + content)
    return result.hexdigest()


def label(requirement: str) -> str:
    """The readable name of what a requirement installs, with its version where it is pinned: ara-server-1.7.2."""
    found = REQUIREMENT.match(requirement)
    parts = [found[name] for name in ("name", "extras", "version") if found[name]] if found else []
    return "-".join(parts) or requirement


def file_digest(path: str) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def is_small(root: str, exclude: Sequence[str]) -> bool:
    """Whether a directory is small enough to be sent unasked."""
    return sum(os.lstat(path).st_size for _name, path in members(root, exclude)) <= SMALL


def pack(root: str, exclude: Sequence[str], target: str) -> None:
    """Pack a directory; the receiver decides about owners."""
    with tarfile.open(target, "w:gz", compresslevel=3) as archive:
        for name, path in members(root, exclude):
            archive.add(path, name, recursive=False)


class ActionModule(ActionBase):
    """Asks the host whether it has the release before it sends anything large."""

    _VALID_ARGS = frozenset(
        (
            "app",
            "state",
            "source",
            "revision",
            "version",
            "scm_version",
            "config",
            "leave",
            "only",
            "release",
            "allow_destructive",
            "allow_schema_ahead",
            "allow_data_removal",
            "rollout",
            "actor",
        )
    )

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = {key: value for key, value in self._task.args.items() if key != "source" and value is not None}
        arguments.setdefault("actor", f"{getpass.getuser()} by ansible")
        source = self._task.args.get("source") or {}
        if arguments.get("state") != "built":
            return self._ask({**arguments, **({"source": source} if source else {})}, task_vars)
        kinds = [key for key in ("tree", "archive", "path", "package") if source.get(key)]
        if len(kinds) != 1:
            raise AnsibleActionFail(
                f"source: takes exactly one of tree, archive, path, package; found {kinds or 'none'}"
            )
        if kinds[0] in ("tree", "archive"):
            return self._ask({**arguments, "source": {kinds[0]: source[kinds[0]]}}, task_vars)
        if source.get("path"):
            return self._from_directory(arguments, source, task_vars)
        return self._from_package(arguments, source["package"], task_vars)

    def _from_directory(self, arguments: dict, source: dict, task_vars: dict) -> dict:
        root = os.path.realpath(os.path.expanduser(source["path"]))  # prod/.. is not the directory that has prod
        if not os.path.isdir(root):
            raise AnsibleActionFail(
                f"django_app.source.path of app '{arguments['app']}': '{source['path']}' is no directory on the "
                "controller; "
                "give the path of the project's checkout"
            )
        given = source.get("exclude")
        exclude = EXCLUDE if given is None else (given,) if isinstance(given, str) else tuple(given)
        arguments = {**arguments, "revision": digest(root, exclude)}
        small = is_small(root, exclude)
        if not small:
            answer = self._ask(arguments, task_vars)
            if answer.get("failed") or not answer.get("changed") or not answer.get("release"):
                return answer
        with tempfile.TemporaryDirectory(dir=C.DEFAULT_LOCAL_TMP) as directory:
            archive = os.path.join(directory, "source.tar.gz")
            pack(root, exclude, archive)
            if small:
                with open(archive, "rb") as handle:
                    content = base64.b64encode(handle.read()).decode()
                return self._ask({**arguments, "source": {"content": content}}, task_vars)
            return self._send(arguments, "archive", archive, task_vars)

    def _from_package(self, arguments: dict, package: str, task_vars: dict) -> dict:
        wheel = wheel_of(package)
        if not wheel:
            named = {"version": label(package), "revision": package}
            source = {"package": package}
            if found := CREDENTIALS.search(package):
                # Apart, so that Ansible keeps them out of the log and of what it shows; with what is around them, since
                # the text `git` is in many an id. Another token is no other code.
                plain = CREDENTIALS.sub("", package, count=1)
                named = {"version": label(plain), "revision": plain}
                source = {"package": plain, "credentials": f"://{found[0]}@"}
            return self._ask({**named, **arguments, "source": source}, task_vars)
        path, extras = os.path.expanduser(wheel), package.removeprefix(wheel)
        if not os.path.isfile(path):
            raise AnsibleActionFail(
                f"django_app.source.package of app '{arguments['app']}': '{package}' is no file on the controller; "
                "give the path of a wheel, or a requirement"
            )
        version = os.path.basename(path).removesuffix(".whl")
        arguments = {"version": version, **arguments, "revision": file_digest(path) + extras}
        answer = self._ask(arguments, task_vars)
        if answer.get("failed") or not answer.get("changed") or not answer.get("release"):
            return answer
        return self._send(arguments, "package", path, task_vars, extras)

    def _send(self, arguments: dict, key: str, path: str, task_vars: dict, extras: str = "") -> dict:
        directory = self._make_tmp_path()
        try:
            remote = self._connection._shell.join_path(directory, os.path.basename(path))
            self._transfer_file(path, remote)
            return self._ask({**arguments, "source": {key: remote + extras}}, task_vars)
        finally:
            self._remove_tmp_path(directory)

    def _ask(self, arguments: dict, task_vars: dict) -> dict:
        return self._execute_module(module_args=arguments, task_vars=task_vars)
