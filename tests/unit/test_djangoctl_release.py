"""Releases on disk: their ids, their records, which of them is live; and how an app is read."""

from __future__ import annotations

import json
import os
import re

import pytest
from conftest import FLEET
from djangoctl import app as apps
from djangoctl import release as releases
from djangoctl.errors import ConfigError

# Each setting of a build, with another value than the role gives it by default.
OTHER = {
    "python": "/usr/bin/python3.13",
    "packaged": True,
    "project_dir": "src",
    "requirements": "requirements/live.txt",
    "settings_module": "shop.settings.live",
    "interface": "asgi",
    "application": "shop.other:application",
    "static_root": "collected",
    "media_root": "uploads",
    "shared_paths": ["var"],
    "files": ["local.py"],
    "hooks": ["manage.py compress"],
}


def add_file(app, name, content):
    path = app.config / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


# Identity


def test_the_id_is_the_same_on_every_host(make_app):
    assert releases.identify(make_app(), "v1", "abc") == releases.identify(make_app("shop", root="/srv/x"), "v1", "abc")


def test_every_build_setting_is_known_here(app_settings):
    assert set(OTHER) == set(app_settings["build"])


@pytest.mark.parametrize("key", OTHER)
def test_identity_changes_with_each_setting_of_the_build(make_app, key):
    before = releases.identify(make_app(), "v1", "abc")
    app = make_app(build={key: OTHER[key]})
    add_file(app, "local.py", "x = 1\n")
    assert releases.identify(app, "v1", "abc") != before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gunicorn", {"threads": 99}),
        ("sandbox", ["NoNewPrivileges=no"]),
        ("domains", ["other.example.com"]),
        ("minimum_free_space", 1),
    ],
)
def test_identity_does_not_depend_on_how_the_app_runs(make_app, app_settings, key, value):
    assert app_settings[key] != value
    before = releases.identify(make_app(), "v1", "abc")
    assert releases.identify(make_app(**{key: value}), "v1", "abc") == before


def test_identity_changes_with_the_source_and_with_added_files(make_app):
    app = make_app(build={"files": ["local.py"]})
    seen = set()
    for revision, content in [("abc", "x = 1\n"), ("abc", "x = 2\n"), ("abd", "x = 2\n")]:
        add_file(app, "local.py", content)
        seen.add(releases.identify(app, "v1", revision))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("version", "label"),
    [
        ("v1.4.2", "v1.4.2"),
        ("4f2a9c81d0be", "4f2a9c81d0be"),
        ("feature/new login", "feature-new-login"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        ("a\nb\0c", "a-b-c"),
        ("ünï☃", "n"),
        ("☃", "release"),
        ("", "release"),
        ("..", "release"),
        ("$(id) `id` %h {{ x }}", "id-id-h-x"),
        ("v" * 300, "v" * 40),
    ],
)
def test_label_is_readable_and_harmless(make_app, version, label):
    identity = releases.identify(make_app(), version, "abc")
    assert re.fullmatch(re.escape(label) + "-[0-9a-f]{8}", identity)


# Records


def test_a_record_is_written_atomically(make_app, make_release):
    release = make_release(make_app(), "v1-1")
    release.write(error="ünï\n")
    assert json.loads((release.path / "release.json").read_text())["error"] == "ünï\n"
    assert releases.read_json(release.path / "release.json") == release.record
    assert not list(release.path.glob(".release.json*"))


