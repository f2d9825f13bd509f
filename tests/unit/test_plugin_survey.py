"""The survey: what it says of a host, and what it does not ask again."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleError
from loading import load

ROOT = Path(__file__).resolve().parents[2]
ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name


survey = load("plugins/modules/survey.py")
action = load("plugins/action/survey.py")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(name, script)` puts a shell script first on the PATH and returns where it notes its calls."""
    room = tmp_path / "bin"
    room.mkdir()
    monkeypatch.setenv("PATH", f"{room}:{os.environ['PATH']}")

    def put(name, script):
        calls = tmp_path / f"{name}.calls"
        (room / name).write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
        (room / name).chmod(0o755)
        return calls

    return put


# Units

STATES = {
    "web.service": ("active", "enabled"),
    "busy.service": ("reloading", "enabled-runtime"),
    "ssh.service": ("active", "alias"),
    "helper.service": ("inactive", "static"),
    "broken.service": ("failed", "disabled"),
    "gone.service": ("inactive", ""),
    "hidden.service": ("activating", "masked"),
}


@pytest.fixture
def booted(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "BOOTED", str(tmp_path))


def shown(names):
    return "\n".join(f"Id={name}\nActiveState={STATES[name][0]}\nUnitFileState={STATES[name][1]}\n" for name in names)


@pytest.mark.usefixtures("booted")
def test_all_units_are_asked_about_in_one_call(program):
    calls = program("systemctl", f"cat <<'END'\n{shown(STATES)}END")
    found = survey.read_units(list(STATES))
    assert {name for name, state in found.items() if state["active"]} == {"web.service", "busy.service", "ssh.service"}
    assert {name for name, state in found.items() if state["enabled"]} == {"web.service", "busy.service", "ssh.service"}
    assert list(found) == list(STATES)
    (call,) = calls.read_text().splitlines()
    assert call.endswith(f"-- {' '.join(STATES)}")


@pytest.mark.usefixtures("booted")
def test_systemd_that_leaves_out_a_unit_is_not_taken_for_an_answer(program):
    program("systemctl", f"echo 'no such name: a@' >&2\ncat <<'END'\n{shown(['web.service'])}END\nexit 1")
    with pytest.raises(survey.SurveyError, match="no such name: a@"):
        survey.read_units(["web.service", "a@.service", "gone.service"])


def test_no_unit_runs_where_no_systemd_does(tmp_path, monkeypatch, program):
    monkeypatch.setattr(survey, "BOOTED", str(tmp_path / "none"))
    calls = program("systemctl", "exit 1")
    assert survey.read_units(["web.service"]) == {"web.service": {"active": False, "enabled": False}}
    assert not calls.exists()


@pytest.mark.usefixtures("booted")
def test_no_unit_no_call(program):
    calls = program("systemctl", "exit 1")
    assert survey.read_units([]) == {}
    assert not calls.exists()


# Users and paths


def test_users_are_looked_up():
    assert (survey.has_user(ME), survey.has_user("no-such-user"), survey.has_user("")) == (True, False, False)


def test_paths_match_as_in_a_shell(tmp_path):
    for name in ("b.conf", "a.conf", ".hidden.conf", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "link.conf").symlink_to("nowhere")
    (tmp_path / "odd[1]").write_text("")

    def found(pattern):
        return [Path(path).name for path in survey.matching(f"{tmp_path}/{pattern}")]

    assert found("*.conf") == ["a.conf", "b.conf", "link.conf"]
    assert found("c.txt") == ["c.txt"]
    assert found("link.conf") == ["link.conf"], "a link is there, whatever it points to"
    assert found("none") == []
    assert found("*/none") == []
    assert found("odd[[]1]") == ["odd[1]"]


# Certificates


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A key and a certificate, an encrypted key of the same, and the public parts."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    room = tmp_path_factory.mktemp("pair")
    key, certificate, locked = room / "key.pem", room / "cert.pem", room / "locked.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a", "-keyout", key]
    subprocess.run(["openssl", "req", "-x509", *words, "-out", certificate], check=True, capture_output=True)
    encrypt = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(encrypt, check=True, capture_output=True)
    key.chmod(0o600)
    certificate.chmod(0o644)
    return SimpleNamespace(key=str(key), certificate=str(certificate), locked=str(locked))


