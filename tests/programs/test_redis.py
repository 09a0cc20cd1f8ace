"""redis-py's asyncio client on the loop under test, against a real redis-server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from .loops import Loop
from .processes import find_program, running, unused_port

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Redis:
    port: int
    socket: Path

    @contextlib.asynccontextmanager
    async def client(self, **options: object) -> AsyncIterator[redis.Redis]:
        """Return a client of an empty database."""
        client = redis.Redis(port=self.port, decode_responses=True, **options)
        try:
            await client.flushdb()
            yield client
        finally:
            await client.aclose()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with start(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextlib.contextmanager
def start(directory: Path) -> Iterator[Redis]:
    server = Redis(unused_port(), directory / "socket")
    options = {
        "port": server.port,
        "bind": "127.0.0.1",
        "unixsocket": server.socket,
        "dir": directory,
        "save": "",
    }
    command = [find_program("redis-server", "redis-server")]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    with running(command, "Ready to accept connections"):
        yield server


def test_value_is_kept(loop: Loop, server: Redis) -> None:
    async def main() -> object:
        async with server.client() as client:
            await client.set("name", "Ada")
            return await client.get("name"), await client.get("missing")

    assert loop.run(main()) == ("Ada", None)


def test_unix_socket_serves_as_well(loop: Loop, server: Redis) -> None:
    async def main() -> object:
        client = redis.Redis(unix_socket_path=str(server.socket))
        try:
            await client.set("by", "socket")
            return await client.get("by")
        finally:
            await client.aclose()

    assert loop.run(main()) == b"socket"


def test_many_tasks_share_a_pool(loop: Loop, server: Redis) -> None:
    async def main() -> int:
        async with contextlib.AsyncExitStack() as stack:
            pool = redis.BlockingConnectionPool(port=server.port, max_connections=10, timeout=20)
            client = await stack.enter_async_context(redis.Redis(connection_pool=pool))
            stack.push_async_callback(pool.aclose)
            await client.delete("counter")
            return max(await asyncio.gather(*(client.incr("counter") for _ in range(1000))))

    assert loop.run(main()) == 1000


def test_pipeline_sends_everything_at_once(loop: Loop, server: Redis) -> None:
    async def main() -> list[object]:
        async with server.client() as client, client.pipeline(transaction=True) as pipeline:
            for number in range(5000):
                pipeline.rpush("numbers", number)
            pipeline.lrange("numbers", 0, -1)
            return (await pipeline.execute())[-1]

    assert loop.run(main()) == [str(number) for number in range(5000)]


def test_large_value_comes_back_whole(loop: Loop, server: Redis) -> None:
    value = "ü" * 5_000_000

    async def main() -> bool:
        async with server.client() as client:
            await client.set("large", value)
            return await client.get("large") == value

    assert loop.run(main())


def test_published_messages_reach_each_subscriber(loop: Loop, server: Redis) -> None:
    async def main() -> list[list[str]]:
        async with server.client() as client:
            ready: list[None] = []

            async def subscriber() -> list[str]:
                async with client.pubsub() as channel:
                    await channel.subscribe("news")
                    received: list[str] = []
                    async for message in channel.listen():
                        if message["type"] == "subscribe":
                            ready.append(None)
                        else:
                            received.append(message["data"])
                            if len(received) == 100:
                                break
                    return received

            tasks = [asyncio.ensure_future(subscriber()) for _ in range(5)]
            while len(ready) < 5:
                await asyncio.sleep(0.01)
            for number in range(100):
                await client.publish("news", number)
            return await asyncio.gather(*tasks)

    assert loop.run(main()) == [[str(number) for number in range(100)]] * 5


def test_blocking_pop_wakes_when_an_item_comes(loop: Loop, server: Redis) -> None:
    async def main() -> object:
        async with server.client() as client:
            popping = asyncio.ensure_future(client.blpop(["queue"], timeout=10))
            await asyncio.sleep(0.05)
            await client.rpush("queue", "item")
            return await popping

    assert tuple(loop.run(main())) == ("queue", "item")


def test_blocking_pop_that_is_cancelled_does_not_spoil_the_client(loop: Loop, server: Redis) -> None:
    async def main() -> object:
        async with server.client() as client:
            popping = asyncio.ensure_future(client.blpop(["queue"], timeout=10))
            await asyncio.sleep(0.05)
            popping.cancel()
            await asyncio.wait([popping])
            await client.set("after", "1")
            return popping.cancelled(), await client.get("after")

    assert loop.run(main()) == (True, "1")


def test_transaction_fails_when_a_watched_key_changed(loop: Loop, server: Redis) -> None:
    async def main() -> object:
        async with server.client() as client, client.pipeline() as pipeline:
            await pipeline.watch("watched")
            await client.set("watched", "changed")
            pipeline.multi()
            pipeline.set("watched", "mine")
            with pytest.raises(redis.WatchError):
                await pipeline.execute()
            return await client.get("watched")

    assert loop.run(main()) == "changed"


def test_client_reports_that_the_server_is_gone_and_finds_its_successor(loop: Loop, tmp_path: Path) -> None:
    async def main(old: Redis) -> object:
        # By default redis-py tries again for eight seconds before it reports.
        async with old.client(retry=Retry(NoBackoff(), 1)) as client:
            with contextlib.suppress(RedisConnectionError):
                await client.execute_command("SHUTDOWN", "NOSAVE")
            with pytest.raises(RedisConnectionError):
                await client.get("name")
            command = [find_program("redis-server", "redis-server"), "--port", str(old.port), "--save", ""]
            with running(command, "Ready to accept connections", cwd=tmp_path):
                await client.set("name", "found")
                return await client.get("name")

    with start(tmp_path) as server:
        assert loop.run(main(server)) == "found"
