# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apps that an inventory gives another database than the one that they are live on.

The collection makes a database of its own where there is none. So an app whose inventory names another one would come
up on an empty database, and its rows would stay in the old one. A database that an app has by its URL is left to
whoever gave it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import KINDS, address_of, servers

PLAYBOOK = "playbooks/move-database.yml -e app={name}"
GUIDE = "docs/moves.md"
WORD = "-e allow_other_database=true"
FILES = ("sqlite", "spatialite")
SERVERS = ("postgres", "postgresql", "psql", "pgsql", "postgis")


def moves(
    apps: Sequence[Mapping[str, Any]],
    databases: Mapping[str, Mapping[str, str]],
    host: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    separate: bool = False,
    notes: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The apps of a host that are live on another database than the inventory's, and those whose move was killed.

    :param apps: resolved ones.
    :param databases: what djangofleet.stack.survey says of the environment files of live apps.
    :param separate: each host is a site of its own.
    :param notes: the files that killed moves have left.
    :returns: of each its `name`, what it is live on as `engine` and `address`, and the `problem` for the operator; an
        `engine` that is empty cannot be moved.
    """
    live = {path.split("/")[-3]: url for found in databases.values() for path, url in found.items()}
    killed = {path.split("/")[-2] for path in notes}
    found = []
    for app in apps:
        url = live.get(app["name"], "")
        engine = _engine(url)
        wanted = _wanted(app)
        is_there = engine == wanted == "postgresql" and _is_on_server(url, host, groups, hostvars, separate)
        name = urlsplit(url).path.strip("/")
        is_same = engine == wanted and (wanted == "sqlite" or (is_there and name == app["database_name"]))
        if url and engine == "sqlite" and app["hosts"] and host not in app["hosts"]:
            problem = (
                f"django_apps[{app['name']}].hosts: the app is live on {host} with {url}, and would come up on an "
                f"empty database on {', '.join(app['hosts'])}; move its rows to PostgreSQL first ({GUIDE}), or leave "
                f"them behind: {WORD}"
            )
            found.append({"name": app["name"], "engine": "", "address": url, "problem": problem})
        elif url and wanted and not is_same:
            can_move = wanted == "postgresql" and engine in ("sqlite", "postgresql")
            move = f"move its rows with {PLAYBOOK.format(name=app['name'])}, or " if can_move else ""
            if is_there:  # which would let the live app in no more
                can_move, move = False, f"keep it with database.name: {name}, or rename it by hand as in {GUIDE}, or "
            elif can_move and app["database"].get("pooler"):  # it would lead the live app to the new server
                can_move, move = False, "leave out database.pooler until its rows have moved, or "
            empty = f"an empty database of {'PostgreSQL' if wanted == 'postgresql' else 'SQLite'}"
            problem = (
                f"django_apps[{app['name']}].database: the app is live on {url}, and would come up on {empty}; "
                f"{move}leave its rows behind: {WORD}"
            )
            found.append({
                "name": app["name"],
                "engine": engine if can_move else "",
                "address": url,
                "problem": problem,
            })  # fmt: skip
        elif app["name"] in killed:
            problem = (
                f"django_apps[{app['name']}].database: a move to another database was broken off, and left the "
                f"maintenance page; bring it to its end with {PLAYBOOK.format(name=app['name'])}"
            )
            found.append({"name": app["name"], "engine": engine, "address": url, "problem": problem})
    return found


def _wanted(app: Mapping[str, Any]) -> str:
    """What the collection would make for the app; empty where the inventory names a database that is there."""
    if app["database_name"]:
        return "postgresql"
    is_given = "url" in app["database"] or "DATABASE_URL" in app["environment"]
    return "" if is_given else "sqlite"


def _engine(url: str) -> str:
    scheme = urlsplit(url).scheme
    family = scheme.partition("+")[0]  # which a driver may follow
    return "sqlite" if scheme in FILES else "postgresql" if family in SERVERS else scheme


def _is_on_server(
    url: str, host: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], separate: bool
) -> bool:
    """Whether a URL leads to the server that the inventory means. It has a socket and an address."""
    parts = urlsplit(url)
    server = host if separate else next(iter(servers(KINDS["database"], groups)), "")
    place = parts.hostname or next(iter(parse_qs(parts.query).get("host", [""])), "")
    is_here = place.startswith("/") or not place
    return server == host if is_here else place == address_of(server, hostvars)
