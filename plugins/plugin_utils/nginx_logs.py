# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the role nginx for what its log says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

MASK = "***"
# A map of Nginx replaces once. So many values are masked one by one; where more are left, the whole query is.
STEPS = 4
TEXTS = {"uri": "$request_uri", "referer": "$http_referer"}
QUERY = r"[^?]*\?"
# Up to the next sign that Django, too, takes for the end of a value, which a semicolon is not
VALUE = r"(?!\*\*\*(?:[&#]|$))[^&#]"
# Letters, and what joins words, have no need to be encoded: who does it hides a name.
ENCODED = r"%(?:4[1-9a-f]|5[0-9a]|6[1-9a-f]|7[0-9a]|2d|5f)"


def log_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates need to know of the log: the maps that mask, and the variables that are logged."""
    names = values["nginx_log_masked_parameters"]
    masked = [_masked(key, source, names) for key, source in TEXTS.items()] if names else []
    return {"masked": masked, "logged": {**TEXTS, **{text["key"]: text["variable"] for text in masked}}}


def _masked(key: str, source: str, names: Sequence[str]) -> dict[str, Any]:
    """The maps that mask one text, in their order.

    Most texts have nothing to mask, and one map finds that out: the steps get an empty text in place of them.
    """
    found = {"key": key, "source": source, "asked": f"$djangofleet_{key}0", "variable": f"$djangofleet_{key}"}
    before = masked_pattern(names)
    steps, last = [], found["asked"]
    for number in range(1, STEPS + 1):
        head, tail = f"djangofleet_{key}{number}_head", f"djangofleet_{key}{number}_tail"
        steps.append(
            {
                "source": last,
                "variable": f"$djangofleet_{key}{number}",
                "pattern": rf"~*^(?<{head}>{before}){VALUE}+(?<{tail}>.*)$",
                "value": f"${head}{MASK}${tail}",
            }
        )
        last = steps[-1]["variable"]
    head = f"djangofleet_{key}_path"
    steps.append(
        {
            "source": last,
            "variable": f"$djangofleet_{key}{STEPS + 1}",
            "pattern": rf"~*^(?<{head}>{QUERY}){before.removeprefix(QUERY)}{VALUE}",
            "value": f"${head}{MASK}",
        }
    )
    return {**found, "pattern": f"~*^{before}{VALUE}", "steps": steps}


def masked_pattern(names: Sequence[str]) -> str:
    """What matches from the beginning to the value of a parameter that is masked, whatever the case of its name.

    The last word counts: `token` stands for `reset_token` and `user[token]` too, `key` not for `keyword`.
    Anybody sends any address, and all visitors of a worker wait for the answer. So no part of a text is tried at two
    lengths, and the time grows as the text does: a name ends at each sign that another one begins with, and one that is
    searched for a code is known to have a value before.
    """
    first = "".join(sorted({re.escape(name[:1].lower()) for name in names}))
    words = "|".join(re.escape(name) for name in names)
    word = rf"(?=[{first}])(?:(?<=[^a-z0-9])|(?<=%5b))(?:{words})(?:\]|%5d)?"
    hidden = rf"(?<=[?&;])(?=[^=?&;#]*={VALUE})[^=?&;#]*?{ENCODED}[^=?&;#]*"
    return rf"{QUERY}.*?(?:{word}|{hidden})="


def log_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of the log."""
    for where, name in labelled("nginx_log_masked_parameters", values["nginx_log_masked_parameters"]):
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            yield problem(where, name, "the name of a parameter, of letters, digits, '.', '_' and '-'")
    days = values["nginx_log_retention_days"]
    if not 1 <= days <= 3650:
        yield problem("nginx_log_retention_days", days, "a number of days from 1 to 3650")
