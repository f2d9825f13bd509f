"""What bench/serve asks for, what it makes of the answers, and how its contestants are set up; nothing takes a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from loading import load

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from lib import servers, serving  # noqa: E402
from lib.hosts import BenchError  # noqa: E402
from lib.serving import Choice  # noqa: E402


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("bench/serve")


def answer(requests: int = 500, seconds: float = 5, p50: float = 10, p99: float = 40, **more: float) -> dict:
    """What ask.py tells of a load; percentiles are given in milliseconds here."""
    given = {"requests": requests, "duration": seconds * 1e6, "bytes": 1, "p50": p50 * 1000, "p99": p99 * 1000}
    return {**given, "status": 0, "broken": 0, "late": 0, "client_cpu": 1.0, "cpu": 6.0, **more}


REST = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms": 1.5, "failed": 0}


def table(**rates: dict[str, float]) -> serving.Table:
    """Figures under saturation: rates by contestant and kind."""
    named = {name.replace("__", " + ").replace("_", " "): row for name, row in rates.items()}
    return {
        name.replace("mod wsgi", "mod_wsgi"): {
            kind: {"saturation": {"requests_per_second": rate, "rates": [rate], **REST}} for kind, rate in row.items()
        }
        for name, row in named.items()
    }


# Figures


def test_each_figure_is_the_median_of_the_rounds():
    rounds = [answer(500, p50=10, p99=90), answer(600, p50=30, p99=40), answer(1000, seconds=4, p50=20, p99=50)]
    assert serving.median_of(rounds, cpus=2) == {
        "requests_per_second": 120.0,
        "rates": [100.0, 120.0, 250.0],
        "cpu_ms": 8.333,
        "p50_ms": 20.0,
        "p99_ms": 50.0,
        "failed": 0,
        "client_share": 0.1,
    }


@pytest.mark.parametrize(
    ("lost", "fits"),
    [
        ({}, True),
        ({"status": 5}, True),
        ({"status": 2, "broken": 2, "late": 1}, True),
        ({"status": 4, "late": 2}, False),
    ],
)
def test_rate_of_a_server_that_fails_is_none(lost, fits):
    if fits:
        assert serving.median_of([answer(**lost)], 2)["failed"] == sum(lost.values())
    else:
        with pytest.raises(BenchError, match="6 of 500 requests failed"):
            serving.median_of([answer(**lost)], 2)


def test_server_that_answers_nothing_has_no_figures():
    with pytest.raises(BenchError, match="0 of 0"):
        serving.median_of([answer(0)], 2)


PEERS = {
    "gthread": {"page": 380, "trivial": 900, "static": 9600, "cacheable": 300},
    "nginx__uwsgi": {"page": 400, "trivial": 950},
    "nginx__granian": {"page": 300, "trivial": 1000},
    "apache__mod_wsgi": {"page": 350, "trivial": 800, "static": 3000},
    "nginx_as_it_comes": {"static": 10000},
}


def test_the_stack_is_compared_with_the_best_peer_of_each_kind():
    assert serving.ratios(table(**PEERS), "saturation") == {
        "page / best peer": (0.95, 1.0),
        "trivial view / best peer": (0.9, 0.9),
        "static file / stock nginx": (0.96, 0.95),
        "static file / apache": (pytest.approx(3.2), 3.0),
    }


def test_those_are_compared_who_were_asked_soon_after_each_other():
    """A machine that has become twice as quick since favours nobody."""
    found = table(**PEERS)
    found["gthread"]["page"]["saturation"]["rates"] = [100, 90, 400]
    for name, rates in {"nginx + uwsgi": [80, 100, 200], "nginx + granian": [50, 80, 100]}.items():
        found[name]["page"]["saturation"]["rates"] = rates
    found[serving.APACHE]["page"]["saturation"]["rates"] = [1, 1, 1]
    assert serving.ratios(found, "saturation")["page / best peer"][0] == 1.25


def test_cached_page_is_compared_where_there_is_one():
    found = serving.ratios({**table(**PEERS), **table(**{"gthread,_cached": {"cacheable": 4500}})}, "saturation")
    assert found["cached page / uncached"] == (pytest.approx(15), 10.0)


def test_aims_tell_what_is_met():
    verdicts = [line.rsplit(maxsplit=1)[1] for line in serving.aims(table(**PEERS), ["saturation"]).splitlines()]
    assert verdicts == ["missed", "met", "met", "met"]


def test_summary_has_the_aims_and_the_pages():
    memory = dict.fromkeys(table(**PEERS), 100.5)
    found = serving.summary(table(**PEERS), memory, ["saturation"])
    assert found["saturation"]["page / best peer"] == 0.95
    assert found["page, saturation"]["gthread"] == {"requests_per_second": 380, "p99_ms": 2.0, "mb": 100.5}
    assert "nginx as it comes" not in found["page, saturation"]


def test_table_has_a_row_for_whoever_was_asked():
    shown = serving.text(table(**PEERS), dict.fromkeys(table(**PEERS), 99.6), ["saturation"], ["page", "static"])
    page, static = shown.split("\n\n")
    assert [line.split("  ")[0] for line in static.splitlines()[2:]] == [
        "gthread",
        "apache + mod_wsgi",
        "nginx as it comes",
    ]
    assert len(page.splitlines()) == 2 + 4
    assert re.search(r"^gthread +380 req/s +1.0 ms +2.0 ms +1.50 ms +0 +100 MB$", page, re.MULTILINE)
    assert len({len(line) for line in page.splitlines()[1:]}) == 1, page


# Who, what, when


def test_neighbours_are_measured_there_and_back():
    assert list(serving.there_and_back(["a", "b"], 3)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_full_form_has_rounds_for_a_median_and_both_loads():
    assert serving.FULL.rounds >= 3
    assert set(serving.FULL.loads) == set(serving.LOADS)
    assert serving.SHORT.loads[-1] == serving.FULL.loads[-1]


def test_sizes_on_two_processors():
    assert [str(choice) for choice in serving.choices(2)] == [
        *("sync 2", "sync 3", "sync 4", "sync 5"),
        *("gthread 1 of 2 threads", "gthread 1 of 4 threads", "gthread 1 of 8 threads"),
        *("gthread 2 of 2 threads", "gthread 2 of 4 threads", "gthread 2 of 8 threads"),
        *("gthread 3 of 4 threads", "gthread 5 of 4 threads"),
        *("gevent 1", "gevent 2", "gevent 3", "gevent 5"),
        *("asgi 1", "asgi 2", "asgi 3", "asgi 5"),
    ]


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_no_size_is_tried_twice(cpus):
    names = [str(choice) for choice in serving.choices(cpus)]
    assert len(names) == len(set(names))


def test_short_form_tries_each_class_once():
    found = serving.one_of_each(list(serving.choices(2)))
    assert found == [Choice("sync", 2), Choice("gthread", 1, 2), Choice("gevent", 1), Choice("asgi", 1)]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [([], ("13", False, False)), (["--short", "12"], ("12", True, False)), (["--sizing"], ("13", False, True))],
)
def test_command_line(bench, monkeypatch, words, wanted):
    monkeypatch.delenv("DISTRO", raising=False)
    given = bench.asked(words)
    assert (given.distribution, given.short, given.sizing) == wanted


def test_distribution_comes_from_make(bench, monkeypatch):
    monkeypatch.setenv("DISTRO", "12")
    assert bench.asked([]).distribution == "12"


def test_program_takes_nothing_else():
    told = subprocess.run([ROOT / "bench/serve", "--shorter"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "[--short]" in told.stderr


@pytest.mark.parametrize(
    ("option", "wanted"),
    [(None, None), ({"options": {"enabled": {}}}, {"enabled": True}), ({"options": {"key": {}}}, {})],
)
def test_cached_page_is_measured_where_the_role_has_a_cache(bench, monkeypatch, tmp_path, option, wanted):
    options = {"name": {}, **({"cache": option} if option else {})}
    specs = {"argument_specs": {"main": {"options": {"nginx_sites": {"options": options}}}}}
    path = tmp_path / "roles/nginx/meta/argument_specs.yml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(specs))
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    assert bench.cache_option() == wanted


def test_role_has_the_options_that_the_cache_is_looked_for_in(bench):
    specs = yaml.safe_load((bench.ROOT / "roles/nginx/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    assert "domains" in specs["options"]["nginx_sites"]["options"]
    bench.cache_option()


# The visits


class Site:
    """A host that answers as ask.py would, and tells what was done on it."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.done, self.given = broken, [], []

    def shell(self, script: str, **_options) -> str:
        self.done.append(script)
        return ""

    def run(self, *words: str, **_options) -> str:
        if words[0] != "python3":
            self.done.append(" ".join(words))
            return "2\n"
        if self.broken:
            raise BenchError("does not answer")
        self.given.append(json.loads(words[-1]))
        loads = [answer(500 * load["connections"]) for load in self.given[-1]["loads"]]
        return json.dumps({"loads": loads, "memory": dict.fromkeys(self.given[-1]["units"], 50_000_000)})


