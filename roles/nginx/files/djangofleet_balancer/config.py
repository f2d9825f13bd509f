"""What the role `nginx` wrote: the sites, their servers, and how each server is asked whether it is well."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import Refused

CONFIG = Path(os.environ.get("DJANGOFLEET_BALANCER_CONFIG", "/etc/djangofleet/balancer.json"))
VERSION = 1
EMPTY: dict[str, Any] = {
    **{"version": VERSION, "interval": 1, "connect_timeout": 1, "timeout": 1, "falls": 2, "rises": 2},
    "sites": [],
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")
LINE = re.compile(r"server [A-Za-z0-9 _.:=\[\]-]+")  # without what would end a directive, quote or begin a comment
WORD = re.compile(r"[!-~]+")


def read() -> dict[str, Any] | None:
    """The configuration; None if there is none.

    :raises Refused: it is damaged.
    :raises OSError: it cannot be read.
    """
    try:
        return parsed(CONFIG.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Refused(f"{CONFIG}: is damaged: {error}", "run site.yml, which writes it anew") from None


def parsed(text: bytes) -> dict[str, Any]:
    """The configuration that a text means.

    :raises ValueError: it means none; the message begins with the path of what is wrong.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _need(isinstance(found, dict), "it", found, "an object")
    _need(found.get("version") == VERSION, "version", found.get("version"), f"{VERSION}")
    for key in ("interval", "connect_timeout", "timeout"):
        _need(_is_number(found.get(key)) and 0 < found[key] < math.inf, key, found.get(key), "seconds, above 0")
    for key in ("falls", "rises"):
        _need(_is_whole(found.get(key)) and found[key] >= 1, key, found.get(key), "a whole number from 1 on")
    _each(found.get("sites"), "sites", _check_site)
    return found


def address_of(text: str) -> tuple[str, int]:
    """Host and port of an address such as 10.0.0.5:443 or [::1]:443.

    :raises ValueError: it is none.
    """
    found = ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise ValueError(f"'{text}' is no address with a port")
    return found["six"] or found["host"], int(found["port"])


def servers_of(config: Mapping[str, Any], host: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The sites that a host serves, each with its server there."""
    return [(site, server) for site in config["sites"] for server in site["servers"] if server["name"] == host]


def hosts_of(config: Mapping[str, Any]) -> list[str]:
    """The names of all hosts, each once, as they come."""
    return list(dict.fromkeys(server["name"] for site in config["sites"] for server in site["servers"]))


def _check_site(site: Any, path: str) -> None:
    _need(isinstance(site, dict), path, site, "an object")
    _need(_is_text(site.get("name"), NAME), f"{path}.name", site.get("name"), "a name")
    _need(_is_text(site.get("file"), NAME), f"{path}.file", site.get("file"), "the name of a file, without .conf")
    _each(site.get("servers"), f"{path}.servers", _check_server)
    health, path = site.get("health"), f"{path}.health"
    _need(isinstance(health, dict), path, health, "an object")
    _need(isinstance(health.get("enabled"), bool), f"{path}.enabled", health.get("enabled"), "true or false")
    if health["enabled"]:
        _check_health(health, path)


def _check_server(server: Any, path: str) -> None:
    _need(isinstance(server, dict), path, server, "an object")
    _need(_is_text(server.get("name"), NAME), f"{path}.name", server.get("name"), "a name")
    _need(_is_text(server.get("line"), LINE), f"{path}.line", server.get("line"), "a server of Nginx, without the ;")
    address = server.get("address")
    _need(_is_text(address, ADDRESS) and int(address.rpartition(":")[2]) in range(1, 65536), f"{path}.address", address,
          "an address with a port")  # fmt: skip


def _check_health(health: Mapping[str, Any], path: str) -> None:
    _need(_is_text(health.get("host"), WORD), f"{path}.host", health.get("host"), "a domain")
    is_path = _is_text(health.get("path"), WORD) and health["path"].startswith("/")
    _need(is_path, f"{path}.path", health.get("path"), "a path")
    for key in ("status_min", "status_max"):
        _need(_is_whole(health.get(key)) and 100 <= health[key] <= 599, f"{path}.{key}", health.get(key), "a status")
    tls, path = health.get("tls"), f"{path}.tls"
    _need(tls is None or isinstance(tls, dict), path, tls, "an object or null")
    for key in ("authority_file", "name") if tls is not None else ():
        _need(isinstance(tls.get(key), str) and tls[key], f"{path}.{key}", tls.get(key), "a text")


def _each(found: Any, path: str, check: Callable[[Any, str], None]) -> None:
    """Check a list of things, each of which has a name of its own."""
    _need(isinstance(found, list), path, found, "a list")
    for number, item in enumerate(found):
        check(item, f"{path}[{number}]")
        known = [earlier["name"] for earlier in found[:number]]
        _need(item["name"] not in known, f"{path}[{number}].name", item["name"], "a name that no other one has")


def _need(is_right: bool, path: str, value: object, wanted: str) -> None:
    if not is_right:
        raise ValueError(f"{path}: found {json.dumps(value)[:80]}, where {wanted} is to be")


def _is_text(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
