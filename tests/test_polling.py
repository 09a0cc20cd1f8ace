"""When the loop looks at the network, its timers and other threads while work is ready."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]


def test_storm_of_callbacks_does_not_starve_sockets(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    turns = 0

    def storm() -> None:
        nonlocal turns
        turns += 1
        if turns < 100_000:
            loop.call_soon(storm)
        else:
            loop.stop()

    loop.add_reader(ours, loop.stop)
    theirs.send(b"x")
    loop.call_soon(storm)
    loop.run_forever()
    loop.remove_reader(ours)
    ours.close()
    theirs.close()
    assert turns <= 62


def test_storm_of_callbacks_does_not_starve_timers(loop: Loop) -> None:
    turns = 0

    def storm() -> None:
        nonlocal turns
        turns += 1
        if turns < 100_000:
            loop.call_soon(storm)
        else:
            loop.stop()

    loop.call_later(0, loop.stop)
    loop.call_soon(storm)
    loop.run_forever()
    assert turns <= 62


def test_storm_of_callbacks_does_not_starve_other_threads(loop: Loop) -> None:
    turns = 0

    def storm() -> None:
        nonlocal turns
        turns += 1
        if turns < 1_000_000:
            loop.call_soon(storm)
        else:
            loop.stop()

    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    thread.start()
    loop.call_soon(storm)
    loop.run_forever()
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
