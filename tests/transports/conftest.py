"""The connection that a test of transports talks over."""

from __future__ import annotations

import asyncio
import socket

import pytest
from recorders import Recorder

from .peer import Datagrams


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


@pytest.fixture
def endpoint(loop):
    """Make a datagram endpoint, by default on a port of IPv4: its transport and its protocol."""
    transports = []

    async def make(factory=Datagrams, **options):
        if not options:
            options = {"local_addr": ("127.0.0.1", 0)}
        transport, protocol = await loop.create_datagram_endpoint(factory, **options)
        transports.append(transport)
        return transport, protocol

    yield make
    if not loop.is_closed():
        for transport in transports:
            if transport.get_protocol() is not None:
                transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def datagram_pair(endpoint):
    """Make an endpoint, and the plain socket that it is connected to."""
    peers = []

    async def make(factory=Datagrams, family="unix"):
        if family == "unix":
            ours, peer = socket.socketpair(type=socket.SOCK_DGRAM)
        else:
            ours, peer = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
            for sock in (ours, peer):
                sock.bind(("127.0.0.1", 0))
            ours.connect(peer.getsockname())
            peer.connect(ours.getsockname())
        peers.append(peer)
        peer.settimeout(5)
        transport, protocol = await endpoint(factory, sock=ours)
        return transport, protocol, peer

    yield make
    for peer in peers:
        peer.close()
