"""The module `secret`: made once, the same elsewhere, never replaced in silence, never shown."""

from __future__ import annotations

import importlib.util
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]
TASKS = yaml.safe_load((ROOT / "roles/django/tasks/secret.yml").read_text())
spec = importlib.util.spec_from_file_location("secret_module", ROOT / "plugins/modules/secret.py")
assert spec is not None
assert spec.loader is not None
secret = importlib.util.module_from_spec(spec)
spec.loader.exec_module(secret)


class Ended(Exception):
    """What a module answers."""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`run(value=…, replace=…, check=…)`: what the module answers about one file."""

    def call(path=tmp_path / "secret", check=False, **params):
        def build(argument_spec, supports_check_mode):
            assert supports_check_mode
            assert argument_spec["value"]["no_log"] is True
            return module

        def end(**answer):
            raise Ended(answer)

        given = {"path": str(path), "variable": "SECRET_KEY", "value": None, "replace": False, **params}
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


def test_a_host_without_the_app_is_told(run, tmp_path):
    assert "No such file" in run(path=tmp_path / "no/such/secret")["msg"]


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
    engine = templar("django", django_app={"name": "shop"}, django_app_secret_host="web0", **given)
    assert engine.evaluate_expression(trust_as_template(task["ansible.builtin.assert"]["that"])) is passes
    said = engine.template(trust_as_template(task["ansible.builtin.assert"]["fail_msg"]))
    assert said.startswith("django_app.secret_key: ")
    assert "web0" in said


@pytest.mark.parametrize(
    ("host", "app", "asked"),
    [("web0", {}, True), ("", {}, False), ("web0", {"secret_key": "x"}, False)],
)
def test_only_a_secret_that_is_made_is_shared(evaluate, host, app, asked):
    tasks = yaml.safe_load((ROOT / "roles/django/tasks/configure.yml").read_text())
    (task,) = [task for task in tasks if task.get("ansible.builtin.include_tasks") == "secret.yml"]
    given = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/x"}, **app}
    scope = {"django_app": given, "django_app_secret_host": host}
    assert all(evaluate("django", condition, **scope) for condition in task["when"]) is asked
