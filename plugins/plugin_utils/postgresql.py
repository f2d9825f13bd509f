# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role postgresql: clusters, the settings that follow from the host, who may connect, what it asks.

C(options) are the role's variables by name, as the role's spec means them. What is wrong with them is in
postgresql_problems.py, how databases and roles come about in postgresql_plan.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.listening import addresses, pair
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql_extensions import package_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.systemd import unit_lines

VERSIONS = {"12": 15, "13": 17}  # of PostgreSQL, by Debian's
CONFIGURATION, DATA = "/etc/postgresql", "/var/lib/postgresql"
CONFIGURATIONS, VERSION_FILES = f"{CONFIGURATION}/*/*/postgresql.conf", f"{DATA}/*/*/PG_VERSION"
RETIRED = f"{CONFIGURATION}/*/*/djangofleet.retired"  # of a cluster whose data has been upgraded
UPGRADING = f"{CONFIGURATION}/*/*/djangofleet.upgrading"  # of one whose upgrade has begun
PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"
SOCKET = "/run/postgresql/.s.PGSQL."  # and the port of the server
WIRED = re.compile(r'(?:local|hostssl)\s+"[^"]+" \+"([^"]+)" ')  # a line of pg_hba.conf for the logins of an app
# Settings that are lists of names, each quoted by itself; unquoted ones of the first two are in lower case.
FOLDED_LISTS = ("search_path", "temp_tablespaces")
LISTS = (*FOLDED_LISTS, "local_preload_libraries", "session_preload_libraries")
ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s",][^",]*?))\s*,')
SNAKE_OIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")


