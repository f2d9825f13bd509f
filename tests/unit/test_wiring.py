"""What group_vars/all makes of the apps of an inventory: input that the other roles take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar, trust_as_template
from djangoctl.app import App

ROOT = Path(__file__).resolve().parents[2]
SHOP = {"name": "shop", "domains": ["shop.example.com", "www.shop.example.com"], "source": {"path": "/x"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"path": "/y"}}


@pytest.fixture(scope="session")
def wired(dataloader, role_specs):
    """`wired(name, app...)`: a variable of group_vars/all, checked against the spec of the role it is for."""
    wiring: dict[str, Any] = {}
    for path in sorted((ROOT / "group_vars/all").glob("*.yml")):
        wiring |= dataloader.load_from_file(str(path), cache="all", unsafe=True, trusted_as_template=True)

    def run(name: str, *apps: dict[str, Any], **variables: Any) -> Any:
        scope = wiring | variables | {"django_apps": list(apps)}
        value = Templar(loader=dataloader, variables=scope).evaluate_expression(trust_as_template(name))
        role = name.partition("_")[0]
        if name not in wiring or role == "django":
            return value
        spec = role_specs[role]["main"]["options"]
        assert name in spec, f"the role {role} has no variable {name}"
        result = ArgumentSpecValidator({name: spec[name]}).validate({name: value})
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
    "keepalive": [SHOP | {"gunicorn": {"keepalive": 2}}],
    "none": [],
}


@pytest.mark.parametrize("apps", APPS.values(), ids=APPS)
@pytest.mark.parametrize("name", ["nginx_sites", "certificate_certificates"])
def test_each_app_gives_one_entry_that_the_role_takes(wired, name, apps):
    found = wired(name, *apps)
    assert isinstance(found, list)
    assert [(entry["name"], entry["domains"]) for entry in found] == [(app["name"], app["domains"]) for app in apps]


def test_every_variable_of_a_role_that_is_wired_is_one_of_its_own(wired, role_specs, dataloader):
    for name in dataloader.load_from_file(str(ROOT / "group_vars/all/wiring.yml"), cache="all"):
        assert name in role_specs[name.partition("_")[0]]["main"]["options"]


def test_apps_do_not_see_each_others_settings(wired):
    plain = wired("nginx_sites", BLOG)
    changed = SHOP | {"listen": "10.0.0.5:1", "static_url": "/s/", "nginx": {"client_max_body_size": "1m"}}
    assert wired("nginx_sites", changed, BLOG)[1] == plain[0]
    certified = SHOP | {"certificate": {"source": "files", "key_file": "a", "chain_file": "b"}}
    assert wired("certificate_certificates", certified, BLOG)[1] == wired("certificate_certificates", BLOG)[0]


def test_the_site_serves_what_the_app_leaves_on_disk(wired, evaluate):
    (site,) = wired("nginx_sites", SHOP, django_root="/data")
    assert site["static"] == [{"url": "/static/", "path": "/data/shop/static/"}]
    assert site["media"] == [{"url": "/media/", "path": "/data/shop/media/"}]
    entries = evaluate("django", "__django_entries", django_app=SHOP, django_root="/data")
    directories = {f"{entry['path']}/" for entry in entries if entry.get("directory")}
    assert {site[room][0]["path"] for room in ("static", "media")} <= directories


@pytest.mark.parametrize("listen", [None, "/run/other/shop.sock", "10.0.0.5:8001", "[2001:db8::5]:8001"])
def test_the_site_asks_where_the_app_listens(wired, render, listen):
    app = SHOP | ({"listen": listen} if listen else {})
    (server,) = wired("nginx_sites", app)[0]["upstream"]["servers"]
    socket = render("django", "etc/systemd/system/app.socket.j2", django_app=app)
    assert f"\nListenStream={server.removeprefix('unix:')}\n" in socket
    assert server.startswith("unix:") == (not listen or listen.startswith("/"))


def test_the_certificate_lies_where_the_site_looks(wired, evaluate):
    (site,) = wired("nginx_sites", SHOP)
    directory = wired("certificate_directory", SHOP)
    assert site["certificate"] == {
        "fullchain": f"{directory}/shop/fullchain.pem",
        "key": f"{directory}/shop/privkey.pem",
    }
    provided = SHOP | {"certificate": {"source": "files", "key_content": "k", "chain_content": "c"}}
    certificates = wired("certificate_certificates", provided)
    paths = {
        entry["path"]
        for entry in evaluate(
            "certificate",
            "__certificate_entries",
            certificate_certificates=certificates,
            certificate_directory=directory,
        )
    }
    assert set(site["certificate"].values()) <= paths


def test_files_that_lie_elsewhere_are_not_served(wired):
    (site,) = wired("nginx_sites", *APPS["cdn"])
    assert (site["static"], site["media"]) == ([], [])


def test_an_app_has_the_last_word_on_its_site(wired):
    (site,) = wired("nginx_sites", SHOP | {"nginx": {"static": [], "client_max_body_size": "25m", "upstream": {
        "servers": ["10.0.0.1:1", "10.0.0.2:1"]}}})  # fmt: skip
    assert site["static"] == []
    assert site["client_max_body_size"] == "25m"
    assert site["upstream"] == {"servers": ["10.0.0.1:1", "10.0.0.2:1"]}
    assert site["media"] == [{"url": "/media/", "path": "/srv/shop/media/"}]


def test_a_certificate_is_made_unless_it_is_provided(wired):
    made, given = wired("certificate_certificates", BLOG, *APPS["provided"])
    assert made.get("source", "selfsigned") == "selfsigned"
    assert (given["source"], given["key_file"], given["chain_file"]) == ("files", "a.key", "a.pem")
    (kind,) = wired("certificate_certificates", *APPS["rsa"])
    assert (kind["key_type"], kind["days"], kind.get("source", "selfsigned")) == ("rsa", 90, "selfsigned")


@pytest.mark.parametrize(("gunicorn", "seconds"), [({}, 65), ({"keepalive": 30}, 30), ({"keepalive": "4"}, 4)])
def test_nginx_lets_go_of_a_connection_before_gunicorn_does(wired, gunicorn, seconds):
    timeout = wired("nginx_sites", SHOP | {"gunicorn": gunicorn})[0]["upstream"]["keepalive_timeout"]
    assert 1 <= int(timeout.removesuffix("s")) < seconds


def test_values_are_passed_on_to_the_letter(wired):
    config = 'add_header X "{{ 7 * 7 }} ü \\n";\n'
    (site,) = wired("nginx_sites", SHOP | {"nginx": {"extra_config": config}})
    assert site["extra_config"] == config


# Apps against each other


@pytest.fixture(scope="session")
def problems(wired):
    def run(*apps: dict[str, Any]) -> list[str]:
        found = wired("django_apps_problems", *apps)
        assert isinstance(found, list)
        return found

    return run


@pytest.mark.parametrize(
    ("apps", "path", "value", "times"),
    [
        ([SHOP, BLOG | {"name": "shop"}], "name", "shop", 2),
        ([SHOP, BLOG | {"domains": ["blog.example.com", "shop.example.com"]}], "domains", "shop.example.com", 2),
        ([SHOP, BLOG | {"domains": ["SHOP.Example.COM"]}], "domains", "shop.example.com", 2),
        ([SHOP | {"domains": ["a.test", "A.test"]}], "domains", "a.test", 2),
        ([SHOP | {"listen": "10.0.0.5:1"}, BLOG | {"listen": "10.0.0.5:1"}], "listen", "10.0.0.5:1", 2),
        ([SHOP, BLOG | {"name": "shop"}, BLOG | {"name": "shop", "domains": ["x.test"]}], "name", "shop", 3),
    ],
)
def test_what_two_apps_may_not_share_is_named_once(problems, apps, path, value, times):
    (found,) = problems(*apps)
    assert found == f"django_apps[].{path}: '{value}' is there {times} times; each app needs its own"


@pytest.mark.parametrize("apps", [*APPS.values(), [{"name": "a"}, {"domains": ["x.test"]}, {}]])
def test_apps_that_get_along(problems, apps):
    assert problems(*apps) == []


def test_all_clashes_are_said_at_once(problems):
    assert len(problems(SHOP, SHOP)) == 3


def with_units(name: str, *processes: str, timers: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "name": name,
        "domains": [f"{name}.test"],
        "processes": [{"name": one, "command": "x"} for one in processes],
        "timers": [{"name": one, "command": "x", "calendar": "daily"} for one in timers],
    }


@pytest.mark.parametrize(
    "apps",
    [
        [with_units("shop", "mail"), with_units("shop-mail")],
        [with_units("shop-mail"), with_units("shop", timers=("mail",))],
        [with_units("shop", "sync", "mail"), BLOG, with_units("shop-mail", "sync")],
        [with_units("shop-mail", "x"), with_units("shop", "mail")],
    ],
)
def test_an_app_that_would_share_a_unit_with_a_process_of_another_is_named(problems, apps):
    (found,) = problems(*apps)
    assert found == "django_apps[].name: 'shop-mail' would share the unit of 'mail' of app 'shop'; rename one of them"


@pytest.mark.parametrize(
    ("apps", "unit"),
    [
        ([with_units("shop-mail"), with_units("shop", "mail-next")], "mail-next"),  # its stand-in
        ([with_units("shop-mail", "out"), with_units("shop", timers=("mail-out",))], "mail-out"),
    ],
)
def test_units_that_two_apps_would_share_are_named(problems, apps, unit):
    (found,) = problems(*apps)
    assert f"'shop-mail' would share the unit of '{unit}' of app 'shop'; rename one of them" in found


@pytest.mark.parametrize(
    "apps",
    [
        [with_units("shop", "mail", timers=("tidy",)), with_units("blog", "mail", timers=("tidy",))],
        [with_units("shop", "mail"), with_units("shop-two", "mail"), with_units("mail")],
        [with_units("shop", "two-mail"), with_units("shop-two")],
        [{"name": "a", "processes": [{}], "timers": [{"command": "x"}]}, {"processes": [{"name": "x"}]}],
    ],
)
def test_processes_that_get_along(problems, apps):
    assert problems(*apps) == []


# One app or all


def test_all_apps_are_selected_unless_one_is_named(wired):
    assert wired("django_apps_selected", SHOP, BLOG) == [SHOP, BLOG]
    assert wired("django_apps_selected", SHOP, BLOG, app="blog") == [BLOG]


def test_an_app_that_is_not_there_is_said_to_be_so(wired):
    assert wired("django_apps_problems", SHOP, BLOG, app="shop") == []
    assert wired("django_apps_problems", SHOP, BLOG, app="sohp") == ["app: found 'sohp'; give one of: shop, blog"]


def test_only_the_apps_that_are_meant_are_worked_on():
    """A mistake in one app would keep another from being deployed. Provisioning alone is about all of them."""
    paths = [path for path in (ROOT / "playbooks").glob("*.yml") if path.name != "site.yml"]
    tasks = [task for path in paths for play in yaml.safe_load(path.read_text()) for task in play.get("tasks", [])]
    loops = [task["loop"] for task in tasks if task.get("loop_control", {}).get("loop_var") == "django_app"]
    assert len(loops) >= 6
    assert set(loops) == {"{{ django_apps_selected }}"}


@pytest.mark.parametrize("name", ["allow_destructive_migrations", "allow_schema_ahead"])
def test_permissions_are_given_on_the_command_line(wired, name):
    assert wired(f"django_{name}", SHOP) is False
    assert wired(f"django_{name}", SHOP, **{name: "true"}) is True
    assert wired(f"django_{name}", SHOP, **{name: "false"}) is False


def test_singletons_run_on_the_first_host(wired):
    groups = {"app": ["app1", "app2"]}
    assert wired("django_primary", SHOP, groups=groups, inventory_hostname="app1") is True
    assert wired("django_primary", SHOP, groups=groups, inventory_hostname="app2") is False


def test_the_maintenance_page_is_where_djangoctl_puts_it(wired):
    (site,) = wired("nginx_sites", SHOP | {"maintenance_allow": ["192.0.2.7"]}, django_root="/data")
    page = str(App("shop", Path(), {"root": "/data/shop"}).maintenance)
    assert site["maintenance"] == {"page": page, "allow": ["192.0.2.7"]}
