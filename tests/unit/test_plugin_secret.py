"""The module `secret`: made once, the same elsewhere, never replaced in silence, never shown."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.template import trust_as_template
from loading import load

ROOT = Path(__file__).resolve().parents[2]
TASKS = yaml.safe_load((ROOT / "roles/django/tasks/secret.yml").read_text())
secret = load("plugins/modules/secret.py")


class Ended(Exception):
    """What a module answers."""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`run(value=…, replace=…, check=…)`: what the module answers about one file."""

    def call(path=tmp_path / "secret", check=False, **params):
        def build(argument_spec, supports_check_mode, required_if):
            assert supports_check_mode
            assert argument_spec["value"]["no_log"] is argument_spec["former_values"]["no_log"] is True
            needs = {name for _state, state, names in required_if for name in names if state == module.params["state"]}
            assert all(module.params[name] is not None for name in needs)
            return module

        def end(**answer):
            raise Ended(answer)

        given = {"path": str(path), "variable": "SECRET_KEY", "value": None, "replace": False}
        given |= {"former": None, "former_values": None, "used": None, "state": "present", "keep": 2, **params}
        module = SimpleNamespace(params=given, check_mode=check, exit_json=end, fail_json=end)
        monkeypatch.setattr(secret, "AnsibleModule", build)
        with pytest.raises(Ended) as ended:
            secret.main()
        return ended.value.args[0]

    return call


def test_a_secret_is_made_once_for_root_alone(run, tmp_path):
    first = run()
    assert first["changed"] is True
    assert len(first["value"]) > 50
    assert (tmp_path / "secret").read_text() == f"SECRET_KEY={first['value']}\n"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert run() == {"changed": False, "differs": False, "value": first["value"]}
    assert run(path=tmp_path / "other")["value"] != first["value"]


def test_another_host_takes_it_over(run, tmp_path):
    assert run(value="abc") == {"changed": True, "differs": False}
    assert (tmp_path / "secret").read_text() == "SECRET_KEY=abc\n"
    assert run(value="abc") == {"changed": False, "differs": False}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_another_secret_is_replaced_only_when_it_is_said(run, tmp_path):
    run(value="mine")
    assert run(value="theirs") == {"changed": False, "differs": True}
    assert (tmp_path / "secret").read_text() == "SECRET_KEY=mine\n"
    assert run(value="theirs", replace=True) == {"changed": True, "differs": False}
    assert (tmp_path / "secret").read_text() == "SECRET_KEY=theirs\n"


def test_check_mode_writes_nothing(run, tmp_path):
    assert run(check=True) == {"changed": True, "differs": False, "value": ""}
    assert run(check=True, value="abc") == {"changed": True, "differs": False}
    assert list(tmp_path.iterdir()) == []


