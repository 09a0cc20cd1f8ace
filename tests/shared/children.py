"""The children of this process, zombies too. Servers for `tests/programs` may be among them."""

from __future__ import annotations

import psutil


def children() -> set[int]:
    """Return the pids of all children."""
    return {child.pid for child in psutil.Process().children()}
