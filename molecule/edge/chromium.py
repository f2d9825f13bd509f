#!/usr/bin/python3
"""Looks at pages with Chromium, and tells as JSON what it saw.

On standard input: {"address": …, "visits": [{"url", "width", "height", "dark"}]}. Of each visit: its status, its
resources, what stood in the console, and a screenshot as base64.

It speaks the DevTools protocol over a pipe: messages of JSON, each ended by a zero byte.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any

CONSOLE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Chromium:
    def __init__(self, address: str) -> None:
        there, self.write = os.pipe()
        self.read, here = os.pipe()

        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        # What its authority is worth is asked elsewhere: here the pages are looked at.
        words += [
            "--ignore-certificate-errors",
            f"--host-resolver-rules=MAP *.test {address}",
            "--user-data-dir=/root/c",
        ]
        # Chromium reads from 3 and writes to 4.
        command = f"exec {shlex.join(words)} 3<&{there} 4>&{here}"
        self.process = subprocess.Popen(
            ["sh", "-c", command], pass_fds=(there, here), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(there)
        os.close(here)
        self.rest, self.number, self.events = b"", 0, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = ""
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.read, 1 << 20)
            if not part:
                raise EOFError("Chromium has ended")
            self.rest += part
        text, _zero, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        asked = {"id": self.number, "method": method, "params": params}
        if getattr(self, "session", ""):
            asked["sessionId"] = self.session
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while True:
            found = self.message()
            if found.get("id") == self.number:
                return found.get("result", {})
            self.events.append(found)

    def wait(self, method: str) -> None:
        end = time.monotonic() + 20
        while not any(event.get("method") == method for event in self.events):
            if time.monotonic() > end:
                raise TimeoutError(method)
            self.events.append(self.message())

    def visit(self, url: str, width: int, height: int, dark: bool) -> dict[str, Any]:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events = []
        self.ask("Page.navigate", url=url)
        self.wait("Page.loadEventFired")
        time.sleep(0.3)
        look = "[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
        wide, background = self.ask("Runtime.evaluate", expression=look, returnByValue=True)["result"]["value"]
        picture = self.ask("Page.captureScreenshot", format="png")["data"]
        answers = [event["params"] for event in self.events if event.get("method") == "Network.responseReceived"]
        return {
            "status": next((one["response"]["status"] for one in answers if one["type"] == "Document"), 0),
            "resources": [one["response"]["url"] for one in answers if one["type"] != "Document"],
            "failed": [
                one["response"]["url"]
                for one in answers
                if one["type"] != "Document" and one["response"]["status"] >= 400
            ],
            "console": [event["params"] for event in self.events if event.get("method") in CONSOLE],
            "width": wide,
            "background": background,
            "picture": picture,
        }


given = json.load(sys.stdin)
browser = Chromium(given["address"])
try:
    json.dump([browser.visit(**visit) for visit in given["visits"]], sys.stdout)
finally:
    browser.process.kill()
    browser.process.wait()
