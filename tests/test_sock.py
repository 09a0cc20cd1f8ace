"""The loop's `sock_*` methods, on the user's own sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl

import pytest
import tonnage
from live_objects import all_let_go

BIG = b"0123456789abcdef" * (1024 * 1024 // 16)


@pytest.fixture
def pair(pairs):
    """Two connected non-blocking stream sockets."""
    return pairs()


@pytest.fixture
def datagram_pair():
    """Two non-blocking datagram sockets with addresses."""
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in pair:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


@pytest.fixture
def listener():
    """A non-blocking socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def watched(loop, sock):
    """What the loop waits for on the socket: nothing is 0."""
    if isinstance(loop, tonnage.EventLoop):
        return loop._watched_events(sock.fileno())
    key = loop._selector.get_map().get(sock.fileno())
    return 0 if key is None else key.events


def test_bytes_that_are_there_come_at_once(loop, pair, run):
    ours, peer = pair
    peer.send(b"hello")
    operation = loop.sock_recv(ours, 3)
    with pytest.raises(StopIteration) as stopped:
        operation.send(None)
    assert stopped.value.value == b"hel"
    assert run(loop.sock_recv(ours, 100)) == b"lo"


def test_operation_acts_when_it_is_awaited(loop, pair, run):
    ours, peer = pair
    peer.send(b"1")
    operation = loop.sock_recv(ours, 100)
    peer.send(b"2")
    assert run(operation) == b"12"


def test_bytes_are_waited_for(loop, pair, run):
    ours, peer = pair
    loop.call_later(0.01, peer.send, b"late")
    assert run(loop.sock_recv(ours, 100)) == b"late"
    peer.close()
    assert run(loop.sock_recv(ours, 100)) == b""


def test_bytes_are_put_into_a_buffer(loop, pair, run):
    ours, peer = pair
    buffer = bytearray(8)
    peer.send(b"now")
    assert run(loop.sock_recv_into(ours, buffer)) == 3
    loop.call_later(0.01, peer.send, b"later")
    assert run(loop.sock_recv_into(ours, memoryview(buffer)[3:])) == 5
    assert buffer == b"nowlater"


def test_datagrams_come_with_their_sender(loop, datagram_pair, run, asyncio_since):
    asyncio_since(3, 11)
    ours, peer = datagram_pair
    assert run(loop.sock_sendto(peer, b"first", ours.getsockname())) == 5
    assert run(loop.sock_recvfrom(ours, 100)) == (b"first", peer.getsockname())
    loop.call_later(0.01, peer.sendto, b"second", ours.getsockname())
    assert run(loop.sock_recvfrom(ours, 100)) == (b"second", peer.getsockname())
    buffer = bytearray(10)
    loop.call_later(0.01, peer.sendto, b"third", ours.getsockname())
    assert run(loop.sock_recvfrom_into(ours, buffer)) == (5, peer.getsockname())
    loop.call_later(0.01, peer.sendto, b"fourth", ours.getsockname())
    assert run(loop.sock_recvfrom_into(ours, buffer, 3)) == (3, peer.getsockname())
    assert buffer[:5] == b"fourd"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_everything_is_sent(loop, pair, run, kind):
    ours, peer = pair

    async def main():
        sending = loop.create_task(loop.sock_sendall(ours, kind(BIG)))
        received = bytearray()
        while len(received) < len(BIG):
            received += await loop.sock_recv(peer, 65536)
        assert await sending is None
        assert received == BIG

    run(main())


def test_buffer_of_larger_items_is_sent(loop, pair, run, asyncio_since):
    asyncio_since()
    ours, peer = pair
    numbers = memoryview(bytearray(range(16))).cast("I")
    run(loop.sock_sendall(ours, numbers))
    assert peer.recv(100) == bytes(range(16))


