"""An open-loop client: it sends requests at their times, whatever becomes of those before.

That is how many independent users behave, and it is what makes an overload: a client that waits for its
answers slows down with the server. Who has waited for half a second has gone, and the server does not know.
It prints JSON: for each second of the run, what became of the requests that were sent in it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random

import tonnage

PATIENCE_S = 0.5
CONNECTIONS = 8
# (seconds, requests a second): within what the server can do (400 a second), beyond it, and half of it.
PHASES = [(8, 300), (20, 600), (12, 200)]
# So long the client waits for the last answers.
END_S = 1.0


@dataclasses.dataclass
class Second:
    """What became of the requests that were sent in one second."""

    sent: int = 0
    good: int = 0
    late: int = 0
    refused: int = 0
    limit: int = 0
    latencies: list[float] = dataclasses.field(default_factory=list)


class Client:
    """Sends, and notes the answers."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.seconds = [Second() for _ in range(sum(seconds for seconds, _ in PHASES))]
        self.open: dict[int, float] = {}

    async def send(self, writers: list[asyncio.StreamWriter], chance: random.Random) -> None:
        """Send all requests, each at its time."""
        number, at, phase_end = 0, 0.0, 0.0
        for seconds, rate in PHASES:
            at, phase_end = phase_end, phase_end + seconds
            while (at := at + chance.expovariate(rate)) < phase_end:
                if (delay := self.began + at - self.loop.time()) > 0:
                    await tonnage.sleep(delay)
                # From when it was due: a client that is late itself must not look better for it.
                self.open[number] = at
                self.seconds[int(at)].sent += 1
                writers[number % len(writers)].write(b"%d\n" % number)
                number += 1

    async def receive(self, reader: asyncio.StreamReader) -> None:
        """Note the answers of one connection."""
        while line := await reader.readline():
            number, answer, limit = line.split()
            at = self.open.pop(int(number))
            second = self.seconds[int(at)]
            second.limit = int(limit)
            latency = self.loop.time() - self.began - at
            if answer == b"full":
                second.refused += 1
                continue
            second.latencies.append(latency)
            if latency <= PATIENCE_S:
                second.good += 1
            else:
                second.late += 1


async def main(port: int) -> None:
    """Run the load, and print what came of it."""
    client = Client()
    async with tonnage.TaskGroup() as group:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        for reader, _ in opened:
            group.create_task(client.receive(reader), daemon=True)
        await client.send([writer for _, writer in opened], random.Random(1))
        await tonnage.sleep(END_S)
    for _, writer in opened:
        writer.transport.abort()
    print(json.dumps([dataclasses.asdict(second) for second in client.seconds]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("port", type=int)
    tonnage.run(main(parser.parse_args().port))
