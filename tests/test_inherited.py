"""What asyncio's own code does over our transports."""

from __future__ import annotations

import asyncio
import os


def test_pipes_carry_data_with_flow_control(loop, run):
    async def main():
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        read_transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            open(reading, "rb", 0),  # noqa: SIM115
        )
        write_transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin,
            open(writing, "wb", 0),  # noqa: SIM115
        )
        writer = asyncio.StreamWriter(write_transport, protocol, None, loop)
        payload = os.urandom(500_000)
        writer.write(payload)
        assert "WritePipe" in repr(write_transport)
        assert "ReadPipe" in repr(read_transport)
        assert await asyncio.wait_for(reader.readexactly(len(payload)), 5) == payload
        await writer.drain()
        write_transport.close()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await asyncio.sleep(0.005)

    run(main())
