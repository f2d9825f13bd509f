"""Programs that the documents tell a reader to take over, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("environ", "address"), [({"HTTP_X_REAL_IP": "192.0.2.7"}, "192.0.2.7"), ({}, "")])
def test_the_visitors_address_becomes_remote_addr(environ, address):
    chapter = (DOCS / "projects.md").read_text().split("## The visitor's address")[1]
    program = re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1]
    seen: list[dict[str, Any]] = []
    scope: dict[str, Any] = {"application": lambda given, start: seen.append(given) or [b"page"]}
    exec(program, scope)  # noqa: S102
    assert scope["application"]({"REMOTE_ADDR": "", **environ}, None) == [b"page"]
    assert seen[0]["REMOTE_ADDR"] == address
