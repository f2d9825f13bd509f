# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the variables of role certificate mean: which certificates there are, who gives them, where they lie.

C(options) are the role's variables by name, as the role's spec means them. C(files) are files of the controller by the
path that a variable gives. What is wrong with the variables is in certificate_problems.py, what is issued and why in
certificate_plan.py, what lies on the host in certificate_entries.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

LISTS = ("certificate_certificates", "certificate_app_certificates")  # the user's, and what apps are wired to
PARTS = ("key", "chain")


def certificates(options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All certificates, each with the path of its variable."""
    return [pair for name in LISTS for pair in labelled(name, options[name])]


def selfsigned(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The certificates that the role's authority signs: also those that an ACME authority signs later, so that a web
    server can start with them."""
    return [item for _path, item in certificates(options) if item["source"] in ("selfsigned", "acme")]


def domains(item: Mapping[str, Any]) -> list[str]:
    """The names of a certificate, each once and in lower case."""
    return list(dict.fromkeys(domain.lower() for domain in item["domains"]))


@dataclass(frozen=True)
class Provided:
    """A key and a chain that the user provides."""

    path: str
    item: Mapping[str, Any]
    files: Mapping[str, str]

    def option(self, part: str) -> str:
        """The option that gives a part: key_file or key_content, chain_file or chain_content."""
        return f"{part}_file" if f"{part}_file" in self.item else f"{part}_content"

    def where(self, part: str) -> str:
        """The path of that variable."""
        return f"{self.path}.{self.option(part)}"

    def content(self, part: str) -> str:
        """The text of a part; empty when its file is not there."""
        if f"{part}_file" in self.item:
            return self.files.get(self.item[f"{part}_file"], "")
        return self.item.get(f"{part}_content", "")

    def lacks(self, part: str, what: str) -> str:
        """The line about a part that holds nothing of what it should."""
        found = self.item.get(f"{part}_file", "the content")
        return f"{self.where(part)}: '{found}' holds no {what}, or is not there; give "


def provided(options: Mapping[str, Any], files: Mapping[str, str]) -> list[Provided]:
    """What the user provides, with the content of its files."""
    return [Provided(path, item, files) for path, item in certificates(options) if item["source"] == "files"]


def controller_paths(given: Mapping[str, Any]) -> list[str]:
    """The files of the controller that variables name; none as long as the variables make no sense."""
    options, found = resolve(spec_of("certificate"), given)
    if found:
        return []
    return [
        one.item[option]
        for one in provided(options, {})
        for option in (one.option(part) for part in PARTS)
        if option.endswith("_file") and option in one.item
    ]


def paths(options: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Where the key and the chain of a certificate lie."""
    directory = f"{options['certificate_directory']}/{name}"
    return f"{directory}/privkey.pem", f"{directory}/fullchain.pem"


def authority_paths(options: Mapping[str, Any]) -> tuple[str, str]:
    """Where the key and the certificate of the host's own authority lie."""
    directory = options["certificate_authority_directory"]
    return f"{directory}/ca.key", f"{directory}/ca.pem"


def authority_host(options: Mapping[str, Any]) -> str:
    """The host whose authority signs, the inventory's before the wired one; empty for each its own, and for one that
    the user brings."""
    if options["certificate_authority_certificate"]:
        return ""
    return options["certificate_authority_host"] or options["certificate_app_authority_host"]


def signer(options: Mapping[str, Any], host: str) -> str:
    """The other host that signs what a host needs; empty where it signs that itself."""
    found = authority_host(options)
    return "" if found == host or not selfsigned(options) else found


def has_authority(options: Mapping[str, Any], host: str) -> bool:
    """Whether a host keeps an authority: for its own certificates, or for those of all."""
    keeper = authority_host(options)
    return keeper == host if keeper else bool(selfsigned(options))


def authorities_elsewhere(hosts: Sequence[str], hostvars: Mapping[str, Any], keeper: str) -> list[str]:
    """The hosts that have the key of an authority, while the one that is to sign for all of them has none.

    :param hosts: those that djangofleet_survey was asked of.
    :param keeper: the host that is to sign.
    """

    def answers(host: str) -> Mapping[str, Any]:
        return (hostvars[host].get("djangofleet_survey") or {}).get("certificates") or {}

    # An authority is asked for by its directory.
    held = [
        host for host in hosts if any(name[0] == "/" and found["public_key"] for name, found in answers(host).items())
    ]
    return held if keeper in hosts and keeper not in held else []


def questions(given: Mapping[str, Any], host: str = "") -> dict[str, list[dict[str, str]]]:
    """What the role asks of djangofleet.stack.survey; empty when there is nothing to ask, or a value makes no sense.

    The authority is asked for by its directory, which is the name of no certificate.
    """
    options, found = resolve(spec_of("certificate"), given)
    names = [item["name"] for item in selfsigned(options)] if not found else []
    if found or not all(matches("file_name", name) for name in names):
        return {}
    pairs = {name: paths(options, name) for name in names}
    if names or has_authority(options, host):
        pairs = {options["certificate_authority_directory"]: authority_paths(options), **pairs}
    asked = [{"name": name, "certificate": pair[1], "key": pair[0]} for name, pair in pairs.items()]
    return {"certificates": asked} if asked else {}
