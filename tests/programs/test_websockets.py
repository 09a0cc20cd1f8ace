"""websockets: its server in a process of its own, its client here, both on the loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from .conftest import Certificates
from .loops import Loop
from .processes import Server, run_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(loop: Loop) -> Iterator[Server]:
    with run_python(loop, "websockets_server.py") as server:
        yield server


@pytest.fixture(scope="module")
def tls_server(loop: Loop, certificates: Certificates) -> Iterator[Server]:
    with run_python(loop, "websockets_server.py", str(certificates.server)) as server:
        yield server


def join(server: Server, path: str = "", **options: object) -> connect:
    return connect(f"ws://127.0.0.1:{server.port}/{path}", proxy=None, max_size=None, **options)


def test_server_runs_on_the_loop_under_test(loop: Loop, server: Server) -> None:
    assert f"listening on {server.port} with {loop.name}." in server.text()


def test_messages_come_back_in_order(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with join(server) as socket:
            for number in range(1000):
                await socket.send(str(number))
            return [await socket.recv() for _ in range(1000)]

    assert loop.run(main()) == [str(number) for number in range(1000)]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_large_message_comes_back_whole(loop: Loop, server: Server, compression: str | None) -> None:
    message = os.urandom(4_000_000)

    async def main() -> bool:
        async with join(server, compression=compression) as socket:
            await socket.send(message)
            return await socket.recv() == message

    assert loop.run(main())


def test_message_of_fragments_comes_back_as_one(loop: Loop, server: Server) -> None:
    async def main() -> object:
        async with join(server) as socket:
            await socket.send(["one ", "two ", "three"])
            return await socket.recv()

    assert loop.run(main()) == "one two three"


def test_many_clients_hear_a_broadcast(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with contextlib.AsyncExitStack() as stack:
            sockets: list[ClientConnection] = await asyncio.gather(
                *(stack.enter_async_context(join(server, "chat")) for _ in range(100))
            )
            # A message that came back proves that its sender has joined.
            for number, socket in enumerate(sockets):
                await socket.send(f"joined {number}")
                while await socket.recv() != f"joined {number}":
                    pass
            await sockets[0].send("to all")
            return await asyncio.gather(*(_recv_until(socket, "to all") for socket in sockets))

    assert loop.run(main()) == ["to all"] * 100


async def _recv_until(socket: ClientConnection, expected: str) -> object:
    while (message := await socket.recv()) != expected:
        pass
    return message


def test_ping_is_answered(loop: Loop, server: Server) -> None:
    async def main() -> float:
        async with join(server) as socket:
            return await (await socket.ping())

    assert 0 <= loop.run(main()) < 10


def test_close_code_and_reason_arrive(loop: Loop, server: Server) -> None:
    async def main() -> tuple[int, str]:
        async with join(server, "close") as socket:
            with pytest.raises(ConnectionClosed) as raised:
                await socket.recv()
            assert raised.value.rcvd is not None
            return raised.value.rcvd.code, raised.value.rcvd.reason

    assert loop.run(main()) == (4001, "as asked")


def test_bug_of_a_handler_closes_its_connection_only(loop: Loop, server: Server) -> None:
    async def main() -> object:
        async with join(server, "bug") as broken, join(server) as other:
            with pytest.raises(ConnectionClosedError):
                await broken.recv()
            await other.send("still here")
            return await other.recv()

    assert loop.run(main()) == "still here"


def test_cancelled_receive_loses_no_message(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with join(server) as socket:
            receiving = asyncio.ensure_future(socket.recv())
            await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving])
            await socket.send("one")
            await socket.send("two")
            return [await socket.recv(), await socket.recv()]

    assert loop.run(main()) == ["one", "two"]


def test_tls_carries_messages_both_ways(loop: Loop, tls_server: Server, certificates: Certificates) -> None:
    message = os.urandom(3_000_000)

    async def talk(number: int) -> bool:
        address = f"wss://127.0.0.1:{tls_server.port}/"
        async with connect(address, ssl=certificates.trust, proxy=None, max_size=None) as socket:
            for small in range(100):
                await socket.send(str(small))
            order = [await socket.recv() for _ in range(100)]
            await socket.send(message)
            return order == [str(small) for small in range(100)] and await socket.recv() == message

    async def main() -> list[bool]:
        return await asyncio.gather(*(talk(number) for number in range(3)))

    assert loop.run(main()) == [True] * 3


def test_server_without_tls_and_unknown_authority_are_refused(
    loop: Loop, server: Server, tls_server: Server, certificates: Certificates
) -> None:
    async def main() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(f"wss://127.0.0.1:{tls_server.port}/", proxy=None)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(f"wss://127.0.0.1:{server.port}/", ssl=certificates.trust, proxy=None)
        # Both serve on.
        async with join(server) as socket:
            await socket.send("still here")
            assert await socket.recv() == "still here"

    loop.run(main())


def test_sigterm_closes_connections_in_order(loop: Loop) -> None:
    async def main(server: Server) -> int:
        async with join(server) as socket:
            await socket.send("hello")
            await socket.recv()
            server.process.terminate()
            with pytest.raises(ConnectionClosed) as raised:
                await socket.recv()
            assert raised.value.rcvd is not None
            return raised.value.rcvd.code

    with run_python(loop, "websockets_server.py") as server:
        assert loop.run(main(server)) == 1001
        assert server.process.wait(10) == 0
    assert "all connections are closed" in server.text()
