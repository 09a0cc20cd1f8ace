"""What Python 3.10's asyncio lacks, with the semantics of 3.15.

The package is imported on Python 3.10 only. Everything here follows asyncio's
documentation, and CPython 3.15's own tests of these names pass on it.
"""

from __future__ import annotations

from tonnage.backports.barrier import Barrier
from tonnage.errors import BrokenBarrierError

__all__ = ["Barrier", "BrokenBarrierError"]
