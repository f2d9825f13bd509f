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
from djangoctl import cli, compress, rehearsal, steps, tree, venv
from djangoctl import release as releases
from djangoctl.build import Source, build, ensure_secret
from djangoctl.errors import BuildError
from djangoctl.lock import held
from djangoctl.static import publish

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
PROJECT = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/wsgi.py": "", "requirements.txt": "django\n"}


def lines_of(options):
    """The settings of a step's sandbox."""
    return options.get("properties") or options.get("sandbox")


def bound(lines, kind):
    """What a sandbox mounts: the paths of this host by those that the step sees."""
    pairs = (line.partition("=")[2].partition(":") for line in lines if line.startswith(f"{kind}="))
    return {seen or there: there for there, _colon, seen in pairs}


def on_host(path, lines):
    """The path of this host that a step sees at a path."""
    for seen, there in {**bound(lines, "BindReadOnlyPaths"), **bound(lines, "BindPaths")}.items():
        if Path(path).is_relative_to(seen):
            return there / Path(path).relative_to(seen)
    raise AssertionError(f"no step sees {path}")


class FakeSystemd:
    """Records commands, writes the files that they would write, and fails where a test tells it to.

    `links` are links that hostile build code makes among the static files, by name. `act` is what it does in a step
    whose words have a text: it gets the release and the environment, as paths of this host.
    """

    def __init__(self):
        self.ran, self.failing, self.facts, self.gunicorn, self.links, self.act = [], {}, {}, False, {}, {}
        self.up = True

    def active(self, _unit):
        return self.up

    def run(self, app, words, **options):
        options["given"] = options["stdin"].read().strip() if words[-1] == "-" else ""
        self.ran.append((words, options))
        if words[0] == "tar":
            words = [
                f"--directory={on_host(word.partition('=')[2], lines_of(options))}" if "--directory=" in word else word
                for word in words
            ]
            done = subprocess.run(words, stdin=options["stdin"], capture_output=True, check=False)
            options["output"].write(done.stderr.decode())
            options["output"].flush()
            return done
        venv = on_host(options["environment"]["VIRTUAL_ENV"], lines_of(options))
        if self.gunicorn and "install" in words:
            (venv / "bin").mkdir(exist_ok=True)
            (venv / "bin/gunicorn").write_text("")
        self._act(words, None, venv)
        return self._result(words, options.get("output"))

    def manage(self, app, release, words, **options):
        self.ran.append((words, options))
        lines = lines_of(options)
        path = on_host(app.releases / release, lines)
        static = path / "static"
        if str(builds.PROBE) in words and not self._fails(words):
            facts = {"python": "3.13.5", "django": "5.2", "staticfiles": True}
            facts |= {
                "static_root": str(app.releases / release / "static"),
                "static_url": "/static/",
                "storage": "ManifestStaticFilesStorage",
                "hashed": True,
                "database": True,
                "migrations": ["shop.0001_initial", "shop.0002_more"],
                "leaves": ["shop.0002_more"],
                "deploy_check": "System check identified no issues.",
            }
            facts |= self.facts
            on_host(words[3], lines).write_text(json.dumps(facts))
            if facts["staticfiles"] and facts["static_root"] in words[4:]:
                words = [*words, "collectstatic"]
                (static / "a.css").write_text("body { color: black }\n" * 100)
                for name, target in self.links.items():
                    (static / name).symlink_to(target)
        self._act(words, path, path / "venv")
        return self._result(words, options.get("output"))

    def _act(self, words, release, venv):
        for word, action in self.act.items():
            if word in words:
                action(release, venv)

    def _fails(self, words):
        return any(word in words for word in self.failing)

    def _result(self, words, output):
        for word, text in self.failing.items():
            if word in words:
                if output:
                    output.write(text)
                    output.flush()
                return subprocess.CompletedProcess(words, 1, text, "")
        return subprocess.CompletedProcess(words, 0, "", "")

    @property
    def words(self):
        return [words for words, _options in self.ran]

    @property
    def given(self):
        """What uv was given to read: by the command that read it."""
        return [(words, options["given"]) for words, options in self.ran if options.get("given")]

    def installs(self):
        """The commands of uv, without its path."""
        return [words[1:] for words in self.words if words[0].endswith("/uv")]