def test_client_connects_and_server_accepts(loop, listener, run):
    async def main():
        accepting = loop.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0)
        client = socket.socket()
        client.setblocking(False)
        assert await loop.sock_connect(client, ("localhost", listener.getsockname()[1])) is None
        connection, address = await accepting
        assert address == client.getsockname()
        assert connection.gettimeout() == 0
        await loop.sock_sendall(client, b"hello")
        assert await loop.sock_recv(connection, 100) == b"hello"
        client.close()
        connection.close()

    run(main())


def test_refused_connection_names_its_address(loop, run):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as caught:
                run(loop.sock_connect(client, address))
            assert caught.value.errno == errno.ECONNREFUSED
            assert str(address) in str(caught.value)
            assert watched(loop, client) == 0


def test_unix_socket_connects(loop, run, tmp_path):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.setblocking(False)
        run(loop.sock_connect(client, str(tmp_path / "socket")))


def test_full_backlog_of_a_unix_server_is_no_connection(loop, run, asyncio_since, tmp_path):
    asyncio_since()  # asyncio takes it for one.
    path = str(tmp_path / "socket")

    async def main():
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(path)
            server.listen(0)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            await loop.sock_connect(sock, path)
            with pytest.raises(BlockingIOError):
                await loop.create_unix_connection(asyncio.Protocol, path)
            server.accept()[0].close()
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
            transport.close()
            await asyncio.sleep(0)

    run(main())


OPERATIONS = [
    ("sock_recv", (1,)),
    ("sock_recv_into", (bytearray(1),)),
    ("sock_recvfrom", (1,)),
    ("sock_recvfrom_into", (bytearray(1),)),
    ("sock_sendall", (b"x",)),
    ("sock_sendto", (b"x", ("127.0.0.1", 1))),
    ("sock_connect", (("127.0.0.1", 1),)),
    ("sock_accept", ()),
]


@pytest.mark.parametrize(("method", "args"), OPERATIONS)
def test_blocking_socket_is_refused_in_debug_mode(loop, run, asyncio_since, method, args):
    asyncio_since(3, 11)
    loop.set_debug(True)
    with socket.socket() as sock, pytest.raises(ValueError, match="the socket must be non-blocking"):
        run(getattr(loop, method)(sock, *args))


@pytest.mark.parametrize(("method", "args"), OPERATIONS)
def test_tls_socket_is_refused(loop, run, asyncio_since, method, args):
    asyncio_since(3, 11)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with (
        context.wrap_socket(socket.socket()) as sock,
        pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"),
    ):
        run(getattr(loop, method)(sock, *args))


@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"])
def test_cancelled_wait_leaves_no_watcher_and_no_loss(loop, pair, run, asyncio_since, method):
    asyncio_since(3, 11)
    ours, peer = pair
    argument = bytearray(100) if method.endswith("into") else 100

    async def main():
        task = loop.create_task(getattr(loop, method)(ours, argument))
        await asyncio.sleep(0.001)
        assert watched(loop, ours) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert watched(loop, ours) == 0
        peer.send(b"kept")
        assert await loop.sock_recv(ours, 100) == b"kept"

    run(main())


@pytest.mark.parametrize("turns", range(4))
def test_cancellation_after_the_bytes_came_loses_none(loop, pair, run, asyncio_since, turns):
    asyncio_since()
    ours, peer = pair

    async def main():
        task = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0.001)
        peer.send(b"kept")
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            assert ours.recv(100) == b"kept"
        else:
            assert task.result() == b"kept"

    run(main())


def test_cancelled_send_leaves_no_watcher(loop, pair, run):
    ours, _ = pair

    async def main():
        task = loop.create_task(loop.sock_sendall(ours, BIG))
        await asyncio.sleep(0.001)
        assert watched(loop, ours) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert watched(loop, ours) == 0

    run(main())


def test_reading_and_writing_wait_side_by_side(loop, pair, run):
    ours, peer = pair

    async def main():
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        sending = loop.create_task(loop.sock_sendall(ours, BIG))
        await asyncio.sleep(0.001)
        assert watched(loop, ours) == 3
        received = 0
        while received < len(BIG):
            received += len(await loop.sock_recv(peer, 65536))
        await sending
        await loop.sock_sendall(peer, b"answer")
        assert await receiving == b"answer"
        await asyncio.sleep(0)
        assert watched(loop, ours) == 0

    run(main())


