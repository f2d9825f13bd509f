"""What the role django writes and refuses, read back by systemd's rules and against what djangoctl reads."""

from __future__ import annotations

import ast
import copy
import ipaddress
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environ
import pytest
import yaml
from ansible.template import trust_as_template
from djangoctl import launch

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "roles/django/files/djangofleet"
ENTRIES = "__django_settings | djangofleet.stack.django_entries(true, __django_library)"
SHOP: dict[str, Any] = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/home/me/shop"}}
HOSTILE = [
    "plain",
    "",
    "two words ",
    " leading and trailing\t",
    'in "double" quotes',
    "it's 'single'",
    "${SECRET_KEY} $HOME $$ %h %%",
    "`id` $(id)",
    "{{ 7 * 7 }} {% raw %} {# no comment #}",
    "back\\slash \\n \\\\ end\\",
    '\\"',
    "two\nlines\n\n# no comment\nOTHER=x",
    "carriage\rreturn\ttab",
    "; semicolon # hash = sign",
    "ünï ☃ 日本 \U0001f40d",
    "postgres://shop:p%40ss;w'o\"rd@db1.example.com/shop?sslmode=require&x=[1]",
    '{"json": ["a", {"b": null}]}',
]


def shop(**more: Any) -> dict[str, Any]:
    return {**SHOP, **more}


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, that answers the same question once only: templates are what takes the time here."""
    answers: dict[str, Any] = {}

    def run(*words: Any, **variables: Any) -> Any:
        question = repr((words, variables))
        if question not in answers:
            answers[question] = function(*words, **variables)
        return copy.deepcopy(answers[question])

    return run


# Environment files


def environment_file(text: str) -> dict[str, str]:
    """systemd's EnvironmentFile=, as systemd.exec(5) and its parser have it."""
    found: dict[str, str] = {}
    key = value = ""
    state = "before key"
    for char in f"{text}\n":
        if state == "before key":
            key, value = "", ""
            if char in "#;":
                state = "comment"
            elif not char.isspace():
                key, state = char, "key"
        elif state == "comment":
            state = {"\n": "before key", "\\": "comment escape"}.get(char, state)
        elif state == "comment escape":
            state = "before key" if char == "\n" else "comment"
        elif state == "key":
            assert char not in "\n\r", f"a line without a value: {key!r}"
            key, state = (key, "before value") if char == "=" else (key + char, state)
        elif state == "double":
            if char in '"\\':
                state = {'"': "before value", "\\": "double escape"}[char]
            else:
                value += char
        elif state == "double escape":
            value += char if char in '"\\`$' else "" if char == "\n" else f"\\{char}"
            state = "double"
        elif state == "single":
            value, state = (value, "before value") if char == "'" else (value + char, state)
        elif state == "escape":
            value, state = value + char.strip("\n\r"), "value"
        elif char in "\n\r":
            assert re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII), f"systemd ignores the name {key!r}"
            assert key not in found, f"{key} is there twice"
            found[key] = value if state == "before value" else value.rstrip()
            state = "before key"
        elif state == "before value" and char in "\"'":
            state = {'"': "double", "'": "single"}[char]
        elif char == "\\":
            state = "escape"
        elif state == "value" or not char.isspace():
            value, state = value + char, "value"
    assert state == "before key", f"the file ends inside of a {state}: {key}={value}"
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b c # d ", "b c # d"),
        ('A="b"', "b"),
        ("A='b\\'", "b\\"),
        ('A="b\\\nc\\d\\$"', "bc\\d$"),
        ('A="b\nc"', "b\nc"),
        ("A=b\\ \\\nc", "b c"),
        ("# x\n\n ; y \\\nA=b", "b"),
    ],
)
def test_parser_reads_as_systemd_does(text, value):
    assert environment_file(text) == {"A": value}


@pytest.fixture(scope="session")
def env_file(render):
    def run(variables: dict[str, Any]) -> dict[str, str]:
        return environment_file(render("django", "etc/djangofleet/app/env.j2", variables=variables))

    return run


def test_environment_file_keeps_values_to_the_letter(env_file):
    variables = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    assert env_file(variables) == variables


def test_environment_file_takes_what_is_no_text(env_file):
    assert env_file({"DEBUG": False, "PORT": 8000, "PATHS": None}) == {"DEBUG": "False", "PORT": "8000", "PATHS": ""}


def test_environment_file_is_the_same_whatever_the_order(render):
    one, other = {"a": "1", "B": "2", "A": "3"}, {"A": "3", "B": "2", "a": "1"}
    assert render("django", "etc/djangofleet/app/env.j2", variables=one) == render(
        "django", "etc/djangofleet/app/env.j2", variables=other
    )


