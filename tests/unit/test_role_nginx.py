"""What the role nginx writes, read back by Nginx's own rules for words, blocks and quotes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

CERTIFICATE = {"fullchain": "/etc/ssl/shop/fullchain.pem", "key": "/etc/ssl/shop/key.pem"}
SHOP: dict[str, Any] = {
    "name": "shop",
    "domains": ["shop.example.com", "www.shop.example.com"],
    "upstream": {"servers": ["unix:/run/djangofleet/shop.sock"]},
}
SECURE = {**SHOP, "certificate": CERTIFICATE}
HOSTILE = [
    "/srv/with space/",
    '/srv/"; return 200 owned; #/',
    "/srv/'single'/",
    "/srv/{brace}/",
    "/srv/back\\slash/",
    "/srv/ends in a backslash\\",
    "/srv/semi;colon/",
    "/srv/# no comment/",
    "/srv/ünï/",
    "/srv/{{ jinja }}/",
]


@dataclass
class Directive:
    """One directive: its words, the name first, and what its block holds."""

    words: list[str]
    block: list[Directive] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def args(self) -> list[str]:
        return self.words[1:]

    def all(self, name: str) -> list[Directive]:
        return [directive for directive in self.block if directive.name == name]

    def values(self, name: str) -> list[list[str]]:
        return [directive.args for directive in self.all(name)]

    def one(self, name: str) -> str:
        (found,) = self.values(name)
        return " ".join(found)

    def location(self, *args: str) -> Directive:
        (found,) = [directive for directive in self.all("location") if directive.args == list(args)]
        return found

    def headers(self) -> dict[str, str]:
        found = {args[0]: args[1] for args in self.values("add_header")}
        assert len(found) == len(self.all("add_header")), "a header is added twice"
        return found


WORD = re.compile(
    r"""\s+|\#[^\n]*|(?P<mark>[;{}])|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<plain>[^\s;{}"'\#](?:\\.|\$\{|[^\s;{])*)""",
    re.DOTALL,
)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        match = WORD.match(text, position)
        assert match, f"no word of Nginx at: {text[position : position + 60]!r}"
        position = match.end()
        kind = match.lastgroup
        if kind in ("double", "single"):
            assert position == len(text) or text[position] in " \t\n;{)", f"unclosed quote near {match.group()!r}"
            yield "word", re.sub(r"""\\(["'\\n])""", lambda found: found[1].replace("n", "\n"), match.group(kind))
        elif kind:
            yield ("mark" if kind == "mark" else "word"), match.group(kind)


def parse(text: str) -> Directive:
    """Nginx's configuration as a tree, below a nameless root."""
    stack, words = [Directive([""])], []
    for kind, value in tokens(text):
        if kind == "word":
            words.append(value)
        elif value == "}":
            assert not words, f"no semicolon after {words}"
            assert len(stack) > 1, "one brace too many"
            stack.pop()
        else:
            assert words, f"nothing before {value!r}"
            directive = Directive(words)
            words = []
            stack[-1].block.append(directive)
            if value == "{":
                stack.append(directive)
    assert not words, f"unfinished: {words}"
    assert len(stack) == 1, "one brace too few"
    return stack[0]


@pytest.fixture(scope="session")
def nginx(render, evaluate) -> Callable[..., Directive]:
    def run(template: str, **variables: Any) -> Directive:
        config = evaluate("nginx", "__nginx_config", **variables)
        site = {"site": config["sites"][0]} if config["sites"] else {}
        return parse(render("nginx", f"etc/nginx/{template}.j2", **variables, **site, nginx=config))

    return run


@pytest.fixture(scope="session")
def site(nginx) -> Callable[..., Directive]:
    def run(site: dict[str, Any], **variables: Any) -> Directive:
        return nginx("sites/site.conf", nginx_sites=[site], **variables)

    return run


@pytest.fixture(scope="session")
def tree(dataloader) -> dict[str, Any]:
    """The arguments of the step that writes the configuration."""
    tasks = dataloader.load_from_file("roles/nginx/tasks/configure.yml", trusted_as_template=True)
    (found,) = [task["djangofleet.stack.tree"] for task in tasks if "djangofleet.stack.tree" in task]
    return found


@pytest.fixture(scope="session")
def problems(evaluate) -> Callable[..., list[str]]:
    def run(*sites: dict[str, Any], **variables: Any) -> list[str]:
        return evaluate("nginx", "__nginx_problems", nginx_sites=list(sites), **variables)

    return run


def facts(version: str = "13", **more: Any) -> dict[str, Any]:
    return {"ansible_facts": {"distribution_major_version": version, **more}}


def test_parser_refuses_what_nginx_would():
    for text in ("a b", "a { b;", "a; }", 'a "b', "; a;", 'a "b"c;'):
        with pytest.raises(AssertionError):
            parse(text)


# The whole ------------------------------------------------------------------------------------------------------------


def test_main_includes_are_relative_and_sites_come_last(nginx):
    root = nginx("nginx.conf")
    includes = [root.one("include"), *(args[0] for args in root.all("http")[0].values("include"))]
    assert not [path for path in includes if path.startswith("/")]
    assert includes[0] == "modules-enabled/*.conf"
    assert includes[-2:] == ["djangofleet/default_server.conf", "sites/*.conf"]
    assert not {"conf.d/*.conf", "sites-enabled/*"} & set(includes)


def test_every_included_part_is_an_entry_and_the_reverse(nginx, site, tree):
    written = {entry["path"] for entry in tree["entries"]}
    http = nginx("nginx.conf").all("http")[0]
    (server,) = site({**SHOP, "maintenance": {"page": "/srv/page.html"}}).all("server")
    places = [http, server, *(server.location(f"@djangofleet_error{kind}") for kind in ("", "_json"))]
    included = {args[0] for place in places for args in place.values("include") if "*" not in args[0]}
    assert {path for path in written if "/djangofleet/" in path} == {
        f"/etc/nginx/{path}" for path in included - {"mime.types"}
    }
    # A part that stops being written has to go away too, and so does a site.
    assert {rule["path"] for rule in tree["purge"]} == {
        f"/etc/nginx/{room}" for room in ("sites", "djangofleet", "users")
    }
    for entry in tree["entries"]:
        if "template" in entry:
            assert f"/{entry['template']}" == entry["path"].replace("{name}", "site") + ".j2"


