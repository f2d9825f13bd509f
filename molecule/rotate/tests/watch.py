"""The command lines of all processes of a host, until the standard input closes. They go out as a JSON list."""

import json
import select
import sys
from pathlib import Path

seen = set()
while not select.select([sys.stdin], [], [], 0.01)[0]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
print(json.dumps(sorted(seen)))
