"""What the hosts of an app serve, as each tells the others, and whether this one may answer visitors.

A host that was away boots the release that it had, and by then the others may serve another one, on another schema. So
a host of several answers nobody until it is ready: it has asked the others and serves what they serve, or a deploy has
put it right. The mark of that is in /run, which no boot keeps, and Nginx looks for it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import answer, atomic, lock
from . import release as releases
from .app import App
from .fetch import COMMIT
from .release import Release, read_json

PATH = "/.well-known/djangofleet/serving"  # where Nginx of each host shows the others its record
PATIENCE = 2  # seconds for the answer of a host
PAUSE = 1  # seconds between two rounds of questions
LARGEST = 1 << 16  # bytes of an answer
LEAD = timedelta(days=1)  # by which a clock may be ahead of this one
TIMES = ("rollout", "activated_at")
NEVER = "1970-01-01T00:00:00Z"
OK = 200
# What a host does about what it has heard.
ALONE, SERVES, ACTIVATE, BUILD, BEHIND = "alone", "serves", "activate", "build", "behind"


@dataclass(frozen=True)
class Record:
    """What a host serves.

    :param rollout: when the rollout began that chose the release.
    :param activated_at: when the host that chose it, or this one, put it live: it tells the steps of a rollout apart.
    :param source: `git` and `revision`, if anybody can fetch it; empty otherwise.
    """

    release: str
    rollout: str
    activated_at: str
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def age(self) -> tuple[datetime, datetime]:
        """What sorts records, the one that counts last."""
        return moment(self.rollout), moment(self.activated_at)


@dataclass(frozen=True)
class Claim:
    """What an activation says about the hosts together.

    :param is_choice: whether it chooses a release. One that starts what is live anew chooses none.
    :param rollout: when the rollout began that chose it; when it goes live, if not given.
    :param activated_at: see Record; the present time if not given.
    :param returns: whether the host goes back to how it was before a rollout that has failed.
    """

    is_choice: bool = True
    rollout: str = ""
    activated_at: str = ""
    returns: bool = False


# The mark of a host that is ready


def ready_file(app: App) -> Path:
    """The file by which Nginx sees that this host may answer for the app."""
    return lock.RUN / "ready" / app.name


def is_ready(app: App) -> bool:
    """Whether this host may answer visitors: always, if the app has no other host."""
    return not app.peers or ready_file(app).exists()


def set_ready(app: App) -> None:
    """Let Nginx answer visitors. An app on one host needs no mark."""
    if app.peers and not is_ready(app):
        ready_file(app).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        atomic.write(ready_file(app), "")


def remedy(app: App) -> str:
    """The command that brings this host up from a controller."""
    host = app.fleet.get("host") or "HOST"
    return f"ansible-playbook playbooks/deploy.yml -i … --limit {host} -e app={app.name}"


# What this host tells


def own(app: App) -> Record | None:
    """What this host serves; None if nothing was ever live.

    Of an activation that broke off before the service had started, what it was to tell is known if it took a rollout
    back. Otherwise it counts as much as what was told last: it is no reason to leave what is live.
    """
    live, told = releases.live_id(app), _told(app)
    if not live:
        return None
    record = read_json(app.root / "live.json")
    if record.get("release") == live:
        return Record(live, *_times(record))
    if told and told.release == live:
        return told
    since = told.rollout if told else NEVER
    return Record(live, since, since)


def claimed(app: App, release: Release, claim: Claim) -> dict[str, str]:
    """The times of a record. A release that is live already keeps its own, unless a rollout has chosen it again."""
    record = read_json(app.root / "live.json")
    if _is_time(claim.rollout):
        return {"rollout": claim.rollout, "activated_at": claim.activated_at or releases.now()}
    if record.get("release") == release.id:
        return dict(zip(TIMES, _times(record), strict=True))
    return dict.fromkeys(TIMES, releases.now())


def tell(app: App, release: Release, times: Mapping[str, str]) -> None:
    """Write what this host serves to where Nginx shows it to the others.

    :param times: those of the record.
    """
    source = source_of(app, release)
    found = {"release": release.id, **times, **({"source": source} if source else {})}
    atomic.write_json(app.root / "serving.json", found)


def confirm(app: App, release: Release, claim: Claim) -> None:
    """Tell that a release counts as chosen which is live here already."""
    times, record = claimed(app, release, claim), read_json(app.root / "live.json")
    if record.get("release") == release.id and record.get("told") != times:
        atomic.write_json(app.root / "live.json", {**record, "told": times})
    tell(app, release, times)


def _times(record: Mapping[str, Any]) -> list[str]:
    """The times in live.json. An earlier djangoctl has written the activation alone."""
    found = {**dict.fromkeys(TIMES, record.get("activated_at", "")), **record.get("told", {})}
    return [str(found[name]) if _is_time(str(found[name])) else NEVER for name in TIMES]


def source_of(app: App, release: Release) -> dict[str, str]:
    """Where anybody can fetch the source of a release; empty if it has no such place."""
    repository, revision = app.fleet.get("repository", ""), release.record.get("revision", "")
    return {"git": repository, "revision": revision} if repository and COMMIT.fullmatch(revision) else {}


def standing(app: App) -> dict[str, Any]:
    """How this host stands among the others, for an activation that may be returned."""
    record = own(app)
    return {"ready": is_ready(app), **{name: getattr(record, name, NEVER) for name in TIMES}}


def returned(app: App, release: Release, claim: Claim) -> Claim:
    """What an activation claims that takes back a rollout which has failed.

    A host that was not ready before is not ready on what it goes back to, and tells nothing newer than it did. Both are
    so before anything goes live: it may break off.
    """
    record = read_json(app.root / "live.json")
    is_recorded = record.get("release") == releases.live_id(app)
    before = record.get("before", {}) if is_recorded else standing(app)
    if not claim.returns or before.get("ready", True) is True:
        return claim
    claim = Claim(False, *_times({"told": {name: before.get(name, "") for name in TIMES}}))
    ready_file(app).unlink(missing_ok=True)
    tell(app, release, claimed(app, release, claim))
    return claim


def _told(app: App) -> Record | None:
    """What this host has told last; None if that is missing, damaged or ahead of its time."""
    try:
        return parsed(read_json(app.root / "serving.json"))
    except ValueError:
        return None


# What the others tell


def moment(text: str) -> datetime:
    """A time of a record.

    :raises ValueError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _is_time(text: str) -> bool:
    try:
        return moment(text) <= datetime.now(UTC) + LEAD
    except ValueError:
        return False


