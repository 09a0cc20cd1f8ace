"""Stream transports: the ends of a connection, and what is left of it."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import warnings
import weakref

import pytest
from recorders import BIG, Lending, Recorder

from .peer import receive, until


def test_close_delivers_what_was_written(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(b"a")
        transport.write(BIG)
        transport.close()
        assert transport.is_closing()
        assert protocol.events == ["made", "pause"]
        assert await receive(loop, peer, len(BIG) + 100) == b"a" + BIG
        assert await protocol.lost is None

    run(main())


def test_connection_lost_comes_once_and_later(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(b"x")
        transport.close()
        transport.close()
        transport.abort()
        assert protocol.events == ["made"]
        await protocol.lost
        await asyncio.sleep(0)
        transport.close()
        transport.abort()
        await asyncio.sleep(0)
        assert protocol.events == ["made", "lost"]
        assert peer.recv(100) == b"x"
        assert peer.recv(100) == b""

    run(main())


def test_closed_transport_reads_no_more(run, connect):
    async def main():
        transport, protocol, peer = await connect()
        peer.send(b"x")
        transport.close()
        await protocol.lost
        assert protocol.data == b""

    run(main())


def test_abort_sends_what_asyncio_would_have_sent(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(b"small")
        transport.abort()
        assert await protocol.lost is None
        assert await receive(loop, peer, 100) == b"small"

    run(main())


def test_abort_does_not_wait(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        transport.write(BIG)
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await protocol.lost is None
        assert len(await receive(loop, peer, len(BIG))) < len(BIG)

    run(main())


def test_socket_is_closed_after_connection_lost(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        sock = transport.get_extra_info("socket")
        seen = []
        protocol.lost.add_done_callback(lambda _: seen.append(sock.fileno()))
        original = protocol.connection_lost

        def connection_lost(exc):
            assert sock.fileno() >= 0
            original(exc)

        protocol.connection_lost = connection_lost
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        assert seen == [-1]
        assert transport.get_protocol() is None

    run(main())


def test_error_in_connection_lost_is_reported_and_the_socket_closed(run, connect, reports):
    async def main():
        transport, protocol, _ = await connect()
        sock = transport.get_extra_info("socket")

        def fail(exc):
            raise ValueError("no")

        protocol.connection_lost = fail
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sock.fileno() == -1

    run(main())
    (report,) = reports
    assert report["message"].startswith("Exception in callback")


def test_descriptor_may_be_used_again_at_once(run, connect, loop):
    async def main():
        for _ in range(20):
            transport, protocol, peer = await connect()
            peer.send(b"hello")
            await until(lambda protocol=protocol: protocol.data == b"hello")
            transport.write(b"answer")
            transport.close()
            await protocol.lost
            assert await receive(loop, peer, 100) == b"answer"
            peer.close()

    run(main())


@pytest.mark.parametrize("factory", [Recorder, Lending])
@pytest.mark.parametrize("operation", ["read", "write"])
def test_bytes_never_reach_a_descriptor_that_was_given_to_another(run, loop, factory, operation):
    async def main():
        ours, peer = socket.socketpair()
        transport, protocol = await loop.create_connection(factory, sock=ours)
        await asyncio.sleep(0)
        fd = ours.fileno()
        if operation == "read":
            # It is found readable in the turn in which it is closed.
            peer.send(b"x")
            loop.call_soon(ours.close)
        else:
            ours.close()
        await asyncio.sleep(0)
        others = socket.socketpair()
        assert fd in {other.fileno() for other in others}
        for other in others:
            other.setblocking(False)
            other.send(b"private")
        if operation == "write":
            transport.write(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert protocol.data in {b"", b"x"}
        assert [other.recv(100) for other in others] == [b"private", b"private"]
        transport.abort()
        error = await protocol.lost
        if operation == "write":
            assert error.errno == errno.EBADF
        for sock in (peer, *others):
            sock.close()

    run(main())


def test_forgotten_transport_warns_and_closes(run, loop):
    async def main():
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        transport = loop._make_socket_transport(ours, asyncio.Protocol())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        transport.pause_reading()
        text = f"unclosed transport {transport!r}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        (warning,) = [warning for warning in caught if warning.category is ResourceWarning]
        assert str(warning.message) == text
        assert ours.fileno() == -1
        assert peer.recv(1) == b""
        peer.close()

    run(main())


def test_cycle_through_a_closed_transport_dies(run):
    made = []

    async def main():
        ours, peer = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.cycle = transport
        made.extend([weakref.ref(transport), weakref.ref(protocol)])
        peer.close()
        await protocol.lost

    run(main())
    gc.collect()
    assert [reference() for reference in made] == [None, None]


def test_closed_transport_is_freed_without_the_collector(run, asyncio_since):
    asyncio_since()
    made = []

    async def main():
        ours, peer = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.write(b"x")
        made.append(weakref.ref(transport))
        peer.close()
        await protocol.lost
        del protocol.transport
        await asyncio.sleep(0)

    gc.collect()
    gc.disable()
    try:
        run(main())
        assert made[0]() is None
    finally:
        gc.enable()


def test_loop_closed_with_open_transport_warns_only(loop, run, asyncio_since):
    asyncio_since()

    async def main():
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        transport = loop._make_socket_transport(ours, asyncio.Protocol())
        await asyncio.sleep(0)
        return transport, peer

    transport, peer = run(main())
    loop.close()
    peer.close()
    made = [transport]
    del transport
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        made.clear()


def test_debug_log_tells_of_pauses_ends_and_errors(run, connect, loop, caplog):
    loop.set_debug(True)

    async def main():
        transport, protocol, peer = await connect()
        await asyncio.sleep(0)
        with caplog.at_level(logging.DEBUG, "asyncio"):
            transport.pause_reading()
            transport.resume_reading()
            peer.close()
            await protocol.lost
            transport, protocol, peer = await connect()
            transport.pause_reading()
            peer.close()
            transport.write(b"x")
            await protocol.lost

    run(main())
    texts = [record.getMessage() for record in caplog.records if "Transport " in record.getMessage()]
    ends = ["pauses reading", "resumes reading", "received EOF", "Fatal write error on socket transport"]
    for end in ends:
        assert any(text.endswith(end) for text in texts)
