"""The threads of one `Workers`: made when a call needs one, used again, gone after a while without one.

A thread that is free offers its mailbox; who takes it hands a call over by it, and nobody else can. The one
that was free last is used first, so that those which are not needed end. They are daemons: a call that never
returns does not keep the process alive.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .worker_call import Call

__all__ = ("Mailbox", "Threads")

IDLE_S = 10.0
"""How long a thread waits for its next call. asyncio's default executor keeps its threads for ever."""

JOIN_S = 0.25
"""How long threads that are told to end are waited for: they only have to drop what a call left behind."""


class Mailbox(SimpleQueue["Call | None"]):
    """By which a thread gets its calls; None has it end."""

    is_left = False
    """Has its thread ended?"""


class Threads:
    """Threads that run calls, one each at a time.

    Args:
        name: The beginning of their names.
        finish: Called with a call that has ended; returns the next one, or else takes the mailbox for later.
        told: Called when the waiter of the call was told.
    """

    def __init__(
        self,
        name: str,
        finish: Callable[[Call, Mailbox], Call | None],
        told: Callable[[], None],
    ) -> None:
        self._name = name
        self._finish = finish
        self._told = told
        self._numbers = itertools.count(1)
        # The mailboxes of those that are free. Each use is one operation of the list, which is atomic.
        self.free: list[Mailbox] = []
        self._all: dict[threading.Thread, Mailbox] = {}

    def begin(self, call: Call) -> None:
        """Run the call in a thread that is free, or else in a new one.

        Raises:
            RuntimeError: The system gives no more threads.
        """
        try:
            mailbox = self.free.pop()
        except IndexError:
            self._start(call)
        else:
            mailbox.put(call)
            if mailbox.is_left:
                # We were slow. If its thread has found the call all the same, who is first has it.
                self._start(call)

    def end(self, busy: Iterable[threading.Thread | None] = ()) -> None:
        """Have the threads that are free end, and wait until they have; those that are `busy` are left."""
        self.free.clear()
        idle = dict(self._all)
        for thread in busy:
            idle.pop(thread, None)  # type: ignore[arg-type]
        # Also those whose mailbox was taken by who was interrupted then.
        for mailbox in idle.values():
            mailbox.put(None)
        give_up_after = JOIN_S
        for thread in idle:
            if thread is not threading.current_thread() and give_up_after > 0:
                # The interpreter may be at its very end, and refuse.
                with suppress(RuntimeError):
                    thread.join(give_up_after)
                if thread.is_alive():
                    give_up_after = 0

    def alive(self) -> list[threading.Thread]:
        """Return those that have not ended."""
        return list(self._all)

    def let_go(self) -> None:
        """Cut the cycle with those who are told, if all threads have ended; none will begin."""
        if not self._all:
            self._finish = self._told = _tell_nobody

    def forget_after_fork(self) -> None:
        """Start over in a forked child, which has none of the threads."""
        self.free = []
        self._all = {}

    def _start(self, call: Call) -> None:
        name = f"tonnage-{self._name}-{next(self._numbers)}"
        # By the mailbox, as a thread keeps its arguments until it ends.
        mailbox = Mailbox()
        mailbox.put(call)
        thread = threading.Thread(target=self._work, args=(mailbox,), name=name, daemon=True)
        self._all[thread] = mailbox
        try:
            thread.start()
        except RuntimeError:
            # Not after an interrupt, which may have come after its start.
            self._all.pop(thread, None)
            raise

    def _work(self, mailbox: Mailbox) -> None:
        call = mailbox.get()
        while call is not None:
            is_ours = call.claim()
            if is_ours:
                call.execute()
            # Free again before the waiter hears of it: its next call finds this thread.
            following = self._finish(call, mailbox)
            if is_ours:
                call.tell()
                self._told()
            call = following
            del following
            if call is None:
                call = self._next(mailbox)
        self._all.pop(threading.current_thread(), None)

    def _next(self, mailbox: Mailbox) -> Call | None:
        with suppress(Empty):
            return mailbox.get(timeout=IDLE_S)
        try:
            self.free.remove(mailbox)
        except ValueError:
            # Somebody has taken it a moment ago, and hands something over, unless an interrupt came first.
            with suppress(Empty):
                return mailbox.get(timeout=IDLE_S)
            mailbox.is_left = True
            with suppress(Empty):
                return mailbox.get_nowait()
        return None


def _tell_nobody(*_: object) -> None:
    """Stand in for those who were told."""
