"""Secrets change under load, by the inventory and by the playbook. Nobody is turned away, and nothing old is left."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from rotating import SECRETS, Site, is_logged_in
from shared.outside import PROVE, Browser


@pytest.fixture(scope="module")
def site(name, authority) -> Site:
    return Site(name, authority)


@dataclass(frozen=True)
class Changed:
    """What a run has changed of an app.

    :param said: what it printed, as loud as can be.
    :param commands: the command lines of the host meanwhile.
    """

    app: str
    before: dict[str, str]
    after: dict[str, str]
    requests: int
    said: str
    commands: list[str]


def change(site: Site, app: str, run: Callable[[], str]) -> Changed:
    """Change an app's secrets while visitors come, and one stays logged in."""
    before, browser = site.secrets(app), site.log_in(app)
    with site.visitors(app) as seen, site.watched() as commands, site.staying(browser):
        said = run()
    return Changed(app, before, site.secrets(app), seen[app], said, commands)


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """What the inventory gives from now on."""
    return {
        f"rotate_{kind}": f"2nd$password-of'the-{kind}-{secrets.token_urlsafe(20)}" for kind in ("database", "cache")
    }


@pytest.fixture(scope="module")
def by_inventory(site, given) -> Changed:
    return change(site, "second", lambda: site.play("site", "-vvv", "--diff", **given))


@pytest.fixture(scope="module")
def idle(site) -> list[Browser]:
    """Visitors who have logged in before the key changes, and come back later."""
    return [site.log_in("guestbook") for _number in range(2)]


@pytest.fixture(scope="module")
def by_playbook(site, given, by_inventory, idle) -> Changed:
    words = ("playbooks/rotate", "-vvv", "--diff")
    return change(site, "guestbook", lambda: site.play(*words, app="guestbook", **given))


@pytest.fixture(scope="module", params=["by_inventory", "by_playbook"])
def changed(request, by_inventory, by_playbook) -> Changed:
    return {"by_inventory": by_inventory, "by_playbook": by_playbook}[request.param]


# Done, with nobody turned away


def test_the_app_is_live_with_the_new_ones(changed, site, given, figure):
    names = SECRETS if changed.app == "guestbook" else SECRETS[1:]
    assert all(changed.after[name] != changed.before[name] for name in (*names, "DATABASE_USER"))
    assert site.enters_postgresql(changed.app, changed.after)
    assert site.enters_redis(changed.app, changed.after)
    figure(f"requests served while the passwords of {changed.app} changed, none failed", changed.requests)


def test_the_inventorys_are_taken_as_they_stand(by_inventory, given):
    assert by_inventory.after["DATABASE_PASSWORD"] == given["rotate_database"]
    assert by_inventory.after["REDIS_PASSWORD"] == given["rotate_cache"]


def test_the_old_ones_are_taken_back(changed, site):
    assert not site.enters_postgresql(changed.app, changed.before)
    assert not site.enters_redis(changed.app, changed.before)
    assert site.logins(changed.app) == [changed.after["DATABASE_USER"]]


def test_what_was_made_belongs_to_the_role_of_the_app(changed, site):
    owners = "select distinct tableowner from pg_tables where schemaname = 'public'"
    assert site.sql(owners, changed.app) == changed.app


def test_what_the_key_before_has_signed_stays_valid(by_playbook, site, idle):
    assert is_logged_in(idle[0])


def test_the_next_run_changes_nothing(site, given, by_inventory, by_playbook):
    said = site.play("site", **given)
    assert re.search(rf"{site.name} +: ok=\d+ +changed=0 ", said), said[-3000:]


# Seen by nobody


def found_in(text: str, changed: Changed) -> list[str]:
    """Which of its secrets a text has."""
    return [
        f"{when} {name}" for when in ("before", "after") for name in SECRETS if getattr(changed, when)[name] in text
    ]


def test_no_log_of_the_controller_has_them(changed):
    assert len(changed.said) > 50_000, "that is not -vvv"
    assert found_in(changed.said, changed) == []


def test_no_command_line_had_them(changed):
    assert any(f"djangoctl {changed.app} activate" in line for line in changed.commands), "the watch saw nothing"
    assert found_in("\n".join(changed.commands), changed) == []


@pytest.mark.parametrize(
    "words",
    [
        ("systemctl", "show", "*", "--all"),
        ("journalctl", "--no-pager", "--all", "--output=verbose"),
        ("find", "/var/log", "-type", "f", "-exec", "cat", "-A", "{}", "+"),
    ],
    ids=["systemctl show", "journal", "logs"],
)
def test_the_host_does_not_tell_them(changed, site, words):
    told = site.on(*words).stdout
    assert found_in(told, changed) == []
    assert "SCRAM-SHA-256$" not in told, "a verifier is all that a guess needs"


