"""Removes releases that nobody will go back to, and the static files that only they had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import release as releases
from .app import App
from .release import FAILED, GOOD, Release, read_json


def prune(app: App) -> list[str]:
    """Remove what is beyond the app's number of good releases, and all failed ones but the last; return their ids.

    What is live, about to be, or still running somewhere stays, whatever its age. Age is what the record of activations
    says, never a file's time.
    """
    everything = releases.all_of(app)
    keep = {release.id for release in kept(app, everything)}
    gone = [release for release in everything if release.id not in keep]
    for release in gone:
        shutil.rmtree(release.path)
    if gone:
        _sweep_static(app, [release for release in everything if release.id in keep])
    return [release.id for release in gone]


def kept(app: App, everything: list[Release]) -> list[Release]:
    """The releases to keep, in the order given."""
    in_use = {releases.live_id(app), releases.linked(app.next_link)} | running(app)
    history = read_json(app.root / "live.json").get("history", [])
    good = [release for release in everything if release.state == GOOD]
    # Those that were live last go last; those that never were are older than all that were.
    good.sort(key=lambda release: history.index(release.id) if release.id in history else -1)
    wanted = {release.id for release in good[-app["keep_releases"] :]}
    wanted |= {release.id for release in [r for r in everything if r.state == FAILED][-1:]}
    # The newest is on its way: built, and not activated yet.
    wanted |= {release.id for release in [r for r in everything if r.state == GOOD][-1:]}
    return [release for release in everything if release.id in wanted | in_use]


def running(app: App) -> set[str]:
    """The ids of releases that a process of this host works in: a draining worker, a timer's run, a shell."""
    found, root = set(), app.releases.resolve()  # a process knows its directory without links
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            path = Path(os.readlink(link))
        except OSError:
            continue
        if path.is_relative_to(root) and path != root:
            found.add(path.relative_to(root).parts[0])
    return found


def _sweep_static(app: App, remaining: list[Release]) -> None:
    """Remove published files that no release has any more."""
    wanted = set()
    for release in remaining:
        root = (release.path / "static").resolve()
        for directory, _names, files in os.walk(root):
            wanted |= {os.path.relpath(os.path.join(directory, name), root) for name in files}
    for directory, _names, files in os.walk(app.static, topdown=False):
        for name in files:
            path = Path(directory, name)
            if str(path.relative_to(app.static)) not in wanted and path != app.maintenance:
                path.unlink()
        if Path(directory) != app.static and not os.listdir(directory):
            os.rmdir(directory)
