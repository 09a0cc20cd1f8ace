"""What each measurement has to reach.

`UNCHANGED` is for a program that keeps asyncio's own TaskGroup, gather, locks and
timeouts, and only swaps the loop. `NATIVE` is for a program that uses tonnage's
names. On loops of others, tonnage's names cost at most what asyncio's cost there.
Ratios are peer over ours, taken in the same run: 4 means four times as fast.
"""

from __future__ import annotations

from fnmatch import fnmatch

from loops import LOOPS

UNCHANGED = {
    "tg_batch": {"asyncio": 4.0},
    "sleep0": {"asyncio": 7.0},
    "callsoon": {"asyncio": 12.0},
    "future": {"asyncio": 12.0},
    "await_task": {"asyncio": 12.0},
    "timeout": {"asyncio": 3.0},
    "wait_for": {"asyncio": 3.0},
    "timer": {"asyncio": 4.5},
}

NATIVE = {
    "tg_noop": {"asyncio": 10.0, "uvloop": 6.0},
    "tg_batch": {"asyncio": 15.0, "uvloop": 9.0},
    "tg_y1": {"asyncio": 10.0, "uvloop": 6.0},
    "gather100": {"asyncio": 16.0, "uvloop": 10.0},
    "sem": {"asyncio": 12.0, "uvloop": 7.0},
    "bounded": {"asyncio": 18.0, "uvloop": 12.0},
    "amap": {"asyncio": 20.0, "uvloop": 13.0},
    "sem_free": {"asyncio": 4.5, "uvloop": 4.5},
    "sleep0": {"asyncio": 20.0, "uvloop": 11.0},
    "sleep0x100": {"asyncio": 10.0, "uvloop": 5.5},
    "queue": {"asyncio": 5.0, "uvloop": 5.0},
    "future": {"asyncio": 12.0, "uvloop": 6.0},
    "timeout": {"asyncio": 14.0, "uvloop": 9.0},
    "nested": {"asyncio": 10.0, "uvloop": 6.0},
    "callsoon": {"asyncio": 12.0, "uvloop": 5.5},
    "timer": {"asyncio": 4.5, "uvloop": 3.0},
    "lock": {"asyncio": 18.0, "uvloop": 12.0},
    "wait_for": {"asyncio": 14.0, "uvloop": 10.0},
    "await_task": {"asyncio": 14.0, "uvloop": 8.0},
    "pingpong": {"asyncio": 11.0, "uvloop": 6.0},
}

NETWORK = {
    "*": ("uvloop",),
    "tcp-sockets-*": ("rloop",),
    "tls-*": ("asyncio+aiofastnet", "uvloop+aiofastnet"),
    "tcp-sendfile-*": ("asyncio",),
    "http-two-writes": ("zuvloop", "blazio"),
    "*-uvicorn": ("zuvloop", "blazio"),
    "*-aiohttp": ("zuvloop", "blazio"),
}
"""CPU of the server per request: at most that of these peers, in cases of these patterns."""

ON_LOOPS_OF_OTHERS = {"asyncio+tonnage": {"asyncio": 1.0}, "uvloop+tonnage": {"uvloop": 1.0}}

SYSTEM_CALLS_PER_ROUND_TRIP = 3.0
WAITING_TASK_BYTES = 600


def operation_goals(loop: str, operation: str) -> dict[str, float]:
    """Return the ratio to each peer that `loop` has to reach; empty for the peers themselves."""
    if loop == "tonnage":
        return UNCHANGED.get(operation, {})
    if loop == "tonnage-native":
        return NATIVE.get(operation, {})
    return ON_LOOPS_OF_OTHERS.get(loop, {})


def network_goals(loop: str, case: str) -> dict[str, float]:
    """Return the peers that `loop` has to be level with when it serves `case`."""
    if LOOPS[loop].module != "tonnage":
        return {}
    return {peer: 1.0 for pattern, peers in NETWORK.items() if fnmatch(case, pattern) for peer in peers}
