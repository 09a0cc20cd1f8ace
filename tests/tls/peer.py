"""The other end of a TLS connection, for the tests of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable
from typing import Any


class Peer:
    """The other end of a TLS connection, which does only what the test says."""

    def __init__(self, loop, sock, context, *, hostname=None):
        sock.setblocking(False)
        self.loop = loop
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=hostname is None, server_hostname=hostname
        )

    async def handshake(self):
        await self._do(self.tls.do_handshake)

    async def read(self, count):
        """Read exactly so many bytes, or up to the end."""
        data = b""
        while len(data) < count:
            chunk = await self._do(functools.partial(self.tls.read, count - len(data)))
            if not chunk:
                break
            data += chunk
        return data

    async def write(self, *chunks):
        """Send each chunk as one record."""
        await self.send(self.encrypt(*chunks))

    def encrypt(self, *chunks):
        for chunk in chunks:
            assert self.tls.write(chunk) == len(chunk)
        return self.outgoing.read()

    def close_notify(self):
        """What ends the stream."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def unwrap(self):
        """Send close_notify, and wait for the other end's."""
        await self._do(self.tls.unwrap)

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def records(self, count):
        """Receive so many bytes of records, and return the lengths of those that carry data."""
        data = b""
        while len(data) < count:
            data += await asyncio.wait_for(self.loop.sock_recv(self.sock, 65536), 5)
        self.incoming.write(data)
        lengths = []
        while data:
            length = int.from_bytes(data[3:5], "big")
            if data[0] == 23:
                lengths.append(length)
            data = data[5 + length :]
        return lengths

    async def _do(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLZeroReturnError:
                # The other end closed, and so did we.
                return b""
            except ssl.SSLWantReadError:
                await self.flush()
                data = await asyncio.wait_for(self.loop.sock_recv(self.sock, 65536), 5)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            else:
                await self.flush()
                return result

    async def flush(self):
        if self.outgoing.pending:
            await self.send(self.outgoing.read())
