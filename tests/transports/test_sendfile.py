"""Files are sent: through a transport and over a socket, by the kernel and by reading them."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import threading

import pytest
import tonnage
from recorders import BIG, Recorder

from .peer import receive, until


@pytest.fixture
def path(tmp_path):
    """A file of 1 MiB."""
    path = tmp_path / "file"
    path.write_bytes(BIG)
    return path


@pytest.fixture
def file(path):
    """The same file, open for reading."""
    with path.open("rb") as file:
        yield file


@pytest.fixture
def pair():
    """Two connected non-blocking sockets that take little at once."""
    ours, peer = socket.socketpair()
    for sock in (ours, peer):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    yield ours, peer
    ours.close()
    peer.close()


def narrow(transport):
    """Let the socket take less than the file at once."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)


def watched(loop, sock):
    """What the loop waits for on the socket: nothing is 0."""
    if isinstance(loop, tonnage.EventLoop):
        return loop._watched_events(sock.fileno())
    key = loop._selector.get_map().get(sock.fileno())
    return 0 if key is None else key.events


async def take(loop, peer, count):
    received = bytearray()
    while len(received) < count:
        chunk = await loop.sock_recv(peer, 65536)
        if not chunk:
            break
        received += chunk
    return bytes(received)


WAYS = ["kernel", "reading"]


# Whole files and parts.


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, None, BIG),
        (1000, None, BIG[1000:]),
        (0, 100, BIG[:100]),
        (1000, 100_000, BIG[1000:101_000]),
        (len(BIG) - 10, 100, BIG[-10:]),
        (len(BIG), None, b""),
        (len(BIG) + 5, 7, b""),
        (5, 2**40, BIG[5:]),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_part_of_a_file_is_sent_over_a_socket(loop, run, pair, file, way, offset, count, expected):
    ours, peer = pair
    method = {"kernel": loop._sock_sendfile_native, "reading": loop._sock_sendfile_fallback}[way]

    async def main():
        taking = loop.create_task(take(loop, peer, len(expected)))
        assert await method(ours, file, offset, count) == len(expected)
        assert await taking == expected
        await asyncio.sleep(0)
        assert watched(loop, ours) == 0

    run(main())
    if expected:
        assert file.tell() == offset + len(expected)


@pytest.mark.parametrize("way", WAYS)
def test_file_goes_between_what_was_written_before_and_after(loop, run, connect, file, way):
    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        receiving = asyncio.ensure_future(receive(loop, peer, len(BIG) + 100_008))
        transport.write(b"x" * 100_000 + b"head")
        send = {"kernel": loop._sendfile_native, "reading": loop._sendfile_fallback}[way]
        assert await send(transport, file, 0, None) == len(BIG)
        transport.write(b"tail")
        assert await receiving == b"x" * 100_000 + b"head" + BIG + b"tail"
        assert file.tell() == len(BIG)
        peer.send(b"still reading")
        await until(lambda: protocol.data == b"still reading")
        assert transport.get_protocol() is protocol

    run(main())


def test_position_of_a_file_that_was_read_before_is_right_for_its_own_buffer(
    loop, run, pair, file, asyncio_since
):
    asyncio_since()
    ours, peer = pair
    assert file.read(10) == BIG[:10]
    run(loop.sock_sendfile(ours, file, 20, 30))
    assert file.tell() == 50
    assert file.read(10) == BIG[50:60]
    assert peer.recv(100) == BIG[20:50]


def test_empty_file_is_sent_at_once(loop, run, connect, pair, tmp_path):
    (tmp_path / "empty").touch()

    async def main():
        transport, _, _ = await connect()
        with (tmp_path / "empty").open("rb") as file:
            assert await loop.sendfile(transport, file) == 0
            assert await loop.sock_sendfile(pair[0], file) == 0
        transport.write(b"works")

    run(main())


def test_file_that_grows_is_sent_to_its_end_and_one_that_shrinks_too(
    loop, run, pair, path, file, asyncio_since
):
    asyncio_since()
    ours, peer = pair

    async def main():
        sending = loop.create_task(loop.sock_sendfile(ours, file))
        await asyncio.sleep(0)
        with path.open("ab") as more:
            more.write(b"more")
        assert await take(loop, peer, len(BIG) + 4) == BIG + b"more"
        assert await sending == len(BIG) + 4
        sending = loop.create_task(loop.sock_sendfile(ours, file))
        await asyncio.sleep(0)
        sent = len(peer.recv(4096))
        os.truncate(path, 100_000)
        sent += len(await take(loop, peer, 100_000 - sent))
        assert await sending >= 100_000 == sent
        ours.close()
        assert await take(loop, peer, 1) == b""

    run(main())


