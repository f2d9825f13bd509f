"""What an app may touch. A command in its sandbox tries everything at once, and the tests look at what came of it."""

import json

import pytest

APPS = ["legacy", "packaged", "locked", "pyproject"]
TREE = "/srv/legacy/current/source"
DENIED = {"EACCES", "EROFS"}
# Prints "done" or the name of the error for each path, and whose environment it has seen in /proc.
PROGRAM = """
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

seen = set()
for path in glob.glob("/proc/[0-9]*/environ"):
    if attempt(read, path) == "done":
        with open(path) as handle:
            seen.update(line for line in handle.read().split("\\0") if line.startswith("ALLOWED_HOSTS="))

wanted = json.loads(%r)
result = {name: {path: attempt(globals()[name], path) for path in wanted[name]} for name in wanted}
print(json.dumps({**result, "seen": sorted(seen)}))
"""


def code(app: str) -> list[str]:
    """What a release is made of, and what of the app and the host only root may change."""
    release = f"/srv/{app}/current"
    return [
        f"{release}/source/probe",
        f"{release}/static/probe",
        f"{release}/venv/bin/probe",
        f"{release}/venv/bin/gunicorn",
        f"{release}/release.json",
        f"/srv/{app}/probe",
        f"/srv/{app}/static/probe",
        "/etc/passwd",
    ]


def data(app: str) -> list[str]:
    """What the app writes to."""
    return [f"/srv/{app}/{name}/probe" for name in ("data", "media", "cache", "shared")]


def private(app: str) -> list[str]:
    """What no other app may read."""
    return [
        *(f"/srv/{app}/{name}" for name in ("releases", "data", "media", "cache", "shared")),
        *(f"/srv/{app}/current/{name}" for name in ("release.json", "source", "venv/bin/gunicorn")),
        *(f"/etc/djangofleet/{app}/{name}" for name in ("app.json", "env", "secret")),
    ]


# In the tree of `legacy`: what its inventory shares, and what lies beside that.
SHARED = [f"{TREE}/var/probe", f"{TREE}/src/public/uploads/probe", f"{TREE}/src/db.sqlite3"]
BESIDE = [f"{TREE}/src/public/assets/probe", f"{TREE}/src/legacy/settings/local_settings.py", f"{TREE}/src/probe"]


@pytest.fixture(scope="module", params=APPS)
def app(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def came_of(host, app) -> dict:
    """What the app could do: {"write": {path: result}, "read": {path: result}, "seen": [...]}."""
    tried = {
        "write": code(app) + data(app) + (SHARED + BESIDE if app == "legacy" else []),
        "read": [path for other in APPS if other != app for path in private(other)],
    }
    program = PROGRAM % json.dumps(tried)
    return json.loads(host.check_output("djangoctl %s manage shell --verbosity=0 -c %s", app, program))


def test_the_service_runs_in_the_same_sandbox(host, app):
    """So what holds for a command holds for it."""
    lines = host.check_output("systemctl cat %s", f"django-{app}.service").splitlines()
    sandbox = json.loads(host.file(f"/etc/djangofleet/{app}/app.json").content_string)["sandbox"]
    assert "ProtectSystem=strict" in sandbox
    assert set(sandbox) <= set(lines)
    assert f"User=django-{app}" in lines


def test_code_cannot_be_written(came_of, app):
    assert {came_of["write"][path] for path in code(app)} <= DENIED, came_of["write"]


def test_data_can_be_written(came_of, app):
    """Else the test above would pass where nothing can be done at all."""
    assert {path: came_of["write"][path] for path in data(app)} == dict.fromkeys(data(app), "done")


@pytest.mark.parametrize("app", ["legacy"], indirect=True, scope="module")
def test_shared_paths_can_be_written_through_the_tree_and_nothing_beside_them(came_of):
    assert {path: came_of["write"][path] for path in SHARED} == dict.fromkeys(SHARED, "done")
    assert {came_of["write"][path] for path in BESIDE} <= DENIED, came_of["write"]


def test_files_of_other_apps_cannot_be_read(host, came_of):
    host.check_output("ls -d " + " ".join(came_of["read"]))  # they are all there
    assert came_of["read"] == dict.fromkeys(came_of["read"], "EACCES")


def test_environment_of_other_apps_is_not_seen(came_of, app):
    hosts = "legacy.test,www.legacy.test" if app == "legacy" else f"{app}.test"
    assert came_of["seen"] == [f"ALLOWED_HOSTS={hosts}"]
