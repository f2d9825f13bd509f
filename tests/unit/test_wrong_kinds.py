"""Every option of every role, given values of the wrong kind: a line with path, value and advice, and never a crash.

The options come from the specs, so that a new one is tried without a word here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import spec_of

ROOT = Path(__file__).resolve().parents[2]
FILTERS = "ansible_collections.djangofleet.stack.plugins.filter"
SHOP = {"name": "shop", "domains": ["shop.example.com"], "source": {"git": "https://git.example.com/shop"}}
GROUPS = {"app": ["app1"]}
# What stands around an option: the least that is right.
AROUND: dict[str, Any] = {
    "django_app": SHOP,
    "nginx_sites": {"name": "shop", "domains": ["shop.example.com"]},
    "certificate_certificates": {"name": "shop", "domains": ["shop.example.com"], "source": "selfsigned"},
    "ec2_instances": {"name": "app", "groups": ["app"], "type": "t4g.small"},
    **{key: {"group": "app", "port": "80", "sources": ["app"]} for key in ["ec2_openings", "ec2_app_openings"]},
    "volumes": {"device_name": "/dev/sdf", "size": 100},
    "ec2_dns_records": {"name": "a.example.com", "set": "app"},
    **{key: {"name": "shop", "user": "django-shop"} for key in ["backup_files", "backup_app_files"]},
}
TEXTS = ("git=https://git.example.com/shop", "a=b c=d", '{"a": "b"}', "no such thing", "", "\x1b[2J\n")
NUMBERS = (7, 1.5, -1, 10**30, float("nan"), float("inf"))
OTHERS = (True, [], {}, [[]], [{}], [None], {"a": None}, {1: 2}, {None: {}}, [1.5], ["a=b"], [True], b"x")
VALUES = (None, *TEXTS, *NUMBERS, *OTHERS)
# What is asked before the input is known to be right, with what else each gets
QUESTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ec2": {},
    "certificate": {"certificate_questions": ()},
    "django": {"django_packages": (["git"],), "django_questions": ("/opt/uv",)},
    "host": {"host_questions": ()},
    "nginx": {"nginx_questions": ()},
    "backup": {"backup_questions": ()},
    "pgbouncer": {"pgbouncer_questions": ()},
    "postgresql": {"postgresql_questions": ()},
    "redis": {"redis_questions": ()},
}
# With what a role has something to look at.
LEAST = {
    "ec2": {
        "ec2_project": "shop",
        "ec2_environment": "test",
        "ec2_region": "us-east-1",
        "ec2_public_key": f"ssh-ed25519 {'A' * 68} me",
        "ec2_ssh_from": ["203.0.113.7"],
        "ec2_instances": [{"name": "app", "groups": ["app"], "type": "t4g.small"}],
        "ec2_dns_zone": "example.com",
    },
    "backup": {"backup_enabled": True, "backup_name": "app1", "backup_repository": {"path": "/mnt/backup"}},
    "host": {
        **{f"host_firewall_allowed_{protocol}_ports": [] for protocol in ("tcp", "udp")},
        "host_ssh_enabled": True,
        "host_bans_enabled": True,
    },
    "nginx": {"nginx_https_public_port": 443, "nginx_ipv6_enabled": True, "nginx_worker_rlimit_nofile": 8192},
    **{role: {f"{role}_enabled": True} for role in ("pgbouncer", "postgresql", "redis")},
}


def filtered(name: str, *words: Any, **options: Any) -> Any:
    """What a filter makes of its words."""
    modules = (import_module(f"{FILTERS}.{path.stem}") for path in (ROOT / "plugins/filter").glob("*.py"))
    (function,) = (found[name] for module in modules if name in (found := module.FilterModule().filters()))
    return function(*words, **options)


def options(spec: Mapping[str, Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name, option in spec.items():
        yield (*keys, name), option
        yield from options(option.get("options") or {}, (*keys, name))


def placed(spec: Mapping[str, Any], keys: tuple[str, ...], value: Any, around: Any = None) -> dict[str, Any]:
    """The variables of a role in which the option at these keys has a value."""
    key, rest = keys[0], keys[1:]
    given = dict(around or {})
    if not rest:
        return given | {key: value}
    below = AROUND.get(key, given.get(key) if isinstance(given.get(key), Mapping) else {})
    inner = placed(
        spec[key]["options"], rest, value, {**below, "name": "x"} if "name" in spec[key]["options"] else below
    )
    return given | {key: [inner] if spec[key]["type"] == "list" else inner}


CASES = [(role, keys, option) for role in QUESTIONS for keys, option in options(spec_of(role))]


def lines_about(role: str, given: Mapping[str, Any]) -> list[str]:
    """What is said of the input, once all has been asked that is asked before it is known to be right."""
    for name, rest in QUESTIONS[role].items():
        filtered(name, given, *rest)
    if role == "django" and "django_app" in given:
        app = given["django_app"]
        filtered("apps_warnings", [app])
        filtered("app_sites", filtered("resolve_apps", [app], GROUPS, partial=True))
        return filtered("apps_problems", [app], GROUPS) + filtered("django_problems", given)
    if role == "django":
        return filtered("apps_problems", [SHOP], GROUPS, variables=given) + filtered("django_problems", given)
    facts = ({}, ["app1"]) if role == "backup" else ()
    return filtered(f"{role}_problems", given, *facts)


def is_meant(option: Mapping[str, Any], value: Any) -> bool:
    """Whether a value may stand for the type of an option: a number for a text, one item for a list of it."""
    kind, elements = option["type"], option.get("elements", "str")
    if value is None:
        return True  # as if it were not given
    if kind == "list":
        return all(is_meant({"type": elements}, item) for item in (value if isinstance(value, list) else [value]))
    if kind == "dict":
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if kind == "bool":
        return value is True
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, (str, int)) and not isinstance(value, bool)


@pytest.mark.parametrize(("role", "keys", "option"), CASES, ids=[".".join(keys) for _role, keys, _option in CASES])
def test_a_value_of_the_wrong_kind_is_told_in_one_line(role, keys, option):
    for value in VALUES:
        lines = lines_about(role, placed(spec_of(role), keys, value, LEAST.get(role)))
        assert lines or is_meant(option, value), f"{value!r} passes"
        for line in lines:
            assert line.isprintable(), line
            assert re.match(r"\w(\[[^]]*\]|[^:[])*: .", line), f"no path: {line}"
        if not is_meant(option, value):
            assert any(keys[-1] in line and "; give " in line for line in lines), lines


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (
            {"source": "git=https://t0ken@example.com/x"},
            "django_apps[shop].source: found '(not shown)'; give a mapping",
        ),
        (
            {"processes": "name=a command=b"},
            "django_apps[shop].processes: found 'name=a command=b'; give a list of map",
        ),
        ({"gunicorn": "workers=3"}, "django_apps[shop].gunicorn: found 'workers=3'; give a mapping"),
        ({"python": 3.1}, "django_apps[shop].python: found '3.1'; give a path in quotes, or 1.10 is 1.1"),
        (
            {"environment": {True: "x"}},
            "django_apps[shop].environment: found '(not shown)'; give a mapping with texts as",
        ),
        ({"health": {"retries": True}}, "django_apps[shop].health.retries: found 'True'; give a whole number"),
    ],
)
def test_what_is_said_of_some(app, line):
    (found,) = filtered("apps_problems", [SHOP | app], GROUPS)
    assert found.startswith(line)
    assert "t0ken" not in found


@pytest.mark.parametrize("apps", [None, "", "shop", {}, {"name": "shop"}, 7, [7], ["name=shop"], [None], [[]], [{}]])
def test_apps_that_are_no_list_of_mappings(apps):
    lines = filtered("apps_problems", apps, GROUPS)
    assert lines
    assert all(line.startswith("django_apps") and "; give " in line for line in lines)
    assert filtered("apps_warnings", apps) == []