def test_visit_keeps_what_was_seen_of_each_kind_and_load(bench):
    site = Site()
    visitors = bench.Visitors(site, serving.FULL, "/static/a.0123456789ab.css")
    for _ in range(2):
        visitors.visit(servers.stack("gthread", kinds=("page", "static")))
    figures, memory = visitors.figures()
    assert figures["gthread"]["page"]["medium"]["rates"] == [400.0, 400.0]
    assert {kind: set(loads) for kind, loads in figures["gthread"].items()} == {
        "page": {"medium", "saturation"},
        "static": {"medium", "saturation"},
    }
    assert figures["gthread"]["page"]["medium"]["requests_per_second"] == 400.0
    assert figures["gthread"]["page"]["saturation"]["requests_per_second"] == 3200.0
    assert memory == {"gthread": 100.0}
    assert site.given[1] == {"loads": [], "units": ["django-gthread.service", "nginx.service"]}
    paths = [load["paths"] for load in site.given[0]["loads"]]
    assert paths == [["/"], ["/"], ["/static/a.0123456789ab.css"], ["/static/a.0123456789ab.css"]]
    assert {load["address"] for load in site.given[0]["loads"]} == {"https://gthread.test"}


@pytest.mark.parametrize("broken", [False, True])
def test_a_contestant_has_ended_before_the_next_one_starts(bench, broken):
    site = Site(broken=broken)
    with pytest.raises(BenchError, match="sync: does not answer") if broken else nullcontext():
        bench.Visitors(site, serving.SHORT).visit(servers.stack("sync"))
    assert "systemctl stop django-sync.socket django-sync.service" in site.done


