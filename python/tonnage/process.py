"""Starts child processes, and carries their streams.

`subprocess.Popen` starts a child, our own pipe transports carry its streams, and `child_watch.py` notices
its end. The transport behaves as in CPython 3.15, Lib/asyncio/base_subprocess.py, on every version; but who
starts a child connects its pipes itself, so that no task is left when it is cancelled. (Not called
`subprocess`: that name is asyncio's.)
"""

from __future__ import annotations

import asyncio
import functools
import signal as signal_module
import subprocess
import sys
import warnings
from asyncio.log import logger
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .child_watch import ChildWatch
from .inherited import InheritedLoop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Spawning", "SubprocessTransport")


class SubprocessTransport(asyncio.SubprocessTransport):
    """A child process and its pipes."""

    # asyncio's names, which libraries read. The first three become None when `connection_lost()` was called.
    _loop: Spawning
    _protocol: asyncio.SubprocessProtocol
    _proc: subprocess.Popen[bytes] | None
    # By the child's descriptor; None until it is connected.
    _pipes: dict[int, PipeProtocol | None]
    # What the protocol hears when all pipes are connected; None after that.
    _pending_calls: list[tuple[Callable[..., object], tuple[Any, ...]]] | None
    _extra: dict[str, Any]

    def __init__(
        self,
        loop: Spawning,
        protocol: asyncio.SubprocessProtocol,
        child: subprocess.Popen[bytes],
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(extra)
        self._closed = False
        self._finished = False
        self._loop = loop
        self._protocol = protocol
        self._proc = child
        self._pid = child.pid
        self._pipes = {number: None for number, _ in self._files(child)}
        self._pending_calls = []
        self._returncode: int | None = None
        self._exit_waiters: set[asyncio.Future[int]] = set()
        self.watch = ChildWatch(loop, child, self._process_exited)
        self._extra["subprocess"] = child
        if sys.version_info < (3, 11):
            hear_of_broken_stdin(protocol)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._closed:
            info.append("closed")
        info.append(f"pid={self._pid}")
        info.append("running" if self._returncode is None else f"returncode={self._returncode}")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if pipe := self._pipes.get(number):
                info.append(f"{name}={pipe.pipe}")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if not self._closed:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.close()

    def get_pid(self) -> int:
        """Return the child's process id."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Return the child's exit status, or None if it has not ended."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """Return the transport of a pipe: 0 is stdin, 1 stdout, 2 stderr."""
        found = self._pipes.get(fd)
        return found.pipe if found is not None else None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set a new protocol."""
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Return True if the transport is closed."""
        return self._closed

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child, unless it has ended."""
        if self._proc is None:
            raise ProcessLookupError
        # Popen's own method would reap the child, and hide its exit status from the watch.
        if self._returncode is None:
            with suppress(ProcessLookupError):
                self.watch.send_signal(signal)

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
        if self._proc is None:
            return
        for number, file in self._files(self._proc):
            pipe = self.get_pipe_transport(number)
            # Pipes of a closed loop can no longer be closed through it (gh-114177).
            if pipe is None or self._loop.is_closed():
                file.close()
            else:
                pipe.close()
        if self._returncode is not None or self._proc.poll() is not None:
            return
        if self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        # It may have ended meanwhile, or run under another user.
        with suppress(ProcessLookupError, PermissionError):
            self._proc.kill()

    @staticmethod
    def _files(child: subprocess.Popen[bytes]) -> list[tuple[int, Any]]:
        files = enumerate((child.stdin, child.stdout, child.stderr))
        return [(number, file) for number, file in files if file is not None]

    async def connect_pipes(self, child: subprocess.Popen[bytes]) -> None:
        """Connect the pipes, then tell the protocol of the child."""
        loop = self._loop
        for number, file in self._files(child):
            connect = loop.connect_write_pipe if file is child.stdin else loop.connect_read_pipe
            _, self._pipes[number] = await connect(functools.partial(PipeProtocol, self, number), file)
        loop.call_soon(self._protocol.connection_made, self)
        pending, self._pending_calls = self._pending_calls, None
        for callback, args in pending or ():
            loop.call_soon(callback, *args)
        # The protocol knows when the caller goes on.
        connected: asyncio.Future[None] = loop.create_future()
        loop.call_soon(set_unless_done, connected)
        await connected

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        if self._pending_calls is None:
            self._loop.call_soon(callback, *args)
        else:
            self._pending_calls.append((callback, args))

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        self._call(self._protocol.pipe_data_received, fd, data)

    def _pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._call(self._protocol.pipe_connection_lost, fd, exc)
        self._try_finish()

    def _process_exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        if self._proc is not None and self._proc.returncode is None:
            # So that Popen asks no more.
            self._proc.returncode = returncode
        self._call(self._protocol.process_exited)
        self._try_finish()
        # At once, and not when the pipes are closed: a grandchild may hold them (gh-119710).
        for waiter in self._exit_waiters:
            if not waiter.done():
                waiter.set_result(returncode)
        self._exit_waiters.clear()

    async def _wait(self) -> int:
        if self._returncode is not None:
            return self._returncode
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._exit_waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._exit_waiters.discard(waiter)

    def _try_finish(self) -> None:
        if self._returncode is None or self._finished:
            return
        if all(pipe is not None and pipe.disconnected for pipe in self._pipes.values()):
            self._finished = True
            self._call(self._call_connection_lost, None)

    def _call_connection_lost(self, exc: Exception | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._loop = self._protocol = self._proc = None  # type: ignore[assignment]


class PipeProtocol(asyncio.Protocol):
    """What one pipe tells its subprocess transport."""

    def __init__(self, transport: SubprocessTransport, fd: int) -> None:
        self._transport = transport
        self._fd = fd
        self.pipe: asyncio.BaseTransport | None = None
        self.disconnected = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._fd} pipe={self.pipe!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the pipe's transport."""
        self.pipe = transport

    def data_received(self, data: bytes) -> None:
        """Pass on what the child has written."""
        self._transport._pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the pipe has ended."""
        self.disconnected = True
        self._transport._pipe_connection_lost(self._fd, exc)

    def pause_writing(self) -> None:
        """Pass on that the child does not read what is written."""
        self._transport.get_protocol().pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the child reads again."""
        self._transport.get_protocol().resume_writing()


def hear_of_broken_stdin(protocol: asyncio.BaseProtocol) -> None:
    """Report a broken pipe to nobody who does not await `stdin.wait_closed()`, as asyncio from 3.11 on."""
    stdin_closed: asyncio.Future[None] | None = getattr(protocol, "_stdin_closed", None)
    if stdin_closed is not None:
        stdin_closed.add_done_callback(lambda closed: closed.cancelled() or closed.exception())


def set_unless_done(future: asyncio.Future[None]) -> None:
    """Set the result of a future that may have been cancelled."""
    if not future.done():
        future.set_result(None)


def start_child(args: Any, **options: Any) -> subprocess.Popen[bytes]:
    """Start a child process.

    The loop waits until the child has called exec(), for errors to be raised here. Python starts it by
    vfork() where it can, so that this does not take longer in a large process: 0.2 ms with 500 MB.
    """
    # What is run is the caller's business.
    return subprocess.Popen(  # noqa: S603
        args, universal_newlines=False, text=False, encoding=None, errors=None, **options
    )


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
        **options: Any,
    ) -> SubprocessTransport:
        self._check_closed()
        child = start_child(
            args, bufsize=bufsize, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, **options
        )
        transport = SubprocessTransport(self, protocol, child, extra)
        if self._debug:
            program = args if isinstance(args, (bytes, str)) else args[0]
            logger.debug("process %r created: pid %s", program, child.pid)
        try:
            transport.watch.start()
        except BaseException:
            # There is no pidfd to be had, and no thread.
            transport.close()
            child.wait()
            raise
        try:
            await transport.connect_pipes(child)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            # No zombie is left. Who is cancelled again leaves that to the watch.
            await transport._wait()
            raise
        return transport
