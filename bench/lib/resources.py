"""What the roles manage on a host, taken from the very executions that managed it.

A run that keeps its module files on the host (ANSIBLE_KEEP_REMOTE_FILES) leaves each with its arguments: the packages,
users, services and files that the other contestants get to install. Nothing is listed by hand, so they have the same
work after every change to a role.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
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
# What the first of these manage is read below. The second look and change nothing that lasts, or what they make is
# written out in provision and deploy.py, since every tool says it in its own way: uv, the authority, the certificates.
SYSTEMD = {"systemd", "systemd_service"}
WITH_RESOURCE = {"apt", "packages", "release", "survey", "tree", "user", *SYSTEMD}
WITHOUT_RESOURCE = {
    *("command", "reload", "setup", "slurp", "stat", "visit"),
    *("openssl_csr_pipe", "openssl_privatekey", "openssl_privatekey_pipe", "x509_certificate", "x509_certificate_pipe"),
}
# Each contestant makes its own authority and certificates. The roles write theirs among other files.
OWN_FILES = ("/etc/djangofleet/authority/", "/etc/djangofleet/certificates/")


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


def read(first: list[tuple[str, dict]], unchanged: list[tuple[str, dict]]) -> dict[str, list]:
    """Turn module executions into resources that any tool can apply.

    :param first: of a run on an empty host: here every module that manages something is executed.
    :param unchanged: of the run after it: files are taken from here, since the first run also writes certificates that
        each host has for itself.
    :raises BenchError: an execution is of a kind that this does not know; the other contestants would lack it.
    """
    found: dict[str, list] = {"packages": [], "users": [], "services": [], "releases": []}
    for module, arguments in first:
        if module in ("apt", "packages"):
            # The module packages asks for all of them and leaves those that are missing to apt: each counts once.
            seen = {name for names in found["packages"] for name in names}
            if names := [name for name in _list(arguments.get("name") or []) if name not in seen]:
                found["packages"].append(names)
        elif module == "user":
            found["users"].append({key: arguments[key] for key in ("name", "home", "shell", "comment")})
        elif module == "survey" or (module in SYSTEMD and arguments.get("enabled")):  # the rest are handlers
            # The roles ask about every service that a host may run, and start those that their packages have not.
            for name in _list(arguments.get("units") or arguments.get("name") or []):
                if (unit := name.removesuffix(".service")) not in found["services"]:
                    found["services"].append(unit)
        elif module == "release" and arguments["state"] == "built":
            # Asked for at first, and then sent: two executions for one release.
            built = {"app": arguments["app"], "revision": arguments["revision"]}
            if built not in found["releases"]:
                found["releases"].append(built)
    unknown = {module for module, _arguments in first + unchanged} - WITHOUT_RESOURCE - WITH_RESOURCE
    if unknown:
        raise BenchError(
            f"the roles execute modules that bench/lib/resources.py does not know: {', '.join(sorted(unknown))}; "
            "say there how the other contestants are to do their work"
        )
    trees = [arguments["entries"] for module, arguments in unchanged if module == "tree"]
    entries = [_resource(entry) for tree in trees for entry in tree]
    found["entries"] = [
        entry for entry in entries if entry["kind"] != "file" or not entry["path"].startswith(OWN_FILES)
    ]
    return found


def started_at_boot(host: Host, units: list[str]) -> list[str]:
    """Those units that a host starts at boot: of what the roles ask about, not every host runs all."""
    return [
        unit
        for unit in units
        if host.shell(f"systemctl is-enabled {shlex.quote(unit)}", check=False).strip() == "enabled"
    ]


def _resource(entry: dict) -> dict:
    """An entry as the module tree gets it, with what it is in one word, as the other contestants read it."""
    kind = next((kind for kind in ("absent", "directory", "link") if entry.get(kind)), "file")
    return {**entry, "kind": kind, "target": entry.get("link")}


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


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
    copy_source(source, directory / "source")
    shutil.make_archive(str(directory / "source"), "gztar", directory / "source")


def copy_source(source: Path, target: Path) -> None:
    """Copy a project as the role leaves it on the controller: without what is no source (plugins/action/release.py)."""
    ignored = shutil.ignore_patterns(".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "*.pyc")
    shutil.copytree(source, target, symlinks=True, ignore=ignored)


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
