"""The rules of the role django, row by row: what is refused and with which words, and what an app means."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.djangofleet.stack.plugins.plugin_utils import django_problems as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import django_packages, django_questions
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_entries import django_entries
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_settings import django_settings as settings_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import options_of
from djangoctl import launch
from test_role_django import SHOP, shop

ROOT = Path(__file__).resolve().parents[2]


def there(_path: str, _kind: str) -> bool:
    """A controller that has every path."""
    return True


def problems(app: Any, path: str = "django_app", **more: Any) -> list[str]:
    return rules.app_problems(app, path, more.get("is_there", there))


# What is refused


def bad() -> Iterator[tuple[str, Any, str]]:
    """Dotted path below the app, a value that cannot work, and the words that the message has to have."""
    for name in ("Shop", "shop\n", "", "-shop", "shop-next", "sh_op", "a" * 25, "../etc", "shöp", "sh op", "a.b", "9"):
        yield "name", name, "lower-case letters"
    for name in ("authority", "certificates"):
        yield "name", name, "/etc/djangofleet"
    for domain in ("Shop.example.com", "a.b\n", "", "*", "a..b", "bücher.example.com", "x.com; return 200", "-a.com",
                   "https://a.com", "a.com:443", "a.com/", "*.*.com", "a" * 64 + ".com", "${SECRET_KEY}", "10.0.0.300",
                   "::1"):  # fmt: skip
        yield "domains[]", domain, "host name in lower case"
    for path in ("/etc", "../x", "a/../../x", "", " ", "a\n", ".."):
        yield "project_dir", path, "relative to the source"
    for path in ("/etc/passwd", "../x", "", "a/..", "a\nb"):
        yield "requirements", path, "relative to"
    for path in ("/etc/passwd", "../x", "", " ", "a/..", "a/../b", "a\nb", "a\n", ".", "./a", "a/.", "a//b", "/"):
        yield "static_root", path, "relative to the source"
        yield "media_root", path, "relative to the source"
        yield "shared_paths[]", path, "relative to the source"
        yield "files[].dest", path, "relative to the source"
    yield "files[].dest", "shop/", "relative to the source"
    for url in ("static", "static/", "/static", "//cdn.example.com/", "/a b/", "/a/\n", "ftp://x/", "https://cdn", ""):
        yield "static_url", url, "slash"
        yield "media_url", url, "slash"
    for module in ("shop/settings.py", "shop.settings\n", "", "1shop", "shop settings", "shop.", "shop:settings"):
        yield "settings_module", module, "shop.settings"
    for application in ("shop/wsgi.py", "shop.wsgi:application\n", "", "shop.wsgi:", "shop.wsgi:app()", ":x"):
        yield "wsgi", application, "shop.wsgi:application"
        yield "asgi", application, "shop.asgi:application"
    for listen in ("8000", "localhost:8000", "10.0.0.5", "10.0.0.5:99999", "10.0.0.5:0", "run/x.sock",
                   "/run/x y.sock", "/run/x.sock\n", "10.0.0.5:80\n", "/run/%h.sock", "", "unix:/run/x",
                   "/run/" + 120 * "x"):  # fmt: skip
        yield "listen", listen, "absolute path"
    for python in ("python3", "/usr/bin/python3 -I", "", "/usr/bin/python3\n"):
        yield "python", python, "absolute path"
    for workers in (0, -1, "Auto", "two", "", "3\n", "1.5"):
        yield "gunicorn.workers", workers, "auto"
    for path in ("healthz", "", "/a b", "/a\n", "https://x/", "/a#b"):
        yield "health.path", path, "slash"
        yield "health.warm[]", path, "slash"
    for command in ("", " ", "\n"):
        for point in (
            "before_collectstatic",
            "build",
            "before_migrate",
            "after_migrate",
            "before_activate",
            "after_activate",
        ):
            yield f"hooks.{point}[]", command, "a command"
    for name in ("Mail", "mail\n", "", "-mail", "9", "a" * 25, "m_ail", "m ail", "mäil", "mail.service", "mail@", "%i",
                 "../mail", "next", "mail-replace"):  # fmt: skip
        yield "processes[].name", name, "neither next nor ending in -replace"
        yield "timers[].name", name, "neither next nor ending in -replace"
    for command in ("", " ", "\n", "celery\nRestart=no", "celery\n", "celery\r"):
        yield "processes[].command", command, "a command in one line"
        yield "timers[].command", command, "a command in one line"
    for count in (0, -1, 100, 10**12):
        yield "processes[].count", count, "from 1 to 99"
    for signal in ("TERM", "sigterm", "15", "", "SIGTERM\n", "SIG TERM", "SIG"):
        yield "processes[].stop_signal", signal, "such as SIGTERM"
    for calendar in ("", " ", "\n", "daily\nOnBootSec=1", "daily\n"):
        yield "timers[].calendar", calendar, "such as daily"
    for variable in ("", "1A", "A-B", "A B", "A\n", "A=B", "Ä", "A;B"):
        yield "environment[]", variable, "letters, digits and underscores"
    yield "source", {}, "git, path and package"
    yield "source", {"git": "https://git.example.com/x", "path": "/x"}, "git, path and package"
    yield "source", {"version": "1"}, "git, path and package"


def top(path: str) -> str:
    return path.partition(".")[0].removesuffix("[]")


# What an item of a list has beside the value in question
ITEMS = {
    "files": {"content": "x"},
    "processes": {"name": "mail", "command": "x"},
    "timers": {"name": "tidy", "command": "x", "calendar": "daily"},
}


def place(path: str, value: Any) -> str:
    """Where a message says that a value stands."""
    if path == "environment[]":
        return "environment"
    if path in ("processes[].name", "timers[].name"):
        return path.replace("[]", f"[{' '.join(str(value).split())}]" if value else "[0]")
    for kind in ("processes", "timers"):
        path = path.replace(f"{kind}[]", f"{kind}[{ITEMS[kind]['name']}]")
    return path.replace("[]", "[0]")


def with_value(path: str, value: Any) -> dict[str, Any]:
    """That value at that path of an app; [] is one item of a list, or the name of a variable."""
    if path == "environment[]":
        return {"environment": {value: "x"}}
    key, _, rest = path.partition(".")
    if rest.endswith("[]"):
        return {key: {rest.removesuffix("[]"): [value]}}
    if key.endswith("[]"):
        return {top(key): [{**ITEMS[top(key)], rest: value} if rest else value]}
    return {key: {rest: value} if rest else value}


@pytest.mark.parametrize(("path", "value", "advice"), list(bad()))
def test_a_bad_value_is_named_once_with_its_place_and_advice(path, value, advice):
    (line,) = problems(shop(**with_value(path, value)))
    start, _, wanted = line.rpartition("; give ")
    assert advice in wanted
    seen = ", ".join(key for key in value if key != "version") or "none of them" if path == "source" else str(value)
    assert start == f"django_app.{place(path, value)}: found {shown(seen)}"


def test_a_version_that_yaml_has_read_as_a_number_is_told():
    source = SHOP["source"] | {"version": 1.1}
    assert problems(shop(source=source)) == [
        "django_app.source.version: found '1.1'; give a text in quotes, or 1.10 is 1.1 and on is true"
    ]


def test_an_app_without_domains_is_told():
    assert problems(shop(domains=[])) == ["django_app.domains: is empty; give at least one domain"]


PROCESS, TIMER = ITEMS["processes"], ITEMS["timers"]


@pytest.mark.parametrize(
    "app",
    [
        {"processes": [PROCESS, PROCESS]},
        {"timers": [TIMER, TIMER | {"calendar": "weekly"}]},
        {"processes": [PROCESS], "timers": [TIMER | {"name": "mail"}]},
        {"processes": [PROCESS | {"count": 2}], "timers": [TIMER, TIMER | {"name": "mail"}]},
        {"processes": [PROCESS, PROCESS | {"singleton": True}]},
    ],
)
def test_two_that_would_share_a_unit_are_told_apart(app):
    (found,) = problems(shop(**app))
    assert found.endswith("; give each process and timer a name of its own")
    name = (app.get("timers") or app["processes"])[-1]["name"]
    assert found.startswith((f"django_app.timers[{name}].name: ", f"django_app.processes[{name}].name: "))


def test_a_bad_hook_is_found_among_good_ones():
    (found,) = problems(shop(hooks={"build": ["x", "y"], "after_activate": ["z", "\t"]}))
    assert found == "django_app.hooks.after_activate[1]: found ''; give a command"


def test_wsgi_and_asgi_exclude_each_other():
    (found,) = problems(shop(wsgi="shop.wsgi:application", asgi="shop.asgi:application"))
    assert found == "django_app.wsgi: found 'shop.wsgi:application'; give either wsgi or asgi"


@pytest.mark.parametrize("name", ["sh op", "shop\n", "%h"])
def test_what_follows_from_a_bad_name_is_not_blamed_too(name):
    (found,) = problems(shop(name=name))
    assert found.startswith("django_app.name: ")


def test_all_that_is_wrong_is_said_at_once():
    found = problems(shop(name="Shop", domains=["a b", "c.com", "D.com"], static_root="/x"))
    assert [line.split(": ")[0] for line in found] == [
        "django_app.name",
        "django_app.static_root",
        "django_app.domains[0]",
        "django_app.domains[2]",
    ]


GOOD: list[dict[str, Any]] = [
    {},
    {"name": "a"},
    {"name": "a" * 24},
    {"name": "shop-2"},
    {"name": "next"},
    {"domains": ["localhost"]},
    {"domains": ["example.com", "*.example.com", "xn--bcher-kva.example.com", "10.0.0.1", "a-b.c1.test"]},
    {"source": {"git": "git@git.example.com:acme/shop.git", "version": "v1"}},
    {"source": {"package": "shop==1.4.2"}},
    {"project_dir": "src/my site", "requirements": "requirements/production.txt"},
    {"project_dir": "."},
    {"static_root": "shop/static_collected", "media_root": "media/", "shared_paths": ["var/", "db.sqlite3", ".cache"]},
    {"files": [{"dest": "shop/local_settings.py", "content": ""}, {"dest": "..x/.env", "content": "{{ x }}"}]},
    {"static_url": "/s/t/", "media_url": "https://cdn.example.com/media/"},
    {"static_url": "/"},
    {"settings_module": "shop.settings.production", "wsgi": "shop.wsgi:application"},
    {"asgi": "shop.asgi"},
    {"wsgi": "shop.site:factory.app"},
    {"listen": "/run/shop/x.sock"},
    {"listen": "127.0.0.1:8001"},
    {"listen": "[::1]:65535"},
    {"python": "/opt/python3.13/bin/python3"},
    {"gunicorn": {"workers": "auto"}},
    {"gunicorn": {"workers": 3}},
    {"health": {"path": "/healthz?full=1"}},
    {"health": {"warm": ["/", "/login/?next=/"]}},
    {"health": {"warm": []}},
    {"hooks": {"build": ["manage.py compress", "npm run build"]}},
    {"hooks": {"build": [], "before_migrate": ["a"], "after_migrate": ["b"], "before_activate": ["c"]}},
    {"hooks": {}, "processes": [], "timers": []},
    *(
        {"processes": [PROCESS | {"name": name}], "timers": [TIMER]}
        for name in ("a", "a" * 24, "mail-2", "next-up", "up-next", "replace", "replace-all")
    ),
    {"processes": [PROCESS], "timers": [TIMER, TIMER | {"name": "tidy-2"}]},
    {"processes": [PROCESS | {"command": "sh -c 'a | b; c' \"${INSTANCE}\" 100% ü", "stop_signal": "SIGUSR1"}]},
    {"timers": [TIMER | {"calendar": "Mon..Fri *-*-* 03:30:00 Europe/Berlin"}]},
    {"environment": dict.fromkeys(["A", "_b", "DJANGO_SECRET_KEY", "x1"], "\n${SECRET_KEY} {{ x }}")},
]


@pytest.mark.parametrize("app", GOOD)
def test_good_values_pass(app):
    assert problems(shop(**app)) == []


def test_the_example_of_the_readme_is_good_input(role_specs):
    text = (ROOT / "roles/django/README.md").read_text()
    (play,) = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    (task,) = play["tasks"]
    spec = role_specs["django"]["main"]["options"]
    result = ArgumentSpecValidator(copy.deepcopy(spec)).validate(task["vars"])
    assert result.error_messages == []
    assert problems(task["vars"]["django_app"]) == []


# What the spec says comes first


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ({"domain": "x"}, "django_app.domain: is not known; did you mean 'domains'?"),
        ({"gunicorn": {"worker": 3}}, "django_app.gunicorn.worker: is not known; did you mean 'workers'?"),
        ({"gunicorn": {"timeout": "soon"}}, "django_app.gunicorn.timeout: found 'soon'; give a whole number"),
        ({"health": "no"}, "django_app.health: found 'no'; give a mapping"),
        ({"processes": [{"name": "mail"}]}, "django_app.processes[mail].command: is missing; give a text"),
        ({"timers": [PROCESS | {"calendar": "daily", "overlap": "wait"}]},
         "django_app.timers[mail].overlap: found 'wait'; give one of skip, replace"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_told_alone(app, said):
    assert problems(shop(static_root="/etc", **app)) == [said]


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (
            {"database": {"pooler": "pgbouncer"}},
            "django_app.database.pooler: needs django_app.database.engine: postgresql",
        ),
        (
            {"database": {"engine": "sqlite", "pooler": "pgbouncer"}},
            "django_app.database.pooler: needs django_app.database.engine: postgresql",
        ),
        (
            {"database": {"url": "postgres://db/x", "pooler": "pgbouncer"}},
            "django_app.database.url: stands beside django_app.database.pooler; give one of the two",
        ),
        (
            {"database": {"engine": "postgresql", "pooler": "pgpool"}},
            "django_app.database.pooler: found 'pgpool'; give one of pgbouncer",
        ),
        (
            {"database": {"engine": "postgresql", "pooler": "pgbouncer"}, "environment": {"PGOPTIONS": "-c x=y"}},
            "django_app.environment.PGOPTIONS: stands beside django_app.database.pooler, which refuses it; give "
            "database.options",
        ),
    ],
)
def test_a_pooler_that_cannot_work(app, line):
    assert problems(shop(**app)) == [line]


@pytest.mark.parametrize("key", ["secret_key", "database.url", "cache.url", "source.deploy_key"])
def test_what_is_wrong_with_a_secret_is_told_without_it(key):
    top_key, _, rest = key.partition(".")
    value = {**SHOP.get(top_key, {}), rest: ["s3cret"]} if rest else ["s3cret"]
    (line,) = problems(shop(**{top_key: value}))
    assert line == f"django_app.{key}: found '(not shown)'; give a text"


@pytest.mark.parametrize("key", ["database", "cache", "source", "environment", "certificate", "files"])
@pytest.mark.parametrize("value", ["postgres://shop:s3cret@db/shop", ["s3cret"], [{"url": "s3cret"}, "x"]])
def test_what_stands_where_a_mapping_with_secrets_is_meant_is_not_shown(key, value):
    (line,) = problems(shop(**{key: value}))
    assert line.startswith(f"django_app.{key}: found '(not shown)'; give a ")


def test_an_app_that_is_no_mapping_is_told():
    assert "s3cret" not in str(problems([{"secret_key": "s3cret"}]))
    assert problems("shop") == ["django_app: found 'shop'; give a mapping with name, domains and source"]


def test_the_path_is_that_of_the_list_where_the_app_is_in_one():
    (found,) = problems(shop(gunicorn={"workers": 0}), "django_apps[shop]")
    assert found == "django_apps[shop].gunicorn.workers: found '0'; give auto or a number above 0"


def test_one_text_is_a_list_of_one():
    assert problems(shop(domains="localhost")) == []
    settings = django_settings(shop(domains="localhost"))
    assert settings["settings"]["domains"] == ["localhost"]
    assert settings["environment"]["ALLOWED_HOSTS"] == "localhost"


# On the controller


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "/home/me/shop"}, "source.path: found '/home/me/shop'; give a directory on the controller"),
        ({"package": "x.whl"}, "source.package: found 'x.whl'; give a wheel on the controller, or a requirement"),
        ({"package": "x.whl[a]"}, "source.package: found 'x.whl[a]'; give a wheel on the controller, or a requirement"),
        ({"package": "shop==1.4.2"}, None),
        ({"package": "shop[server]==1.4.2", "constraints": ["django==5.2.8"]}, None),
        ({"git": "https://git.example.com/x"}, None),
    ],
)  # fmt: skip
def test_a_source_that_is_not_there_is_told(source, said):
    found = problems(shop(source=source), is_there=lambda _path, _kind: False)
    assert found == ([f"django_app.{said}"] if said else [])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"git": ""}, "git: is no address; give "),
        ({"git": "https://t0ken@example.com/x\n"}, "git: is no address; give "),
        ({"package": ""}, "package: is no requirement; give "),
        ({"package": "shop\n--index-url https://t0ken@example.com/"}, "package: is no requirement; give "),
        ({"path": ""}, "path: is empty; give "),
    ],
)
def test_a_source_that_names_nothing_is_told(source, said):
    (found,) = problems(shop(source=source), is_there=lambda _path, _kind: True)
    assert found.startswith(f"django_app.source.{said}")
    assert "t0ken" not in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("django_root", ""),
        ("django_root", "srv"),
        ("django_root", "/srv/%h"),
        ("django_root", "/srv\n"),
        ("django_media_group", ""),
        ("django_socket_group", "www data"),
    ],
)
def test_a_place_or_a_group_that_cannot_be(name, value):
    (found,) = rules.option_problems({name: value})
    assert found.startswith(f"{name}: found '")


@pytest.mark.parametrize("point", ["build", "before_collectstatic", "before_migrate", "after_activate"])
def test_a_hook_whose_quotes_are_open(point):
    (found,) = problems(shop(hooks={point: ["npm ci", "echo 'it works"]}))
    assert found.startswith(f"django_app.hooks.{point}[1]: found 'echo 'it works'; give a command as a shell takes it")


def test_the_controller_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "shop").mkdir()
    (tmp_path / "x.whl").write_text("")
    assert rules.is_on_controller("~/shop", "directory")
    assert rules.is_on_controller(f"{tmp_path}/x.whl", "file")
    assert not rules.is_on_controller(f"{tmp_path}/x.whl", "directory")
    assert not rules.is_on_controller(f"{tmp_path}/shop", "file")
    (tmp_path / "link").symlink_to("shop")
    assert rules.is_on_controller(f"{tmp_path}/link/../x.whl", "file") is (tmp_path / "x.whl").exists()


# Databases


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgre://me:s3cret@db/x", "found 'postgre://'; give postgres://"),
        ("postgress://db/x", "found 'postgress://'; give postgres://"),
        ("sqlite3:////x", "found 'sqlite3://'; give sqlite://"),
        ("mysq://db/x", "found 'mysq://'; give mysql://"),
        ("me:s3cret@db/x", "has no scheme; give a URL such as postgres://user:password@host/name"),
        ("", "has no scheme; give a URL such as postgres://user:password@host/name"),
    ],
)
def test_a_database_that_no_project_knows_is_told_without_its_password(url, said):
    assert problems(shop(database={"url": url})) == [f"django_app.database.url: {said}"]
    (found,) = problems(shop(environment={"DATABASE_URL": url}))
    assert found == f"django_app.environment.DATABASE_URL: {said}"


@pytest.mark.parametrize(
    "url",
    [
        *("postgres://db/x", "postgresql://db/x", "postgis://db/x", "mysql://db/x", "sqlite:////srv/x", "mssql://db/x"),
        *("postgresql+psycopg://db/x", "cockroach://db/x", "something-else://db/x", "${OTHER_URL}"),
    ],
)
def test_other_databases_pass(url):
    assert problems(shop(database={"url": url})) == []


# References in the environment


@pytest.mark.parametrize("network", ["none", "local", "full"])
@pytest.mark.parametrize(
    ("url", "refused_by"),
    [
        ("postgres://u:s3cret@db.internal/x", ["none"]),
        ("postgres://u:s3cret@10.0.0.5/x", ["none"]),
        ("postgres://u:s3cret@203.0.113.9/x", ["none"]),
        ("postgres://u:s3cret@8.8.8.8/x", ["none", "local"]),
        ("rediss://:s3cret@[2606:4700::1]:6379/0", ["none", "local"]),
        ("postgres:///x", []),
        ("postgres://u:s3cret@%2Fvar%2Frun%2Fpostgresql/x", []),
        ("postgres://u:s3cret@/x?host=/run/postgresql", []),
        ("mysql://u:s3cret@localhost/x?unix_socket=/run/mysqld.sock", []),
        ("unix:///run/redis.sock?db=1", []),
        ("redis+socket:///run/redis.sock", []),
        ("sqlite:////srv/shop/data/x", []),
        ("locmem://x", []),
        ("${OTHER}", []),
        ("postgres://u:s3cret@[bad/x", []),
    ],
)
def test_a_network_that_keeps_an_app_from_its_database_or_cache_is_told(network, url, refused_by):
    for place, given in {
        "database.url": {"database": {"url": url}},
        "cache.url": {"cache": {"url": url}},
        "environment.REDIS_URL": {"environment": {"REDIS_URL": url}},
    }.items():
        found = problems(shop(network=network, **given))
        assert [line.partition(":")[0] for line in found] == ["django_app.network"] * (network in refused_by), place
        assert all(place in line and "s3cret" not in line for line in found)


def test_an_app_without_a_network_may_listen_on_an_address():
    """The socket is systemd's."""
    assert problems(shop(network="none", listen="10.0.0.5:8001")) == []