@pytest.fixture
def system():
    return FakeSystemd()


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Record changes of ownership by path: the user who runs the tests may not make them."""
    given = {}

    def chown(path, *ids, dir_fd=None, follow_symlinks=True):
        parent = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else ""
        given[os.path.join(parent, path)] = ids[0]

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(os, "fchown", lambda fd, *ids: given.update({os.readlink(f"/proc/self/fd/{fd}"): ids[0]}))
    monkeypatch.setattr(compress.shutil, "which", lambda _name: None)
    monkeypatch.setattr(steps.pwd, "getpwnam", lambda name: namedtuple("user", "pw_uid")({"root": 0}.get(name, 7)))
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


@pytest.fixture
def rehearse(monkeypatch, system):
    """`rehearse(source, *words)`: rehearse a build from the command line; returns the exit code."""
    monkeypatch.setattr(cli, "Systemd", lambda: system)
    monkeypatch.setattr(cli, "plan", lambda *_words, **options: system.planned.append(options) or [])
    system.planned = []

    def run(source, *words):
        return cli.main(["shop", "build", "--revision", "abc", "--tree", str(source.tree), "--rehearse", *words])

    return run


@pytest.mark.parametrize("failing", ["", "collectstatic", "venv"])
def test_a_rehearsal_leaves_nothing(make_app, project, system, rehearse, tmp_path, failing):
    app = make_app(build={"shared_paths": ["var/"], "files": ["local.py"], "hooks": ["manage.py compress"]})
    (app.config / "files").mkdir()
    (app.config / "files/local.py").write_text("")
    if failing:
        system.failing[failing] = "no\n"
    source = project(PROJECT | {"var/seed.db": "x"})
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert rehearse(source) == (4 if failing else 0)
    # A directory in which something was made and removed has another time; no file has.
    after = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert set(after) == set(before)
    assert {path for path in after if after[path] != before[path]} <= {app.root}


@pytest.mark.parametrize("step", ["collectstatic", ""])
def test_a_rehearsal_that_fails_shows_its_log(make_app, project, system, rehearse, capsys, step):
    make_app(build={} if step else {"project_dir": "nowhere"})
    system.failing[step or "never"] = "".join(f"line {number}\n" for number in range(300))
    assert rehearse(project(), "--json") == 4
    answer = json.loads(capsys.readouterr().out)
    lines = answer["log"].splitlines()
    assert ".rehearsal" not in answer["hint"], "it names a file that is gone"
    if step:
        assert (lines[0], lines[-1]) == ("line 100", "line 299")
        assert "nothing of the rehearsal was kept" in answer["hint"]
    else:
        assert (lines, answer["hint"]) == ([], "set project_dir to the directory that contains manage.py")


def test_a_rehearsal_runs_beside_a_deploy(make_app, project, rehearse):
    with held(make_app(), "build v1-1"):
        assert rehearse(project()) == 0


def test_a_rehearsal_finds_itself_at_the_usual_paths(make_app, project, system, rehearse):
    app = make_app(build={"shared_paths": ["var/"]})
    (app.root / "shared/var").mkdir()
    (app.root / "shared/var/notes").write_text("kept")
    (app.root / "shared/var/large").write_bytes(bytes(rehearsal.SHARED_LIMIT + 1))
    found = []
    system.act = {str(builds.PROBE): lambda release, _venv: found.append((release / "source/var").readlink())}
    assert rehearse(project()) == 0
    (words, options) = next((words, options) for words, options in system.ran if str(builds.PROBE) in words)
    writable = bound(lines_of(options), "BindPaths")
    release = app.releases / releases.identify(app, "abc", "abc")
    assert set(writable) == {str(release), str(app.root / "shared")}
    assert all(there.startswith(f"{app.root}/.rehearsal-") for there in writable.values())
    assert found == [app.root / "shared/var"]
    assert str(release / "static") in words
    (planned,) = system.planned
    assert str(release) in bound(planned["sandbox"], "BindReadOnlyPaths")


def test_a_rehearsal_sees_copies_of_small_shared_files(make_app, project, system, rehearse):
    app = make_app(build={"shared_paths": ["var/"]})
    (app.root / "shared/var").mkdir()
    (app.root / "shared/var/notes").write_text("kept")
    (app.root / "shared/var/large").write_bytes(bytes(rehearsal.SHARED_LIMIT + 1))

    def look(release, _venv):
        shared = release.parents[1] / "shared/var"
        system.seen = sorted(path.name for path in shared.iterdir())
        (shared / "notes").write_text("changed")

    system.act = {str(builds.PROBE): look}
    assert rehearse(project()) == 0
    assert system.seen == ["notes"]
    assert (app.root / "shared/var/notes").read_text() == "kept"


def test_a_rehearsal_has_a_secret_of_its_own(make_app, project, system, rehearse):
    app = make_app()
    assert rehearse(project()) == 0
    (given,) = {options["environment"]["SECRET_KEY"] for words, options in system.ran if str(builds.PROBE) in words}
    assert len(given) > 40
    assert system.planned[0]["environment"] == {"SECRET_KEY": given}
    ensure_secret(app)
    system.ran.clear()
    assert rehearse(project()) == 0
    assert [options["environment"] for words, options in system.ran if str(builds.PROBE) in words] == [{}]


def test_a_rehearsal_with_another_configuration(make_app, project, system, rehearse, tmp_path):
    app = make_app()
    other = tmp_path / "other"
    shutil.copytree(app.config, other)
    settings = json.loads((other / "app.json").read_text())
    settings["build"]["hooks"] = ["manage.py compress"]
    (other / "app.json").write_text(json.dumps(settings))
    assert rehearse(project(), "--config", str(other)) == 0
    assert ["manage.py", "compress"] in system.words
    for _words, options in system.ran:
        assert bound(lines_of(options), "BindReadOnlyPaths")[str(app.config)] == str(other)


@pytest.mark.parametrize(("host", "enters"), [("/run/postgresql", True), ("10.0.0.2", False), ("", False)])
def test_a_plan_enters_the_database_by_the_password_that_it_knows(
    make_app, project, rehearse, monkeypatch, tmp_path, host, enters
):
    """The new password goes to the server with the run, and there is none in check mode."""
    app = make_app()
    other, pin = tmp_path / "other", app.config / ".live-1"
    app.pinned.parent.mkdir(parents=True, exist_ok=True)
    pin.mkdir()
    app.pinned.symlink_to(pin)
    (pin / "secret").write_text("SECRET_KEY=key\nDATABASE_PASSWORD=old\n")
    (pin / "env").write_text('DATABASE_HOST="/run/postgresql"\nDATABASE_NAME="shop"\nHOME="/"\n')
    shutil.copytree(app.config, other, symlinks=True)
    (other / "env").write_text(f'DATABASE_HOST="{host}"\nDATABASE_NAME="shop"\nDATABASE_PASSWORD="new"\n')
    if not host:
        (pin / "env").write_text('DATABASE_URL="sqlite:///data/db.sqlite3"\n')
    seen = []

    def plan(*_words, further, **_options):
        seen.extend(Path(line.partition("=")[2]).read_text() for line in further)
        return []

    monkeypatch.setattr(cli, "plan", plan)
    assert rehearse(project(), "--config", str(other)) == 0
    known = 'DATABASE_PASSWORD=old\nDATABASE_HOST="/run/postgresql"\nDATABASE_NAME="shop"\n'
    assert seen == ([known] if enters else [])


def test_what_a_killed_rehearsal_left_is_removed_by_the_next(make_app, project, rehearse):
    app = make_app()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = [app.root / f".rehearsal-{ended.pid}", app.releases / ".rehearsal"]
    for path in (app.root / ".rehearsal-1", *left):
        (path / "releases/v1-1").mkdir(parents=True)
    assert rehearse(project()) == 0
    assert not any(path.exists() for path in left)
    assert (app.root / ".rehearsal-1").is_dir(), "that process is there"


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


@pytest.fixture
def upgraded(make_app, project, system, tmp_path):
    """`upgraded(name)`: the app after an upgrade that left python3.11 away, and this in its place if anything."""
    app = make_app()
    release = build(app, "v1-1", project(), system)
    python = release.path / "venv/bin/python"

    def run(name):
        python.parent.mkdir(exist_ok=True)
        python.symlink_to(tmp_path / "python")
        (release.path / "venv/lib/python3.11").mkdir(parents=True, exist_ok=True)
        if name:
            (tmp_path / name).touch()
            (tmp_path / "python").symlink_to(name)
        system.ran.clear()
        return app

    return run


@pytest.mark.parametrize(("name", "again"), [("", True), ("python3.13", True), ("python3.11", False), ("pypy", False)])
def test_a_release_whose_python_is_gone_is_built_again(upgraded, project, system, name, again):
    """It is the same release: without that, only a new version would run on an upgraded host."""
    app = upgraded(name)
    assert build(app, "v1-1", project(), system).state == "good"
    assert bool(system.ran) is again


def test_a_live_release_whose_python_is_gone_is_built_again_once_nothing_runs(upgraded, project, system):
    app = upgraded("python3.13")
    releases.point(app.current, app.releases / "v1-1")
    system.up = True
    with pytest.raises(BuildError, match=r"in use and damaged: .*/venv was made for another Python"):
        build(app, "v1-1", project(), system)
    system.up = False
    assert build(app, "v1-1", project(), system).is_usable


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
    for name in ("source", "source/manage.py", "source/shop/wsgi.py", "static", "static/a.css"):
        assert own[str(release.path / name)] == 0, name
    for path in (release.path / "source").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o022 == 0, f"{path.name} may be written by others"
        assert mode & 0o040, f"{path.name} cannot be read by the app"


def test_builds_run_third_party_code_without_privileges(make_app, project, system):
    app = make_app(build={"hooks": ["manage.py compress --force"]})
    build(app, "v1-1", project(), system)
    assert ["manage.py", "compress", "--force"] in system.words
    for words, options in system.ran:
        assert "NoNewPrivileges=yes" in lines_of(options), words
        assert "ProtectSystem=strict" in lines_of(options), words
        assert options["alone"], words


def test_a_step_sees_its_release_and_nothing_else_of_any_app(make_app, project, system, tmp_path):
    app = make_app()
    release = build(app, "v1-1", project(), system)
    environment = (release.path / "venv").resolve()
    for words, options in system.ran:
        lines = lines_of(options)
        assert f"TemporaryFileSystem={tmp_path}/srv:ro" in lines, words
        assert f"TemporaryFileSystem={tmp_path}/etc:ro" in lines, words
        writable, readable = bound(lines, "BindPaths"), bound(lines, "BindReadOnlyPaths")
        assert not [line for line in lines if line.startswith("ReadWritePaths")]
        if words[0].endswith("/uv"):
            assert set(writable) == {str(environment), str(app.packages)}
            assert set(readable) == {str(app.config), str(release.path)}
        else:
            assert set(writable) == {str(release.path)}
            assert set(readable) == {str(app.config), str(environment)}


def test_a_command_of_the_project_sees_empty_rooms_where_the_app_has_data(make_app, project, system):
    app = make_app(user="django-shop", build={"shared_paths": ["var/"]})
    build(app, "v1-1", project(), system)
    (options,) = [options for words, options in system.ran if str(builds.PROBE) in words]
    empty = {line.partition("=")[2].partition(":")[0] for line in lines_of(options) if "mode=0700,uid=7" in line}
    assert empty == {str(app.root / room) for room in ("data", "media", "cache")}
    assert str(app.root / "shared") in bound(lines_of(options), "BindPaths")


def test_programs_beside_the_apps_can_be_run(make_app, project, system, tmp_path):
    """The directory of all apps may be /opt, where uv and an interpreter are too."""
    app = make_app(uv=f"{tmp_path}/srv/djangofleet/uv-1/bin/uv", build={"python": f"{tmp_path}/srv/python/bin/python3"})
    build(app, "v1-1", project(), system)
    for _words, options in system.ran:
        readable = bound(lines_of(options), "BindReadOnlyPaths")
        assert {f"{tmp_path}/srv/djangofleet/uv-1", f"{tmp_path}/srv/python"} <= set(readable)


# What a hostile build leaves


@pytest.fixture
def outside(tmp_path):
    """A file and a directory of somebody else, and what they hold."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_text("root's own\n" * 100)
    (tmp_path / "outside/key").chmod(0o600)
    return tmp_path / "outside"