def test_a_directory_is_tested_and_what_it_holds_is_stamped(evaluate, tree):
    # A configuration that was written and never loaded is loaded by the next run.
    assert tree["stamp"] == "nginx"
    plain, sandboxed = evaluate("nginx", "__nginx_stages")
    assert plain == {"path": "/etc/nginx", "validate": "nginx -t -q -c {stage}/nginx.conf"}
    assert all(rule["path"].startswith(f"{plain['path']}/") for rule in tree["purge"])
    # What the sandbox hides from Nginx is found before it is put in place, whichever of the two has changed.
    assert sandboxed["path"] == plain["path"]
    assert sandboxed["triggers"] == ["/etc/systemd/system/nginx.service.d/djangofleet.conf"]
    words = shlex.split(sandboxed["validate"])
    assert words[-5:] == plain["validate"].split()
    assert {"--wait", "--pipe", "--property=ProtectSystem=strict"} <= set(words[: words.index("nginx")])


def test_the_stamp_comes_after_the_reload(dataloader):
    handlers = dataloader.load_from_file("roles/nginx/handlers/main.yml", trusted_as_template=True)
    *_others, reload, _caches, stamp = [task for task in handlers if task["listen"] == "Nginx configuration changed"]
    (notified,) = [task["notify"] for task in dataloader.load_from_file("roles/nginx/tasks/configure.yml")]
    assert reload["listen"] == stamp["listen"] == notified
    assert reload["djangofleet.stack.reload"] == {"units": ["nginx.service"], "start": True}
    (entry,) = stamp["djangofleet.stack.tree"]["entries"]
    assert entry == {
        "path": "{{ __nginx_tree.stamp.path }}",
        "content": "{{ __nginx_tree.stamp.content }}",
        "sensitive": True,
    }


@pytest.fixture(scope="session")
def drop_in(render, evaluate) -> Callable[..., list[str]]:
    """The lines of the unit's drop-in."""

    def run(**variables: Any) -> list[str]:
        config = evaluate("nginx", "__nginx_config", **variables)
        template = "etc/systemd/system/nginx.service.d/djangofleet.conf.j2"
        return render("nginx", template, nginx=config).splitlines()

    return run


def test_nginx_is_started_again_whatever_ended_it(drop_in):
    lines = drop_in()
    assert "Restart=always" in lines
    assert lines.index("StartLimitIntervalSec=0") < lines.index("[Service]")
    assert "OOMPolicy=continue" in lines, "systemd would stop all of Nginx for one worker"


def test_each_command_of_the_unit_is_replaced_and_starts_as_root(drop_in):
    commands = [line.partition("=") for line in drop_in() if line.startswith("Exec")]
    assert [(name, bool(value)) for name, _sign, value in commands] == [
        (name, is_set) for name in ("ExecStartPre", "ExecStart", "ExecReload", "ExecStop") for is_set in (False, True)
    ]
    assert all(re.match(r"-?[!+]/", value) for _name, _sign, value in commands if value)


def test_the_sandbox_can_be_changed_by_name(drop_in):
    assert "ProtectHome=yes" in drop_in()
    lines = drop_in(nginx_sandbox={"ProtectHome": "read-only", "ReadWritePaths": ["/srv/cache", "/srv/b"]})
    assert "ProtectHome=read-only" in lines
    assert "ProtectHome=yes" not in lines
    writable = [line for line in lines if line.startswith("ReadWritePaths=")]
    assert writable[:2] == ["ReadWritePaths=/srv/cache", "ReadWritePaths=/srv/b"]
    assert writable[2] == "ReadWritePaths=-/run -/var/cache/nginx -/var/lib/nginx -/var/log/nginx"


def test_only_a_host_without_sites_is_restarted(dataloader, evaluate):
    load, say, *_others = dataloader.load_from_file("roles/nginx/handlers/main.yml", trusted_as_template=True)
    arguments = load["ansible.builtin.systemd_service"]
    assert arguments["daemon_reload"] is True
    assert arguments["state"] == "{{ __nginx_serves | ternary(omit, 'restarted') }}"
    assert "__nginx_drop_in in __nginx_tree.changed_paths" in load["when"] + say["when"]
    for found, serves in (([], False), (["/etc/nginx/sites/shop.conf"], True)):
        survey = {"paths": {"/etc/nginx/sites/*.conf": found}}
        assert evaluate("nginx", "__nginx_serves", __nginx_survey=survey) is serves


def test_limits_agree(nginx):
    root = nginx("nginx.conf")
    assert root.one("worker_processes") == "auto"
    connections = int(root.all("events")[0].one("worker_connections"))
    assert int(root.one("worker_rlimit_nofile")) >= 2 * connections
    root = nginx("nginx.conf", nginx_worker_connections=100, nginx_worker_rlimit_nofile=300)
    assert (root.all("events")[0].one("worker_connections"), root.one("worker_rlimit_nofile")) == ("100", "300")


@pytest.mark.parametrize(
    ("variable", "directive", "value"),
    [
        ("nginx_worker_processes", "worker_processes", "3"),
        ("nginx_worker_shutdown_timeout", "worker_shutdown_timeout", "31s"),
        ("nginx_error_log_level", "error_log", "crit"),
        ("nginx_keepalive_timeout", "keepalive_timeout", "7s"),
        ("nginx_send_timeout", "send_timeout", "7s"),
        ("nginx_client_header_timeout", "client_header_timeout", "7s"),
        ("nginx_client_body_timeout", "client_body_timeout", "7s"),
        ("nginx_client_max_body_size", "client_max_body_size", "77m"),
    ],
)
def test_main_honours(nginx, variable, directive, value):
    root = nginx("nginx.conf", **{variable: value})
    found = root.values(directive) + root.all("http")[0].values(directive)
    assert len(found) == 1
    assert found[0][-1] == value


def test_production_defaults(nginx):
    http = nginx("nginx.conf").all("http")[0]
    assert http.one("server_tokens") == "off"
    assert http.one("sendfile") == http.one("tcp_nopush") == "on"
    for name in ("keepalive_timeout", "send_timeout", "client_header_timeout", "client_body_timeout"):
        assert int(http.one(name).removesuffix("s")) <= 10, name
    known = [words for directive in http.all("types") for words in (entry.words for entry in directive.block)]
    assert ["text/javascript", "mjs"] in known


