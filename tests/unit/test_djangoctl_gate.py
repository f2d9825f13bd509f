"""The gate, run as its own program, as a release runs it, on small applications."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from djangoctl import launch
from djangoctl.gate import pooler_reason, unhealthy_reason

WSGI = """
import json, os, sys, time
def application(environ, start_response):
    status, body = "200 OK", b"fine"
    {body}
    start_response(status, [("Content-Type", "text/plain")])
    return [body]
"""
ASGI = """
import asyncio, json, os, time
async def application(scope, receive, send):
    status, body = 200, b"fine"
    {body}
    await receive()
    await send({{"type": "http.response.start", "status": status, "headers": []}})
    await send({{"type": "http.response.body", "body": body[:2], "more_body": True}})
    await send({{"type": "http.response.body", "body": body[2:]}})
"""
PROJECTS = {"wsgi": WSGI, "asgi": ASGI}
SEEN = {
    "wsgi": """open("seen", "w").write(json.dumps({"host": environ["HTTP_HOST"], "scheme": environ["wsgi.url_scheme"],
        "proto": environ["HTTP_X_FORWARDED_PROTO"], "path": environ["PATH_INFO"], "query": environ["QUERY_STRING"],
        "method": environ["REQUEST_METHOD"], "port": environ["SERVER_PORT"]}))""",
    "asgi": """headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    open("seen", "w").write(json.dumps({"host": headers["host"], "scheme": scope["scheme"],
        "proto": headers["x-forwarded-proto"], "path": scope["path"], "query": scope["query_string"].decode(),
        "method": scope["method"], "port": str(scope["server"][1])}))""",
}
COUNT = "open('tries', 'a').write('x'); tries = os.path.getsize('tries')"


# Each run is a process of its own, and costs as much: both kinds of applications only where they differ.
both = pytest.mark.parametrize("interface", ["wsgi", "asgi"])


@pytest.fixture
def interface():
    return "wsgi"


@pytest.fixture
def gate(tmp_path, app_settings, interface):
    """`gate(body, health={}, **settings)`: the gate's exit code and what it said, with that in the view."""

    def run(body="pass", health=None, text=None, application="site_:application", **settings):
        (tmp_path / "site_.py").write_text(text or PROJECTS[interface].format(body=body))
        content = app_settings | {"health": app_settings["health"] | {"timeout": 5, "delay": 0} | (health or {})}
        content |= {"build": app_settings["build"] | {"interface": interface}, **settings}
        (tmp_path / "app.json").write_text(json.dumps(content))
        words = [sys.executable, str(launch.GATE), str(tmp_path / "app.json"), application]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
        assert result.stdout == ""
        return result.returncode, result.stderr

    return run


@both
def test_the_app_sees_a_visitor_over_https(gate, tmp_path, interface):
    body = SEEN[interface]
    assert gate(body, {"path": "/healthz?full=1"}, domains=["www.example.com", "example.com"]) == (0, "")
    assert json.loads((tmp_path / "seen").read_text()) == {
        "host": "www.example.com",
        "scheme": "https",
        "proto": "https",
        "path": "/healthz",
        "query": "full=1",
        "method": "GET",
        "port": "443",
    }


def test_a_wildcard_domain_is_asked_as_a_real_host(gate, tmp_path, interface):
    assert gate(SEEN[interface], domains=["*.example.com"]) == (0, "")
    assert json.loads((tmp_path / "seen").read_text())["host"] == "www.example.com"


@pytest.mark.parametrize(
    ("status", "health", "passes"),
    [
        (500, {}, False),
        (404, {}, True),
        (404, {"status_max": 399}, False),
        (302, {"status_max": 299}, False),
        (200, {"status_min": 201}, False),
        (503, {"status_max": 503}, True),
    ],
)
def test_the_status_decides(app_settings, status, health, passes):
    health = app_settings["health"] | health
    expected = f"answered {status}, expected {health['status_min']} to {health['status_max']}"
    assert unhealthy_reason(health, status, b"") == ("" if passes else expected)


@pytest.mark.parametrize(("health", "passes"), [({}, False), ({"status_max": 400}, True), ({"status_min": 400}, True)])
def test_a_refused_host_is_not_healthy_by_accident(app_settings, health, passes):
    reason = unhealthy_reason(app_settings["health"] | health, 400, b"")
    assert (reason == "") is passes
    assert passes or "ALLOWED_HOSTS" in reason


@pytest.mark.parametrize(
    ("contains", "passes"), [("ünï ☃", True), ("nothing like it", False), ("", True), ("[a-z]", False)]
)
def test_the_content_decides(app_settings, contains, passes):
    health = app_settings["health"] | {"contains": contains}
    expected = f"answered 200 without the text {contains!r}"
    assert unhealthy_reason(health, 200, "so ünï ☃ it is".encode()) == ("" if passes else expected)


@both
def test_a_failing_answer_fails(gate, interface):
    code, said = gate("status = 500" if interface == "asgi" else "status = '500 X'")
    assert (code, said) == (1, "gate: GET / as shop.example.com: answered 500, expected 200 to 499\n")


@both
def test_the_whole_body_is_read(gate):
    assert gate(health={"contains": "fine"}) == (0, "")


