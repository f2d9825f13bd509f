"""What the guides show is good input: every block of YAML, every command of a playbook, every snippet of settings."""

from __future__ import annotations

import os
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible_collections.djangofleet.stack.plugins.plugin_utils import apps as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (
    "backup",
    "caches",
    "caching",
    "certificates",
    "databases",
    "ec2",
    "error-pages",
    "fleet",
    "hardening",
    "limits",
    "logs",
    "moves",
    "private-media",
    "secrets",
    "serving",
    "tls",
    "upstreams",
)
GROUPS = {"app", "web", "balancer", "database", "cache", "monitoring"}
SHOP = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/x"}}
HOSTS = {"app": ["app1"], "database": ["app1"], "cache": ["app1"]}


def blocks(language: str, *guides: str) -> list[Any]:
    """The blocks of a language, each with a name that says where it stands."""
    found = []
    for guide in guides or GUIDES:
        text = (ROOT / f"docs/{guide}.md").read_text()
        for match in re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{guide}.md:{line}"))
    return found


def problems_of(app: dict[str, Any]) -> list[str]:
    return rules.apps_problems([{**SHOP, **app}], HOSTS, "", {}, lambda _path, _kind: True)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_block_is_good_input(text, tmp_path, dataloader):
    """An inventory, variables of the roles, or a part of an app."""
    given = yaml.safe_load(text)
    if "all" in given:
        (tmp_path / "hosts.yml").write_text(text)
        inventory = InventoryManager(loader=dataloader, sources=[str(tmp_path / "hosts.yml")])
        assert set(inventory.groups) - {"all", "ungrouped"} <= GROUPS
        assert [host.vars.get("host_private_address") or host.vars["fleet_address"] for host in inventory.get_hosts()]
        return
    for app in given.pop("django_apps", []):
        assert problems_of(app) == []
    roles = ("backup_", "certificate_", "ec2_", "host_", "nginx_", "postgresql_", "redis_")
    of_roles = {key: given.pop(key) for key in list(given) if key.startswith(roles)}
    for name, value in of_roles.items():
        options = {name: spec_of(name.partition("_")[0])[name]}
        assert resolve(options, {name: value})[1] == []
    assert problems_of(given) == []


def commands() -> list[Any]:
    """Every command of a playbook, in whichever document."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for match in re.finditer(r"(?:^\$ |^# |`)(ansible-playbook [^`\n]+)", path.read_text(), re.MULTILINE):
            command = re.sub(r"\s{2,}#.*| # .*", "", match[1])
            found.append(pytest.param(command, id=f"{path.name}: {command[17:60]}"))
    return found


@pytest.fixture(scope="module")
def said() -> str:
    """All that playbooks and roles say."""
    paths = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("plugins/**/*.py")]
    return "\n".join(path.read_text() for path in paths)


def options_of(words: list[str]) -> Iterator[tuple[str, str]]:
    """The long and short options with their values."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if option.startswith("-"):
            yield option, value


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one(command, said):
    _program, *words = shlex.split(command)
    in_place = [
        word.replace("djangofleet.stack.", "playbooks/") + ".yml" * word.startswith("djangofleet.") for word in words
    ]
    playbooks = [word for word in in_place if word.endswith(".yml")]
    assert playbooks, "no playbook"
    assert all((ROOT / playbook).is_file() for playbook in playbooks)
    for option, value in options_of(words):
        if option in ("-e", "--extra-vars") and "=" in value and not value.startswith(("@", "{")):
            name = value.partition("=")[0]
            assert re.search(rf"\b{name}\b", said), f"nothing reads {name}"
        if option in ("-t", "--tags"):
            for tag in value.split(","):
                assert re.search(rf"tags: \[[^\]]*\b{tag}\b", said), f"nothing has the tag {tag}"


@pytest.mark.parametrize("text", blocks("python", *GUIDES[:5]))
def test_every_snippet_of_settings_runs(text, tmp_path):
    class Env:
        @staticmethod
        def list(_name, default):
            return default

    scope = {"os": os, "env": Env, "DATABASES": {"default": {"OPTIONS": {}}}}
    (tmp_path / "snippet.py").write_text(text.replace('os.environ["SECRET_KEY"]', '"key"'))
    runpy.run_path(str(tmp_path / "snippet.py"), scope)


def test_the_guides_are_not_empty():
    assert min(len(blocks("yaml")), len(blocks("console")), len(commands())) > 8
