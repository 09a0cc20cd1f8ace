"""When the loop looks at the network, its timers and other threads while work is ready."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]


def storm(loop: Loop, most: int = 100_000) -> int:
    """Run the loop while a callback schedules itself again, `most` times, and return how often it ran."""
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        if turns < most:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.call_soon(again)
    loop.run_forever()
    return turns


def test_storm_of_callbacks_does_not_starve_sockets(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop.add_reader(ours, loop.stop)
    theirs.send(b"x")
    turns = storm(loop)
    loop.remove_reader(ours)
    ours.close()
    theirs.close()
    assert turns <= 62


@pytest.mark.parametrize(("has_timers", "most"), [(True, 2), (False, 9)])
def test_sockets_are_heard_of_between_slow_callbacks(loop: Loop, has_timers: bool, most: int) -> None:
    """As in a program that computes in pieces, with sleep(0) between them."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop.add_reader(ours, loop.stop)
    timer = loop.call_later(3600, loop.stop) if has_timers else None
    turns = 0

    def compute() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            theirs.send(b"x")
        # More than a tick of the kernel's coarse clock.
        time.sleep(0.015)
        if turns < 50:
            loop.call_soon(compute)
        else:
            loop.stop()

    loop.call_soon(compute)
    loop.run_forever()
    loop.remove_reader(ours)
    if timer is not None:
        timer.cancel()
    ours.close()
    theirs.close()
    assert turns - 3 <= most


def test_descriptor_of_any_number_is_watched(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    high = fcntl.fcntl(ours, fcntl.F_DUPFD, 900)
    try:
        assert not loop.remove_reader(high)
        loop.add_reader(high, loop.stop)
        loop.add_writer(ours, lambda: loop.remove_writer(ours))
        theirs.send(b"x")
        loop.run_forever()
        assert loop.remove_reader(high)
        assert not loop.remove_reader(high)
        assert not loop.remove_reader(high + 1)
        assert not loop.remove_writer(ours)
    finally:
        os.close(high)
        ours.close()
        theirs.close()


def test_storm_of_callbacks_does_not_starve_timers(loop: Loop) -> None:
    loop.call_later(0, loop.stop)
    assert storm(loop) <= 62


def test_storm_of_callbacks_does_not_starve_other_threads(loop: Loop) -> None:
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    thread.start()
    turns = storm(loop, 1_000_000)
    thread.join()
    assert turns < 1_000_000


def test_answer_to_what_was_written_is_heard_two_turns_later(loop: Loop, run: Run) -> None:
    """While work is ready, too: some programs give the loop few turns to hear from the network."""

    async def main() -> None:
        heard = []
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        loop.add_reader(theirs, lambda: heard.append(theirs.recv(10)))
        for _ in range(3):
            await asyncio.sleep(0)
        transport.write(b"data")  # type: ignore[attr-defined]
        for _ in range(3):
            await asyncio.sleep(0)
        assert heard == [b"data"]
        loop.remove_reader(theirs)
        transport.close()
        theirs.close()
        await asyncio.sleep(0)

    run(main())


def test_new_reader_hears_of_what_is_there_two_turns_later(loop: Loop, run: Run) -> None:
    async def main() -> None:
        heard = []
        ours, theirs = socket.socketpair()
        ours.send(b"data")
        for _ in range(3):
            await asyncio.sleep(0)
        loop.add_reader(theirs, lambda: heard.append(theirs.recv(10)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert heard == [b"data"]
        loop.remove_reader(theirs)
        ours.close()
        theirs.close()

    run(main())
