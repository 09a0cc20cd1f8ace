"""Notices when a child process ends, and reaps it.

A pidfd is watched like any descriptor; where the kernel has none, a thread waits. There is no handler of
SIGCHLD, and asyncio's child watchers and policies are not involved on any version, so it works in every
thread.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from asyncio.log import logger
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from .process import Spawning

__all__ = ("ChildWatch",)


class ChildWatch:
    """Waits for the end of one child, reaps it, and tells its transport."""

    def __init__(self, loop: Spawning, child: Popen[bytes], ended: Callable[[int], None]) -> None:
        self._loop = loop
        self._child = child
        self._ended = ended
        self._pidfd: int | None = None

    def start(self) -> None:
        """Begin to wait.

        Raises:
            RuntimeError: There is no pidfd to be had, and no thread.
        """
        if not self._watch_pidfd():
            name = f"tonnage-waitpid-{self._child.pid}"
            threading.Thread(target=self._wait_in_thread, name=name, daemon=True).start()
        self._loop._child_watches.add(self)

    def stop(self) -> None:
        """Stop waiting, and leave the child to itself."""
        self._loop._child_watches.discard(self)
        if self._pidfd is not None:
            pidfd, self._pidfd = self._pidfd, None
            self._loop._remove_reader(pidfd)
            os.close(pidfd)

    def send_signal(self, number: int) -> None:
        """Send a signal to the child, and by no means to another process that was given its pid.

        Raises:
            ProcessLookupError: The child has ended, and was reaped.
        """
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except OSError as error:
                # A sandbox may know the one call and not the other.
                if error.errno != errno.ENOSYS:
                    raise
            else:
                return
        os.kill(self._child.pid, number)

    def forget_after_fork(self) -> None:
        """Close the copy of the descriptor in a forked child; its loop is gone."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _watch_pidfd(self) -> bool:
        try:
            pidfd = os.pidfd_open(self._child.pid)
        except (AttributeError, OSError):
            # No pidfd on this platform, in this sandbox, or at this moment.
            return False
        try:
            self._loop._add_reader(pidfd, self._child_ended)
        except BaseException as error:
            os.close(pidfd)
            if isinstance(error, OSError):
                return False
            raise
        self._pidfd = pidfd
        return True

    def _child_ended(self) -> None:
        self.stop()
        self._ended(self._reap())

    def _reap(self) -> int:
        if self._child.returncode is not None:
            # Someone asked Popen, which remembers the status.
            return self._child.returncode
        try:
            _, status = os.waitpid(self._child.pid, 0)
        except ChildProcessError:
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", self._child.pid
            )
            return 255
        try:
            return os.waitstatus_to_exitcode(status)
        except ValueError:
            return status

    def _wait_in_thread(self) -> None:
        # The child stays a zombie until the loop's thread reaps it, so its pid cannot be reused meanwhile.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        try:
            self._loop.call_soon_threadsafe(self._child_ended)
        except RuntimeError:
            # The loop was closed meanwhile.
            self._reap()
            logger.warning("Loop %r that handles pid %r is closed", self._loop, self._child.pid)