def test_raw_http_config_is_kept_as_it_is(nginx):
    http = nginx("nginx.conf", nginx_http_config="map $a $b {\n  default 1;\n}\nlimit_req_status 429;\n").all("http")[0]
    assert http.one("limit_req_status") == "429"
    assert http.all("map")[0].one("default") == "1"


def test_log_lines_are_json_with_the_request_id_and_upstream_times(nginx):
    root = nginx("djangofleet/log.conf")
    assert root.values("access_log") == [["/var/log/nginx/access.log", "json"]]
    name, escape, *parts = root.values("log_format")[0]
    assert (name, escape) == ("json", "escape=json")
    # Every variable replaced by what it could be in a log line.
    line = json.loads(re.sub(r"\$\w+", "1", "".join(parts)))
    assert {"request_id", "status", "host", "upstream_response_time", "upstream_status", "request_time"} <= set(line)
    assert {"release", "tls", "tls_cipher"} <= set(line)
    assert nginx("djangofleet/log.conf", nginx_access_log_enabled=False).values("access_log") == [["off"]]


def test_gzip_can_be_switched_off(nginx):
    root = nginx("djangofleet/gzip.conf")
    assert (root.one("gzip"), root.one("gzip_vary"), root.one("gzip_proxied")) == ("on", "on", "any")
    assert {"text/css", "application/json", "image/svg+xml"} <= set(root.values("gzip_types")[0])
    assert nginx("djangofleet/gzip.conf", nginx_gzip_enabled=False).one("gzip") == "off"


# TLS and listeners ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["12", "13"])
def test_tls_is_what_the_distribution_can(nginx, site, version):
    tls = nginx("djangofleet/tls.conf", **facts(version))
    assert tls.values("ssl_protocols") == [["TLSv1.2", "TLSv1.3"]]
    assert all(re.match(r"ECDHE-.*(GCM|POLY1305)", cipher) for cipher in tls.one("ssl_ciphers").split(":"))
    assert ("MLKEM" in tls.one("ssl_ecdh_curve")) is (version == "13")
    assert not tls.all("ssl_stapling")
    servers = [nginx("djangofleet/default_server.conf", **facts(version)).all("server")[1]]
    servers += site({**SECURE, "canonical_redirect": True}, **facts(version)).all("server")[1:]
    assert len(servers) == 3
    for server in servers:
        assert bool(server.all("http2")) is (version == "13")
        assert all(("http2" in args) is (version == "12") for args in server.values("listen"))


def test_unknown_hosts_are_refused(nginx):
    plain, tls = nginx("djangofleet/default_server.conf").all("server")
    assert plain.one("return") == "444"
    assert tls.one("ssl_reject_handshake") == "on"
    assert not tls.all("ssl_certificate")
    assert tls.location("/").one("return") == "421", "a handshake for a site could go on to ask for another host"
    assert all("default_server" in args for server in (plain, tls) for args in server.values("listen"))


def test_only_the_default_server_is_the_default(site):
    for server in site(SECURE).all("server"):
        assert all("default_server" not in args for args in server.values("listen"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts(), True),
        (facts(all_ipv6_addresses=[]), False),
        (facts(all_ipv6_addresses=["2001:db8::1"]), True),
        ({**facts(all_ipv6_addresses=[]), "nginx_ipv6_enabled": True}, True),
        ({"nginx_ipv6_enabled": False}, False),
    ],
)
def test_ipv6_follows_the_host(nginx, site, given, expected):
    for root in (nginx("djangofleet/default_server.conf", **given), site(SECURE, **given)):
        for server in root.all("server"):
            ports = [args[0] for args in server.values("listen")]
            assert len(ports) == (2 if expected else 1)
            assert (f"[::]:{ports[0]}" in ports) is expected


def test_ports(nginx, site):
    ports = {"nginx_http_port": 8080, "nginx_https_port": 8443, "nginx_ipv6_enabled": True}
    for root in (nginx("djangofleet/default_server.conf", **ports), site(SECURE, **ports)):
        assert [args[0] for server in root.all("server") for args in server.values("listen")] == [
            "8080", "[::]:8080", "8443", "[::]:8443",
        ]  # fmt: skip
    assert site(SECURE, **ports).all("server")[0].location("/").one("return") == "301 https://$host:8443$request_uri"
    published = site(SECURE, nginx_https_public_port=9443).all("server")[0]
    assert published.location("/").one("return") == "301 https://$host:9443$request_uri"


# Sites ----------------------------------------------------------------------------------------------------------------


def test_plain_http_without_a_certificate(site):
    (server,) = site(SHOP).all("server")
    assert server.values("server_name") == [SHOP["domains"]]
    assert server.location("/").one("proxy_pass") == "http://app_shop"
    assert not server.all("ssl_certificate")


def test_https_with_a_certificate(site):
    plain, tls = site(SECURE).all("server")
    assert plain.values("server_name") == tls.values("server_name") == [SHOP["domains"]]
    assert plain.location("/").one("return") == "301 https://$host$request_uri"
    assert tls.one("ssl_certificate") == CERTIFICATE["fullchain"]
    assert tls.one("ssl_certificate_key") == CERTIFICATE["key"]
    assert tls.location("/").one("proxy_pass") == "http://app_shop"


def test_redirect_to_https_can_be_switched_off(site):
    plain, tls = site({**SECURE, "redirect_to_https": False}).all("server")
    for server in (plain, tls):
        assert server.location("/").one("proxy_pass") == "http://app_shop"
    assert "Strict-Transport-Security" not in plain.headers()
    assert "Strict-Transport-Security" in tls.headers()


@pytest.mark.parametrize("base", [SHOP, SECURE, {**SECURE, "redirect_to_https": False}])
def test_canonical_redirect(site, base):
    root = site({**base, "canonical_redirect": True})
    others = [server for server in root.all("server") if server.values("server_name") == [["www.shop.example.com"]]]
    scheme = "https" if "certificate" in base else "http"
    targets = [
        (server.one("return") if server.all("return") else server.location("/").one("return")) for server in others
    ]
    assert f"301 {scheme}://shop.example.com$request_uri" in targets
    serving = [
        server for server in root.all("server") if any(where.all("proxy_pass") for where in server.all("location"))
    ]
    assert serving
    assert all(server.values("server_name") == [["shop.example.com"]] for server in serving)


