"""djangoctl is killed at each of its steps, or its disk is full from there on: the site stays, the next run heals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from crash import SERVICE, Outcome, World, differences, picture
from djangoctl import fleet
from djangoctl import release as releases
from peers import other_hosts

LATE = "2026-01-02T10:00:00.5"
UNHEALTHY = 6  # `status` asks the service through its socket, which the model does not have
UNREAD = ("srv/shop/releases/", "srv/shop/venvs/", "srv/shop/.rehearsal-", "etc/shop/.live-", "run/")
SPACE = ("create", "mkdir", "symlink", "link", "rename", "command", "start")


@dataclass(frozen=True)
class Case:
    """A command, and the state that it finds.

    :param prepare: makes that state and returns the command's words.
    :param least: how many steps the command has at least: if there are fewer, they are not seen any more.
    :param code: the command's exit code when nothing interrupts it.
    :param starts_not: the release passes its gate and does not start then. Until the next run has put the old one back,
        nothing can serve.
    :param goes_on: the command is not repeated once it is done: a second rollback goes back further.
    """

    prepare: Callable[[World], list[str]]
    least: int
    code: int = 0
    starts_not: bool = False
    goes_on: bool = False


def two_live(world: World) -> None:
    """The second release is live, and migrations, settings and files changed with it."""
    world.deploy("v1")
    world.configure("two")
    world.deploy("v2", migrations=2)


def a_build(world: World) -> list[str]:
    two_live(world)
    return world.project("v3", migrations=3)


def a_first_build(world: World) -> list[str]:
    return world.project("v1")


def a_failing_build(world: World) -> list[str]:
    two_live(world)
    return world.project("v3", broken=True)


def a_build_after_a_failed_one(world: World) -> list[str]:
    two_live(world)
    assert world.run(*world.project("v3", broken=True)).code == 4
    return world.project("v3")


def a_rehearsal(world: World) -> list[str]:
    two_live(world)
    return [*world.project("v3", migrations=3), "--rehearse"]


def a_migration(world: World) -> list[str]:
    two_live(world)
    world.do(*world.project("v3", migrations=4))
    return ["migrate", world.identity("v3")]


def a_first_activation(world: World) -> list[str]:
    world.do(*world.project("v1"))
    world.do("migrate", world.identity("v1"))
    return ["activate", world.identity("v1")]


def an_activation(world: World, listen: str = "shop.sock") -> list[str]:
    """A third release with another configuration: the first one is pruned."""
    two_live(world)
    world.configure("three", timeout=60, listen=listen)
    world.do(*world.project("v3", migrations=3))
    world.do("migrate", world.identity("v3"))
    return ["activate", world.identity("v3")]


def a_changed_configuration(world: World) -> list[str]:
    two_live(world)
    world.configure("three", timeout=60)
    return ["activate", world.identity("v2")]


def a_new_address(world: World) -> list[str]:
    """Nginx moves over later: until then visitors come through the old address."""
    two_live(world)
    world.configure("three", listen="other.sock")
    return ["activate", world.identity("v2")]


def an_address_that_is_left(world: World) -> list[str]:
    world.do(*a_new_address(world))
    world.enter("other.sock")
    world.configure("four", listen="other.sock")
    return ["activate", world.identity("v2")]


def a_refused_activation(world: World) -> list[str]:
    words = an_activation(world)
    world.host.refuse("gate", "v3-")
    return words


def a_failing_start(world: World) -> list[str]:
    words = an_activation(world)
    world.host.refuse("start", "v3-")
    return words


def a_failing_start_at_a_new_address(world: World) -> list[str]:
    words = an_activation(world, listen="other.sock")
    world.host.refuse("start", "v3-")
    return words


def a_rollback(world: World) -> list[str]:
    world.deploy("v1")
    world.configure("two")
    world.deploy("v2")
    return ["rollback"]


def a_pruning(world: World) -> list[str]:
    world.deploy("v1")
    world.deploy("v2")
    world.deploy("v3")
    world.deploy("v4")
    settings = json.loads((world.app.config / "app.json").read_text())
    (world.app.config / "app.json").write_text(json.dumps(settings | {"keep_releases": 1}))
    return ["prune"]


def a_maintenance(world: World) -> list[str]:
    two_live(world)
    return ["maintenance", "on", "--message", "Back at noon."]


def a_publication(world: World) -> list[str]:
    two_live(world)
    world.do(*world.project("v3"))
    return ["publish", world.identity("v3")]


def an_activation_on_a_host_of_several(world: World) -> list[str]:
    """The host was booted, and nobody has found it ready yet."""
    words = an_activation(world)
    world.join(1)
    world.rollout = LATE
    return words


def a_host_that_lacks_the_mark_alone(world: World) -> list[str]:
    two_live(world)
    world.join(1)
    world.rollout = LATE
    return ["activate", world.identity("v2")]


def a_host_that_was_away(world: World) -> list[str]:
    """It has the release that another host says they serve."""
    two_live(world)
    world.do(*world.project("v3", migrations=2))
    told = {"release": world.identity("v3"), "rollout": LATE, "activated_at": LATE}
    world.join(world.peers((200, told)).server_address[1])
    return ["catch-up", "--wait", "0"]


def an_end_of_maintenance(world: World) -> list[str]:
    world.do(*a_maintenance(world))
    return ["maintenance", "off"]


CASES = {
    "build": Case(a_build, 120),
    "first build": Case(a_first_build, 120),
    "failing build": Case(a_failing_build, 100, code=4),
    "build after a failed one": Case(a_build_after_a_failed_one, 120),
    "rehearsal": Case(a_rehearsal, 120),
    "migrate": Case(a_migration, 20),
    "first activation": Case(a_first_activation, 60),
    "activate": Case(an_activation, 60),
    "activate a configuration": Case(a_changed_configuration, 25),
    "activate a new address": Case(a_new_address, 40),
    "leave an address": Case(an_address_that_is_left, 40),
    "activate what the gate refuses": Case(a_refused_activation, 30, code=6),
    "activate what does not start": Case(a_failing_start, 50, code=7, starts_not=True),
    "activate what does not start at a new address": Case(
        a_failing_start_at_a_new_address, 50, code=7, starts_not=True
    ),
    "rollback": Case(a_rollback, 30, goes_on=True),
    "prune": Case(a_pruning, 10),
    "publish": Case(a_publication, 5),
    "activate on a host of several": Case(an_activation_on_a_host_of_several, 60),
    "mark a host": Case(a_host_that_lacks_the_mark_alone, 4),
    "catch up": Case(a_host_that_was_away, 50),
    "maintenance on": Case(a_maintenance, 5),
    "maintenance off": Case(an_end_of_maintenance, 3),
}


@pytest.fixture
def figure(request) -> Callable[[str, int], None]:
    """figure(name, value): note how many points were tried, for `make prove` to write into docs/proof.md."""
    return lambda name, value: request.node.user_properties.append((name, value))


@pytest.fixture
def world(make_app, tmp_path) -> Iterator[World]:
    with other_hosts() as peers:
        found = World(tmp_path, make_app)
        found.peers = peers
        yield found


@pytest.mark.parametrize("name", CASES)
def test_it_is_killed_at_every_step(world, figure, name):
    trial = Trial(world, CASES[name])
    points = trial.points()
    found = {f"{point}, {step}": flaws for point in points for step, flaws in [trial.kill(point)] if flaws}
    figure(f"{name}: killed at", len(points))
    assert not found, report(found)


@pytest.mark.parametrize("name", CASES)
def test_its_disk_is_full_from_every_step_on(world, figure, name):
    trial = Trial(world, CASES[name])
    points = trial.points(*SPACE)
    found = {f"{point}, {trial.clean.steps[point - 1]}": flaws for point in points if (flaws := trial.fill(point))}
    figure(f"{name}: full at", len(points))
    assert not found, report(found)


def test_a_host_that_was_behind_is_ready_nowhere_on_its_way_back(world):
    """A rollout has put it live on the third release and has failed elsewhere: it goes back to the one that it had."""
    words = an_activation(world)
    world.join(1)
    world.rollout = LATE
    behind, chosen = releases.live_id(world.app), fleet.own(world.app).rollout
    world.do(*words)
    world.keep()
    words = ["activate", behind, "--unless-live", "--allow-schema-ahead"]
    clean = world.run(*words)
    assert (clean.code, clean.stray) == (0, [])
    assert not world.host.ready.exists()
    assert fleet.own(world.app).rollout == chosen
    wrong = []
    for point, step in enumerate(clean.steps, 1):
        world.reset()
        assert world.host.ready.exists()
        world.run(*words, stop=point)
        if releases.live_id(world.app) == behind:
            if world.host.ready.exists():
                wrong.append(f"{point}, {step}: it is ready on what it was behind with")
            if fleet.own(world.app).rollout != chosen:
                wrong.append(f"{point}, {step}: it says that this was chosen last")
    assert not wrong, "\n".join(wrong)


class Trial:
    """One command that is interrupted at one step after the other, each time in the same state of the host."""

    def __init__(self, world: World, case: Case) -> None:
        self.world, self.case = world, case
        self.words = case.prepare(world)
        world.keep()
        self.before, passed = world.host.visit(), len(world.host.read()["passed"])
        self.standings = [self.standing()]
        self.clean = world.run(*self.words)
        assert self.clean.code == case.code, self.clean.err
        assert self.clean.stray == []
        assert len(self.clean.steps) >= case.least, self.clean.steps
        self.after, self.wanted = world.host.visit(), picture(world)
        self.standings.append(self.standing())
        self.passed = passed

    def standing(self) -> tuple[bool, str | None]:
        """Whether the host is ready, and on which release."""
        return self.world.host.ready.exists(), releases.live_id(self.world.app)

    def readiness(self) -> list[str]:
        """A host that is ready on what it is not to serve."""
        found = self.standing()
        if not found[0] or found == self.standings[0]:
            return []
        serve = {answer["release"] for answer in self.world.host.visit()["answers"]}
        return [] if found == self.standings[1] and serve == {found[1]} else [f"it is ready on {found[1]}: {serve}"]

    def points(self, *verbs: str) -> list[int]:
        """The numbers of the steps to try: all of them, or those of some verbs.

        In short, one of five. And nobody reads a release before it is good, nor a file before it has its name: one of
        their steps stands for twenty.
        """
        chosen, unread, read = [], 0, 0
        for number, step in enumerate(self.clean.steps, 1):
            if verbs and step.split()[0] not in verbs:
                continue
            path = step.split()[-1]
            is_unread = path.startswith(UNREAD) or path.endswith(".new")
            is_unread = is_unread and not path.startswith("run/ready")  # where Nginx looks
            unread, read = unread + is_unread, read + (not is_unread)
            if os.environ.get("PROVE") or (unread % 20 == 1 if is_unread else read % 5 == 1):
                chosen.append(number)
        return chosen

    def kill(self, point: int) -> tuple[str, list[str]]:
        """The step at that point, and what is wrong when djangoctl is killed there."""
        self.world.reset()
        outcome = self.world.run(*self.words, stop=point)
        assert outcome.code is None, f"step {point} was not reached"
        return outcome.steps[0], self.outside() + self.again(reboot=point % 2 == 0)

    def fill(self, point: int) -> list[str]:
        """What is wrong when the disk is full from that point on, and has room again for the next run."""
        self.world.reset()
        outcome = self.world.run(*self.words, stop=point, full=True)
        return self.message(outcome) + self.outside() + self.again(reboot=point % 2 == 0)

    def message(self, outcome: Outcome) -> list[str]:
        if outcome.code == 0 and picture(self.world) != self.wanted:
            return ["it says that all is done"]
        if "Traceback" in outcome.err:
            return [outcome.err.strip().splitlines()[-1]]
        return [] if outcome.code == 0 or outcome.err.strip() else ["it fails without a word"]

    def outside(self) -> list[str]:
        """What visitors, a reboot and the records tell."""
        host, flaws = self.world.host, self.records() + self.readiness()
        mark = host.ready.exists()
        flaws += [f"now: {flaw}" for flaw in self.seen()]
        state = host.path.read_bytes()
        host.expire()
        flaws += [f"without the stand-in: {flaw}" for flaw in self.seen()]
        host.path.write_bytes(state)
        host.reboot()
        flaws += [f"after a reboot: {flaw}" for flaw in self.seen()]
        host.path.write_bytes(state)
        host.mark()
        if mark:
            host.ready.touch()
        return flaws

    def seen(self) -> list[str]:
        """What is wrong for visitors: they see what was live, or the new release once it has passed its gate."""
        visit = self.world.host.visit()
        passed = self.world.host.read()["passed"][self.passed :]
        known = [gated(answer) for answer in self.before["answers"] + passed]
        flaws = list(visit["problems"])
        flaws += [f"{answer} serves" for answer in visit["answers"] if gated(answer) not in known]
        if self.before["answers"] and not visit["answers"] and not (passed and self.case.starts_not):
            flaws.append("nothing serves")
        if visit["page"] not in (self.before["page"], self.after["page"]):
            flaws.append(f"visitors see the page {visit['page']!r}")
        return flaws

    def records(self) -> list[str]:
        """What the records say and the disk does not."""
        app, host = self.world.app, self.world.host
        records = {path.name: read(path) for path in app.root.glob("*.json")}
        built = {path.name: read(path / "release.json") for path in app.releases.iterdir() if path.name[0] != "."}
        flaws = [f"{name} is damaged" for name, content in (records | built).items() if content is None]
        good = [name for name, content in built.items() if content and content.get("state") == "good"]
        flaws += [flaw for name in good for flaw in host.flaws(app.releases / name)]
        if app.current.is_symlink() and app.current.resolve().name not in good:
            flaws.append(f"current points to {app.current.resolve().name}, which is not good")
        schema, applied = records.get("schema.json") or {}, host.read()["applied"]
        return flaws + [f"schema.json has {name}" for name in schema.get("leaves", []) if name not in applied]

    def status(self, asked: dict[str, Any], serving: dict[str, Any]) -> list[str]:
        """What `status` says and is not so."""
        if asked["code"] not in (0, UNHEALTHY):
            return [f"status ends with {asked['code']}: {asked['err']}{asked['out']}"]
        said = json.loads(asked["out"])
        if said["service"] and not said["restart_pending"] and said["release"] != serving.get("release"):
            return [f"status says {said['release']}, and {serving.get('release')} serves"]
        if serving and serving["env"] != f"NAME={serving['unit']}\n" and not said["restart_pending"]:
            return ["status does not say that the service runs with the unit of another configuration"]
        return []

    def again(self, *, reboot: bool) -> list[str]:
        """What the same command leaves that it would not have left without the interruption."""
        if reboot:
            self.world.host.reboot()
        if self.case.goes_on and picture(self.world) == self.wanted:
            return []
        serving = self.world.host.read()["active"].get(SERVICE, {})
        outcome = self.world.run(*self.words, ask=True)
        flaws = self.status(outcome.asked, serving)
        if outcome.code != self.case.code:
            return [*flaws, f"again, it ends with {outcome.code}: {outcome.err}{outcome.out}"]
        self.world.host.visit()
        return flaws + [f"again: {line}" for line in differences(self.wanted, picture(self.world))]


def gated(answer: dict[str, Any]) -> tuple[Any, ...]:
    """What of an answer has to have passed a gate together.

    The unit files are not part of it. They are installed one by one after the configuration has been pinned, so that a
    reboot in between starts the new release with units of the old one. `status` says so, and the next run heals it.
    """
    return answer["release"], answer["env"], answer["timeout"]


def read(path) -> dict[str, Any] | None:
    """A record; empty if there is none, and nothing if it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        return None


def report(found: dict[str, list[str]]) -> str:
    """Each interruption that did harm, with the harm."""
    lines = [f"{point}:\n    " + "\n    ".join(flaws) for point, flaws in found.items()]
    return f"{len(found)} interruptions did harm\n" + "\n".join(lines)