def parsed(content: object) -> Record:
    """The record that a host tells. Whoever answers in its place may say anything.

    :raises ValueError: it is none.
    """
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    texts = [content.get(key) for key in ("release", "rollout", "activated_at")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("release, rollout and activated_at are to be texts")
    if not releases.is_identity(texts[0]):
        raise ValueError("release is no id")
    if not all(map(_is_time, texts[1:])):
        raise ValueError("a time is none, or more than a day ahead")
    source = content.get("source", {})
    if not isinstance(source, dict) or not all(isinstance(source.get(key, ""), str) for key in ("git", "revision")):
        raise ValueError("source is to have texts")
    return Record(*texts, {key: source[key] for key in ("git", "revision") if key in source})


def hear(app: App, wait: float) -> dict[str, Record | str]:
    """What the other hosts serve, by name, or why that is not known.

    They are asked until one of them has answered well. Those that answer in the same round count, and no others.

    :param wait: seconds after which nobody is asked again.
    """
    deadline = time.monotonic() + wait
    while True:
        found = _round(app)
        if heard(found) or time.monotonic() >= deadline:
            break
        time.sleep(PAUSE)
    for host, said in found.items():
        if isinstance(said, str):
            lock.say(f"{app.name}: {host} does not count: {said}")
    return found


def heard(found: Mapping[str, Record | str]) -> list[Record]:
    """The records among the answers."""
    return [said for said in found.values() if isinstance(said, Record)]


def _round(app: App) -> dict[str, Record | str]:
    """Ask all other hosts at once. A resolver takes longer than the questions may: nobody waits for its thread."""
    found: dict[str, Record | str] = {}

    def note(host: str, address: str) -> None:
        found[host] = _ask(app, address)

    threads = [threading.Thread(target=note, args=peer, daemon=True) for peer in app.peers.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE + PAUSE
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return {host: found.get(host, "no answer: timed out") for host in app.peers}


def _ask(app: App, address: str) -> Record | str:
    authority = app.fleet["authority_file"]
    site = {"path": PATH, "timeout": PATIENCE, "tls": bool(authority), "authority_file": authority}
    said = answer.ask((address, app.fleet["port"]), app.fleet["domain"], site, {})
    if not said.status:
        return f"no answer: {said.error}"
    if said.status != OK:
        return f"it answers {said.status}"
    if len(said.body) > LARGEST:
        return "its answer is too long"
    try:
        return parsed(json.loads(said.body))
    except (ValueError, RecursionError) as error:
        return f"its answer is no record: {error}"


# What follows from it


@dataclass(frozen=True)
class Verdict:
    """What a host does, and the record of what all of them serve; None if nobody knows."""

    action: str
    record: Record | None


def decide(
    mine: Record | None,
    others: Iterable[Record],
    *,
    is_here: Callable[[str], bool],
    is_buildable: Callable[[Record], bool],
) -> Verdict:
    """What this host does: the record that was chosen last, of the other hosts and its own, is what all of them serve.

    :param mine: what this host serves; None if nothing was ever live. Such a host is for a deploy.
    :param others: what those say that have answered.
    :param is_here: whether a release is on this host and good.
    :param is_buildable: whether this host makes the release of a record from the source that it names.
    """
    newest = max(others, key=lambda record: (*record.age, record.release), default=None)
    if mine is None:
        return Verdict(BEHIND, newest)
    if newest is None:
        return Verdict(ALONE, mine)
    if mine.age >= newest.age:
        return Verdict(SERVES, mine)
    if mine.release == newest.release:
        return Verdict(SERVES, newest)
    if is_here(newest.release):
        return Verdict(ACTIVATE, newest)
    return Verdict(BUILD if is_buildable(newest) else BEHIND, newest)


def is_buildable(app: App, record: Record) -> bool:
    """Whether this host, as it is configured, makes exactly that release of the source that a record names.

    Only its own configuration says what is fetched: a record says which commit. The id tells whether the settings are
    the same.
    """
    git, revision = record.source.get("git", ""), record.source.get("revision", "")
    if not git or git != app.fleet.get("repository") or not COMMIT.fullmatch(revision):
        return False
    return record.release.rpartition("-")[2] == releases.digest_of(app, revision)
