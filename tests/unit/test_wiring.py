"""What group_vars/all makes of the apps of an inventory: input that the other roles take."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar, trust_as_template
from ansible.utils.vars import load_extra_vars
from djangoctl.app import App
from test_role_django import ENTRIES

ROOT = Path(__file__).resolve().parents[2]
SHOP = {"name": "shop", "domains": ["shop.example.com", "www.shop.example.com"], "source": {"path": "/x"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"path": "/y"}}


SHOP_ANYWHERE = SHOP | {
    "source": {"package": "shop==1.0"},
    "secret_key": "x",
    "database": {"url": "postgres://db/x"},
    "media": {"shared": True},
}


@pytest.fixture(scope="session")
def wiring(dataloader):
    """The variables of group_vars/all, as they are written."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "group_vars/all").glob("*.yml")):
        found |= dataloader.load_from_file(str(path), cache="all", unsafe=True, trusted_as_template=True)
    return found


@pytest.fixture(scope="session")
def wired(dataloader, role_specs, wiring):
    """`wired(name, app..., app=…)`: a variable of group_vars/all, checked against the spec of the role it is for.

    `app` is what -e says.
    """

    def run(name: str, *apps: dict[str, Any], app: str = "", **variables: Any) -> Any:
        scope = {
            "groups": {"app": ["app1", "app2"]},
            "hostvars": {},
            "inventory_hostname": "app1",
            **wiring,
            **variables,
        }
        scope["django_apps"] = list(apps)
        with mock.patch.object(load_extra_vars, "extra_vars", {"-": "", **({"app": app} if app else {})}, create=True):
            value = Templar(loader=dataloader, variables=scope).evaluate_expression(trust_as_template(name))
        role = name.partition("_")[0]
        if name not in wiring or role == "django":
            return value
        # The wired list takes what the user's list takes.
        spec = copy.deepcopy(role_specs[role]["main"]["options"][name.replace("_app_", "_")])
        result = ArgumentSpecValidator({name: spec}).validate({name: value})
        assert result.error_messages == []
        assert not result.unsupported_parameters
        return value

    return run


APPS = {
    "one": [SHOP],
    "two": [SHOP, BLOG],
    "tcp": [SHOP | {"listen": "10.0.0.5:8001"}],
    "ipv6": [SHOP | {"listen": "[2001:db8::5]:8001"}],
    "socket": [SHOP | {"listen": "/run/other/shop.sock"}],
    "cdn": [SHOP | {"static_url": "https://cdn.example.com/static/", "media_url": "https://cdn.example.com/m/"}],
    "urls": [SHOP | {"static_url": "/s/", "media_url": "/m/"}],
    "nginx": [SHOP | {"nginx": {"client_max_body_size": "25m", "media": [], "hsts": {"enabled": False}}}],
    "provided": [SHOP | {"certificate": {"source": "files", "key_file": "a.key", "chain_file": "a.pem"}}],
    "rsa": [SHOP | {"certificate": {"key_type": "rsa", "days": 90}}],
    "acme": [SHOP | {"certificate": {"source": "acme", "challenge": "dns", "dns": {"plugin": "route53"}}}],
    "keepalive": [SHOP | {"gunicorn": {"keepalive": 2}}],
    "none": [],
}


@pytest.mark.parametrize("apps", APPS.values(), ids=APPS)
@pytest.mark.parametrize("name", ["nginx_app_sites", "certificate_app_certificates"])
def test_each_app_gives_one_entry_that_the_role_takes(wired, name, apps):
    found = wired(name, *apps)
    assert isinstance(found, list)
    assert [(entry["name"], entry["domains"]) for entry in found] == [(app["name"], app["domains"]) for app in apps]


def test_every_variable_of_a_role_that_is_wired_is_one_of_its_own(role_specs, dataloader):
    for name in dataloader.load_from_file(str(ROOT / "group_vars/all/wiring.yml"), cache="all"):
        role = name.partition("_")[0]
        assert name.startswith(f"{role}_app_"), f"{name} would overrule an inventory"
        assert name in role_specs[role]["main"]["options"]


