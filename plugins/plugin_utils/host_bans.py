# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of role host about bans: which jails fail2ban has, and whom it never bans.

C(options) are the role's variables by name, as the role's spec means them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import host_ssh
from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_address, is_network, is_port
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import problem
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

DIRECTORY = "/etc/fail2ban"
JAILS = "etc/fail2ban/jail.d/djangofleet.conf"
FILTERS = "/etc/fail2ban/filter.d"
FILTER = "etc/fail2ban/filter.d/djangofleet-nginx.conf.j2"
UNIT = "fail2ban.service"
UNIT_DROP_IN = "etc/systemd/system/fail2ban.service.d/djangofleet.conf"
# The library by which it reads the journal is a mere recommendation of Debian 12's package.
PACKAGES = ("fail2ban", "python3-systemd", "nftables")
TIME = re.compile(r"[1-9]\d*[smhdw]?")
# Paths that no Django project has, as they stand in the log: a quotation mark ends them.
SCANNED = "|".join(
    (
        r"\.(?:php|phtml|asp|aspx|jsp|cgi|bak|sql)\d?[/?\"]",
        r"/\.(?:env|git|svn|hg|aws|ssh|htaccess|htpasswd|ds_store|vscode)",
        r"/(?:wp-|wordpress|phpmyadmin|cgi-bin|vendor/phpunit|solr/|actuator|boaform|autodiscover)",
    )
)
# What a request has to be like to count, by jail: part of its path, and what Nginx answered.
REQUESTS = {
    "nginx_auth": ("", "401|403"),
    "nginx_scan": (SCANNED, r"4\d\d"),
    "nginx_errors": ("", r"4(?!29|99)\d\d"),  # 499 is a visitor who has gone on before the answer
    "nginx_limit": ("", "429"),
}


def jails(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The jails that are on, as the template takes them. Those of Nginx need its log."""
    wired = options["host_app_bans"]
    found = []
    for name, jail in options["host_bans_jails"].items():
        if jail["enabled"] and name == "sshd":
            found.append({"name": name, "ports": ssh_ports(options), "log": "", **jail})
        elif jail["enabled"] and wired["log"]:
            found.append({"name": full_name(name), "ports": wired["ports"], "log": wired["log"], **jail})
    return found


def ssh_ports(options: Mapping[str, Any]) -> list[int | str]:
    """The ports of sshd: those that the firewall opens for it, which may be off, and those that it is told."""
    told = (
        host_ssh.as_list(host_ssh.setting(options["host_ssh_settings"], "Port")) if options["host_ssh_enabled"] else []
    )
    return list(dict.fromkeys([*options["host_firewall_ssh_ports"], *(int(port) for port in told)])) or ["ssh"]


def full_name(name: str) -> str:
    """A jail of Nginx as fail2ban knows it, and its filter."""
    return f"djangofleet-{name.replace('_', '-')}"


def ignored(options: Mapping[str, Any]) -> list[str]:
    """Whom fail2ban never bans, beside the host itself."""
    wired = options["host_app_bans"]
    proxies = [each for each in wired["trusted"] if is_network(each)]
    return list(dict.fromkeys([*options["host_bans_ignored"], *wired["ignored"], *proxies]))


def entries(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of fail2ban."""
    seen = {"jails": jails(options), "ignored": ignored(options)}
    found = [{"path": f"/{path}", "template": f"{path}.j2", "vars": seen} for path in (JAILS, UNIT_DROP_IN)]
    for name, (path, status) in REQUESTS.items():
        more = {"path": path, "status": status}
        found.append({"path": f"{FILTERS}/{full_name(name)}.conf", "template": FILTER, "vars": more})
    return found


def wired(
    nginx: Mapping[str, Any], groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], host: str
) -> dict[str, Any]:
    """What bans have to know of Nginx and of the fleet (C(host_app_bans)).

    :param nginx: the variables of role nginx, as an inventory gives them.
    """
    nginx = resolve(spec_of("nginx"), nginx)[0]
    hosts = [hostvars.get(name) or {} for name in groups.get("all", [])]
    keys = ("fleet_address", "host_private_address", "ansible_host")
    named = [variables.get(key) for variables in hosts for key in keys]
    found: dict[str, Any] = {"ignored": list(dict.fromkeys(str(each) for each in named if each and is_address(each)))}
    # Behind balancers, who is to be banned is on no packet that the firewall sees: they ban.
    is_behind = bool((nginx.get("nginx_app_real_ip") or {}).get("trusted"))
    serves = host in [*groups.get("web", []), *groups.get("balancer", [])]
    if serves and not is_behind and nginx.get("nginx_access_log_enabled"):
        real_ip = nginx.get("nginx_real_ip") or {}
        trusted = [*(real_ip.get("trusted") or []), *(real_ip.get("trusted_files") or [])]
        ports = [nginx["nginx_http_port"], nginx["nginx_https_port"]]
        found |= {"log": "/var/log/nginx/access.log", "ports": ports, "trusted": [str(each) for each in trusted]}
    return found


def value_problems(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the values, where bans are on."""
    for name in ("host_bans_time", "host_bans_longest_time"):
        if not TIME.fullmatch(options[name]):
            yield problem(name, options[name], "a time such as 30m, 1h or 7d")
    for number, value in enumerate(options["host_bans_ignored"]):
        if not is_network(value):
            yield problem(f"host_bans_ignored[{number}]", value, "an IPv4 or IPv6 address or network (no names)")
    for name, jail in options["host_bans_jails"].items():
        if not TIME.fullmatch(jail["find_time"]):
            yield problem(f"host_bans_jails.{name}.find_time", jail["find_time"], "a time such as 10m")
        if jail["max_retry"] < 1:
            yield problem(f"host_bans_jails.{name}.max_retry", jail["max_retry"], "a whole number of at least 1")
    yield from _wired_problems(options)


def _wired_problems(options: Mapping[str, Any]) -> Iterator[str]:
    wired = options["host_app_bans"]
    for number, value in enumerate(wired["ignored"]):
        if not is_network(value):
            yield problem(f"host_app_bans.ignored[{number}]", value, "an address or a network")
    if not re.fullmatch(r"(?:/[^\s\"'%\x00-\x1f\x7f]+)?", wired["log"]):
        yield problem("host_app_bans.log", wired["log"], "an absolute path without spaces")
    for number, value in enumerate(wired["ports"]):
        if not is_port(value):
            yield problem(f"host_app_bans.ports[{number}]", value, "a port from 1 to 65535")
    on = [name for name in REQUESTS if options["host_bans_jails"][name]["enabled"]]
    if wired["trusted"] and wired["log"] and on:
        proxies = ", ".join(str(value) for value in wired["trusted"])
        wanted = (
            f"enabled: false for each of them: visitors come through {proxies} (nginx_real_ip), so that their own"
            " addresses are in the log and never on a packet that the firewall sees; ban at the proxy"
        )
        yield problem("host_bans_jails", ", ".join(on), wanted)
