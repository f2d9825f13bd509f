"""A host that was away serves what the others serve before it lets visitors in: `djangoctl catch-up`, and the mark."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from conftest import FLEET
from djangoctl import answer, catch_up, cli, fleet, health, lock, swap
from djangoctl import release as releases
from djangoctl.app import load
from djangoctl.errors import BuildError, GateError, HookError
from djangoctl.fleet import Claim
from peers import other_hosts
from test_djangoctl_fetch import Project
from test_djangoctl_swap import NEXT, SERVICE, FakeSystemd

EARLY, LATE = "2026-01-01T10:00:00.500000", "2026-01-02T10:00:00.500000"
COMMIT = "a" * 40
REPOSITORY = "https://git.example.com/shop.git"


def serving(release, rollout=LATE, **more):
    """What another host answers."""
    return 200, {"release": release, "rollout": rollout, "activated_at": "2026-01-02T10:05:00Z", **more}


@pytest.fixture
def peers():
    with other_hosts() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fleet, "PAUSE", 0.02)
    monkeypatch.setattr(fleet, "PATIENCE", 1)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", "")


@pytest.fixture
def shop(make_app, peers):
    """`shop(name, **fleet)`: an app with another host. Its port is known once that answers."""

    def make(name="shop", **more):
        return make_app(name, fleet=FLEET | {"port": peers.port or 1, **more})

    return make


@pytest.fixture
def systems(monkeypatch):
    """The systemd of each app, by its name."""
    found = {}

    class Both:
        def __init__(self):
            self.plan = []

        def of(self, app):
            if app.name not in found:
                found[app.name] = FakeSystemd(app)
            return found[app.name]

        def manage(self, app, release, words, **options):
            if "plan.py" in " ".join(words):
                text = f"djangofleet-plan: {json.dumps({'steps': self.plan})}"
                return subprocess.CompletedProcess(words, 0, text, "")
            return self.of(app).manage(app, release, words, **options)

        def __getattr__(self, name):
            return getattr(found["shop"], name)  # what any app is asked for

    both = Both()
    monkeypatch.setattr(cli, "Systemd", lambda: both)
    monkeypatch.setattr(answer, "seen", lambda *_words: {"ok": True, "status": 200, "seconds": 0, "verdict": "200"})
    return both


@pytest.fixture
def host(shop, systems, make_release, peers):
    """`host(answer)`: a host with two releases, of which the first is live. It has been booted, and nobody was asked.

    `answer` is what the other host says.
    """

    def make(told=None, **more):
        if told is not None:
            peers(told)
        app = shop(**more)
        system = systems.of(app)
        for identity in ("v1-1", "v2-1"):
            release = make_release(app, identity, {f"{identity}.css": identity}, application="x:y")
            (release.path / "venv/bin/python").touch()
        put_live(app, "v1-1", system)
        return app

    return make


def put_live(app, identity, system):
    """A release that went live at the time of the others, before a boot."""
    swap.activate(app, releases.read(app, identity), system, claim=Claim(rollout=EARLY))
    boot(app)
    system.calls.clear()


def went_live(app, identity):
    """The same for an app beside it, which no systemd serves."""
    releases.point(app.current, app.releases / identity)
    (app.root / "live.json").write_text(json.dumps({"release": identity, "activated_at": EARLY}))


def boot(app):
    """What a boot does to the mark."""
    fleet.ready_file(app).unlink()


@pytest.fixture
def ctl(capsys, systems):
    def run(*words):
        code = cli.main(list(words))
        out, err = capsys.readouterr()
        return code, (json.loads(out) if "--json" in words else out), err

    return run


def told(app):
    return json.loads((app.root / "serving.json").read_text())


def audited(name="shop"):
    path = lock.LOGS / f"{name}.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# What it does


def test_a_host_alone_is_ready_with_what_it_has(ctl, host, systems):
    app = host()
    code, found, _err = ctl("shop", "catch-up", "--json", "--wait", "0.1")
    assert (code, found["ready"], found["changed"], found["release"]) == (0, True, True, "v1-1")
    assert found["note"] == "no other host answers: what is live here will do"
    assert found["peers"] == {"app2": "no answer: Connection refused"}
    assert fleet.is_ready(app)
    assert systems.of(app).asked == [], "nothing starts anew"
    assert (audited()[-1]["action"], audited()[-1]["release"], audited()[-1]["ok"]) == ("catch-up", "v1-1", True)


@pytest.mark.parametrize("rollout", [EARLY, LATE])
def test_a_host_that_has_missed_nothing_is_ready(ctl, host, systems, rollout):
    app = host(serving("v1-1", rollout))
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["ready"], found["release"]) == (0, True, "v1-1")
    assert found["note"] == "it serves what the other hosts serve"
    assert fleet.is_ready(app)
    assert told(app)["rollout"] == rollout
    assert systems.of(app).asked == []
    assert ctl("shop", "catch-up", "--json")[1]["changed"] is False


def test_a_host_that_has_what_was_chosen_last_is_ready(ctl, host):
    app = host(serving("v2-1", "2025-12-31T10:00:00Z"))
    assert ctl("shop", "catch-up", "--json")[1]["release"] == "v1-1"
    assert fleet.is_ready(app)
    assert told(app)["rollout"] == EARLY


def test_a_release_that_is_here_goes_live(ctl, host, systems):
    app = host(serving("v2-1"))
    system, was_ready = systems.of(app), []
    control = system.control
    system.control = lambda *words: (was_ready.append(fleet.is_ready(app)), control(*words))[1]
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["ready"], found["changed"], found["release"]) == (0, True, True, "v2-1")
    assert found["peers"] == {"app2": "v2-1"}
    assert f"start {NEXT}" in system.asked, "through its gate, as always"
    assert not any(was_ready), "nobody comes in before all is done"
    assert releases.live_id(app) == "v2-1"
    assert fleet.is_ready(app)
    assert told(app) == {"release": "v2-1", "rollout": LATE, "activated_at": "2026-01-02T10:05:00Z"}


@pytest.mark.parametrize("state", ["failed", "building"])
def test_a_release_that_was_not_built_to_its_end_is_not_here(ctl, host, state):
    app = host(serving("v2-1"))
    releases.read(app, "v2-1").write(state=state)
    assert ctl("shop", "catch-up")[0] == 6
    assert not fleet.is_ready(app)


def test_a_host_that_cannot_get_the_release_is_not_ready(ctl, host, systems):
    app = host(serving("v3-1"))
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert code == 6
    assert found["message"].startswith("shop: the other hosts serve release v3-1; this host has it not")
    assert found["state"] == "release v1-1 is still live"
    assert found["hint"] == ("from a controller: ansible-playbook playbooks/deploy.yml -i … --limit app1 -e app=shop")
    assert (found["ready"], found["peers"]) == (False, {"app2": "v3-1"})
    assert not fleet.is_ready(app)
    assert systems.of(app).asked == []
    assert audited()[-1]["ok"] is False


def test_a_host_on_which_nothing_was_live_is_for_a_deploy(ctl, shop, systems, peers):
    peers(serving("v2-1"))
    app = shop()
    systems.of(app)
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["state"]) == (6, "nothing is live")
    assert "nothing was ever live here" in found["message"]
    assert not fleet.is_ready(app)


def test_an_app_on_one_host_has_nobody_to_ask(ctl, make_app, systems, make_release):
    app = make_app()
    systems.of(app)
    make_release(app, "v1-1", live=True)
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["ready"], found["changed"]) == (0, None, False)
    assert not fleet.ready_file(app).exists()
    assert audited() == []


@pytest.mark.parametrize(
    ("provoke", "code"),
    [
        (lambda app, both: both.of(app).failing.update({("start", NEXT): 1}), 6),
        (lambda app, both: both.of(app).failing.update({("restart", SERVICE): 1}), 7),
        (lambda app, both: both.plan.append({"migration": "shop.0002", "operations": [], "destructive": []}), 6),
        (lambda app, both: (app.root / "schema.json").write_text('{"leaves": ["shop.0003"]}'), 2),
    ],
    ids=["gate", "start", "migrations", "schema"],
)
def test_a_release_that_does_not_go_live_leaves_the_host_not_ready(ctl, host, systems, provoke, code):
    app = host(serving("v2-1"))
    releases.read(app, "v2-1").write(migrations=["shop.0001"])
    provoke(app, systems)
    found = ctl("shop", "catch-up", "--json")
    assert (found[0], found[1]["ready"]) == (code, False)
    assert "from a controller: ansible-playbook" in found[1]["hint"]
    assert not fleet.is_ready(app)
    assert releases.live_id(app) == "v1-1"
    assert told(app)["release"] == "v1-1"
    assert audited()[-1]["ok"] is False


def hooked(app, point):
    """The app with a hook that fails."""
    text = json.loads((app.config / "app.json").read_text())
    (app.config / "app.json").write_text(json.dumps(text | {"hooks": {point: ["fail"]}}))


@pytest.mark.parametrize(("point", "is_ready"), [("before_activate", False), ("after_activate", True)])
def test_a_hook_that_fails_after_the_activation_keeps_nobody_out(ctl, host, systems, point, is_ready):
    """What the others serve is live. That the hook failed is told; nobody goes back, as after a rollout."""
    app = host(serving("v2-1"))
    hooked(app, point)
    systems.of(app).broken.add("fail")
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["ready"]) == (8, is_ready)
    assert (fleet.is_ready(app), releases.live_id(app)) == (is_ready, "v2-1" if is_ready else "v1-1")


def test_what_broke_off_is_finished_first(ctl, host, systems):
    """Killed after the flip: `current` is what the others serve, and the service still runs the release before."""
    app = host(serving("v2-1"))
    release, system = releases.read(app, "v2-1"), systems.of(app)
    system.failing["restart", SERVICE] = 99
    assert ctl("shop", "catch-up")[0] == 7
    releases.point(app.current, release.path)
    copied = swap.copy_configuration(app, release.path)
    releases.point(app.pinned, copied.config)
    assert ctl("shop", "catch-up")[0] == 7
    assert not fleet.is_ready(app), "no service has started on it"
    system.failing.clear()
    releases.point(app.current, release.path)
    releases.point(app.pinned, swap.copy_configuration(app, release.path).config)
    system.calls.clear()
    assert ctl("shop", "catch-up")[0] == 0
    assert f"restart {SERVICE}" in system.asked
    assert fleet.is_ready(app)


def test_a_configuration_that_no_deploy_has_put_live_stays_out(ctl, host, systems):
    app = host(serving("v1-1"))
    (app.config / "env").write_text("CHANGED=1\n")
    assert ctl("shop", "catch-up")[0] == 0
    assert systems.of(app).asked == []
    assert ctl("shop", "status", "--json")[1]["restart_pending"] is True


# From its source


@pytest.fixture
def builds(monkeypatch, make_release, tmp_path):
    """The builds: what was fetched and made. The sources are fetched as they are told."""
    found = SimpleNamespace(fetched=[], made=[], then=lambda: None)

    def fetch(app, repository, version):
        found.fetched.append((repository, version))
        return SimpleNamespace(commit=version, tree=tmp_path, scm_version="2.0")

    def build(app, identity, source, system, **facts):
        found.made.append((identity, source.tree, facts, lock.holder(app)["action"].split()[0]))
        found.then()
        return make_release(app, identity, application="x:y")

    monkeypatch.setattr(catch_up, "fetch", fetch)
    monkeypatch.setattr(cli, "_build", build)
    return found


def named(app, version="v3"):
    return releases.identify(app, version, COMMIT)


@pytest.fixture
def away(host, peers):
    """A host that lacks the release of a public source, which the other one serves."""
    told = {}
    peers(lambda: (200, told))
    app = host(repository=REPOSITORY)
    told.update(serving(named(app), source={"git": REPOSITORY, "revision": COMMIT})[1])
    return app, told


def test_a_release_is_built_of_a_source_that_anybody_can_read(ctl, away, builds, tmp_path):
    app, _told = away
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["release"], found["ready"]) == (0, named(app), True)
    assert builds.fetched == [(REPOSITORY, COMMIT)]
    facts = {"version": "v3", "revision": COMMIT, "scm_version": "2.0"}
    assert builds.made == [(named(app), tmp_path, facts, "catch-up")]
    assert fleet.is_ready(app)


def test_a_release_of_other_settings_is_neither_fetched_nor_built(ctl, away, builds):
    app, other = away
    other["release"] = "v3-00000000"
    assert ctl("shop", "catch-up")[0] == 6
    assert builds.fetched == []
    assert not fleet.is_ready(app)


def test_a_build_that_fails_leaves_the_host_not_ready(ctl, away, builds):
    app, _told = away

    def fail():
        raise BuildError("shop: it broke", hint="see the log")

    builds.then = fail
    code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["message"]) == (4, "shop: it broke")
    assert found["hint"].splitlines()[0] == "see the log"
    assert not fleet.is_ready(app)


def test_a_source_that_is_gone_leaves_the_host_not_ready(ctl, away, monkeypatch):
    app, _told = away

    def fail(*_words):
        raise BuildError("fatal: repository not found")

    monkeypatch.setattr(catch_up, "fetch", fail)
    code, found, _err = ctl("shop", "catch-up", "--json")
    expected = f"shop: {COMMIT} of '{REPOSITORY}' could not be fetched: fatal: repository not found"
    assert (code, found["message"], found["state"]) == (4, expected, "release v1-1 is still live")
    assert not fleet.is_ready(app)


def test_after_a_build_the_others_are_asked_anew(ctl, away, builds):
    """A build takes minutes. Meanwhile the others may have gone back."""
    _app, other = away
    builds.then = lambda: other.update(serving("v2-1", "2026-01-03T10:00:00Z")[1])
    assert ctl("shop", "catch-up", "--json")[1]["release"] == "v2-1"
    assert len(builds.made) == 1


def test_others_that_are_gone_after_the_build_have_said_enough(ctl, away, builds, peers):
    app, other = away
    builds.then = other.clear
    assert ctl("shop", "catch-up", "--json")[1]["release"] == named(app)


def test_a_fleet_that_never_rests_is_not_followed_for_ever(ctl, away, builds):
    app, other = away
    count = iter(range(10, 59))

    def another():
        commit = f"{next(count):040}"
        release = releases.identify(app, "next", commit)
        source = {"git": REPOSITORY, "revision": commit}
        other.update(serving(release, f"2026-01-03T10:00:{next(count)}Z", source=source)[1])

    builds.then = another
    assert ctl("shop", "catch-up")[0] == 6
    assert len(builds.made) == catch_up.TURNS
    assert not fleet.is_ready(app)


def test_a_commit_is_fetched_by_git(monkeypatch, tmp_path, shop, systems, peers):
    """Nothing of it is replaced but what builds."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    project = Project(tmp_path / "project")
    commit = project.commit("print('v2')", "v2")
    project.commit("print('v3')")
    app, made = shop(repository=str(project.path)), []
    record = fleet.Record(
        releases.identify(app, "v2", commit), LATE, LATE, {"git": str(project.path), "revision": commit}
    )
    assert fleet.is_buildable(app, record)

    def build(app, identity, source, system, **facts):
        made.append((identity, (source.tree / "manage.py").read_text(), facts["scm_version"]))

    catch_up._make(app, record, systems, build)
    assert made == [(record.release, "print('v2')", "2")]


