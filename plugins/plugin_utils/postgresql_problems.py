# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the input of role postgresql."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.listening import (
    address_problems,
    addresses,
    pair,
    pair_problems,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address, is_network, is_port
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import (
    CONFIGURATION,
    DATA,
    VERSIONS,
    items,
    merged,
    parameter,
    postgresql_clusters,
    version_of,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_extensions import package_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_upgrade import versions_there
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem, shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,62}")  # NAMEDATALEN is 64
CLUSTER = re.compile(r"[a-z][a-z0-9_]{0,30}")  # part of a unit's name, where '-' ends the version
PORT = 5432  # of the cluster of apps, as app_servers.py has it
WANTED_NAME = "up to 63 lower-case letters, digits, hyphens and underscores, a letter first"
# The role itself answers for them.
OWN_SETTINGS = {
    "listen_addresses": "postgresql_listen_addresses",
    "port": "postgresql_clusters[].port",
    "ssl_cert_file": "postgresql_certificate_file",
    "ssl_key_file": "postgresql_key_file",
    "hba_file": "postgresql_access",
    "password_encryption": "nothing: passwords are kept by SCRAM",
}


def problems(given: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables on a host, one line each.

    :param survey: what djangofleet.stack.survey answered to postgresql_questions; nothing is compared without.
    """
    options, found = resolve(spec_of("postgresql"), given)
    if found or not options["postgresql_enabled"]:
        return found
    wrong = [
        *_version(options, facts, survey),
        *_clusters(options),
        *_settings("postgresql_settings", options["postgresql_settings"]),
        *_network(options),
        *address_problems("PostgreSQL", options["postgresql_app_server"].get("listen_addresses", ()), facts),
        *_databases(options, version_of(options, facts)),
        *_roles(options),
        *_access(options),
    ]
    return wrong or [*_ports(options, facts, survey)]  # which asks what the clusters mean


def _version(options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]) -> Iterator[str]:
    debian, asked = str(facts.get("distribution_major_version", "")), options["postgresql_version"]
    known = VERSIONS.get(debian)
    if known and asked not in (0, known):
        yield problem("postgresql_version", asked, f"{known}, which is what Debian {debian} has, or leave it out")
    if debian and not known and not asked:
        yield problem("ansible_facts['distribution_major_version']", debian, "postgresql_version, the one that it has")
    version = version_of(options, facts)
    for cluster in options["postgresql_clusters"]:
        name, there = cluster["name"], versions_there(survey, cluster["name"])
        for other in [found for found in there if found != version]:
            yield (
                f"postgresql_version: found {version}, and the host has the data of cluster {name} in version "
                f"{other}, which {version} cannot read; upgrade it with playbooks/upgrade-postgresql.yml, or rename "
                "the cluster"
            )
    configured = (survey.get("paths") or {}).get(f"{CONFIGURATION}/*/*/postgresql.conf")
    for cluster in options["postgresql_clusters"] if configured is not None else []:
        place = f"{version}/{cluster['name']}"
        data = f"{DATA}/{place}/PG_VERSION" in survey["paths"].get(f"{DATA}/*/*/PG_VERSION", ())
        if data and f"{CONFIGURATION}/{place}/postgresql.conf" not in configured:
            yield (
                f"postgresql_clusters[{cluster['name']}]: {DATA}/{place} has data, and no configuration in "
                f"{CONFIGURATION}/{place}; bring that back with pg_createcluster {version} {cluster['name']}, which "
                "keeps the data, or move the data away"
            )


def _clusters(options: Mapping[str, Any]) -> Iterator[str]:
    clusters = options["postgresql_clusters"]
    for where, cluster in labelled("postgresql_clusters", clusters):
        if not CLUSTER.fullmatch(cluster["name"]):
            yield problem(
                f"{where}.name", cluster["name"], "lower-case letters, digits and underscores, a letter first"
            )
        if not is_port(cluster["port"]):
            yield problem(f"{where}.port", cluster["port"], "a port from 1 to 65535")
        yield from _settings(f"{where}.settings", cluster["settings"])
    if not clusters:
        yield "postgresql_clusters: is empty; give a cluster such as {name: main}, or take the host out of the group"
    for key in ("name", "port"):
        yield from _twice(f"postgresql_clusters[].{key}", [cluster[key] for cluster in clusters])
    if not 0.02 <= options["postgresql_memory_share"] <= 0.8:
        yield problem("postgresql_memory_share", options["postgresql_memory_share"], "a share from 0.02 to 0.8")


def _ports(options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]) -> Iterator[str]:
    """A server keeps its port until it restarts, and apps look for theirs at the port of always."""
    for cluster in postgresql_clusters(options, facts, survey):
        where = f"postgresql_clusters[{cluster['name']}].port"
        if cluster["port_moves"] and not options["postgresql_allow_restart"]:
            yield (
                f"{where}: found {cluster['port']}, and the server that runs listens at another one until it restarts, "
                "which ends all connections; say -e allow_database_restart=true at a time that suits"
            )
        wired = [each["name"] for each in options["postgresql_app_databases"] if each["cluster"] == cluster["name"]]
        if wired and cluster["port"] != PORT:
            yield (
                f"{where}: found {cluster['port']}, while apps look for their databases ({', '.join(wired)}) "
                f"at {PORT}; leave it, and give another cluster another port"
            )


def _settings(where: str, settings: Mapping[str, Any]) -> Iterator[str]:
    lowered = [str(name).lower() for name in settings]
    for name, value in settings.items():
        if lowered.count(str(name).lower()) > 1:
            yield f"{where}.{name}: is there in another spelling too, and the case does not count; leave one"
        if not parameter(str(name)):
            yield problem(where, name, "the name of a setting, such as work_mem")
        elif own := OWN_SETTINGS.get(str(name).lower()):
            yield f"{where}.{name}: is the role's own; give {own}"
        if value is None or isinstance(value, (list, tuple, Mapping)) or not str(value).isprintable():
            yield problem(f"{where}.{name}", value, "a text, a number, or true or false")
        elif not items(str(name), str(value)):
            yield problem(
                f"{where}.{name}", value, 'names with commas between them, such as app, public or "A b", public'
            )


def _network(options: Mapping[str, Any]) -> Iterator[str]:
    for number, address in enumerate(options["postgresql_listen_addresses"]):
        if address not in ("*", "localhost") and not is_address(address):
            yield problem(f"postgresql_listen_addresses[{number}]", address, 'an address of the host, or "*"')
    yield from pair_problems("postgresql", options)
    if addresses("postgresql", options) and not pair("postgresql", options)[0]:
        yield (
            "postgresql_certificate_file: is missing, and postgresql_listen_addresses lets others in, who could not "
            "verify the server; give a certificate and its key"
        )


def _databases(options: Mapping[str, Any], version: int) -> Iterator[str]:
    for where, database in _labelled(options, "databases"):
        yield from _name(f"{where}.name", database["name"])
        yield from _name(f"{where}.owner", database["owner"])
        yield from _cluster(options, where, database)
        yield from _settings(f"{where}.settings", database["settings"])
        for number, name in enumerate(database["extensions"]):
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
                yield problem(f"{where}.extensions[{number}]", name, "the name of an extension, such as pg_trgm")
            # What a package beside the distribution's has in it shows when the server is asked.
            elif package_of(name, version) is None and not options["postgresql_extra_packages"]:
                wanted = (
                    f"one that the distribution has for PostgreSQL {version}, or the package that brings it in "
                    "postgresql_extra_packages"
                )
                yield problem(f"{where}.extensions[{number}]", name, wanted)
    yield from _twice_in_cluster(options, "databases")


def _roles(options: Mapping[str, Any]) -> Iterator[str]:
    for where, role in _labelled(options, "roles"):
        yield from _name(f"{where}.name", role["name"])
        yield from _cluster(options, where, role)
        yield from _settings(f"{where}.settings", role["settings"])
        if role["name"] == "postgres" or role["name"].startswith("pg_"):
            yield problem(f"{where}.name", role["name"], "another name: this one is PostgreSQL's own")
        if "password" in role and not re.fullmatch(r"[!-~]+", role["password"]):
            yield f"{where}.password: found (not shown); give letters, digits and signs of ASCII, and no space"
    yield from _twice_in_cluster(options, "roles")


def _access(options: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("access", "app_access"):
        for number, access in enumerate(options[f"postgresql_{kind}"]):
            where = f"postgresql_{kind}[{number}]"
            yield from _name(f"{where}.role", access["role"].removeprefix("+"))
            yield from _name(f"{where}.database", access["database"])
            yield from _cluster(options, where, access)
            for place, source in enumerate(access["sources"]):
                if not is_network(source):
                    yield problem(f"{where}.sources[{place}]", source, "an address or network, such as 10.0.1.0/24")
            if access["sources"] and not addresses("postgresql", options):
                yield (
                    f"{where}.sources: lets others in, and the server listens on its unix socket alone; give "
                    "postgresql_listen_addresses the address that they reach"
                )


def _labelled(options: Mapping[str, Any], what: str) -> list[tuple[str, Any]]:
    """The items of the user's list and of the wired one, with the path of each."""
    return [
        pair
        for name in (f"postgresql_{what}", f"postgresql_app_{what}")
        for pair in labelled(name, options[name])
    ]  # fmt: skip


def _name(where: str, name: str) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield problem(where, name, WANTED_NAME)


def _cluster(options: Mapping[str, Any], where: str, item: Mapping[str, Any]) -> Iterator[str]:
    known = [cluster["name"] for cluster in options["postgresql_clusters"]]
    if item["cluster"] not in known:
        yield problem(f"{where}.cluster", item["cluster"], f"one of postgresql_clusters: {', '.join(known)}")


def _twice_in_cluster(options: Mapping[str, Any], what: str) -> Iterator[str]:
    items = merged(options, what)
    yield from _twice(f"postgresql_{what}[].name", [(item["name"], item["cluster"]) for item in items])


def _twice(where: str, values: Sequence[Any]) -> Iterator[str]:
    for value in dict.fromkeys(values):
        if values.count(value) > 1:
            name = value[0] if isinstance(value, tuple) else value
            yield f"{where}: {shown(str(name))} is there {values.count(value)} times; each needs its own"