def test_apps_do_not_see_each_others_settings(wired):
    plain = wired("nginx_app_sites", BLOG)
    changed = SHOP | {"listen": "10.0.0.5:1", "static_url": "/s/", "nginx": {"client_max_body_size": "1m"}}
    assert wired("nginx_app_sites", changed, BLOG)[1] == plain[0]
    certified = SHOP | {"certificate": {"source": "files", "key_file": "a", "chain_file": "b"}}
    assert wired("certificate_app_certificates", certified, BLOG)[1] == wired("certificate_app_certificates", BLOG)[0]


def test_the_site_serves_what_the_app_leaves_on_disk(wired, evaluate):
    (site,) = wired("nginx_app_sites", SHOP, django_root="/data")
    assert site["static"] == [{"url": "/static/", "path": "/data/shop/static/"}]
    assert site["media"] == [{"url": "/media/", "path": "/data/shop/media/"}]
    entries = evaluate("django", ENTRIES, django_app=SHOP, django_root="/data")
    directories = {f"{entry['path']}/" for entry in entries if entry.get("directory")}
    assert {site[room][0]["path"] for room in ("static", "media")} <= directories


@pytest.mark.parametrize("name", ["nginx_app_sites", "certificate_app_certificates"])
def test_a_web_server_on_another_host_serves_no_app(wired, name):
    """Static files and the socket of an app are on its own hosts. What else a web server serves, its user says."""
    assert len(wired(name, SHOP, BLOG, inventory_hostname="app2")) == 2
    assert wired(name, SHOP, BLOG, inventory_hostname="web1") == []


@pytest.mark.parametrize("listen", [None, "/run/other/shop.sock", "10.0.0.5:8001", "[2001:db8::5]:8001"])
def test_the_site_asks_where_the_app_listens(wired, evaluate, render, listen):
    app = SHOP | ({"listen": listen} if listen else {})
    (server,) = wired("nginx_app_sites", app)[0]["upstream"]["servers"]
    settings = evaluate("django", "__django_settings", django_app=app)
    socket = render("django", "etc/systemd/system/app.socket.j2", django=settings)
    assert f"\nListenStream={server.removeprefix('unix:')}\n" in socket
    assert server.startswith("unix:") == (not listen or listen.startswith("/"))


@pytest.mark.parametrize(
    ("health", "paths"),
    [
        (None, []),
        ({"path": "/healthz"}, ["/healthz"]),
        ({"path": "/healthz?full=1"}, ["/healthz"]),
        ({"path": "/?a"}, []),
        ({"path": "/healthz", "enabled": False}, []),
    ],
)
def test_only_a_health_path_of_its_own_stays_open(wired, health, paths):
    assert wired("nginx_app_sites", SHOP | ({"health": health} if health else {}))[0]["open_paths"] == paths


@pytest.mark.parametrize("directory", ["/etc/djangofleet/certificates", "/srv/certificates"])
def test_the_certificate_lies_where_the_site_looks(wired, evaluate, directory):
    given = {} if directory.startswith("/etc") else {"certificate_directory": directory}
    (site,) = wired("nginx_app_sites", SHOP, **given)
    assert site["certificate"] == {
        "fullchain": f"{directory}/shop/fullchain.pem",
        "key": f"{directory}/shop/privkey.pem",
    }
    provided = SHOP | {"certificate": {"source": "files", "key_content": "k", "chain_content": "c"}}
    certificates = wired("certificate_app_certificates", provided)
    paths = {
        entry["path"]
        for entry in evaluate(
            "certificate",
            "__certificate_options | djangofleet.stack.certificate_entries(__certificate_files, {},"
            " __certificate_options | djangofleet.stack.certificate_plan({}), keys=[], signed=[])",
            certificate_app_certificates=certificates,
            certificate_directory=directory,
        )
    }
    assert set(site["certificate"].values()) <= paths


def test_files_that_lie_elsewhere_are_not_served(wired):
    (site,) = wired("nginx_app_sites", *APPS["cdn"])
    assert (site["static"], site["media"]) == ([], [])