# Beside others who are at work


def test_it_waits_for_a_deploy_and_then_decides_anew(ctl, host, systems, peers, monkeypatch):
    """At boot it asks, and a deploy to this host has the lock. Whatever that leaves counts."""
    answers = iter([serving("v1-1"), serving("v2-1", "2026-01-03T10:00:00Z")])
    app = host(lambda: next(answers))
    asleep, free = threading.Event(), threading.Event()
    holder = lock.held(app, "activate v2-1")

    def sleep(_seconds):
        asleep.set()
        if lock.holder(app):
            holder.__exit__(None, None, None)
            free.set()

    holder.__enter__()
    monkeypatch.setattr(catch_up, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert ctl("shop", "catch-up", "--json")[1]["release"] == "v2-1"
    assert asleep.is_set()
    assert free.is_set()
    assert fleet.is_ready(app)


def test_a_deploy_that_has_put_the_host_right_meanwhile_is_not_taken_back(ctl, host, systems, monkeypatch):
    app = host(serving("v2-1"))
    system = systems.of(app)

    def deploy(_seconds):
        holder.__exit__(None, None, None)
        make_new = releases.read(app, "v3-1")
        with lock.held(app, "activate"):
            swap.activate(app, make_new, system, claim=Claim(rollout="2026-01-03T10:00:00Z"))
        system.calls.clear()

    release = releases.read(app, "v2-1")
    (app.releases / "v3-1").mkdir()
    for name in ("source", "static", "venv/bin"):
        (app.releases / "v3-1" / name).mkdir(parents=True)
    releases.Release(app.releases / "v3-1", dict(release.record)).write(id="v3-1")
    holder = lock.held(app, "build")
    holder.__enter__()
    monkeypatch.setattr(catch_up, "time", SimpleNamespace(monotonic=time.monotonic, sleep=deploy))
    assert ctl("shop", "catch-up", "--json")[1]["release"] == "v3-1"
    assert system.asked == [], "it leaves what the deploy has put live"


def test_a_lock_that_nobody_releases_is_told(ctl, host, monkeypatch):
    app = host(serving("v2-1"))
    monkeypatch.setattr(catch_up, "PATIENCE", -1)
    with lock.held(app, "build v9"):
        code, found, _err = ctl("shop", "catch-up", "--json")
    assert (code, found["code"]) == (3, 3)
    assert not fleet.is_ready(app)


# All apps of a host


def test_at_boot_all_apps_catch_up(ctl, host, shop, make_app, systems, make_release):
    app = host(serving("v2-1"))
    blog = shop("blog")
    make_release(blog, "v1-1")
    went_live(blog, "v1-1")
    make_app("alone")
    code, found, _err = ctl("catch-up", "--json")
    entries = {entry["app"]: entry for entry in found["catch_up"]}
    assert set(entries) == {"blog", "shop"}, "an app on one host has nothing to catch up with"
    assert (code, entries["blog"]["ready"], entries["blog"]["code"]) == (6, False, 6)
    assert (entries["shop"]["ready"], entries["shop"]["release"]) == (True, "v2-1"), (
        "the other one keeps it from nothing"
    )
    assert fleet.is_ready(app)
    assert not fleet.is_ready(blog)


def test_a_second_try_leaves_alone_what_is_ready(ctl, host, shop, systems, make_release, peers):
    host(serving("v1-1"))
    blog = shop("blog")
    assert ctl("catch-up")[0] == 6
    asked = len(peers.servers[0].asked)
    make_release(blog, "v1-1")
    went_live(blog, "v1-1")
    assert ctl("catch-up", "--json")[1]["catch_up"][0]["app"] == "blog"
    assert len(peers.servers[0].asked) == asked + 1
    assert ctl("catch-up") == (0, "\n", ""), "a deploy has put everything right: that ends it"


def test_a_build_keeps_no_other_app_waiting(ctl, away, shop, builds, make_release, systems):
    app, other = away
    other["release"] = named(app)
    books = shop("zines")
    make_release(books, named(app))
    went_live(books, named(app))
    order = []
    builds.then = lambda: order.append(fleet.is_ready(books))
    assert ctl("catch-up")[0] == 0
    assert order == [True]


def test_an_app_that_is_locked_keeps_no_other_waiting(ctl, host, shop, systems, monkeypatch):
    app = host(serving("v1-1"))
    blog = shop("blog")
    monkeypatch.setattr(catch_up, "PATIENCE", -1)
    with lock.held(blog, "build v2"):
        found = ctl("catch-up", "--json")[1]["catch_up"]
    assert [entry["app"] for entry in found] == [app.name, blog.name]
    assert found[1]["code"] == 3


def test_answers_that_are_old_do_not_count(ctl, host, monkeypatch):
    """Another app was built meanwhile, for minutes."""
    answers = iter([serving("v1-1"), serving("v2-1")])
    host(lambda: next(answers))
    monkeypatch.setattr(catch_up, "FRESH", -1)
    assert ctl("catch-up", "--json")[1]["catch_up"][0]["release"] == "v2-1"


def test_a_damaged_app_keeps_no_other_from_catching_up(ctl, host, make_app):
    app = host(serving("v1-1"))
    broken = make_app("broken")
    (broken.config / "app.json").write_text("{")
    code, found, _err = ctl("catch-up", "--json")
    assert code == 2
    assert fleet.is_ready(app)
    assert [entry["app"] for entry in found["catch_up"]] == ["broken", "shop"]


def test_what_it_did_is_told_in_words(ctl, host, shop, systems):
    host(serving("v2-1"))
    shop("blog")
    text = ctl("catch-up")[1]
    assert text.splitlines() == [
        "blog: not ready: blog: the other hosts serve release v2-1, and nothing was ever live here",
        "  nothing is live",
        "  from a controller: ansible-playbook playbooks/deploy.yml -i … --limit app1 -e app=blog",
        "shop: ready on release v2-1: it serves what the other hosts serve, since now",
    ]


def test_an_app_may_be_called_so(ctl, make_app, systems):
    app = make_app("catch-up")
    systems.of(app)
    make_app("shop")
    assert ctl("catch-up", "releases", "--json")[1] == {"releases": []}
    assert ctl("catch-up", "--json", "--wait", "0")[1] == {"catch_up": []}
    assert ctl("catch-up", "catch-up", "--json")[1]["app"] == "catch-up"


# The mark, and who makes it


def test_every_activation_makes_a_host_ready(ctl, host):
    app = host()
    assert ctl("shop", "activate", "v2-1")[0] == 0
    assert fleet.is_ready(app)
    boot(app)
    assert ctl("shop", "rollback")[0] == 0
    assert fleet.is_ready(app)
    assert told(app)["release"] == "v1-1"


def test_a_host_that_lacks_nothing_but_the_mark_is_marked_and_starts_nothing(ctl, host, systems, monkeypatch):
    """An app that gets another host, or an upgrade: what serves gets its mark before Nginx asks for it."""
    app = host()
    system = systems.of(app)
    assert swap.pending(app, "v1-1", system)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", LATE)
    assert ctl("shop", "activate", "v1-1", "--dry-run", "--json")[1]["changed"] is True
    assert not fleet.is_ready(app)
    assert ctl("shop", "activate", "v1-1", "--json")[1]["changed"] is True
    assert fleet.is_ready(app)
    assert told(app)["rollout"] == LATE
    assert system.asked == []
    assert not swap.pending(app, "v1-1", system)
    assert ctl("shop", "activate", "v1-1", "--json")[1]["changed"] is False


@pytest.mark.parametrize("is_due", [False, True])
def test_a_restart_of_what_is_live_makes_no_host_ready(ctl, host, systems, is_due):
    """A rotation of secrets starts `current` anew on all hosts, also on one that is behind."""
    app = host()
    if is_due:
        (app.config / "env").write_text("CHANGED=1\n")
    assert ctl("shop", "activate", "current", "--json")[1]["changed"] is is_due
    assert not fleet.is_ready(app)
    assert told(app)["rollout"] == EARLY


@pytest.mark.parametrize("broken", ["start", "hook"])
def test_a_failed_activation_makes_no_host_ready(host, systems, broken):
    app = host()
    system = systems.of(app)
    if broken == "start":
        system.failing["start", NEXT] = 1
    else:
        system.broken.add("fail")
        text = json.loads((app.config / "app.json").read_text())
        (app.config / "app.json").write_text(json.dumps(text | {"hooks": {"after_activate": ["fail"]}}))
        app = load("shop")
    with pytest.raises((GateError, HookError)):
        swap.activate(app, releases.read(app, "v2-1"), system)
    assert not fleet.is_ready(app)


def test_an_app_that_goes_takes_its_mark_along(ctl, host):
    app = host()
    fleet.set_ready(app)
    assert ctl("shop", "remove")[0] == 0
    assert not fleet.ready_file(app).exists()


# What a rollout chooses


def test_a_rollout_chooses_what_is_live_already(ctl, host, systems, monkeypatch):
    """v2 failed on its first host, which is down since, and v1 is deployed again. When that host is back, v1 counts."""
    app = host()
    fleet.set_ready(app)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", LATE)
    for words in (["activate", "v1-1", "--dry-run"], ["activate", "current"]):
        assert ctl("shop", *words, "--json")[1]["changed"] is False
        assert told(app)["rollout"] == EARLY
    assert ctl("shop", "activate", "v1-1", "--json")[1]["changed"] is False
    assert told(app)["rollout"] == LATE
    assert systems.of(app).asked == []


def test_a_rollback_chooses_what_is_live_already(ctl, host):
    app = host()
    fleet.set_ready(app)
    assert ctl("shop", "rollback", "v1-1", "--json")[1]["changed"] is False
    assert told(app)["rollout"] > LATE


def test_a_lock_of_somebody_else_keeps_no_rollout_from_going_on(ctl, host, monkeypatch):
    app = host()
    fleet.set_ready(app)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", LATE)
    with lock.held(app, "prune"):
        assert ctl("shop", "activate", "v1-1")[0] == 0
    assert told(app)["rollout"] == EARLY


def test_a_host_that_is_returned_tells_of_the_return(ctl, host, monkeypatch):
    """A rollout has failed on another host. It may have reached one that nobody can return: its record is older."""
    app = host()
    fleet.set_ready(app)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", LATE)
    assert ctl("shop", "activate", "v2-1")[0] == 0
    assert ctl("shop", "activate", "v1-1", "--unless-live", "--allow-schema-ahead")[0] == 0
    assert (told(app)["release"], told(app)["rollout"]) == ("v1-1", LATE)
    assert fleet.is_ready(app)


@pytest.mark.parametrize("rollout", [LATE, ""])
def test_a_host_that_the_rollout_has_not_reached_tells_of_the_return_too(ctl, host, monkeypatch, rollout):
    """A rollback has no time of its own."""
    app = host()
    fleet.set_ready(app)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", rollout)
    assert ctl("shop", "activate", "v1-1", "--unless-live", "--json")[1]["changed"] is False
    assert told(app)["rollout"] >= LATE


@pytest.mark.parametrize("reached", [False, True])
def test_a_host_that_was_behind_is_behind_again_after_a_return(ctl, host, monkeypatch, reached):
    """It goes back to the release that it had, which is not what the others go back to."""
    app = host()
    before = told(app)
    monkeypatch.setenv("DJANGOCTL_ROLLOUT", LATE)
    if reached:
        assert ctl("shop", "activate", "v2-1")[0] == 0
        assert fleet.is_ready(app)
    assert ctl("shop", "activate", "v1-1", "--unless-live", "--allow-schema-ahead")[0] == 0
    assert releases.live_id(app) == "v1-1"
    assert not fleet.is_ready(app)
    assert told(app) == before


# What is said of it


def test_status_tells_that_a_host_is_not_ready_and_what_to_do(ctl, host):
    app = host()
    code, found, _err = ctl("shop", "status", "--json")
    assert (code, found["serves"], found["ready"]) == (6, False, False)
    (fault,) = [fault for fault in found["faults"] if "not ready" in fault["found"]]
    assert fault["heals"].startswith("djangoctl shop catch-up; or from a controller: ansible-playbook")
    assert "ready: no\n" in ctl("shop", "status")[1]
    assert ctl("shop", "check")[0] == 6
    fleet.set_ready(app)
    code, found, _err = ctl("shop", "status", "--json")
    assert (code, found["serves"], found["ready"], found["faults"]) == (0, True, True, [])
    assert ctl("shop", "check")[0] == 0


def test_the_list_tells_it(ctl, host):
    host()
    header, row = (line.split() for line in ctl()[1].splitlines())
    assert row[header.index("ready")] == "no"


def test_an_app_on_one_host_says_nothing_of_it(ctl, make_app, systems):
    app = make_app()
    systems.of(app)
    assert "ready" not in ctl("shop", "status", "--json")[1]
    assert "ready" not in ctl()[1].splitlines()[0].split()


def test_nginx_is_not_blamed_for_what_it_keeps_back(host, systems, monkeypatch):
    app = host()
    bad = {"ok": False, "status": 503, "seconds": 0, "verdict": "503 and not 200 to 499"}
    good = {"ok": True, "status": 200, "seconds": 0, "verdict": "200"}
    text = json.loads((app.config / "app.json").read_text())
    site = {"domains": ["shop.example.com"], "port": 443, "tls": True}
    (app.config / "app.json").write_text(json.dumps(text | {"site": site}))
    monkeypatch.setattr(answer, "seen", lambda address, *_words: bad if address == (health.NGINX, 443) else good)
    app = load("shop")
    assert [fault["found"].partition(":")[0] for fault in health.report(app, systems.of(app))["faults"]] == [
        "this host is not ready"
    ]
    fleet.set_ready(app)
    assert "through Nginx" in health.report(app, systems.of(app))["faults"][0]["found"]
