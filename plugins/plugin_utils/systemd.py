# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Settings of systemd's units."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def unit_lines(settings: Mapping[str, Any]) -> list[str]:
    """Settings as lines: a list gives one line an item, true and false become yes and no."""
    return [
        f"{key}={('yes' if item else 'no') if isinstance(item, bool) else item}"
        for key, value in sorted(settings.items(), key=lambda pair: pair[0].lower())
        for item in (value if isinstance(value, (list, tuple)) else [value])
    ]


def run_in_sandbox(lines: Iterable[str]) -> str:
    """The beginning of a command that systemd runs with these settings, with its output and its exit code."""
    properties = [f"--property={line}" for line in lines]
    return shlex.join(["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *properties])
