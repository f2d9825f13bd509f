"""Nginx after a fault, what it may do and see, and what it says by itself."""

import re
import time

import pytest

DROP_IN = "/etc/systemd/system/nginx.service.d/djangofleet.conf"


def main_pid(host) -> str:
    return host.check_output("systemctl show -p MainPID --value nginx.service")


def workers(host) -> list[str]:
    return host.check_output(f"cat /proc/{main_pid(host)}/task/*/children").split()


def wait_for_health(browser, seconds: float = 10) -> float:
    """Seconds until the site answers."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        try:
            if browser.get("/healthz").status == 200:
                return time.monotonic() - begun
        except Exception:
            time.sleep(0.05)
    raise AssertionError(f"no answer in {seconds} s")


@pytest.mark.parametrize("signal", ["KILL", "QUIT"])
def test_comes_back_from_a_crash_and_from_a_quiet_end(host, browse, signal, figure):
    browser, before = browse("guestbook.test"), main_pid(host)
    assert browser.get("/healthz").status == 200
    host.check_output("kill -s %s %s", signal, before)
    time.sleep(0.1)
    figure(f"nginx back after SIG{signal}, s", wait_for_health(browser))
    assert main_pid(host) not in (before, "0")
    assert host.check_output("systemctl is-active nginx.service") == "active"


def test_exposure(host, figure):
    rows = host.check_output("systemd-analyze security --no-pager nginx.service").splitlines()
    exposure = float(re.search(r"Overall exposure level for nginx.service: ([\d.]+)", rows[-1])[1])
    figure("exposure of nginx.service", exposure)
    assert exposure <= 2.0


def test_runs_in_its_sandbox(host):
    assert host.file(DROP_IN).mode == 0o644
    for pid in [main_pid(host), *workers(host)]:
        assert "NoNewPrivs:\t1" in host.check_output(f"cat /proc/{pid}/status")
    for pid in workers(host):
        status = host.check_output(f"cat /proc/{pid}/status")
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert re.search(rf"^Uid:\t{host.user('www-data').uid}\b", status, re.M)


@pytest.mark.parametrize("path", ["/root", "/home", "/proc/1/status", "/proc/meminfo"])
def test_sees_nothing_of(host, path):
    as_worker = "setpriv --reuid=www-data --regid=www-data --clear-groups"
    assert host.run(f"nsenter -t {main_pid(host)} -m {as_worker} ls -A {path}").stdout == ""


@pytest.mark.parametrize("path", ["/etc/x", "/usr/x", "/srv/guestbook/media/x", "/var/www/x"])
def test_writes_nothing_to(host, path):
    assert "Read-only file system" in host.run(f"nsenter -t {main_pid(host)} -m touch {path}").stderr


def test_reloads_in_its_sandbox(host, browse):
    master, before = main_pid(host), set(workers(host))
    host.check_output("systemctl reload nginx")
    deadline = time.monotonic() + 10
    while not set(workers(host)) - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert set(workers(host)) - before
    assert main_pid(host) == master
    assert browse("guestbook.test").get("/healthz").status == 200


def test_writes_to_a_rotated_log(host, browse):
    host.check_output("logrotate --force /etc/logrotate.d/nginx")
    time.sleep(1)
    assert browse("guestbook.test").get("/healthz?rotated").status == 200
    assert "rotated" in host.check_output("cat /var/log/nginx/access.log")


def test_a_new_binary_takes_over(host, browse):
    """What the package does on an upgrade."""
    before = main_pid(host)
    host.check_output("kill -s USR2 %s", before)
    time.sleep(1)
    assert host.check_output("cat /run/nginx.pid.oldbin") == before
    host.check_output("kill -s QUIT %s", before)
    time.sleep(1)
    assert main_pid(host) != before
    assert browse("guestbook.test").get("/healthz").status == 200
    assert host.check_output("systemctl is-active nginx.service") == "active"


@pytest.fixture
def planted(host):
    """What an app that has been taken over plants among its uploads."""
    host.check_output("install -D -m 0640 -o django-second -g www-data /etc/hostname /srv/second/media/private.txt")
    program = """
import os
os.makedirs('/srv/guestbook/media/planted/deep', exist_ok=True)
os.chdir('/srv/guestbook/media/planted')
open('real.txt', 'w').write('mine')
os.chmod('real.txt', 0o644)
os.symlink('/var/log/nginx/access.log', 'log.txt')
os.symlink('/srv/second/media', 'neighbour')
os.symlink('/etc', 'deep/etc')
os.symlink('../../../../etc/passwd', 'deep/relative.txt')
os.symlink('real.txt', 'own.txt')
"""
    result = host.run("djangoctl guestbook manage shell --verbosity=0 -c %s", program)
    assert result.rc == 0, result.stderr
    yield
    host.check_output("rm -r /srv/guestbook/media/planted /srv/second/media/private.txt")


def test_links_among_uploads_lead_nowhere(planted, browse):
    browser = browse("guestbook.test")
    assert browser.get("/media/planted/real.txt").data == b"mine"
    for path in ("log.txt", "neighbour/private.txt", "deep/etc/passwd", "deep/relative.txt", "own.txt"):
        assert browser.get(f"/media/planted/{path}").status in (403, 404), path


def test_static_files_may_link_among_themselves(host, browse):
    host.check_output("ln -s css/site.css /srv/guestbook/static/entries/linked.css")
    try:
        assert browse("guestbook.test").get("/static/entries/linked.css").status == 200
    finally:
        host.check_output("rm /srv/guestbook/static/entries/linked.css")
