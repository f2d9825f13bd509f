# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the role django: what one app means on a host, and what is wrong with it.

An "app" is the mapping `django_app` as the role's spec means it: coerced, with the defaults of the spec.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import (
    is_address,
    is_domain,
    is_listen,
    matches,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, nearest, outline, problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

CONFIG = "/etc/djangofleet"
RUN = "/run/djangofleet"
SYSTEMD = "/etc/systemd/system"
WRITABLE = ("data", "media", "cache", "shared")  # below an app's directory
START_TIMEOUT = 90  # seconds
SECRET = ("environment", "build_environment", "pip_environment", "files")  # what may hold a secret of django_settings

# The names that djangoctl puts in place of ${NAME} in a value of `environment`.
CONTRACT = (
    *("DJANGO_SETTINGS_MODULE", "SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "CACHE_URL"),
    *("REDIS_URL", "STATIC_ROOT", "STATIC_URL", "MEDIA_ROOT", "MEDIA_URL", "RELEASE_ID"),
)
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

# What dj-database-url and django-environ know, so that a scheme that comes near one of them is a misspelt one.
DATABASES = (
    *("postgres", "postgresql", "pgsql", "psql", "postgis", "mysql", "mysql2", "mysqlgis", "mysql-connector", "sqlite"),
    *("spatialite", "oracle", "oraclegis", "mssql", "mssqlms", "redshift", "cockroach", "timescale", "timescalegis"),
)

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
    ("files[].dest", "file", PATH_IN_SOURCE),
    ("shared_paths[]", "below", PATH_IN_SOURCE),
    ("system_packages[]", "package", "the name of a Debian package"),
    ("build_packages[]", "package", "the name of a Debian package"),
    ("hooks.build[]", "text", "a command"),
    ("hooks.before_migrate[]", "text", "a command"),
    ("hooks.after_migrate[]", "text", "a command"),
    ("hooks.before_activate[]", "text", "a command"),
    ("hooks.after_activate[]", "text", "a command"),
    ("processes[].name", "unit", UNIT_NAME),
    ("processes[].command", "line", "a command in one line"),
    ("processes[].stop_signal", "signal", "a signal, such as SIGTERM"),
    ("timers[].name", "unit", UNIT_NAME),
    ("timers[].command", "line", "a command in one line"),
    ("timers[].calendar", "line", "a time as systemd writes it, such as daily"),
)


# Names and places


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


# What an app means on a host


def django_settings(
    options: Mapping[str, Any],
    uv: str,
    sandbox: Mapping[str, Any],
    build_sandbox: Sequence[str],
) -> dict[str, Any]:
    """All that the role's tasks and templates need to know of the app.

    :param options: the role's variables as its spec means them.
    :param uv: the directory that uv is installed in.
    :param sandbox: systemd's settings for every process of an app, by name.
    :param build_sandbox: systemd's settings for builds, a line each.
    """
    app = options["django_app"]
    name, unit = app["name"], user_of(app["name"])
    home = home_of(name, options["django_root"])
    on_host = {
        "name": name,
        "unit": unit,
        "user": unit,
        "home": home,
        "config": f"{CONFIG}/{name}",
        "listen": listen_of(app),
        "checkout": f"{home}/repo",
        "source": _source(app["source"], f"{home}/repo"),
        "files": app["files"],
        "processes": _processes(app, unit, options["django_primary"]),
        "timers": _timers(app, unit, options["django_primary"]),
        "sandbox": _sandbox({**sandbox, **options["django_sandbox"], **app["sandbox"]}, home),
        "environment": _environment(app, home),
        "build_environment": _build_environment(options),
        "pip_environment": _pip_environment(options),
        "socket_group": options["django_socket_group"],
        "media_group": options["django_media_group"],
        "stop_timeout": max(options["django_stop_timeout"], app["gunicorn"]["graceful_timeout"] + 10),
        "stand_in_timeout": options["django_stand_in_timeout"],
        "start_timeout": START_TIMEOUT,
        "gate_timeout": _gate_timeout(app["health"]) + START_TIMEOUT,
    }
    on_host["wants"] = [
        *(service for process in on_host["processes"] for service in process["services"]),
        *(f"{timer['unit']}.timer" for timer in on_host["timers"]),
    ]
    on_host["settings"] = _settings(options, on_host, f"{uv}/bin/uv", build_sandbox)
    return on_host


def _source(source: Mapping[str, Any], checkout: str) -> dict[str, Any]:
    """The source as djangofleet.stack.release takes it."""
    if "git" in source:
        return {"tree": checkout}
    return {key: value for key, value in source.items() if key in ("path", "exclude", "package")}


