"""Call what blocks: in threads that are few, with an end to each wait."""

from __future__ import annotations

import threading
import time

import tonnage

stop = threading.Event()


def query(number: int) -> int:
    """Stand in for a driver that blocks."""
    time.sleep(0.01)
    return number


def long_job() -> None:
    """Stand in for work of minutes, that asks now and then whether somebody still wants it."""
    while not stop.wait(0.005):
        tonnage.check_cancelled()


async def main() -> None:
    # 40 threads for all of to_thread, DNS apart; the line is bounded as well.
    print("to_thread:", await tonnage.to_thread(query, 1))

    # A pool of its own for one driver: four at once, the others wait their turn.
    async with tonnage.Workers(4, name="driver") as driver:
        print("workers:", sum(await tonnage.amap(lambda n: driver.run(query, n), range(40), limit=8)))

        # The wait ends with its timeout; the thread sees it at its next check, and ends too.
        try:
            async with tonnage.timeout(0.05):
                await driver.run(long_job)
        except TimeoutError:
            print("the long job was told to stop, and has stopped:", driver.abandoned, "left behind")


tonnage.run(main())