def test_long_names_fit(nginx):
    """Nginx sizes its tables for words of some 40 characters, and refuses longer ones."""
    main = nginx("nginx.conf").all("http")[0]
    # A bucket has the word, its length and two pointers: https://nginx.org/en/docs/hash.html
    for table, longest in {"server_names": 253, "map": 253, "proxy_headers": 128}.items():
        assert int(main.one(f"{table}_hash_bucket_size")) >= longest + 32


def test_canonical_redirect_is_off_by_default_and_harmless_for_one_domain(site):
    assert all(server.values("server_name") == [SHOP["domains"]] for server in site(SECURE).all("server"))
    assert len(site({**SHOP, "domains": ["a.test"], "canonical_redirect": True}).all("server")) == 1


@pytest.mark.parametrize("base", [SHOP, SECURE, {**SHOP, "canonical_redirect": True}])
def test_acme_is_answered_before_any_redirect_and_never_by_the_app(site, base):
    for server in site(base, nginx_acme_webroot="/srv/a b").all("server"):
        passes = any(where.all("proxy_pass") for where in server.all("location"))
        if passes or "80" in [args[0] for args in server.values("listen")]:
            location = server.location("^~", "/.well-known/acme-challenge/")
            assert location.one("root") == "/srv/a b"
            assert not location.all("proxy_pass")
            assert not server.all("return"), "a return of the server's own would come before the location"


def test_acme_is_answered_over_tls_to_whom_a_balancer_redirects(site):
    users = [{"name": "maria", "password_hash": "$6$a$b"}]
    wish = {**SECURE, "canonical_redirect": True, "basic_auth": [{"path": "/", "realm": "Staff", "users": users}]}
    for server in site(wish, nginx_acme_webroot="/srv/acme").all("server"):
        if server.values("ssl_certificate") and not server.all("return"):  # an alias leads to where it is answered
            location = server.location("^~", "/.well-known/acme-challenge/")
            assert location.one("root") == "/srv/acme"
            break
    else:
        pytest.fail("no server answers over TLS")


@pytest.mark.parametrize(
    ("hsts", "expected"),
    [
        (None, "max-age=63072000"),
        ({}, "max-age=63072000"),
        ({"max_age": 60}, "max-age=60"),
        ({"include_subdomains": True}, "max-age=63072000; includeSubDomains"),
        ({"include_subdomains": True, "preload": True}, "max-age=63072000; includeSubDomains; preload"),
        ({"enabled": False}, None),
    ],
)
def test_hsts_everywhere_or_nowhere(site, hsts, expected):
    static = [{"url": "/static/", "path": "/srv/static"}]
    media = [{"url": "/media/", "path": "/srv/media"}]
    wish = {**SECURE, "static": static, "media": media, **({} if hsts is None else {"hsts": hsts})}
    _plain, tls = site(wish).all("server")
    nested = tls.location("^~", "/static/").all("location")[-1]
    for place in (tls, tls.location("^~", "/static/"), nested, tls.location("^~", "/media/")):
        assert place.headers().get("Strict-Transport-Security") == expected
        assert place.headers()["X-Request-ID"] == "$request_id"
    hidden = [args[0] for args in tls.values("proxy_hide_header")]
    assert hidden == ["X-Request-ID", "X-Release"] + (["Strict-Transport-Security"] if expected else [])


SECURITY = (
    *("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Permissions-Policy"),
    "Cross-Origin-Opener-Policy",
)


def test_every_place_that_sets_a_header_sets_them_all(nginx, site):
    files = {kind: [{"url": f"/{kind}/", "path": f"/srv/{kind}"}] for kind in ("static", "media")}
    files["media"][0]["private"] = ["invoices/"]
    wish = {**SECURE, "canonical_redirect": True, "maintenance": {"page": "/srv/page.html"}, **files}
    checked = 0
    for root in (nginx("djangofleet/headers.conf"), *site(wish).all("server")):
        waiting = [root]
        while waiting:
            place = waiting.pop()
            waiting += place.all("location")
            if place.all("add_header"):
                checked += 1
                assert not set(SECURITY) - set(place.headers())
                assert all(args[-1] == "always" for args in place.values("add_header") if args[0] in SECURITY)
    # headers.conf, three servers, and in one of them static, hashed static, media, private media, maintenance, the page
    # of an error as HTML, as JSON, and in place of a file that is not there.
    assert checked == 1 + 3 + 8
    assert ["djangofleet/headers.conf"] in nginx("nginx.conf").all("http")[0].values("include")


