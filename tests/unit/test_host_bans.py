"""Which jails fail2ban has, which lines of Nginx's log count, and whom it never bans."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import host, host_bans
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, options_of

NGINX = {"log": "/var/log/nginx/access.log", "ports": [80, 443]}
DEFAULTS = {
    **yaml.safe_load((ROLES / "host/defaults/main.yml").read_text()),
    "host_firewall_allowed_tcp_ports": [80, 443],
    "host_firewall_allowed_udp_ports": [],
    "host_bans_enabled": True,
    "host_app_bans": NGINX,
}
OF_NGINX = ["djangofleet-nginx-auth", "djangofleet-nginx-scan", "djangofleet-nginx-errors", "djangofleet-nginx-limit"]


def options(**given: Any) -> dict[str, Any]:
    return options_of("host", {**DEFAULTS, **given})


def problems(**given: Any) -> list[str]:
    return host.problems({**DEFAULTS, **given}, {}, {})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ["sshd", *OF_NGINX]),
        ({"host_app_bans": {}}, ["sshd"]),
        ({"host_bans_jails": {"sshd": {"enabled": False}}}, OF_NGINX),
        ({"host_bans_jails": {"nginx_scan": {"enabled": False}}}, ["sshd", OF_NGINX[0], *OF_NGINX[2:]]),
    ],
)
def test_jails(given, wanted):
    assert [jail["name"] for jail in host_bans.jails(options(**given))] == wanted


def jail_file(render, **given: Any) -> dict[str, dict[str, str]]:
    """The sections of the file with their settings."""
    means = options(**given)
    (entry,) = [each for each in host_bans.entries(means) if each["path"].endswith("jail.d/djangofleet.conf")]
    text = render("host", entry["template"], host=means, **entry["vars"])
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if section := re.fullmatch(r"\[(.+)\]", line):
            assert section[1] not in found, "fail2ban takes a section once"
            found[section[1]] = {}
        elif line and not line.startswith("#"):
            key, _equals, value = line.partition(" = ")
            found[list(found)[-1]][key] = value
    return found


def test_the_file_of_jails(render):
    found = jail_file(
        render,
        host_bans_time="2h",
        host_bans_longest_time="30d",
        host_bans_ignored=["192.0.2.0/24"],
        host_bans_jails={"nginx_scan": {"max_retry": 7, "find_time": "3m"}},
        host_app_bans={**NGINX, "ports": [8080], "ignored": ["10.0.0.5"]},
        host_firewall_ssh_ports=[22, 2222],
    )
    common = found["DEFAULT"]
    assert (common["bantime"], common["bantime.maxtime"]) == ("2h", "30d")
    assert common["ignoreip"].split() == ["127.0.0.0/8", "::1", "192.0.2.0/24", "10.0.0.5"]
    assert common["banaction"].startswith("nftables"), "Debian 12's default is iptables"
    scan = found["djangofleet-nginx-scan"]
    assert (scan["maxretry"], scan["findtime"], scan["port"]) == ("7", "3m", "8080")
    assert (scan["logpath"], scan["filter"]) == (NGINX["log"], "djangofleet-nginx-scan")
    assert (found["sshd"]["backend"], found["sshd"]["port"]) == ("systemd", "22,2222")


def test_the_distributions_jail_is_off_where_ours_is(render):
    found = jail_file(render, host_bans_jails={"sshd": {"enabled": False}})
    assert found["sshd"] == {"enabled": "false"}


def test_every_jail_has_its_filter():
    paths = [each["path"] for each in host_bans.entries(options())]
    for jail in host_bans.jails(options()):
        assert jail["name"] == "sshd" or f"/etc/fail2ban/filter.d/{jail['name']}.conf" in paths


def test_no_user_of_the_host_gets_somebody_else_banned(render):
    """A program may be called sshd and log what it likes; who it belongs to, it cannot choose."""
    words = jail_file(render)["sshd"]["journalmatch"]
    assert [set(part.split()) for part in words.split(" + ")] == [
        {"_SYSTEMD_UNIT=ssh.service"}, {"_COMM=sshd", "_UID=0"}, {"_COMM=sshd-session", "_UID=0"}]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, "22"),
        ({"host_firewall_ssh_ports": []}, "ssh"),
        ({"host_firewall_ssh_ports": [22, 2222]}, "22,2222"),
        ({"host_ssh_enabled": True, "host_ssh_settings": {"port": [22, "2222"]}}, "22,2222"),
        ({"host_ssh_enabled": True, "host_ssh_settings": {"Port": 2222}}, "22,2222"),
        ({"host_ssh_settings": {"Port": 2222}}, "22"),
    ],
)
def test_a_ban_is_from_where_sshd_listens(render, given, ports):
    assert jail_file(render, **given)["sshd"]["port"] == ports


# --- lines of the log -------------------------------------------------------------------------------------------------


@pytest.fixture
def counts(render):
    """counts(jail, uri, status, **fields): the address that a line of the log counts for; empty for none."""
    found = {}
    for entry in host_bans.entries(options()):
        if entry["path"].startswith(host_bans.FILTERS):
            text = render("host", entry["template"], **entry["vars"])
            pattern = re.search(r"^failregex = (.+)$", text, re.MULTILINE)[1]
            found[entry["path"].rsplit("/", maxsplit=1)[-1]] = re.compile(
                pattern.replace("<ADDR>", "(?P<address>[0-9a-f.:]+)")
            )

    def run(jail: str, uri: str, status: int, **fields: str) -> str:
        line = {
            "request_id": "x",
            "remote_addr": "192.0.2.9",
            "method": "GET",
            "uri": uri,
            "status": status,
            "referer": "",
            "user_agent": "",
        }
        text = json.dumps(line | fields, separators=(",", ":"), ensure_ascii=False)
        match = found[f"djangofleet-nginx-{jail}.conf"].search(text)
        return match["address"] if match else ""

    return run


HOSTILE = '","remote_addr":"198.51.100.1","status":404,"uri":"/wp-login.php"'


@pytest.mark.parametrize(
    ("jail", "uri", "status", "wanted"),
    [
        ("scan", "/wp-login.php", 404, True),
        ("scan", "/WP-Admin/", 403, True),
        ("scan", "/index.php?x=1", 404, True),
        ("scan", "/a/.env", 404, True),
        ("scan", "/.git/config", 400, True),
        ("scan", "/wp-login.php", 200, False),
        ("scan", "/wp-login.php", 301, False),
        ("scan", "/wp-login.php", 500, False),
        ("scan", "/blog/php", 404, False),
        ("scan", "/about/", 404, False),
        ("scan", "/photo.phpx", 404, False),
        ("errors", "/about/", 404, True),
        ("errors", "/about/", 400, True),
        ("errors", "/about/", 429, False),
        ("errors", "/about/", 499, False),
        ("errors", "/about/", 200, False),
        ("errors", "/about/", 502, False),
        ("auth", "/admin/", 401, True),
        ("auth", "/admin/", 403, True),
        ("auth", "/admin/", 404, False),
        ("limit", "/", 429, True),
        ("limit", "/", 404, False),
    ],
)
def test_which_requests_count(counts, jail, uri, status, wanted):
    assert counts(jail, uri, status) == ("192.0.2.9" if wanted else "")


@pytest.mark.parametrize("field", ["uri", "referer", "user_agent", "method"])
@pytest.mark.parametrize("jail", ["scan", "errors", "auth", "limit"])
def test_nobody_gets_somebody_else_banned(counts, jail, field):
    """What a visitor sends stands in the log with its quotation marks escaped."""
    for status in (200, 404):
        fields = {"uri": "/", "status": status, field: HOSTILE}
        found = counts(jail, fields.pop("uri"), fields.pop("status"), **fields)
        assert found in ("", "192.0.2.9")
        assert found == "" or status == 404


def test_an_address_of_ipv6_counts(counts):
    assert counts("scan", "/.env", 404, remote_addr="2001:db8::7") == "2001:db8::7"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"host_bans_time": "1 hour"}, "host_bans_time: found '1 hour'"),
        ({"host_bans_longest_time": "0"}, "host_bans_longest_time"),
        ({"host_bans_ignored": ["office.example.com"]}, "host_bans_ignored[0]: found 'office.example.com'"),
        ({"host_bans_jails": {"nginx_scan": {"max_retry": 0}}}, "host_bans_jails.nginx_scan.max_retry"),
        ({"host_bans_jails": {"sshd": {"find_time": "x"}}}, "host_bans_jails.sshd.find_time"),
        ({"host_bans_jails": {"nginx": {}}}, "host_bans_jails.nginx: is not known"),
        ({"host_app_bans": {"log": "a b"}}, "host_app_bans.log"),
        ({"host_app_bans": {"ports": [0]}}, "host_app_bans.ports[0]"),
        ({"host_app_bans": {"ignored": ["x"]}}, "host_app_bans.ignored[0]"),
        (
            {"host_app_bans": {**NGINX, "trusted": ["10.0.0.0/8"]}},
            "host_bans_jails: found 'nginx_auth, nginx_scan, nginx_errors, nginx_limit'; give enabled: false for each",
        ),
    ],
)
def test_bad_input_is_refused(given, wanted):
    (line,) = problems(**given)
    assert line.startswith(wanted)
    if "is not known" not in wanted:
        assert problems(**given, host_bans_enabled=False) == []


def test_behind_proxies_ssh_alone_bans():
    off = {name: {"enabled": False} for name in host_bans.REQUESTS}
    assert problems(host_app_bans={**NGINX, "trusted": ["10.0.0.0/8"]}, host_bans_jails=off) == []


# --- what the playbooks wire ------------------------------------------------------------------------------------------

FLEET = {
    "web1": {"host_private_address": "10.0.0.5", "ansible_host": "192.0.2.5"},
    "db1": {"ansible_host": "db1.example.com", "host_private_address": "2001:db8::6"},
    "new": {},
}
ROLE = {"nginx_access_log_enabled": True, "nginx_http_port": 80, "nginx_https_port": 8443}


@pytest.mark.parametrize(
    ("host_name", "nginx", "wanted"),
    [
        ("web1", ROLE, {"log": NGINX["log"], "ports": [80, 8443], "trusted": []}),
        ("web1", {**ROLE, "nginx_real_ip": {"trusted": ["10.9.0.0/16"]}},
         {"log": NGINX["log"], "ports": [80, 8443], "trusted": ["10.9.0.0/16"]}),
        ("web1", {**ROLE, "nginx_real_ip": {"trusted_files": ["cdn.txt"]}},
         {"log": NGINX["log"], "ports": [80, 8443], "trusted": ["cdn.txt"]}),
        ("web1", {**ROLE, "nginx_real_ip": {"trusted": "10.9.0.0/16"}},
         {"log": NGINX["log"], "ports": [80, 8443], "trusted": ["10.9.0.0/16"]}),
        ("web1", {**ROLE, "nginx_real_ip": None}, {"log": NGINX["log"], "ports": [80, 8443], "trusted": []}),
        ("web1", {**ROLE, "nginx_access_log_enabled": False}, {}),
        ("web1", {**ROLE, "nginx_access_log_enabled": "false"}, {}),
        ("db1", ROLE, {}),
    ],
)  # fmt: skip
def test_what_is_wired(host_name, nginx, wanted):
    found = host_bans.wired(nginx, {"all": list(FLEET), "web": ["web1"]}, FLEET, host_name)
    assert found.pop("ignored") == ["10.0.0.5", "192.0.2.5", "2001:db8::6"]
    assert found == wanted


def test_packages_and_services():
    assert {"fail2ban", "python3-systemd", "nftables"} <= set(host.packages(options(host_firewall_enabled=False)))
    assert "fail2ban.service" in host.services(options(), {})
    assert "fail2ban" not in host.packages(options(host_bans_enabled=False))
