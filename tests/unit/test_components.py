"""A component is a role with its hosts: what is asked of the roles of a host before anything changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.lookup.components import is_applied, roles_of

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COMPONENTS = sorted(path.stem for path in (ROOT / "playbooks/components").glob("*.yml"))
# Those that make hosts run on the controller, and on the instance that an image is made of.
MAKERS = {"ec2.yml": {"localhost"}, "image.yml": {"localhost", "djangofleet_image"}}
GROUPS = "~^(web|app|balancer|database|cache|monitoring)$"


def plays(path: str) -> list[dict]:
    return yaml.safe_load((ROOT / "playbooks" / path).read_text())


@pytest.mark.parametrize(
    ("hosts", "groups", "applied"),
    [
        ("web", ["web", "app"], True),
        ("web", ["app"], False),
        ("web", ["webs"], False),
        (GROUPS, ["cache"], True),
        (GROUPS, ["caches"], False),
        (GROUPS, [], False),
    ],
)
def test_hosts_of_a_component(hosts, groups, applied):
    assert is_applied(hosts, groups) is applied


def test_roles_of_a_host():
    assert roles_of(["web", "app"]) == ["backup", "certificate", "django", "host", "nginx", "pgbouncer"]
    assert roles_of(["database"]) == ["backup", "certificate", "host", "postgresql"]
    assert roles_of(["cache"]) == ["certificate", "host", "redis"]
    assert roles_of([]) == []


def test_every_role_is_a_component_of_its_name():
    """But for the one that makes hosts."""
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    assert sorted(roles - {"ec2"}) == COMPONENTS


def test_site_lists_every_component_once():
    imported = [play["ansible.builtin.import_playbook"] for play in plays("site.yml")]
    assert imported[0] == "check.yml"
    assert sorted(path for path in imported if path.startswith("components/")) == [
        f"components/{name}.yml" for name in COMPONENTS
    ]


def all_plays() -> list[tuple[str, dict]]:
    paths = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks/components").glob("*.yml")]
    return [(path.name, play) for path in paths for play in yaml.safe_load(path.read_text()) if "hosts" in play]


@pytest.mark.parametrize(("name", "play"), all_plays())
def test_plays_name_the_collections_groups(name, play):
    groups = MAKERS.get(name, {"web", "app", "balancer", "database", "cache", "monitoring"})
    assert set(play["hosts"].removeprefix("~^(").removesuffix(")$").split("|")) <= groups, name


# What only looks goes on where a host does not answer, and says so.
LOOK = ("summary.yml", "status.yml", "logs.yml")


@pytest.mark.parametrize(("name", "play"), [pair for pair in all_plays() if pair[0] not in LOOK])
def test_a_failure_on_one_host_stops_all(name, play):
    assert play["any_errors_fatal"] is True, name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the collection with a role that nobody has thought of: its folder, a component, a line in site.yml."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", "collections", ".ansible", "wt")
    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    (copy / "collections/ansible_collections/djangofleet").mkdir(parents=True)
    (copy / "collections/ansible_collections/djangofleet/stack").symlink_to("../../..")
    role = copy / "roles/motd"
    for path, content in {
        "defaults/main.yml": "motd_text: Welcome\nmotd_lines: []\n",
        "vars/main.yml": "__motd_packages: [figlet]\n__motd_questions: {paths: [/etc/motd]}\n",
        "meta/argument_specs.yml": yaml.safe_dump({"argument_specs": {"main": {
            "short_description": "A text", "description": "A text.", "options": {
                "motd_text": {"type": "str", "default": "Welcome", "description": "The text."},
                "motd_lines": {"type": "list", "elements": "str", "default": [], "description": "More."}}}}}),
        "tasks/main.yml": yaml.safe_dump([{"name": "Write it", "ansible.builtin.debug": {"msg": "{{ motd_text }}"}}]),
    }.items():  # fmt: skip
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(content)
    host = (copy / "playbooks/components/host.yml").read_text()
    text = host.replace("Prepare the hosts", "Greet").replace("name: host", "name: motd").replace("[host]", "[motd]")
    (copy / "playbooks/components/motd.yml").write_text(text)
    site = copy / "playbooks/site.yml"
    line = "- name: The base of every host\n"
    new = "- name: A greeting\n  ansible.builtin.import_playbook: components/motd.yml\n\n"
    assert line in site.read_text()
    site.write_text(site.read_text().replace(line, new + line))
    return copy


def run(checkout: Path, *words: str, **variables: object) -> subprocess.CompletedProcess[str]:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    hosts = {"one": {**local, **variables}}
    inventory = checkout / "one.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": {"monitoring": {"hosts": hosts}}}}))
    return subprocess.run(
        [str(PLAYBOOK), "-i", str(inventory), *words],
        cwd=checkout,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(checkout / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_new_role_costs_its_folder_a_file_and_a_line(checkout):
    listed = run(checkout, "site.yml", "--list-tasks")
    assert "Greet\tTAGS: [motd]" in listed.stdout, listed.stdout + listed.stderr
    asked = checkout / "playbooks/ask.yml"
    task = {"ansible.builtin.debug": {"msg": "{{ query('djangofleet.stack.components', 'packages') | flatten }}"}}
    asked.write_text(yaml.safe_dump([{"hosts": "monitoring", "gather_facts": False, "tasks": [task]}]))
    assert "- figlet" in run(checkout, str(asked)).stdout
    greeted = run(checkout, "site.yml", "--tags=motd", motd_text="Hello there", host_allow_untested_distribution=True)
    assert "Hello there" in greeted.stdout, greeted.stdout + greeted.stderr
    assert greeted.returncode == 0


def test_the_input_of_a_new_role_is_checked_before_anything_changes(checkout):
    refused = run(checkout, "site.yml", motd_text=["a"], motd_lines={"b": "c"}, host_allow_untested_distribution=True)
    assert refused.returncode == 2, refused.stdout
    assert "motd_text: found '['a']'; give a text" in refused.stdout
    assert "motd_lines: found '{'b': 'c'}'; give a list of texts" in refused.stdout
    assert "PLAY [Install the packages]" not in refused.stdout