@pytest.fixture
def unchanged(outside, own):
    """`unchanged()`: whether the file and the directory of somebody else are as they were."""

    def look():
        assert [path.name for path in outside.iterdir()] == ["key"]
        assert (outside / "key").read_text() == "root's own\n" * 100
        assert stat.S_IMODE((outside / "key").stat().st_mode) == 0o600
        assert not [path for path in own if path.startswith(str(outside))]
        return True

    return look


def test_root_does_not_write_through_a_link_of_the_build(make_app, project, system, outside, unchanged):
    system.links = {"a.css.gz": outside / "key"}
    release = build(make_app(), "v1-1", project(), system)
    assert unchanged()
    assert not (release.path / "static/a.css.gz").is_symlink()


def test_links_fifos_and_setuid_bits_of_a_build(make_app, project, system, outside, unchanged, own):
    def plant(release, _venv):
        for directory in (release / "source", release / "static"):
            (directory / "directory").symlink_to(outside)
            (directory / "file.css").symlink_to(outside / "key")
            os.mkfifo(directory / "fifo.css")
            (directory / "tool.css").write_text("x" * 1000)
            (directory / "tool.css").chmod(0o6777)

    app = make_app(build={"hooks": ["plant"]})
    system.act = {"plant": plant}
    release = build(app, "v1-1", project(), system)
    assert unchanged()
    assert publish(app, release) == 4
    assert sorted(path.name for path in app.static.iterdir()) == ["a.css", "a.css.gz", "tool.css", "tool.css.gz"]
    assert stat.S_IMODE((release.path / "static/tool.css").stat().st_mode) == 0o755
    assert own[str(release.path / "source/file.css")] == 0, "the link itself is given away"


