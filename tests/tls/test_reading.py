"""Reading: records in, `data_received` out; flow control, and the ends of a stream."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

import pytest
from recorders import BIG, Lending, Recorder


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


async def settle():
    """Let come what was sent."""
    await asyncio.sleep(0.002)


def test_records_that_came_together_are_handed_over_together(run, connect):
    async def main():
        _, protocol, peer = await connect()
        await peer.write(b"ab", b"c", b"def")
        assert await protocol.received(6) == b"abcdef"
        assert protocol.chunks == [b"abcdef"]

    run(main())


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1])
def test_data_of_any_size_arrives(run, connect, size):
    async def main():
        _, protocol, peer = await connect()
        sent = BIG[:size]
        await peer.write(sent[: 16 * 1024], *([sent[16 * 1024 :]] if size > 16 * 1024 else []))
        assert await protocol.received(size) == sent

    run(main())


def test_many_records_of_one_byte_arrive(run, connect):
    async def main():
        _, protocol, peer = await connect()
        await peer.write(*[b"x"] * 500)
        assert await protocol.received(500) == b"x" * 500

    run(main())


def test_record_that_comes_in_pieces_is_handed_over_when_it_is_whole(run, connect):
    async def main():
        _, protocol, peer = await connect()
        record = peer.encrypt(b"in one piece")
        for place in range(len(record)):
            assert protocol.chunks == []
            await peer.send(record[place : place + 1])
            await settle()
        assert protocol.chunks == [b"in one piece"]

    run(main())


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("size", [999, 16_384, 16_406, 50_000, 200_000])
def test_records_arrive_wherever_the_stream_is_cut(run, connect, contexts, version, size):
    lengths = [1, 16_384, 5, 0, 16_384, 16_384, 300, 10_000, 16_383, 2, 16_384]

    async def main():
        contexts.client.maximum_version = ssl.TLSVersion[version]
        _, protocol, peer = await connect()
        sent, place = [], 0
        for length in lengths:
            sent.append(BIG[place : place + length])
            place += length
        stream = peer.encrypt(*sent)
        for start in range(0, len(stream), size):
            await peer.send(stream[start : start + size])
            await settle()
        assert await protocol.received(place) == BIG[:place]
        assert b"" not in protocol.chunks
        assert len(protocol.chunks) <= len(stream) // size + 1

    run(main())


def test_records_without_data_are_not_handed_over(run, connect, contexts):
    async def main():
        contexts.server.num_tickets = 5
        transport, protocol, peer = await connect()
        await settle()
        # The tickets came together, after the handshake.
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert protocol.chunks == []
        await peer.write(b"abc")
        assert await protocol.received(3) == b"abc"

    run(main())


def test_what_is_no_record_ends_the_connection(run, connect):
    async def main():
        _, protocol, peer = await connect()
        await peer.write(b"abc", b"def")
        assert await protocol.received(6) == b"abcdef"
        await peer.send(peer.encrypt(b"gh", b"i") + b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await end(protocol), ssl.SSLError)
        # As in asyncio, what came with it is lost.
        assert protocol.data == b"abcdef"

    run(main())


@pytest.mark.parametrize("wrong", [b"\x17\x03\x03\xff\xff", b"\x17\x02\x00\x00\x05", b"\x80\x2e\x01\x03\x01"])
def test_header_that_nobody_may_send_ends_the_connection_at_once(run, connect, wrong):
    async def main():
        _, protocol, peer = await connect()
        await peer.send(wrong)
        assert isinstance(await end(protocol), ssl.SSLError)

    run(main())


def test_large_stream_arrives_whole(run, connect):
    async def main():
        _, protocol, peer = await connect()
        for place in range(0, len(BIG), 64 * 1024):
            chunks = [BIG[place + part : place + part + 16384] for part in range(0, 65536, 16384)]
            await peer.write(*chunks)
        assert await protocol.received(len(BIG)) == BIG

    run(main())


@pytest.mark.parametrize("size", [1, 7, 16, 100])
def test_buffered_protocol_is_filled(run, connect, size):
    async def main():
        _, protocol, peer = await connect(lambda: Lending(size))
        await peer.write(b"a" * 16, b"b" * 3, b"c" * 40)
        assert await protocol.received(59) == b"a" * 16 + b"b" * 3 + b"c" * 40

    run(main())


def test_buffered_protocol_may_lend_a_bytearray(run, connect, asyncio_since):
    # asyncio reads into a copy of its rest.
    asyncio_since()

    class Plain(Lending):
        def get_buffer(self, _sizehint):
            return self.memory

    async def main():
        _, protocol, peer = await connect(lambda: Plain(64))
        await peer.write(b"abc", b"def")
        assert await protocol.received(6) == b"abcdef"
        # Nobody holds its memory.
        protocol.memory.clear()

    run(main())


def test_buffered_protocol_that_lends_nothing_is_an_error(run, connect, reports, asyncio_since):
    # asyncio takes it for the end of the stream.
    asyncio_since()

    async def main():
        _, protocol, peer = await connect(lambda: Lending(0))
        await peer.write(b"abc")
        assert isinstance(await end(protocol), RuntimeError)
        assert str(reports[0]["exception"]) == "get_buffer() returned an empty buffer"

    run(main())


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_error_of_a_buffered_protocol_ends_the_connection(run, connect, reports, method, asyncio_since):
    if method == "get_buffer":
        # asyncio asks for memory before anything has come.
        asyncio_since()

    class Failing(Lending):
        pass

    def fail(*_):
        raise LookupError(method)

    setattr(Failing, method, fail)

    async def main():
        _, protocol, peer = await connect(Failing)
        await peer.write(b"abc")
        assert isinstance(await end(protocol), LookupError)
        assert [report["message"] for report in reports] == ["Fatal error on SSL protocol"]

    run(main())


def test_error_in_data_received_ends_the_connection(run, connect, reports):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise LookupError("data")

    async def main():
        transport, protocol, peer = await connect(Failing)
        await peer.write(b"abc")
        assert isinstance(await end(protocol), LookupError)
        assert [report["message"] for report in reports] == ["Fatal error on SSL protocol"]
        assert reports[0]["protocol"] is transport._ssl_protocol

    run(main())


def test_cancelled_error_in_data_received_ends_the_connection(run, connect, reports):
    class Failing(Recorder):
        def data_received(self, data):
            raise asyncio.CancelledError

    async def main():
        _, protocol, peer = await connect(Failing)
        await peer.write(b"abc")
        assert isinstance(await end(protocol), asyncio.CancelledError)

    run(main())


def test_paused_protocol_gets_nothing_until_it_resumes(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        await peer.write(b"abc")
        await settle()
        assert protocol.chunks == []
        transport.resume_reading()
        transport.resume_reading()
        assert protocol.chunks == []
        assert await protocol.received(3) == b"abc"

    run(main())


def test_transport_below_is_paused_while_too_much_is_unread(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        lower = transport._ssl_protocol._transport
        transport.set_read_buffer_limits(high=4096, low=1024)
        assert transport.get_read_buffer_limits() == (1024, 4096)
        transport.pause_reading()
        await peer.write(b"x" * 3000)
        await settle()
        assert lower.is_reading()
        await peer.write(b"y" * 3000)
        await settle()
        assert not lower.is_reading()
        unread = transport.get_read_buffer_size()
        assert unread > 6000
        await peer.write(b"z" * 3000)
        await settle()
        assert transport.get_read_buffer_size() == unread
        transport.resume_reading()
        assert await protocol.received(9000) == b"x" * 3000 + b"y" * 3000 + b"z" * 3000
        assert lower.is_reading()

    run(main())


def test_beginning_of_a_record_is_not_unread(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        transport.set_read_buffer_limits(high=10, low=1)
        await peer.write(b"abc")
        await protocol.received(3)
        record = peer.encrypt(b"def" * 1000)
        await peer.send(record[:2000])
        await settle()
        # Else its end would never come.
        assert transport.get_read_buffer_size() == 0
        assert transport._ssl_protocol._transport.is_reading()
        await peer.send(record[2000:])
        assert await protocol.received(3003) == b"abc" + b"def" * 1000

    run(main())


def test_record_may_end_after_the_protocol_paused_and_resumed(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        first, second, third = (peer.encrypt(part) for part in (b"abc", b"def", b"ghi"))
        await peer.send(first + second[:9])
        await protocol.received(3)
        transport.pause_reading()
        await peer.send(second[9:] + third[:9])
        await settle()
        assert protocol.data == b"abc"
        assert transport.get_read_buffer_size() > 0
        transport.resume_reading()
        assert await protocol.received(6) == b"abcdef"
        await peer.send(third[9:])
        assert await protocol.received(9) == b"abcdefghi"

    run(main())


def test_read_limits_are_those_of_asyncio(run, connect):
    async def main():
        transport, _, _ = await connect()
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        with pytest.raises(ValueError, match=r"^high \(1\) must be >= low \(2\) must be >= 0$"):
            transport.set_read_buffer_limits(1, 2)
        transport.set_read_buffer_limits(low=10)
        assert transport.get_read_buffer_limits() == (10, 40)

    run(main())


def test_data_before_close_notify_is_delivered(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        await peer.send(peer.encrypt(b"abc", b"def") + peer.close_notify())
        assert await end(protocol) is None
        assert protocol.data == b"abcdef"
        assert protocol.events == ["made", "eof", "lost"]
        assert transport.is_closing()
        # Ours comes back.
        assert await peer.read(1) == b""

    run(main())


@pytest.mark.parametrize("is_clean", [True, False])
def test_stream_that_was_cut_is_told_from_one_that_was_closed(run, connect, is_clean, asyncio_since):
    async def main():
        transport, protocol, peer = await connect()
        assert not transport.get_extra_info("tls_truncated")
        await peer.send(peer.encrypt(b"abc") + (peer.close_notify() if is_clean else b""))
        peer.sock.shutdown(socket.SHUT_WR)
        # The protocol sees no difference, as in asyncio.
        assert await end(protocol) is None
        assert protocol.data == b"abc"
        assert protocol.events == ["made", "eof", "lost"]
        if transport.get_extra_info("tls_truncated") is None:
            asyncio_since()
        assert transport.get_extra_info("tls_truncated") is not is_clean
        transport.close()
        transport.close()
        assert transport.get_extra_info("tls_truncated") is not is_clean

    run(main())


def test_end_of_a_stream_is_judged_when_all_of_it_is_read(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        transport.pause_reading()
        await peer.send(peer.encrypt(b"abc") + peer.close_notify())
        peer.sock.shutdown(socket.SHUT_WR)
        await settle()
        assert protocol.chunks == []
        transport.resume_reading()
        assert await end(protocol) is None
        assert protocol.data == b"abc"
        assert transport.get_extra_info("tls_truncated") is False

    run(main())


def test_record_that_was_cut_is_not_delivered(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        await peer.send(peer.encrypt(b"abc") + peer.encrypt(b"lost")[:-1])
        peer.sock.shutdown(socket.SHUT_WR)
        assert await end(protocol) is None
        assert protocol.data == b"abc"
        assert transport.get_extra_info("tls_truncated", True)

    run(main())


def test_record_that_was_changed_ends_the_connection(run, connect):
    async def main():
        _, protocol, peer = await connect()
        record = bytearray(peer.encrypt(b"abc"))
        record[-1] ^= 1
        await peer.send(record)
        assert isinstance(await end(protocol), ssl.SSLError)
        assert protocol.chunks == []

    run(main())


def test_reset_reaches_the_protocol(loop, run, contexts):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts.server)
        transport, protocol = await loop.create_connection(
            factory, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
        )
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        (other,) = [one for one in made if one is not protocol]
        assert isinstance(await end(other), ConnectionResetError)
        assert await end(protocol) is None
        server.close()
        assert other.transport.get_extra_info("tls_truncated", True)

    run(main())


def test_set_protocol_takes_the_rest(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        await peer.write(b"abc")
        await protocol.received(3)
        second = Lending()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await peer.write(b"def")
        assert await second.received(3) == b"def"
        third = Recorder()
        transport.set_protocol(third)
        await peer.write(b"ghi")
        assert await third.received(3) == b"ghi"
        transport.abort()
        assert await end(third) is None

    run(main())
