"""Role host: what its files say, hostile values included, and which input it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FIREWALL = "etc/nftables.d/djangofleet.nft.j2"
UPGRADES = "etc/apt/apt.conf.d/52unattended-upgrades-djangofleet.j2"
CONTAINER = {"distribution_major_version": "13", "virtualization_tech_guest": ["container", "docker"]}

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


@pytest.fixture
def render(evaluate, render):
    """`render(role, template, **variables)`: the text of a file, with what its entry gives the template."""

    def run(role: str, template: str, **variables: Any) -> str:
        options, entries = evaluate(role, "[__host_options, __host_entries]", **variables)
        own = next((entry.get("vars", {}) for entry in entries if entry.get("template") == template), {})
        return render(role, template, host=options, **variables, **own)

    return run


def rules(text: str) -> list[str]:
    """The statements of the input chain, without indentation, comments and blank lines."""
    body = text.split("chain input {")[1]
    lines = [line.strip() for line in body.splitlines()]
    return [line for line in lines if line and line != "}" and not line.startswith("#")]


def run_validation(directory: Path, cases: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Run the role's validate.yml once for all cases, each a host of its own; what each was told, "" for nothing."""
    # cacheable makes them facts and no mere variables
    facts = {"env": "{{ test_facts.env | default({}) }}", "distribution": "{{ test_facts.distribution | default('') }}",
             "distribution_major_version": "{{ test_facts.version | default('') }}", "cacheable": True}  # fmt: skip
    tasks = [
        {"ansible.builtin.set_fact": facts, "when": "test_facts is defined"},
        {"ansible.builtin.include_role": {"name": "host", "tasks_from": "validate"}},
    ]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in cases.items()}
    (directory / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.yml", "play.yml"],
        cwd=directory,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
             "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "{" in done.stdout, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert set(result["stats"]) == set(cases), done.stdout
    told = dict.fromkeys(cases, "")
    for task in result["plays"][0]["tasks"]:
        for name, outcome in task["hosts"].items():
            told[name] = str(outcome["msg"]) if outcome.get("failed") else told[name]
    return told


# --- firewall ---------------------------------------------------------------------------------------------------------


def test_firewall_replaces_its_own_table_and_no_other(render):
    text = render("host", FIREWALL)
    statements = [line for line in text.splitlines() if line and not line.startswith(("#", "\t", "}"))]
    assert statements == ["table inet djangofleet", "delete table inet djangofleet", "table inet djangofleet {"]
    assert text.count("{") == text.count("}")
    main = render("host", "etc/nftables.conf.j2").splitlines()
    assert [line for line in main if line and not line.startswith("#")] == ['include "/etc/nftables.d/*.nft"']


def test_firewall_drops_by_default_and_lets_in_ssh_and_the_web(render):
    lines = rules(render("host", FIREWALL))
    assert lines[0] == "type filter hook input priority filter; policy drop;"
    # Established first and invalid second, so that no later rule lets in what belongs to no connection.
    assert lines[1:4] == ["ct state established,related accept", "ct state invalid drop", 'iifname "lo" accept']
    assert [line for line in lines if line.startswith("tcp")] == [
        'tcp dport { 22 } accept comment "ssh"',
        "tcp dport { 80, 443 } accept",
    ]
    assert not [line for line in lines if "log" in line.split()]


@pytest.mark.parametrize("kind", ["echo-request", "nd-neighbor-solicit", "nd-router-advert", "packet-too-big"])
def test_firewall_lets_ipv6_work(render, kind):
    assert [line for line in rules(render("host", FIREWALL)) if line.startswith("icmpv6 type") and kind in line]


def test_firewall_without_open_ports_has_no_empty_set(render):
    text = render("host", FIREWALL, host_firewall_ssh_ports=[], host_firewall_allowed_tcp_ports=[])
    assert "dport { }" not in text
    assert not [line for line in rules(text) if line.startswith("tcp")]


def test_firewall_limits_ssh_to_sources(render):
    lines = rules(render("host", FIREWALL, host_firewall_ssh_sources=["192.0.2.0/24", "2001:db8::/32"]))
    assert 'ip saddr 192.0.2.0/24 tcp dport { 22 } accept comment "ssh"' in lines
    assert 'ip6 saddr 2001:db8::/32 tcp dport { 22 } accept comment "ssh"' in lines
    assert not [line for line in lines if line.startswith("tcp dport { 22 }")]


def test_firewall_rules_of_the_user(render):
    wanted = [
        {"port": 5432, "sources": ["10.0.0.0/8", "2001:db8::1"], "comment": "PostgreSQL"},
        {"port": "443", "protocol": "udp"},
        {"port": "8000-8010"},
    ]
    assert rules(render("host", FIREWALL, host_firewall_rules=wanted))[-4:] == [
        'ip saddr 10.0.0.0/8 tcp dport { 5432 } accept comment "PostgreSQL"',
        'ip6 saddr 2001:db8::1 tcp dport { 5432 } accept comment "PostgreSQL"',
        "udp dport { 443 } accept",
        "tcp dport { 8000-8010 } accept",
    ]


def test_firewall_logs_last_and_within_limits(render):
    last = rules(render("host", FIREWALL, host_firewall_log_enabled=True))[-1]
    assert last.startswith("limit rate 10/minute")
    assert 'prefix "djangofleet drop: "' in last


@pytest.mark.parametrize("comment", [*HOSTILE, "é" * 200, "x" * 500, "☃" * 100])
def test_firewall_comment_stays_within_its_quotes(render, comment):
    plain = rules(render("host", FIREWALL, host_firewall_rules=[{"port": 1}]))
    lines = rules(render("host", FIREWALL, host_firewall_rules=[{"port": 1, "comment": comment}]))
    assert len(lines) == len(plain)
    match = re.fullmatch(r'tcp dport \{ 1 \} accept comment "([^"]+)"', lines[-1])
    assert match, lines[-1]
    assert 0 < len(match[1].encode()) <= 128
    assert match[1].isprintable()


@pytest.mark.parametrize("comment", ["", " ", "\n", "\x00"])
def test_firewall_has_no_empty_comment(render, comment):
    text = render("host", FIREWALL, host_firewall_rules=[{"port": 1, "comment": comment}])
    assert rules(text)[-1] == "tcp dport { 1 } accept"


# --- the other files --------------------------------------------------------------------------------------------------


def test_upgrades_are_the_distributions_security_ones_only(render):
    text = render("host", UPGRADES)
    cleared = text.index("#clear Unattended-Upgrade::Origins-Pattern;")
    assert cleared < text.index("Unattended-Upgrade::Origins-Pattern {")
    origins = re.search(r"Origins-Pattern \{\n(.*?)\};", text, re.DOTALL)
    assert origins
    assert len(origins[1].splitlines()) == 2
    assert all("label=Debian-Security" in line for line in origins[1].splitlines())
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in text
    assert 'APT::Periodic::Unattended-Upgrade "1";' in render("host", "etc/apt/apt.conf.d/20auto-upgrades.j2")


def test_upgrades_reboot_and_exclude(render):
    text = render("host", UPGRADES, host_upgrades_reboot_enabled=True, host_upgrades_reboot_time="03:30",
                  host_upgrades_excluded_packages=["libstdc++6"])  # fmt: skip
    assert 'Automatic-Reboot "true";' in text
    assert 'Automatic-Reboot-Time "03:30";' in text
    pattern = re.search(r'Package-Blacklist \{\n  "(.*)";\n\};', text)
    assert pattern
    assert re.match(pattern[1], "libstdc++6")
    assert not re.match(pattern[1], "libstdc++6-dev")


def test_journal_limits(render):
    text = render("host", "etc/systemd/journald.conf.d/djangofleet.conf.j2", host_journald_storage="volatile",
                  host_journald_system_max_use="500M", host_journald_max_retention="2week")  # fmt: skip
    assert text.splitlines()[-4:] == ["[Journal]", "Storage=volatile", "SystemMaxUse=500M", "MaxRetentionSec=2week"]


@pytest.mark.parametrize(("facts", "dash"), [({"virtualization_tech_guest": ["kvm"]}, ""), ({}, ""), (CONTAINER, "-")])
def test_kernel_settings_may_fail_in_containers_only(render, facts, dash):
    text = render("host", "etc/sysctl.d/60-djangofleet.conf.j2", ansible_facts=facts,
                  host_sysctl={"vm.swappiness": 10, "net.core.somaxconn": 8192})  # fmt: skip
    assert text.splitlines()[-2:] == [f"{dash}net.core.somaxconn = 8192", f"{dash}vm.swappiness = 10"]


def test_time_servers(render):
    servers = ["time.example.com", "2001:db8::1"]
    timesyncd = render("host", "etc/systemd/timesyncd.conf.d/djangofleet.conf.j2", host_time_servers=servers)
    assert timesyncd.splitlines()[-2:] == ["[Time]", "NTP=time.example.com 2001:db8::1"]
    chrony = render("host", "etc/chrony/sources.d/djangofleet.sources.j2", host_time_servers=servers)
    assert chrony.splitlines()[-2:] == ["server time.example.com iburst", "server 2001:db8::1 iburst"]


def test_locales_are_generated_once_each_and_never_c(render):
    text = render("host", "etc/locale.gen.j2", host_locale="de_DE.UTF-8",
                  host_locale_generate=["fr_FR.UTF-8", "de_DE.UTF-8", "C.UTF-8"])  # fmt: skip
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "de_DE.UTF-8 UTF-8",
        "fr_FR.UTF-8 UTF-8",
    ]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("12", {"/etc/default/locale": "template"}),
        ("13", {"/etc/locale.conf": "template", "/etc/default/locale": "link"}),
    ],
)
def test_locale_lies_where_the_distribution_reads_it(evaluate, version, wanted):
    off = dict.fromkeys(SWITCHES, False) | {"host_locale_enabled": True}
    entries = evaluate("host", "__host_entries", ansible_facts={"distribution_major_version": version}, **off)
    assert {entry["path"]: "link" if "link" in entry else "template" for entry in entries} == wanted


