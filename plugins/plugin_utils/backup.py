# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role backup: what its programs are configured with, what is wrong with its input, what apps give it.

C(options) are the role's variables by name, as the role's spec means them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import (
    KINDS,
    address_of,
    is_remote,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.postgresql import DATA, version_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem, shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

CONFIGURATION = "/etc/djangofleet-backup"
STATE = "/var/lib/djangofleet/backup"
RECORD = f"{STATE}/state.json"
TIMERS = ("djangofleet-backup.timer", "djangofleet-backup-drill.timer")
KEYS = f"{CONFIGURATION}/ssh"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# Not there after a reboot, or not there for the server, whose unit has ProtectHome and PrivateTmp.
UNFIT = ("/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys", "/etc", "/usr", "/boot", "/home", "/root")  # noqa: S108


def merged(options: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """The user's list and the wired one.

    :param what: one of "clusters", "databases", "files".
    """
    return [*options[f"backup_{what}"], *options[f"backup_app_{what}"]]


def passphrase(options: Mapping[str, Any]) -> str:
    """The passphrase, the inventory's before the wired one; empty before that has been read."""
    return options["backup_passphrase"] or options["backup_app_passphrase"]


def backup_passphrase_differs(options: Mapping[str, Any], record: str) -> bool:
    """Whether the host has backups in this repository that another passphrase opens.

    :param record: what djangofleet-backup has noted on the host.
    """
    given, where = passphrase(options), backup_config(options)["settings"]["repository"]
    try:
        prepared = json.loads(record).get("prepared", {}).values()
    except ValueError:  # it is damaged, which the program says
        return False
    opened = [each["passphrase"] for each in prepared if isinstance(each, dict) and each["repository"] == where]
    return bool(given) and any(_sealed(given, each) != each for each in opened)


def _sealed(text: str, like: str) -> str:
    """A passphrase with the salt of another one, as core.py of the program notes it."""
    salt = like.partition("$")[0]
    return f"{salt}${hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**14, r=8, p=1).hex()}"


def backup_packages(options: Mapping[str, Any]) -> list[str]:
    """The programs for what the host has."""
    if not options["backup_enabled"]:
        return []
    is_sftp = options["backup_repository"]["type"] == "sftp"
    wanted = {"pgbackrest": merged(options, "clusters"), "restic": merged(options, "files"), "openssh-client": is_sftp}
    return [program for program, reason in wanted.items() if reason]


def backup_questions(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """What djangofleet.stack.survey is to find out."""
    _options, wrong = resolve(spec_of("backup"), given)
    return {} if wrong else {"units": [*TIMERS], "paths": [f"{CONFIGURATION}/config.json", f"{KEYS}/key", RECORD]}


def backup_config(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the role's files are made of.

    :returns: `settings`, the content of config.json; `postgresql` and `restic`, one entry or none for each of their
        files; `places`, the directories of the repository by owner.
    """
    clusters, files = merged(options, "clusters"), merged(options, "files")
    repository, name = options["backup_repository"], options["backup_name"]
    is_posix, is_sftp = repository["type"] == "posix", repository["type"] == "sftp"
    place = f"{repository['path'].rstrip('/')}/{name}"
    days = options["backup_retention_days"]
    settings = {
        "repository": f"{repository['type']} {_keeper(repository)}{place}",
        "directory": place if is_posix else "",
        "clusters": clusters,
        "databases": merged(options, "databases"),
        "files": files,
        "retention_days": days,
        "full_every_days": options["backup_full_every_days"],
        "maximum_age_hours": options["backup_maximum_age_hours"],
        "drill_maximum_age_days": options["backup_drill_maximum_age_days"],
        "metrics_directory": options["backup_metrics_directory"],
    }
    common = {
        "repo1-path": f"{place}/postgresql",
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-cipher-pass": passphrase(options),
        "repo1-bundle": "y",  # a file of PostgreSQL is small, and there are thousands: each is a question to a store
        "repo1-retention-full-type": "time",
        "repo1-retention-full": days,
        "archive-push-queue-max": options["backup_wal_queue"],
        "compress-type": "zst",
        "io-timeout": 30,  # seconds until a repository that is away is said to be
        "lock-path": "/run/postgresql/pgbackrest",
        "log-level-console": "warn",
        "log-level-file": "off",
        "start-fast": "y",
    }
    variables = {"RESTIC_REPOSITORY": f"{place}/files", "RESTIC_PASSWORD": passphrase(options)}
    with_store: dict[str, dict[str, Any]] = {"pgbackrest": {}, "restic": {}}
    if not is_posix:
        with_store = _sftp(options, place) if is_sftp else _store(repository, place)
    return {
        "settings": settings,
        "postgresql": [
            {"directory": CONFIGURATION, "clusters": clusters, "settings": {**common, **with_store["pgbackrest"]}}
        ] if clusters else [],
        "restic": [{"directory": CONFIGURATION, "variables": {**variables, **with_store["restic"]}}] if files else [],
        "places": {
            "root": [{"path": f"{place}/files"}] if is_posix and files else [],
            "postgres": [{"path": f"{place}/postgresql"}] if is_posix and clusters else [],
        },
        "remote": {
            "host": repository["host"],
            "known_as": known_as(_address(options), repository["port"]),
            "account": account(name),
            "place": place,
            "key_owner": "postgres" if clusters else "root",
        } if is_sftp else {},
    }  # fmt: skip


def _keeper(repository: Mapping[str, Any]) -> str:
    """Who has the repository, if not the host itself. Another store may have a bucket of the same name."""
    keepers = {"sftp": repository["host"], "s3": f"{repository['endpoint']}/{repository['bucket']}"}
    return keepers.get(repository["type"], "")


def account(name: str) -> str:
    """The account that a host has on the host of the repository: none reaches the backups of another."""
    return f"djangofleet-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def known_as(address: str, port: int) -> str:
    """How known_hosts names a host."""
    return address if port == 22 else f"[{address}]:{port}"


def _address(options: Mapping[str, Any]) -> str:
    return options["backup_app_address"] or options["backup_repository"]["host"]


def _sftp(options: Mapping[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """What both programs need to know of a directory of another host."""
    user, address, port = account(options["backup_name"]), _address(options), options["backup_repository"]["port"]
    ssh = (
        f"ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o IdentitiesOnly=yes -i {KEYS}/key"
        f" -o StrictHostKeyChecking=yes -o UserKnownHostsFile={KEYS}/known_hosts -p {port} {user}@{address} -s sftp"
    )
    return {
        "pgbackrest": {
            "repo1-type": "sftp",
            "repo1-sftp-host": address,
            "repo1-sftp-host-port": port,
            "repo1-sftp-host-user": user,
            "repo1-sftp-private-key-file": f"{KEYS}/key",
            "repo1-sftp-public-key-file": f"{KEYS}/key.pub",
            "repo1-sftp-host-key-check-type": "strict",
            "repo1-sftp-host-key-hash-type": "sha256",
            "repo1-sftp-known-host": f"{KEYS}/known_hosts",
        },
        "restic": {"RESTIC_REPOSITORY": f"sftp:{user}@{address}:{place}/files", "SFTP_COMMAND": ssh},
    }


def _store(repository: Mapping[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """What both programs need to know of a store that speaks the protocol of S3."""
    host, _colon, port = repository["endpoint"].partition(":")
    return {
        "pgbackrest": {
            "repo1-type": "s3",
            "repo1-s3-bucket": repository["bucket"],
            "repo1-s3-endpoint": host,
            "repo1-s3-region": repository["region"],
            "repo1-s3-key": repository["key"],
            "repo1-s3-key-secret": repository["key_secret"],
            "repo1-s3-uri-style": "path",
            **({"repo1-storage-port": port} if port else {}),
            **({"repo1-storage-ca-file": repository["ca_file"]} if repository["ca_file"] else {}),
        },
        "restic": {
            "RESTIC_REPOSITORY": f"s3:https://{repository['endpoint']}/{repository['bucket']}{place}/files",
            **({"RESTIC_CACERT": repository["ca_file"]} if repository["ca_file"] else {}),
            "AWS_ACCESS_KEY_ID": repository["key"],
            "AWS_SECRET_ACCESS_KEY": repository["key_secret"],
            "AWS_DEFAULT_REGION": repository["region"],
        },
    }


# What is wrong


def backup_problems(given: Mapping[str, Any], facts: Mapping[str, Any], hosts: Sequence[str]) -> list[str]:
    """What is wrong with the role's variables on a host, one line each.

    :param facts: of the host.
    :param hosts: those of the inventory.
    """
    options, found = resolve(spec_of("backup"), given)
    if found or not options["backup_enabled"]:
        return found
    return [*_repository(options), *_remote(options, facts, hosts), *_values(options), *_parts(options)]


def _remote(options: Mapping[str, Any], facts: Mapping[str, Any], hosts: Sequence[str]) -> Iterator[str]:
    repository = options["backup_repository"]
    if repository["type"] != "sftp":
        return
    if repository["host"] not in hosts:
        yield problem("backup_repository.host", repository["host"], "a host of the inventory, such as one in no group")
    if repository["host"] == options["backup_name"]:
        yield problem("backup_repository.host", repository["host"], "another host than the one that is backed up")
    release = str(facts.get("distribution_major_version", ""))
    if merged(options, "clusters") and release.isdecimal() and int(release) < 13:
        yield (
            f"backup_repository.type: found 'sftp' on Debian {release}, whose pgBackRest does not speak it; "
            "give posix with a directory of the other host that is mounted, or s3"
        )


def _repository(options: Mapping[str, Any]) -> Iterator[str]:
    repository = options["backup_repository"]
    path = repository["path"].rstrip("/")
    if repository["type"] == "s3":
        for key in ("bucket", "endpoint", "key", "key_secret"):
            if not repository[key]:
                yield f"backup_repository.{key}: is missing, while the type is s3; give it"
    elif not path:
        yield 'backup_repository.path: is missing; give a directory, such as "/mnt/backup"'
    if path and not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+", path):
        yield problem("backup_repository.path", path, "an absolute path of letters, digits, dots, hyphens")
    elif repository["type"] != "s3" and any(_is_below(path, place) for place in UNFIT):
        yield problem("backup_repository.path", path, f"a directory that is in none of {', '.join(UNFIT)}")
    live = [cluster["data"] for cluster in merged(options, "clusters")]
    live += [place for files in merged(options, "files") for place in (files["data"], *files["trees"]) if place]
    for place in live if repository["type"] == "posix" and path else []:
        if _is_below(path, place) or _is_below(place, path):
            yield problem("backup_repository.path", path, f"a directory that neither is in {place} nor has it")
    # The wired one is not read yet before anything changes.
    if options["backup_passphrase"] and not re.fullmatch(r"[!-~]{12,}", options["backup_passphrase"]):
        yield "backup_passphrase: found (not shown); give 12 letters, digits and signs of ASCII or more, and no space"


def _is_below(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer.rstrip('/')}/")


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    if not NAME.fullmatch(options["backup_name"]):
        yield problem("backup_name", options["backup_name"], "up to 63 letters, digits, dots, hyphens and underscores")
    for name in ("full_every_days", "retention_days", "maximum_age_hours", "drill_maximum_age_days"):
        if options[f"backup_{name}"] < 1:
            yield problem(f"backup_{name}", options[f"backup_{name}"], "a whole number from 1")
    for name in ("calendar", "drill_calendar", "random_delay"):
        if not re.fullmatch(r"[A-Za-z0-9*:,./~ -]+", options[f"backup_{name}"]):
            yield problem(f"backup_{name}", options[f"backup_{name}"], "what systemd.time(7) describes")
    if not re.fullmatch(r"[1-9]\d*[KMGT]iB", options["backup_wal_queue"]):
        yield problem("backup_wal_queue", options["backup_wal_queue"], "a size such as 4GiB")


def _places(where: str, files: Mapping[str, Any]) -> Iterator[str]:
    found = [(f"{where}.data", files["data"]), *((f"{where}.trees", tree) for tree in files["trees"])]
    found = [(path, place) for path, place in found if place]
    if not found:
        yield f"{where}: has neither data nor trees; give one"
    for path, place in found:
        if not (place.startswith("/") and place.isprintable()):
            yield problem(path, place, "an absolute path")


def _parts(options: Mapping[str, Any]) -> Iterator[str]:
    known = [cluster["name"] for cluster in merged(options, "clusters")]
    for kind in ("clusters", "databases", "files"):
        for where, each in labelled(f"backup_{kind}", merged(options, kind)):
            if not NAME.fullmatch(each["name"]):
                yield problem(f"{where}.name", each["name"], "up to 63 letters, digits, dots, hyphens and underscores")
            if kind == "databases" and each["cluster"] not in known:
                yield problem(f"{where}.cluster", each["cluster"], f"one of backup_clusters: {', '.join(known)}")
            if kind == "files":
                yield from _places(where, each)
            if "assertion" in each and not each["assertion"].isprintable():
                yield problem(f"{where}.assertion", each["assertion"], "SQL in one line")
        names = [(each["name"], each.get("cluster")) for each in merged(options, kind)]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield f"backup_{kind}[].name: {shown(name[0])} is there {names.count(name)} times; each needs its own"


# What is wired


def app_clusters(given: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The clusters of role postgresql as role backup takes them.

    :param given: the variables of role postgresql on this host.
    """
    options, wrong = resolve(spec_of("postgresql"), given)
    if wrong or not options["postgresql_enabled"]:
        return []
    version = version_of(options, facts)
    return [
        {
            "name": cluster["name"],
            "version": version,
            "port": cluster["port"],
            "data": f"{DATA}/{version}/{cluster['name']}",
        }
        for cluster in options["postgresql_clusters"]
    ]


def app_address(host: str, hostvars: Mapping[str, Any]) -> str:
    """Where the other hosts of the inventory reach the host of a repository; its name where it has no address."""
    return host and (address_of(host, hostvars) or host)


def app_databases(
    apps: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]], separate: bool = False
) -> list[dict[str, Any]]:
    """The databases of apps as role backup takes them."""
    kind = KINDS["database"]
    return [
        {
            "name": app["database_name"],
            "app": app["name"],
            "assertion": app["backup"]["assertion"],
            "manage": not is_remote(kind, app, groups, separate),
        }
        for app in apps
        if app["database_name"]
    ]


def app_files(apps: Sequence[Mapping[str, Any]], host: str, separate: bool = False) -> list[dict[str, Any]]:
    """What apps have on the disk of a host, as role backup takes it: on the primary host of each, or on all of them.

    :param separate: each host is a site of its own.
    """
    return [
        {
            "name": app["name"],
            "app": app["name"],
            "user": app["user"],
            "data": f"{app['home']}/data",
            "trees": [f"{app['home']}/{name}" for name in ("media", "shared")],
            "assertion": "" if app["database_name"] else app["backup"]["assertion"],
        }
        for app in apps
        if app["backup"]["files"] and (host == app["primary"] or (separate and host in app["hosts"]))
    ]
