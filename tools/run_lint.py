"""Check form and style: rustfmt, clippy, ruff, and the rules of source_rules.py.

Usage: run_lint.py [--fmt] [--fix]
--fmt checks only the formatting; --fix formats in place instead of checking.
"""

from __future__ import annotations

import argparse
import sys

import build
import environments
import pythons
import report
from steps import ROOT, check, forget, run, say


def formatting(*, fix: bool) -> None:
    """Check (or set right) the formatting of Rust and Python."""
    ruff = environments.tools() / "ruff"
    if fix:
        say("cargo fmt; ruff format; ruff check --fix")
        run(["cargo", "fmt", "--all"], timeout_s=300)
        run([ruff, "format", "--quiet", "."], timeout_s=300)
        run([ruff, "check", "--quiet", "--fix", "--exit-zero", "."], timeout_s=300)
        return
    check("fmt", "cargo fmt", ["cargo", "fmt", "--all", "--check"], timeout_s=300, quiet=True)
    check("fmt", "ruff format", [ruff, "format", "--check", "--quiet", "."], timeout_s=300)


def lints() -> None:
    """Run every linter; a warning is an error."""
    ruff = environments.tools() / "ruff"
    check("lint", "ruff check", [ruff, "check", "."], timeout_s=300, quiet=True)
    check("lint", "source rules", [sys.executable, ROOT / "tools" / "source_rules.py"], timeout_s=300)
    version = pythons.main_version()
    environment = {
        "CARGO_TARGET_DIR": str(build.target_folder(version)),
        "PYO3_PYTHON": str(pythons.find(version)),
        "PYO3_BUILD_EXTENSION_MODULE": "1",
    }
    command = ["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]
    check("lint", "cargo clippy", command, timeout_s=1200, environment=environment, quiet=True)


def main() -> int:
    """Run what is asked for, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check tonnage's form and style.")
    parser.add_argument("--fmt", action="store_true", help="check only the formatting")
    parser.add_argument("--fix", action="store_true", help="format in place")
    options = parser.parse_args()
    pythons.require_cargo()
    forget("fmt")
    if options.fix:
        formatting(fix=True)
        return 0
    formatting(fix=False)
    if options.fmt:
        return report.show("fmt")
    forget("lint")
    lints()
    return report.show("fmt", "lint")


if __name__ == "__main__":
    sys.exit(main())
