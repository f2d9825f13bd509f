"""Asks the sites of this host as quickly as they answer, by wrk, and tells what that took and what memory they have.

Usage: ask.py <JSON>, an object with `units`, whose memory is told, and `loads`, a list of {address, domain, paths,
connections, warm_up, seconds, contains, encoding}. Each path has to answer 200, with these texts in it, before it is
measured. Prints one JSON object: `loads` with what wrk saw and its processor seconds, `memory` with the PSS of each
unit in bytes.
"""

import http.client
import json
import os
import pathlib
import resource
import ssl
import subprocess
import sys
import time
from urllib.parse import urlsplit

HEADERS = {"X-Forwarded-Proto": "https"}  # what a proxy says; those that are one overwrite it
AUTHORITY = "/etc/djangofleet/authority/ca.pem"
PATIENCE = 30  # seconds until a server that was just started answers


def check(load: dict) -> None:
    """See that each path answers as it should."""
    parts = urlsplit(load["address"])
    context = ssl.create_default_context(cafile=AUTHORITY) if parts.scheme == "https" else None
    for path in load["paths"]:
        until, seen = time.monotonic() + PATIENCE, ""
        while True:
            try:
                options = {"context": context} if context else {}
                kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
                connection = kind(parts.hostname, parts.port, timeout=10, **options)
                connection.request("GET", path, headers={**HEADERS, "Host": load["domain"]})
                answer = connection.getresponse()
                seen = f"{answer.status} {answer.headers.as_string()}{answer.read().decode(errors='replace')}"
                if answer.status == 200 and all(text in seen for text in load["contains"]):
                    break
            except (OSError, http.client.HTTPException) as error:
                seen = repr(error)
            if time.monotonic() > until:
                sys.exit(f"{load['address']}{path} does not answer 200 with {load['contains']}: {seen[:1500]}")
            time.sleep(0.2)


def wrk(load: dict, seconds: int) -> dict:
    headers = {**HEADERS, "Host": load["domain"], "Accept-Encoding": load.get("encoding", "gzip")}
    words = [
        *("wrk", "--threads=1", f"--connections={load['connections']}", f"--duration={seconds}s", "--timeout=20s"),
        *("--script=/opt/bench/serve/wrk.lua", *(f"--header={name}: {value}" for name, value in headers.items())),
        load["address"] + "/",
    ]
    on_host, before = processor_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "BENCH_PATHS": " ".join(load["paths"])}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if ended.returncode:
        sys.exit(f"wrk ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    taken = processor_seconds() - on_host
    return {**json.loads(ended.stdout.splitlines()[-1]), "client_cpu": round(cpu, 3), "cpu": round(taken, 3)}


def processor_seconds() -> float:
    """What all processes of this host have taken so far."""
    second, first = (pathlib.Path("/sys/fs/cgroup", name) for name in ("cpu.stat", "cpuacct/cpuacct.usage"))
    if second.exists():
        return int(second.read_text().split()[1]) / 1e6
    return int(first.read_text()) / 1e9


def memory(unit: str) -> int:
    """The proportional set size of a unit's processes in bytes."""
    total = 0
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if any(line.rstrip().endswith(f"/{unit}") for line in (process / "cgroup").open()):
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return total


def main(given: dict) -> None:
    found = []
    for load in given["loads"]:
        check(load)
        if load["warm_up"]:
            wrk(load, load["warm_up"])
        found.append(wrk(load, load["seconds"]))
    print(json.dumps({"loads": found, "memory": {unit: memory(unit) for unit in given["units"]}}))


main(json.loads(sys.argv[1]))
