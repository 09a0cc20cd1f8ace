"""TLS whose records leave together with others: nothing stays behind in it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from recorders import Recorder


@pytest.mark.parametrize("size", [5, 20_000, 100_000])
def test_what_is_written_to_those_that_were_made_in_the_same_turn_arrives(run, loop, contexts, size):
    made = []

    class Greeted(asyncio.Protocol):
        def connection_made(self, transport):
            # What the handshake answered waits for the end of the turn as well.
            if made:
                made[-1].write(b"x" * size)
            made.append(transport)

    async def main():
        server = await loop.create_server(Greeted, "127.0.0.1", 0, ssl=contexts.server)
        address = server.sockets[0].getsockname()
        options = {"ssl": contexts.client, "server_hostname": "localhost"}
        clients = await asyncio.gather(
            *[loop.create_connection(Recorder, *address, **options) for _ in range(8)]
        )
        while len(made) < len(clients):
            await asyncio.sleep(0.001)
        made[-1].write(b"x" * size)
        for transport, client in clients:
            assert await client.received(size) == b"x" * size
            transport.close()
            await client.lost
        server.close()
        await server.wait_closed()
        while any(transport.get_protocol() is not None for transport in made):
            await asyncio.sleep(0.001)

    run(main())
    made.clear()


@pytest.mark.parametrize("size", [5, 20_000, 100_000])
def test_what_one_writes_to_tls_that_was_sent_already_arrives(run, connect, loop, asyncio_since, size):
    asyncio_since()

    async def main():
        class Acting(Recorder):
            def pause_writing(self):
                super().pause_writing()
                transport.write(b"y" * size)

        ours, end = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        full, acting = await loop.create_connection(Acting, sock=ours)
        full.set_write_buffer_limits(0)
        transport, _, peer = await connect()
        await asyncio.sleep(0.01)
        full.write(b"0123456789" * 1500)
        transport.write(b"data")
        assert await peer.read(4 + size) == b"data" + b"y" * size
        assert acting.events == ["made", "pause"]
        full.abort()
        await acting.lost
        end.close()

    run(main())
