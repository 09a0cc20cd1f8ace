"""Makes the transports that `connect_read_pipe` and `connect_write_pipe` return.

These two are asyncio's own, and run once per pipe; the bytes go through Rust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _tonnage
from .inherited import InheritedLoop

if TYPE_CHECKING:
    import asyncio

__all__ = ("Piping",)


class Piping(InheritedLoop):
    """The part of the event loop that reads from pipes and writes into them."""

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.ReadTransport:
        self._check_closed()
        return _tonnage.ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.WriteTransport:
        self._check_closed()
        return _tonnage.WritePipeTransport(self, pipe, protocol, waiter, extra)