def test_an_app_has_the_last_word_on_its_site(wired):
    (site,) = wired("nginx_app_sites", SHOP | {"nginx": {"static": [], "client_max_body_size": "25m", "upstream": {
        "servers": ["10.0.0.1:1", "10.0.0.2:1"]}}})  # fmt: skip
    assert site["static"] == []
    assert site["client_max_body_size"] == "25m"
    assert site["upstream"]["servers"] == ["10.0.0.1:1", "10.0.0.2:1"]
    assert site["media"] == [{"url": "/media/", "path": "/srv/shop/media/"}]


def test_an_authority_is_answered_by_the_hosts_nginx(wired):
    web, other = {"group_names": ["web", "app"]}, {"group_names": ["database"]}
    assert wired("certificate_app_acme_webroot", SHOP, **web) == "/var/www/acme"
    assert wired("certificate_app_acme_webroot", SHOP, **web, nginx_acme_webroot="/srv/acme") == "/srv/acme"
    assert wired("certificate_app_acme_webroot", SHOP, **other) == ""


def test_certbot_comes_from_where_apps_come_from(wired):
    given = {"django_index_url": "https://index.test/simple", "django_ca_bundle": "/etc/ssl/company.pem"}
    assert wired("certificate_app_acme_index_url", SHOP, **given) == "https://index.test/simple"
    assert wired("certificate_app_acme_index_ca_bundle", SHOP, **given) == "/etc/ssl/company.pem"
    assert wired("certificate_app_acme_index_url", SHOP) == ""


def test_a_certificate_is_made_unless_it_is_provided(wired):
    made, given = wired("certificate_app_certificates", BLOG, *APPS["provided"])
    assert made.get("source", "selfsigned") == "selfsigned"
    assert (given["source"], given["key_file"], given["chain_file"]) == ("files", "a.key", "a.pem")
    (kind,) = wired("certificate_app_certificates", *APPS["rsa"])
    assert (kind["key_type"], kind["days"], kind.get("source", "selfsigned")) == ("rsa", 90, "selfsigned")


@pytest.mark.parametrize(("gunicorn", "seconds"), [({}, 65), ({"keepalive": 30}, 30), ({"keepalive": "4"}, 4)])
def test_nginx_lets_go_of_a_connection_before_gunicorn_does(wired, gunicorn, seconds):
    """It matters where an app has Nginx keep connections, and then the app is still where it is."""
    app = SHOP | {"gunicorn": gunicorn, "nginx": {"upstream": {"keepalive": 16}}}
    upstream = wired("nginx_app_sites", app)[0]["upstream"]
    assert 1 <= int(upstream["keepalive_timeout"].removesuffix("s")) < seconds
    assert (upstream["keepalive"], upstream["servers"]) == (16, ["unix:/run/djangofleet/shop.sock"])


def test_values_are_passed_on_to_the_letter(wired):
    config = 'add_header X "{{ 7 * 7 }} ü \\n";\n'
    (site,) = wired("nginx_app_sites", SHOP | {"nginx": {"extra_config": config}})
    assert site["extra_config"] == config


# One app or all


def test_all_apps_are_selected_unless_one_is_named(wired):
    assert wired("django_apps_selected", SHOP, BLOG) == [SHOP, BLOG]
    assert wired("django_apps_selected", SHOP, BLOG, app="blog") == [BLOG]


def test_an_inventory_may_have_a_variable_app(wired, dataloader):
    given = {"app": "crm", "release": "1.2"}
    scope = {"groups": {"app": ["app1"]}, "django_apps": [SHOP, BLOG], **given}
    engine = Templar(loader=dataloader, variables=scope)
    for name in given:
        lookup = trust_as_template(f"lookup('djangofleet.stack.extra_variable', '{name}')")
        assert engine.evaluate_expression(lookup) == ""
        with mock.patch.object(
            load_extra_vars, "extra_vars", {name: trust_as_template("{{ 'a' ~ 'b' }}")}, create=True
        ):
            assert engine.evaluate_expression(lookup) == "ab"


@pytest.mark.parametrize("name", ["django_apps_problems", "django_apps_selection_problems"])
def test_an_app_that_is_not_there_is_said_to_be_so(wired, name):
    assert wired(name, SHOP_ANYWHERE, BLOG, app="shop") == []
    assert wired(name, SHOP_ANYWHERE, BLOG, app="sohp") == [
        "app: found 'sohp'; did you mean 'shop'? give one of: shop, blog"
    ]


