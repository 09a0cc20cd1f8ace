"""An endpoint whose system calls fail: it sends ten datagrams to itself. Prints what came, and which errors.

python datagram_program.py '{"loop": "tonnage"}'
"""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from typing import Any

import tonnage

COUNT = 10


class Endpoint(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.errors: list[str] = []
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(int(data))

    def error_received(self, exc: OSError) -> None:
        self.errors.append(errno.errorcode[exc.errno or 0])

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def main() -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    transport, protocol = await loop.create_datagram_endpoint(Endpoint, local_addr=("127.0.0.1", 0))
    own = transport.get_extra_info("sockname")
    # What was not sent, or could not be received, is no longer waited for.
    for number in range(COUNT):
        transport.sendto(str(number).encode(), own)
        for _ in range(20):
            if number in protocol.received:
                break
            await asyncio.sleep(0.001)
    transport.close()
    exception = await protocol.lost
    return {
        "received": protocol.received,
        "errors": protocol.errors,
        "reports": reports,
        "lost": exception and str(exception),
    }


if __name__ == "__main__":
    factory = {"asyncio": asyncio.SelectorEventLoop, "tonnage": tonnage.new_event_loop}
    loop = factory[json.loads(sys.argv[1])["loop"]]()
    told = loop.run_until_complete(main())
    loop.close()
    print(json.dumps(told))
