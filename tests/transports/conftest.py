"""The connection that a test of transports talks over."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .peer import Recorder


@pytest.fixture
def connect(loop):
    """Make a connection over a socket pair: its transport, its protocol, and the peer's socket."""
    peers = []
    transports = []

    async def make(factory=Recorder, family="unix"):
        if family == "unix":
            ours, peer = socket.socketpair()
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
            listener.close()
        peers.append(peer)
        peer.settimeout(5)
        transport, protocol = await loop.create_connection(factory, sock=ours)
        transports.append(transport)
        return transport, protocol, peer

    yield make
    for peer in peers:
        peer.close()
    if not loop.is_closed():
        for transport in transports:
            if transport.get_protocol() is not None:
                transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
