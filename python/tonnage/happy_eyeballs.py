"""Connects to the first of several addresses that answers (RFC 8305).

An attempt starts when the one before it has failed, or after a delay. The first success wins; every other
attempt is cancelled and awaited, so that none outlives the call. `create_connection` is the only caller.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from socket import socket

__all__ = ("connect_first", "interleave_families")


def interleave_families(infos: list[Any], first_family_count: int) -> list[Any]:
    """Reorder addresses so that families take turns, after `first_family_count` of the first family."""
    by_family: dict[int, list[Any]] = {}
    for info in infos:
        by_family.setdefault(info[0], []).append(info)
    families = list(by_family.values())
    head_length = max(first_family_count - 1, 0)
    head = families[0][:head_length]
    families[0] = families[0][head_length:]
    rounds = itertools.zip_longest(*families)
    return head + [info for info in itertools.chain.from_iterable(rounds) if info is not None]


async def connect_first(
    loop: asyncio.AbstractEventLoop,
    attempts: Iterable[Callable[[], Coroutine[Any, Any, socket]]],
    delay_s: float,
) -> socket | None:
    """Return the socket of the first attempt that connects, or None if all fail with OSError.

    If the wait is cancelled, no attempt and no socket is left.
    """
    running: set[asyncio.Task[socket]] = set()
    started: list[asyncio.Task[socket]] = []
    winner: asyncio.Task[socket] | None = None
    try:
        for attempt in attempts:
            newest = loop.create_task(attempt())
            started.append(newest)
            running.add(newest)
            start_next_at = loop.time() + delay_s
            while winner is None:
                done, running = await _wait(running, max(0.0, start_next_at - loop.time()))
                winner = _first_connected(started, done)
                if newest in done or not done:
                    break
            if winner is not None:
                break
        while winner is None and running:
            done, running = await _wait(running, None)
            winner = _first_connected(started, done)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        _close_sockets(started, winner)
        if winner is None:
            _raise_unexpected(started)
            return None
        return winner.result()
    except BaseException:
        for task in running:
            task.cancel()
        # One that is not done yet closes its socket itself, also if this wait is cancelled too.
        _close_sockets(started, None)
        if running:
            await asyncio.wait(running)
        raise
    finally:
        # The tasks hold exceptions whose tracebacks hold this frame.
        del started, running, winner


def _wait(
    running: set[asyncio.Task[socket]], timeout_s: float | None
) -> Awaitable[tuple[set[asyncio.Task[socket]], set[asyncio.Task[socket]]]]:
    return asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def _close_sockets(started: list[asyncio.Task[socket]], winner: asyncio.Task[socket] | None) -> None:
    for task in started:
        if task is not winner and task.done() and not task.cancelled() and task.exception() is None:
            task.result().close()


def _first_connected(
    started: list[asyncio.Task[socket]], done: set[asyncio.Task[socket]]
) -> asyncio.Task[socket] | None:
    for task in started:
        if task in done and not task.cancelled() and task.exception() is None:
            return task
    return None


def _raise_unexpected(started: list[asyncio.Task[socket]]) -> None:
    # An attempt records its OSErrors itself. Anything else is a bug that nobody else would see.
    for task in started:
        if not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, OSError):
                raise error
