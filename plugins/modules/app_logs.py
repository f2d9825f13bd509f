#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what the logs of a host say about an app, or about one of its requests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_logs
short_description: Read what the logs of a host say about an app, or about one of its requests
description:
  - Reads the journal of the app's units, of its processes and timers too, and the lines of Nginx's access and error log
    that are about its domains, as far as the host has them.
  - With O(request) it reads the lines that are about that request, those of PostgreSQL too.
  - It changes nothing, and it runs in check mode too. No value goes through a shell. Wants root.
  - Lines are given as the logs have them. Of a line of Nginx's error log the query of each address is left out, since
    Nginx can mask nothing there.
author: djangofleet developers (@djangofleet)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  domains:
    description: The domains of its sites, as the host of a request is logged. They may begin with C(*.).
    type: list
    elements: str
    default: []
  request:
    description: The id of a request, as C(X-Request-ID) has it.
    type: str
    default: ""
  begin:
    description: The earliest time, in seconds since the epoch. Empty for any.
    type: str
    default: ""
  end:
    description: The latest time, in seconds since the epoch. Empty for any.
    type: str
    default: ""
  lines:
    description: How many entries of each log are read at most, the newest.
    type: int
    default: 200
attributes:
  check_mode:
    description: The same answers as without it.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
notes:
  - Without O(begin) and O(request) it reads the newest two files of each log of Nginx. With one of them it reads all
    that were written after that, compressed ones too.
"""

EXAMPLES = r"""
- name: Read what the shop has logged
  djangofleet.stack.app_logs:
    app: shop
    domains: [shop.example.com]
  register: found

- name: Follow a request
  djangofleet.stack.app_logs:
    app: shop
    request: 1881efc6307ca36b6be5683f25f71d3e
  register: found
"""

RETURN = r"""
entries:
  description: What the logs say, log by log, each in the order of time.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: When it was logged, in seconds since the epoch. Logs of Nginx have whole seconds.
      type: float
    source:
      description: The unit without its suffix, C(nginx-access), C(nginx-error) or C(postgresql).
      type: str
    text:
      description: The entry. It may have several lines.
      type: str
cut:
  description: Whether a log has more entries than O(lines).
  returned: success
  type: bool
problems:
  description: What could not be read, a line each.
  returned: success
  type: list
  elements: str
