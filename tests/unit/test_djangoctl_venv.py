"""Virtual environments: shared by releases with the same requirements, finished or built again, removed when unused."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess

import pytest
from djangoctl import release as releases
from djangoctl import tree, venv
from djangoctl.build import Source, build
from djangoctl.errors import BuildError
from djangoctl.prune import prune
from djangoctl.rehearsal import rehearsal
from test_djangoctl_build import PROJECT, lines_of, own, project, system  # noqa: F401  (fixtures)


@pytest.fixture
def make(project, system, make_app):  # noqa: F811
    """`make(id, files, **build settings)`: build a release; returns the name of its environment."""

    def run(identity, files=None, source=None, **settings):
        app = make_app(build=settings)
        release = build(app, identity, source or project(PROJECT | (files or {})), system)
        return os.readlink(release.path / "venv").removeprefix("../../venvs/")

    return run


def test_releases_with_the_same_requirements_share_an_environment(make, system):  # noqa: F811
    first = make("v1-1", {"shop/views.py": "one"})
    assert [words[0] for words in system.installs()] == ["venv", "pip", "pip"]
    system.ran.clear()
    assert make("v2-1", {"shop/views.py": "two"}) == first
    assert system.installs() == []


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({"requirements.txt": "django==5.2\n"}, {}),
        ({"requirements.txt": "-r more.txt\n", "more.txt": "x"}, {}),
        ({}, {"python": "/opt/python/bin/python3"}),
        ({}, {"constraints": ["django==5.2"]}),
        ({"uv.lock": ""}, {}),
    ],
)
def test_other_requirements_make_another_environment(make, files, settings):
    assert make("v1-1") != make("v2-1", files, **settings)


def test_what_an_included_file_says_counts(make):
    files = {"requirements.txt": "-r more.txt\n", "more.txt": "x"}
    assert make("v1-1", files) != make("v2-1", files | {"more.txt": "y"})


def test_what_it_is_built_with_counts(make, make_app):
    app = make_app()
    first = make("v1-1")
    (app.config / "build.env").write_text("UV_DEFAULT_INDEX=https://packages.example.com\n")
    assert make("v2-1") != first


@pytest.mark.parametrize("files", [{"requirements.txt": "-e .\n"}, {"requirements.txt": "./lib\n"}])
def test_code_of_the_source_is_never_stale(make, system, files):  # noqa: F811
    first = make("v1-1", files)
    system.ran.clear()
    assert make("v2-1", files) != first
    assert system.installs()


def test_code_of_the_source_is_installed_again_after_a_failure(make, make_app, project, system):  # noqa: F811
    """The installation may have written files into the tree of the release that failed."""
    system.failing["collectstatic"] = "no\n"
    with pytest.raises(BuildError):
        make("v1-1", {"requirements.txt": "-e .\n"})
    system.failing.clear()
    system.ran.clear()
    make("v1-1", {"requirements.txt": "-e .\n"})
    assert system.installs()


@pytest.mark.parametrize("files", [{"requirements.txt": "-e .\n"}, {}])
def test_the_source_is_written_to_only_where_it_is_installed(make, make_app, system, files):  # noqa: F811
    make("v1-1", files)
    release = str(make_app().releases / "v1-1")
    for words, options in system.ran:
        if words[0].endswith("/uv"):
            kind = "BindPaths" if files else "BindReadOnlyPaths"
            assert f"{kind}={release}:{release}" in lines_of(options)


def test_an_environment_belongs_to_root_before_its_record_is_written(make, make_app, system, own, monkeypatch):  # noqa: F811
    app, owners = make_app(), []
    put = venv.tree.put
    monkeypatch.setattr(venv.tree, "put", lambda *words: owners.append(dict(own)) or put(*words))
    system.gunicorn = True
    name = make("v1-1")
    path = app.venvs / name
    assert (owners[0][str(path)], owners[0][str(path / "bin/gunicorn")]) == (0, 0)
    assert stat.S_IMODE((app.venvs / f"{name}.json").stat().st_mode) == 0o600, "who can read it can lock it"


@pytest.mark.parametrize("step", ["venv", "--requirement"])
def test_an_unfinished_environment_is_built_again(make, make_app, system, step):  # noqa: F811
    app = make_app()
    system.failing[step] = "no\n"
    with pytest.raises(BuildError):
        make("v1-1")
    (name,) = (path.name for path in app.venvs.iterdir())
    (app.venvs / name / "stale").write_text("x")
    system.failing.clear()
    assert make("v1-1") == name
    assert not (app.venvs / name / "stale").exists()
    assert sorted(path.name for path in app.venvs.iterdir()) == [name, f"{name}.json"]


def test_links_that_an_installation_plants_are_not_followed(make, make_app, system, tmp_path, own):  # noqa: F811
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_text("s3cret")

    def plant(_release, path):
        (path / "bin").symlink_to(tmp_path / "outside")
        (path / "pyvenv.cfg").symlink_to(tmp_path / "outside/key")

    system.act = {"--requirement": lambda *places: None if (places[1] / "bin").is_symlink() else plant(*places)}
    make("v1-1")
    assert not [path for path in own if path.startswith(str(tmp_path / "outside"))]


def test_no_file_of_an_environment_is_shared_with_the_cache(make, make_app, system):  # noqa: F811
    make("v1-1")
    for words, options in system.ran:
        if words[0].endswith("/uv"):
            assert options["environment"]["UV_LINK_MODE"] == "copy"
            assert options["environment"]["UV_CACHE_DIR"] == str(make_app().packages)
            assert options["environment"]["HOME"] == "/tmp"


def test_a_cache_that_has_grown_large_keeps_only_what_was_compiled(make, make_app, system, monkeypatch):  # noqa: F811
    app = make_app()
    (app.packages / "wheel").write_bytes(bytes(101))
    monkeypatch.setattr(venv, "CACHE_LIMIT", venv.size(app.packages))
    make("v1-1")
    assert ["cache", "prune", "--ci"] not in system.installs()
    monkeypatch.setattr(venv, "CACHE_LIMIT", venv.size(app.packages) - 1)
    make("v2-1", {"requirements.txt": "flask\n"})
    assert ["cache", "prune", "--ci"] in system.installs()


def test_the_size_of_a_cache_while_a_rehearsal_writes_to_it(tmp_path):
    """Files come and go. A build that is told of it as an error fails with its environment just finished."""
    (tmp_path / "kept").write_bytes(b"x" * 100_000)
    writer = subprocess.Popen(["sh", "-c", f"cd {tmp_path}; while :; do touch a b c d e f; rm -f a b c d e f; done"])
    try:
        assert all(venv.size(tmp_path) >= 100_000 for _time in range(50))
    finally:
        writer.kill()
        writer.wait()


def test_a_build_that_leaves_a_deep_directory_in_the_cache_fails_no_later_one(tmp_path):
    subprocess.run(["mkdir", "-p", f"{tmp_path}/deep/{'d/' * 1500}"], check=True)
    try:
        assert venv.size(tmp_path) > 0
    finally:
        tree.remove(tmp_path / "deep")


def test_a_version_of_build_environment_counts_more_than_that_of_git(make, make_app, project, system):  # noqa: F811
    app, files = (
        make_app(),
        {"requirements.txt": "-e .\n", "setup.py": "pbr=True", "setup.cfg": "[metadata]\nname=shop\n"},
    )

    def told(identity):
        system.ran.clear()
        build(app, identity, project(PROJECT | files), system, scm_version="1.4")
        (options,) = [options for words, options in system.ran if words[-1] == "requirements.txt"]
        return options["environment"].get("PBR_VERSION")

    assert told("v1-1") == "1.4"
    (app.config / "build.env").write_text('# of the role\nPBR_VERSION="2.0"\n')
    assert told("v2-1") is None


# Packages


@pytest.mark.parametrize("extras", ["", "[server]", "[server,postgres]"])
def test_a_wheel_with_extras(make, make_app, system, tmp_path, extras):  # noqa: F811
    wheel = tmp_path / "shop-1.4.2-py3-none-any.whl"
    wheel.write_text("one")
    settings = {"packaged": True, "settings_module": "shop.settings"}
    first = make("v1-1", source=Source(package=f"{wheel}{extras}"), **settings)
    ((_words, given),) = system.given
    assert given == f"shop{extras} @ file://{make_app().releases}/v1-1/{wheel.name}"
    wheel.write_text("two")
    assert make("v2-1", source=Source(package=f"{wheel}{extras}"), **settings) != first


def test_a_package_with_pins(make, make_app, system):  # noqa: F811
    settings = {"packaged": True, "settings_module": "shop.settings", "constraints": ["django==5.2.8", "x<2"]}
    make("v1-1", source=Source(package="shop[server]==1.4"), **settings)
    ((words, given),) = system.given
    path = make_app().releases / "v1-1/constraints.txt"
    assert words[-4:] == ["--constraint", str(path), "--requirement", "-"]
    assert given == "shop[server]==1.4"
    assert path.read_text() == "django==5.2.8\nx<2\n"


# Retention


def venvs(app):
    return sorted(path.name for path in app.venvs.iterdir() if path.is_dir())


def test_environments_go_with_the_last_release_that_has_them(make, make_app):
    app = make_app(keep_releases=1)
    one = make("v1-1")
    two = make("v2-1", {"requirements.txt": "flask\n"})
    releases.point(app.current, app.releases / "v1-1")
    make_app(keep_releases=1)
    assert prune(app) == []
    assert venvs(app) == sorted([one, two])
    releases.point(app.current, app.releases / "v2-1")
    assert prune(app) == ["v1-1"]
    assert sorted(path.name for path in app.venvs.iterdir()) == [two, f"{two}.json"]


def test_what_was_never_finished_is_removed(make, make_app):
    app, name = make_app(), make("v1-1")
    (app.venvs / "unfinished").mkdir()
    (app.venvs / "lost.json").write_text("{}")
    prune(app)
    assert sorted(path.name for path in app.venvs.iterdir()) == [name, f"{name}.json"]


def test_a_removal_that_breaks_off_leaves_no_record(make, make_app, monkeypatch):
    app, name = make_app(), make("v1-1")
    monkeypatch.setattr(venv.tree, "remove", lambda _path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        venv.remove_unused(app, [])
    assert (app.venvs / name).is_dir()
    assert not (app.venvs / f"{name}.json").exists()


def test_an_environment_that_a_rehearsal_uses_stays(make, make_app, project, system):  # noqa: F811
    app, name = make_app(), make("v1-1")
    system.ran.clear()
    with rehearsal(app, "v2-1", project(), system):
        assert system.installs() == [], "it has the environment of the release"
        assert venv.remove_unused(app, []) == []
    assert (app.venvs / f"{name}.json").exists()
    with open(app.venvs / f"{name}.json") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_release_of_an_earlier_version_has_its_environment_in_it(make_app, make_release):
    app = make_app(keep_releases=1)
    for name in ("old", "older"):
        make_release(app, name, live=True)
    assert prune(app) == ["old"]
    assert (app.releases / "older/venv/bin").is_dir()
