"""Sites whose servers djangofleet-balancer watches: what it is told, and what Nginx gets."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx as rules
from test_nginx_upstream import A, B, pool
from test_rules_nginx import given, options_of, problems

TLS = {"authority_file": "/etc/ssl/ca.pem"}
FLEET = {"health": {"path": "/healthz"}, "tls": TLS, "connect_timeout": "1s"}


def told(*sites: dict[str, Any], survey: dict[str, Any] | None = None) -> dict[str, Any]:
    return rules.balancer(options_of("nginx", given(*sites)), survey or {})


@pytest.fixture(scope="session")
def text(render, evaluate):
    """text(site): the site's file."""

    def run(site: dict[str, Any]) -> str:
        config = evaluate("nginx", "__nginx_config", nginx_sites=[site])
        return render("nginx", "etc/nginx/sites/site.conf.j2", site=config["sites"][0], nginx=config)

    return run


def test_the_program_knows_servers_by_their_hosts():
    options = [{"address": A, "host": "app1", "weight": 2, "max_fails": 1, "fail_timeout": "2s"}]
    settings = told(pool(**FLEET, server_options=options))["settings"]
    (entry,) = settings["sites"]
    assert entry["servers"] == [
        {"name": "app1", "address": A, "line": f"server {A} weight=2 max_fails=1 fail_timeout=2s"},
        {"name": B, "address": B, "line": f"server {B} max_fails=2 fail_timeout=5s"},
    ]
    assert entry["health"] == {
        "enabled": True,
        "path": "/healthz",
        "status_min": 200,
        "status_max": 399,
        "host": "shop.example.com",
        "tls": {"authority_file": "/etc/ssl/ca.pem", "name": "shop.example.com"},
    }


def test_a_site_without_a_health_page_is_none_of_its_business():
    assert told(pool()) == {"settings": {}, "missing": [], "left": []}


def test_the_files_that_nginx_includes_are_there_before_it_is_tested_and_go_after_it():
    survey = {"paths": {"/etc/nginx/upstreams/*.conf": ["/etc/nginx/upstreams/old.conf"]}}
    found = told(pool(**FLEET), survey=survey)
    assert found["missing"] == [{"path": "/etc/nginx/upstreams/shop.round_robin.https.conf"}]
    assert found["left"] == [{"path": "/etc/nginx/upstreams/old.conf"}]


@pytest.mark.parametrize("change", [{"method": "least_conn"}, {"tls": None}])
def test_servers_that_go_with_another_way_to_reach_them_have_a_file_of_their_own(change):
    """Nginx refuses backup servers with some methods, and has the site's file later than this one."""

    def file(site: dict[str, Any]) -> str:
        return told(site)["settings"]["sites"][0]["file"]

    after = {name: value for name, value in {**FLEET, **change}.items() if value is not None}
    assert file(pool(**FLEET)) != file(pool(**after))
    assert file(pool(**FLEET)) == file(pool(A, **FLEET))


@pytest.mark.parametrize("servers", [(A,), (A, B)])
def test_nginx_includes_what_the_program_writes(text, servers):
    found = text(pool(*servers, **FLEET))
    assert "include upstreams/shop.round_robin.https.conf;" in found
    assert f"server {A}" not in found
    assert "zone app_shop" in found


def test_requests_are_passed_on_over_tls_that_is_verified(text):
    found = text(pool(**FLEET))
    for line in (
        "proxy_pass https://app_shop;",
        "proxy_ssl_verify on;",
        'proxy_ssl_trusted_certificate "/etc/ssl/ca.pem";',
        'proxy_ssl_name "shop.example.com";',
        "proxy_ssl_server_name on;",
        'proxy_connect_timeout "1s";',
        "proxy_next_upstream error timeout http_502;",
    ):
        assert line in found, line
    plain = text(pool())
    assert "proxy_pass http://app_shop;" in plain
    assert "proxy_ssl" not in plain


def test_a_site_waits_until_it_is_ready(text):
    found = text(pool() | {"ready_file": "/run/ready/shop"})
    assert 'if (-f "/run/ready/shop")' in found
    assert "if ($unready) {" in found
    assert "$unready" not in text(pool())


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ({"tls": {"authority_file": "ca.pem"}}, "tls.authority_file"),
        ({"tls": {**TLS, "name": "a\nb"}}, "tls.name"),
        ({"tls": {}}, "tls.authority_file"),
        ({"connect_timeout": "soon"}, "connect_timeout"),
        ({"health": {"path": "healthz"}}, "health.path"),
        ({"health": {"status_min": 500, "status_max": 400}}, "health.status_min"),
        ({"health": {}, "server_options": [{"address": A, "down": True}]}, "server_options[0].down"),
        ({"server_options": [{"address": A, "host": "a b"}]}, "server_options[0].host"),
        ({"health": {}, "servers": ["unix:/run/shop.sock"]}, "servers[0]"),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(upstream, path):
    (problem,) = problems(pool(**upstream))
    assert f"upstream.{path}" in problem


def test_a_host_may_be_left_without_sites_where_a_playbook_knows_why():
    survey = {"paths": {"/etc/nginx/sites/*.conf": ["/etc/nginx/sites/shop.conf"]}}
    assert len(problems(survey=survey)) == 1
    assert problems(survey=survey, nginx_app_allow_no_sites=True) == []