@pytest.mark.parametrize("static_root", ["shop/collected", "collected"])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_static_directory_that_was_replaced_by_a_link(
    make_app, project, system, failure, outside, unchanged, static_root, kind
):
    def replace(release, _venv):
        shutil.rmtree(release / "source" / static_root)
        (release / "source" / static_root).symlink_to(outside if kind == "directory" else outside / "key")

    app = make_app(build={"static_root": static_root, "hooks": ["plant"]})
    system.act = {"plant": replace}
    error = failure(app, project())
    assert (
        error.message
        == f"django_app.static_root of app 'shop': the build has replaced '{static_root}' by a link or a file"
    )
    assert unchanged()
    assert publish(app, releases.read(app, "v1-1")) == 0


@pytest.mark.parametrize(
    ("settings", "link", "key"),
    [
        ({"shared_paths": ["var/log/"]}, "var", "shared_paths"),
        ({"shared_paths": ["var/key"]}, "var", "shared_paths"),
        ({"media_root": "shop/up/loads"}, "shop/up", "media_root"),
        ({"static_root": "collected"}, "collected", "static_root"),
        ({"static_root": "collected/css"}, "collected", "static_root"),
        ({"files": ["conf/local.py"]}, "conf", "files[].dest"),
        ({"project_dir": "code"}, "code", "project_dir"),
        ({"requirements": "key"}, "key", "requirements"),
    ],
)
def test_a_committed_link_is_not_followed(make_app, project, failure, outside, unchanged, settings, link, key):
    source, app = project(), make_app(build=settings)
    (app.config / "files/conf").mkdir(parents=True)
    (app.config / "files/conf/local.py").write_text("x")
    target = outside / "key" if link == "key" else outside
    (source.tree / link).symlink_to(target)
    (outside / "manage.py").write_text(MANAGE) if link == "code" else None
    error = failure(app, source)
    (outside / "manage.py").unlink(missing_ok=True)
    assert error.message.startswith(f"django_app.{key} of app 'shop': ")
    assert link in error.message
    assert "root's own" not in str(error)
    assert unchanged()
    assert not any((app.root / "shared").iterdir())


