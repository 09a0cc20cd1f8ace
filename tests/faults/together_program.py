"""A program that writes to many connections in each turn, and tells how many bytes came, and of its rings.

python together_program.py '{"connections": 20, "turns": 50}'
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

import tonnage


def rings() -> int:
    names = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return names.count("anon_inode:[io_uring]")


async def main(connections: int, turns: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    transports, peers = [], []
    for _ in range(connections):
        own, peer = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=own)
        transports.append(transport)
        peers.append(peer)
    expected = b""
    for turn in range(turns):
        data = b"%d " % turn
        expected += data
        for transport in transports:
            transport.write(data)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    received = [peer.recv(len(expected), socket.MSG_WAITALL) for peer in peers]
    opened = rings()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    return {"complete": received == [expected] * connections, "rings": opened, "reports": reports}


if __name__ == "__main__":
    print(json.dumps(tonnage.run(main(**json.loads(sys.argv[1])))))
