# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of the role django, and what is probably not meant."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import CONFIG, wheel_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.nginx_pages import private_problems, template_problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import (
    is_address,
    is_domain,
    is_listen,
    matches,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, nearest, outline, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

# The names that djangoctl puts in place of ${NAME} in a value of `environment`.
CONTRACT = (
    *("DJANGO_SETTINGS_MODULE", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS"),
    *("DATABASE_URL", "DATABASE_DIRECT_URL", "CACHE_URL", "REDIS_URL"),
    *("DATABASE_NAME", "DATABASE_ROLE", "DATABASE_USER", "DATABASE_PASSWORD", "DATABASE_HOST", "DATABASE_PORT"),
    *("DATABASE_SSLMODE", "DATABASE_SSLROOTCERT", "DATABASE_POOLER"),
    *("REDIS_USER", "REDIS_PASSWORD", "REDIS_HOST", "REDIS_PORT", "REDIS_PREFIX", "REDIS_SSL_CA_CERTS"),
    *("STATIC_ROOT", "STATIC_URL", "MEDIA_ROOT", "MEDIA_URL", "RELEASE_ID"),
)
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

# What dj-database-url and django-environ know, so that a scheme that comes near one of them is a misspelt one.
DATABASES = (
    *("postgres", "postgresql", "pgsql", "psql", "postgis", "mysql", "mysql2", "mysqlgis", "mysql-connector", "sqlite"),
    *("spatialite", "oracle", "oraclegis", "mssql", "mssqlms", "redshift", "cockroach", "timescale", "timescalegis"),
)

# What needs no network, whatever stands where a host would.
WITHOUT_NETWORK = (
    *("sqlite", "spatialite", "unix", "rediscache+unix", "file", "filecache"),
    *("locmem", "locmemcache", "db", "dbcache", "dummy", "dummycache"),
)

CREDENTIALS = re.compile(r"https?://[^/\s]*@")

PATH_IN_SOURCE = "a path relative to the source"
DIRECTORY_IN_SOURCE = "a directory relative to the source"
URL_PATH = "a path that begins and ends with a slash"
UNIT_NAME = "up to 24 lower-case letters, digits and hyphens, a letter first, neither next nor ending in -replace"
# What the types of the spec cannot say: where a value stands in an app, the kind it has to be of, what to give.
KINDS = (
    (
        "name",
        "app",
        "up to 24 lower-case letters, digits and hyphens, a letter first, not ending in -next, and neither authority "
        f"nor certificates, which are taken in {CONFIG}",
    ),
    ("project_dir", "inside", DIRECTORY_IN_SOURCE),
    ("requirements", "inside", "a file relative to project_dir"),
    ("static_root", "below", DIRECTORY_IN_SOURCE),
    ("media_root", "below", DIRECTORY_IN_SOURCE),
    ("static_url", "url", URL_PATH),
    ("media_url", "url", URL_PATH),
    ("settings_module", "module", "a module, such as shop.settings"),
    ("wsgi", "application", "module:callable, such as shop.wsgi:application"),
    ("asgi", "application", "module:callable, such as shop.asgi:application"),
    ("python", "program", "the absolute path of an interpreter"),
    ("gunicorn.workers", "workers", "auto or a number above 0"),
    ("health.path", "request", "a path that begins with a slash"),
    ("health.warm[]", "request", "a path that begins with a slash"),
    ("files[].dest", "file", PATH_IN_SOURCE),
    ("shared_paths[]", "below", PATH_IN_SOURCE),
    ("system_packages[]", "package", "the name of a Debian package"),
    ("build_packages[]", "package", "the name of a Debian package"),
    ("hooks.before_collectstatic[]", "text", "a command"),
    ("hooks.build[]", "text", "a command"),
    ("hooks.before_migrate[]", "text", "a command"),
    ("hooks.after_migrate[]", "text", "a command"),
    ("hooks.after_first_migrate[]", "text", "a command"),
    ("hooks.before_activate[]", "text", "a command"),
    ("hooks.after_activate[]", "text", "a command"),
    ("processes[].name", "unit", UNIT_NAME),
    ("processes[].command", "line", "a command in one line"),
    ("processes[].count", "instances", "a number from 1 to 99"),
    ("processes[].stop_signal", "signal", "a signal, such as SIGTERM"),
    ("timers[].name", "unit", UNIT_NAME),
    ("timers[].command", "line", "a command in one line"),
    ("timers[].calendar", "line", "a time as systemd writes it, such as daily"),
)

# The same of the role's other variables.
OPTION_KINDS = (
    ("django_python", "program", "the absolute path of an interpreter"),
    ("django_root", "directory", "the absolute path of a directory, without spaces"),
    ("django_socket_group", "group", "the name of a group"),
    ("django_media_group", "group", "the name of a group"),
)


def django_problems(given: Mapping[str, Any], is_there: Callable[[str, str], bool]) -> list[str]:
    """What is wrong with the role's variables, one line each.

    :param given: the variables as the inventory gives them.
    :param is_there: whether a path of the controller is a "directory" or a "file": (path, kind).
    """
    app = given.get("django_app")
    if not app:  # a playbook asks before it includes the role for an app
        return option_problems(given)
    return option_problems(given) + app_problems(app, given.get("django_app_path") or "django_app", is_there)


def option_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables of the role that are about all apps."""
    options = {name: option for name, option in spec_of("django").items() if name != "django_app"}
    found, problems = resolve(options, {name: value for name, value in given.items() if name in options})
    for name, kind, wanted in OPTION_KINDS:
        if name in found and not matches(kind, found[name]):
            problems.append(problem(name, found[name], wanted))
    return problems


def app_problems(given: Any, path: str, is_there: Callable[[str, str], bool]) -> list[str]:
    """What is wrong with one app: first what its spec says, then what its values say of each other.

    :param path: how messages name the app, such as django_apps[shop].
    """
    if not isinstance(given, Mapping):
        return [problem(path, outline(given), "a mapping with name, domains and source")]
    app, problems = resolve(spec_of("django")["django_app"]["options"], given, path)
    if problems:
        return problems
    return [
        *_source_problems(app["source"], path, is_there),
        *(
            problem(f"{path}{where}", value, wanted)
            for where, value, kind, wanted in _values(app)
            if not matches(kind, value)
        ),
        *_domain_problems(app["domains"], path),
        *([problem(f"{path}.wsgi", app["wsgi"], "either wsgi or asgi")] if {"wsgi", "asgi"} <= set(app) else []),
        *(
            [problem(f"{path}.listen", app["listen"], "an absolute path, or address:port with a numeric address")]
            if "listen" in app and not is_listen(app["listen"])
            else []
        ),
        *_unit_problems(app, path),
        *_hook_problems(app["hooks"], f"{path}.hooks"),
        *_environment_problems(app, path),
        *_network_problems(app, path),
        *_file_problems(app, path),
    ]


def _file_problems(app: Mapping[str, Any], path: str) -> Iterator[str]:
    """What is wrong with private uploads, and with pages of errors."""
    yield from private_problems(f"{path}.media.private", app["media"]["private"])
    if app["media"]["private"] and not app["media_url"].startswith("/"):
        yield f"{path}.media.private: is given and {path}.media_url is on another host; leave it out, or give a path"
    yield from template_problems(f"{path}.error_pages", app["error_pages"])


def _values(app: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, str]]:
    """Each value that is there of those in KINDS: where it stands, the value, its kind, what to give."""
    for place, kind, wanted in KINDS:
        for where, value in _at(app, place.split("."), ""):
            yield where, value, kind, wanted


def _at(value: Any, keys: Sequence[str], where: str) -> Iterator[tuple[str, Any]]:
    """The values below a mapping at dotted keys; "key[]" stands for each item of a list."""
    if not keys:
        yield where, value
        return
    key, rest = keys[0].removesuffix("[]"), keys[1:]
    if key not in value:
        return
    if keys[0] == key:
        yield from _at(value[key], rest, f"{where}.{key}")
        return
    for label, item in labelled(f"{where}.{key}", value[key]):
        yield from _at(item, rest, label)


def _source_problems(source: Mapping[str, Any], path: str, is_there: Callable[[str, str], bool]) -> Iterator[str]:
    kinds = [kind for kind in ("git", "path", "package") if kind in source]
    if len(kinds) != 1:
        yield problem(f"{path}.source", ", ".join(kinds) or "none of them", "exactly one of git, path and package")
        return
    if "git" in source and not matches("line", source["git"]):  # it may have a token and is not shown
        yield f"{path}.source.git: is no address; give that of a repository, in one line"
    if "package" in source and not matches("line", source["package"]):
        yield f"{path}.source.package: is no requirement; give one such as shop==1.4.2, in one line"
    if source.get("path") == "":  # that of whoever calls would be deployed
        yield f"{path}.source.path: is empty; give a directory on the controller"
    elif "path" in source and not is_there(source["path"], "directory"):
        yield problem(f"{path}.source.path", source["path"], "a directory on the controller")
    package = source.get("package", "")
    wheel = wheel_of(package)
    if wheel and not is_there(wheel, "file"):
        yield problem(f"{path}.source.package", package, "a wheel on the controller, or a requirement")
    if source["constraints"] and not package:
        yield problem(f"{path}.source.constraints", ", ".join(source["constraints"]), "it beside package only")
    # They are written to app.json, which the app reads, and uv runs git with such an address in its command line.
    if any(CREDENTIALS.search(pin) for pin in source["constraints"]):
        yield f"{path}.source.constraints: have an address with a name or a token; give pins such as django==5.2.8"


def is_on_controller(path: str, kind: str) -> bool:
    """Whether a path of the controller is there.

    :param kind: "directory" or "file".
    """
    found = os.path.realpath(os.path.expanduser(path))
    return os.path.isdir(found) if kind == "directory" else os.path.isfile(found)


def _domain_problems(domains: Sequence[str], path: str) -> Iterator[str]:
    if not domains:
        yield f"{path}.domains: is empty; give at least one domain"
    for where, domain in labelled(f"{path}.domains", domains):
        if domain != domain.lower() or not (is_domain(domain) or (is_address(domain) and "." in domain)):
            yield problem(where, domain, "a host name in lower case, or one with *. before it")


def _unit_problems(app: Mapping[str, Any], path: str) -> Iterator[str]:
    """Processes and timers that would share a unit."""
    seen = set()
    for kind in ("processes", "timers"):
        for where, item in labelled(f"{path}.{kind}", app[kind]):
            if item["name"] in seen:
                yield problem(f"{where}.name", item["name"], "each process and timer a name of its own")
            seen.add(item["name"])


def _hook_problems(hooks: Mapping[str, Any], path: str) -> Iterator[str]:
    """Commands that djangoctl cannot split: it would say so in the middle of a deploy."""
    for point, commands in hooks.items():
        for where, command in labelled(f"{path}.{point}", commands):
            try:
                shlex.split(command)
            except ValueError as error:
                yield problem(where, command, f"a command as a shell takes it ({str(error).lower()})")


def _environment_problems(app: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in ("environment", "build_environment"):
        for name in app[key]:
            if not matches("variable", name):
                yield problem(f"{path}.{key}", name, "a name of letters, digits and underscores")
    if app["secret_key_fallbacks"] and "secret_key" not in app:
        yield f"{path}.secret_key_fallbacks: stands without {path}.secret_key; give both, or let the host make them"
    if any(not re.fullmatch(r"[^,\s]+", key) for key in app["secret_key_fallbacks"]):
        yield f"{path}.secret_key_fallbacks: found (not shown); give keys without commas and spaces"
    if "url" in app["database"]:
        yield from _url_problems(app["database"]["url"], f"{path}.database.url")
    yield from _database_problems(app["database"], f"{path}.database")
    if app["database"].get("pooler") and "PGOPTIONS" in app["environment"]:
        beside = f"{path}.database.pooler, which refuses it"
        yield f"{path}.environment.PGOPTIONS: stands beside {beside}; give database.options"
    yield from _cache_problems(app["cache"], f"{path}.cache")
    if "DATABASE_URL" in app["environment"]:
        yield from _url_problems(str(app["environment"]["DATABASE_URL"]), f"{path}.environment.DATABASE_URL")


def _database_problems(database: Mapping[str, Any], path: str) -> Iterator[str]:
    """An engine beside a URL, and what the server would refuse."""
    own = [name for name in ("name", "user", "password", "extensions", "options", "pooler") if database.get(name)]
    if "url" in database and (database.get("engine") or own):
        beside = "engine" if "engine" in database else own[0]
        yield f"{path}.url: stands beside {path}.{beside}; give one of the two"
    elif own and database.get("engine") != "postgresql":
        yield f"{path}.{own[0]}: needs {path}.engine: postgresql"
    if not re.fullmatch(r"(?:postgres|postgresql|pgsql|psql|postgis)(?:\+[a-z0-9]+)?", database["scheme"]):
        wanted = "postgres, postgresql, pgsql, psql or postgis, and a plus and a driver where the project wants one"
        yield problem(f"{path}.scheme", database["scheme"], wanted)
    if "name" in database and not re.fullmatch(r"[a-z_][a-z0-9_]{0,53}", database["name"]):
        wanted = "up to 54 lower-case letters, digits and underscores, a letter first"
        yield problem(f"{path}.name", database["name"], wanted)
    if "user" in database and not re.fullmatch(r"(?!pg_|postgres\Z)[a-z_][a-z0-9_]{0,62}", database["user"]):
        wanted = "up to 63 lower-case letters, digits and underscores, a letter first, and no name of PostgreSQL's own"
        yield problem(f"{path}.user", database["user"], wanted)
    if "user" in database and "password" not in database:
        yield f"{path}.password: is missing beside {path}.user; give both, or let the host make them"
    # It stands in a URL and in files of systemd.
    if "password" in database and not re.fullmatch(r"[!-~]{8,}", database["password"]):
        yield f"{path}.password: found (not shown); give eight letters, digits and signs of ASCII or more, and no space"


def _cache_problems(cache: Mapping[str, Any], path: str) -> Iterator[str]:
    """An engine beside a URL, and what the server would refuse."""
    own = [name for name in ("password", "prefix") if cache.get(name)]
    if "url" in cache and (cache.get("engine") or own):
        yield f"{path}.url: stands beside {path}.{'engine' if 'engine' in cache else own[0]}; give one of the two"
    elif own and cache.get("engine") != "redis":
        yield f"{path}.{own[0]}: needs {path}.engine: redis"
    if cache.get("prefix") and not re.fullmatch(r"[A-Za-z0-9_.:-]+", cache["prefix"]):
        yield problem(f"{path}.prefix", cache["prefix"], "letters, digits, dots, colons, hyphens and underscores")
    if "password" in cache and not re.fullmatch(r"[!-~]{8,}", cache["password"]):
        yield f"{path}.password: found (not shown); give eight letters, digits and signs of ASCII or more, and no space"


def _url_problems(url: str, where: str) -> Iterator[str]:
    """A database URL without a scheme, or with a misspelt one. Its rest may be a secret and is not shown."""
    scheme, colon, _rest = url.partition("://")
    if not colon:
        if not REFERENCE.search(url):
            yield f"{where}: has no scheme; give a URL such as postgres://user:password@host/name"
        return
    plain = scheme.lower().partition("+")[0]
    if plain not in DATABASES and (meant := nearest(plain, DATABASES)):
        yield problem(where, f"{scheme}://", f"{meant}://")


def _network_problems(app: Mapping[str, Any], path: str) -> Iterator[str]:
    """Databases and caches that `network` keeps the app from. A URL may be a secret and is not shown."""
    urls = {
        "database.url": app["database"].get("url", ""),
        "cache.url": app["cache"].get("url", ""),
        **{
            f"environment.{name}": str(app["environment"][name])
            for name in ("DATABASE_URL", "CACHE_URL", "REDIS_URL")
            if name in app["environment"]
        },
    }
    for where, url in urls.items():
        host = _host_of(url)
        if not host:
            continue
        if app["network"] == "none":
            yield (
                f"{path}.network: is none, and {path}.{where} names a host; give network: local or full, or the URL of "
                "a unix socket"
            )
        elif app["network"] == "local" and _is_public(host):
            yield f"{path}.network: is local, and {path}.{where} names a public address; give network: full"


def _host_of(url: str) -> str:
    """The host that a URL of a database or a cache leads to over TCP; empty for files and unix sockets."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = urllib.parse.unquote(parts.hostname or "")
    except ValueError:
        return ""
    query = urllib.parse.parse_qs(parts.query)
    places = [host, *query.get("host", []), *query.get("unix_socket", [])]
    # libpq takes the directory of a socket in place of a host.
    is_socket = parts.scheme.endswith("+socket") or any(place.startswith("/") for place in places)
    return "" if is_socket or parts.scheme in WITHOUT_NETWORK else host


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def app_warnings(given: Any, path: str) -> list[str]:
    """What is probably not meant, though it can be done: a reference in `environment` that nothing stands for."""
    environment = given.get("environment") if isinstance(given, Mapping) else None
    if not isinstance(environment, Mapping):
        return []
    known = [*CONTRACT, *(str(name) for name in environment)]
    return [
        f"{path}.environment.{name}: '${{{reference}}}' stays as it is, since nothing has that name"
        + (f"; did you mean '${{{meant}}}'?" if (meant := nearest(reference, known)) else "")
        for name, value in environment.items()
        for reference in dict.fromkeys(REFERENCE.findall(str(value)))
        if reference not in known
    ]


def calendar_problems(app: Mapping[str, Any], path: str, refused: Sequence[str]) -> list[str]:
    """The lines about timers whose calendar systemd does not understand.

    :param refused: those calendars.
    """
    return [
        problem(
            f"{where}.calendar", timer["calendar"], "a time as systemd writes it, such as daily; see systemd.time(7)"
        )
        for where, timer in labelled(f"{path}.timers", app["timers"])
        if timer["calendar"] in refused
    ]
