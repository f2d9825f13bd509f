# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What apps with a database or a cache of ours mean for the host of that server, and where they find it.

An app and its server that are alone on one host speak over the unix socket. Everywhere else all hosts of the app speak
TLS to the server's private address, and the server's host lets in just them.

C(apps) are resolved ones. C(hostvars) are those of the inventory's hosts, for their addresses and their answers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.djangofleet.stack.plugins.module_utils.login import login_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import usual_database
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import spec_of

AUTHORITIES = "/etc/ssl/djangofleet"


@dataclass(frozen=True)
class Kind:
    """A server that apps may have.

    :param group: the group of the hosts that run it.
    :param option: what an app says about it.
    :param name: what a resolved app calls it by; empty where it has none of ours.
    :param variable: of the app's secrets, its password.
    :param port: where it listens for other hosts.
    :param certificate: the name of its certificate in role certificate.
    :param reader: the group that reads the certificate's key.
    """

    group: str
    option: str
    engine: str
    name: str
    variable: str
    port: int
    certificate: str
    reader: str
    title: str


KINDS = {
    "database": Kind(
        "database", "database", "postgresql", "database_name", "DATABASE_PASSWORD", 5432, "postgresql", "postgres",
        "PostgreSQL",
    ),
    "cache": Kind("cache", "cache", "redis", "cache_user", "REDIS_PASSWORD", 6379, "redis", "redis", "Redis"),
}  # fmt: skip


