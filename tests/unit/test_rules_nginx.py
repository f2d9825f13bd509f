"""The rules of the role nginx, row by row: what is refused, what the host is asked, what the templates see."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx, nginx_problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, options_of

CERTIFICATE = {"fullchain": "/etc/ssl/shop/fullchain.pem", "key": "/etc/ssl/shop/key.pem"}
SHOP: dict[str, Any] = {
    "name": "shop",
    "domains": ["shop.example.com", "www.shop.example.com"],
    "upstream": {"servers": ["unix:/run/djangofleet/shop.sock"]},
}
SECURE = {**SHOP, "certificate": CERTIFICATE}
BLOG = {"name": "blog", "domains": ["blog.example.com"]}
DEFAULTS = {
    **yaml.safe_load((ROLES / "nginx/defaults/main.yml").read_text()),
    "nginx_https_public_port": 443,
    "nginx_ipv6_enabled": True,
    "nginx_worker_rlimit_nofile": 16384,
}
SERVING = {"paths": {"/etc/nginx/sites/*.conf": ["/etc/nginx/sites/shop.conf", "/etc/nginx/sites/b.log.conf"]}}


def given(*sites: dict[str, Any], **variables: Any) -> dict[str, Any]:
    """What an inventory says, and the role's defaults."""
    return {**DEFAULTS, "nginx_sites": list(sites), **variables}


def problems(*sites: dict[str, Any], survey: dict[str, Any] | None = None, **variables: Any) -> list[str]:
    return nginx_problems.problems(given(*sites, **variables), survey or {})


def config(*sites: dict[str, Any], release: int | str = "13", **variables: Any) -> dict[str, Any]:
    """What the templates see."""
    return nginx.config(options_of("nginx", given(*sites, **variables)), release, {"UMask": "0027"}, {"A": "1"}, ["B"])


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain",
    ["", "a b", "a;b", "a{b", 'a"b', "a'b", "a\\b", "a\nb", "a.test\n", "a.test;", "bücher.test", "*", "a.*", ".a.test",
     "a..test", "-a.test", "a-.test", "a.test.", "_", "~^a", "$host", "a_b.test", "http://a.test", "a.test:80",
     "a" * 254, "a" * 64 + ".test", "10.0.0", "2001:db8::5"],
)  # fmt: skip
def test_hostile_domains_are_refused_with_their_path(domain):
    (problem,) = problems({**SHOP, "domains": ["ok.test", domain]})
    shown = " ".join(domain.split())
    assert problem.startswith(f"nginx_sites[shop].domains[1]: found '{shown[:77]}")
    assert problem.count("\n") == 0


@pytest.mark.parametrize(
    "domain", ["a", "localhost", "a.test", "A-1.Test", "*.a.test", "xn--bcher-kva.test", "10.0.0.5"]
)
def test_good_domains_pass(domain):
    assert problems({**SHOP, "domains": [domain]}) == []


