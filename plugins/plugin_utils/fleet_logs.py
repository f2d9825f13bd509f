# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The logs of an app on all of its hosts: what is asked for, and one text of what they have answered."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import (
    no_answer,
    one_line,
    printable_lines,
    problem,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.verbs import one_app

LINES, MOST_LINES = 200, 10_000
REQUEST = re.compile(r"[A-Za-z0-9._-]{8,128}")
UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 604800),
}
SPAN = re.compile(r"(\d{1,9})\s*([a-z]+)")
SPANS = re.compile(r"(?:\d{1,9}\s*[a-z]+\s*)+")
EPOCH = re.compile(r"@(\d{1,11}(?:\.\d{1,6})?)")
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
DATE = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,6})?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
TIMES = "a time such as '2 hours ago', 'yesterday', '2026-11-21 10:00' (UTC) or '2026-11-21T10:00:00+01:00'"


# What is asked for


def moment(text: str, now: datetime.datetime) -> float | None:
    """A time in seconds since the epoch; None for what is none. A time without a zone is UTC.

    The controller says what it means, so that hosts with clocks of other zones read the same.

    :param now: the time, with its zone.
    """
    now, text = now.astimezone(datetime.UTC), " ".join(text.split())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - datetime.timedelta(days=1)}
    if text in named:
        return named[text].timestamp()
    if match := EPOCH.fullmatch(text):
        return float(match[1])
    ago = text.removesuffix(" ago") if text.endswith(" ago") else text.removeprefix("-") if text[:1] == "-" else ""
    if SPANS.fullmatch(ago):
        spans = [(int(count), UNITS.get(unit)) for count, unit in SPAN.findall(ago)]
        found = None if any(unit is None for _count, unit in spans) else sum(count * unit for count, unit in spans)
        return None if found is None else now.timestamp() - found
    if CLOCK.fullmatch(text):
        text = f"{now:%Y-%m-%d} {text.zfill(len(text.partition(':')[2]) + 3)}"
    if match := DATE.fullmatch(text):
        date, time, seconds, zone = match.groups()
        zone = "+00:00" if not zone or zone.upper() in ("Z", "UTC") else zone
        try:
            return datetime.datetime.fromisoformat(f"{date}T{time or '00:00'}{seconds or ':00'}{zone}").timestamp()
        except ValueError:  # such as the 31st of February
            return None
    return None


def logs_asked(
    apps: Any,
    name: str = "",
    request: Any = "",
    since: Any = "",
    until: Any = "",
    lines: Any = "",
    now: datetime.datetime | None = None,
) -> dict[str, Any]:
    """What of which app is to be read: what the module app_logs takes, and C(problems), a line each.

    :param now: the time, with its zone; that of the controller if not given.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    app, problems = one_app(apps, name)
    if request and not REQUEST.fullmatch(str(request)):
        wanted = "the id of a request, of 8 to 128 letters, digits and ._-, as X-Request-ID has it"
        problems.append(problem("request", request, wanted))
    window = {}
    for key, value in (("since", since), ("until", until)):
        window[key] = moment(str(value), now) if value else None
        if value and window[key] is None:
            problems.append(problem(key, value, TIMES))
    if None not in window.values() and window["since"] >= window["until"]:
        problems.append(problem("until", until, "a time after that of since"))
    count = LINES
    if lines != "":
        if re.fullmatch(r"[1-9]\d{0,4}", str(lines)) and int(str(lines)) <= MOST_LINES:
            count = int(str(lines))
        else:
            problems.append(problem("lines", lines, f"a whole number from 1 to {MOST_LINES}"))
    return {
        "app": app.get("name", ""),
        "domains": _domains(app),
        "request": str(request),
        "begin": _seconds(window["since"]),
        "end": _seconds(window["until"]),
        "lines": count,
        "problems": problems,
    }


def _seconds(moment: float | None) -> str:
    return "" if moment is None else f"{moment:.6f}"


def _domains(app: Mapping[str, Any]) -> list[str]:
    """All names of an app's site. What else is wrong with the app must not hide its logs."""
    found: list[str] = []
    for given in (app, app.get("nginx")):
        domains = given.get("domains", []) if isinstance(given, Mapping) else []
        found += [domains] if isinstance(domains, str) else domains if isinstance(domains, (list, tuple)) else []
    return list(dict.fromkeys(str(domain).lower() for domain in found))


# What has been answered


def merged(answers: Mapping[str, Mapping[str, Any]], lines: int) -> list[str]:
    """The newest lines of all hosts in the order of time, each with its host, after what could not be read.

    :param answers: by host, what Ansible has registered of the module app_logs: C(entries), or why there is none.
    """
    entries = [(entry["time"], host, entry) for host, answer in answers.items() for entry in answer.get("entries", [])]
    entries.sort(key=lambda each: each[0])  # what one log wrote at one time stays in its order
    width = max((len(host) for _time, host, _entry in entries), default=0)
    label = max((len(entry["source"]) for _time, _host, entry in entries), default=0)
    text = [
        f"{_stamp(time):<24} {host:<{width}} {entry['source']:<{label}} {part}"
        for time, host, entry in entries
        for part in printable_lines(entry["text"])
    ]
    is_cut = len(text) > lines or any(answer.get("cut") for answer in answers.values())
    notes = [f"{host}: {line}" for host, answer in answers.items() for line in _notes(answer)]
    if not text:
        notes.append("there is no such line")
    elif is_cut:
        notes.append(f"there are older lines; these are the newest {min(lines, len(text))} (-e lines={lines})")
    return [*(f"# {note}" for note in notes), *text[-lines:]]


def unanswered(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts whose lines are missing, a line each."""
    return [f"{host}: {line}" for host, answer in answers.items() if "entries" not in answer for line in _notes(answer)]


def _notes(answer: Mapping[str, Any]) -> Iterable[str]:
    if "entries" in answer:
        return [one_line(line) for line in answer["problems"]]
    what = "cannot be reached" if answer.get("unreachable") else "does not answer"
    return [f"{what}, so that its lines are missing: {no_answer(answer)}"]


def _stamp(seconds: float) -> str:
    """A time in UTC, with milliseconds where the log has parts of a second."""
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    if math.floor(seconds) == seconds:
        return found.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03d}Z"
