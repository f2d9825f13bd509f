"""Certificates that an ACME authority signs: what is refused, what is due, and what the host is told."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import certificate_acme as acme
from ansible_collections.djangofleet.stack.plugins.plugin_utils.apps import app_certificates, resolve_apps
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_problems import problems
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, resolve, spec_of
from test_role_certificate import AUTHORITY, DAY, HOME, NOW, SHOP, STRANGER, Certificate, held, issue

ITEM: dict[str, Any] = {"name": "shop", "domains": list(SHOP), "source": "acme"}
CLOUD = {"plugin": "cloudflare", "credentials": "dns_cloudflare_api_token = x"}
PATH = "certificate_certificates[shop]"


def given(item: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    return {
        "certificate_certificates": [{**ITEM, **(item or {})}],
        "certificate_authority_name": "djangofleet web1",
        "certificate_acme_email": "ops@example.com",
        "certificate_app_acme_webroot": "/var/www/acme",
        **variables,
    }


def options(item: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    found, wrong = resolve(spec_of("certificate"), given(item, **variables))
    assert wrong == []
    return found


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "variables"),
    [
        ({}, {}),
        ({"key_type": "rsa", "key_size": 4096}, {"certificate_acme_profile": "tlsserver"}),
        ({"domains": ["*.example.com", "example.com"], "challenge": "dns", "dns": CLOUD}, {}),
        ({"challenge": "dns", "dns": CLOUD}, {"certificate_app_acme_webroot": ""}),
        ({"challenge": "dns", "dns": {"plugin": "route53"}}, {}),
        ({"challenge": "dns", "dns": {**CLOUD, "propagation_seconds": 60}}, {}),
        ({"challenge": "dns", "dns": {**CLOUD, "plugin": "x", "package": "certbot-dns-x==1.2"}}, {}),
        ({"challenge": "dns", "dns": {"auth_hook": "/bin/add --now", "cleanup_hook": "/bin/remove"}}, {}),
        ({"domains": ["192.0.2.1"], "profile": "shortlived"}, {}),
        ({}, {"certificate_acme_eab_key_id": "k1", "certificate_acme_eab_hmac_key": "aGV5"}),
    ],
)
def test_what_is_accepted(item, variables):
    assert problems(given(item, **variables), {}, NOW) == []


DNS = {"challenge": "dns"}
EMAIL = "one e-mail address, such as ops@example.com"


@pytest.mark.parametrize(
    ("item", "variables", "line"),
    [
        ({}, {"certificate_acme_email": ""}, f"certificate_acme_email: is empty, while {PATH} has the source acme"),
        ({}, {"certificate_acme_email": "ops"}, f"certificate_acme_email: found 'ops'; give {EMAIL}"),
        ({}, {"certificate_acme_email": "a@b.c\nx=y"}, "certificate_acme_email: found 'a@b.c x=y'; give"),
        ({}, {"certificate_acme_directory_url": "http://ca.test/dir"}, "certificate_acme_directory_url: found 'http:"),
        ({}, {"certificate_acme_eab_key_id": "k"}, "certificate_acme_eab_key_id, certificate_acme_eab_hmac_key: o"),
        ({}, {"certificate_acme_eab_hmac_key": "k"}, "certificate_acme_eab_key_id, certificate_acme_eab_hmac_key: o"),
        (
            {},
            {"certificate_acme_eab_key_id": "k", "certificate_acme_eab_hmac_key": "a b"},
            "certificate_acme_eab_hmac_key: found (not shown); give the key in base64url",
        ),
        ({}, {"certificate_acme_ca_bundle": "ca.pem"}, "certificate_acme_ca_bundle: found 'ca.pem'; give the absolute"),
        ({}, {"certificate_acme_calendar": "x\ny"}, "certificate_acme_calendar: found 'x y'; give what systemd"),
        ({}, {"certificate_acme_check_port": 0}, "certificate_acme_check_port: found '0'; give a port"),
        ({}, {"certificate_acme_check_address": "lb"}, "certificate_acme_check_address: found 'lb'; give an address"),
        ({}, {"certificate_acme_webroot": "www"}, "certificate_acme_webroot: found 'www'; give an absolute path"),
        ({}, {"certificate_app_acme_webroot": "/srv/a b"}, "certificate_app_acme_webroot: found '/srv/a b'; give"),
        ({}, {"certificate_app_acme_webroot": ""}, f"{PATH}: has the challenge http, and no web server of this host"),
        ({"domains": ["*.a.test"]}, {}, f"{PATH}.domains: '*.a.test' is a wildcard, which an authority signs by"),
        ({"domains": ["192.0.2.1"]}, {}, f"{PATH}.domains: '192.0.2.1' is an address, which an authority signs for"),
        ({"domains": ["shop"]}, {}, f"{PATH}.domains: found 'shop'; give a name with a domain"),
        ({"domains": [f"{n}.a.test" for n in range(101)]}, {}, f"{PATH}.domains: has 101 names; give at most 100"),
        ({"profile": "a b"}, {}, f"{PATH}.profile: found 'a b'; give the name of a profile"),
        ({"dns": CLOUD}, {}, f"{PATH}.dns: is given, but the challenge is http; set"),
        (DNS, {}, f"{PATH}.dns: has neither a plugin nor hooks; give plugin"),
        ({**DNS, "dns": {**CLOUD, "auth_hook": "/x"}}, {}, f"{PATH}.dns: has both a plugin and hooks; give plugin"),
        ({**DNS, "dns": {"cleanup_hook": "/x"}}, {}, f"{PATH}.dns: has neither a plugin nor hooks"),
        ({**DNS, "dns": {"auth_hook": "add"}}, {}, f"{PATH}.dns.auth_hook: found 'add'; give a command in one line"),
        ({**DNS, "dns": {"auth_hook": "/x", "package": "y==1"}}, {}, f"{PATH}.dns.package: is for a plugin"),
        ({**DNS, "dns": {"plugin": "cloudflare"}}, {}, f"{PATH}.dns.credentials: is missing; give the content"),
        ({**DNS, "dns": {**CLOUD, "plugin": "cloudfare"}}, {}, "did you mean 'cloudflare'? Or give"),
        ({**DNS, "dns": {**CLOUD, "plugin": "-x"}}, {}, f"{PATH}.dns.plugin: found '-x'; give the name of a provider"),
        ({**DNS, "dns": {**CLOUD, "package": "a==1"}}, {}, f"{PATH}.dns.package: is given, while plugin cloudflare is"),
        ({**DNS, "dns": {**CLOUD, "plugin": "x", "package": "a"}}, {}, f"{PATH}.dns.package: found 'a'; give one"),
        ({**DNS, "dns": {**CLOUD, "propagation_seconds": -1}}, {}, f"{PATH}.dns.propagation_seconds: found '-1'; give"),
        ({"source": "selfsigned", "dns": CLOUD}, {}, f"{PATH}.dns: is given, but the source is selfsigned; set source"),
        ({"source": "selfsigned", "profile": "x"}, {}, f"{PATH}.profile: is given, but the source is selfsigned"),
        ({"source": "selfsigned", **DNS}, {}, f"{PATH}.challenge: is given, but the source is selfsigned"),
        ({"key_content": "x"}, {}, f"{PATH}.key_content: is given, but the source is acme; set source to files"),
    ],
)  # fmt: skip
def test_what_is_refused(item, variables, line):
    found = problems(given(item, **variables), {}, NOW)
    assert any(line in each for each in found), found
    assert all("dns_cloudflare_api_token" not in each for each in found)


def test_nothing_is_asked_of_who_does_not_use_it():
    assert problems({"certificate_certificates": [{**ITEM, "source": "selfsigned"}]}, {}, NOW) == []
    wanted = options({"source": "selfsigned"})
    assert acme.entries(wanted, []) == []
    assert acme.questions(wanted) == {"paths": ["/etc/djangofleet-acme/config.json"]}


# --- what is due ------------------------------------------------------------------------------------------------------

LEAF = issue("shop", SHOP, STRANGER, days=90)


def noted(certificate: Certificate = LEAF, item: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What a host has noted after it has issued and loaded a certificate."""
    known = {"request": acme.request(options(item)["certificate_certificates"][0], options(item)), "problem": ""}
    return {**known, "loaded": acme.digest_of(certificate.pem), **more}


