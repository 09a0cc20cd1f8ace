"""asyncpg on the loop under test, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from .loops import Loop
from .processes import find_program, running, unused_port

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg has no wheel for this Python")
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Postgres:
    port: int
    sockets: Path

    def options(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "tester",
            "database": "postgres",
            "timeout": 20,
        }

    @contextlib.asynccontextmanager
    async def connection(self, **options: Any) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(**{**self.options(), **options})
        try:
            yield connection
        finally:
            await connection.close()


def find_postgres(name: str) -> str:
    # Debian and its like keep the binaries of each version apart, outside of PATH.
    directories = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return find_program(name, "postgresql", *map(str, directories))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    initdb, postgres = find_postgres("initdb"), find_postgres("postgres")
    identity: dict[str, Any] = {}
    # Not pytest's directory, which only its owner can enter: PostgreSQL refuses to run as root.
    directory = Path(tempfile.mkdtemp(prefix="tonnage-postgres-"))
    if os.geteuid() == 0:
        entry = unprivileged_user()
        os.chown(directory, entry.pw_uid, entry.pw_gid)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    try:
        data = directory / "data"
        command = [
            initdb,
            "-D",
            str(data),
            "-U",
            "tester",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=directory, **identity)
        server = Postgres(unused_port(), directory)
        command = [
            postgres,
            "-D",
            str(data),
            "-p",
            str(server.port),
            "-k",
            str(directory),
            "-h",
            "127.0.0.1",
            "-F",
        ]
        with running(command, "database system is ready to accept connections", cwd=directory, **identity):
            yield server
    finally:
        shutil.rmtree(directory)


def unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as")


def test_values_of_many_types_come_back(loop: Loop, server: Postgres) -> None:
    values = (42, "ü" * 1000, Decimal("1.50"), True, None, [1, 2, 3], b"\x00\xff")

    async def main() -> tuple[object, ...]:
        async with server.connection() as connection:
            row = await connection.fetchrow(
                "SELECT $1::int, $2::text, $3::numeric, $4::bool, $5::int, $6::int[], $7::bytea", *values
            )
            assert row is not None
            return tuple(row)

    assert loop.run(main()) == values


def test_unix_socket_serves_as_well(loop: Loop, server: Postgres) -> None:
    async def main() -> object:
        async with server.connection(host=str(server.sockets)) as connection:
            return await connection.fetchval("SELECT 'by socket'")

    assert loop.run(main()) == "by socket"


def test_large_result_comes_back_whole(loop: Loop, server: Postgres) -> None:
    async def main() -> int:
        async with server.connection() as connection:
            rows = await connection.fetch(
                "SELECT number, repeat('x', 100) FROM generate_series(1, 50000) AS number"
            )
            return sum(row["number"] for row in rows)

    assert loop.run(main()) == 50_000 * 50_001 // 2


def test_pool_serves_more_tasks_than_it_has_connections(loop: Loop, server: Postgres) -> None:
    async def main() -> int:
        async with asyncpg.create_pool(min_size=2, max_size=5, **server.options()) as pool:
            return sum(await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(300))))

    assert loop.run(main()) == sum(range(300))


def test_transaction_is_rolled_back_on_an_error(loop: Loop, server: Postgres) -> None:
    async def main() -> int:
        async with server.connection() as connection:
            await connection.execute("CREATE TEMPORARY TABLE things (id int PRIMARY KEY)")

            async def insert_twice() -> None:
                async with connection.transaction():
                    await connection.execute("INSERT INTO things VALUES (1)")
                    await connection.execute("INSERT INTO things VALUES (1)")

            with pytest.raises(asyncpg.UniqueViolationError):
                await insert_twice()
            return await connection.fetchval("SELECT count(*) FROM things")

    assert loop.run(main()) == 0


def test_rows_are_copied_in_and_out(loop: Loop, server: Postgres) -> None:
    records = [(number, f"name {number}") for number in range(20_000)]

    async def main() -> tuple[int, int]:
        async with server.connection() as connection:
            await connection.execute("CREATE TEMPORARY TABLE people (id int, name text)")
            await connection.copy_records_to_table("people", records=records)
            lines = 0

            async def count(data: bytes) -> None:
                nonlocal lines
                lines += data.count(b"\n")

            await connection.copy_from_query("SELECT * FROM people", output=count)
            return lines, await connection.fetchval("SELECT count(*) FROM people")

    assert loop.run(main()) == (20_000, 20_000)


def test_cursor_reads_row_by_row(loop: Loop, server: Postgres) -> None:
    async def main() -> list[int]:
        async with server.connection() as connection, connection.transaction():
            query = "SELECT number FROM generate_series(1, 500) AS number"
            return [row["number"] async for row in connection.cursor(query, prefetch=7)]

    assert loop.run(main()) == list(range(1, 501))


def test_notification_reaches_the_listener(loop: Loop, server: Postgres) -> None:
    async def main() -> object:
        async with server.connection() as listener, server.connection() as notifier:
            heard: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            await listener.add_listener(
                "news", lambda connection, pid, channel, payload: heard.set_result(payload)
            )
            await notifier.execute("NOTIFY news, 'it works'")
            return await asyncio.wait_for(heard, 10)

    assert loop.run(main()) == "it works"


def test_query_that_takes_too_long_times_out_and_is_cancelled(loop: Loop, server: Postgres) -> None:
    async def main() -> int:
        async with server.connection() as connection, server.connection() as other:
            with pytest.raises(asyncio.TimeoutError):
                await connection.execute("SELECT pg_sleep(60)", timeout=0.2)
            # The connection is usable, because the server was asked to stop, and has stopped.
            assert await connection.fetchval("SELECT 1") == 1
            return await other.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)'"
            )

    assert loop.run(main()) == 0


def test_cancelled_task_gives_its_connection_back(loop: Loop, server: Postgres) -> None:
    async def main() -> int:
        async with asyncpg.create_pool(min_size=1, max_size=1, **server.options()) as pool:
            query = asyncio.ensure_future(pool.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            query.cancel()
            await asyncio.wait([query])
            assert query.cancelled()
            return await asyncio.wait_for(pool.fetchval("SELECT 7"), 10)

    assert loop.run(main()) == 7


def test_terminated_connection_is_reported(loop: Loop, server: Postgres) -> None:
    async def main() -> None:
        async with server.connection() as victim, server.connection() as other:
            waiting = asyncio.ensure_future(victim.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            await other.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)):
                await waiting
            # The server says why first, and closes the socket after that.
            while not victim.is_closed():
                await asyncio.sleep(0.01)

    loop.run(main())


def test_refused_connection_is_reported(loop: Loop) -> None:
    async def main() -> None:
        await asyncpg.connect(
            host="127.0.0.1", port=unused_port(), user="tester", database="postgres", timeout=10
        )

    with pytest.raises(ConnectionRefusedError):
        loop.run(main())
