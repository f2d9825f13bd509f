"""PostgreSQL: backups and WAL by pgBackRest, and the way back.

A restore always makes a copy first, the scratch: another data directory with a server of its own, which listens on a
socket of its own and archives nothing. What is live is touched once the copy has come to where it was to go. Then a
whole cluster changes its data directory by a rename, and a single database its name. What was live is kept beside.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core import CONFIG, BackupError, Refused, exact, note, record, require_room, run, say, shown, stamp, within
from .history import choose, timeline

SOCKETS = Path("/run/postgresql")
HBA = Path(__file__).with_name("scratch_hba.conf")
SCRATCH_SOCKETS = "djangofleet-scratch"  # below /run
ARCHIVED = 120  # seconds that the last WAL may take to the repository
STARTED = 120
TRIES = 20  # to change the names of databases, whose clients connect anew
RECOVERY = ("restore_command", *(f"recovery_target{end}" for end in ("", "_time", "_name", "_timeline", "_action")))
DAY = 86400
BEFORE, RESTORING = ".before-", "_restoring_"
POINT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")  # no time begins with a letter

GUEST = "djangofleet_guest"  # who asks a restored copy what an app wants to know of it
# Since when WAL waits: the last try has failed, or none has ended for minutes.
WAITING = """\
SELECT extract(epoch FROM least(
  (SELECT last_failed_time FROM pg_stat_archiver WHERE last_failed_time > coalesce(last_archived_time, '-infinity')),
  (SELECT min(modification) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'
   HAVING min(modification) < now() - interval '5 minutes')))::bigint