def test_all_take_turns_while_all_serve(bench):
    site = Site()
    visitors = bench.Visitors(site, replace(serving.SHORT, rounds=2))
    both = {name: servers.stack(name, kinds=("page", "wait")) for name in ("sync", "gthread")}
    visitors.take_turns(both)
    asked = [(load["domain"], load["paths"]) for given in site.given for load in given["loads"]]
    there = [(f"{name}.test", [path]) for path in ("/", "/serve/wait") for name in both]
    back = [(f"{name}.test", [path]) for path in ("/", "/serve/wait") for name in reversed(both)]
    assert asked == there + back
    assert len(site.done) == 4, "both are started, and both are ended at once"
    assert site.done[2].split()[2:] == [unit for name in both for unit in servers.units_of(name)]


def test_memory_is_that_of_one_who_serves_alone(bench):
    site = Site()
    visitors = bench.Visitors(site, serving.SHORT)
    visitors.weigh_each({name: servers.stack(name) for name in ("sync", "gthread")})
    assert visitors.memory == {"sync": [100_000_000], "gthread": [100_000_000]}
    starts = [number for number, words in enumerate(site.done) if words.startswith("systemctl start")]
    assert "systemctl stop django-sync.socket django-sync.service" in site.done[starts[0] : starts[1]]


def test_cached_page_has_to_come_from_the_cache(bench):
    found = {each.name: each for each in bench.contestants_of(Peer(), {"enabled": True})}
    load = bench.Visitors(Site(), serving.SHORT).load(found[serving.CACHED], "cacheable", "saturation")
    assert load["contains"] == ["Sign the guestbook", "X-Cache: HIT"]
    assert load["paths"] == ["/serve/page"]
    assert "cacheable" in found["gthread"].kinds


def test_without_a_cache_nobody_is_asked_for_the_page_that_could_be_kept(bench):
    found = bench.contestants_of(Peer(), None)
    assert not [each.name for each in found if "cacheable" in each.kinds]


# The contestants


