"""The module manage: a command line, no input, and what came of it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from loading import load

manage = load("plugins/modules/manage.py")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(script)`: djangoctl is that script. Returns where it notes its words, one a line."""

    def put(script: str) -> Path:
        path, calls = tmp_path / "djangoctl", tmp_path / "calls"
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {calls}\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(manage, "PROGRAM", str(path))
        return calls

    return put


def run(monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    given = {"app": "shop", "words": ["check"], **params}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        manage.main()
    return json.loads(printed.getvalue())


def test_words_arrive_as_they_are(monkeypatch, program):
    calls = program("echo out; echo err >&2")
    words = ["shell", "-c", "print('a b'); $(id) `id`"]
    found = run(monkeypatch, words=words)
    assert calls.read_text().splitlines() == ["shop", "manage", *words]
    assert (found["rc"], found["output"], found["changed"]) == (0, "out\nerr\n", True)
    assert found["command"] == ["djangoctl", "shop", "manage", *words]


def test_a_release_is_one_word_with_its_option(monkeypatch, program):
    calls = program("")
    run(monkeypatch, release="v1-a")
    assert calls.read_text().splitlines() == ["shop", "manage", "--release=v1-a", "check"]


def test_a_command_that_fails(monkeypatch, program):
    program("echo why; exit 3")
    found = run(monkeypatch)
    assert found["failed"]
    assert (found["rc"], found["output"], found["msg"]) == (3, "why\n", "djangoctl shop manage check ended with 3")


def test_there_is_no_input(monkeypatch, program):
    program("test ! -t 0; read -r answer || echo end of file")
    assert run(monkeypatch)["output"] == "end of file\n"


def test_check_mode_runs_nothing(monkeypatch, program):
    calls = program("")
    found = run(monkeypatch, _ansible_check_mode=True)
    assert not calls.exists()
    assert (found["rc"], found["output"], found["command"][-1]) == (None, "", "check")


@pytest.mark.parametrize("words", [[], ["--release=x", "check"]])
def test_an_option_of_djangoctl_is_no_command(monkeypatch, program, words):
    calls = program("")
    assert run(monkeypatch, words=words)["failed"]
    assert not calls.exists()


def test_a_host_without_djangoctl(monkeypatch, tmp_path):
    monkeypatch.setattr(manage, "PROGRAM", str(tmp_path / "none"))
    found = run(monkeypatch)
    assert found["failed"]
    assert "command" not in found
