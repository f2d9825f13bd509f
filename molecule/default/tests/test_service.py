"""The service behind its socket, and what an app may not do."""

import re
import threading
import time

import pytest
from shared.outside import ROOT

AS_GUESTBOOK = "setpriv --reuid=django-guestbook --regid=django-guestbook --clear-groups"


def test_socket_starts_a_stopped_service(host, browse):
    host.check_output("systemctl stop django-guestbook.service")
    assert host.run("systemctl is-active django-guestbook.service").stdout.strip() == "inactive"
    assert browse("guestbook.test").get("/healthz").status == 200
    assert host.run("systemctl is-active django-guestbook.service").stdout.strip() == "active"


def test_restart_refuses_no_connection(host, browse):
    """At most 600 requests, one after the other, for as long as two restarts take."""
    pool, answers, over = browse("guestbook.test").pool(), [], threading.Event()

    def ask():
        while not over.is_set() and len(answers) < 600:
            answers.append(pool.request("GET", "/healthz", headers={"Host": "guestbook.test"}).status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(2):
            time.sleep(0.5)
            host.check_output("systemctl restart django-guestbook.service")
    finally:
        time.sleep(0.5)
        over.set()
        asking.join()
    assert len(answers) > 10
    assert set(answers) == {200}


def test_request_in_flight_survives_a_restart(host, browse):
    result = []
    asking = threading.Thread(target=lambda: result.append(browse("guestbook.test").get("/slow/?seconds=3").status))
    asking.start()
    time.sleep(1)
    host.check_output("systemctl restart django-guestbook.service")
    asking.join()
    assert result == [200]


def test_killed_master_comes_back(host, browse):
    before = host.check_output("systemctl show -p MainPID --value django-second.service")
    host.check_output("systemctl kill --kill-whom=main --signal=KILL django-second.service")
    assert browse("second.test", f"{ROOT}/build/default/second.pem").get("/healthz").status == 200
    assert host.check_output("systemctl show -p MainPID --value django-second.service") != before


@pytest.mark.parametrize(
    "path",
    [
        "/srv/second/data/db.sqlite3",
        "/srv/second/releases",
        "/srv/second/current/source/manage.py",
        "/srv/second/media",
        "/srv/second/repo",
        "/etc/djangofleet/second/app.json",
        "/etc/djangofleet/second/env",
        "/etc/djangofleet/second/secret",
        "/etc/djangofleet/guestbook/env",
        "/etc/djangofleet/guestbook/secret",
        "/etc/djangofleet/certificates/guestbook/privkey.pem",
    ],
)
def test_app_cannot_read(host, path):
    assert host.file(path).exists
    assert (
        "Permission denied"
        in host.run(f"{AS_GUESTBOOK} ls {path}/ {path}").stderr + host.run(f"{AS_GUESTBOOK} cat {path}").stderr
    )
    assert host.run(f"{AS_GUESTBOOK} cat {path}").rc != 0


def test_app_cannot_read_its_neighbours_environment(host):
    pid = host.check_output("systemctl show -p MainPID --value django-second.service")
    assert "Permission denied" in host.run(f"{AS_GUESTBOOK} cat /proc/{pid}/environ").stderr


def inside(host, program: str):
    """Run Python in the app's sandbox, with its environment."""
    return host.run("djangoctl guestbook manage shell --verbosity=0 -c %s", program)


@pytest.mark.parametrize(
    "path",
    ["/srv/guestbook/current/source/x", "/srv/guestbook/current/venv/x", "/srv/guestbook/static/x", "/etc/x", "/usr/x"],
)
def test_app_cannot_write(host, path):
    result = inside(host, f"open('{path}', 'w')")
    assert result.rc != 0
    assert re.search("Read-only file system|Permission denied", result.stdout + result.stderr)


@pytest.mark.parametrize("path", ["/srv/guestbook/data/x", "/srv/guestbook/media/x", "/srv/guestbook/cache/x"])
def test_app_can_write_its_data(host, path):
    result = inside(host, f"import os; open('{path}', 'w').close(); os.unlink('{path}')")
    assert result.rc == 0, result.stdout + result.stderr


def test_hostile_environment_arrives_unharmed(host):
    result = inside(host, "import os; print(repr(os.environ['PRIVATE_NOTE']))")
    assert repr("of guestbook: \"'$HOME' `x` \\ {}\nand more") in result.stdout


def test_secrets_are_shown_nowhere(host):
    secret = host.check_output("cut -d= -f2- /etc/djangofleet/guestbook/secret")
    assert len(secret) > 40
    neighbour = "setpriv --reuid=django-second --regid=django-second --clear-groups"
    for place in ("systemctl show 'django-*'", "journalctl --no-pager", f"{neighbour} ps auxwwe"):
        assert secret not in host.check_output(place), place
    readable = host.run(
        f"grep -rlF --exclude-dir=proc --exclude-dir=sys -e '{secret}' /etc /srv /var/log /run /usr/local /opt"
    )
    found, home = readable.stdout.split(), "/etc/djangofleet/guestbook"
    assert f"{home}/secret" in found
    assert {re.sub(r"/\.live-\w+", "", path) for path in found} == {f"{home}/secret"}, "it is pinned, and nowhere else"
    assert {host.file(path).mode for path in found} == {0o600}


def test_djangoctl_reports(host):
    import json

    answer = json.loads(host.check_output("djangoctl --json"))
    assert [(app["app"], app["service"], app["socket"]) for app in answer["apps"]] == [
        ("guestbook", True, True),
        ("second", True, True),
    ]
    assert host.run("djangoctl nobody status").rc == 2