def test_second_wait_replaces_the_first(loop, pair, run):
    ours, peer = pair

    async def main():
        first = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0.001)
        second = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.sleep(0.001)
        peer.send(b"x")
        assert await second == b"x"

    run(main())


def test_socket_of_a_transport_is_refused(loop, run):
    async def main():
        ours, peer = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(ours, 100)
        transport.abort()
        peer.close()
        await asyncio.sleep(0)

    run(main())


def test_error_of_the_socket_is_raised(loop, pair, run):
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        run(loop.sock_recv(ours, 100))


# A plain socket is used by its descriptor, any other object by its methods.


class Counting(socket.socket):
    """Overrides what the operations call."""

    def recv(self, *args):
        self.calls = [*getattr(self, "calls", []), "recv"]
        return super().recv(*args)

    def recv_into(self, *args):
        self.calls = [*getattr(self, "calls", []), "recv_into"]
        return super().recv_into(*args)

    def send(self, data, *args):
        self.calls = [*getattr(self, "calls", []), "send"]
        return super().send(memoryview(data)[:50_000], *args)


def test_methods_of_a_subclass_are_called(loop, pair, run):
    ours, peer = pair
    counting = Counting(fileno=ours.detach())
    counting.setblocking(False)

    async def main():
        loop.call_later(0.005, peer.send, b"late")
        assert await loop.sock_recv(counting, 100) == b"late"
        loop.call_later(0.005, peer.send, b"later")
        assert await loop.sock_recv_into(counting, bytearray(100)) == 5
        sending = loop.create_task(loop.sock_sendall(counting, BIG))
        received = bytearray()
        while len(received) < len(BIG):
            received += await loop.sock_recv(peer, 65536)
        await sending
        assert received == BIG

    with counting:
        run(main())
        assert counting.calls[:4] == ["recv", "recv", "recv_into", "recv_into"]
        assert set(counting.calls[4:]) == {"send"}


@pytest.mark.parametrize("n", [-1, "1", None, 1.5])
def test_unusable_number_of_bytes_is_refused_as_by_the_socket(loop, pair, run, n):
    ours, peer = pair
    peer.send(b"x")
    with pytest.raises((TypeError, ValueError)) as raised:
        run(loop.sock_recv(ours, n))
    with pytest.raises(type(raised.value)) as expected:
        ours.recv(n)
    assert str(raised.value) == str(expected.value)
    assert ours.recv(1) == b"x"


@pytest.mark.parametrize("method", ["sock_recv_into", "sock_sendall"])
@pytest.mark.parametrize("wrong", ["text", b"read only", None, 5, memoryview(bytearray(8))[::2]])
def test_unusable_memory_is_refused_as_by_the_socket(loop, pair, run, method, wrong):
    if method == "sock_sendall" and isinstance(wrong, bytes):
        pytest.skip("bytes can be sent")
    ours, peer = pair
    peer.send(b"x")
    with pytest.raises((TypeError, BufferError)) as raised:
        run(getattr(loop, method)(ours, wrong))
    with pytest.raises(type(raised.value)) as expected:
        ours.recv_into(wrong) if method == "sock_recv_into" else ours.send(wrong)
    assert str(raised.value) == str(expected.value)
    assert ours.recv(1) == b"x"


def test_nothing_and_very_much_can_be_asked_for(loop, pair, run):
    ours, peer = pair
    peer.send(b"some")
    assert run(loop.sock_recv(ours, 0)) == b""
    assert run(loop.sock_recv_into(ours, bytearray())) in (0, 4)
    peer.send(b"more")
    assert run(loop.sock_recv(ours, 10 * 2**20)).endswith(b"more")
    assert run(loop.sock_sendall(ours, b"")) is None