def test_a_text_for_a_list_is_one_item():
    wish = {"name": "shop", "domains": "localhost", "upstream": {"servers": "unix:/run/shop.sock"}}
    assert problems(wish) == []
    (site,) = config(wish)["sites"]
    assert (site["domains"], site["upstream"]["servers"]) == (["localhost"], ["unix:/run/shop.sock"])


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "A", "ü", ".a", "a;", "a\n", "a" * 65, "-a"])
def test_hostile_names_are_refused(name):
    (problem,) = problems({**SHOP, "name": name})
    assert problem.startswith(f"nginx_sites[{' '.join(name.split()) or 0}].name: ")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"domains": []}, "domains"),
        ({"upstream": {"servers": []}}, "upstream.servers"),
        ({"upstream": {"servers": ["10.0.0.5:1", "/run/a"]}}, "upstream.servers[1]"),
        ({"upstream": {"servers": ["unix:/run/a b"]}}, "upstream.servers[0]"),
        ({"upstream": {"servers": ["unix:/run/a; b"]}}, "upstream.servers[0]"),
        ({"upstream": {"servers": ["$host:80"]}}, "upstream.servers[0]"),
        ({"upstream": {"servers": ["app:80\n"]}}, "upstream.servers[0]"),
        ({"upstream": {"servers": ["app:65536"]}}, "upstream.servers[0]"),
        ({"certificate": {"fullchain": "relative.pem", "key": "/k"}}, "certificate.fullchain"),
        ({"certificate": {"fullchain": "/c", "key": "/$host.pem"}}, "certificate.key"),
        ({"certificate": {"fullchain": "/c\n", "key": "/k"}}, "certificate.fullchain"),
        ({"redirect_to_https": True}, "redirect_to_https"),
        ({"domains": ["*.a.test", "a.test"], "canonical_redirect": True}, "canonical_redirect"),
        ({"hsts": {"preload": True}}, "hsts.preload"),
        ({"hsts": {"preload": True, "include_subdomains": True, "max_age": 60}}, "hsts.preload"),
        ({"static": [{"url": "/static", "path": "/a"}]}, "static[0].url"),
        ({"static": [{"url": "/", "path": "/a"}]}, "static[0].url"),
        ({"static": [{"url": "/a/{/", "path": "/a"}]}, "static[0].url"),
        ({"static": [{"url": "/static/", "path": "a"}]}, "static[0].path"),
        ({"media": [{"url": "/media/", "path": "/$uri"}]}, "media[0].path"),
        ({"locations": [{"path": "/a", "config": ""}, {"path": "~ .php", "config": ""}]}, "locations[1].path"),
        ({"locations": [{"path": "= /a", "match": "exact", "config": ""}]}, "locations[0].path"),
        ({"maintenance": {"page": "page.html"}}, "maintenance.page"),
        ({"maintenance": {"page": "/p", "allow": ["10.0.0.1", "all"]}}, "maintenance.allow[1]"),
        ({"headers": {"X Own": "a"}}, "headers"),
        ({"forwarded_proto_header": "X Own"}, "forwarded_proto_header"),
        ({"forwarded_proto_header": "X-Forwarded-Proto"}, "forwarded_proto_header"),
        ({"static": [{"url": "/static/", "path": "/a", "hidden": ["a/b"]}]}, "static[0].hidden[0]"),
        ({"connections_per_address": -1}, "connections_per_address"),
        ({"connections_per_address": 65536}, "connections_per_address"),
        ({"headers": {"X-Own": "$host"}}, "headers.X-Own"),
        ({"headers": {"X-Own": "a\nb"}}, "headers.X-Own"),
        ({"headers": {"X-Own": 1}}, "headers.X-Own"),
        ({"headers": {"strict-Transport-Security": "max-age=1"}}, "headers"),
        ({"headers": {"X-Request-ID": "1"}}, "headers"),
        ({"headers": {"Transfer-encoding": "chunked"}}, "headers"),
        ({"headers": {"Content-Length": "5"}}, "headers"),
        ({"headers": {"X-Release": "1"}}, "headers"),
        ({"hsts": {"max_age": -1}}, "hsts.max_age"),
        # Of the wrong type, or unknown
        ({"domains": {"a": 1}}, "domains"),
        ({"domains": [["a"]]}, "domains"),
        ({"hsts": "on"}, "hsts"),
        ({"buffering": "perhaps"}, "buffering"),
        ({"canonical_redirect": None, "cannonical_redirect": True}, "cannonical_redirect"),
        ({"locations": [{"path": "/", "match": "glob", "config": ""}]}, "locations[0].match"),
        ({"static": [{"url": "/static/"}]}, "static[0].path"),
    ],
)
def test_bad_sites_are_refused_with_their_path(change, path):
    for list_name in ("nginx_sites", "nginx_app_sites"):
        (problem,) = problems(**{"nginx_sites": [], list_name: [{**SHOP, **change}]})
        assert problem.startswith(f"{list_name}[shop].{path}: ")


def test_a_name_or_domain_that_is_there_twice_is_refused_with_both_places():
    other = {**SHOP, "domains": ["other.test"]}
    assert problems(SHOP, other) == [
        "nginx_sites[0].name, nginx_sites[1].name: found 'shop'; give each site a name of its own"
    ]
    other = {**SHOP, "name": "other", "domains": ["other.test", "SHOP.example.com"]}
    assert problems(SHOP, other) == [
        "nginx_sites[shop].domains[0], nginx_sites[other].domains[1]: found 'shop.example.com'; "
        "give each domain to one site only"
    ]
    (problem,) = problems({**SHOP, "domains": ["a.test", "A.test"]})
    assert problem.startswith("nginx_sites[shop].domains[0], nginx_sites[shop].domains[1]: found 'a.test'; ")