@pytest.mark.parametrize("content", [*HOSTILE, "one\n", "two\n\n"])
def test_added_files_are_copied_to_the_letter(render, content):
    found = render("django", "etc/djangofleet/app/file.j2", file={"dest": "x", "content": content})
    assert found == content + ("" if content.endswith("\n") else "\n")


# The environment contract


@pytest.fixture(scope="session")
def environment(evaluate):
    def run(place: dict[str, Any] | None = None, redis: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
        places = {"django_app_database": place or {}, "django_app_cache": redis or {}}
        return evaluate("django", "__django_settings.environment", django_app=shop(**more), **places)

    return run


REMOTE = {"host": "10.0.0.7", "authority_file": "/etc/ssl/djangofleet/db1.pem"}


def test_contract_has_a_value_for_each_name(environment):
    found = environment(
        place=REMOTE,
        redis=REMOTE,
        secret_key="s3cret",
        cache={"engine": "redis", "password": "p4ssw0rd"},
        database={"engine": "postgresql", "password": "p4ssw0rd", "pooler": "pgbouncer"},
    )
    # Known when the release is, or the password, or said by a unit
    later = {"DJANGO_SETTINGS_MODULE", "STATIC_ROOT", "RELEASE_ID", "DATABASE_USER", "DATABASE_POOLER"}
    assert set(launch.CONTRACT) - later <= set(found)


def test_a_redis_of_somebody_else_is_cache_and_redis(environment):
    found = environment(cache={"url": "redis://cache1.example.com:6379/0"})
    assert found["REDIS_URL"] == found["CACHE_URL"] == "redis://cache1.example.com:6379/0"


CACHED = {"engine": "redis", "prefix": "shop:"}


@pytest.mark.parametrize(
    ("place", "urls"),
    [
        (
            {},
            {
                "CACHE_URL": "rediscache://shop:${REDIS_PASSWORD}@/run/redis/redis-server.sock?db=0",
                "REDIS_URL": "unix://shop:${REDIS_PASSWORD}@/run/redis/redis-server.sock?db=0",
            },
        ),
        (
            REMOTE,
            dict.fromkeys(
                ("CACHE_URL", "REDIS_URL"),
                "rediss://shop:${REDIS_PASSWORD}@10.0.0.7:6379/0?ssl_ca_certs=/etc/ssl/djangofleet/db1.pem",
            ),
        ),
    ],
)
def test_a_redis_of_ours_is_a_url(environment, place, urls):
    found = environment(redis=place, cache=CACHED)
    assert {name: found[name] for name in urls} == urls
    assert found["REDIS_PREFIX"] == "shop:"


def test_the_cache_is_what_the_projects_parser_reads(environment):
    parsed = environ.Env.cache_url_config(environment(cache={**CACHED, "password": "a$b'c/d@e:f%"})["CACHE_URL"])
    assert parsed["BACKEND"] == "django.core.cache.backends.redis.RedisCache"
    assert parsed["LOCATION"] == "unix://shop:a%24b%27c%2Fd%40e%3Af%25@/run/redis/redis-server.sock"


@pytest.mark.parametrize(
    ("place", "database", "url"),
    [
        ({}, {}, "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@/shop?host=/run/postgresql&port=5432"),
        (
            {},
            {"scheme": "postgresql+psycopg"},
            "postgresql+psycopg://${DATABASE_USER}:${DATABASE_PASSWORD}@/shop?host=/run/postgresql&port=5432",
        ),
        (
            {},
            {"name": "other"},
            "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@/other?host=/run/postgresql&port=5432",
        ),
        (
            {},
            {"password": "a$b'c/d@e:f%"},
            "postgres://${DATABASE_USER}:a%24b%27c%2Fd%40e%3Af%25@/shop?host=/run/postgresql&port=5432",
        ),
        (
            REMOTE,
            {},
            "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@10.0.0.7:5432/shop"
            "?sslmode=verify-full&sslrootcert=/etc/ssl/djangofleet/db1.pem",
        ),
        (
            {"host": "2001:db8::7", "port": 5433},
            {},
            "postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@[2001:db8::7]:5433/shop",
        ),
    ],
)
def test_a_database_of_ours_is_a_url(environment, place, database, url):
    assert environment(place=place, database={"engine": "postgresql", **database})["DATABASE_URL"] == url


def test_the_url_is_what_the_projects_parser_reads(environment):
    found = environment(database={"engine": "postgresql", "password": "a$b'c/d@e:f%"})
    parsed = environ.Env.db_url_config(found["DATABASE_URL"])
    assert (parsed["HOST"], parsed["OPTIONS"]) == ("", {"host": "/run/postgresql", "port": 5432})
    assert (parsed["NAME"], parsed["USER"], parsed["PASSWORD"]) == ("shop", "${DATABASE_USER}", "a$b'c/d@e:f%")


def test_the_parts_of_the_database_stand_alone_too(environment):
    found = environment(place=REMOTE, database={"engine": "postgresql"})
    parts = {name.removeprefix("DATABASE_").lower(): value for name, value in found.items() if name in launch.PARTS}
    assert parts == {
        "name": "shop",
        "role": "shop",
        "host": "10.0.0.7",
        "port": "5432",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/djangofleet/db1.pem",
    }, "a password that a host has made is in its own file, and the user follows from it"


@pytest.mark.parametrize("place", [{}, REMOTE])
def test_a_pooler_stands_beside_the_database(environment, place):
    plain = environment(place=place, database={"engine": "postgresql"})
    found = environment(place=place, database={"engine": "postgresql", "pooler": "pgbouncer"})
    assert {name: value for name, value in found.items() if plain.get(name) != value} == {
        "DATABASE_DIRECT_URL": plain["DATABASE_URL"],
        "DATABASE_POOLER_HOST": "/run/pgbouncer",
        "DATABASE_POOLER_PORT": "6432",
        "DATABASE_POOLER_URL": ("postgres://${DATABASE_USER}:${DATABASE_PASSWORD}@/shop?host=/run/pgbouncer&port=6432"),
    }, "migrations and commands have what they had"


@pytest.mark.parametrize(
    ("database", "found"),
    [
        ({"engine": "postgresql"}, "shop"),
        ({"url": "postgresql://u@db.test/x"}, "shop"),
        ({"url": "postgis://u@db.test/x"}, "shop"),
        ({"url": "mysql://u@db.test/x"}, None),
        ({}, None),
    ],
)
def test_connections_to_postgresql_have_the_app_s_name(environment, database, found):
    assert environment(database=database).get("PGAPPNAME") == found
    if found:
        assert environment(database=database, environment={"PGAPPNAME": "mine"})["PGAPPNAME"] == "mine"


def test_a_url_of_the_inventory_refers_to_the_parts(environment):
    mine = {"DATABASE_URL": "postgis://${DATABASE_USER}@/shop?host=${DATABASE_HOST}"}
    found = environment(database={"engine": "postgresql", "pooler": "pgbouncer"}, environment=mine)
    assert found["DATABASE_URL"] == mine["DATABASE_URL"]
    assert "DATABASE_POOLER_URL" not in found


@pytest.mark.parametrize(
    ("app", "found"),
    [
        ({}, {}),
        ({"secret_key": "new"}, {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ""}),
        (
            {"secret_key": "new", "secret_key_fallbacks": ["old", "older"]},
            {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": "old,older"},
        ),
    ],
)
def test_keys_that_the_inventory_gives_are_in_the_environment(environment, app, found):
    assert {name: value for name, value in environment(**app).items() if name.startswith("SECRET_KEY")} == found


def test_contract_names_the_hosts_as_django_wants_them(environment):
    found = environment(domains=["example.com", "*.example.com"])
    assert found["ALLOWED_HOSTS"] == "example.com,.example.com"
    assert found["CSRF_TRUSTED_ORIGINS"] == "https://example.com,https://*.example.com"


@pytest.mark.parametrize(
    ("cache", "redis"),
    [
        ({}, False),
        ({"url": "redis://c/0"}, True),
        ({"url": "rediss://c/0"}, True),
        ({"url": "memcached://redis.example.com"}, False),
        ({"url": "locmem://"}, False),
    ],
)
def test_redis_url_is_there_for_a_redis_only(environment, cache, redis):
    assert ("REDIS_URL" in environment(cache=cache)) == redis


def test_inventory_has_the_last_word_on_the_environment(environment):
    found = environment(environment={"ALLOWED_HOSTS": "*", "EXTRA": "{{ 7 * 7 }}"}, database={"url": "postgres://db/x"})
    assert (found["ALLOWED_HOSTS"], found["EXTRA"], found["DATABASE_URL"]) == ("*", "{{ 7 * 7 }}", "postgres://db/x")


def test_secret_key_is_left_to_the_host_unless_given(environment):
    assert "SECRET_KEY" not in environment()


# app.json


@pytest.fixture(scope="session")
def app_json(evaluate):
    @remembered
    def run(app: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
        entries = evaluate("django", ENTRIES, django_app=app or SHOP, **variables)
        (text,) = [entry["content"] for entry in entries if entry["path"].endswith("/app.json")]
        assert text.endswith("}\n")
        return json.loads(text)

    return run


def keys_read() -> set[tuple[str, str]]:
    """The keys of app.json that the code reads, as (section, key); the section is empty for the top."""
    sections = {"build": "build", "health": "health", "self.app.build": "build", "app.build": "build"}
    tops = {"app", "self.app", "self", "self.settings", "settings", "App"}
    found = set()
    for path in [*(LIBRARY / "djangoctl").glob("*.py"), LIBRARY / "gunicorn.conf.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                owner, key = ast.unparse(node.value), node.slice.value
                section = re.fullmatch(r"(?:settings|app|self\.app)\['(\w+)'\]", owner)
                if not isinstance(key, str):
                    continue
                if owner in sections:
                    found.add((sections[owner], key))
                elif section:
                    found.add((section[1], key))
                elif owner in tops and (owner != "settings" or path.name in ("gate.py", "app.py")):
                    found.add(("", key))
    return found


def test_app_json_has_every_key_that_is_read(app_json):
    read = keys_read()
    sections = {section for section, _key in read}
    assert {"", "build", "health"} <= sections, f"the scan found too little: {sorted(read)}"
    assert len(read) > 25
    rendered = app_json()
    missing = [f"{section}.{key}" for section, key in read if key not in (rendered[section] if section else rendered)]
    assert not missing


def test_app_json_has_no_key_that_nobody_reads(app_json):
    source = "\n".join(path.read_text() for path in (LIBRARY / "djangoctl").glob("*.py"))
    rendered = app_json()
    del rendered["name"]  # for who opens the file
    keys = [*rendered, *rendered["build"], *rendered["health"]]
    unread = [key for key in keys if not re.search(rf"""["']{key}["']""", source)]
    assert not unread


def test_app_json_takes_any_text(app_json):
    text = "\n".join(HOSTILE)
    found = app_json(shop(health={"contains": text}, hooks={"build": [text]}, shared_paths=[text]))
    assert (found["health"]["contains"], found["build"]["hooks"], found["build"]["shared_paths"]) == (
        text,
        [text],
        [text],
    )


def test_app_json_holds_no_secret(app_json):
    secret = "Tr0ub4dor"
    found = app_json(
        shop(
            secret_key=secret,
            environment={"STRIPE_KEY": secret},
            database={"url": f"postgres://{secret}@db/x"},
            cache={"url": f"redis://:{secret}@c/0"},
            files=[{"dest": "local.py", "content": secret}],
        ),
        django_index_url=f"https://me:{secret}@pypi.example.com/simple",
    )
    assert secret not in json.dumps(found)
    assert found["generate_secret"] is False
    assert found["build"]["files"] == ["local.py"]


def test_numbers_may_be_given_as_text(app_json, units):
    """Extra variables on a command line, and those of an ini inventory, are text."""
    app = shop(
        gunicorn={"workers": "3", "threads": "2", "graceful_timeout": "90", "max_requests": "1000"},
        health={"timeout": "5", "retries": "2", "delay": "1", "status_max": "399"},
    )
    found = app_json(app, django_minimum_free_space="100")
    assert found["minimum_free_space"] == 100
    assert (
        found["health"] | {"timeout": 5, "retries": 2, "delay": 1, "status_min": 200, "status_max": 399}
        == (found["health"])
    )
    assert found["gunicorn"] | {"workers": 3, "threads": 2, "graceful_timeout": 90} == found["gunicorn"]
    rendered = units(app, django_stop_timeout="60", django_stand_in_timeout="600")
    assert rendered["next"]["Service"]["TimeoutStopSec"] == ["100"]
    assert int(rendered["next"]["Service"]["TimeoutStartSec"][0]) >= 18


@pytest.mark.parametrize(
    ("app", "wanted"),
    [
        ({}, ("wsgi", "", "gthread")),
        ({"wsgi": "shop.wsgi:application"}, ("wsgi", "shop.wsgi:application", "gthread")),
        ({"asgi": "shop.asgi:application"}, ("asgi", "shop.asgi:application", "asgi")),
        ({"asgi": "shop.asgi", "gunicorn": {"worker_class": "gevent"}}, ("asgi", "shop.asgi", "gevent")),
    ],
)
def test_interface_follows_the_application(app_json, app, wanted):
    found = app_json(shop(**app))
    assert (found["build"]["interface"], found["build"]["application"], found["gunicorn"]["worker_class"]) == wanted


@pytest.mark.parametrize(("workers", "wanted"), [("auto", 0), (3, 3), ("12", 12)])
def test_workers(app_json, workers, wanted):
    assert app_json(shop(gunicorn={"workers": workers}))["gunicorn"]["workers"] == wanted


# Files and their owners


def test_secrets_are_for_root_alone_and_never_in_a_diff(evaluate):
    entries = evaluate("django", ENTRIES, django_app=shop(files=[{"dest": "a", "content": "b"}]))
    secret = {entry["path"]: entry for entry in entries if entry.get("template", "").startswith("etc/djangofleet")}
    assert len(secret) == 4
    assert all((entry["mode"], entry["sensitive"]) == ("0600", True) for entry in secret.values())


def test_writable_places_belong_to_the_app_and_no_other(evaluate):
    entries = evaluate("django", ENTRIES, django_app=SHOP)
    directories = {entry["path"]: entry for entry in entries if entry.get("directory")}
    lines = evaluate("django", "__django_settings.sandbox", django_app=SHOP)
    (line,) = [line for line in lines if "ReadWritePaths" in line]
    for path in line.partition("=")[2].split():
        assert directories[path]["owner"] == "django-shop", path
        assert directories[path]["mode"][-1] == "0", f"{path} is open to everybody"
    assert "owner" not in directories["/srv/shop/releases"], "the app could write where its own code lies"


# Units


def unit(text: str) -> dict[str, dict[str, list[str]]]:
    """A unit file: section, key, its values in order."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] | None = None
    for line in text.splitlines():
        if not line.strip() or line[0] in "#;":
            continue
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
            continue
        key, sign, value = line.partition("=")
        assert sign, f"no setting: {line!r}"
        assert section is not None, f"outside of a section: {line!r}"
        section[key].append(value)
    return found


@pytest.fixture(scope="session")
def units(evaluate, render):
    @remembered
    def run(app: dict[str, Any] | None = None, **variables: Any) -> dict[str, dict[str, dict[str, list[str]]]]:
        settings = evaluate("django", "__django_settings", django_app=app or SHOP, **variables)

        def one(template: str, stand_in: bool) -> dict[str, dict[str, list[str]]]:
            return unit(render("django", f"etc/systemd/system/{template}.j2", django=settings, stand_in=stand_in))

        return {
            "socket": one("app.socket", False),
            "current": one("app.service", False),
            "next": one("app.service", True),
        }

    return run


def test_both_services_stand_behind_the_one_socket(units):
    found = units()
    for name in ("current", "next"):
        assert found[name]["Service"]["Sockets"] == ["django-shop.socket"]
        assert "django-shop.socket" in found[name]["Unit"]["Requires"][0].split()
        assert "django-shop.socket" in found[name]["Unit"]["After"][0].split()


def test_the_service_names_the_socket_that_it_must_have(units):
    found = units()
    for name in ("current", "next"):
        assert found[name]["Service"]["ExecStart"][0].endswith(f" exec {name} serve django-shop.socket")
    # A further address is a socket unit with another name: systemd would look for a service of that name.
    assert found["socket"]["Socket"]["Service"] == ["django-shop.service"]


def test_stand_in_ends_by_itself_and_is_never_started_by_the_system(units):
    found = units(django_stand_in_timeout=777)
    assert found["next"]["Service"]["RuntimeMaxSec"] == ["777"]
    assert "Install" not in found["next"]
    assert "Restart" not in found["next"]["Service"]
    assert "RuntimeMaxSec" not in found["current"]["Service"]
    assert found["current"]["Install"]["WantedBy"] == ["multi-user.target"]
    assert found["current"]["Service"]["Restart"] == ["always"]


def test_only_the_stand_in_passes_the_gate(units):
    found = units()
    assert found["next"]["Service"]["Environment"] == ["DJANGOFLEET_GATE=strict"]
    assert found["next"]["Service"]["ExecStart"] == ["/usr/local/bin/djangoctl shop exec next serve django-shop.socket"]
    assert "Environment" not in found["current"]["Service"]
    start = "/usr/local/bin/djangoctl shop exec current serve django-shop.socket"
    assert found["current"]["Service"]["ExecStart"] == [start]


def test_the_gate_has_time_for_all_of_its_tries(units):
    found = units(shop(health={"timeout": 60, "retries": 4, "delay": 10}))
    assert int(found["next"]["Service"]["TimeoutStartSec"][0]) > 5 * 60 + 4 * 10 + 60


def test_the_service_has_time_to_be_warmed(units, app_json):
    app = shop(health={"timeout": 300})
    assert int(units(app)["current"]["Service"]["TimeoutStartSec"][0]) > 300
    assert app_json(app)["start_timeout"] > 300, "djangoctl waits as long for its workers"


def test_what_is_asked_for_first(app_json):
    assert app_json()["health"]["warm"] == ["/"]
    assert app_json(shop(health={"warm": ["/", "/login/"]}))["health"]["warm"] == ["/", "/login/"]


@pytest.mark.parametrize(("graceful", "stop"), [(30, 40), (300, 40), (1, 5)])
def test_a_stop_outlasts_requests_in_flight(units, graceful, stop):
    found = units(shop(gunicorn={"graceful_timeout": graceful}), django_stop_timeout=stop)
    for name in ("current", "next"):
        timeout = int(found[name]["Service"]["TimeoutStopSec"][0])
        assert timeout > graceful
        assert timeout >= stop


def test_the_socket_is_where_no_restart_wipes_it(units):
    found = units()
    (path,) = found["socket"]["Socket"]["ListenStream"]
    assert path == "/run/djangofleet/shop.sock"
    for name in ("current", "next"):
        for directory in found[name]["Service"].get("RuntimeDirectory", []):
            assert not path.startswith(f"/run/{directory}/")


def test_only_the_web_server_may_connect(units):
    socket = units(django_socket_group="nginx")["socket"]["Socket"]
    assert (socket["SocketUser"], socket["SocketGroup"], socket["SocketMode"]) == (["root"], ["nginx"], ["0660"])
    assert socket["DirectoryMode"] == ["0755"]


@pytest.mark.parametrize("listen", ["10.0.0.5:8001", "[2001:db8::5]:8001"])
def test_listening_on_an_address(units, listen):
    socket = units(shop(listen=listen))["socket"]["Socket"]
    assert socket["ListenStream"] == [listen]
    assert socket["NoDelay"] == ["true"]
    assert not {"SocketMode", "SocketGroup", "DirectoryMode"} & set(socket)


def test_no_secret_in_any_unit(evaluate, render):
    secret = "Tr0ub4dor"
    app = shop(
        secret_key=secret,
        environment={"STRIPE_KEY": secret},
        database={"url": f"postgres://{secret}@db/x"},
        cache={"url": f"redis://:{secret}@c/0"},
        files=[{"dest": "local.py", "content": secret}],
    )
    entries = evaluate("django", ENTRIES, django_app=app, django_index_url=f"https://{secret}@x/")
    units = [entry for entry in entries if "/units/" in entry["path"]]
    assert len(units) == 3
    for entry in units:
        assert secret not in json.dumps(entry), "the template could write it"
        text = render("django", entry["template"], **entry["vars"])
        if entry["path"].endswith(".service"):
            assert unit(text)["Service"].get("Environment", []) in ([], ["DJANGOFLEET_GATE=strict"])


@pytest.mark.parametrize(("stand_in", "copies"), [("current", "live"), ("next", "next")])
def test_only_the_stand_in_starts_with_what_is_to_come(units, stand_in, copies):
    """The service may start again at any time, before what was written for the next release has passed its gate."""
    service = units()[stand_in]["Service"]
    home = f"/etc/djangofleet/shop/{copies}"
    assert service["EnvironmentFile"] == [f"-{home}/secret", f"{home}/env"]


@pytest.mark.parametrize("stand_in", ["current", "next"])
def test_sandbox_is_on_both_services(units, stand_in):
    service = units()[stand_in]["Service"]
    assert service["NoNewPrivileges"] == service["MemoryDenyWriteExecute"] == ["yes"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["User"] == service["Group"] == ["django-shop"]


@pytest.mark.parametrize(
    ("sandbox", "key", "values"),
    [
        ({"MemoryDenyWriteExecute": False}, "MemoryDenyWriteExecute", ["no"]),
        ({"PrivateNetwork": True}, "PrivateNetwork", ["yes"]),
        ({"ProtectProc": "default"}, "ProtectProc", ["default"]),
        ({"SystemCallFilter": ["@system-service"]}, "SystemCallFilter", ["@system-service"]),
        ({"MemoryMax": 536870912}, "MemoryMax", ["536870912"]),
        ({"SystemCallFilter": []}, "SystemCallFilter", []),
    ],
)
def test_sandbox_can_be_overridden_for_one_app(evaluate, sandbox, key, values):
    lines = evaluate("django", "__django_settings.sandbox", django_app=shop(sandbox=sandbox))
    assert [line for line in lines if line.startswith(f"{key}=")] == [f"{key}={value}" for value in values]
    assert "NoNewPrivileges=yes" in lines


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("none", {"RestrictAddressFamilies": "AF_UNIX", "PrivateNetwork": "yes", "IPAddressDeny": "any"}),
        ("local", {"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6", "IPAddressDeny": "any"}),
        ("full", {"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6"}),
        (None, {"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6"}),
    ],
)
def test_an_app_reaches_what_network_says(evaluate, network, expected):
    app = shop(**({"network": network} if network else {}))
    lines = dict(line.split("=", 1) for line in evaluate("django", "__django_settings.sandbox", django_app=app))
    keys = ("RestrictAddressFamilies", "PrivateNetwork", "IPAddressDeny")
    assert {key: lines[key] for key in keys if key in lines} == expected
    assert ("IPAddressAllow" in lines) is (network == "local")


def test_gunicorn_takes_what_nginx_lets_pass(app_json):
    extra = app_json(shop())["gunicorn"]["extra"]
    assert extra == {"limit_request_line": 8190, "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}}
    own = app_json(shop(gunicorn={"settings": {"limit_request_line": 4094}}))["gunicorn"]["extra"]
    assert own["limit_request_line"] == 4094


def test_local_addresses_are_private_and_none_of_the_link(evaluate):
    lines = evaluate("django", "__django_settings.sandbox", django_app=shop(network="local"))
    (allowed,) = [line.partition("=")[2].split() for line in lines if line.startswith("IPAddressAllow=")]
    networks = [ipaddress.ip_network(network) for network in allowed]
    assert all(network.is_private for network in networks)
    metadata = ipaddress.ip_address("169.254.169.254")
    assert not [network for network in networks if metadata in network]


def test_what_an_app_may_write_it_may_not_run(evaluate):
    lines = evaluate("django", "__django_settings.sandbox", django_app=SHOP)
    rooms = {key: value for key, value in (line.split("=", 1) for line in lines) if key.endswith("Paths")}
    assert rooms["NoExecPaths"] == rooms["ReadWritePaths"]
    lines = evaluate("django", "__django_settings.sandbox", django_app=shop(sandbox={"NoExecPaths": ""}))
    assert "NoExecPaths=" in lines


def test_sandbox_of_commands_by_hand_is_that_of_the_services(units, app_json):
    app = shop(sandbox={"PrivateNetwork": True})
    lines = app_json(app)["sandbox"]
    assert "PrivateNetwork=yes" in lines
    for name in ("current", "next"):
        service = units(app)[name]["Service"]
        assert lines == [f"{key}={value}" for key in service for value in service[key] if f"{key}={value}" in lines]


# What a run costs


def step(name: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [task for task in tasks if task["name"] == name]
    return found


@pytest.fixture(scope="session")
def configure() -> list[dict[str, Any]]:
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/configure.yml").read_text())
    return [one for task in tasks for one in task.get("block", [task])]


@pytest.mark.parametrize("there", [True, False])
def test_a_user_and_uv_are_made_only_where_they_are_missing(evaluate, configure, there):
    survey = step("Look what the host has already", configure)
    assert (survey["djangofleet.stack.survey"]["users"], survey["register"]) == (
        ["{{ __django_user }}"],
        "__django_survey",
    )
    assert survey["djangofleet.stack.survey"]["paths"] == ["{{ __django_uv }}/bin/uv"]
    uv = evaluate("django", "__django_uv", django_app=SHOP) + "/bin/uv"
    answers = {"users": {"django-shop": there}, "paths": {uv: [uv] if there else []}}
    for name in ("Create the app's user", "Install uv"):
        condition = step(name, configure)["when"]
        assert evaluate("django", condition, django_app=SHOP, __django_survey=answers) is not there, name


def test_what_a_playbook_asks_before_answers_what_the_role_asks(evaluate, configure):
    """Otherwise each app costs an execution of the survey."""
    asked = evaluate("django", "__django_questions", django_app_users=["django-shop", "django-blog"])
    for name in ("shop", "blog"):
        assert evaluate("django", "__django_user", django_app=shop(name=name)) in asked["users"]
    assert evaluate("django", "__django_uv ~ '/bin/uv'", django_app=SHOP) in asked["paths"]


def test_what_a_playbook_installs_before_is_what_the_role_needs(evaluate):
    app = shop(system_packages=["libpq5"], build_packages=["gcc"])
    before = evaluate("django", "__django_packages", django_app_packages=["libpq5", "gcc", "file"])
    assert set(evaluate("django", "__django_packages", django_app=app, django_app_packages=["file"])) <= set(before)
    assert "bash-completion" in before


def test_one_step_writes_all_files(configure):
    assert len([task for task in configure if "djangofleet.stack.tree" in task]) == 1


@pytest.mark.parametrize(("timers", "asked"), [(None, False), ([], False), ([{"calendar": "daily"}], True)])
def test_only_an_app_with_timers_asks_systemd_about_calendars(evaluate, configure, timers, asked):
    condition = step("Ask systemd about the calendars of the timers", configure)["when"]
    app = SHOP if timers is None else shop(timers=timers)
    assert evaluate("django", condition, django_app=app) is asked


def test_the_password_of_an_index_is_on_no_command_line(evaluate, templar, render, configure, tmp_path):
    """-vvv and ps show what `environment` of a task passes."""
    url = 'https://me:p$w`"d@index.example.com/simple'
    task = step("Install uv", configure)
    assert "environment" not in task
    given = {"django_app": SHOP, "django_index_url": url}
    command = templar("django", **given).template(trust_as_template(task["ansible.builtin.shell"]["cmd"]))
    assert "index.example.com" not in command
    entry = {entry["path"]: entry for entry in evaluate("django", ENTRIES, **given)}["/etc/djangofleet/shop/pip.env"]
    assert (entry["mode"], entry["sensitive"]) == ("0600", True)
    file = tmp_path / "pip.env"
    file.write_text(render("django", "etc/djangofleet/app/env.j2", **entry["vars"]))
    head = command.partition("rm -rf")[0].replace(entry["path"], str(file))
    done = subprocess.run(["sh", "-c", f"{head} printenv PIP_INDEX_URL"], capture_output=True, text=True, check=False)
    assert done.stdout == f"{url}\n", done.stderr


# Check mode


def test_what_a_rehearsal_reads_is_what_a_run_would_write(evaluate, render):
    """The same files at another place; whoever they would belong to may not be there yet."""
    app = shop(environment={"KEY": "s3cret"}, files=[{"dest": "a/b.py", "content": "x"}])
    given = {"django_app": app, "__django_rollout": "2026-11-21T10:00:00.000001"}
    written = {entry["path"]: entry for entry in evaluate("django", ENTRIES, **given)}
    scratch = evaluate("django", "__django_scratch", **given)
    assert re.fullmatch(r"/run/djangofleet-check-\d+/shop", scratch)
    moved = evaluate(
        "django", f"{ENTRIES} | djangofleet.stack.django_scratch(__django_settings.config, __django_scratch)", **given
    )
    root, *entries = moved
    assert root == {"path": scratch.rpartition("/")[0], "directory": True}
    names = {path for path in written if path.startswith("/etc/djangofleet/shop")}
    assert {entry["path"].replace(scratch, "/etc/djangofleet/shop") for entry in entries} == names
    assert {f"/etc/djangofleet/shop/{name}" for name in ("app.json", "env", "build.env", "files/a/b.py")} <= names
    for entry in entries:
        original = written[entry["path"].replace(scratch, "/etc/djangofleet/shop")]
        assert not {"owner", "group"} & set(entry)
        assert {key: original.get(key) for key in ("template", "content", "vars", "sensitive")} == {
            key: entry.get(key) for key in ("template", "content", "vars", "sensitive")
        }
        if entry.get("sensitive"):
            assert entry["mode"] == "0600"


def test_what_check_mode_writes_it_removes():
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/build.yml").read_text())
    (block,) = [task for task in tasks if "block" in task]
    put, build = block["block"]
    (removal,) = block["always"]
    assert put["when"] == removal["when"] == "ansible_check_mode"
    assert put["diff"] is removal["diff"] is False
    assert "__django_scratch" in build["djangofleet.stack.release"]["config"]


@pytest.mark.parametrize(
    ("check", "activation", "changed"),
    [(True, {"changed": False}, True), (False, {"changed": False}, False), (False, {"changed": True}, True)],
)
def test_an_activation_that_is_pending_is_a_change_in_check_mode(evaluate, check, activation, changed):
    (task,) = yaml.safe_load((ROOT / "roles/django/tasks/activate.yml").read_text())
    condition = task["block"][0]["changed_when"]
    given = {"ansible_check_mode": check, "__django_activation": activation}
    assert evaluate("django", condition, django_app=SHOP, **given) is changed