def test_file_that_grows_while_earlier_writes_leave_is_sent_to_its_end(loop, run, connect, tmp_path):
    (tmp_path / "file").write_bytes(b"file")

    async def main():
        transport, _, peer = await connect()
        narrow(transport)
        transport.write(BIG)
        with (tmp_path / "file").open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            with (tmp_path / "file").open("ab") as more:
                more.write(b"more")
            assert await receive(loop, peer, len(BIG) + 8) == BIG + b"filemore"
            assert await sending == 8

    run(main())


def test_sparse_file_beyond_two_gibibytes_is_counted(loop, run, pair, path):
    ours, peer = pair
    with path.open("r+b") as file:
        file.truncate(2**31 + 2**20)
        offset = 2**31 - 5

        async def main():
            taking = loop.create_task(take(loop, peer, 2**20 + 5))
            assert await loop.sock_sendfile(ours, file, offset) == 2**20 + 5
            assert await taking == bytes(2**20 + 5)

        run(main())
        assert file.tell() == 2**31 + 2**20


# What the kernel does not copy.


def test_what_is_no_file_is_read(loop, run, connect, pair):
    ours, peer = pair

    async def main():
        transport, _, transport_peer = await connect()
        source = io.BytesIO(BIG[:1000])
        with pytest.raises(asyncio.SendfileNotAvailableError, match="^not a regular file$"):
            await loop.sendfile(transport, source, fallback=False)
        with pytest.raises(asyncio.SendfileNotAvailableError, match="^not a regular file$"):
            await loop.sock_sendfile(ours, source, fallback=False)
        assert await loop.sendfile(transport, source, 10, 90) == 90
        assert source.tell() == 100
        assert await receive(loop, transport_peer, 90) == BIG[10:100]
        source.seek(0)
        assert await loop.sock_sendfile(ours, source) == 1000
        assert peer.recv(2000) == BIG[:1000]

    run(main())


@pytest.mark.parametrize("way", ["pipe", "proc"])
def test_what_has_no_size_is_read_to_its_end(loop, run, pair, asyncio_since, way):
    asyncio_since()
    ours, peer = pair
    if way == "pipe":
        reading, writing = os.pipe()
        os.write(writing, b"from a pipe")
        os.close(writing)
        source = open(reading, "rb")  # noqa: SIM115
        expected = b"from a pipe"
    else:
        source = open("/proc/self/limits", "rb")  # noqa: SIM115
        expected = source.read()
    with source:
        assert run(loop.sock_sendfile(ours, source)) == len(expected)
    assert peer.recv(65536) == expected


def test_what_the_kernel_refuses_is_read(loop, run, connect, file, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "refused")

    monkeypatch.setattr(os, "sendfile", refuse)

    async def main():
        transport, _, peer = await connect()
        with pytest.raises(asyncio.SendfileNotAvailableError, match="^os.sendfile call failed$"):
            await loop.sendfile(transport, file, fallback=False)
        assert transport.is_reading()
        receiving = asyncio.ensure_future(receive(loop, peer, len(BIG)))
        assert await loop.sendfile(transport, file) == len(BIG)
        assert await receiving == BIG

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_error_of_the_disk_is_raised_and_the_position_is_what_was_sent(
    loop, run, connect, file, monkeypatch, way
):
    sendfile = os.sendfile

    def fail_later(out, source, offset, count):
        if offset > 0:
            raise OSError(errno.EIO, "bad block")
        return sendfile(out, source, offset, min(count, 1000))

    class Failing(io.BytesIO):
        def readinto(self, buffer):
            if self.tell() > 0:
                raise OSError(errno.EIO, "bad block")
            return super().readinto(memoryview(buffer)[:1000])

    monkeypatch.setattr(os, "sendfile", fail_later)
    source = file if way == "kernel" else Failing(BIG)

    async def main():
        transport, protocol, peer = await connect()
        with pytest.raises(OSError, match="bad block"):
            await loop.sendfile(transport, source)
        assert source.tell() == 1000
        transport.write(b"goes on")
        assert await receive(loop, peer, 1007) == BIG[:1000] + b"goes on"
        assert transport.is_reading()
        assert transport.get_protocol() is protocol

    run(main())


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0, 0), ValueError, r"count must be a positive integer \(got 0\)"),
        ((0, -1), ValueError, r"count must be a positive integer \(got -1\)"),
        ((0, "1"), TypeError, r"count must be a positive integer \(got '1'\)"),
        ((-1,), ValueError, r"offset must be a non-negative integer \(got -1\)"),
        (("1",), TypeError, r"offset must be a non-negative integer \(got '1'\)"),
    ],
)
def test_unusable_numbers_are_refused(loop, run, connect, pair, file, arguments, error, text):
    async def main():
        transport, _, _ = await connect()
        with pytest.raises(error, match=text):
            await loop.sendfile(transport, file, *arguments)
        with pytest.raises(error, match=text):
            await loop.sock_sendfile(pair[0], file, *arguments)
        assert transport.is_reading()
        transport.write(b"works")

    run(main())


