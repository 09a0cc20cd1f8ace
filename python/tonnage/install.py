"""`install()`: asyncio itself gives out tonnage's loops.

A program that says `asyncio.run()`, `asyncio.Runner()`, `new_event_loop()` or
`get_event_loop()` asks the event loop policy, on every version up to 3.15, so
one policy serves them all. The public setters warn since 3.14, about a choice
that the program's author did not make: there we use the ones beneath them.
"""

from __future__ import annotations

import sys
from asyncio import events

from tonnage.event_loop import EventLoop, new_event_loop

if sys.version_info >= (3, 14):
    from asyncio.unix_events import _DefaultEventLoopPolicy as _DefaultPolicy

    _get_policy = events._get_event_loop_policy
    _set_policy = events._set_event_loop_policy
else:
    from asyncio import DefaultEventLoopPolicy as _DefaultPolicy

    _get_policy = events.get_event_loop_policy  # pyright: ignore[reportDeprecated]
    _set_policy = events.set_event_loop_policy  # pyright: ignore[reportDeprecated]


class EventLoopPolicy(_DefaultPolicy):
    """The running version's default policy, with tonnage's loops."""

    def new_event_loop(self) -> EventLoop:
        """Return a new loop; it is not made the current one."""
        return new_event_loop()


def install(*, patch_asyncio: bool = False) -> None:
    """Make asyncio's own functions use tonnage, in all threads, from this call on.

    `asyncio.run()`, `asyncio.Runner()`, `asyncio.new_event_loop()` and
    `asyncio.get_event_loop()` then give tonnage's loop. A loop that exists
    already stays what it is. A second call does nothing.

    Args:
        patch_asyncio: Also put tonnage's classes and functions in the place of
            asyncio's, or where this version of asyncio lacks them: Task,
            Future, EventLoop, Runner, run, create_task, ensure_future,
            TaskGroup, gather, wait, wait_for, as_completed, shield, sleep,
            Timeout, timeout, timeout_at, the locks, Event, Condition,
            Barrier, the queues, to_thread, run_coroutine_threadsafe, and the
            eager task factories. A module that imported such a name before
            keeps what it has, so call it first.

    Example:
        import tonnage
        tonnage.install()
        asyncio.run(main())
    """
    if not isinstance(_get_policy(), EventLoopPolicy):
        _set_policy(EventLoopPolicy())
    if patch_asyncio:
        from tonnage.patch import rebind_asyncio

        rebind_asyncio()
