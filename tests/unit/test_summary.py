"""What a person reads at the end of a run."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.filter import summary
from ansible_collections.djangofleet.stack.plugins.filter.apps import app_faults
from ansible_collections.djangofleet.stack.plugins.plugin_utils.summary import (
    certificate_end,
    health_of,
    summarize,
    visits_of,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
SHOP = {"name": "shop", "domains": ["shop.example.com", "www.shop.example.com"]}


@pytest.fixture(scope="module")
def pem() -> str:
    """A certificate that ends in 30 days and an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    end = NOW + datetime.timedelta(days=30, hours=1)
    builder = builder.not_valid_before(NOW - datetime.timedelta(days=60)).not_valid_after(end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def build(release: str = "v2-b", before: str | None = "v1-a", pending: bool = True) -> dict[str, Any]:
    return {"release": release, "before": before, "pending": pending}


def visit(ok: bool = True, verdict: str = "200", domain: str = "shop.example.com", **more: Any) -> dict[str, Any]:
    return {"name": "shop", "domain": domain, "ok": ok, "verdict": verdict, "seconds": 0.04, "certificate": "", **more}


def host(*visits: dict[str, Any], **builds: dict[str, Any]) -> dict[str, Any]:
    return {"builds": builds, "visits": list(visits)}


def said(hosts: dict[str, Any], **options: Any) -> str:
    return "\n".join(summarize([SHOP], hosts, began=NOW.timestamp() - 75, now=NOW, **options))


def test_a_first_deploy(pem):
    text = said({"web1": host(visit(certificate=pem), shop=build(before=None))})
    assert text.splitlines() == [
        "shop  https://shop.example.com/",
        "  release      v2-b, now live (the first) on web1",
        "  answers      yes: shop.example.com on web1 (200), in 0.04 s at most",
        "  certificate  until 2026-12-21, in 30 days",
        "  next         on the host: djangoctl shop status",
        "",
        "Done in 1 min 15 s.",
    ]


@pytest.mark.parametrize(
    ("made", "options", "line"),
    [
        (build(), {}, "v2-b, now live (before: v1-a) on web1"),
        (build(), {"check": True}, "v2-b, would go live (before: v1-a) on web1"),
        (build(before="v2-b", pending=False), {}, "v2-b, live and unchanged on web1"),
        (build(before="v2-b"), {}, "v2-b, restarted with its new configuration on web1"),
        (build(release="", before=None), {"check": True}, "a release, would go live (the first) on web1"),
        (build(before="v2-b"), {"check": True}, "v2-b, would restart with its new configuration on web1"),
        ({"release": "v1-a", "before": "v2-b", "changed": True}, {}, "v1-a, now live (before: v2-b) on web1"),
        ({"release": "v1-a", "before": "v1-a", "changed": False}, {}, "v1-a, live and unchanged on web1"),
    ],
)
def test_releases(made, options, line):
    assert f"  release      {line}\n" in said({"web1": host(visit(), shop=made)}, **options)


def test_hosts_that_did_the_same_share_a_line():
    hosts = {"web1": host(shop=build()), "web2": host(shop=build()), "web3": host(shop=build(before="v0"))}
    line = "v2-b, now live (before: v1-a) on web1, web2; v2-b, now live (before: v0) on web3"
    assert line in said(hosts)


def test_a_site_that_does_not_answer_is_named_with_its_host():
    text = said({"web1": host(visit(), shop=build()), "web2": host(visit(ok=False, verdict="502 and not 200 to 399"))})
    assert "  answers      NO: shop.example.com on web2: 502 and not 200 to 399\n" in text
    assert "djangoctl shop check" in text
    assert "yes:" not in text


def test_check_mode_speaks_in_the_conditional():
    text = said({"web1": host(visit(ok=False, verdict="no answer: refused"), shop=build(before=None))}, check=True)
    assert "would go live (the first)" in text
    assert "not yet: shop.example.com on web1: no answer: refused" in text
    assert "Checked in 1 min 15 s." in text


def test_a_release_that_replaced_another_can_be_taken_back():
    assert "playbooks/rollback.yml -e app=shop" in said({"web1": host(visit(), shop=build())})


def test_a_host_that_took_no_part_is_not_mentioned():
    assert "web2" not in said({"web1": host(visit(), shop=build()), "web2": host()})


def test_what_an_authority_refused_is_told_with_its_app():
    line = "certificate_app_certificates[shop]: the authority is away"
    other = "certificate_app_certificates[blog]: another one"
    text = said({name: {**host(), "certificates": [line, other]} for name in ("web1", "web2")})
    assert "  warning      the authority is away (on web1, web2)" in text
    assert "another one" not in text


def test_another_public_port_is_part_of_the_address():
    assert "https://shop.example.com:8443/" in said({}, public_port=8443)


def test_a_wildcard_is_no_address():
    apps = [{"name": "shop", "domains": ["*.a.test", "a.test"]}]
    assert "https://a.test/" in summarize(apps, {}, began=0, now=NOW)[0]


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_what_is_no_certificate_has_no_end(text):
    assert certificate_end(text) is None


def test_what_a_site_is_asked():
    health = {"enabled": True, "path": "/healthz", "status_min": 200, "status_max": 299, "contains": "ok", "timeout": 5}
    site = {"name": "shop", "domains": ["a.test"], "certificate": {"key": "x"}, "maintenance": {"page": "/m.html"}}
    (asked,) = visits_of([SHOP | {"health": health}], [site], 8443)
    assert asked == {
        "name": "shop", "domains": ["a.test"], "tls": True, "port": 8443, "path": "/healthz", "status_min": 200,
        "status_max": 299, "contains": "ok", "timeout": 5, "maintenance": "/m.html",
    }  # fmt: skip
    (open_gate,) = visits_of([SHOP | {"health": health | {"enabled": False}}], [], 443)
    assert (open_gate["path"], open_gate["status_max"], open_gate["tls"]) == ("/", 499, False)


def test_a_site_is_told_which_port_visitors_name():
    health = {"enabled": True, "path": "/", "status_min": 200, "status_max": 299, "contains": "", "timeout": 5}
    sites = [{"name": "shop", "certificate": {"key": "x"}}]
    (asked,) = visits_of([SHOP | {"health": health}], sites, 443, 80, 8443)
    assert (asked["port"], asked["public_port"]) == (443, 8443)
    assert "public_port" not in visits_of([SHOP | {"health": health}], [], 443, 80, 8443)[0], "it is that of HTTPS"


def test_a_site_without_a_certificate_is_asked_over_plain_http():
    health = {"enabled": True, "path": "/", "status_min": 200, "status_max": 299, "contains": "", "timeout": 5}
    (asked,) = visits_of([SHOP | {"health": health}], [{"name": "shop", "certificate": None}], 8443, 8080)
    assert (asked["tls"], asked["port"]) == (False, 8080)


# What djangoctl says


SAID = """{"apps": [
  {"app": "shop", "serves": false, "faults": [{"found": "GET /: 500", "heals": "djangoctl shop logs"}],
   "warnings": [{"found": "a restart is pending", "heals": "djangoctl shop activate v2-b"}]},
  {"app": "blog", "serves": true, "faults": [{"found": "django-blog-x.service has failed", "heals": "look"}]},
  {"app": "wiki", "serves": false, "error": "app.json is damaged", "hint": "run site.yml"}]}"""


def test_what_a_service_answers_badly_is_told_with_what_heals_it():
    hosts = {name: {**host(visit(), shop=build()), "health": health_of(SAID)} for name in ("web1", "web2")}
    text = said(hosts)
    assert "  fault        GET /: 500 -> djangoctl shop logs (on web1, web2)\n" in text
    assert "  warning      a restart is pending -> djangoctl shop activate v2-b (on web1, web2)\n" in text
    assert "blog" not in text


@pytest.mark.parametrize("printed", ["", "no such file", "[]", "5", '{"apps": [{"app": "shop", "service": true}]}'])
def test_without_djangoctl_or_with_an_older_one_nothing_is_said(printed):
    assert health_of(printed) == {}


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (["shop"], ["shop: GET /: 500 -> djangoctl shop logs"]),
        (["blog", "new"], []),  # it serves; a timer's failure does not end a deploy
        (["wiki"], ["wiki: app.json is damaged -> run site.yml"]),
    ],
)
def test_a_run_stops_at_the_faults_of_its_apps_that_do_not_serve(names, lines):
    assert app_faults(SAID, [{"name": name} for name in names]) == lines