def test_the_contract_is_that_of_djangoctl():
    assert rules.CONTRACT == launch.CONTRACT


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KEY": "${SECRET_KEZ}"}, [".KEY: '${SECRET_KEZ}' stays as it is, since nothing has that name; "
                                    "did you mean '${SECRET_KEY}'?"]),
        ({"A": "${NOPE} ${NOPE}"}, [".A: '${NOPE}' stays as it is, since nothing has that name"]),
        ({"A": "${SECRET_KEY} ${B}", "B": "$C ${} ${1} $${D"}, []),
        ({"A": 1, "B": None, "C": False}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_a_reference_that_nothing_stands_for_is_told(environment, said):
    found = rules.app_warnings(shop(environment=environment), "django_apps[shop]")
    assert found == [f"django_apps[shop].environment{line}" for line in said]


@pytest.mark.parametrize("app", ["shop", {}, {"environment": "x"}])
def test_what_cannot_be_understood_warns_of_nothing(app):
    assert rules.app_warnings(app, "django_app") == []


# Calendars


def test_a_calendar_that_systemd_refuses_is_named():
    app = options_of("django", {"django_app": shop(timers=[TIMER, TIMER | {"name": "late", "calendar": "dayly"}])})
    (found,) = rules.calendar_problems(app["django_app"], "django_apps[shop]", ["dayly"])
    assert found.startswith("django_apps[shop].timers[late].calendar: found 'dayly'; give a time as systemd writes it")
    assert rules.calendar_problems(app["django_app"], "django_apps[shop]", []) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_systemd_names_the_calendars_that_it_refuses(evaluate):
    (ask, *_) = yaml.safe_load((ROOT / "roles/django/tasks/configure.yml").read_text())
    expression = ask["ansible.builtin.command"]["argv"].strip("{} ")
    calendars = ["daily", "dayly", "Mon..Fri *-*-* 03:30:00 Europe/Berlin", "*:*:0/20", "--help", "at 5; true"]
    timers = [TIMER | {"name": f"t{number}", "calendar": calendar} for number, calendar in enumerate(calendars)]
    words = evaluate("django", expression, django_app=shop(timers=timers))
    result = subprocess.run(list(words), capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["dayly", "--help", "at 5; true"]


# The role's other variables


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"django_keep_releases": "many"}, ["django_keep_releases: found 'many'; give a whole number"]),
        ({"django_python": "python3"}, ["django_python: found 'python3'; give the absolute path of an interpreter"]),
        ({"django_sandbox": "no"}, ["django_sandbox: found 'no'; give a mapping"]),
        ({"django_app": shop(name="Shop")}, []),  # an app is looked at for itself
        ({}, []),
    ],
)
def test_variables_that_are_about_all_apps_are_checked(given, said):
    assert rules.option_problems(given) == said


