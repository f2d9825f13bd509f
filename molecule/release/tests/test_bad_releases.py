"""Releases that cannot serve: each is refused with its cause named, the old one stays live, a good one follows."""

import re

import fleet
import pytest
from variants import migration, project

HEALTH = "\n\n@require_safe\ndef healthz(request):\n    {}\n"
# What a version changes, what the run has to say, and the state of the release it leaves.
BAD = {
    "import": (
        {"guestbook/wsgi.py": "\nimport a_module_nobody_has\n"},
        ["No module named 'a_module_nobody_has'", "nothing live was changed"],
        "failed",
    ),
    "health-500": (
        {"entries/views.py": HEALTH.format('raise RuntimeError("no heart")')},
        ["GET /healthz as guestbook.test", "no heart", "did not pass its gate"],
        "good",
    ),
    "health-hangs": (
        {"entries/views.py": HEALTH.format("import time; time.sleep(600)")},
        ["GET /healthz as guestbook.test: no answer within 10 s", "did not pass its gate"],
        "good",
    ),
    "migration": (
        migration("0002_fails", "0001_initial", "migrations.RunPython(fail)"),
        ["a migration of release", "the ledger does not add up"],
        "good",
    ),
    "requirements": (
        {"requirements.txt": "\na-package-nobody-has==1.0\n"},
        ["django_app.requirements", "a-package-nobody-has"],
        "failed",
    ),
}


def failure(said: str, host: str) -> str:
    """What a host's first failure said, in one line of single spaces."""
    found = re.search(rf"^(fatal|failed): \[{host}\].*?(?=^\S|\Z)", said, re.MULTILINE | re.DOTALL)
    assert found, said[-6000:]
    return " ".join(found[0].replace("\\n", " ").replace('\\"', '"').split())


@pytest.mark.parametrize("kind", BAD)
def test_bad_release_changes_nothing(kind):
    changes, told, state = BAD[kind]
    bad = project(kind, changes)
    before = fleet.both(fleet.served)
    with fleet.visitors():
        result = fleet.attempt(kind, bad)
        assert result.returncode != 0
        assert fleet.both(fleet.served) == before
        # The first host migrates, and when that fails the others are not asked to.
        for host in fleet.HOSTS[:1] if kind == "migration" else fleet.HOSTS:
            said = failure(result.stdout, host)
            assert not [words for words in told if words not in said], f"{host}: {said}"
            assert f"release {before[host]} is still live" in said, said
        for host in fleet.HOSTS:
            kept = fleet.ctl(host, "guestbook", "releases")["releases"]
            assert [entry["state"] for entry in kept if entry["version"] == kind] == [state]
        fleet.deploy(f"after-{kind}")
    assert set(fleet.both(fleet.version).values()) == {f"after-{kind}"}


def test_bad_environment_is_not_what_a_crashed_master_starts_with():
    """What the gate refuses stays on the host until the inventory is mended; what served keeps what it served with."""
    fleet.deploy("steady")
    before = fleet.both(fleet.served)
    result = fleet.attempt("steady", release_environment={"ALLOWED_HOSTS": "other.test"})
    assert result.returncode != 0
    for host in fleet.HOSTS:
        assert "did not pass its gate" in failure(result.stdout, host), result.stdout[-4000:]
        fleet.on(host, "kill", "-9", fleet.main_pid(host, "django-guestbook.service"))
        fleet.answers(host, 10)
        assert fleet.served(host) == before[host]
        assert fleet.environment_of(host, "django-guestbook.service")["ALLOWED_HOSTS"] == "guestbook.test"
        assert fleet.ctl(host, "guestbook", "status")["restart_pending"], "the change still waits for a restart"
    fleet.deploy("steady")
    assert not any(fleet.both(lambda host: fleet.ctl(host, "guestbook", "status")["restart_pending"]).values())
