"""The guide to secrets in an inventory, step by step: its inventories deploy a site, with nothing in plain text.

They name one app of their own, so that those of the other tests are gone from the host afterwards: this file comes
last.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest
import yaml
from rotating import SECRETS, Site
from shared.outside import PROVE, ROOT, Browser, address_of

GUIDE = (ROOT / "docs/vault.md").read_text()


@dataclass(frozen=True)
class Vault:
    """An inventory after the guide.

    :param environment: what its reader has exported.
    :param edit: the command of the guide that opens the encrypted file.
    """

    inventory: Path
    environment: dict[str, str]
    edit: str

    def run(self, *words: str, editor: str = "false") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment, "EDITOR": editor, "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip

    def write(self, wanted: dict[str, object], tmp_path: Path) -> None:
        """Encrypt as the guide does, with an editor that copies."""
        assert f"$ {self.edit} " in GUIDE
        command = self.edit.replace("inventories/mine", str(self.inventory))
        command = command.replace("ansible-vault create", "ansible-vault create --skip-tty-check")
        plain = tmp_path / "plain.yml"
        plain.write_text(yaml.safe_dump(wanted))
        edited = self.run("sh", "-c", command, editor=shlex.join(["cp", str(plain)]))
        assert edited.returncode == 0, edited.stdout + edited.stderr
        plain.unlink()

    def deploy(self) -> str:
        result = self.run("ansible-playbook", "site.yml", f"--inventory={self.inventory}", "-vvv")
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr
        return result.stdout + result.stderr


def values() -> dict[str, object]:
    """What the guide says that the encrypted file has, with values."""
    block = re.search(r"```yaml\n(vault_.+?)```", GUIDE, re.DOTALL)
    found = yaml.safe_load(block[1])
    return {name: secrets.token_urlsafe(40) if value == "…" else value for name, value in found.items()}


def copied(kind: str, host: str) -> Path:
    """A copy of the inventory for a host of the scenario, as deep below the root as the one it is from."""
    inventory = ROOT / "build" / kind
    shutil.rmtree(inventory, ignore_errors=True)
    shutil.copytree(ROOT / "inventories" / kind, inventory)
    hosts = (inventory / "hosts.yml").read_text().replace("web1.example.com:", f"{host}:")
    connection = {"ansible_connection": "community.docker.docker", "ansible_user": "root"}
    (inventory / "hosts.yml").write_text(hosts)
    (inventory / "group_vars/all/connection.yml").write_text(json.dumps(connection))
    return inventory


def with_vault(host: str, tmp_path: Path) -> Vault:
    password = tmp_path / "password"
    password.write_text(secrets.token_urlsafe())
    edit = "ansible-vault create inventories/mine/group_vars/all/vault.yml"
    return Vault(copied("vault", host), {"ANSIBLE_VAULT_PASSWORD_FILE": str(password)}, edit)


def with_sops(host: str, tmp_path: Path) -> Vault:
    inventory, keys = copied("sops", host), tmp_path / "keys.txt"
    key = pyrage.x25519.Identity.generate()
    keys.write_text(f"{key}\n")
    rules = inventory / ".sops.yaml"
    rules.write_text(rules.read_text().replace("age1…", str(key.to_public())))
    exported = re.search(r"export (ANSIBLE_VARS_ENABLED)=(\S+)", GUIDE)
    edit = "(cd inventories/mine && sops edit group_vars/all/vault.sops.yml)"
    return Vault(inventory, {"SOPS_AGE_KEY_FILE": str(keys), exported[1]: exported[2]}, edit)


@pytest.mark.skipif(not PROVE, reason="runs more; the test below has the inventories read")
@pytest.mark.parametrize("prepare", [with_vault, with_sops])
def test_the_guide_deploys_a_site(name, tmp_path, prepare: Callable[[str, Path], Vault]):
    """A second one finds the site of the first, and changes its secrets."""
    vault, wanted = prepare(name, tmp_path), values()
    vault.write(wanted, tmp_path)
    said = vault.deploy()

    authority = tmp_path / "ca.pem"  # which this host may have had from another one before
    site = Site(name, str(authority))
    authority.write_text(site.on("cat", "/etc/djangofleet/authority/ca.pem").stdout)
    assert Browser(address_of(name), "shop.example.com", str(authority)).get("/healthz").status == 200
    found = site.environment("shop")
    options = ("secret_key", "database_password", "cache_password")
    assert [found[each] for each in SECRETS] == [wanted[f"vault_shop_{each}"] for each in options]
    texts = [said, *(each.read_text() for each in vault.inventory.rglob("*") if each.is_file())]
    assert not any(wanted[f"vault_shop_{each}"] in text for each in options for text in texts)


@pytest.mark.parametrize("prepare", [with_vault, with_sops])
def test_without_the_key_nothing_begins(name, tmp_path, prepare: Callable[[str, Path], Vault]):
    """With it, the inventory can be read as far as no host is asked."""
    vault = prepare(name, tmp_path)
    vault.write(values(), tmp_path)
    words = ("ansible-playbook", "playbooks/check_apps.yml", f"--inventory={vault.inventory}")
    result = vault.run(*words)
    assert result.returncode == 0, result.stdout + result.stderr
    for path in tmp_path.iterdir():
        path.write_text("")
    result = vault.run(*words)
    assert result.returncode != 0
    assert "changed=" not in result.stdout
