"""Apps on several hosts behind balancers: where they live, and what their hosts and balancers are told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import app_fleet, apps, nginx
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

SHOP = {"name": "shop", "domains": ["shop.example.com", "*.shop.example.com"], "source": {"path": "/x"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"path": "/y"}, "hosts": ["app2"]}
GROUPS = {
    "all": ["lb1", "lb2", "app1", "app2", "app3", "db1"],
    "app": ["app1", "app2", "app3"],
    "web": ["app1", "app2", "app3"],
    "east": ["app3", "app1"],
    "balancer": ["lb1", "lb2"],
    "database": ["db1"],
}
HOSTVARS: dict[str, dict[str, Any]] = {
    name: {"fleet_address": f"10.0.0.{n}"} for n, name in enumerate(GROUPS["all"], 1)
}
ALONE = {"all": ["app1"], "app": ["app1"], "web": ["app1"]}
AUTHORITY = "/etc/djangofleet/authority/ca.pem"


def resolved(*given: dict[str, Any], groups: dict[str, list[str]] | None = None) -> list[dict[str, Any]]:
    return apps.resolve_apps(list(given), GROUPS if groups is None else groups)


def site_on(host: str, *given: dict[str, Any], tls: bool = True) -> dict[str, Any]:
    """The first app's site on a host, which is one that role nginx takes."""
    (site, *_others) = apps.app_sites(resolved(*given), None, host, HOSTVARS, tls, AUTHORITY)
    values, wrong = resolve(spec_of("nginx"), {"nginx_app_sites": [site]})
    assert wrong == []
    return values["nginx_app_sites"][0]


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [
        (None, ["app1", "app2", "app3"]),
        ("app", ["app1", "app2", "app3"]),
        (["app3", "app1"], ["app1", "app3"]),
        ("app2", ["app2"]),
        ("east", ["app1", "app3"]),
        (["east", "app2"], ["app1", "app2", "app3"]),
        (["db1"], []),
    ],
)
def test_an_app_lives_where_it_says_in_the_order_of_the_inventory(hosts, wanted):
    (app,) = resolved({**SHOP, **({"hosts": hosts} if hosts else {})})
    assert app["hosts"] == wanted
    assert app["primary"] == (wanted[0] if wanted else "")


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        (GROUPS, ["lb1", "lb2"]),
        (ALONE, []),
        ({**ALONE, "balancer": ["app1"]}, []),  # one host in all groups is its own edge
        ({**GROUPS, "balancer": []}, []),
    ],
)
def test_balancers_are_in_front_of_hosts_that_are_none(groups, wanted):
    assert resolved(SHOP, groups=groups)[0]["balancers"] == wanted


def test_a_host_has_the_apps_that_live_on_it():
    given = [SHOP, BLOG, {"name": "x"}]
    found = resolved(SHOP, BLOG)
    assert app_fleet.apps_here(given, found, "app2") == [SHOP, BLOG]
    assert app_fleet.apps_here(given, found, "app1") == [SHOP]
    assert app_fleet.apps_here(given, found, "lb1") == []


def test_an_app_that_has_left_a_host_is_removed_from_it_as_one_that_is_absent():
    paths = ["/etc/djangofleet/shop/app.json", "/etc/djangofleet/blog/app.json", "/etc/djangofleet/old/app.json"]
    assert app_fleet.apps_elsewhere(resolved(SHOP, BLOG), paths, "app1") == [{"name": "blog", "state": "absent"}]
    assert app_fleet.apps_elsewhere(resolved(SHOP, BLOG), paths, "app2") == []


@pytest.mark.parametrize(
    ("sites", "wanted"),
    [([], False), (["blog"], True), (["blog", "shop"], False), (["blog", "mine"], False)],
)
def test_a_host_may_be_left_without_sites_by_apps_that_are_elsewhere_now(sites, wanted):
    paths = [f"/etc/nginx/sites/{name}.conf" for name in sites]
    assert app_fleet.sites_have_left(resolved(SHOP, BLOG), paths, "app1") is wanted