def test_a_role_without_an_app_can_be_asked():
    """A playbook asks for packages and problems of all roles before it includes one for an app."""
    for given in ({}, {"django_app": {}}):
        assert rules.django_problems(given, there) == []
        assert django_packages({**given, "django_app_packages": ["libpq5"]}, ["git"]) == ["git", "libpq5"]
        questions = django_questions({**given, "django_app_users": ["django-shop"]}, "/opt/uv")
        assert questions == {
            "users": ["django-shop"],
            "paths": ["/opt/uv/bin/uv", "/etc/djangofleet/*/app.json", "/etc/djangofleet/*/move.json"],
            "databases": ["/etc/djangofleet/*/live/env"],
        }


# What an app means


def django_settings(app: dict[str, Any], **variables: Any) -> dict[str, Any]:
    given = {"django_app": app, "django_primary": True, **variables}
    return settings_of(options_of("django", given), "/opt/uv", {"NoNewPrivileges": True}, {"full": {}}, ["UMask=0027"])


IDENTITIES = json.loads((ROOT / "tests/unit/fixtures/identities.json").read_text())


@pytest.mark.parametrize("case", IDENTITIES, ids=lambda case: case["case"])
def test_what_names_a_release_stays_as_it_is(case):
    """Another `build` would give every app a new release, though nothing about it has changed."""
    found = django_settings(case["app"], **case["variables"])["settings"]["build"]
    assert json.dumps(found, sort_keys=True) == json.dumps(case["build"], sort_keys=True)


