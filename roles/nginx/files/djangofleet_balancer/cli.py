"""The command line: parses the arguments, calls one function per command, prints its result."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import config, connections, nginx, state
from .errors import BalancerError, Refused, refused
from .health import standings
from .upstream import candidates, drained, failing, out_of
from .watch import watch

DESCRIPTION = """\
djangofleet-balancer keeps servers that are not well, or that are drained, out of this host's Nginx. Run it as root.

  djangofleet-balancer status               which server of which site is out, why, and since when
  djangofleet-balancer drain app1           take a host out of all sites, and wait until its connections have ended
  djangofleet-balancer undrain app1         let it in again, and wait until it is
  djangofleet-balancer apply                bring to Nginx what the configuration and the state say
  djangofleet-balancer watch                ask all servers again and again, as the service does"""
EXIT_CODES = """\
exit codes:
  0  done; `status`: all servers are in and well, and Nginx knows
  1  failed, or the wait is over; `status`: a server is out, or not well, or Nginx goes on as before
  2  refused, bad usage, or no permission: nothing has changed
  3  another djangofleet-balancer is at work for too long"""
WAIT = 60  # seconds
PAUSE = 0.1  # seconds between two looks at the state

Outcome = dict[str, Any] | tuple[dict[str, Any], int]  # what is printed, and the exit code if it is not 0


def do_watch(options: argparse.Namespace) -> Outcome:
    watch()
    return {}


def do_status(options: argparse.Namespace) -> Outcome:
    """Where all servers stand. The exit code says whether all is well."""
    settings, known = config.read() or config.EMPTY, _known()
    found = [
        {"site": key.site, "host": key.host, "address": key.address, "in": standing.is_in,
         "drained": standing.is_drained, "healthy": standing.is_well, "why": standing.why, "since": standing.since}
        for key, standing in standings(settings, known).items()
    ]  # fmt: skip
    loaded = nginx.is_brought(nginx.wanted(settings, known))
    is_well = loaded and all(entry["in"] and entry["healthy"] for entry in found)
    return {"servers": found, "loaded": loaded}, 0 if is_well else BalancerError.code


def do_apply(options: argparse.Namespace) -> Outcome:
    """Bring to Nginx what the configuration and the state say, and forget what the configuration no longer has."""
    settings = config.read()
    if settings is None:  # nobody has said that what is drained is not to be any more
        return {"changed": False, "files": [], "reloaded": False, "forgotten": []}
    with state.locked():
        before = _known()
        after = state.remembered(before, settings)
        state.write(after)
        done = nginx.bring(nginx.wanted(settings, after))
    forgotten = sorted(_named(before) - _named(after))
    return {
        "changed": bool(done.changed or done.reloaded or forgotten),
        "files": list(done.changed),
        "reloaded": done.reloaded,
        "forgotten": forgotten,
        "warnings": list(done.warnings),
    }


def _named(known: Mapping[str, Any]) -> set[str]:
    """What a state speaks of: a drained host by its name, an unhealthy one with its site."""
    unhealthy = {f"{site}: {host}" for site, hosts in known["unhealthy"].items() for host in hosts}
    return unhealthy | set(known["drained"])


def do_drain(options: argparse.Namespace) -> Outcome:
    """Take a host out of all sites, then wait until no connection from here to it is left."""
    settings, host, end = _settings(), options.host, time.monotonic() + options.wait
    places = config.servers_of(settings, host)
    if not places:
        raise _unknown(host, config.hosts_of(settings))
    with state.locked():
        before = _known()
        is_new = host not in before["drained"]
        after = state.with_drained(before, host, actor(), options.why)
        last = [site["name"] for site, _server in places if _takes_last(site, host, before, after)]
        if is_new and last and not options.force:
            raise Refused(
                f"{host}: is the last server that is in and well of {', '.join(last)}",
                "see `djangofleet-balancer status`; --force drains it all the same, and visitors get errors",
            )
        state.write(after)
        done = _brought(settings, after, f"{host} is marked as drained, and Nginx does not know")
    if done.reloaded and not nginx.retired(done.earlier, end):
        raise BalancerError(
            f"{host}: is drained; after {options.wait:g} s workers of Nginx from before still take requests",
            "look at them: systemctl status nginx",
        )
    peers = connections.peers_of(server["address"] for _site, server in places)
    left = connections.left(peers, max(0, end - time.monotonic()))
    result = {
        "host": host,
        "changed": is_new or bool(done.changed),
        "sites": [site["name"] for site, _server in places],
        "why": after["drained"][host]["why"],
        "connections": left,
        "warnings": list(done.warnings),
    }
    if left:
        raise BalancerError(
            f"{host}: is drained; after {options.wait:g} s {left} connection{'s are' if left > 1 else ' is'} left",
            f"look at them with `ss -tnp`, then wait on: djangofleet-balancer drain {host}",
            result,
        )
    return result


def _takes_last(site: Mapping[str, Any], host: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a site loses by this change the last server that serves it well."""
    left = candidates(site) - drained(site, after) - failing(site, after)
    return host in candidates(site) - out_of(site, before) and not left


