#!/usr/bin/env python3
"""Amazon's API on loopback, for tests: moto, with consoles and with faults.

amazon.py PORT STATE serves until it is killed. STATE is a directory of files that tests write, read at each request:

consoles/<instance id>   what the console of an instance shows; consoles/default that of any other one; else keys
                         that are made up for it
faults.json              a list of {"action": …, "after": 0, "times": 1, "status": 400, "code": …, "message": …}: which
                         calls of an action are refused, from the one after so many on; "*" is any
calls.jsonl              written: each call that changes something, {"action": …, "status": …}

What moto cannot do, and this does: console output of an instance's own. What moto refuses, and this leaves out: tags of
an image's snapshots. What neither does: docs/ec2.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

OWNER = "136693071363"
READS = ("Describe", "Get", "List")


def images() -> list[dict[str, Any]]:
    """Debian's images as Amazon has them: two builds of each, and a backport that is none of them."""
    return [
        {
            "ami_id": f"ami-{hashlib.sha256(name.encode()).hexdigest()[:17]}",
            "name": name,
            "architecture": {"amd64": "x86_64"}.get(architecture, architecture),
            "owner_id": OWNER,
            "creation_date": f"{day[:4]}-{day[4:6]}-{day[6:8]}T00:00:00.000Z",
            "state": "available",
            "public": True,
            "image_location": f"amazon/{name}",
            "image_type": "machine",
            "platform": None,
            "root_device_type": "ebs",
            "root_device_name": "/dev/xvda",
            "sriov": "simple",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "description": "Debian",
        }
        for release in ("12", "13", "13-backports")
        for architecture in ("amd64", "arm64")
        for day in ("20260101-1", "20260201-2")
        for name in [f"debian-{release}-{architecture}-{day}"]
    ]


def host_key(instance: str) -> str:
    """A key that looks like one of sshd, another one for each instance."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + hashlib.sha256(instance.encode()).digest()
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def console(keys: Iterable[str]) -> str:
    """What cloud-init prints at a first boot."""
    lines = "".join(f"{key} root@ip-10-0-0-1\r\n" for key in keys)
    return (
        "[    0.000000] Linux version 6.12\r\n<14>Jan  1 00:00:09 cloud-init: 256 SHA256:x (ED25519)\r\n"
        f"-----BEGIN SSH HOST KEY KEYS-----\r\n{lines}-----END SSH HOST KEY KEYS-----\r\n"
    )


def without_tags_of_snapshots(words: dict[str, list[str]]) -> str:
    """The body of a call, without the tags that moto cannot give to snapshots."""
    theirs = tuple(
        key.removesuffix("ResourceType")
        for key, (value, *_more) in words.items()
        if key.startswith("TagSpecification.") and value == "snapshot"
    )
    return urllib.parse.urlencode({key: value for key, (value, *_more) in words.items() if not key.startswith(theirs)})


class Amazon:
    """moto's application, with what stands in front of it."""

    def __init__(self, application: Callable, state: Path) -> None:
        self.application, self.state = application, state
        self.lock = threading.Lock()
        self.seen: dict[str, int] = {}
        self.faults_text = ""

    def __call__(self, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        words, action = self.asked(environ)
        fault = self.fault(action)
        if fault:
            self.note(action, fault["status"])
            return answer(start, fault["status"], fault_text(environ, fault))
        if action == "GetConsoleOutput":
            return answer(start, 200, self.console(words["InstanceId"][0]))
        seen: list[str] = []

        def noted(status: str, headers: list, *rest: Any) -> Any:
            seen.append(status)
            return start(status, headers, *rest)

        body = self.application(environ, noted)
        if not action.startswith(READS):
            self.note(action, int(seen[0].split()[0]) if seen else 0)
        return body

    def asked(self, environ: dict[str, Any]) -> tuple[dict[str, list[str]], str]:
        """The parameters and the action of a call. Those of Route 53 are named by method and path."""
        import io

        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        words = urllib.parse.parse_qs(body.decode("utf-8", "replace"))
        if words.get("Action") == ["CreateImage"]:
            body = without_tags_of_snapshots(words).encode()
            environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = io.BytesIO(body)
        path = environ["PATH_INFO"]
        if path.startswith("/2013-04-01/"):
            reads = environ["REQUEST_METHOD"] == "GET"
            return {}, "ListResourceRecordSets" if reads else "ChangeResourceRecordSets"
        return words, words.get("Action", [path])[0]

    def fault(self, action: str) -> dict[str, Any] | None:
        with self.lock:
            path = self.state / "faults.json"
            text = path.read_text() if path.exists() else ""
            if text != self.faults_text:
                self.faults_text, self.seen = text, {}
            for number, fault in enumerate(json.loads(text) if text else []):
                if fault["action"] not in ("*", action):
                    continue
                key = str(number)
                self.seen[key] = self.seen.get(key, 0) + 1
                after, times = fault.get("after", 0), fault.get("times", 1)
                if after < self.seen[key] <= after + times:
                    return {"status": 400, "code": "Fault", "message": "a fault", **fault}
        return None

    def console(self, instance: str) -> str:
        path = self.state / "consoles" / instance
        default = self.state / "consoles" / "default"
        path = path if path.exists() else default
        text = path.read_text() if path.exists() else console([host_key(instance)])
        return (
            '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>'
            f"<instanceId>{instance}</instanceId><timestamp>2026-01-01T00:00:00Z</timestamp>"
            f"<output>{base64.b64encode(text.encode()).decode()}</output></GetConsoleOutputResponse>"
        )

    def note(self, action: str, status: int) -> None:
        with self.lock, (self.state / "calls.jsonl").open("a") as log:
            log.write(json.dumps({"action": action, "status": status}) + "\n")


def fault_text(environ: dict[str, Any], fault: dict[str, Any]) -> str:
    """An error as the service says it: that of EC2 differs from those of Route 53 and IAM."""
    inner = f"<Code>{fault['code']}</Code><Message>{fault['message']}</Message>"
    if environ["PATH_INFO"].startswith("/2013-04-01/"):
        return f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>1</RequestId></ErrorResponse>"
    return f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>1</RequestID></Response>"


def answer(start: Callable, status: int, text: str) -> list[bytes]:
    start(f"{status} Answer", [("Content-Type", "text/xml")])
    return [text.encode()]


def main() -> None:
    port, state = int(sys.argv[1]), Path(sys.argv[2])
    state.mkdir(parents=True, exist_ok=True)
    (state / "images.json").write_text(json.dumps(images()))
    os.environ["MOTO_AMIS_PATH"] = str(state / "images.json")

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Amazon(DomainDispatcherApplication(create_backend_app), state)
    server = make_server("127.0.0.1", port, application, threaded=True)
    (state / "port").write_text(str(server.port))
    server.serve_forever()


if __name__ == "__main__":
    main()
