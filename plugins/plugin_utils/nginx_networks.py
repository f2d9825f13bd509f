# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The networks that role nginx trusts, which an inventory names, or a file of the controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import is_network
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

NETWORK = "an address or a network such as 10.0.0.0/8"


def networks_in(text: str) -> list[tuple[int, str]]:
    """The networks of a file, each with the number of its line. What follows a '#' is a comment."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def trusted_networks(real_ip: Mapping[str, Any]) -> list[str]:
    """All networks of `nginx_real_ip`, each once.

    :raises OSError: a file is not there; trusted_file_problems says so before.
    """
    found = [network for file in real_ip["trusted_files"] for _number, network in networks_in(_read(file))]
    return list(dict.fromkeys([*real_ip["trusted"], *found]))


def trusted_file_problems(path: str, files: list[str]) -> Iterator[str]:
    """What is wrong with the files, or with a line of one."""
    for where, file in labelled(path, files):
        try:
            networks = networks_in(_read(file))
        except (OSError, ValueError):
            yield problem(where, file, "a file of the controller that can be read, by its absolute path")
            continue
        if not networks:
            yield f"{where}: names no network; give {NETWORK}, one in a line"
        for number, network in networks:
            if not is_network(network):
                yield problem(f"{where}, line {number}", network, NETWORK)


def _read(file: str) -> str:
    if not Path(file).expanduser().is_absolute():
        raise OSError(file)
    return Path(file).expanduser().read_text(encoding="utf-8-sig")
