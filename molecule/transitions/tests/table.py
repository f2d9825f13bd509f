"""Every option of every role, with two values and how each shows on a host, or the reason why it has one value here.

A unit test compares this with the specs. An option of an item, such as `processes[].name`, is one of a list with a
single item. Those of `nginx_sites` are set on the app's own site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BASE: dict[str, Any] = {
    "name": "guestbook",
    "source": {"path": "{{ project_directory }}/examples/guestbook", "version": "first"},
}


@dataclass(frozen=True)
class Change:
    """Two values, of which None leaves the option out.

    :param command: shows on the host which of them is in effect.
    :param shown: what the command prints with the second value and not with the first, as a regular expression.
    """

    first: Any
    second: Any
    command: str
    shown: str


@dataclass(frozen=True)
class Reason:
    """Why an option does not change in this scenario."""

    text: str


def unit(name: str, setting: str) -> str:
    """A setting as systemd has loaded it."""
    return f"systemctl show --property={setting} django-guestbook{name}"


def days(certificate: str) -> str:
    """How many whole days a certificate is valid."""
    end = f'$(date +%s -d "$({certificate} -enddate | sed -n s/notAfter=//p)")'
    return f"echo $(( ({end} - $(date +%s)) / 86400 ))"


def ask(path: str, *words: str, host: str = "guestbook.test") -> str:
    """The head of an answer."""
    resolved = f"--resolve {host}:443:127.0.0.1 --resolve {host}:80:127.0.0.1"
    return f"curl -sk -o /dev/null -D - {resolved} {' '.join(words)} {path}"


STATIC = "https://guestbook.test$(cd /srv/guestbook/static && find . -name 'site.*.css' | head -n 1 | sed 's#^.#{}#')"
ENVIRONMENT = "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID django-guestbook.service)/environ"
PINNED = "tr -d '\\n ' </etc/djangofleet/guestbook/live/app.json"
NGINX = "nginx -T 2>/dev/null | tr -d '\"'"
FIREWALL = "nft list ruleset"
SSHD = "mkdir -p /run/sshd && sshd -T"
BANS = "cat /etc/fail2ban/jail.d/djangofleet.conf"
JAILS = {f"nginx_{kind}": f"djangofleet-nginx-{kind}" for kind in ("auth", "scan", "errors", "limit")}
UPGRADES = "cat /etc/apt/apt.conf.d/*unattended-upgrades*"
JOURNAL = "cat /etc/systemd/journald.conf.d/djangofleet.conf"
# Where Nginx reads certificates, for one that is of no site.
DIRECTORY = f"$({NGINX} | sed -n 's#.*ssl_certificate \\(.*\\)/guestbook/.*#\\1#p' | head -n 1)"
EXTRA = f"openssl x509 -noout -text -in {DIRECTORY}/extra/fullchain.pem"
SERVED = (
    "echo | openssl s_client -connect 127.0.0.1:443 -servername guestbook.test 2>/dev/null | openssl x509 -noout -text"
)

SWITCHED_OFF = Reason("what a part that is switched off has made stays as it is")
PACKAGE = Reason("a package that has been installed stays")
FILES = Reason("belongs to an item of a list that is wired: unit tests and scenario default")
WIRED = Reason("set by the playbooks, from options that change here")
LISTENING = ("listen_addresses", "certificate_file", "key_file")
BROUGHT = Reason("a certificate that is brought: scenario default has one")
ACME = Reason("an authority that signs: scenario edge has one")
SOURCE = Reason("another source is another release: scenarios release and projects")
ONE_RUN = Reason("said for one run")
TRUST = Reason("another authority is one that no visitor trusts yet")
NETWORK = Reason("another package index: scenario release has one")
DATA = Reason("an app on PostgreSQL: scenario data changes it")
BACKUP = Reason("a repository: scenario backup has one")
IDENTITY = Reason("another name is another site")

HOST: dict[str, Change | Reason] = {
    "host_allow_untested_distribution": ONE_RUN,
    "host_packages": PACKAGE,
    "host_private_address": DATA,
    "host_time_enabled": SWITCHED_OFF,
    "host_timezone": Change("Etc/UTC", "Europe/Zurich", "readlink /etc/localtime", "Europe/Zurich"),
    "host_time_service": PACKAGE,
    "host_time_servers": Change([], ["192.0.2.1"], "cat /etc/systemd/timesyncd.conf.d/*", r"192\.0\.2\.1"),
    "host_locale_enabled": SWITCHED_OFF,
    "host_locale": Change("C.UTF-8", "de_CH.UTF-8", "cat /etc/default/locale", "de_CH"),
    "host_locale_generate": Reason("a locale that has been generated stays"),
    "host_firewall_enabled": SWITCHED_OFF,
    "host_firewall_ssh_ports": Change([22], [22, 2222], FIREWALL, "2222"),
    "host_firewall_ssh_sources": Change([], ["192.0.2.0/24"], FIREWALL, r"192\.0\.2\.0/24"),
    "host_firewall_allowed_tcp_ports": Change([80, 443], [80, 443, 9000], FIREWALL, "9000"),
    "host_firewall_allowed_udp_ports": Change([], [9443], FIREWALL, r"udp dport 9443"),
    "host_app_firewall_allowed_tcp_ports": WIRED,
    "host_app_firewall_allowed_udp_ports": WIRED,
    "host_firewall_rules[].port": Change(None, "5353", FIREWALL, "5353"),
    "host_firewall_rules[].protocol": Change(None, "udp", FIREWALL, "udp dport 5353"),
    "host_firewall_rules[].sources": Change(None, ["198.51.100.7"], FIREWALL, r"198\.51\.100\.7"),
    "host_firewall_rules[].comment": Change(None, "names", "cat /etc/nftables.d/*", "names"),
    "host_firewall_log_enabled": Change(False, True, FIREWALL, "log prefix"),
    "host_ssh_enabled": SWITCHED_OFF,
    "host_ssh_settings": Change({}, {"MaxAuthTries": 3}, SSHD, "maxauthtries 3"),
    "host_ssh_allowed_users": Change([], ["root"], SSHD, "allowusers root"),
    "host_ssh_allowed_groups": Change([], ["root"], SSHD, "allowgroups root"),
    "host_bans_enabled": SWITCHED_OFF,
    "host_bans_time": Change("1h", "2h", BANS, r"bantime = 2h"),
    "host_bans_longest_time": Change("7d", "9d", BANS, r"bantime\.maxtime = 9d"),
    # Whoever visits in the meantime is not banned.
    "host_bans_ignored": Change(
        ["0.0.0.0/0"], ["0.0.0.0/0", "2001:db8::/32"], "fail2ban-client get sshd ignoreip", "2001:db8::"
    ),
    "host_bans_jails.sshd.enabled": Reason("its other options change"),
    "host_bans_jails.sshd.max_retry": Change(5, 6, "fail2ban-client get sshd maxretry", "^6$"),
    "host_bans_jails.sshd.find_time": Change("10m", "20m", "fail2ban-client get sshd findtime", "^1200$"),
    # Off in the second round, in which Nginx has a proxy in front
    **{
        f"host_bans_jails.{name}.enabled": Change(
            True, False, f"fail2ban-client status {jail} >/dev/null 2>&1 || echo off", "^off$"
        )
        for name, jail in JAILS.items()
    },
    **{
        f"host_bans_jails.{name}.{option}": Reason("of a jail that is off in the second round: unit tests")
        for name in JAILS
        for option in ("max_retry", "find_time")
    },
    **{f"host_app_bans.{name}": WIRED for name in ("log", "ports", "trusted", "ignored")},
    "host_upgrades_enabled": SWITCHED_OFF,
    "host_upgrades_origins": Change(None, ["origin=Debian,codename=other"], UPGRADES, "codename=other"),
    "host_upgrades_excluded_packages": Change([], ["nginx"], UPGRADES, r'"\^nginx\$"'),
    "host_upgrades_reboot_enabled": Change(False, True, UPGRADES, 'Automatic-Reboot "true"'),
    "host_upgrades_reboot_time": Change("04:00", "04:30", UPGRADES, "04:30"),
    "host_journald_enabled": SWITCHED_OFF,
    "host_journald_storage": Change("persistent", "auto", JOURNAL, "Storage=auto"),
    "host_journald_system_max_use": Change("1G", "512M", JOURNAL, "512M"),
    "host_journald_max_retention": Change("90day", "30day", JOURNAL, "30day"),
    "host_sysctl_enabled": SWITCHED_OFF,
    "host_sysctl": Change(
        # Docker lets nobody set it: the file says what a real host has.
        {"net.core.somaxconn": 4096},
        {"net.core.somaxconn": 8192},
        "cat /etc/sysctl.d/60-djangofleet.conf",
        "8192",
    ),
}

CERTIFICATE: dict[str, Change | Reason] = {
    "certificate_certificates[].name": Change("extra", "extra", "true", ""),
    "certificate_certificates[].domains": Change(["a.test"], ["b.test"], EXTRA, r"DNS:b\.test"),
    "certificate_certificates[].source": BROUGHT,
    "certificate_certificates[].key_file": BROUGHT,
    "certificate_certificates[].key_content": BROUGHT,
    "certificate_certificates[].chain_file": BROUGHT,
    "certificate_certificates[].chain_content": BROUGHT,
    "certificate_certificates[].key_type": Change("ecc", "rsa", EXTRA, "rsaEncryption"),
    "certificate_certificates[].key_size": Change(None, 3072, EXTRA, "3072 bit"),
    "certificate_certificates[].key_group": Change(
        None, "www-data", f"stat --format=%a:%G {DIRECTORY}/extra/privkey.pem", "640:www-data"
    ),
    "certificate_certificates[].days": Change(300, 200, days(EXTRA), "^(199|200)$"),
    "certificate_directory": Change(
        None, "/etc/djangofleet/elsewhere", NGINX, "ssl_certificate /etc/djangofleet/elsewhere/"
    ),
    "certificate_reload_units": Reason("says what is reloaded, and shows with a new certificate alone"),
    "certificate_app_reload_units": WIRED,
    "certificate_days": Change(366, 180, days(SERVED), "^(179|180)$"),
    "certificate_key_type": Change("ecc", "rsa", SERVED, "rsaEncryption"),
    "certificate_key_size": Change(2048, 4096, SERVED, "4096 bit"),
    "certificate_renew_days": Reason("decides about a certificate that is near its end: unit tests have its clock"),
    "certificate_warn_days": Reason("decides about a certificate that is near its end: unit tests have its clock"),
    "certificate_authority_directory": TRUST,
    "certificate_authority_name": TRUST,
    "certificate_authority_days": TRUST,
    "certificate_authority_key": TRUST,
    "certificate_authority_certificate": TRUST,
    "certificate_authority_host": Reason("another authority, of several hosts: scenario data has one"),
    "certificate_app_authority_host": WIRED,
    **{
        f"certificate_certificates[].{name}": ACME
        for name in ("challenge", "profile", "dns.plugin", "dns.package", "dns.credentials", "dns.propagation_seconds",
                     "dns.auth_hook", "dns.cleanup_hook")
    },
    **{
        f"certificate_acme_{name}": ACME
        for name in ("email", "directory_url", "eab_key_id", "eab_hmac_key", "ca_bundle", "profile", "webroot",
                     "calendar", "random_delay", "check_enabled", "check_address", "check_port", "index_url",
                     "index_ca_bundle")
    },
    **{f"certificate_app_acme_{name}": WIRED for name in ("webroot", "index_url", "index_ca_bundle")},
}  # fmt: skip

ROOM = "https://guestbook.test/hello"
USERS = "cat /etc/nginx/users/guestbook.*"
SERVERS = Reason("an app on several servers: scenario edge has one")
FLEET = Reason("an app on several hosts behind a balancer: scenario fleet has one")
NGINX_SITE: dict[str, Change | Reason] = {
    "name": IDENTITY,
    "domains": WIRED,
    "certificate.fullchain": WIRED,
    "certificate.key": WIRED,
    "redirect_to_https": Change(None, False, ask("http://guestbook.test/healthz"), "HTTP/1.1 200"),
    "canonical_redirect": Change(
        None, True, ask("https://www.guestbook.test/", host="www.guestbook.test"), "HTTP/2 30"
    ),
    "hsts.enabled": Reason("the header of the three below would be missing"),
    "hsts.max_age": Change(3600, 31536000, ask("https://guestbook.test/"), "max-age=31536000"),
    "hsts.include_subdomains": Change(False, True, ask("https://guestbook.test/"), "includeSubDomains"),
    "hsts.preload": Change(False, True, ask("https://guestbook.test/"), "preload"),
    "upstream.servers": WIRED,
    "upstream.keepalive": Change(0, 8, NGINX, "keepalive 8;"),
    "upstream.keepalive_timeout": Change("5s", "7s", NGINX, "keepalive_timeout 7s;"),
    "upstream.method": Change("round_robin", "sticky", NGINX, r"map \$cookie_sessionid \$sticky_guestbook"),
    "upstream.hash_key": SERVERS,
    "upstream.sticky_cookie": Change(None, "sessionid", NGINX, r"map \$cookie_sessionid \$sticky_guestbook"),
    "upstream.server_options[].address": SERVERS,
    "upstream.server_options[].weight": SERVERS,
    "upstream.server_options[].backup": SERVERS,
    "upstream.server_options[].down": SERVERS,
    "upstream.server_options[].max_fails": SERVERS,
    "upstream.server_options[].fail_timeout": SERVERS,
    "upstream.server_options[].host": FLEET,
    "upstream.tls.authority_file": FLEET,
    "upstream.tls.name": FLEET,
    "upstream.connect_timeout": FLEET,
    "upstream.health.enabled": FLEET,
    "upstream.health.path": FLEET,
    "upstream.health.status_min": FLEET,
    "upstream.health.status_max": FLEET,
    "peers": FLEET,
    "ready_file": FLEET,
    "static[].url": WIRED,
    "static[].path": WIRED,
    "static[].links": FILES,
    "static[].hidden": FILES,
    "media[].url": WIRED,
    "media[].path": WIRED,
    "media[].links": FILES,
    "media[].scripts": FILES,
    "media[].private": FILES,
    "headers": Change({}, {"X-Round": "second"}, ask("https://guestbook.test/"), "(?i)x-round: second"),
    "forwarded_proto_header": Change(
        None, "X-Forwarded-Protocol", NGINX, r"proxy_set_header X-Forwarded-Protocol \$djangofleet_proto"
    ),
    "connections_per_address": Change(None, 150, NGINX, "limit_conn djangofleet_addresses 150;"),
    "locations[].path": Change(None, "/hello", ask(ROOM), "HTTP/2 204"),
    "locations[].match": Change(None, "exact", NGINX, "location = /hello"),
    "locations[].config": Change(None, "return 204;", ask(ROOM), "HTTP/2 204"),
    "maintenance.page": WIRED,
    "maintenance.allow": WIRED,
    "client_max_body_size": Change(None, "3m", NGINX, "client_max_body_size 3m;"),
    "proxy_read_timeout": Change(None, "62s", NGINX, "proxy_read_timeout 62s;"),
    "buffering": Change(True, False, NGINX, "proxy_buffering off;"),
    "error_pages": Reason("wired from the app's own, which changes here"),
    "extra_config": Change(None, "# the second\n", NGINX, "# the second"),
    "rate_limit.rate": Change("500r/s", "600r/s", NGINX, "rate=600r/s"),
    "rate_limit.burst": Change(900, 950, NGINX, "burst=950"),
    "rate_limit.delay": Change(None, 940, NGINX, "delay=940"),
    "rate_limit.key": Change("address", "header X-Key", NGINX, r"map \$http_x_key"),
    "rate_limits[].path": Change("/limited", "/limited-more", NGINX, r"~\^/limited\W+more"),
    "rate_limits[].match": Change("prefix", "exact", NGINX, r"~\^/limited\W+more\W+z "),
    "rate_limits[].rate": Change("70r/s", "80r/s", NGINX, "rate=80r/s"),
    "rate_limits[].burst": Change(70, 80, NGINX, "limit_guestbook_0 burst=80"),
    "rate_limits[].delay": Change(None, 8, NGINX, "burst=80 delay=8"),
    "rate_limits[].key": Change("address", "path", NGINX, r"~\^/limited\W+more\W+z \$uri"),
    "allow": Change([], ["0.0.0.0/0"], NGINX, r"128\.0\.0\.0/1 ;"),
    "deny": Change([], ["192.0.2.99"], NGINX, r"192\.0\.2\.99/32 1;"),
    "methods": Change([], ["GET", "POST", "OPTIONS"], NGINX, "default GET, POST, OPTIONS, HEAD;"),
    "access[].path": Change("/kept", "/kept-more", NGINX, r"~\^/kept\W+more"),
    "access[].match": Change("prefix", "exact", NGINX, r"~\^/kept\W+more\W+z "),
    "access[].allow": Change(None, ["198.51.100.1"], NGINX, r"198\.51\.100\.1/32 ;"),
    "access[].deny": Change(["198.51.100.2"], ["198.51.100.3"], NGINX, r"198\.51\.100\.3/32 1;"),
    "access[].methods": Change(None, ["PUT"], NGINX, "default PUT;"),
    "basic_auth[].path": Change("/secret", "/secret-more", ask("https://guestbook.test/secret-more"), "HTTP/2 401"),
    "basic_auth[].match": Change("exact", "prefix", ask("https://guestbook.test/secret-more/x"), "HTTP/2 401"),
    "basic_auth[].realm": Change(
        "One", "Two", ask("https://guestbook.test/secret-more"), '(?i)www-authenticate: Basic realm="Two"'
    ),
    "basic_auth[].users[].name": Change("ada", "bob", USERS, "^bob:"),
    "basic_auth[].users[].password_hash": Change("$6$first$x", "$6$second$x", USERS, r"\$6\$second"),
    "open_paths": Change(None, ["/open"], NGINX, r"~\^/open\W+z "),
    "blocked_paths_enabled": Change(False, True, NGINX, r"\$blocked_guestbook"),
    "bots[].name": Change("RoundBot", "OtherBot", NGINX, "OtherBot"),
    "bots[].policy": Change("deny", "limit", NGINX, "limit OtherBot;"),
    "robots.mode": Change("app", "policy", ask("https://guestbook.test/robots.txt"), "HTTP/2 200"),
    "robots.disallow": Change(None, ["/away"], NGINX, "Disallow: /away"),
    "robots.sitemaps": Change(
        None, ["https://guestbook.test/map.xml"], NGINX, "Sitemap: https://guestbook.test/map.xml"
    ),
    "request_buffering": Change(True, False, NGINX, "proxy_request_buffering off;"),
    "app_locations[].path": Change(None, "/live/", NGINX, "location = /live/ {"),
    "app_locations[].match": Change(None, "exact", NGINX, "location = /live/ {"),
    "app_locations[].buffering": Change(None, True, NGINX, "proxy_buffering on;"),
    "app_locations[].request_buffering": Change(None, True, NGINX, "proxy_request_buffering on;"),
    "app_locations[].read_timeout": Change(None, "63s", NGINX, "proxy_read_timeout 63s;"),
    "app_locations[].client_max_body_size": Change(None, "4m", NGINX, "client_max_body_size 4m;"),
    "cache.enabled": Change(False, True, "ls /var/cache/nginx/sites", "^guestbook$"),
    "cache.valid": Change("", "1s", NGINX, "proxy_cache_valid 200 301 302 404 1s;"),
    "cache.key": Change("", "$cookie_theme", NGINX, r"request_uri \$cookie_theme;"),
    "cache.bypass_cookies": Change(["sessionid"], ["sessionid", "other"], NGINX, r"sessionid\|other"),
    "cache.bypass_headers": Change(["Authorization"], ["X-Api-Key"], NGINX, r"\$http_x_api_key"),
    "cache.paths": Change([], ["/kept/"], NGINX, r"~\^/kept/ ;"),
    "cache.except_paths": Change([], ["/mine/"], NGINX, r"~\^/mine/ 1;"),
    "cache.stale_while_revalidate": Change(False, True, NGINX, "proxy_cache_background_update on;"),
    "cache.stale_if_error": Change(True, False, NGINX, "proxy_cache_use_stale updating;"),
    "cache.inactive": Change("10m", "9m", NGINX, "inactive=9m"),
    "cache.max_size": Change("256m", "64m", NGINX, "max_size=64m"),
    "cache.min_uses": Change(1, 2, NGINX, "proxy_cache_min_uses 2;"),
    "cache.lock": Change(False, True, NGINX, "proxy_cache_lock on;"),
    "cache.lock_timeout": Change("1s", "2s", NGINX, "proxy_cache_lock_timeout 2s;"),
    "cache.purge_on_release": Change(True, False, PINNED, '"purge_on_release":false'),
}

NGINX_ROLE: dict[str, Change | Reason] = {
    **{f"nginx_sites[].{path}": change for path, change in NGINX_SITE.items()},
    **{f"nginx_app_sites[].{path}": WIRED for path in NGINX_SITE},
    "nginx_allow_no_sites": ONE_RUN,
    "nginx_app_allow_no_sites": FLEET,
    "nginx_app_real_ip.trusted": FLEET,
    "nginx_app_real_ip.request_id": FLEET,
    "nginx_client_max_body_size": Change("10m", "11m", NGINX, "client_max_body_size 11m;"),
    "nginx_proxy_connect_timeout": Change("5s", "6s", NGINX, "proxy_connect_timeout 6s;"),
    "nginx_proxy_read_timeout": Change("60s", "61s", NGINX, "proxy_read_timeout 61s;"),
    "nginx_static_max_age": Change("30d", "1d", NGINX, "expires 1d;"),
    "nginx_media_max_age": Change("7d", "2d", NGINX, "expires 2d;"),
    "nginx_acme_webroot": Change("/var/www/acme", "/var/www/other", NGINX, "/var/www/other"),
    "nginx_http_port": Reason("visitors would have to follow"),
    "nginx_https_port": Reason("visitors would have to follow"),
    "nginx_https_public_port": Reason("shows in redirects to https alone, which the same round switches off"),
    "nginx_ipv6_enabled": Reason("the test hosts have no IPv6"),
    "nginx_real_ip.trusted": Change([], ["192.0.2.1"], NGINX, r"set_real_ip_from 192\.0\.2\.1;"),
    "nginx_real_ip.header": Change("X-Forwarded-For", "X-Real-IP", NGINX, "real_ip_header X-Real-IP;"),
    "nginx_real_ip.request_id": Change(None, True, NGINX, r"add_header X-Request-ID \$djangofleet_request_id"),
    "nginx_real_ip.passed_headers": Change(
        [], ["X-Forwarded-User"], NGINX, r"proxy_set_header X-Forwarded-User \$djangofleet_passed"
    ),
    "nginx_headers": Change(
        {}, {"Referrer-Policy": "no-referrer"}, "cat /etc/nginx/djangofleet/maps.conf", "no-referrer"
    ),
    "nginx_static_policy": Change(None, "base-uri 'none'", NGINX, "Content-Security-Policy base-uri 'none' always"),
    "nginx_media_policy": Change(None, "sandbox", NGINX, "default sandbox;"),
    "nginx_media_pdf_policy": Change(None, "", NGINX, "application/pdf ;"),
    "nginx_connections_per_address": Reason("the site's own stands before it in the second round"),
    "nginx_sandbox": Change({}, {"ProtectHome": "read-only"}, "systemctl show -P ProtectHome nginx", "^read-only$"),
    "nginx_worker_processes": Change("auto", "3", "pgrep -fc 'nginx: worker process$'", "^3$"),
    "nginx_worker_connections": Change(4096, 2048, NGINX, "worker_connections 2048;"),
    "nginx_worker_rlimit_nofile": Change(None, 9000, NGINX, "worker_rlimit_nofile 9000;"),
    "nginx_worker_shutdown_timeout": Change("10m", "9m", NGINX, "worker_shutdown_timeout 9m;"),
    "nginx_keepalive_timeout": Change("10s", "9s", NGINX, "keepalive_timeout 9s;"),
    "nginx_send_timeout": Change("10s", "9s", NGINX, "send_timeout 9s;"),
    "nginx_client_header_timeout": Change("10s", "9s", NGINX, "client_header_timeout 9s;"),
    "nginx_client_body_timeout": Change("10s", "9s", NGINX, "client_body_timeout 9s;"),
    "nginx_gzip_enabled": Change(True, False, f"{NGINX} | grep -c '^gzip on'", "^0$"),
    "nginx_brotli_enabled": Change(True, False, f"{NGINX} | grep -c 'brotli.* on;'", "^0$"),
    "nginx_access_log_enabled": Change(True, False, f"{NGINX} | grep -c '^access_log /'", "^0$"),
    "nginx_log_masked_parameters": Change(None, ["shibboleth"], NGINX, "shibboleth"),
    "nginx_log_retention_days": Change(14, 7, "cat /etc/logrotate.d/nginx", "rotate 7"),
    "nginx_error_log_level": Change("warn", "notice", NGINX, r"error_log .* notice;"),
    "nginx_extra_packages": PACKAGE,
    "nginx_http_config": Change("", "# of the second round\n", NGINX, "# of the second round"),
    "nginx_real_ip.trusted_files": Change(
        [], ["{{ project_directory }}/molecule/edge/ranges.txt"], NGINX, r"set_real_ip_from 127\.0\.0\.5/32;"
    ),
    "nginx_tls_profile": Change("intermediate", "modern", NGINX, "ssl_protocols TLSv1.3;"),
    "nginx_http3_enabled": Reason("a choice of Debian 13 alone: scenario edge has it"),
    "nginx_large_client_header_buffers.number": Change(4, 8, NGINX, "large_client_header_buffers 8 "),
    "nginx_large_client_header_buffers.size": Change("8k", "16k", NGINX, "large_client_header_buffers 8 16k;"),
    "nginx_max_uri_length": Change(8000, 7000, NGINX, r"~\^\.\{7000\}"),
    "nginx_blocked_paths": Change(None, ["^/second-round/"], NGINX, r"~\*\^/second-round/ 1;"),
    "nginx_bots[].name": Change("HostBot", "HostOtherBot", NGINX, "HostOtherBot"),
    "nginx_bots[].policy": Change("deny", "limit", NGINX, "limit HostOtherBot;"),
    "nginx_bot_rate_limit.rate": Change("1r/s", "9r/s", NGINX, "rate=9r/s"),
    "nginx_bot_rate_limit.burst": Change(5, 9, NGINX, "guestbook_bots burst=9"),
}

BUSY, TOCK = "-busy@2.service", "-tock.timer"
APP: dict[str, Change | Reason] = {
    "name": IDENTITY,
    "state": Reason("an app that is absent has no visitors: unit tests"),
    "hosts": FLEET,
    "domains": Change(["guestbook.test"], ["guestbook.test", "www.guestbook.test"], ENVIRONMENT, "ALLOWED_HOSTS=.*www"),
    "source.git": SOURCE,
    "source.version": SOURCE,
    "source.deploy_key": SOURCE,
    "source.known_hosts": SOURCE,
    "source.path": SOURCE,
    "source.exclude": Change(None, ["tests"], "ls /srv/guestbook/current/source/entries | grep -c tests", "^0$"),
    "source.package": SOURCE,
    "source.constraints": SOURCE,
    "project_dir": SOURCE,
    "settings_module": SOURCE,
    "wsgi": SOURCE,
    "asgi": SOURCE,
    "requirements": SOURCE,
    "python": SOURCE,
    "environment": Change({}, {"ROUND": "second"}, ENVIRONMENT, "ROUND=second"),
    "build_environment": Change({}, {"SHADE": "2"}, "cat /etc/djangofleet/guestbook/build.env", 'SHADE="2"'),
    "secret_key_fallbacks": Change(None, ["of-the-first-round"], ENVIRONMENT, "SECRET_KEY_FALLBACKS=of-the-first"),
    "secret_key": Change(None, "of-the-second-round-" * 3, ENVIRONMENT, "SECRET_KEY=of-the-second"),
    "files[].dest": Change(None, "second.txt", "ls /srv/guestbook/current/source", r"second\.txt"),
    "files[].content": Change(None, "of the second", "cat /srv/guestbook/current/source/second.txt", "of the second"),
    "shared_paths": Change([], ["var/"], "readlink /srv/guestbook/current/source/var", "shared"),
    "static_root": SOURCE,
    "static_url": Change("/static/", "/assets/", ask(STATIC.format("/assets")), "HTTP/2 200"),
    "media_root": SOURCE,
    "media.shared": FLEET,
    "media.private": Change([], ["invoices/"], NGINX, r"location \^~ /\S+/invoices/"),
    "error_pages": Change({}, {"404": "404.html"}, NGINX, r"error_page 404 \$error_guestbook_404;"),
    "media_url": Change("/media/", "/uploads/", ENVIRONMENT, "MEDIA_URL=/uploads/"),
    "system_packages": PACKAGE,
    "build_packages": PACKAGE,
    "database.url": Change(
        None, "sqlite:////srv/guestbook/data/second.sqlite3", ENVIRONMENT, r"DATABASE_URL=.*second\.sqlite3"
    ),
    "database.engine": DATA,
    "database.scheme": DATA,
    "database.name": Reason("another name is another database"),
    "database.user": DATA,
    "database.password": DATA,
    "database.extensions": DATA,
    "database.options": DATA,
    "database.pooler": Reason("scenario pooler turns it off and on again"),
    "database.lock_timeout": Change("5s", "6s", PINNED, '"lock_timeout":"6s"'),
    "backup.files": BACKUP,
    "backup.assertion": BACKUP,
    "cache.engine": DATA,
    "cache.password": DATA,
    "cache.prefix": DATA,
    "cache.url": Change(None, "filecache:///srv/guestbook/cache/second", ENVIRONMENT, "CACHE_URL=.*cache/second"),
    # On its way back it goes by another port: see the tests.
    "listen": Change(None, "127.0.0.1:8001", "ss -ltn", r"127\.0\.0\.1:8001"),
    "gunicorn.worker_class": Change("gthread", "sync", PINNED, '"worker_class":"sync"'),
    "gunicorn.workers": Change("2", "3", "pgrep -cP $(systemctl show -P MainPID django-guestbook.service)", "^3$"),
    "gunicorn.threads": Change(8, 3, PINNED, '"threads":3'),
    "gunicorn.timeout": Change(30, 31, PINNED, '"timeout":31,'),
    "gunicorn.graceful_timeout": Change(30, 31, PINNED, '"graceful_timeout":31'),
    "gunicorn.keepalive": Change(65, 64, PINNED, '"keepalive":64'),
    "gunicorn.max_requests": Change(0, 10_000, PINNED, '"max_requests":10000'),
    "gunicorn.max_requests_jitter": Change(0, 10, PINNED, '"max_requests_jitter":10'),
    "gunicorn.preload": Change(True, False, PINNED, '"preload_app":false'),
    "gunicorn.log_level": Change("info", "warning", PINNED, '"loglevel":"warning"'),
    "gunicorn.forwarded_allow_ips": Change(["127.0.0.1"], ["127.0.0.1", "::1"], PINNED, "127.0.0.1,::1"),
    "gunicorn.settings": Change({}, {"limit_request_line": 4093}, PINNED, '"limit_request_line":4093'),
    "health.enabled": Reason("the other options of the gate would not matter"),
    "health.path": Change("/healthz", "/healthz?round=2", PINNED, "round=2"),
    "health.status_min": Change(200, 199, PINNED, '"status_min":199'),
    "health.status_max": Change(499, 299, PINNED, '"status_max":299'),
    "health.contains": Change("", "ok", PINNED, '"contains":"ok"'),
    "health.timeout": Change(30, 29, PINNED, '"timeout":29'),
    "health.retries": Change(0, 1, PINNED, '"retries":1'),
    "health.delay": Change(1, 2, PINNED, '"delay":2'),
    "health.warm": Change(["/"], ["/", "/admin/login/"], PINNED, '"/","/admin/login/"'),
    "hooks.before_collectstatic": Change([], ["true first"], PINNED, '"truefirst"'),
    "hooks.build": Change([], ["true build"], PINNED, '"truebuild"'),
    "hooks.before_migrate": Change([], ["true 1"], PINNED, '"true1"'),
    "hooks.after_migrate": Change([], ["true 2"], PINNED, '"true2"'),
    "hooks.after_first_migrate": Change([], ["true 5"], PINNED, '"true5"'),
    "hooks.before_activate": Change([], ["true 3"], PINNED, '"true3"'),
    "hooks.after_activate": Change([], ["true 4"], PINNED, '"true4"'),
    "processes[].name": Change("idle", "busy", unit(BUSY, "LoadState"), "=loaded"),
    "processes[].command": Change("sleep 100001", "sleep 100002", "pgrep -af ^sleep", "100002"),
    "processes[].count": Change(1, 2, unit(BUSY, "ActiveState"), "=active"),
    "processes[].stop_signal": Change("SIGTERM", "SIGINT", unit(BUSY, "KillSignal"), "=2$"),
    "processes[].stop_timeout": Change(30, 31, unit(BUSY, "TimeoutStopUSec"), "=31s"),
    "processes[].singleton": Reason("shows on several hosts: scenario release"),
    "timers[].name": Change("tick", "tock", unit(TOCK, "ActiveState"), "=active"),
    "timers[].command": Change("true", "true second", unit("-tock.service", "ExecStart"), "true second"),
    "timers[].calendar": Change("daily", "weekly", unit(TOCK, "TimersCalendar"), "Mon"),
    "timers[].overlap": Change("skip", "replace", unit("-tock-replace.service", "LoadState"), "=loaded"),
    "timers[].timeout": Change("infinity", "10min", unit("-tock.service", "TimeoutStartUSec"), "=10min"),
    "timers[].persistent": Change(True, False, f"cat /etc/systemd/system/django-guestbook{TOCK}", "Persistent=false"),
    "timers[].random_delay": Change("0", "5min", unit(TOCK, "RandomizedDelayUSec"), "=5min"),
    "timers[].singleton": Change(True, False, unit(TOCK, "ActiveState"), "=active"),
    "network": Change(None, "local", unit(".service", "IPAddressDeny"), "/0"),
    "sandbox": Change({}, {"ProtectHome": "read-only"}, unit(".service", "ProtectHome"), "=read-only"),
    "maintenance_allow": Change([], ["192.0.2.9"], NGINX, r"192\.0\.2\.9"),
    "certificate": Reason("its options are those of certificate_certificates"),
    "nginx": Reason("its options are those of nginx_sites"),
}

DJANGO: dict[str, Change | Reason] = {
    **{f"django_app.{path}": change for path, change in APP.items()},
    "django_root": Reason("moves what people have written: nobody does that beside visitors"),
    "django_python": SOURCE,
    "django_socket_group": Reason("shows on a path, which listen leaves in the same round: it has a test of its own"),
    # Nginx is a member of both groups: the tests see to it.
    "django_media_group": Change("www-data", "web", "stat -c %G /srv/guestbook/media", "^web$"),
    "django_index_url": NETWORK,
    "django_extra_index_urls": NETWORK,
    "django_ca_bundle": NETWORK,
    "django_keep_releases": Change(5, 4, PINNED, '"keep_releases":4'),
    "django_primary": Reason("shows on several hosts: scenario release"),
    "django_allow_destructive_migrations": ONE_RUN,
    "django_allow_schema_ahead": ONE_RUN,
    "django_allow_new_secrets": ONE_RUN,
    "django_allow_data_removal": ONE_RUN,
    "django_app_primary": WIRED,
    "django_app_hosts": FLEET,
    "django_app_path": WIRED,
    "django_app_database_hosts": WIRED,
    "django_app_packages": WIRED,
    "django_app_users": WIRED,
    "django_app_secret_host": WIRED,
    **{f"django_app_cache.{name}": WIRED for name in ("host", "port", "authority_file", "authority")},
    **{f"django_app_database.{name}": WIRED for name in ("host", "port", "authority_file", "authority")},
    "django_app_site.domains": WIRED,
    "django_app_site.port": WIRED,
    "django_app_site.tls": WIRED,
    "django_app_site_cache.path": WIRED,
    "django_app_site_cache.purge_on_release": WIRED,
    "django_app_peers": WIRED,
    "django_app_peer_port": WIRED,
    "django_app_peer_authority": WIRED,
    "django_minimum_free_space": Change(500, 400, PINNED, '"minimum_free_space":400'),
    "django_stop_timeout": Change(40, 50, unit(".service", "TimeoutStopUSec"), "=50s"),
    "django_stand_in_timeout": Change(900, 800, unit("-next.service", "RuntimeMaxUSec"), "=13min 20s"),
    "django_sandbox": Change({}, {"ProtectClock": False}, unit(".service", "ProtectClock"), "=no"),
    "django_release": ONE_RUN,
    "django_leave_tables": ONE_RUN,
}


def sql(query: str) -> str:
    """What root asks PostgreSQL, at the port that it has in this round."""
    return f"psql -U postgres -p $(ls -a /run/postgresql | sed -n 's/.s.PGSQL.//p' | head -n 1) -qtA -c \"{query}\""


def server(unit: str, setting: str) -> str:
    """A setting of a server's unit, whatever its version."""
    return f"systemctl show --property={setting} $(systemctl list-units --plain --no-legend '{unit}' | cut -d' ' -f1)"


