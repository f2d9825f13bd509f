# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How databases and roles come about: what a server has is compared with what is wanted, and only the rest is done.

The modules of community.postgresql take an execution for each role, database and extension, whether there is anything
to do or not. One query asks for all of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ansible_collections.djangofleet.stack.plugins.module_utils.login import login_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import items, merged
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem

KIND = "SCRAM-SHA-256"  # of verifiers: pg_hba.conf lets in nobody by another
ITERATIONS = 4096  # what PostgreSQL makes by itself, SCRAM_SHA_256_DEFAULT_ITERATIONS


def plan(
    options: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], catalogs: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """What is to be done, in this order.

    :param options: the role's variables as its spec means them.
    :param clusters: what postgresql_clusters gives.
    :param catalogs: the answer to the role's files/catalog.sql by cluster. One that is not there has nothing yet.
    :returns: `problems`, lines about what the servers cannot do; `restarts`, clusters with what is `pending`, and
        `waiting`, those that go on with old values; `roles`, `databases`, `statements`, `extensions`, `privileges`;
        `retired`, statements that take back the logins which no app uses any more.
    """
    found: dict[str, list[Any]] = {
        name: []
        for name in (
            *("problems", "restarts", "waiting", "roles", "databases", "statements", "extensions", "privileges"),
            "retired",
        )
    }
    for cluster in clusters:
        name, port = cluster["name"], cluster["port"]
        catalog = catalogs.get(name) or {}
        # A server without a database of anybody has nobody to interrupt.
        idle = set(catalog.get("databases", ())) <= {"postgres"}
        may_restart = idle or options["postgresql_allow_restart"]
        if catalog.get("pending"):
            kind = "restarts" if may_restart else "waiting"
            found[kind].append({"unit": cluster["unit"], "pending": catalog["pending"]})
        if not may_restart:
            found["problems"] += _deaf(options, cluster, catalog["listening"])
        for role in merged(options, "roles", name):
            there = (catalog.get("roles") or {}).get(role["name"])
            if not options["postgresql_allow_new_password"] and role in options["postgresql_app_roles"]:
                found["problems"] += _locked_out(role, there)
            enters = role["login"] or _still_enters(role, options, there)
            found["roles"] += _role_step({**role, "login": enters}, there, port)
            found["statements"] += _settings("ROLE", role, there, port)
            found["statements"] += _memberships(role, there, port)
        found["retired"] += _retired(options, name, catalog.get("roles") or {}, port)
        for database in merged(options, "databases", name):
            there = (catalog.get("databases") or {}).get(database["name"])
            if (there or {}).get("owner") != database["owner"]:
                found["databases"].append({**database, "port": port})
            found["statements"] += _settings("DATABASE", database, there, port)
            # By itself every role may connect to every database.
            if (there or {"public": True})["public"]:
                query = f"REVOKE ALL ON DATABASE {identifier(database['name'])} FROM PUBLIC"
                found["statements"].append(_statement(query, port, there))
            found["problems"] += _unavailable(database, catalog)
            schemas = catalog.get("extensions") or {}
            found["extensions"] += [
                {
                    "name": extension,
                    "database": database["name"],
                    "port": port,
                    # One that has a schema of its own makes that.
                    "schema": "" if schemas.get(extension) else "public",
                    "new": there is None,
                }
                for extension in database["extensions"]
            ]
        found["privileges"] += [
            {**privilege, "port": port}
            for privilege in options["postgresql_privileges"]
            if privilege["cluster"] == name
        ]
    return found


def _deaf(options: Mapping[str, Any], cluster: Mapping[str, Any], listening: Sequence[str]) -> Iterator[str]:
    """Apps on other hosts would be told to go where nobody listens: a server takes an address when it starts."""
    wired = options["postgresql_app_server"].get("listen_addresses", ())
    has_apps = any(each["cluster"] == cluster["name"] for each in options["postgresql_app_databases"])
    missing = [address for address in wired if address not in listening]
    if has_apps and missing and "*" not in listening:
        yield (
            f"{cluster['unit']}: apps on other hosts connect to {', '.join(missing)}, where it does not listen until "
            "it restarts, which ends all connections; say -e allow_database_restart=true at a time that suits"
        )


def _locked_out(role: Mapping[str, Any], there: Mapping[str, Any] | None) -> Iterator[str]:
    """A login has one password. The app goes on with the one before until it is live with another: a login whose name
    follows from the password stands beside that, and one that the inventory names would change under the app.
    """
    password, kept = role.get("password"), (there or {}).get("verifier") or ""
    if not password or not there or not there["login"] or not kept.startswith(KIND) or verifies(kept, password):
        return
    if role["name"] not in [login_of(owner, password) for owner in role["member_of"]]:
        yield (
            f"django_apps[].database.password: is another one than PostgreSQL has for database.user {role['name']}, so "
            "that the app could not connect until it is live with it; give another database.user too, or say "
            "-e allow_new_password=true at a time that suits"
        )


def _unavailable(database: Mapping[str, Any], catalog: Mapping[str, Any]) -> Iterator[str]:
    """Extensions that the server has no files of."""
    for name in database["extensions"]:
        if "extensions" in catalog and name not in catalog["extensions"]:
            wanted = (
                "one that pg_available_extensions shows, or the package that brings it in postgresql_extra_packages"
            )
            yield problem(f"postgresql_databases[{database['name']}].extensions", name, wanted)