"""

import glob
import gzip
import json
import os
import re
import subprocess
import zlib
from collections import deque
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule

UNITS = "/etc/systemd/system"
NGINX = "/var/log/nginx"
POSTGRESQL = "/var/log/postgresql"
APP = re.compile(r"[a-z][a-z0-9-]{0,63}")
REQUEST = re.compile(r"[A-Za-z0-9._-]{8,128}")
LONGEST = 8000  # characters of an entry
PATIENCE = 300  # seconds for the journal, which may be large
BLOCK = 1 << 16
RECENT = 2  # files of a log that are read where no time is given
SLACK = 60  # seconds by which lines may stand out of order: a worker of Nginx writes when an answer has ended

ACCESS_TIME = re.compile(rb'"time":"([^"]+)"')
ERROR_TIME = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) ")
ERROR_HOST = re.compile(r', (?:server: ([^,]+)|host: "([^"]+)")')
QUERY = re.compile(r'\?[^\s",]*')
# The head of a message of PostgreSQL. The role's log_line_prefix begins with the time and has no colon after it.
EVENT = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (\S+) (?:[^:\n]* )?"
    r"(?:DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC): "
)
MOST_PARTS = 1000  # lines of a message


class Asked:
    """What is to be found: a time, a request, domains."""

    def __init__(self, params: dict) -> None:
        self.request = params["request"].encode()
        self.domains = [domain.lower() for domain in params["domains"]]
        self.begin = float(params["begin"]) if params["begin"] else None
        self.end = float(params["end"]) if params["end"] else None
        self.lines = params["lines"]

    def is_early(self, moment: float, slack: float = 0) -> bool:
        return self.begin is not None and moment < self.begin - slack

    def is_within(self, moment: float) -> bool:
        return not self.is_early(moment) and (self.end is None or moment <= self.end)

    def is_of_app(self, host: str) -> bool:
        host = host.lower()
        return any(host == domain or (domain[:2] == "*." and host.endswith(domain[1:])) for domain in self.domains)


def entry(moment: float, source: str, text: str) -> dict:
    """An entry, cut where it is very long."""
    text = text.rstrip("\n")
    left = len(text) - LONGEST
    return {"time": moment, "source": source, "text": f"{text[:LONGEST]} ... ({left} more)" if left > 0 else text}


# The journal


def units_of(app: str) -> list[str]:
    """The units of an app, as `djangoctl <app> logs` chooses them: a pattern would match those of the app <app>-two."""
    stem, mark = f"django-{app}", f"X-Djangofleet-App={app}"
    unmarked = (f"{stem}.socket", f"{stem}.service", f"{stem}-next.service")  # an older role did not mark these
    found = []
    for path in sorted(glob.glob(f"{UNITS}/{stem}*")):
        name = os.path.basename(path)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, errors="replace") as handle:
                if name in unmarked or mark in handle.read().splitlines():
                    found.append(name.replace("@.", "@*."))
    return found


def journal(units: list[str], asked: Asked) -> tuple[list[dict], bool]:
    """The newest entries of units, and whether there are more.

    :raises OSError: journalctl is not there, or fails.
    """
    words = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--lines={asked.lines + 1}"]
    words += ["--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT", *(f"--unit={unit}" for unit in units)]
    if asked.request:
        words += ["--case-sensitive=yes", f"--grep={re.escape(asked.request.decode())}"]
    words += [f"--since=@{asked.begin:.6f}"] if asked.begin is not None else []
    words += [f"--until=@{asked.end:.6f}"] if asked.end is not None else []
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE, env=environment
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {PATIENCE} s") from None
    if done.returncode and done.stderr.strip():
        raise OSError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    found = []
    for line in done.stdout.splitlines():
        fields = json.loads(line)
        source = fields.get("_SYSTEMD_UNIT") or ""
        # What systemd says about a unit has the unit in a field of its own.
        source = fields.get("UNIT") or source or fields.get("SYSLOG_IDENTIFIER") or "journal"
        source = source.rsplit(".", 1)[0] if isinstance(source, str) else "journal"
        found.append(entry(int(fields["__REALTIME_TIMESTAMP"]) / 1e6, source, as_text(fields.get("MESSAGE"))))
    found.sort(key=lambda each: each["time"])  # with --grep the newest comes first
    return found[-asked.lines :], len(found) > asked.lines


def as_text(message: object) -> str:
    """A message of the journal, which gives one that is no text as a list of bytes."""
    if isinstance(message, list):
        return bytes(message).decode(errors="replace")
    return message if isinstance(message, str) else ""


# Files


def files_of(pattern: str, asked: Asked) -> list[str]:
    """The files of a log that may have lines of that time, the newest first."""
    changed = {}
    for path in glob.glob(pattern):
        try:
            if os.path.isfile(path):
                changed[path] = os.stat(path).st_mtime
        except OSError:  # it has just been rotated away
            continue
    # A log that was renamed may be written to for a moment, so that equal times are ordered by name.
    newest = sorted(changed, key=lambda path: (-changed[path], path))
    if asked.begin is None and not asked.request:
        newest = newest[:RECENT]
    return [path for path in newest if not asked.is_early(changed[path], SLACK)]


def forwards(path: str):
    """The lines of a compressed file as bytes, the first one first."""
    with gzip.open(path, "rb") as handle:
        for line in handle:
            yield line.rstrip(b"\n")


def backwards(path: str):
    """The lines of a file as bytes, the last one first."""
    with open(path, "rb") as handle:
        position, rest = handle.seek(0, os.SEEK_END), b""
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            handle.seek(position)
            rest, *lines = (handle.read(size) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line)
        if rest:
            yield rest


def each_line(lines, is_backwards: bool):
    """The messages of a log that has one in each line."""
    return lines


def each_event(lines, is_backwards: bool):
    """The messages of PostgreSQL's log, whole: a statement stands in lines of its own below the error that it met."""
    parts: deque[bytes] = deque(maxlen=MOST_PARTS)
    for line in lines:
        is_head = EVENT.match(line.decode(errors="replace")) is not None
        if is_backwards:
            parts.appendleft(line)
            if is_head:
                yield b"\n".join(parts)
                parts.clear()
            continue
        if is_head and parts:
            yield b"\n".join(parts)
            parts.clear()
        parts.append(line)
    if parts:
        yield b"\n".join(parts)


def newest(pattern: str, split, judge, asked: Asked, problems: list[str]) -> tuple[list[dict], bool]:
    """The newest entries of a log, and whether there are more.

    :param split: makes messages of lines.
    :param judge: gives the time of a message, if it has one, and its entry, if it is meant.
    """
    found: deque[dict] = deque()  # the oldest first
    for path in files_of(pattern, asked):
        try:
            for each in packed(path, split, judge, asked) if path.endswith(".gz") else plain(path, split, judge, asked):
                if len(found) == asked.lines:
                    return list(found), True
                found.appendleft(each)
        except (OSError, EOFError, zlib.error) as failure:  # one that is being compressed ends early
            problems.append(f"{path}: {failure}")
    return list(found), False