def redis(setting: str) -> str:
    """A setting of the running Redis."""
    ask = "redis-cli -s /run/redis/redis-server.sock --user djangofleet --no-auth-warning CONFIG GET"
    return f"(set -a; . /var/lib/djangofleet/redis/secret; {ask} {setting})"


def as_user(name: str, password: str) -> str:
    """Whom Redis takes somebody for, and what it lets them do."""
    ask = f"redis-cli -s /run/redis/redis-server.sock --user {name} --no-auth-warning"
    return f"REDISCLI_AUTH={password} {ask}"


LEFT = Reason("what is not listed any more stays")
HBA = "cat /etc/postgresql/*/main/pg_hba.conf"
PERMILLE = (
    "echo $(( $(psql -U postgres -p $(ls -a /run/postgresql | sed -n 's/.s.PGSQL.//p' | head -n 1) -qtA -c"
    " \"select setting::bigint * 8 from pg_settings where name = 'shared_buffers'\") * 1000"
    " / $(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) ))"
)
POSTGRESQL: dict[str, Change | Reason] = {
    "postgresql_enabled": SWITCHED_OFF,
    "postgresql_version": Reason("another version is another data directory"),
    "postgresql_extra_packages": PACKAGE,
    "postgresql_clusters[].name": Change("main", "main", "true", ""),
    "postgresql_clusters[].port": Change(5432, 5433, "ls -a /run/postgresql", r"PGSQL\.5433$"),
    "postgresql_clusters[].settings": Change({}, {"work_mem": "7MB"}, sql("show work_mem"), "7MB"),
    "postgresql_settings": Change(
        {}, {"log_min_duration_statement": "2s"}, sql("show log_min_duration_statement"), "2s"
    ),
    "postgresql_memory_share": Change(0.05, 0.03, PERMILLE, "^3[012]$"),
    "postgresql_sandbox": Change({}, {"ProtectHome": "read-only"}, server("postgresql@*", "ProtectHome"), "=read-only"),
    "postgresql_listen_addresses": Change([], ["127.0.0.1"], sql("show listen_addresses"), r"127\.0\.0\.1"),
    "postgresql_certificate_file": Change(
        None, "/etc/djangofleet/elsewhere/extra/fullchain.pem", sql("show ssl_cert_file"), "elsewhere"
    ),
    "postgresql_key_file": Change(
        None, "/etc/djangofleet/elsewhere/extra/privkey.pem", sql("show ssl_key_file"), "elsewhere"
    ),
    "postgresql_databases[].name": Change("ledger", "ledger", "true", ""),
    "postgresql_databases[].cluster": IDENTITY,
    "postgresql_databases[].encoding": IDENTITY,
    "postgresql_databases[].locale": IDENTITY,
    "postgresql_databases[].owner": Change(
        None, "auditor", sql("select pg_get_userbyid(datdba) from pg_database where datname = 'ledger'"), "auditor"
    ),
    "postgresql_databases[].extensions": LEFT,
    "postgresql_databases[].settings": Change(
        {},
        {"statement_timeout": "9s"},
        sql(
            "select setconfig from pg_db_role_setting join pg_database d on d.oid = setdatabase and datname = 'ledger'"
        ),
        "statement_timeout=9s",
    ),
    "postgresql_roles[].name": Change("auditor", "auditor", "true", ""),
    "postgresql_roles[].cluster": IDENTITY,
    "postgresql_roles[].password": Change(
        "of-the-first-round",
        "of-the-second-round",
        f"PGPASSWORD=of-the-second-round {sql('select 42')} -w -h /run/postgresql -U auditor -d ledger",
        "^42$",
    ),
    "postgresql_roles[].login": Reason("who may not connect shows nothing of the other options: unit tests"),
    "postgresql_roles[].createdb": Change(
        None, True, sql("select rolcreatedb from pg_roles where rolname = 'auditor'"), "^t$"
    ),
    "postgresql_roles[].connection_limit": Change(
        None, 5, sql("select rolconnlimit from pg_roles where rolname = 'auditor'"), "^5$"
    ),
    "postgresql_roles[].member_of": Change(
        [], ["pg_monitor"], sql("select pg_has_role('auditor', 'pg_monitor', 'member')"), "^t$"
    ),
    "postgresql_roles[].settings": Change(
        {}, {"search_path": "books"}, sql("select rolconfig from pg_roles where rolname = 'auditor'"), "books"
    ),
    **{
        f"postgresql_privileges[].{name}": LEFT
        for name in ("role", "database", "cluster", "type", "objects", "schema", "privileges", "target_roles")
    },
    "postgresql_access[].role": Change("auditor", "+pg_monitor", HBA, r'^local .* \+"pg_monitor" '),
    "postgresql_access[].database": Change("ledger", "all", HBA, r'^local +all +\+"pg_monitor" '),
    "postgresql_access[].cluster": IDENTITY,
    "postgresql_access[].sources": Change([], ["127.0.0.0/8"], HBA, r"127\.0\.0\.0/8"),
    "postgresql_app_settled": WIRED,
    "postgresql_app_changing": WIRED,
    **{f"postgresql_app_{server}.{name}": WIRED for server in ("server", "listener") for name in LISTENING},
    "postgresql_app_settings": WIRED,
    "postgresql_allow_restart": Reason("the inventory has it in all rounds: another port is refused without"),
    "postgresql_allow_new_password": ONE_RUN,
}

