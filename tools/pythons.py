"""Find one CPython for each minor version that tonnage supports.

Looked for in this order, the first that runs wins:
1. the paths in the environment variable TONNAGE_PYTHONS (separated by colons),
2. pyenv's versions, 3. `python3.X` on PATH, 4. ~/.cache/tonnage-pythons/*/usr/bin.

As a program: print each version with its path, and loudly each that is absent.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from steps import stop, warn

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
# What is not released yet: where it is present the extension must build and import there;
# the tests run on it only when PY names it.
BUILT_ONLY = ("3.15",)
EXPECTED = tuple(version for version in SUPPORTED if version not in BUILT_ONLY)
PREFERRED = ("3.13", "3.14", "3.12", "3.11", "3.10", "3.15")


def _candidates(version: str) -> Iterator[Path]:
    for path in filter(None, os.environ.get("TONNAGE_PYTHONS", "").split(":")):
        yield Path(path).expanduser()
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    newest_first = sorted(pyenv.glob(f"{version}.*"), key=_patch_level, reverse=True)
    yield from (folder / "bin" / "python" for folder in newest_first)
    for folder in os.environ.get("PATH", "").split(":"):
        # A pyenv shim answers for whichever version is selected, or not at all.
        if folder and not folder.rstrip("/").endswith("shims"):
            yield Path(folder) / f"python{version}"
    yield Path("~/.cache/tonnage-pythons").expanduser() / version / "usr" / "bin" / f"python{version}"


def _patch_level(folder: Path) -> int:
    digits = re.search(r"\.(\d+)$", folder.name)
    return int(digits[1]) if digits else -1


@functools.cache
def _version_of(path: Path) -> str | None:
    """Return "3.13" if `path` is a CPython with the GIL that can build extensions, else None."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    question = (
        "import sys, sysconfig; "
        "print(sys.implementation.name, '%d.%d' % sys.version_info[:2], "
        "sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
    )
    try:
        answer = subprocess.run(
            [path, "-I", "-c", question], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, version, without_gil = answer.stdout.split()
    return version if name == "cpython" and without_gil == "0" else None


@functools.cache
def find(version: str) -> Path | None:
    """Return the interpreter of `version` ("3.13"), or None if it is absent."""
    return next((path for path in _candidates(version) if _version_of(path) == version), None)


def present(only: str | None = None) -> dict[str, Path]:
    """Return the interpreters to work with, lowest version first.

    `only` is one version or several, separated by commas or spaces; each of
    them must be there. Without it, absent versions are named loudly.
    """
    if only:
        wanted = only.replace(",", " ").split()
        for version in wanted:
            if version not in SUPPORTED:
                stop(f"PY={version}: tonnage supports CPython {', '.join(SUPPORTED)}")
            if find(version) is None:
                stop(f"PY={version}: no CPython {version} found; name its path in TONNAGE_PYTHONS")
        return {version: path for version in wanted if (path := find(version))}
    found = {version: path for version in SUPPORTED if (path := find(version))}
    for version in absent():
        warn(f"CPython {version} is absent: nothing is checked on it; name its path in TONNAGE_PYTHONS")
    if not found:
        stop(f"no CPython found; install one of {', '.join(EXPECTED)}")
    return found


def absent() -> list[str]:
    """Return the versions that should be tested and are not here."""
    return [version for version in EXPECTED if find(version) is None]


def main_version() -> str:
    """Return the version for what needs only one Python: types, bench, demo."""
    version = next((version for version in PREFERRED if find(version)), None)
    if version is None:
        stop(f"no CPython found; install one of {', '.join(EXPECTED)}")
    assert version is not None
    return version


def with_venv() -> Path:
    """Return an interpreter that can make a virtual environment with pip in it."""
    here = Path(sys.executable)
    for path in (*(found for version in PREFERRED if (found := find(version))), here):
        code = "import venv, ensurepip"
        if subprocess.run([path, "-I", "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    stop("no Python here has the modules venv and ensurepip; on Debian: apt install python3-venv")
    raise AssertionError


def require_cargo() -> None:
    """Stop with advice if there is no Rust, or no linker for it."""
    if shutil.which("cargo") is None:
        # Where rustup puts it; a shell that was open before does not know.
        os.environ["PATH"] = f"{Path('~/.cargo/bin').expanduser()}:{os.environ.get('PATH', '')}"
    if shutil.which("cargo") is None:
        stop("cargo is missing: install Rust 1.95 or newer from https://rustup.rs")
    if shutil.which("cc") is None:
        stop("cc is missing, and Rust links with it: install gcc or clang")


if __name__ == "__main__":
    for version, path in present(" ".join(sys.argv[1:]) or None).items():
        print(version, path)
