"""Packages: what dpkg is asked, what counts as missing, and what goes to apt."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from loading import load

ROOT = Path(__file__).resolve().parents[2]


packages = load("plugins/modules/packages.py")
action = load("plugins/action/packages.py")

# What dpkg knows: name, architecture, version, status.
KNOWN = [
    "dpkg amd64 1.22.6 installed",
    "nginx amd64 1.26.3-3+deb13u1 installed",
    "tzdata all 2025b-4 installed",
    "libc6 amd64 2.41-12 installed",
    "libc6 i386 2.41-12 installed",
    "libfoo1 i386 1.0 installed",
    "redis amd64 5:8.0.2-3 half-configured",
    "curl amd64 8.14.1-2 unpacked",
    "nano amd64  config-files",
    "vim amd64  not-installed",
]


@pytest.fixture
def dpkg(tmp_path, monkeypatch):
    """A dpkg-query that knows these packages; returns where it notes its calls."""
    calls = tmp_path / "calls"
    program = tmp_path / "dpkg-query"
    program.write_text(f"""#!/bin/sh
printf '%s\\n' "$*" >> {calls}
status=0
while [ "$1" != -- ]; do shift; done
shift
for name; do
  grep "^$name " <<'END' || {{ echo "dpkg-query: no packages found matching $name" >&2; status=1; }}
{chr(10).join(KNOWN)}
END
done
exit $status
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize(
    "name",
    [
        "nginx",
        "tzdata",
        "libc6",
        "libc6:i386",
        "libc6:amd64",
        "libfoo1:i386",
        "libfoo1:any",
        "nginx:native",
        "tzdata:amd64",
        "nginx=1.26.3-3+deb13u1",
        "nginx=1.26*",
        "libc6:i386=2.41-12",
    ],
)
@pytest.mark.usefixtures("dpkg")
def test_what_is_there(name):
    assert packages.missing([name]) == []


@pytest.mark.parametrize(
    "name",
    [
        "never-heard-of",
        "redis",
        "curl",
        "nano",
        "vim",
        "nginx=1.26",
        "nginx=1.22*",
        "nginx:arm64",
        "libc6:arm64",
        "libc6:i386=2.36",
        "libfoo1",
        "libfoo1:native",
    ],
)
@pytest.mark.usefixtures("dpkg")
def test_what_is_missing(name):
    assert packages.missing(["nginx", name, "tzdata"]) == [name]


def test_dpkg_is_asked_once(dpkg):
    assert packages.missing(["nginx", "nginx=2", "gone", "libc6:i386"]) == ["nginx=2", "gone"]
    (call,) = dpkg.read_text().splitlines()
    assert call.endswith(" -- dpkg nginx gone libc6")


@pytest.mark.parametrize(
    "name", ["", "*", "nginx*", "-f", "--help", "Nginx", "a b", "nginx=", "nginx:", "a;b", "a=1=2"]
)
def test_what_is_no_name(dpkg, name):
    with pytest.raises(packages.PackageError, match="is no name of a package"):
        packages.missing(["nginx", name])
    assert not dpkg.exists()


def test_a_host_without_dpkg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.PackageError, match="Debian"):
        packages.missing(["nginx"])


def test_a_database_that_is_broken(tmp_path, monkeypatch):
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'error: parsing file' >&2\nexit 2\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.PackageError, match="parsing file"):
        packages.missing(["nginx"])


# The controller's half


class Host:
    """A host with some packages, an index that may be stale or empty, and archives that have some packages."""

    def __init__(self, installed=(), archives=(), index=None, provided=(), task=None):
        self.installed, self.archives, self.provided = set(installed), set(archives), set(provided)
        self.index = self.archives if index is None else set(index)
        self.calls, self.task, self.broken, self.printed = [], task, None, ""

    def __call__(self, module_args, task_vars, module_name="packages"):
        if module_name == "packages":
            self.calls.append("packages")
            names = module_args["name"]
            lacking = [name for name in names if name not in self.installed]
            return {"changed": False, "missing": lacking, "present": [name for name in names if name not in lacking]}
        assert module_name == "ansible.builtin.apt"
        assert (module_args["lock_timeout"], module_args["update_cache"]) == (300, True)
        return self.apt(module_args, self.task.check_mode)

    def apt(self, arguments, check):
        names = arguments.get("name", [])
        self.calls.append(
            (("check " if check else "") + f"apt {' '.join(names)}".strip(), arguments["cache_valid_time"])
        )
        if self.broken:
            return {"failed": True, "msg": self.broken, "stderr": "E: why", "stdout": self.printed}
        if arguments["cache_valid_time"] == 0 and not check:
            self.index = self.archives
        if names:
            assert arguments["install_recommends"] is False
        for name in names:
            if name not in {*self.index, *self.provided}:
                return {"failed": True, "msg": f"No package matching '{name}' is available"}
        new = set(names) - self.provided
        if not check:
            self.installed |= new
        return {"changed": bool(new), **({"diff": {"prepared": "+ x"}} if new else {})}