REDIS: dict[str, Change | Reason] = {
    "redis_enabled": SWITCHED_OFF,
    "redis_memory_share": Reason("redis_maxmemory stands before it in the second round"),
    "redis_maxmemory": Change(None, "64mb", redis("maxmemory"), "^67108864$"),
    "redis_maxmemory_policy": Change("volatile-lru", "noeviction", redis("maxmemory-policy"), "noeviction"),
    "redis_persistence": Change("rdb", "aof", redis("appendonly"), "^yes$"),
    "redis_settings": Change({}, {"timeout": 300}, redis("timeout"), "^300$"),
    "redis_listen_addresses": Change([], ["127.0.0.1"], redis("tls-port"), "^6379$"),
    "redis_certificate_file": Change(
        None, "/etc/djangofleet/elsewhere/extra/fullchain.pem", redis("tls-cert-file"), "elsewhere"
    ),
    "redis_key_file": Change(None, "/etc/djangofleet/elsewhere/extra/privkey.pem", redis("tls-key-file"), "elsewhere"),
    "redis_users[].name": Change("till", "till", "true", ""),
    "redis_users[].passwords": Change(
        ["of-the-first-round"], ["of-the-second-round"], f"{as_user('till', 'of-the-second-round')} PING", "PONG"
    ),
    "redis_users[].keys": Change(
        ["first:*"], ["second:*"], f"{as_user('till', 'of-the-second-round')} SET second:x 1", "OK"
    ),
    "redis_users[].commands": Change(
        None, "+@all -@dangerous -keys +config|get", f"{as_user('till', 'of-the-second-round')} CONFIG GET port", "port"
    ),
    **{f"redis_app_users[].{name}": WIRED for name in ("name", "passwords", "keys", "commands")},
    "redis_app_changing": WIRED,
    **{f"redis_app_{server}.{name}": WIRED for server in ("server", "listener") for name in LISTENING},
}