def test_an_app_has_the_last_word_on_its_headers(nginx, site):
    maps = {found.args[1]: found for found in nginx("djangofleet/maps.conf").all("map")}
    (server,) = site(SHOP).all("server")
    headers = server.headers()
    referrer = maps[headers["Referrer-Policy"]]
    assert referrer.args[0] == "$upstream_http_referrer_policy"
    assert [entry.words for entry in referrer.block] == [["default", ""], ["", "same-origin"]]
    # An app that sends no X-Frame-Options may mean it. A time says that it answered: "-" is for one that did not.
    frames = maps[headers["X-Frame-Options"]]
    assert frames.args[0] == "$upstream_header_time$upstream_cache_status"
    # Or a page of it did that was kept.
    answered = "~(?:[0-9](?:BYPASS|EXPIRED|MISS)?|HIT|REVALIDATED|STALE|UPDATING)$"
    assert [entry.words for entry in frames.block] == [["default", "SAMEORIGIN"], [answered, ""]]
    assert [bool(re.search("[0-9]$", time)) for time in ("0.003", "-, 0.003", "-", "-, -", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    # What only Nginx answers has the values themselves: an app that sends a file by X-Accel-Redirect loses its own.
    assert server.location("@djangofleet_error").headers()["X-Frame-Options"] == "SAMEORIGIN"
    # Nor if its pages may open windows of others and see them.
    windows = maps[headers["Cross-Origin-Opener-Policy"]]
    assert windows.args[0] == frames.args[0]
    assert [entry.words for entry in windows.block] == [["default", "same-origin"], [answered, ""]]


def test_headers_can_be_changed_and_left_out(nginx, site):
    variables = {"nginx_headers": {"referrer-policy": "no-referrer", "Permissions-Policy": ""}}
    http = nginx("djangofleet/headers.conf", **variables).headers()
    opener = "Cross-Origin-Opener-Policy"
    assert set(http) == {"X-Request-ID", "X-Content-Type-Options", "X-Frame-Options", opener, "referrer-policy"}
    own = {"X-Frame-Options": "", "referrer-policy": "no-referrer", "X-Own": 'a "b"; c'}
    root = site({**SHOP, "name": "my-shop", "headers": own}, **variables)
    (server,) = root.all("server")
    assert set(server.headers()) == {"X-Request-ID", "X-Content-Type-Options", opener, "referrer-policy", "X-Own"}
    assert server.headers()["referrer-policy"] == http["referrer-policy"]
    (own_map,) = [found for found in root.all("map") if found.args[1] == server.headers()["X-Own"]]
    assert own_map.args[0] == "$upstream_http_x_own"
    assert own_map.one("") == 'a "b"; c'


def test_requests_that_no_app_is_to_see(nginx, site):
    maps = {
        found.args[1]: dict(entry.words for entry in found.block) for found in nginx("djangofleet/maps.conf").all("map")
    }
    (malformed, _ambiguous, too_long) = nginx("djangofleet/refuse.conf").all("if")
    assert (malformed.args, malformed.one("return")) == (["($djangofleet_malformed)"], "400")
    assert (too_long.args, too_long.one("return")) == (["($djangofleet_too_long)"], "414")

    def matches(variable: str, text: str) -> bool:
        patterns = [key[1:] for key in maps[variable] if key.startswith("~")]
        return any(re.search(key.removeprefix("*"), text, re.I if key.startswith("*") else 0) for key in patterns)

    for text, refused in (
        ("HTTP/1.1:chunked:", False),
        ("HTTP/1.0::", False),
        ("HTTP/0.9::", True),
        ("HTTP/2.0::", False),
        ("HTTP/2.0::trailers", False),
        ("HTTP/2.0:chunked:", True),
        ("HTTP/3.0:chunked:trailers", True),
        ("HTTP/2.0::chunked", True),
        ("HTTP/2.0::trailers, gzip", True),
    ):
        assert matches("$djangofleet_malformed", text) is refused, text
    assert [matches("$djangofleet_too_long", "/" + "x" * length) for length in (7999, 8000)] == [False, True]
    for server in site({**SECURE, "canonical_redirect": True}).all("server"):
        assert ["djangofleet/refuse.conf"] in server.values("include")


# The app --------------------------------------------------------------------------------------------------------------


def test_one_server_is_listed_twice_and_never_down(site):
    (upstream,) = site(SHOP).all("upstream")
    assert upstream.values("server") == [["unix:/run/djangofleet/shop.sock", "max_fails=0"]] * 2
    # A connection that is kept ends with the process behind it, and a form that is sent into it then is lost.
    assert not upstream.all("keepalive")


def test_several_servers_are_listed_once(site):
    servers = ["10.0.0.5:8001", "[2001:db8::6]:8001", "10.0.0.5:8001"]
    (upstream,) = site({**SHOP, "upstream": {"servers": servers}}).all("upstream")
    assert [args[0] for args in upstream.values("server")] == servers[:2]
    assert all("max_fails=0" not in args for args in upstream.values("server"))


def test_upstream_keepalive_can_be_set_and_switched_off(site):
    wish = {"servers": ["10.0.0.5:8001"], "keepalive": 5}
    (upstream,) = site({**SHOP, "upstream": wish}).all("upstream")
    # Nginx tries each line once, and all connections that it keeps may have died with a worker: "no live upstreams".
    assert upstream.values("server") == [["10.0.0.5:8001", "max_fails=0"]] * (2 + 5)
    assert upstream.one("keepalive_timeout") == "1s"
    wish["keepalive_timeout"] = "9s"
    (upstream,) = site({**SHOP, "upstream": wish}).all("upstream")
    assert (upstream.one("keepalive"), upstream.one("keepalive_timeout")) == ("5", "9s")
    (upstream,) = site({**SHOP, "upstream": {**wish, "keepalive": 0}}).all("upstream")
    assert not upstream.all("keepalive")
    assert not upstream.all("keepalive_timeout")


def test_without_an_upstream_nothing_is_proxied(site):
    root = site({"name": "files", "domains": ["files.test"]})
    assert not root.all("upstream")
    assert root.all("server")[0].location("/").one("return") == "404"


def test_no_proxy_pass_uses_a_variable(site):
    for server in site(SECURE).all("server"):
        assert not [a for location in server.all("location") for a in location.values("proxy_pass") if "$" in a[0]]


def test_headers_to_the_app(nginx):
    root = nginx("djangofleet/proxy.conf")
    headers = dict(root.values("proxy_set_header"))
    assert len(headers) == len(root.values("proxy_set_header"))
    assert headers["Host"] == headers["X-Forwarded-Host"] == "$host"
    assert headers["X-Real-IP"] == headers["X-Forwarded-For"] == "$remote_addr"
    assert headers["X-Forwarded-Proto"] == "$scheme"
    assert headers["X-Forwarded-Port"] == "$server_port"
    assert headers["X-Request-ID"] == "$request_id"
    cleared = {name for name, value in headers.items() if value == ""}
    assert {
        "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Forwarded-Prefix", "Forwarded", "Proxy", "X-Original-URL",
        "X-Rewrite-URL",
    } <= cleared  # fmt: skip


@pytest.mark.parametrize(
    "header",
    ["X-Script-Name", "X-Forwarded-User", "X-SSL-Client-Verify", "Auth-User", "X-Auth-Request-Email", "X-Scheme"],
)
def test_nobody_says_who_they_are_by_themselves(nginx, header):
    assert dict(nginx("djangofleet/proxy.conf").values("proxy_set_header"))[header] == ""


def test_the_scheme_in_a_header_of_the_apps_own(nginx):
    sites = [
        {**SHOP, "forwarded_proto_header": "X-Forwarded-Protocol"},
        {"name": "a", "domains": ["a.test", "b.test"], "forwarded_proto_header": "x-forwarded-protocol"},
        {"name": "c", "domains": ["c.test"], "forwarded_proto_header": "X-Forwarded-Ssl"},
        {"name": "d", "domains": ["d.test"]},
    ]
    for variables, scheme in (({}, "$scheme"), ({"nginx_real_ip": {"trusted": ["10.0.0.1"]}}, "$djangofleet_scheme")):
        maps = {
            found.args[1]: found for found in nginx("djangofleet/maps.conf", nginx_sites=sites, **variables).all("map")
        }
        root = nginx("djangofleet/proxy.conf", nginx_sites=sites, **variables)
        headers = dict(root.values("proxy_set_header"))
        assert len(headers) == len(root.all("proxy_set_header"))
        protocol = maps[headers["X-Forwarded-Protocol"]]
        assert protocol.args[0] == "$server_name"
        assert [entry.words for entry in protocol.block] == [
            ["default", ""], ["shop.example.com", scheme], ["a.test", scheme],
        ]  # fmt: skip
        switch = maps[maps[headers["X-Forwarded-Ssl"]].one("c.test")]
        assert switch.args[0] == scheme
        assert [entry.words for entry in switch.block] == [["default", ""], ["https", "on"]]


def test_a_trusted_proxy_may_say_who_somebody_is(nginx, problems):
    real_ip = {"trusted": ["10.0.0.1"], "passed_headers": ["X-Forwarded-User"]}
    headers = dict(nginx("djangofleet/proxy.conf", nginx_real_ip=real_ip).values("proxy_set_header"))
    maps = {found.args[1]: found for found in nginx("djangofleet/maps.conf", nginx_real_ip=real_ip).all("map")}
    passed = maps[headers["X-Forwarded-User"]]
    assert passed.args[0] == "$djangofleet_trusted"
    assert [entry.words for entry in passed.block] == [["default", ""], ["1", "$http_x_forwarded_user"]]
    assert headers["X-Forwarded-Email"] == ""
    (line,) = problems(SHOP, nginx_real_ip={"passed_headers": ["X-Forwarded-User"]})
    assert line.startswith("nginx_real_ip.passed_headers: ")
    (line,) = problems(SHOP, nginx_real_ip={**real_ip, "passed_headers": ["X-Forwarded-For"]})
    assert line.startswith("nginx_real_ip.passed_headers[0]: ")


def test_only_websockets_are_upgraded(nginx):
    upgrade, connection, *_others = nginx("djangofleet/maps.conf").all("map")
    assert upgrade.args == ["$http_upgrade", "$djangofleet_upgrade"]
    assert [entry.words for entry in upgrade.block] == [["default", ""], ["~*^websocket$", "websocket"]]
    assert connection.args == ["$djangofleet_upgrade", "$djangofleet_connection"]
    assert [entry.words for entry in connection.block] == [["default", ""], ["websocket", "upgrade"]]
    headers = dict(nginx("djangofleet/proxy.conf").values("proxy_set_header"))
    assert (headers["Upgrade"], headers["Connection"]) == ("$djangofleet_upgrade", "$djangofleet_connection")


def test_a_second_try_is_bounded(nginx):
    root = nginx("djangofleet/proxy.conf", nginx_proxy_connect_timeout="2s", nginx_proxy_read_timeout="77s")
    assert root.values("proxy_next_upstream") == [["error", "timeout"]]  # never non_idempotent
    assert root.one("proxy_next_upstream_tries") == "2"
    assert int(root.one("proxy_next_upstream_timeout").removesuffix("s")) <= 10
    assert root.one("proxy_connect_timeout") == "2s"
    assert root.one("proxy_read_timeout") == root.one("proxy_send_timeout") == "77s"


def test_an_address_has_so_many_requests_of_an_app_in_hand(nginx, site):
    http = nginx("nginx.conf").all("http")[0]
    (zone,) = http.values("limit_conn_zone")
    assert zone[0] == "$binary_remote_addr"
    assert http.one("limit_conn_status") == "429"
    name = zone[1].removeprefix("zone=").partition(":")[0]
    static = [{"url": "/static/", "path": "/srv/static"}]
    for given, variables, expected in (
        ({}, {}, [[name, "100"]]),
        ({}, {"nginx_connections_per_address": 7}, [[name, "7"]]),
        ({"connections_per_address": 9}, {"nginx_connections_per_address": 7}, [[name, "9"]]),
        ({"connections_per_address": 0}, {}, []),
        ({}, {"nginx_connections_per_address": 0}, []),
    ):
        (server,) = site({**SHOP, "static": static, **given}, **variables).all("server")
        assert server.location("/").values("limit_conn") == expected
        # A page may have more files than that, which a browser asks for at once over HTTP/2.
        assert not server.all("limit_conn")
        assert not server.location("^~", "/static/").all("limit_conn")


def test_site_settings(site):
    wish = {"client_max_body_size": "25m", "proxy_read_timeout": "5m", "buffering": False, "extra_config": "a 1;\nb 2;"}
    _plain, tls = site({**SECURE, **wish}).all("server")
    assert tls.one("client_max_body_size") == "25m"
    assert tls.one("proxy_read_timeout") == tls.one("proxy_send_timeout") == "5m"
    assert tls.one("proxy_buffering") == "off"
    assert (tls.one("a"), tls.one("b")) == ("1", "2")
    _plain, tls = site(SECURE).all("server")
    for name in ("client_max_body_size", "proxy_read_timeout", "proxy_buffering"):
        assert not tls.all(name), f"{name} is inherited unless a site sets it"


def test_real_ip_is_off_by_default(nginx):
    root = nginx("djangofleet/maps.conf")
    assert not root.all("set_real_ip_from")
    assert not root.all("real_ip_header")
    assert not [words for words in root.values("map") if "$djangofleet_scheme" in words]


def test_trusted_proxies_are_believed_about_the_client(nginx):
    real_ip = {"trusted": ["10.0.0.0/8", "2001:db8::/32"], "header": "CF-Connecting-IP"}
    root = nginx("djangofleet/maps.conf", nginx_real_ip=real_ip)
    assert root.values("set_real_ip_from") == [["10.0.0.0/8"], ["2001:db8::/32"]]
    assert root.one("real_ip_header") == "CF-Connecting-IP"
    # Asked of the peer itself: $remote_addr is the client's by then.
    (geo,) = root.all("geo")
    assert geo.args[0] == "$realip_remote_addr"
    assert [entry.words for entry in geo.block] == [["default", "0"], ["10.0.0.0/8", "1"], ["2001:db8::/32", "1"]]
    headers = dict(nginx("djangofleet/proxy.conf", nginx_real_ip=real_ip).values("proxy_set_header"))
    assert headers["X-Forwarded-Proto"] == "$djangofleet_scheme"
    assert headers["X-Forwarded-Port"] == "$djangofleet_port"
    assert nginx("djangofleet/maps.conf", nginx_real_ip={"trusted": ["10.0.0.1"]}).one("real_ip_header") == (
        "X-Forwarded-For"
    )


# Files ----------------------------------------------------------------------------------------------------------------


def test_static(site):
    wish = {**SECURE, "static": [{"url": "/static/", "path": "/srv/shop/static"}]}
    location = site(wish, nginx_static_max_age="3d").all("server")[1].location("^~", "/static/")
    assert location.one("alias") == "/srv/shop/static/"
    assert location.one("expires") == "3d"
    assert location.one("gzip_static") == location.one("brotli_static") == "on"
    assert location.one("access_log") == "off"
    assert not location.all("proxy_pass")
    hashed = location.all("location")[-1]
    assert hashed.one("expires") == "off"
    assert (bool(hashed.all("open_file_cache")), location.all("open_file_cache")) == (True, []), "what never changes"
    assert hashed.headers()["Cache-Control"] == "public, max-age=31536000, immutable"
    for place in (location, hashed):
        assert place.headers()["X-Content-Type-Options"] == "nosniff"
    without = site(wish, nginx_brotli_enabled=False).all("server")[1].location("^~", "/static/")
    assert not without.all("brotli_static")


@pytest.mark.parametrize(
    ("kind", "links", "expected"),
    [
        ("media", None, ["on", "from=/srv/a b"]),
        ("static", None, ["if_not_owner", "from=/srv/a b"]),
        ("media", "same_owner", ["if_not_owner", "from=/srv/a b"]),
        ("static", "none", ["on", "from=/srv/a b"]),
        ("media", "all", ["off"]),
    ],
)
def test_links_are_not_followed_out_of_a_directory(site, kind, links, expected):
    wish = {"url": "/files/", "path": "/srv/a b/", **({"links": links} if links else {})}
    location = site({**SHOP, kind: [wish]}).all("server")[0].location("^~", "/files/")
    assert location.values("disable_symlinks") == [expected]


@pytest.mark.parametrize(
    ("path", "hashed"),
    [
        ("/static/css/base.27e20196a850.css", True),
        ("/static/app.min.0123456789ab.js", True),
        ("/static/LICENSE.0123456789ab", True),
        ("/static/app.js.0123456789ab.map", True),
        ("/static/css/base.css", False),
        ("/static/staticfiles.json", False),
        ("/static/base.27E20196A850.css", False),
        ("/static/base.27e20196a85.css", False),
        ("/static/base.27e20196a8501.css", False),
        ("/static/v.27e20196a850.d/base.css", False),
        ("/static/deadbeef0123.css", False),
    ],
)
def test_only_djangos_hashed_names_are_immutable(site, path, hashed):
    wish = {**SHOP, "static": [{"url": "/static/", "path": "/srv/static"}]}
    sign, pattern = site(wish).all("server")[0].location("^~", "/static/").all("location")[-1].args
    assert sign == "~"
    assert bool(re.search(pattern, path)) is hashed


def test_media_runs_no_script(nginx, site):
    wish = {**SHOP, "media": [{"url": "/media/", "path": "/srv/media/"}]}
    location = site(wish, nginx_media_max_age="2d").all("server")[0].location("^~", "/media/")
    assert location.one("alias") == "/srv/media/"
    assert location.one("expires") == "2d"
    assert location.headers()["X-Content-Type-Options"] == "nosniff"
    policy = location.headers()["Content-Security-Policy"]
    (media,) = [m for m in nginx("djangofleet/maps.conf").all("map") if m.args[1] == policy]
    assert media.args[0] == "$sent_http_content_type"
    values = dict(entry.words for entry in media.block)
    # No browser shows a PDF in a sandbox.
    assert values.pop("application/pdf") == "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"
    assert list(values) == ["default"]
    assert "sandbox" in values["default"]
    assert "default-src 'none'" in values["default"]
    assert "script-src" not in values["default"]


def test_policies_of_uploads_can_be_changed(nginx, site):
    root = nginx("djangofleet/maps.conf", nginx_media_policy="sandbox", nginx_media_pdf_policy="")
    (media,) = [found for found in root.all("map") if found.args[1] == "$djangofleet_media_policy"]
    assert [entry.words for entry in media.block] == [["default", "sandbox"], ["application/pdf", ""]]
    own = {"Content-Security-Policy": "default-src 'self'"}
    (server,) = site({**SHOP, "headers": own, "media": [{"url": "/media/", "path": "/srv/media"}]}).all("server")
    assert server.location("^~", "/media/").headers()["Content-Security-Policy"] == "$djangofleet_media_policy"
    assert server.location("^~", "/media/").headers()["Referrer-Policy"]


def test_an_uploaded_script_is_a_text(site):
    def scripts(**more):
        wish = {"url": "/media/", "path": "/srv/media", **more}
        (server,) = site({**SHOP, "media": [wish]}).all("server")
        places = server.location("^~", "/media/").all("location")
        return [place for place in places if place.args[0] == "~*"]

    (location,) = scripts()
    for path, is_script in (("/media/a.js", True), ("/media/A.MJS", True), ("/media/a.json", False)):
        assert bool(re.search(location.args[1], path, re.I)) is is_script
    assert location.one("default_type") == "text/plain"
    assert location.all("types")[0].block == []
    # Nothing of its own, or it would lose the headers of the directory.
    assert not location.all("add_header")
    assert scripts(scripts=True) == []


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("/static/staticfiles.json", True),
        ("/static/a/staticfiles.json", True),
        ("/static/staticfiles.json.gz", True),
        ("/static/own.txt.br", True),
        ("/static/staticfilesxjson", False),
        ("/static/mystaticfiles.json", False),
        ("/static/staticfiles.json.map", False),
        ("/static/.maintenance.html", True),
        ("/static/.git/config", True),
        ("/static/a/.env", True),
        ("/static/.well-known/x", False),
        ("/static/.well-known-not", True),
        ("/static/a.b/c.css", False),
    ],
)
def test_what_tools_leave_among_static_files_is_not_there(site, path, hidden):
    wish = {"url": "/static/", "path": "/srv/static", "hidden": ["staticfiles.json", "own.txt"]}
    places = site({**SHOP, "static": [wish]}).all("server")[0].location("^~", "/static/").all("location")
    patterns = [place.args[1] for place in places if place.all("return")]
    assert [place.one("return") for place in places if place.all("return")] == ["404", "404"]
    assert any(re.search(pattern, path) for pattern in patterns) is hidden
    default = site({**SHOP, "static": [{"url": "/static/", "path": "/srv"}]}).all("server")[0]
    assert "staticfiles" in default.location("^~", "/static/").all("location")[1].args[1]


