"""What the roles manage on a host, taken from the very executions that managed it.

An unchanged run that keeps its module files on the host (ANSIBLE_KEEP_REMOTE_FILES) leaves each with its arguments:
the packages, users, services and files that the other contestants get to install. Nothing is listed by hand, so they
have the same work after every change to a role.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import zlib
from collections import Counter
from pathlib import Path

from .hosts import BenchError, Host

KEPT = "/root/.ansible/tmp/ansible-tmp-*/AnsiballZ_*.py"
# `explode` is Ansible's own way of showing what a kept module was called with.
EXPLODE = f"""
set -e
for module in $(ls -d {KEPT}); do
  /usr/bin/python3 $module explode >/dev/null
  cat $(dirname $module)/debug_dir/args
  echo
done
rm -rf /root/.ansible/tmp/ansible-tmp-*
"""
# They look and change nothing that lasts, or what they make is written out in provision and deploy.py: uv, the
# certificates.
WITHOUT_RESOURCE = {"setup", "stat", "slurp", "command", "assert", "debug"}


def kept_calls(host: Host) -> list[tuple[str, dict]]:
    """The module executions whose files the host has kept, in order, as (module, arguments); removes the files."""
    calls = []
    for line in host.shell(EXPLODE).splitlines():
        arguments = json.loads(line)["ANSIBLE_MODULE_ARGS"]
        calls.append((arguments["_ansible_module_name"].rpartition(".")[2], arguments))
    return calls


def count(calls: list[tuple[str, dict]]) -> dict[str, int]:
    """How often each module was executed."""
    return dict(sorted(Counter(module for module, _arguments in calls).items()))


def read(calls: list[tuple[str, dict]]) -> dict[str, list]:
    """Turn module executions into resources that any tool can apply.

    :raises BenchError: an execution is of a kind that this does not know; the other contestants would lack it.
    """
    found: dict[str, list] = {"packages": [], "users": [], "entries": [], "services": [], "releases": []}
    for module, arguments in calls:
        if module == "apt":
            if arguments.get("name"):
                found["packages"].append(_list(arguments["name"]))
        elif module == "user":
            found["users"].append({key: arguments[key] for key in ("name", "home", "shell", "comment")})
        elif module == "tree":
            found["entries"] += json.loads(zlib.decompress(base64.b64decode(arguments["payload"])))
        elif module in ("systemd", "systemd_service"):
            found["services"] += _list(arguments["name"])
        elif module == "release":
            found["releases"].append({"app": arguments["app"], "revision": arguments["revision"]})
        elif module not in WITHOUT_RESOURCE:
            raise BenchError(
                f"a role executes the module {module}, and bench/lib/resources.py does not know what it manages: "
                "say there how the other contestants are to apply it"
            )
    return found


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def app_settings(resources: dict[str, list]) -> list[dict]:
    """The app.json of each app."""
    return [
        json.loads(base64.b64decode(entry["content"]))
        for entry in resources["entries"]
        if entry["kind"] == "file" and entry["path"].endswith("/app.json")
    ]


def write(resources: dict[str, list], source: Path, directory: Path) -> None:
    """Write what the contestants read: files/ as on the host, resources.json and resources.sh, and the
    app's source as a directory and as an archive.
    """
    shutil.rmtree(directory, ignore_errors=True)
    for entry in resources["entries"]:
        if entry["kind"] == "file":
            path = directory / "files" / entry["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(entry.pop("content")))
    (directory / "resources.json").write_text(json.dumps(resources, indent=1) + "\n")
    (directory / "resources.sh").write_text(_as_shell(resources))
    # As the role leaves it on the controller: without what is no source (plugins/action/release.py).
    ignored = shutil.ignore_patterns(".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "*.pyc")
    shutil.copytree(source, directory / "source", symlinks=True, ignore=ignored)
    shutil.make_archive(str(directory / "source"), "gztar", directory / "source")


def _as_shell(resources: dict[str, list]) -> str:
    """The resources as somebody would write them into a script: one plain command each."""
    packages = sorted({name for names in resources["packages"] for name in names})
    useradd = ["useradd", "--system", "--no-create-home"]
    users = [
        [*useradd, "--home-dir", user["home"], "--shell", user["shell"], "--comment", user["comment"], user["name"]]
        for user in resources["users"]
    ]
    files = [words for entry in resources["entries"] if (words := _install(entry))]
    lines = [f"packages=({shlex.join(packages)})", f"services=({shlex.join(resources['services'])})"]
    for name, commands in (("create_users", users), ("install_files", files)):
        lines += ["", f"{name}() {{", *(f"  {shlex.join(words)}" for words in commands), "}"]
    return "\n".join(["# shellcheck shell=bash disable=SC2034", *lines]) + "\n"


def _install(entry: dict) -> list[str]:
    path = entry["path"]
    if entry["kind"] == "absent":
        return ["rm", "-rf", path]
    if entry["kind"] == "link":
        return ["ln", "-sfn", entry["target"], path]
    owned = ["-m", entry["mode"], "-o", entry["owner"], "-g", entry["group"]]
    if entry["kind"] == "directory":
        return ["install", "-d", *owned, path]
    return ["install", "-D", *owned, f"files{path}", path]