def test_its_directory_is_made_for_root(run, tmp_path):
    """A database's password is made before the role writes the app's configuration."""
    path = tmp_path / "etc/shop/secret"
    run(path=path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_place_that_cannot_be_is_told(run, tmp_path):
    (tmp_path / "file").touch()
    assert "directory" in run(path=tmp_path / "file/secret")["msg"].lower()


def test_a_file_has_several_secrets(run, tmp_path):
    key = run()["value"]
    password = run(variable="DATABASE_PASSWORD")["value"]
    assert (tmp_path / "secret").read_text() == f"SECRET_KEY={key}\nDATABASE_PASSWORD={password}\n"
    run(value="new", replace=True)
    assert (tmp_path / "secret").read_text() == f"DATABASE_PASSWORD={password}\nSECRET_KEY=new\n"
    assert run(variable="DATABASE_PASSWORD") == {"changed": False, "differs": False, "value": password}


# Another secret

KEY = {"variable": "SECRET_KEY", "former": "SECRET_KEY_FALLBACKS"}


def written(tmp_path):
    return (tmp_path / "secret").read_text().splitlines()


def test_another_password_takes_its_place_at_once(run, tmp_path):
    first = run(variable="DATABASE_PASSWORD")["value"]
    second = run(variable="DATABASE_PASSWORD", state="renewed")
    assert second["changed"] is True
    assert second["value"] not in ("", first)
    assert written(tmp_path) == [f"DATABASE_PASSWORD={second['value']}"]


def test_a_key_is_known_before_it_is_used_and_stays_known_afterwards(run, tmp_path):
    keys = [run(**KEY)["value"]]
    for number in range(1, 5):
        found = run(**KEY, state="announced")
        keys.append(found["value"])
        assert written(tmp_path)[0] == f"SECRET_KEY={keys[number - 1]}"
        assert written(tmp_path)[1].startswith(f"SECRET_KEY_FALLBACKS={keys[number]}")
        assert run(**KEY, state="announced") == {**found, "changed": False}, "a rotation that broke off goes on"
        assert run(**KEY, state="promoted", value=keys[number])["changed"] is True
        former = keys[max(0, number - 2) : number][::-1]
        assert written(tmp_path) == [f"SECRET_KEY={keys[number]}", f"SECRET_KEY_FALLBACKS={','.join(former)}"]
        assert run(**KEY, state="promoted", value=keys[number])["changed"] is False
    assert run(**KEY) == {"changed": False, "differs": False, "value": keys[4], "former": [keys[3], keys[2]]}
    assert run(**KEY, state="forgotten")["changed"] is True
    assert written(tmp_path) == [f"SECRET_KEY={keys[4]}"]
    assert run(**KEY, state="forgotten")["changed"] is False


@pytest.mark.parametrize("state", ["renewed", "announced"])
def test_a_secret_that_nobody_uses_yet_stays_the_new_one(run, tmp_path, state):
    """A rotation that broke off has made it."""
    (tmp_path / "used").write_text("SECRET_KEY=old\n")
    (tmp_path / "secret").write_text("SECRET_KEY=new\nSECRET_KEY_FALLBACKS=old\n")
    kept = {"changed": False, "differs": False, "value": "new", "former": ["old"]}
    assert run(**KEY, state=state, used=tmp_path / "used") == kept
    (tmp_path / "used").write_text("SECRET_KEY=new\n")
    assert run(**KEY, state=state, used=tmp_path / "used")["changed"] is True


@pytest.mark.parametrize(
    ("there", "former", "takes"),
    [
        ("", [], True),
        ("new", [], True),
        ("old", ["old"], True),
        ("old", ["new", "old"], True),
        ("other", ["old"], False),
    ],
)
def test_another_host_takes_over_what_is_an_earlier_key_of_the_app(run, tmp_path, there, former, takes):
    (tmp_path / "secret").write_text(f"OTHER=1\nSECRET_KEY={there}\n")
    answer = run(**KEY, value="new", former_values=former)
    assert answer["differs"] is not takes
    wanted = [f"SECRET_KEY_FALLBACKS={','.join(former)}"] if former else []
    assert written(tmp_path) == ["OTHER=1", *(["SECRET_KEY=new", *wanted] if takes else ["SECRET_KEY=other"])]


def test_another_host_takes_over_what_was_announced_to_it(run, tmp_path):
    """Also where the key that it has was ended meanwhile."""
    (tmp_path / "secret").write_text("SECRET_KEY=old\nSECRET_KEY_FALLBACKS=new\n")
    assert run(**KEY, value="new", former_values=[]) == {"changed": True, "differs": False}
    assert written(tmp_path) == ["SECRET_KEY=new"]


@pytest.mark.parametrize("state", ["renewed", "announced"])
def test_check_mode_makes_nothing_that_another_task_could_use(run, tmp_path, state):
    run(**KEY)
    before = written(tmp_path)
    answer = run(**KEY, state=state, check=True)
    assert (answer["changed"], answer["value"]) == (True, "")
    assert written(tmp_path) == before


# The role


def test_a_secret_is_read_in_silence_and_passed_on_in_memory():
    read, _stop, put, _differs = TASKS
    assert read["no_log"] is True, "its answer is the secret"
    assert read["run_once"] is True
    assert put["djangofleet.stack.secret"]["value"] == "{{ __django_secret.value }}"
    modules = {key for task in TASKS for key in task if "." in key}
    assert modules == {"djangofleet.stack.secret", "ansible.builtin.assert"}, "nothing writes it on the controller"


@pytest.mark.parametrize(
    ("name", "given", "passes"),
    [
        ("Stop if it could not be read", {"__django_secret": {"unreachable": True}}, False),
        ("Stop if it could not be read", {"__django_secret": {"msg": "No such file"}}, False),
        ("Stop if it could not be read", {"__django_secret": {"value": "x"}}, True),
        ("Stop if this host has another one", {"__django_shared_secret": {"differs": True}}, False),
        ("Stop if this host has another one", {"__django_shared_secret": {"differs": False}}, True),
        ("Stop if this host has another one", {"__django_shared_secret": {"skipped": True}}, True),
    ],
)
def test_a_host_without_the_shared_secret_goes_no_further(templar, name, given, passes):
    (task,) = [task for task in TASKS if task["name"] == name]
    given["__django_shared"] = {"variable": "SECRET_KEY", "option": "secret_key", "former": "", "replace": False}
    engine = templar("django", django_app={"name": "shop"}, django_app_secret_host="web0", **given)
    assert engine.evaluate_expression(trust_as_template(task["ansible.builtin.assert"]["that"])) is passes
    said = engine.template(trust_as_template(task["ansible.builtin.assert"]["fail_msg"]))
    assert said.startswith("django_app.secret_key: ")
    assert "web0" in said


POSTGRESQL = {"database": {"engine": "postgresql"}}


@pytest.mark.parametrize(
    ("host", "app", "shared"),
    [
        ("web0", {}, ["SECRET_KEY"]),
        ("web0", POSTGRESQL, ["SECRET_KEY", "DATABASE_PASSWORD"]),
        ("", POSTGRESQL, []),
        ("web0", {"secret_key": "x", "database": {"engine": "postgresql", "password": "p4ssw0rd"}}, []),
    ],
)
def test_only_a_secret_that_is_made_is_shared(evaluate, host, app, shared):
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/share.yml").read_text())
    (task,) = [task for task in tasks if task.get("ansible.builtin.include_tasks") == "secret.yml"]
    given = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/x"}, **app}
    found = evaluate("django", task["loop"].strip("{} "), django_app=given, django_app_secret_host=host)
    assert [each["variable"] for each in found] == shared
