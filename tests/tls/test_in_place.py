"""OpenSSL reached without the methods of `ssl`, where it can be. That is to change nothing."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import os
import ssl

import pytest
from recorders import BIG

IS_OFF = os.environ.get("TONNAGE_TLS_IN_PLACE") == "0"


def is_reachable() -> bool:
    """Is OpenSSL a library, and no part of `_ssl` or of the interpreter?"""
    path = getattr(_ssl, "__file__", None)
    return path is not None and hasattr(ctypes.CDLL(path), "SSL_read_ex")


def is_in_place(transport):
    return transport._ssl_protocol._is_in_place


@pytest.mark.skipif(IS_OFF or not is_reachable(), reason="OpenSSL cannot be reached")
def test_openssl_is_reached(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, _ = await connect()
        assert is_in_place(transport)

    run(main())


def test_contexts_with_a_callback_are_used_by_the_methods(run, connect, contexts, asyncio_since):
    """Only these tell of its exceptions."""
    asyncio_since()

    async def main():
        contexts.client._msg_callback = lambda *details: None
        transport, _, peer = await connect()
        assert not is_in_place(transport)
        transport.write(BIG)
        assert await peer.read(len(BIG)) == BIG

    run(main())


def test_contexts_of_other_classes_are_used_by_the_methods(run, connect, contexts, asyncio_since):
    asyncio_since()

    class Object(ssl.SSLObject):
        pass

    async def main():
        contexts.client.sslobject_class = Object
        transport, protocol, peer = await connect()
        assert not is_in_place(transport)
        await peer.write(b"data")
        await protocol.received(4)
        transport.write(BIG)
        assert await peer.read(len(BIG)) == BIG

    run(main())


@pytest.mark.skipif(IS_OFF or not is_reachable(), reason="OpenSSL cannot be reached")
def test_nobody_else_can_write_to_what_openssl_reads_from(run, connect, contexts, asyncio_since):
    """It may lie where OpenSSL must not move it."""
    asyncio_since()

    async def main():
        def tell(*details):
            if made:
                try:
                    made[0]._incoming.write(b"x" * 100_000)
                except ssl.SSLError as error:
                    refused.append(error.reason)

        made: list = []
        refused: list[str] = []
        contexts.client._msg_callback = tell
        transport, protocol, peer = await connect()
        made.append(transport._ssl_protocol)
        await peer.write(b"a" * 16_000, b"b" * 16_000, b"c")
        await protocol.received(32_001)
        assert set(refused) == {"WRITE_TO_READ_ONLY_BIO"}
        assert protocol.data == b"a" * 16_000 + b"b" * 16_000 + b"c"
        made.clear()
        contexts.client._msg_callback = None

    run(main())


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 1, 64 * 1024, 128 * 1024, 128 * 1024 + 1, 400_000])
def test_writes_of_any_size_arrive_whole_and_in_order(run, connect, size):
    async def main():
        transport, _, peer = await connect()
        data = [BIG[:size], b"small", BIG[size : 2 * size], b"end"]
        for piece in data:
            transport.write(piece)
        assert await peer.read(2 * size + 8) == b"".join(data)
        # More than the socket takes, so that a part of it waits.
        transport.writelines([BIG, *data])
        assert await peer.read(len(BIG) + 2 * size + 8) == BIG + b"".join(data)

    run(main())


def test_changed_record_ends_the_connection_after_the_records_before_it(run, connect):
    async def main():
        _, protocol, peer = await connect()
        await peer.write(b"before")
        await protocol.received(6)
        changed = bytearray(peer.encrypt(b"changed"))
        changed[-1] ^= 1
        await peer.send(bytes(changed))
        error = await asyncio.wait_for(protocol.lost, 5)
        assert isinstance(error, ssl.SSLError)
        # As OpenSSL calls it; the third name is that of 3.6.
        assert error.reason in {
            "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
            "BAD_RECORD_MAC",
            "RECORD_LAYER_FAILURE",
        }
        assert protocol.data == b"before"

    run(main())