def run(host, *names, check=False, known=None):
    task = SimpleNamespace(args={"name": list(names)}, action="packages", async_val=0, check_mode=check)
    plugin = action.ActionModule(task, *5 * [MagicMock()])
    plugin._templar.template = lambda value: value
    plugin._execute_module, host.task = host, task
    result = plugin.run(task_vars={"djangofleet_packages": known})
    assert task.check_mode is check
    return result


def test_what_is_there_costs_one_execution():
    host = Host(["a", "b"])
    assert run(host, "a", "b") == {"changed": False, "missing": [], "present": ["a", "b"]}
    assert host.calls == ["packages"]


def test_only_what_is_missing_goes_to_apt():
    host = Host(["a"], ["b", "c"])
    result = run(host, "a", "b", "c", "b")
    assert host.calls == ["packages", ("apt b c", 3600)]
    assert result == {
        "changed": True, "missing": ["b", "c"], "present": ["a", "b", "c"], "diff": {"prepared": "+ x"},
    }  # fmt: skip
    assert run(host, "a", "b", "c")["changed"] is False


def test_check_mode_installs_nothing_and_says_the_same():
    host = Host(["a"], ["b"], index=["b"])
    said = run(host, "a", "b", check=True)
    assert host.installed == {"a"}
    assert host.calls == ["packages", ("apt", 3600), ("check apt b", 3600)]
    assert said == run(host, "a", "b")


@pytest.mark.parametrize("check", [True, False])
def test_a_host_whose_index_lacks_it_is_refreshed(check):
    host = Host([], ["b"], index=[])
    assert run(host, "b", check=check)["missing"] == ["b"]
    assert host.calls[-1] == ("check apt b" if check else "apt b", 0)


@pytest.mark.parametrize("check", [True, False])
def test_a_package_that_no_archive_has(check):
    host = Host(["a"], ["b"])
    with pytest.raises(AnsibleActionFail, match=r"the archives that this host .* have no package 'nginxx'"):
        run(host, "a", "b", "nginxx", check=check)
    assert host.installed == {"a"}


def test_a_version_that_no_archive_has():
    host = Host()
    host.broken = "no available installation candidate for nginx=9*"
    with pytest.raises(AnsibleActionFail, match=r"have no package 'nginx=9\*'"):
        run(host, "nginx=9*")


def test_a_virtual_package_that_several_provide():
    host = Host()
    host.broken, host.printed = (
        "failed: E: Package 'awk' has no installation candidate",
        "Package awk is a virtual package",
    )
    with pytest.raises(AnsibleActionFail, match="'awk' is a virtual package that several packages provide; name one"):
        run(host, "awk")


@pytest.mark.parametrize("check", [True, False])
def test_another_failure_is_handed_on(check):
    host = Host()
    host.broken = "Failed to lock apt"
    result = run(host, "b", check=check)
    assert (result["failed"], result["msg"], result["stderr"]) == (True, "Failed to lock apt", "E: why")
    assert len(host.calls) == 2, "it does not ask again"


def test_a_virtual_package_that_is_provided_is_no_change():
    host = Host(["a"], ["a"], provided=["mail-transport-agent"])
    result = run(host, "a", "mail-transport-agent")
    assert result == {"changed": False, "missing": [], "present": ["a", "mail-transport-agent"]}


def test_no_packages_no_execution():
    host = Host()
    assert run(host) == {"changed": False, "missing": [], "present": []}
    assert host.calls == []


def test_what_an_earlier_step_covered_costs_nothing():
    host = Host()
    known = {"changed": True, "missing": ["b", "c"], "present": ["a", "b", "c"]}
    assert run(host, "b", "a", known=known) == {"changed": False, "missing": ["b"], "present": ["b", "a"]}
    assert host.calls == []


@pytest.mark.parametrize(
    "known", [None, "text", {}, {"present": ["a"], "missing": []}, {"skipped": True}, {"failed": True, "msg": "no"}]
)
def test_what_no_earlier_step_covered_is_asked(known):
    host = Host(["a"], ["b"])
    assert run(host, "a", "b", known=known)["missing"] == ["b"]
    assert host.calls == ["packages", ("apt b", 3600)]


def test_a_list_is_needed():
    task = SimpleNamespace(args={}, action="packages", async_val=0, check_mode=False)
    plugin = action.ActionModule(task, *5 * [MagicMock()])
    with pytest.raises(AnsibleError, match="name"):
        plugin.run(task_vars={})