def test_large_and_small_reads_take_turns(loop, pair, run):
    ours, peer = pair
    for size in (1, 100_000, 50_000, 1, 40_000, 100_000, 5):
        peer.send(BIG[:size])
        assert run(loop.sock_recv(ours, 2**18)) == BIG[:size]
        peer.send(BIG[:size])
        assert run(loop.sock_recv(ours, 2**20)) == BIG[:size]


def test_datagram_larger_than_a_buffer_is_received_whole(loop, run):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, peer:
        ours.setblocking(False)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 600_000)
        peer.send(BIG[:150_000])
        assert run(loop.sock_recv(ours, 400_000)) == BIG[:150_000]


def test_blocking_socket_does_not_hold_up_the_loop(loop, run, asyncio_since):
    asyncio_since()
    ours, peer = socket.socketpair()

    async def main():
        receiving = loop.create_task(loop.sock_recv(ours, 10))
        sending = loop.create_task(loop.sock_sendall(peer, BIG))
        await asyncio.sleep(0.001)
        assert await receiving == BIG[:10]
        received = 10
        while received < len(BIG):
            received += len(await loop.sock_recv(ours, 2**18))
        await sending

    with ours, peer:
        run(main())


def test_size_of_what_is_being_sent_cannot_change(loop, pair, run):
    ours, peer = pair
    data = bytearray(BIG)

    async def main():
        sending = loop.create_task(loop.sock_sendall(ours, data))
        await asyncio.sleep(0.001)
        with pytest.raises(BufferError):
            data.clear()
        received = bytearray()
        while len(received) < len(BIG):
            received += await loop.sock_recv(peer, 65536)
        await sending
        assert received == BIG

    run(main())
    data.clear()


@pytest.mark.parametrize("way", ["close", "drop"])
def test_coroutine_that_ends_while_it_waits_leaves_no_watcher(loop, pair, run, asyncio_since, way):
    asyncio_since()
    ours, _ = pair

    async def main():
        operation = loop.sock_recv(ours, 1)
        operation.send(None)
        assert watched(loop, ours) == 1
        if way == "close":
            operation.close()
        del operation
        assert watched(loop, ours) == 0

    run(main())


def test_operation_that_is_never_awaited_warns(loop, pair):
    with pytest.warns(RuntimeWarning, match="sock_recv' was never awaited"):
        loop.sock_recv(pair[0], 1)


def test_user_watches_in_the_place_of_an_operation(loop, pair, run):
    ours, peer = pair

    async def main():
        receiving = loop.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0.001)
        seen = loop.create_future()
        loop.add_reader(ours, lambda: seen.done() or seen.set_result(None))
        peer.send(b"x")
        await asyncio.wait_for(seen, 5)
        receiving.cancel()
        await asyncio.wait([receiving])
        assert watched(loop, ours) == 1
        assert loop.remove_reader(ours)

    run(main())


def test_tasks_of_asyncio_await_operations_too(loop, pair, run):
    ours, peer = pair

    async def main():
        task = asyncio.tasks._PyTask(loop.sock_recv(ours, 10), loop=loop)
        await asyncio.sleep(0.001)
        peer.send(b"late")
        assert await task == b"late"

    run(main())


def test_nothing_is_left_of_operations(pair):
    ours, peer = pair

    async def main():
        loop = asyncio.get_running_loop()
        buffer = bytearray(10)
        for cancels in (False, True):
            for operate in (
                lambda: loop.sock_recv(ours, 1),
                lambda: loop.sock_recv_into(ours, buffer),
            ):
                task = loop.create_task(operate())
                await asyncio.sleep(0)
                if cancels:
                    task.cancel()
                else:
                    peer.send(b"x")
                await asyncio.wait([task])

    for _ in all_let_go():
        tonnage.run(main())


@pytest.mark.parametrize("count", [2**63, 2**64 - 1, 2**64])
def test_count_that_is_no_size_is_refused(loop, pair, run, count):
    ours, _ = pair
    with pytest.raises(OverflowError, match="Python int too large to convert to C ssize_t"):
        run(loop.sock_recv(ours, count))