def console(command: str) -> str:
    """What pgbouncer's console says."""
    return f"runuser -u pgbouncer -- psql -h /run/pgbouncer -p 6432 -qAtc '{command}' pgbouncer"


AS_AUDITOR = "psql -w -h /run/pgbouncer -p 6432 -U auditor -d ledger -qAtc 'select 42'"
PGBOUNCER: dict[str, Change | Reason] = {
    "pgbouncer_enabled": SWITCHED_OFF,
    "pgbouncer_default_pool_size": Change(None, 7, console("SHOW CONFIG"), r"^default_pool_size\|7\|"),
    "pgbouncer_max_client_conn": Change(None, 500, console("SHOW CONFIG"), r"^max_client_conn\|500\|"),
    "pgbouncer_query_wait_timeout": Change(None, 4, console("SHOW CONFIG"), r"^query_wait_timeout\|4\|"),
    "pgbouncer_settings": Change(
        {}, {"server_idle_timeout": 90}, console("SHOW CONFIG"), r"^server_idle_timeout\|90\|"
    ),
    "pgbouncer_host": Change(None, "/var/run/postgresql", console("SHOW DATABASES"), r"^ledger\|/var/run/postgresql\|"),
    "pgbouncer_port": Change(5432, 5433, console("SHOW DATABASES"), r"^ledger\|[^|]*\|5433\|"),
    "pgbouncer_ca_file": Reason("a server on another host: unit tests"),
    "pgbouncer_users[].name": Change("auditor", "auditor", "true", ""),
    "pgbouncer_users[].password": Change(
        "of-the-first-round", "of-the-second-round", f"PGPASSWORD=of-the-second-round {AS_AUDITOR}", "^42$"
    ),
    "pgbouncer_databases[].name": Change("ledger", "ledger", "true", ""),
    "pgbouncer_databases[].host": Reason("a server on another host: unit tests"),
    "pgbouncer_databases[].port": Reason("a server on another host: unit tests"),
    "pgbouncer_databases[].settings": Change({}, {"pool_size": 3}, console("SHOW DATABASES"), r"^ledger\|.*\|3\|"),
    **{f"pgbouncer_app_users[].{name}": WIRED for name in ("name", "password", "owner")},
    "pgbouncer_app_settled": WIRED,
    **{f"pgbouncer_app_server.{name}": WIRED for name in ("host", "port", "authority_file", "authority")},
}

