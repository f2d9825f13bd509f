"""Removes releases that nobody goes back to, and the static files and environments that only they had."""

from __future__ import annotations

import os
from pathlib import Path

from . import release as releases
from . import tree
from .app import App
from .rehearsal import remove_interrupted
from .release import BUILDING, FAILED, GOOD, Release, read_json
from .static import collected
from .venv import remove_unused

REMOVED = ".removed-"


def prune(app: App) -> list[str]:
    """Remove good releases beyond the app's `keep_releases`, and failed ones but the last; return their ids.

    A release that is live, about to go live, or in use by a process stays, whatever its age. The history of activations
    decides about age, never a file's time.
    """
    everything = releases.all_of(app)
    keep = {release.id for release in kept(app, everything)}
    removed = [release for release in everything if release.id not in keep]
    for release in removed:
        _hide(app, release)
    remaining = [release for release in everything if release.id in keep]
    hidden = list(app.releases.glob(f"{REMOVED}*"))  # an interrupted run may have left some
    if hidden:
        _remove_orphans(app, remaining)
    for path in hidden:
        tree.remove(path)
    remove_unused(app, remaining)
    remove_interrupted(app)
    return [release.id for release in removed]


def _hide(app: App, release: Release) -> None:
    """Take a release away in one step: its removal takes many, and half of a release must not pass for a good one."""
    target = app.releases / f"{REMOVED}{release.id}"
    tree.remove(target)
    release.path.rename(target)


def kept(app: App, everything: list[Release]) -> list[Release]:
    """The releases to keep, in the order given."""
    links = (app.current, app.next_link)
    in_use = {releases.live_id(app), *map(releases.linked, links)} | running(app)
    history = read_json(app.root / "live.json").get("history", [])
    good = [release for release in everything if release.state == GOOD]
    # The most recently live release sorts last. A release that never was live sorts before all that were.
    good.sort(key=lambda release: history.index(release.id) if release.id in history else -1)
    wanted = {release.id for release in good[-app["keep_releases"] :]}
    # The last failed release keeps its log. The newest good one may be waiting for its activation.
    for state in (FAILED, GOOD):
        wanted |= {release.id for release in [r for r in everything if r.state == state][-1:]}
    return [release for release in everything if release.id in wanted | in_use]


def running(app: App) -> set[str]:
    """The ids of releases that are the working directory of a process: a draining worker, a timer's run, a shell."""
    found, root = set(), app.releases.resolve()  # /proc shows working directories with links resolved
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            path = Path(os.readlink(link))
        except OSError:
            continue
        if path.is_relative_to(root) and path != root:
            found.add(path.relative_to(root).parts[0])
    return found


def _remove_orphans(app: App, remaining: list[Release]) -> None:
    """Remove published static files that none of the remaining releases has.

    A failed release has published none. Its tree is as the build left it, deeper than a walk goes if it wants that.
    """
    wanted = set()
    for release in remaining:
        if release.record.get("state") in (BUILDING, FAILED):  # one whose record is damaged may be live
            continue
        root = collected(release)
        for directory, _names, files in os.walk(root) if root else ():
            wanted |= {os.path.relpath(os.path.join(directory, name), root) for name in files}
    for directory, _names, files in os.walk(app.static, topdown=False):
        for name in files:
            path = Path(directory, name)
            if str(path.relative_to(app.static)) not in wanted and path != app.maintenance:
                path.unlink()
        if Path(directory) != app.static and not os.listdir(directory):
            os.rmdir(directory)
