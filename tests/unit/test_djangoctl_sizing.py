"""How many workers `workers: auto` is."""

from __future__ import annotations

import runpy

import pytest
import yaml
from djangoctl import launch, sizing
from djangoctl.sizing import Size

CLASSES = ("sync", "gthread", "gevent", "tornado", "asgi")


@pytest.mark.parametrize(
    ("size", "processors", "memory", "wanted"),
    [
        (Size(2, more=1), 1, 4000, 3),
        (Size(2, more=1), 2, 4000, 5),
        (Size(2, more=1), 5, 4000, 11),
        (Size(2, more=1), 6, 4000, 12),  # and no more
        (Size(2, more=1), 64, 4000, 12),
        (Size(1), 3, 4000, 3),
        (Size(1), 1, 4000, 2),  # and no less
        (Size(1, most=64), 32, 8000, 32),
        (Size(2, more=1), 2, 650, 3),  # half of the memory is for the rest of the host
        (Size(1), 2, 300, 1),
        (Size(2, more=1, memory_each=400), 2, 100, 1),
    ],
)
def test_size_follows_processors_and_memory(size, processors, memory, wanted):
    assert size.workers(processors, memory) == wanted


def test_every_class_that_can_be_given_has_a_size():
    specs = yaml.safe_load((launch.GUNICORN.parents[2] / "meta/argument_specs.yml").read_text())["argument_specs"]
    app = specs["main"]["options"]["django_app"]["options"]
    choices = app["gunicorn"]["options"]["worker_class"]["choices"]
    assert sorted(sizing.SIZES) == sorted(choices) == sorted(CLASSES)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_each_class_is_sized_by_its_own_line(monkeypatch, worker_class):
    before = {other: sizing.auto_workers(other, 2, 4000) for other in CLASSES} | {worker_class: 14}
    monkeypatch.setitem(sizing.SIZES, worker_class, Size(7, most=20))
    assert {other: sizing.auto_workers(other, 2, 4000) for other in CLASSES} == before


@pytest.mark.parametrize(("worker_class", "wanted"), [("sync", 9), ("gthread", 4), ("gevent", 4), ("asgi", 4)])
def test_what_waits_within_a_worker_needs_no_more_workers_than_processors(worker_class, wanted):
    assert sizing.auto_workers(worker_class, 4, 4000) == wanted


def test_class_of_a_setting_is_sized_like_sync():
    """Such as `settings: {worker_class: shop.workers.Own}`."""
    assert sizing.auto_workers("shop.workers.Own", 2, 4000) == sizing.auto_workers("sync", 2, 4000)


@pytest.mark.parametrize(("given", "wanted"), [(0, 9), (4, 4)])
def test_gunicorn_is_told_what_was_given_or_what_suits_the_host(make_app, app_settings, monkeypatch, given, wanted):
    gunicorn = app_settings["gunicorn"] | {"workers": given, "worker_class": "sync", "extra": {}}
    app = make_app(gunicorn=gunicorn)
    monkeypatch.setenv("DJANGOFLEET_APP", str(app.config / "app.json"))
    monkeypatch.setattr(sizing, "processors", lambda: 4)
    monkeypatch.setattr(sizing, "memory", lambda: 4000)
    assert runpy.run_path(str(launch.GUNICORN))["workers"] == wanted


def test_host_is_measured():
    assert sizing.processors() > 0
    assert sizing.memory() > 100