def test_a_backup_on_the_host_of_the_database_is_told():
    fault = {"found": "cluster main has no backup of the last 26 hours", "heals": "djangofleet-backup run"}
    part = {"part": "cluster main", "apps": ["shop"], "newest": 1, "restored": None, "drilled": None, "faults": [fault]}
    hostvars = {"db": {"djangofleet_backup_status": {"stdout": json.dumps({"parts": [part]})}}}
    text = summary.summary([SHOP], hostvars, ["db"], began=NOW.timestamp())
    assert "  backup       cluster main: newest 1970-01-01T00:00:01Z, none restored yet (on db)\n" in text
    assert "no backup of the last 26 hours -> djangofleet-backup run (on db)" in text
    hostvars["db"]["djangofleet_backup_status"]["stdout"] = ""
    assert "backup" not in summary.summary([SHOP], hostvars, ["db"], began=NOW.timestamp())


@pytest.mark.parametrize("group", ["app", "web"])
def test_the_end_of_a_run_shows_what_the_hosts_have_answered(group):
    """By the names that summary.yml registers it under."""
    *_others, play = yaml.safe_load((ROOT / "playbooks/summary.yml").read_text())
    asked = play["tasks"][0]
    assert asked["djangofleet.stack.visit"]["services"] == "{{ 'app' in group_names }}"
    fault = {"found": "a timer failed", "heals": "look at it"}
    entry = {"app": "shop", "serves": False, "faults": [fault], "answers": [], "units": []}
    printed = json.dumps({"apps": [entry]}) if group == "app" else ""
    answer = {"visits": [visit(domain="shop.example.com")], "services": printed}
    hostvars = {"one": {asked["register"]: answer}}
    text = summary.summary([SHOP], hostvars, ["one"], began=NOW.timestamp())
    assert "shop.example.com on one (200)" in text
    assert ("a timer failed" in text) is (group == "app")
    assert app_faults(printed, [SHOP]) == (["shop: a timer failed -> look at it"] if group == "app" else [])
    assert f"({asked['register']} | default({{}})).services" in play["tasks"][2]["vars"]["__wrong"]
