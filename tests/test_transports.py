"""Stream transports: reading, writing, flow control, and the ends of a connection."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import logging
import socket
import sys
import threading
import warnings
import weakref

import pytest
import tonnage

BIG = b"0123456789abcdef" * (1024 * 1024 // 16)


class Recorder(asyncio.Protocol):
    """Keeps what happens to one connection, in order."""

    def __init__(self, keep_open=False):
        self.events = []
        self.data = b""
        self.keep_open = keep_open
        self.lost = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data

    def eof_received(self):
        self.events.append("eof")
        self.ended.set_result(None)
        return self.keep_open

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


class Lending(asyncio.BufferedProtocol):
    """Lends a small buffer, and keeps what was put there."""

    def __init__(self, size=16):
        self.memory = bytearray(size)
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        assert sizehint == -1
        return memoryview(self.memory)

    def buffer_updated(self, nbytes):
        self.data += self.memory[:nbytes]

    def connection_lost(self, exc):
        self.lost.set_result(exc)


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


async def receive(loop, peer, count):
    """Read exactly `count` bytes from the peer's socket, without stopping the loop."""

    def work():
        received = bytearray()
        while len(received) < count:
            chunk = peer.recv(count - len(received))
            if not chunk:
                break
            received += chunk
        return bytes(received)

    return await loop.run_in_executor(None, work)


async def until(condition):
    """Let the loop run until `condition()` holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


# The object.


def test_transport_is_one_of_asyncio(run, connect):
    async def main():
        transport, _, _ = await connect()
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)

    run(main())


def test_transport_takes_attributes_and_weak_references(run, connect):
    async def main():
        transport, _, _ = await connect()
        transport.anything = 1
        assert transport.anything == 1
        assert weakref.ref(transport)() is transport

    run(main())


def test_repr_tells_state(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        await asyncio.sleep(0)
        fd = transport.get_extra_info("socket").fileno()
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} read=idle write=<idle, bufsize=0>>"
        transport.resume_reading()
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} read=idle write=<idle, bufsize=0>>"
        await protocol.lost
        await asyncio.sleep(0)
        assert repr(transport) == f"<{name} closed fd={fd}>"

    run(main())


def test_extra_info_names_both_ends(run, connect):
    async def main():
        transport, _, peer = await connect(family="tcp")
        assert transport.get_extra_info("sockname") == peer.getpeername()
        assert transport.get_extra_info("peername") == peer.getsockname()
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", default=3) == 3

    run(main())


def test_protocol_can_be_replaced(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.get_protocol() is protocol
        other = Lending()
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        peer.send(b"for the other")
        await until(lambda: other.data)
        assert (protocol.data, other.data) == (b"", b"for the other")
        third = Recorder()
        transport.set_protocol(third)
        peer.send(b"for the third")
        await until(lambda: third.data)
        assert (other.data, third.data) == (b"for the other", b"for the third")

    run(main())


def test_method_of_protocol_is_looked_up_for_each_read(run, connect):
    async def main():
        _, protocol, peer = await connect()
        received = []
        protocol.data_received = received.append
        peer.send(b"late")
        await until(lambda: received)
        assert received == [b"late"]

    run(main())


# The beginning.


def test_protocol_is_told_before_reading_and_before_waiter(run, loop):
    async def main():
        order = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                order.append("made")

            def data_received(self, data):
                order.append("data")

        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.send(b"early")
        waiter = loop.create_future()
        waiter.add_done_callback(lambda _: order.append("waiter"))
        transport = loop._make_socket_transport(ours, Protocol(), waiter)
        assert order == []
        assert not transport.is_closing()
        await until(lambda: len(order) == 3)
        assert order == ["made", "waiter", "data"]
        peer.close()
        transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_error_in_connection_made_is_reported(run, connect, reports):
    class Protocol(Recorder):
        def connection_made(self, transport):
            raise ValueError("no")

    async def main():
        transport, protocol, peer = await connect(Protocol)
        peer.send(b"x")
        await until(lambda: protocol.data)
        assert transport.is_reading()

    run(main())
    (report,) = reports
    assert report["message"].startswith("Exception in callback")
    assert str(report["exception"]) == "no"


def test_reading_paused_in_connection_made_stays_paused(run, connect, asyncio_since):
    asyncio_since(3, 11)

    class Protocol(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        transport, protocol, peer = await connect(Protocol)
        peer.send(b"x")
        await asyncio.sleep(0.01)
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data)

    run(main())


def test_callbacks_run_in_the_context_of_the_connection(run, connect, asyncio_since):
    asyncio_since(3, 15)
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Protocol(Recorder):
        def connection_made(self, transport):
            seen.append(variable.get())

        def data_received(self, data):
            seen.append(variable.get())
            variable.set("changed")

        def eof_received(self):
            seen.append(variable.get())

        def connection_lost(self, exc):
            seen.append(variable.get())
            super().connection_lost(exc)

    async def main():
        variable.set("connecting")
        _, protocol, peer = await connect(Protocol)
        variable.set("later")
        peer.send(b"x")
        await until(lambda: len(seen) == 2)
        peer.close()
        await protocol.lost

    run(main())
    assert seen == ["connecting", "connecting", "changed", "changed"]


# Reading.


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
        (b"read only", (TypeError, BufferError), "Fatal read error on socket transport"),
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


# Writing.


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
        assert transport.get_write_buffer_size() == 10
        with pytest.raises(BlockingIOError):
            peer.recv(100)
        await asyncio.sleep(0)
        assert peer.recv(100) == b"x" * 10
        assert transport.get_write_buffer_size() == 0

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


# The end.


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


def test_sendfile_waits_for_what_was_written(run, connect, loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BIG)

    async def main():
        transport, protocol, peer = await connect(family="tcp")
        transport.write(b"head")
        with path.open("rb") as file:
            task = loop.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            received = await receive(loop, peer, len(BIG) + 4)
            assert await task == len(BIG)
        assert received == b"head" + BIG
        transport.write(b"tail")
        assert await receive(loop, peer, 4) == b"tail"
        peer.send(b"still reading")
        await until(lambda: protocol.data == b"still reading")

    run(main())


def test_sendfile_without_help_of_the_kernel(run, connect, loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BIG)

    async def main():
        transport, _, peer = await connect()
        with path.open("rb") as file:
            received = asyncio.ensure_future(receive(loop, peer, len(BIG)))
            assert await loop._sendfile_fallback(transport, file, 0, None) == len(BIG)
        assert await received == BIG

    run(main())


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