@pytest.mark.parametrize(
    ("app", "wanted"),
    [
        (shop(gunicorn={"worker_class": "gevent"}), "gevent"),
        (shop(gunicorn={"worker_class": "sync"}), None),  # else every app would get another release
        (shop(asgi="shop.asgi", gunicorn={"worker_class": "gevent"}), None),
    ],
)
def test_packages_of_gevent_are_part_of_the_release(app, wanted):
    assert django_settings(app)["settings"]["build"].get("worker_class") == wanted


def test_packages_are_those_of_the_role_of_the_app_and_of_the_others():
    given = {
        "django_app": shop(system_packages=["libpq5", "git"], build_packages="gcc"),
        "django_app_packages": ["gcc", "file"],
    }
    assert django_packages(given, ["git", "tar"]) == ["git", "tar", "libpq5", "gcc", "file"]


def test_the_host_is_asked_about_each_user_once():
    given = {"django_app": shop(), "django_app_users": ["django-blog", "django-shop"]}
    assert django_questions(given, "/opt/uv")["users"] == ["django-shop", "django-blog"]


def test_djangoctl_goes_with_the_first_app_only():
    settings = django_settings(SHOP)
    first = [entry["path"] for entry in django_entries(settings, True, "/usr/lib/x")]
    later = [entry["path"] for entry in django_entries(settings, False, "/usr/lib/x")]
    assert set(first) - set(later) == {
        *("/usr/lib/x", "/usr/local/bin/djangoctl", "/usr/share/bash-completion/completions/djangoctl")
    }
    assert len(first) == len(set(first))


