"""FastAPI on hypercorn over TLS, and httpx with HTTP/1.1 and HTTP/2, both on the loop under test."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from .conftest import Certificates
from .loops import Loop
from .processes import SERVERS, Server, running

pytest.importorskip("fastapi", reason="FastAPI has no wheel for this Python")
pytest.importorskip("hypercorn", reason="hypercorn has no wheel for this Python")
pytestmark = pytest.mark.slow

READY = r"Running on https://127\.0\.0\.1:(?P<port>\d+)"


def serve_on(loop: Loop, certificates: Certificates, *words: str) -> list[str]:
    certificate = str(certificates.server)
    tls = ["--certfile", certificate, "--keyfile", certificate, "--graceful-timeout", "1"]
    return [*loop.python, "-m", "hypercorn", *tls, "-b", "127.0.0.1:0", *words, "fastapi_app:app"]


@pytest.fixture(scope="module")
def server(loop: Loop, certificates: Certificates) -> Iterator[Server]:
    # No worker process: `--workers 0` serves in the process that was started.
    with running(serve_on(loop, certificates, "--workers", "0"), READY, cwd=SERVERS) as server:
        yield server


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


def client(server: Server, trust: ssl.SSLContext, version: str = "HTTP/2") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{server.port}",
        verify=trust,
        http2=version == "HTTP/2",
        trust_env=False,
        timeout=20,
    )


def test_server_runs_on_the_loop_under_test(
    loop: Loop, server: Server, certificates: Certificates, version: str
) -> None:
    async def main() -> tuple[str, str]:
        async with client(server, certificates.trust, version) as session:
            response = await session.get("/loop")
            return response.http_version, response.json().partition(".")[0]

    assert loop.run(main()) == (version, loop.name)


def test_many_requests_are_served_at_once(
    loop: Loop, server: Server, certificates: Certificates, version: str
) -> None:
    async def main() -> list[object]:
        async with client(server, certificates.trust, version) as session:

            async def ask(number: int) -> object:
                return (await session.post("/items", json={"name": "a", "price": number})).json()["price"]

            return await asyncio.gather(*(ask(number) for number in range(100)))

    assert loop.run(main()) == [number * 2 for number in range(100)]


def test_bodies_are_streamed_both_ways(
    loop: Loop, server: Server, certificates: Certificates, version: str
) -> None:
    parts = [os.urandom(40_000) for _ in range(50)]

    async def main() -> tuple[str, int]:
        async def body() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        async with client(server, certificates.trust, version) as session:
            digest = (await session.post("/digest", content=body())).json()
            async with session.stream("GET", "/stream", params={"lines": 2000}) as response:
                return digest, len([line async for line in response.aiter_lines()])

    assert loop.run(main()) == (hashlib.sha256(b"".join(parts)).hexdigest(), 2000)


def test_client_may_leave_a_stream_early(
    loop: Loop, server: Server, certificates: Certificates, version: str
) -> None:
    async def main() -> tuple[str, int]:
        async with client(server, certificates.trust, version) as session:
            async with session.stream("GET", "/stream", params={"lines": 100_000}) as response:
                first = await anext(response.aiter_lines())
            return first, (await session.get("/background")).status_code

    assert loop.run(main()) == ("line 0", 200)


def test_cancelled_request_does_not_spoil_the_client(
    loop: Loop, server: Server, certificates: Certificates, version: str
) -> None:
    async def main() -> tuple[bool, int]:
        async with client(server, certificates.trust, version) as session:
            request = asyncio.ensure_future(session.get("/in-a-thread", params={"seconds": 0.3}))
            await asyncio.sleep(0.1)
            request.cancel()
            await asyncio.wait([request])
            return request.cancelled(), (await session.get("/background")).status_code

    assert loop.run(main()) == (True, 200)


def test_certificate_of_an_unknown_authority_is_refused(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with client(server, ssl.create_default_context()) as session:
            await session.get("/loop")

    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        loop.run(main())


def test_workers_run_on_the_loop_of_their_parent_and_sigterm_ends_them(
    loop: Loop, certificates: Certificates
) -> None:
    with running(serve_on(loop, certificates, "--workers", "1"), READY, cwd=SERVERS) as server:

        async def main() -> str:
            async with client(server, certificates.trust) as session:
                return (await session.get("/loop")).json().partition(".")[0]

        assert loop.run(main()) == loop.name
        assert server.stop() == 0
    assert "application shut down" in server.text()
