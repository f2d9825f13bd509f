"""What is to be known of Git: how it logs in, and the version of a project that takes it from Git."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .tree import beginning, is_inside

# What a tag has of a version: v1.4.2, release-1.4rc1.
NUMBER = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?")
# `git describe`: a tag, and unless it is on the commit itself the number of commits since, and the commit.
DESCRIBED = re.compile(r"(?P<tag>.*?)(?:-(?P<distance>\d+)-g(?P<commit>[0-9a-f]+))?")

# What git asks for a name and a password, which it finds in its environment.
ANSWER = '!f() { printf "username=%s\\npassword=%s\\n" "$DJANGOCTL_GIT_USERNAME" "$DJANGOCTL_GIT_PASSWORD"; }; f'


Settings = Sequence[tuple[str, str]]  # of git, each as key and value


def login(repository: str) -> tuple[str, Settings, dict[str, str]]:
    """The address without name and password, and the settings and variables by which git logs in with them.

    Every user of the host can read a command line, that of git and those of the programs that git runs.
    """
    parts = urlsplit(repository)
    credentials, at, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not at:
        return repository, [], {}
    name, _colon, password = credentials.partition(":")
    helper = f"credential.{parts.scheme}://{host}.helper"
    secret = {"DJANGOCTL_GIT_USERNAME": unquote(name), "DJANGOCTL_GIT_PASSWORD": unquote(password)}
    # The empty helper puts away those of the host.
    return parts._replace(netloc=host).geturl(), [(helper, ""), (helper, ANSWER)], secret


def configured(settings: Settings) -> dict[str, str]:
    """The variables that git takes settings from, over those of its files, also in submodules."""
    return {
        "GIT_CONFIG_COUNT": str(len(settings)),
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _value) in enumerate(settings)},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_key, value) in enumerate(settings)},
    }


def version_of(described: str, commit: str) -> str:
    """The version of a commit by PEP 440: that of its tag, or a later one than that of the last tag before it.

    :param described: what `git describe --tags` says; empty where there is no tag.
    """
    found = DESCRIBED.fullmatch(described)
    number = NUMBER.search(found["tag"])
    if not number:
        return f"0.0+g{commit[:12]}"
    if not found["distance"]:
        return number[0]
    plain = re.sub(r"\.(post|dev)\d+$", "", number[0])
    return f"{plain}.post{found['distance']}+g{found['commit']}"


def environment(tree: Path, version: str) -> dict[str, str]:
    """What setuptools-scm, hatch-vcs and pbr read their version from.

    The dependencies of the project may use them too and are built in the same step. So setuptools-scm is told the name
    of the project where the metadata have one. pbr knows no names: it is told the version if the project uses it.

    :param version: that of the project; empty if it does not come from Git.
    """
    if not version:
        return {}
    result = {}
    if name := _name(tree):
        label = re.sub(r"[^A-Z0-9]+", "_", name.upper())
        result[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{label}"] = version
    words = set(
        re.findall(r"\w+", " ".join(_text(tree / file) for file in ("setup.py", "setup.cfg", "pyproject.toml")))
    )
    if not result and words & {"setuptools_scm", "use_scm_version"}:
        result["SETUPTOOLS_SCM_PRETEND_VERSION"] = version
    if "pbr" in words:
        result["PBR_VERSION"] = version
    return result


def _name(tree: Path) -> str:
    """The name of the project as its metadata give it."""
    try:
        name = tomllib.loads(_text(tree / "pyproject.toml")).get("project", {}).get("name", "")
    except tomllib.TOMLDecodeError:
        name = ""
    if name:
        return name
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(tree / "setup.cfg"))
    except configparser.Error:
        return ""
    return parser.get("metadata", "name", fallback="")


def _text(path: Path) -> str:
    """The content of a file of the project; empty if it is not there, or a link leads out of its directory."""
    return beginning(path) if path.is_file() and is_inside(path.parent, path) else ""
