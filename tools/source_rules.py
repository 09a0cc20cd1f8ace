"""Check the rules of the house that no linter knows.

- `unsafe`, `pyo3::ffi` and `cfg(Py_…)` only inside the fence; core's raw
  system calls only in its reactor, its one instruction in the clock.
- Chance, the clock, sleeping and thread spawning are allowed (past clippy) in
  one file each.
- A file has at most 400 lines of code; a longer one must be named below with
  its reason, and none has more than 600. (Tests are lists: 600.)
- A `TODO` has an issue number. No commented-out code is looked for here.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = "crates/tonnage-py/src/cpython/"
REACTOR = "crates/tonnage-core/src/reactor/"
CYCLE_COUNTER = "crates/tonnage-core/src/clock/cycle_clock.rs"
LINES_MAX = 400
LINES_EVER = 600
# path -> why it may be longer than 400 lines of code.
LONGER: dict[str, str] = {}
# What clippy.toml forbids, and the number of files that may allow it for themselves.
ALLOW_METHODS = re.compile(r"(?:allow|expect)\(\s*clippy::disallowed_methods")
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")


def problems_in_rust(path: str, text: str) -> list[str]:
    """Return what is wrong with one Rust file."""
    found = []
    inside = path.startswith((FENCE, REACTOR, CYCLE_COUNTER))
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("//")[0]
        if re.search(r"\bunsafe\b(?!_)", code) and not inside and "unsafe_code" not in code:
            found.append(f"{path}:{number}: unsafe outside the fence")
        if (
            re.search(r"(?<!std::)(?<!core::)\bffi::", code)
            and path.startswith("crates/tonnage-py/src/")
            and not path.startswith(FENCE)
        ):
            found.append(f"{path}:{number}: the C API outside the fence")
        if (
            re.search(r"cfg\w*!?\(.*\bPy_\w+", code)
            and path.startswith("crates/tonnage-py/src/")
            and not path.startswith(FENCE)
        ):
            found.append(f"{path}:{number}: a version of Python is asked for outside the fence")
    return found


def code_lines(path: str, text: str) -> int:
    """Count the lines that are neither blank, comment, docstring nor a Rust file's own tests."""
    if path.endswith(".rs"):
        body = re.split(r"^#\[cfg\(test\)\]\nmod tests", text, maxsplit=1, flags=re.MULTILINE)[0]
        return sum(1 for line in body.splitlines() if line.strip() and not line.strip().startswith("//"))
    body = re.sub(r'"""[\s\S]*?"""', "", text)
    return sum(1 for line in body.splitlines() if line.strip() and not line.strip().startswith("#"))


def main() -> int:
    """Print each broken rule, and return 1 if there is one."""
    found: list[str] = []
    allows: Counter[str] = Counter()
    files = [
        *ROOT.glob("crates/**/*.rs"),
        *ROOT.glob("python/**/*.py"),
        *ROOT.glob("tools/*.py"),
        *ROOT.glob("tests/**/*.py"),
    ]
    for file in sorted(files):
        path = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        if path.endswith(".rs"):
            found += problems_in_rust(path, text)
            if ALLOW_METHODS.search(text) and not re.search(r"/(tests|benches)/|/tests\.rs$", path):
                allows[path.split("/")[1]] += 1
        lines = code_lines(path, text)
        if lines > LINES_EVER or (lines > LINES_MAX and path not in LONGER and "tests/" not in path):
            found.append(f"{path}: {lines} lines of code, at most {LINES_MAX}: split it by concept")
        if path != "tools/source_rules.py":
            found += [
                f"{path}:{number}: {match[1]} without an issue number, write {match[1]}(#12)"
                for number, line in enumerate(text.splitlines(), 1)
                if (match := TODO.search(line))
            ]
    for crate, count in allows.items():
        if count > 4:
            found.append(f"crates/{crate}: {count} files allow clippy::disallowed_methods, at most 4 may")
    for line in found:
        print(line)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
