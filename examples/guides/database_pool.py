"""Protect a database: few queries at once, a short line, and a quick no for the others."""

from __future__ import annotations

import tonnage

CONNECTIONS = 5

# At most 5 queries run. 50 more may wait, none longer than 200 ms. Tenants are served in turn.
database = tonnage.CapacityLimiter(CONNECTIONS, max_waiting=50, max_wait=0.2, name="database")


async def query(tenant: str) -> str:
    """Stand in for a query of 10 ms."""
    async with await database.acquire(key=tenant):
        await tonnage.sleep(0.01)
        return tenant


async def main() -> None:
    served: dict[str, int] = {"big": 0, "small": 0}
    refused: dict[str, int] = {}

    async def request(tenant: str) -> None:
        try:
            served[await query(tenant)] += 1
        except tonnage.Overloaded as error:
            refused[error.reason] = refused.get(error.reason, 0) + 1

    async with tonnage.TaskGroup() as group:
        for _ in range(200):
            group.create_task(request("big"))
        for _ in range(5):
            group.create_task(request("small"))
    print("served:", served, "refused:", refused)
    statistics = database.stats()
    print("admitted:", statistics.admitted, "in use:", statistics.in_use, "waiting:", statistics.waiting)


tonnage.run(main())
