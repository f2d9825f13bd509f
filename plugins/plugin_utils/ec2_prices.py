# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a month of an environment on EC2 costs, by the table in roles/ec2/files/prices.yml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES, read_yaml


@cache
def table() -> dict[str, Any]:
    """The table that the collection brings."""
    return read_yaml(ROLES / "ec2" / "files" / "prices.yml")


def _price(span: str, name: str, own: Mapping[str, Any]) -> float | None:
    """US dollars for a unit; nothing where no table has it.

    :param span: C(hour) or C(month).
    :param own: C(ec2_prices), which has the last word.
    """
    found = own.get(name, table()[span].get(name))
    return None if found is None else float(found)


def costs(
    machines: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, Any]],
    addresses: int,
    has_nat: bool,
    own: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What is paid for, with US dollars for a month each: C(None) where no table has the price.

    :param addresses: how many public addresses there are.
    """
    hours = table()["hours"]
    kinds = {
        kind: sum(machine["type"] == kind for machine in machines) for kind in sorted({m["type"] for m in machines})
    }
    found = [_entry(f"{count} x {kind}", count * hours, _price("hour", kind, own)) for kind, count in kinds.items()]
    for kind in sorted({volume["type"] for volume in volumes}):
        alike = [volume for volume in volumes if volume["type"] == kind]
        size = sum(volume["size"] for volume in alike)
        found.append(_entry(f"{size} GiB of {kind}", size, _price("month", kind, own)))
        for key, unit in (("iops", "IOPS"), ("throughput", "MiB/s")):
            free = table()["free"].get(f"{kind}-{key}")
            more = 0 if free is None else sum(max(0, volume[key] - free) for volume in alike)
            if more:
                found.append(_entry(f"{more} {unit} of {kind}", more, _price("month", f"{kind}-{key}", own)))
    if addresses:
        found.append(_entry(f"{addresses} x public address", addresses * hours, _price("hour", "address", own)))
    if has_nat:
        found.append(_entry("NAT gateway, without traffic", hours, _price("hour", "nat", own)))
    return found


def _entry(what: str, amount: float, price: float | None) -> dict[str, Any]:
    return {"what": what, "month": None if price is None else round(amount * price, 2)}


def total(entries: Sequence[Mapping[str, Any]]) -> float:
    """US dollars for a month, of what has a price."""
    return round(sum(entry["month"] or 0 for entry in entries), 2)


def lines(entries: Sequence[Mapping[str, Any]], region: str) -> list[str]:
    """The prices as a person reads them, with where they come from."""
    found = [f"{entry['what']:<32} {_dollars(entry['month'])}" for entry in entries]
    unknown = sum(entry["month"] is None for entry in entries)
    without = f", without {unknown} that no table has: give ec2_prices" if unknown else ""
    found.append(f"{'a month, about':<32} {_dollars(total(entries))}{without}")
    where = table()["region"]
    elsewhere = "" if region == where else f"; those of {region} differ: give ec2_prices"
    return [*found, f"Prices of {where} as of {table()['date']}, without traffic and taxes{elsewhere}."]


def _dollars(amount: float | None) -> str:
    return "        ?" if amount is None else f"{amount:>9,.2f} USD"
