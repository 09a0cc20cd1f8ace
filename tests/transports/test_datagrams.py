"""Datagram transports: what is received, what is sent, and what becomes of errors."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
import sys

import pytest
import tonnage

from .peer import Datagrams, until

variable = contextvars.ContextVar("variable", default="unset")


def name_of(transport):
    return transport.get_extra_info("sockname")


# Receiving.


def test_datagrams_go_both_ways(run, endpoint, loop):
    async def main():
        server, heard = await endpoint()
        client, answered = await endpoint(remote_addr=name_of(server))
        client.sendto(b"ping")
        await until(lambda: heard.received)
        assert heard.received == [(b"ping", name_of(client))]
        server.sendto(b"pong", name_of(client))
        await until(lambda: answered.received)
        assert answered.received == [(b"pong", name_of(server))]
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(client.get_extra_info("socket").fileno(), int)

    run(main())


def test_borders_and_order_of_datagrams_are_kept(run, datagram_pair):
    payloads = [b"%d" % number * (number % 7) for number in range(150)]

    async def main():
        _, protocol, peer = await datagram_pair(family="inet")
        for payload in payloads:
            peer.send(payload)
        await until(lambda: len(protocol.received) == len(payloads))
        assert protocol.payloads() == payloads

    run(main())


def test_empty_datagram_is_received(run, datagram_pair):
    async def main():
        _, protocol, peer = await datagram_pair(family="inet")
        peer.send(b"")
        await until(lambda: protocol.received)
        assert protocol.received == [(b"", peer.getsockname())]

    run(main())


def test_largest_datagram_of_udp_goes_both_ways(run, datagram_pair, loop):
    payload = bytes(65_507)

    async def main():
        transport, protocol, peer = await datagram_pair(family="inet")
        transport.sendto(payload)
        received = await loop.run_in_executor(None, peer.recv, 70_000)
        assert received == payload
        peer.send(payload)
        await until(lambda: protocol.received)
        assert protocol.payloads() == [payload]
        transport.sendto(payload + b"x")
        assert [error.errno for error in protocol.errors] == [errno.EMSGSIZE]
        assert not transport.is_closing()

    run(main())


def test_socket_that_others_made_blocking_does_not_stop_the_loop(run, datagram_pair):
    async def main():
        transport, protocol, peer = await datagram_pair()
        with transport.get_extra_info("socket").dup() as shared:
            shared.setblocking(True)
        peer.send(b"one")
        await until(lambda: protocol.received)
        assert protocol.payloads() == [b"one"]

    run(main())


def test_unix_datagram_may_be_larger_than_one_of_udp(run, datagram_pair):
    payload = bytes(150_000)

    async def main():
        _, protocol, peer = await datagram_pair()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        peer.send(payload)
        await until(lambda: protocol.received)
        assert protocol.received == [(payload, None)]

    run(main())


def test_paused_transport_leaves_datagrams_to_the_kernel(run, datagram_pair, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        transport, protocol, peer = await datagram_pair(family="inet")
        await asyncio.sleep(0)
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        peer.send(b"a")
        peer.send(b"b")
        await asyncio.sleep(0.01)
        assert protocol.received == []
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await until(lambda: len(protocol.received) == 2)

    run(main())


@pytest.mark.parametrize("what", ["pause_reading", "close", "abort"])
def test_nothing_is_received_after_the_protocol_ended_it(run, datagram_pair, what, asyncio_since):
    asyncio_since(3, 13)

    class Ending(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            getattr(self.transport, what)()

    async def main():
        _, protocol, peer = await datagram_pair(Ending, family="inet")
        for payload in (b"a", b"b", b"c"):
            peer.send(payload)
        await until(lambda: protocol.received)
        await asyncio.sleep(0.01)
        assert protocol.payloads() == [b"a"]
        assert protocol.events == (["made"] if what == "pause_reading" else ["made", "lost"])

    run(main())


def test_one_busy_endpoint_does_not_starve_another(run, datagram_pair):
    seen = []

    async def main():
        _, busy, busy_peer = await datagram_pair(family="inet")
        _, other, other_peer = await datagram_pair(family="inet")
        other.datagram_received = lambda *_: seen.append(len(busy.received))
        for _ in range(150):
            busy_peer.send(b"x")
        other_peer.send(b"y")
        await until(lambda: seen and len(busy.received) == 150)
        assert seen[0] < 100

    run(main())


def test_stopped_loop_hands_out_no_more(loop, endpoint, datagram_pair, run):
    class Stopping(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            asyncio.get_running_loop().stop()

    _, protocol, peer = run(datagram_pair(Stopping, family="inet"))
    for payload in (b"a", b"b", b"c"):
        peer.send(payload)
    for count in (1, 2, 3):
        loop.run_forever()
        assert len(protocol.received) == count


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError("no")])
def test_exception_of_datagram_received_is_reported_and_ends_nothing(run, datagram_pair, reports, error):
    class Failing(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise error

    async def main():
        transport, protocol, peer = await datagram_pair(Failing, family="inet")
        peer.send(b"a")
        peer.send(b"b")
        await until(lambda: len(protocol.received) == 2)
        assert not transport.is_closing()

    run(main())
    assert [report["exception"] for report in reports] == [error, error]
    assert all(report["message"].startswith("Exception in callback") for report in reports)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exit_in_datagram_received_leaves_the_loop(loop, run, datagram_pair, error):
    class Exiting(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"a":
                raise error

    _, protocol, peer = run(datagram_pair(Exiting, family="inet"))
    peer.send(b"a")
    peer.send(b"b")
    with pytest.raises(error):
        loop.run_forever()
    assert protocol.payloads() == [b"a"]
    run(until(lambda: len(protocol.received) == 2))


def test_refused_datagram_is_an_error_of_the_protocol(run, endpoint):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, protocol = await endpoint(remote_addr=address)
        transport.sendto(b"ping")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        assert not transport.is_closing()

    run(main())


def test_exception_of_error_received_is_reported(run, endpoint, reports):
    class Failing(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            raise ValueError("no")

    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, protocol = await endpoint(Failing, remote_addr=address)
        transport.sendto(b"ping")
        await until(lambda: protocol.errors)
        assert not transport.is_closing()

    run(main())
    (report,) = reports
    assert isinstance(report["exception"], ValueError)


def test_methods_of_the_protocol_run_in_copies_of_the_context(run, endpoint):
    seen = []

    class Looking(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(("made", variable.get()))
            variable.set("made")

        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            seen.append(("received", variable.get()))
            variable.set("received")

        def connection_lost(self, exc):
            super().connection_lost(exc)
            seen.append(("lost", variable.get()))

    async def main():
        variable.set("opened")
        transport, protocol = await endpoint(Looking)
        variable.set("later")
        for count in (1, 2):
            transport.sendto(b"x", name_of(transport))
            await until(lambda count=count: len(protocol.received) == count)
        transport.close()
        await protocol.lost

    run(main())
    assert seen == [
        ("made", "opened"),
        ("received", "opened"),
        ("received", "received"),
        ("lost", "later"),
    ]


# Sending.


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_kinds_of_bytes_are_sent(run, datagram_pair, kind):
    async def main():
        transport, _, peer = await datagram_pair(family="inet")
        transport.sendto(kind(b"data"))
        assert peer.recv(10) == b"data"

    run(main())


@pytest.mark.parametrize("data", ["text", 1, None, [b"list"]])
def test_other_types_of_data_are_refused(run, endpoint, data):
    async def main():
        transport, _ = await endpoint()
        name = type(data).__name__
        with pytest.raises(TypeError, match=f"^data argument must be a bytes-like object, not '{name}'$"):
            transport.sendto(data, name_of(transport))

    run(main())


def test_empty_datagram_is_sent(run, datagram_pair, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        transport, _, peer = await datagram_pair(family="inet")
        transport.sendto(b"")
        assert peer.recv(10) == b""

    run(main())


def test_connected_endpoint_takes_its_own_address_only(run, endpoint):
    async def main():
        server, heard = await endpoint()
        host, port = name_of(server)
        client, _ = await endpoint(remote_addr=(host, port))
        client.sendto(b"a")
        client.sendto(b"b", None)
        client.sendto(b"c", (host, port))
        text = rf"^Invalid address: must be None or \('127.0.0.1', {port}\)$"
        for address in (("127.0.0.2", port), ("localhost", port), "x", ()):
            with pytest.raises(ValueError, match=text):
                client.sendto(b"d", address)
        await until(lambda: len(heard.received) == 3)
        assert heard.payloads() == [b"a", b"b", b"c"]

    run(main())


def test_address_that_cannot_be_compared_is_refused(run, endpoint):
    class Incomparable:
        def __eq__(self, other):
            raise LookupError("no")

        __hash__ = None

    async def main():
        server, _ = await endpoint()
        client, _ = await endpoint(remote_addr=name_of(server))
        with pytest.raises(LookupError):
            client.sendto(b"x", Incomparable())
        assert not client.is_closing()

    run(main())


class Unwilling(str):
    """Text that says nothing."""

    __slots__ = ()

    def __str__(self):
        raise LookupError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    "address",
    [None, 1, (), ("127.0.0.1",), ("127.0.0.1", "9"), (1, 9), ("127.0.0.1", 70_000), object(), b"x"],
)
def test_what_is_no_address_ends_the_transport(run, endpoint, reports, address):
    async def main():
        transport, protocol = await endpoint()
        transport.sendto(b"x", address)
        error = await asyncio.wait_for(protocol.lost, 5)
        assert isinstance(error, (TypeError, OverflowError))
        assert reports == [
            {
                "message": "Fatal write error on datagram transport",
                "exception": error,
                "transport": transport,
                "protocol": protocol,
            }
        ]

    run(main())


def test_names_are_resolved(run, endpoint):
    async def main():
        server, heard = await endpoint()
        port = name_of(server)[1]
        sender, _ = await endpoint(family=socket.AF_INET)
        for host in ("localhost", Unwilling("localhost"), "127.1", bytearray(b"127.0.0.1")):
            sender.sendto(b"x", (host, port))
        await until(lambda: len(heard.received) == 4)

    run(main())


def test_name_that_is_not_found_is_an_error_of_the_protocol(run, endpoint):
    async def main():
        transport, protocol = await endpoint()
        transport.sendto(b"x", ("::1", 9))
        assert isinstance(protocol.errors[0], socket.gaierror)
        assert not transport.is_closing()

    run(main())


def test_refusal_of_the_kernel_is_an_error_of_the_protocol(run, endpoint):
    async def main():
        transport, protocol = await endpoint()
        transport.sendto(b"x", ("255.255.255.255", 9))
        assert [error.errno for error in protocol.errors] == [errno.EACCES]
        assert not transport.is_closing()

    run(main())


def test_exception_of_error_received_comes_to_the_sender(run, endpoint):
    class Failing(Datagrams):
        def error_received(self, exc):
            raise ValueError("no")

    async def main():
        transport, _ = await endpoint(Failing)
        with pytest.raises(ValueError, match="no"):
            transport.sendto(b"x", ("255.255.255.255", 9))

    run(main())


async def fill(transport, protocol, peer, size=100):
    """Send until the socket takes no more and the protocol is paused; return how many were sent."""
    transport.set_write_buffer_limits(high=3000)
    sent = 0
    while "pause" not in protocol.events:
        transport.sendto(b"%05d" % sent + bytes(size - 5))
        sent += 1
        assert sent < 10_000
    return sent


async def drain(loop, peer, count):
    """Receive so many datagrams, without stopping the loop."""

    def work():
        return [int(peer.recv(1000)[:5]) for _ in range(count)]

    return await loop.run_in_executor(None, work)


def test_what_the_socket_does_not_take_waits_in_order(run, endpoint, loop, tmp_path):
    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(tmp_path / "peer"))
            peer.settimeout(5)
            transport, protocol = await endpoint(family=socket.AF_UNIX, remote_addr=str(tmp_path / "peer"))
            sent = await fill(transport, protocol, peer)
            assert protocol.events == ["made", "pause"]
            assert transport.get_write_buffer_size() > 3000
            assert await drain(loop, peer, sent) == list(range(sent))
            await until(lambda: protocol.events == ["made", "pause", "resume"])
            assert "write=<idle, bufsize=" in repr(transport)
            if isinstance(loop, tonnage.EventLoop):
                # asyncio loses count before 3.14.
                assert transport.get_write_buffer_size() == 0

    run(main())


def test_each_waiting_datagram_counts_for_eight_bytes_more(run, endpoint, tmp_path, asyncio_since):
    asyncio_since(3, 15)

    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(tmp_path / "peer"))
            transport, protocol = await endpoint(family=socket.AF_UNIX, remote_addr=str(tmp_path / "peer"))
            await fill(transport, protocol, peer)
            size = transport.get_write_buffer_size()
            assert size % 108 == 0
            transport.sendto(b"")
            transport.sendto(memoryview(b"abcd"))
            assert transport.get_write_buffer_size() == size + 8 + 12
            peer.recv(1000)
            await until(lambda: transport.get_write_buffer_size() < size)
            assert transport.get_write_buffer_size() == size + 20 - 108

    run(main())


def test_error_of_a_waiting_datagram_lets_the_next_one_go(run, endpoint, loop, tmp_path):
    async def main():
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone,
        ):
            path, gone_path = str(tmp_path / "peer"), str(tmp_path / "gone")
            peer.bind(path)
            peer.settimeout(5)
            gone.bind(gone_path)
            transport, protocol = await endpoint(family=socket.AF_UNIX)
            sent = 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"%05d" % sent, path)
                sent += 1
            transport.sendto(b"never", gone_path)
            gone.close()
            transport.sendto(b"%05d" % sent, path)
            assert await drain(loop, peer, sent + 1) == list(range(sent + 1))
            assert [type(error) for error in protocol.errors] == [ConnectionRefusedError]

    run(main())


def test_limits_are_checked_and_told(run, endpoint):
    async def main():
        transport, _ = await endpoint()
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(1, 2)

    run(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_exception_of_flow_control_is_reported(run, endpoint, loop, tmp_path, reports, method):
    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(tmp_path / "peer"))
            peer.settimeout(5)
            transport, protocol = await endpoint(family=socket.AF_UNIX, remote_addr=str(tmp_path / "peer"))
            original = getattr(protocol, method)

            def fail():
                original()
                raise ValueError("no")

            setattr(protocol, method, fail)
            sent = await fill(transport, protocol, peer)
            await drain(loop, peer, sent)
            await until(lambda: "resume" in protocol.events)

    run(main())
    assert [report["message"] for report in reports] == [f"protocol.{method}() failed"]


def test_protocol_may_send_more_when_it_resumes(run, endpoint, loop, tmp_path):
    class Answering(Datagrams):
        def resume_writing(self):
            super().resume_writing()
            self.transport.sendto(b"%05d" % self.sent)

    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(tmp_path / "peer"))
            peer.settimeout(5)
            transport, protocol = await endpoint(
                Answering, family=socket.AF_UNIX, remote_addr=str(tmp_path / "peer")
            )
            protocol.sent = await fill(transport, protocol, peer)
            assert await drain(loop, peer, protocol.sent + 1) == list(range(protocol.sent + 1))

    run(main())


def test_drops_of_the_kernel_are_counted(run, datagram_pair, asyncio_since):
    asyncio_since()

    async def main():
        transport, protocol, peer = await datagram_pair(family="inet")
        assert transport.get_extra_info("dropped") == 0
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            peer.send(bytes(1000))
        dropped = transport.get_extra_info("dropped")
        assert dropped > 50
        await until(lambda: len(protocol.received) == 100 - dropped)
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        assert transport.get_extra_info("dropped") is None
        assert transport.get_extra_info("dropped", 7) == 7

    if sys.platform != "linux":
        pytest.skip("Linux counts them")
    run(main())
