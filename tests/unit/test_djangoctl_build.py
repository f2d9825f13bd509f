"""Builds with fake programs: the layout of a release, the messages of a failed build, and what remains of it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest
from djangoctl import build as builds
from djangoctl import cli
from djangoctl import release as releases
from djangoctl.build import Source, build, ensure_secret
from djangoctl.errors import BuildError

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
PROJECT = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/wsgi.py": "", "requirements.txt": "django\n"}


class FakeSystemd:
    """Records commands, writes the files that they would write, and fails where a test tells it to.

    `links` are links that hostile build code makes among the static files, by name.
    """

    def __init__(self):
        self.ran, self.failing, self.facts, self.gunicorn, self.links = [], {}, {}, False, {}

    def run(self, app, words, **options):
        self.ran.append((words, options))
        if self.gunicorn and "install" in words:
            (app.releases / options["environment"]["VIRTUAL_ENV"] / "bin").mkdir(exist_ok=True)
            (app.releases / options["environment"]["VIRTUAL_ENV"] / "bin/gunicorn").write_text("")
        return self._result(words, options.get("output"))

    def manage(self, app, release, words, **options):
        self.ran.append((words, options))
        static = app.releases / release / "static"
        if words[-1].endswith("probe.json"):
            facts = {"python": "3.13.5", "django": "5.2", "staticfiles": True, "static_root": str(static)}
            facts |= {
                "static_url": "/static/",
                "storage": "ManifestStaticFilesStorage",
                "hashed": True,
                "database": True,
                "migrations": ["shop.0001_initial", "shop.0002_more"],
                "leaves": ["shop.0002_more"],
            }
            facts |= self.facts
            with open(words[-1], "w") as handle:
                json.dump(facts, handle)
        if "collectstatic" in words:
            (static / "a.css").write_text("body { color: black }\n" * 100)
            for name, target in self.links.items():
                (static / name).symlink_to(target)
        return self._result(words, options.get("output"))

    def _result(self, words, output):
        for word, text in self.failing.items():
            if word in words:
                if output:
                    output.write(text)
                    output.flush()
                return subprocess.CompletedProcess(words, 1, text, "")
        return subprocess.CompletedProcess(words, 0, "System check identified no issues.\n", "")

    @property
    def words(self):
        return [words for words, _options in self.ran]


@pytest.fixture
def system():
    return FakeSystemd()


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Record changes of ownership: the user who runs the tests may not make them."""
    given = []
    monkeypatch.setattr(builds.shutil, "chown", lambda *words: given.append(words))
    monkeypatch.setattr(builds.os, "lchown", lambda path, *ids: given.append((str(path), *ids)))
    monkeypatch.setattr(builds.shutil, "which", lambda _name: None)
    monkeypatch.setattr(builds.pwd, "getpwnam", lambda name: namedtuple("user", "pw_uid")({"root": 0}.get(name, 7)))
    return given


@pytest.fixture
def project(tmp_path):
    def make(files=None, **changed):
        root = tmp_path / "project"
        for name, content in ((PROJECT if files is None else files) | changed).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return Source(tree=root)

    return make


@pytest.fixture
def failure(system):
    """`failure(app, source)`: the error of a build that fails."""

    def run(app, source):
        with pytest.raises(BuildError) as caught:
            build(app, "v1-1", source, system)
        assert releases.read(app, "v1-1").state == "failed"
        assert releases.read(app, "v1-1").record["error"] == caught.value.message.removeprefix("shop: ")
        assert releases.live_id(app) is None
        return caught.value

    return run


# Rehearsals


@pytest.mark.parametrize(
    "place",
    [
        "srv/shop/releases",
        "log",
        pytest.param("srv/shop/shared", marks=pytest.mark.xfail(strict=True, reason="a build fills shared paths")),
        pytest.param("etc/shop", marks=pytest.mark.xfail(strict=True, reason="a build generates the SECRET_KEY")),
    ],
)
def test_a_rehearsal_with_a_real_build_leaves_nothing(make_app, project, system, monkeypatch, tmp_path, place):
    make_app(build={"shared_paths": ["var/"]})
    source = project(PROJECT | {"var/seed.db": "x"})
    monkeypatch.setattr(cli, "Systemd", lambda: system)
    monkeypatch.setattr(cli, "plan", lambda *_words: [])
    before = set((tmp_path / place).rglob("*"))
    assert cli.main(["shop", "build", "--revision", "abc", "--tree", str(source.tree), "--rehearse"]) == 0
    assert any("collectstatic" in words for words in system.words)
    assert set((tmp_path / place).rglob("*")) == before


