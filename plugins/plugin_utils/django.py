# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The role django: the names and places of an app, and what the role wants of a host.

What an app means on a host is in django_settings.py, what is written there in django_entries.py, what is wrong with the
input in django_problems.py. An "app" is the mapping `django_app` as the role's spec means it: coerced, with the
defaults of the spec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

CONFIG = "/etc/djangofleet"
RUN = "/run/djangofleet"


def user_of(name: str) -> str:
    """The user that an app of that name runs as, and the stem of its units' names."""
    return f"django-{name}"


def home_of(name: str, root: str) -> str:
    """The directory of an app.

    :param root: the directory of all apps, `django_root`.
    """
    return f"{root}/{name}"


def listen_of(app: Mapping[str, Any]) -> str:
    """Where the app's socket listens: an absolute path, or address:port."""
    return app.get("listen", f"{RUN}/{app['name']}.sock")


def database_of(app: Mapping[str, Any]) -> str:
    """The name of an app's database on PostgreSQL, and of the role that owns it; empty where it has none of ours."""
    database = app["database"]
    if database.get("engine") != "postgresql":
        return ""
    return database.get("name", usual_database(app))


def usual_database(app: Mapping[str, Any]) -> str:
    """The name of an app's database on PostgreSQL where the app says no other."""
    return app["name"].replace("-", "_")


def cache_user_of(app: Mapping[str, Any]) -> str:
    """The name of an app's user on Redis; empty where it has none of ours."""
    return app["name"] if app["cache"].get("engine") == "redis" else ""


def app_packages(app: Mapping[str, Any]) -> list[str]:
    """The Debian packages of an app. Adapters that are not built with libpq need the one of the host."""
    own = ["libpq5"] if database_of(app) else []
    return [*own, *app["system_packages"], *app["build_packages"]]


def wheel_of(package: str) -> str:
    """The path of a wheel that may have extras, as in shop-1.4.2-py3-none-any.whl[server]; empty if it is none."""
    match = re.fullmatch(r"(.+\.whl)(?:\[[^\]]*\])?", package)
    return match[1] if match else ""


def django_packages(given: Mapping[str, Any], base: Sequence[str]) -> list[str]:
    """The Debian packages of the role, of its app if there is one, and of the other apps of the host."""
    found = resolve(spec_of("django"), given)[0]
    app = found.get("django_app", {})
    wanted = (*base, *(app_packages(app) if app else ()), *found.get("django_app_packages", ()))
    return list(dict.fromkeys(wanted))


def django_questions(given: Mapping[str, Any], uv: str) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out: which users and which apps are there, on which databases,
    and whose move to another one was killed.

    :param uv: the directory that uv is installed in.
    """
    found = resolve(spec_of("django"), given)[0]
    app = [user_of(found["django_app"]["name"])] if "django_app" in found else []
    return {
        "users": list(dict.fromkeys([*app, *found.get("django_app_users", ())])),
        "paths": [f"{uv}/bin/uv", f"{CONFIG}/*/app.json", f"{CONFIG}/*/move.json"],
        "databases": [f"{CONFIG}/*/live/env"],
    }


def django_returns(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[dict[str, str]]:
    """Which release each app of each host goes back to: the one that was live when the rollout began.

    :param hosts: the hosts of the play, the failed ones too.
    """
    return [
        {"host": host, "app": app, "release": build["before"]}
        for host in hosts
        for app, build in hostvars[host].get("__django_builds", {}).items()
        if build.get("before")
    ]
