"""The event loop that users hold.

The scheduler, the timers, the reactor, `sock_*` and the transports of sockets and pipes are Rust:
`_tonnage.EventLoop`, which comes first in the order of methods. What runs once per loop, connection or
command is Python, in the mixins. All else is inherited from asyncio's own loop, such as exception handling.
There is no Python selector; inherited code reaches the reactor through `_add_reader` and its kin.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import weakref
from asyncio import base_events, events
from asyncio.log import logger
from typing import Any

from . import _tonnage, call_graph
from .all_tasks import hook, live_loops
from .connection import Connecting
from .datagram import Datagrams
from .default_workers import DefaultWorkers
from .dns import Resolver, Resolving
from .executor import Executing
from .fork import watch_forks
from .listen import Listening
from .pipes import Piping
from .policy import Policy, of_program
from .process import Spawning
from .sendfile import FileSending
from .signals import Signalling
from .sock import SocketOperations
from .watched import WatchedDescriptors

__all__ = ("EventLoop", "new_event_loop")


class EventLoop(
    _tonnage.EventLoop,
    Connecting,
    Listening,
    Datagrams,
    Signalling,
    Resolving,
    Executing,
    Piping,
    Spawning,
    SocketOperations,
    FileSending,
    asyncio.SelectorEventLoop,
):
    """asyncio's event loop, in Rust."""

    # All that asyncio's loop and ours set on a new loop. So its dictionary, which asyncio's class brings, is
    # not made until a user sets something else, and the interpreter can specialise `loop.call_soon` and its
    # like: with a dictionary, each use is a full look-up, 7 % to 10 % of `call_soon`.
    __slots__ = (
        "_acceptors",
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_child_watches",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_is_hearing",
        "_is_overruled",
        "_old_agen_hooks",
        "_ready",
        "_resolver",
        "_scheduled",
        "_signal_handlers",
        "_signal_pipe",
        "_ssock",
        "_timer_cancelled_count",
        "_transports",
        "_unix_server_sockets",
        "_workers",
        "slow_callback_duration",
    )

    # For those who ask what is watched. None once closed.
    _selector: Any = functools.cached_property(WatchedDescriptors)

    def __init__(self, *, policy: Policy | None = None) -> None:
        # Not the selector loop's: that would open a selector and a pair of sockets.
        base_events.BaseEventLoop.__init__(self)
        # The descriptor by which other threads wake the loop; there is no pair of sockets for it.
        self._internal_fds = 1
        self._csock = self._ssock = None
        self._transports = weakref.WeakValueDictionary()
        self._acceptors = {}
        self._unix_server_sockets = {}
        self._signal_handlers = {}
        self._signal_pipe = None
        self._is_hearing = self._is_overruled = False
        self._child_watches = set()
        self._resolver = Resolver(self)
        self._old_agen_hooks: Any = None
        self._obey(policy or of_program())
        if os.environ.get("TONNAGE_IO_URING") == "0":
            self._send_apart()
        self._prepare_for_signals()
        live_loops.add(self)

    def _obey(self, policy: Policy) -> None:
        self._workers = DefaultWorkers(policy)
        self._bound_tasks(
            *(bound and min(bound, sys.maxsize) for bound in (policy.max_tasks, policy.warn_tasks))
        )

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the loop itself, which may override a method."""
        self._note_attribute(name)
        super().__setattr__(name, value)

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001
        """Switch debug mode, which adds checks and reports, on or off."""
        self._debug = enabled
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, enabled)

    def run_forever(self) -> None:
        """Run until `stop()` is called."""
        self._run_forever_setup()
        try:
            self._begin_hearing_signals()
            self._run()
        finally:
            try:
                self._end_hearing_signals()
            finally:
                self._run_forever_cleanup()

    def close(self) -> None:
        """Close the loop, which must not be running; what is still scheduled never runs."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self._debug:
            logger.debug("Close %r", self)
        try:
            self._close_signals()
        finally:
            self._resolver.close()
            for watch in list(self._child_watches):
                watch.stop()
            self._acceptors.clear()
            self._close()
            self._close_signal_pipe()
            self._internal_fds = 0
            self._selector = None
            self._executor_shutdown_called = True
            self._workers.stop()
            executor, self._default_executor = self._default_executor, None
            if executor is not None:
                executor.shutdown(wait=False)

    async def shutdown_asyncgens(self) -> None:
        """Close all async generators, and take no new ones."""
        # The tasks that close them end the program, and are never refused.
        self._bound_tasks(None, None)
        await super().shutdown_asyncgens()

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        # asyncio's own, but for the bound of tasks: a generator that is lost is closed all the same.
        self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon_threadsafe(self._create_unbounded_task, agen.aclose())

    def _run_forever_setup(self) -> None:
        # The same order as asyncio's: CPython 3.15, Lib/asyncio/base_events.py, _run_forever_setup.
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        self._old_agen_hooks = sys.get_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
        )
        events._set_running_loop(self)

    def _run_forever_cleanup(self) -> None:
        self._stopping = False
        self._thread_id = None
        events._set_running_loop(None)
        self._set_coroutine_origin_tracking(False)
        if self._old_agen_hooks is not None:
            sys.set_asyncgen_hooks(*self._old_agen_hooks)
            self._old_agen_hooks = None

    if sys.version_info < (3, 12):

        def call_exception_handler(self, context: dict[str, Any]) -> None:
            """Call the exception handler, in the context of the task, future or handle that failed."""
            culprits = (context.get(key) for key in ("task", "future", "handle"))
            culprit: Any = next((found for found in culprits if found is not None), None)
            own_context = culprit.get_context() if hasattr(culprit, "get_context") else None
            if own_context is None:
                super().call_exception_handler(context)
            else:
                # A copy, because the culprit itself may be calling, inside its context.
                own_context.copy().run(super().call_exception_handler, context)

    def _forget_after_fork(self) -> None:
        """Let go of what the parent works with, in a forked child; a loop that did not run can run there."""
        self._resolver.forget_after_fork()
        self._forget_signals_after_fork()
        for watch in self._child_watches:
            watch.forget_after_fork()
        self._child_watches.clear()
        self._default_executor = None
        self._leave_parent_after_fork()
        # The parent's; not before, as the child would tell the parent's reactor.
        self._close_signal_pipe()


watch_forks()
hook()
call_graph.hook()


def new_event_loop(*, policy: Policy | None = None) -> EventLoop:
    """Return a new event loop.

    Args:
        policy: The ceilings that the loop keeps; by default those of `Policy()`, or of the
            command line of `tonnage run`.
    """
    return EventLoop(policy=policy)
