"""Pipe transports: what a pipe, a FIFO, a terminal or a socket carries, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import logging
import os
import pty
import socket
import tty
import warnings
import weakref

import pytest
import tonnage
from live_objects import all_let_go
from recorders import BIG, Lending, Recorder

from .peer import until

variable = contextvars.ContextVar("variable", default="unset")


def both_ends(kind, folder):
    """The two ends of a pipe of this kind, as files: to read from, and to write into."""
    if kind == "socket":
        return socket.socketpair()
    if kind == "pipe":
        reading, writing = os.pipe()
    elif kind == "fifo":
        path = folder / "fifo"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(path, os.O_WRONLY)
    else:
        reading, writing = pty.openpty()
        tty.setraw(writing)
    return open(reading, "rb", 0), open(writing, "wb", 0)


@pytest.fixture
def ends(tmp_path):
    """Make both ends of a pipe; what is still open when the test ends is closed."""
    made = []

    def make(kind="pipe"):
        made.extend(both_ends(kind, tmp_path))
        return made[-2:]

    yield make
    for end in made:
        end.close()


@pytest.fixture
def connect(loop, ends):
    """Make a pipe, and give a transport to each of its ends, or to one of them."""

    async def make(kind="pipe", read=Recorder, write=Recorder):
        source, sink = ends(kind)
        reader = await loop.connect_read_pipe(read, source) if read else source
        writer = await loop.connect_write_pipe(write, sink) if write else sink
        return reader, writer

    return make


async def lost(protocol):
    """The end of it, and the turn in which the pipe is closed."""
    exception = await asyncio.wait_for(protocol.lost, 5)
    await asyncio.sleep(0)
    return exception


def test_pipe_transports_are_those_of_asyncio(run, connect):
    async def main():
        (reader, read_protocol), (writer, write_protocol) = await connect()
        assert isinstance(reader, asyncio.ReadTransport)
        assert not isinstance(reader, asyncio.WriteTransport)
        assert isinstance(writer, asyncio.WriteTransport)
        assert not hasattr(reader, "abort")
        assert weakref.ref(writer)() is writer
        assert (reader.get_protocol(), writer.get_protocol()) == (read_protocol, write_protocol)
        assert reader.get_extra_info("pipe").fileno() == reader._fileno
        assert reader.get_extra_info("socket", 3) == 3
        assert writer.can_write_eof()
        assert not getattr(writer, "_start_tls_compatible", False)
        assert writer.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        writer.close()
        await lost(read_protocol)

    run(main())


@pytest.mark.parametrize("kind", ["pipe", "fifo", "terminal", "socket"])
def test_bytes_pass(run, connect, kind):
    async def main():
        (_, read_protocol), (writer, write_protocol) = await connect(kind)
        writer.write(b"ab")
        writer.write(b"")
        writer.write(bytearray(b"cd"))
        writer.writelines([b"e", memoryview(b"f")])
        await until(lambda: read_protocol.data == b"abcdef")
        writer.close()
        assert await lost(write_protocol) is None
        end = await lost(read_protocol)
        # Linux says so of a terminal whose other end is gone.
        assert end is None if kind != "terminal" else end.errno == errno.EIO
        assert read_protocol.events == (["made", "eof", "lost"] if end is None else ["made", "lost"])
        assert write_protocol.events == ["made", "lost"]

    run(main())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_writer_is_paused_until_the_reader_has_read(run, connect, kind):
    async def main():
        (reader, read_protocol), (writer, write_protocol) = await connect(kind)
        reader.pause_reading()
        writer.write(BIG)
        await asyncio.sleep(0)
        assert write_protocol.events == ["made", "pause"]
        assert 0 < writer.get_write_buffer_size() < len(BIG)
        reader.resume_reading()
        await until(lambda: len(read_protocol.data) == len(BIG))
        assert read_protocol.data == BIG
        await until(lambda: write_protocol.events == ["made", "pause", "resume"])
        assert writer.get_write_buffer_size() == 0
        writer.close()
        await lost(read_protocol)

    run(main())


def test_drain_waits_for_the_reader(run, loop, connect):
    async def main():
        source, (writer, protocol) = await connect(read=None, write=asyncio.streams.FlowControlMixin)
        stream = asyncio.StreamWriter(writer, protocol, None, loop)
        stream.write(BIG)
        draining = asyncio.ensure_future(stream.drain())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not draining.done()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        assert await asyncio.wait_for(reader.readexactly(len(BIG)), 5) == BIG
        await asyncio.wait_for(draining, 5)
        writer.close()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await asyncio.sleep(0)

    run(main())


def test_writes_of_a_turn_leave_together(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        # Each write into such a pipe is a packet.
        reading, writing = os.pipe2(os.O_DIRECT)
        loop = asyncio.get_running_loop()
        with open(reading, "rb", 0) as source:
            writer, protocol = await loop.connect_write_pipe(Recorder, open(writing, "wb", 0))  # noqa: SIM115
            writer.write(b"a")
            writer.writelines([b"b", b"c"])
            await asyncio.sleep(0)
            assert source.read(100) == b"abc"
            writer.close()
            await lost(protocol)

    run(main())


@pytest.mark.parametrize("method", ["close", "write_eof"])
def test_end_of_a_write_pipe_delivers_what_was_written(run, connect, method):
    async def main():
        (_, read_protocol), (writer, write_protocol) = await connect()
        writer.write(BIG)
        getattr(writer, method)()
        assert writer.is_closing()
        writer.write(b"too late")
        writer.writelines([b"too late"])
        writer.close()
        writer.write_eof()
        assert await lost(write_protocol) is None
        assert await lost(read_protocol) is None
        assert read_protocol.data == BIG

    run(main())


def test_abort_drops_what_the_pipe_did_not_take(run, connect):
    async def main():
        source, (writer, protocol) = await connect(read=None)
        writer.write(BIG)
        writer.abort()
        assert protocol.events == ["made", "pause"]
        assert await lost(protocol) is None
        received = b""
        while chunk := source.read(len(BIG)):
            received += chunk
        assert BIG.startswith(received)
        assert 0 < len(received) < len(BIG)

    run(main())


def test_late_writes_are_dropped_and_logged(run, connect, caplog):
    async def main():
        _, (writer, protocol) = await connect(read=None)
        writer.close()
        await lost(protocol)
        for _ in range(7):
            writer.write(b"x")

    run(main())
    assert caplog.text.count("pipe closed by peer or os.write(pipe, data) raised exception.") in (2, 3)


@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket"])
def test_reader_that_goes_ends_an_idle_write_pipe(run, connect, kind):
    async def main():
        source, (writer, protocol) = await connect(kind, read=None)
        source.close()
        assert await lost(protocol) is None
        assert writer.is_closing()
        assert protocol.events == ["made", "lost"]

    run(main())


@pytest.mark.parametrize("closed", ["open", "closing"])
def test_reader_that_goes_while_bytes_wait_is_a_broken_pipe(run, connect, closed):
    async def main():
        source, (writer, protocol) = await connect(read=None)
        writer.write(BIG)
        if closed == "closing":
            writer.close()
        await asyncio.sleep(0)
        source.close()
        assert isinstance(await lost(protocol), BrokenPipeError)
        assert writer.get_write_buffer_size() == 0

    run(main())


def test_write_to_a_reader_that_is_gone_is_a_broken_pipe(run, connect):
    async def main():
        source, (writer, protocol) = await connect(read=None)
        source.close()
        writer.write(b"x")
        assert isinstance(await lost(protocol), BrokenPipeError)

    run(main())


def test_close_of_a_read_pipe_reads_no_more(run, connect):
    async def main():
        (reader, protocol), sink = await connect(write=None)
        sink.write(b"x")
        reader.close()
        reader.close()
        assert reader.is_closing()
        assert await lost(protocol) is None
        assert (protocol.data, protocol.events) == (b"", ["made", "lost"])
        with pytest.raises(BrokenPipeError):
            sink.write(b"x")

    run(main())


def test_read_pipe_tells_whether_it_is_reading(run, connect, asyncio_since):
    asyncio_since(3, 12)

    async def main():
        (reader, protocol), sink = await connect(write=None)
        assert reader.is_reading()
        reader.pause_reading()
        reader.pause_reading()
        assert not reader.is_reading()
        sink.write(b"x")
        await asyncio.sleep(0.005)
        assert protocol.data == b""
        reader.resume_reading()
        reader.resume_reading()
        assert reader.is_reading()
        await until(lambda: protocol.data)
        reader.close()
        assert not reader.is_reading()
        reader.resume_reading()
        await lost(protocol)

    run(main())


@pytest.mark.parametrize("way", ["connect_read_pipe", "connect_write_pipe"])
def test_pipe_can_be_closed_and_paused_in_connection_made(run, loop, ends, way):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            if way == "connect_read_pipe":
                transport.pause_reading()
            transport.close()

    async def main():
        pipe = ends()[way == "connect_write_pipe"]
        transport, protocol = await getattr(loop, way)(Closing, pipe)
        assert await lost(protocol) is None
        assert protocol.events == ["made", "lost"]
        assert transport.is_closing()
        assert pipe.closed

    run(main())


def test_error_of_a_read_protocol_is_reported_and_leaves_the_pipe_open(run, connect, reports):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError

    async def main():
        (reader, protocol), sink = await connect(read=Failing, write=None)
        for text in (b"a", b"b"):
            sink.write(text)
            await until(lambda text=text: protocol.data.endswith(text))
        assert not reader.is_closing()
        sink.close()
        await lost(protocol)

    run(main())
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("method", ["eof_received", "connection_lost"])
def test_error_at_the_end_is_reported_and_the_pipe_closed(run, connect, reports, method):
    class Failing(Recorder):
        pass

    def fail(self, *args):
        raise ZeroDivisionError

    setattr(Failing, method, fail)

    async def main():
        (reader, _), sink = await connect(read=Failing, write=None)
        sink.close()
        await until(lambda: reader.get_protocol() is None)

    run(main())
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]


def test_buffered_protocol_is_not_asked_for_memory(run, connect, reports):
    async def main():
        (reader, protocol), sink = await connect(read=lambda: Lending(16), write=None)
        sink.write(b"x")
        await until(lambda: reports)
        assert protocol.data == b""
        reader.close()
        await lost(protocol)

    run(main())
    assert isinstance(reports[0]["exception"], AttributeError)


def test_protocol_can_be_replaced(run, connect):
    async def main():
        (reader, _), sink = await connect(write=None)
        other = Recorder()
        reader.set_protocol(other)
        sink.write(b"x")
        await until(lambda: other.data)
        reader.close()
        assert await lost(other) is None

    run(main())


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("connect_read_pipe", "Pipe transport is for pipes/sockets only."),
        ("connect_write_pipe", "Pipe transport is only for pipes, sockets and character devices"),
    ],
)
def test_file_is_refused_and_left_to_its_owner(run, loop, tmp_path, way, text):
    async def main():
        with open(tmp_path / "file", "w+b", 0) as file:
            with pytest.raises(ValueError, match=text):
                await getattr(loop, way)(Recorder, file)
            gc.collect()
            assert file.write(b"x") == 1
            assert os.get_blocking(file.fileno())

    run(main())


def test_device_takes_bytes(run, loop):
    async def main():
        writer, protocol = await loop.connect_write_pipe(Recorder, open("/dev/null", "wb", 0))  # noqa: SIM115
        writer.write(BIG)
        writer.close()
        assert await lost(protocol) is None
        assert protocol.events == ["made", "lost"]

    run(main())


def test_pipe_has_one_owner(run, connect):
    async def main():
        (reader, read_protocol), (writer, write_protocol) = await connect()
        numbers = reader._fileno, writer._fileno
        writer.close()
        await lost(write_protocol)
        await lost(read_protocol)
        # Others get the numbers, and keep them whatever becomes of the transports and the files.
        others = os.pipe()
        assert sorted(others) == sorted(numbers)
        reader.close()
        writer.close()
        writer.write(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return others

    reading, writing = run(main())
    gc.collect()
    os.write(writing, b"still here")
    assert os.read(reading, 100) == b"still here"
    os.close(reading)
    os.close(writing)


def test_nothing_gets_into_a_file_that_has_the_number_of_a_closed_pipe(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        _, (writer, protocol) = await connect(read=None)
        other, others_sink = socket.socketpair()
        sink = writer.get_extra_info("pipe")
        number = sink.fileno()
        sink.close()
        os.dup2(others_sink.fileno(), number)
        writer.write(b"secret")
        assert (await lost(protocol)).errno == errno.EBADF
        with other, others_sink, pytest.raises(BlockingIOError):
            other.setblocking(False)
            other.recv(100)
        os.close(number)

    run(main())


@pytest.mark.parametrize("way", ["connect_read_pipe", "connect_write_pipe"])
def test_cancelled_connect_closes_the_pipe(run, loop, ends, way):
    async def main():
        pipe = ends()[way == "connect_write_pipe"]
        protocol = Recorder()
        connecting = asyncio.ensure_future(getattr(loop, way)(lambda: protocol, pipe))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await lost(protocol)
        assert pipe.closed
        assert protocol.events == ["made", "lost"]

    run(main())


def test_factory_that_fails_leaves_the_pipe_to_its_owner(run, loop, ends):
    async def main():
        source, _ = ends()
        with pytest.raises(ZeroDivisionError):
            await loop.connect_read_pipe(lambda: 1 // 0, source)
        assert not source.closed

    run(main())


def test_callbacks_run_in_the_context_of_the_creator(run, connect, asyncio_since):
    asyncio_since()  # asyncio runs connection_lost() where the end was noticed.
    seen = []

    class Looking(Recorder):
        def data_received(self, data):
            super().data_received(data)
            seen.append(variable.get())

        def connection_lost(self, exc):
            super().connection_lost(exc)
            seen.append(variable.get())

    async def main():
        variable.set("creator")
        (reader, protocol), sink = await connect(read=Looking, write=None)
        variable.set("other")
        sink.write(b"x")
        await until(lambda: protocol.data)
        reader.close()
        await lost(protocol)

    run(main())
    assert seen == ["creator", "creator"]


def test_repr_tells_state(run, connect):
    async def main():
        (reader, read_protocol), (writer, write_protocol) = await connect()
        read_name, write_name = type(reader).__name__, type(writer).__name__
        fds = reader._fileno, writer._fileno
        assert repr(reader) == f"<{read_name} fd={fds[0]} polling>"
        reader.pause_reading()
        assert repr(reader) == f"<{read_name} fd={fds[0]} idle>"
        assert repr(writer) == f"<{write_name} fd={fds[1]} idle bufsize=0>"
        writer.write(BIG)
        await asyncio.sleep(0)
        size = writer.get_write_buffer_size()
        assert repr(writer) == f"<{write_name} fd={fds[1]} polling bufsize={size}>"
        writer.abort()
        assert repr(writer).startswith(f"<{write_name} closing fd={fds[1]}")
        reader.resume_reading()
        await lost(write_protocol)
        await lost(read_protocol)
        assert repr(reader) == f"<{read_name} closed fd={fds[0]} closed>"
        assert repr(writer) == f"<{write_name} closed fd={fds[1]} closed>"

    run(main())


def test_debug_mode_tells_who_closed(run, loop, connect, caplog):
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, logger="asyncio")

    async def main():
        (_, protocol), sink = await connect(write=None)
        sink.close()
        await lost(protocol)

    run(main())
    assert "was closed by peer" in caplog.text


@pytest.mark.parametrize("way", ["connect_read_pipe", "connect_write_pipe"])
def test_transport_that_is_dropped_open_warns_and_closes_the_pipe(loop_factory, ends, way):
    loop = loop_factory()
    pipe = ends()[way == "connect_write_pipe"]

    async def main():
        await getattr(loop, way)(asyncio.Protocol, pipe)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.run_until_complete(main())
        loop.close()
        gc.collect()
    texts = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    assert [text.startswith("unclosed transport <") for text in texts] == [True]
    assert pipe.closed


def test_cycle_through_a_pipe_transport_is_collected(run, loop, connect):
    async def main():
        (reader, protocol), sink = await connect(write=None)
        reader.itself = reader
        protocol.transport = reader
        dead = weakref.ref(reader)
        sink.close()
        await lost(protocol)
        return dead

    dead = run(main())
    gc.collect()
    assert dead() is None


def test_nothing_outlives_pipes_that_end_in_each_way(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        for end in ("close", "abort", "reader", "dropped bytes"):
            (reader, read_protocol), (writer, write_protocol) = await connect()
            writer.write(BIG if end == "dropped bytes" else b"x")
            if end in ("close", "abort"):
                getattr(writer, end)()
            else:
                reader.close()
            await lost(read_protocol)
            await lost(write_protocol)

    for _ in all_let_go():
        run(main())


def test_pipe_transport_needs_a_loop_and_a_pipe(loop, asyncio_since, ends):
    asyncio_since()
    source, _ = ends()
    with pytest.raises(TypeError, match="needs a loop and a pipe"):
        tonnage._tonnage.ReadPipeTransport(loop, None, asyncio.Protocol())
    with pytest.raises(TypeError, match="cannot create 'tonnage.StreamTransport' instances"):
        tonnage._tonnage.StreamTransport()

    async def main():
        transport, protocol = await loop.connect_read_pipe(Recorder, source)
        with pytest.raises(RuntimeError, match="already initialized"):
            transport.__init__(loop, source, protocol)
        transport.close()
        await lost(protocol)

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["is_reading", "pause_reading", "resume_reading"])
def test_transport_that_writes_refuses_to_read(run, connect, method):
    async def main():
        (_, read_protocol), (writer, _) = await connect()
        assert isinstance(writer, asyncio.Transport)
        with pytest.raises(NotImplementedError):
            getattr(writer, method)()
        writer.close()
        await lost(read_protocol)

    run(main())


def test_pipe_that_others_made_blocking_does_not_stop_the_loop(run, connect, loop, asyncio_since):
    asyncio_since()

    async def main():
        source, (writer, _) = await connect(read=None)
        duplicate = os.dup(writer._fileno)
        os.set_blocking(duplicate, True)
        os.close(duplicate)
        writer.write(BIG)
        # asyncio's loop waits for the reader in here.
        await asyncio.sleep(0)
        received = 0
        while received < len(BIG):
            received += len(await loop.run_in_executor(None, source.read, len(BIG)))
        writer.close()

    run(main())