def test_the_balancer_passes_requests_to_all_hosts_over_verified_tls():
    site = site_on("lb1", SHOP)
    upstream = site["upstream"]
    assert upstream["servers"] == ["10.0.0.3:443", "10.0.0.4:443", "10.0.0.5:443"]
    assert [entry["host"] for entry in upstream["server_options"]] == ["app1", "app2", "app3"]
    assert upstream["tls"] == {"authority_file": AUTHORITY}
    assert upstream["health"]["path"] == "/"
    assert site["static"] == site["media"] == [], "the files are on the app's hosts"
    assert "maintenance" not in site
    assert site["certificate"]["fullchain"].endswith("/shop/fullchain.pem")


def test_a_word_turns_tls_off_between_them():
    site = site_on("lb1", SHOP, tls=False)
    assert site["upstream"]["servers"][0] == "10.0.0.3:80"
    assert "tls" not in site["upstream"]
    inner = site_on("app1", SHOP, tls=False)
    assert inner == site_on("app1", SHOP), "a host answers both ways, so that the balancer may turn at any moment"
    assert inner["redirect_to_https"] is False


def test_ports_and_addresses_are_those_of_each_host():
    hostvars = {**HOSTVARS, "app1": {"fleet_address": "fd00::3", "nginx_https_port": 8443}}
    (site,) = apps.app_sites(resolved(SHOP), None, "lb1", hostvars, True, AUTHORITY)
    assert site["upstream"]["servers"] == ["[fd00::3]:8443", "10.0.0.4:443", "10.0.0.5:443"]


OPTIONS = {
    "rate_limit": {"rate": "20r/s"},
    "hsts": {"max_age": 60},
    "cache": {"enabled": True},
    "client_max_body_size": "25m",
    "headers": {"X-Frame-Options": ""},
    "locations": [{"path": "/own/", "config": "return 204;"}],
    "upstream": {"keepalive": 8, "method": "sticky", "server_options": [{"address": "app2", "weight": 3}]},
}


def test_what_an_app_says_about_nginx_reaches_the_tier_that_does_it():
    given = {**SHOP, "nginx": OPTIONS}
    edge, inner = site_on("lb1", given), site_on("app1", given)
    assert edge["rate_limit"]["rate"] == "20r/s"
    assert "rate_limit" not in inner
    assert (edge["hsts"]["max_age"], inner["hsts"]["enabled"]) == (60, False)
    assert (edge["cache"]["enabled"], inner["cache"]["enabled"]) == (False, True)
    assert edge["client_max_body_size"] == inner["client_max_body_size"] == "25m"
    assert edge["headers"] == inner["headers"] == {"X-Frame-Options": ""}
    assert edge["locations"] == []
    assert [place["path"] for place in inner["locations"]] == [app_fleet.SERVING, "/own/"]
    assert (edge["upstream"]["keepalive"], inner["upstream"]["keepalive"]) == (0, 8)
    assert edge["upstream"]["method"] == "sticky"
    assert [entry["weight"] for entry in edge["upstream"]["server_options"]] == [1, 3, 1]
    assert inner["upstream"]["servers"] == ["unix:/run/djangofleet/shop.sock"]


def test_all_options_of_a_site_belong_to_a_tier():
    """A new option has to be placed: what is in neither list is the balancer's."""
    options = set(spec_of("nginx")["nginx_sites"]["options"])
    assert set(app_fleet.INNER) <= options
    assert set(app_fleet.BOTH) < set(app_fleet.INNER)


def test_the_hosts_of_an_app_answer_their_peers_and_wait_until_they_are_ready():
    site = site_on("app1", SHOP)
    assert site["ready_file"] == "/run/djangofleet/ready/shop"
    (serving,) = site["locations"]
    assert serving["config"].startswith("allow 10.0.0.4; allow 10.0.0.5; deny all;")
    alone = site_on("app2", BLOG)
    assert "ready_file" not in alone
    assert alone["locations"] == []


def test_an_app_without_balancers_is_served_as_ever():
    (plain,) = apps.app_sites(resolved(SHOP, groups=ALONE), None, "app1", HOSTVARS, True, AUTHORITY)
    assert plain == apps.app_sites(resolved(SHOP, groups=ALONE))[0]
    assert "ready_file" not in plain