# What comes of a good one


def test_a_release_is_laid_out(make_app, project, system):
    app = make_app()
    (project().tree / ".git").mkdir()
    release = build(app, "v1-1", project(), system, version="v1", revision="abc")
    record = json.loads((release.path / "release.json").read_text())
    wanted = {"state": "good", "id": "v1-1", "version": "v1", "revision": "abc", "django": "5.2"}
    wanted |= {"settings_module": "shop.settings", "application": "shop.wsgi:application"}
    wanted |= {"migrations": ["shop.0001_initial", "shop.0002_more"], "leaves": ["shop.0002_more"]}
    assert {key: record.get(key) for key in wanted} == wanted
    assert (release.path / "source/shop/wsgi.py").is_file()
    assert not (release.path / "source/.git").exists()
    assert sorted(path.name for path in (release.path / "static").iterdir()) == ["a.css", "a.css.gz"]
    assert not (release.path / "probe.json").exists()
    assert stat.S_IMODE(release.path.stat().st_mode) == 0o750


def test_a_good_release_is_not_built_again(make_app, project, system):
    app = make_app()
    build(app, "v1-1", project(), system)
    system.ran.clear()
    assert build(app, "v1-1", project(), system).state == "good"
    assert system.ran == []


def test_the_remains_of_a_failed_build_are_removed(make_app, project, system):
    app = make_app()
    (app.releases / "v1-1/source").mkdir(parents=True)
    (app.releases / "v1-1/source/stale.py").write_text("")
    release = build(app, "v1-1", project(), system)
    assert not (release.path / "source/stale.py").exists()


@pytest.mark.parametrize("link", ["current", "next_link"])
def test_a_release_in_use_is_never_built_over(make_app, make_release, project, system, link):
    app = make_app()
    release = make_release(app, "v1-1")
    releases.point(getattr(app, link), release.path)
    (release.path / "release.json").write_text("{")
    with pytest.raises(BuildError, match="is in use"):
        build(app, "v1-1", project(), system)
    assert (release.path / "static").is_dir()


@pytest.mark.parametrize("left", [None, "building", "failed"])
def test_a_live_release_that_is_gone_is_built_again(make_app, make_release, project, system, left):
    app = make_app()
    release = make_release(app, "v1-1", live=True)
    shutil.rmtree(release.path)
    if left:  # by a build that broke off
        make_release(app, "v1-1", state=left)
    assert build(app, "v1-1", project(), system).state == releases.GOOD
    assert (app.current / "source/manage.py").exists()


def test_the_app_cannot_write_its_own_code(make_app, project, system, own):
    app = make_app(user="django-shop")
    release = build(app, "v1-1", project(), system)
    owners = {words[0]: words[1] for words in own if isinstance(words[1], int)}
    for name in ("source", "source/manage.py", "source/shop/wsgi.py", "static"):
        assert owners[str(release.path / name)] == 0, name
    for path in (release.path / "source").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o022 == 0, f"{path.name} may be written by others"
        assert mode & 0o040, f"{path.name} cannot be read by the app"


def test_builds_run_third_party_code_without_privileges(make_app, project, system):
    app = make_app(build={"hooks": ["manage.py compress --force"]})
    build(app, "v1-1", project(), system)
    assert ["manage.py", "compress", "--force"] in system.words
    for words, options in system.ran:
        lines = options.get("properties") or options.get("sandbox")
        assert "NoNewPrivileges=yes" in lines, words
        assert "ProtectSystem=strict" in lines, words
        assert str(app.root / "data") not in " ".join(lines), words


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="an installation may write to all releases")
def test_no_step_may_write_to_another_release(make_app, project, system):
    app = make_app()
    release = build(app, "v1-1", project(), system)
    lines = [line for _words, options in system.ran for line in options.get("properties") or options.get("sandbox")]
    writable = {path for line in lines if line.startswith("ReadWritePaths=") for path in line.split("=")[1].split()}
    assert str(release.path) in writable
    assert str(app.releases) not in writable


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="compression runs as root and follows links")
def test_root_does_not_write_through_a_link_of_the_build(make_app, project, system, tmp_path):
    target = tmp_path / "authorized_keys"
    target.write_text("root's own")
    system.links = {"a.css.gz": target}
    build(make_app(), "v1-1", project(), system)
    assert target.read_bytes() == b"root's own"


