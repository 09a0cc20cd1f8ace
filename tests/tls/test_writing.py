"""Writing: what the protocol writes, out as records; flow control, and writes at the end."""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from recorders import BIG, Recorder


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


def test_all_kinds_of_bytes_are_written(run, connect):
    async def main():
        transport, _, peer = await connect()
        changed = bytearray(b"def")
        transport.write(b"abc")
        transport.write(changed)
        changed[:] = b"xyz"
        transport.write(memoryview(b"ghi"))
        transport.write(b"")
        transport.writelines([b"jkl", bytearray(b"mno"), b"", memoryview(b"pqr")])
        transport.writelines([])
        assert await peer.read(18) == b"abcdefghijklmnopqr"

    run(main())


def test_what_is_no_bytes_is_refused(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        with pytest.raises(TypeError, match=r"^data: expecting a bytes-like instance, got str$"):
            transport.write("text")
        transport.abort()
        await end(protocol)

    run(main())


def test_lines_that_are_no_bytes_are_refused_before_anything_is_written(run, connect, asyncio_since):
    # asyncio ends the connection.
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        with pytest.raises(TypeError):
            transport.writelines([b"abc", "text"])
        transport.write(b"def")
        assert await peer.read(3) == b"def"

    run(main())


def test_small_writes_of_a_turn_share_a_record(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        await peer.write(b"go")
        for _ in range(100):
            transport.write(b"0123456789")
        transport.writelines([b"a" * 10_000, b"b" * 10_000, b"c"])
        lengths = await peer.records(21_000)
        assert len(lengths) in {3, 4}
        assert await peer.read(21_001) == b"0123456789" * 100 + b"a" * 10_000 + b"b" * 10_000 + b"c"

    run(main())


def test_what_waits_for_the_end_of_the_turn_is_not_unsent(run, connect):
    async def main():
        transport, _, peer = await connect()
        await peer.write(b"go")
        for number in (1, 1000):
            transport.write(b"x" * number)
            assert transport.get_write_buffer_size() == 0
        assert await peer.read(1001) == b"x" * 1001

    run(main())


def test_large_write_arrives_whole(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(BIG)
        transport.write(b"end")
        assert await peer.read(len(BIG) + 3) == BIG + b"end"
        assert protocol.events in (["made"], ["made", "pause", "resume"])

    run(main())


def test_what_is_written_while_the_transport_below_is_paused_follows(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        lower = transport._ssl_protocol._transport
        lower.set_write_buffer_limits(high=1000)
        parts = [BIG[:100_000], b"small", BIG[:20_000], BIG, b"end"]
        for part in parts:
            transport.write(part)
            await asyncio.sleep(0)
        expected = b"".join(parts)
        assert transport.get_write_buffer_size() < len(expected) + 10_000
        assert await peer.read(len(expected)) == expected
        assert transport.get_write_buffer_size() == 0
        assert set(protocol.events) <= {"made", "pause", "resume"}

    run(main())


def test_records_of_a_large_write_are_sent_together(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        await peer.write(b"go")
        lower = transport._ssl_protocol._transport
        # It would be paused by each record but the first.
        lower.set_write_buffer_limits(high=1)
        transport.write(BIG[:60_000])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 0
        assert await peer.read(60_000) == BIG[:60_000]

    run(main())


def test_protocol_is_paused_while_too_much_is_unsent(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        count = 0
        while "pause" not in protocol.events:
            transport.write(BIG[: 64 * 1024])
            count += 64 * 1024
            await asyncio.sleep(0)
            assert count < 16 * 1024 * 1024
        assert transport.get_write_buffer_size() >= 512 * 1024
        assert await peer.read(count) == BIG[: 64 * 1024] * (count // (64 * 1024))
        assert protocol.events == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0

    run(main())


def test_write_limits_can_be_set(run, connect):
    async def main():
        transport, _, _ = await connect()
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        transport.set_write_buffer_limits(low=5)
        assert transport.get_write_buffer_limits() == (5, 20)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        with pytest.raises(ValueError, match=r"^high \(1\) must be >= low \(2\) must be >= 0$"):
            transport.set_write_buffer_limits(1, 2)

    run(main())


def test_error_of_pause_writing_is_reported(run, connect, reports):
    class Failing(Recorder):
        def pause_writing(self):
            raise LookupError("pause")

        def resume_writing(self):
            raise LookupError("resume")

    async def main():
        transport, _, peer = await connect(Failing)
        for _ in range(8):
            transport.write(BIG)
        assert await peer.read(8 * len(BIG)) == 8 * BIG
        assert [report["message"] for report in reports] == [
            "protocol.pause_writing() failed",
            "protocol.resume_writing() failed",
        ]
        assert reports[0]["transport"] is transport
        assert reports[0]["protocol"] is transport._ssl_protocol

    run(main())


def test_late_writes_are_dropped_and_logged(run, connect, caplog):
    async def main():
        transport, protocol, _ = await connect()
        transport.abort()
        await end(protocol)
        for _ in range(4):
            transport.write(b"late")
        assert "SSL connection is closed" not in caplog.text
        transport.write(b"late")
        transport.writelines([b"late"])
        assert caplog.text.count("SSL connection is closed") == 2

    run(main())


def test_stream_cannot_be_half_closed(run, connect):
    async def main():
        transport, _, _ = await connect()
        assert transport.can_write_eof() is False
        with pytest.raises(NotImplementedError):
            transport.write_eof()

    run(main())


def test_what_was_written_before_an_abort_is_sent_as_far_as_it_goes(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(b"abc")
        transport.abort()
        assert await peer.read(3) == b"abc"
        assert await end(protocol) is None

    run(main())


def test_abort_in_the_middle_of_large_writes_ends_the_connection(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        for _ in range(10):
            transport.write(BIG)
        transport.abort()
        transport.write(BIG)
        assert await end(protocol) is None
        assert transport.get_write_buffer_size() == 0

    run(main())


def test_protocol_may_abort_when_it_is_paused(run, connect):
    class Aborting(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.abort()

    async def main():
        transport, protocol, _ = await connect(Aborting)
        for _ in range(10):
            transport.write(BIG)
        assert await end(protocol) is None
        assert protocol.events == ["made", "pause", "lost"]

    run(main())


def test_answer_from_data_received_is_sent(run, connect):
    class Echo(Recorder):
        def data_received(self, data):
            self.transport.write(data)

    async def main():
        _, _, peer = await connect(Echo, we_serve=True)
        for number in range(50):
            message = b"%d" % number * 100
            await peer.write(message)
            assert await peer.read(len(message)) == message

    run(main())


def test_transport_below_that_is_closed_sends_what_was_written(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        await peer.write(b"go")
        transport.write(b"abc")
        transport._ssl_protocol._transport.close()
        assert await peer.read(3) == b"abc"
        assert await end(protocol) is None
        # It is not the peer's stream that ended.
        assert not transport.get_extra_info("tls_truncated")

    run(main())


def test_file_is_sent_encrypted(loop, run, connect):
    async def main():
        transport, _, peer = await connect()
        with tempfile.TemporaryFile() as file:
            file.write(BIG)
            file.seek(0)
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            assert await peer.read(len(BIG)) == BIG
            assert await sending == len(BIG)
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)

    run(main())