def answers(
    known: dict[str, Any] | None, leaf: Certificate = LEAF, modes: str = "", email: str = "ops@example.com"
) -> dict[str, Any]:
    """What the survey says of a host where all is as it should be, but for what is given."""
    record = {"email": email, "certificates": {"shop": known} if known else {}}
    return {
        "certificates": {HOME: held(AUTHORITY), "shop": held(leaf, **({"modes": modes} if modes else {}))},
        "files": {acme.RECORD: json.dumps(record)},
        "paths": {
            "/etc/djangofleet-acme/config.json": ["/etc/djangofleet-acme/config.json"],
            acme.installation(options())["complete"]: ["x"],
        },
        "units": {acme.TIMER: {"active": True, "enabled": True}},
    }


def due(found: dict[str, Any], item: dict[str, Any] | None = None, **variables: Any) -> list[str]:
    """Why the one certificate is due."""
    planned = acme.plan(options(item, **variables), found, NOW)
    assert planned["due"] == (["shop"] if planned["messages"] else [])
    return [line.partition(": ")[2] for line in planned["messages"]]


def test_the_second_run_has_nothing_to_do():
    planned = acme.plan(options(), answers(noted()), NOW)
    assert planned == {"install": False, "due": [], "messages": [], "start": False, "remove": []}