def test_a_certificate_is_read_and_its_key_stays(pair):
    found = survey.read_certificate(pair.certificate, pair.key)
    assert found["modes"] == f"600:{ME}:{MINE} 644:{ME}:{MINE}"
    assert found["certificate"].strip() == Path(pair.certificate).read_text().strip()
    words = ["openssl", "x509", "-in", pair.certificate, "-noout", "-pubkey"]
    assert found["public_key"] == subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "PRIVATE" not in str(found)


def test_of_a_chain_the_first_is_read(pair, tmp_path):
    chain = tmp_path / "chain.pem"
    chain.write_text(2 * Path(pair.certificate).read_text())
    assert survey.read_certificate(str(chain), pair.key)["certificate"].count("BEGIN CERTIFICATE") == 1


def test_what_openssl_cannot_read_is_missing(pair, tmp_path):
    (tmp_path / "garbage").write_text("garbage")
    found = survey.read_certificate(str(tmp_path / "garbage"), pair.locked)
    assert (found["public_key"], found["certificate"]) == ("", "")
    assert found["modes"].count(":") == 4, "the files are there"
    none = {"modes": "", "public_key": "", "certificate": ""}
    assert survey.read_certificate("/no/certificate", "/no/key") == none


def test_without_openssl_all_is_missing(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = survey.read_certificate(pair.certificate, pair.key)
    assert (found["public_key"], found["certificate"]) == ("", "")


def test_a_key_that_never_ends_is_given_up(tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    monkeypatch.setattr(survey, "PATIENCE", 0.2)
    os.mkfifo(tmp_path / "pipe")
    assert survey.read_certificate("/no/certificate", str(tmp_path / "pipe"))["public_key"] == ""


@pytest.mark.parametrize(
    ("limit", "total", "memory"),
    [("max\n", 8_000_000_000, 8000), ("2000000000\n", 8_000_000_000, 2000), ("99000000000\n", 8_000_000_000, 8000)],
)
def test_a_container_has_the_memory_that_it_may_take(monkeypatch, tmp_path, limit, total, memory):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(survey, "LIMIT", str(tmp_path / "memory.max"))
    monkeypatch.setattr(survey.os, "sysconf", {"SC_PHYS_PAGES": total // 4096, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert survey.memory() == pytest.approx(memory, abs=1)


def test_a_host_without_a_limit_has_all_of_its_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(survey, "LIMIT", str(tmp_path / "none"))
    assert survey.memory() > 100


def test_a_file_says_what_it_says_and_one_that_is_not_there_nothing(tmp_path):
    (tmp_path / "hba").write_bytes(b"local all\xff\n")
    assert survey.text_of(str(tmp_path / "hba")) == "local all\ufffd\n"
    assert survey.text_of(str(tmp_path / "none")) == survey.text_of(str(tmp_path)) == ""


# The controller's half

SHOP = {"name": "shop", "certificate": "/c", "key": "/k"}
BLOG = {"name": "blog", "certificate": "/c2", "key": "/k2"}
KNOWN = {
    "changed": False,
    "units": {"a.service": {"active": True, "enabled": True}},
    "users": {"me": False},
    "paths": {"/x*": ["/x1"], "/y": []},
    "certificates": {"shop": {"modes": "m", "public_key": "p", "certificate": "c"}},
    "databases": {"/e": "sqlite:////db"},
    "files": {"/t": "text"},
    "memory": 4000,
}


class Host:
    """Stands in for the host: notes what it is asked and answers "new" to everything."""

    def __init__(self, **more):
        self.asked, self.more = [], more

    def __call__(self, module_args, task_vars):
        self.asked.append(module_args)
        answers = {kind: {action.name_of(each): "new" for each in module_args[kind]} for kind in action.KINDS}
        return {"changed": False, **answers, **self.more}


def ask(known=None, host=None, **arguments):
    """What a task returns, and what it asked the host."""
    host = host or Host()
    task = SimpleNamespace(args=arguments, action="survey", async_val=0, check_mode=False)
    plugin = action.ActionModule(task, *5 * [MagicMock()])
    plugin._templar.template = lambda value: value
    plugin._execute_module = host
    result = plugin.run(task_vars={} if known is None else {"djangofleet_survey": known})
    return result, host.asked


def test_everything_is_asked_at_once():
    result, asked = ask(units=["a.service"], users="me", paths=["/x*"], certificates=[SHOP])
    assert asked == [
        {
            "units": ["a.service"],
            "users": ["me"],
            "paths": ["/x*"],
            "certificates": [SHOP],
            "databases": [],
            "files": [],
        }
    ]
    assert (result["changed"], result["users"], result["certificates"]) == (False, {"me": "new"}, {"shop": "new"})


def test_what_is_known_costs_nothing():
    arguments = {"units": ["a.service"], "users": ["me"], "paths": ["/y", "/x*"], "certificates": [SHOP]}
    arguments |= {"databases": ["/e"], "files": ["/t"]}
    result, asked = ask(KNOWN, **arguments)
    assert asked == []
    assert result == KNOWN


def test_only_the_rest_is_asked():
    result, asked = ask(KNOWN, units=["b.service", "a.service"], paths=["/z"], certificates=[BLOG])
    assert asked == [
        {"units": ["b.service"], "users": [], "paths": ["/z"], "certificates": [BLOG], "databases": [], "files": []}
    ]
    assert result["units"] == {"b.service": "new", "a.service": {"active": True, "enabled": True}}
    assert (result["users"], result["paths"], result["certificates"]) == ({}, {"/z": "new"}, {"blog": "new"})


def test_a_fresh_one_asks_all_again():
    result, asked = ask(KNOWN, users=["me"], fresh=True)
    assert asked == [{"units": [], "users": ["me"], "paths": [], "certificates": [], "databases": [], "files": []}]
    assert result["users"] == {"me": "new"}


def test_questions_of_several_roles_are_asked_together_and_each_once():
    result, asked = ask(
        KNOWN,
        users=["you"],
        questions=[
            {"users": ["me", "us"], "certificates": [BLOG]},
            {"users": ["us", "you"], "paths": ["/z"], "certificates": [BLOG]},
            {"units": None},
            {},
        ],
    )
    assert asked == [
        {"units": [], "users": ["you", "us"], "paths": ["/z"], "certificates": [BLOG], "databases": [], "files": []}
    ]
    assert result["users"] == {"you": "new", "me": False, "us": "new"}


@pytest.mark.parametrize("known", ["text", [], {}, {"users": None}, {"skipped": True, "changed": False}])
def test_what_is_no_survey_answers_nothing(known):
    result, asked = ask(known, users=["me"])
    assert (len(asked), result["users"]) == (1, {"me": "new"})


def test_nothing_asked_nothing_executed():
    result, asked = ask()
    assert asked == []
    assert result == {"changed": False, **{kind: {} for kind in action.KINDS}, "memory": 0}


def test_a_failure_is_handed_on():
    result, _asked = ask(KNOWN, host=Host(failed=True, msg="why"), users=["me", "you"])
    assert (result["failed"], result["msg"]) == (True, "why")


NO_SENSE = [{"certificates": [{"name": "a"}]}, {"user": ["me"]}, {"questions": [{"user": ["me"]}]}]


@pytest.mark.parametrize("wrong", NO_SENSE)
def test_a_question_that_makes_no_sense(wrong):
    with pytest.raises(AnsibleError):
        ask(**wrong)


# Databases


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('DATABASE_URL="postgres://shop:p\\$a\\"s@s/w@10.0.0.7:5432/shop?sslmode=verify-full"', "postgres://10.0.0.7:5432/shop?sslmode=verify-full"),
        ('DATABASE_URL="postgres://shop:\\${DATABASE_PASSWORD}@/shop?host=/run/postgresql"', "postgres:///shop?host=/run/postgresql"),
        ('DATABASE_URL="sqlite:///{full}"', "sqlite:///{full}"),
        ('DATABASE_URL="sqlite:///{empty}"', ""),
        ('DATABASE_URL="sqlite:////nowhere/db.sqlite3"', ""),
        ('DATABASE_URL="sqlite://:memory:"', ""),
        ('OTHER="DATABASE_URL=x"', ""),
    ],
)  # fmt: skip
def test_where_the_database_is_without_name_and_password(tmp_path, line, told):
    names = {"full": tmp_path / "full.sqlite3", "empty": tmp_path / "empty.sqlite3"}
    names["full"].write_text("rows")
    names["empty"].write_text("")
    for name, path in names.items():
        line, told = line.replace(f"{{{name}}}", str(path)), told.replace(f"{{{name}}}", str(path))
    (tmp_path / "env").write_text(f'A="1"\n{line}\nZ="2"\n')
    assert survey.database_of(str(tmp_path / "env")) == told


def test_nothing_is_live_without_an_environment(tmp_path):
    assert survey.database_of(str(tmp_path / "env")) == ""
