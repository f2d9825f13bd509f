"""How a process of an app starts, and which settings and application are detected in a project."""

from __future__ import annotations

import os
import runpy

import djangoctl.app
import pytest
from conftest import pin
from djangoctl import launch
from djangoctl.detect import detect
from djangoctl.errors import ConfigError
from djangoctl.login import login_of

RECORD = {"settings_module": "shop.settings", "application": "shop.wsgi:application"}


@pytest.fixture
def environment(make_app, make_release):
    app = make_app()
    release = make_release(app, "v1-1")

    def run(**given):
        return launch.environment(app, release.path, RECORD, given)

    run.app, run.release = app, release
    return run


# Environment


def test_a_process_sees_its_own_release(environment):
    found = environment(PATH="/usr/bin")
    path = environment.release.path
    assert found["STATIC_ROOT"] == str(path / "static")
    assert found["RELEASE_ID"] == "v1-1"
    assert found["VIRTUAL_ENV"] == str(path / "venv")
    assert found["PATH"] == f"{path}/venv/bin:/usr/bin"
    assert found["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert found["DJANGOFLEET_APP"] == str(environment.app.config / "app.json")


def test_a_process_of_the_live_release_sees_the_pinned_configuration(make_app, make_release):
    app = make_app()
    pin(app)
    (app.config / "app.json").write_text((app.config / "app.json").read_text().replace('"shop"', '"other"'))
    live, coming = djangoctl.app.load("shop", pinned=True), djangoctl.app.load("shop")
    assert (live["name"], coming["name"]) == ("shop", "other")
    release = make_release(app, "v1-1")
    seen = [launch.environment(one, release.path, RECORD, {})["DJANGOFLEET_APP"] for one in (live, coming)]
    assert seen == [str(app.config / "live/app.json"), str(app.config / "app.json")]
    assert live.config == coming.config, "the secret and the files lie there"


DIRECT = {
    "DATABASE_URL": "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@10.0.0.7:5432/shop?sslmode=verify-full",
    "DATABASE_HOST": "10.0.0.7",
    "DATABASE_PORT": "5432",
    "DATABASE_SSLMODE": "verify-full",
}
POOLER = {
    "DATABASE_DIRECT_URL": DIRECT["DATABASE_URL"],
    "DATABASE_POOLER_URL": "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@/shop?host=/run/pgbouncer&port=6432",
    "DATABASE_POOLER_HOST": "/run/pgbouncer",
    "DATABASE_POOLER_PORT": "6432",
}
LOGIN = {"DATABASE_ROLE": "shop", "DATABASE_PASSWORD": "p4ssw0rd"}
MINE = {"DB": "${DATABASE_HOST}:${DATABASE_PORT}:${DATABASE_SSLMODE}:${DATABASE_POOLER}"}


def test_what_serves_speaks_to_the_pooler(environment):
    found = environment(**DIRECT, **POOLER, **LOGIN, **MINE, DATABASE_POOLER="pgbouncer")
    user = login_of("shop", "p4ssw0rd")
    assert found["DATABASE_URL"] == f"postgres://{user}:p4ssw0rd@/shop?host=/run/pgbouncer&port=6432"
    assert found["DATABASE_DIRECT_URL"] == f"postgres://{user}:p4ssw0rd@10.0.0.7:5432/shop?sslmode=verify-full"
    assert found["DB"] == "/run/pgbouncer:6432::pgbouncer"


def test_what_does_not_serve_speaks_to_the_database(environment):
    found = environment(**DIRECT, **POOLER, **LOGIN, **MINE)
    assert found["DATABASE_URL"] == found["DATABASE_DIRECT_URL"]
    assert found["DB"] == "10.0.0.7:5432:verify-full:"
    assert not any("POOLER" in name for name in found)


def test_a_unit_from_before_the_pooler_went_speaks_to_the_database(environment):
    found = environment(**DIRECT, **LOGIN, **MINE, DATABASE_POOLER="pgbouncer")
    assert found["DB"] == "10.0.0.7:5432:verify-full:pgbouncer"


@pytest.mark.parametrize("name", ["STATIC_ROOT", "DJANGO_SETTINGS_MODULE"])
def test_the_inventory_overrides_the_environment(environment, name):
    assert environment(**{name: "mine"})[name] == "mine"


@pytest.mark.parametrize("name", launch.CONTRACT)
def test_a_value_may_refer_to_the_contract(environment, name):
    given = {key: f"value of {key}" for key in launch.CONTRACT}
    found = environment(**given, MINE=f"<${{{name}}}>")
    expected = "v1-1" if name == "RELEASE_ID" else f"value of {name}"
    assert found["MINE"] == f"<{expected}>"


def test_a_value_may_refer_to_several(environment):
    found = environment(SECRET_KEY="a", DATABASE_URL="b", MINE="${SECRET_KEY}-${DATABASE_URL}-${SECRET_KEY}")
    assert found["MINE"] == "a-b-a"


def test_a_reference_to_an_unset_variable_is_empty(environment):
    assert environment(MINE="[${REDIS_URL}]")["MINE"] == "[]"


@pytest.mark.parametrize(
    "value",
    [
        "$SECRET_KEY",
        "${HOME}",
        "${OTHER}",
        "${SECRET_KEY:-x}",
        "${ SECRET_KEY }",
        "$${secret_key}",
        "{{ SECRET_KEY }}",
        "%(SECRET_KEY)s",
        "two\nlines \\1 \\g<0>",
        "",
        "`id` $(id)",
        "ünï",
    ],
)
def test_other_values_are_kept_literally(environment, value):
    assert environment(SECRET_KEY="s3cret", HOME="/h", OTHER="o", MINE=value)["MINE"] == value


def test_inserted_values_are_not_expanded_again(environment):
    found = environment(SECRET_KEY="a${DATABASE_URL}\\1", DATABASE_URL="b", MINE="${SECRET_KEY}")
    assert found["SECRET_KEY"] == found["MINE"] == "a${DATABASE_URL}\\1"


def test_the_user_of_the_database_follows_from_the_password(environment):
    parts = {"DATABASE_ROLE": "shop", "DATABASE_PASSWORD": "p4ssw0rd"}
    url = "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@/shop"
    found = environment(**parts, DATABASE_URL=url, DB_USER="${DATABASE_USER}")
    login = login_of("shop", "p4ssw0rd")
    assert found["DATABASE_USER"] == found["DB_USER"] == login
    assert found["DATABASE_URL"] == f"postgres://{login}:p4ssw0rd@/shop"
    assert environment(**parts, DATABASE_USER="mine")["DATABASE_USER"] == "mine"
    assert "DATABASE_USER" not in environment(DATABASE_PASSWORD="p4ssw0rd")


# Commands


@pytest.mark.parametrize(
    ("packaged", "words", "expected"),
    [
        (False, ["manage.py", "migrate", "--noinput"], ["python", "manage.py", "migrate", "--noinput"]),
        (True, ["manage.py", "migrate"], ["python", "-m", "django", "migrate"]),
        (True, ["celery", "manage.py"], ["celery", "manage.py"]),
    ],
)
def test_manage_is_the_projects(make_app, packaged, words, expected):
    assert launch.command(make_app(build={"packaged": packaged}), words) == expected


@pytest.fixture
def executed(monkeypatch):
    """The command that would have replaced this process."""
    calls = []
    monkeypatch.setattr(os, "execvpe", lambda *call: calls.append((os.getcwd(), *call)))
    monkeypatch.chdir("/")
    hand_over(monkeypatch, LISTEN_FDS="1", LISTEN_FDNAMES=A)
    return calls


A, B = "django-shop.socket", "django-shop-0123abcd.socket"


def hand_over(monkeypatch, **given):
    """What systemd tells a service about its sockets, see sd_listen_fds(3)."""
    for name, value in {"LISTEN_PID": str(os.getpid()), **given}.items():
        monkeypatch.setenv(name, value)


def test_serving_is_gunicorn_in_the_release_itself(make_app, make_release, executed):
    app = make_app(build={"project_dir": "src"})
    release = make_release(app, "v1-1", live=True, **RECORD)
    (release.path / "source/src").mkdir()
    launch.run(app, "current", ["serve"])
    ((directory, program, words, environment),) = executed
    assert directory == str(release.path / "source/src"), "through the link, a later import would be another release's"
    assert program == words[0] == "gunicorn"
    assert words[1:] == ["--config", str(launch.GUNICORN), "shop.wsgi:application"]
    assert launch.GUNICORN.is_file()
    assert environment["RELEASE_ID"] == "v1-1"


@pytest.mark.parametrize(
    ("units", "given", "refused"),
    [
        ([A], {"LISTEN_FDS": "1", "LISTEN_FDNAMES": A}, ""),
        ([B], {"LISTEN_FDS": "2", "LISTEN_FDNAMES": f"{A}:{B}"}, ""),
        ([], {"LISTEN_FDS": "1", "LISTEN_FDNAMES": A}, ""),  # started by a unit of an older role
        ([A], {}, "none"),
        ([], {}, "none"),
        ([A], {"LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}, "none"),
        ([], {"LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}, "none"),
        ([A], {"LISTEN_FDS": "1", "LISTEN_FDNAMES": B}, B),
        ([A], {"LISTEN_FDS": "1", "LISTEN_FDNAMES": A, "LISTEN_PID": "1"}, "none"),  # meant for somebody else
    ],
)
def test_gunicorn_needs_its_sockets(make_app, make_release, executed, monkeypatch, units, given, refused):
    """It would bind 127.0.0.1:8000 by itself, and the site would be down behind a service that is up."""
    app = make_app()
    make_release(app, "v1-1", live=True, **RECORD)
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name)
    if given:
        hand_over(monkeypatch, **given)
    if refused:
        with pytest.raises(ConfigError) as caught:
            launch.run(app, "current", ["serve", *units])
        assert "has not handed over" in caught.value.message
        assert caught.value.message.endswith(f"it gave: {refused}")
    else:
        launch.run(app, "current", ["serve", *units])
    assert len(executed) == (0 if refused else 1)


def test_the_gate_runs_in_the_next_release(make_app, make_release, executed):
    app = make_app()
    make_release(app, "old", live=True, **RECORD)
    release = make_release(app, "new", **RECORD)
    app.next_link.symlink_to(release.path)
    launch.run(app, "next", ["gate"])
    ((directory, _program, words, environment),) = executed
    assert words == ["python", str(launch.GATE), str(app.config / "app.json"), "shop.wsgi:application"]
    assert launch.GATE.is_file()
    assert (directory, environment["RELEASE_ID"]) == (str(release.path / "source"), "new")


def test_a_release_that_is_not_there(make_app, executed):
    with pytest.raises(ConfigError, match="shop has no release 'current'"):
        launch.run(make_app(), "current", ["serve"])
    assert not executed


def test_a_command_that_is_not_there(make_app, make_release, monkeypatch):
    app = make_app()
    make_release(app, "v1-1", live=True, **RECORD)
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match="release v1-1 has no command 'no-such-command'"):
        launch.run(app, "current", ["no-such-command"])


# Detection


MANAGE = "os.environ.setdefault({0}DJANGO_SETTINGS_MODULE{0}, {0}{1}{0})\n"


@pytest.fixture
def project(tmp_path, make_app):
    """`project({path: content}, **build)`: what is detected in that source, or the failure as (key, found, advice)."""

    class Failed(Exception):
        pass

    def run(files, **build):
        tree = tmp_path / "tree"
        for name, content in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content)

        def fail(*words):
            raise Failed(*words)

        app = make_app(build=build)
        try:
            return detect(app, tree, tree / app.build["project_dir"], fail)
        except Failed as error:
            return error.args

    return run


@pytest.mark.parametrize("quote", ['"', "'"])
def test_the_files_of_startproject_are_detected(project, quote):
    files = {"manage.py": MANAGE.format(quote, "shop.settings"), "shop/wsgi.py": ""}
    assert project(files) == RECORD


def test_settings_are_found_beside_the_application(project):
    files = {"manage.py": "import shop\n", "shop/wsgi.py": MANAGE.format('"', "shop.settings.live")}
    assert project(files) == {"settings_module": "shop.settings.live", "application": "shop.wsgi:application"}


def test_an_asgi_application_is_found(project):
    files = {"manage.py": MANAGE.format('"', "shop.settings"), "shop/asgi.py": ""}
    assert project(files, interface="asgi")["application"] == "shop.asgi:application"


def test_a_project_in_a_subdirectory(project):
    files = {"src/manage.py": MANAGE.format('"', "shop.settings"), "src/shop/wsgi.py": ""}
    assert project(files, project_dir="src") == RECORD


@pytest.mark.parametrize(
    ("application", "expected"),
    [("shop.site:app", "shop.site:app"), ("shop.site", "shop.site:application"), ("shop", "shop:application")],
)
def test_the_inventory_names_them(project, application, expected):
    files = {"manage.py": "", "shop/site.py": "", "shop/__init__.py": ""}
    found = project(files, settings_module="conf.live", application=application)
    assert found == {"settings_module": "conf.live", "application": expected}


def test_a_package_is_not_looked_for_in_the_source(project):
    found = project({"empty": ""}, packaged=True, settings_module="shop.settings")
    assert found == RECORD


def test_an_application_may_be_installed(tmp_path, make_app):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/manage.py").write_text(MANAGE.format('"', "shop.settings"))
    (tmp_path / "site-packages/shop").mkdir(parents=True)
    (tmp_path / "site-packages/shop/wsgi.py").write_text("")
    tree, elsewhere = tmp_path / "tree", [tmp_path / "other", tmp_path / "site-packages"]
    assert detect(make_app(), tree, tree, pytest.fail, elsewhere) == RECORD


def test_settings_that_are_named_nowhere(project):
    key, found, advice = project({"manage.py": "", "shop/wsgi.py": ""})
    assert key == "settings_module"
    assert "manage.py does not name one" in found
    assert "shop.settings" in advice


def test_a_missing_application_is_reported_with_those_that_exist(project):
    files = {
        "manage.py": MANAGE.format('"', "settings.live"),
        "shop/wsgi.py": "",
        "conf/live/wsgi.py": "",
        "shop/asgi.py": "",
    }
    key, found, advice = project(files)
    assert key == "wsgi"
    assert "'settings.wsgi:application'" in found
    assert advice == "set wsgi to one of: conf.live.wsgi:application, shop.wsgi:application"


def test_a_missing_application_where_none_exists(project):
    files = {"src/manage.py": "", "src/shop/wsgi.py": ""}
    words = {"interface": "asgi", "settings_module": "shop.settings", "application": "shop.asgi:x"}
    key, found, advice = project(files, project_dir="src", **words)
    assert (key, "no module shop.asgi in src" in found) == ("asgi", True)
    assert "ASGI" in advice


@pytest.mark.parametrize("given", [None, {"X-FORWARDED-PROTOCOL": "https"}])
def test_gunicorn_learns_the_scheme_from_the_header_that_nginx_always_sets(make_app, app_settings, monkeypatch, given):
    """By default it refuses requests whose headers name the scheme in two ways."""
    extra = {"secure_scheme_headers": given} if given else {}
    app = make_app(gunicorn=app_settings["gunicorn"] | {"extra": extra})
    monkeypatch.setenv("DJANGOFLEET_APP", str(app.config / "app.json"))
    found = runpy.run_path(str(launch.GUNICORN))["secure_scheme_headers"]
    assert found == (given or {"X-FORWARDED-PROTO": "https"})
