"""asyncpg on the loop under test, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from .loops import Loop
from .postgres import Postgres
from .processes import unused_port

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg has no wheel for this Python")
pytestmark = pytest.mark.slow


def options(postgres: Postgres) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": postgres.user,
        "database": postgres.database,
        "timeout": 20,
    }


@contextlib.asynccontextmanager
async def connect(postgres: Postgres, **others: Any) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(**{**options(postgres), **others})
    try:
        yield connection
    finally:
        await connection.close()


def test_values_of_many_types_come_back(loop: Loop, postgres: Postgres) -> None:
    values = (42, "ü" * 1000, Decimal("1.50"), True, None, [1, 2, 3], b"\x00\xff")

    async def main() -> tuple[object, ...]:
        async with connect(postgres) as connection:
            row = await connection.fetchrow(
                "SELECT $1::int, $2::text, $3::numeric, $4::bool, $5::int, $6::int[], $7::bytea", *values
            )
            assert row is not None
            return tuple(row)

    assert loop.run(main()) == values


def test_unix_socket_serves_as_well(loop: Loop, postgres: Postgres) -> None:
    async def main() -> object:
        async with connect(postgres, host=str(postgres.sockets)) as connection:
            return await connection.fetchval("SELECT 'by socket'")

    assert loop.run(main()) == "by socket"


def test_large_result_comes_back_whole(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with connect(postgres) as connection:
            rows = await connection.fetch(
                "SELECT number, repeat('x', 100) FROM generate_series(1, 50000) AS number"
            )
            return sum(row["number"] for row in rows)

    assert loop.run(main()) == 50_000 * 50_001 // 2


def test_pool_serves_more_tasks_than_it_has_connections(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with asyncpg.create_pool(min_size=2, max_size=5, **options(postgres)) as pool:
            return sum(await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(300))))

    assert loop.run(main()) == sum(range(300))


def test_transaction_is_rolled_back_on_an_error(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with connect(postgres) as connection:
            await connection.execute("CREATE TEMPORARY TABLE things (id int PRIMARY KEY)")

            async def insert_twice() -> None:
                async with connection.transaction():
                    await connection.execute("INSERT INTO things VALUES (1)")
                    await connection.execute("INSERT INTO things VALUES (1)")

            with pytest.raises(asyncpg.UniqueViolationError):
                await insert_twice()
            return await connection.fetchval("SELECT count(*) FROM things")

    assert loop.run(main()) == 0


def test_rows_are_copied_in_and_out(loop: Loop, postgres: Postgres) -> None:
    records = [(number, f"name {number}") for number in range(20_000)]

    async def main() -> tuple[int, int]:
        async with connect(postgres) as connection:
            await connection.execute("CREATE TEMPORARY TABLE people (id int, name text)")
            await connection.copy_records_to_table("people", records=records)
            lines = 0

            async def count(data: bytes) -> None:
                nonlocal lines
                lines += data.count(b"\n")

            await connection.copy_from_query("SELECT * FROM people", output=count)
            return lines, await connection.fetchval("SELECT count(*) FROM people")

    assert loop.run(main()) == (20_000, 20_000)


def test_cursor_reads_row_by_row(loop: Loop, postgres: Postgres) -> None:
    async def main() -> list[int]:
        async with connect(postgres) as connection, connection.transaction():
            query = "SELECT number FROM generate_series(1, 500) AS number"
            return [row["number"] async for row in connection.cursor(query, prefetch=7)]

    assert loop.run(main()) == list(range(1, 501))


def test_notification_reaches_the_listener(loop: Loop, postgres: Postgres) -> None:
    async def main() -> object:
        async with connect(postgres) as listener, connect(postgres) as notifier:
            heard: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            await listener.add_listener(
                "news", lambda connection, pid, channel, payload: heard.set_result(payload)
            )
            await notifier.execute("NOTIFY news, 'it works'")
            return await asyncio.wait_for(heard, 10)

    assert loop.run(main()) == "it works"


def test_query_that_takes_too_long_times_out_and_is_cancelled(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with connect(postgres) as connection, connect(postgres) as other:
            with pytest.raises(asyncio.TimeoutError):
                await connection.execute("SELECT pg_sleep(60)", timeout=0.2)
            # The connection is usable, because the server was asked to stop, and has stopped.
            assert await connection.fetchval("SELECT 1") == 1
            return await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)'"
            )

    assert loop.run(main()) == 0


def test_cancelled_task_gives_its_connection_back(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with asyncpg.create_pool(min_size=1, max_size=1, **options(postgres)) as pool:
            query = asyncio.ensure_future(pool.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            query.cancel()
            await asyncio.wait([query])
            assert query.cancelled()
            return await asyncio.wait_for(pool.fetchval("SELECT 7"), 10)

    assert loop.run(main()) == 7


def test_terminated_connection_is_reported(loop: Loop, postgres: Postgres) -> None:
    async def main() -> None:
        async with connect(postgres) as victim, connect(postgres) as other:
            waiting = asyncio.ensure_future(victim.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            await other.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)):
                await waiting
            # The server says why first, and closes the socket after that.
            while not victim.is_closed():
                await asyncio.sleep(0.01)

    loop.run(main())


def test_killed_backend_is_reported_and_the_pool_replaces_it(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        other = await asyncpg.connect(**options(postgres))
        async with asyncpg.create_pool(min_size=1, max_size=1, **options(postgres)) as pool:

            async def die() -> None:
                async with pool.acquire() as connection:
                    query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
                    await asyncio.sleep(0.05)
                    os.kill(connection.get_server_pid(), signal.SIGKILL)
                    await query

            with pytest.raises(
                asyncpg.ConnectionDoesNotExistError, match="closed in the middle of operation"
            ):
                await die()
            # The server ends all others as well, and begins anew.
            while not other.is_closed():
                await asyncio.sleep(0.01)
            while True:
                with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                    return await pool.fetchval("SELECT 9")
                await asyncio.sleep(0.01)

    assert loop.run(main()) == 9


def test_full_pool_times_out_and_recovers(loop: Loop, postgres: Postgres) -> None:
    async def main() -> tuple[int, int]:
        async with asyncpg.create_pool(min_size=2, max_size=2, **options(postgres)) as pool:
            refused = 0
            async with pool.acquire(), pool.acquire():
                for waiting in [asyncio.ensure_future(pool.acquire(timeout=0.05)) for _ in range(20)]:
                    with pytest.raises(asyncio.TimeoutError):
                        await waiting
                    refused += 1
            return refused, sum(await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(10))))

    assert loop.run(main()) == (20, 10)


def test_transactions_that_conflict_are_told_apart(loop: Loop, postgres: Postgres) -> None:
    async def main() -> tuple[int, int]:
        async with connect(postgres) as one, connect(postgres) as two:
            await one.execute("DROP TABLE IF EXISTS balances")
            await one.execute("CREATE TABLE balances (amount int)")
            await one.execute("INSERT INTO balances VALUES (0)")

            async def add(connection: Any) -> bool:
                try:
                    async with connection.transaction(isolation="serializable"):
                        amount = await connection.fetchval("SELECT amount FROM balances")
                        await asyncio.sleep(0.02)
                        await connection.execute("UPDATE balances SET amount = $1", amount + 1)
                except asyncpg.SerializationError:
                    return False
                return True

            done = sum([sum(await asyncio.gather(add(one), add(two))) for _ in range(5)])
            amount = await one.fetchval("SELECT amount FROM balances")
            await one.execute("DROP TABLE balances")
            return done, amount

    done, amount = loop.run(main())
    # Who comes second is refused, or has begun after the first had ended.
    assert done == amount
    assert 5 <= done <= 10


def test_refused_connection_is_reported(loop: Loop) -> None:
    async def main() -> None:
        await asyncpg.connect(
            host="127.0.0.1", port=unused_port(), user="tester", database="postgres", timeout=10
        )

    with pytest.raises(ConnectionRefusedError):
        loop.run(main())