def _processes(app: Mapping[str, Any], unit: str, primary: bool) -> list[dict[str, Any]]:
    """The processes of this host, with the file and the services of each: several are instances of a template."""
    found = []
    for process in app["processes"]:
        if process["singleton"] and not primary:
            continue
        stem, count = f"{unit}-{process['name']}", process["count"]
        services = [f"{stem}@{number}.service" for number in range(1, count + 1)] if count > 1 else [f"{stem}.service"]
        found.append({**process, "stem": stem, "unit": f"{stem}@" if count > 1 else stem, "services": services})
    return found


def _timers(app: Mapping[str, Any], unit: str, primary: bool) -> list[dict[str, Any]]:
    """The timers of this host, with the stem of their units."""
    return [
        {**timer, "unit": f"{unit}-{timer['name']}"} for timer in app["timers"] if primary or not timer["singleton"]
    ]


def _sandbox(settings: Mapping[str, Any], home: str) -> list[str]:
    """systemd's settings as lines: a list gives one line an item, true and false become yes and no."""
    lines = []
    for key in sorted(settings, key=str.lower):
        value = settings[key]
        for item in value if isinstance(value, (list, tuple)) else [value]:
            lines.append(f"{key}={('yes' if item else 'no') if isinstance(item, bool) else item}")
    return [*lines, f"ReadWritePaths={' '.join(f'{home}/{room}' for room in WRITABLE)}"]


def _environment(app: Mapping[str, Any], home: str) -> dict[str, Any]:
    """The environment contract, and over it what the inventory says."""
    cache = app["cache"].get("url", "")
    contract = {
        "ALLOWED_HOSTS": ",".join(domain.removeprefix("*") for domain in app["domains"]),
        "CSRF_TRUSTED_ORIGINS": ",".join(f"https://{domain}" for domain in app["domains"]),
        "DATABASE_URL": app["database"].get("url", f"sqlite:///{home}/data/db.sqlite3"),
        "CACHE_URL": app["cache"].get("url", f"filecache://{home}/cache"),
        "STATIC_URL": app["static_url"],
        "MEDIA_URL": app["media_url"],
        "MEDIA_ROOT": f"{home}/media",
        "HOME": home,
    }
    if "redis" in cache.partition("://")[0] and "://" in cache:
        contract["REDIS_URL"] = cache
    if "secret_key" in app:
        contract["SECRET_KEY"] = app["secret_key"]
    return {**contract, **app["environment"]}


def _build_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What uv is told about where packages come from."""
    found = {
        "UV_SYSTEM_CERTS": "true",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "true",
        "UV_NO_CONFIG": "true",
    }
    if options["django_index_url"]:
        found["UV_DEFAULT_INDEX"] = options["django_index_url"]
    if options["django_extra_index_urls"]:
        found["UV_INDEX"] = " ".join(options["django_extra_index_urls"])
    if options["django_ca_bundle"]:
        found["SSL_CERT_FILE"] = options["django_ca_bundle"]
    return found


def _pip_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What pip, which installs uv, is told about where packages come from."""
    found = {"PIP_CERT": options["django_ca_bundle"] or "/etc/ssl/certs/ca-certificates.crt"}
    if options["django_index_url"]:
        found["PIP_INDEX_URL"] = options["django_index_url"]
    if options["django_extra_index_urls"]:
        found["PIP_EXTRA_INDEX_URL"] = " ".join(options["django_extra_index_urls"])
    return found


def _gate_timeout(health: Mapping[str, Any]) -> int:
    """Seconds that all tries of the health check take at the most."""
    return (health["timeout"] + health["delay"]) * (1 + health["retries"])


def _settings(
    options: Mapping[str, Any], on_host: Mapping[str, Any], uv: str, build_sandbox: Sequence[str]
) -> dict[str, Any]:
    """What djangoctl reads from app.json."""
    app, unit = options["django_app"], on_host["unit"]
    timers = [timer["unit"] for timer in on_host["timers"]]
    return {
        "name": app["name"],
        "unit": unit,
        "user": on_host["user"],
        "group": on_host["user"],
        "root": on_host["home"],
        "uv": uv,
        "domains": app["domains"],
        "generate_secret": "secret_key" not in app,
        "minimum_free_space": options["django_minimum_free_space"],
        "lock_timeout": app["database"]["lock_timeout"],
        "keep_releases": options["django_keep_releases"],
        "start_timeout": START_TIMEOUT,
        "hooks": {point: commands for point, commands in app["hooks"].items() if point != "build"},
        "processes": [service for process in on_host["processes"] for service in process["services"]],
        "timers": [f"{timer}.timer" for timer in timers],
        "unit_files": [
            *(f"{unit}.socket", f"{unit}.service", f"{unit}-next.service"),
            *(f"{process['unit']}.service" for process in on_host["processes"]),
            *(f"{timer}.timer" for timer in timers),
            *(f"{timer}.service" for timer in timers),
        ],
        "health": app["health"],
        "gunicorn": _gunicorn(app),
        "sandbox": on_host["sandbox"],
        "build_sandbox": list(build_sandbox),
        "build": _build(app, options["django_python"]),
    }


