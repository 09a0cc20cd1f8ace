"""Choose the newest versions of all packages in requirements/*.in, and write them to *.txt."""

from __future__ import annotations

import environments
from steps import run, say, stop

# Sphinx needs more than the oldest Python that tonnage supports.
OLDEST = {"docs": "3.12", "servers": "3.13"}
# What is taken for its binaries alone, which are checked byte for byte.
BINARIES = {"servers": ["--no-deps", "--generate-hashes"]}


def main() -> None:
    """Compile each list for every Python from the oldest on."""
    uv = environments.tools() / "uv"
    compile_list = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--upgrade",
        "--no-header",
        "--no-annotate",
    ]
    for source in sorted(environments.REQUIREMENTS.glob("*.in")):
        say(f"locking requirements/{source.name}")
        oldest = OLDEST.get(source.stem, "3.10")
        options = [*BINARIES.get(source.stem, []), "--python-version", oldest]
        command = [*compile_list, *options, source, "-o", source.with_suffix(".txt")]
        if run(command, timeout_s=600, environment={"UV_PYTHON_DOWNLOADS": "never"}):
            stop(f"{source.name} has no solution")


if __name__ == "__main__":
    main()
