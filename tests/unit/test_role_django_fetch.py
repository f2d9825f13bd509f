"""How the role gets at a private repository and leaves no key behind, and which hosts a broken rollout returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.template import trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from loading import load
from test_role_django import ENTRIES, shop

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "roles/django/tasks"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0IG9mIHRoZSBzaG9w\n-----END OPENSSH PRIVATE KEY-----"
KNOWN = ["git.example.com ssh-ed25519 AAAAC3Nz", "git.example.com ecdsa-sha2-nistp256 AAAAE2Vj"]
GIT = "git@git.example.com:acme/shop.git"
TREE, FETCH = "djangofleet.stack.tree", "djangofleet.stack.release"


def source(**more: Any) -> dict[str, Any]:
    return shop(source={"git": GIT, "version": "v1", **more})


@pytest.fixture(scope="session")
def block() -> dict[str, Any]:
    (task,) = yaml.safe_load((TASKS / "fetch.yml").read_text())
    return task


@pytest.fixture(scope="session")
def plain() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """What the action plugin makes of entries; it refuses those that contradict themselves."""
    action = load("plugins/action/tree.py")
    plugin = action.ActionModule.__new__(action.ActionModule)

    def run(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            one
            for entry in entries
            for single, more in action.ActionModule._expand(entry)
            for one in plugin._plain(single, more)
        ]

    return run


@pytest.fixture(scope="session")
def entries(templar, block):
    """`entries(app, "block")` or `"always"`: what that part of fetch.yml hands to the tree."""

    def run(app: dict[str, Any], part: str = "block") -> list[dict[str, Any]]:
        (task,) = [task for task in block[part] if TREE in task]
        engine = templar("django", django_app=app)
        return engine.template(trust_as_template(task[TREE]["entries"]))

    return run


@pytest.fixture(scope="session")
def arguments(templar, block):
    """What the fetch is told of the source; what is left out is not there."""

    def run(app: dict[str, Any]) -> dict[str, Any]:
        (task,) = [task for task in block["block"] if FETCH in task]
        engine = templar("django", django_app=app, omit="(omitted)")
        given = {key: engine.template(trust_as_template(value)) for key, value in task[FETCH]["source"].items()}
        return {key: value for key, value in given.items() if value != "(omitted)"}

    return run


# The deploy key


@pytest.mark.parametrize("key", [KEY, KEY + "\n"], ids=["without newline", "with newline"])
def test_the_key_is_where_root_alone_can_read_it_and_no_disk_keeps_it(entries, arguments, plain, key):
    app = source(deploy_key=key)
    (entry,) = entries(app)
    assert entry["path"] == arguments(app)["key_file"]
    assert entry["path"].startswith("/run/")
    assert "shop" in entry["path"], "two apps would share it"
    assert (entry["mode"], entry["sensitive"]) == ("0600", True)
    assert (entry.get("owner", "root"), entry.get("group", "root")) == ("root", "root")
    assert entry["content"].rstrip("\n") == KEY
    assert entry["content"].endswith("-----\n"), "ssh reads no key without a newline at its end"
    assert ["content" in one for one in plain([entry])] == [True]


def test_the_path_is_not_that_of_another_app(arguments):
    paths = [arguments(source(deploy_key=KEY) | {"name": name})["key_file"] for name in ("shop", "shop-two")]
    assert len(set(paths)) == 2


def test_without_a_key_nothing_is_written(entries, arguments):
    assert entries(source()) == []
    assert entries(source(), "always") == []
    assert set(arguments(source())) == {"git"}


@pytest.mark.parametrize(
    "more", [{"deploy_key": KEY}, {"known_hosts": KNOWN}, {"deploy_key": KEY, "known_hosts": KNOWN}]
)
def test_what_was_written_is_taken_away_whatever_happens(entries, plain, more):
    written, removed = plain(entries(source(**more))), plain(entries(source(**more), "always"))
    assert [one["path"] for one in removed] == [one["path"] for one in written]
    assert len(written) == len(more)
    assert all(one["absent"] for one in removed)
    assert KEY not in json.dumps(removed)


def test_the_key_is_there_before_the_fetch_and_gone_after_it(block):
    first, second = block["block"]
    assert (TREE in first, FETCH in second) == (True, True)
    (last,) = block["always"]
    assert TREE in last
    for task in (first, last):
        assert task["check_mode"] is False, "check mode fetches too, and must leave no key either"
    assert "check_mode" not in second, "the module knows what it can do there"
    assert all(task["changed_when"] is False for task in (first, second, last))
    assert first["when"] == last["when"], "a key that was written would stay"
    assert block["rescue"], "a fetch that fails has to say what could not be fetched"


# The host's key


def test_a_diff_shows_no_key_that_comes_or_goes(entries):
    app = source(deploy_key=KEY, known_hosts=KNOWN)
    assert all(entry["sensitive"] for part in ("block", "always") for entry in entries(app, part))


def test_given_known_hosts_are_the_only_ones(entries, arguments):
    app = source(known_hosts=KNOWN, deploy_key=KEY)
    path = arguments(app)["known_hosts_file"]
    (entry,) = [entry for entry in entries(app) if entry["path"] == path]
    assert entry["content"].splitlines() == KNOWN
    assert entry["content"].endswith("\n")
    assert path.startswith("/run/")
    assert path != arguments(app)["key_file"]


def test_known_hosts_need_no_key(arguments):
    assert set(arguments(source(known_hosts=KNOWN))) == {"git", "known_hosts_file"}
    assert set(arguments(source(deploy_key=KEY))) == {"git", "key_file"}


@pytest.mark.parametrize(
    ("app", "built"),
    [
        (source(), {"source": {"tree": "/srv/shop/repo/trees/abc"}, "revision": "abc", "scm_version": "1.4"}),
        (shop(), {"source": {"path": "/home/me/shop"}, "revision": "(omitted)", "scm_version": "(omitted)"}),
        # Nothing is given where a template makes nothing of it.
        (shop(source={"path": "/x", "git": None}), {"source": {"path": "/x"}, "revision": "(omitted)"}),
    ],
)
def test_what_is_built_is_the_commit_that_was_fetched(templar, app, built):
    """Another app's fetch, in the same run, is no matter of an app from elsewhere."""
    (task,) = [task for task in of_file("build.yml") if task.get(FETCH, {}).get("state") == "built"]
    fetched = {"revision": "abc", "tree": "/srv/shop/repo/trees/abc", "scm_version": "1.4"}
    engine = templar("django", django_app=app, __django_commit=fetched, omit="(omitted)")
    found = {key: engine.template(trust_as_template(task[FETCH][key])) for key in built}
    found["source"].pop("exclude", None)
    assert found == built