def _gunicorn(app: Mapping[str, Any]) -> dict[str, Any]:
    """Gunicorn's settings by the names that it has for them. 0 workers: as many as suit the host."""
    given = app["gunicorn"]
    plain = ("threads", "timeout", "graceful_timeout", "keepalive", "max_requests", "max_requests_jitter")
    return {
        **{name: given[name] for name in plain},
        "worker_class": given.get("worker_class", "asgi" if "asgi" in app else "gthread"),
        "workers": 0 if given["workers"] == "auto" else int(given["workers"]),
        "preload_app": given["preload"],
        "loglevel": given["log_level"],
        "forwarded_allow_ips": ",".join(given["forwarded_allow_ips"]),
        "extra": given["settings"],
    }


def _build(app: Mapping[str, Any], python: str) -> dict[str, Any]:
    """What a release is built by. It is part of the release's identity: another key or value is another release."""
    return {
        "python": app.get("python", python),
        "packaged": "package" in app["source"],
        "project_dir": app["project_dir"],
        "requirements": app.get("requirements", ""),
        "settings_module": app.get("settings_module", ""),
        "interface": "asgi" if "asgi" in app else "wsgi",
        "application": app.get("asgi", app.get("wsgi", "")),
        "static_root": app.get("static_root", ""),
        "media_root": app.get("media_root", ""),
        "shared_paths": app["shared_paths"],
        "files": [file["dest"] for file in app["files"]],
        "hooks": app["hooks"]["build"],
    }


# What is written


def django_entries(on_host: Mapping[str, Any], first: bool, library: str) -> list[dict[str, Any]]:
    """The entries for djangofleet.stack.tree.

    :param on_host: what django_settings gives.
    :param first: whether no app of this run has written djangoctl yet.
    :param library: the directory of djangoctl's package.
    """
    home, config, user, unit = (on_host[key] for key in ("home", "config", "user", "unit"))
    owned = {"owner": user, "group": user}
    secret = {"mode": "0600", "sensitive": True}
    env = {"template": "etc/djangofleet/app/env.j2", **secret}
    # Units hold no secret: their templates do not even see one.
    units = {"django": {key: value for key, value in on_host.items() if key not in SECRET}}
    return [
        *(_program(library) if first else []),
        {"path": config, "directory": True, "mode": "0750", "group": user},
        {"path": home, "directory": True, "mode": "0751", "group": user},
        {"path": f"{home}/releases", "directory": True, "mode": "0750", "group": user},
        {"path": on_host["checkout"], "directory": True, "mode": "0700"},
        {"path": f"{home}/static", "directory": True},
        {"path": f"{home}/media", "directory": True, "mode": "2750", "owner": user, "group": on_host["media_group"]},
        {"path": f"{home}/data", "directory": True, "mode": "0700", **owned},
        {"path": f"{home}/cache", "directory": True, "mode": "0700", **owned},
        {"path": f"{home}/shared", "directory": True, "mode": "0750", **owned},
        {"path": f"{home}/releases/.packages", "directory": True, "mode": "0700", **owned},
        {
            "path": f"{config}/app.json",
            "content": json.dumps(on_host["settings"], indent=4, sort_keys=True) + "\n",
            "mode": "0640",
            "group": user,
        },
        {"path": f"{config}/env", **env, "vars": {"variables": on_host["environment"]}},
        {"path": f"{config}/build.env", **env, "vars": {"variables": on_host["build_environment"]}},
        *(
            {"path": f"{config}/files/{file['dest']}", "template": "etc/djangofleet/app/file.j2", **secret,
             "vars": {"file": file}}
            for file in on_host["files"]
        ),
        _unit(f"{unit}.socket", "app.socket", units),
        _unit(f"{unit}.service", "app.service", {**units, "stand_in": False}),
        _unit(f"{unit}-next.service", "app.service", {**units, "stand_in": True}),
        *(
            _unit(f"{process['unit']}.service", "process.service", {**units, "process": process})
            for process in on_host["processes"]
        ),
        *(entry for timer in on_host["timers"] for entry in _timer_units(timer, {**units, "timer": timer})),
    ]  # fmt: skip