BACKUPS = {
    **{
        f"backup_{name}": BACKUP
        for name in ("enabled", "passphrase", "name", "calendar", "random_delay", "full_every_days", "retention_days",
                     "wal_queue", "drill_calendar", "maximum_age_hours", "drill_maximum_age_days", "metrics_directory")
    },
    **{
        f"backup_repository.{name}": BACKUP
        for name in ("type", "path", "host", "port", "bucket", "endpoint", "region", "key", "key_secret", "ca_file")
    },
    **{f"backup_clusters[].{name}": BACKUP for name in ("name", "version", "port", "data")},
    **{f"backup_databases[].{name}": BACKUP for name in ("name", "cluster", "app", "assertion", "manage")},
    **{f"backup_files[].{name}": BACKUP for name in ("name", "app", "user", "data", "trees", "assertion")},
    "backup_app_passphrase": WIRED,
    "backup_app_address": WIRED,
}  # fmt: skip

# By path, as molecule/ec2/tests and tests/unit/test_rules_ec2.py set them
SETS = (
    "name",
    "groups",
    "count",
    "type",
    "placement",
    "elastic_address",
    "volume.size",
    "volume.type",
    "volumes[].device_name",
    "volumes[].size",
    "volumes[].type",
    "volumes[].iops",
    "volumes[].throughput",
    "data",
    "image",
    "tags",
)
AMAZON = Reason("what an account of Amazon has: scenario ec2")
EC2 = {
    **{
        f"ec2_{name}": AMAZON
        for name in ("project", "environment", "region", "state", "confirm", "final_backup", "allow_stop",
                     "allow_undrained", "allow_record_takeover", "public_key", "user", "ssh_from", "ssh_awaited",
                     "tags", "dns_zone", "dns_ttl", "backup_bucket", "prices", "known_hosts_file", "inventory_file",
                     "wait_seconds")
    },
    **{f"ec2_network.{name}": AMAZON for name in ("vpc", "cidr", "zones", "nat")},
    **{f"ec2_image.{name}": AMAZON for name in ("debian", "owner", "id")},
    **{f"ec2_instances[].{name}": AMAZON for name in SETS},
    **{f"ec2_openings[].{name}": AMAZON for name in ("group", "port", "protocol", "sources")},
    **{f"ec2_app_openings[].{name}": WIRED for name in ("group", "port", "protocol", "sources")},
    **{f"ec2_dns_records[].{name}": AMAZON for name in ("name", "set")},
    "ec2_app_domains": WIRED,
    "ec2_app_ssh_ports": WIRED,
}  # fmt: skip

