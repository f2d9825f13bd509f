"""A role's variables as its spec means them: coerced, filled in, or refused in one line each."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, nearest, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import options_of, resolve, spec_of

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "domains": {"type": "list", "elements": "str"},
    "port": {"type": "int", "default": 443},
    "ports": {"type": "list", "elements": "int"},
    "tls": {"type": "bool", "default": True},
    "level": {"type": "str", "choices": ["info", "debug"]},
    "home": {"type": "path"},
    "secret": {"type": "str", "no_log": True, "choices": ["a"]},
    "anything": {"type": "dict"},
    "login": {"type": "dict", "options": {
        "user": {"type": "str"}, "password": {"type": "str", "no_log": True}}},
    "limits": {"type": "dict", "default": {}, "options": {
        "rate": {"type": "int", "default": 5}, "burst": {"type": "int"}}},
    "sites": {"type": "list", "elements": "dict", "options": {
        "name": {"type": "str", "required": True}, "hsts": {"type": "dict", "default": {}, "options": {
            "max_age": {"type": "int", "default": 60}}}}},
}  # fmt: skip
FILLED = {"name": "shop", "port": 443, "tls": True, "limits": {"rate": 5}}


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({}, {}),
        ({"domains": "localhost"}, {"domains": ["localhost"]}),
        ({"domains": "django>=5,<6"}, {"domains": ["django>=5,<6"]}),
        ({"domains": []}, {"domains": []}),
        ({"ports": 80}, {"ports": [80]}),
        ({"ports": ["80", 443]}, {"ports": [80, 443]}),
        ({"port": "81"}, {"port": 81}),
        ({"port": None}, {}),
        ({"tls": "no"}, {"tls": False}),
        ({"home": "~/x/$HOME"}, {"home": "~/x/$HOME"}),
        ({"anything": {"Key": [1, {"a": None}]}}, {"anything": {"Key": [1, {"a": None}]}}),
        ({"limits": {"burst": "7"}}, {"limits": {"rate": 5, "burst": 7}}),
        ({"limits": {"burst": None}}, {"limits": {"rate": 5}}),
        ({"sites": [{"name": 1}]}, {"sites": [{"name": "1", "hsts": {"max_age": 60}}]}),
        ({"sites": [{"name": "a", "hsts": {"max_age": "9"}}]}, {"sites": [{"name": "a", "hsts": {"max_age": 9}}]}),
    ],
)
def test_what_values_mean(given, means):
    assert resolve(OPTIONS, {"name": "shop", **given}) == ({**FILLED, **means}, [])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"name": None}, "name: is missing; give a text"),
        ({"domain": "a"}, "domain: is not known; did you mean 'domains'?"),
        ({"zzz": "a"}, "zzz: is not known; give one of anything, domains, home, level, limits, login, name, port, "
                       "ports, secret, sites, tls"),
        ({"port": "soon"}, "port: found 'soon'; give a whole number"),
        ({"port": [80]}, "port: found '[80]'; give a whole number"),
        ({"tls": "perhaps"}, "tls: found 'perhaps'; give true or false"),
        ({"level": "loud"}, "level: found 'loud'; give one of info, debug"),
        ({"domains": {"a": "b"}}, "domains: found '{'a': 'b'}'; give a list of texts"),
        ({"domains": [["a"]]}, "domains: found '[['a']]'; give a list of texts"),
        ({"domains": [None]}, "domains: found '[None]'; give a list of texts"),
        ({"ports": ["x"]}, "ports: found '['x']'; give a list of whole numbers"),
        ({"name": ["a"]}, "name: found '['a']'; give a text"),
        ({"home": {"a": 1}}, "home: found '{'a': 1}'; give a path"),
        ({"anything": ["a"]}, "anything: found '['a']'; give a mapping"),
        ({"secret": "hunter2"}, "secret: found '(not shown)'; give one of a"),
        ({"login": "hunter2"}, "login: found '(not shown)'; give a mapping"),
        ({"login": {"usr": 1}}, "login.usr: is not known; did you mean 'user'?"),
        ({"limits": {"rat": 1}}, "limits.rat: is not known; did you mean 'rate'?"),
        ({"limits": {"rate": "x"}}, "limits.rate: found 'x'; give a whole number"),
        ({"limits": "x"}, "limits: found 'x'; give a mapping"),
        ({"sites": [{"name": "a"}, {}]}, "sites[1].name: is missing; give a text"),
        ({"sites": [{"name": "a", "hsts": {"age": 1}}]}, "sites[a].hsts.age: is not known; give one of max_age"),
        ({"sites": ["a"]}, "sites: found '['a']'; give a list of mappings"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_said_in_one_line(given, line):
    assert resolve(OPTIONS, {"name": "shop", **given})[1] == [line]


def test_all_problems_are_said_at_once():
    _, problems = resolve(OPTIONS, {"port": "x", "tls": "maybe", "what": 1})
    assert len(problems) == 4


def test_defaults_are_not_shared():
    first, _ = resolve(OPTIONS, {"name": "a"})
    first["limits"]["rate"] = 99
    assert resolve(OPTIONS, {"name": "b"})[0]["limits"] == {"rate": 5}


def test_a_roles_own_spec_is_read():
    assert spec_of("nginx")["nginx_http_port"]["type"] == "int"
    assert options_of("nginx", {"nginx_http_port": "81"})["nginx_http_port"] == 81
    with pytest.raises(ValueError, match=r"^nginx_http_prt: is not known; did you mean 'nginx_http_port'\?$"):
        options_of("nginx", {"nginx_http_prt": 80})


def test_the_lookup_finds_the_same_in_the_role_and_outside(evaluate):
    expression = "lookup('djangofleet.stack.role_variables', 'nginx') | djangofleet.stack.role_options('nginx')"
    inside = evaluate("nginx", expression, nginx_sites=[{"name": "a", "domains": "localhost"}])
    outside = evaluate("host", expression, nginx_sites=[{"name": "a", "domains": "localhost"}])
    assert inside == outside
    assert inside["nginx_sites"][0]["domains"] == ["localhost"]
    assert inside["nginx_worker_rlimit_nofile"] == 4 * inside["nginx_worker_connections"]


def test_the_lookup_gives_an_internal_value(evaluate):
    expression = "lookup('djangofleet.stack.role_variables', 'nginx', value='__nginx_packages')"
    assert "nginx" in evaluate("host", expression)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("two\nlines", "x: found 'two lines'; give y"),
        ("a" * 90, f"x: found '{'a' * 77}...'; give y"),
        (7, "x: found '7'; give y"),
    ],
)
def test_a_problem_is_one_line(value, text):
    assert problem("x", value, "y") == text


def test_items_are_labelled_by_name():
    items = [{"name": "shop"}, {}, "text", {"name": ""}, {"name": "a\nb"}]
    assert [path for path, _ in labelled("apps", items)] == ["apps[shop]", "apps[1]", "apps[2]", "apps[3]", "apps[a b]"]


@pytest.mark.parametrize(
    ("name", "near"), [("domain", "domains"), ("wrokers", "workers"), ("xyz", ""), ("timeout", "timeout")]
)
def test_nearest_name(name, near):
    assert nearest(name, ["domains", "workers", "timeout"]) == near
