"""What the role django writes and refuses, read back by systemd's rules and against what djangoctl reads."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from djangoctl import launch

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "roles/django/files/djangofleet"
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
    def run(**more: Any) -> dict[str, str]:
        return evaluate("django", "__django_environment", django_app=shop(**more))

    return run


def test_contract_has_a_value_for_each_name(environment):
    found = environment(secret_key="s3cret", cache={"url": "redis://cache1.example.com:6379/0"})
    later = {"DJANGO_SETTINGS_MODULE", "STATIC_ROOT", "RELEASE_ID"}  # known when the release is
    assert set(launch.CONTRACT) - later <= set(found)
    assert found["REDIS_URL"] == found["CACHE_URL"] == "redis://cache1.example.com:6379/0"


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
        entries = evaluate("django", "__django_entries", django_app=app or SHOP, **variables)
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
    entries = evaluate("django", "__django_entries", django_app=shop(files=[{"dest": "a", "content": "b"}]))
    secret = {entry["path"]: entry for entry in entries if entry.get("template", "").startswith("etc/djangofleet")}
    assert len(secret) == 3
    assert all((entry["mode"], entry["sensitive"]) == ("0600", True) for entry in secret.values())


def test_writable_places_belong_to_the_app_and_no_other(evaluate):
    entries = evaluate("django", "__django_entries", django_app=SHOP)
    directories = {entry["path"]: entry for entry in entries if entry.get("directory")}
    (line,) = [line for line in evaluate("django", "__django_sandbox", django_app=SHOP) if "ReadWritePaths" in line]
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
def units(render):
    @remembered
    def run(app: dict[str, Any] | None = None, **variables: Any) -> dict[str, dict[str, dict[str, list[str]]]]:
        def one(template: str, stand_in: bool) -> dict[str, dict[str, list[str]]]:
            path = f"etc/systemd/system/{template}.j2"
            return unit(render("django", path, django_app=app or SHOP, stand_in=stand_in, **variables))

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
    assert found["next"]["Service"]["ExecStartPre"] == ["/usr/local/bin/djangoctl shop exec next gate"]
    assert found["next"]["Service"]["ExecStart"] == ["/usr/local/bin/djangoctl shop exec next serve"]
    assert "ExecStartPre" not in found["current"]["Service"]
    assert found["current"]["Service"]["ExecStart"] == ["/usr/local/bin/djangoctl shop exec current serve"]


def test_the_gate_has_time_for_all_of_its_tries(units):
    found = units(shop(health={"timeout": 60, "retries": 4, "delay": 10}))
    assert int(found["next"]["Service"]["TimeoutStartSec"][0]) > 5 * 60 + 4 * 10


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


def test_no_secret_in_any_unit(render):
    secret = "Tr0ub4dor"
    app = shop(
        secret_key=secret,
        environment={"STRIPE_KEY": secret},
        database={"url": f"postgres://{secret}@db/x"},
        cache={"url": f"redis://:{secret}@c/0"},
        files=[{"dest": "local.py", "content": secret}],
    )
    for template in ("app.socket", "app.service"):
        for stand_in in (True, False):
            path = f"etc/systemd/system/{template}.j2"
            text = render("django", path, django_app=app, stand_in=stand_in, django_index_url=f"https://{secret}@x/")
            assert secret not in text
            if template == "app.service":
                assert "Environment" not in unit(text)["Service"]


@pytest.mark.parametrize(("stand_in", "env"), [("current", "live/env"), ("next", "env")])
def test_only_the_stand_in_starts_with_what_is_to_come(units, stand_in, env):
    """The service may start again at any time, before what was written for the next release has passed its gate."""
    service = units()[stand_in]["Service"]
    assert service["EnvironmentFile"] == ["-/etc/djangofleet/shop/secret", f"/etc/djangofleet/shop/{env}"]


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
    lines = evaluate("django", "__django_sandbox", django_app=shop(sandbox=sandbox))
    assert [line for line in lines if line.startswith(f"{key}=")] == [f"{key}={value}" for value in values]
    assert "NoNewPrivileges=yes" in lines


def test_sandbox_of_commands_by_hand_is_that_of_the_services(units, app_json):
    app = shop(sandbox={"PrivateNetwork": True})
    lines = app_json(app)["sandbox"]
    assert "PrivateNetwork=yes" in lines
    for name in ("current", "next"):
        service = units(app)[name]["Service"]
        assert lines == [f"{key}={value}" for key in service for value in service[key] if f"{key}={value}" in lines]


# What is refused


def bad() -> Iterator[tuple[str, Any, str]]:
    """Dotted path below the app, a value that cannot work, and the words that the message has to have."""
    for name in ("Shop", "shop\n", "", "-shop", "shop-next", "sh_op", "a" * 25, "../etc", "shöp", "sh op", "a.b", "9"):
        yield "name", name, "lower-case letters"
    for name in ("authority", "certificates"):
        yield "name", name, "/etc/djangofleet"
    for domain in ("Shop.example.com", "a.b\n", "", "*", "a..b", "bücher.example.com", "x.com; return 200", "-a.com",
                   "https://a.com", "a.com:443", "a.com/", "*.*.com", "a" * 64 + ".com", "${SECRET_KEY}"):  # fmt: skip
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
    for workers in (0, -1, "Auto", "two", "", "3\n", 1.5):
        yield "gunicorn.workers", workers, "auto"
    for path in ("healthz", "", "/a b", "/a\n", "https://x/", "/a#b"):
        yield "health.path", path, "slash"
    for command in ("", " ", "\n"):
        for point in ("build", "before_migrate", "after_migrate", "before_activate", "after_activate"):
            yield f"hooks.{point}[]", command, "a command"
    for name in ("Mail", "mail\n", "", "-mail", "9", "a" * 25, "m_ail", "m ail", "mäil", "mail.service", "mail@", "%i",
                 "../mail", "next", "mail-replace"):  # fmt: skip
        yield "processes[].name", name, "neither next nor ending in -replace"
        yield "timers[].name", name, "neither next nor ending in -replace"
    for command in ("", " ", "\n", "celery\nRestart=no", "celery\n", "celery\r"):
        yield "processes[].command", command, "a command in one line"
        yield "timers[].command", command, "a command in one line"
    for signal in ("TERM", "sigterm", "15", "", "SIGTERM\n", "SIG TERM", "SIG"):
        yield "processes[].stop_signal", signal, "such as SIGTERM"
    for calendar in ("", " ", "\n", "daily\nOnBootSec=1", "daily\n"):
        yield "timers[].calendar", calendar, "such as daily"
    for variable in ("", "1A", "A-B", "A B", "A\n", "A=B", "Ä", "A;B"):
        yield "environment[]", variable, "letters, digits and underscores"
    yield "source", {}, "git, path and package"
    yield "source", {"git": "https://git.example.com/x", "path": "/x"}, "git, path and package"
    yield "source", {"version": "1"}, "git, path and package"
    yield "domains", [], "at least one"


def top(path: str) -> str:
    return path.partition(".")[0].removesuffix("[]")


# What an item of a list has beside the value in question
ITEMS = {
    "files": {"content": "x"},
    "processes": {"name": "mail", "command": "x"},
    "timers": {"name": "tidy", "command": "x", "calendar": "daily"},
}


def place(path: str) -> str:
    """Where a message says that a value stands."""
    return "hooks" if top(path) == "hooks" else path.removesuffix("[]")


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


def rounds() -> Iterator[list[tuple[str, Any, str]]]:
    """All bad values, as many in one app as do not get in each other's way: each evaluation takes its time."""
    waiting = list(bad())
    together = {"asgi": "wsgi", "timers": "processes"}  # names that are bad alike would clash too
    while waiting:
        chosen: dict[str, tuple[str, Any, str]] = {}
        for case in waiting:
            chosen.setdefault(together.get(top(case[0]), top(case[0])), case)
        waiting = [case for case in waiting if case not in chosen.values()]
        yield list(chosen.values())