def test_what_a_user_and_an_app_both_claim_is_refused():
    wired = {"name": "app", "domains": ["app.test", "www.shop.example.com"]}
    assert problems(SHOP, nginx_app_sites=[wired]) == [
        "nginx_sites[shop].domains[1], nginx_app_sites[app].domains[1]: found 'www.shop.example.com'; "
        "give each domain to one site only"
    ]
    wired = {"name": "shop", "domains": ["app.test"]}
    assert problems(BLOG, SHOP, nginx_app_sites=[wired]) == [
        "nginx_sites[1].name, nginx_app_sites[0].name: found 'shop'; give each site a name of its own"
    ]
    assert problems(SHOP, nginx_app_sites=[BLOG]) == []


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"nginx_http_port": 0}, "nginx_http_port"),
        ({"nginx_http_port": "http"}, "nginx_http_port"),
        ({"nginx_https_port": 65536, "nginx_https_public_port": 443}, "nginx_https_port"),
        ({"nginx_https_public_port": -1}, "nginx_https_public_port"),
        ({"nginx_https_public_port": None}, "nginx_https_public_port"),
        ({"nginx_http_port": 443}, "nginx_https_port"),
        ({"nginx_worker_rlimit_nofile": 8191}, "nginx_worker_rlimit_nofile"),
        ({"nginx_acme_webroot": "acme"}, "nginx_acme_webroot"),
        ({"nginx_real_ip": {"trusted": ["10.0.0.0/8", "evil; a"]}}, "nginx_real_ip.trusted[1]"),
        ({"nginx_real_ip": {"trusted": "10.0.0.0/33"}}, "nginx_real_ip.trusted[0]"),
        ({"nginx_real_ip": {"header": "proxy_protocol"}}, "nginx_real_ip.header"),
        ({"nginx_real_ip": {"trusted_proxies": []}}, "nginx_real_ip.trusted_proxies"),
        ({"nginx_extra_packages": ["-o=x"]}, "nginx_extra_packages[0]"),
    ],
)
def test_bad_host_settings_are_refused_with_their_path(variables, path):
    (problem,) = problems(SHOP, **variables)
    assert problem.startswith(f"{path}: ")


def test_rules_wait_for_types():
    assert [line.split(":")[0] for line in problems({**SHOP, "domains": ["a b"]}, nginx_http_port="x")] == [
        "nginx_http_port"
    ]


def test_a_whole_good_input_has_no_problem():
    full = {
        **SECURE,
        "redirect_to_https": True,
        "canonical_redirect": True,
        "hsts": {"preload": True, "include_subdomains": True},
        "static": [{"url": "/static/", "path": "/srv/static"}],
        "media": [{"url": "/a/media/", "path": "/srv/media"}],
        "locations": [{"path": "@named", "config": ""}, {"path": "^/[a-z]+$", "match": "regex", "config": ""}],
        "maintenance": {"page": "/srv/page.html", "allow": "10.0.0.0/8"},
    }
    other = {"name": "other", "domains": ["*.other.test"], "upstream": {"servers": ["[::1]:8000", "app.internal:8000"]}}
    real_ip = {"trusted": ["10.0.0.0/8", "::1"], "header": "X-Real-IP"}
    assert problems(full, other, nginx_real_ip=real_ip, nginx_extra_packages=["libnginx-mod-http-geoip2"]) == []
    assert problems() == []


# A host that is to lose all of its sites ------------------------------------------------------------------------------


def test_a_host_that_serves_sites_is_not_emptied_in_silence():
    assert problems(survey=SERVING) == [
        "nginx_sites, nginx_app_sites: are empty, and this host serves b.log, shop; "
        "to remove them, set nginx_allow_no_sites: true"
    ]


