"""What a sandbox is worth: attempts of somebody who runs code in an app, which the kernel denies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared.outside import hosts_of

testinfra_hosts = hosts_of("edge")

PROGRAM = Path(__file__).with_name("attempts.py").read_text()
ATTEMPTS = [
    "write_configuration",
    "read_passwords",
    "read_keys",
    "read_secrets",
    "open_raw_socket",
    "mount_a_filesystem",
    "trace_a_process",
    "make_a_setuid_file",
    "run_what_was_written",
    "map_memory_that_is_written_and_run",
    "rename_the_host",
    "leave_the_namespace",
]
DENIED = {"EPERM", "EACCES", "EROFS", "ENOENT"}  # what is hidden is not there


@pytest.fixture(scope="module")
def attempts(host) -> dict[str, dict[str, str]]:
    """What came of all attempts, in the sandbox and outside of it as root."""
    target = host.check_output("systemctl show -P MainPID systemd-journald.service")
    program = PROGRAM.replace("TARGET = 0", f"TARGET = {target}")
    inside = host.run("djangoctl guestbook manage shell --verbosity=0 -c %s", program)
    assert inside.rc == 0, inside.stdout + inside.stderr
    outside = host.check_output("python3 -c %s", program)
    return {"inside": json.loads(inside.stdout.splitlines()[-1]), "outside": json.loads(outside)}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_kernel_denies(attempts, attempt):
    assert attempts["outside"][attempt] == "done", "it is possible, and so worth denying"
    assert attempts["inside"][attempt] in DENIED


def test_all_attempts_were_made(attempts, figure):
    denied = [name for name, said in attempts["inside"].items() if said in DENIED]
    figure("attempts denied in the sandbox of an app", len(denied))
    assert sorted(denied) == sorted(ATTEMPTS)
