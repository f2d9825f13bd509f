"""What an app may touch, asked from inside of its sandbox."""

import json

import pytest

APPS = ["legacy", "packaged", "locked", "pyproject"]
DENIED = {"EACCES", "EROFS"}
# Prints for each path what came of it: "done" or the name of the error.
ATTEMPTS = """
import errno, glob, json, os

def write(path):
    with open(path, "a"):
        pass
    if path.endswith("/probe"):
        os.unlink(path)

def read(path):
    try:
        os.listdir(path)
    except NotADirectoryError:
        with open(path) as handle:
            handle.read()

def attempt(action, path):
    try:
        action(path)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

print(json.dumps({path: attempt(%s, path) for pattern in %r for path in glob.glob(pattern) or [pattern]}))
"""


def test_commands_and_the_service_run_in_the_same_sandbox(host):
    """The tests below look at a command; this says that they speak for the service as well."""
    for app in APPS:
        lines = host.file(f"/etc/systemd/system/django-{app}.service").content_string.splitlines()
        sandbox = json.loads(host.file(f"/etc/djangofleet/{app}/app.json").content_string)["sandbox"]
        assert "ProtectSystem=strict" in sandbox
        assert set(sandbox) <= set(lines)
        assert f"User=django-{app}" in lines


@pytest.mark.parametrize("app", APPS)
def test_code_cannot_be_written(inside, app):
    release = f"/srv/{app}/current"
    project = f"{release}/source/src" if app == "legacy" else f"{release}/source"
    django = f"{release}/venv/lib/python3*/site-packages/django"
    paths = [f"{project}/probe", f"{django}/__init__.py", f"{release}/static/probe", f"{release}/release.json"]
    found = inside(app, ATTEMPTS % ("write", [*paths, f"/srv/{app}/probe", f"/srv/{app}/static/probe", "/etc/passwd"]))
    assert len(found) == 7
    assert set(found.values()) <= DENIED, found


@pytest.mark.parametrize("app", APPS)
def test_data_can_be_written(inside, app):
    """Else the test above would pass where nothing can be done at all."""
    paths = [f"/srv/{app}/{name}/probe" for name in ("data", "media", "cache", "shared")]
    assert inside(app, ATTEMPTS % ("write", paths)) == dict.fromkeys(paths, "done")


def test_shared_paths_can_be_written_through_the_tree_and_nothing_beside_them(inside):
    tree = "/srv/legacy/current/source"
    shared = [f"{tree}/var/probe", f"{tree}/src/public/uploads/probe", f"{tree}/src/db.sqlite3"]
    assert inside("legacy", ATTEMPTS % ("write", shared)) == dict.fromkeys(shared, "done")
    others = [f"{tree}/probe", f"{tree}/src/public/assets/probe", f"{tree}/src/legacy/settings/local_settings.py"]
    assert set(inside("legacy", ATTEMPTS % ("write", others)).values()) <= DENIED


@pytest.mark.parametrize("app", APPS)
def test_files_of_other_apps_cannot_be_read(host, inside, app):
    paths = [
        path
        for other in APPS
        if other != app
        for path in (
            *(f"/srv/{other}/{name}" for name in ("releases", "data", "media", "cache", "shared")),
            *(f"/srv/{other}/current/{name}" for name in ("release.json", "source", "venv/bin/python")),
            *(f"/etc/djangofleet/{other}/{name}" for name in ("app.json", "env", "secret")),
        )
    ]
    host.check_output("ls -d " + " ".join(paths))  # they are all there
    assert inside(app, ATTEMPTS % ("read", paths)) == dict.fromkeys(paths, "EACCES")


@pytest.mark.parametrize("app", APPS)
def test_environment_of_other_apps_is_not_seen(inside, app):
    """Of all processes of the host, only those of the app itself show theirs."""
    program = """
import glob, json
found = set()
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        with open(path) as handle:
            found.update(line for line in handle.read().split("\\0") if line.startswith("ALLOWED_HOSTS="))
    except OSError:
        pass
print(json.dumps(sorted(found)))
"""
    hosts = "legacy.test,www.legacy.test" if app == "legacy" else f"{app}.test"
    assert inside(app, program) == [f"ALLOWED_HOSTS={hosts}"]
