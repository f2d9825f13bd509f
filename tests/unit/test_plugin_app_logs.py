"""The module app_logs: which lines of a host's logs are about an app, or about a request."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from loading import ROOT, load

logs = load("plugins/modules/app_logs.py")
LOGS = logs.NGINX
NOON = int(datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp())
ID, OTHER = "1881efc6307ca36b6be5683f25f71d3e", "00000000000000000000000000000000"
REQUIRED = {"request": "", "domains": ["shop.test", "*.shop.test"], "begin": "", "end": "", "lines": 200}


def asked(**params: Any) -> Any:
    return logs.Asked({**REQUIRED, **params})


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A host whose zone is not UTC, with empty directories."""
    for name in ("UNITS", "NGINX", "POSTGRESQL"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(logs, name, str(tmp_path / name))
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


def write(path: Path, lines: list[str | bytes], age: float = 0) -> None:
    """A log that was written to so many seconds before noon."""
    content = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    os.utime(path, (NOON - age, NOON - age))


def access(second: int, host: str = "shop.test", identity: str = OTHER, uri: str = "/") -> str:
    stamp = datetime.fromtimestamp(NOON + second, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    return json.dumps(
        {"time": stamp, "request_id": identity, "host": host, "uri": uri, "status": 200}, separators=(",", ":")
    )


def texts(found: dict[str, Any], source: str = "") -> list[str]:
    return [each["text"] for each in found["entries"] if not source or each["source"] == source]


def uris(found: dict[str, Any]) -> list[str]:
    return [json.loads(text)["uri"] for text in texts(found, "nginx-access")]


# Nginx


def test_requests_of_the_app_s_domains(host):
    names = ["shop.test", "a.shop.test", "b.test", "xshop.test", "SHOP.test", "shop.test.evil.test"]
    write(host / "NGINX/access.log", [access(number, name, uri=name) for number, name in enumerate(names)])
    found = logs.read("shop", asked())
    assert uris(found) == ["shop.test", "a.shop.test", "SHOP.test"]
    assert [each["time"] for each in found["entries"]] == [NOON, NOON + 1, NOON + 4]
    assert (found["cut"], found["problems"]) == (False, [])


def test_a_request_is_found_by_its_id_whatever_its_host_and_its_file(host):
    near = access(1, identity=OTHER, uri=f"/?{ID}")  # somebody has written the id into an address
    write(host / "NGINX/access.log", [access(0), near])
    write(host / "NGINX/access.log.1", [access(-9, "balancer.test", ID, "/one")], age=9)
    write(host / "NGINX/access.log.2.gz", [access(-99, identity=ID, uri="/packed"), access(-98)], age=98)
    assert uris(logs.read("shop", asked(request=ID))) == ["/packed", "/one"]


def test_only_files_and_lines_of_the_time_are_read(host, monkeypatch):
    write(host / "NGINX/access.log", [access(0, uri="/0"), access(1, uri="/1")])
    write(host / "NGINX/access.log.1", [access(-7200, uri="/early"), access(-1800, uri="/mid")], age=1800)
    (host / "NGINX/access.log.2.gz").write_bytes(b"nobody unpacks it")
    os.utime(host / "NGINX/access.log.2.gz", (NOON - 9000, NOON - 9000))
    found = logs.read("shop", asked(begin=str(NOON - 3600), end=f"{NOON}.000000"))
    assert (uris(found), found["problems"]) == (["/mid", "/0"], [])


def test_without_a_time_the_newest_two_files_are_read(host):
    for number in range(4):
        write(host / f"NGINX/access.log.{number}", [access(-number, uri=f"/{number}")], age=number * 100)
    assert uris(logs.read("shop", asked())) == ["/1", "/0"]
    assert len(uris(logs.read("shop", asked(begin="0")))) == 4


@pytest.mark.parametrize("name", ["access.log", "access.log.1.gz"])
def test_the_newest_lines_are_taken(host, name):
    write(host / "NGINX" / name, [access(number, uri=f"/{number}") for number in range(10)])
    found = logs.read("shop", asked(lines=3))
    assert (uris(found), found["cut"]) == (["/7", "/8", "/9"], True)
    found = logs.read("shop", asked(lines=10))
    assert (len(uris(found)), found["cut"]) == (10, False)


def test_a_large_file_is_read_from_its_end(host, monkeypatch):
    """Blocks end where they like."""
    monkeypatch.setattr(logs, "BLOCK", 100)
    lines = [access(number, uri="/" + "x" * number) for number in range(60)]
    write(host / "NGINX/access.log", lines)
    assert texts(logs.read("shop", asked())) == lines
    (host / "NGINX/access.log").write_text("\n".join(lines))  # its last line is being written
    assert texts(logs.read("shop", asked())) == lines


def test_lines_of_another_kind_are_left_out(host):
    broken = [b"", b"not json", b"5", b'{"time":"soon","host":"shop.test"}', b'{"host":"shop.test"}',
              b'{"time":"2026-11-21T12:00:00+00:00","host":5,"request_id":5}', b"\xff\xfe"]  # fmt: skip
    odd = access(1, uri="ODD").encode().replace(b"ODD", b"\xff\xfe")
    write(host / "NGINX/access.log", [*broken, odd, access(2)])
    for begin in ("", "1"):
        assert len(texts(logs.read("shop", asked(begin=begin)))) == 2


def test_a_file_that_ends_early_keeps_nobody_from_the_others(host):
    write(host / "NGINX/access.log", [access(0)])
    packed = gzip.compress(access(1).encode() * 999)
    (host / "NGINX/access.log.1.gz").write_bytes(packed[: len(packed) // 2])
    found = logs.read("shop", asked())
    assert len(uris(found)) == 1
    (problem,) = found["problems"]
    assert "access.log.1.gz: " in problem


def test_errors_of_nginx_name_a_host_and_show_no_query(host):
    """Their times are those of the host's zone."""
    head = "2026/11/21 13:00:0%d [error] 7#7: *1 connect() failed, client: 1.2.3.4, server: %s, request: "
    tail = '"GET /a?token=s3cret HTTP/2.0", upstream: "http://unix:/s:/a?token=s3cret", host: "%s"'
    lines = [
        head % (0, "shop.test") + tail % "shop.test",
        head % (1, "_") + tail % "a.shop.test:443",
        head % (2, "b.test") + tail % "b.test",
        "2026/11/21 13:00:03 [notice] 7#7: signal process started",
        "no time",
    ]
    write(host / "NGINX/error.log", lines)
    found = logs.read("shop", asked())
    assert [each["time"] for each in found["entries"]] == [NOON, NOON + 1]
    assert "s3cret" not in str(found)
    assert 'request: "GET /a?*** HTTP/2.0", upstream: "http://unix:/s:/a?***", host: "shop.test"' in texts(found)[0]
    assert texts(logs.read("shop", asked(begin=str(NOON + 1)))) == texts(found)[1:]


def test_a_long_line_is_cut(host):
    write(host / "NGINX/access.log", [access(0, uri="/" + "x" * 9000)])
    (text,) = texts(logs.read("shop", asked()))
    assert len(text) < 8100
    assert text.endswith(" more)")


def test_the_role_logs_what_is_looked_for():
    text = (ROOT / "roles/nginx/templates/etc/nginx/djangofleet/log.conf.j2").read_text()
    assert """'"time":"$time_iso8601",'""" in text
    assert """'"host":"$host",'""" in text
    assert """'"request_id":"{{ nginx.request_id }}",'""" in text
    assert f"access_log {LOGS}/access.log json;" in text
    prefix = (ROOT / "plugins/plugin_utils/postgresql.py").read_text()
    assert '"log_line_prefix": "%m [%p] %q%u@%d "' in prefix


# PostgreSQL

STATEMENTS = f"""\
2026-11-21 12:00:00.250 UTC [5] shop@shop ERROR:  relation "x" does not exist at character 15
2026-11-21 12:00:00.250 UTC [5] shop@shop STATEMENT:  SELECT 'LOG: '
\tFROM x
\t/* request_id={ID} */
2026-11-21 12:00:01.000 UTC [6] shop@shop LOG:  duration: 900.1 ms  statement: SELECT 1 /* request_id={OTHER} */
2026-11-21 12:00:02.000 UTC [6] LOG:  checkpoint starting: time
2026-11-21 13:00:03.000 CET [7] shop@shop LOG:  duration: 900.1 ms  statement: SELECT 2 /* request_id={ID} */
""".splitlines()


@pytest.mark.parametrize("name", ["postgresql-17-main.log", "postgresql-17-main.log.2.gz"])
def test_the_database_s_log_tells_the_error_with_its_statement(host, name):
    write(host / "POSTGRESQL" / name, STATEMENTS)
    found = logs.read("shop", asked(request=ID))
    assert texts(found, "postgresql") == ["\n".join(STATEMENTS[:4]), STATEMENTS[6]]
    assert [each["time"] for each in found["entries"]] == [NOON + 0.25, NOON + 3]
    assert texts(logs.read("shop", asked(request=ID, begin=str(NOON + 1)))) == [STATEMENTS[6]]


def test_without_a_request_the_database_s_log_is_not_read(host):
    write(host / "POSTGRESQL/postgresql-17-main.log", STATEMENTS)
    assert logs.read("shop", asked())["entries"] == []


# The journal


@pytest.fixture
def journalctl(host, monkeypatch):
    """`journalctl(entries, script)`: it prints these. Returns where it notes its words, one a line."""

    def put(entries: list[dict[str, Any]], script: str = "") -> Path:
        room, calls = host / "bin", host / "calls"
        room.mkdir()
        (host / "entries").write_text("".join(json.dumps(each) + "\n" for each in entries))
        (room / "journalctl").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {calls}\ncat {host}/entries\n{script}\n')
        (room / "journalctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{room}:{os.environ['PATH']}")
        return calls

    return put


def test_the_units_of_the_app_and_of_no_other(host):
    mark = "[Unit]\nX-Djangofleet-App=shop\n"
    names = {"django-shop.service": "", "django-shop-worker.service": mark, "django-shop-mail@.service": mark,
             "django-shop-clear.timer": mark, "django-shop-two.service": "[Unit]\nX-Djangofleet-App=shop-two\n",
             "django-shop-else.service": ""}  # fmt: skip
    for name, text in names.items():
        (host / "UNITS" / name).write_text(text)
    (host / "UNITS/django-shop-link.service").symlink_to(host / "UNITS/django-shop.service")
    assert logs.units_of("shop") == [
        "django-shop-clear.timer", "django-shop-mail@*.service", "django-shop-worker.service", "django-shop.service",
    ]  # fmt: skip


def message(second: float, text: Any, **fields: str) -> dict[str, Any]:
    stamp = str(int((NOON + second) * 1e6))
    return {"__REALTIME_TIMESTAMP": stamp, "MESSAGE": text, "_SYSTEMD_UNIT": "django-shop.service", **fields}


def test_the_journal_is_asked_once_and_told_what_is_meant(host, journalctl):
    (host / "UNITS/django-shop.service").write_text("")
    calls = journalctl(
        [
            message(2.5, "newest"),  # with --grep
            message(1, [104, 105, 255]),
            message(0, "Started", _SYSTEMD_UNIT="init.scope", UNIT="django-shop-worker@1.service"),
            message(0.5, None),
        ]
    )
    found = logs.read("shop", asked(request="ab.cd_ef-1", begin=f"{NOON}.500000", end=str(NOON + 9), lines=9))
    assert [(each["time"] - NOON, each["source"], each["text"]) for each in found["entries"]] == [
        (0, "django-shop-worker@1", "Started"),
        (0.5, "django-shop", ""),
        (1, "django-shop", "hi\N{REPLACEMENT CHARACTER}"),
        (2.5, "django-shop", "newest"),
    ]
    words = calls.read_text().splitlines()
    assert {"--unit=django-shop.service", "--lines=10", "--all", "--output=json", "--case-sensitive=yes"} <= set(words)
    assert r"--grep=ab\.cd_ef\-1" in words
    assert {f"--since=@{NOON}.500000", f"--until=@{NOON + 9}.000000"} <= set(words)


def test_more_than_the_lines_that_are_wanted(host, journalctl):
    (host / "UNITS/django-shop.service").write_text("")
    calls = journalctl([message(number, str(number)) for number in range(3)])
    found = logs.read("shop", asked(lines=2))
    assert (texts(found), found["cut"]) == (["1", "2"], True)
    assert not [word for word in calls.read_text().splitlines() if word.startswith(("--grep", "--since", "--until"))]


def test_a_journal_that_cannot_be_read_hides_no_other_log(host, journalctl):
    (host / "UNITS/django-shop.service").write_text("")
    journalctl([], "echo 'No journal files were found.' >&2; exit 1")
    write(host / "NGINX/access.log", [access(0)])
    found = logs.read("shop", asked())
    assert (found["problems"], len(uris(found))) == (["journalctl: No journal files were found."], 1)


def test_a_request_that_no_unit_has_logged_is_no_problem(host, journalctl):
    (host / "UNITS/django-shop.service").write_text("")
    journalctl([], "exit 1")
    assert logs.read("shop", asked(request=ID)) == {"entries": [], "cut": False, "problems": []}


def test_a_host_without_the_app_asks_no_journal(host, journalctl):
    calls = journalctl([message(0, "of somebody else")])
    assert logs.read("shop", asked())["entries"] == []
    assert not calls.exists()


# The module


def run(monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    given = {"app": "shop", "_ansible_check_mode": True, **params}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(logs.os, "nice", lambda _step: None)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        logs.main()
    return json.loads(printed.getvalue())


def test_check_mode_gives_the_same_answer(monkeypatch, host):
    write(host / "NGINX/access.log", [access(0)])
    found = run(monkeypatch, domains=["shop.test"])
    assert (found["changed"], len(found["entries"])) == (False, 1)


@pytest.mark.parametrize(
    "params", [{"app": "../x"}, {"app": "a;b"}, {"request": "a b c d e"}, {"lines": 0}, {"begin": "2 hours ago"}]
)
def test_what_the_module_refuses(monkeypatch, params):
    assert run(monkeypatch, **params)["failed"]
