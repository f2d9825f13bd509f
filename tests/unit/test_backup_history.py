"""Which backup, and which timeline, leads to a moment."""

from __future__ import annotations

import pytest
from djangofleet_backup.history import choose, timeline

BACKUPS = [{"label": str(stop), "stop": stop} for stop in (10, 20, 30, 45, 60)]
# At 40 back to 25, and at 70 back to 35, which the first restore had left behind.
FIRST = {"at": 40, "to": 25, "timeline": 1}
SECOND = {"at": 70, "to": 35, "timeline": 2}


@pytest.mark.parametrize(
    ("restores", "moment", "label", "line"),
    [
        ([], 9, None, "latest"),
        ([], 10, "10", "latest"),
        ([], 29, "20", "latest"),
        ([], 99, "60", "latest"),
        ([FIRST], 35, "30", "1"),
        ([FIRST], 39, "30", "1"),
        ([FIRST], 42, "20", "latest"),
        ([FIRST], 50, "45", "latest"),
        ([FIRST], 25, "20", "1"),
        ([FIRST, SECOND], 65, "60", "2"),
        ([FIRST, SECOND], 44, "20", "2"),
        ([FIRST, SECOND], 80, "30", "latest"),
        ([SECOND, FIRST], 80, "30", "latest"),
        ([FIRST, SECOND], 36, "30", "1"),
    ],
)
def test_what_leads_to_a_moment(restores, moment, label, line):
    found = choose(BACKUPS, restores, moment)
    assert (found["label"] if found else None) == label
    assert timeline(restores, moment) == line