def test_files_are_added_where_they_are_wanted():
    app = shop(files=[{"dest": "shop/local.py", "content": "a"}, {"dest": "..x/.env", "content": "{{ b }}"}])
    entries = {entry["path"]: entry for entry in django_entries(django_settings(app), False, "/usr/lib/x")}
    for dest, content in (("shop/local.py", "a"), ("..x/.env", "{{ b }}")):
        entry = entries[f"/etc/djangofleet/shop/files/{dest}"]
        assert (entry["vars"]["file"]["content"], entry["mode"], entry["sensitive"]) == (content, "0600", True)


@pytest.mark.parametrize("source", [{"git": "https://git.example.com/x"}, {"path": "/home/me/shop"}])
def test_pins_stand_beside_a_package_only(source):
    found = problems(shop(source={**source, "constraints": ["django==5.2.8"]}), is_there=lambda _path, _kind: True)
    assert found == ["django_app.source.constraints: found 'django==5.2.8'; give it beside package only"]


def test_a_pin_has_no_token():
    source = {"package": "shop", "constraints": ["x<2", "y @ git+https://t0ken@example.com/y"]}
    (found,) = problems(shop(source=source))
    assert found.startswith("django_app.source.constraints: have an address with a name or a token; give ")
    assert "t0ken" not in found


