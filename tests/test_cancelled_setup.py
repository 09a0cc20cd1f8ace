"""What sets up connections and servers is cancelled after each number of turns, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

TURNS = range(14)


class Idle(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def eof_received(self):
        return False


def descriptors():
    return set(os.listdir("/proc/self/fd"))


async def end_of(transport):
    transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)


async def leave(result):
    """Close what an operation has made that came to its end before it was cancelled."""
    if isinstance(result, asyncio.AbstractServer):
        result.close()
    elif isinstance(result, tuple) and isinstance(result[0], asyncio.BaseTransport):
        await end_of(result[0])
    elif isinstance(result, tuple) and isinstance(result[1], asyncio.StreamWriter):
        await end_of(result[1].transport)
    elif isinstance(result, tuple) and isinstance(result[0], socket.socket):
        result[0].close()


@pytest.fixture
def cancel_after(loop, run):
    """Cancel an operation after each number of turns; nothing may be left of it."""

    def check(operate, times=1):
        async def main(turns):
            before = descriptors()
            with contextlib.ExitStack() as stack:
                task = loop.create_task(operate(stack))
                for _ in range(turns):
                    await asyncio.sleep(0)
                for _ in range(times):
                    task.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([task], timeout=5)
                assert task.done()
                if not task.cancelled():
                    await leave(task.result())
            for _ in range(4):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            # A lookup that its thread has begun may have files open for a moment more.
            for _ in range(500):
                if descriptors() == before:
                    break
                await asyncio.sleep(0.002)
            assert descriptors() == before
            return task.cancelled()

        # Descriptors that the loop opens once, as for its threads' answers, are there before.
        run(loop.getaddrinfo("localhost", 80))
        outcomes = [run(main(turns)) for turns in TURNS]
        assert outcomes[0]

    return check


@pytest.fixture
def listener():
    """A socket that listens, and never accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def listening(stack, family=socket.AF_INET, address=("127.0.0.1", 0)):
    sock = stack.enter_context(socket.socket(family))
    sock.bind(address)
    sock.listen()
    return sock


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.001, "local_addr": ("127.0.0.1", 0)}])
def test_connecting(loop, cancel_after, asyncio_since, host, options):
    asyncio_since(3, 15)

    async def operate(stack):
        port = listening(stack).getsockname()[1]
        return await loop.create_connection(Idle, host, port, family=socket.AF_INET, **options)

    cancel_after(operate)


@pytest.mark.parametrize("times", [1, 2])
def test_connecting_to_many_addresses_of_which_some_hang(loop, cancel_after, asyncio_since, times):
    asyncio_since()
    resolve = loop.getaddrinfo

    async def getaddrinfo(host, port, **options):
        # A full backlog does not answer; a port that nobody listens on refuses.
        addresses = [("127.0.0.1", hanging.getsockname()[1]), ("127.0.0.1", 1), ("127.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    with contextlib.ExitStack() as outer:
        hanging = outer.enter_context(socket.socket())
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(0)
        for _ in range(3):
            filler = outer.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hanging.getsockname())

        async def operate(stack):
            port = listening(stack).getsockname()[1]
            loop.getaddrinfo = getaddrinfo
            try:
                return await loop.create_connection(Idle, "many", port, happy_eyeballs_delay=0)
            finally:
                loop.getaddrinfo = resolve

        cancel_after(operate, times)


def test_connecting_a_stream(cancel_after, asyncio_since):
    asyncio_since(3, 15)

    async def operate(stack):
        return await asyncio.open_connection(*listening(stack).getsockname())

    cancel_after(operate)


def test_connecting_to_a_unix_socket(loop, cancel_after, asyncio_since, tmp_path):
    asyncio_since(3, 15)

    async def operate(stack):
        path = tmp_path / "socket"
        path.unlink(missing_ok=True)
        listening(stack, socket.AF_UNIX, str(path))
        return await loop.create_unix_connection(Idle, path)

    cancel_after(operate)


def test_taking_over_an_accepted_socket(loop, cancel_after, asyncio_since):
    asyncio_since(3, 15)

    async def operate(stack):
        ours, peer = socket.socketpair()
        stack.enter_context(peer)
        return await loop.connect_accepted_socket(Idle, ours)

    async def begun(stack):
        # Before the task has begun, the socket is nobody's.
        return await operate(stack)

    cancel_after(begun)


@pytest.mark.parametrize("hosts", ["127.0.0.1", ["localhost", "127.0.0.1"]])
def test_listening(loop, cancel_after, asyncio_since, hosts):
    asyncio_since()

    async def operate(_):
        return await loop.create_server(Idle, hosts, 0)

    cancel_after(operate)


def test_listening_on_a_unix_socket(cancel_after, asyncio_since, tmp_path):
    asyncio_since()

    async def operate(_):
        return await asyncio.start_unix_server(lambda *_: None, tmp_path / "socket")

    cancel_after(operate)
    assert not (tmp_path / "socket").exists()


def test_connecting_a_socket(loop, cancel_after, asyncio_since):
    asyncio_since(3, 11)

    async def operate(stack):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        await loop.sock_connect(sock, listening(stack).getsockname())

    cancel_after(operate)


def test_accepting_on_a_socket(loop, cancel_after, asyncio_since):
    # asyncio loses a connection that it accepted in the turn of the cancellation.
    asyncio_since()

    async def operate(stack):
        sock = listening(stack)
        sock.setblocking(False)
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        loop.call_soon(loop.call_soon, client.connect_ex, sock.getsockname())
        return await loop.sock_accept(sock)

    cancel_after(operate)


@pytest.mark.parametrize("method", ["getaddrinfo", "getnameinfo"])
def test_looking_up_names(loop, cancel_after, method, monkeypatch):
    # A real one may still have a file open, on its thread, when the next cancellation is tried.
    monkeypatch.setattr(socket, method, lambda *_, **__: ("localhost", "http"))
    arguments = ("localhost", 80) if method == "getaddrinfo" else (("127.0.0.1", 80),)

    async def operate(_):
        await getattr(loop, method)(*arguments)

    cancel_after(operate)


def test_lookups_that_nobody_waits_for_end_with_the_first_that_fails(loop, run, asyncio_since):
    asyncio_since()
    ended = []

    async def getaddrinfo(host, *_, **__):
        if host == "bad":
            raise socket.gaierror("no such name")
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(host)

    async def main():
        loop.getaddrinfo = getaddrinfo
        try:
            with pytest.raises(socket.gaierror, match="no such name"):
                await loop.create_server(Idle, ["slow", "bad"], 0)
        finally:
            del loop.getaddrinfo
        assert ended == ["slow"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_numeric_names_need_no_thread(loop, run, asyncio_since):
    asyncio_since()
    looked_up = loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    with pytest.raises(StopIteration) as stopped:
        looked_up.send(None)
    assert stopped.value.value == ("127.0.0.1", "80")
    with pytest.raises(socket.gaierror):
        run(loop.getnameinfo(("no address", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