# --- switches ---------------------------------------------------------------------------------------------------------

SWITCHES = {
    "host_time_enabled": "/etc/localtime",
    "host_locale_enabled": "/etc/locale.conf",
    "host_firewall_enabled": "/etc/nftables.d/djangofleet.nft",
    "host_upgrades_enabled": "/etc/apt/apt.conf.d/20auto-upgrades",
    "host_journald_enabled": "/etc/systemd/journald.conf.d/djangofleet.conf",
    "host_sysctl_enabled": "/etc/sysctl.d/60-djangofleet.conf",
}


@pytest.mark.parametrize(("switch", "path"), SWITCHES.items())
def test_each_part_can_be_switched_off(evaluate, switch, path):
    def paths(**variables):
        return {entry["path"] for entry in evaluate("host", "__host_entries", **variables)}

    on, off = paths(), paths(**{switch: False})
    assert path in on
    assert path not in off
    assert {other for name, other in SWITCHES.items() if name != switch} <= off


def test_all_switched_off_leaves_the_packages_alone(evaluate):
    off = dict.fromkeys(SWITCHES, False) | {"host_packages": ["less"]}
    assert evaluate("host", "__host_entries", **off) == []
    assert evaluate("host", "__host_questions", **off) == {}
    assert evaluate("host", "__host_packages", **off) == ["less"]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, ["nftables.service", "systemd-timesyncd.service"]),
        ({"host_time_service": "chrony"}, ["nftables.service", "chrony.service"]),
        ({"ansible_facts": CONTAINER}, ["nftables.service"]),
        ({"host_firewall_enabled": False}, ["systemd-timesyncd.service"]),
    ],
)
def test_services(evaluate, variables, wanted):
    assert evaluate("host", "__host_questions", **variables)["units"] == wanted


