"""Protect a database: few queries at once, a short line, and a quick no for the others."""

from __future__ import annotations

import collections

import tonnage

# At most 5 queries run. 50 more may wait, none longer than 200 ms. Tenants are served in turn.
database = tonnage.CapacityLimiter(5, max_waiting=50, max_wait=0.2, name="database")


async def query(tenant: str) -> str:
    """Stand in for a query of 5 ms."""
    with await database.acquire(key=tenant):
        await tonnage.sleep(0.005)
        return tenant


async def main() -> None:
    # A busy tenant comes first, and fills the line; the other one is served in turn with it.
    served: list[str] = []

    async def request(tenant: str) -> None:
        served.append(await query(tenant))

    async with tonnage.TaskGroup() as group:
        for tenant in ["busy"] * 45 + ["quiet"] * 5:
            group.create_task(request(tenant))
    print("of the first 20 served:", dict(collections.Counter(served[:20])))

    # More than there is room for: the others know at once.
    outcomes = await tonnage.gather(*[query("busy") for _ in range(200)], return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, tonnage.Overloaded)]
    print("served:", outcomes.count("busy"), "refused:", len(refused), "because:", refused[0])
    statistics = database.stats()
    print("admitted:", statistics.admitted, "in use:", statistics.in_use, "waiting:", statistics.waiting)


tonnage.run(main())
