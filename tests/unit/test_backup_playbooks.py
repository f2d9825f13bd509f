"""The playbooks of backups, with hosts that only say what they were asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
MOMENT = "2026-11-22 05:00:00.250000+00:00"
PROGRAM = """\
#!/bin/sh
here=$PLACE
echo "$*" >>"$here/asked"
case $1 in
  moment) test ! -e "$here/point" && exit 3; cat "$here/point" ;;
esac
"""


@pytest.fixture
def play(tmp_path):
    """`play(playbook, *words, **variables)`: run it for the hosts app1 and db1, each with a place of its own, which is
    $PLACE to its programs; returns the exit code and what was said.
    """
    hosts = {}
    for name in ("app1", "db1"):
        place = tmp_path / name
        (place / "bin").mkdir(parents=True)
        for program, text in (
            ("djangofleet-backup", PROGRAM),
            ("python", f'#!/bin/sh\nPLACE={place} PATH={place}/bin:$PATH exec {sys.executable} "$@"\n'),
        ):
            (place / "bin" / program).write_text(text)
            (place / "bin" / program).chmod(0o755)
        hosts[name] = {
            "ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": f"{place}/bin/python",
        }  # fmt: skip

    def run(playbook: str | Path, *words: str, **variables) -> tuple[int, str]:
        for name, more in variables.pop("hosts", {}).items():
            hosts.setdefault(name, {}).update(more)
        groups = {"app": {"hosts": {"app1": {}}}, "database": {"hosts": {name: {} for name in hosts if name != "app1"}}}
        inventory = tmp_path / "inventory.yml"
        inventory.write_text(
            yaml.safe_dump({"all": {"hosts": hosts, "children": groups, "vars": {"django_apps": [], **variables}}})
        )
        done = subprocess.run(
            [PLAYBOOK, playbook, "-i", inventory, *words],
            cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


@pytest.fixture
def restore(tmp_path, play):
    """`restore(*words)`: what each host is asked. The second one has a restore point."""

    def run(*words: str) -> dict[str, list[str]]:
        (tmp_path / "db1/point").write_text(f"{MOMENT}\n")
        code, said = play("playbooks/restore.yml", "--check", *words)
        assert code == 0, said
        return {name: (tmp_path / name / "asked").read_text().splitlines() for name in ("app1", "db1")}

    return run


def test_a_restore_point_of_one_host_is_a_moment_on_the_others(restore):
    found = restore("-e", "app=shop", "-e", "to=before-shop", "-e", "overwrite=true")
    for asked in found.values():
        words = f"restore --app shop --to before-shop --moment {MOMENT} --overwrite --dry-run"
        assert asked == ["has shop", "moment before-shop", words]


def test_the_newest_needs_no_moment(restore):
    assert set(map(tuple, restore("-e", "app=shop").values())) == {("has shop", "restore --app shop --dry-run")}


@pytest.mark.parametrize(("words", "asked"), [((), True), (("-e", "scratch=true"), False)])
def test_a_restore_ends_with_what_the_sites_say(play, words, asked):
    """A green run never hides a dead site; a copy beside the live one cannot have killed any."""
    code, said = play("playbooks/restore.yml", "--check", "-e", "app=shop", *words)
    assert code == 0, said
    assert ("ok: [app1] TASK [Say how it went]" in said) is asked


# The passphrase


@pytest.fixture
def share(tmp_path, play):
    """`share(*words, given=…, limit=…)`: the play that gives the passphrase to the role, with paths below each host's
    place; returns what the role is given on each host, or what was said.
    """
    (component, *_others) = yaml.safe_load((ROOT / "playbooks/components/backup.yml").read_text())
    before = [task for task in component["tasks"] if "ansible.builtin.import_role" not in task]
    text = yaml.safe_dump({**component, "tasks": before}).replace("/var/lib/", "$PLACE/").replace("/etc/", "$PLACE/")
    give = {"debug": {"msg": "{{ inventory_hostname }} gets <{{ backup_app_passphrase }}>"}}
    play_of = yaml.safe_load(text)
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([{**play_of, "tasks": [*play_of["tasks"], give]}]))
    (tmp_path / "group_vars").symlink_to(ROOT / "group_vars")

    def run(*words: str, **variables) -> dict[str, str] | str:
        code, said = play(path, *words, backup_repository={"path": "/mnt/backup"}, **variables)
        return said if code else dict(re.findall(r"(\w+) gets <(.*?)>", said))

    return run


def has(place: Path, path: str, text: str) -> None:
    (place / path).parent.mkdir(parents=True, exist_ok=True)
    (place / path).write_text(f"{text}\n")


def kept(place: Path) -> str:
    path = place / "djangofleet/backup/secret"
    return path.read_text().strip().removeprefix("BACKUP_PASSPHRASE=") if path.exists() else ""


def test_a_passphrase_is_made_where_no_host_has_one(share, tmp_path):
    found = share()
    assert len(found["app1"]) > 30
    assert found == {"app1": kept(tmp_path / "app1"), "db1": kept(tmp_path / "app1")}
    assert kept(tmp_path / "db1") == ""


def test_a_first_host_that_is_new_gets_the_passphrase_of_the_others(share, tmp_path):
    """Whatever --limit says."""
    has(tmp_path / "db1", "djangofleet-backup/pgbackrest.conf", "[global]\nrepo1-cipher-pass=of-all\nrepo1-path=/x")
    assert share("--limit=app1") == {"app1": "of-all"}
    assert kept(tmp_path / "app1") == "of-all"


def test_a_check_mode_knows_the_passphrase_of_the_others(share, tmp_path):
    has(tmp_path / "db1", "djangofleet-backup/restic.env", "RESTIC_PASSWORD=of-all")
    assert share("--check") == {"app1": "of-all", "db1": "of-all"}
    assert kept(tmp_path / "app1") == ""


def test_hosts_that_disagree_are_not_chosen_from(share, tmp_path):
    has(tmp_path / "db1", "djangofleet-backup/restic.env", "RESTIC_PASSWORD=one")
    has(tmp_path / "db1", "djangofleet/backup/secret", "BACKUP_PASSPHRASE=two")
    assert "backup_passphrase: is not given, app1 has none, and the other hosts have several" in share()
    assert kept(tmp_path / "app1") == ""


def test_no_passphrase_is_made_while_a_host_that_may_have_one_is_away(share, tmp_path):
    away = {"db2": {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ssh"}}
    assert "app1 has none, and db2 could not be asked" in share("--limit=app1", hosts=away)
    assert kept(tmp_path / "app1") == ""