def _program(library: str) -> Iterator[dict[str, Any]]:
    yield {"path": library, "copy": "djangofleet"}
    yield {"path": "/usr/local/bin/djangoctl", "template": "usr/local/bin/djangoctl.j2", "mode": "0755"}
    yield {"path": "/usr/share/bash-completion/completions/djangoctl", "copy": "completion"}


def _unit(name: str, template: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {"path": f"{SYSTEMD}/{name}", "template": f"etc/systemd/system/{template}.j2", "vars": dict(variables)}


def _timer_units(timer: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _unit(f"{timer['unit']}.timer", "timer.timer", variables)
    yield _unit(f"{timer['unit']}.service", "timer.service", variables)
    if timer["overlap"] == "replace":
        yield _unit(f"{timer['unit']}-replace.service", "timer-replace.service", variables)


def django_fetch(app: Mapping[str, Any]) -> dict[str, Any]:
    """What the fetch of a private repository needs on the host while it lasts, in memory.

    :returns: `key` and `known_hosts`, paths or empty; `entries` that put them there, `removals` that take them away.
    """
    source, stem = app["source"], f"/run/djangofleet-{app['name']}"
    contents = {}
    if "deploy_key" in source:
        contents["key"] = source["deploy_key"].strip() + "\n"  # ssh reads no key without a newline at its end
    if "known_hosts" in source:
        contents["known_hosts"] = "\n".join(source["known_hosts"]) + "\n"
    paths = {kind: f"{stem}.{kind}" for kind in contents}
    return {
        "key": paths.get("key", ""),
        "known_hosts": paths.get("known_hosts", ""),
        "entries": [
            {"path": paths[kind], "content": content, "mode": "0600", "sensitive": True}
            for kind, content in contents.items()
        ],
        # Sensitive too: a diff would show what is removed.
        "removals": [{"path": path, "absent": True, "sensitive": True} for path in paths.values()],
    }


def django_packages(given: Mapping[str, Any], base: Sequence[str]) -> list[str]:
    """The Debian packages of the role, of its app if there is one, and of the other apps of the host."""
    found, _ = resolve(spec_of("django"), given)
    app = found.get("django_app", {})
    wanted = (*base, *app.get("system_packages", ()), *app.get("build_packages", ()), *found["django_app_packages"])
    return list(dict.fromkeys(wanted))


def django_questions(given: Mapping[str, Any], uv: str) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out: which users are there, and whether uv is.

    :param uv: the directory that uv is installed in.
    """
    found, _ = resolve(spec_of("django"), given)
    app = [user_of(found["django_app"]["name"])] if "django_app" in found else []
    return {"users": list(dict.fromkeys([*app, *found["django_app_users"]])), "paths": [f"{uv}/bin/uv"]}


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


# What is wrong


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
    if "django_python" in found and not matches("program", found["django_python"]):
        problems.append(problem("django_python", found["django_python"], "the absolute path of an interpreter"))
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
        *_environment_problems(app, path),
    ]


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
    if "path" in source and not is_there(source["path"], "directory"):
        yield problem(f"{path}.source.path", source["path"], "a directory on the controller")
    package = source.get("package", "")
    if package.endswith(".whl") and not is_there(package, "file"):
        yield problem(f"{path}.source.package", package, "a wheel on the controller, or a requirement")


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


def _environment_problems(app: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in app["environment"]:
        if not matches("variable", name):
            yield problem(f"{path}.environment", name, "a name of letters, digits and underscores")
    if "url" in app["database"]:
        yield from _url_problems(app["database"]["url"], f"{path}.database.url")
    if "DATABASE_URL" in app["environment"]:
        yield from _url_problems(str(app["environment"]["DATABASE_URL"]), f"{path}.environment.DATABASE_URL")


def _url_problems(url: str, where: str) -> Iterator[str]:
    """A database URL without a scheme, or with a misspelt one. Its rest may be a secret and is not shown."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        if not REFERENCE.search(url):
            yield f"{where}: has no scheme; give a URL such as postgres://user:password@host/name"
        return
    plain = scheme.lower().partition("+")[0]
    if plain not in DATABASES and (meant := nearest(plain, DATABASES)):
        yield problem(where, f"{scheme}://", f"{meant}://")


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
