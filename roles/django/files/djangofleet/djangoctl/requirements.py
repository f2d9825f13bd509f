"""Reads what a project requires: the files with all that they include, and whether its own code is installed too."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import tree as trees

INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=|(?=[^-\s]))(\S+)")
COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
PACKED = re.compile(r"\.(whl|zip|tgz|tbz|tlz|txz|tar(\.\w+)?)$")  # the files of packages that uv takes
LIMIT = 10_000_000  # bytes of a file that are read into memory
FOUND_BY_ITSELF = ("uv.lock", "requirements.txt", "pyproject.toml")


@dataclass
class Requirements:
    """What a virtual environment is installed from.

    :param kind: "lock", "file", or "none" where the project has no such file.
    :param path: that file.
    :param texts: the content of each file that has a say, by its path in the source.
    :param is_local: whether code of the source itself is installed, so that no two sources share an environment.
    :param installs_project: whether the project is installed after its requirements.
    """

    kind: str = "none"
    path: Path | None = None
    texts: dict[str, str] = field(default_factory=dict)
    is_local: bool = False
    installs_project: bool = False


class Reader:
    """Reads the requirements of one source.

    :param fail: called with key, finding and advice where a file is not there or not to be read.
    """

    def __init__(self, tree: Path, project: Path, fail: Callable[[str, str, str], None]) -> None:
        self.tree, self.project, self.fail = tree, project, fail

    def read(self, name: str) -> Requirements:
        """The requirements in a file; in the first one that is there if no name is given."""
        candidates = [name] if name else FOUND_BY_ITSELF
        path = next((path for candidate in candidates if (path := self._find(candidate))), None)
        if path is None:
            if name:
                known = sorted(
                    path.name for path in self.project.iterdir() if path.suffix in (".txt", ".toml", ".lock")
                )
                advice = f"set it to one of: {', '.join(known)}" if known else "add one, or leave requirements out"
                self.fail("requirements", f"'{name}' is not in the source", advice)
            return Requirements()
        if not trees.is_inside(self.tree, path):
            self._refuse_outside(path)
        found = Requirements("lock" if path.name == "uv.lock" else "file", path)
        if found.kind == "lock":
            self._read_lock(found)
        elif path.suffix == ".toml":
            self._read_project(found)
        elif path.suffix in (".txt", ".in"):
            self._read_list(path, found)
        else:
            found.is_local = True  # such as setup.py, which may do anything
        self._read_settings(found)
        return found

    def _read_settings(self, found: Requirements) -> None:
        """What the source tells uv, such as an index or an override. uv looks in the directories above too."""
        for directory in (self.project, *self.project.parents):
            if not directory.is_relative_to(self.tree):
                break
            if (directory / "uv.toml").is_file():
                self._text(directory / "uv.toml", found)
            path = directory / "pyproject.toml"
            if self._name(path) in found.texts or not path.is_file() or not trees.is_inside(self.tree, path):
                continue
            with suppress(tomllib.TOMLDecodeError):  # uv goes on without them too
                tool = tomllib.loads(self._text(path, Requirements())).get("tool", {})
                if "uv" in tool:
                    found.texts[f"{self._name(path)} tool.uv"] = repr(tool["uv"])

    def _find(self, name: str) -> Path | None:
        return next((path for path in (self.project / name, self.tree / name) if path.is_file()), None)

    def _text(self, path: Path, found: Requirements) -> str:
        """The content of a file of the source, noted as one that has a say."""
        name = self._name(path)
        if not trees.is_inside(self.tree, path):
            self._refuse_outside(path)
        if not path.is_file():
            self.fail("requirements", f"'{name}' is included and is not in the source", "add it, or do not include it")
        if path.stat().st_size > LIMIT:
            self.fail("requirements", f"'{name}' has more than {LIMIT // 1_000_000} MB", "name the file that is meant")
        text = path.read_text(errors="replace")
        found.texts[name] = text
        return text

    def _name(self, path: Path) -> str:
        return os.path.normpath(path.relative_to(self.tree) if path.is_relative_to(self.tree) else path)

    def _refuse_outside(self, path: Path) -> None:
        self.fail("requirements", f"'{self._name(path)}' is outside of the source", "copy it into the source")

    def _toml(self, path: Path, found: Requirements) -> dict:
        try:
            return tomllib.loads(self._text(path, found))
        except tomllib.TOMLDecodeError as error:
            self.fail("requirements", f"'{path.name}' is not valid: {error}", "correct it")
            raise

    def _read_list(self, path: Path, found: Requirements) -> None:
        """A requirements file, and those that it includes."""
        for line in lines_of(self._text(path, found)):
            if include := INCLUDE.match(line):
                if "://" in include[1]:
                    continue
                included = path.parent / include[1]
                if str(included.resolve()) not in {str((self.tree / name).resolve()) for name in found.texts}:
                    self._read_list(included, found)
            elif is_local(line):
                found.is_local = True

    def _read_project(self, found: Requirements) -> None:
        """A pyproject.toml. Without a list of its own, the build backend says what is required: code of the source."""
        content = self._toml(found.path, found)
        project = content.get("project", {})
        sources = content.get("tool", {}).get("uv", {}).get("sources", {})
        found.installs_project = self._needs_installation(found.path, content)
        found.is_local = (
            found.installs_project
            or "project" not in content
            or "dependencies" in project.get("dynamic", [])
            or any(is_local(line) for line in project.get("dependencies", []))
            or any({"path", "workspace"} & set(item) for entry in sources.values() for item in _listed(entry))
        )

    def _read_lock(self, found: Requirements) -> None:
        """A uv.lock, and the pyproject.toml beside it."""
        content = self._toml(found.path, found)
        beside = found.path.with_name("pyproject.toml")
        if beside.is_file():
            self._text(beside, found)
        found.is_local = any(
            {"editable", "directory", "path"} & set(package.get("source", {})) for package in content.get("package", [])
        )

    def _needs_installation(self, path: Path, content: dict) -> bool:
        """Whether the project's own code is in src/, where manage.py can import it only once it is installed."""
        source = path.parent / "src"
        return "build-system" in content and source.is_dir() and not self.project.is_relative_to(source)


def _listed(entry: dict | list) -> list:
    return entry if isinstance(entry, list) else [entry]


def lines_of(text: str) -> Iterator[str]:
    """The lines of a requirements file: joined where a backslash continues them, without comments."""
    for line in COMMENT.sub("", text.replace("\\\n", " ")).splitlines():
        if line.strip():
            yield line.strip()


def is_local(line: str) -> bool:
    """Whether a line of a requirements file names code or wheels of the source, not of an index."""
    if "file:" in line or line.startswith(("-e", "--editable")):
        return True
    if "://" in line:
        return False
    if line.startswith(("-f", "--find-links")):
        return True
    requirement = line.partition(";")[0].partition(" @ ")
    name = requirement[2].strip() or re.split(r"[\s\[=<>!~]", requirement[0])[0]
    return not line.startswith("-") and ("/" in name or name.startswith(".") or PACKED.search(name) is not None)
