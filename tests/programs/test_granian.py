"""FastAPI on granian, whose network is Rust and whose application runs on the loop under test."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator

import httpx
import pytest

from .loops import Loop
from .processes import SERVERS, Server, running, unused_port

pytest.importorskip("fastapi", reason="FastAPI has no wheel for this Python")
pytest.importorskip("granian", reason="granian has no wheel for this Python")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(loop: Loop) -> Iterator[tuple[Server, int]]:
    port = unused_port()
    words = ["--interface", "asgi", "--loop", "asyncio", "--port", str(port)]
    command = [*loop.python, "-m", "granian", *words, "fastapi_app:app"]
    with running(command, "Started worker-1", cwd=SERVERS) as server:
        yield server, port


def client(server: tuple[Server, int]) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(retries=10)
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server[1]}", transport=transport, trust_env=False, timeout=20
    )


def test_application_runs_on_the_loop_under_test(loop: Loop, server: tuple[Server, int]) -> None:
    async def main() -> str:
        async with client(server) as session:
            return (await session.get("/loop")).json().partition(".")[0]

    assert loop.run(main()) == loop.name


def test_requests_are_served_at_once_with_bodies_and_streams(loop: Loop, server: tuple[Server, int]) -> None:
    body = os.urandom(2_000_000)

    async def main() -> tuple[list[float], str, int]:
        async with client(server) as session:

            async def ask(number: int) -> float:
                return (await session.post("/items", json={"name": "a", "price": number})).json()["price"]

            prices = await asyncio.gather(*(ask(number) for number in range(100)))
            digest = (await session.post("/digest", content=body)).json()
            lines = (await session.get("/stream", params={"lines": 1000})).text.count("\n")
            return prices, digest, lines

    expected = ([number * 2 for number in range(100)], hashlib.sha256(body).hexdigest(), 1000)
    assert loop.run(main()) == expected


def test_sigterm_shuts_the_application_down(server: tuple[Server, int]) -> None:
    assert server[0].stop() == 0
    assert "application shut down" in server[0].text()