def test_a_rollback_needs_no_source(wired):
    """Another machine than the one that deployed may have to put things right."""
    assert wired("django_apps_selection_problems", SHOP) == []
    assert wired("django_apps_problems", SHOP_ANYWHERE | {"source": {"path": "/nowhere/shop"}}) == [
        "django_apps[shop].source.path: found '/nowhere/shop'; give a directory on the controller"
    ]


def test_only_the_apps_that_are_meant_are_worked_on():
    """A mistake in one app would keep another from being deployed."""
    paths = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks/components").glob("*.yml")]
    plays = [play for path in paths for play in yaml.safe_load(path.read_text())]
    tasks = [task for play in plays for task in play.get("tasks", [])]
    loops = [task["loop"] for task in tasks if task.get("loop_control", {}).get("loop_var") == "django_app"]
    assert len(loops) >= 6
    names = ("django_apps_moves | map(attribute='name') | list", "__rotation.apps")
    some = {f"{{{{ django_apps_here | selectattr('name', 'in', {those}) }}}}" for those in names}
    assert set(loops) == {"{{ django_apps_here }}", "{{ django_apps_absent }}"} | some


@pytest.mark.parametrize("name", ["allow_destructive_migrations", "allow_schema_ahead"])
def test_permissions_are_given_on_the_command_line_or_by_an_inventory(evaluate, name):
    def allowed(**variables):
        return evaluate("django", f"__django_options.django_{name}", django_app=SHOP, **variables)

    assert allowed() is False
    assert allowed(**{name: "true"}) is True
    assert allowed(**{name: "false"}) is False
    assert allowed(**{f"django_{name}": True}) is True


def test_singletons_run_on_the_first_host_of_the_inventory(wired, evaluate):
    primary = wired("django_app_primary", SHOP, BLOG, django_app=BLOG)
    assert primary == "app1"
    for host, wanted in (("app1", True), ("app2", False)):
        given = {"django_app": SHOP, "inventory_hostname": host}
        assert evaluate("django", "__django_options.django_primary", django_app_primary=primary, **given) is wanted
        assert evaluate("django", "__django_options.django_primary", **given) is True, "each host is its own"
        assert evaluate("django", "__django_options.django_primary", django_primary=not wanted, **given) is not wanted


@pytest.mark.parametrize(
    ("web", "variables", "site"),
    [
        (["app1"], {}, {"domains": ["shop.example.com", "www.shop.example.com"], "port": 443, "tls": True}),
        (["app1"], {"nginx_https_port": 8443}, {"port": 8443}),
        (["other"], {}, None),
    ],
)
def test_djangoctl_knows_where_nginx_serves_the_app(wired, evaluate, web, variables, site):
    given = {"django_app": SHOP, "groups": {"app": ["app1"], "web": web}, **variables}
    found = wired("django_app_site", SHOP, BLOG, **given)
    assert found == ({**found, **site} if site else {})
    settings = evaluate("django", "__django_settings.settings", django_app=SHOP, django_app_site=found)
    assert settings.get("site") == (found or None)


@pytest.mark.parametrize(
    ("web", "cache", "wanted"),
    [
        (["app1"], {"enabled": True}, {"path": "/var/cache/nginx/sites/shop", "purge_on_release": True}),
        (["app1"], {"enabled": False}, {}),
        (["other"], {"enabled": True}, {}),
    ],
)
def test_djangoctl_knows_where_nginx_keeps_pages_of_the_app(wired, evaluate, web, cache, wanted):
    app = {**SHOP, "nginx": {"cache": cache}}
    groups = {"app": ["app1"], "web": web}
    found = wired("django_app_site_cache", app, BLOG, django_app=app, groups=groups)
    assert found == wanted
    settings = evaluate("django", "__django_settings.settings", django_app=SHOP, django_app_site_cache=found)
    assert settings.get("site_cache") == (wanted or None)


@pytest.mark.parametrize(
    ("primary", "hosts", "first"),
    [
        ("app2", ["app1", "app2", "app3"], "app2"),
        ("app1", ["app2", "app3"], "app2"),  # --limit leaves the primary out
        ("", ["app2", "app3"], "app2"),
    ],
)
def test_the_primary_host_migrates_first_where_it_is_in_the_play(evaluate, primary, hosts, first):
    given = {"django_app": SHOP, "django_app_primary": primary, "ansible_play_hosts": hosts}
    assert evaluate("django", "__django_first", **given) == first