@pytest.mark.parametrize("settings", [{"shared_paths": ["var"]}, {"shared_paths": ["var/"]}, {"media_root": "var"}])
def test_a_committed_link_in_place_of_a_shared_path(make_app, project, system, outside, unchanged, settings):
    """It becomes a link to the app's storage. What is there the first time is the link, which the app alone follows."""
    source = project()
    (source.tree / "var").symlink_to(outside)
    build(make_app(build=settings), "v1-1", source, system)
    assert unchanged()


def test_an_archive_is_unpacked_in_the_sandbox(make_app, project, system, tmp_path):
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(project().tree, ".")
    app = make_app()
    build(app, "v1-1", Source(archive=tmp_path / "source.tar.gz"), system)
    ((words, options),) = [entry for entry in system.ran if entry[0][0] == "tar"]
    assert set(bound(lines_of(options), "BindPaths")) == {str(app.releases / "v1-1")}
    assert str(tmp_path / "source.tar.gz") not in " ".join(words), "it is handed over open"


@pytest.mark.parametrize("text", ['{"python": 5}', "[1]", "nonsense", '{"migrations": "x"}', "[" * 100_000])
def test_a_probe_that_was_tampered_with(make_app, project, system, failure, text):
    def tamper(release, _venv):
        (release / "probe.json").write_text(text)

    system.act = {str(builds.PROBE): tamper}
    assert "changed what the build found out" in failure(make_app(), project()).message