def test_apps_differ_in_what_is_measured_alone():
    found = {app["name"]: app for app in servers.apps({"enabled": True})}
    assert list(found) == ["sync", "gthread", "gevent", "asgi", "cached"]
    assert {name: app["gunicorn"] for name, app in found.items() if name != "cached"} == {
        name: {"worker_class": name} for name in servers.CLASSES
    }
    assert found["cached"]["nginx"] == {"cache": {"enabled": True}}
    assert [name for name, app in found.items() if "asgi" in app] == ["asgi"]
    assert [name for name, app in found.items() if app["environment"]] == ["gevent", "asgi"]


def test_without_a_cache_no_app_has_one():
    assert not [app for app in servers.apps(None) if "nginx" in app]


VALUES = {
    **dict.fromkeys(("certificate", "key", "static", "venv", "source"), "/path"),
    **{"ciphers": "A:B", "curves": "X25519", "domain": "a.test", "user": "u", "processes": 5, "threads": 4},
}


@pytest.mark.parametrize("name", ["nginx.conf", "apache.conf", "uwsgi.ini"])
def test_every_value_is_filled_in(name):
    text = servers.filled((servers.FILES / name).read_text(), VALUES)
    # Apache's log formats and %{GLOBAL}, and comments, have braces of their own.
    left = [line for line in text.splitlines() if re.search(r"(?<!%)\{[a-z]+\}", line)]
    assert left == []


class Peer:
    """A host on which peers are set up."""

    def __init__(self) -> None:
        self.scripts: list[str] = []

    def shell(self, script: str, **_options) -> str:
        self.scripts.append(script)
        return ""

    def run(self, *words: str, **_options) -> str:
        answers = {"python3": "5 4\n", "grep": f'    {words[-2]} "value of {words[-2]}";\n'}
        return answers[words[0]]


@pytest.fixture
def peers() -> SimpleNamespace:
    site = Peer()
    return SimpleNamespace(site=site, all={peer.name: peer for peer in servers.peers(site)})


def test_peers_are_those_that_are_compared(peers):
    assert {*serving.PEERS, serving.STOCK} < set(peers.all)
    assert serving.APACHE in serving.PEERS
    assert "static" in peers.all[serving.APACHE].kinds
    assert peers.all[serving.STOCK].kinds == ("static",)


def test_peers_have_as_many_processes_and_threads_as_the_stack(peers):
    written = "\n".join(peers.site.scripts)
    assert "processes = 5\nthreads = 4" in written
    assert "processes=5 threads=4" in written
    assert "--workers 5 --blocking-threads 4" in peers.all["nginx + granian"].start
    assert "--workers 5 --threads 4" in peers.all["gunicorn alone"].start


def test_peers_have_the_tls_of_the_stack(peers):
    written = "\n".join(peers.site.scripts)
    assert "ssl_certificate value of ssl_certificate;" in written
    assert "SSLCipherSuite value of ssl_ciphers" in written
    assert "include /etc/nginx/djangofleet/tls.conf;" in written


def test_each_peer_runs_as_a_unit_of_its_own_whose_memory_counts(peers):
    units = {name: peer.units[0] for name, peer in peers.all.items()}
    assert units == {
        "nginx + uwsgi": "bench-uwsgi.service",
        "nginx + granian": "bench-granian.service",
        "apache + mod_wsgi": "bench-apache.service",
        "gunicorn alone": "bench-gunicorn.service",
        "runserver": "bench-runserver.service",
        "nginx as it comes": "bench-nginx.service",
    }
    for peer in peers.all.values():
        assert peer.start == "" or f"--unit={peer.units[0].removesuffix('.service')} " in peer.start
        # As root alone who has to read a key first; Apache's processes that run the app are not.
        assert "User=django-gthread" in peer.start or peer.name in ("apache + mod_wsgi", serving.STOCK)


def test_every_view_that_is_asked_for_is_there():
    urls = (servers.FILES / "serving/urls.py").read_text()
    for kind in serving.KINDS.values():
        for path in kind.paths:
            assert not path.startswith("/serve/") or f'path("{path[1:]}"' in urls


def test_lists_have_a_hash_for_each_package():
    for name in ("app.txt", "granian.txt"):
        packages = re.findall(r"^\S+==.*$", (servers.FILES / name).read_text(), re.MULTILINE)
        assert packages
        assert all(line.endswith("\\") for line in packages)