@pytest.mark.parametrize(
    ("build", "asked"),
    [
        ({"pending": True, "migrate": True}, True),
        ({"pending": True, "migrate": False}, False),
        ({"pending": False, "migrate": True}, False),
        ({"pending": True}, True),  # check mode, where djangoctl on the host is of an earlier version
    ],
)
def test_a_build_without_migrations_spares_the_question(evaluate, build, asked):
    given = {"django_app": SHOP, "__django_builds": {"shop": build, "other": {"pending": True, "migrate": True}}}
    assert evaluate("django", "__django_migrates", **given) is asked


def test_what_an_inventory_derives_is_evaluated(wired):
    domain, url = trust_as_template("{{ base_domain }}"), trust_as_template("{{ base }}/s/")
    app = SHOP | {"domains": [domain], "static_url": url, "nginx": {"extra_config": trust_as_template("# {{ base }}")}}
    app |= {"system_packages": [trust_as_template("lib{{ base_domain[:1] }}5")], "maintenance_allow": [domain]}
    given = {"base_domain": "shop.test", "base": "/a"}
    (site,) = wired("nginx_app_sites", app, **given)
    assert (site["domains"], site["maintenance"]["allow"]) == (["shop.test"], ["shop.test"])
    assert (site["static"][0]["url"], site["extra_config"]) == ("/a/s/", "# /a")
    assert wired("django_app_packages", app, **given) == ["libs5"]
    assert wired("django_apps_selection_problems", app, **given) == []


def test_what_all_apps_need_is_known_before_any_is_prepared(wired):
    apps = [SHOP | {"system_packages": ["libpq5"]}, BLOG | {"system_packages": "libpq5", "build_packages": ["gcc"]}]
    assert wired("django_app_packages", *apps) == ["libpq5", "gcc"]
    assert wired("django_app_users", *apps) == ["django-shop", "django-blog"]
    assert wired("django_app_packages", *apps, app="shop") == ["libpq5"]


def test_a_mistake_of_one_app_leaves_the_rest_to_be_asked_about(wired):
    """django_apps_problems says what is wrong; a template that fails before it would hide that."""
    bad = BLOG | {"gunicorn": {"worker": 3}}
    assert wired("django_app_users", SHOP, bad) == ["django-shop"]
    assert wired("django_app_primary", SHOP, bad, django_app=bad) == ""
    (line,) = wired("django_apps_problems", SHOP_ANYWHERE, bad)
    assert line == "django_apps[blog].gunicorn.worker: is not known; did you mean 'workers'?"
    assert wired("django_apps_problems", SHOP_ANYWHERE, bad, app="shop") == []


def test_a_mistake_of_another_app_does_not_spoil_the_summary(wired, dataloader):
    """The release is live by then: a failure would tell of the wrong thing."""
    plays = yaml.safe_load((ROOT / "playbooks/summary.yml").read_text())
    ask = plays[0]["tasks"][0]
    bad = BLOG | {"gunicorn": {"worker": 3}}

    def value(name: str, task: dict[str, Any], **variables: Any) -> Any:
        given = plays[0]["vars"] | task.get("vars", {})
        scope = {key: trust_as_template(text) for key, text in given.items()}
        return wired(name, SHOP, bad, app="shop", **scope, **variables)

    sites = ask["djangofleet.stack.visit"]["sites"].strip("{} ")
    assert value(sites, ask, group_names=["app"]) == []
    (asked,) = value(sites, ask, group_names=["app", "web"])
    assert (asked["name"], asked["port"], asked["tls"]) == ("shop", 443, True)
    assert value("__public_port", ask) == 443


def test_a_broken_list_does_not_remove_sites_in_silence(wired):
    with pytest.raises(AnsibleError, match="did you mean 'workers'"):
        wired("nginx_app_sites", SHOP, BLOG | {"gunicorn": {"worker": 3}})