def test_locations(site):
    locations = [
        {"path": "/a b", "config": "return 200;"},
        {"path": "/robots.txt", "match": "exact", "config": "return 204;\nallow all;"},
        {"path": r'^/x/[a-z]{2,3}"\.txt$', "match": "regex", "config": "return 410;"},
    ]
    (server,) = site({**SHOP, "locations": locations}).all("server")
    assert server.location("/a b").one("return") == "200"
    assert server.location("=", "/robots.txt").one("allow") == "all"
    assert server.location("~", r'^/x/[a-z]{2,3}"\.txt$').one("return") == "410"
    assert server.location("/").one("proxy_pass") == "http://app_shop"


@pytest.mark.parametrize(("match", "replaced"), [("prefix", True), (None, True), ("exact", False), ("regex", False)])
def test_a_location_of_ones_own_replaces_the_apps(site, match, replaced):
    own = {"path": "/", "config": "return 200;", **({"match": match} if match else {})}
    (server,) = site({**SHOP, "locations": [own]}).all("server")
    assert server.location("/").one("return" if replaced else "proxy_pass")


def test_what_the_app_answers_is_never_replaced(nginx, site):
    for root in (nginx("nginx.conf").all("http")[0], nginx("djangofleet/proxy.conf"), *site(SECURE).all("server")):
        for place in (root, *root.all("location")):
            assert not place.all("proxy_intercept_errors")