def test_steps_come_in_order(make_app, project, system):
    hooks = {"before_collectstatic": ["npm ci"], "hooks": ["npm run build"]}
    app = make_app(build=hooks)
    build(app, "v1-1", project(), system)
    # By name, not by path: the checkout may lie below a folder called "check".
    told = [" ".join(Path(word).name for word in words) for words in system.words]
    wanted = ["venv", "pip install", "gunicorn.txt", "npm ci", "probe.py", "npm run build", "compileall"]
    log = (app.releases / "v1-1/build.log").read_text().splitlines()
    assert [line for line in log if "npm" in line] == ["before_collectstatic: npm ci", "build: npm run build"]
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
    ((words, given),) = system.given
    assert (words[-2:], given) == (["--requirement", "-"], "shop==1.4.2")
    assert release.record["application"] == "shop.wsgi:application"


def test_a_wheel_is_copied_to_where_the_build_may_read_it(make_app, system, tmp_path):
    (tmp_path / "shop-1.4.2-py3-none-any.whl").write_text("wheel")
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    release = build(app, "v1-1", Source(package=str(tmp_path / "shop-1.4.2-py3-none-any.whl")), system)
    copied = release.path / "shop-1.4.2-py3-none-any.whl"
    ((_words, given),) = system.given
    assert (given, copied.read_text()) == (f"shop @ file://{copied}", "wheel")


