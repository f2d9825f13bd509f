"""The arithmetic of bench/release, and what it makes of the project's own files; nothing here takes a time."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.template import Templar, trust_as_template
from loading import load

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from lib import first, report, traffic, ways  # noqa: E402
from lib.hosts import BenchError  # noqa: E402


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("bench/release")


def seen(answers: list[float], **more: Any) -> traffic.Seen:
    default = {"requests": len(answers), "failed": 0, "operations": [], "seconds": 10, "cpu": 5, "examples": []}
    return traffic.Seen(answers=answers, **default | more)


# Figures


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([4, 1, 3, 2], 50, 2),  # whatever the order
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(1, 201), 99, 198),
        (range(1, 11), 99, 10),  # of few values the last
        (range(1, 11), 100, 10),
        (range(1, 11), 0, 1),
    ],
)
def test_percentile_is_the_nearest_rank(values, share, wanted):
    assert traffic.percentile(list(values), share) == wanted


def test_percentile_of_nothing_is_no_figure():
    with pytest.raises(BenchError, match="no request was answered"):
        traffic.percentile([], 99)


def test_figures_of_a_phase():
    steady = seen([10.0] * 98 + [20.0, 40.0])
    stalled = seen([10.0] * 90 + [2000.04] * 10, requests=103, failed=3, operations=[1.5, 2.5])
    assert traffic.figures(stalled, steady) == {
        "requests": 103,
        "failed": 3,
        "p50_ms": 10.0,
        "p99_ms": 2000.0,
        "max_ms": 2000.0,
        "p99_ratio": 100.0,
        "max_ratio": 50.0,
        "operations": 2,
    }
    assert traffic.figures(steady, steady)["p99_ratio"] == 1.0


def test_ratio_is_that_of_the_unrounded_figures():
    assert traffic.figures(seen([0.14]), seen([0.06]))["p99_ratio"] == 2.33  # and not 0.1 / 0.1


def test_pooled_phases_are_as_one():
    one = seen([1.0, 2.0], failed=1, operations=[3.0], seconds=16, cpu=8, examples=["1.00 s: GET: 502"])
    other = seen([5.0], operations=[4.0], seconds=18, cpu=10)
    assert traffic.pool([one, other]) == seen(
        [1.0, 2.0, 5.0], failed=1, operations=[3.0, 4.0], seconds=34, cpu=18, examples=["1.00 s: GET: 502"]
    )
    # The percentile of both, and not a mean of two percentiles
    assert traffic.percentile(traffic.pool([one, other]).answers, 99) == 5.0


def test_busy_is_a_share_of_all_processors():
    assert traffic.busy(seen([], seconds=40, cpu=26), 2) == 0.33


@pytest.mark.parametrize(
    ("count", "seconds", "wanted"), [(0, 16, []), (1, 16, [8]), (2, 16, [4, 12]), (5, 40, [4, 12, 20, 28, 36])]
)
def test_operations_are_spread_evenly(count, seconds, wanted):
    assert traffic.moments(count, seconds) == wanted


def test_table_has_a_row_for_each_phase():
    steady, swap = seen([10.0] * 100), seen([10.0] * 90 + [12.0] * 10, failed=7, operations=[6.0] * 4)
    table = report.visitors({"steady": traffic.figures(steady, steady), "swap": traffic.figures(swap, steady)})
    head, *rows = table.splitlines()
    assert [row.split() for row in rows] == [
        ["steady", "100", "0", "10.0", "ms", "10.0", "ms", "10.0", "ms", "1.00", "1.00"],
        ["swap", "100", "7", "10.0", "ms", "12.0", "ms", "12.0", "ms", "1.20", "1.20"],
    ]
    assert {len(head), *map(len, rows)} == {len(head)}


def test_first_requests_have_a_row_for_what_had_happened():
    found = first.figures({"before": [10.0, 12.0, 11.0], "swap": [10.0, 2010.04, 11.0]})
    assert found["swap"] == {"median_ms": 11.0, "max_ms": 2010.0}
    head, *rows = report.firsts(found).splitlines()
    assert [row.split() for row in rows] == [
        ["before", "11.0", "ms", "12.0", "ms"],
        ["swap", "11.0", "ms", "2010.0", "ms"],
    ]
    assert {len(head), *map(len, rows)} == {len(head)}


def test_slow_project_is_slow_at_its_first_request_only(tmp_path):
    """Its URL configuration is what a process imports then."""
    (tmp_path / first.SLOW).parent.mkdir()
    shutil.copy(ROOT / "examples/guestbook" / first.SLOW, tmp_path / first.SLOW)
    first.slow_down(tmp_path)
    assert (tmp_path / first.SLOW).read_text().endswith("time.sleep(2)\n")
    settings = (ROOT / "examples/guestbook/guestbook/settings.py").read_text()
    assert 'ROOT_URLCONF = "guestbook.urls"' in settings


@pytest.mark.parametrize(("value", "wanted"), [(0, "met"), (1, "missed")])
def test_aims_are_at_most(value, wanted):
    assert report.aims({"swap failed": value}, (("swap failed", 0, None),)).endswith(f"at most 0: {wanted}")


# Phases


@pytest.fixture
def visitors() -> Callable[[str], traffic.Traffic]:
    """Visitors that are a program of a few lines, which takes the place of the load."""

    def run(program: str) -> traffic.Traffic:
        found = object.__new__(traffic.Traffic)
        found.words = [sys.executable, "-c", program]
        clock = iter([10.0, 1.0, 13.0, 2.0])  # of the site and the visitors, before and after
        found.site = found.visitors = SimpleNamespace(cpu_seconds=lambda: next(clock))
        return found

    return run


LOAD = """
import json, sys
sys.stdin.read()
for bound in ("--seconds=", "--requests="):
    assert any(word.startswith(bound) for word in sys.argv), f"no {bound}"