@pytest.mark.parametrize(
    ("item", "variables", "reason"),
    [
        ({"domains": [*SHOP, "new.example.com"]}, {}, "it is for shop.example.com, www.shop.example.com."),
        ({"domains": list(SHOP[:1])}, {}, "it is for shop.example.com, www.shop.example.com."),
        ({"key_type": "rsa"}, {}, "its key is of another kind."),
        ({}, {"certificate_key_type": "rsa"}, "its key is of another kind."),
        ({}, {"certificate_acme_directory_url": "https://ca.test/dir"}, "it is of another authority."),
        ({"challenge": "dns", "dns": CLOUD}, {}, "it is asked for in another way."),
        ({"profile": "tlsserver"}, {}, "it is asked for in another way."),
        # What renews it is bound to the directory of before, which Nginx no longer serves.
        ({}, {"certificate_acme_webroot": "/srv/acme"}, "it is asked for in another way."),
        ({}, {"certificate_acme_profile": "tlsserver"}, "it is asked for in another way."),
        ({"key_group": "postgres"}, {}, "the modes of its files are wrong."),
        ({}, {"certificate_acme_calendar": "hourly", "certificate_key_size": 4096}, ""),
    ],
)
def test_another_request_is_issued_at_once(item, variables, reason):
    assert due(answers(noted()), item, **variables) == ([reason] if reason else [])


def test_what_a_host_has_not_got_is_due():
    assert due(answers(None)) == ["the authority has not issued it yet."]
    assert due(answers(noted(issue("shop", SHOP, STRANGER)))) == ["it does not lie where servers read it."]
    # The certificate that the host has made for itself took its place.
    assert due(answers(noted(), issue("shop", SHOP, AUTHORITY))) == ["it does not lie where servers read it."]
    old = issue("shop", SHOP, STRANGER, start=NOW - 91 * DAY, days=90)
    assert due(answers(noted(old), old)) == ["it has expired."]
    assert due({**answers(None), "files": {acme.RECORD: "{"}}) == ["the authority has not issued it yet."]


def test_a_certificate_that_nobody_names_is_forgotten():
    found = answers(noted())
    record = json.loads(found["files"][acme.RECORD])
    record["certificates"]["old"] = noted()
    found["files"][acme.RECORD] = json.dumps(record)
    planned = acme.plan(options(), found, NOW)
    assert (planned["due"], planned["messages"]) == ([], ["Certificate old is forgotten: nobody names it any more."])