def test_a_release_is_another_one_where_its_build_is_told_something():
    """And the same as before an upgrade where nothing is: a new key would give every app a release of its own."""
    plain = django_settings(SHOP)["settings"]["build"]
    assert not {"constraints", "before_collectstatic", "environment_digest"} & set(plain)
    source = {"package": "shop", "constraints": ["django==5.2.8"]}
    told = django_settings(
        shop(source=source, hooks={"before_collectstatic": ["npm ci"]}, build_environment={"A": "1"})
    )
    build = told["settings"]["build"]
    assert (build["constraints"], build["before_collectstatic"]) == (["django==5.2.8"], ["npm ci"])
    assert "before_collectstatic" not in told["settings"]["hooks"]
    other = django_settings(shop(build_environment={"A": "2"}))["settings"]["build"]
    assert len({build["environment_digest"], other["environment_digest"], ""}) == 3


def test_the_environment_of_an_installation_is_secret():
    settings = django_settings(shop(build_environment={"PBR_VERSION": "1.2", "UV_NO_PROGRESS": "false"}))
    assert settings["build_environment"]["PBR_VERSION"] == "1.2"
    assert settings["build_environment"]["UV_NO_PROGRESS"] == "false", "what an app says overrules what the role does"
    assert "PBR_VERSION" not in settings["environment"]
    assert "1.2" not in json.dumps(settings["settings"])
    entries = {entry["path"]: entry for entry in django_entries(settings, False, "/usr/lib/x")}
    entry = entries["/etc/djangofleet/shop/build.env"]
    assert (entry["vars"]["variables"]["PBR_VERSION"], entry["mode"], entry["sensitive"]) == ("1.2", "0600", True)
    assert problems(shop(build_environment={"A B": "x"})) == [
        "django_app.build_environment: found 'A B'; give a name of letters, digits and underscores"
    ]


def test_the_address_of_an_index_is_in_no_message():
    found = rules.option_problems({"django_index_url": ["https://me:pw@index.example.com/simple"]})
    assert found == ["django_index_url: found '(not shown)'; give a text"]


def test_packages_come_from_the_index_that_is_given():
    more = {"django_index_url": "https://me:pw@index.example.com/simple", "django_extra_index_urls": ["https://a/", "https://b/"],
            "django_ca_bundle": "/etc/ca.pem"}  # fmt: skip
    settings = django_settings(SHOP, **more)
    assert settings["build_environment"]["UV_DEFAULT_INDEX"] == settings["pip_environment"]["PIP_INDEX_URL"]
    assert settings["build_environment"]["UV_INDEX"] == "https://a/ https://b/"
    assert settings["pip_environment"]["PIP_EXTRA_INDEX_URL"] == "https://a/ https://b/"
    assert settings["build_environment"]["SSL_CERT_FILE"] == settings["pip_environment"]["PIP_CERT"] == "/etc/ca.pem"
    plain = django_settings(SHOP)
    assert plain["pip_environment"] == {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX", "SSL_CERT_FILE"} & set(plain["build_environment"])
