# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the apps of an inventory mean: one resolved list, and the input that other roles take from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.djangofleet.stack.plugins.plugin_utils import app_fleet
from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import address_of, server_problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import (
    app_packages,
    cache_user_of,
    database_of,
    home_of,
    listen_of,
    user_of,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import (
    app_problems,
    app_warnings,
    option_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_pages import error_files
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import (
    labelled,
    nearest,
    one_line,
    outline,
    problem,
    shown,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, resolve, spec_of

WANTED = "a list of mappings, each with name, domains and source"
# What an inventory, group_vars/all and entry points of roles know, beside the variables of roles.
OTHER_VARIABLES = (
    *("django_apps", "django_apps_selected", "django_apps_problems", "django_apps_warnings"),
    *("django_apps_absent", "django_apps_left", "django_apps_selection_problems", "django_release"),
    *("django_apps_moves", "django_leave_tables"),
)


# The resolved list


def resolve_apps(
    apps: Any, groups: Mapping[str, Sequence[str]], root: str | None = None, partial: bool = False
) -> list[dict[str, Any]]:
    """The apps with all defaults and what follows from them.

    :param root: the directory of all apps, `django_root`; None for the role's default.
    :param partial: leave out an app that its spec does not take.
    :raises ValueError: with all that is wrong with what was given, a line each, unless partial.
    """
    wrong = outline_problems(apps)
    if wrong and not partial:
        raise ValueError("\n".join(wrong))
    apps = [app for app in _listed(apps) if isinstance(app, Mapping) and not is_absent(app)]
    root = root or spec_of("django")["django_root"]["default"]
    options = spec_of("django")["django_app"]["options"]
    pairs = [resolve(options, app, where) for where, app in labelled("django_apps", apps)]
    wrong = [line for _app, lines in pairs for line in lines]
    if wrong and not partial:
        raise ValueError("\n".join(wrong))
    return [_resolved(app, groups, root) for app, lines in pairs if not lines]


def _resolved(app: Mapping[str, Any], groups: Mapping[str, Sequence[str]], root: str) -> dict[str, Any]:
    home, listen, hosts = home_of(app["name"], root), listen_of(app), app_fleet.hosts_of(app, groups)
    return {
        **app,
        "hosts": hosts,
        "primary": hosts[0] if hosts else "",
        "balancers": app_fleet.balancers_of(hosts, groups),
        "user": user_of(app["name"]),
        "home": home,
        "listen": listen,
        "upstream": f"unix:{listen}" if listen.startswith("/") else listen,
        "static": _served(app["static_url"], f"{home}/static/"),
        "media": [{**place, **_private(app["media"])} for place in _served(app["media_url"], f"{home}/media/")],
        "maintenance_page": f"{home}/static/.maintenance.html",
        "error_files": error_files(app["error_pages"], f"{home}/static"),
        "certificate_name": app["name"],
        "packages": app_packages(app),
        "database_name": database_of(app),
        "cache_user": cache_user_of(app),
    }


def _served(url: str, path: str) -> list[dict[str, str]]:
    """What Nginx serves of a directory: nothing where the URL is on another host."""
    return [{"url": url, "path": path}] if url.startswith("/") else []


def _private(media: Mapping[str, Any]) -> dict[str, Any]:
    """What only the app hands out of its uploads, where there is such a thing."""
    return {"private": media["private"]} if media["private"] else {}


def app_primary(apps: Sequence[Mapping[str, Any]], name: str = "") -> str:
    """The host that migrates an app first and runs its singletons; empty if there is no such app."""
    return next((app["primary"] for app in apps if app["name"] == name), "")


# What other roles take


def app_sites(
    apps: Sequence[Mapping[str, Any]],
    certificate_directory: str | None = None,
    host: str = "",
    hostvars: Mapping[str, Any] | None = None,
    tls: bool = True,
    authority: str = "",
) -> list[dict[str, Any]]:
    """A site of the role nginx for each app. `nginx` of the app has the last word.

    :param apps: what resolve_apps gives.
    :param certificate_directory: where certificates lie; None for the default of the role certificate.
    :param host: whose Nginx it is: one of the app's hosts, or a balancer in front of them.
    :param hostvars: for the addresses of hosts that speak to each other.
    :param tls: whether balancers speak TLS to the app's hosts.
    :param authority: the file of the authority that signs what they show each other.
    """
    directory = certificate_directory or spec_of("certificate")["certificate_directory"]["default"]
    found = []
    for app in apps:
        site, given = _site(app, directory), app["nginx"]
        if host in app["balancers"]:
            site, given = app_fleet.balancer_site(site, app, hostvars or {}, tls, authority)
        elif app["balancers"]:
            site, given = app_fleet.inner_site(site, app, hostvars or {}, host)
        found.append(_merged(site, given))
    return found


def _site(app: Mapping[str, Any], directory: str) -> dict[str, Any]:
    certificate = f"{directory}/{app['certificate_name']}"
    # Nginx lets go of an idle connection before Gunicorn does: the other way round a request could meet a closed one.
    keepalive = max(app["gunicorn"]["keepalive"] - 5, 1)
    return {
        "name": app["name"],
        "domains": app["domains"],
        "certificate": {"fullchain": f"{certificate}/fullchain.pem", "key": f"{certificate}/privkey.pem"},
        "upstream": {"servers": [app["upstream"]], "keepalive_timeout": f"{keepalive}s"},
        "maintenance": {"page": app["maintenance_page"], "allow": app["maintenance_allow"]},
        "static": app["static"],
        "media": app["media"],
        "open_paths": _open_paths(app["health"]),
        **({"error_pages": app["error_files"]} if app["error_files"] else {}),
    }


def _open_paths(health: Mapping[str, Any]) -> list[str]:
    """The health path, which balancers and monitoring ask for, where it is one of its own."""
    path = health["path"].partition("?")[0]
    return [path] if health["enabled"] and path != "/" else []


def _merged(site: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The site with what was given over it; mappings are merged key by key."""
    both = {
        key: {**site[key], **value} if isinstance(value, Mapping) and isinstance(site.get(key), Mapping) else value
        for key, value in given.items()
    }
    return {**site, **both}


def app_certificates(
    apps: Sequence[Mapping[str, Any]], host: str = "", hostvars: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """A certificate of the role certificate for each app, self-signed unless the app says otherwise.

    Behind balancers the visitors' certificate is theirs, and the app's hosts show them one of the private authority.

    :param host: one of the app's hosts, or a balancer in front of them.
    :param hostvars: for the addresses of hosts that speak to each other.
    """
    private = {"source": "selfsigned"}
    found = [
        {
            "name": app["certificate_name"],
            "domains": app["domains"],
            **(private if app["balancers"] and host not in app["balancers"] else app["certificate"] or private),
        }
        for app in apps
    ]
    address = address_of(host, hostvars or {})
    # By this one a balancer has the authority, whoever signs its visitors' certificates.
    if address and any(host in app["balancers"] for app in apps):
        found.append({"name": "fleet.balancer", "domains": [address], **private})  # no app has a dot in its name
    return found


# What is wrong


def outline_problems(apps: Any) -> list[str]:
    """What is wrong with `django_apps` as a whole, before any app is looked at."""
    if apps is None:
        return [f"django_apps: is missing; give {WANTED}"]
    if not isinstance(apps, (list, tuple)):
        return [problem("django_apps", outline(apps), WANTED)]
    return [
        problem(f"django_apps[{number}]", outline(app), "a mapping with name, domains and source")
        for number, app in enumerate(apps)
        if not isinstance(app, Mapping)
    ]


def is_absent(app: Any) -> bool:
    """Whether an app is to be taken off its hosts."""
    return isinstance(app, Mapping) and app.get("state") == "absent"


def apps_selected(apps: Any, name: str = "", absent: bool = False) -> list[Any]:
    """The apps that a run is about: all, or the one of that name.

    :param absent: those to be taken off their hosts, in place of those to be there.
    """
    apps = apps if isinstance(apps, (list, tuple)) else []
    named = [app for app in apps if not name or (isinstance(app, Mapping) and app.get("name") == name)]
    return [app for app in named if is_absent(app) == absent]


def apps_left(apps: Any, paths: Sequence[str]) -> list[str]:
    """What to say of apps that a host has and the inventory does not name, a line each.

    :param paths: the app.json of each app of the host.
    """
    known = {app.get("name") for app in _mappings(apps)}
    names = [path.split("/")[-2] for path in paths]
    return [
        f"{name}: is on this host and not in django_apps, so that it runs on without a site and without a login to "
        f"PostgreSQL and Redis of ours; to stop it and remove its units, add {{name: {name}, state: absent}}"
        for name in names
        if name not in known
    ]


def selection_problems(apps: Any, name: str = "", present: bool = False) -> list[str]:
    """What is wrong with the choice of apps alone: what a rollback has to know.

    :param present: refuse an app that is to go, of which no release is put live.
    """
    if wrong := outline_problems(apps):
        return wrong
    goes = bool(apps_selected(apps, name, absent=True))
    if not name or apps_selected(apps, name) or (goes and not present):
        return []
    names = [one_line(app.get("name", "")) for app in apps if not (present and is_absent(app))]
    known = f"give one of: {', '.join(names)}" if names else "the inventory has no app"
    if goes:
        return [f"app: found {shown(name)}, whose state is absent: site.yml takes it off its hosts; {known}"]
    meant = nearest(str(name), names)
    return [f"app: found {shown(name)}; {f'did you mean {shown(meant)}? ' if meant else ''}{known}"]


def apps_problems(
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    name: str,
    given: Mapping[str, Any],
    is_there: Callable[[str, str], bool],
    separate: bool = False,
    hostvars: Mapping[str, Any] | None = None,
) -> list[str]:
    """What is wrong with the apps of an inventory, one line each.

    :param apps: `django_apps`, or None where nothing is given.
    :param groups: the inventory's groups with their hosts.
    :param name: the one app that the run is about; empty for all. What is wrong with another one does not stop it.
    :param given: the role's other variables, as the inventory gives them.
    :param is_there: whether a path of the controller is a "directory" or a "file": (path, kind).
    :param separate: each host is a site of its own, so that hosts of an app need not share anything.
    :param hostvars: for the addresses of hosts that speak to each other.
    """
    if wrong := selection_problems(apps, name):
        return wrong
    found = option_problems(given)
    for where, app in labelled("django_apps", apps):
        if name and app.get("name") != name:
            continue
        if is_absent(app):
            found += _absent_problems(app, where)
            continue
        lines = app_problems(app, where, is_there) + _wired_problems(app, where)
        hosts = app_fleet.hosts_of(app, groups)
        if not lines and separate:
            lines = list(app_fleet.separate_problems(where, hosts, groups))
        elif not lines:
            lines = [
                *app_fleet.host_problems(app, where, groups, hostvars or {}),
                *server_problems(app, where, hosts, groups, hostvars or {}),
                *_fleet_problems(app, where, hosts, bool(app_fleet.balancers_of(hosts, groups))),
            ]
        found += lines
    return [*found, *_shared(apps), *_shared_caches(apps), *_shared_units(apps)]


def _absent_problems(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with an app that is to go: of such a one only the name matters."""
    return [] if matches("app", app.get("name")) else [problem(f"{where}.name", app.get("name"), "the name of the app")]


def _wired_problems(app: Mapping[str, Any], where: str) -> list[str]:
    """What the roles that are wired from an app do not know of what it says to them."""
    found = []
    for key, role, variable in (
        ("nginx", "nginx", "nginx_sites"),
        ("certificate", "certificate", "certificate_certificates"),
    ):
        if isinstance(app.get(key), Mapping) and (ROLES / role).is_dir():
            # Required are what the wiring adds, and what the role checks itself.
            options = _optional(spec_of(role)[variable]["options"])
            found += resolve(options, app[key], f"{where}.{key}")[1]
    return found


def _optional(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a spec, of which none has to be given: an app adds to a site, and gives no whole one."""
    return {
        name: {key: value for key, value in option.items() if key != "required"}
        | ({"options": _optional(option["options"])} if option.get("type") == "dict" and "options" in option else {})
        for name, option in options.items()
    }


def _fleet_problems(app: Mapping[str, Any], where: str, hosts: Sequence[str], balanced: bool) -> Iterator[str]:
    """What hosts that share an app would each make for themselves.

    :param balanced: whether balancers spread visitors over them, so that none can be a site of its own.
    """
    if len(hosts) < 2:
        return
    count = f"is missing, while the app has {len(hosts)} hosts"
    word = "or one host"
    if not balanced:
        word = "or say that each host is a site of its own: -e allow_separate_hosts=true"
    media = app.get("media") if isinstance(app.get("media"), Mapping) else {}
    if str(app.get("media_url", "/")).startswith("/") and not media.get("shared"):
        yield (
            f"{where}.media.shared: {count}, each with uploads of its own; give media_url of a store that they share "
            f"(docs/fleet.md), or shared: true where their media directory is one file system, {word}"
        )
    environment = app.get("environment") or {}
    if (app.get("database") or {}).get("engine") == "postgresql":
        return
    if "url" not in (app.get("database") or {}) and "DATABASE_URL" not in environment:
        yield f"{where}.database.url: {count}; give the URL of one that they share, {word}"


def _shared(apps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Names, domains and addresses that two apps have in common. The domains of one that goes are free."""
    names = [app["name"] for app in apps if "name" in app]
    domains = [domain for app in apps if not is_absent(app) for domain in _listed(app.get("domains"))]
    listens = [app["listen"] for app in apps if app.get("listen")]
    databases = [_database_name(app) for app in apps if not is_absent(app)]
    for what, values in (
        ("name", names),
        ("domains", domains),
        ("listen", listens),
        ("database.name", list(filter(None, databases))),
    ):
        lowered = [str(value).lower() for value in values]
        for value in dict.fromkeys(lowered):
            if lowered.count(value) > 1:
                yield f"django_apps[].{what}: '{value}' is there {lowered.count(value)} times; each app needs its own"


def _database_name(app: Mapping[str, Any]) -> str:
    """The name of an app's own database, whatever else is wrong with the app; empty if it has none."""
    database = app.get("database")
    return (
        database_of({"name": str(app.get("name", "")), "database": database}) if isinstance(database, Mapping) else ""
    )


def _shared_caches(apps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Apps on one Redis that do not say which keys are theirs, or that reach those of another app too."""
    pairs = [
        (where, app["cache"])
        for where, app in labelled("django_apps", [app for app in apps if not is_absent(app)])
        if isinstance(app.get("cache"), Mapping) and app["cache"].get("engine") == "redis"
    ]
    prefixes = [cache.get("prefix") for _where, cache in pairs]
    texts = [str(prefix) for prefix in prefixes if prefix]
    for where, cache in pairs if len(pairs) > 1 else []:
        prefix = cache.get("prefix")
        if prefix is None:
            yield (
                f"{where}.cache.prefix: is missing, while {len(pairs)} apps share the Redis; give what the app's keys "
                'begin with, such as "shop:", or "" to let it see the keys of all'
            )
        elif prefix and prefixes.count(prefix) > 1:
            yield f"{where}.cache.prefix: found {shown(prefix)}, which another app has too; give each its own"
        elif prefix and (
            longer := [other for other in texts if other != str(prefix) and other.startswith(str(prefix))]
        ):
            yield (
                f"{where}.cache.prefix: found {shown(prefix)}, with which the keys of another app begin too: "
                f"{shown(longer[0])}; end it with a sign that the other does not have there, such as a colon"
            )


def _shared_units(apps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Apps whose names meet the units of another app's processes and timers: django-shop-mail is one or the other."""
    names = [app.get("name", "") for app in apps]
    taken: dict[str, str] = {}
    for app in apps:
        for unit in [*_mappings(app.get("processes")), *_mappings(app.get("timers"))]:
            if "name" not in app or "name" not in unit:
                continue
            full = f"{app['name']}-{unit['name']}"
            clashes = [name for name in (full, full.removesuffix("-next")) if name in names]
            other = (clashes or [taken.get(full, "")])[0]
            if other not in ("", app["name"]):
                yield (
                    f"django_apps[].name: '{other}' would share the unit of '{unit['name']}' of app '{app['name']}'; "
                    "rename one of them"
                )
            taken[full] = app["name"]


def _listed(value: Any) -> list[Any]:
    """A list, or a text as a list of one, as the spec means it."""
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, (list, tuple)) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _listed(value) if isinstance(item, Mapping)]


# What is probably not meant


def apps_warnings(apps: Any, sites: Any = ()) -> list[str]:
    """What can be done and is probably not meant: references that nothing stands for, files that nobody serves.

    :param sites: the sites that the inventory adds to those of the apps, `nginx_sites`.
    """
    if outline_problems(apps):
        return []
    served = {str(domain) for site in _mappings(sites) for domain in _listed(site.get("domains"))}
    found = []
    for where, app in labelled("django_apps", [app for app in apps if not is_absent(app)]):
        found += [*app_warnings(app, where), *_unserved(app, where, served)]
    return found


def _unserved(app: Mapping[str, Any], where: str, served: Collection[str]) -> Iterator[str]:
    for name in ("static_url", "media_url"):
        host = urlsplit(str(app.get(name, ""))).hostname
        if host and host not in served:
            yield (
                f"{where}.{name}: is on {host}, and this app's site does not serve these files; unless somebody else "
                "does, give nginx_sites a site of that name, see docs/behind-a-balancer.md"
            )


def misspelt_variables(names: Sequence[str]) -> list[str]:
    """Variables with the prefix of a role that come near one of its own and are none.

    :param names: the names of all variables of a host.
    """
    known = {*OTHER_VARIABLES}
    roles = sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml"))
    for role in roles:
        known |= set(spec_of(role))
    found = []
    for name in sorted(set(names) - known):
        role, underscore, _rest = name.partition("_")
        if role not in roles or not underscore:
            continue
        # Compared without the prefix: it alone would make all names of a role resemble each other.
        near = {other.removeprefix(f"{role}_"): other for other in known if other.startswith(f"{role}_")}
        if meant := nearest(name.removeprefix(f"{role}_"), near):
            found.append(f"{name}: is not known; did you mean '{near[meant]}'?")
    return found