# Hostile values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_paths_stay_one_word(site, problems, value):
    wish = {
        **SHOP,
        "certificate": {"fullchain": value, "key": value},
        "static": [{"url": "/static/", "path": value}],
        "media": [{"url": "/media/", "path": value}],
        "locations": [{"path": value, "match": "exact", "config": ""}],
    }
    assert problems(wish, nginx_acme_webroot=value) == []
    plain, tls = site(wish, nginx_acme_webroot=value).all("server")
    assert plain.location("^~", "/.well-known/acme-challenge/").values("root") == [[value]]
    assert tls.values("ssl_certificate") == tls.values("ssl_certificate_key") == [[value]]
    for url in ("/static/", "/media/"):
        assert tls.location("^~", url).values("alias") == [[value.rstrip("/") + "/"]]
    assert tls.location("=", value).block == []


@pytest.mark.parametrize("value", ["1m; return 200 owned", '1m"; a b; #', "1m }", "1m\nserver_tokens on", "$x", ""])
def test_hostile_settings_stay_one_word(nginx, site, value):
    http = nginx("nginx.conf", nginx_client_max_body_size=value, nginx_keepalive_timeout=value).all("http")[0]
    assert http.values("client_max_body_size") == http.values("keepalive_timeout") == [[value]]
    wish = {**SHOP, "client_max_body_size": value, "proxy_read_timeout": value}
    wish["upstream"] = {**SHOP["upstream"], "keepalive": 2, "keepalive_timeout": value}
    root = site(wish)
    assert root.all("server")[0].values("client_max_body_size") == [[value]]
    assert root.all("upstream")[0].values("keepalive_timeout") == [[value]]


