"""Asks a site of this host over and over, on connections that stay open, and tells how long each answer took.

Usage: visits.py <port> <connections> <seconds>. Prints one JSON object: requests, failed, the times of all answers in
milliseconds, and the most server connections that the app has had meanwhile.
"""

import http.client
import json
import subprocess
import sys
import threading
import time

HEADERS = {"Host": "guestbook.test", "X-Forwarded-Proto": "https"}
COUNT = "select count(*) from pg_stat_activity where datname = 'guestbook'"


def visit(port: int, until: float, times: list[float], failed: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            connection.request("GET", "/", headers=HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(str(answer.status))
        except (OSError, http.client.HTTPException) as error:
            failed.append(repr(error))
            connection.close()
        times.append((time.monotonic() - began) * 1000)


def main(port: int, count: int, seconds: float) -> None:
    times: list[float] = []
    failed: list[str] = []
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=visit, args=(port, until, times, failed)) for _ in range(count)]
    for thread in threads:
        thread.start()
    most = 0
    while time.monotonic() < until:
        words = ["psql", "-U", "postgres", "-qtA", "-c", COUNT]
        most = max(most, int(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    found = {"requests": len(times), "failed": len(failed), "examples": failed[:3], "connections": most}
    print(json.dumps({**found, "times": [round(each, 2) for each in times]}))


main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