def _role_step(role: Mapping[str, Any], there: Mapping[str, Any] | None, port: int) -> Iterator[dict[str, Any]]:
    """The role as community.postgresql.postgresql_user takes it, if anything about it is to change."""
    password = role.get("password")
    wrong = there is None or any(there[key] != role[key] for key in ("login", "createdb", "connection_limit"))
    new_password = password is not None and not verifies((there or {}).get("verifier") or "", password)
    if wrong or new_password:
        yield {
            "name": role["name"],
            "port": port,
            "flags": ",".join(f"{'' if role[key] else 'NO'}{key.upper()}" for key in ("login", "createdb")),
            "connection_limit": role["connection_limit"],
            # Never the password itself: the server writes statements to its log.
            **({"password": verifier(password)} if password is not None and new_password else {}),
        }


def _still_enters(role: Mapping[str, Any], options: Mapping[str, Any], there: Mapping[str, Any] | None) -> bool:
    """Whether it is an app's role that may connect until the app is live with a login beside it."""
    return role in options["postgresql_app_roles"] and bool(there and there["login"])


def _retired(
    options: Mapping[str, Any], cluster: str, there: Mapping[str, Mapping[str, Any]], port: int
) -> Iterator[dict[str, Any]]:
    """What ends the logins by which settled apps entered before: those that act as the role of the app.

    One with a session keeps it, and may not begin another: it goes with a later run, as one that owns something does.
    """
    wanted = {role["name"]: role for role in merged(options, "roles", cluster)}
    for owner in options["postgresql_app_settled"]:
        if not any(role.get("password") for name, role in wanted.items() if owner in (name, *role["member_of"])):
            continue  # nobody has asked for the password
        for name, role in there.items():
            if name == owner and role["login"] and not wanted[owner]["login"]:
                yield _statement(f"ALTER ROLE {identifier(name)} NOLOGIN PASSWORD NULL", port)
            if name in wanted or owner not in role["member_of"] or f"role={owner}" not in role["settings"]:
                continue
            if not role["in_use"]:
                yield _statement(f"DROP ROLE {identifier(name)}", port)
            elif role["login"]:
                yield _statement(f"ALTER ROLE {identifier(name)} NOLOGIN", port)


def _memberships(role: Mapping[str, Any], there: Mapping[str, Any] | None, port: int) -> Iterator[dict[str, Any]]:
    now = (there or {}).get("member_of", ())
    for group in role["member_of"]:
        if group not in now:
            yield _statement(f"GRANT {identifier(group)} TO {identifier(role['name'])}", port, there)
    for group in now:
        if group not in role["member_of"]:
            yield _statement(f"REVOKE {identifier(group)} FROM {identifier(role['name'])}", port)


def _settings(
    kind: str, wanted: Mapping[str, Any], there: Mapping[str, Any] | None, port: int
) -> Iterator[dict[str, Any]]:
    """What brings the settings of a role or database about. One that is not wanted any more goes.

    The server takes a name in any case, and keeps it in its own: timezone is TimeZone.
    """
    name, settings = wanted["name"], wanted["settings"]
    found = [line.split("=", 1) for line in (there or {}).get("settings", ())]
    now = {key.lower(): items(key, value) for key, value in found}
    for key, value in settings.items():
        parts = items(key, _text(value))
        if now.get(key.lower()) != parts:
            values = ", ".join(map(literal, parts))
            yield _statement(f"ALTER {kind} {identifier(name)} SET {setting(key)} TO {values}", port, there)
    kept = {key.lower() for key in settings}
    for key, _value in found:
        if key.lower() not in kept:
            yield _statement(f"ALTER {kind} {identifier(name)} RESET {setting(key)}", port)


def _statement(query: str, port: int, there: Mapping[str, Any] | None = MappingProxyType({})) -> dict[str, Any]:
    """A statement, and whether what it is about is still to come.

    :param there: what the server has of that; None for nothing.
    """
    return {"query": query, "port": port, "new": there is None}


def _text(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def setting(name: str) -> str:
    """The name of a setting in SQL: an extension's own has two parts."""
    return ".".join(identifier(part) for part in name.split("."))


def literal(text: str) -> str:
    """A text in SQL. standard_conforming_strings is on, so that a backslash is one."""
    return "'" + text.replace("'", "''") + "'"


# Passwords, after RFC 5802 and RFC 7677, in the form of PostgreSQL's catalog


def verifier(password: str, salt: bytes = b"", iterations: int = ITERATIONS) -> str:
    """What a server keeps of a password: enough to verify it, not to log in with it.

    :param password: ASCII, which RFC 4013 leaves as it is; postgresql_problems refuses anything else.
    """
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    return f"{KIND}${iterations}:{coded[0]}${coded[1]}:{coded[2]}"


def verifies(text: str, password: str) -> bool:
    """Whether a verifier is the one of a password. One of another kind, such as md5, is none."""
    try:
        kind, head, _keys = text.split("$")
        iterations, _colon, salt = head.partition(":")
        if kind != KIND:
            return False
        wanted = verifier(password, base64.b64decode(salt, validate=True), int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(text, wanted)