@pytest.mark.parametrize("value", ["a\nb;", "10.0.0.1 }", "unix:/run/a; b", "app:80; #"])
def test_words_that_are_not_quoted_are_refused(problems, value):
    wish = {**SHOP, "domains": [value], "upstream": {"servers": [value]}}
    wish["maintenance"] = {"page": "/srv/page.html", "allow": [value]}
    assert [line.split(":")[0] for line in problems(wish, nginx_real_ip={"trusted": [value], "header": value})] == [
        "nginx_real_ip.trusted[0]",
        "nginx_real_ip.header",
        "nginx_sites[shop].domains[0]",
        "nginx_sites[shop].upstream.servers[0]",
        "nginx_sites[shop].maintenance.allow[0]",
    ]


# Packages -------------------------------------------------------------------------------------------------------------


def test_packages(evaluate):
    brotli = "libnginx-mod-http-brotli-static"
    assert evaluate("nginx", "__nginx_packages") == ["nginx", "logrotate", brotli]
    assert evaluate("nginx", "__nginx_packages", nginx_brotli_enabled=False) == ["nginx", "logrotate"]
    assert evaluate("nginx", "__nginx_packages", nginx_extra_packages=["a"]) == ["nginx", "logrotate", brotli, "a"]


def test_nothing_that_may_stand_once_stands_twice(nginx, site):
    """Nginx refuses it, and where two changes meet no other test sees it."""
    many = {
        "add_header",
        "error_page",
        "geo",
        "if",
        "include",
        "limit_req",
        "limit_req_zone",
        "listen",
        "location",
        "map",
    }
    many |= {"proxy_hide_header", "proxy_set_header", "server", "set", "types", "upstream"}
    (http,) = nginx("nginx.conf").all("http")
    for block in (http, *site({**SECURE, "hsts": {}}).all("server")):
        names = [directive.name for directive in block.block if directive.name not in many]
        assert len(names) == len(set(names)), names
