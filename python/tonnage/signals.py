"""Signals: asyncio's handlers, and the end of the loop's wait, through Python's own wakeup descriptor.

Python's C handler writes the signal's number into a pipe, which the loop watches like any descriptor; the
callback then runs as an ordinary callback of the loop. The pipe holds 65,536 signals, where asyncio's pair of
sockets holds some hundreds. Only the main thread may add handlers.

A loop that runs in the main thread has the pipe in any case, unless the program has a wakeup descriptor of
its own: a handler of `signal.signal()` runs at once also if its signal comes right before the loop goes to
sleep, or to another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import threading
import warnings
from asyncio import coroutines
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from .inherited import InheritedLoop

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ("Signalling",)


# asyncio's own question, which also knows the functions that asyncio has marked; public before 3.14.
_is_coroutine_function: Callable[[object], bool] = getattr(
    coroutines, "_iscoroutinefunction", coroutines.iscoroutinefunction
)


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """Stand in for a Python handler, so that the C handler runs and writes into the pipe."""


def _default_handler(signum: int) -> Any:
    return signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL


class Signalling(InheritedLoop):
    """The part of the event loop that handles signals."""

    _signal_handlers: dict[int, asyncio.Handle]
    # The reading and the writing end; None until one is needed.
    _signal_pipe: tuple[int, int] | None
    # Whether the wakeup descriptor may be the pipe's since the loop runs.
    _is_hearing: bool
    # Whether the program was seen to have one of its own.
    _is_overruled: bool

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call `callback(*args)` in the loop whenever the process gets the signal `sig`."""
        target: Any = callback
        if asyncio.iscoroutine(target) or _is_coroutine_function(target):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            # Outside the main thread this fails, before anything has changed.
            signal.set_wakeup_fd(self._open_signal_pipe())
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        # What has come before is not for this handler.
        self._read_signals()

        self._signal_handlers[sig] = asyncio.Handle(callback, args, self, None)
        try:
            signal.signal(sig, _do_nothing)
            # System calls go on after the signal, where they can.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._release_wakeup_fd()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of the signal `sig`, and tell whether there was one."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        try:
            signal.signal(sig, _default_handler(sig))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise
        self._release_wakeup_fd()
        return True

    def _check_signal(self, sig: int) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")

    def _prepare_for_signals(self) -> None:
        """Have the pipe; part of making the loop. If there are no descriptors, a run is the next chance."""
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(OSError):
                self._open_signal_pipe()

    def _begin_hearing_signals(self) -> None:
        """Let signals end the loop's wait; part of running it."""
        if self._is_overruled or threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(OSError):
            ours = self._open_signal_pipe()
            self._is_hearing = True
            self._set_wakeup_fd(ours)

    def _end_hearing_signals(self) -> None:
        if self._is_hearing and not self._signal_handlers:
            self._set_wakeup_fd(-1)
        self._is_hearing = False

    def _set_wakeup_fd(self, fd: int) -> None:
        """Set the wakeup descriptor, where it is ours or there is none: that of the program stays."""
        assert self._signal_pipe is not None
        # ValueError: Python's "main" thread is another one, as in an embedding program. A pipe that is full
        # wakes the loop all the same, and is told to nobody who did not ask for its bytes.
        with contextlib.suppress(ValueError, OSError):
            found = signal.set_wakeup_fd(fd, warn_on_full_buffer=bool(self._signal_handlers))
            if found not in (-1, self._signal_pipe[1]):
                self._is_overruled = True
                signal.set_wakeup_fd(found, warn_on_full_buffer=False)

    def _open_signal_pipe(self) -> int:
        """Return the writing end."""
        if self._signal_pipe is None:
            reading, writing = os.pipe()
            os.set_blocking(reading, False)
            os.set_blocking(writing, False)
            try:
                self._add_reader(reading, self._read_signals)
            except OSError:
                os.close(reading)
                os.close(writing)
                raise
            self._signal_pipe = (reading, writing)
        return self._signal_pipe[1]

    def _read_signals(self) -> None:
        if self._signal_pipe is None:
            return
        while True:
            try:
                numbers = os.read(self._signal_pipe[0], 4096)
            except BlockingIOError:
                return
            if not numbers:
                return
            for signum in numbers:
                self._handle_signal(signum)

    def _handle_signal(self, sig: int) -> None:
        handle = self._signal_handlers.get(sig)
        if handle is None:
            # It was removed after the signal had come.
            return
        if handle.cancelled():
            self.remove_signal_handler(sig)
        else:
            self._add_callback_signalsafe(handle)

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None:
        self.call_soon(handle._callback, *handle._args, context=handle._context)  # type: ignore[attr-defined]

    def _release_wakeup_fd(self) -> None:
        if self._signal_handlers or self._is_hearing:
            return
        try:
            signal.set_wakeup_fd(-1)
        except (ValueError, OSError) as error:
            logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _close_signals(self) -> None:
        """Give the signals back; part of closing the loop."""
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    "skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=1,
                    source=self,
                )
                self._signal_handlers.clear()
        else:
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)

    def _close_signal_pipe(self) -> None:
        """Close it; for a loop that is open, or that watches nothing any more."""
        # An exception may have kept the end of a run from doing so.
        self._end_hearing_signals()
        if self._signal_pipe is not None:
            reading, writing = self._signal_pipe
            self._signal_pipe = None
            self._remove_reader(reading)
            os.close(reading)
            os.close(writing)

    def _forget_signals_after_fork(self) -> None:
        """Give a forked child the default handlers: the loop that would run ours is not there."""
        handlers, self._signal_handlers = self._signal_handlers, {}
        self._is_hearing = self._is_hearing or bool(handlers)
        self._end_hearing_signals()
        for sig in handlers:
            if signal.getsignal(sig) is _do_nothing:
                signal.signal(sig, _default_handler(sig))
