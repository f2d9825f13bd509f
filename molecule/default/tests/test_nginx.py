"""Nginx after a fault, what it may do and see, and what it says by itself."""

import re
import socket
import ssl
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


SECURITY = {
    "X-Content-Type-Options": ["nosniff"],
    "X-Frame-Options": ["SAMEORIGIN"],
    "Referrer-Policy": ["same-origin"],
    "Permissions-Policy": ["camera=(self), display-capture=(self), geolocation=(self), microphone=(self), usb=(self)"],
}


def security_of(answer) -> dict[str, list[str]]:
    return {name: answer.headers.getlist(name) for name in SECURITY}


@pytest.fixture
def away(host):
    host.check_output("systemctl stop django-guestbook.socket django-guestbook.service")
    yield
    host.check_output("systemctl start django-guestbook.socket django-guestbook.service")


@pytest.fixture
def maintenance(host):
    host.check_output("djangoctl guestbook maintenance on")
    yield
    host.check_output("djangoctl guestbook maintenance off")


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/", {"scheme": "http"}, 301),
        ("GET", "/static/entries/css/site.css", {}, 200),
        ("GET", "/static/none", {}, 404),
        ("GET", "/media/none", {}, 404),
        ("GET", "/.well-known/acme-challenge/none", {"scheme": "http"}, 404),
        ("POST", "/", {"body": b"x" * 3_200_000}, 413),
        ("GET", "/?" + "x" * 8000, {}, 414),
        ("GET", "/?" + "x" * 9000, {}, 414),
        ("GET", "/", {"headers": {"Host": "a b"}}, 400),
    ],
)
def test_every_answer_of_nginx_says_what_a_browser_may_do(browse, method, path, options, status):
    answer = browse("guestbook.test").request(method, path, **options)
    assert answer.status == status
    assert security_of(answer) == SECURITY


def test_an_app_that_is_away(away, browse):
    answer = browse("guestbook.test").get("/")
    assert (answer.status, security_of(answer)) == (502, SECURITY)


def test_maintenance(maintenance, browse):
    browser = browse("guestbook.test")
    for method in ("GET", "POST"):
        answer = browser.request(method, "/")
        assert (answer.status, security_of(answer)) == (503, SECURITY)
        assert b"aintenance" in answer.data
    assert browser.get("/static/entries/css/site.css").status == 200


def test_the_app_has_the_last_word(browse):
    answer = browse("guestbook.test").get("/about/")
    # Django's own defaults: its X-Frame-Options is another than that of Nginx.
    assert security_of(answer) == {**SECURITY, "X-Frame-Options": ["DENY"]}


def test_nginx_and_the_app_take_the_same_uris(browse):
    assert browse("guestbook.test").get("/about/?" + "x" * 7900).status == 200


def status_over_http2(address: str, authority: str, *headers: tuple[bytes, bytes]) -> int:
    """The status of one request, in frames of our own: clients refuse to send what is not allowed."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    path = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/healthz"), (b":authority", b"guestbook.test")]
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in [*path, *headers]
    )
    with (
        socket.create_connection((address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="guestbook.test") as stream,
    ):
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4))
        stream.sendall(len(block).to_bytes(3, "big") + b"\1\5" + (1).to_bytes(4, "big") + block)
        source = stream.makefile("rb")
        while True:
            head = source.read(9)
            content = source.read(int.from_bytes(head[:3], "big"))
            if head[3] == 1:
                # The first field is :status, as a number of HPACK's static table (RFC 7541, appendix A).
                known = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
                return known[next(byte for byte in content if byte & 0xE0 != 0x20) & 0x7F]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([(b"te", b"trailers")], 200),
        ([(b"transfer-encoding", b"chunked")], 400),
        ([(b"te", b"chunked")], 400),
    ],
)
def test_http2_has_no_chunks(address, authority, headers, status):
    assert status_over_http2(address, authority, *headers) == status


def test_an_address_holds_no_more_than_its_share(address, authority, browse):
    """At most 100 connections, for some seconds."""
    browser = browse("guestbook.test")
    context = ssl.create_default_context(cafile=authority)
    held = []
    try:
        for _ in range(100):
            plain = socket.create_connection((address, 443), timeout=10)
            held.append(context.wrap_socket(plain, server_hostname="guestbook.test"))
            held[-1].sendall(b"POST / HTTP/1.1\r\nHost: guestbook.test\r\nContent-Length: 1000\r\n\r\nx")
        deadline = time.monotonic() + 10  # a connection counts once Nginx has read the head of its request
        while (answer := browser.get("/healthz")).status != 429 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (answer.status, security_of(answer)) == (429, SECURITY)
        assert browser.get("/static/entries/css/site.css").status == 200
    finally:
        for connection in held:
            connection.close()
    wait_for_health(browser)


@pytest.fixture
def uploads(host):
    directory = "/srv/guestbook/media/kinds"
    host.check_output(f"install -d -o django-guestbook -g www-data {directory}")
    for name in ("a.html", "a.svg", "a.js", "a.pdf", "a.png", ".env"):
        host.check_output(f"install -m 0640 -o django-guestbook -g www-data /etc/hostname {directory}/{name}")
    yield
    host.check_output(f"rm -r {directory}")


@pytest.mark.parametrize(
    ("file", "kind", "sandboxed"),
    [
        ("a.html", "text/html; charset=utf-8", True),
        ("a.svg", "image/svg+xml; charset=utf-8", True),
        ("a.js", "text/plain; charset=utf-8", True),
        ("a.pdf", "application/pdf", False),
        ("a.png", "image/png", True),
    ],
)
def test_uploads_run_no_script_of_the_site(uploads, browse, file, kind, sandboxed):
    answer = browse("guestbook.test").get(f"/media/kinds/{file}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    (policy,) = answer.headers.getlist("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("sandbox") is sandboxed
    assert security_of(answer) == SECURITY


def test_what_tools_leave_behind_is_not_served(host, uploads, browse):
    assert host.file("/srv/guestbook/static/staticfiles.json").exists
    browser = browse("guestbook.test")
    for path in ("/static/staticfiles.json", "/static/staticfiles.json.gz", "/media/kinds/.env"):
        assert browser.get(path).status == 404, path
