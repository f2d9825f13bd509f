"""What the command line asks of one app."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.verbs import manage_asked, manage_report, one_app

SHOP, BLOG, OLD = {"name": "shop"}, {"name": "blog"}, {"name": "old", "state": "absent"}
GROUPS = {"app": ["web1", "web2"], "web": ["web1", "web2"]}


@pytest.mark.parametrize(
    ("apps", "name", "found", "problem"),
    [
        ([SHOP], "", "shop", ""),
        ([SHOP, BLOG], "blog", "blog", ""),
        ([SHOP, OLD], "", "shop", ""),
        ([SHOP, BLOG], "", "", "app: is missing, and the inventory has several; give one of: -e app=shop, -e app=blog"),
        ([SHOP, BLOG], "shp", "", "app: found 'shp'; did you mean 'shop'? give one of: shop, blog"),
        ([SHOP, OLD], "old", "", "app: found 'old', whose state is absent"),
        ([OLD], "", "", "app: the inventory has no app"),
        ([], "", "", "app: the inventory has no app"),
        (None, "shop", "", "django_apps: is missing"),
    ],
)
def test_the_app_that_is_meant(apps, name, found, problem):
    app, problems = one_app(apps, name)
    assert app.get("name", "") == found
    assert "\n".join(problems).startswith(problem)
    assert bool(problems) is bool(problem)


def asked(command: Any = "check", **more: Any) -> dict[str, Any]:
    return manage_asked([SHOP], GROUPS, command=command, **{"hosts": ["web1", "web2"], **more})


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("check", ["check"]),
        ("migrate --plan", ["migrate", "--plan"]),
        ("shell -c 'print(1); print(\"a b\")'", ["shell", "-c", 'print(1); print("a b")']),
        ("check; rm -rf /", ["check;", "rm", "-rf", "/"]),
        ("check $(id) `id` | cat > x", ["check", "$(id)", "`id`", "|", "cat", ">", "x"]),
        (["shell", "-c", "print(1)", 7], ["shell", "-c", "print(1)", "7"]),
    ],
)
def test_the_words_of_a_command(command, words):
    found = asked(command)
    assert (found["words"], found["problems"], found["host"], found["app"]) == (words, [], "web1", "shop")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"command": ""}, "command: is missing; give what manage.py is to do"),
        ({"command": "shell -c 'x"}, "command: found 'shell -c 'x'; give"),
        ({"command": "  "}, "command: found ''; give"),
        ({"command": "--help"}, "command: found '--help'; give a command of manage.py first"),
        ({"command": "manage.py check"}, "command: found 'manage.py check'; give a command of manage.py first"),
        ({"command": {"a": 1}}, "command: found"),
        ({"command": ["a", ["b"]]}, "command: found"),
        ({"release": "../x"}, "release: found '../x'; give the id of a release"),
        ({"release": "--env=A=b"}, "release: found"),
        ({"hosts": ["web2"]}, "--limit: leaves out web1, the app's first host"),
        ({"hosts": []}, "--limit: leaves out web1"),
    ],
)
def test_what_cannot_be_run(given, problem):
    (found,) = asked(**given)["problems"]
    assert found.startswith(problem)
    assert "\n" not in found


@pytest.mark.parametrize(("hosts", "host"), [(["web2"], "web2"), (["db", "web1"], "web1"), (["web1", "web2"], "")])
def test_where_each_host_is_a_site_of_its_own_one_is_named(hosts, host):
    found = asked(hosts=hosts, separate=True)
    assert found["host"] == host
    wrong = "--limit: each host is a site of its own (allow_separate_hosts); name one of: web1, web2"
    assert found["problems"] == ([] if host else [wrong])


def test_an_inventory_without_a_host_for_apps():
    assert manage_asked([SHOP], {}, command="check")["problems"] == [
        "app: lives on no host; put one into the group app"
    ]


def test_all_that_is_wrong_is_said_at_once():
    assert len(manage_asked([SHOP, BLOG], GROUPS)["problems"]) == 3


@pytest.mark.parametrize(
    ("answer", "text", "wrong"),
    [
        ({"rc": 0, "output": "fine\n"}, "web1: djangoctl shop manage check\nfine\nexit code 0", ""),
        ({"rc": 3, "output": "a\x1b[2J\n\tb"}, "web1: djangoctl shop manage check\na\\x1b[2J\n\tb\nexit code 3",
         "web1: djangoctl shop manage check ended with 3"),
        ({"rc": None, "output": ""}, "Would run on web1: djangoctl shop manage check", ""),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_run(answer, text, wrong):
    found = manage_report({"command": ["djangoctl", "shop", "manage", "check"], **answer}, "web1")
    assert found == {"text": text, "wrong": wrong}


def test_a_run_that_did_not_begin():
    assert manage_report({"msg": "there is no djangoctl"}, "web1")["wrong"] == "web1: there is no djangoctl"


def test_a_command_runs_on_the_first_host_of_an_app_that_names_its_own():
    given = {"app": ["web1", "web2", "web3"]}
    found = manage_asked([SHOP | {"hosts": ["web3", "web2"]}], given, command="check", hosts=["web2", "web3"])
    assert (found["host"], found["problems"]) == ("web2", [])