def test_the_visitors_certificate_is_the_balancers():
    given = {**SHOP, "certificate": {"source": "acme"}}
    edge = apps.app_certificates(resolved(given), "lb1", HOSTVARS)
    assert [entry["source"] for entry in edge] == ["acme", "selfsigned"]
    assert edge[1]["domains"] == ["10.0.0.1"], "by which it has the authority"
    (inner,) = apps.app_certificates(resolved(given), "app1", HOSTVARS)
    assert inner == {"name": "shop", "domains": SHOP["domains"], "source": "selfsigned"}


def test_hosts_behind_balancers_believe_them_alone():
    found = resolved(SHOP, BLOG)
    assert app_fleet.real_ip(found, HOSTVARS, "app1") == {"trusted": ["10.0.0.1", "10.0.0.2"], "request_id": True}
    assert app_fleet.real_ip(found, HOSTVARS, "lb1") == {}
    assert app_fleet.real_ip(resolved(SHOP, groups=ALONE), HOSTVARS, "app1") == {}


def test_a_wired_balancer_takes_the_place_of_whom_the_inventory_trusts():
    given = {
        "nginx_real_ip": {"trusted": ["192.0.2.0/24"], "header": "CF-Connecting-IP", "passed_headers": ["X-Country"]},
        "nginx_app_real_ip": {"trusted": ["10.0.0.1"], "request_id": True},
    }
    values, _wrong = resolve(spec_of("nginx"), given)
    believed = nginx.believed(values)
    assert (believed["trusted"], believed["header"], believed["request_id"]) == (["10.0.0.1"], "X-Forwarded-For", True)
    assert believed["passed_headers"] == ["X-Country"], "the balancer has taken it from whom it believes"
    values, _wrong = resolve(spec_of("nginx"), {"nginx_real_ip": given["nginx_real_ip"]})
    assert nginx.believed(values)["trusted"] == ["192.0.2.0/24"]


@pytest.mark.parametrize(
    ("host", "has_own", "ports", "sources"),
    [
        ("lb1", False, [80, 443], None),
        ("app1", False, [], ["10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5"]),
        ("app1", True, [80, 443], None),
        ("web1", False, [80, 443], None),  # another site's
    ],
)
def test_nginx_behind_balancers_is_open_to_them_and_to_peers(host, has_own, ports, sources):
    found = app_fleet.openings(resolved(SHOP), HOSTVARS, host, [80, 443], has_own)
    assert found["ports"] == ports
    assert [rule["sources"] for rule in found["rules"]] == ([sources] * 2 if sources else [])
    assert [rule["port"] for rule in found["rules"]] == (["80", "443"] if sources else [])


def test_what_a_host_behind_balancers_has_left_is_for_nobody():
    """Until its Nginx is told: what keeps visitors out of the site of an app that has gone is on the balancer."""
    found = app_fleet.openings(resolved(BLOG), HOSTVARS, "app1", [80, 443], False, True)
    assert found == {"ports": [], "rules": []}
    assert app_fleet.openings(resolved(BLOG), HOSTVARS, "app1", [80, 443], True, True)["ports"] == [80, 443]


def test_an_inner_site_knows_who_may_ask_whatever_the_firewall_lets_in():
    assert site_on("app1", SHOP)["peers"] == [
        *("10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.3", "127.0.0.1", "::1")
    ]
    assert site_on("lb1", SHOP).get("peers") is None


@pytest.mark.parametrize(("hosts", "balancers", "refused"), [(2, 1, True), (1, 1, False), (2, 0, False)])
def test_hosts_behind_balancers_are_no_sites_of_their_own(hosts, balancers, refused):
    groups = {"app": GROUPS["app"][:hosts], "balancer": GROUPS["balancer"][:balancers]}
    found = list(app_fleet.separate_problems("django_apps[shop]", groups["app"], groups))
    assert bool(found) == refused


def test_peers_are_the_other_hosts_of_the_app():
    found = resolved(SHOP, BLOG)
    assert app_fleet.peers_of(found, "shop", HOSTVARS, "app1") == {
        "hosts": {"app2": "10.0.0.4", "app3": "10.0.0.5"},
        "port": 443,
    }
    assert app_fleet.peers_of(found, "blog", HOSTVARS, "app2")["hosts"] == {}
    assert app_fleet.peers_of(found, "none", HOSTVARS, "app2")["hosts"] == {}
    assert (
        app_fleet.peers_of(resolved(SHOP, groups={**GROUPS, "balancer": []}), "shop", HOSTVARS, "app1")["hosts"] == {}
    )


