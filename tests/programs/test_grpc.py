"""grpc.aio, whose network is C and tells the loop by a socket; both sides on the loop under test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .loops import Loop
from .processes import Server, run_python

grpc = pytest.importorskip("grpc.aio", reason="grpcio has no wheel for this Python")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(loop: Loop) -> Iterator[Server]:
    with run_python(loop, "grpc_server.py") as server:
        yield server
        assert server.stop() == 0
    assert "all calls are done" in server.text()


def connect(server: Server) -> Any:
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.enable_http_proxy", 0)])


def test_server_runs_on_the_loop_under_test(loop: Loop, server: Server) -> None:
    assert f"listening on {server.port} with {loop.name}." in server.text()


def test_calls_of_each_kind_are_answered(loop: Loop, server: Server) -> None:
    async def main() -> tuple[list[bytes], list[bytes], bytes]:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield bytes(10_000)

        async with connect(server) as channel:
            double = channel.unary_unary("/test/double")
            doubled = await asyncio.gather(*(double(b"%d," % number) for number in range(200)))
            counted = [message async for message in channel.unary_stream("/test/count")(b"300")]
            return doubled, counted, await channel.stream_unary("/test/total")(parts())

    doubled, counted, total = loop.run(main())
    assert doubled == [b"%d," % number * 2 for number in range(200)]
    assert counted == [b"%d" % number for number in range(300)]
    assert total == b"1000000"


def test_errors_and_deadlines_have_their_status(loop: Loop, server: Server) -> None:
    async def main() -> list[str]:
        names = []
        async with connect(server) as channel:
            for method, message, timeout in (
                ("double", b"refuse", 20),
                ("wait", b"", 0.1),
                ("none", b"", 20),
            ):
                with pytest.raises(grpc.AioRpcError) as raised:
                    await channel.unary_unary(f"/test/{method}")(message, timeout=timeout)
                names.append(raised.value.code().name)
        return names

    assert loop.run(main()) == ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"]


def test_cancelled_call_is_cancelled_in_the_server(loop: Loop, server: Server) -> None:
    async def main() -> bool:
        async with connect(server) as channel:

            async def left() -> int:
                return int(await channel.unary_unary("/test/left")(b""))

            async def wait() -> None:
                await channel.unary_unary("/test/wait")(b"")

            before = await left()
            waiting = asyncio.ensure_future(wait())
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.wait([waiting])
            while await left() == before:
                await asyncio.sleep(0.01)
            return waiting.cancelled()

    assert loop.run(main())