@both
def test_no_answer_in_time(gate, interface):
    code, said = gate("await asyncio.sleep(60)" if interface == "asgi" else "time.sleep(60)", {"timeout": 1})
    assert code == 1
    assert said == "gate: GET / as shop.example.com: no answer within 1 s\n"


def test_an_app_that_catches_every_exception_times_out_too(gate):
    body = """
    try:
        time.sleep(60)
    except Exception:
        pass
"""
    code, said = gate(body, {"timeout": 1})
    assert (code, "no answer within 1 s" in said) == (1, True)


@both
def test_a_view_that_fails(gate):
    code, said = gate("raise RuntimeError('no table here')")
    assert (code, said) == (1, "gate: GET / as shop.example.com: RuntimeError: no table here\n")


@pytest.mark.parametrize(
    ("text", "application", "error"),
    [
        ("import no_such_module_", "site_:application", "ModuleNotFoundError: No module named 'no_such_module_'"),
        ("raise ValueError('SECRET_KEY must not be empty')", "site_", "ValueError: SECRET_KEY must not be empty"),
        ("x = 1", "site_:application", "AttributeError: module 'site_' has no attribute 'application'"),
        ("x = (", "site_", "SyntaxError"),
        ("import time; time.sleep(60)", "site_", "no answer within 1 s"),
    ],
)
def test_an_app_that_cannot_be_loaded(gate, text, application, error):
    code, said = gate(text=text, application=application, health={"timeout": 1, "retries": 3})
    assert code != 0
    assert said.count("Traceback") == 1, "a second import of a half-imported module misleads"
    assert error in said


def test_a_name_below_the_module(gate):
    text = WSGI.format(body="pass") + "class Site: app = staticmethod(application)\n"
    assert gate(text=text, application="site_:Site.app") == (0, "")


def test_a_failed_request_is_retried(gate, tmp_path):
    code, said = gate(f"{COUNT}\n    if tries < 3: status = '503 X'", {"retries": 2})
    assert (code, said.count("answered 503"), (tmp_path / "tries").read_text()) == (0, 2, "xxx")


def test_retries_are_limited(gate, tmp_path):
    code, said = gate(f"{COUNT}; status = '503 X'", {"retries": 1})
    assert (code, said.count("answered 503"), (tmp_path / "tries").read_text()) == (1, 2, "xx")


POOLED = {"HOST": "", "OPTIONS": {"host": "/run/pgbouncer", "port": 6432}}


@pytest.mark.parametrize(
    ("pooler", "database", "is_refused"),
    [
        ("pgbouncer", POOLED, True),
        ("pgbouncer", {"HOST": "/run/pgbouncer"}, True),
        ("pgbouncer", {**POOLED, "DISABLE_SERVER_SIDE_CURSORS": True}, False),
        ("pgbouncer", {"HOST": "10.0.0.7"}, False),
        ("", POOLED, False),
    ],
)
def test_a_pooler_takes_no_cursors_of_the_server(monkeypatch, pooler, database, is_refused):
    monkeypatch.setenv("DATABASE_POOLER", pooler)
    monkeypatch.setenv("DATABASE_HOST", "/run/pgbouncer")
    reason = pooler_reason({"default": {"HOST": "db.example.com"}, "reports": database})
    assert ("DATABASES['reports'] goes through pgbouncer without DISABLE_SERVER_SIDE_CURSORS" in reason) is is_refused
    assert bool(reason) is is_refused


def test_a_project_that_would_use_them_does_not_pass(gate, monkeypatch):
    monkeypatch.setenv("DATABASE_POOLER", "pgbouncer")
    monkeypatch.setenv("DATABASE_HOST", "/run/pgbouncer")
    project = """
from django.conf import settings
engine = "django.db.backends.postgresql"
settings.configure(DATABASES={"default": {"ENGINE": engine, "OPTIONS": {"host": "/run/pgbouncer"}}})
import django.db
django.db.connections.settings
def application(environ, start_response):
    raise SystemExit("asked")
"""
    code, said = gate(text=project)
    assert code == 1
    assert "without DISABLE_SERVER_SIDE_CURSORS" in said
    assert "asked" not in said


def test_a_disabled_gate_makes_no_request(gate):
    assert gate(text="raise SystemExit(9)", health={"enabled": False}) == (0, "")


def test_the_response_is_closed(gate, tmp_path):
    text = """
class Body:
    def __iter__(self): yield b"fi"; yield b"ne"
    def close(self): open("closed", "w").close()
def application(environ, start_response):
    start_response("500 early", [])
    start_response("200 OK", [], None)
    return Body()
"""
    assert gate(text=text, health={"contains": "fine"}) == (0, "")
    assert (tmp_path / "closed").exists()


def test_a_module_of_the_project_may_have_the_name_of_one_of_ours(gate, tmp_path, monkeypatch):
    """djangoctl has a `release` module beside gate.py. The project's own comes last on the import path."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/release.py").write_text("OF_THE_PROJECT = b'the project has it'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    body = "from release import OF_THE_PROJECT as body"
    assert gate(body, {"contains": "the project has it"}) == (0, "")