def version_of(options: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """The major version: the one that is asked for, or the distribution's; 0 where nobody knows it."""
    return options["postgresql_version"] or VERSIONS.get(str(facts.get("distribution_major_version")), 0)


def merged(options: Mapping[str, Any], what: str, cluster: str = "") -> list[dict[str, Any]]:
    """The user's list and the wired one.

    :param what: one of "databases", "roles", "access".
    :param cluster: leave out what is in another one.
    """
    found = [*options[f"postgresql_{what}"], *options[f"postgresql_app_{what}"]]
    return [item for item in found if cluster in ("", item["cluster"])]


def postgresql_packages(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The packages of the server and of the extensions, and what Ansible's modules ask it with."""
    if not options["postgresql_enabled"]:
        return []
    version = version_of(options, facts)
    wanted = [name for database in merged(options, "databases") for name in database["extensions"]]
    brought = sorted(filter(None, {package_of(name, version) for name in wanted}))
    base = [f"postgresql-{version}", "python3-psycopg2", "ssl-cert"]
    return [*base, *brought, *options["postgresql_extra_packages"]]


def postgresql_questions(given: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out: the clusters and data directories that are there."""
    options, wrong = resolve(spec_of("postgresql"), given)
    if wrong or not options["postgresql_enabled"]:
        return {}
    units = [unit_of(version_of(options, facts), cluster["name"]) for cluster in options["postgresql_clusters"]]
    paths = [CONFIGURATIONS, VERSION_FILES, RETIRED, UPGRADING, PROGRAMS, f"{SOCKET}*[0-9]"]
    version = version_of(options, facts)
    files = [f"{CONFIGURATION}/{version}/{cluster['name']}/pg_hba.conf" for cluster in options["postgresql_clusters"]]
    return {"units": ["postgresql.service", *units], "paths": paths, "files": files}


def unit_of(version: int, cluster: str) -> str:
    """The service of a cluster."""
    return f"postgresql@{version}-{cluster}.service"


def postgresql_clusters(
    options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The clusters of a host, each with all that its files and commands are made of.

    :param survey: what djangofleet.stack.survey answers to postgresql_questions.
    """
    version = version_of(options, facts)
    memory = int(survey.get("memory") or 0)
    paths = survey.get("paths") or {}
    there = [path for found in paths.values() for path in found]
    share = options["postgresql_memory_share"] / max(1, len(options["postgresql_clusters"]))
    found = []
    for cluster in options["postgresql_clusters"]:
        configuration = f"{CONFIGURATION}/{version}/{cluster['name']}"
        unit = unit_of(version, cluster["name"])
        is_active = bool((survey.get("units") or {}).get(unit, {}).get("active"))
        binary = f"/usr/lib/postgresql/{version}/bin/postgres"
        hba = list(hba_lines(options, cluster["name"]))
        kept = kept_lines(options, (survey.get("files") or {}).get(f"{configuration}/pg_hba.conf", ""), hba)
        found.append({
            **cluster,
            "version": version,
            "unit": unit,
            "configuration": configuration,
            # The server reads the copy before the change is put in place. `-C` starts nothing, and root may ask it.
            "stage": {
                "path": configuration,
                "validate": f"{binary} -C port --config-file={{stage}}/postgresql.conf",
                "name": f"postgres -C, of cluster {cluster['name']}",
            },
            "is_there": f"{configuration}/postgresql.conf" in there,
            "is_active": is_active,
            # A server keeps its port until it restarts.
            "port_moves": is_active and f"{SOCKET}{cluster['port']}" not in there,
            "settings": settings_of(still_listening(options, kept), cluster, memory, share),
            "hba": [*hba, *kept],
        })  # fmt: skip
    return found


def sandbox_of(options: Mapping[str, Any], sandbox: Mapping[str, Any]) -> list[str]:
    """The lines of the drop-in for the units of all clusters."""
    return unit_lines({**sandbox, **options["postgresql_sandbox"]})


def settings_of(options: Mapping[str, Any], cluster: Mapping[str, Any], memory: int, share: float) -> dict[str, str]:
    """The content of postgresql.conf by name, each value as it stands there.

    :param memory: of the host, in MB; 0 where it is not known.
    :param share: how much of it this cluster may have.
    """
    certificate, key = pair("postgresql", options)
    derived: dict[str, Any] = {
        "port": cluster["port"],
        "listen_addresses": ",".join(addresses("postgresql", options)),
        "password_encryption": "scram-sha-256",
        "ssl": True,
        "ssl_cert_file": certificate or SNAKE_OIL[0],
        "ssl_key_file": key or SNAKE_OIL[1],
        "ssl_min_protocol_version": "TLSv1.2",
        **memory_settings(memory, share),
        "max_connections": 100,
        "max_wal_size": "2GB",
        "min_wal_size": "256MB",
        "wal_compression": True,
        # Both are in effect from the first start: a backup that comes later needs no restart of a live server.
        "archive_mode": True,
        "archive_command": "/bin/true",
        "checkpoint_completion_target": 0.9,
        # A second, since a query of a page that takes longer is felt.
        "log_min_duration_statement": "1s",
        "log_lock_waits": True,
        "log_checkpoints": True,
        "log_temp_files": "16MB",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "idle_in_transaction_session_timeout": "10min",
    }
    wired = {
        name: str(value).replace("{cluster}", cluster["name"])
        for name, value in options["postgresql_app_settings"].items()
    }
    return {
        name: quoted(value)
        for name, value in {**derived, **wired, **options["postgresql_settings"], **cluster["settings"]}.items()
    }


def memory_settings(memory: int, share: float) -> dict[str, str]:
    """What follows from the host's memory, after the chapter "Resource Consumption" of PostgreSQL's manual: a quarter
    of a host that does nothing else for shared buffers, and what the kernel is likely to cache besides.

    :param memory: of the host, in MB; 0 for what PostgreSQL has by itself.
    """
    if not memory:
        return {}
    buffers = max(32, int(memory * share))
    return {
        "shared_buffers": f"{min(buffers, 16 * 1024)}MB",
        "effective_cache_size": f"{max(64, buffers * 2)}MB",
        "maintenance_work_mem": f"{min(1024, max(32, buffers // 4))}MB",
        "work_mem": f"{min(64, max(4, buffers // 64))}MB",
    }


def quoted(value: Any) -> str:
    """A value as postgresql.conf has it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"


def hba_lines(options: Mapping[str, Any], cluster: str) -> Iterator[str]:
    """The lines of pg_hba.conf for those who were let in, the unix socket first."""
    access = merged(options, "access", cluster)
    local = dict.fromkeys(f"local   {hba_name(a['database'])} {hba_name(a['role'])} scram-sha-256" for a in access)
    remote = dict.fromkeys(
        f"hostssl {hba_name(each['database'])} {hba_name(each['role'])} {network(source)} scram-sha-256"
        for each in access
        for source in each["sources"]
    )
    yield from local
    yield from remote


def kept_lines(options: Mapping[str, Any], before: str, now: Sequence[str]) -> list[str]:
    """The lines of a pg_hba.conf by which an app may still come that is about to come in another way, or not at all.

    :param before: what the file says.
    :param now: the lines that it has from now on.
    """
    found = [(WIRED.match(line), line) for line in before.splitlines()]
    changing = options["postgresql_app_changing"]
    return [line for match, line in found if match and match[1] in changing and line not in now]


def still_listening(options: Mapping[str, Any], kept: Sequence[str]) -> Mapping[str, Any]:
    """The options of a server that still listens for apps that may come over the network."""
    if addresses("postgresql", options) or not any(line.startswith("hostssl") for line in kept):
        return options
    return {**options, "postgresql_app_server": options["postgresql_app_listener"]}


def hba_name(name: str) -> str:
    """A database or a role in pg_hba.conf: quoted, or a keyword. A plus before the quotes means the role's members."""
    return "all" if name == "all" else f'{"+" if name.startswith("+") else ""}"{name.removeprefix("+")}"'


def network(source: str) -> str:
    """An address as pg_hba.conf has it, with the length of its mask."""
    return str(ipaddress.ip_network(source, strict=False))


def parameter(name: str) -> bool:
    """Whether this may be the name of a setting, an extension's own included."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?", name) is not None


def items(name: str, text: str) -> list[str]:
    """The values that a text of a setting means to PostgreSQL: several where the setting is a list of names.

    :returns: none for a list that it could not read, such as one with open quotes.
    """
    if name.lower() not in LISTS:
        return [text]
    found, rest = [], f"{text}," if text.strip() else '"",'
    while rest:
        if not (match := ITEM.match(rest)):
            return []
        inside, plain = match.groups()
        if plain and name.lower() in FOLDED_LISTS:
            plain = plain.lower()
        found.append(plain or inside.replace('""', '"'))
        rest = rest[match.end() :]
    return found
