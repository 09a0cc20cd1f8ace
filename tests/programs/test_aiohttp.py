"""aiohttp: its server in a process of its own, its client here, both on the loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import ssl
from collections.abc import AsyncIterator, Iterator

import pytest

from .conftest import Certificates
from .loops import Loop
from .processes import Server, run_python, unused_port

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp has no wheel for this Python")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(loop: Loop) -> Iterator[Server]:
    with run_python(loop, "aiohttp_server.py") as server:
        yield server


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}/{path}"


def test_request_is_answered(loop: Loop, server: Server) -> None:
    async def main() -> object:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url(server, "hello"), params={"name": "Ada"}) as response,
        ):
            return response.status, await response.json()

    assert loop.run(main()) == (200, {"hello": "Ada"})


def test_server_runs_on_the_loop_under_test(loop: Loop, server: Server) -> None:
    async def main() -> str:
        async with aiohttp.ClientSession() as session, session.get(url(server, "loop")) as response:
            return (await response.json()).partition(".")[0]

    assert loop.run(main()) == loop.name


def test_many_requests_share_kept_connections(loop: Loop, server: Server) -> None:
    async def main() -> list[str]:
        connector = aiohttp.TCPConnector(limit=10)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(number: int) -> str:
                async with session.get(url(server, "hello"), params={"name": str(number)}) as response:
                    return (await response.json())["hello"]

            return await asyncio.gather(*(ask(number) for number in range(500)))

    assert loop.run(main()) == [str(number) for number in range(500)]


def test_large_body_arrives_whole(loop: Loop, server: Server) -> None:
    body = os.urandom(8_000_000)

    async def main() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url(server, "digest"), data=io.BytesIO(body)) as response,
        ):
            return await response.text()

    assert loop.run(main()) == hashlib.sha256(body).hexdigest()


def test_body_can_be_an_async_generator(loop: Loop, server: Server) -> None:
    async def main() -> str:
        async def parts():
            for number in range(100):
                await asyncio.sleep(0)
                yield bytes([number]) * 1000

        async with (
            aiohttp.ClientSession() as session,
            session.post(url(server, "digest"), data=parts()) as response,
        ):
            return await response.text()

    expected = b"".join(bytes([number]) * 1000 for number in range(100))
    assert loop.run(main()) == hashlib.sha256(expected).hexdigest()


def test_slow_reader_gets_all_of_a_stream(loop: Loop, server: Server) -> None:
    async def main() -> int:
        async with (
            aiohttp.ClientSession(read_bufsize=1024) as session,
            session.get(url(server, "stream"), params={"bytes": 5_000_000}) as response,
        ):
            received = 0
            async for chunk in response.content.iter_chunked(100_000):
                received += len(chunk)
                await asyncio.sleep(0)
            return received

    assert loop.run(main()) == 5_000_000


def test_websocket_echoes_messages_of_each_kind(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url(server, "echo")) as socket:
            answers: list[object] = []
            for message in ("text", "ü" * 100_000):
                await socket.send_str(message)
                answers.append((await socket.receive()).data == message)
            await socket.send_bytes(bytes(300_000))
            answers.append(len((await socket.receive()).data))
            return answers

    assert loop.run(main()) == [True, True, 300_000]


def test_request_that_takes_too_long_times_out(loop: Loop, server: Server) -> None:
    async def main() -> None:
        timeout = aiohttp.ClientTimeout(total=0.1)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url(server, "slow")):
            pass

    with pytest.raises(asyncio.TimeoutError):
        loop.run(main())


def test_server_notices_that_a_client_left(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:

            async def count() -> list[int]:
                async with session.get(url(server, "slow/count")) as response:
                    return await response.json()

            while (await count())[0]:
                await asyncio.sleep(0.01)
            abandoned = (await count())[1]
            request = asyncio.ensure_future(session.get(url(server, "slow")).__aenter__())
            while await count() != [1, abandoned]:
                await asyncio.sleep(0.01)
            request.cancel()
            await asyncio.wait([request])
            while await count() != [0, abandoned + 1]:
                await asyncio.sleep(0.01)

    loop.run(main())


def test_refused_connection_is_reported(loop: Loop) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{unused_port()}/")

    with pytest.raises(aiohttp.ClientConnectorError):
        loop.run(main())


@pytest.fixture(scope="module")
def tls_server(loop: Loop, certificates: Certificates) -> Iterator[Server]:
    with run_python(loop, "aiohttp_server.py", str(certificates.server)) as server:
        yield server


@contextlib.asynccontextmanager
async def tls_session(server: Server, trust: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(f"https://127.0.0.1:{server.port}", connector=connector) as session:
        yield session
    # aiohttp's documented wait for the TLS connections that it closes.
    await asyncio.sleep(0.05)


def test_tls_carries_requests_both_ways(loop: Loop, tls_server: Server, certificates: Certificates) -> None:
    body = os.urandom(3_000_000)

    async def main() -> tuple[str, int]:
        async with tls_session(tls_server, certificates.trust) as session:
            async with session.post("/digest", data=io.BytesIO(body)) as response:
                digest = await response.text()
            async with session.get("/stream", params={"bytes": 3_000_000}) as response:
                return digest, len(await response.read())

    assert loop.run(main()) == (hashlib.sha256(body).hexdigest(), 3_000_000)


def test_tls_carries_many_requests_at_once_and_a_websocket(
    loop: Loop, tls_server: Server, certificates: Certificates
) -> None:
    async def main() -> tuple[int, bool]:
        async with tls_session(tls_server, certificates.trust) as session:

            async def ask(number: int) -> bool:
                async with session.get("/hello", params={"name": str(number)}) as response:
                    return (await response.json())["hello"] == str(number)

            answered = sum(await asyncio.gather(*(ask(number) for number in range(200))))
            message = "ü" * 200_000
            async with session.ws_connect("/echo") as socket:
                await socket.send_str(message)
                return answered, (await socket.receive()).data == message

    assert loop.run(main()) == (200, True)


def test_certificate_of_an_unknown_authority_is_refused(loop: Loop, tls_server: Server) -> None:
    async def main() -> None:
        async with tls_session(tls_server, ssl.create_default_context()) as session:
            await session.get("/hello")

    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        loop.run(main())


def test_sigterm_stops_the_server_in_order(loop: Loop) -> None:
    with run_python(loop, "aiohttp_server.py") as server:
        assert loop.run(_status(url(server, "hello"))) == 200

        assert server.stop() == 0
    assert "cleaned up" in server.text()


async def _status(address: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return response.status
