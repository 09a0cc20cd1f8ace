"""Who awaits whom, for `asyncio.capture_call_graph()` (3.14 and later).

asyncio's groups, gather, shield and wait declare an edge of the graph by two
functions of `asyncio.futures` that know futures of asyncio's own types only.
They are replaced by ours, which know both.
"""

from __future__ import annotations

import asyncio

from tonnage._tonnage import future_add_to_awaited_by, future_discard_from_awaited_by


def hook() -> None:
    """Make asyncio declare the edges of our futures too. May be called again."""
    # The last two are what asyncio itself names the fast implementation.
    for name, ours in (
        ("future_add_to_awaited_by", future_add_to_awaited_by),
        ("future_discard_from_awaited_by", future_discard_from_awaited_by),
        ("_c_future_add_to_awaited_by", future_add_to_awaited_by),
        ("_c_future_discard_from_awaited_by", future_discard_from_awaited_by),
    ):
        for module in (asyncio, asyncio.futures):
            if hasattr(module, name):
                setattr(module, name, ours)