def problems(app: dict[str, Any], groups: Any = GROUPS, hostvars: Any = HOSTVARS) -> list[str]:
    return list(app_fleet.host_problems(app, "django_apps[shop]", groups, hostvars))


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("ap", "django_apps[shop].hosts: found 'ap'"),
        (["nowhere.example.com"], "django_apps[shop].hosts: found 'nowhere.example.com'"),
        ("db1", "django_apps[shop].hosts: db1: not in the group app"),
        (["app1", "database"], "django_apps[shop].hosts: db1: not in the group app"),
        ([], "django_apps[shop].hosts: names no host"),
    ],
)
def test_hosts_that_cannot_be_are_refused(hosts, said):
    (line,) = problems({**SHOP, "hosts": hosts})
    assert line.startswith(said)


def test_a_good_fleet_has_no_problem():
    assert problems(SHOP) == problems(BLOG) == problems(SHOP, ALONE, {}) == []


def test_a_balancer_in_front_of_itself_and_others_is_refused():
    (line,) = problems(SHOP, {**GROUPS, "balancer": ["app1"]})
    assert "app1 is a balancer too" in line


def test_an_app_host_behind_balancers_has_nginx():
    (line,) = problems(SHOP, {**GROUPS, "web": ["app1", "app3"]})
    assert line.startswith("django_apps[shop].hosts: app2 is not in the group web")
    assert "none is in the group app" in problems(SHOP, {**GROUPS, "app": []})[0]


def test_every_host_of_a_tier_needs_an_address():
    found = problems(SHOP, hostvars={name: HOSTVARS[name] for name in ("app1", "lb1", "app3")})
    assert [line.partition(",")[0] for line in found] == [
        "fleet_address: is missing for app2",
        "fleet_address: is missing for lb2",
    ]


@pytest.mark.parametrize("address", ["app2", "10.0.0.4:443", "10.0.0.4:80"])
@pytest.mark.parametrize("tls", [True, False])
def test_options_of_a_server_name_it_by_its_host_or_by_where_it_answers(address, tls):
    given = {**SHOP, "nginx": {"upstream": {"server_options": [{"address": address, "weight": 3}]}}}
    upstream = site_on("lb1", given, tls=tls)["upstream"]
    assert problems(given) == []
    assert [entry["weight"] for entry in upstream["server_options"]] == [1, 3, 1]
    assert [entry["address"] for entry in upstream["server_options"]] == upstream["servers"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([{"address": "app1"}, {"address": "ap2"}], "[1].address: found 'ap2'; give one of the app's hosts: app1,"),
        ([{"weight": 2}], "[0].address: "),
        ([{"address": ["app1"]}], "[0].address: "),
        ([{"address": "app1"}, {"address": "10.0.0.3:443"}], "[1].address: found '10.0.0.3:443'; give each host"),
        ("app2", ": found 'app2'; give a list"),
        (["app2"], ": found '['app2']'; give a list"),
        ({"app2": {"weight": 2}}, ": found '{'app2': {'weight': 2}}'; give a list"),
    ],
)
def test_options_of_a_server_that_is_none_of_the_hosts_are_refused(options, said):
    (line,) = problems({**SHOP, "nginx": {"upstream": {"server_options": options}}})
    assert line.startswith(f"django_apps[shop].nginx.upstream.server_options{said}")


def test_what_is_no_mapping_of_nginx_is_told_by_others():
    """Its type is checked with the app's other options; here it must not end in a stack."""
    assert problems({**SHOP, "nginx": "text"}) == problems({**SHOP, "nginx": {"upstream": None}}) == []


@pytest.mark.parametrize("host", ["app2", "lb1"])
@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("maybe", True),
        ([1], True),
        ("", True),
        (None, True),
        ("no", False),
        ("False", False),
        (True, False),
        (0, False),
    ],
)
def test_encryption_between_hosts_is_turned_off_by_a_boolean_alone(host, said, refused):
    hostvars = {**HOSTVARS, host: {**HOSTVARS[host], "fleet_tls_enabled": said}}
    found = problems(SHOP, hostvars=hostvars)
    assert [line.partition(":")[0] for line in found] == (["fleet_tls_enabled"] if refused else [])