def test_steps_come_in_order(make_app, project, system):
    build(make_app(build={"hooks": ["npm run build"]}), "v1-1", project(), system)
    # By name, not by path: the checkout may lie below a folder called "check".
    told = [" ".join(Path(word).name for word in words) for words in system.words]
    wanted = [
        "venv",
        "pip install",
        "gunicorn.txt",
        "probe.py",
        "collectstatic",
        "npm run build",
        "check",
        "compileall",
    ]
    positions = [next(number for number, words in enumerate(told) if word in words) for word in wanted]
    assert positions == sorted(positions)


def test_from_an_archive(make_app, project, system, tmp_path):
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(project().tree, ".")
    release = build(make_app(), "v1-1", Source(archive=tmp_path / "source.tar.gz"), system)
    assert (release.path / "source/shop/wsgi.py").is_file()


def test_a_package_brings_its_own_code(make_app, system):
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    release = build(app, "v1-1", Source(package="shop==1.4.2"), system)
    assert system.words[1][-1] == "shop==1.4.2"
    assert release.record["application"] == "shop.wsgi:application"


def test_a_wheel_is_copied_to_where_the_build_may_read_it(make_app, system, tmp_path):
    (tmp_path / "shop-1.4.2-py3-none-any.whl").write_text("wheel")
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    release = build(app, "v1-1", Source(package=str(tmp_path / "shop-1.4.2-py3-none-any.whl")), system)
    copied = release.path / "shop-1.4.2-py3-none-any.whl"
    assert (system.words[1][-1], copied.read_text()) == (str(copied), "wheel")


# Requirements


@pytest.mark.parametrize(
    ("files", "build_settings", "words"),
    [
        ({"requirements.txt": ""}, {}, ["pip", "install", "--compile-bytecode", "--requirement", "requirements.txt"]),
        ({"pyproject.toml": ""}, {}, ["pip", "install", "--compile-bytecode", "--requirement", "pyproject.toml"]),
        ({"uv.lock": "", "requirements.txt": "", "pyproject.toml": ""}, {}, ["sync", "--frozen"]),
        ({"pyproject.toml": "", "requirements.txt": ""}, {}, ["--requirement", "requirements.txt"]),
        ({"deps/live.txt": ""}, {"requirements": "deps/live.txt"}, ["--requirement", "deps/live.txt"]),
        ({"uv.lock": "", "r.txt": ""}, {"requirements": "r.txt"}, ["--requirement", "r.txt"]),
    ],
)
def test_requirements_in_each_form(make_app, project, system, files, build_settings, words):
    source = project({"manage.py": MANAGE, "shop/wsgi.py": "", **files})
    build(make_app(build=build_settings), "v1-1", source, system)
    told = system.words[1]
    start = told.index(words[0])
    assert told[start : start + len(words)] == words


def test_requirements_above_the_project(make_app, project, system):
    source = project({"src/manage.py": MANAGE, "src/shop/wsgi.py": "", "requirements.txt": ""})
    release = build(make_app(build={"project_dir": "src"}), "v1-1", source, system)
    assert system.words[1][-1] == str(release.path / "source/requirements.txt")
    assert f"WorkingDirectory={release.path}/source/src" in system.ran[1][1]["properties"]


BUILDS = '[build-system]\nrequires = ["hatchling"]\n'
SRC = {"src/shop/wsgi.py": "", "manage.py": MANAGE}


@pytest.mark.parametrize(
    ("files", "settings", "installed"),
    [
        ({**SRC, "pyproject.toml": BUILDS}, {}, True),
        ({**SRC, "pyproject.toml": ""}, {}, False),
        ({**SRC, "requirements.txt": "", "pyproject.toml": BUILDS}, {}, False),
        ({**PROJECT, "requirements.txt": "", "pyproject.toml": BUILDS}, {"requirements": "pyproject.toml"}, False),
        ({"src/manage.py": MANAGE, "src/shop/wsgi.py": "", "pyproject.toml": BUILDS}, {"project_dir": "src"}, False),
    ],
)
def test_code_in_src_is_installed_where_manage_cannot_import_it(make_app, project, system, files, settings, installed):
    run = system.run

    def install(app, words, **options):
        if "--no-deps" in words:  # what it puts into the virtualenv
            package = app.releases / "v1-1/venv/lib/python3.13/site-packages/shop"
            package.mkdir(parents=True)
            (package / "wsgi.py").write_text("")
        return run(app, words, **options)

    system.run = install
    application = {} if installed or "shop/wsgi.py" in files or settings else {"application": "src.shop.wsgi"}
    release = build(make_app(build=settings | application), "v1-1", project(files), system)
    roots = [words[-1] for words in system.words if "--no-deps" in words]
    assert roots == ([str(release.path / "source")] if installed else [])


