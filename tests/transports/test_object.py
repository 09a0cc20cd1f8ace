"""Stream transports: the object, and how a connection begins."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import weakref

from recorders import Lending, Recorder

from .peer import until


def test_transport_is_one_of_asyncio(run, connect):
    async def main():
        transport, _, _ = await connect()
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)

    run(main())


def test_transport_takes_attributes_and_weak_references(run, connect):
    async def main():
        transport, _, _ = await connect()
        transport.anything = 1
        assert transport.anything == 1
        assert weakref.ref(transport)() is transport

    run(main())


def test_repr_tells_state(run, connect):
    async def main():
        transport, protocol, _ = await connect()
        await asyncio.sleep(0)
        fd = transport.get_extra_info("socket").fileno()
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} read=idle write=<idle, bufsize=0>>"
        transport.resume_reading()
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} read=idle write=<idle, bufsize=0>>"
        await protocol.lost
        await asyncio.sleep(0)
        assert repr(transport) == f"<{name} closed fd={fd}>"

    run(main())


def test_extra_info_names_both_ends(run, connect):
    async def main():
        transport, _, peer = await connect(family="tcp")
        assert transport.get_extra_info("sockname") == peer.getpeername()
        assert transport.get_extra_info("peername") == peer.getsockname()
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", default=3) == 3

    run(main())


def test_protocol_can_be_replaced(run, connect, loop):
    async def main():
        transport, protocol, peer = await connect()
        assert transport.get_protocol() is protocol
        other = Lending()
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        peer.send(b"for the other")
        await until(lambda: other.data)
        assert (protocol.data, other.data) == (b"", b"for the other")
        third = Recorder()
        transport.set_protocol(third)
        peer.send(b"for the third")
        await until(lambda: third.data)
        assert (other.data, third.data) == (b"for the other", b"for the third")

    run(main())


def test_method_of_protocol_is_looked_up_for_each_read(run, connect):
    async def main():
        _, protocol, peer = await connect()
        received = []
        protocol.data_received = received.append
        peer.send(b"late")
        await until(lambda: received)
        assert received == [b"late"]

    run(main())


def test_protocol_is_told_before_reading_and_before_waiter(run, loop):
    async def main():
        order = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                order.append("made")

            def data_received(self, data):
                order.append("data")

        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.send(b"early")
        waiter = loop.create_future()
        waiter.add_done_callback(lambda _: order.append("waiter"))
        transport = loop._make_socket_transport(ours, Protocol(), waiter)
        assert order == []
        assert not transport.is_closing()
        await until(lambda: len(order) == 3)
        assert order == ["made", "waiter", "data"]
        peer.close()
        transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_error_in_connection_made_is_reported(run, connect, reports):
    class Protocol(Recorder):
        def connection_made(self, transport):
            raise ValueError("no")

    async def main():
        transport, protocol, peer = await connect(Protocol)
        peer.send(b"x")
        await until(lambda: protocol.data)
        assert transport.is_reading()

    run(main())
    (report,) = reports
    assert report["message"].startswith("Exception in callback")
    assert str(report["exception"]) == "no"


def test_reading_paused_in_connection_made_stays_paused(run, connect, asyncio_since):
    asyncio_since(3, 11)

    class Protocol(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        transport, protocol, peer = await connect(Protocol)
        peer.send(b"x")
        await asyncio.sleep(0.01)
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data)

    run(main())


def test_callbacks_run_in_the_context_of_the_connection(run, connect, asyncio_since):
    asyncio_since(3, 15)
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Protocol(Recorder):
        def connection_made(self, transport):
            seen.append(variable.get())

        def data_received(self, data):
            seen.append(variable.get())
            variable.set("changed")

        def eof_received(self):
            seen.append(variable.get())

        def connection_lost(self, exc):
            seen.append(variable.get())
            super().connection_lost(exc)

    async def main():
        variable.set("connecting")
        _, protocol, peer = await connect(Protocol)
        variable.set("later")
        peer.send(b"x")
        await until(lambda: len(seen) == 2)
        peer.close()
        await protocol.lost

    run(main())
    assert seen == ["connecting", "connecting", "changed", "changed"]