def test_another_address_is_told_to_the_authority():
    planned = acme.plan(options(), answers(noted(), email="old@example.com"), NOW)
    assert planned["messages"] == ["The authority is told another e-mail address: ops@example.com."]


def test_the_host_is_freed_of_what_nothing_needs():
    wanted = options({"source": "selfsigned"})
    assert acme.plan(wanted, answers(noted()), NOW)["remove"][-1] == {"path": "/etc/djangofleet-acme", "absent": True}
    assert acme.plan(wanted, {"paths": {}}, NOW)["remove"] == []


def test_the_role_names_the_places_that_the_rules_name(evaluate):
    assert evaluate("certificate", "__certificate_acme_program", **given()) == acme.PROGRAM
    writable = evaluate("certificate", "__certificate_acme_writable", **given())
    assert {str(Path(acme.LINK).parent), acme.STATE, acme.LOGS} < set(writable)


@pytest.mark.parametrize(
    ("days", "age", "warn", "said"),
    [(90, 60, 30, 0), (90, 69, 30, 1), (90, 69, 14, 0), (90, 77, 14, 1), (6, 4, 30, 0), (6, 5, 30, 1), (45, 33, 30, 0)],
)
def test_who_is_not_renewed_is_told(days, age, warn, said):
    leaf = issue("shop", SHOP, STRANGER, start=NOW - age * DAY, days=days)
    found = answers(noted(leaf, problem="the authority is away"), leaf)
    lines = acme.warnings(options(certificate_warn_days=warn), found, NOW + datetime.timedelta(minutes=1))
    assert len(lines) == said
    assert all("the authority is away" in line and line.startswith(f"{PATH}: ends on ") for line in lines)


def test_the_hosts_own_certificate_is_not_meant():
    own = issue("shop", SHOP, AUTHORITY, days=5)
    assert acme.warnings(options(), answers(None, own), NOW) == []


# --- what the host's own authority signs meanwhile --------------------------------------------------------------------


@pytest.fixture
def signed_here(evaluate):
    """`signed_here(leaf)`: why the host signs a certificate of source acme itself; None where it leaves it alone."""

    def run(leaf: Certificate | None, **more: Any) -> list[str] | None:
        nothing = {"modes": "", "public_key": "", "certificate": ""}
        found = {HOME: held(AUTHORITY), "shop": held(leaf, **more) if leaf else nothing}
        expression = "__certificate_options | djangofleet.stack.certificate_plan(__answers)"
        planned = evaluate("certificate", expression, __answers=found, **given())
        if planned["left"]:
            assert (planned["left"], planned["certificates"]) == (["shop"], [])
            return None
        return list(planned["certificates"][0]["reasons"]) if planned["certificates"] else []

    return run


def test_what_an_authority_has_signed_is_never_overwritten(signed_here):
    assert signed_here(LEAF) is None
    assert signed_here(issue("shop", SHOP[:1], STRANGER)) is None
    assert signed_here(issue("shop", SHOP, STRANGER, start=NOW - 91 * DAY, days=90)) is None
    assert signed_here(LEAF, modes="644:root:root 644:root:root") is None


def test_a_web_server_can_start(signed_here):
    assert signed_here(None) == ["there is none yet"]
    assert signed_here(LEAF, key=AUTHORITY.public_pem) == [
        "it does not fit its key",
        "it is signed by another authority",
        "it is made for 90 days",
    ]
    assert signed_here(issue("shop", SHOP, AUTHORITY)) == []
    own = issue("shop", SHOP[:1], AUTHORITY)
    assert signed_here(own) == ["its names are DNS:shop.example.com"]


# --- what the host is told --------------------------------------------------------------------------------------------


