"""The logs of an app on all of its hosts: what is asked for, and one text of what they have answered."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from ansible_collections.djangofleet.stack.plugins.filter import summary
from ansible_collections.djangofleet.stack.plugins.plugin_utils.fleet_logs import logs_asked, merged, moment, unanswered
from loading import ROOT

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
SHOP = {"name": "shop", "domains": ["shop.example.com", "*.Shop.example.com"]}


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("now", "2026-11-21T12:00:00Z"),
        ("today", "2026-11-21T00:00:00Z"),
        ("yesterday", "2026-11-20T00:00:00Z"),
        ("2 hours ago", "2026-11-21T10:00:00Z"),
        (" 2  hours  ago ", "2026-11-21T10:00:00Z"),
        ("1h 30min ago", "2026-11-21T10:30:00Z"),
        ("1h30m ago", "2026-11-21T10:30:00Z"),
        ("-90s", "2026-11-21T11:58:30Z"),
        ("3 days ago", "2026-11-18T12:00:00Z"),
        ("1 week ago", "2026-11-14T12:00:00Z"),
        ("@1795262400", "2026-11-21T12:00:00Z"),
        ("2026-11-19", "2026-11-19T00:00:00Z"),
        ("2026-11-19 08:30", "2026-11-19T08:30:00Z"),
        ("2026-11-19 08:30:15 UTC", "2026-11-19T08:30:15Z"),
        ("2026-11-19T08:30:15.5Z", "2026-11-19T08:30:15.5Z"),
        ("2026-11-19T08:30:15+01:00", "2026-11-19T07:30:15Z"),
        ("2026-11-19 08:30 -0200", "2026-11-19T10:30:00Z"),
        ("08:30", "2026-11-21T08:30:00Z"),
        ("8:30:05", "2026-11-21T08:30:05Z"),
    ],
)
def test_a_time(text, found):
    assert moment(text, NOW) == at(found)
    elsewhere = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert moment(text, elsewhere) == at(found), "the controller's zone does not matter"


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2 hours", "hours ago", "2 fortnights ago", "2026-02-31", "2026-11-19 25:00", "99:99", "-", "ago",
     "2026-11-19; id", "@", "1e3", "2 hours ago --output=export", "2026-11-19 08:30 CET"],
)  # fmt: skip
def test_what_is_no_time(text):
    assert moment(text, NOW) is None


def asked(**given: Any) -> dict[str, Any]:
    return logs_asked([SHOP], now=NOW, **given)


def test_what_the_module_is_given():
    assert asked(request="abcdef01", since="2 hours ago", until="now", lines="50") == {
        "app": "shop",
        "domains": ["shop.example.com", "*.shop.example.com"],
        "request": "abcdef01",
        "begin": f"{NOW.timestamp() - 7200:.6f}",
        "end": f"{NOW.timestamp():.6f}",
        "lines": 50,
        "problems": [],
    }
    assert {key: asked()[key] for key in ("request", "begin", "end", "lines")} == {
        "request": "", "begin": "", "end": "", "lines": 200,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("app", "domains"),
    [
        ({"name": "shop", "domains": "A.test"}, ["a.test"]),
        ({"name": "shop", "domains": ["a.test"], "nginx": {"domains": ["b.test", "a.test"]}}, ["a.test", "b.test"]),
        ({"name": "shop", "gunicorn": 5}, []),  # whatever else is wrong with it
    ],
)
def test_the_domains_of_an_app(app, domains):
    assert logs_asked([app], now=NOW)["domains"] == domains


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": "shp"}, "app: found 'shp'; did you mean 'shop'?"),
        ({"request": "short"}, "request: found 'short'; give the id of a request"),
        ({"request": "a" * 129}, "request: found"),
        ({"request": "abc$(id)def"}, "request: found 'abc$(id)def'"),
        ({"request": "abcdefgh\n"}, "request: found"),
        ({"since": "soon"}, "since: found 'soon'; give a time such as '2 hours ago'"),
        ({"until": "soon"}, "until: found 'soon'; give a time"),
        ({"since": "1 hour ago", "until": "2 hours ago"}, "until: found '2 hours ago'; give a time after"),
        *(({"lines": lines}, f"lines: found '{lines}'; give a whole number from 1 to 10000")
          for lines in ("0", "-5", "x", "1.5", "10001", "1e3", "+5", 0)),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(given, problem):
    (found,) = asked(**given)["problems"]
    assert found.startswith(problem)
    assert "\n" not in found


def entry(time: float, text: str, source: str = "django-shop") -> dict[str, Any]:
    return {"time": NOW.timestamp() + time, "source": source, "text": text}


def answer(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"entries": list(entries), "cut": False, "problems": [], **more}


def test_lines_of_all_hosts_come_in_the_order_of_time():
    answers = {
        "web1": answer(entry(1, '{"status":200}', "nginx-access"), entry(0.25, "first"), entry(2.5, "last\n  of two")),
        "balancer": answer(entry(1.5, "x", "nginx-error")),
    }
    assert merged(answers, 200) == [
        "2026-11-21T12:00:00.250Z web1     django-shop  first",
        '2026-11-21T12:00:01Z     web1     nginx-access {"status":200}',
        "2026-11-21T12:00:01.500Z balancer nginx-error  x",
        "2026-11-21T12:00:02.500Z web1     django-shop  last",
        "2026-11-21T12:00:02.500Z web1     django-shop    of two",
    ]


def test_the_newest_lines_are_shown_and_that_there_are_others():
    answers = {"web1": answer(*(entry(number, str(number)) for number in range(9)))}
    note, *lines = merged(answers, 3)
    assert note == "# there are older lines; these are the newest 3 (-e lines=3)"
    assert [line.split()[-1] for line in lines] == ["6", "7", "8"]
    assert merged(answers, 9)[0].endswith(" 0")
    answers["web1"]["cut"] = True
    assert merged(answers, 9)[0].startswith("# there are older lines")


def test_nothing_found_is_said():
    assert merged({"web1": answer()}, 5) == ["# there is no such line"]


def test_what_could_not_be_read_is_said():
    answers = {
        "web1": answer(entry(0, "x"), problems=["/var/log/nginx/access.log.2.gz: it ends early"]),
        "web2": {"unreachable": True, "msg": "Task failed: refused"},
        "web3": {"failed": True, "msg": "no sudo"},
    }
    assert merged(answers, 5)[:3] == [
        "# web1: /var/log/nginx/access.log.2.gz: it ends early",
        "# web2: cannot be reached, so that its lines are missing: refused",
        "# web3: does not answer, so that its lines are missing: no sudo",
    ]
    assert [line.partition(":")[0] for line in unanswered(answers)] == ["web2", "web3"]


def test_control_characters_do_not_act_on_a_terminal():
    (line,) = merged({"web1": answer(entry(0, "a\x1b[2Jb\rc\u202ed é"))}, 5)
    assert line.endswith(r"a\x1b[2Jb\rc\u202ed é")


def test_the_playbook_merges_what_the_hosts_have_answered():
    """By the name that logs.yml registers it under. A host that was not asked is not missing."""
    (play,) = yaml.safe_load((ROOT / "playbooks/logs.yml").read_text())
    (reading,) = (task["block"][0] for task in play["tasks"] if "block" in task)
    skipped = {reading["register"]: {"changed": False, "skipped": True}}
    hostvars = {"web1": {reading["register"]: answer(entry(0, "x"))}, "cache1": skipped}
    found = summary.logs(hostvars, ["web1", "cache1"], 5)
    assert found == {"text": "2026-11-21T12:00:00Z     web1 django-shop x", "missing": []}