print(json.dumps({"requests": 3, "failed": 1, "examples": ["x"], "answers": [[0.1, 5.5], [0.2, 6.5]]}))
"""


def test_phase_runs_its_operations_under_load_and_ends_it(visitors, monkeypatch):
    monkeypatch.setattr(traffic, "SETTLE", 0.1)
    done: list[int] = []
    found = visitors(LOAD).phase(0.2, [lambda: done.append(1), lambda: done.append(2)])
    assert done == [1, 2]
    assert (found.requests, found.failed, found.answers, found.examples) == (3, 1, [5.5, 6.5], ["x"])
    assert found.cpu == 4
    assert len(found.operations) == 2
    assert found.seconds >= 0.2


def test_phase_is_worth_nothing_if_an_operation_fails(visitors):
    def fail() -> None:
        raise BenchError("no such release")

    with pytest.raises(BenchError, match="no such release"):
        visitors(LOAD).phase(0.02, [fail])


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('no route')", "ended by itself:\nno route"),
        ("import sys; sys.stdin.read(); sys.exit('broken')", "ended with 1:\nbroken"),
    ],
)
def test_phase_is_worth_nothing_without_load(visitors, program, why):
    with pytest.raises(BenchError, match=why):
        visitors(program).phase(1)


def test_each_way_is_measured_twice_around_the_same_middle(bench):
    log: list[str] = []

    class Visitors:
        def phase(self, seconds: float, operations: Any = ()) -> traffic.Seen:
            for operate in operations:
                operate()
            return seen([1.0], operations=[1.0] * len(operations), seconds=seconds)

    def way(name: str) -> ways.Way:
        @contextmanager
        def around():
            log.append(f"+{name}")
            yield
            log.append(f"-{name}")

        return ways.Way(name, None if name == "steady" else lambda: log.append(name), around)

    site = SimpleNamespace(run=lambda *_words: "")
    found = bench.visit(Visitors(), site, {name: way(name) for name in bench.ORDER}, bench.FULL)
    assert list(found) == ["steady", "swap", "restart", "hup", "plain"]
    assert [len(phases.operations) for phases in found.values()] == [0, 4, 4, 4, 4]
    begun = [line[1:] for line in log if line.startswith("+")]
    assert begun[0] == begun[-1] == "steady"
    assert begun == begun[::-1]
    assert [len(phases.answers) for phases in found.values()] == [2] * 5  # without those of the warm-up


def test_short_form_leaves_no_way_out(bench):
    """And has something happen in each but the first, so that there are figures of all."""
    assert sorted(bench.SHORT.order) == sorted(bench.ORDER)
    assert bench.SHORT.operations > 0
    assert bench.SHORT.repeats > 0


def test_site_that_fails_before_anything_is_done_is_not_measured(bench):
    visitors = SimpleNamespace(phase=lambda *_: seen([1.0], failed=1, examples=["GET: 502"]))
    site = SimpleNamespace(run=lambda *_words: "")
    with pytest.raises(BenchError, match="steady: 1 requests failed before anything was done"):
        bench.visit(visitors, site, {name: ways.Way(name) for name in bench.ORDER}, bench.SHORT)


# Ways


@pytest.fixture(scope="module")
def service(evaluate, render) -> str:
    """The app's service as the role writes it."""
    app = {"name": "guestbook", "domains": ["guestbook.test"], "source": {"path": "/x"}}
    settings = evaluate("django", "__django_settings", django_app=app)
    return render("django", "etc/systemd/system/app.service.j2", django=settings, stand_in=False, ansible_managed="x")


