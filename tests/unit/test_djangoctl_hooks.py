"""Hooks: how they run, and what a failing one reports."""

from __future__ import annotations

import subprocess

import pytest
from djangoctl.errors import HookError
from djangoctl.hooks import run_hooks


class FakeSystemd:
    def __init__(self, failing=""):
        self.ran, self.failing = [], failing

    def manage(self, app, release, words, **options):
        self.ran.append((release, words, options))
        if words[0] == self.failing:
            return subprocess.CompletedProcess(words, 3, "line\n" * 40 + "the cause\n", None)
        return subprocess.CompletedProcess(words, 0, f"said {words[0]}\n", None)


@pytest.fixture
def app(make_app):
    commands = ["manage.py warm --only 'two words'", "second", "third"]
    return make_app(hooks={"before_activate": commands, "after_activate": ["later"]})


@pytest.fixture
def release(app, make_release):
    make_release(app, "old", live=True)
    return make_release(app, "new")


def test_hooks_of_one_point_run_in_order(app, release):
    system = FakeSystemd()
    run_hooks(app, release, system, "before_activate")
    assert [words for _release, words, _options in system.ran] == [
        ["manage.py", "warm", "--only", "two words"],
        ["second"],
        ["third"],
    ]
    # As the service runs: in the release, and in the sandbox of the service.
    assert {(identity, *options.items()) for identity, _words, options in system.ran} == {("new", ("purpose", "hook"))}
    assert release.log.read_text() == (
        "before_activate: manage.py warm --only 'two words'\nsaid manage.py\n"
        "before_activate: second\nsaid second\nbefore_activate: third\nsaid third\n"
    )


def test_a_failing_hook_stops_the_ones_after_it(app, release):
    system = FakeSystemd(failing="second")
    with pytest.raises(HookError) as caught:
        run_hooks(app, release, system, "before_activate")
    assert [words[0] for _release, words, _options in system.ran] == ["manage.py", "second"]
    error = caught.value
    assert error.message == "django_app.hooks.before_activate of app 'shop': 'second' failed with exit code 3"
    assert (error.code, error.state) == (8, "release old is live")
    assert (len(error.log.splitlines()), error.log.splitlines()[-1]) == (25, "the cause")
    assert str(release.log) in error.hint
    assert release.log.read_text().endswith("the cause\n")


def test_a_hook_that_is_no_command_is_named_as_the_inventory_has_it(make_app, make_release):
    app = make_app(hooks={"after_activate": ["echo 'x"]}, path="django_apps[shop]")
    with pytest.raises(HookError, match=r"^django_apps\[shop\]\.hooks\.after_activate: .* no closing quotation"):
        run_hooks(app, make_release(app, "v1-1"), FakeSystemd(), "after_activate")
