"""Check the types: mypy strict, stubtest against the built extension, basedpyright.

tests/typing says what programs may and may not write; mypy and basedpyright
read it as they read the package.

Usage: run_types.py [VERSION]
"""

from __future__ import annotations

import sys

import build
import pythons
import report
from steps import ROOT, check, forget, warn

ALLOWED = ROOT / "tools" / "stubtest-allowed.txt"


def main() -> int:
    """Run the three checkers on one Python, show the table, and return the exit code."""
    version = sys.argv[1] if len(sys.argv) > 1 else pythons.main_version()
    forget("types")
    (version, python), *_ = pythons.present(version).items()
    interpreter = build.develop(version, python, types=True)
    scripts = interpreter.parent
    for target in ("3.10", "3.14"):
        mypy = [scripts / "mypy", "--python-version", target]
        check("types", f"mypy for {target}", mypy, quiet=True)
        check("types", f"tests/typing, {target}", [*mypy, "tests/typing"], quiet=True)
    command: list = [interpreter, "-m", "mypy.stubtest", "tonnage._tonnage", "--allowlist", ALLOWED]
    check(
        "types",
        "stubtest",
        [*command, "--ignore-unused-allowlist", "--ignore-disjoint-bases"],
        quiet=True,
        environment={"MYPYPATH": "python"},
    )
    if (scripts / "basedpyright").exists():
        check("types", "basedpyright", [scripts / "basedpyright", "--pythonpath", interpreter], quiet=True)
    else:
        warn("basedpyright has no wheel for this machine; skipped")
    return report.show("types")


if __name__ == "__main__":
    sys.exit(main())