def test_no_file_that_others_read_has_them(changed, site):
    """As anybody on the host would search."""
    values = "\n".join({value[name] for value in (changed.before, changed.after) for name in SECRETS})
    places = ["/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"]
    search = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "grep", "-rlsF", "-f", "-", *places]
    assert site.on(*search, check=False, stdin=values).stdout == ""
    mine = site.on("grep", "-rlsF", "-f", "-", "/etc/djangofleet", stdin=values).stdout.split()
    assert mine, "the search finds nothing at all"


def test_no_process_of_somebody_else_has_them(changed, site):
    values = "\n".join(changed.after[name] for name in SECRETS)
    script = "grep -lsF -f - /proc/[0-9]*/environ | xargs -r -n1 dirname | xargs -r stat -c %U"
    assert set(site.on("sh", "-c", script, stdin=values).stdout.split()) == {f"django-{changed.app}"}


# Broken off


def made(site: Site, before: dict[str, str]) -> bool:
    found = site.on("cat", "/etc/djangofleet/guestbook/secret").stdout
    return f"DATABASE_PASSWORD={before['DATABASE_PASSWORD']}\n" not in found


def two_logins(site: Site, before: dict[str, str]) -> bool:
    return len(site.logins("guestbook")) == 2


def live(site: Site, before: dict[str, str]) -> bool:
    return site.environment("guestbook").get("DATABASE_PASSWORD", "") not in ("", before["DATABASE_PASSWORD"])


@pytest.mark.parametrize("when", [made, two_logins, live] if PROVE else [two_logins])
def test_a_rotation_that_breaks_off_is_finished_by_the_next_run(site, given, by_playbook, when):
    before = site.secrets("guestbook")
    with site.visitors("guestbook"):
        site.play_until(lambda: when(site, before), "playbooks/rotate", app="guestbook", **given)
        assert site.enters_postgresql("guestbook", before), "something may still serve with it"
        assert site.enters_redis("guestbook", before)
    site.on("systemctl", "restart", "django-guestbook.service")
    assert site.browser("guestbook").get("/healthz").status == 200, "what a boot would start"
    with site.visitors("guestbook"):
        site.play("site", app="guestbook", **given)
    after = site.secrets("guestbook")
    assert after["DATABASE_PASSWORD"] != before["DATABASE_PASSWORD"]
    assert site.logins("guestbook") == [after["DATABASE_USER"]]
    assert not site.enters_redis("guestbook", before)


@pytest.mark.skipif(not PROVE, reason="two more runs")
def test_a_session_outlives_its_login(site, given, by_playbook):
    """A long query of a process that nobody restarts: it ends as it began, and its login goes with a later run."""
    before = site.secrets("guestbook")
    query = site.begin_query("guestbook", before, 600)
    try:
        site.play("playbooks/rotate", app="guestbook", secret="database", **given)
        assert query.poll() is None, "the query was cut off"
        assert not site.enters_postgresql("guestbook", before)
    finally:
        site.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{before['DATABASE_USER']}'")
        query.wait(timeout=30)
    site.play("site", app="guestbook", **given)
    assert site.sql(f"select count(*) from pg_roles where rolname = '{before['DATABASE_USER']}'") == "0"


# Keys


def test_earlier_keys_end_when_it_is_said(site, given, by_playbook, idle):
    browser, before = site.log_in("guestbook"), site.environment("guestbook")
    assert by_playbook.before["SECRET_KEY"] in before["SECRET_KEY_FALLBACKS"].split(",")
    with site.staying(browser):
        site.play("playbooks/rotate", app="guestbook", forget="true", **given)
    after = site.environment("guestbook")
    assert (after["SECRET_KEY"], after.get("SECRET_KEY_FALLBACKS", "")) == (before["SECRET_KEY"], "")
    assert not is_logged_in(idle[1])


# What is not to be made


BAD = [
    ({"app": "second"}, "django_apps[second].secret_key: is the inventory's, which no playbook writes"),
    ({"app": "second", "secret": "cache"}, "django_apps[second].cache.password: is the inventory's"),
    ({"secret": "databse"}, "secret: found 'databse'; give one of secret_key, database, cache"),
    ({"secret": "cache", "forget": "true"}, "forget: ends earlier keys, and secret is cache"),
]


@pytest.mark.parametrize(("variables", "line"), BAD if PROVE else BAD[:1])
def test_what_cannot_be_made_is_told_before_anything_changes(site, given, variables, line):
    result = site.run("playbooks/rotate", **variables, **given)
    assert result.returncode != 0
    assert line in result.stdout.replace("\n", " "), result.stdout[-2000:]
    assert "changed=0" in result.stdout