@pytest.mark.parametrize(
    ("package", "given", "name", "password"),
    [
        ("shop @ git+https://t0ken@example.com/shop.git@v1#x", "git+https://example.com/shop.git@v1#x", "t0ken", ""),
        (
            "shop[x] @ git+https://me:t0%20ken@example.com:8443/shop",
            "git+https://example.com:8443/shop",
            "me",
            "t0 ken",
        ),
    ],
)
def test_the_token_of_a_package_is_on_no_command_line(make_app, system, package, given, name, password):
    """Neither on that of systemd-run nor on that of git, which uv runs."""
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    release = build(app, "v1-1", Source(package=package), system)
    assert "t0" not in str(system.words)
    ((words, found),) = system.given
    assert found.endswith(f" @ {given}")
    (options,) = [options for ran, options in system.ran if ran is words]
    variables = options["environment"]
    assert (variables["DJANGOCTL_GIT_USERNAME"], variables["DJANGOCTL_GIT_PASSWORD"]) == (name, password)
    host = given.removeprefix("git+https://").partition("/")[0]
    assert variables["GIT_CONFIG_KEY_1"] == f"credential.https://{host}.helper"
    assert not [path for path in release.path.rglob("*") if path.is_file() and b"t0ken" in path.read_bytes()]


def test_another_token_of_a_package_makes_no_other_environment(make_app, system):
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    package = "shop @ git+https://{}@example.com/shop.git"
    one, two = (build(app, f"{token}-1", Source(package=package.format(token)), system) for token in ("old", "new"))
    assert (one.path / "venv").readlink() == (two.path / "venv").readlink()


def test_the_address_of_a_wheel_with_a_token_is_on_no_command_line(make_app, system):
    app = make_app(build={"packaged": True, "settings_module": "shop.settings"})
    build(app, "v1-1", Source(package="shop @ https://t0ken@example.com/shop-1.whl"), system)
    assert "t0ken" not in str(system.words)
    assert system.given[0][1] == "shop @ https://t0ken@example.com/shop-1.whl"


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
            package = Path(options["environment"]["VIRTUAL_ENV"], "lib/python3.13/site-packages/shop")
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
    assert [words[-1] for words in installs] == [str(venv.GUNICORN)]
    assert venv.GUNICORN.is_file()


def test_the_projects_own_gunicorn_is_kept(make_app, project, system):
    system.gunicorn = True
    build(make_app(), "v1-1", project(), system)
    assert not [words for words in system.words if str(venv.GUNICORN) in words]


@pytest.mark.parametrize(("worker_class", "wanted"), [("", False), ("gevent", True)])
def test_gevent_is_installed_for_its_worker_class_alone(make_app, project, system, worker_class, wanted):
    settings = {"worker_class": worker_class} if worker_class else {}
    build(make_app(build=settings), "v1-1", project(), system)
    assert any(str(venv.GEVENT) in words for words in system.words) is wanted
    assert venv.GEVENT.is_file()


def test_the_projects_own_gevent_is_kept(make_app, project, system):
    run = system.run

    def install(app, words, **options):
        if "install" in words:
            Path(options["environment"]["VIRTUAL_ENV"], "lib/python3.13/site-packages/gevent").mkdir(
                parents=True, exist_ok=True
            )
        return run(app, words, **options)

    system.run = install
    build(make_app(build={"worker_class": "gevent"}), "v1-1", project(), system)
    assert not [words for words in system.words if str(venv.GEVENT) in words]


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
        (str(venv.GUNICORN), {}, "gunicorn"),
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


def test_a_step_that_never_stops_talking_does_not_fill_the_memory(make_app, project, system, failure, monkeypatch):
    monkeypatch.setattr(steps, "LOG_LIMIT", 60)
    system.failing["collectstatic"] = "a line\n" * 20 + "the reason\n"
    lines = failure(make_app(), project()).log.splitlines()
    assert (len(lines) < 10, lines[-1]) == (True, "the reason")


def test_of_a_huge_file_of_the_source_the_beginning_is_read(make_app, project, system, monkeypatch):
    """A sparse one takes no room on the disk of who sends it, and all memory of who reads it."""
    monkeypatch.setattr(tree, "TEXT_LIMIT", len(MANAGE))
    source = project(**{"manage.py": MANAGE, "setup.py": " " * len(MANAGE) + "pbr"})
    build(make_app(), "v1-1", source, system, scm_version="1.4")
    told = [options["environment"] for words, options in system.ran if "venv" in words]
    assert "PBR_VERSION" not in told[0]


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

    monkeypatch.setattr(tree.shutil, "copyfileobj", full)
    error = failure(make_app(), project())
    assert error.code == 4
    assert "No space left on device" in error.message
    assert error.message.startswith("shop: ")