def test_a_project_without_requirements(make_app, project, system):
    build(make_app(), "v1-1", project({"manage.py": MANAGE, "shop/wsgi.py": ""}), system)
    installs = [words for words in system.words if "install" in words]
    assert [words[-1] for words in installs] == [str(builds.GUNICORN)]
    assert builds.GUNICORN.is_file()


def test_the_projects_own_gunicorn_is_kept(make_app, project, system):
    system.gunicorn = True
    build(make_app(), "v1-1", project(), system)
    assert not [words for words in system.words if str(builds.GUNICORN) in words]


# What outlives a release


def test_uploads_are_stored_outside_the_release(make_app, project, system):
    app = make_app(build={"media_root": "shop/media/"})
    release = build(app, "v1-1", project(**{"shop/media/sample.png": "x"}), system)
    assert os.readlink(release.path / "source/shop/media") == str(app.root / "media")


def test_shared_paths_keep_their_content_over_releases(make_app, project, system):
    app = make_app(build={"shared_paths": ["var/log/", "db.sqlite3", "conf/extra"]})
    first = build(app, "v1-1", project(**{"db.sqlite3": "seed", "conf/extra/a": "1"}), system)
    shared = app.root / "shared"
    assert (shared / "var/log").is_dir()
    assert (shared / "db.sqlite3").read_text() == "seed"
    assert (shared / "conf/extra/a").read_text() == "1"
    (first.path / "source/db.sqlite3").write_text("written by the app")
    second = build(app, "v2-1", project(**{"db.sqlite3": "another seed"}), system)
    assert (second.path / "source/db.sqlite3").read_text() == "written by the app"
    assert (second.path / "source/var/log").resolve() == (shared / "var/log").resolve()


def test_a_shared_path_that_does_not_exist_yet_is_writable(make_app, project, system):
    app = make_app(build={"shared_paths": ["var/db.sqlite3"]})
    release = build(app, "v1-1", project(), system)
    (release.path / "source/var/db.sqlite3").write_text("x")
    assert (app.root / "shared/var/db.sqlite3").read_text() == "x"


def test_static_files_may_be_collected_in_the_source(make_app, project, system):
    app = make_app(build={"static_root": "shop/collected"})
    release = build(app, "v1-1", project(), system)
    assert os.readlink(release.path / "static") == "source/shop/collected"
    assert (release.path / "source/shop/collected/a.css.gz").is_file()