@pytest.mark.parametrize(
    ("apps", "said"),
    [
        (None, "django_apps: is missing; give a list of mappings, each with name, domains and source"),
        ("shop", "django_apps: found 'shop'; give a list of mappings, each with name, domains and source"),
    ],
)
def test_an_inventory_without_apps_is_told_so(dataloader, wiring, apps, said):
    scope = {"groups": {}, "hostvars": {}, **wiring, **({} if apps is None else {"django_apps": apps})}
    for name in ("django_apps_problems", "django_apps_selection_problems"):
        assert Templar(loader=dataloader, variables=scope).evaluate_expression(trust_as_template(name)) == [said]


def test_mistakes_that_stop_nothing_are_warned_of(wired):
    app = SHOP | {"environment": {"KEY": "${SECRET_KEZ}"}}
    environment, variable = wired("django_apps_warnings", app, django_keep_release=3)
    assert environment.startswith("django_apps[shop].environment.KEY: '${SECRET_KEZ}' stays as it is")
    assert variable == "django_keep_release: is not known; did you mean 'django_keep_releases'?"
    assert wired("django_apps_warnings", SHOP) == []


def test_the_maintenance_page_is_where_djangoctl_puts_it(wired):
    (site,) = wired("nginx_app_sites", SHOP | {"maintenance_allow": ["192.0.2.7"]}, django_root="/data")
    page = str(App("shop", Path(), {"root": "/data/shop"}).maintenance)
    assert site["maintenance"] == {"page": page, "allow": ["192.0.2.7"]}


@pytest.mark.parametrize(
    ("hosts", "separate", "maker"),
    [(["app1", "app2"], False, "app1"), (["app1"], False, ""), (["app1", "app2"], True, "")],
)
def test_hosts_of_an_app_share_the_key_that_the_first_one_makes(wired, hosts, separate, maker):
    """Whatever --limit says: the second host alone asks the first one too."""
    given = {
        "groups": {"app": hosts},
        "allow_separate_hosts": separate,
        "django_app": SHOP,
        "inventory_hostname": "app2",
    }
    assert wired("django_app_secret_host", SHOP, **given) == maker


WEB = {"groups": {"all": ["app1", "db1"], "app": ["app1"], "web": ["app1"], "database": ["db1"]}}


@pytest.mark.parametrize(
    ("host", "given", "tcp", "udp"),
    [
        ("app1", {}, [80, 443], []),
        ("app1", {"nginx_http_port": 8080, "nginx_https_port": 8443}, [8080, 8443], []),
        ("app1", {"nginx_http3_enabled": True, "nginx_https_port": 8443}, [80, 8443], [8443]),
        ("db1", {"nginx_http3_enabled": True}, [], []),
    ],
)
def test_the_firewall_opens_what_nginx_listens_on(wired, host, given, tcp, udp):
    for protocol, ports in (("tcp", tcp), ("udp", udp)):
        name = f"host_app_firewall_allowed_{protocol}_ports"
        assert wired(name, SHOP, **WEB, **given, inventory_hostname=host) == ports


def test_an_inventory_has_the_last_word_on_open_ports(evaluate):
    wired_ports = {"host_app_firewall_allowed_tcp_ports": [80, 443]}
    expression = "__host_options.host_firewall_allowed_tcp_ports"
    assert evaluate("host", expression, **wired_ports) == [80, 443]
    assert evaluate("host", expression, **wired_ports, host_firewall_allowed_tcp_ports=[]) == []
    assert evaluate("host", expression) == [80, 443], "a role without playbooks lets in the web"


@pytest.mark.parametrize("enabled", [False, True])
def test_bans_know_of_nginx_and_of_the_fleet(wired, role_specs, enabled):
    hostvars = {"app1": {"ansible_host": "192.0.2.5"}, "db1": {"host_private_address": "10.0.0.6"}}
    scope = {**WEB, "hostvars": hostvars, "host_bans_enabled": enabled}
    found = wired("(host_app_bans)", SHOP, **scope)
    assert (found.get("ignored"), found.get("log")) == (
        (["192.0.2.5", "10.0.0.6"], "/var/log/nginx/access.log") if enabled else (None, None)
    )
    assert set(found) <= set(role_specs["host"]["main"]["options"]["host_app_bans"]["options"])
