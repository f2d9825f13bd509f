"""What djangoctl says about the health of an app: real servers on real sockets answer, systemd is a fake."""

from __future__ import annotations

import http.server
import shutil
import socketserver
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import pin
from djangoctl import health, output, swap, units
from djangoctl import release as releases
from djangoctl.errors import ConfigError
from test_djangoctl_swap import SERVICE, SOCKET, FakeSystemd


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server was told, and notes what it was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        status, headers, body = self.server.answer(self.headers["Host"])
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


@pytest.fixture
def serve():
    """`serve(kind, address)`: a server that answers 200 until its `answer` is replaced."""
    servers = []

    def start(kind, address):
        server = kind(address, Handler)
        server.asked, server.answer = [], lambda _host: (200, {}, "fine")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def short():
    """A directory with a short name: that of a socket has at most 107 characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def gunicorn(serve, short):
    return serve(Unix, str(short / "shop.sock"))


@pytest.fixture
def nginx(serve):
    return serve(Tcp, ("127.0.0.1", 0))


@pytest.fixture
def app(make_app, gunicorn):
    return make_app(listen=gunicorn.server_address, domains=["shop.test", "www.shop.test"])


@pytest.fixture
def system(app, make_release):
    """A fake systemd, with a release that is live and whole."""
    fake = FakeSystemd(app)
    release = make_release(app, "v1-1", application="x:y")
    (release.path / "venv/bin/python").touch()
    assert swap.activate(app, release, fake)
    fake.calls.clear()
    return fake


def behind(make_app, app, nginx, domains=("shop.test",), tls=False, **settings):
    """The app again, as it is when Nginx of this host serves it."""
    site = {"domains": list(domains), "port": nginx.server_address[1], "tls": tls}
    return make_app(**{"listen": units.listening(app), "domains": app["domains"], "site": site, **settings})


def found(result, kind="faults"):
    return [fault["found"] for fault in result[kind]]


# What is asked, and what is well


def test_the_service_is_asked_as_nginx_asks_it(app, system, gunicorn):
    result = health.report(app, system)
    assert (result["serves"], result["faults"], result["warnings"]) == (True, [], [])
    ((path, headers),) = gunicorn.asked
    assert (path, headers["Host"]) == ("/", "shop.test")
    assert (headers["X-Forwarded-Proto"], headers["X-Forwarded-For"]) == ("https", "127.0.0.1")
    (answer,) = result["answers"]
    assert answer.pop("seconds") < 5
    assert answer == {
        "through": "socket",
        "address": units.listening(app),
        "domain": "shop.test",
        "path": "/",
        "ok": True,
        "status": 200,
        "verdict": "200",
    }


def test_a_service_on_tcp(make_app, system, app, serve):
    server = serve(Tcp, ("127.0.0.1", 0))
    port = server.server_address[1]
    moved = make_app(listen=f"0.0.0.0:{port}")
    (units.DIRECTORY / SOCKET).write_text((moved.config / "units" / SOCKET).read_text())
    assert health.report(app, system)["answers"][0]["address"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("/run/djangofleet/shop.sock", "/run/djangofleet/shop.sock"),
        ("10.0.0.3:8000", ("10.0.0.3", 8000)),
        ("0.0.0.0:8000", ("127.0.0.1", 8000)),
        ("[::]:8000", ("::1", 8000)),
        ("[fd00::1]:8000", ("fd00::1", 8000)),
        ("app1.internal:8000", ("app1.internal", 8000)),
    ],
)
def test_where_a_socket_is_asked(listen, address):
    assert units.reachable(listen) == address


@pytest.mark.parametrize("listen", ["", "garbage", "10.0.0.3:", "10.0.0.3:x"])
def test_a_damaged_address_is_named(listen):
    with pytest.raises(ConfigError, match=f"'{listen}' is no address"):
        units.reachable(listen)


def test_an_address_that_has_not_passed_its_gate_is_not_asked(make_app, app, system, gunicorn):
    """A changed `listen` is in app.json, while the live release serves the pinned one."""
    assert health.report(make_app(listen="/run/nowhere.sock"), system)["serves"] is True
    assert len(gunicorn.asked) == 1


def test_each_domain_is_asked_through_nginx(make_app, app, system, nginx):
    app = behind(make_app, app, nginx, ["shop.test", "*.shop.test", "www.shop.test"])
    result = health.report(app, system)
    assert result["serves"] is True
    assert sorted(headers["Host"] for _path, headers in nginx.asked) == ["shop.test", "www.shop.test"]
    assert all("X-Forwarded-Proto" not in headers for _path, headers in nginx.asked), "a visitor sends none"
    assert [answer["through"] for answer in result["answers"]] == ["socket", "nginx", "nginx"]


@pytest.mark.parametrize(
    ("answer", "given", "serves"),
    [
        ((200, {}, "fine"), {}, True),
        ((404, {}, ""), {}, True),
        ((404, {}, ""), {"status_max": 399}, False),
        ((400, {}, ""), {}, False),
        ((400, {}, ""), {"status_max": 400}, True),
        ((500, {}, ""), {}, False),
        ((200, {}, "fine"), {"contains": "fine"}, True),
        ((200, {}, "broken"), {"contains": "fine"}, False),
        ((404, {}, ""), {"enabled": False, "status_max": 299}, True),
        ((500, {}, ""), {"enabled": False, "status_max": 599}, False),
        ((301, {"Location": "https://shop.test/"}, ""), {}, False),  # to itself
        ((301, {"Location": "https://www.shop.test/"}, ""), {}, True),
    ],
)
def test_the_settings_of_the_gate_decide(make_app, app_settings, app, system, gunicorn, answer, given, serves):
    gunicorn.answer = lambda _host: answer
    app = make_app(listen=units.listening(app), domains=app["domains"], health=app_settings["health"] | given)
    pin(app)
    result = health.report(app, system)
    assert result["serves"] is serves
    assert bool(result["faults"]) is not serves


def test_the_path_of_the_gate_is_asked(make_app, app_settings, app, system, gunicorn):
    settings = app_settings["health"] | {"path": "/healthz?full=1"}
    pin(make_app(listen=units.listening(app), health=settings))
    health.report(app, system)
    assert [path for path, _headers in gunicorn.asked] == ["/healthz?full=1"]


def test_nginx_is_at_fault_where_the_service_answers_well(make_app, app, system, gunicorn, nginx):
    app = behind(make_app, app, nginx)
    nginx.answer = lambda _host: (502, {}, "")
    result = health.report(app, system)
    assert found(result) == ["GET / as shop.test through Nginx: 502 and not 200 to 499"]
    assert "nginx -t" in result["faults"][0]["heals"]
    gunicorn.answer = lambda _host: (500, {}, "")
    assert all("djangoctl shop logs" in fault["heals"] for fault in health.report(app, system)["faults"])


def test_a_site_in_maintenance_is_well(make_app, app, system, nginx):
    app = behind(make_app, app, nginx)
    nginx.answer = lambda _host: (503, {}, "")
    assert health.report(app, system)["serves"] is False
    app.maintenance.write_text("closed")
    result = health.report(app, system)
    assert (result["serves"], result["answers"][1]["verdict"]) == (True, "in maintenance")


def test_an_app_that_hangs_is_told_in_time(app, system, gunicorn):
    gunicorn.answer = lambda _host: time.sleep(3) or (200, {}, "")
    began = time.monotonic()
    result = health.report(app, system, limit=0.3)
    assert time.monotonic() - began < 2
    assert found(result) == ["GET / as shop.test through the socket: no answer: timed out"]


def test_nobody_behind_the_socket(app, system, gunicorn):
    """As when Gunicorn got no descriptor and listens somewhere else, while the units are up."""
    gunicorn.shutdown()
    gunicorn.server_close()
    result = health.report(app, system)
    assert (result["service"], result["socket"], result["serves"]) == (True, True, False)
    assert "no answer" in found(result)[0]


def test_a_stopped_service_is_not_started_by_the_question(app, system, gunicorn):
    system.up.discard(SERVICE)
    result = health.report(app, system)
    assert (gunicorn.asked, result["serves"]) == ([], False)
    assert result["faults"][0] == {"found": f"{SERVICE} is not active", "heals": f"systemctl start {SERVICE}"}


def test_a_socket_that_is_down_is_opened_by_an_activation(app, system):
    """systemd refuses to start the socket of a service that runs."""
    system.up.discard(SOCKET)
    (fault,) = health.report(app, system)["faults"]
    assert fault == {"found": f"{SOCKET} is not active", "heals": "djangoctl shop activate v1-1"}
    assert swap.pending(app, "v1-1", system)


def test_a_socket_that_is_lost_is_opened_by_an_activation(app, system, gunicorn, monkeypatch):
    """systemd calls it active, and nobody can connect: its file is gone. A rollback is not what it needs."""
    monkeypatch.setattr(units, "is_open", lambda _app, _name: False)
    result = health.report(app, system)
    assert (result["serves"], gunicorn.asked) == (False, [])
    assert [fault["heals"] for fault in result["faults"]] == ["djangoctl shop activate v1-1"]
    assert found(result) == [f"nobody listens at {gunicorn.server_address}, although {SOCKET} is active"]


def test_the_stand_in_serves_too(app, system, gunicorn):
    system.up = {SOCKET, "django-shop-next.service"}
    result = health.report(app, system)
    assert (result["serves"], result["faults"], len(gunicorn.asked)) == (True, [], 1)


# Releases


def test_a_live_release_that_is_gone(app, system, make_release):
    shutil.rmtree(app.releases / "v1-1")
    (fault,) = health.report(app, system)["faults"]
    assert fault["found"] == f"the live release v1-1 is damaged: its directory {app.releases}/v1-1 is gone"
    assert fault["heals"] == "deploy again, which builds it anew"


@pytest.mark.parametrize("name", ["source", "venv/bin/python", "release.json"])
def test_a_live_release_that_is_damaged(app, system, make_release, name):
    path = app.releases / "v1-1" / name
    path.rmdir() if path.is_dir() else path.unlink()
    (fault,) = health.report(app, system)["faults"]
    assert name in fault["found"]
    assert fault["heals"] == "deploy another version"
    make_release(app, "v0-1", application="x:y")
    (app.root / "live.json").write_text("{")
    assert health.report(app, system)["faults"][0]["heals"] == "djangoctl shop rollback, then deploy again"


@pytest.mark.parametrize("state", ["building", "failed"])
def test_a_live_release_whose_second_build_broke_off(app, system, state):
    releases.read(app, "v1-1").write(state=state)
    (fault,) = health.report(app, system)["faults"]
    assert fault["found"] == f"the live release v1-1 is damaged: its directory was gone, and it is {state} again"
    assert fault["heals"] == "deploy again, which builds it anew"


def test_a_live_release_that_was_built_again_is_started_again(app, system):
    release = releases.read(app, "v1-1")
    assert not swap.pending(app, "v1-1", system)
    release.write(ended_at="2999-01-01T00:00:00Z")
    assert swap.pending(app, "v1-1", system)
    result = health.report(app, system)
    assert result["warnings"][0]["heals"] == "djangoctl shop activate v1-1"


def test_nothing_is_live(make_app, make_release):
    app = make_app()
    (fault,) = health.report(app, FakeSystemd(app))["faults"]
    assert fault == {"found": "no release is live", "heals": "deploy one"}
    make_release(app, "v1-1")
    assert health.report(app, FakeSystemd(app))["faults"][0]["heals"] == "djangoctl shop activate v1-1"


def test_an_app_that_a_reboot_leaves_down(app, system):
    system.on.clear()
    assert found(health.report(app, system)) == [f"{SOCKET} is not enabled: a reboot leaves the app down"]


# Units

WORKER, TIMER = "django-shop-worker.service", "django-shop-clear.timer"


@pytest.fixture
def busy(make_app, app, system):
    """The app with a process and a timer, which are up."""
    system.up |= {WORKER, TIMER}
    app = make_app(listen=units.listening(app), domains=app["domains"], processes=[WORKER], timers=[TIMER])
    assert swap.activate(app, releases.read(app, "v1-1"), system)
    return app


def test_processes_and_timers_are_shown(busy, system):
    system.shown = {
        WORKER: {"NRestarts": "4", "ActiveEnterTimestamp": "Sat 2026-11-21 17:30:36 UTC"},
        TIMER: {
            "LastTriggerUSec": "Sat 2026-11-21 03:00:00 UTC",
            "NextElapseUSecRealtime": "Sun 2026-11-22 03:00:00 UTC",
        },
        "django-shop-clear.service": {
            "Result": "exit-code",
            "ActiveState": "failed",
            "InactiveExitTimestamp": "Sat 2026-11-21 03:00:00 UTC",
        },
    }
    result = health.report(busy, system)
    assert result["processes"] == [{"unit": WORKER, "active": True, "restarts": 4, "since": "2026-11-21T17:30:36Z"}]
    assert result["timers"] == [
        {
            "unit": TIMER,
            "active": True,
            "last": "2026-11-21T03:00:00Z",
            "result": "exit-code",
            "next": "2026-11-22T03:00:00Z",
        }
    ]
    assert result["failed_units"] == ["django-shop-clear.service"]
    assert found(result) == ["django-shop-clear.service has failed"]
    assert result["serves"] is True, "visitors are served all the same"


@pytest.mark.parametrize("text", ["", "n/a", "garbage", "Sat 2026-99-99 17:30:36 UTC"])
def test_a_timer_that_never_ran(busy, system, text):
    system.shown = {TIMER: {"LastTriggerUSec": text, "NextElapseUSecRealtime": text}}
    (timer,) = health.report(busy, system)["timers"]
    assert (timer["last"], timer["result"], timer["next"]) == (None, None, None)


def test_a_timer_that_has_not_run_since_the_boot_has_no_result(busy, system):
    """systemd says success of what never ran."""
    system.shown = {TIMER: {"LastTriggerUSec": "Sat 2026-11-21 03:00:00 UTC"}}
    system.shown["django-shop-clear.service"] = {"Result": "success", "InactiveExitTimestamp": ""}
    (timer,) = health.report(busy, system)["timers"]
    assert (timer["last"], timer["result"]) == ("2026-11-21T03:00:00Z", None)


def test_units_that_are_not_live_yet_are_no_faults(make_app, app, system):
    """The role has written them, and no activation has installed them: nobody could start them."""
    app = make_app(listen=units.listening(app), domains=app["domains"], processes=[WORKER], timers=[TIMER])
    result = health.report(app, system)
    assert (result["faults"], result["processes"], result["timers"]) == ([], [], [])
    assert result["warnings"][0]["heals"] == "djangoctl shop activate v1-1"


def test_units_that_go_with_the_next_activation_are_still_looked_at(make_app, busy, system):
    app = make_app(listen=units.listening(busy), domains=busy["domains"])
    system.up -= {WORKER}
    assert found(health.report(app, system)) == [f"{WORKER} is not active"]


def test_idle_units_are_faults(busy, system):
    system.up -= {WORKER, TIMER}
    assert found(health.report(busy, system)) == [f"{WORKER} is not active", f"{TIMER} is not active"]


def test_processes_are_asked_for_once(busy, system, monkeypatch):
    """Each question to systemd is a process of its own."""
    asked, active = [], system.active
    monkeypatch.setattr(system, "active", lambda unit: asked.append(unit) or active(unit))
    health.report(busy, system)
    assert not {WORKER, TIMER} & set(asked), "`systemctl show` has told"


@pytest.mark.parametrize(
    ("message", "signal"),
    [
        ("[7] [WARNING] Worker (pid:9) was sent SIGABRT!", "SIGABRT"),
        ("[7] [WARNING] Worker (pid:9) was sent SIGSYS!", "SIGSYS"),
        ("Main process exited, code=dumped, status=6/ABRT", "SIGABRT"),
        ("Main process exited, code=killed, status=31/SYS", "SIGSYS"),
        ("WorkerLostError('Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.')", "SIGSEGV"),
        ("[7] [INFO] Worker (pid:9) was sent SIGTERM!", None),
        ("[7] [ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?", None),
        ("Main process exited, code=killed, status=9/KILL", None),
        ("GET /was sent SIGABRT", None),
    ],
)
def test_a_process_that_ended_by_a_signal_nobody_sent(app, system, message, signal):
    system.logged = [(SERVICE, message)] * 3
    ended = health.report(app, system)["signals"]
    assert [(entry["unit"], entry["signal"], entry["count"]) for entry in ended] == (
        [(SERVICE, signal, 3)] if signal else []
    )
    if signal == "SIGABRT":
        assert "MemoryDenyWriteExecute: false" in ended[0]["heals"]


def test_a_worker_that_gunicorn_ended_is_none(app, system):
    system.logged = [(SERVICE, "WORKER TIMEOUT (pid:9)"), (SERVICE, "Worker (pid:9) was sent SIGABRT!")]
    assert health.report(app, system)["signals"] == []


def test_the_setting_is_named_as_the_inventory_has_it(make_app, app, system):
    app = make_app(listen=units.listening(app), path="django_apps[shop]")
    system.logged = [(SERVICE, "Worker (pid:9) was sent SIGABRT!")]
    (warning,) = health.report(app, system)["warnings"]
    assert warning["found"] == f"processes of {SERVICE} ended by SIGABRT: 1 in a day"
    assert warning["heals"] == "try django_apps[shop].sandbox: {MemoryDenyWriteExecute: false}"


# For a person


def test_what_is_wrong_is_read_at_the_end_with_what_heals_it(busy, system, gunicorn):
    gunicorn.answer = lambda _host: (500, {}, "")
    text = output.render({**health.report(busy, system), "lock": None})
    assert "serves: no\n" in text
    assert "release: v1-1\n" in text
    assert (
        f"processes:\n  unit                        active  restarts  since\n  {WORKER}  yes     0         -\n" in text
    )
    assert text.splitlines()[-2].startswith("fault: GET / as shop.test through the socket: 500")
    assert text.splitlines()[-1].startswith("  heals: djangoctl shop logs")