def test_secrets_are_in_files_of_root_alone():
    wanted = options(
        {"challenge": "dns", "dns": CLOUD},
        certificate_acme_eab_key_id="k1",
        certificate_acme_eab_hmac_key="c2VjcmV0",
        certificate_app_acme_index_url="https://user:hidden@index.test/simple",
    )
    secrets = ("c2VjcmV0", "dns_cloudflare_api_token", "hidden")
    found = [entry for entry in acme.entries(wanted, []) if any(s in entry.get("content", "") for s in secrets)]
    assert [entry["path"].rpartition("/")[2] for entry in found] == ["config.json", "cli.ini", "shop.ini"]
    assert all(entry["mode"] == "0600" and entry["sensitive"] for entry in found)
    assert "eab-hmac-key = c2VjcmV0\n" in found[1]["content"]


def test_only_the_plugins_that_are_named_are_installed():
    assert acme.installation(options())["lists"] == ["certbot"]
    one = acme.installation(options({"challenge": "dns", "dns": CLOUD}))
    assert (one["lists"], one["further"]) == (["certbot", "certbot-dns-cloudflare"], [])
    other = {"plugin": "x", "package": "certbot-dns-x==1.2", "credentials": "y"}
    two = acme.installation(options({"challenge": "dns", "dns": other}))
    assert (two["lists"], two["further"]) == (["certbot"], ["certbot-dns-x==1.2"])
    assert len({acme.installation(options())["path"], one["path"], two["path"]}) == 3
    assert any(pin.startswith("certbot==") for pin in two["constraints"])


def test_the_inventorys_own_values_come_first():
    wired = {"certificate_app_acme_index_url": "https://a.test", "certificate_app_acme_index_ca_bundle": "/a.pem"}
    assert acme.pip_environment(options()) == {"PIP_CERT": acme.TRUSTED}
    assert acme.pip_environment(options(**wired)) == {"PIP_CERT": "/a.pem", "PIP_INDEX_URL": "https://a.test"}
    own = {"certificate_acme_index_url": "https://b.test", "certificate_acme_index_ca_bundle": "/b.pem"}
    assert acme.pip_environment(options(**wired, **own)) == {"PIP_CERT": "/b.pem", "PIP_INDEX_URL": "https://b.test"}
    assert acme.webroot(options(certificate_acme_webroot="/srv/acme")) == "/srv/acme"


def test_what_goes_wrong_is_an_error_only_where_nothing_good_is_served():
    told = {"changed": [], "problems": [{"name": "shop", "problem": "away"}], "served": []}
    error = {"changed": [], "warnings": [], "problems": [f"{PATH}: away"]}
    assert acme.outcome(options(), json.dumps(told)) == error
    served = {**told, "served": ["shop"]}
    assert acme.outcome(options(), json.dumps(served)) == {"changed": [], "warnings": [f"{PATH}: away"], "problems": []}
    assert acme.outcome(options(), "Traceback")["problems"] == ["djangofleet-acme: Traceback"]


@pytest.mark.parametrize(
    ("messages", "start", "wanted"),
    [([], False, []), (["x"], False, ["x"]), ([], True, ["The timer of renewals is started."])],
)
def test_check_mode_tells_of_a_timer_that_somebody_has_stopped(evaluate, messages, start, wanted):
    task = yaml.safe_load((ROLES / "certificate/tasks/acme_issue.yml").read_text())[0]
    seen = {"__certificate_acme_plan": {"messages": messages, "start": start}}
    assert evaluate("certificate", task["when"], **seen) is bool(wanted)
    assert evaluate("certificate", task["ansible.builtin.debug"]["msg"][2:-2], **seen) == wanted


@pytest.mark.parametrize(
    ("groups", "tags", "wanted"),
    [
        (["web"], ["all"], True),
        (["app", "web"], ["web"], True),
        (["database"], ["all"], False),
        (["web", "database"], ["database"], False),
    ],
)
def test_what_goes_wrong_is_left_to_the_end_where_somebody_tells_it(evaluate, groups, tags, wanted):
    """The last play tells it, which is about some hosts and some tags."""
    (play,) = yaml.safe_load((ROLES.parent / "playbooks/acme.yml").read_text())
    words = play["tasks"][0]["vars"]["__certificate_acme_deferred"].strip()[2:-2]
    assert evaluate("certificate", words, group_names=groups, ansible_run_tags=tags) is wanted


