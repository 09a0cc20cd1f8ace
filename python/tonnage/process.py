"""Starts child processes, and notices when they end.

`subprocess.Popen` starts a child; asyncio's pipe transports carry its streams. Its end is noticed through
a pidfd, watched like any descriptor, or by a thread where the kernel has none. asyncio's child watchers
and policies are not involved on any version, so it works in every thread. The transport behaves as in
CPython 3.15, Lib/asyncio/base_subprocess.py. (Not called `subprocess`: that name is asyncio's.)
"""

from __future__ import annotations

import asyncio
import os
import signal as signal_module
import threading
from asyncio import unix_events
from asyncio.log import logger
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .inherited import InheritedLoop

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ("ChildWatch", "Spawning", "SubprocessTransport")


class SubprocessTransport(unix_events._UnixSubprocessTransport):  # type: ignore[misc,name-defined]
    """A child process and its pipes."""

    _closed: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._exit_futures: set[asyncio.Future[int]] = set()
        super().__init__(*args, **kwargs)

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child, unless it has ended."""
        self._check_proc()
        # Popen's own method would reap the child, and hide its exit status from the watch.
        if self._returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._proc.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM to the child."""
        self.send_signal(signal_module.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child."""
        self.send_signal(signal_module.SIGKILL)

    def close(self) -> None:
        """Close the pipes, and kill the child if it still runs."""
        if self._closed:
            return
        self._closed = True
        # Pipes of a closed loop can no longer be closed through it (gh-114177).
        if self._loop is not None and not self._loop.is_closed():
            for pipe_protocol in self._pipes.values():
                if pipe_protocol is not None:
                    pipe_protocol.pipe.close()
        if self._proc is None or self._returncode is not None or self._proc.poll() is not None:
            return
        if self._loop is not None and self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        # It may have ended meanwhile, or run under another user.
        with suppress(ProcessLookupError, PermissionError):
            self._proc.kill()

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        child = self._proc
        await super()._connect_pipes(waiter)
        if self._pending_calls is None:
            return
        # It failed, or was cancelled: no pipe may be left.
        for pipe_protocol in self._pipes.values():
            if pipe_protocol is not None:
                pipe_protocol.pipe.close()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        # At once, and not when the pipes are closed: a grandchild may hold them (gh-119710).
        for future in self._exit_futures:
            if not future.done():
                future.set_result(returncode)
        self._exit_futures.clear()

    async def _wait(self) -> int:
        if self._returncode is None:
            future: asyncio.Future[int] = self._loop.create_future()
            self._exit_futures.add(future)
            try:
                return await future
            finally:
                self._exit_futures.discard(future)
        returncode: int = self._returncode
        return returncode


class ChildWatch:
    """Waits for the end of one child, reaps it, and tells its transport."""

    def __init__(self, loop: Spawning, transport: SubprocessTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._child: Popen[bytes] = transport._proc
        self._pidfd: int | None = None

    def start(self) -> None:
        """Begin to wait."""
        self._loop._child_watches.add(self)
        if not self._watch_pidfd():
            thread = threading.Thread(
                target=self._wait_in_thread, name=f"tonnage-waitpid-{self._child.pid}", daemon=True
            )
            thread.start()

    def stop(self) -> None:
        """Stop waiting, and leave the child to itself."""
        self._loop._child_watches.discard(self)
        if self._pidfd is not None:
            pidfd, self._pidfd = self._pidfd, None
            self._loop._remove_reader(pidfd)
            os.close(pidfd)

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
        except OSError:
            os.close(pidfd)
            return False
        self._pidfd = pidfd
        return True

    def _child_ended(self) -> None:
        self.stop()
        self._transport._process_exited(self._reap())

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


class Spawning(InheritedLoop):
    """The part of the event loop that starts child processes."""

    # The watches of the children that run.
    _child_watches: set[ChildWatch]

    async def _make_subprocess_transport(  # noqa: PLR0917
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,  # noqa: FBT001
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SubprocessTransport:
        waiter: asyncio.Future[None] = self.create_future()
        transport = SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        ChildWatch(self, transport).start()
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            # No zombie is left, even if the caller is cancelled twice.
            await asyncio.shield(transport._wait())
            raise
        return transport
