"""What is left at exit: a debug build says it, if it is asked to.

With `TONNAGE_LIVE_OBJECTS=1` in the environment, a debug build prints at exit
how many futures, tasks, handles and transports were never freed. Nothing is
printed if none was.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from tonnage._tonnage import _live_objects


def report() -> None:
    """Print what is alive after a collection, one line for all classes."""
    gc.collect()
    alive = {name: count for name, count in sorted(_live_objects().items()) if count}
    if alive:
        parts = ", ".join(f"{count} {name}" for name, count in alive.items())
        sys.stderr.write(f"tonnage: still alive at exit: {parts}\n")


def report_at_exit() -> None:
    """Report at exit, if the environment asks for it."""
    if os.environ.get("TONNAGE_LIVE_OBJECTS", "") not in ("", "0"):
        atexit.register(report)