def test_plain_unit_is_the_service_without_its_socket(service):
    plain = ways.plain_unit(service, "guestbook.wsgi:application")
    before, after = service.splitlines(), plain.splitlines()
    assert [line for line in before if line not in after] == [
        "Requires=django-guestbook.socket",
        "After=network-online.target django-guestbook.socket",
        "Sockets=django-guestbook.socket",
        "RuntimeDirectory=django-guestbook",
        "SyslogIdentifier=django-guestbook",
        "ExecStart=/usr/local/bin/djangoctl guestbook exec current serve django-guestbook.socket",
    ]
    assert [line for line in after if line not in before] == [
        "After=network-online.target",
        "RuntimeDirectory=bench-plain",
        "SyslogIdentifier=bench-plain",
        "ExecStart=/usr/local/bin/djangoctl guestbook exec current gunicorn "
        "--config /usr/lib/djangofleet/gunicorn.conf.py --bind unix:/run/bench-plain/gunicorn.sock "
        "guestbook.wsgi:application",
        "SystemCallFilter=@chown",
    ]
    filters = [line for line in after if line.startswith("SystemCallFilter=")]
    assert filters[-1] == "SystemCallFilter=@chown"


@pytest.mark.parametrize("key", ["Requires", "Sockets", "After", "ExecStart"])
def test_plain_unit_is_not_made_of_a_service_that_has_become_another(service, key):
    changed = "\n".join(line for line in service.splitlines() if not line.startswith(f"{key}="))
    with pytest.raises(BenchError, match=key):
        ways.plain_unit(changed, "guestbook.wsgi:application")