def test_text_file_and_datagram_socket_and_blocking_socket_are_refused(loop, run, connect, path, file):
    async def main():
        transport, _, _ = await connect()
        with path.open("r") as text, pytest.raises(ValueError, match="file should be opened in binary mode"):
            await loop.sendfile(transport, text)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await loop.sock_sendfile(datagrams, file)
            loop.set_debug(True)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_sendfile(datagrams, file)

    run(main())


class Plain(asyncio.Transport):
    """Knows nothing of files."""

    def is_closing(self):
        return False


def test_transport_that_is_closing_or_cannot_send_files_is_refused(loop, run, connect, file):
    async def main():
        transport, _, _ = await connect()
        transport.close()
        with pytest.raises(RuntimeError, match="^Transport is closing$"):
            await loop.sendfile(transport, file)
        with pytest.raises(RuntimeError, match="^sendfile is not supported for transport "):
            await loop.sendfile(Plain(), file)

    run(main())


# Meanwhile.


def test_nothing_else_is_written_or_read_meanwhile(loop, run, connect, file):
    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        transport.write(b"head")
        sending = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0)
        for write, data in ((transport.write, b"x"), (transport.writelines, [b"x"])):
            with pytest.raises(RuntimeError, match="unable to write.*; sendfile is in progress"):
                write(data)
        assert not transport.is_reading()
        peer.send(b"kept")
        await asyncio.sleep(0.005)
        assert protocol.data == b""
        assert await receive(loop, peer, len(BIG) + 4) == b"head" + BIG
        assert await sending == len(BIG)
        await until(lambda: protocol.data == b"kept")

    run(main())


def test_reading_that_was_paused_stays_paused(loop, run, connect, file):
    async def main():
        transport, _, peer = await connect()
        transport.pause_reading()
        receiving = asyncio.ensure_future(receive(loop, peer, len(BIG)))
        await loop.sendfile(transport, file)
        assert not transport.is_reading()
        await receiving

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_second_file_is_refused_while_one_is_sent(loop, run, connect, file, path, asyncio_since, way):
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        send = {"kernel": loop._sendfile_native, "reading": loop._sendfile_fallback}[way]
        sending = loop.create_task(send(transport, file, 0, None))
        await asyncio.sleep(0)
        with path.open("rb") as second, pytest.raises(RuntimeError):
            await send(transport, second, 0, None)
        assert await receive(loop, peer, len(BIG)) == BIG
        assert await sending == len(BIG)
        assert transport.is_reading()
        assert transport.get_protocol() is protocol

    run(main())


def test_protocol_is_told_of_pauses_that_a_file_outlasts(loop, run, connect, file, asyncio_since):
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        transport.set_write_buffer_limits(0)
        # Paused before, and not after; then the other way round.
        transport.write(b"x" * 100_000)
        await until(lambda: protocol.events == ["made", "pause"])
        sending = loop.create_task(loop._sendfile_fallback(transport, file, 0, 1))
        await receive(loop, peer, 100_001)
        assert await sending == 1
        assert protocol.events == ["made", "pause", "resume"]
        sending = loop.create_task(loop._sendfile_fallback(transport, file, 0, None))
        await until(lambda: transport.get_write_buffer_size() > 0)
        sending.cancel()
        await asyncio.wait([sending])
        assert protocol.events == ["made", "pause", "resume", "pause"]
        transport.abort()

    run(main())


def test_turns_of_the_loop_go_on_while_a_fast_peer_takes_a_large_file(loop, run, pair, path, monkeypatch):
    ours, peer = pair
    sent = []
    sendfile = os.sendfile

    def count(*arguments):
        sent.append(arguments[3])
        return sendfile(*arguments)

    if isinstance(loop, tonnage.EventLoop):
        monkeypatch.setattr(os, "sendfile", count)

    async def main():
        with path.open("r+b") as file:
            file.truncate(20 * 2**20)
            taking = loop.create_task(take(loop, peer, 20 * 2**20))
            assert await loop.sock_sendfile(ours, file) == 20 * 2**20
            await taking

    run(main())
    assert not sent or max(sent) <= 4 * 2**20


