"""timeout: what overridden loops do to it, and what is left of a block."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest
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


class Kept:
    """What can be seen to go."""


@pytest.mark.parametrize("name", ["timeout", "move_on_after"])
def test_what_a_program_gives_to_a_block_goes_with_it(name: str) -> None:
    async def main() -> None:
        within: Any = getattr(tonnage, name)
        for _ in range(3):
            async with within(5) as block:
                assert not hasattr(block, "kept")
                kept = block.kept = Kept()
            gone = [weakref.ref(block), weakref.ref(kept)]
            del block, kept
            assert [reference() for reference in gone] == [None, None]
            async with within(5):
                pass

    tonnage.run(main())