def do_undrain(options: argparse.Namespace) -> Outcome:
    """Let a host in again, then wait until it is in: one that is not well comes back when it is."""
    settings, host, end = _settings(), options.host, time.monotonic() + options.wait
    if not config.servers_of(settings, host) and host not in _known()["drained"]:
        raise _unknown(host, config.hosts_of(settings))
    with state.locked():
        before = _known()
        after = state.without_drained(before, host)
        state.write(after)
        done = _brought(settings, after, f"{host} is no longer marked as drained, and Nginx does not know")
    while outside := _outside(settings, host, after):
        if time.monotonic() >= end:
            raise BalancerError(
                f"{host}: is no longer drained; after {options.wait:g} s it is still out of {'; '.join(outside)}",
                "it comes back by itself when it is well, as long as djangofleet-balancer.service runs",
                {"host": host, "changed": host in before["drained"]},
            )
        time.sleep(PAUSE)
        after = _known()
    with state.locked():  # whoever found that it is well may still be about to tell Nginx
        done_later = _brought(settings, _known(), f"{host} is well, and Nginx does not know")
    return {
        "host": host,
        "changed": host in before["drained"] or bool(done.changed or done_later.changed),
        "sites": [site["name"] for site, _server in config.servers_of(settings, host)],
        "warnings": list(dict.fromkeys(done.warnings + done_later.warnings)),
    }


def _outside(settings: Mapping[str, Any], host: str, known: Mapping[str, Any]) -> list[str]:
    """The sites that a host is out of, each with why. Those where the inventory itself says so do not count."""
    return [
        f"{site['name']}: {known['unhealthy'][site['name']][host]['why']}"
        if host in failing(site, known)
        else f"{site['name']}: it is drained again"
        for site, _server in config.servers_of(settings, host)
        if host in out_of(site, known)
    ]


def _settings() -> dict[str, Any]:
    """The configuration.

    :raises Refused: there is none.
    """
    settings = config.read()
    if settings is None:
        raise Refused(
            f"{config.CONFIG}: is missing: this host balances nothing", "give a site several servers, and run site.yml"
        )
    return settings


def _known() -> dict[str, Any]:
    """The state. A damaged one is empty, and whoever asks is told. There is none before something was out."""
    known, warning = state.read()
    if warning and state.path().exists():
        print(f"djangofleet-balancer: warning: {warning}", file=sys.stderr)
    return known


def _brought(settings: Mapping[str, Any], known: Mapping[str, Any], otherwise: str) -> nginx.Brought:
    """Bring a state to Nginx.

    :param otherwise: what is so if that fails.
    """
    try:
        return nginx.bring(nginx.wanted(settings, known))
    except OSError as error:
        error = refused(error)
        raise BalancerError(f"{otherwise}: {error.message}", error.hint) from None
    except BalancerError as error:
        raise BalancerError(f"{otherwise}: {error.message}", error.hint) from None


def _unknown(host: str, hosts: Sequence[str]) -> Refused:
    return Refused(f"host: found '{host}', which serves no site here", f"give one of: {', '.join(hosts) or 'none'}")


def actor() -> str:
    """Who acts: the name that the caller gives, else the user behind sudo, else the user."""
    return os.environ.get("DJANGOFLEET_BALANCER_ACTOR") or os.environ.get("SUDO_USER") or getpass.getuser()


# What is printed


def rendered(result: Mapping[str, Any]) -> str:
    """A result as text: a table of servers, a line for anything else."""
    lines = []
    for key, value in result.items():
        if key == "servers":
            lines += _table(value) if value else ["no site has servers here"]
        elif key == "loaded":
            lines += [] if value else ["warning: Nginx has not loaded this; what keeps it: djangofleet-balancer apply"]
        elif value not in ("", [], None):
            lines.append(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else _cell(value)}")
    return "\n".join(lines)


def _table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("site", "host", "address", "in", "healthy", "since", "why")
    rows = [names, *([_cell(entry[name]) for name in names] for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(value: object) -> str:
    return {True: "yes", False: "no", "": "-"}[value] if isinstance(value, bool) or value == "" else str(value)


def _printable(text: str) -> str:
    """A text without control characters: those of a reason would act on root's terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


def _report(error: BalancerError, as_json: bool) -> int:
    """Print a failure and return its exit code."""
    if as_json:
        print(json.dumps(error.as_dict()))
    else:
        print(_printable(f"djangofleet-balancer: {error}"), file=sys.stderr)
    return error.code


# The command line


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their options."""
    top = argparse.ArgumentParser(
        prog="djangofleet-balancer",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, action: Callable[[argparse.Namespace], Outcome], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action, json=False)
        if action is not do_watch:
            command.add_argument("--json", action="store_true", help="print the result as JSON")
        return command

    add("watch", do_watch, "ask all servers again and again, as the service does")
    add("status", do_status, "which server of which site is out, why, and since when")
    add("apply", do_apply, "bring to Nginx what the configuration and the state say")
    command = add("drain", do_drain, "take a host out of all sites, and wait until its connections have ended")
    command.add_argument("host", help="its name in the inventory")
    command.add_argument("--why", default="", metavar="TEXT", help="a reason, which `status` shows")
    _wait(command)
    command.add_argument("--force", action="store_true", help="although it is the last server of a site")
    command = add("undrain", do_undrain, "let a host in again, and wait until it is")
    command.add_argument("host", help="its name in the inventory")
    _wait(command)
    return top


def _wait(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wait", type=_seconds, default=WAIT, metavar="SECONDS", help=f"at most; {WAIT} by default")


def _seconds(text: str) -> float:
    """Seconds from 0 on.

    :raises ValueError: the text says none.
    """
    found = float(text)
    if not 0 <= found < float("inf"):
        raise ValueError
    return found


def main(words: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(words)
    os.umask(0o022)
    try:
        outcome = options.action(options)
    except BalancerError as error:
        return _report(error, options.json)
    except OSError as error:
        return _report(refused(error), options.json)
    except KeyboardInterrupt:
        print("djangofleet-balancer: ended by SIGINT; see: djangofleet-balancer status", file=sys.stderr)
        return 128 + signal.SIGINT
    result, code = outcome if isinstance(outcome, tuple) else (outcome, 0)
    if result:
        print(json.dumps(result) if options.json else _printable(rendered(result)))
    return code