# Ends.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10])
def test_cancelled_send_leaves_transport_and_file_in_order(
    loop, run, connect, file, asyncio_since, way, turns
):
    asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        transport.write(b"x" * 100_000)
        send = {"kernel": loop._sendfile_native, "reading": loop._sendfile_fallback}[way]
        sending = loop.create_task(send(transport, file, 0, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading = asyncio.ensure_future(receive(loop, peer, 100_000))
        await asyncio.sleep(0.002)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        await reading
        assert transport.is_reading()
        assert transport.get_protocol() is protocol
        transport.write(b"tail")
        sent = file.tell()
        assert await receive(loop, peer, sent + 4) == BIG[:sent] + b"tail"

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_cancelled_send_over_a_socket_tells_what_was_sent(loop, run, pair, file, asyncio_since, way):
    asyncio_since()
    ours, peer = pair
    method = {"kernel": loop._sock_sendfile_native, "reading": loop._sock_sendfile_fallback}[way]

    async def main():
        sending = loop.create_task(method(ours, file, 0, None))
        await until(lambda: watched(loop, ours) == 2)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        assert watched(loop, ours) == 0
        ours.close()
        assert await take(loop, peer, len(BIG)) == BIG[: file.tell()]
        assert file.tell() > 0

    run(main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["close", "abort", "peer"])
def test_end_of_the_connection_ends_the_send(loop, run, connect, file, asyncio_since, way, end):
    if end != "peer":
        # asyncio's waits for ever.
        asyncio_since()

    async def main():
        transport, protocol, peer = await connect()
        narrow(transport)
        send = {"kernel": loop._sendfile_native, "reading": loop._sendfile_fallback}[way]
        sending = loop.create_task(send(transport, file, 0, None))
        await asyncio.sleep(0.01)
        assert not sending.done()
        if end == "peer":
            peer.close()
        else:
            getattr(transport, end)()
        if end == "close" and way == "reading":
            # What was written is still sent.
            await receive(loop, peer, len(BIG))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, 5)
        transport.abort()
        await asyncio.wait_for(protocol.lost, 5)
        assert file.tell() < len(BIG)

    run(main())


def test_end_of_writing_follows_the_file(loop, run, connect, file, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, peer = await connect()
        narrow(transport)
        sending = loop.create_task(loop.sendfile(transport, file))
        await asyncio.sleep(0.005)
        transport.write_eof()
        assert await receive(loop, peer, len(BIG) + 1) == BIG
        assert await sending == len(BIG)

    run(main())


def test_file_that_is_closed_meanwhile_ends_the_send(loop, run, pair, path, asyncio_since):
    asyncio_since()
    ours, peer = pair

    async def main():
        with path.open("rb") as file:
            sending = loop.create_task(loop.sock_sendfile(ours, file))
            await until(lambda: watched(loop, ours) == 2)
        # Its number is another file's.
        with path.open("rb"):
            await take(loop, peer, 20_000)
            with pytest.raises(ValueError, match="I/O operation on closed file"):
                await asyncio.wait_for(sending, 5)
        assert watched(loop, ours) == 0

    run(main())


class Slow(io.BytesIO):
    """Its reads say that they have begun, and go on when they are told."""

    def __init__(self, data):
        super().__init__(data)
        self.started, self.release = threading.Event(), threading.Event()

    def readinto(self, buffer):
        self.started.set()
        assert self.release.wait(5)
        return super().readinto(buffer)


def test_read_that_outlives_its_send_leaves_the_position(loop, run, connect, asyncio_since):
    asyncio_since()

    source = Slow(BIG)

    async def main():
        transport, protocol, _ = await connect()
        sending = loop.create_task(loop.sendfile(transport, source, 100))
        await until(source.started.is_set)
        sending.cancel()
        await asyncio.wait([sending])
        assert transport.get_protocol() is protocol
        source.release.set()
        await loop.shutdown_default_executor()
        assert source.tell() == 100

    run(main())


def test_file_that_is_closed_after_a_cancel_is_no_error(loop, run, connect, reports, asyncio_since):
    asyncio_since()

    source = Slow(BIG)

    async def send(transport):
        with source:
            await loop.sendfile(transport, source)

    async def main():
        transport, protocol, _ = await connect()
        sending = loop.create_task(send(transport))
        await until(source.started.is_set)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        assert transport.get_protocol() is protocol
        source.release.set()
        await loop.shutdown_default_executor()

    run(main())
    assert reports == []


class Unreadable(Recorder):
    """Cannot be told to pause."""

    def pause_writing(self):
        raise LookupError("from pause_writing")


def test_error_of_a_protocol_that_is_told_to_pause_is_reported(
    loop, run, connect, file, reports, asyncio_since
):
    asyncio_since()

    async def main():
        transport, _, _ = await connect(Unreadable)
        narrow(transport)
        transport.set_write_buffer_limits(0)
        sending = loop.create_task(loop._sendfile_fallback(transport, file, 0, None))
        await until(lambda: transport.get_write_buffer_size() > 0)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        transport.abort()

    run(main())
    [report] = reports
    assert report["message"] == "protocol.pause_writing() failed"