def test_the_default_needs_nothing_looked_up_on_the_host(evaluate):
    assert "paths" not in evaluate("host", "__host_questions")
    found = evaluate("host", "__host_questions.paths", host_timezone="Europe/Berlin",
                     host_locale="de_DE.UTF-8", host_sysctl={"net.ipv4.conf.all.rp_filter": 1})  # fmt: skip
    assert list(found) == [
        "/usr/share/zoneinfo/Europe/Berlin",
        "/usr/share/zoneinfo/Etc/UTC",
        "/usr/share/i18n/locales/de_DE",
        "/usr/share/i18n/SUPPORTED",
        "/proc/sys/net/ipv4/conf/all/rp_filter",
    ]


# --- input ------------------------------------------------------------------------------------------------------------

SSH = {"ansible_connection": "ssh"}
UBUNTU = {"distribution": "Ubuntu", "version": "24"}
TZDATA = {"/usr/share/zoneinfo/Etc/UTC": ["/usr/share/zoneinfo/Etc/UTC"]}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "default": ({}, []),
    "default-over-ssh": (SSH, []),
    "timezone": ({"host_timezone": "Europe/Berlin\nx"}, ["host_timezone: found 'Europe/Berlin x'", "Europe/Berlin"]),
    "locale": ({"host_locale": "german"}, ["host_locale: found 'german'", "de_DE.UTF-8"]),
    "generate": ({"host_locale_generate": ["C.UTF-8", "x"]}, ["host_locale_generate[1]: found 'x'"]),
    "server": ({"host_time_servers": ["a b"]}, ["host_time_servers[0]: found 'a b'"]),
    "size": ({"host_journald_system_max_use": "lots"}, ["host_journald_system_max_use: found 'lots'", "500M"]),
    "retention": ({"host_journald_max_retention": "ages"}, ["host_journald_max_retention: found 'ages'", "90day"]),
    "reboot-time": ({"host_upgrades_reboot_time": 240}, ["host_upgrades_reboot_time: found '240'", '"04:00"']),
    "origin": ({"host_upgrades_origins": ['x"; y']}, ["host_upgrades_origins[0]: found 'x\"; y'"]),
    "package": ({"host_upgrades_excluded_packages": ["A B"]}, ["host_upgrades_excluded_packages[0]: found 'A B'"]),
    "sysctl-key": ({"host_sysctl": {"a b": 1}}, ["host_sysctl: found 'a b'", "net.core.somaxconn"]),
    "sysctl-value": ({"host_sysctl": {"vm.x": "1\n2"}}, ["host_sysctl[vm.x]: found '1 2'"]),
    "port": ({"host_firewall_allowed_tcp_ports": [80, 0]}, ["host_firewall_allowed_tcp_ports[1]: found '0'"]),
    "rule-port": ({"host_firewall_rules": [{"port": "http"}]}, ["host_firewall_rules[0].port: found 'http'"]),
    "rule-range": ({"host_firewall_rules": [{"port": "90-80"}]}, ["host_firewall_rules[0].port: found '90-80'"]),
    "rule-source": (
        {"host_firewall_rules": [{"port": 1, "sources": ["10.0.0.1", "db.example.com"]}]},
        ["host_firewall_rules[0].sources[1]: found 'db.example.com'", "10.0.0.0/8"],
    ),
    "two-at-once": (
        {"host_timezone": "a b", "host_firewall_ssh_sources": ["x"]},
        ["host_timezone: found 'a b'", "host_firewall_ssh_sources[0]: found 'x'"],
    ),
    "firewall-off": ({"host_firewall_enabled": False, "host_firewall_rules": [{"port": "http"}]}, []),
    "lockout": ({**SSH, "host_firewall_ssh_ports": [2222]}, ["host_firewall_ssh_ports: found '[2222]'", "give 22 too"]),
    "lockout-port": ({**SSH, "ansible_port": 2222}, ["host_firewall_ssh_ports: found '[22]'", "give 2222 too"]),
    "lockout-fact": (
        {**SSH, "ansible_port": 22, "test_facts": {"env": {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 2222"}}},
        ["give 2222 too"],
    ),
    "forwarded-port": (
        {**SSH, "ansible_port": 2222, "test_facts": {"env": {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22"}}},
        [],
    ),
    "lockout-udp": (
        {**SSH, "host_firewall_ssh_ports": [], "host_firewall_rules": [{"port": 22, "protocol": "udp"}]},
        ["give 22 too"],
    ),
    "ssh-by-rule": (
        {**SSH, "host_firewall_ssh_ports": [], "host_firewall_rules": [{"port": "20-30", "sources": ["192.0.2.1"]}]},
        [],
    ),
    "ssh-closed-but-off": ({**SSH, "host_firewall_ssh_ports": [], "host_firewall_enabled": False}, []),
    "not-over-ssh": ({"host_firewall_ssh_ports": []}, []),
    "tested": ({"test_facts": {"distribution": "Debian", "version": "12"}}, []),
    "untested": ({"test_facts": UBUNTU}, ["found 'Ubuntu 24'", "host_allow_untested_distribution: true"]),
    "untested-but-allowed": ({"test_facts": UBUNTU, "host_allow_untested_distribution": True}, []),
    "unknown-zone": (
        {
            "host_timezone": "Mars/Base",
            "djangofleet_survey": {"paths": {**TZDATA, "/usr/share/zoneinfo/Mars/Base": []}},
        },
        ["host_timezone: found 'Mars/Base'", "timedatectl list-timezones"],
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    return run_validation(tmp_path_factory.mktemp("host"), {name: case[0] for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_input(told, name):
    wanted = CASES[name][1]
    assert bool(told[name]) == bool(wanted), told[name]
    for part in wanted:
        assert part in told[name]
