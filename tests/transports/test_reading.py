"""Stream transports: reading, half-closed connections, and errors of the protocol."""

from __future__ import annotations

import asyncio
import socket

import pytest
from recorders import BIG, Lending, Recorder

from .peer import receive, until


@pytest.mark.parametrize("size", [1, 1024, 65536, len(BIG)])
@pytest.mark.parametrize("factory", [Recorder, lambda: Lending(40_000)])
def test_bytes_arrive_as_they_were_sent(run, connect, loop, size, factory):
    async def main():
        _, protocol, peer = await connect(factory)
        data = BIG[:size]
        await loop.run_in_executor(None, peer.sendall, data)
        await until(lambda: len(protocol.data) >= size)
        assert protocol.data == data

    run(main())


def test_buffered_protocol_is_asked_for_memory_of_any_size(run, connect):
    async def main():
        _, protocol, peer = await connect(Lending)
        peer.send(b"x" * 20)
        assert await protocol.received(20) == b"x" * 20
        assert protocol.hints == [-1, -1]

    run(main())


def test_paused_transport_does_not_read(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        peer.send(b"x")
        await asyncio.sleep(0.01)
        assert protocol.data == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await until(lambda: protocol.data == b"x")
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()

    run(main())


def test_pausing_takes_effect_within_the_turn(run, connect):
    async def main():
        first, first_protocol, first_peer = await connect()
        second, second_protocol, second_peer = await connect()
        await asyncio.sleep(0)
        # Both are readable in one turn, and whoever comes first stops the other.
        first_protocol.data_received = lambda data: (seen.append(data), second.pause_reading())
        second_protocol.data_received = lambda data: (seen.append(data), first.pause_reading())
        seen = []
        first_peer.send(b"1")
        second_peer.send(b"2")
        await asyncio.sleep(0.01)
        assert len(seen) == 1

    run(main())


def test_end_of_stream_closes(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        peer.close()
        assert await protocol.lost is None
        assert protocol.events == ["made", "eof", "lost"]
        assert transport.is_closing()

    run(main())


def test_protocol_can_keep_a_half_closed_connection(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect(lambda: Recorder(keep_open=True))
        peer.shutdown(socket.SHUT_WR)
        await protocol.ended
        await asyncio.sleep(0.01)
        assert not transport.is_closing()
        assert protocol.events == ["made", "eof"]
        transport.write(b"answer")
        assert await receive(loop, peer, 6) == b"answer"

    run(main())


def test_reset_ends_the_connection_without_a_report(run, connect):
    async def main():
        _, protocol, peer = await connect(family="tcp")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert protocol.events == ["made", "lost"]

    run(main())


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_error_in_protocol_is_fatal(run, connect, reports, method):
    error = ValueError("no")

    async def main():
        transport, protocol, peer = await connect()

        def fail(*args):
            raise error

        setattr(protocol, method, fail)
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        assert await protocol.lost is error
        (report,) = reports
        assert report == {
            "message": f"Fatal error: protocol.{method}() call failed.",
            "exception": error,
            "transport": transport,
            "protocol": protocol,
        }

    run(main())


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("get_buffer", "Fatal error: protocol.get_buffer() call failed."),
        ("buffer_updated", "Fatal error: protocol.buffer_updated() call failed."),
    ],
)
def test_error_in_buffered_protocol_is_fatal(run, connect, reports, method, text):
    async def main():
        _, protocol, peer = await connect(Lending)

        def fail(number):
            raise ValueError("no")

        setattr(protocol, method, fail)
        peer.send(b"x")
        assert isinstance(await protocol.lost, ValueError)

    run(main())
    assert [report["message"] for report in reports] == [text]


@pytest.mark.parametrize(
    ("buffer", "error", "message"),
    [
        (bytearray(), RuntimeError, "Fatal error: protocol.get_buffer() call failed."),
        (None, TypeError, "Fatal error: protocol.get_buffer() call failed."),
        (b"read only", TypeError, "Fatal read error on socket transport"),
        (memoryview(bytearray(4))[::2], TypeError, "Fatal read error on socket transport"),
    ],
)
def test_bad_buffer_is_fatal(run, connect, reports, buffer, error, message):
    async def main():
        _, protocol, peer = await connect(Lending)
        protocol.get_buffer = lambda sizehint: buffer
        peer.send(b"x")
        assert isinstance(await protocol.lost, error)

    run(main())
    assert [report["message"] for report in reports] == [message]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exit_in_protocol_leaves_the_loop(loop, run, connect, error):
    async def prepare():
        transport, protocol, peer = await connect()

        def fail(data):
            transport.write(b"last words")
            raise error

        protocol.data_received = fail
        return peer

    peer = run(prepare())
    peer.send(b"x")
    with pytest.raises(error):
        loop.run_forever()
    assert peer.recv(100) == b"last words"
