"""The private side of asyncio's loop that we build on, declared once for type checkers.

At run time this is asyncio's own class, and nothing else. `_debug`, `_stopping`, `_thread_id` and the
`_add_reader` family are provided by Rust, under asyncio's names, since inherited code uses them.
"""

from __future__ import annotations

from asyncio import SelectorEventLoop
from typing import TYPE_CHECKING, Any

__all__ = ("InheritedLoop",)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Executor
    from socket import socket
    from ssl import SSLContext
    from weakref import WeakValueDictionary

    class InheritedLoop(SelectorEventLoop):
        """asyncio's loop, with the privates that we read, write or override."""

        _debug: bool
        _stopping: bool
        _thread_id: int | None
        # Open transports by descriptor, for the check that nobody else watches their sockets. sendfile()
        # takes its transport out of it for a while.
        _transports: WeakValueDictionary[int, asyncio.BaseTransport]
        _asyncgens: Any
        _default_executor: Executor | None
        _executor_shutdown_called: bool

        def _check_closed(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...  # noqa: FBT001
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: int) -> bool: ...
        def _add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
        def _remove_writer(self, fd: int) -> bool: ...
        def _ensure_fd_no_transport(self, fd: int | socket) -> None: ...
        async def _ensure_resolved(self, address: Any, **options: Any) -> list[Any]: ...
        def _make_socket_transport(
            self, sock: socket, protocol: asyncio.BaseProtocol, *args: Any, **options: Any
        ) -> asyncio.Transport: ...
        def _make_ssl_transport(
            self,
            rawsock: socket,
            protocol: asyncio.BaseProtocol,
            sslcontext: SSLContext | None,
            *args: Any,
            **options: Any,
        ) -> asyncio.Transport: ...
        def _getaddrinfo_debug(self, *args: Any) -> list[Any]: ...

else:
    InheritedLoop = SelectorEventLoop
