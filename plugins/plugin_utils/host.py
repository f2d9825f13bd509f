# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role host: what is wrong with its input, what it needs, asks and writes.

C(options) are the role's variables by name, as the role's spec means them. C(facts) are C(ansible_facts), empty where
they were not gathered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host_bans, host_ssh
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import (
    is_address,
    is_domain,
    is_network,
    is_port,
    matches,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

TESTED = {"Debian": ("12", "13")}
OVER_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")
BUILT_IN_LOCALE = "C.UTF-8"  # libc has it; every other one has to be generated
DEFAULT_TIMEZONE = "Etc/UTC"
# Settings that every kernel has, so that nobody need look for them.
KNOWN_SETTINGS = ("net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "vm.swappiness", "vm.overcommit_memory")
# nft takes 128 bytes of a comment.
LONGEST_COMMENT = 120

ZONES, LOCALES, SETTINGS = "/usr/share/zoneinfo", "/usr/share/i18n/locales", "/proc/sys"
SUPPORTED_LOCALES = "/usr/share/i18n/SUPPORTED"
FIREWALL = "etc/nftables.d/djangofleet.nft"
TIME_CONFIGURATION = {
    "systemd-timesyncd": "etc/systemd/timesyncd.conf.d/djangofleet.conf",
    "chrony": "etc/chrony/sources.d/djangofleet.sources",
}
NOBODY = host_ssh.Login()


class Lookup(NamedTuple):
    """Something that only the host knows whether it has it."""

    path: str  # what is there if the host has it
    witness: str  # what is there if the package is that brings all of its kind; empty when no package is needed
    variable: str
    value: str
    wanted: str


def in_container(facts: Mapping[str, Any]) -> bool:
    """Whether the clock and most kernel settings belong to the machine around the host."""
    return "container" in (facts.get("virtualization_tech_guest") or [])


def locales(options: Mapping[str, Any]) -> list[str]:
    """The locales to generate."""
    return sorted({options["host_locale"], *options["host_locale_generate"]} - {BUILT_IN_LOCALE})


def port_range(value: Any) -> tuple[int, int] | None:
    """The first and last port of "80" or "8000-8010"; None when it is neither."""
    first, dash, last = str(value).partition("-")
    if not is_port(first) or (dash and not is_port(last)):
        return None
    ends = int(first), int(last or first)
    return ends if ends[0] <= ends[1] else None


# --- what is wrong with the input -------------------------------------------------------------------------------------


def problems(
    given: Mapping[str, Any],
    facts: Mapping[str, Any],
    survey: Mapping[str, Any],
    connection: str = "local",
    login: host_ssh.Login = NOBODY,
) -> list[str]:
    """What is wrong with the role's variables on a host, one line each.

    :param survey: what djangofleet.stack.survey answered to C(questions); nothing is looked up where it says nothing.
    :param connection: Ansible's connection plugin.
    :param login: how Ansible connects; the facts outrank its port.
    """
    options, found = resolve(spec_of("host"), given)
    if found:
        return found
    wrong = _value_problems(options)
    found = [*wrong, *_untested(options, facts)]
    if connection.rsplit(".", maxsplit=1)[-1] in OVER_SSH:
        login = login._replace(port=ssh_port(facts, login.port))
        if options["host_firewall_enabled"]:
            found += _locked_out(options, login.port)
        if options["host_ssh_enabled"] and not wrong:
            found += host_ssh.lock_outs(options, facts, login)
    if options["host_ssh_enabled"]:
        found += host_ssh.unread(survey)
    return found + _unknown(options, facts, survey)


def _kind(name: str) -> Callable[[Any], bool]:
    return lambda value: matches(name, value)


def _value_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with single values."""
    found = [problem(path, value, wanted) for path, value, good, wanted in _checks(options) if not good(value)]
    found += host_ssh.value_problems(options) if options["host_ssh_enabled"] else []
    return found + list(host_bans.value_problems(options) if options["host_bans_enabled"] else [])


def _checks(options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Callable[[Any], bool], str]]:
    """The path of a variable, its value, the test it is to pass, and what is wanted instead."""
    for name, kind, wanted in (
        ("host_timezone", "timezone", "a name such as Europe/Berlin"),
        ("host_locale", "locale", "a name such as de_DE.UTF-8, or C.UTF-8"),
        ("host_upgrades_reboot_time", "time_of_day", 'a quoted time such as "04:00"'),
        ("host_journald_system_max_use", "size", "a size such as 500M or 1G"),
        ("host_journald_max_retention", "time_span", "a time span such as 90day or 3month"),
    ):
        yield name, options[name], _kind(kind), wanted
    for name, good, wanted in (
        ("host_time_servers", is_server, "a host name or an address"),
        ("host_locale_generate", _kind("locale"), "a name such as de_DE.UTF-8"),
        ("host_upgrades_origins", _kind("unquoted"), "one line without double quotes"),
        ("host_upgrades_excluded_packages", _kind("package_name"), "the name of a package"),
    ):
        yield from ((f"{name}[{number}]", value, good, wanted) for number, value in enumerate(options[name]))
    for key, value in options["host_sysctl"].items():
        yield "host_sysctl", key, _kind("sysctl_key"), "a setting such as net.core.somaxconn"
        yield f"host_sysctl[{key}]", value, _kind("unquoted"), "one line"
    if options["host_private_address"]:
        yield "host_private_address", options["host_private_address"], is_address, "an IPv4 or IPv6 address"
    if options["host_firewall_enabled"]:
        yield from _firewall_checks(options)


def is_server(value: Any) -> bool:
    """Whether this is what a time server is reached by."""
    return is_domain(value) or is_address(value)


def rules(options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The user's rules of the firewall and the wired ones, each with its path."""
    return [
        (f"{name}[{number}]", rule)
        for name in ("host_firewall_rules", "host_app_firewall_rules")
        for number, rule in enumerate(options[name])
    ]


def _firewall_checks(options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Callable[[Any], bool], str]]:
    port = "a port from 1 to 65535"
    network = "an IPv4 or IPv6 address or network, such as 10.0.0.0/8 or 2001:db8::/32 (no names)"
    for name, good, wanted in (
        ("host_firewall_ssh_ports", is_port, port),
        ("host_firewall_allowed_tcp_ports", is_port, port),
        ("host_firewall_allowed_udp_ports", is_port, port),
        ("host_firewall_ssh_sources", is_network, network),
    ):
        yield from ((f"{name}[{number}]", value, good, wanted) for number, value in enumerate(options[name]))
    for path, rule in rules(options):
        yield (
            f"{path}.port",
            rule["port"],
            lambda value: port_range(value) is not None,
            f"{port} or a range such as 8000-8010",
        )
        for place, source in enumerate(rule["sources"]):
            yield f"{path}.sources[{place}]", source, is_network, network


def _untested(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    distribution = facts.get("distribution")
    version = str(facts.get("distribution_major_version", ""))
    if not distribution or version in TESTED.get(distribution, ()) or options["host_allow_untested_distribution"]:
        return []
    tested = "; ".join(f"{name} {' or '.join(versions)}" for name, versions in TESTED.items())
    wanted = f"{tested}, which are tested, or set host_allow_untested_distribution: true to go on"
    return [problem("ansible_facts['distribution']", f"{distribution} {version}".strip(), wanted)]


def ssh_port(facts: Mapping[str, Any], port: int) -> int:
    """The server's end of Ansible's own connection: the fact is exact, but sudo drops it."""
    words = str((facts.get("env") or {}).get("SSH_CONNECTION", "")).split()
    return int(words[3]) if len(words) == 4 and is_port(words[3]) else port


def _locked_out(options: Mapping[str, Any], port: int) -> list[str]:
    """Sources are not looked at: whether the controller is among them is known only to those who wrote them."""
    ranges = [port_range(rule["port"]) for _path, rule in rules(options) if rule["protocol"] == "tcp"]
    ports = options["host_firewall_ssh_ports"] + options["host_firewall_allowed_tcp_ports"]
    if port in ports or any(ends and ends[0] <= port <= ends[1] for ends in ranges):
        return []
    wanted = f"{port} too: Ansible is connected over ssh to port {port}, which the firewall would close"
    return [problem("host_firewall_ssh_ports", options["host_firewall_ssh_ports"], wanted)]


def _unknown(options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any]) -> list[str]:
    """What the host lacks of that it is asked for, and what would only show at its next boot."""
    paths = survey.get("paths") or {}
    return [
        problem(lookup.variable, lookup.value, lookup.wanted)
        for lookup in _lookups(options, facts)
        if lookup.path in paths and not paths[lookup.path] and (not lookup.witness or paths.get(lookup.witness))
    ]


# --- what the role needs and asks -------------------------------------------------------------------------------------


def _lookups(options: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[Lookup]:
    zone = options["host_timezone"]
    if options["host_time_enabled"] and zone != DEFAULT_TIMEZONE:
        yield Lookup(
            f"{ZONES}/{zone}",
            f"{ZONES}/{DEFAULT_TIMEZONE}",
            "host_timezone",
            zone,
            "one that 'timedatectl list-timezones' shows on the host (Debian 13 keeps old names such as US/Eastern in"
            " the package tzdata-legacy)",
        )
    for locale in locales(options) if options["host_locale_enabled"] else []:
        yield Lookup(
            f"{LOCALES}/{locale.split('.')[0]}",
            SUPPORTED_LOCALES,
            "host_locale, host_locale_generate",
            locale,
            f"one that {SUPPORTED_LOCALES} lists on the host",
        )
    # A container may not see what the machine around it has.
    for key in options["host_sysctl"] if options["host_sysctl_enabled"] and not in_container(facts) else []:
        if key not in KNOWN_SETTINGS:
            yield Lookup(
                f"{SETTINGS}/{setting_path(key)}",
                "",
                "host_sysctl",
                key,
                "a setting that 'sysctl -a' shows on the host",
            )


def setting_path(key: str) -> str:
    """Where a kernel setting lies below /proc/sys.

    sysctl.d(5): when a dot comes first, dots part the name and a slash stands for a dot in it (as in eth0/100).
    """
    first = next((letter for letter in key if letter in "./"), "")
    return key.translate(str.maketrans("./", "/.")) if first == "." else key


def packages(options: Mapping[str, Any]) -> list[str]:
    """The packages that the host is to have."""
    wanted = [*options["host_packages"]]
    if options["host_time_enabled"]:
        wanted += ["tzdata", options["host_time_service"]]
    if options["host_locale_enabled"] and locales(options):
        wanted.append("locales")
    if options["host_firewall_enabled"]:
        wanted.append("nftables")
    if options["host_upgrades_enabled"]:
        wanted.append("unattended-upgrades")
    if options["host_bans_enabled"]:
        wanted += host_bans.PACKAGES
    return list(dict.fromkeys(wanted))


def services(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The units that are to run.

    The clock cannot be set in a container: systemd skips the unit there, and it would never count as started.
    """
    wanted = ["nftables.service"] if options["host_firewall_enabled"] else []
    if options["host_time_enabled"] and not in_container(facts):
        wanted.append(f"{options['host_time_service']}.service")
    if options["host_bans_enabled"]:
        wanted.append(host_bans.UNIT)
    return wanted


def questions(given: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the role asks of djangofleet.stack.survey; empty when there is nothing to ask, or a value makes no sense.

    :param given: the variables as an inventory gives them, since a host may be asked before they are checked.
    """
    options, found = resolve(spec_of("host"), given)
    if found or _value_problems(options):
        return {}
    lookups = list(_lookups(options, facts))
    paths = [path for lookup in lookups for path in (lookup.path, lookup.witness) if path]
    ssh = options["host_ssh_enabled"]
    paths += [host_ssh.DAEMON] * ssh
    asked = {"units": services(options, facts), "paths": list(dict.fromkeys(paths))}
    asked["files"] = [host_ssh.CONFIGURATION] * ssh
    return {kind: names for kind, names in asked.items() if names}


# --- what the role writes ---------------------------------------------------------------------------------------------


def entries(
    options: Mapping[str, Any], facts: Mapping[str, Any], survey: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The files of the host, for djangofleet.stack.tree; their templates see the options as C(host).

    :param survey: what djangofleet.stack.survey answered to C(questions).
    """
    parts = {
        "time": _time_entries,
        "locale": _locale_entries,
        "firewall": _firewall_entries,
        "upgrades": _upgrades_entries,
        "journald": _journald_entries,
        "sysctl": _sysctl_entries,
    }
    found = [
        entry for part, written in parts.items() if options[f"host_{part}_enabled"] for entry in written(options, facts)
    ]
    found += host_ssh.entries(options, facts, survey or {}) if options["host_ssh_enabled"] else []
    return found + (host_bans.entries(options) if options["host_bans_enabled"] else [])


def _file(path: str, template: str = "", **more: Any) -> dict[str, Any]:
    """A file whose template lies where it does."""
    return {"path": f"/{path}", "template": f"{template or path}.j2", **more}


def _time_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = TIME_CONFIGURATION[options["host_time_service"]]
    return [
        {"path": "/etc/localtime", "link": f"{ZONES}/{options['host_timezone']}"},
        _file("etc/timezone"),
        _file(path) if options["host_time_servers"] else {"path": f"/{path}", "absent": True},
    ]


def _locale_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Debian 13 moved the file and left a link in its old place.
    if str(facts.get("distribution_major_version")) == "12":
        found = [_file("etc/default/locale")]
    else:
        found = [
            _file("etc/locale.conf", "etc/default/locale"),
            {"path": "/etc/default/locale", "link": "../locale.conf"},
        ]
    generated = locales(options)
    return found + ([_file("etc/locale.gen", vars={"locales": generated})] if generated else [])


def _firewall_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_file("etc/nftables.conf", mode="0755"), _file(FIREWALL, vars={"openings": openings(options)})]


def _upgrades_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_file("etc/apt/apt.conf.d/20auto-upgrades"), _file("etc/apt/apt.conf.d/52unattended-upgrades-djangofleet")]


def _journald_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_file("etc/systemd/journald.conf.d/djangofleet.conf")]


def _sysctl_entries(options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    # A container may not write most of them; the dash keeps that from being an error.
    return [_file("etc/sysctl.d/60-djangofleet.conf", vars={"prefix": "-" if in_container(facts) else ""})]


def openings(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the firewall lets in, one for each rule of its chain."""
    found = [
        *_openings(options["host_firewall_ssh_ports"], sources=options["host_firewall_ssh_sources"], comment="ssh"),
        *_openings(options["host_firewall_allowed_tcp_ports"]),
        *_openings(options["host_firewall_allowed_udp_ports"], "udp"),
    ]
    for _path, rule in rules(options):
        found += _openings([rule["port"]], rule["protocol"], rule["sources"], rule["comment"])
    return found


def _openings(
    ports: Sequence[Any], protocol: str = "tcp", sources: Sequence[str] = (), comment: str = ""
) -> list[dict[str, str]]:
    if not ports:
        return []
    joined = ", ".join(dict.fromkeys(str(port) for port in ports))
    common = {"protocol": protocol, "ports": joined, "comment": nft_comment(comment)}
    return [
        {**common, "source": source, "family": ("ip6" if ":" in source else "ip") if source else ""}
        for source in sources or [""]
    ]


def nft_comment(text: str) -> str:
    """A comment as nft takes it: it knows no escapes in one, and limits its length in bytes."""
    clean = re.sub(r"[\x00-\x20\x7f]+", " ", str(text).replace('"', "'")).strip()
    return clean.encode()[:LONGEST_COMMENT].decode(errors="ignore")
