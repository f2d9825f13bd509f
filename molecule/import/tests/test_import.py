"""The three ways in, each from an empty directory with nothing of this checkout's configuration."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from shared.outside import ROOT, Browser, address_of, ask, distributions

STRANGER = ROOT / "molecule" / "import" / "stranger"


def run(where: Path, *words: str, **environment: str) -> str:
    """Run a program of Ansible's in a directory, with no setting but those given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    result = subprocess.run(
        words,
        cwd=where,
        env={**clean, "ANSIBLE_NOCOLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory with the collection installed in it, from an archive built of this checkout."""
    where = tmp_path_factory.mktemp("collections")
    built = run(ROOT, "ansible-galaxy", "collection", "build", "--force", "--output-path", str(where))
    assert "[WARNING]" not in built
    (archive,) = where.glob("djangofleet-stack-*.tar.gz")
    run(where, "ansible-galaxy", "collection", "install", "--no-deps", "-p", str(where), str(archive))
    return where


@pytest.fixture
def inventory(request, tmp_path) -> str:
    """inventory of one host, in all groups."""
    host = f"djangofleet-import-{request.param}"
    variables = {"ansible_connection": "community.docker.docker", "ansible_user": "root"}
    groups = {"children": {name: {"hosts": {host: {}}} for name in ("web", "app")}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {host: variables}, **groups}}))
    return host


def changed(output: str) -> str:
    return re.search(r"changed=(\d+)", output)[1]


def health(host: str, domain: str) -> str:
    """What the guestbook on a host says of itself, asked over TLS that the host's authority vouches for."""
    (ROOT / "build").mkdir(exist_ok=True)
    authority = f"{ROOT}/build/import-{host}.pem"
    subprocess.run(["docker", "cp", f"{host}:/etc/djangofleet/authority/ca.pem", authority], check=True)
    return json.loads(Browser(address_of(host), domain, authority).text("/healthz"))["status"]


@pytest.mark.parametrize("inventory", distributions(12), indirect=True)
def test_role_by_fqcn(installed, inventory, tmp_path):
    shutil.copy(STRANGER / "by_fqcn.yml", tmp_path)
    words = ["ansible-playbook", "-i", "hosts.yml", "by_fqcn.yml"]
    run(tmp_path, *words, ANSIBLE_COLLECTIONS_PATH=str(installed))
    assert ask(address_of(inventory), "hello.test", "/") == (200, b"by fqcn")
    assert changed(run(tmp_path, *words, ANSIBLE_COLLECTIONS_PATH=str(installed))) == "0"


@pytest.mark.parametrize("inventory", distributions(13), indirect=True)
@pytest.mark.parametrize("way", ["checkout", "installed"])
def test_role_by_roles_path(installed, inventory, tmp_path, way):
    shutil.copy(STRANGER / "by_roles_path.yml", tmp_path)
    roles = {"checkout": ROOT / "roles", "installed": installed / "ansible_collections/djangofleet/stack/roles"}[way]
    collections = {"checkout": ROOT / "collections", "installed": installed}[way]
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\nroles_path = {roles}\ncollections_path = {collections}\n")
    run(tmp_path, "ansible-playbook", "-i", "hosts.yml", "by_roles_path.yml")
    assert ask(address_of(inventory), "hello.test", "/") == (200, b"by roles_path")


@pytest.mark.parametrize("inventory", distributions(12), indirect=True)
def test_playbook_of_the_installed_collection(installed, inventory, tmp_path):
    (tmp_path / "group_vars").mkdir()
    app = {"name": "guestbook", "domains": ["guestbook.test"], "source": {"path": str(ROOT / "examples/guestbook")}}
    (tmp_path / "group_vars/all.yml").write_text(yaml.safe_dump({"django_apps": [app]}))
    run(
        tmp_path,
        "ansible-playbook",
        "djangofleet.stack.site",
        "-i",
        "hosts.yml",
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    assert ask(address_of(inventory), "guestbook.test", "/")[0] == 301
    assert health(inventory, "guestbook.test") == "ok"


@pytest.mark.parametrize("distribution", distributions(13))
def test_inventory_prod_of_the_checkout(distribution):
    """`ansible-playbook site.yml -i prod` as it stands in the README, its host being a container."""
    host = f"djangofleet-import-{distribution}"
    where = [
        "-e",
        "ansible_connection=community.docker.docker",
        "-e",
        f"ansible_host={host}",
        "-e",
        "ansible_user=root",
    ]
    said = run(ROOT, "ansible-playbook", "site.yml", "-i", "prod", *where)
    assert "web1.example.com" in said
    assert ask(address_of(host), "www.example.com", "/about/")[0] == 301
    assert health(host, "www.example.com") == "ok"


@pytest.mark.parametrize("role", ["certificate", "django", "host", "nginx"])
def test_documentation_of_a_role(installed, role, tmp_path):
    said = run(
        tmp_path, "ansible-doc", "-t", "role", f"djangofleet.stack.{role}", ANSIBLE_COLLECTIONS_PATH=str(installed)
    )
    assert f"{role}_" in said
