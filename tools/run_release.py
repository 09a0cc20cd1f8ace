"""Run a program of this repository on a release build.

Usage: run_release.py [--py 3.13] PROGRAM [ARGS ...]
"""

from __future__ import annotations

import os
import sys

import build
import pythons
from steps import ROOT, say, stop


def main() -> None:
    """Build, install, and become the program."""
    arguments = sys.argv[1:]
    only = ""
    if arguments[:1] == ["--py"]:
        only, arguments = arguments[1], arguments[2:]
    program = ROOT / arguments[0]
    if not program.exists():
        stop(f"{arguments[0]} does not exist")
    version = only or pythons.main_version()
    (version, python), *more = pythons.present(version).items()
    if more:
        stop(f"PY={only}: {arguments[0]} runs on one Python at a time")
    interpreter = build.release(version, python)
    say(f"{arguments[0]} on CPython {version}")
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(interpreter, [str(interpreter), str(program), *arguments[1:]])


if __name__ == "__main__":
    main()
