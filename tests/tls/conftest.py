"""Certificates, contexts, and a TLS connection whose other end the test holds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
from live_objects import all_let_go
from recorders import Recorder

from .peer import Peer


@pytest.fixture(autouse=True)
def oracle_is_the_same(loop_factory) -> None:
    """CPython 3.11 took another implementation; that of 3.10 is no oracle for ours."""
    if sys.version_info < (3, 11) and loop_factory is asyncio.SelectorEventLoop:
        pytest.skip("asyncio's TLS before 3.11 differs")


@pytest.fixture(autouse=True)
def nothing_outlives_the_test() -> Iterator[None]:
    """No object of ours is left after a test."""
    yield from all_let_go()


@dataclass
class Contexts:
    """A context for each end of a connection, made for one test."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who issues all certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority) -> trustme.LeafCert:
    """The certificate of `localhost`."""
    return authority.issue_cert("localhost")


@pytest.fixture
def contexts(authority, certificate) -> Contexts:
    """Contexts that trust each other."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Contexts(server, client)


@pytest.fixture
def connect(loop, contexts) -> Iterator[Any]:
    """Make a connection over a socket pair: its transport, its protocol, and the other end."""
    made: list[Peer] = []
    transports: list[asyncio.Transport] = []

    def peer(sock, *, we_serve=False, context=None):
        if we_serve:
            other = Peer(loop, sock, context or contexts.client, hostname="localhost")
        else:
            other = Peer(loop, sock, context or contexts.server)
        made.append(other)
        return other

    async def make(factory=Recorder, *, we_serve=False, peer_context=None, before=None, **options):
        ours, theirs = socket.socketpair()
        other = peer(theirs, we_serve=we_serve, context=peer_context)
        handshake = asyncio.ensure_future(other.handshake())
        if we_serve:
            options.setdefault("ssl", contexts.server)
            connecting = loop.connect_accepted_socket(factory, ours, **options)
        else:
            options.setdefault("ssl", contexts.client)
            options.setdefault("server_hostname", "localhost")
            connecting = loop.create_connection(factory, sock=ours, **options)
        try:
            transport, protocol = await connecting
        except BaseException:
            await asyncio.gather(handshake, return_exceptions=True)
            raise
        transports.append(transport)
        await handshake
        return transport, protocol, other

    make.transports = transports  # type: ignore[attr-defined]
    yield make
    for other in made:
        other.sock.close()
    for transport in transports:
        # asyncio's knows nothing any more when it was closed twice.
        with contextlib.suppress(AttributeError):
            if transport.get_protocol() is not None:
                transport.abort()
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    # The fixture's value outlives it.
    made.clear()
    transports.clear()