def test_a_full_disk_leaves_the_previous_record(make_app, make_release, monkeypatch):
    release = make_release(make_app(), "v1-1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        release.write(state="other")
    assert releases.read_json(release.path / "release.json")["state"] == "good"


@pytest.mark.parametrize("content", [None, b"", b"{", b"null", b"[]", b'"good"', b"\xff\xfe\0\0"])
def test_a_broken_record_is_a_failed_release(make_app, make_release, content):
    app = make_app()
    path = make_release(app, "v1-1").path / "release.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert releases.read(app, "v1-1").state == releases.FAILED
    assert [release.state for release in releases.all_of(app)] == [releases.FAILED]


def test_releases_come_in_the_order_they_were_built(make_app, make_release):
    app = make_app()
    for identity in ("b", "c", "a"):
        make_release(app, identity)
    (app.releases / "stray file").write_text("")
    assert [release.id for release in releases.all_of(app)] == ["b", "c", "a"]


def test_an_app_without_releases_has_none(make_app):
    app = make_app()
    app.packages.rmdir()
    app.releases.rmdir()
    assert releases.all_of(app) == []


@pytest.mark.parametrize(
    "identity", ["", "other", "../releases/v1-1", ".packages", ".", "..", "/etc", "v1-1/source", "v1-1\n", "-x"]
)
def test_reading_something_that_is_no_release(make_app, make_release, identity):
    app = make_app()
    make_release(app, "v1-1")
    with pytest.raises(ConfigError, match=f"shop has no release '{re.escape(identity)}'") as caught:
        releases.read(app, identity)
    assert "djangoctl shop releases" in caught.value.hint


def test_an_id_of_any_length_is_refused_in_few_words(make_app):
    with pytest.raises(ConfigError, match=r"has no release 'x+…'") as caught:
        releases.read(make_app(), "x" * 5000)
    assert len(caught.value.message) < 200


# Links


def test_nothing_is_live_at_first(make_app):
    assert releases.live_id(make_app()) is None


def test_the_link_is_replaced_without_a_moment_without_it(make_app, make_release, monkeypatch):
    app = make_app()
    old, new = make_release(app, "old", live=True), make_release(app, "new")
    seen = []
    replace, unlink = os.replace, os.unlink

    def watch(call):
        def watched(*words, **options):
            seen.append(releases.live_id(app))
            result = call(*words, **options)
            seen.append(releases.live_id(app))
            return result

        return watched

    monkeypatch.setattr(os, "replace", watch(replace))
    monkeypatch.setattr(os, "unlink", watch(unlink))
    releases.point(app.current, new.path)
    assert set(seen) == {old.id, new.id}
    assert releases.live_id(app) == new.id
    assert not os.readlink(app.current).startswith("/"), "a directory that is moved would lead back to the old place"
    assert sorted(path.name for path in app.root.glob(".*")) == []


def test_a_temporary_link_of_a_killed_run_is_replaced(make_app, make_release):
    app = make_app()
    new = make_release(app, "new")
    (app.root / f".current.{os.getpid()}").symlink_to("nowhere")
    releases.point(app.current, new.path)
    assert app.current.resolve() == new.path.resolve()


def test_a_directory_in_place_of_the_link_is_no_release(make_app):
    app = make_app()
    app.current.mkdir()
    assert releases.live_id(app) is None


# The app


def test_an_unknown_app_is_reported_with_the_known_ones(make_app):
    make_app("shop")
    make_app("blog")
    with pytest.raises(ConfigError, match="there is no app 'shpo'") as caught:
        apps.load("shpo")
    assert caught.value.hint == "known here: blog, shop"
    assert apps.names() == ["blog", "shop"]


def test_a_host_without_apps(make_app, monkeypatch, tmp_path):
    monkeypatch.setattr(apps, "CONFIG_ROOT", tmp_path / "nowhere")
    assert apps.names() == []
    with pytest.raises(ConfigError) as caught:
        apps.load("shop")
    assert caught.value.hint == "known here: none"


def test_a_damaged_configuration_is_an_error_message_and_no_traceback(make_app):
    app = make_app()
    (app.config / "app.json").write_text('{"name": ')
    with pytest.raises(ConfigError, match=r"shop/app\.json"):
        apps.load("shop")


WRONG = {str: 5, int: "5", float: True, bool: "yes", dict: [], list: "x"}


def leaves(shape, where=()):
    for key, kind in shape.items():
        if isinstance(kind, dict) and "*" not in kind:
            yield from leaves(kind, (*where, key))
        yield (*where, key), WRONG[kind if isinstance(kind, type) else type(kind)]


@pytest.mark.parametrize(
    ("keys", "value"),
    list(leaves({**apps.SHAPE, **apps.ADDED})),
    ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else "",
)
def test_a_value_of_another_type_is_named_with_its_key_and_its_file(make_app, keys, value):
    app = make_app(
        site={"domains": ["shop.example.com"], "port": 443, "tls": True},
        site_cache={"path": "/var/cache/nginx/sites/shop", "purge_on_release": True},
        fleet=FLEET,
    )
    content = json.loads((app.config / "app.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (app.config / "app.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(f"{app.config}/app.json is damaged: '{'.'.join(keys)}' is")):
        apps.load("shop")


def test_every_key_of_app_json_has_a_type(app_settings):
    assert set(apps.SHAPE) <= set(app_settings) <= set(apps.SHAPE) | set(apps.ADDED)


@pytest.mark.parametrize("key", apps.SHAPE)
def test_a_key_that_is_missing_is_named(make_app, key):
    app = make_app()
    content = json.loads((app.config / "app.json").read_text())
    del content[key]
    (app.config / "app.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=f"app.json is damaged: '{key}' is missing"):
        apps.load("shop")


@pytest.mark.parametrize("content", ["[]", "5", "null", '"shop"', "[" * 100_000, "\x80"])
def test_a_configuration_that_is_no_mapping(make_app, content):
    app = make_app()
    (app.config / "app.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"shop/app\.json is damaged"):
        apps.load("shop")


@pytest.mark.parametrize(
    "name", ["shop/", "../etc/shop", "/etc/shop", ".", "..", "", "Shop", "shop\n", "s" * 5000, "-x"]
)
def test_a_name_that_no_app_has_does_not_get_near_a_path(make_app, name):
    make_app()
    with pytest.raises(ConfigError, match="there is no app"):
        apps.load(name)


def test_an_older_pinned_configuration_still_starts_the_app(make_app):
    """It was written before the role knew some of the keys. The live release does not stay down for them."""
    app = make_app()
    (app.config / "live").mkdir()
    old = {"name": "shop", "unit": "django-shop", "root": str(app.root), "build": {"project_dir": "."}}
    (app.config / "live/app.json").write_text(json.dumps(old))
    assert apps.load("shop", pinned=True)["unit"] == "django-shop"


@pytest.mark.parametrize(
    "content", [{"history": 5}, {"history": [1]}, {"units": "x"}, {"sockets": [[]]}, {"release": []}, {"owing": 1}]
)
def test_a_damaged_value_of_a_record_is_not_read(tmp_path, content):
    (tmp_path / "live.json").write_text(json.dumps(content | {"activated_at": "now"}))
    assert releases.read_json(tmp_path / "live.json") == {"activated_at": "now"}


def test_the_fingerprint_covers_what_a_service_starts_with(make_app, app_settings, tmp_path, monkeypatch):
    units = [tmp_path / "socket", tmp_path / "service"]
    monkeypatch.setattr(apps.App, "units", property(lambda self: units))
    seen = [make_app().fingerprint()]
    assert make_app().fingerprint() == seen[0]
    app = make_app(gunicorn=app_settings["gunicorn"] | {"threads": 3})
    seen.append(app.fingerprint())
    (app.config / "env").write_text('A="1"\n')
    seen.append(app.fingerprint())
    for path in units:
        path.write_text("[Unit]\n")
        seen.append(app.fingerprint())
    assert len(set(seen)) == 5
