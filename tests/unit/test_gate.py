"""What the gate says at its end, and what the proof writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from loading import load

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def program(monkeypatch):
    """program(name): the module of a script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    return lambda name: load(f"scripts/{name}")


def test_a_step_over_its_budget_is_told(program):
    lines = program("summary").times("lint\t61\t2\nscenario release\t481\t8\n", 500)
    assert [line.split() for line in lines] == [
        ["lint", "1:01", "of", "2", "min"],
        ["scenario", "release", "8:01", "of", "8", "min", "OVER", "ITS", "BUDGET"],
        ["all", "8:20"],
    ]


SEEN = {"name": "scenario release", "seconds": 90, "date": "2026-11-21", "commit": "0123456789abcdef", "cpus": 2}


def test_proof_names_the_commit_and_the_figures(program):
    tests = {"passed": 3, "failed": 0, "skipped": 0}
    text = program("prove").document(
        [{**SEEN, "ok": True, "tests": tests, "figures": {"swaps": 40, "b": {"c_d": 1.5}}}]
    )
    assert "| scenario release | 3 passed, 0 failed | 1.5 | 2026-11-21 | `0123456789ab` |" in text
    assert "| swaps | 40 |" in text
    assert "| b: c d | 1.5 |" in text


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"ok": True}, "done"),
        ({"ok": False}, "FAILED"),
        ({"ok": False, "tests": {"passed": 2, "failed": 1, "skipped": 0}}, "FAILED, 2 passed, 1 failed"),
        # A play that ends in an error leaves no failing test.
        ({"ok": False, "tests": {"passed": 2, "failed": 0, "skipped": 0}}, "FAILED, 2 passed, 0 failed"),
    ],
)
def test_proof_hides_no_failure(program, seen, said):
    assert program("prove").result({**SEEN, **seen}) == said


def test_figures_are_those_of_the_tests(program, tmp_path):
    """As pytest writes them, whichever of its processes has run the test."""
    report = tmp_path / "report.xml"
    test = "def test(request):\n    request.node.user_properties += [('swaps', 40), ('worst', 1.5)]\n"
    (tmp_path / "test_it.py").write_text(test)
    words = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--numprocesses=1",
        f"--junitxml={report}",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    subprocess.run([sys.executable, "-m", "pytest", *words], cwd=tmp_path, check=True, capture_output=True)
    program("prove")
    assert sys.modules["junit"].figures(report) == {"swaps": 40, "worst": 1.5}


def test_what_a_proof_writes_is_no_other_code(program, monkeypatch):
    """Its own files may be committed in between, and it still goes on where it was broken off."""
    written = ["docs/proof.md", "docs/proof/upgrade.json", "bench/results/release.json"]
    prove, files = program("prove"), dict.fromkeys(["README.md", *written], "1")
    monkeypatch.setattr(prove, "git", lambda *_: "".join(f"100644 blob {n}\t{path}\n" for path, n in files.items()))
    before = prove.digest()
    files |= dict.fromkeys(written, "2")
    assert prove.digest() == before
    files["README.md"] = "2"
    assert prove.digest() != before


def test_what_has_passed_on_this_code_is_not_run_again(program, monkeypatch, tmp_path):
    prove = program("prove")
    monkeypatch.setattr(prove, "SEEN", tmp_path)
    step = next(iter(prove.steps()))
    assert not prove.proven(prove.seen_of(step), "a")
    for ok in (False, True):
        prove.path_of(step).write_text(json.dumps({**SEEN, "ok": ok, "code": "a"}))
        assert prove.proven(prove.seen_of(step), "a") is ok
        assert not prove.proven(prove.seen_of(step), "b")


def test_every_scenario_is_proven(program):
    names = {step.name for step in program("prove").steps()}
    assert names >= {f"scenario {path.parent.name}" for path in SCRIPTS.parent.glob("molecule/*/molecule.yml")}


def test_an_upgrade_is_proven(program):
    (step,) = [step for step in program("prove").steps() if step.name == "upgrade"]
    assert (SCRIPTS.parent / step.words[0]).is_file()