def test_a_link_that_is_put_into_a_directory_while_it_is_copied(make_app, project, system, tmp_path, monkeypatch):
    """Whoever owns the directory of `--tree` may put a link there at any moment, and root copies."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_text("s3cret")
    root = project(PROJECT | {"docs/key": "mine", "key": "mine"}).tree

    def swap():
        if not (root / "key").is_symlink():
            (root / "key").unlink()
            (root / "key").symlink_to(tmp_path / "outside/key")
            shutil.rmtree(root / "docs")
            (root / "docs").symlink_to(tmp_path / "outside")

    class Scan:
        """What os.scandir gives, with a swap between what it has read and what becomes of that."""

        def __init__(self, where="."):
            with scandir(where) as found:
                self.entries = list(found)

        def __iter__(self):
            return iter(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_words):
            swap()

    def listed(where="."):
        names = listdir(where)
        if "manage.py" in names:
            swap()
        return names

    scandir, listdir = os.scandir, os.listdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", Scan)
        patch.setattr(os, "listdir", listed)
        build(make_app(), "v1-1", Source(tree=root), system)
    copied = [path for path in (tmp_path / "srv/shop/releases/v1-1/source").rglob("*") if not path.is_symlink()]
    assert not [path for path in copied if path.is_file() and path.read_text() == "s3cret"]


def test_a_directory_is_copied_with_its_times_and_without_fifos(make_app, project, system):
    source = project()
    os.utime(source.tree / "manage.py", (1, 1_000_000_000))
    os.mkfifo(source.tree / "control")
    release = build(make_app(), "v1-1", source, system)
    assert (release.path / "source/manage.py").stat().st_mtime == 1_000_000_000
    assert not (release.path / "source/control").exists()


def test_an_archive_that_is_damaged(make_app, failure, tmp_path):
    (tmp_path / "source.tar.gz").write_bytes(b"\x1f\x8bnonsense")
    error = failure(make_app(), Source(archive=tmp_path / "source.tar.gz"))
    assert error.message == "django_app.source of app 'shop': could not be unpacked"
    assert "tar" in error.log


def test_an_installation_is_told_the_version_from_git(make_app, project, system):
    source = project(PROJECT | {"pyproject.toml": '[project]\nname = "shop"\n'})
    release = build(make_app(), "v1-1", source, system, scm_version="1.4")
    told = [options["environment"] for words, options in system.ran if "install" in words]
    assert {found.get("SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SHOP") for found in told} == {"1.4"}
    assert release.record["scm_version"] == "1.4"


# Pages of errors ------------------------------------------------------------------------------------------------------


def test_pages_are_rendered_after_all_else_and_only_where_there_are_any(make_app, project, system):
    app = make_app(
        build={"error_pages": {"404": "404.html", "maintenance": "closed.html"}, "hooks": ["manage.py more"]}
    )
    release = builds.build(app, "v1-1", project(), system)
    (words,) = [words for words in system.words if str(builds.RENDER) in words]
    assert words[2:] == [f"{release.path}/static/.errors", "404=404.html", "maintenance=closed.html"]
    assert system.words.index(words) > system.words.index(["manage.py", "more"])


def test_a_template_that_cannot_be_rendered_fails_the_build(make_app, project, system, failure):
    system.failing = {str(builds.RENDER): "Traceback:\ndjango.template.exceptions.TemplateDoesNotExist: none.html\n"}
    error = failure(make_app(build={"error_pages": {"404": "none.html"}}), project())
    assert error.message.endswith(
        "error_pages of app 'shop': cannot be rendered: django.template.exceptions.TemplateDoesNotExist: none.html"
    )