TABLE = {**HOST, **CERTIFICATE, **NGINX_ROLE, **DJANGO, **POSTGRESQL, **REDIS, **PGBOUNCER, **BACKUPS, **EC2}
TABLE |= {path.replace("host_firewall", "host_app_firewall"): WIRED
          for path in HOST if "_rules[]" in path}  # fmt: skip
TABLE |= {
    path.replace("postgresql_", "postgresql_app_"): WIRED
    for path in POSTGRESQL
    if path.partition("[")[0] in ("postgresql_databases", "postgresql_roles", "postgresql_access")
}
TABLE |= {path.replace("backup_", "backup_app_"): WIRED for path in BACKUPS if "[]" in path}
TABLE |= {path.replace("_certificates", "_app_certificates"): WIRED for path in CERTIFICATE if "[]" in path}


def changes() -> Iterator[tuple[str, Change]]:
    """The options that change, by path."""
    yield from ((path, change) for path, change in TABLE.items() if isinstance(change, Change))


def variables(turn: str) -> dict[str, Any]:
    """All options with their values of a round, `first` or `second`, as variables of a run."""
    found: dict[str, Any] = {"django_app": {**BASE, "source": dict(BASE["source"])}}
    for path, change in changes():
        value = getattr(change, turn)
        if value is not None:
            _put(found, path.replace("nginx_sites[].", "django_app.nginx.").split("."), value)
    return {"django_apps": [found.pop("django_app")], **found}


def _put(place: dict[str, Any], path: list[str], value: Any) -> None:
    """Set what a path names; `name[]` is a list of one item."""
    key, *rest = path
    if not rest:
        place[key] = value
    elif key.endswith("[]"):
        _put(place.setdefault(key.removesuffix("[]"), [{}])[0], rest, value)
    else:
        _put(place.setdefault(key, {}), rest, value)