# Nowhere else


def test_the_key_is_in_no_configuration_and_no_message(evaluate, templar, block, entries):
    app = source(deploy_key=KEY, known_hosts=KNOWN)
    for name in ("__django_settings", ENTRIES):
        assert "c2VjcmV0" not in json.dumps(evaluate("django", name, django_app=app)), name
    (task,) = block["rescue"]
    engine = templar("django", django_app=app, __django_commit={"msg": "denied (publickey)"})
    said = engine.template(trust_as_template(task["ansible.builtin.fail"]["msg"]))
    assert "c2VjcmV0" not in said
    for words in ("v1", GIT, "denied", "publickey", "django_app.source.git: "):
        assert words in said
    using = [path.name for path in TASKS.glob("*.yml") if "__django_fetch" in path.read_text()]
    assert using == ["fetch.yml"], "another step has the key too"


def test_a_fetch_that_never_was_leaves_a_message_too(templar, block):
    (task,) = block["rescue"]
    said = templar("django", django_app=source()).template(trust_as_template(task["ansible.builtin.fail"]["msg"]))
    assert "could not be fetched: no answer" in said


def test_what_git_says_is_said_once(templar, block):
    (task,) = block["rescue"]
    git = {"msg": "fatal: no such host\n"}
    said = templar("django", django_app=source(), __django_commit=git).template(
        trust_as_template(task["ansible.builtin.fail"]["msg"])
    )
    assert said.count("fatal: no such host") == 1
    assert "no such host; check the address" in said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://ada:s3cret@git.example.com/acme/shop.git", "'https://***@git.example.com/acme/shop.git'"),
        ("https://ada:p@s3cret@git.example.com/shop", "'https://***@git.example.com/shop'"),
        ("https://s3cret@git.example.com:8443/shop", "'https://***@git.example.com:8443/shop'"),
        ("https://oauth2:s3cret%40@git.example.com/a@b/shop", "'https://***@git.example.com/a@b/shop'"),
        ("https://git.example.com/acme/shop@2.git", "'https://git.example.com/acme/shop@2.git'"),
        (GIT, f"'{GIT}'"),  # a user that everybody has, and no password
    ],
)
def test_a_password_in_the_address_is_in_no_message(templar, block, address, said):
    (task,) = block["rescue"]
    app = shop(source={"git": address, "version": "v1"})
    text = templar("django", django_app=app).template(trust_as_template(task["ansible.builtin.fail"]["msg"]))
    assert said in text
    assert "s3cret" not in text


