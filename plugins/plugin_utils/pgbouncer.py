# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role pgbouncer: its settings, who may connect, what is wrong with the input, what it asks the host.

C(options) are the role's variables by name, as the role's spec means them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address, is_domain
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import VERSIONS
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem, shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.systemd import unit_lines

UNITS = ("pgbouncer.service", "pgbouncer.socket")
USER = "pgbouncer"
SERVER = "/run/postgresql"
USERLIST = "/etc/pgbouncer/djangofleet.users"
# What a running pooler does not change, and what others rely on.
FIXED = {
    "listen_addr": "",
    "listen_port": "6432",
    "unix_socket_dir": "/run/pgbouncer",
    "auth_type": "scram-sha-256",
    "auth_file": USERLIST,
}
# A server that is away is tried every second, so that all is well as soon as it is back. The default is 15 seconds.
DEFAULTS = {
    "pool_mode": "transaction",
    "server_login_retry": "1",
    "server_connect_timeout": "3",
    "log_connections": "0",
    "log_disconnections": "0",
    "log_stats": "0",
}
# The role itself answers for them.
OWN_SETTINGS = {
    "default_pool_size": "pgbouncer_default_pool_size",
    "max_client_conn": "pgbouncer_max_client_conn",
    "query_wait_timeout": "pgbouncer_query_wait_timeout",
    "server_tls_sslmode": "pgbouncer_ca_file",
    "server_tls_ca_file": "pgbouncer_ca_file",
    **dict.fromkeys((*FIXED, "user", "logfile", "pidfile"), "nothing in its place"),
}
# A login, its password, and of an app the role that it acts as, which the pooler does not read.
LINE = re.compile(r'"(?P<name>(?:[^"]|"")*)" "(?P<password>(?:[^"]|"")*)"(?: "(?P<owner>[^"]*)")?')


def pgbouncer_packages(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The packages of the pooler, and of the client that speaks to its console."""
    version = VERSIONS.get(str(facts.get("distribution_major_version")))
    client = f"postgresql-client-{version}" if version else "postgresql-client"
    return ["pgbouncer", client] if options["pgbouncer_enabled"] else []


def pgbouncer_questions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out; empty where a value makes no sense."""
    options, wrong = resolve(spec_of("pgbouncer"), given)
    return {} if wrong or not options["pgbouncer_enabled"] else {"units": list(UNITS), "users": [USER]}


def server_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The server behind the pooler: `host`, `port`, and `authority_file` where that is TLS."""
    wired = options["pgbouncer_app_server"]
    if options["pgbouncer_host"] or not wired.get("host"):
        return {
            "host": options["pgbouncer_host"] or SERVER,
            "port": options["pgbouncer_port"],
            "authority_file": options["pgbouncer_ca_file"],
        }
    return {**wired, "authority_file": wired.get("authority_file", "")}


def pgbouncer_config(
    options: Mapping[str, Any], sandbox: Mapping[str, Any] | None = None, userlist: str = ""
) -> dict[str, Any]:
    """What the role's templates and tasks need to know.

    :param sandbox: settings of systemd for the pooler.
    :param userlist: who may connect until now, as the host has it.
    :returns: `databases`, their lines; `settings`, all of them by name; `users`, the lines of those who may connect;
        `retired`, the logins of settled apps that are not theirs any more; `authorities`, the files that the server is
        known by, as entries; `sandbox`, lines of the unit.
    """
    server = server_of(options)
    tls = {"server_tls_sslmode": "verify-full", "server_tls_ca_file": server["authority_file"]}
    wanted = {user["name"]: user for user in _users(options)}
    former = {user["name"]: user for user in _read(userlist) if user["owner"] and user["name"] not in wanted}
    retired = [name for name, user in former.items() if user["owner"] in options["pgbouncer_app_settled"]]
    kept = {name: user for name, user in former.items() if name not in retired}
    return {
        "databases": [_database(each, server) for each in [*options["pgbouncer_databases"], {"name": "*"}]],
        "settings": {
            **FIXED,
            **DEFAULTS,
            "default_pool_size": str(options["pgbouncer_default_pool_size"]),
            "max_client_conn": str(options["pgbouncer_max_client_conn"]),
            "query_wait_timeout": str(options["pgbouncer_query_wait_timeout"]),
            **(tls if server["authority_file"] else {}),
            **{name: _text(value) for name, value in options["pgbouncer_settings"].items()},
        },
        "users": [userline(**user) for _name, user in sorted({**kept, **wanted}.items())],
        "retired": retired,
        "authorities": [{"path": server["authority_file"], "content": server["authority"]}]
        if server.get("authority")
        else [],
        "sandbox": unit_lines(sandbox or {}),
    }


def _users(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """The user's list and the wired one. The password of an app may not have been read yet."""
    given = [*options["pgbouncer_users"], *options["pgbouncer_app_users"]]
    keys = ("name", "password", "owner")
    return [{key: user.get(key, "") for key in keys} for user in given if user["password"]]


def _read(userlist: str) -> Iterator[dict[str, str]]:
    for match in filter(None, map(LINE.fullmatch, userlist.splitlines())):
        yield {key: (value or "").replace('""', '"') for key, value in match.groupdict().items()}


def userline(name: str, password: str, owner: str = "") -> str:
    """Who may connect, as the pooler's auth_file has it."""
    words = [name, password, owner] if owner else [name, password]
    return " ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in words)


def _database(database: Mapping[str, Any], server: Mapping[str, Any]) -> str:
    """A database as the pooler's configuration has it; * is any other."""
    given = {key: database[key] for key in ("host", "port") if database.get(key)}
    words = {"host": server["host"], "port": server["port"], **given, **database.get("settings", {})}
    return f"{database['name']} = {' '.join(f'{key}={_quoted(_text(value))}' for key, value in words.items())}"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w./:-]+", text) else "'" + text.replace("'", "''") + "'"


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


