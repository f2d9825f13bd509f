"""The command line: one function for each command."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from . import certbot, deploy, install, probe
from .core import AcmeError, Record, alone, config, end_of, is_served, lineage, place

DESCRIPTION = """\
djangofleet-acme has the certificates of this host issued and renewed by an ACME authority. Run it as root.

  djangofleet-acme status     which certificates there are, until when, and what is wrong
  djangofleet-acme check      whether the authority would find this host under the domains; it is not asked
  djangofleet-acme issue      have issued what is not as the configuration says
  djangofleet-acme renew      the same, and renew what is due, as the timer does
  djangofleet-acme deploy     put the newest pairs where servers read them, and reload these
"""
EXIT_CODES = """\
exit codes:
  0  done; `status`, `check`: all is well
  1  something is wrong with a certificate; the others are done
  2  bad usage, or nothing is configured"""


class Run:
    """One run over all certificates: each is tried, whatever becomes of the others."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.changed: list[str] = []
        self.problems: list[dict[str, str]] = []
        self.away: dict[str, str] = {}

    def each(self, work: Callable[[dict[str, Any]], None]) -> None:
        for item in self.settings["certificates"]:
            name = item["name"]
            try:
                work(item)
            except (AcmeError, OSError, ValueError) as error:
                found = {"name": name, "problem": str(error)}
                if found not in self.problems:
                    self.problems.append(found)
                with suppress(OSError):  # a disk that is full is what there is to tell
                    Record(self.settings).note(name, problem=str(error), problem_at=int(time.time()))

    def issue(self, item: dict[str, Any]) -> None:
        """Have a certificate issued if there is none for this request, and bring what there is to its servers."""
        name, known = item["name"], Record(self.settings).of(item["name"])
        chain = lineage(self.settings, name) / "fullchain.pem"
        is_whole = certbot.is_whole(self.settings, name)
        if known.get("request") != item["request"] or not is_whole or end_of(chain) < time.time():
            self._ask(item)
            found = probe.problems(item, self.settings)
            if found:
                raise AcmeError("; ".join(found))
            if not is_whole:
                certbot.clear(self.settings, name)
            certbot.issue(self.settings, item)
            if not certbot.is_whole(self.settings, name):
                raise AcmeError(f"certbot has not put it into {chain.parent}; see its log in /var/log/djangofleet-acme")
            self.changed.append(name)
            Record(self.settings).note(name, request=item["request"], problem="")
        self.deploy(item)

    def renew(self, item: dict[str, Any]) -> None:
        """Renew what is due: also the certificate from before, while the one for a new request cannot be had."""
        name = item["name"]
        if name in self.changed or not certbot.is_whole(self.settings, name):
            return
        self._ask(item)
        before = Record(self.settings).of(name).get("loaded")
        certbot.renew(self.settings, item)
        self.deploy(item)
        if Record(self.settings).of(name).get("loaded") != before and name not in self.changed:
            self.changed.append(name)
        if all(problem["name"] != name for problem in self.problems):
            Record(self.settings).note(name, problem="")

    def deploy(self, item: dict[str, Any]) -> None:
        """Usually certbot's hook has done it: this makes up for one that failed."""
        if deploy.deploy(self.settings, item) and item["name"] not in self.changed:
            self.changed.append(item["name"])

    def check(self, item: dict[str, Any]) -> None:
        found = probe.problems(item, self.settings)
        if found:
            raise AcmeError("; ".join(found))

    def _ask(self, item: dict[str, Any]) -> None:
        """Stop here if the authority is away: certbot would take its time for each certificate."""
        server = item["request"]["directory_url"]
        if server not in self.away:
            self.away[server] = certbot.reach(self.settings, server)
        if self.away[server]:
            raise AcmeError(f"the authority {self.away[server]}")

    def forget(self) -> None:
        """Remove what the configuration no longer names, and tell authorities a new address."""
        record, names = Record(self.settings), [item["name"] for item in self.settings["certificates"]]
        for name in [name for name in record.content["certificates"] if name not in names]:
            if lineage(self.settings, name).is_dir():
                certbot.delete(self.settings, name)
            record.forget(name)
            self.changed.append(name)
        known, email = record.content["email"], self.settings["email"]
        if known != email:
            for item in self.settings["certificates"] if known else []:
                self._ask(item)
            for server in self.away if known else []:
                certbot.write_to(self.settings, server)
            record.content["email"] = email
            record.write()

    def result(self) -> dict[str, Any]:
        record = Record(self.settings)
        served = [item["name"] for item in self.settings["certificates"] if is_served(self.settings, record, item)]
        return {"changed": self.changed, "problems": self.problems, "served": served}


def do_issue(settings: Mapping[str, Any], renew: bool = False) -> dict[str, Any]:
    with alone(settings, "run"):
        run = Run(settings)
        deploy.drop_stages(settings)
        try:
            install.ensure(settings)
        except (AcmeError, OSError) as error:
            run.problems += [{"name": item["name"], "problem": str(error)} for item in settings["certificates"]]
            if not install.is_usable(settings):
                return run.result()
        run.each(run.issue)
        if renew:
            run.each(run.renew)
        try:
            run.forget()
        except (AcmeError, OSError) as error:
            run.problems.append({"name": "", "problem": str(error)})
        return run.result()


def do_renew(settings: Mapping[str, Any]) -> dict[str, Any]:
    return do_issue(settings, renew=True)


def do_deploy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Also the hook of certbot, which names the lineage. The run that has called it holds the other lock."""
    named = os.path.basename(os.environ.get("RENEWED_LINEAGE", ""))
    run = Run({**settings, "certificates": [item for item in settings["certificates"] if named in ("", item["name"])]})
    run.each(run.deploy)
    return run.result()


def do_check(settings: Mapping[str, Any]) -> dict[str, Any]:
    problems = []
    for item in settings["certificates"]:
        problems += [{"name": item["name"], "problem": line} for line in probe.problems(item, settings)]
    return {"changed": [], "problems": problems, "served": []}


def do_status(settings: Mapping[str, Any]) -> dict[str, Any]:
    record = Record(settings)
    found = []
    for item in settings["certificates"]:
        name = item["name"]
        found.append(
            {
                "name": name,
                "domains": item["request"]["domains"],
                "end": int(end_of(place(settings, name) / "fullchain.pem")),
                "served": is_served(settings, record, item),
                "problem": record.of(name).get("problem", ""),
            }
        )
    problems = [
        {"name": each["name"], "problem": each["problem"] or "none of its authority is served yet"}
        for each in found
        if each["problem"] or not each["served"]
    ]
    return {"certificates": found, "problems": problems}


COMMANDS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "status": do_status,
    "check": do_check,
    "issue": do_issue,
    "renew": do_renew,
    "deploy": do_deploy,
}


def render(result: Mapping[str, Any]) -> str:
    """The result for a person."""
    lines = []
    for each in result.get("certificates", []):
        end = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(each["end"])) if each["end"] else "never issued"
        lines.append(f"{each['name']}: {', '.join(each['domains'])}; until {end}")
    lines += [f"{name}: done" for name in result.get("changed", [])]
    lines += [f"{each['name']}: {each['problem']}" for each in result["problems"]]
    return "\n".join(lines) or "Nothing to do."


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="djangofleet-acme",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    os.umask(0o022)
    try:
        settings = config()
    except AcmeError as error:
        print(error, file=sys.stderr)
        return 2
    result = COMMANDS[options.command](settings)
    print(json.dumps(result) if options.json else render(result))
    return 1 if result["problems"] else 0
