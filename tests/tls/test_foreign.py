"""TLSProtocol over a transport that is not ours, and without any network."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import pytest
import tonnage
from recorders import BIG, Lending, Recorder
from tonnage import _tonnage


@pytest.fixture
def loop_factory():
    """Only our loop has this protocol."""
    return tonnage.new_event_loop


class Wire(asyncio.Transport):
    """One end of a connection in memory; `carry` takes what is written to the other end."""

    def __init__(self, protocol):
        super().__init__()
        self.protocol = protocol
        self.out = []
        self.closing = False
        self.paused = False
        self.lost = None

    def write(self, data):
        self.out.append(bytes(data))

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def get_extra_info(self, name, default=None):
        return {"wire": self}.get(name, default)

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = True


class Forcing(Wire):
    """A transport that can be told why it is to end."""

    def _force_close(self, exc):
        self.closing = True
        self.lost = exc


def into_memory(protocol, data):
    while data:
        buffer = protocol.get_buffer(-1)
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        del buffer
        protocol.buffer_updated(count)
        data = data[count:]


def as_bytes(protocol, data):
    protocol.data_received(data)


class Pair:
    """A client and a server that are connected by two wires."""

    def __init__(self, loop, contexts, factories=(Recorder, Recorder), wire=Forcing, give=as_bytes):
        self.give = give
        self.apps = [factory() for factory in factories]
        self.waiters = [loop.create_future(), loop.create_future()]
        self.ends = [
            _tonnage.TLSProtocol(
                loop, self.apps[0], contexts.client, self.waiters[0], server_hostname="localhost"
            ),
            _tonnage.TLSProtocol(loop, self.apps[1], contexts.server, self.waiters[1], server_side=True),
        ]
        self.wires = [wire(end) for end in self.ends]
        self.transports = [end._app_transport for end in self.ends]
        for end, one in zip(self.ends, self.wires, strict=True):
            end.connection_made(one)
        self.carry()

    def carry(self):
        while any(wire.out for wire in self.wires):
            for wire, other in (self.wires, self.wires[::-1]):
                data = b"".join(wire.out)
                wire.out.clear()
                if data:
                    self.give(other.protocol, data)

    def end(self, exc=None):
        for end in self.ends:
            end.connection_lost(exc)
        for waiter in self.waiters:
            waiter.cancel()


@pytest.fixture
def pair(loop, contexts):
    """Make a pair, and end it after the test."""
    made = []

    def make(*args, **options):
        made.append(Pair(loop, contexts, *args, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()
    loop.run_until_complete(asyncio.sleep(0))
    made.clear()


@pytest.mark.parametrize("give", [into_memory, as_bytes])
def test_any_transport_carries_tls(run, pair, give):
    async def main():
        both = pair(give=give)
        for waiter in both.waiters:
            assert waiter.result() is None
        client, server = both.transports
        client.write(BIG)
        both.carry()
        server.writelines([b"ans", b"wer"])
        both.carry()
        assert both.apps[1].data == BIG
        assert both.apps[0].data == b"answer"
        assert client.get_extra_info("wire") is both.wires[0]
        assert isinstance(both.ends[0], asyncio.BufferedProtocol)

    run(main())


def test_protocols_that_lend_memory_are_served(run, pair):
    async def main():
        both = pair((lambda: Lending(100), Recorder), give=into_memory)
        both.transports[1].write(b"x" * 1000)
        both.carry()
        await both.apps[0].received(1000)

    run(main())


def test_paused_transport_below_gets_nothing(run, pair):
    async def main():
        both = pair()
        client = both.transports[0]
        both.ends[0].pause_writing()
        client.write(b"abc")
        client.set_write_buffer_limits(1)
        assert both.wires[0].out == []
        assert both.apps[0].events == ["made", "pause"]
        assert client.get_write_buffer_size() > 3
        both.ends[0].resume_writing()
        assert both.apps[0].events == ["made", "pause", "resume"]
        both.carry()
        assert both.apps[1].data == b"abc"

    run(main())


def test_transport_below_learns_why_it_ends(run, pair):
    async def main():
        both = pair()
        error = OSError("why")
        both.transports[0]._force_close(error)
        assert both.wires[0].lost is error

    run(main())


def test_transport_that_cannot_be_told_why_is_aborted(run, pair):
    async def main():
        both = pair(wire=Wire)
        both.transports[0].abort()
        assert both.wires[0].closing

    run(main())


def test_end_of_the_connection_below_ends_ours(run, pair):
    async def main():
        both = pair()
        both.transports[0].write(b"abc")
        both.carry()
        assert both.ends[1].eof_received() is False
        both.end(ConnectionResetError("gone"))
        await asyncio.sleep(0)
        assert both.apps[1].events == ["made", "eof", "lost"]
        assert both.transports[1].get_extra_info("tls_truncated") is True
        assert isinstance(both.apps[1].lost.result(), ConnectionResetError)

    run(main())


def test_protocol_is_made_once_and_not_without_arguments(loop, contexts, pair):
    async def main():
        both = pair()
        with pytest.raises(RuntimeError, match="already initialized"):
            both.ends[0].__init__(loop, None, contexts.client)
        with pytest.raises(TypeError):
            _tonnage.TLSProtocol()
        with pytest.raises(TypeError):
            _tonnage.TLSProtocol(asyncio.AbstractEventLoop(), None, contexts.client)
        with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
            _tonnage.TLSProtocol(loop, None, None, server_side=True)
        with pytest.raises(TypeError):
            _tonnage.TLSTransport()
        bare = _tonnage.TLSProtocol.__new__(_tonnage.TLSProtocol)
        for call in (
            lambda: bare.connection_made(None),
            lambda: bare.connection_lost(None),
            lambda: bare.data_received(b"x"),
            bare.eof_received,
            bare.resume_writing,
            lambda: bare._app_transport.close(),
        ):
            with pytest.raises((RuntimeError, AttributeError)):
                call()

    loop.run_until_complete(main())


ROUNDS = 100 if "TONNAGE_LONG" in os.environ else 5


@pytest.mark.slow
def test_connections_leave_no_memory_and_no_cycles(loop, run, contexts):
    async def connections():
        for _ in range(20):
            both = Pair(loop, contexts)
            both.transports[0].write(b"question")
            both.carry()
            both.transports[1].write(b"answer")
            both.transports[1].close()
            both.carry()
            both.end()
        del both
        # The protocols are told in the next turn.
        await asyncio.sleep(0)

    async def main():
        await connections()
        gc.collect()
        alive = _tonnage._live_objects()
        growth = []
        # Without the collector: there are no cycles.
        gc.disable()
        try:
            # Caches fill at first, ever more slowly. What leaks grows by the same in each round.
            while not growth or growth[-1] > 10:
                assert len(growth) < 16, growth
                before = sys.getallocatedblocks()
                for _ in range(ROUNDS):
                    await connections()
                growth.append(sys.getallocatedblocks() - before)
        finally:
            gc.enable()
        assert _tonnage._live_objects() == alive

    run(main())
