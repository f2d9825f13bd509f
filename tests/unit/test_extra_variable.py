"""A word of the command line, and a text of it."""

from __future__ import annotations

import pytest
from loading import load

lookup = load("plugins/lookup/extra_variable.py")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["command=migrate --plan"], "migrate --plan"),  # as a shell leaves -e command="migrate --plan"
        (["command='migrate --plan'"], "migrate --plan"),
        (['command="migrate --plan"'], "migrate --plan"),
        (["command=migrate --database=other"], "migrate --database=other"),
        (["command=shell -c \"print('a=b')\""], "shell -c \"print('a=b')\""),
        (["command=check", "app=shop"], "check"),
        (["command=check", "command=migrate --plan"], "migrate --plan"),
        (["command=it's"], "it's"),
        (["command="], ""),
        (["app=shop command=check"], None),
        (['{"command": "check"}', "@file.yml", "commander=x"], None),
        ([], None),
    ],
)
def test_a_text_of_the_command_line_is_whole(arguments, text):
    """Ansible itself takes the first word for the variable, and loses the others."""
    assert lookup.text_of(arguments, "command") == text
