"""The files that the demo fetches: what the server serves, and what the client must have received.

Both sides read the same directory, so that each fetched file can be compared with the one on disk.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# `__pycache__` is written to while programs run; `site-packages` is not the standard library.
SKIPPED_DIRECTORIES = frozenset({"__pycache__", "site-packages", "dist-packages"})
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class ExpectedFile:
    """A file of the tree, as it must arrive."""

    path: str
    size: int
    sha256: bytes


def standard_library() -> Path:
    """Return the directory of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def list_paths(root: Path, count: int | None = None) -> list[str]:
    """Return the paths of all regular files below `root`, relative to it, sorted.

    With `count`, return that many of them, taken evenly from the whole list, so
    that a small sample still has files of every kind.
    """
    paths = []
    for directory, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name not in SKIPPED_DIRECTORIES]
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                paths.append(os.path.relpath(path, root).replace(os.sep, "/"))
    paths.sort()
    if count is None or count >= len(paths):
        return paths
    return [paths[index * len(paths) // count] for index in range(count)]


def read_expected(root: Path, paths: list[str]) -> list[ExpectedFile]:
    """Read each file once, and return its size and SHA-256."""
    return [_read_one(root, path) for path in paths]


def _read_one(root: Path, path: str) -> ExpectedFile:
    digest = hashlib.sha256()
    size = 0
    with open(root / path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return ExpectedFile(path, size, digest.digest())
