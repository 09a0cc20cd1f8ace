"""Stream transports: writing and flow control."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest
import tonnage
from recorders import BIG, Recorder

from .peer import receive, until


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_bytes_of_any_kind_are_sent(run, connect, loop, kind):
    async def main():
        transport, _, peer = await connect()
        transport.write(kind(b"hello "))
        transport.write(kind(b""))
        transport.writelines([kind(b"wo"), b"", kind(b"rld")])
        assert await receive(loop, peer, 11) == b"hello world"

    run(main())


def test_buffer_may_change_after_write(run, connect, loop, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        data = bytearray(b"before")
        transport.write(data)
        data[:] = b"after!"
        data += b"and it may grow"
        assert await receive(loop, peer, 6) == b"before"

    run(main())


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]])
def test_other_kinds_are_refused(run, connect, data):
    async def main():
        transport, _, _ = await connect()
        with pytest.raises(TypeError, match="data argument must be a bytes") as caught:
            transport.write(data)
        assert str(caught.value).endswith(f"not {type(data).__name__!r}")

    run(main())


def test_lines_of_other_kinds_are_refused_before_anything_is_sent(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, _ = await connect()
        with pytest.raises(TypeError, match="a bytes-like object is required, not 'str'"):
            transport.writelines([b"x", "text"])
        assert transport.get_write_buffer_size() == 0

    run(main())


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_much_data_arrives_complete_and_in_order(run, connect, loop, family):
    async def main():
        transport, protocol, peer = await connect(family=family)
        sent = bytearray()
        for number in range(3000):
            chunk = b"%06d" % number * (number % 97 + 1)
            sent += chunk
            transport.write(chunk)
            if number % 500 == 0:
                await asyncio.sleep(0)
        transport.writelines([BIG, BIG])
        sent += BIG + BIG
        assert await receive(loop, peer, len(sent)) == sent
        await until(lambda: transport.get_write_buffer_size() == 0)
        made, *events = protocol.events
        assert made == "made"
        assert events == ["pause", "resume"] * (len(events) // 2)

    run(main())


def test_writes_of_one_turn_leave_in_one_piece(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        peer.setblocking(False)
        for _ in range(10):
            transport.write(b"x")
        # As asyncio, which has sent it by now: a program may ask for slow peers so.
        assert transport.get_write_buffer_size() == 0
        with pytest.raises(BlockingIOError):
            peer.recv(100)
        await asyncio.sleep(0)
        assert peer.recv(100) == b"x" * 10
        assert transport.get_write_buffer_size() == 0

    run(main())


def test_more_writes_than_one_call_takes_leave_in_order(run, connect, loop):
    async def main():
        transport, _, peer = await connect()
        sent = b"".join(b"%05d" % number for number in range(5000))
        for start in range(0, len(sent), 5):
            transport.write(sent[start : start + 5])
        assert await receive(loop, peer, len(sent)) == sent

    run(main())


def test_write_outside_of_the_loop_leaves_at_once(run, connect):
    transport, _, peer = run(connect())
    transport.write(b"x")
    assert peer.recv(100) == b"x"


def test_write_from_another_thread_leaves_at_once_and_in_order(run, connect):
    async def main():
        transport, _, peer = await connect()
        transport.write(b"first ")
        thread = threading.Thread(target=transport.write, args=(b"second",))
        thread.start()
        thread.join()
        assert peer.recv(100) == b"first second"

    run(main())


def test_large_write_leaves_within_the_turn(run, connect):
    async def main():
        transport, _, peer = await connect()
        transport.write(b"x" * 100)
        transport.write(BIG[:65536])
        assert len(peer.recv(1000)) == 1000

    run(main())


def test_full_socket_pauses_the_protocol(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.write(BIG)
        assert protocol.events == ["made", "pause"]
        unsent = transport.get_write_buffer_size()
        assert 65536 < unsent < len(BIG)
        transport.write(b"end")
        assert transport.get_write_buffer_size() == unsent + 3
        await asyncio.sleep(0)
        assert protocol.events == ["made", "pause"]
        assert (await receive(loop, peer, len(BIG) + 3))[-3:] == b"end"
        await until(lambda: protocol.events == ["made", "pause", "resume"])

    run(main())


def test_low_limits_count_only_what_the_socket_did_not_take(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        transport.set_write_buffer_limits(high=0)
        transport.write(b"x" * 100)
        transport.set_write_buffer_limits(high=0)
        await asyncio.sleep(0)
        assert protocol.events == ["made"]
        transport.write(BIG)
        assert protocol.events == ["made", "pause"]

    run(main())


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({}, (16384, 65536)),
        ({"high": 100}, (25, 100)),
        ({"low": 100}, (100, 400)),
        ({"high": 10, "low": 5}, (5, 10)),
        ({"high": 0}, (0, 0)),
        ({"high": 10, "low": 11}, "high (10) must be >= low (11) must be >= 0"),
        ({"high": 10, "low": -1}, "high (10) must be >= low (-1) must be >= 0"),
        ({"high": -1}, "high (-1) must be >= low (-1) must be >= 0"),
    ],
)
def test_limits(run, connect, given, limits):
    async def main():
        transport, _, _ = await connect()
        if isinstance(limits, tuple):
            transport.set_write_buffer_limits(**given)
            assert transport.get_write_buffer_limits() == limits
        else:
            with pytest.raises(ValueError, match="must be >=") as caught:
                transport.set_write_buffer_limits(**given)
            assert str(caught.value) == limits

    run(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_error_in_flow_control_is_reported_and_the_connection_goes_on(run, connect, loop, reports, method):
    async def main():
        transport, protocol, peer = await connect()

        def fail():
            raise ValueError("no")

        setattr(protocol, method, fail)
        transport.write(BIG)
        assert await receive(loop, peer, len(BIG)) == BIG
        await until(lambda: transport.get_write_buffer_size() == 0)
        transport.write(b"more")
        assert await receive(loop, peer, 4) == b"more"

    run(main())
    assert [report["message"] for report in reports] == [f"protocol.{method}() failed"]


def test_end_of_stream_follows_the_data(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.can_write_eof()
        transport.write(b"last")
        transport.write_eof()
        transport.write_eof()
        assert await receive(loop, peer, 100) == b"last"
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(b"x")
        if isinstance(loop, tonnage.EventLoop) or sys.version_info >= (3, 12):
            with pytest.raises(RuntimeError, match=r"Cannot call writelines\(\) after write_eof\(\)"):
                transport.writelines([b"x"])
        peer.send(b"still open")
        await until(lambda: protocol.data == b"still open")

    run(main())


def test_end_of_stream_waits_for_a_full_socket(run, connect, loop):
    async def main():
        transport, _, peer = await connect()
        transport.write(BIG)
        transport.write_eof()
        assert await receive(loop, peer, len(BIG) + 1) == BIG

    run(main())


def test_broken_pipe_ends_the_connection_without_a_report(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        transport.pause_reading()
        peer.close()
        transport.write(b"x")
        assert isinstance(await protocol.lost, BrokenPipeError)
        assert protocol.events == ["made", "lost"]
        assert transport.get_write_buffer_size() == 0

    run(main())


def test_writes_to_a_lost_connection_are_dropped_and_logged(run, connect, caplog):
    async def main():
        transport, protocol, _ = await connect()
        transport.abort()
        await protocol.lost
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(4):
                transport.write(b"x")
            assert not caplog.records
            transport.write(b"x")
            transport.write(b"x")
        assert [record.getMessage() for record in caplog.records] == ["socket.send() raised exception."] * 2

    run(main())


def test_protocol_may_write_when_it_is_resumed(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        protocol.resume_writing = lambda: transport.write(b"more")
        transport.write(BIG)
        assert await receive(loop, peer, len(BIG) + 4) == BIG + b"more"

    run(main())


def test_what_a_paused_protocol_writes_elsewhere_leaves_before_the_loop_waits(run, connect, loop):
    async def main():
        other, _, other_peer = await connect()

        class Telling(Recorder):
            def pause_writing(self):
                other.write(b"paused")

        transport, _, peer = await connect(Telling)
        transport.write(b"x")
        assert await receive(loop, peer, 1) == b"x"
        transport.set_write_buffer_limits(high=0)
        ours = transport.get_extra_info("socket")
        duplicate = ours.dup()
        with duplicate, pytest.raises(BlockingIOError):
            while True:
                duplicate.send(BIG)
        # It is not taken at the end of the turn.
        transport.write(b"y")
        assert await receive(loop, other_peer, 6) == b"paused"

    run(main())
