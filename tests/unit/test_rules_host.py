"""The rules of role host, row by row: what passes, what does not, and what it comes to."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import host
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, options_of

HOSTILE = [
    "two words",
    'a "quoted" word',
    "it's",
    "{{ 1 + 1 }}",
    "{% raw %} }",
    "line\nflush ruleset",
    "tab\tcarriage\rnull\x00",
    "back\\slash \\n",
    "ünïcödé ☃",
    "; drop; # comment",
    "$HOME `id`",
]
DEFAULTS = {
    **yaml.safe_load((ROLES / "host/defaults/main.yml").read_text()),
    # Those that are derived
    "host_firewall_allowed_tcp_ports": [80, 443],
    "host_firewall_allowed_udp_ports": [],
}
DEBIAN = {"distribution": "Debian", "distribution_major_version": "13"}
CONTAINER = {**DEBIAN, "virtualization_tech_guest": ["container", "docker"]}


def problems(facts: dict[str, Any] | None = None, survey: dict[str, Any] | None = None, **given: Any) -> list[str]:
    return host.problems({**DEFAULTS, **given}, facts or {}, survey or {})


def options(**given: Any) -> dict[str, Any]:
    return options_of("host", {**DEFAULTS, **given})


# --- values -----------------------------------------------------------------------------------------------------------

# How a value of each kind is given to the role.
GIVEN: dict[str, Any] = {
    "timezone": lambda value: {"host_timezone": value},
    "locale": lambda value: {"host_locale": value},
    "time_of_day": lambda value: {"host_upgrades_reboot_time": value},
    "size": lambda value: {"host_journald_system_max_use": value},
    "span": lambda value: {"host_journald_max_retention": value},
    "server": lambda value: {"host_time_servers": [value]},
    "package": lambda value: {"host_upgrades_excluded_packages": [value]},
    "sysctl_key": lambda value: {"host_sysctl": {value: 1}},
    "port": lambda value: {"host_firewall_ssh_ports": [value]},
    "port_range": lambda value: {"host_firewall_rules": [{"port": value}]},
    "address": lambda value: {"host_firewall_ssh_sources": [value]},
    "text": lambda value: {"host_sysctl": {"net.core.somaxconn": value}},
}
ACCEPTED = {
    "timezone": ["Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"],
    "locale": ["C.UTF-8", "de_DE.UTF-8", "fil_PH.UTF-8"],
    "time_of_day": ["00:00", "23:59"],
    "size": ["1G", "500M", "1048576"],
    "span": ["90day", "1month", "2week 3day", "0", "86400"],
    "server": ["time.example.com", "169.254.169.123", "2001:db8::1"],
    "package": ["libstdc++6", "postgresql-17", "g++"],
    "sysctl_key": ["net.core.somaxconn", "net.ipv4.conf.eth0/100.rp_filter"],
    "port": ["1", "22", "65535"],
    "port_range": ["1", "8000-8010"],
    "address": ["10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::/32", "FE80::1"],
    "text": ["4096", "4096 87380 6291456", "origin=Debian,codename=${distro_codename}"],
}
REFUSED = {
    "timezone": [*HOSTILE, "", "../passwd", "/etc/passwd", "Europe/"],
    "locale": [*HOSTILE, "", "de_DE", "de_DE.ISO-8859-1"],
    "time_of_day": [*HOSTILE, "24:00", "4:00", "120"],
    "size": [*HOSTILE, "", "1 G", "1GiB", "-1"],
    "span": [*HOSTILE, "", "day", "90fortnight"],
    "server": [*HOSTILE, ""],
    "package": [*HOSTILE, "", "-y", "Nginx"],
    "sysctl_key": [*HOSTILE, "", "-net.core.somaxconn"],
    "port": [*HOSTILE, "", "0", "65536", "22-23", "ssh"],
    "port_range": [*HOSTILE, "", "0", "22-", "1-2-3", "1-99999"],
    "address": [*HOSTILE, "", "db.example.com", "10.0.0.256", "10.0.0.0/33", "10.0.0", "any"],
    "text": ["", 'a "quote"', "two\nlines", "back\\slash", "null\x00"],
}


def rows(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, value) for kind, values in table.items() for value in values]


@pytest.mark.parametrize(("kind", "value"), rows(ACCEPTED))
def test_good_values_pass(kind, value):
    assert problems(**GIVEN[kind](value)) == []


@pytest.mark.parametrize(("kind", "value"), rows(REFUSED))
def test_bad_values_do_not_pass(kind, value):
    (line,) = problems(**GIVEN[kind](value))
    variable = next(iter(GIVEN[kind](value)))
    assert line.startswith(variable)
    assert "; give " in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", [kind for kind in ACCEPTED if kind != "text"])
def test_a_newline_at_the_end_does_not_pass(kind):
    value = ACCEPTED[kind][0] + "\n"
    if kind == "port":  # a whole number, which Ansible reads without the newline
        assert options(**GIVEN[kind](value))["host_firewall_ssh_ports"] == [1]
    else:
        assert len(problems(**GIVEN[kind](value))) == 1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("80", (80, 80)), (80, (80, 80)), ("80-90", (80, 90)), ("80-80", (80, 80)), ("90-80", None), ("80-", None),
     ("-80", None), ("80-90-100", None), ("", None), ("http", None)],
)  # fmt: skip
def test_port_ranges(value, wanted):
    assert host.port_range(value) == wanted


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net/core/somaxconn", "net/core/somaxconn"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_kernel_settings_are_looked_up_where_they_lie(key, wanted):
    assert host.setting_path(key) == wanted


def test_text_is_a_list_of_one_where_a_list_is_meant():
    assert options(host_time_servers="time.example.com")["host_time_servers"] == ["time.example.com"]


def test_what_cannot_be_understood_is_told_alone():
    assert problems(host_firewall_rules=[{"prot": 1}], host_timezone="a b") == [
        "host_firewall_rules[0].prot: is not known; did you mean 'port'?",
        "host_firewall_rules[0].port: is missing; give a text",
    ]


# --- the host ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version"), [("Ubuntu", "24"), ("Debian", "11"), ("Debian", "14"), ("Debian", ""), ("Rocky", "12")]
)
def test_an_untested_distribution_is_refused_until_it_is_allowed(name, version):
    facts = {"distribution": name, "distribution_major_version": version}
    (line,) = problems(facts)
    assert f"found '{f'{name} {version}'.strip()}'" in line
    assert "Debian 12 or 13" in line
    assert "host_allow_untested_distribution: true" in line
    assert problems(facts, host_allow_untested_distribution=True) == []


@pytest.mark.parametrize("facts", [{}, DEBIAN, {**DEBIAN, "distribution_major_version": "12"}])
def test_a_tested_or_unknown_distribution_passes(facts):
    assert problems(facts) == []


ASKED = {"host_timezone": "Mars/Base", "host_locale": "xx_XX.UTF-8", "host_sysctl": {"net.x": 1, "vm.swappiness": 1}}
ZONE, LOCALE, SETTING = "/usr/share/zoneinfo/Mars/Base", "/usr/share/i18n/locales/xx_XX", "/proc/sys/net/x"
TZDATA, LOCALES = "/usr/share/zoneinfo/Etc/UTC", "/usr/share/i18n/SUPPORTED"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ([TZDATA, LOCALES], ["host_timezone", "host_locale, host_locale_generate", "host_sysctl"]),
        ([TZDATA, LOCALES, ZONE], ["host_locale, host_locale_generate", "host_sysctl"]),
        ([TZDATA, LOCALES, ZONE, LOCALE, SETTING], []),
        ([SETTING], []),  # the packages that bring the others are not there yet
        ([LOCALES, SETTING], ["host_locale, host_locale_generate"]),
    ],
)
def test_what_the_host_does_not_know_is_refused(there, wanted):
    paths = host.questions({**DEFAULTS, **ASKED}, DEBIAN)["paths"]
    assert paths == [ZONE, TZDATA, LOCALE, LOCALES, SETTING]
    found = problems(survey={"paths": {path: [path] * (path in there) for path in paths}}, **ASKED)
    assert [line.split(": found")[0] for line in found] == wanted


def test_without_an_answer_nothing_is_looked_up():
    assert problems(**ASKED) == []
    assert problems(survey={"paths": {TZDATA: [TZDATA]}, "units": {}}, **ASKED) == []


@pytest.mark.parametrize("given", [{"host_timezone": "a b"}, {"host_timezone": []}, {"host_sysctl": {"*": 1}}])
def test_nothing_is_asked_by_a_bad_value(given):
    assert host.questions({**DEFAULTS, **given}, DEBIAN) == {}


def test_a_container_does_not_see_the_kernels_settings():
    assert SETTING in host.questions({**DEFAULTS, **ASKED}, DEBIAN)["paths"]
    assert SETTING not in host.questions({**DEFAULTS, **ASKED}, CONTAINER)["paths"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ["tzdata", "systemd-timesyncd", "nftables", "unattended-upgrades"]),
        ({"host_time_service": "chrony"}, ["tzdata", "chrony", "nftables", "unattended-upgrades"]),
        ({"host_locale": "de_DE.UTF-8"}, ["tzdata", "systemd-timesyncd", "locales", "nftables", "unattended-upgrades"]),
        ({"host_time_enabled": False, "host_firewall_enabled": False}, ["unattended-upgrades"]),
        ({"host_packages": ["tzdata"], "host_upgrades_enabled": False}, ["tzdata", "systemd-timesyncd", "nftables"]),
    ],
)
def test_packages(given, wanted):
    found = host.packages(options(**given))
    assert found[-len(wanted) :] == wanted
    assert len(found) == len(set(found))


# --- files ------------------------------------------------------------------------------------------------------------


def test_time_servers_of_nobody_leave_no_file():
    def written(**given: Any) -> dict[str, dict]:
        return {entry["path"]: entry for entry in host.entries(options(**given), DEBIAN)}

    timesyncd, chrony = f"/{host.TIME_CONFIGURATION['systemd-timesyncd']}", f"/{host.TIME_CONFIGURATION['chrony']}"
    assert written()[timesyncd] == {"path": timesyncd, "absent": True}
    assert written(host_time_servers=["a.example"])[timesyncd]["template"] == f"{timesyncd[1:]}.j2"
    assert chrony in written(host_time_service="chrony", host_time_servers=["a.example"])


def test_every_file_has_its_template():
    given = {"host_time_servers": ["a.example"], "host_locale": "de_DE.UTF-8"}
    for service in host.TIME_CONFIGURATION:
        for entry in host.entries(options(**given, host_time_service=service), DEBIAN):
            assert "template" not in entry or (ROLES / "host/templates" / entry["template"]).is_file(), entry["path"]


@pytest.mark.parametrize(
    ("text", "wanted"), [("a\tb\n", "a b"), ('say "x"', "say 'x'"), ("\x00", ""), ("é" * 200, "é" * 60)]
)
def test_comments_of_the_firewall(text, wanted):
    assert host.nft_comment(text) == wanted
