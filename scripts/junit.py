"""Reads what pytest has written about a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """Return how many tests of a JUnit file passed, failed and were skipped.

    A test counts once, however many of its phases or subtests are in the file.
    """
    cases: dict[tuple[str, str], set[str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # our own files
        name = (case.get("classname", ""), case.get("name", ""))
        cases.setdefault(name, set()).update(child.tag for child in case)
    failed = sum(bool(tags & {"failure", "error"}) for tags in cases.values())
    skipped = sum("skipped" in tags and not tags & {"failure", "error"} for tags in cases.values())
    return len(cases) - failed - skipped, failed, skipped


def figures(report: Path) -> dict[str, float]:
    """Return what the tests of a JUnit file have measured, by name."""
    found = ET.parse(report).iterfind(".//testcase/properties/property")  # noqa: S314  # our own files
    return {each.get("name", ""): _number(each.get("value", "")) for each in found}


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)
