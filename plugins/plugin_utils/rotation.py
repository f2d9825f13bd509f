# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which secrets of which apps a rotation makes anew: those that hosts have made. The inventory's are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import KINDS, servers
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem

KEY = "secret_key"
# The variable of each secret, and the option of an app that would give it.
SECRETS = {
    KEY: ("SECRET_KEY", "secret_key"),
    "database": ("DATABASE_PASSWORD", "database.password"),
    "cache": ("REDIS_PASSWORD", "cache.password"),
}
FORMER = "SECRET_KEY_FALLBACKS"


def rotation(
    apps: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    secret: str = "",
    forget: bool = False,
    host: str = "",
) -> dict[str, Any]:
    """What a rotation does.

    :param apps: the resolved apps that it is about.
    :param groups: those of the inventory.
    :param secret: a key of SECRETS; empty for all.
    :param forget: make no key, and end the earlier ones.
    :param host: the one that is a site of its own; empty where each app's primary host makes the secrets of all.
    :returns: `problems`, lines about what cannot be meant; `given`, lines about what the inventory gives; `steps`, each
        a task of djangofleet.stack.secret on a host; `apps`, the names of those that start anew; `servers`, the hosts
        whose servers have to know the new passwords.
    """
    if secret and secret not in SECRETS:
        return _result([problem("secret", secret, f"one of {', '.join(SECRETS)}")])
    if forget and secret not in ("", KEY):
        return _result([f"forget: ends earlier keys, and secret is {secret}; leave one of the two out"])
    kinds = [KEY] if forget else [secret] if secret else list(SECRETS)
    there = [(app, kind) for app in apps for kind in kinds if has(app, kind)]
    given = [_given(app, kind) for app, kind in there if is_given(app, kind)]
    made = [(app, kind) for app, kind in there if not is_given(app, kind) and host in ("", *app["hosts"])]
    steps = [_step(app, kind, forget, host or app["primary"]) for app, kind in made]
    nothing = [f"secret: no app of this run has one of its own for {secret or 'anything'}; nothing is to be made"]
    asked = [
        name for _app, kind in made if kind in KINDS for name in ([host] if host else servers(KINDS[kind], groups))
    ]
    return _result([] if steps else given or nothing, given, steps, asked)


def has(app: Mapping[str, Any], kind: str) -> bool:
    """Whether an app has such a secret: a key each, a password for a server of ours."""
    return kind == KEY or bool(app["database_name" if kind == "database" else "cache_user"])


def is_given(app: Mapping[str, Any], kind: str) -> bool:
    """Whether the inventory gives it."""
    return "secret_key" in app or "SECRET_KEY" in app["environment"] if kind == KEY else "password" in app[kind]


def _given(app: Mapping[str, Any], kind: str) -> str:
    option = f"django_apps[{app['name']}].{SECRETS[kind][1]}"
    beside = f", this one in django_apps[{app['name']}].secret_key_fallbacks" if kind == KEY else ""
    return f"{option}: is the inventory's, which no playbook writes; give another one there{beside} and run site.yml"


def _step(app: Mapping[str, Any], kind: str, forget: bool, host: str) -> dict[str, str]:
    state = "forgotten" if forget else "announced" if kind == KEY else "renewed"
    former = FORMER if kind == KEY else ""
    return {"app": app["name"], "host": host, "variable": SECRETS[kind][0], "former": former, "state": state}


def _result(
    problems: Sequence[str],
    given: Sequence[str] = (),
    steps: Sequence[Mapping[str, str]] = (),
    hosts: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "problems": list(problems),
        "given": list(given),
        "steps": list(steps),
        "apps": list(dict.fromkeys(step["app"] for step in steps)),
        "servers": list(dict.fromkeys(hosts)),
    }