def plain(path: str, split, judge, asked: Asked):
    """The entries of a file, the last one first, from its end to where all is too old."""
    for message in split(backwards(path), True):
        moment, meant = judge(message, asked)
        if moment is not None and asked.is_early(moment, SLACK):
            return
        if meant:
            yield meant


def packed(path: str, split, judge, asked: Asked):
    """The same of a compressed file, which can only be read from its beginning."""
    kept: deque[dict] = deque(maxlen=asked.lines + 1)
    kept.extend(meant for _moment, meant in (judge(each, asked) for each in split(forwards(path), False)) if meant)
    yield from reversed(kept)


def access(line: bytes, asked: Asked) -> tuple[float | None, dict | None]:
    """An entry of Nginx's access log: one of the request, whatever its host, or one of the app."""
    stamped = ACCESS_TIME.search(line)
    try:
        moment = iso(stamped[1].decode()) if stamped else None
        if moment is None or asked.request not in line or not asked.is_within(moment):
            return moment, None
        text = line.decode(errors="replace")
        fields = json.loads(text)
        is_meant = fields["request_id"] == asked.request.decode() if asked.request else asked.is_of_app(fields["host"])
    except (ValueError, KeyError, TypeError, AttributeError):  # a line of another format
        return None, None
    return moment, entry(moment, "nginx-access", text) if is_meant else None


def iso(text: str) -> float:
    """A time as Nginx writes it, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def error(line: bytes, asked: Asked) -> tuple[float | None, dict | None]:
    """An entry of Nginx's error log, which has no ids: one that names a host of the app, or the id all the same."""
    text = line.decode(errors="replace")
    stamped = ERROR_TIME.match(text)
    if not stamped:
        return None, None
    moment = datetime.strptime(stamped[1], "%Y/%m/%d %H:%M:%S").timestamp()  # in the host's own zone
    hosts = [server or host.partition(":")[0] for server, host in ERROR_HOST.findall(text)]
    is_meant = asked.request in line if asked.request else any(map(asked.is_of_app, hosts))
    is_meant = is_meant and asked.is_within(moment)
    return moment, entry(moment, "nginx-error", QUERY.sub("?***", text)) if is_meant else None


def database(message: bytes, asked: Asked) -> tuple[float | None, dict | None]:
    """An entry of PostgreSQL's log that names the request."""
    text = message.decode(errors="replace")
    stamped = EVENT.match(text)
    if not stamped:
        return None, None
    found = datetime.fromisoformat(stamped[1])
    # Its zone is UTC, or that of the host.
    moment = (found.replace(tzinfo=UTC) if stamped[2] in ("UTC", "GMT") else found).timestamp()
    is_meant = asked.request in message and asked.is_within(moment)
    return moment, entry(moment, "postgresql", text) if is_meant else None


def read(app: str, asked: Asked) -> dict:
    """What all logs of the host say."""
    found, cut, problems = [], False, []
    if units := units_of(app):
        try:
            found, cut = journal(units, asked)
        except OSError as failure:
            problems.append(f"journalctl: {failure}")
    logs = [(f"{NGINX}/access.log*", each_line, access), (f"{NGINX}/error.log*", each_line, error)]
    logs += [(f"{POSTGRESQL}/*.log*", each_event, database)] if asked.request else []
    for pattern, split, judge in logs:
        entries, has_more = newest(pattern, split, judge, asked, problems)
        found += entries
        cut = cut or has_more
    return {"entries": found, "cut": cut, "problems": problems}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "domains": {"type": "list", "elements": "str", "default": []},
            "request": {"type": "str", "default": ""},
            "begin": {"type": "str", "default": ""},
            "end": {"type": "str", "default": ""},
            "lines": {"type": "int", "default": 200},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not APP.fullmatch(params["app"]):
        module.fail_json(msg=f"app: found '{params['app']}'; give the name of an app")
    if params["request"] and not REQUEST.fullmatch(params["request"]):
        module.fail_json(msg=f"request: found '{params['request']}'; give 8 to 128 letters, digits and ._-")
    if params["lines"] < 1:
        module.fail_json(msg=f"lines: found '{params['lines']}'; give a number above 0")
    try:
        asked = Asked(params)
    except ValueError:
        module.fail_json(msg="begin, end: give seconds since the epoch")
    os.nice(10)  # the site comes first
    module.exit_json(changed=False, **read(params["app"], asked))


if __name__ == "__main__":
    main()
