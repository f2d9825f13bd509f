"""What the main process has imported before Ansible forks for each task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.djangofleet.stack.plugins"
ASK = f"""
import sys
from ansible.plugins.loader import action_loader, init_plugin_loader
init_plugin_loader([{str(ROOT / "collections")!r}])
action_loader.get("djangofleet.stack.%s", class_only=True)
print(*(name for name in sys.modules if name.startswith("{COLLECTION}.")))
"""


@pytest.mark.parametrize("action", ["release", "survey", "tree"])
def test_an_action_brings_the_filters_and_lookups_to_all_later_forks(action):
    """Each fork would compile them anew: 0.1 s of every task."""
    result = subprocess.run([sys.executable, "-c", ASK % action], capture_output=True, text=True, check=True, cwd=ROOT)
    for kind in ("filter", "lookup"):
        there = {f"{COLLECTION}.{kind}.{path.stem}" for path in (ROOT / "plugins" / kind).glob("*.py")}
        assert there - set(result.stdout.split()) == set()