"""
# Each login with its verifier, its memberships and its settings
LOGINS = """\
SELECT coalesce(json_agg(json_build_object('name', rolname, 'password', rolpassword,
  'groups', array(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
  'settings', array(SELECT line FROM pg_db_role_setting s, unnest(setconfig) line
                    WHERE s.setrole = r.oid AND s.setdatabase = 0))), '[]')
FROM pg_authid r WHERE rolcanlogin AND rolpassword IS NOT NULL
"""
# Settings that are lists of names, each of which is quoted where they are kept
LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


@dataclass(frozen=True)
class Cluster:
    """A cluster of postgresql-common.

    :param data: its data directory.
    :param databases: those that the configuration names: `name`, `app`, `assertion`.
    """

    name: str
    version: int
    port: int
    data: Path
    databases: tuple[Mapping[str, Any], ...] = ()

    @property
    def part(self) -> str:
        return f"cluster {self.name}"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-{self.name}.service"

    @property
    def settings(self) -> Path:
        return Path(f"/etc/postgresql/{self.version}/{self.name}/postgresql.conf")

    @property
    def scratch(self) -> Path:
        """The copy's data directory, on the file system of the live one, so that a rename swaps them."""
        return self.data.parent.parent / "scratch" / f"{self.version}-{self.name}"

    @property
    def scratch_unit(self) -> str:
        return f"djangofleet-scratch-{self.version}-{self.name}.service"

    @property
    def scratch_socket(self) -> Path:
        return Path("/run") / SCRATCH_SOCKETS / f"{self.version}-{self.name}"

    def program(self, name: str) -> str:
        return f"/usr/lib/postgresql/{self.version}/bin/{name}"


@dataclass(frozen=True)
class Plan:
    """How a cluster comes to a moment.

    :param target: a time, or the name of a restore point; empty for the newest.
    :param backup: pgBackRest's label of the backup to begin with.
    :param moment: the time that is meant.
    """

    target: str
    backup: str
    timeline: str
    moment: float
    size: int


def of(settings: Mapping[str, Any]) -> list[Cluster]:
    """The clusters of the configuration."""
    return [
        Cluster(
            each["name"],
            each["version"],
            each["port"],
            Path(each["data"]),
            tuple(entry for entry in settings["databases"] if entry["cluster"] == each["name"]),
        )
        for each in settings["clusters"]
    ]


def pgbackrest(cluster: Cluster, *words: str) -> str:
    """Ask pgBackRest, as postgres."""
    return run(
        ["pgbackrest", f"--config={CONFIG}/pgbackrest.conf", f"--stanza={cluster.name}", *words], user="postgres"
    )


def sql(cluster: Cluster, statement: str, database: str = "postgres", socket: Path = SOCKETS) -> str:
    """What a server answers to postgres, without header and padding.

    The catalog comes first, whatever the owner of a database has set.
    """
    return _psql(cluster, statement, database, socket, PGOPTIONS="-c search_path=pg_catalog")


def as_guest(cluster: Cluster, statement: str, database: str) -> str:
    """What the scratch answers to somebody with the rights of a database's owner and no more.

    The names in a statement may mean functions of the owner, which postgres must not run.
    """
    socket, password = cluster.scratch_socket, secrets.token_urlsafe(24)
    query = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = {text_of(database)}"
    owner = name_of(sql(cluster, query, socket=socket))
    role = f"DROP ROLE IF EXISTS {GUEST}; CREATE ROLE {GUEST} LOGIN PASSWORD {text_of(password)} IN ROLE {owner}"
    sql(cluster, role, socket=socket)
    return _psql(cluster, statement, database, socket, PGUSER=GUEST, PGPASSWORD=password)


def _psql(cluster: Cluster, statement: str, database: str, socket: Path, **environment: str) -> str:
    words = ["psql", "-XwqtA", "-v", "ON_ERROR_STOP=1", "-h", str(socket), "-p", str(cluster.port), "-d", database]
    given = {"PGCONNECT_TIMEOUT": "5", **environment}
    return run(words, user="postgres", given=statement, environment=given).strip()


def answers(cluster: Cluster, socket: Path = SOCKETS) -> bool:
    """Whether a server takes connections."""
    with suppress(BackupError):
        return sql(cluster, "SELECT 1", socket=socket) == "1"
    return False


def name_of(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text_of(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


# Backups


class Replaced(BackupError):
    """The repository has the backups of a server whose place a new one has taken."""


def identity(cluster: Cluster) -> dict[str, int]:
    """What tells the live server from any other: `version` and `system`."""
    return {
        "version": cluster.version,
        "system": int(sql(cluster, "SELECT system_identifier FROM pg_control_system()")),
    }


def _repository(cluster: Cluster, *also: int) -> dict[str, Any]:
    """What the repository has of the cluster: `db`, its servers, the last one last, `backup` and `archive`.

    :param also: codes that are no failure.
    :raises BackupError: the repository does not answer, or has nothing of this cluster.
    """
    found = json.loads(pgbackrest(cluster, "info", "--output=json"))[0]
    status = found.get("status", {})
    if status.get("code") not in (0, 2, *also):  # 2: there is no backup yet
        said = [each["status"]["message"] for each in found.get("repo", []) if each["status"]["code"]]
        raise BackupError(
            f"pgbackrest: {'; '.join(said) or status.get('message')}", "look whether the repository is there"
        )
    return found


def _version_of(cluster: Cluster, entry: Mapping[str, Any], repository: Mapping[str, Any]) -> int:
    """The major version of a backup, or of WAL."""
    versions = {each["id"]: int(each["version"].partition(".")[0]) for each in repository.get("db", [])}
    return versions.get(entry.get("database", {}).get("id"), cluster.version)


def _all_backups(cluster: Cluster) -> list[dict[str, Any]]:
    """The backups in the repository, oldest first: `label`, `type`, `stop`, `size` in bytes, and `version`.

    `stop` is rounded up: pgBackRest cuts it to whole seconds, and no moment before the true one can be restored.
    """
    found = _repository(cluster)
    return [
        {
            "label": each["label"],
            "type": each["type"],
            "stop": each["timestamp"]["stop"] + 1,
            "size": each["info"]["size"],
            "version": _version_of(cluster, each, found),
        }
        for each in found.get("backup", [])
    ]


def backups(cluster: Cluster) -> list[dict[str, Any]]:
    """Those that this server can read: before an upgrade it was of another version.

    :raises BackupError: the repository does not answer, or has nothing of this cluster.
    """
    return [each for each in _all_backups(cluster) if each["version"] == cluster.version]


def prepare(cluster: Cluster, known: Mapping[str, Any] | None, *, make: bool) -> None:
    """Make the cluster's place in the repository, or make sure that the one that is there is its own.

    :param known: what this host has prepared for it before; None for nothing.
    :param make: whether there may be none yet.
    :raises Replaced: it is that of another server, which can be restored.
    """
    try:
        found = _repository(cluster, *((1, 3) if make else ()))  # 1 and 3: there is none
        own = identity(cluster)["system"]
        saved = (found.get("db") or [None])[-1]
        if not saved or saved["system-id"] == own:
            pgbackrest(cluster, "stanza-create")
        elif _was_upgraded(cluster, known, saved):
            pgbackrest(cluster, "stanza-upgrade")
        else:
            raise _other_server(cluster, known, found, own)
    except BackupError as error:
        if "CryptoError" not in error.message and "repo encrypted?" not in error.message:
            raise
        raise BackupError(f"backup_passphrase: does not open the repository: {error.message}",
                          "give the one that it was made with") from None  # fmt: skip


def _was_upgraded(cluster: Cluster, known: Mapping[str, Any] | None, saved: Mapping[str, Any]) -> bool:
    """Whether the repository has what this very cluster was before, in an earlier version."""
    is_own = known is not None and known.get("system", saved["system-id"]) == saved["system-id"]
    return is_own and int(saved["version"].partition(".")[0]) < cluster.version


def _other_server(cluster: Cluster, known: Mapping[str, Any] | None, found: Mapping[str, Any], own: int) -> BackupError:
    """What to say where the backups are of another server.

    One without tables, or one that was made after the last of them on a host that has saved nothing yet, has taken its
    place, such as on a host that is in the place of a lost one. Any other has data of its own.
    """
    saved = found["db"][-1]
    made = own >> 32  # a system identifier begins with the second in which the server was made
    newest = max((each["timestamp"]["stop"] for each in found.get("backup", [])), default=made)
    databases = sql(cluster, "SELECT datname FROM pg_database WHERE NOT datistemplate").splitlines()
    message = (
        f"{cluster.part}: the repository has backups of another server, of PostgreSQL {saved['version']} with system"
        f" identifier {saved['system-id']}, and nothing is saved of this one, with {own}; bring that one back"
        " by ansible-playbook playbooks/restore.yml -e overwrite=true, or save this one by another backup_name"
    )
    is_new = (known is None and made > newest) or not any(_tables(cluster, name) for name in databases)
    return (Replaced if is_new else BackupError)(message)


def is_saved(cluster: Cluster) -> bool:
    """Whether the repository takes WAL of the live server. It takes none of one that is in the place of another."""
    saved = (_repository(cluster).get("db") or [{}])[-1] if answers(cluster) else {}
    return bool(saved) and saved["system-id"] == identity(cluster)["system"]


def back_up(cluster: Cluster, full_every: float) -> dict[str, Any]:
    """Take a backup: a full one where the last is older than that many days, what changed since otherwise.

    Returns after its `stop`, so that whatever comes next, be it within the same second, is later than it.
    """
    there = backups(cluster)
    last = max((each["stop"] for each in there if each["type"] == "full"), default=0.0)
    kind = "full" if time.time() - last > full_every * DAY else "diff"
    pgbackrest(cluster, "backup", f"--type={kind}")
    done = backups(cluster)[-1]
    time.sleep(min(1.0, max(0.0, done["stop"] - time.time())))
    return done


def archive_fault(cluster: Cluster) -> str:
    """Why WAL does not come to the repository; empty if it does, or if the server does not answer."""
    with suppress(BackupError):
        if since := sql(cluster, WAITING):
            return f"WAL of {cluster.unit} does not come to the repository, since {shown(float(since))}"
    return ""


def flush(cluster: Cluster) -> bool:
    """Bring all that is committed to the repository; returns whether it came there.

    The commit of an empty transaction is in it: recovery to a moment ends at a commit after that moment.
    """
    found = sql(cluster, "SELECT pg_current_xact_id(); SELECT pg_walfile_name(pg_switch_wal());").split()[-1]
    return within(lambda: sql(cluster, "SELECT last_archived_wal FROM pg_stat_archiver")[8:] >= found[8:], ARCHIVED)


def take_point(cluster: Cluster, name: str) -> None:
    """Mark the present in the WAL, for `to=<name>`.

    :raises BackupError: the WAL does not come to the repository, so that nothing would lead back.
    """
    if not POINT.fullmatch(name):
        raise Refused(f"point: found '{name}'", "give up to 63 letters, digits, dots and hyphens, a letter first")
    if name in [point["name"] for point in record().get("points", {}).get(cluster.name, [])]:
        raise Refused(f"point: '{name}' is there already, and a restore would stop at the first", "give another name")
    if not backups(cluster):
        raise BackupError(f"{cluster.part}: there is no backup yet to begin with", "djangofleet-backup run")
    taken = time.time()
    sql(cluster, f"SELECT pg_create_restore_point({text_of(name)})")
    if not flush(cluster):
        raise BackupError(f"{cluster.part}: the WAL has not come to the repository within {ARCHIVED} s",
                          "djangofleet-backup status says why")  # fmt: skip
    entry = {"name": name, "at": taken}
    note(lambda state: state.setdefault("points", {}).setdefault(cluster.name, []).append(entry))


# The way back


def plan(cluster: Cluster, to: str, moment: float) -> Plan:
    """How the cluster comes to a time, a restore point or the newest.

    :param to: a time or the name of a restore point; empty for the newest.
    :param moment: the time that it means.
    :raises Refused: no backup leads there.
    """
    restores = record().get("restores", {}).get(cluster.name, [])
    every = _all_backups(cluster)
    there = [each for each in every if each["version"] == cluster.version]
    if moment > time.time() + 1:
        raise Refused(f"to: {shown(moment)} is still to come", "give a time that has been")
    found = choose(there, restores, moment)
    if not found and (former := [each for each in every if each not in there and each["stop"] <= moment]):
        version = former[-1]["version"]
        raise Refused(
            f"{cluster.part}: what leads to {shown(moment)} is of PostgreSQL {version}, whose server is gone",
            f"give a time from {shown(there[0]['stop'])} on"
            if there
            else f"restore on a host with PostgreSQL {version}",
        )
    if not found:
        oldest = f"the oldest backup ends at {shown(there[0]['stop'])}" if there else "there is no backup"
        raise Refused(f"{cluster.part}: nothing leads to {shown(moment)}: {oldest}", "give a later time")
    return Plan(to, found["label"], timeline(restores, moment), moment, found["size"])


def live_content(cluster: Cluster, databases: tuple[str, ...]) -> str:
    """What a restore would put away; empty where nothing is.

    :param databases: the names of those that it is about.
    """
    if answers(cluster):
        there = set(sql(cluster, "SELECT datname FROM pg_database").splitlines())
        counted = {name: _tables(cluster, name) for name in databases if name in there}
        found = [f"database {name} is live, with {tables} tables" for name, tables in counted.items() if tables]
        return "; ".join(found)
    with suppress(BackupError):
        words = [cluster.program("pg_controldata"), "-D", str(cluster.data)]
        last = re.search(r"Time of latest checkpoint:\s*(.+)", run(words, user="postgres"))
        return f"{cluster.data} has data of {last[1].strip()}, and its server does not answer" if last else ""
    return ""


def _tables(cluster: Cluster, database: str) -> int:
    query = (
        "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p')"
        " AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
    )
    with suppress(BackupError):
        return int(sql(cluster, query, database))
    return 1  # it takes no connections: nobody can say that it is empty


def to_scratch(cluster: Cluster, plan: Plan, *, goes_live: bool = False) -> None:
    """Restore into the scratch and run its server there, at the moment that the plan says.

    :param goes_live: keep the WAL that the scratch writes for the archive of the live cluster, which it will be.
    """
    discard(cluster)
    cluster.scratch.parent.mkdir(parents=True, exist_ok=True)
    require_room(cluster.scratch.parent, plan.size)
    cluster.scratch.mkdir(mode=0o700)
    shutil.chown(cluster.scratch, "postgres", "postgres")
    kind = "default" if not plan.target else "name" if POINT.fullmatch(plan.target) else "time"
    words = [f"--set={plan.backup}", f"--type={kind}", f"--target-timeline={plan.timeline}"]
    if kind != "default":
        target = plan.target if kind == "name" else exact(plan.moment)
        words += [f"--target={target}", "--target-action=promote"]
    say(f"{cluster.part}: restoring backup {plan.backup} to {cluster.scratch}")
    pgbackrest(cluster, "restore", f"--pg1-path={cluster.scratch}", *words)
    _run_scratch(cluster, goes_live)
    if kind == "default":
        _require_all_wal(cluster)


def _require_all_wal(cluster: Cluster) -> None:
    """Stop if the scratch has not come to the end of the WAL: it ends without a word where a segment is missing."""
    found = _repository(cluster)
    archives = [each for each in found.get("archive", []) if _version_of(cluster, each, found) == cluster.version]
    last = max((each["max"] for each in archives if each["max"]), default="")
    came = sql(cluster, "SELECT pg_walfile_name(pg_last_wal_replay_lsn())", socket=cluster.scratch_socket)
    if came and last and int(last[:8], 16) == _parent(cluster) and came[8:] < last[8:]:
        raise BackupError(f"{cluster.part}: the WAL has a gap: the copy comes to segment {came[8:]} of {last[8:]}",
                          "djangofleet-backup run, while all is well; or give a time before the gap")  # fmt: skip


def _run_scratch(cluster: Cluster, goes_live: bool) -> None:
    settings = {
        "config_file": cluster.settings,
        "hba_file": HBA,
        "data_directory": cluster.scratch,
        "listen_addresses": "",
        "unix_socket_directories": cluster.scratch_socket,
        "port": cluster.port,
        "external_pid_file": "",
        "cluster_name": f"scratch {cluster.version}/{cluster.name}",
        "ssl": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        # Nobody asks before it is where it was to go: values of a larger server may stand in the backup.
        "hot_standby": "off",
        "shared_buffers": "64MB",
        # What the archive gets of it comes from the live server.
        **({"archive_mode": "on", "archive_command": "/bin/false"} if goes_live else {"archive_mode": "off"}),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    unit = {
        "User": "postgres",
        "Group": "postgres",
        "RuntimeDirectory": f"{SCRATCH_SOCKETS}/{cluster.version}-{cluster.name}",
        "KillMode": "mixed",
        "KillSignal": "SIGINT",
        "TimeoutStopSec": "300",
        "OOMScoreAdjust": "500",
    }
    properties = [f"--property={name}={value}" for name, value in unit.items()]
    began = time.time()
    run([
        *("systemd-run", "--quiet", "--collect", "--service-type=exec", f"--unit={cluster.scratch_unit}", *properties),
        *(cluster.program("postgres"), "-D", str(cluster.scratch), *options),
    ])  # fmt: skip
    while not answers(cluster, cluster.scratch_socket):
        if not _is_active(cluster.scratch_unit):
            raise BackupError(f"{cluster.part}: the restored server stopped: {_last_words(cluster, began)}",
                              "give another time, or leave it out for the newest")  # fmt: skip
        time.sleep(0.2)


def _is_active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def _last_words(cluster: Cluster, since: float) -> str:
    words = ["journalctl", "--quiet", "--output=cat", f"--unit={cluster.scratch_unit}", f"--since=@{int(since)}"]
    with suppress(BackupError):
        lines = run([*words, "--no-pager"]).splitlines()
        wrong = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR):", line)]
        return "\n".join((wrong or lines)[-3:])
    return "its journal cannot be read"


def stop_scratch(cluster: Cluster) -> None:
    """End the scratch's server, with a checkpoint."""
    subprocess.run(["systemctl", "stop", cluster.scratch_unit], check=False, capture_output=True)


def discard(cluster: Cluster) -> bool:
    """Remove the scratch, and put back what a restore that was killed has put away. Returns whether there was one."""
    stop_scratch(cluster)
    undone = _put_back(cluster)
    if answers(cluster):
        left = sql(cluster, f"SELECT datname FROM pg_database WHERE datname ~ '{RESTORING}[0-9]{{8}}t[0-9]{{6}}$'")
        for name in left.splitlines():
            sql(cluster, f"DROP DATABASE {name_of(name)}")
    found = cluster.scratch.exists()
    if found:
        shutil.rmtree(cluster.scratch)
    if undone:
        _settle(cluster, undone)  # now there is room for it
    return found


def _settle(cluster: Cluster, before: Path) -> None:
    """Note that a swap has ended. One that did not go live is taken out of the record of restores."""

    def change(state: dict[str, Any]) -> None:
        state.get("swaps", {}).pop(cluster.name, None)
        if not before.exists():
            known = state.get("restores", {})
            known[cluster.name] = [each for each in known.get(cluster.name, []) if each.get("before") != str(before)]

    note(change)


def _put_back(cluster: Cluster) -> Path | None:
    """Undo a swap that was killed. Returns where it had put the live data, or was to; None if there was no such swap.

    Between its two renames there is no data directory, and from before them until its end the server may be stopped.
    """
    kept = sorted(cluster.data.parent.glob(f"{cluster.data.name}{BEFORE}*"))
    if noted := record().get("swaps", {}).get(cluster.name):
        before = Path(noted)
    elif kept and not cluster.data.exists() and (cluster.scratch / "PG_VERSION").exists():
        before = kept[-1]
    else:
        return None
    if before.exists() and not cluster.data.exists():
        os.rename(before, cluster.data)
    if cluster.data.exists():
        run(["systemctl", "start", cluster.unit])
        which = "the restored data is" if before.exists() else "the data from before is"
        say(f"{cluster.part}: a restore has not ended; {which} live")
    return before


def keep_logins(cluster: Cluster) -> None:
    """Give the scratch the logins and passwords that there are now: the apps know no older ones."""
    there = sql(cluster, "SELECT json_agg(rolname) FROM pg_roles", socket=cluster.scratch_socket)
    # Verifiers, and not passwords; all the same they stay out of the server's log.
    quiet = ("log_min_duration_statement = -1", "log_statement = 'none'", "log_min_error_statement = 'panic'")
    statements = logins_of(json.loads(sql(cluster, LOGINS)), json.loads(there))
    sql(cluster, "".join(f"SET {each};" for each in quiet) + "\n".join(statements), socket=cluster.scratch_socket)


def logins_of(logins: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[str]:
    """What makes these logins on a server.

    :param known: the roles that it has.
    """
    found = [f"CREATE ROLE {name_of(login['name'])};" for login in logins if login["name"] not in known]
    for login in logins:
        role = name_of(login["name"])
        found.append(f"ALTER ROLE {role} LOGIN PASSWORD {text_of(login['password'])};")
        found += [f"GRANT {name_of(group)} TO {role};" for group in login["groups"]]
        for line in login["settings"]:
            name, _equals, value = line.partition("=")
            found.append(f"ALTER ROLE {role} SET {name_of(name)} TO {_value(name, value)};")
    return found


def _value(name: str, value: str) -> str:
    """The value of a setting in SQL. Each name of a list stands for itself, as pg_dump writes it: in one pair of quotes
    they would be one name.
    """
    if name not in LISTS:
        return text_of(value)
    names = re.findall(r'"((?:[^"]|"")*)"|([^\s,]+)', value)
    return ", ".join(text_of(quoted.replace('""', '"') or plain) for quoted, plain in names) or "''"


def swap(cluster: Cluster, plan: Plan) -> Path | None:
    """Put the scratch in the place of the live data directory. Returns where that is kept, if there was one.

    :raises BackupError: the live server did not start with it. The one from before runs again.
    """
    if answers(cluster):
        keep_logins(cluster)
    sql(cluster, "".join(f"ALTER SYSTEM RESET {name};" for name in RECOVERY), socket=cluster.scratch_socket)
    now = time.time()
    before = cluster.data.with_name(f"{cluster.data.name}{BEFORE}{stamp(now)}")
    left = _timeline(cluster) or _parent(cluster)
    entry = {"at": now, "to": plan.moment, "timeline": left, "before": str(before)}
    had_data = cluster.data.exists()
    stop_scratch(cluster)

    def begin(state: dict[str, Any]) -> None:
        state.setdefault("restores", {}).setdefault(cluster.name, []).append(entry)
        if had_data:
            state.setdefault("swaps", {})[cluster.name] = str(before)

    # Before the server is stopped: what nobody knows of leads later restores astray, and nobody would start it again.
    note(begin)
    try:
        run(["systemctl", "stop", cluster.unit])
        if had_data:
            os.rename(cluster.data, before)
        os.rename(cluster.scratch, cluster.data)
        run(["systemctl", "start", cluster.unit])
        if not within(lambda: answers(cluster), STARTED):
            raise BackupError(f"{cluster.unit}: does not answer within {STARTED} s")
        if had_data:
            _settle(cluster, before)
    except BaseException as error:
        subprocess.run(["systemctl", "stop", cluster.unit], check=False)
        if not cluster.scratch.exists():
            os.rename(cluster.data, cluster.scratch)
        if before.exists():
            os.rename(before, cluster.data)
        try:
            if had_data:
                run(["systemctl", "start", cluster.unit])
        finally:
            with suppress(OSError):  # the disk is full; `discard` takes the copy away, and notes it
                _settle(cluster, before)
        if not isinstance(error, BackupError):
            raise
        raise BackupError(
            f"{error.message}; the data from before is live again", f"journalctl -u {cluster.unit}"
        ) from None
    return before if had_data else None


def _parent(cluster: Cluster) -> int:
    """The timeline that the scratch has followed to where it is."""
    histories = sorted((cluster.scratch / "pg_wal").glob("*.history"))
    lines = histories[-1].read_text().splitlines() if histories else []
    return int(next((line for line in reversed(lines) if line.strip()), "1").split()[0])


def _timeline(cluster: Cluster) -> int:
    """The timeline of the live data; 0 where it cannot be read, or is of another server than the scratch."""
    with suppress(BackupError):
        live, copied = (
            run([cluster.program("pg_controldata"), "-D", str(data)], user="postgres")
            for data in (cluster.data, cluster.scratch)
        )
        system = re.search(r"Database system identifier:\s*\d+", live)
        if system and system[0] in copied and (found := re.search(r"Latest checkpoint's TimeLineID:\s*(\d+)", live)):
            return int(found[1])
    return 0


def load_one(cluster: Cluster, database: str) -> str:
    """Bring one database of the scratch to the live server, which keeps the others. Returns the name of the old one.

    It is loaded beside the live one, with its owner, rights and settings, and then they change their names.
    """
    end = stamp(time.time())
    new, old = f"{database[:40]}{RESTORING}{end}", f"{database[:40]}_before_{end}"
    sql(cluster, f"ALTER DATABASE {name_of(database)} RENAME TO {name_of(new)}", socket=cluster.scratch_socket)
    try:
        _copy(cluster, new)
        sql(cluster, "ANALYZE", new)
        has_old = sql(cluster, f"SELECT 1 FROM pg_database WHERE datname = {text_of(database)}") == "1"
        # Nobody can connect to the one that is kept, and the names change at once.
        first = f"ALTER DATABASE {name_of(database)} RENAME TO {name_of(old)};" if has_old else ""
        last = f"ALTER DATABASE {name_of(old)} ALLOW_CONNECTIONS false;" if has_old else ""
        renames = f"BEGIN; {first} {last} ALTER DATABASE {name_of(new)} RENAME TO {name_of(database)}; COMMIT;"
        ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {text_of(database)};"
        for patience in range(TRIES, -1, -1):
            try:
                sql(cluster, ends + renames)
                break
            except BackupError:  # somebody has connected in between
                if not patience:
                    raise
    except BaseException:
        with suppress(BackupError):
            sql(cluster, f"DROP DATABASE IF EXISTS {name_of(new)}")
        raise
    return old if has_old else ""


def _copy(cluster: Cluster, database: str) -> None:
    """Dump a database of the scratch into one of the same name on the live server."""
    common: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}
    where = ["-w", "-p", str(cluster.port)]
    dump = [cluster.program("pg_dump"), *where, "-h", str(cluster.scratch_socket), "-Fc", "--create", "-d", database]
    load = [cluster.program("pg_restore"), *where, "-h", str(SOCKETS), "--create", "--exit-on-error", "-d", "postgres"]
    with subprocess.Popen(dump, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **common) as source:
        loaded = subprocess.run(load, stdin=source.stdout, capture_output=True, check=False, **common)
        source.stdout.close()  # type: ignore[union-attr]
        said = source.stderr.read() + loaded.stderr  # type: ignore[union-attr]
    if source.returncode or loaded.returncode:
        raise BackupError(f"the database was not copied: {said.decode(errors='replace').strip()[-1000:]}")


def neighbours(cluster: Cluster, database: str) -> list[str]:
    """The other databases of the live cluster, beside its own; none if it does not answer."""
    with suppress(BackupError):
        others = f"NOT datistemplate AND datallowconn AND datname NOT IN ('postgres', {text_of(database)})"
        return sql(cluster, f"SELECT datname FROM pg_database WHERE {others}").splitlines()
    return [each["name"] for each in cluster.databases if each["name"] != database]


def has_own_file_system(cluster: Cluster) -> bool:
    """Whether something is mounted at the data directory or above it, but below where its copy goes."""
    beside = cluster.scratch.parent.parent
    return cluster.data.exists() and (
        os.path.ismount(cluster.data) or os.stat(cluster.data).st_dev != os.stat(beside).st_dev
    )


def tablespaces(cluster: Cluster) -> bool:
    """Whether the live cluster has data outside of its directory, which the scratch cannot have."""
    links = cluster.data / "pg_tblspc"
    return links.is_dir() and any(links.iterdir())
