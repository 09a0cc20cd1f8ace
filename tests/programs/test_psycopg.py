"""psycopg 3 on the loop under test, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
from decimal import Decimal
from typing import Any

import pytest

from .loops import Loop
from .postgres import Postgres
from .processes import unused_port

psycopg = pytest.importorskip("psycopg", reason="psycopg has no wheel for this Python")
psycopg_pool = pytest.importorskip("psycopg_pool", reason="psycopg has no wheel for this Python")
pytestmark = pytest.mark.slow

ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%pg_sleep(60)'"


def address(postgres: Postgres) -> str:
    return (
        f"host=127.0.0.1 port={postgres.port} user={postgres.user} dbname={postgres.database} "
        "connect_timeout=20"
    )


async def connect(postgres: Postgres) -> Any:
    return await psycopg.AsyncConnection.connect(address(postgres), autocommit=True)


async def fetch_value(connection: Any, query: str, *values: object) -> Any:
    row = await (await connection.execute(query, values)).fetchone()
    return row[0]


def test_values_of_many_types_come_back(loop: Loop, postgres: Postgres) -> None:
    today = dt.date(2026, 11, 25)
    values = (42, "ü" * 1000, Decimal("1.50"), True, None, [1, 2, 3], b"\x00\xff", today)

    async def main() -> object:
        async with await connect(postgres) as connection:
            query = "SELECT %s::int, %s::text, %s, %s, %s::int, %s::int[], %s::bytea, %s::date"
            return await (await connection.execute(query, values)).fetchone()

    assert loop.run(main()) == values


def test_rows_are_copied_in_and_out(loop: Loop, postgres: Postgres) -> None:
    async def main() -> tuple[int, int]:
        async with await connect(postgres) as connection, connection.cursor() as cursor:
            await cursor.execute("CREATE TEMPORARY TABLE people (id int, name text)")
            async with cursor.copy("COPY people FROM STDIN") as copy:
                for number in range(20_000):
                    await copy.write_row((number, f"name {number}"))
            lines = 0
            async with cursor.copy("COPY people TO STDOUT") as copy:
                async for block in copy:
                    lines += bytes(block).count(b"\n")
            return lines, await fetch_value(connection, "SELECT sum(id) FROM people")

    assert loop.run(main()) == (20_000, sum(range(20_000)))


def test_failed_copy_leaves_nothing_and_a_usable_connection(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with await connect(postgres) as connection, connection.cursor() as cursor:
            await cursor.execute("CREATE TEMPORARY TABLE people (id int)")

            async def copy_and_fail() -> None:
                async with cursor.copy("COPY people FROM STDIN") as copy:
                    await copy.write_row((1,))
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await copy_and_fail()
            return await fetch_value(connection, "SELECT count(*) FROM people")

    assert loop.run(main()) == 0


def test_notifications_reach_the_listener_in_order(loop: Loop, postgres: Postgres) -> None:
    async def main() -> list[str]:
        async with await connect(postgres) as listener, await connect(postgres) as notifier:
            await listener.execute("LISTEN news")

            async def hear() -> list[str]:
                return [notice.payload async for notice in listener.notifies(timeout=20, stop_after=50)]

            hearing = asyncio.ensure_future(hear())
            for number in range(50):
                await notifier.execute(f"NOTIFY news, '{number}'")
            return await hearing

    assert loop.run(main()) == [str(number) for number in range(50)]


def test_pipeline_sends_many_statements_at_once(loop: Loop, postgres: Postgres) -> None:
    async def main() -> list[int]:
        async with await connect(postgres) as connection, connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", (number,)) for number in range(1000)]
            return [(await cursor.fetchone())[0] for cursor in cursors]

    assert loop.run(main()) == list(range(1000))


def test_error_in_a_pipeline_undoes_what_was_sent_with_it(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with await connect(postgres) as connection:
            await connection.execute("CREATE TEMPORARY TABLE things (id int)")

            async def send() -> None:
                async with connection.pipeline():
                    await connection.execute("INSERT INTO things VALUES (1)")
                    await connection.execute("SELECT 1/0")
                    await connection.execute("INSERT INTO things VALUES (2)")

            with pytest.raises(psycopg.errors.DivisionByZero):
                await send()
            return await fetch_value(connection, "SELECT count(*) FROM things")

    assert loop.run(main()) == 0


def test_cancelled_task_cancels_its_query(loop: Loop, postgres: Postgres) -> None:
    async def main() -> tuple[bool, int]:
        async with await connect(postgres) as connection, await connect(postgres) as other:
            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
            while not await fetch_value(other, ACTIVE):
                await asyncio.sleep(0.01)
            query.cancel()
            await asyncio.wait([query])
            # The connection is usable, because the server was asked to stop, and has stopped.
            assert await fetch_value(connection, "SELECT 1") == 1
            return query.cancelled(), await fetch_value(other, ACTIVE)

    assert loop.run(main()) == (True, 0)


def test_other_task_cancels_a_query(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with await connect(postgres) as connection, await connect(postgres) as other:
            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
            while not await fetch_value(other, ACTIVE):
                await asyncio.sleep(0.01)
            await connection.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await query
            return await fetch_value(connection, "SELECT 5")

    assert loop.run(main()) == 5


def test_inner_transaction_is_rolled_back_alone(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with await connect(postgres) as connection:
            await connection.execute("CREATE TEMPORARY TABLE things (id int PRIMARY KEY)")

            async def insert_twice() -> None:
                async with connection.transaction():
                    await connection.execute("INSERT INTO things VALUES (2)")
                    await connection.execute("INSERT INTO things VALUES (2)")

            async with connection.transaction():
                await connection.execute("INSERT INTO things VALUES (1)")
                with pytest.raises(psycopg.errors.UniqueViolation):
                    await insert_twice()
            return await fetch_value(connection, "SELECT sum(id) FROM things")

    assert loop.run(main()) == 1


def test_server_side_cursor_reads_in_steps(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with (
            await connect(postgres) as connection,
            connection.transaction(),
            connection.cursor("numbers") as cursor,
        ):
            cursor.itersize = 100
            await cursor.execute("SELECT number FROM generate_series(1, 2000) AS number")
            return sum([row[0] async for row in cursor])

    assert loop.run(main()) == 2000 * 2001 // 2


def test_pool_serves_more_tasks_than_it_has_connections(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with psycopg_pool.AsyncConnectionPool(
            address(postgres), min_size=1, max_size=4, open=False
        ) as pool:

            async def ask(number: int) -> int:
                async with pool.connection() as connection:
                    return await fetch_value(connection, "SELECT %s::int", number)

            return sum(await asyncio.gather(*(ask(number) for number in range(300))))

    assert loop.run(main()) == sum(range(300))


def test_pool_without_a_free_connection_times_out_and_recovers(loop: Loop, postgres: Postgres) -> None:
    async def main() -> tuple[int, int]:
        async with psycopg_pool.AsyncConnectionPool(
            address(postgres), min_size=2, max_size=2, timeout=20, open=False
        ) as pool:
            async with pool.connection(), pool.connection():
                refused = 0
                for waiting in [asyncio.ensure_future(pool.getconn(timeout=0.05)) for _ in range(20)]:
                    with pytest.raises(psycopg_pool.PoolTimeout):
                        await waiting
                    refused += 1
                # One who gives up by a cancel, and not by the pool's own time, leaves the line too.
                cancelled = asyncio.ensure_future(pool.getconn())
                await asyncio.sleep(0)
                cancelled.cancel()
                await asyncio.wait([cancelled])
            async with pool.connection() as connection:
                return refused, await fetch_value(connection, "SELECT 1")

    assert loop.run(main()) == (20, 1)


def test_killed_backend_is_reported_and_the_pool_replaces_it(loop: Loop, postgres: Postgres) -> None:
    async def main() -> int:
        async with psycopg_pool.AsyncConnectionPool(
            address(postgres),
            min_size=1,
            max_size=1,
            open=False,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
        ) as pool:

            async def die() -> None:
                async with pool.connection() as connection:
                    query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
                    await asyncio.sleep(0.05)
                    os.kill(connection.info.backend_pid, signal.SIGKILL)
                    await query

            with pytest.raises(psycopg.OperationalError, match="server closed the connection unexpectedly"):
                await die()
            # The server ends all others as well, and begins anew.
            async with pool.connection(timeout=20) as connection:
                return await fetch_value(connection, "SELECT 9")

    assert loop.run(main()) == 9


def test_refused_connection_is_reported(loop: Loop) -> None:
    async def main() -> None:
        await psycopg.AsyncConnection.connect(f"host=127.0.0.1 port={unused_port()} user=nobody")

    with pytest.raises(psycopg.OperationalError, match="refused"):
        loop.run(main())
