"""Compresses the static files of a release, and takes over what an earlier release has of the same content."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import tree
from .release import Release, read_json, write_json
from .static import collected

# Formats that compress well. Images, fonts and archives are compressed already.
COMPRESSIBLE = {
    *(".css", ".csv", ".htm", ".html", ".ico", ".js", ".json", ".map", ".md", ".mjs", ".otf", ".svg"),
    *(".ttf", ".txt", ".wasm", ".webmanifest", ".xml", ".yaml", ".yml"),
}
SMALLEST = 256  # bytes
LARGEST = 50_000_000  # each is read into memory, and a sparse one costs who makes it nothing


@dataclass(frozen=True)
class Earlier:
    """A file of an earlier release: where it is, and the endings of the compressed files that root wrote beside it."""

    path: Path
    endings: list[str]


def compress(release: Release, earlier: Iterable[Release] = ()) -> int:
    """Write a .gz and, if the host has brotli, a .br beside each static file that shrinks by it.

    The tree belongs to root by now. What root wrote is recorded by digest in the release's compressed.json, which no
    build can write. Thus no build decides what another one takes over.

    :param earlier: releases to take compressed files from, the nearest last.
    :returns: how many files were compressed, and not taken over.
    """
    static, brotli = collected(release), shutil.which("brotli")
    if static is None:
        return 0
    endings = [".gz", ".br"] if brotli else [".gz"]
    known = {digest: entry for other in earlier for digest, entry in _recorded(other, endings).items()}
    written: dict[str, tuple[str, list[str]]] = {}
    anew = 0

    def work(name: str) -> tuple[str, list[str], bool]:
        directory, _slash, last = name.rpartition("/")
        with tree.directory(static, directory or ".") as parent, tree.open_file(last, parent) as file:
            content = file.read()
            digest = hashlib.sha256(content).hexdigest()
            packed = _taken_over(known.get(digest))
            new = packed is None
            if packed is None:
                packed = _packed(content, brotli)
            for ending, text in packed.items():
                _write(f"{last}{ending}", parent, text, os.fstat(file.fileno()))
        return digest, sorted(packed), new

    names = list(_worth_compressing(static))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (digest, made, new) in zip(names, pool.map(work, names), strict=True):
            written[digest] = (name, made)
            anew += new
    write_json(release.path / "compressed.json", {"endings": endings, "files": written})
    return anew


def _worth_compressing(static: Path) -> Iterator[str]:
    """The names of the files to compress, relative to the directory, in a fixed order."""
    for directory, names, files, descriptor in os.fwalk(static):
        names.sort()
        for name in sorted(files):
            info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if Path(name).suffix in COMPRESSIBLE and stat.S_ISREG(info.st_mode) and SMALLEST <= info.st_size <= LARGEST:
                yield os.path.relpath(os.path.join(directory, name), static)


def _recorded(release: Release, endings: list[str]) -> dict[str, Earlier]:
    """What root compressed in a release by digest; nothing if it was compressed in other formats."""
    record, static = read_json(release.path / "compressed.json"), collected(release)
    if record.get("endings") != endings or static is None:
        return {}
    return {digest: Earlier(static / name, made) for digest, (name, made) in record["files"].items()}


def _taken_over(entry: Earlier | None) -> dict[str, bytes] | None:
    """The compressed content by ending; None if there is none to take over, or it is gone."""
    if entry is None:
        return None
    try:
        result = {}
        for ending in entry.endings:
            with tree.open_file(entry.path.with_name(entry.path.name + ending)) as file:
                result[ending] = file.read()
        return result
    except OSError:
        return None


def _packed(content: bytes, brotli: str | None) -> dict[str, bytes]:
    """The compressed content by ending, as far as it is smaller."""
    results = {".gz": gzip.compress(content, 9, mtime=0)}
    if brotli:
        words = [brotli, "--stdout", "--best"]
        results[".br"] = subprocess.run(words, input=content, capture_output=True, check=True).stdout
    return {ending: packed for ending, packed in results.items() if len(packed) < len(content)}


def _write(name: str, parent: int, content: bytes, original: os.stat_result) -> None:
    """Write a file with owner, mode and times of its original, in place of what the build left at that name."""
    tree.discard(name, parent)
    descriptor = os.open(name, tree.NEW, 0o600, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(descriptor, original.st_uid, original.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(original.st_mode))
        os.utime(descriptor, ns=(original.st_atime_ns, original.st_mtime_ns))
