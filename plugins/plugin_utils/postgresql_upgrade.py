# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clusters whose data is of an earlier major version than the one that the host is to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import (
    CONFIGURATION,
    PROGRAMS,
    RETIRED,
    UPGRADING,
    VERSION_FILES,
    unit_of,
    version_of,
)


def versions_there(survey: Mapping[str, Any], name: str) -> list[int]:
    """The versions that a cluster has data of, without those that have been upgraded, the latest last.

    :param survey: what djangofleet.stack.survey answers to postgresql_questions.
    """
    retired = _versions(survey, RETIRED, name)
    return [version for version in _versions(survey, VERSION_FILES, name) if version not in retired]


def _versions(survey: Mapping[str, Any], pattern: str, name: str) -> list[int]:
    """The versions of a cluster that have such a file, the latest last."""
    root = pattern.partition("/*")[0]
    found = [path.removeprefix(f"{root}/").split("/")[:2] for path in (survey.get("paths") or {}).get(pattern, ())]
    return sorted(int(version) for version, cluster in found if cluster == name and version.isdecimal())


def postgresql_upgrades(
    options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any], whole: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """What there is to upgrade on a host.

    :param options: the role's variables as its spec means them.
    :param whole: the `old_configuration` of clusters whose data has all been brought over, though no note says so yet.
    :returns: `clusters`, each with its `name`, `old` and `new` version, the `unit` of each, and whether its upgrade
        `has_begun` before: either the data `is_done`, so that the new cluster is the one that counts, or the upgrade
        `was_killed`, so that the new data is not whole, or nothing has been made; `problems`, a line each; `notes`, a
        line for each cluster that stays as it is.
    """
    new = version_of(options, facts)
    found: dict[str, list[Any]] = {"clusters": [], "problems": [], "notes": []}
    for cluster in options["postgresql_clusters"]:
        name, there = cluster["name"], versions_there(survey, cluster["name"])
        begun, retired = _versions(survey, UPGRADING, name), _versions(survey, RETIRED, name)
        left = [version for version in begun if version in retired and version < new]  # by a run that broke off
        is_retired = there == [new] and bool(left)
        if there in ([], [new]) and not is_retired:
            found["notes"].append(_note(name, new, there, facts))
            continue
        old = left[-1] if is_retired else there[0]
        configuration = f"{CONFIGURATION}/{old}/{name}"
        has_both = there == [old, new] and old in begun
        is_done = is_retired or (has_both and configuration in whole)
        found["problems"] += [] if is_done else _problems(name, new, there[:1] if has_both else there, survey)
        found["clusters"].append({
            "name": name,
            "old": old,
            "new": new,
            "old_unit": unit_of(old, name),
            "unit": unit_of(new, name),
            "has_begun": old in begun,
            "is_done": is_done,
            "was_killed": has_both and not is_done,
            "old_configuration": configuration,
        })  # fmt: skip
    return found


def _note(name: str, new: int, there: list[int], facts: Mapping[str, Any]) -> str:
    if not there:
        return f"cluster {name}: has no data; site.yml makes it"
    debian = facts.get("distribution_major_version", "")
    return (
        f"cluster {name}: is of version {new}, the one that Debian {debian} has; to run a later one, upgrade the "
        "distribution, and then run this playbook again"
    )


def _problems(name: str, new: int, there: list[int], survey: Mapping[str, Any]) -> Iterator[str]:
    paths = survey.get("paths") or {}
    if len(there) > 1:
        yield (
            f"cluster {name}: has data of the versions {', '.join(map(str, there))}; look which one is wanted, and "
            f"take the other away, such as a new and empty one: pg_dropcluster --stop {new} {name}"
        )
    elif there[0] > new:
        yield f"cluster {name}: has data of version {there[0]}, which {new} cannot read; no version goes back"
    elif PROGRAMS.replace("*", str(there[0])) not in paths.get(PROGRAMS, ()):
        yield (
            f"cluster {name}: has data of version {there[0]}, whose programs are not on this host, and the upgrade "
            f"takes both; install postgresql-{there[0]} again, from the distribution that had it"
        )