@pytest.mark.parametrize(
    ("survey", "variables"),
    [
        (SERVING, {"nginx_allow_no_sites": True}),
        (SERVING, {"nginx_sites": [BLOG]}),
        (SERVING, {"nginx_app_sites": [BLOG]}),
        ({"paths": {"/etc/nginx/sites/*.conf": []}}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_otherwise_nothing_is_said(survey, variables):
    assert problems(survey=survey, **variables) == []


# What the host is asked -----------------------------------------------------------------------------------------------


UNITS = ["nginx.service", "djangofleet-balancer.service"]
PATHS = ["/etc/nginx/sites/*.conf", "/var/cache/nginx/sites/*", "/etc/nginx/upstreams/*.conf"]


def test_questions():
    other = {**BLOG, "certificate": {**CERTIFICATE, "key": "/other"}}
    assert nginx.questions(given(SHOP, SECURE, nginx_app_sites=[other])) == {
        "units": UNITS,
        "paths": [*PATHS, *CERTIFICATE.values(), "/other"],
    }


def test_a_bad_input_can_still_be_asked_about():
    questions = nginx.questions(given({"name": "shop"}, nginx_http_port="x"))
    assert questions == {"units": UNITS, "paths": PATHS}


def test_missing_certificates():
    wish = {**SHOP, "certificate": {"fullchain": "/a", "key": "/[b]*"}}
    values = given(SECURE, nginx_app_sites=[{**wish, "name": "other"}])
    patterns = nginx.questions(values)["paths"]
    assert "/[[]b][*]" in patterns, "a path is no pattern"
    assert nginx.missing_certificates(values, {}) == [*CERTIFICATE.values(), "/a", "/[b]*"]
    answers = {pattern: ["there"] for pattern in patterns}
    assert nginx.missing_certificates(values, {"paths": answers}) == []
    assert nginx.missing_certificates(values, {"paths": answers | {"/a": []}}) == ["/a"]


# What the templates see -----------------------------------------------------------------------------------------------


def test_settings_lose_their_prefix():
    seen = config(SHOP, nginx_http_port="8080")
    assert seen["http_port"] == 8080
    assert seen["real_ip"] == {
        **{"trusted": [], "header": "X-Forwarded-For", "request_id": False, "passed_headers": []},
        "trusted_files": [],
    }
    assert not [name for name in seen if name.startswith("nginx_")]


@pytest.mark.parametrize(("release", "modern"), [("12", False), (12, False), ("13", True), ("14", True)])
def test_directives_follow_the_distribution(release, modern):
    seen = config(release=release)
    assert seen["http2_directive"] is seen["post_quantum_group"] is modern


def test_the_sites_of_a_user_come_before_those_of_the_apps():
    assert [site["name"] for site in config(SHOP, nginx_app_sites=[BLOG])["sites"]] == ["shop", "blog"]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (SHOP, False),
        (SECURE, True),
        ({**SECURE, "redirect_to_https": False}, False),
        ({**SECURE, "redirect_to_https": None}, True),
    ],
)
def test_a_certificate_brings_the_redirect(site, expected):
    assert config(site)["sites"][0]["redirect_to_https"] is expected


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ({}, "certificate", None),
        ({}, "maintenance", None),
        ({}, "client_max_body_size", None),
        ({"upstream": None}, "upstream", None),
        ({"maintenance": {"page": "/p"}}, "maintenance", {"page": "/p", "allow": []}),
        ({}, "hsts_header", "max-age=63072000"),
        ({"hsts": {"max_age": 60, "preload": True}}, "hsts_header", "max-age=60; preload"),
        ({"hsts": {"include_subdomains": True, "preload": True}}, "hsts_header",
         "max-age=63072000; includeSubDomains; preload"),
        ({"hsts": {"enabled": False}}, "hsts_header", ""),
        ({}, "aliases", []),
        ({}, "served", SHOP["domains"]),
        ({"canonical_redirect": True}, "aliases", ["www.shop.example.com"]),
        ({"canonical_redirect": True}, "served", ["shop.example.com"]),
        ({"canonical_redirect": True, "domains": "a.test"}, "served", ["a.test"]),
    ],
)  # fmt: skip
def test_what_follows_from_a_sites_options(change, key, expected):
    assert config({**SHOP, **change})["sites"][0][key] == expected


@pytest.mark.parametrize(
    ("ports", "http", "https"),
    [
        ({}, "http://shop.example.com", "https://shop.example.com"),
        ({"nginx_http_port": 8080, "nginx_https_public_port": 8443}, "http://shop.example.com:8080",
         "https://shop.example.com:8443"),
    ],
)  # fmt: skip
def test_redirects_name_unusual_ports_only(ports, http, https):
    (site,) = config(SHOP, **ports)["sites"]
    assert site["canonical_origin"] == {"http": http, "https": https}
    assert site["https_origin"] == https.replace("shop.example.com", "$host")


def test_sites_share_no_variable():
    names = ["a.b", "a-b", "a_b", "ab", "a_hb", "a_db", "a_ub", "a__b"]
    seen = [config({**SHOP, "name": name})["sites"][0]["identifier"] for name in names]
    assert len(set(seen)) == len(names)
    assert all(identifier.isidentifier() for identifier in seen)
