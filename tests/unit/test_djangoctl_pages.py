"""Pages that a build makes of the project's templates, the page of a closed site, and the release that answers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from djangoctl import named, pages, render

SETTINGS = """
SECRET_KEY = "x"
STATIC_URL = "/static/"
INSTALLED_APPS = ["django.contrib.staticfiles"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}]
"""


@pytest.fixture
def rendered(tmp_path):
    """`rendered(templates, *pages)`: what render.py does in a project with these templates."""

    def run(templates: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "templates").mkdir()
        (tmp_path / "shop_settings.py").write_text(SETTINGS)
        # A module of the project that is called as one of ours.
        (tmp_path / "render.py").write_text("raise ImportError")
        for name, text in templates.items():
            (tmp_path / "templates" / name).write_text(text)
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings"}
        command = [sys.executable, render.__file__, str(tmp_path / "static/.errors"), *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_templates_become_pages(rendered, tmp_path):
    text = '{% load static %}{{ status }} {{ request_id }} {{ message }} {% static "a.css" %} {{ request.user }} é'
    done = rendered({"404.html": text, "busy.html": "{{ status }}"}, "404=404.html", "502=busy.html", "503=busy.html")
    assert done.returncode == 0, done.stderr
    room = tmp_path / "static/.errors"
    assert (room / "404.html").read_text() == f"404 {render.REQUEST_ID} {render.MESSAGE} /static/a.css  é"
    assert (room / "502.html").read_text() == "502"
    assert sorted(os.listdir(room)) == ["404.html", "502.html", "503.html"]


def test_a_template_that_is_not_there(rendered):
    done = rendered({}, "404=none.html")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == "django.template.exceptions.TemplateDoesNotExist: none.html"


def app(tmp_path: Path, **pages: str) -> Any:
    return SimpleNamespace(static=tmp_path, build={"error_pages": pages} if pages else {})


def test_the_page_of_a_closed_site(tmp_path):
    page = pages.maintenance_page(app(tmp_path), "Back at <9>")
    assert '<p class="lead">Back at &lt;9&gt;</p>' in page
    assert f"<code>{render.REQUEST_ID}</code>" in page
    assert pages.STYLE in page
    assert render.MESSAGE not in page


def test_the_project_has_one_of_its_own(tmp_path):
    own = tmp_path / pages.ROOM / "maintenance.html"
    own.parent.mkdir()
    own.write_text(f"<b>{render.MESSAGE}</b> {render.REQUEST_ID} {{braces}}")
    shop = app(tmp_path, maintenance="closed.html")
    assert pages.maintenance_page(shop, "a & b") == f"<b>a &amp; b</b> {render.REQUEST_ID} {{braces}}"
    # What earlier releases published stays while they are kept.
    assert pages.maintenance_page(app(tmp_path), "a") == pages.PAGE.replace(render.MESSAGE, "a")
    own.write_bytes(b"\xff\xfe")
    assert "Maintenance" in pages.maintenance_page(shop, "a"), "no text: the page is ours"


# The release in each answer -------------------------------------------------------------------------------------------


def test_a_wsgi_worker_names_its_release():
    told = []

    def application(environ, start_response):
        start_response("200 OK", [("A", "b")])
        start_response("500 Oh", [], ("error",))
        start_response("500 Oh", [], exc_info=())  # Gunicorn's takes the name too
        return [b"x"]

    worker = SimpleNamespace(wsgi=application)
    named.name_release(worker, "v1")
    assert worker.wsgi({}, lambda *words, **more: told.append((*words, *more.items()))) == [b"x"]
    assert told[0] == ("200 OK", [("A", "b"), ("X-Release", "v1")])
    assert told[1:] == [("500 Oh", [("X-Release", "v1")], last) for last in (("error",), ("exc_info", ()))]


def test_an_asgi_worker_names_its_release():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"x"})

    def answers(kind: str) -> list[dict]:
        sent = []

        async def send(message):
            sent.append(message)

        worker = SimpleNamespace(asgi=application)
        named.name_release(worker, "v1")
        asyncio.run(worker.asgi({"type": kind}, None, send))
        return sent

    start, body = answers("http")
    assert start["headers"] == [(b"a", b"b"), (b"x-release", b"v1")]
    assert body == {"type": "http.response.body", "body": b"x"}
    assert answers("websocket")[0]["headers"] == [(b"a", b"b")]


def test_a_worker_without_a_release_or_an_application_is_left_alone():
    worker = SimpleNamespace(wsgi=len)
    named.name_release(worker, "")
    assert worker.wsgi is len
    named.name_release(SimpleNamespace(), "v1")
