"""Build the documentation with Sphinx; a warning is an error."""

from __future__ import annotations

import sys

import environments
import pythons
from steps import ROOT, run, say


def main() -> int:
    """Build docs/ into docs/_build/html, and return the exit code."""
    version = next(
        (version for version in ("3.13", "3.14", "3.12") if pythons.find(version)), pythons.main_version()
    )
    interpreter = environments.for_docs(version, pythons.present(version)[version])
    say("building docs/_build/html")
    docs = ROOT / "docs"
    command = [
        interpreter,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        docs,
        docs / "_build" / "html",
    ]
    return run(command, timeout_s=600)


if __name__ == "__main__":
    sys.exit(main())
