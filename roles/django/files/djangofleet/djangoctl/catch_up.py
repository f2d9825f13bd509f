"""Brings a host that was away to what the other hosts of an app serve, and lets visitors in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from . import fleet, swap
from . import release as releases
from .app import App, load, names
from .build import Source
from .errors import BuildError, CtlError, HookError, Interrupted, LockedError, UnhealthyError, refused
from .fetch import fetch
from .fleet import ACTIVATE, ALONE, BEHIND, BUILD, Claim, Record, Verdict
from .interrupt import finished_first
from .lock import holder, recorded
from .migrate import plan
from .release import Release, read_json
from .systemd import Systemd

WAIT = 30.0  # seconds until hosts that are silent are not asked again
PATIENCE = 900  # seconds that another action may hold the lock, such as a deploy that builds
FRESH = 10  # seconds that answers count
TURNS = 3  # how often what the others serve may change meanwhile
Answers = Mapping[str, Record | str]
Builder = Callable[..., Release]


def catch_up(app: App, system: Systemd, build: Builder, *, wait: float, answers: Answers | None = None) -> dict:
    """Serve what the app's other hosts serve, and be ready. Where no other host answers, what is live will do.

    :param build: builds a release, as the command of that name.
    :param wait: seconds until hosts that are silent are not asked again.
    :param answers: what they have answered, if they were asked already.
    :raises UnhealthyError: they serve what this host can neither find nor make.
    :raises CtlError: the release could not be had or did not go live. The host is not ready then, unless it was before,
        or all that failed is a hook after the activation.
    """
    if not app.peers:
        note = "the app has no other host"
        return {"app": app.name, "changed": False, "ready": None, "release": releases.live_id(app), "note": note}
    answers = fleet.hear(app, wait) if answers is None else answers
    came: list[int] = []
    with _locked(app) as (facts, has_waited):
        if has_waited:  # a deploy may have changed what is configured, what is live, and what the others say
            app = load(app.name)
            answers = _newer(app, answers)
        before, was_ready = releases.live_id(app), fleet.is_ready(app)
        try:
            verdict = _follow(app, system, build, answers, came)
        except CtlError as error:
            error.hint = "\n".join(filter(None, [error.hint, f"from a controller: {fleet.remedy(app)}"]))
            error.facts |= {"app": app.name, "ready": fleet.is_ready(app), "peers": shown(answers)}
            raise
        live = facts["release"] = releases.live_id(app)
    if came:
        raise Interrupted(came[0])
    return {
        "app": app.name,
        "changed": not was_ready or live != before,
        "ready": True,
        "release": live,
        "note": _note(verdict),
        "peers": shown(answers),
    }


def catch_up_all(system: Systemd, build: Builder, *, wait: float) -> list[dict[str, Any]]:
    """The result for each app of this host that is not ready. Those that were not brought up have `error` and `code`.

    The hosts of all apps are asked at once, and no app waits for another one that takes long.
    """
    found, waiting = [], []
    for name in names():
        try:
            app = load(name)
        except CtlError as error:
            found.append(_failed(name, error))
        else:
            waiting += [app] if not fleet.is_ready(app) else []
    with ThreadPoolExecutor(max(1, len(waiting))) as pool:
        heard = list(pool.map(lambda app: fleet.hear(app, wait), waiting))
    heard_at = time.monotonic()
    for app, answers in sorted(zip(waiting, heard, strict=True), key=lambda pair: _takes_long(*pair)):
        is_fresh = time.monotonic() - heard_at <= FRESH
        try:
            known = answers if is_fresh else _newer(app, answers)
            found.append(catch_up(app, system, build, wait=wait, answers=known))
        except CtlError as error:
            found.append(_failed(app.name, error))
        except OSError as error:
            found.append(_failed(app.name, refused(error)))
    return found


def _takes_long(app: App, answers: Answers) -> bool:
    """Whether an app has something to build, or waits for a lock. What is wrong with it is told when its turn comes."""
    with suppress(CtlError, OSError):
        return holder(app) is not None or _decided(app, answers).action == BUILD
    return False


def shown(answers: Answers) -> dict[str, str]:
    """What each host has answered, in a word."""
    return {host: said if isinstance(said, str) else said.release for host, said in answers.items()}


def _failed(name: str, error: CtlError) -> dict[str, Any]:
    failure = {"error": error.message, "state": error.state, "hint": error.hint, "log": error.log, "code": error.code}
    return {"app": name, "ready": False, **failure}


@contextmanager
def _locked(app: App) -> Iterator[tuple[dict, bool]]:
    """Hold the app's lock, once whoever has it is done. Yields the facts of the record, and whether that took a while.

    :raises LockedError: whoever has it does not come to an end.
    """
    deadline, has_waited = time.monotonic() + PATIENCE, False
    with ExitStack() as stack:
        while True:
            try:
                facts = stack.enter_context(recorded(app, "catch-up", releases.live_id(app) or ""))
                break
            except LockedError:
                if time.monotonic() >= deadline:
                    raise
            has_waited = True
            time.sleep(1)
        yield facts, has_waited


def _newer(app: App, answers: Answers) -> Answers:
    """What the other hosts answer by now; what they have answered before, if none does any more."""
    found = fleet.hear(app, 0)
    return found if fleet.heard(found) else answers


def _decided(app: App, answers: Answers) -> Verdict:
    return fleet.decide(
        fleet.own(app),
        fleet.heard(answers),
        is_here=lambda identity: _found(app, identity).is_usable,
        is_buildable=lambda record: fleet.is_buildable(app, record),
    )


def _found(app: App, identity: str) -> Release:
    path = app.releases / identity
    return Release(path, read_json(path / "release.json"))


def _follow(app: App, system: Systemd, build: Builder, answers: Answers, came: list[int]) -> Verdict:
    """Do what follows from the answers. After a build, which takes a while, they are asked anew.

    :param came: gets the signals that came while a release went live.
    """
    verdict = _decided(app, answers)
    for _turn in range(TURNS):
        if verdict.action != BUILD:
            break
        _make(app, verdict.record, system, build)
        answers = _newer(app, answers)
        verdict = _decided(app, answers)
    if verdict.action in (BEHIND, BUILD):
        raise _behind(app, verdict.record)
    release = releases.read(app, verdict.record.release)
    if verdict.action == ACTIVATE:
        _require_migrated(app, release, system)
    with finished_first() as signals:
        _go_live(app, release, system, Claim(True, verdict.record.rollout, verdict.record.activated_at))
    came += signals
    return verdict


def _go_live(app: App, release: Release, system: Systemd, claim: Claim) -> None:
    """Be ready on a release. What is live already may not serve yet, where an activation broke off.

    :raises HookError: a hook failed. Where that is one that follows the activation, the host serves, and is ready.
    """
    try:
        if release.id != releases.live_id(app) or swap.broke_off(app):
            swap.activate(app, release, system, claim=claim)
    except HookError:
        if release.id == releases.live_id(app) and swap.is_recorded(app):
            fleet.set_ready(app)
        raise
    fleet.confirm(app, release, claim)
    fleet.set_ready(app)


def _make(app: App, record: Record, system: Systemd, build: Builder) -> None:
    """Build the release of a record from the source that it names."""
    repository, commit = record.source["git"], record.source["revision"]
    try:
        found = fetch(app, repository, commit)
    except BuildError as error:
        raise BuildError(
            f"{app.name}: {commit} of '{repository}' could not be fetched: {error.message}",
            state=releases.still_live(app),
        ) from error
    facts = {"version": record.release.rpartition("-")[0], "revision": commit, "scm_version": found.scm_version}
    build(app, record.release, Source(tree=found.tree), system, **facts)


def _require_migrated(app: App, release: Release, system: Systemd) -> None:
    """Refuse a release whose migrations are not applied, where another database than that of the others is asked."""
    if steps := plan(app, release, system):
        names = ", ".join(step["migration"] for step in steps)
        raise UnhealthyError(
            f"{app.name}: the other hosts serve release {release.id}, and the database of this one lacks {names}",
            state=releases.still_live(app),
        )


def _behind(app: App, record: Record | None) -> UnhealthyError:
    live = releases.live_id(app)
    served = f"the other hosts serve release {record.release}" if record else "no other host answers"
    if not live:
        return UnhealthyError(f"{app.name}: {served}, and nothing was ever live here", state="nothing is live")
    why = "this host has it not, and cannot make it from a source that anybody can read with the settings it has"
    return UnhealthyError(f"{app.name}: {served}; {why}", state=releases.still_live(app))


def _note(verdict: Verdict) -> str:
    if verdict.action == ALONE:
        return "no other host answers: what is live here will do"
    return "it serves what the other hosts serve" + (", since now" if verdict.action == ACTIVATE else "")
