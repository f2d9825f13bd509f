"""What bench/converge makes of the executions that it finds, and how it counts; nothing here takes a time."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager
from loading import load

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from lib import ansible, frame, hosts, report, resources  # noqa: E402
from lib.hosts import BenchError  # noqa: E402
from lib.timing import Clock, Timed  # noqa: E402


@pytest.fixture(scope="module")
def converge() -> ModuleType:
    return load("bench/converge")


# Resources

CONTENT = base64.b64encode("grüezi\n".encode()).decode()
OWNED = {"owner": "root", "group": "adm"}
ENTRIES = [
    {"path": "/etc/motd", "content": CONTENT, "encoding": "base64", "mode": "0600", "sensitive": False, **OWNED},
    {"path": "/etc/a", "directory": True, "mode": "0755", **OWNED},
    {"path": "/etc/b", "link": "a"},
    {"path": "/etc/c", "absent": True},
]


def test_files_are_written_as_the_calls_of_tree_say(tmp_path):
    found = resources.read([], [("tree", {"entries": ENTRIES[:1]}), ("tree", {"entries": ENTRIES[1:]})])
    (tmp_path / "source").mkdir()
    resources.write(found, tmp_path / "source", tmp_path / "payload")
    assert (tmp_path / "payload/files/etc/motd").read_text() == "grüezi\n"
    script = (tmp_path / "payload/resources.sh").read_text()
    lines = script.partition("install_files() {")[2].split("}")[0].split("\n")
    assert [line.strip() for line in lines if line] == [
        "install -D -m 0600 -o root -g adm files/etc/motd /etc/motd",
        "install -d -m 0755 -o root -g adm /etc/a",
        "ln -sfn a /etc/b",
        "rm -rf /etc/c",
    ]


def test_files_of_the_first_run_are_not_read():
    """It also writes what each host has for itself."""
    assert resources.read([("tree", {"entries": ENTRIES})], [])["entries"] == []


def test_package_is_installed_once_whoever_names_it():
    calls = [
        ("packages", {"name": ["nginx", "git"]}),
        ("apt", {"name": ["git"]}),
        ("apt", {"name": None, "update_cache": True}),
        ("apt", {"name": "brotli"}),
        ("packages", {"name": ["git", "curl"]}),
    ]
    assert resources.read(calls, [])["packages"] == [["nginx", "git"], ["brotli"], ["curl"]]


def test_release_that_is_asked_for_and_then_sent_is_one():
    asked = {"app": "shop", "state": "built", "revision": "1"}
    calls = [
        ("release", asked),
        ("release", {**asked, "source": {"archive": "/tmp/source.tar.gz"}}),
        ("release", {"app": "shop", "state": "activated"}),
    ]
    assert resources.read(calls, [])["releases"] == [{"app": "shop", "revision": "1"}]


def test_services_are_those_that_the_roles_ask_about_or_enable():
    calls = [
        ("survey", {"units": ["nginx.service", "nftables.service"], "paths": ["/etc"]}),
        ("survey", {"users": ["www-data"]}),
        ("systemd_service", {"name": "nginx", "enabled": True}),
        ("systemd_service", {"name": "postgresql", "enabled": True}),
        ("systemd_service", {"name": "systemd-journald.service", "state": "restarted", "enabled": None}),
    ]
    assert resources.read(calls, [])["services"] == ["nginx", "nftables", "postgresql"]


def test_service_that_the_host_does_not_run_is_nobodys_work():
    answers = {"nginx": "enabled\n", "djangofleet-backup.timer": "", "redis-server": "disabled\n"}
    host = SimpleNamespace()
    host.shell = lambda script, check: answers[script.removeprefix("systemctl is-enabled ")]
    assert resources.started_at_boot(host, list(answers)) == ["nginx"]


@pytest.mark.parametrize("module", ["visit", "setup", "x509_certificate_pipe"])
def test_module_that_only_looks_gives_no_work(module):
    assert not any(resources.read([(module, {})], [(module, {})]).values())


def test_module_that_is_not_known_stops_the_comparison():
    with pytest.raises(BenchError, match="lineinfile"):
        resources.read([], [("lineinfile", {})])


# Hosts


def test_further_hosts_are_in_the_groups_and_read_the_same_variables(dataloader, tmp_path):
    hosts = [SimpleNamespace(name=f"container-{number}") for number in range(3)]
    words = ansible.inventory(Clock(ROOT, tmp_path), hosts)
    sources = [str(ROOT / words[index + 1]) for index, word in enumerate(words) if word == "-i"]
    found = InventoryManager(dataloader, sources=sources)
    wanted = ["bench", "bench-2", "bench-3"]
    assert [host.name for host in found.get_hosts()] == wanted
    for name in set(found.groups) - {"all", "ungrouped"}:
        assert [host.name for host in found.groups[name].get_hosts()] == wanted
    variables = VariableManager(loader=dataloader, inventory=found)
    seen = [variables.get_vars(host=host) for host in found.get_hosts()]
    assert [each["ansible_host"] for each in seen[1:]] == ["container-1", "container-2"]
    assert words[words.index("-e") + 1] == "bench_container=container-0"
    assert {each["ansible_python_interpreter"] for each in seen} == {"/opt/bench/python"}


def test_inventory_of_one_host_is_the_one_that_lies_there(tmp_path):
    words = ansible.inventory(Clock(ROOT, tmp_path), [SimpleNamespace(name="container")])
    assert words == ["-i", "bench/inventory", "-e", "bench_container=container"]


@pytest.mark.parametrize(("shared", "wanted"), [("false", set()), ("true", {"secret_key", "database", "media"})])
def test_app_on_several_hosts_has_in_common_what_no_host_can_make_alone(dataloader, shared, wanted):
    variables = dataloader.load_from_file(str(ROOT / "bench/inventory/group_vars/all.yml"), trusted_as_template=True)
    given = {"ansible_config_file": "/checkout/ansible.cfg", "bench_shared": shared, "bench_apps_count": "2"}
    templar = Templar(loader=dataloader, variables=variables | given)
    first, second = templar.template(trust_as_template("{{ django_apps }}"))
    assert set(first) - set(second) == wanted


def test_further_host_is_the_slope_from_the_fewest_to_the_most(converge):
    assert converge.per_extra({1: 10.0, 2: 11.0, 4: 25.0}) == 5.0


# Runs

RUN = """
TASK [setup] ***
RUNNING HANDLER [nginx : Reload] ***
PLAY RECAP ***
bench                      : ok=3    changed={}    unreachable=0
bench-2                    : ok=3    changed={}    unreachable=0
"""


@pytest.fixture
def clock(tmp_path):
    """One whose commands print a given text."""

    def run(output: str) -> Clock:
        found = Clock(tmp_path, tmp_path)
        found.run = lambda *_args, **_environment: Timed(1.0, 1.0, 1.0, output)
        return found

    return run


class Counting:
    """A host on which four executions are counted in each run."""

    name = "host"

    def shell(self, script: str) -> str:
        return "...." if script.startswith("cat") else ""


HOSTS = [Counting(), Counting()]


def test_run_counts_what_all_hosts_have_executed(clock):
    run = ansible.site(clock(RUN.format(0, 0)), "label", HOSTS, same=True)
    assert (run.executions, run.tasks) == (8, 2)


def test_change_on_any_host_is_none_that_an_unchanged_run_may_make(clock):
    with pytest.raises(BenchError, match="3 tasks changed something"):
        ansible.site(clock(RUN.format(0, 3)), "label", HOSTS, same=True)


def test_run_that_lost_a_host_is_not_measured(clock):
    with pytest.raises(BenchError, match="no recap of 2 hosts"):
        ansible.site(clock("bench : ok=3    changed=0    unreachable=0\n"), "label", HOSTS)


def test_works_run_in_their_order(tmp_path):
    done: list[int] = []
    assert Clock(ROOT, tmp_path).each(lambda: done.append(1) or "one", lambda: done.append(2) or "two") == [
        "one",
        "two",
    ]
    assert done == [1, 2]


def test_works_run_side_by_side(tmp_path):
    """Each waits for the other one."""
    together = threading.Barrier(2, timeout=10)
    clock = Clock(ROOT, tmp_path, side_by_side=True)
    assert sorted(clock.each(together.wait, together.wait)) == [0, 1]


def test_work_that_fails_ends_the_commands_of_the_others(tmp_path):
    clock = Clock(tmp_path, tmp_path, side_by_side=True)

    def fail() -> None:
        for _ in range(100):
            if clock.log("sleeper").is_file() and clock.log("sleeper").read_text():
                break
            time.sleep(0.1)
        raise BenchError("no such package")

    with pytest.raises(BenchError, match="no such package"):
        clock.each(fail, lambda: clock.run("sleeper", [], ["sh", "-c", "echo up; exec sleep 600"]))


# Forms


@pytest.mark.parametrize("program", ["converge", "release"])
def test_program_takes_nothing_but_its_short_form(program):
    told = subprocess.run([ROOT / "bench" / program, "--shorter"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "[--short]" in told.stderr


@pytest.fixture
def around(monkeypatch, tmp_path):
    """The frame without containers; results go to a directory of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frame, "ROOT", tmp_path)
    monkeypatch.setattr(frame.signal, "signal", lambda *_: None)
    monkeypatch.setattr(frame, "fresh", lambda _containers: nullcontext([None]))
    monkeypatch.setattr(frame.evidence, "facts", lambda _host: {"distribution": "Debian", "cpus": 2})
    monkeypatch.setattr(frame, "_versions", lambda _programs: {})
    return tmp_path / "bench/results/some.json"


