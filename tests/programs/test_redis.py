"""redis-py's asyncio client on the loop under test, against a real redis-server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from .loops import Loop
from .redis_server import Redis, start

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def connect(server: Redis, **options: object) -> AsyncIterator[redis.Redis]:
    """Return a client of an empty database."""
    client = redis.Redis(port=server.port, decode_responses=True, **options)
    try:
        await client.flushdb()
        yield client
    finally:
        await client.aclose()


def test_value_is_kept(loop: Loop, redis_server: Redis) -> None:
    async def main() -> object:
        async with connect(redis_server) as client:
            await client.set("name", "Ada")
            return await client.get("name"), await client.get("missing")

    assert loop.run(main()) == ("Ada", None)


def test_unix_socket_serves_as_well(loop: Loop, redis_server: Redis) -> None:
    async def main() -> object:
        client = redis.Redis(unix_socket_path=str(redis_server.socket))
        try:
            await client.set("by", "socket")
            return await client.get("by")
        finally:
            await client.aclose()

    assert loop.run(main()) == b"socket"


def test_many_tasks_share_a_pool(loop: Loop, redis_server: Redis) -> None:
    async def main() -> int:
        async with contextlib.AsyncExitStack() as stack:
            pool = redis.BlockingConnectionPool(port=redis_server.port, max_connections=10, timeout=20)
            client = await stack.enter_async_context(redis.Redis(connection_pool=pool))
            stack.push_async_callback(pool.aclose)
            await client.delete("counter")
            return max(await asyncio.gather(*(client.incr("counter") for _ in range(1000))))

    assert loop.run(main()) == 1000


def test_pipeline_sends_everything_at_once(loop: Loop, redis_server: Redis) -> None:
    async def main() -> list[object]:
        async with connect(redis_server) as client, client.pipeline(transaction=True) as pipeline:
            for number in range(5000):
                pipeline.rpush("numbers", number)
            pipeline.lrange("numbers", 0, -1)
            return (await pipeline.execute())[-1]

    assert loop.run(main()) == [str(number) for number in range(5000)]


def test_large_value_comes_back_whole(loop: Loop, redis_server: Redis) -> None:
    value = "ü" * 5_000_000

    async def main() -> bool:
        async with connect(redis_server) as client:
            await client.set("large", value)
            return await client.get("large") == value

    assert loop.run(main())


def test_published_messages_reach_each_subscriber(loop: Loop, redis_server: Redis) -> None:
    async def main() -> list[list[str]]:
        async with connect(redis_server) as client:
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


def test_blocking_pop_wakes_when_an_item_comes(loop: Loop, redis_server: Redis) -> None:
    async def main() -> object:
        async with connect(redis_server) as client:
            popping = asyncio.ensure_future(client.blpop(["queue"], timeout=10))
            await asyncio.sleep(0.05)
            await client.rpush("queue", "item")
            return await popping

    assert tuple(loop.run(main())) == ("queue", "item")


def test_blocking_pop_that_is_cancelled_does_not_spoil_the_client(loop: Loop, redis_server: Redis) -> None:
    async def main() -> object:
        async with connect(redis_server) as client:
            popping = asyncio.ensure_future(client.blpop(["queue"], timeout=10))
            await asyncio.sleep(0.05)
            popping.cancel()
            await asyncio.wait([popping])
            await client.set("after", "1")
            return popping.cancelled(), await client.get("after")

    assert loop.run(main()) == (True, "1")


def test_transaction_fails_when_a_watched_key_changed(loop: Loop, redis_server: Redis) -> None:
    async def main() -> object:
        async with connect(redis_server) as client, client.pipeline() as pipeline:
            await pipeline.watch("watched")
            await client.set("watched", "changed")
            pipeline.multi()
            pipeline.set("watched", "mine")
            with pytest.raises(redis.WatchError):
                await pipeline.execute()
            return await client.get("watched")

    assert loop.run(main()) == "changed"


def test_items_go_to_blocked_workers_once_each(loop: Loop, redis_server: Redis) -> None:
    async def main() -> list[int]:
        async with connect(redis_server) as client:

            async def work() -> list[int]:
                done = []
                while (item := await client.blpop(["jobs"], timeout=20))[1] != "stop":
                    done.append(int(item[1]))
                return done

            workers = [asyncio.ensure_future(work()) for _ in range(10)]
            for number in range(300):
                await client.rpush("jobs", number)
            await client.rpush("jobs", *["stop"] * 10)
            return sorted(number for done in await asyncio.gather(*workers) for number in done)

    assert loop.run(main()) == list(range(300))


def test_cancelled_pops_take_nothing_from_the_others(loop: Loop, redis_server: Redis) -> None:
    async def main() -> tuple[bool, str]:
        async with connect(redis_server) as client:
            first = asyncio.ensure_future(client.blpop(["queue"], timeout=20))
            while not (await client.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.wait([first])
            # The client has closed its connection, so the server has nobody to give the item to.
            while (await client.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0.01)
            await client.rpush("queue", "item")
            return first.cancelled(), (await client.blpop(["queue"], timeout=20))[1]

    assert loop.run(main()) == (True, "item")


def test_server_killed_in_the_middle_is_reported_to_all_who_wait(loop: Loop, tmp_path: Path) -> None:
    async def main(server: Redis) -> list[str]:
        async with connect(server, retry=Retry(NoBackoff(), 0)) as client, client.pubsub() as channel:
            await channel.subscribe("news")
            await channel.get_message(timeout=20)
            waiting = [
                asyncio.ensure_future(client.blpop(["queue"], timeout=20)),
                asyncio.ensure_future(channel.get_message(timeout=20)),
            ]
            while not (await client.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0.01)
            server.process.process.kill()
            errors = await asyncio.gather(*waiting, return_exceptions=True)
            return [type(error).__name__ for error in errors]

    with start(tmp_path) as server:
        assert loop.run(main(server)) == ["ConnectionError", "ConnectionError"]


def test_client_reports_that_the_server_is_gone_and_finds_its_successor(loop: Loop, tmp_path: Path) -> None:
    async def main(old: Redis) -> object:
        # By default redis-py tries again for eight seconds before it reports.
        async with connect(old, retry=Retry(NoBackoff(), 1)) as client:
            with contextlib.suppress(RedisConnectionError):
                await client.execute_command("SHUTDOWN", "NOSAVE")
            with pytest.raises(RedisConnectionError):
                await client.get("name")
            with start(tmp_path, old.port):
                await client.set("name", "found")
                return await client.get("name")

    with start(tmp_path) as server:
        assert loop.run(main(server)) == "found"
