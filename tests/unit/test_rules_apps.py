"""The rules about the apps of an inventory, row by row: what they mean for other roles, and what they may not share."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.plugin_utils import apps as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, resolve, spec_of

SHOP = {"name": "shop", "domains": ["shop.example.com", "www.shop.example.com"], "source": {"path": "/x"}}
BLOG = {"name": "blog", "domains": ["blog.example.com"], "source": {"path": "/y"}}
ONE, TWO = {"app": ["app1"]}, {"app": ["app1", "app2"]}
WANTED = "a list of mappings, each with name, domains and source"


def there(_path: str, _kind: str) -> bool:
    return True


def problems(*apps: Any, groups: Any = ONE, name: str = "", is_there: Any = there, **given: Any) -> list[str]:
    return rules.apps_problems(list(apps), groups, name, given, is_there)


def shared(*apps: Any) -> list[str]:
    """The lines about apps and each other; what is missing in one of them is not asked here."""
    return [line for line in problems(*apps) if line.startswith("django_apps[].")]


# The resolved list


def test_an_app_has_all_its_defaults_and_what_follows_from_them():
    (app,) = rules.resolve_apps([SHOP], TWO)
    assert set(spec_of("django")["django_app"]["options"]) - set(app) == {
        *("settings_module", "wsgi", "asgi", "requirements", "python", "secret_key", "static_root", "media_root")
    }
    assert (app["hosts"], app["primary"]) == (["app1", "app2"], "app1")
    assert (app["user"], app["home"]) == ("django-shop", "/srv/shop")
    assert (app["listen"], app["upstream"]) == ("/run/djangofleet/shop.sock", "unix:/run/djangofleet/shop.sock")
    assert app["static"] == [{"url": "/static/", "path": "/srv/shop/static/"}]
    assert app["media"] == [{"url": "/media/", "path": "/srv/shop/media/"}]
    assert app["maintenance_page"] == "/srv/shop/static/.maintenance.html"
    assert (app["certificate_name"], app["packages"]) == ("shop", [])


@pytest.mark.parametrize(
    ("app", "key", "value"),
    [
        ({"listen": "10.0.0.5:8001"}, "upstream", "10.0.0.5:8001"),
        ({"listen": "/run/x.sock"}, "upstream", "unix:/run/x.sock"),
        ({"static_url": "https://cdn.example.com/"}, "static", []),
        ({"media_url": "/m/"}, "media", [{"url": "/m/", "path": "/data/shop/media/"}]),
        ({"system_packages": ["a"], "build_packages": "b"}, "packages", ["a", "b"]),
        ({"domains": "localhost"}, "domains", ["localhost"]),
        ({"gunicorn": {"keepalive": "4"}}, "primary", "app1"),
    ],
)
def test_what_an_app_says_is_followed(app, key, value):
    (found,) = rules.resolve_apps([SHOP | app], ONE, "/data")
    assert found[key] == value


@pytest.mark.parametrize("groups", [{}, {"app": []}])
def test_an_inventory_without_hosts_for_apps_has_no_primary(groups):
    (app,) = rules.resolve_apps([SHOP], groups)
    assert (app["hosts"], app["primary"]) == ([], "")


def test_what_was_given_is_left_as_it_is():
    given = {**SHOP, "nginx": {"upstream": {"keepalive": 4}}}
    before = repr(given)
    apps = rules.resolve_apps([given], ONE)
    rules.app_sites(apps)
    rules.app_certificates(apps)
    assert repr(given) == before


@pytest.mark.parametrize(
    ("apps", "said"),
    [
        (None, f"django_apps: is missing; give {WANTED}"),
        ({"shop": SHOP}, f"give {WANTED}"),
        ("shop", f"django_apps: found 'shop'; give {WANTED}"),
        (["shop"], "django_apps[0]: found 'shop'; give a mapping with name, domains and source"),
        ([SHOP | {"domain": "x"}], "django_apps[shop].domain: is not known; did you mean 'domains'?"),
        ([{"name": "shop"}], "django_apps[shop].domains: is missing; give a list of texts"),
        ([{}], "django_apps[0].name: is missing; give a text"),
    ],
)
def test_what_is_no_list_of_apps_is_told(apps, said):
    found = rules.apps_problems(apps, ONE, "", {}, there)
    assert said in found[0]
    with pytest.raises(ValueError, match=re.escape(found[0])):
        rules.resolve_apps(apps, ONE)
    assert rules.resolve_apps(apps, ONE, partial=True) == []


@pytest.mark.parametrize("apps", [{"shop": {"secret_key": "s3cret"}}, [[{"secret_key": "s3cret"}]]])
def test_what_is_no_list_of_apps_is_told_without_its_secrets(apps):
    (line,) = rules.apps_problems(apps, ONE, "", {}, there)
    assert "s3cret" not in line


def test_no_apps_are_no_mistake_of_the_list():
    assert problems() == []
    assert rules.resolve_apps([], ONE) == []


# One app or all


def test_a_mistake_of_another_app_does_not_stop_the_one_that_is_meant():
    bad = BLOG | {"gunicorn": {"worker": 3}, "domains": ["a b"]}
    assert problems(SHOP, bad, name="shop") == []
    assert problems(SHOP, bad) == ["django_apps[blog].gunicorn.worker: is not known; did you mean 'workers'?"]


def test_apps_are_selected_by_name():
    assert rules.apps_selected([SHOP, BLOG]) == [SHOP, BLOG]
    assert rules.apps_selected([SHOP, BLOG, "x"], "blog") == [BLOG]
    assert rules.apps_selected([SHOP], "blog") == rules.apps_selected(None) == rules.apps_selected("x") == []


# What an app says to other roles


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ({"nginx": {"buffring": False}}, "nginx.buffring: is not known; did you mean 'buffering'?"),
        ({"nginx": {"hsts": {"max_age": "long"}}}, "nginx.hsts.max_age: found 'long'; give a whole number"),
        ({"nginx": {"hsts": {"maxage": 1}}}, "nginx.hsts.maxage: is not known; did you mean 'max_age'?"),
        ({"nginx": {"static": [{"url": "/x/"}]}}, "nginx.static[0].path: is missing; give a text"),
        ({"certificate": {"source": "acem"}}, "certificate.source: found 'acem'; give one of selfsigned, files, acme"),
        ({"certificate": {"dasy": 3}}, "certificate.dasy: is not known; did you mean 'days'?"),
    ],
)
def test_a_mistake_is_told_where_the_user_has_made_it(app, said):
    assert problems(SHOP | app) == [f"django_apps[shop].{said}"]


@pytest.mark.parametrize(
    "app",
    [
        {"nginx": {"upstream": {"keepalive": 4}, "maintenance": {"allow": ["10.0.0.0/8"]}}},
        {"nginx": {"static": [], "redirect_to_https": False}},
        {"certificate": {"key_type": "rsa", "days": 90}},
    ],
)
def test_an_app_need_not_say_what_is_wired(app):
    assert problems(SHOP | app) == []
    (site,) = rules.app_sites(rules.resolve_apps([SHOP | app], ONE))
    assert site["upstream"]["servers"] == ["unix:/run/djangofleet/shop.sock"]
    assert site["maintenance"]["page"] == "/srv/shop/static/.maintenance.html"


# Several hosts


ENOUGH = {"database": {"url": "postgres://db/x"}}


@pytest.mark.parametrize(
    ("app", "refused"),
    [
        ({}, True),
        ({"media_url": "/uploads/"}, True),
        ({"media": {"shared": True}}, False),
        ({"media_url": "https://media.example.com/"}, False),
    ],
)
def test_several_hosts_of_an_app_share_its_uploads(app, refused):
    found = problems(SHOP | ENOUGH | app, groups=TWO)
    assert [line.startswith("django_apps[shop].media.shared: is missing") for line in found] == [True] * refused
    assert problems(SHOP | ENOUGH | app) == []


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ({}, ["database.url: is missing, while the app has 2 hosts"]),
        (ENOUGH, []),
        ({"environment": {"SECRET_KEY": "x", "DATABASE_URL": "sqlite:////srv/shop/data/db.sqlite3"}}, []),
    ],
)
def test_several_hosts_of_an_app_share_its_database(app, said):
    found = problems(SHOP | {"media": {"shared": True}} | app, groups=TWO)
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert line.startswith(f"django_apps[shop].{words}")
        assert "; give " in line
    assert problems(SHOP | app) == []
    assert rules.apps_problems([SHOP | app], TWO, "", {}, there, separate=True) == []


# The other variables of the role, and the controller


def test_the_variables_about_all_apps_are_checked_too():
    assert problems(SHOP, django_keep_releases="many") == ["django_keep_releases: found 'many'; give a whole number"]


def test_a_source_that_is_not_there_is_told():
    (found,) = problems(SHOP, is_there=lambda _path, _kind: False)
    assert found == "django_apps[shop].source.path: found '/x'; give a directory on the controller"


# Misspelt variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("django_keep_release", "django_keep_releases"),
        ("nginx_site", "nginx_sites"),
        ("django_app_s", "django_apps"),
        ("certificate_certificate", "certificate_certificates"),
        ("host_timezon", "host_timezone"),
        ("nginx_clientmaxbodysize", "nginx_client_max_body_size"),
    ],
)
def test_a_name_that_comes_near_one_of_ours_is_told(name, meant):
    assert rules.misspelt_variables(["x", name]) == [f"{name}: is not known; did you mean '{meant}'?"]


@pytest.mark.parametrize(
    "name",
    [
        *("django_apps", "django_apps_selected", "django_release", "nginx_sites", "keep_releases", "django"),
        *("certificate", "host", "nginx"),
        *("nginx_foo_port", "host_name", "django_shop_version", "vault_django_keep_release", "ansible_host"),
    ],
)
def test_names_that_are_known_or_somebody_elses_are_left_alone(name):
    assert rules.misspelt_variables([name]) == []


# Apps against each other


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
def test_what_two_apps_may_not_share_is_named_once(apps, path, value, times):
    (found,) = shared(*apps)
    assert found == f"django_apps[].{path}: '{value}' is there {times} times; each app needs its own"


@pytest.mark.parametrize(
    "apps",
    [
        [SHOP],
        [SHOP, BLOG],
        [],
        [{"name": "a"}, {"domains": ["x.test"]}, {}],
        [SHOP | {"state": "absent"}, BLOG | {"domains": SHOP["domains"]}],  # what goes leaves its domains
    ],
)
def test_apps_that_get_along(apps):
    assert shared(*apps) == []


def test_all_clashes_are_said_at_once():
    assert len(shared(SHOP, SHOP)) == 3


def with_units(name: str, *processes: str, timers: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "name": name,
        "domains": [f"{name}.test"],
        "source": {"package": name},
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
def test_an_app_that_would_share_a_unit_with_a_process_of_another_is_named(apps):
    (found,) = shared(*apps)
    assert found == "django_apps[].name: 'shop-mail' would share the unit of 'mail' of app 'shop'; rename one of them"


@pytest.mark.parametrize(
    ("apps", "unit"),
    [
        ([with_units("shop-mail"), with_units("shop", "mail-next")], "mail-next"),  # its stand-in
        ([with_units("shop-mail", "out"), with_units("shop", timers=("mail-out",))], "mail-out"),
    ],
)
def test_units_that_two_apps_would_share_are_named(apps, unit):
    (found,) = shared(*apps)
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
def test_processes_that_get_along(apps):
    assert shared(*apps) == []


# Static and uploaded files under hosts of their own


def recipe() -> dict:
    """The inventory that docs/behind-a-balancer.md gives."""
    text = (ROLES.parent / "docs/behind-a-balancer.md").read_text()
    part = text.partition("## Static and uploaded files under hosts of their own")[2]
    return yaml.safe_load(part.partition("```yaml")[2].partition("```")[0])


def test_files_that_nobody_serves_are_told():
    given = recipe()
    static, media = rules.apps_warnings(given["django_apps"])
    assert static.startswith("django_apps[shop].static_url: is on static.example.com")
    assert media.startswith("django_apps[shop].media_url: is on media.example.com")
    assert rules.apps_warnings(given["django_apps"], given["nginx_sites"]) == []
    assert rules.apps_warnings([SHOP]) == []
    assert rules.apps_warnings([app | {"state": "absent"} for app in given["django_apps"]]) == []


def test_the_recipe_serves_what_the_app_names():
    given = recipe()
    assert problems(*given["django_apps"]) == []
    (app,) = rules.resolve_apps(given["django_apps"], {"app": ["web1"]})
    assert (app["static"], app["media"]) == ([], [])
    served = {}
    for site in given["nginx_sites"]:
        assert resolve(spec_of("nginx")["nginx_sites"]["options"], site, "nginx_sites[]")[1] == []
        served |= {f"https://{site['domains'][0]}{item['url']}": item["path"] for kind in ("static", "media")
                   for item in site.get(kind, [])}  # fmt: skip
        (certificate,) = [one for one in given["certificate_certificates"] if one["name"] == site["name"]]
        assert certificate["domains"] == site["domains"]
        assert f"/{site['name']}/" in site["certificate"]["key"]
    assert served == {app["static_url"]: f"{app['home']}/static/", app["media_url"]: f"{app['home']}/media/"}


# Apps that go

GONE = {"name": "old", "state": "absent"}


def test_an_app_that_goes_needs_its_name_only():
    assert problems(SHOP, GONE) == []
    assert problems({"name": "a b", "state": "absent"})[0].startswith("django_apps[a b].name: found 'a b'; give")
    assert rules.selection_problems([SHOP, GONE], "old") == []


def test_an_app_that_goes_has_no_site_and_is_not_deployed():
    both = [SHOP, GONE]
    assert [app["name"] for app in rules.resolve_apps(both, ONE)] == ["shop"]
    assert [rules.apps_selected(both), rules.apps_selected(both, absent=True)] == [[SHOP], [GONE]]
    assert [rules.apps_selected(both, "old"), rules.apps_selected(both, "shop", absent=True)] == [[], []]


def test_an_app_that_is_named_nowhere_is_told():
    paths = [f"/etc/djangofleet/{name}/app.json" for name in ("shop", "old", "lost")]
    (line,) = rules.apps_left([SHOP, GONE], paths)
    assert line.startswith("lost: is on this host")
    assert "{name: lost, state: absent}" in line
    assert rules.apps_left(None, []) == []


# Private uploads and pages of errors


def test_private_uploads_and_pages_reach_the_site():
    given = {**SHOP, "media": {"private": ["invoices/"]}, "error_pages": {"404": "404.html", "maintenance": "m.html"}}
    (site,) = rules.app_sites(rules.resolve_apps([given], ONE))
    assert site["media"] == [{"url": "/media/", "path": "/srv/shop/media/", "private": ["invoices/"]}]
    assert site["error_pages"] == {"404": "/srv/shop/static/.errors/404.html"}
    (plain,) = rules.app_sites(rules.resolve_apps([SHOP], ONE))
    assert plain["media"] == [{"url": "/media/", "path": "/srv/shop/media/"}]
    assert "error_pages" not in plain


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (
            {"media": {"private": ["../x"]}},
            "media.private[0]: found '../x'; give a directory below it such as invoices/",
        ),
        (
            {"media": {"private": ["a"]}, "media_url": "https://cdn.example.com/"},
            "media.private: is given and django_apps[shop].media_url is on another host",
        ),
        ({"error_pages": {"200": "a.html"}}, "error_pages: found '200'; give one of 401, 403, 404"),
        ({"error_pages": {"503": "a.html"}}, "error_pages: found '503'; give maintenance, the page of a closed site"),
        ({"error_pages": {"404": "/etc/passwd"}}, "error_pages.404: found '/etc/passwd'; give the name of a template"),
        ({"error_pages": {"404": "a/../../b"}}, "error_pages.404: found 'a/../../b'"),
        ({"error_pages": {"404": ""}}, "error_pages.404: found ''"),
        ({"media": {"public": ["a"]}}, "media.public: is not known"),
    ],
)
def test_private_uploads_and_pages_that_cannot_be(app, said):
    (found,) = problems({**SHOP, **app})
    assert found.startswith(f"django_apps[shop].{said}"), found