@pytest.mark.parametrize("short", [False, True])
def test_only_the_full_form_writes_results(around, short):
    clocks: list[Clock] = []

    def measure(clock, _hosts):
        clocks.append(clock)
        return {"figure": 1}, {}, "a table"

    assert frame.bench("some", {"a": "image"}, measure, short=short) == 0
    assert around.exists() is not short
    assert clocks[0].side_by_side is short


@pytest.mark.parametrize("short", [False, True])
def test_benchmark_that_does_not_end_fails(around, capsys, short):
    def measure(_clock, _hosts):
        raise BenchError("the site does not answer")

    assert frame.bench("some", {"a": "image"}, measure, short=short) == 1
    assert "the site does not answer" in capsys.readouterr().err
    assert not around.exists()


def test_table_of_hosts_has_a_row_for_each_number():
    table = report.hosts(
        "unchanged", [(1, 74, 16, Timed(15.04, 8.14, 14.0, "")), (4, 81, 64, Timed(30.0, 28.0, 60.0, ""))]
    )
    head, *rows = table.splitlines()
    assert [row.split() for row in rows] == [
        ["1", "host", "74", "16", "15.0", "s", "8.1", "s"],
        ["4", "hosts", "81", "64", "30.0", "s", "28.0", "s"],
    ]
    assert {len(head), *map(len, rows)} == {len(head)}


