"""FastAPI on uvicorn in a process of its own, httpx here, both on the loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from websockets.asyncio.client import connect

from .loops import Loop
from .processes import SERVERS, Server, running, unused_port

pytest.importorskip("fastapi", reason="FastAPI has no wheel for this Python")
pytestmark = pytest.mark.slow

READY = r"Uvicorn running on http://127\.0\.0\.1:(?P<port>\d+)"
APPLICATION = ("uvicorn", "fastapi_app:app", "--port", "0", "--no-access-log")


@pytest.fixture(scope="module")
def server(loop: Loop) -> Iterator[Server]:
    with running(serve_on(loop), READY, cwd=SERVERS) as server:
        yield server


def serve_on(loop: Loop) -> list[str]:
    # `--loop asyncio` keeps uvicorn from taking uvloop if that is installed; the loop is the runner's.
    return [*loop.python, "-m", *APPLICATION, "--loop", "none" if loop.name == "tonnage" else "asyncio"]


def client(server: Server | int) -> httpx.AsyncClient:
    # Without `trust_env` no proxy of the environment gets between the two.
    port = server if isinstance(server, int) else server.port
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)


def test_json_is_validated_and_answered(loop: Loop, server: Server) -> None:
    async def main() -> tuple[object, int]:
        async with client(server) as session:
            good = await session.post("/items", json={"name": "rope", "price": 1.5})
            bad = await session.post("/items", json={"name": "rope"})
            return good.json(), bad.status_code

    assert loop.run(main()) == ({"name": "ROPE", "price": 3.0}, 422)


def test_server_runs_on_the_loop_under_test(loop: Loop, server: Server) -> None:
    async def main() -> str:
        async with client(server) as session:
            return (await session.get("/loop")).json().partition(".")[0]

    assert loop.run(main()) == loop.name


def test_many_clients_are_served_at_once(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with client(server) as session:

            async def ask(number: int) -> object:
                return (await session.post("/items", json={"name": "a", "price": number})).json()["price"]

            return await asyncio.gather(*(ask(number) for number in range(200)))

    assert loop.run(main()) == [number * 2 for number in range(200)]


def test_threads_of_the_server_do_not_block_it(loop: Loop, server: Server) -> None:
    async def main() -> list[str]:
        async with client(server) as session:
            slow = asyncio.create_task(session.get("/in-a-thread", params={"seconds": 1}))
            quick = asyncio.create_task(session.get("/background"))
            order = []
            slow.add_done_callback(lambda _: order.append("slow"))
            quick.add_done_callback(lambda _: order.append("quick"))
            await asyncio.gather(slow, quick)
            assert slow.result().json() == "done"
            return order

    assert loop.run(main()) == ["quick", "slow"]


def test_errors_of_the_application_have_their_status(loop: Loop, server: Server) -> None:
    async def main() -> list[int]:
        statuses = []
        for path in ("/broken", "/bug", "/missing"):
            # A client each: uvicorn closes the connection on which the application failed.
            async with client(server) as session:
                statuses.append((await session.get(path)).status_code)
        return statuses

    assert loop.run(main()) == [418, 500, 404]


def test_response_is_streamed(loop: Loop, server: Server) -> None:
    async def main() -> list[str]:
        async with (
            client(server) as session,
            session.stream("GET", "/stream", params={"lines": 500}) as response,
        ):
            return [line async for line in response.aiter_lines()]

    assert loop.run(main()) == [f"line {number}" for number in range(500)]


def test_client_may_leave_a_stream_early(loop: Loop, server: Server) -> None:
    async def main() -> tuple[str, int]:
        async with client(server) as session:
            async with session.stream("GET", "/stream", params={"lines": 100_000}) as response:
                first = await anext(response.aiter_lines())
            return first, (await session.get("/background")).status_code

    assert loop.run(main()) == ("line 0", 200)


def test_request_body_is_streamed(loop: Loop, server: Server) -> None:
    parts = [os.urandom(70_000) for _ in range(50)]

    async def main() -> str:
        async def body() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        async with client(server) as session:
            return (await session.post("/digest", content=body())).json()

    assert loop.run(main()) == hashlib.sha256(b"".join(parts)).hexdigest()


def test_background_task_runs_after_the_response(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with client(server) as session:
            await session.post("/background/report")
            while "report" not in (await session.get("/background")).json():
                await asyncio.sleep(0.01)

    loop.run(main())


def test_websocket_echoes(loop: Loop, server: Server) -> None:
    async def main() -> list[object]:
        async with connect(f"ws://127.0.0.1:{server.port}/echo", proxy=None) as socket:
            answers = []
            for message in ("one", "two" * 50_000):
                await socket.send(message)
                answers.append(await socket.recv() == message)
            return answers

    assert loop.run(main()) == [True, True]


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_shuts_the_application_down(loop: Loop, signal_number: signal.Signals) -> None:
    with running(serve_on(loop), READY, cwd=SERVERS) as server:
        exit_code = server.stop(signal_number)

    assert "application shut down" in server.text()
    # uvicorn shuts down in order, and then gives the signal to itself again.
    assert exit_code in (0, -signal_number, 128 + signal_number), server.text()


def test_uvicorn_takes_the_loop_as_its_option(loop: Loop) -> None:
    factory = {"asyncio": "asyncio:SelectorEventLoop", "tonnage": "tonnage:new_event_loop"}[loop.name]
    command = [sys.executable, "-m", *APPLICATION, "--loop", factory]
    with running(command, READY, cwd=SERVERS) as server:

        async def main() -> str:
            async with client(server) as session:
                return (await session.get("/loop")).json().partition(".")[0]

        assert loop.run(main()) == loop.name


def test_worker_processes_run_on_the_loop_of_their_parent(loop: Loop) -> None:
    # uvicorn starts its workers by multiprocessing's `spawn`, so each begins as a new interpreter.
    port = unused_port()
    command = [*serve_on(loop), "--workers", "2", "--port", str(port)]
    with running(command, "Application startup complete", cwd=SERVERS) as server:

        async def main() -> set[str]:
            names: list[str] = []
            while len(names) < 10:
                # A worker says that the application has started just before it listens.
                with contextlib.suppress(httpx.ConnectError):
                    async with client(port) as session:
                        names.append((await session.get("/loop")).json().partition(".")[0])
            return set(names)

        assert loop.run(main()) == {loop.name}
        assert server.stop() == 0
