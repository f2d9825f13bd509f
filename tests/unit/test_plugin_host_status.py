"""The module host_status: what a host says of itself, whatever of it is there."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from loading import load

status = load("plugins/modules/host_status.py")
PART = {"part": "files", "apps": ["shop"], "newest": 1, "faults": []}


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A host that has nothing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "sites").mkdir()
    (tmp_path / "booted").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    for name in ("DJANGOCTL", "BACKUP", "ACME", "BACKUP_CONFIG", "ACME_CONFIG"):
        monkeypatch.setattr(status, name, str(tmp_path / "bin" / name.lower()))
    monkeypatch.setattr(status, "NGINX", str(tmp_path))
    monkeypatch.setattr(status, "BOOTED", str(tmp_path / "booted"))
    monkeypatch.setattr(status, "REBOOT", str(tmp_path / "reboot-required"))
    return tmp_path


@pytest.fixture
def program(host):
    """`program(name, script)` is a shell script; returns where it notes its calls."""

    def put(name: str, script: str) -> Path:
        calls = host / f"{name}.calls"
        (host / "bin" / name).write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
        (host / "bin" / name).chmod(0o755)
        return calls

    return put


def printing(value: Any, code: int = 0) -> str:
    return f"cat <<'END'\n{json.dumps(value)}\nEND\nexit {code}"


def test_a_host_that_has_nothing(program):
    program("systemctl", "")
    assert status.status(5) == {
        "apps": [], "backups": None, "acme": [], "failed_units": [], "sites": [], "reboot": False,
        "reboot_packages": [], "problems": [],
    }  # fmt: skip


def test_each_program_is_asked_once_and_its_exit_code_is_an_answer(host, program):
    fault = {"name": "shop", "problem": "the authority is away"}
    calls = [
        program("djangoctl", printing({"apps": [{"app": "shop", "serves": False}]}, 6)),
        program("backup", printing({"parts": [PART]}, 1)),
        program("acme", printing({"certificates": [], "problems": [fault]}, 1)),
        program("systemctl", "echo 'nginx.service loaded failed failed A high performance web server'"),
    ]
    for name in ("backup_config", "acme_config"):
        (host / "bin" / name).write_text("{}")
    found = status.status(5)
    assert found["apps"] == [{"app": "shop", "serves": False}]
    assert (found["backups"], found["acme"], found["failed_units"]) == ([PART], [fault], ["nginx.service"])
    assert found["problems"] == []
    assert [path.read_text() for path in calls[:3]] == ["list --json\n", "status --json\n", "status --json\n"]
    assert "--state=failed" in calls[3].read_text()


def test_programs_without_a_configuration_are_not_asked(program):
    program("systemctl", "")
    calls = [program(name, "exit 1") for name in ("backup", "acme")]
    found = status.status(5)
    assert (found["backups"], found["problems"]) == (None, [])
    assert not any(path.exists() for path in calls)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'no such thing' >&2; exit 1", "ended with 1: no such thing"),
        ("exit 1", "ended with 1: it says nothing"),
        ("echo soon", "prints no JSON"),
        ("echo '[]'", "prints no JSON"),
        (printing({"failed": True, "message": "run djangoctl as root"}, 2), "run djangoctl as root"),
        (printing({}), "says nothing of apps"),
        ("exec sleep 9", "no answer within 1 s"),
    ],
)
def test_what_one_program_does_not_tell_the_others_do(host, program, script, problem):
    program("systemctl", "echo 'a.service loaded failed failed A'")
    program("djangoctl", script)
    found = status.status(1)
    assert (found["apps"], found["failed_units"]) == (None, ["a.service"])
    assert found["problems"] == [f"{host}/bin/djangoctl: {problem}".replace(": ended", " ended")]


def test_sites_and_when_their_certificates_end(host, program):
    program("systemctl", "")
    calls = program("openssl", 'case "$*" in *gone*) exit 1;; esac\necho "notAfter=Nov 21 12:00:00 2026 GMT"')
    tls = 'server {\n    server_name %s;\n    ssl_certificate "%s";\n    ssl_certificate_key "/key";\n}\n'
    (host / "sites/shop.conf").write_text(
        "server {\n    server_name shop.test www.shop.test;\n}\n" + tls % ("shop.test", "/etc/a b/full.pem")
    )
    (host / "sites/blog.conf").write_text(tls % ("blog.test", "/etc/a b/full.pem"))
    (host / "sites/wiki.conf").write_text(tls.replace('"%s"', "%s") % ("wiki.test", "gone.pem"))
    (host / "sites/plain.conf").write_text("server {\n    server_name plain.test;\n}\n")
    (host / "sites/other.txt").write_text(tls % ("x", "/x"))
    assert status.status(5)["sites"] == [
        {"name": "blog", "domains": ["blog.test"], "certificate": "/etc/a b/full.pem", "end": 1795262400},
        {"name": "shop", "domains": ["shop.test", "www.shop.test"], "certificate": "/etc/a b/full.pem",
         "end": 1795262400},
        {"name": "wiki", "domains": ["wiki.test"], "certificate": f"{host}/gone.pem", "end": None},
    ]  # fmt: skip
    assert len(calls.read_text().splitlines()) == 2, "one certificate of two sites is read once"


def test_what_the_role_writes_is_understood(host, program, render, evaluate):
    program("systemctl", "")
    program("openssl", 'echo "notAfter=Nov 21 12:00:00 2026 GMT"')
    certificate = "/etc/djangofleet/certificates/shop"
    pair = {"fullchain": f"{certificate}/fullchain.pem", "key": f"{certificate}/privkey.pem"}
    given = {"nginx_sites": [{"name": "shop", "domains": ["shop.test", "www.shop.test"], "certificate": pair}]}
    config = evaluate("nginx", "__nginx_config", **given)
    text = render("nginx", "etc/nginx/sites/site.conf.j2", **given, site=config["sites"][0], nginx=config)
    (host / "sites/shop.conf").write_text(text)
    (found,) = status.status(5)["sites"]
    assert (found["domains"], found["certificate"]) == (["shop.test", "www.shop.test"], pair["fullchain"])


def test_a_reboot_that_is_due(host, program):
    program("systemctl", "")
    (host / "reboot-required").write_text("*** System restart required ***\n")
    (host / "reboot-required.pkgs").write_text("linux-image-amd64\nlibc6\nlinux-image-amd64\n")
    found = status.status(5)
    assert (found["reboot"], found["reboot_packages"]) == (True, ["libc6", "linux-image-amd64"])


def test_a_host_without_systemd_has_no_failed_units(host, program):
    (host / "booted").rmdir()
    calls = program("systemctl", "exit 1")
    assert status.status(5)["failed_units"] == []
    assert not calls.exists()


def test_check_mode_gives_the_same_answer(monkeypatch, program):
    program("systemctl", "echo 'a.service loaded failed failed A'")
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_check_mode": True}}).encode()
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", given)
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        status.main()
    found = json.loads(printed.getvalue())
    assert (found["changed"], found["status"]["failed_units"]) == (False, ["a.service"])
