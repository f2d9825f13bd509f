"""What is said of backups: which are late, which failed, which were never restored."""

from __future__ import annotations

import pytest
from djangofleet_backup import core, drill, files, status

NOW = 1_800_000_000.0
HOUR, DAY = 3600, 86400
SETTINGS = {"maximum_age_hours": 26, "drill_maximum_age_days": 8}
WELL = {"backup": {"stop": NOW - HOUR}, "drill": {"at": NOW - DAY, "of": NOW - DAY, "seconds": 3}}


@pytest.mark.parametrize(
    ("known", "since", "said"),
    [
        (WELL, NOW - 99 * DAY, []),
        ({}, NOW - HOUR, []),
        ({}, NOW - 9 * DAY, ["there is none", "no backup has ever been restored"]),
        ({**WELL, "backup": {"stop": NOW - 27 * HOUR}}, NOW - 99 * DAY, ["no backup of the last 26 hours"]),
        ({**WELL, "drill": {"at": NOW - 9 * DAY}}, NOW - 99 * DAY, ["no restore drill for 8 days"]),
        ({**WELL, "drill": {}}, NOW - 99 * DAY, ["no backup has ever been restored"]),
        ({**WELL, "backup_failure": {"at": NOW, "error": "disk full"}}, NOW, ["disk full"]),
        ({**WELL, "drill_failure": {"at": NOW, "error": "checksum"}}, NOW, ["checksum"]),
        ({**WELL, "backup_failure": None, "drill_failure": None}, NOW, []),
    ],
)
def test_what_is_wrong_with_a_part(known, since, said):
    found = [fault["found"] for fault in status.judge("cluster main", known, since, SETTINGS, NOW)]
    assert len(found) == len(said)
    assert all(text in line for text, line in zip(said, found, strict=True)), found


def test_a_backup_that_was_never_restored_counts_as_none():
    part = {"part": "x", "apps": [], "newest": NOW, "restored": None, "drilled": None, "seconds": None, "faults": []}
    text = status.render({"repository": "posix /x", "warnings": [], "parts": [part]}, NOW)
    assert "restored: none: no backup has been restored yet, so that none counts" in text


def test_metrics_name_each_part():
    part = {
        "part": 'a "b"',
        "newest": NOW,
        "restored": None,
        "drilled": None,
        "seconds": None,
        "size": 7,
        "faults": [1],
    }
    lines = status.metrics({"parts": [part]}, {}).splitlines()
    assert 'djangofleet_backup_size_bytes{part="a \\"b\\""} 7' in lines
    assert 'djangofleet_backup_faults{part="a \\"b\\""} 1' in lines
    assert 'djangofleet_backup_restored_timestamp_seconds{part="a \\"b\\""} 0' in lines


@pytest.mark.parametrize(
    ("answer", "well"), [("t", True), (1, True), ("17", True), ("f", False), (0, False), ("", False), (None, False)]
)
def test_what_an_assertion_answers(answer, well):
    assert drill.holds(answer) is well


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22 05:00:00+00", 1795323600),
        ("2026-11-22T06:00:00.5+01:00", 1795323600.5),
        ("2026-11-22 05:00:00Z", 1795323600),
    ],
)
def test_times_with_a_zone(text, seconds):
    assert core.moment(text) == seconds


@pytest.mark.parametrize(("text", "said"), [("yesterday", "give a time"), ("2026-11-22 05:00:00", "has no zone")])
def test_times_that_are_none(text, said):
    with pytest.raises(core.Refused, match=said):
        core.moment(text)


def test_times_of_restic_have_nanoseconds():
    assert files._microseconds("2026-11-22T05:00:00.123456789Z") == "2026-11-22T05:00:00.123456Z"
    assert files._microseconds("2026-11-22T05:00:00Z") == "2026-11-22T05:00:00Z"
    assert files._microseconds("2026-11-22T05:00:00.1+01:00") == "2026-11-22T05:00:00.100000+01:00"
