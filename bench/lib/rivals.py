"""The other contestants: pyinfra and a shell script, with the resources that the roles manage."""

from __future__ import annotations

import re
from pathlib import Path

from .hosts import BenchError, Host
from .timing import Clock, Timed

CONTESTANTS = Path(__file__).resolve().parents[1] / "contestants"
# Operations, successes, errors, without a change; a hyphen is none.
TOTAL = re.compile(r"^ *Grand total +(\S+) +(\S+) +(\S+) +(\S+)", re.MULTILINE)


def pyinfra(clock: Clock, label: str, host: Host, payload: Path, *, same: bool = False) -> Timed:
    """Apply the resources with pyinfra, in the mode that does not ask and so looks at everything only once.

    :raises BenchError: it failed, or changed something where all was as it should be (same).
    """
    words = ["pyinfra", "-y", f"@docker/{host.name}", str(CONTESTANTS / "deploy.py"), "--data", f"resources={payload}"]
    timed = clock.run(label, [host], words)
    total = TOTAL.search(timed.output)
    if not total:
        raise BenchError(f"{label}: {clock.log(label)} has no total")
    if same and (total[2] != "-" or total[4] != total[1]):
        raise BenchError(
            f"{label}: {total[2]} operations changed something on an unchanged host; see {clock.log(label)}"
        )
    return timed


def script(clock: Clock, label: str, host: Host, payload: Path) -> Timed:
    """Copy the script and what it installs to the host, and run it there.

    :raises BenchError: it failed.
    """
    copy = (
        f"docker cp {payload} {host.name}:/root/payload && docker cp {CONTESTANTS}/provision {host.name}:/root/payload/"
    )
    return clock.run(label, [host], ["sh", "-c", f"{copy} && docker exec {host.name} /root/payload/provision"])
