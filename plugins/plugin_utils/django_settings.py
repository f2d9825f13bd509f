# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an app means on a host: units, environments, sandbox, and the settings of djangoctl."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.django import (
    CONFIG,
    cache_user_of,
    database_of,
    home_of,
    listen_of,
    user_of,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.systemd import unit_lines

WRITABLE = ("data", "media", "cache", "shared")  # below an app's directory
# What suits a Nginx in front. It refuses longer URIs, and sets X-Forwarded-Proto whatever a client sent: Gunicorn need
# not compare it with another header, in which a project may look for the scheme too.
GUNICORN = {"limit_request_line": 8190, "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}}
BUILD_HOOKS = ("before_collectstatic", "build")  # run by the build of a release
START_TIMEOUT = 90  # seconds
SOCKET = "/run/postgresql"
POOLER, POOLER_PORT = "/run/pgbouncer", "6432"
REDIS_SOCKET = "/run/redis/redis-server.sock"


def django_settings(
    options: Mapping[str, Any],
    uv: str,
    sandbox: Mapping[str, Any],
    networks: Mapping[str, Mapping[str, Any]],
    build_sandbox: Sequence[str],
    host: str = "",
) -> dict[str, Any]:
    """All that the role's tasks and templates need to know of the app.

    :param options: the role's variables as its spec means them.
    :param uv: the directory that uv is installed in.
    :param sandbox: systemd's settings for every process of an app, by name.
    :param networks: what each value of `network` adds to them.
    :param build_sandbox: systemd's settings for builds, a line each.
    :param host: what the inventory calls the host.
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
        "source": _source(app["source"]),
        "files": app["files"],
        "processes": _processes(app, unit, options["django_primary"]),
        "timers": _timers(app, unit, options["django_primary"]),
        "sandbox": _sandbox(
            {**sandbox, **networks[app["network"]], **options["django_sandbox"], **app["sandbox"]}, home
        ),
        "environment": _environment(app, home, options["django_app_database"], options["django_app_cache"]),
        "secrets": _secrets(app),
        "pooler": app["database"].get("pooler", ""),
        "authorities": _authorities(options["django_app_database"], options["django_app_cache"]),
        "build_environment": {**_build_environment(options), **app["build_environment"]},
        "pip_environment": _pip_environment(options),
        "socket_group": options["django_socket_group"],
        "media_group": options["django_media_group"],
        "stop_timeout": max(options["django_stop_timeout"], app["gunicorn"]["graceful_timeout"] + 10),
        "stand_in_timeout": options["django_stand_in_timeout"],
        "start_timeout": _start_timeout(app["health"]),
        "gate_timeout": _start_timeout(app["health"]) + _gate_timeout(app["health"]),
    }
    on_host["wants"] = [
        *(service for process in on_host["processes"] for service in process["services"]),
        *(f"{timer['unit']}.timer" for timer in on_host["timers"]),
    ]
    on_host["settings"] = {**_settings(options, on_host, f"{uv}/bin/uv", build_sandbox), **_fleet(options, host)}
    return on_host


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    """The source as djangofleet.stack.release takes it, apart from Git's, which is what a fetch gives."""
    kept = ("path", "exclude") if "path" in source else ("package",)
    return {key: value for key, value in source.items() if key in kept}


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
    """systemd's settings for every process of an app, a line each. What an app may write, it may not run."""
    rooms = " ".join(f"{home}/{room}" for room in WRITABLE)
    return [*unit_lines({"NoExecPaths": rooms, **settings}), f"ReadWritePaths={rooms}"]


def _environment(
    app: Mapping[str, Any], home: str, database: Mapping[str, Any], cache: Mapping[str, Any]
) -> dict[str, Any]:
    """The environment contract, and over it what the inventory says.

    :param database: where the app's PostgreSQL is, `django_app_database`.
    :param cache: where its Redis is, `django_app_cache`.
    """
    contract = {
        "ALLOWED_HOSTS": ",".join(domain.removeprefix("*") for domain in app["domains"]),
        "CSRF_TRUSTED_ORIGINS": ",".join(f"https://{domain}" for domain in app["domains"]),
        **_database(app, home, database),
        **_cache(app, home, cache),
        "STATIC_URL": app["static_url"],
        "MEDIA_URL": app["media_url"],
        "MEDIA_ROOT": f"{home}/media",
        "HOME": home,
    }
    if "secret_key" in app:
        contract["SECRET_KEY"] = app["secret_key"]
        contract["SECRET_KEY_FALLBACKS"] = ",".join(app["secret_key_fallbacks"])
    return {**contract, **app["environment"]}


def _secrets(app: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What nobody has given and the app's hosts share: the variable, and the option that would have given it.

    `former` is the variable with the keys before, which tell an earlier key of the app from one that a host has made
    for itself. A password is what the primary host says: the server knows no other.
    """
    found = {
        "SECRET_KEY": ("secret_key", "secret_key" in app, "SECRET_KEY_FALLBACKS"),
        "DATABASE_PASSWORD": ("database.password", not database_of(app) or "password" in app["database"], ""),
        "REDIS_PASSWORD": ("cache.password", not cache_user_of(app) or "password" in app["cache"], ""),
    }
    return [
        {"variable": name, "option": option, "former": former, "replace": not former}
        for name, (option, is_given, former) in found.items()
        if not is_given
    ]


def _authorities(*places: Mapping[str, Any]) -> list[dict[str, str]]:
    """The files that servers on other hosts are verified by, as entries; those that this run has read."""
    found = {place["authority_file"]: place["authority"] for place in places if place.get("authority")}
    return [{"path": path, "content": content} for path, content in found.items()]


def _database(app: Mapping[str, Any], home: str, place: Mapping[str, Any]) -> dict[str, str]:
    """The database of the contract, as a URL and in its parts. A password that a host has made is in its own file."""
    name, given = database_of(app), app["database"]
    # What PostgreSQL calls the app's connections, in its log too. libpq reads it.
    named = {"PGAPPNAME": app["name"]}
    if not name:
        url = given.get("url", f"sqlite:///{home}/data/db.sqlite3")
        return {"DATABASE_URL": url, **(named if url.startswith("postg") else {})}
    host, port, authority = place.get("host", SOCKET), str(place.get("port", 5432)), place.get("authority_file", "")
    tls = {"sslmode": "verify-full", "sslrootcert": authority} if authority else {}
    password = urllib.parse.quote(given["password"], safe="") if "password" in given else "${DATABASE_PASSWORD}"
    # djangoctl knows the user by the role and its password, where nobody says it.
    login = f"{given['scheme']}://${{DATABASE_USER}}:{password}"
    url = _postgres_url(login, host, port, name, tls)
    return {
        "DATABASE_URL": url,
        **named,
        "DATABASE_NAME": name,
        "DATABASE_ROLE": name,
        "DATABASE_HOST": host,
        "DATABASE_PORT": port,
        **{f"DATABASE_{key.upper()}": value for key, value in tls.items()},
        **({"DATABASE_USER": given["user"]} if "user" in given else {}),
        **({"DATABASE_PASSWORD": given["password"]} if "password" in given else {}),
        **(_pooler(app, url, _postgres_url(login, POOLER, POOLER_PORT, name, {})) if given.get("pooler") else {}),
    }


def _postgres_url(login: str, host: str, port: str, name: str, query: Mapping[str, str]) -> str:
    # The directory of a socket stands in the query, where libpq, dj-database-url and django-environ all read it.
    is_socket = host.startswith("/")
    netloc = "" if is_socket else f"{f'[{host}]' if ':' in host else host}:{port}"
    query = {**({"host": host, "port": port} if is_socket else {}), **query}
    tail = f"?{urllib.parse.urlencode(query, safe='/')}" if query else ""
    return f"{login}@{netloc}/{name}{tail}"


def _pooler(app: Mapping[str, Any], direct: str, pooled: str) -> dict[str, str]:
    """What djangoctl puts in the place of the database's for those that serve. All else speaks to the database itself.

    A DATABASE_URL of the inventory's own refers to the parts.
    """
    return {
        "DATABASE_DIRECT_URL": direct,
        "DATABASE_POOLER_HOST": POOLER,
        "DATABASE_POOLER_PORT": POOLER_PORT,
        **({} if "DATABASE_URL" in app["environment"] else {"DATABASE_POOLER_URL": pooled}),
    }


def _cache(app: Mapping[str, Any], home: str, place: Mapping[str, Any]) -> dict[str, str]:
    """The cache of the contract, as URLs and in its parts, in the same way."""
    user, given = cache_user_of(app), app["cache"]
    if not user:
        url = given.get("url", f"filecache://{home}/cache")
        scheme, colon, _rest = url.partition("://")
        return {"CACHE_URL": url, **({"REDIS_URL": url} if colon and "redis" in scheme else {})}
    host, port, authority = (
        place.get("host", REDIS_SOCKET),
        str(place.get("port", 6379)),
        place.get("authority_file", ""),
    )
    password = urllib.parse.quote(given["password"], safe="") if "password" in given else "${REDIS_PASSWORD}"
    if host.startswith("/"):
        # redis-py, and so Django, calls it unix; django-environ knows no such scheme for a cache.
        urls = {
            "CACHE_URL": f"rediscache://{user}:{password}@{host}?db=0",
            "REDIS_URL": f"unix://{user}:{password}@{host}?db=0",
        }
    else:
        tls = f"?{urllib.parse.urlencode({'ssl_ca_certs': authority}, safe='/')}" if authority else ""
        url = f"rediss://{user}:{password}@{f'[{host}]' if ':' in host else host}:{port}/0{tls}"
        urls = {"CACHE_URL": url, "REDIS_URL": url}
    return {
        **urls,
        "REDIS_USER": user,
        "REDIS_HOST": host,
        "REDIS_PORT": port,
        "REDIS_PREFIX": given.get("prefix", ""),
        **({"REDIS_SSL_CA_CERTS": authority} if authority else {}),
        **({"REDIS_PASSWORD": given["password"]} if "password" in given else {}),
    }


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


def _start_timeout(health: Mapping[str, Any]) -> int:
    """Seconds that a service may take until it is ready: to import the application, and to warm it."""
    return START_TIMEOUT + health["timeout"]


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
        "version": 1,
        "name": app["name"],
        "path": options["django_app_path"],
        **({"site": options["django_app_site"]} if options["django_app_site"].get("domains") else {}),
        **({"site_cache": options["django_app_site_cache"]} if options["django_app_site_cache"].get("path") else {}),
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
        "start_timeout": on_host["start_timeout"],
        "hooks": {point: commands for point, commands in app["hooks"].items() if point not in BUILD_HOOKS},
        "processes": [service for process in on_host["processes"] for service in process["services"]],
        "timers": [f"{timer}.timer" for timer in timers],
        "unit_files": [
            *(f"{unit}.socket", f"{unit}.service", f"{unit}-next.service"),
            *(f"{process['unit']}.service" for process in on_host["processes"]),
            *(f"{timer}.timer" for timer in timers),
            *(f"{timer}.service" for timer in timers),
            *(f"{timer['unit']}-replace.service" for timer in on_host["timers"] if timer["overlap"] == "replace"),
        ],
        "health": app["health"],
        "gunicorn": _gunicorn(app),
        "sandbox": on_host["sandbox"],
        "build_sandbox": list(build_sandbox),
        "build": _build(app, options["django_python"]),
    }


def _fleet(options: Mapping[str, Any], host: str) -> dict[str, Any]:
    """How djangoctl asks the app's other hosts what they serve; nothing where there are none."""
    app = options["django_app"]
    if not options["django_app_peers"]:
        return {}
    named = [domain for domain in app["domains"] if "*" not in domain]
    return {
        "fleet": {
            "host": host,
            "peers": {str(name): str(address) for name, address in options["django_app_peers"].items()},
            "port": options["django_app_peer_port"],
            "domain": (named or [app["domains"][0].replace("*", "www")])[0],
            "authority_file": options["django_app_peer_authority"],
            "repository": _public_repository(app["source"]),
        }
    }


def _public_repository(source: Mapping[str, Any]) -> str:
    """The address of a Git repository that anybody can read, and so the app's other hosts; empty if it is not known.

    One with a key, a name, a password or a token is not, and neither is one on a disk.
    """
    try:
        parts = urllib.parse.urlsplit(source.get("git", ""))
    except ValueError:
        return ""
    is_public = parts.scheme in ("https", "http", "git") and parts.netloc and "@" not in parts.netloc
    return source["git"] if is_public and not (parts.query or parts.fragment or "deploy_key" in source) else ""


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
        "extra": {**GUNICORN, **given["settings"]},
    }


def _build(app: Mapping[str, Any], python: str) -> dict[str, Any]:
    """What a release is built by. It is part of the release's identity: another key or value is another release.

    So what came later is here only where it is given: else every app would get another release by an upgrade.
    """
    environment = json.dumps(app["build_environment"], sort_keys=True)
    given = {
        "constraints": app["source"]["constraints"],
        "before_collectstatic": app["hooks"]["before_collectstatic"],
        "error_pages": app["error_pages"],
        "environment_digest": hashlib.sha256(environment.encode()).hexdigest() if app["build_environment"] else "",
        # Its packages are part of the environment. gevent serves WSGI alone.
        "worker_class": "gevent" if app["gunicorn"].get("worker_class") == "gevent" and "asgi" not in app else "",
    }
    return {
        **{key: value for key, value in given.items() if value},
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