# Which hosts are returned


def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks of a file in order, those of blocks among them and those of their rescue after them."""
    return [
        one
        for task in tasks
        for one in (flat(task["block"]) + flat(task.get("rescue", [])) if "block" in task else [task])
    ]


def of_file(name: str) -> list[dict[str, Any]]:
    return flat(yaml.safe_load((TASKS / name).read_text()))


@pytest.fixture(scope="module")
def returning() -> dict[str, Any]:
    first, second = yaml.safe_load((TASKS / "return.yml").read_text())
    assert "djangofleet.stack.release" in first
    assert "ansible.builtin.fail" in second, "the run would go on as if nothing had happened"
    return first


@pytest.fixture
def returns(templar, dataloader, returning):
    """`returns({host: {app: release it served before}})`: (host, app, release) of each return, in order.

    The facts are Ansible's own, so that a name that begins with two underscores has to get through its sandbox.
    """

    def run(before: dict[str, dict[str, str | None] | None]) -> list[tuple[str, str, str]]:
        inventory = InventoryManager(loader=dataloader, sources=[",".join(before) + ","])
        manager = VariableManager(loader=dataloader, inventory=inventory)
        for host, facts in before.items():
            if facts is not None:
                builds = {app: {"before": release, "release": "v9-99"} for app, release in facts.items()}
                manager.set_nonpersistent_facts(host, {"__django_builds": builds})
        scope = {
            "django_app": shop(),
            "ansible_play_hosts_all": list(before),
            "hostvars": HostVars(inventory, manager, dataloader),
        }
        engine = templar("django", **scope)
        found = []
        for item in engine.template(trust_as_template(returning["loop"])):
            each = templar("django", **scope, item=item)
            options = returning["djangofleet.stack.release"]
            host, app, release = (
                each.template(trust_as_template(text))
                for text in (returning["delegate_to"], options["app"], options["release"])
            )
            assert options["state"] == "reverted"
            label = each.template(trust_as_template(returning["loop_control"]["label"]))
            assert label == f"{host}: {app} to {release}"
            found.append((host, app, release))
        return found

    return run


def test_nothing_is_known_and_nobody_is_returned(returns):
    assert returns({"app1": None, "app2": None, "app3": None}) == []


def test_every_host_is_returned_whether_it_was_reached_yet_or_not(returns):
    """One whose after_activate hook failed serves the new release; one that serves the old still is left alone."""
    before = {"app1": {"shop": "v1-1f"}, "app2": {"shop": "v1-1f"}, "app3": {"shop": "v0-0e"}, "app4": None}
    assert returns(before) == [("app1", "shop", "v1-1f"), ("app2", "shop", "v1-1f"), ("app3", "shop", "v0-0e")]


def test_hosts_are_returned_once_and_in_spite_of_those_that_do_not_answer(returning):
    assert returning["run_once"] is True, "every host of a batch would return every host"
    assert returning["ignore_unreachable"] is True, "one that is gone would keep the others where they are"


def test_a_host_with_nothing_live_before_keeps_what_it_has(returns):
    assert returns({"app1": {"shop": None}, "app2": {"shop": "v1-1f"}, "app3": None}) == [("app2", "shop", "v1-1f")]


def test_every_app_of_every_host_goes_back_to_its_own(returns):
    before = {"app1": {"blog": "v7-aa", "shop": "v1-1f"}, "app2": {"blog": "v6-bb"}, "app3": None}
    assert returns(before) == [("app1", "blog", "v7-aa"), ("app1", "shop", "v1-1f"), ("app2", "blog", "v6-bb")]


def test_a_rollback_that_is_refused_stops_with_the_reason(templar):
    _first, last = yaml.safe_load((TASKS / "return.yml").read_text())
    given = {"__django_rollback": {"failed": True, "msg": "the database is ahead of v1"}}
    message = trust_as_template(last["ansible.builtin.fail"]["msg"])
    assert templar("django", django_app=shop(), **given).template(message) == "the database is ahead of v1"


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        ({"msg": "shop: release v2 did not pass its gate"}, "shop: release v2 did not pass its gate"),
        ({"release": "v2-2e", "changed": True}, "stopped, since it failed on another host"),
        (None, "stopped, since it failed on another host"),
    ],
)
def test_the_rollout_stops_with_the_reason(templar, activation, said):
    _first, last = yaml.safe_load((TASKS / "return.yml").read_text())
    given = {"__django_activation": activation} if activation else {}
    text = templar("django", django_app=shop(), **given).template(
        trust_as_template(last["ansible.builtin.fail"]["msg"])
    )
    assert said in text


RELEASE, ASSERT = "djangofleet.stack.release", "ansible.builtin.assert"


@pytest.mark.parametrize("name", ["build.yml", "choose.yml"])
def test_what_a_host_serves_is_noted_before_it_serves_another(templar, name):
    """A host that fails half way, or is gone by then, could not say any more."""
    tasks = of_file(name)
    (note,) = [task for task in tasks if "__django_builds" in task.get("ansible.builtin.set_fact", {})]
    asked = [task for task in tasks[: tasks.index(note)] if RELEASE in task]
    assert [task[RELEASE]["state"] for task in asked] == [
        {"build.yml": "built", "choose.yml": "rolled_back"}[name]
    ] * len(asked)
    if name == "choose.yml":
        assert all(task["check_mode"] is True for task in asked), "it would be rolled back already"
        assert all(task["changed_when"] is False for task in asked), "a look changes nothing"
    text = note["ansible.builtin.set_fact"]["__django_builds"]
    pending = {key: trust_as_template(value["pending"]) for key, value in note.get("vars", {}).items()}
    answer = {"before": "v1-1f", "release": "v2-2e"}
    given = {"__django_builds": {"blog": {"before": "v7-aa"}}, asked[-1]["register"]: answer}
    given |= {name: {"pending": value} for name, value in pending.items()}
    assert templar("django", django_app=shop(), **given).template(trust_as_template(text)) == {
        "blog": {"before": "v7-aa"},
        "shop": answer | ({"pending": True} if pending else {}),
    }


def test_all_hosts_go_back_to_the_release_that_the_first_one_chooses(templar):
    first, every = [task for task in of_file("choose.yml") if RELEASE in task]
    (change,) = [task for task in of_file("rollback.yml") if RELEASE in task]
    assert "check_mode" not in change
    given = {
        "django_app": shop(),
        "django_app_primary": "web1",
        "ansible_play_hosts": ["web2", "web1"],
        "hostvars": {"web1": {"__django_previous": {"release": "v1-1f"}}, "web2": {"__django_previous": {}}},
        "omit": "(omitted)",
    }

    def release(task, host, **more):
        return templar("django", **given, inventory_hostname=host, **more).template(
            trust_as_template(task[RELEASE]["release"])
        )

    def asked(host):
        engine = templar("django", **given, inventory_hostname=host)
        return engine.evaluate_expression(trust_as_template(first["when"]))

    assert (asked("web1"), asked("web2")) == (True, False)
    assert release(first, "web1", django_release="") == "(omitted)"
    assert release(first, "web1", django_release="v0-0e") == "v0-0e"
    for host in ("web1", "web2"):
        assert release(every, host) == "v1-1f"
        assert release(change, host, __django_choices={"shop": "v1-1f"}) == "v1-1f"


@pytest.mark.parametrize(("name", "state"), [("activate.yml", "active"), ("rollback.yml", "rolled_back")])
@pytest.mark.parametrize(
    ("activation", "passes"),
    [
        ({"unreachable": True, "msg": "Connection timed out"}, False),
        ({"unreachable": False, "changed": True}, True),
        ({"changed": True, "release": "v2-2e"}, True),
        ({"changed": False, "release": "v2-2e"}, True),
    ],
)
def test_a_host_that_does_not_answer_has_failed(templar, name, state, activation, passes):
    """Ansible rescues failures only: the other hosts would stay where they are."""
    (block,) = [task for task in yaml.safe_load((TASKS / name).read_text()) if "block" in task]
    (change,) = [task for task in block["block"] if RELEASE in task and not task.get("check_mode")]
    assert (change[RELEASE]["state"], change["register"]) == (state, "__django_activation")
    assert change["ignore_unreachable"] is True
    check = block["block"][block["block"].index(change) + 1]
    engine = templar("django", django_app=shop(), __django_activation=activation)
    assert engine.evaluate_expression(trust_as_template(check[ASSERT]["that"])) is passes
    said = engine.template(trust_as_template(check[ASSERT]["fail_msg"]))
    assert said == "app 'shop': web1 could not be reached"
    (rescue,) = block["rescue"]
    assert rescue["ansible.builtin.include_tasks"] == "return.yml"