def databases(apps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A database of the role postgresql for each app that has one, owned by a role of the same name."""
    return [
        {
            "name": app["database_name"],
            "owner": app["database_name"],
            "extensions": app["database"]["extensions"],
            "settings": app["database"]["options"],
        }
        for app in apps
        if app["database_name"]
    ]


def roles(apps: Sequence[Mapping[str, Any]], answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The roles of the role postgresql for each app that has a database: the owner, and the login of its password.

    What a login makes belongs to the owner, so that it can go when there is another password. The owner itself is the
    login where the app says so.

    :param answers: what playbooks/secrets.yml has registered; nothing before it has run.
    """
    found: list[dict[str, Any]] = []
    for app in apps:
        if owner := app["database_name"]:
            password = password_of(KINDS["database"], app, answers)
            login = app["database"].get("user") or (login_of(owner, password) if password else "")
            if login == owner:
                found.append({"name": owner, "password": password})
                continue
            found.append({"name": owner, "login": False})
            if login:
                entry = {"name": login, "password": password}
                found.append({**entry, "member_of": [owner], "settings": {"role": owner}})
    return found


def pooler(
    apps: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    host: str,
    answers: Mapping[str, Any],
    separate: bool = False,
) -> dict[str, Any]:
    """What the role pgbouncer of a host needs for its apps: their logins, and the server that is behind it.

    :param host: the app's host.
    :param answers: what playbooks/secrets.yml has registered; nothing before it has run.
    """
    pooled = [app for app in apps if app["database"].get("pooler") and app["database_name"] and host in app["hosts"]]
    found = []
    for app in pooled:
        logins = [role for role in roles([app], answers) if role.get("password")]
        found += [
            {"owner": app["database_name"], "name": role.get("name", ""), "password": role.get("password", "")}
            for role in logins or [{}]
        ]
    # All apps are on the same hosts.
    return {"users": found, "server": place(pooled[0], "database", groups, hostvars, separate) if pooled else {}}


def settled(apps: Sequence[Mapping[str, Any]], kind: str, hostvars: Mapping[str, Any], host: str = "") -> list[str]:
    """What the apps are called by that have gone live on all of their hosts with the secrets that they have now.

    A playbook that builds ends before anybody asks, unless each app that it has built is live.

    :param kind: "database" or "cache" for the names that these have for them; "app" for their own.
    :param host: the one that is a site of its own; empty where the hosts of an app share its server.
    """
    name = KINDS[kind].name if kind in KINDS else "name"

    def is_live(app: Mapping[str, Any]) -> bool:
        hosts = [host] if host else app["hosts"]
        return all(app["name"] in (hostvars.get(each) or {}).get("__django_builds", ()) for each in hosts)

    return [app[name] for app in apps if app[name] and is_live(app)]


def changing(apps: Sequence[Mapping[str, Any]], kind: str, hostvars: Mapping[str, Any], host: str = "") -> list[str]:
    """What servers call the apps of which some process may still be as before this run: those that are not settled.

    An app that leaves its server has its usual name there.
    """
    live = settled(apps, "app", hostvars, host)
    names = [
        (app[KINDS[kind].name], usual_database(app) if kind == "database" else app["name"])
        for app in apps
        if app["name"] not in live
    ]
    return list(dict.fromkeys(name for pair in names for name in pair if name))


def users(apps: Sequence[Mapping[str, Any]], answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A user of the role redis for each app that has a cache, with the keys of its prefix.

    :param answers: what playbooks/secrets.yml has registered; nothing before it has run.
    """
    return [
        {
            "name": app["cache_user"],
            "passwords": [password] if (password := password_of(KINDS["cache"], app, answers)) else [],
            "keys": [f"{app['cache'].get('prefix', '')}*"],
        }
        for app in apps
        if app["cache_user"]
    ]


def password_of(kind: Kind, app: Mapping[str, Any], answers: Mapping[str, Any]) -> str:
    """The password that an app's user has: the inventory's, or the one that this run has read, or none."""
    if given := app[kind.option].get("password"):
        return given
    wanted = (app["name"], kind.variable)
    found = [each for each in answers.get("results", ()) if (each["item"]["app"], each["item"]["variable"]) == wanted]
    return found[0].get("value", "") if found else ""


def secrets(apps: Sequence[Mapping[str, Any]], host: str = "") -> list[dict[str, str]]:
    """The passwords that nobody has given, each with the app, the variable and the host that makes it.

    :param host: the one that is a site of its own; empty where each app's primary host makes them for all.
    """
    return [
        {"app": app["name"], "variable": kind.variable, "host": host or app["primary"]}
        for app in apps
        for kind in KINDS.values()
        if app[kind.name] and "password" not in app[kind.option] and host in ("", *app["hosts"])
    ]


def servers(kind: Kind, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The hosts that run such a server, in the inventory's order."""
    return list(groups.get(kind.group, []))


def is_remote(kind: Kind, app: Mapping[str, Any], groups: Mapping[str, Sequence[str]], separate: bool) -> bool:
    """Whether an app reaches its server over the network."""
    return bool(app[kind.name]) and not separate and list(app["hosts"]) != servers(kind, groups)


def address_of(host: str, hostvars: Mapping[str, Any]) -> str:
    """The address by which other hosts of the inventory reach a host; empty where the inventory does not say.

    Facts are not asked: a run with --limit, or one that deploys, would not have those of all hosts.
    """
    variables = hostvars.get(host) or {}
    given = (*(variables.get(name) for name in ("fleet_address", "host_private_address", "ansible_host")), host)
    return next((str(address) for address in given if address and is_address(address)), "")


def place(
    app: Mapping[str, Any],
    kind: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    separate: bool = False,
) -> dict[str, Any]:
    """Where an app finds its server, as role django takes it; empty for the unix socket of the host."""
    found = KINDS[kind]
    if not is_remote(found, app, groups, separate) or not servers(found, groups):
        return {}
    host = servers(found, groups)[0]
    read = (hostvars.get(host) or {}).get("djangofleet_authority") or {}
    return {
        "host": address_of(host, hostvars),
        "port": found.port,
        "authority_file": f"{AUTHORITIES}/{host}.pem",
        # Only a run that has been at the server knows it; the file stays.
        **({"authority": base64.b64decode(read["content"]).decode()} if read.get("content") else {}),
    }


def access(
    apps: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    separate: bool = False,
) -> list[dict[str, Any]]:
    """Who of the apps may connect to role postgresql: each to its own database, from its own hosts."""
    kind = KINDS["database"]
    return [
        {
            "role": f"+{app['database_name']}",  # its logins
            "database": app["database_name"],
            "sources": _addresses(app["hosts"], hostvars) if is_remote(kind, app, groups, separate) else [],
        }
        for app in apps
        if app["database_name"]
    ]


def listener(
    kind: str, hostvars: Mapping[str, Any], host: str, certificates: str | None = None
) -> dict[str, list[str] | str]:
    """Where a server listens for those who come over the network, and by which certificate, whether anybody does.

    :param kind: "database" or "cache".
    :param host: the server's host.
    :param certificates: the directory of role certificate; None for its default.
    """
    directory = certificates or spec_of("certificate")["certificate_directory"]["default"]
    place = f"{directory}/{KINDS[kind].certificate}"
    return {
        "listen_addresses": [address for address in [address_of(host, hostvars)] if address],
        "certificate_file": f"{place}/fullchain.pem",
        "key_file": f"{place}/privkey.pem",
    }


def server(
    apps: Sequence[Mapping[str, Any]],
    kind: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    host: str,
    certificates: str | None = None,
    separate: bool = False,
) -> dict[str, Any]:
    """What a server needs for those who come over the network; empty where nobody does.

    :param kind: "database" or "cache".
    :param host: the server's host.
    :param certificates: the directory of role certificate; None for its default.
    :returns: `listens` for the server's role, `certificates` for role certificate, `rules` for role host's firewall.
    """
    found = KINDS[kind]
    remote = [app for app in apps if is_remote(found, app, groups, separate)]
    address = address_of(host, hostvars)
    if not remote or host not in servers(found, groups) or not address:
        return {}
    sources = _addresses([name for app in remote for name in app["hosts"]], hostvars)
    rule = {"port": str(found.port), "sources": sources, "comment": f"{found.title} for the app hosts"}
    return {
        "listens": listener(kind, hostvars, host, certificates),
        "certificates": [{"name": found.certificate, "domains": [address], "key_group": found.reader}],
        "rules": [rule] if sources else [],
    }


def _addresses(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> list[str]:
    return [found for host in dict.fromkeys(hosts) if (found := address_of(host, hostvars))]


def server_problems(
    app: Mapping[str, Any],
    where: str,
    hosts: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
) -> Iterator[str]:
    """A server of ours without a host, with several, or with hosts that do not know how to reach each other.

    :param app: as the inventory has it.
    :param hosts: of the app.
    """
    for kind in KINDS.values():
        given = app.get(kind.option)
        if isinstance(given, Mapping) and given.get("engine") == kind.engine:
            yield from _kind_problems(kind, where, hosts, servers(kind, groups), hostvars)


def _kind_problems(
    kind: Kind, where: str, hosts: Sequence[str], found: Sequence[str], hostvars: Mapping[str, Any]
) -> Iterator[str]:
    path = f"{where}.{kind.option}"
    if not found:
        yield (
            f"{path}.engine: is {kind.engine}, and no host is in the group {kind.group}; put one there, or give "
            f"{kind.option}.url"
        )
    elif len(found) > 1:
        yield (
            f"{path}.engine: is {kind.engine}, and the group {kind.group} has {len(found)} hosts; leave one, or give "
            f"{kind.option}.url"
        )
    elif list(hosts) != list(found):
        for host in dict.fromkeys([*found, *hosts]):
            if not address_of(host, hostvars):
                yield (
                    f"host_private_address: is missing for {host}, while {where} has its {kind.option} on {found[0]} "
                    f"and is on {', '.join(hosts)}; give the address by which these hosts reach each other"
                )
