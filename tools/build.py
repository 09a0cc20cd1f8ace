"""Build the extension.

`develop` puts a debug build into `python/tonnage/` for one Python and installs
the package in place in its `.venv/3.X`. `wheel` makes a release wheel in
`dist/`; `release` installs one into `.venv/bench-3.X`. Debug and release
builds never meet in one environment.

Usage: build.py [--release] [VERSION ...]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path

import environments
import pythons
from steps import BUILD, ROOT, run, say, stop

# What a release wheel is made of.
SOURCES = (
    "Cargo.toml",
    "Cargo.lock",
    "pyproject.toml",
    "rust-toolchain.toml",
    "crates/**/*",
    "python/tonnage/**/*",
)
BUILT = (".so", ".pyc")


def target_folder(version: str) -> Path:
    """Return cargo's folder for one Python: PyO3 compiles differently for each."""
    return ROOT / "target" / f"py{version}"


def develop(version: str, python: Path, *, types: bool = False) -> Path:
    """Build for tests, and return the interpreter that imports the build."""
    pythons.require_cargo()
    interpreter = environments.for_tests(version, python, types=types)
    maturin = environments.tools() / "maturin"
    folder = interpreter.parent.parent
    say(f"building the extension for CPython {version} (debug)")
    started = time.monotonic()
    # The environment's own metadata changes only with these two files.
    stamp = folder / "installed-tonnage"
    wanted = _digest([ROOT / "pyproject.toml", ROOT / "crates" / "tonnage-py" / "Cargo.toml"])
    command: list[str | Path] = [maturin, "develop", "--uv", "--profile", "dev"]
    if stamp.exists() and stamp.read_text() == wanted:
        command.append("--skip-install")
    environment = {
        "CARGO_TARGET_DIR": str(target_folder(version)),
        "VIRTUAL_ENV": str(folder),
        "PATH": f"{environments.tools()}:{os.environ.get('PATH', '')}",
        "CONDA_PREFIX": None,
    }
    if run(command, timeout_s=1800, environment=environment, quiet=True):
        stop(f"the extension does not build for CPython {version}")
    stamp.write_text(wanted)
    seconds = time.monotonic() - started
    if seconds > 5:
        say(f"built in {seconds:.0f} s")
    return interpreter


def wheel(version: str, python: Path) -> Path:
    """Build a release wheel, unless the last one is of the same sources."""
    pythons.require_cargo()
    out = ROOT / "dist"
    stamp = BUILD / f"wheel-{version}"
    wanted = _digest(sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()))
    tag = f"cp{version.replace('.', '')}"
    found = sorted(out.glob(f"tonnage-*-{tag}-{tag}-*.whl"), key=lambda path: path.stat().st_mtime)
    if found and stamp.exists() and stamp.read_text() == wanted:
        return found[-1]
    say(f"building the release wheel for CPython {version} (fat LTO: takes a minute or more)")
    maturin = environments.tools() / "maturin"
    command = [maturin, "build", "--release", "--interpreter", python, "--out", out]
    environment = {"CARGO_TARGET_DIR": str(target_folder(version))}
    if run(command, timeout_s=1800, environment=environment, quiet=True):
        stop(f"the release wheel does not build for CPython {version}")
    BUILD.mkdir(exist_ok=True)
    stamp.write_text(wanted)
    return max(out.glob(f"tonnage-*-{tag}-{tag}-*.whl"), key=lambda path: path.stat().st_mtime)


def release(version: str, python: Path) -> Path:
    """Install the release wheel for bench and demo, and return the interpreter that has it."""
    interpreter = environments.for_bench(version, python)
    built = wheel(version, python)
    stamp = interpreter.parent.parent / "installed-tonnage"
    wanted = _digest([built])
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {built.name} into .venv/bench-{version}")
        command = [
            environments.tools() / "uv",
            "pip",
            "install",
            "--quiet",
            "--no-config",
            "--reinstall-package",
        ]
        if run([*command, "tonnage", "--python", interpreter, built], timeout_s=300):
            stop(f"could not install {built.name}")
        stamp.write_text(wanted)
    return interpreter


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.suffix not in BUILT:
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Build for the versions named, or for every CPython present."""
    parser = argparse.ArgumentParser(description="Build tonnage's extension.")
    parser.add_argument("versions", nargs="*", help="for example 3.13; default: every CPython present")
    parser.add_argument("--release", action="store_true", help="make optimised wheels in dist/")
    options = parser.parse_args()
    for version, python in pythons.present(" ".join(options.versions) or None).items():
        if options.release:
            say(f"CPython {version}: {wheel(version, python).relative_to(ROOT)}")
        else:
            say(f"CPython {version}: {develop(version, python).relative_to(ROOT)} imports it")


if __name__ == "__main__":
    main()
