"""The most memory that this process has ever held, as the operating system tells it."""

from __future__ import annotations

import resource
import sys


def peak_memory_bytes() -> int:
    """Return the peak of the resident memory of this process."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # Not Linux. There, getrusage would also count the parent's memory before exec.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