@pytest.fixture(scope="session")
def problems(evaluate):
    def run(app: dict[str, Any], **variables: Any) -> list[str]:
        found = evaluate("django", "__django_problems", django_app=app, **variables)
        assert isinstance(found, list)
        return found

    return run


@pytest.mark.parametrize("cases", list(rounds()))
def test_a_bad_value_is_named_once_with_its_place_and_advice(problems, cases):
    app = shop()
    for path, value, _advice in cases:
        app |= with_value(path, value)
    found = problems(app)
    for path, value, advice in cases:
        start = f"django_app.{place(path)} of app '{app['name']}': found '"
        about = [line.removeprefix(start) for line in found if line.startswith(start)]
        assert len(about) == 1, f"{path}: {value!r} gave {about}"
        value_seen, _, advice_seen = about[0].rpartition("'; give ")
        assert advice in advice_seen
        assert value_seen == (str(value) if path not in ("source", "domains") else str(len(set(value) - {"version"})))
    assert len(found) == len(cases)


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
@pytest.mark.parametrize("primary", [True, False])
def test_two_that_would_share_a_unit_are_told_apart(problems, app, primary):
    (found,) = problems(shop(**app), django_primary=primary)
    assert found.startswith("django_app.processes[].name and .timers[].name of app 'shop': ")
    assert found.endswith("; give each a name of its own")


def test_a_bad_hook_is_found_among_good_ones(problems):
    (found,) = problems(shop(hooks={"build": ["x", "y"], "after_activate": ["z", "\t"]}))
    assert found == "django_app.hooks of app 'shop': found '\t'; give a command"


def test_wsgi_and_asgi_exclude_each_other(problems):
    (found,) = problems(shop(wsgi="shop.wsgi:application", asgi="shop.asgi:application"))
    assert found.startswith("django_app.wsgi of app 'shop': ")
    assert "either wsgi or asgi" in found


@pytest.mark.parametrize("name", ["sh op", "shop\n", "%h"])
def test_what_follows_from_a_bad_name_is_not_blamed_too(problems, name):
    (found,) = problems(shop(name=name))
    assert found.startswith("django_app.name of app ")


def test_all_that_is_wrong_is_said_at_once(problems):
    found = problems(shop(name="Shop", domains=["a b", "c.com", "D.com"], static_root="/x"))
    assert [line.split(" ")[0] for line in found] == [
        "django_app.name",
        "django_app.static_root",
        "django_app.domains",
        "django_app.domains",
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
def test_good_values_pass(problems, app):
    assert problems(shop(**app)) == []


def test_the_example_of_the_readme_is_good_input(problems, role_specs):
    text = (ROOT / "roles/django/README.md").read_text()
    (play,) = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    (task,) = play["tasks"]
    spec = role_specs["django"]["main"]["options"]
    result = ArgumentSpecValidator(spec).validate(task["vars"])
    assert result.error_messages == []
    assert problems(task["vars"]["django_app"]) == []
