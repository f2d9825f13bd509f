"""The module reload over a fake systemctl: what it calls, and when Nginx has taken its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.djangofleet.stack.plugins.modules import reload

EMERGENCY = "[emerg] bind() to 0.0.0.0:443 failed (98: Address already in use)"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys) -> Callable[..., dict]:
    """`run(active=…, after=…, broken=…, **options)`: the module's result; `calls` are those of systemctl.

    :param after: Nginx's workers after a reload; 41 and 42 are those before.
    :param broken: the units that systemctl fails for.
    """
    children = tmp_path / "7/task/7/children"
    children.parent.mkdir(parents=True)
    children.write_text("41 42 ")
    (tmp_path / "error.log").write_text(f"[notice] a start\n{EMERGENCY}\n")
    monkeypatch.setattr(reload, "PROC", str(tmp_path))
    monkeypatch.setattr(reload, "ERRORS", str(tmp_path / "error.log"))

    def call(
        active: tuple[str, ...] = (), after: str = "41 42 51", broken: tuple[str, ...] = (), check=False, **options
    ) -> dict:
        calls = []

        def systemctl(*words: str) -> tuple[bool, str]:
            if words[0] == "show":
                return True, "7"
            if words[0] == "is-active":
                return words[-1] in active, ""
            calls.append(f"{words[0]} {words[-1]}")
            children.write_text(after)
            return words[-1] not in broken, "no good" if words[-1] in broken else ""

        monkeypatch.setattr(reload, "systemctl", systemctl)
        with patch_module_args({"timeout": 0, "_ansible_check_mode": check, **options}), pytest.raises(SystemExit):
            reload.main()
        return {**json.loads(capsys.readouterr().out), "calls": calls}

    return call


def test_what_runs_is_reloaded_and_what_does_not_is_left_alone(run):
    result = run(active=("exim4.service",), units=["exim4.service", "cups.service"])
    assert (result["calls"], result["reloaded"]) == (["reload-or-restart exim4.service"], ["exim4.service"])
    assert result["changed"]
    assert not run(units=["cups.service"])["changed"]


def test_what_does_not_run_is_started_when_asked_for(run):
    assert run(units=["nginx.service"], start=True)["calls"] == ["start nginx.service"]


@pytest.mark.parametrize("unit", ["nginx", "nginx.service"])
@pytest.mark.parametrize(("after", "taken"), [("41 42 51", True), ("51 52", True), ("41 42", False), ("42", False)])
def test_nginx_is_reloaded_when_it_has_a_new_worker(run, unit, after, taken):
    """systemd is content as soon as the signal is sent; Nginx may keep the old configuration then."""
    result = run(active=(unit,), after=after, units=[unit])
    assert result.get("failed", False) is not taken
    assert (EMERGENCY in result.get("msg", "")) is not taken
    assert "notice" not in result.get("msg", "")


def test_all_units_are_tried_and_each_failure_is_told(run):
    units = ["a.service", "b.service", "c.service"]
    result = run(active=tuple(units), broken=("a.service", "c.service"), units=units)
    assert result["failed"]
    assert result["calls"] == [f"reload-or-restart {unit}" for unit in units]
    assert result["msg"].splitlines() == [
        f"{unit} could not be reloaded: no good" for unit in ("a.service", "c.service")
    ]


def test_check_mode_touches_nothing(run):
    result = run(active=("nginx.service",), units=["nginx.service"], check=True)
    assert result["changed"]
    assert not result["calls"]