# --- what the guide shows ---------------------------------------------------------------------------------------------

GUIDE = (Path(__file__).resolve().parents[2] / "docs/certificates.md").read_text()
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_the_guide_shows_is_accepted(example):
    wanted = {**given(), **{key: value for key, value in example.items() if key.startswith("certificate_")}}
    if "django_apps" in example:
        wanted["certificate_certificates"] = []
    wanted["certificate_app_certificates"] = app_certificates(resolve_apps(example.get("django_apps", []), {}))
    if "certificate_acme_eab_hmac_key" in example:
        wanted["certificate_acme_eab_key_id"], wanted["certificate_acme_eab_hmac_key"] = "k1", "aGV5"  # of a vault
    assert problems(wanted, {}, NOW) == []
    assert acme.acme(resolve(spec_of("certificate"), wanted)[0])


def test_the_guide_is_not_empty():
    assert len(EXAMPLES) >= 6
    assert all(f"`{name}`" in GUIDE or name in GUIDE for name in acme.own_plugins())


# --- the units --------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(render, evaluate):
    """`unit(kind, **variables)`: the lines of a unit, with what the task gives its template."""

    def text(kind: str, **variables: Any) -> list[str]:
        (task,) = yaml.safe_load((ROLES / "certificate/tasks/configure.yml").read_text())
        passed = {key: evaluate("certificate", value[2:-2], **given(**variables))
                  for key, value in task["djangofleet.stack.tree"]["vars"].items()}  # fmt: skip
        return render("certificate", f"etc/systemd/system/djangofleet-acme.{kind}.j2", **passed).splitlines()

    return text


def test_the_timer_comes_when_the_inventory_says(unit):
    assert {"OnCalendar=*-*-* 00,12:00:00", "RandomizedDelaySec=6h"} <= set(unit("timer"))
    found = unit("timer", certificate_acme_calendar="hourly", certificate_acme_random_delay="5min")
    assert {"OnCalendar=hourly", "RandomizedDelaySec=5min"} <= set(found)


def test_the_service_writes_where_it_has_to(unit):
    assert "ExecStart=/usr/local/bin/djangofleet-acme renew" in unit("service")

    def writable(**variables: Any) -> set[str]:
        (line,) = [each for each in unit("service", **variables) if each.startswith("ReadWritePaths=")]
        return set(line.partition("=")[2].split())

    assert writable() == {"-/etc/djangofleet/certificates", "-/var/www/acme", "-/opt/djangofleet",
                          "-/var/lib/djangofleet/acme", "-/var/log/djangofleet-acme"}  # fmt: skip
    assert {"-/srv/tls", "-/srv/acme"} <= writable(
        certificate_directory="/srv/tls", certificate_acme_webroot="/srv/acme"
    )


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("ca_bundle", "/etc/ssl/company.pem", lambda found: found["ca_bundle"]),
        ("check_enabled", False, lambda found: found["check"]["enabled"]),
        ("check_address", "192.0.2.1", lambda found: found["check"]["address"]),
        ("check_port", 8080, lambda found: found["check"]["port"]),
        ("webroot", "/srv/acme", lambda found: found["webroot"]),
        ("email", "a@b.test", lambda found: found["email"]),
        ("profile", "tlsserver", lambda found: found["certificates"][0]["request"]["profile"]),
        ("directory_url", "https://ca.test/d", lambda found: found["certificates"][0]["request"]["directory_url"]),
    ],
)
def test_the_host_is_told_what_the_inventory_says(variable, value, shown):
    told = acme.settings(options(**{f"certificate_acme_{variable}": value}), ["nginx.service"])
    assert shown(told) == value
    assert told["reload_units"] == ["nginx.service"]
