"""Apps that go: what is removed, what stays, and that nothing of another app is touched."""

from __future__ import annotations

import json
import subprocess

import pytest
from djangoctl import app as apps
from djangoctl import cli, tree
from djangoctl import units as unit_files
from djangoctl.release import write_json

MARKED = "[Unit]\nX-Djangofleet-App=shop\n"


class FakeSystemd:
    """Units that stop, apart from the stubborn ones."""

    def __init__(self):
        self.asked, self.stubborn, self.up = [], set(), set()

    def control(self, *words):
        self.asked.append(words)
        units = {word for word in words[1:] if not word.startswith("-")}
        if words[0] == "disable" and any(not (unit_files.DIRECTORY / unit).exists() for unit in units):
            return subprocess.CompletedProcess(words, 1, "", "Failed to disable unit: Unit file does not exist.")
        if words[0] == "stop" or "--now" in words:
            self.up -= units
        return subprocess.CompletedProcess(words, 0, "", "")

    def active(self, unit):
        return unit in self.stubborn | self.up


@pytest.fixture
def system(monkeypatch):
    fake = FakeSystemd()
    monkeypatch.setattr(cli, "Systemd", lambda: fake)
    return fake


@pytest.fixture
def units(tmp_path, monkeypatch):
    """The unit files of two apps: one has a name that begins as the other's."""
    directory = tmp_path / "units"
    directory.mkdir()
    monkeypatch.setattr(unit_files, "DIRECTORY", directory)
    for name in ("django-shop.socket", "django-shop.service", "django-shop-next.service", "nginx.service"):
        (directory / name).write_text("[Unit]\n")
    for name in ("django-shop-worker@.service", "django-shop-gone.timer", "django-shop-1a2b.socket"):
        (directory / name).write_text(MARKED)
    for name in ("django-shop-two.service", "django-shop-two-worker.service"):
        (directory / name).write_text(MARKED.replace("shop", "shop-two"))
    return directory


@pytest.fixture
def app(make_app, units):
    make_app("shop-two")
    app = make_app(processes=["django-shop-worker@1.service"], timers=[])
    write_json(app.root / "live.json", {"units": ["django-shop-gone.timer"]})
    (app.config / "secret").write_text("SECRET_KEY=x\n")
    (app.config / "files").mkdir()
    (app.root / "media/a").write_text("a")
    return app


def ctl(capsys, *words):
    code = cli.main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_units_and_configuration_go_and_data_stays(app, units, system, capsys):
    assert ctl(capsys, "shop", "remove") == (0, {"app": "shop", "changed": True, "data": f"kept in {app.root}"})
    stopped = set(system.asked[0])
    assert {"stop", "django-shop.socket", "django-shop.service", "django-shop-worker@1.service"} <= stopped
    assert "django-shop-1a2b.socket" in stopped, "the socket of another address"
    assert "django-shop-worker@.service" not in stopped
    assert "django-shop-gone.timer" in stopped, "an earlier configuration had it"
    assert sorted(path.name for path in units.iterdir()) == [
        *("django-shop-two-worker.service", "django-shop-two.service", "nginx.service"),
    ]
    assert [path.name for path in app.config.iterdir()] == ["secret"]
    assert (app.root / "media/a").exists()
    assert apps.names() == ["shop-two"]


def test_a_unit_whose_file_is_missing_keeps_nothing_running(app, units, system, capsys):
    """A crash came between the removal of a unit and the record of it. A new process has no file before it is live."""
    system.up = {"django-shop.socket", "django-shop.service", "django-shop-worker@1.service"}
    (units / "django-shop-gone.timer").unlink()
    assert ctl(capsys, "shop", "remove")[0] == 0
    assert system.up == set()
    disabled = [set(words) for words in system.asked if words[0] == "disable"]
    assert {"django-shop.socket", "django-shop.service"} <= disabled[0], "else a link stays that a boot follows"


def test_data_goes_when_it_is_said(app, system, capsys):
    subprocess.run(["mkdir", "-p", f"{app.releases}/failed/{'d/' * 1500}"], check=True)  # by hostile code of a build
    try:
        assert ctl(capsys, "shop", "remove", "--with-data")[0] == 0
    finally:
        tree.remove(app.releases)
    assert not app.root.exists()
    assert not app.config.exists()
    assert apps.names() == ["shop-two"]


def test_an_app_that_does_not_stop_is_left_whole(app, units, system, capsys):
    system.stubborn = {"django-shop-worker@1.service"}
    before = sorted(units.iterdir())
    code, answer = ctl(capsys, "shop", "remove", "--with-data")
    assert (code, answer["state"]) == (7, "nothing was removed")
    assert sorted(units.iterdir()) == before
    assert (app.config / "app.json").exists()
    assert (app.root / "media/a").exists()


def test_a_dry_run_removes_nothing(app, units, system, capsys):
    before = sorted(app.root.rglob("*"))
    assert ctl(capsys, "shop", "remove", "--with-data", "--dry-run")[1]["changed"] is True
    assert (sorted(app.root.rglob("*")), system.asked) == (before, [])
