"""Let others run: what the actors of a scenario do while they hold something."""

from __future__ import annotations

import asyncio


async def switch(times: int = 1) -> None:
    """Give up the turn this many times."""
    for _ in range(times):
        await asyncio.sleep(0)