def test_added_files_replace_those_of_the_source(make_app, project, system):
    app = make_app(build={"files": ["shop/wsgi.py", "new/dir/local.py"]})
    for name in app.build["files"]:
        (app.config / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (app.config / "files" / name).write_text(f"# {name}\n")
    release = build(app, "v1-1", project(), system)
    for name in app.build["files"]:
        path = release.path / "source" / name
        assert path.read_text() == f"# {name}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


# The secret


def test_the_secret_is_made_once(make_app):
    app = make_app()
    ensure_secret(app)
    text = app.secret.read_text()
    assert stat.S_IMODE(app.secret.stat().st_mode) == 0o600
    assert text.startswith("SECRET_KEY=")
    assert len(text.strip()) > 60
    assert not set(text.strip()) & set("\"'\\$` #"), "systemd would not read it to the letter"
    ensure_secret(app)
    assert app.secret.read_text() == text


def test_no_secret_is_made_where_one_is_given(make_app):
    app = make_app(generate_secret=False)
    ensure_secret(app)
    assert not app.secret.exists()


# What is said of a bad one


@pytest.mark.parametrize(
    ("files", "settings", "message", "hint"),
    [
        (PROJECT, {"project_dir": "src"}, "project_dir of app 'shop': 'src' is not a directory", "contains manage.py"),
        ({"a/b/manage.py": ""}, {}, "project_dir of app 'shop': '.' has no manage.py", "project_dir to one of: a/b"),
        ({"x.py": ""}, {}, "project_dir of app 'shop': '.' has no manage.py", "the source has no manage.py"),
        (PROJECT, {"requirements": "live.txt"}, "requirements of app 'shop': 'live.txt'", "one of: requirements.txt"),
        ({"manage.py": ""}, {"requirements": "x.txt"}, "requirements of app 'shop': 'x.txt'", "leave requirements out"),
        (PROJECT, {"application": "shop.wsgy"}, "wsgi of app 'shop': 'shop.wsgy' is not in", "shop.wsgi:application"),
        (PROJECT | {"manage.py": ""}, {}, "settings_module of app 'shop': is not set", "shop.settings"),
    ],
)
def test_input_that_does_not_fit_the_source(make_app, project, failure, files, settings, message, hint):
    error = failure(make_app(build=settings), project(files))
    assert error.message.startswith(f"django_app.{message}")
    assert hint in error.hint
    assert error.code == 4
    assert error.state == "nothing was live before"


@pytest.mark.parametrize(
    ("word", "settings", "key"),
    [
        ("venv", {}, "python"),
        ("--requirement", {}, "requirements"),
        ("sync", {"requirements": "uv.lock"}, "requirements"),
        (str(builds.GUNICORN), {}, "gunicorn"),
        (str(builds.PROBE), {}, "wsgi"),
        ("collectstatic", {}, "source"),
        ("compress", {"hooks": ["manage.py compress"]}, "hooks.build"),
    ],
)
def test_a_failing_step_is_reported_with_its_last_lines(make_app, project, system, failure, word, settings, key):
    system.failing[word] = "".join(f"line {number}\n" for number in range(60)) + "the reason\n"
    app = make_app(build=settings)
    (app.releases / "v1-1").mkdir()
    error = failure(app, project(**{"uv.lock": ""} if key == "requirements" and "requirements" in settings else {}))
    assert error.message.startswith(f"django_app.{key} of app 'shop': ")
    lines = error.log.splitlines()
    assert (len(lines), lines[-1]) == (25, "the reason")
    assert str(app.releases / "v1-1/build.log") in error.hint


def test_the_log_of_an_earlier_step_is_not_shown(make_app, project, system, failure):
    system.failing["collectstatic"] = "the reason\n"
    app = make_app()
    run = system.run

    def talkative(app, words, **options):
        options["output"].write("all is well here\n")
        options["output"].flush()
        return run(app, words, **options)

    system.run = talkative
    assert failure(app, project()).log == "the reason"
    assert "all is well here" in (app.releases / "v1-1/build.log").read_text()


def test_settings_that_collect_static_files_elsewhere_are_refused(make_app, project, system, failure):
    system.facts = {"static_root": "/var/www/static"}
    error = failure(make_app(), project())
    assert "static_root of app 'shop': the settings collect static files in '/var/www/static'" in error.message
    assert "STATIC_ROOT" in error.hint


def test_a_storage_without_hashed_names_is_a_warning(make_app, project, system):
    system.facts = {"hashed": False, "storage": "StaticFilesStorage"}
    release = build(make_app(), "v1-1", project(), system)
    assert "StaticFilesStorage does not hash" in release.record["warnings"][0]


def test_an_app_without_static_files(make_app, project, system):
    system.facts = {"staticfiles": False, "static_root": ""}
    build(make_app(), "v1-1", project(), system)
    assert not [words for words in system.words if "collectstatic" in words]


def test_a_failure_names_the_live_release(make_app, make_release, project, system):
    app = make_app(build={"requirements": "x"})
    make_release(app, "old", live=True)
    with pytest.raises(BuildError) as caught:
        build(app, "v1-1", project(), system)
    assert caught.value.state == "nothing live was changed: release old is still live"


def test_a_disk_that_is_too_full_is_reported_before_the_build(make_app, project, system, monkeypatch):
    app = make_app(minimum_free_space=500)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(builds.shutil, "disk_usage", lambda _path: usage(10**10, 10**10, 499_999_999))
    with pytest.raises(BuildError, match=r"has 499 MB free, a release needs 500 MB \(django_minimum_free_space\)"):
        build(app, "v1-1", project(), system)
    assert not (app.releases / "v1-1").exists()
    monkeypatch.setattr(builds.shutil, "disk_usage", lambda _path: usage(10**10, 0, 500_000_000))
    assert build(app, "v1-1", project(), system).state == "good"


def test_a_disk_that_fills_up_during_the_build(make_app, project, failure, monkeypatch):
    def full(*_words, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builds.shutil, "copytree", full)
    error = failure(make_app(), project())
    assert error.code == 4
    assert "No space left on device" in error.message
    assert error.message.startswith("shop: ")


def test_an_archive_that_is_damaged(make_app, failure, tmp_path):
    (tmp_path / "source.tar.gz").write_bytes(b"\x1f\x8bnonsense")
    error = failure(make_app(), Source(archive=tmp_path / "source.tar.gz"))
    assert error.message == "django_app.source of app 'shop': could not be unpacked"
    assert "tar" in error.log
