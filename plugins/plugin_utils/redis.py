# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role redis: its settings, who may connect, what is wrong with the input, what it asks the host.

C(options) are the role's variables by name, as the role's spec means them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.listening import (
    address_problems,
    addresses,
    pair,
    pair_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem, shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

UNIT = "redis-server.service"
SOCKET = "/run/redis/redis-server.sock"
TLS_PORT = 6379
ADMINISTRATOR = "djangofleet"  # whom the role itself speaks as
# What a running server does not change. Whoever reaches the socket needs a name and a password.
FIXED = {
    "port": "0",
    "unixsocket": SOCKET,
    "unixsocketperm": "777",
    "dir": "/var/lib/redis",
    "aclfile": "/etc/redis/users.acl",
}
SAVES = {"none": "", "rdb": "3600 1 300 100 60 10000", "aof": ""}
# The role itself answers for them.
OWN_SETTINGS = {
    "bind": "redis_listen_addresses",
    "maxmemory": "redis_maxmemory",
    "maxmemory-policy": "redis_maxmemory_policy",
    "appendonly": "redis_persistence",
    "save": "redis_persistence",
    "requirepass": "redis_users",
    "user": "redis_users",
    "port": "nothing in its place: other hosts connect by TLS",
    "tls-cert-file": "redis_certificate_file",
    "tls-key-file": "redis_key_file",
    **dict.fromkeys(
        ("unixsocket", "unixsocketperm", "aclfile", "dir", "daemonize", "supervised"), "nothing in its place"
    ),
}


def users(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The user's list and the wired one."""
    return [*options["redis_users"], *options["redis_app_users"]]


def redis_packages(options: Mapping[str, Any]) -> list[str]:
    """The packages of the server."""
    return ["redis-server"] if options["redis_enabled"] else []


def redis_questions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out; empty where a value makes no sense."""
    options, wrong = resolve(spec_of("redis"), given)
    return {} if wrong or not options["redis_enabled"] else {"units": [UNIT]}


def redis_config(options: Mapping[str, Any], survey: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What the role's templates and tasks need to know.

    :param survey: what djangofleet.stack.survey answers to redis_questions.
    :param before: the lines of the host's files about users and about where the server listens.
    :returns: `settings`, all of them by name; `own`, those of the role that a running server takes; `users`, the lines
        of the ACL file.
    """
    memory = int(survey.get("memory") or 0) * 1_000_000
    limit = options["redis_maxmemory"] or str(int(memory * options["redis_memory_share"]))
    there = _by_name(before)
    options = _still_listening(options, there)
    certificate, key = pair("redis", options)
    tls = {
        "tls-port": str(TLS_PORT),
        "bind": " ".join(addresses("redis", options)),
        "tls-cert-file": certificate,
        "tls-key-file": key,
        "tls-auth-clients": "no",
        "tls-protocols": "TLSv1.2 TLSv1.3",
    }
    own = {
        "maxmemory": limit,
        "maxmemory-policy": options["redis_maxmemory_policy"],
        "appendonly": "yes" if options["redis_persistence"] == "aof" else "no",
        "save": SAVES[options["redis_persistence"]],
        **(tls if addresses("redis", options) else {"tls-port": "0"}),
    }
    given = {name: _text(value) for name, value in options["redis_settings"].items()}
    return {"settings": {**FIXED, **own, **given}, "own": own, "users": list(_lines(options, there["user"]))}


def _by_name(before: str) -> dict[str, Any]:
    """Settings by name, and below C(user) the rules of each user."""
    found: dict[str, Any] = {"user": {}}
    for name, _space, value in (line.partition(" ") for line in before.splitlines()):
        if name == "user":
            user, _space, rules = value.partition(" ")
            found["user"][user] = rules.split()
        else:
            found[name] = value.strip('"')
    return found


def _still_listening(options: Mapping[str, Any], there: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a server to which apps may still come over the network that are about to come in another way."""
    listener = options["redis_app_listener"]
    was = [there.get("bind"), there.get("tls-cert-file")] if there.get("tls-port", "0") != "0" else []
    is_ours = listener and was == [" ".join(listener["listen_addresses"]), listener["certificate_file"]]
    if addresses("redis", options) or not options["redis_app_changing"] or not is_ours:
        return options
    return {**options, "redis_app_server": listener}


def _lines(options: Mapping[str, Any], there: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The ACL file. What an app has had is kept beside what it gets, while some process of it may need that.

    :param there: the rules that the users have.
    """
    changing, wired = options["redis_app_changing"], [user["name"] for user in options["redis_app_users"]]
    for user in users(options):
        kept = there.get(user["name"], ()) if user["name"] in wired and user["name"] in changing else ()
        hashes = [rule for rule in kept if re.fullmatch(r"#[0-9a-f]{64}", rule)]
        if user["passwords"] or hashes:
            yield acl_line(user, hashes, [rule[1:] for rule in kept if rule.startswith("~")])
    known = [user["name"] for user in users(options)]
    yield from (" ".join(["user", name, *there[name]]) for name in changing if name in there and name not in known)


def hashed(password: str) -> str:
    """A password as an ACL file has it."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def acl_line(user: Mapping[str, Any], hashes: Sequence[str] = (), keys: Sequence[str] = ()) -> str:
    """A user as an ACL file has it. Its passwords are kept as hashes.

    :param hashes: of passwords that it has besides.
    :param keys: patterns that it has besides.
    """
    all_hashes = dict.fromkeys([*map(hashed, user["passwords"]), *hashes])
    patterns = [f"{sign}{key}" for sign in "~&" for key in dict.fromkeys([*user["keys"], *keys])]
    return " ".join(
        ["user", user["name"], "on", *all_hashes, "resetkeys", "resetchannels", *patterns, user["commands"]]
    )


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


# What is wrong


def redis_problems(given: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables on a host, one line each."""
    options, found = resolve(spec_of("redis"), given)
    if found or not options["redis_enabled"]:
        return found
    wired = options["redis_app_server"].get("listen_addresses", ())
    return [
        *_values(options),
        *_network(options),
        *address_problems("Redis", wired, facts),
        *_users(options),
    ]


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    if not 0.01 <= options["redis_memory_share"] <= 0.9:
        yield problem("redis_memory_share", options["redis_memory_share"], "a share from 0.01 to 0.9")
    if options["redis_maxmemory"] and not re.fullmatch(r"[1-9]\d*(?:[kmg]b?)?", options["redis_maxmemory"].lower()):
        yield problem("redis_maxmemory", options["redis_maxmemory"], "a size such as 512mb")
    for name, value in options["redis_settings"].items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", str(name)):
            yield problem("redis_settings", name, "the name of a setting, such as timeout")
        elif name in OWN_SETTINGS:
            yield f"redis_settings.{name}: is the role's own; give {OWN_SETTINGS[name]}"
        if value is None or isinstance(value, (list, tuple, Mapping)) or not str(value).isprintable() or value == "":
            yield problem(f"redis_settings.{name}", value, "a text, a number, or true or false")


def _network(options: Mapping[str, Any]) -> Iterator[str]:
    for number, address in enumerate(options["redis_listen_addresses"]):
        if not is_address(address):
            yield problem(f"redis_listen_addresses[{number}]", address, "an address of the host")
    yield from pair_problems("redis", options)
    if addresses("redis", options) and not pair("redis", options)[0]:
        yield "redis_certificate_file: is missing, and redis_listen_addresses lets others in; give one and its key"


def _users(options: Mapping[str, Any]) -> Iterator[str]:
    pairs = [entry for name in ("redis_users", "redis_app_users") for entry in labelled(name, options[name])]
    for where, user in pairs:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", user["name"]) or user["name"] in ("default", ADMINISTRATOR):
            wanted = f"letters, digits, dots, hyphens and underscores, and neither default nor {ADMINISTRATOR}"
            yield problem(f"{where}.name", user["name"], wanted)
        known = user["passwords"] or where.startswith("redis_app_users")  # not read yet, before anything changes
        if not known or not all(re.fullmatch(r"[!-~]{8,}", password) for password in user["passwords"]):
            yield f"{where}.passwords: found (not shown); give one or two of eight letters, digits and signs or more"
        for number, key in enumerate(user["keys"]):
            if not re.fullmatch(r"[!-~]+", key):
                yield problem(f"{where}.keys[{number}]", key, "a pattern such as shop:*, without spaces")
        if not re.fullmatch(r"[+-][a-z@|_-]+(?: [+-][a-z0-9@|_-]+)*", user["commands"]):
            yield problem(f"{where}.commands", user["commands"], "rules such as +@all -@dangerous")
    yield from _twice([user["name"] for _where, user in pairs])


def _twice(names: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"redis_users[].name: {shown(name)} is there {names.count(name)} times; each needs its own"