# What is wrong


def pgbouncer_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables, one line each."""
    options, found = resolve(spec_of("pgbouncer"), given)
    if found or not options["pgbouncer_enabled"]:
        return found
    return [*_values(options), *_server(options), *_who(options)]


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    for name in ("default_pool_size", "max_client_conn", "query_wait_timeout"):
        if options[f"pgbouncer_{name}"] < 1:
            yield problem(f"pgbouncer_{name}", options[f"pgbouncer_{name}"], "a number above 0")
    for name in options["pgbouncer_settings"]:
        if name in OWN_SETTINGS:
            yield f"pgbouncer_settings.{name}: is the role's own; give {OWN_SETTINGS[name]}"
    databases = labelled("pgbouncer_databases", options["pgbouncer_databases"])
    places = [("pgbouncer_settings", options["pgbouncer_settings"])]
    for where, settings in places + [(f"{where}.settings", each["settings"]) for where, each in databases]:
        for name, value in settings.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
                yield problem(where, name, "the name of a setting, such as server_idle_timeout")
            if value is None or isinstance(value, (list, tuple, Mapping)) or not str(value).isprintable():
                yield problem(f"{where}.{name}", value, "a text, a number, or true or false")
    for where, each in databases:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", each["name"]) or each["name"] == "pgbouncer":
            wanted = "lower-case letters, digits and underscores, a letter first, and not pgbouncer, the console"
            yield problem(f"{where}.name", each["name"], wanted)


def _server(options: Mapping[str, Any]) -> Iterator[str]:
    servers = [("pgbouncer_host", options["pgbouncer_host"])]
    databases = labelled("pgbouncer_databases", options["pgbouncer_databases"])
    for where, host in [*servers, *((f"{where}.host", each["host"]) for where, each in databases)]:
        if not host or re.fullmatch(r"/[\w./-]+", host):
            continue
        if not (is_address(host) or is_domain(host)):
            yield problem(where, host, "an address, a host name, or the directory of a socket")
        elif not server_of(options)["authority_file"]:
            yield f"pgbouncer_ca_file: is missing, and {where} is {shown(host)}; give the authority that it is known by"


def _who(options: Mapping[str, Any]) -> Iterator[str]:
    pairs = labelled("pgbouncer_users", options["pgbouncer_users"])
    names = [user["name"] for user in _users(options)]
    for where, user in pairs:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", user["name"]) or user["name"] == USER:
            wanted = f"lower-case letters, digits and underscores, a letter first, and not {USER}, who asks the console"
            yield problem(f"{where}.name", user["name"], wanted)
        if not re.fullmatch(r"[!-~]{8,}", user["password"]):
            yield f"{where}.password: found (not shown); give eight letters, digits and signs or more, and no space"
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"pgbouncer_users[].name: {shown(name)} is there {names.count(name)} times; each needs its own"
