"""What the running service of an app may touch. Asked with its own rights, and in its own view of the disk."""

import pytest

APPS = ["legacy", "packaged", "locked", "pyproject"]
REFUSED = ("Read-only file system", "Permission denied")
NEIGHBOURS = [(app, other) for app in APPS for other in APPS if app != other]


@pytest.mark.parametrize("app", APPS)
def test_code_cannot_be_written(host, inside, app):
    release = f"/srv/{app}/releases/" + host.check_output("basename $(readlink %s)", f"/srv/{app}/current")
    project = "source/src" if app == "legacy" else "source"
    django = host.check_output(f"ls -d {release}/venv/lib/python3*/site-packages/django").removeprefix(f"{release}/")
    for path in (f"{project}/new.py", f"{django}/__init__.py", f"{django}/new.py", "static/new.css", "release.json"):
        result = inside(app, f"echo >> {release}/{path}")
        assert result.rc != 0, path
        assert any(text in result.stderr for text in REFUSED), result.stderr
    assert inside(app, f"ln -sfn /tmp /srv/{app}/current").rc != 0


@pytest.mark.parametrize("app", APPS)
def test_data_can_be_written(inside, app):
    """Without this, the test above would pass for a service that cannot do anything."""
    for name in ("data", "media", "cache", "shared"):
        result = inside(app, f"echo x > /srv/{app}/{name}/probe && rm /srv/{app}/{name}/probe")
        assert result.rc == 0, result.stderr


def test_shared_paths_can_be_written_through_the_tree(inside):
    """And nothing beside them."""
    tree = "/srv/legacy/current/source"
    assert inside("legacy", f"echo x > {tree}/var/probe && rm {tree}/var/probe").rc == 0
    assert inside("legacy", f"echo x > {tree}/src/public/uploads/probe && rm {tree}/src/public/uploads/probe").rc == 0
    assert inside("legacy", f"echo x > {tree}/probe").rc != 0
    assert inside("legacy", f"echo x > {tree}/src/public/assets/probe").rc != 0


@pytest.mark.parametrize(("app", "other"), NEIGHBOURS)
def test_files_of_another_app_cannot_be_read(host, inside, app, other):
    paths = [
        f"/srv/{other}/releases",
        f"/srv/{other}/current/release.json",
        f"/srv/{other}/current/source",
        f"/srv/{other}/data",
        f"/srv/{other}/media",
        f"/srv/{other}/cache",
        f"/srv/{other}/shared",
        f"/etc/djangofleet/{other}/app.json",
        f"/etc/djangofleet/{other}/env",
        f"/etc/djangofleet/{other}/secret",
    ]
    for path in paths:
        assert host.file(path).exists, path
    read = 'if [ -d "$path" ]; then ls "$path"; else cat "$path"; fi'
    result = inside(app, f"for path in {' '.join(paths)}; do {read}; done")
    assert result.stdout == ""
    assert result.stderr.count("Permission denied") == len(paths), result.stderr


@pytest.mark.parametrize("app", APPS)
def test_environment_of_another_app_is_not_seen(inside, app):
    """The app sees that of its own processes and of no other."""
    found = inside(app, "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep '^ALLOWED_HOSTS='").stdout
    assert set(found.split()) == {f"ALLOWED_HOSTS={app}.test" + (",www.legacy.test" if app == "legacy" else "")}
