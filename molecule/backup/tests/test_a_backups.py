"""Backups and drills: taken by themselves, told, and told when they fail."""

from __future__ import annotations

import json
import re

import pytest
from host import LONG

PARTS = {"cluster main", "files of guestbook", "files of notes"}
CLUSTER = "/mnt/backup/*/postgresql"


def test_the_first_backup_comes_back_by_itself(there):
    code, parts = there.status()
    assert code == 0, parts
    assert set(parts) == PARTS
    assert all(part["restored"] and not part["faults"] for part in parts.values())


def test_a_drill_lets_the_apps_check_themselves(there):
    state = json.loads(there.ok("cat", "/var/lib/djangofleet/backup/state.json"))
    assert state["parts"]["cluster main"]["drill"]["checked"] == ["guestbook", "second-shop"]
    assert state["parts"]["cluster main"]["drill"]["asserted"] == {"guestbook": "t"}
    assert state["parts"]["files of notes"]["drill"]["checked"] == ["notes"]


def test_djangoctl_tells_how_the_backups_are(there):
    found = json.loads(there.ok("djangoctl", "guestbook", "status", "--json"))
    assert [part["part"] for part in found["backups"]] == ["cluster main", "files of guestbook"]
    assert all(part["restored"] for part in found["backups"])
    assert "cluster main" in there.ok("djangoctl", "guestbook", "status")


def test_metrics_are_there_for_node_exporter(there):
    text = there.ok("cat", "/var/lib/prometheus/node-exporter/djangofleet_backup.prom")
    assert re.search(
        r'^djangofleet_backup_restored_timestamp_seconds\{part="cluster main"\} 1\d{9}', text, re.MULTILINE
    )
    assert 'djangofleet_backup_faults{part="files of notes"} 0' in text


def test_nothing_in_the_repository_is_plain(there):
    there.sql(
        "insert into entries_entry (name, message, image, reference, created_at)"
        " values ('x', 'Rumpelstiltskin', '', '', now())"
    )
    there.ok("djangofleet-backup", "run")
    code, said = there.run(
        "grep", "-rlF", "-e", "Rumpelstiltskin", "-e", "entries_entry", "-e", "SQLite format", "/mnt/backup"
    )
    assert code == 1, said


def test_the_passphrase_is_in_no_place_that_others_read(there):
    phrase = there.ok("cat", "/var/lib/djangofleet/backup/secret").partition("=")[2]
    assert len(phrase) > 30
    found = there.run("grep", "-rlsF", "--", phrase, "/etc", "/var/lib/djangofleet", "/var/log", "/run", "/tmp")[
        1
    ].split()
    modes = {path: there.ok("stat", "-c", "%a %U %G", path) for path in found}
    assert set(modes.values()) <= {"600 root root", "640 root postgres"}, modes
    assert phrase not in there.ok("journalctl", "--no-pager")
    assert phrase not in there.ok("systemctl", "show", "djangofleet-backup.service", "postgresql@*.service")


def test_nobody_else_reads_the_repository(there):
    there.ok("runuser", "-u", "nobody", "--", "ls", "/mnt/backup")
    places = "/mnt/backup /var/lib/djangofleet/backup /var/lib/postgresql /etc/djangofleet-backup/*.*"
    for user in ("nobody", "django-notes"):
        found = there.run("runuser", "-u", user, "--", "sh", "-c", f"find {places} -type f -readable 2>&-")[1]
        assert found.strip() == ""


def test_timers_are_active(there):
    for unit in ("djangofleet-backup.timer", "djangofleet-backup-drill.timer"):
        assert there.ok("systemctl", "is-active", unit) == "active"
        assert there.ok("systemctl", "is-enabled", unit) == "enabled"


# What goes wrong


@pytest.fixture
def healed(there):
    """After the test the backups are well again."""
    yield
    there.ok("djangofleet-backup", "run", "--full")
    there.ok("djangofleet-backup", "drill")
    code, parts = there.status()
    assert code == 0, parts


@pytest.mark.usefixtures("healed")
def test_a_damaged_backup_is_found_by_the_drill(there):
    """Bits of the newest backup are other ones. The program that wrote it does not notice; who restores it does."""
    script = (
        "set -e; f=$(ls -d /mnt/backup/*/postgresql/backup/main/*/ | grep -v history | tail -n 1);"
        ' p=$(find $f/bundle $f/pg_data -type f -size +8k | head -n 1); [ -n "$p" ]; '
        " printf damaged | dd of=$p bs=1 seek=4096 conv=notrunc status=none"
    )
    there.ok("djangofleet-backup", "run", "--full")
    there.ok("sh", "-c", script)
    assert there.run("djangofleet-backup", "drill")[0] == 1
    code, parts = there.status()
    assert code == 1
    assert "restore drill" in parts["cluster main"]["faults"][0]["found"]
    code, said = there.run("djangoctl", "guestbook", "status")
    assert code == 9, said
    assert "restore drill" in said
    assert there.run("djangoctl", "guestbook", "check")[0] == 0, "the site is served as before"


@LONG
@pytest.mark.usefixtures("healed")
def test_a_full_repository_is_told(there):
    there.run("fallocate", "-l", "2G", "/mnt/backup/filler")
    there.run("sh", "-c", "cat /dev/zero >/mnt/backup/filler")
    try:
        code, said = there.run("djangofleet-backup", "run", "--full")
        assert code == 1, said
        assert "No space left" in said or "no space left" in said
        for part in ("cluster main", "files of notes"):
            assert "failed" in there.faults(part)
        assert there.run("djangoctl", "notes", "status")[0] == 9
    finally:
        there.ok("rm", "/mnt/backup/filler")


@LONG
@pytest.mark.usefixtures("healed")
def test_a_repository_that_is_away_is_told_at_once(there):
    """As a disk of another host that is not mounted. Nothing is made in its place, and the site goes on.

    In a container a mount would not reach the server, whose unit has a view of its own.
    """
    there.ok("mv", f"/mnt/backup/{there.name}", "/mnt/backup/away")
    try:
        there.switch_wal()
        code, said = there.run("djangofleet-backup", "run")
        assert code == 1, said
        assert there.ok("ls", "-A", "/mnt/backup") == "away"
        there.within(lambda: "WAL" in there.faults("cluster main"), 60, "status tells that WAL does not come there")
        assert "failed" in there.faults("files of notes")
        assert there.run("djangoctl", "guestbook", "status")[0] == 9
        there.sql("select 1")
    finally:
        there.ok("mv", "/mnt/backup/away", f"/mnt/backup/{there.name}")


@pytest.mark.usefixtures("healed")
def test_a_backup_that_is_too_old_is_told(there):
    state = json.loads(there.ok("cat", "/var/lib/djangofleet/backup/state.json"))
    state["parts"]["files of notes"]["backup"]["stop"] -= 3 * 86400
    state["parts"]["files of notes"]["drill"]["at"] -= 9 * 86400
    there.ok("sh", "-c", 'printf %s "$1" >/var/lib/djangofleet/backup/state.json', "sh", json.dumps(state))
    assert "no backup of the last 26 hours" in there.faults("files of notes")
    assert "no restore drill for 8 days" in there.faults("files of notes")
    assert there.faults("cluster main") == ""
    assert there.run("djangoctl", "notes", "status")[0] == 9
    assert there.run("djangoctl", "guestbook", "status")[0] == 0
