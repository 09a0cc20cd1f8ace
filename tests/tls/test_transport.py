"""The object that a protocol sees: what it passes for, how it shows itself, what it may be asked."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from asyncio import sslproto, transports

import pytest
from recorders import Recorder


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


def test_transport_passes_for_asyncio_s(run, connect):
    async def main():
        transport, _, _ = await connect()
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, transports._FlowControlMixin)
        assert isinstance(transport, sslproto._SSLProtocolTransport)
        assert "ssl" in transport.__class__.__name__.lower()
        assert transport._start_tls_compatible

    run(main())


def test_repr_shows_the_transport_below(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, protocol, _ = await connect()
        lower = transport._ssl_protocol._transport
        assert repr(transport) == f"<TLSTransport over {lower!r}>"
        transport.close()
        assert repr(transport).startswith("<TLSTransport closing over <SocketTransport ")
        transport.abort()
        await end(protocol)
        assert repr(transport) == "<TLSTransport closed>"

    run(main())


def test_transport_takes_attributes_and_weak_references(run, connect, asyncio_since):
    asyncio_since()

    async def main():
        transport, _, _ = await connect()
        transport.mark = 1
        assert weakref.ref(transport)() is transport
        with pytest.raises(TypeError):
            type("Sub", (type(transport),), {})

    run(main())


def test_methods_run_in_the_context_of_the_connection(run, connect):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Looking(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get())

        def data_received(self, data):
            super().data_received(data)
            seen.append(variable.get())

        def connection_lost(self, exc):
            super().connection_lost(exc)
            seen.append(variable.get())

    async def main():
        variable.set("ours")
        _, protocol, peer = await connect(Looking)
        variable.set("changed")
        await peer.write(b"abc")
        await protocol.received(3)
        await peer.unwrap()
        await end(protocol)
        assert seen == ["ours"] * 3

    run(main())


def test_methods_keep_their_context_when_a_task_of_another_resumes_reading(run, connect, asyncio_since):
    asyncio_since(3, 15)
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Looking(Recorder):
        def data_received(self, data):
            super().data_received(data)
            seen.append(variable.get())
            self.transport.pause_reading()

        def connection_lost(self, exc):
            super().connection_lost(exc)
            seen.append(variable.get())

    async def resume(transport):
        variable.set("the task's")
        await asyncio.sleep(0)
        transport.resume_reading()

    async def main():
        variable.set("ours")
        transport, protocol, peer = await connect(Looking)
        for count in (3, 6):
            await peer.write(b"abc")
            await protocol.received(count)
            await asyncio.create_task(resume(transport))
        await peer.unwrap()
        await end(protocol)
        assert seen == ["ours"] * 3

    run(main())