def test_plain_unit_starts_gunicorn_as_the_service_does(app_settings, monkeypatch, tmp_path):
    """Word for word but for the socket: what `serve` becomes in a release."""
    from djangoctl import launch
    from djangoctl.app import App

    release = tmp_path / "releases" / "one"
    (release / "source").mkdir(parents=True)
    (release / "release.json").write_text('{"application": "guestbook.wsgi:application"}')
    (tmp_path / "current").symlink_to("releases/one")
    app = App("guestbook", tmp_path, app_settings | {"root": str(tmp_path)})
    started: list[list[str]] = []
    monkeypatch.setattr(launch.os, "chdir", lambda _path: None)
    monkeypatch.setattr(launch.os, "execvpe", lambda _name, words, _environment: started.append(words))
    monkeypatch.setattr(launch, "GUNICORN", Path("/usr/lib/djangofleet/gunicorn.conf.py"))
    for name, value in {"LISTEN_PID": os.getpid(), "LISTEN_FDS": 1, "LISTEN_FDNAMES": "a.socket"}.items():
        monkeypatch.setenv(name, str(value))
    launch.run(app, "current", ["serve", "a.socket"])
    plain = ways.plain_unit(
        "[Service]\nRequires=\nAfter=\nSockets=\nRuntimeDirectory=\nSyslogIdentifier=\nExecStart=\n",
        "guestbook.wsgi:application",
    )
    start = next(line for line in plain.splitlines() if line.startswith("ExecStart="))
    words = start.removeprefix(f"ExecStart={ways.SERVE} ").split()
    bind = words.index("--bind")
    assert words[:bind] + words[bind + 2 :] == started[0]


def test_what_the_phases_replace_on_the_host_is_what_the_roles_write(app_settings, evaluate):
    app = {"name": "guestbook", "domains": ["guestbook.test"], "source": {"path": "/x"}}
    assert '"preload_app": true' in json.dumps(app_settings, indent=4)
    assert evaluate("django", "'unix:' ~ __django_settings.listen", django_app=app) == ways.SOCKET


class Swapped:
    """A host with releases, and a djangoctl that does as it is told."""

    def __init__(self, states: dict[str, str], live: str) -> None:
        self.states, self.live, self.asked = states, live, []

    name = "host"

    def run(self, *words: str) -> str:
        if words[2] == "releases":
            listed = [{"id": id_, "state": state, "live": id_ == self.live} for id_, state in self.states.items()]
            return json.dumps({"releases": listed})
        assert words[2] == "activate"
        changed, self.live = self.live != words[3], words[3]
        self.asked.append(words[3])
        return json.dumps({"changed": changed})


def test_swap_alternates_between_the_two_good_releases():
    host = Swapped({"one": "good", "two": "good", "three": "failed"}, live="two")
    swap = ways.all_of(host, Path())["swap"].operate
    for _ in range(4):
        swap()
    assert host.asked == ["one", "two", "one", "two"]


def test_swap_that_was_none_is_not_counted():
    host = Swapped({"one": "good", "two": "good"}, live="two")
    swap = ways.all_of(host, Path())["swap"].operate
    host.live = "one"
    with pytest.raises(BenchError, match="did not swap to one"):
        swap()


def test_swap_wants_two_good_releases():
    with pytest.raises(BenchError, match="1 good releases"):
        ways.all_of(Swapped({"one": "good", "two": "failed"}, live="one"), Path())


# Releases


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"path": "/checkout/examples/guestbook"}),
        ({"bench_version": "two"}, {"path": "/checkout/examples/guestbook", "version": "two"}),
        ({"bench_source": "/changed"}, {"path": "/changed"}),
    ],
)
def test_inventory_makes_the_releases_that_are_asked_for(dataloader, given, wanted):
    variables = dataloader.load_from_file(str(ROOT / "bench/inventory/group_vars/all.yml"), trusted_as_template=True)
    templar = Templar(loader=dataloader, variables=variables | {"ansible_config_file": "/checkout/ansible.cfg"} | given)
    apps = templar.template(trust_as_template("{{ django_apps }}"))
    assert [app["source"] for app in apps] == [wanted]


def test_change_is_one_that_visitors_see(bench):
    """Each round's page differs, and from that of the example."""
    template = (bench.EXAMPLE / "entries/templates/base.html").read_text()
    pages = [bench.change(template, number) for number in range(1, 4)]
    assert len({template, *pages}) == 4
    assert all(f"{bench.CHANGED} For the {number}. time." in page for number, page in enumerate(pages, 1))


def test_change_that_is_none_is_no_release(bench):
    with pytest.raises(BenchError, match="the template has no"):
        bench.change("<p>Another page</p>", 1)
