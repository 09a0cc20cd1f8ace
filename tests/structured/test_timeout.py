"""timeout: what overridden loops do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import tonnage

Run = Callable[[Any], Any]


def test_the_old_deadline_is_gone_when_the_loop_is_overridden_meanwhile() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        call_at = loop.call_at
        async with tonnage.timeout(0.005) as timeout:
            loop.call_at = lambda *args, **keywords: call_at(*args, **keywords)  # type: ignore[method-assign]
            timeout.reschedule(loop.time() + 100)
            await asyncio.sleep(0.02)
        return "slept"

    loop = tonnage.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == "slept"
    finally:
        loop.close()
