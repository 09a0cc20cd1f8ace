"""The end of a connection: close_notify in both directions, timeouts, and errors of the protocol."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from recorders import Recorder


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


def test_close_sends_close_notify_and_waits_for_the_peer_s(run, connect, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        transport, protocol, peer = await connect()
        transport.write(b"abc")
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        assert await peer.read(10) == b"abc"
        assert not protocol.lost.done()
        await peer.unwrap()
        assert await end(protocol) is None
        assert protocol.events == ["made", "eof", "lost"]
        assert not transport.get_extra_info("tls_truncated")

    run(main())


def test_peer_that_does_not_agree_is_left_after_the_timeout(run, connect, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        transport, protocol, peer = await connect(ssl_shutdown_timeout=0.02)
        transport.close()
        error = await end(protocol)
        assert isinstance(error, asyncio.TimeoutError)
        # On 3.10 they are two classes.
        assert isinstance(error, TimeoutError)
        assert str(error) == "SSL shutdown timed out"
        assert await peer.read(10) == b""

    run(main())


def test_peer_that_closed_and_does_not_read_is_left_after_the_timeout(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect(ssl_shutdown_timeout=0.02)
        lower = transport._ssl_protocol._transport
        while not lower.get_write_buffer_size():
            transport.write(b"x" * 65536)
            await asyncio.sleep(0)
        await peer.send(peer.close_notify())
        assert isinstance(await end(protocol), asyncio.TimeoutError)

    run(main())


def test_peer_that_closes_gets_our_close_notify(run, connect):
    async def main():
        _, protocol, peer = await connect()
        await peer.unwrap()
        assert await end(protocol) is None
        assert protocol.events == ["made", "eof", "lost"]

    run(main())


def test_what_the_peer_sent_before_close_is_delivered(run, connect, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        transport, protocol, peer = await connect()
        await peer.write(b"abc")
        await protocol.received(3)
        transport.close()
        await peer.unwrap()
        assert await end(protocol) is None
        assert protocol.data == b"abc"

    run(main())


def test_data_that_comes_after_close_ends_the_connection(run, connect, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        transport, protocol, peer = await connect()
        transport.close()
        await peer.write(b"abc")
        error = await end(protocol)
        assert error is None or "APPLICATION_DATA_AFTER_CLOSE_NOTIFY" in str(error).upper().replace(" ", "_")
        assert protocol.chunks == []

    run(main())


def test_keeping_the_connection_open_has_no_effect(run, connect, caplog):
    class Keeping(Recorder):
        def eof_received(self):
            return True

    async def main():
        _, protocol, peer = await connect(Keeping)
        await peer.send(peer.close_notify())
        assert await end(protocol) is None
        assert "returning true from eof_received() has no effect when using ssl" in caplog.text

    run(main())


def test_error_in_eof_received_is_reported(run, connect, reports, asyncio_since):
    asyncio_since(3, 11)

    class Failing(Recorder):
        def eof_received(self):
            raise LookupError("eof")

    async def main():
        _, protocol, peer = await connect(Failing)
        await peer.send(peer.close_notify())
        assert isinstance(await end(protocol), LookupError)
        assert reports[0]["message"] == "Error calling eof_received()"

    run(main())


@pytest.mark.parametrize(
    "ways", [["close", "close"], ["close", "abort"], ["abort", "close"], ["abort", "abort"]]
)
def test_transport_may_be_closed_twice(run, connect, ways, asyncio_since):
    # asyncio's lets go of the connection, and can tell nothing about it.
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        for way in ways:
            getattr(transport, way)()
        if ways == ["close", "close"]:
            assert transport.get_extra_info("ssl_object") is not None
            await peer.unwrap()
        assert await end(protocol) is None
        assert protocol.events.count("lost") == 1
        transport.close()
        transport.abort()
        transport.resume_reading()
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_read_buffer_size() == 0
        transport.set_write_buffer_limits(1)
        transport.set_read_buffer_limits(1)

    run(main())


def test_protocol_may_abort_while_the_rest_is_read(run, connect, asyncio_since):
    # asyncio reports that it cannot switch its state.
    asyncio_since()

    class Aborting(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.abort()

    async def main():
        transport, protocol, peer = await connect(Aborting)
        transport.pause_reading()
        await peer.write(b"abc")
        while not transport.get_read_buffer_size():
            await asyncio.sleep(0.001)
        transport.resume_reading()
        transport.close()
        assert await end(protocol) is None

    run(main())


def test_protocol_may_close_in_each_of_its_methods(run, connect, asyncio_since):
    asyncio_since(3, 11)

    class Closing(Recorder):
        when = "made"

        def connection_made(self, transport):
            super().connection_made(transport)
            if self.when == "made":
                transport.close()

        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"last")
            self.transport.close()

        def eof_received(self):
            super().eof_received()
            self.transport.close()

    async def main():
        for when in ("made", "data", "eof"):
            Closing.when = when
            _, protocol, peer = await connect(Closing, we_serve=True)
            if when == "data":
                await peer.write(b"abc")
                assert await peer.read(10) == b"last"
            await peer.unwrap()
            assert await end(protocol) is None

    run(main())


def test_transport_that_nobody_closed_warns(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        name = type(transport).__name__
        lower = transport._ssl_protocol._transport
        lower.abort()
        lower.set_protocol(asyncio.Protocol())
        del protocol.transport
        connect.transports.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        texts = [str(one.message) for one in caught if one.category is ResourceWarning]
        assert any("unclosed transport" in text and name in text for text in texts)

    run(main())