@pytest.mark.parametrize(
    ("warm", "there", "wanted"),
    [(False, True, "djangofleet/host:12"), (True, True, "djangofleet/warm:12"), (True, False, "djangofleet/host:12")],
)
def test_warm_image_is_taken_if_it_is_there(monkeypatch, warm, there, wanted):
    monkeypatch.setattr(hosts, "docker", lambda *_words: SimpleNamespace(returncode=0 if there else 1))
    assert hosts.image("12", warm=warm) == wanted


@pytest.fixture
def contestants(converge, monkeypatch):
    """Contestants that take no time worth speaking of; returns which hosts were worked on, by label."""
    worked: dict[str, list[str]] = {}

    def timed(seconds: float) -> Timed:
        return Timed(seconds, seconds / 2, seconds, "")

    def site(_clock, label, hosts, *_options, apps=1, **_more):
        worked[label] = [host.name for host in hosts]
        return ansible.Run(timed(10.0 + 3 * len(hosts)), (7 + 3 * apps) * len(hosts), 70)

    def rival(_clock, label, host, _payload, **_more):
        worked[label] = [host.name]
        return timed(20.0)

    monkeypatch.setattr(converge.ansible, "prepare", lambda *_: None)
    monkeypatch.setattr(converge.ansible, "site", site)
    monkeypatch.setattr(converge.ansible, "play", site)
    monkeypatch.setattr(converge.rivals, "pyinfra", rival)
    monkeypatch.setattr(converge.rivals, "script", rival)
    monkeypatch.setattr(converge.resources, "kept_calls", lambda _host: [("survey", {})] * 10)
    monkeypatch.setattr(converge.resources, "write", lambda *_: None)
    monkeypatch.setattr(converge.evidence, "answers", lambda _host: None)
    monkeypatch.setattr(converge.evidence, "same", lambda *_: None)
    return worked


@pytest.mark.parametrize("form", ["FULL", "SHORT"])
def test_both_forms_take_the_same_figures(converge, contestants, tmp_path, form):
    chosen = getattr(converge, form)
    containers = [SimpleNamespace(name=name, run=lambda *_words: "") for name in chosen.names]
    figures, details, text = converge.measure(chosen, Clock(ROOT, tmp_path), containers)
    assert figures["executions_unchanged"] == 10
    assert figures["executions_per_extra_app"] == 3
    assert figures["seconds_per_extra_host"] == 3.0
    assert figures["controller_seconds_per_extra_host"] == 1.5
    assert tuple(details["unchanged_by_hosts"]) == tuple(details["deploy_by_hosts"]) == chosen.hosts
    assert len(contestants[f"ansible: deploy to {max(chosen.hosts)} of the hosts"]) == max(chosen.hosts)
    assert text.count("aim: ") == len(converge.AIMS)
    # The second app is on a host of its own, and on none of those that several hosts are measured with.
    second = contestants["ansible: second app added"]
    most = contestants[f"ansible: unchanged on {max(chosen.hosts)} of the hosts {chosen.repeats}"]
    assert len(most) == max(chosen.hosts)
    assert not set(second) & set(most)
