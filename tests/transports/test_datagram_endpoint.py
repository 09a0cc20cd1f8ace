"""Datagram endpoints: the object, how it begins and how it ends."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import socket
import warnings
import weakref

import pytest
import tonnage
from tonnage import _tonnage

from .peer import Datagrams, until


def name_of(transport):
    return transport.get_extra_info("sockname")


# The object.


def test_transport_is_one_of_asyncio(run, endpoint, asyncio_since):
    asyncio_since(3, 12)

    async def main():
        transport, protocol = await endpoint()
        assert isinstance(transport, asyncio.DatagramTransport)
        assert isinstance(transport, asyncio.BaseTransport)
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        transport.anything = 1
        assert transport.anything == 1
        assert weakref.ref(transport)() is transport

    run(main())


def test_repr_tells_state(run, endpoint, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        transport, protocol = await endpoint()
        await asyncio.sleep(0)
        fd = transport.get_extra_info("socket").fileno()
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} read=idle write=<idle, bufsize=0>>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} read=idle write=<idle, bufsize=0>>"
        await protocol.lost
        await asyncio.sleep(0)
        assert repr(transport) == f"<{name} closed fd={fd}>"

    run(main())


def test_extra_info_names_both_ends(run, endpoint):
    async def main():
        server, _ = await endpoint()
        client, _ = await endpoint(remote_addr=name_of(server))
        sock = client.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert (sock.getsockname(), sock.getpeername()) == (name_of(client), name_of(server))
        assert client.get_extra_info("peername") == name_of(server)
        assert server.get_extra_info("peername", "none") is None
        assert server.get_extra_info("nothing", "none") == "none"

    run(main())


def test_protocol_can_be_replaced(run, endpoint):
    async def main():
        transport, protocol = await endpoint()
        other = Datagrams()
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        transport.sendto(b"x", name_of(transport))
        await until(lambda: other.received)
        assert protocol.received == []

    run(main())


# The end.


def test_connection_lost_comes_once_and_later(run, endpoint):
    async def main():
        transport, protocol = await endpoint()
        sock = transport.get_extra_info("socket")
        transport.close()
        transport.close()
        transport.abort()
        assert transport.is_closing()
        assert protocol.events == ["made"]
        assert await protocol.lost is None
        await asyncio.sleep(0)
        transport.close()
        transport.abort()
        await asyncio.sleep(0)
        assert protocol.events == ["made", "lost"]
        assert sock.fileno() == -1
        assert transport.get_protocol() is None

    run(main())


@pytest.mark.parametrize("method", ["close", "abort"])
def test_close_sends_what_waits_and_abort_does_not(run, endpoint, loop, tmp_path, method):
    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(str(tmp_path / "peer"))
            peer.settimeout(5)
            transport, protocol = await endpoint(family=socket.AF_UNIX, remote_addr=str(tmp_path / "peer"))
            sent = 0
            while transport.get_write_buffer_size() < 100:
                transport.sendto(b"%d" % sent)
                sent += 1
            getattr(transport, method)()
            assert transport.is_closing()
            if method == "abort":
                if isinstance(loop, tonnage.EventLoop):
                    # asyncio loses count before 3.14.
                    assert transport.get_write_buffer_size() == 0
                assert await protocol.lost is None
                peer.settimeout(0)
            await asyncio.sleep(0)

            def work():
                received = []
                with pytest.raises(BlockingIOError):
                    while len(received) < sent:
                        received.append(int(peer.recv(100)))
                    raise BlockingIOError
                return received

            received = await loop.run_in_executor(None, work)
            assert received == list(range(len(received)))
            assert (len(received) == sent) == (method == "close")
            assert await protocol.lost is None

    run(main())


def test_error_in_connection_lost_is_reported_and_the_socket_closed(run, endpoint, reports):
    class Failing(Datagrams):
        def connection_lost(self, exc):
            raise ValueError("no")

    async def main():
        transport, _ = await endpoint(Failing)
        sock = transport.get_extra_info("socket")
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sock.fileno() == -1

    run(main())
    (report,) = reports
    assert report["message"].startswith("Exception in callback")


def test_datagrams_that_come_too_late_are_counted_and_dropped(run, endpoint, caplog):
    async def main():
        server, heard = await endpoint()
        client, protocol = await endpoint(remote_addr=name_of(server))
        client.abort()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for count in range(10):
                assert client._conn_lost == count + 1
                client.sendto(b"late")
        assert [record.message for record in caplog.records] == ["socket.send() raised exception."] * 6
        await protocol.lost
        await asyncio.sleep(0.01)
        assert heard.received == []

    run(main())


def test_sending_by_a_closed_endpoint_is_dropped_and_logged(run, endpoint, caplog, asyncio_since):
    # asyncio raises AttributeError.
    asyncio_since()

    async def main():
        transport, protocol = await endpoint()
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(10):
                transport.sendto(b"late", ("127.0.0.1", 9))
        assert {record.message for record in caplog.records} == {"socket.send() raised exception."}

    run(main())


def test_open_endpoint_that_is_dropped_warns(run, loop, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        transport, protocol = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        await asyncio.sleep(0)
        sock = transport.get_extra_info("socket")
        transport.pause_reading()
        text = f"unclosed transport {transport!r}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport, protocol
            gc.collect()
        (warning,) = [warning for warning in caught if warning.category is ResourceWarning]
        assert str(warning.message) == text
        assert sock.fileno() == -1

    run(main())


def test_cycle_through_a_closed_endpoint_dies(run, loop):
    made = []

    async def main():
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        transport.cycle = transport
        made.extend([weakref.ref(transport), weakref.ref(protocol)])
        transport.close()
        await protocol.lost

    run(main())
    gc.collect()
    assert [reference() for reference in made] == [None, None]


def test_nothing_is_left_of_endpoints(run, loop, asyncio_since):
    asyncio_since()

    async def once():
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = name_of(transport)
        for data in (b"a", b"b"):
            transport.sendto(data, address)
        await until(lambda: len(protocol.received) == 2)
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)

    run(once())
    gc.collect()
    before = _tonnage._live_objects()
    for _ in range(20):
        run(once())
    gc.collect()
    assert _tonnage._live_objects() == before


def test_socket_that_was_closed_underneath_is_an_error_of_the_protocol(run, endpoint):
    async def main():
        ours = socket.socket(type=socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        address = ours.getsockname()
        transport, protocol = await endpoint(sock=ours)
        await asyncio.sleep(0)
        ours.close()
        transport.sendto(b"x", address)
        assert [error.errno for error in protocol.errors] == [errno.EBADF]
        transport.abort()
        await protocol.lost

    run(main())


@pytest.mark.parametrize("operation", ["receive", "send"])
def test_datagrams_never_reach_a_descriptor_that_was_given_to_another(run, loop, operation):
    async def main():
        ours, peer = socket.socketpair(type=socket.SOCK_DGRAM)
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=ours)
        await asyncio.sleep(0)
        fd = ours.fileno()
        if operation == "receive":
            # It is found readable in the turn in which it is closed.
            peer.send(b"x")
            loop.call_soon(ours.close)
        else:
            ours.close()
        await asyncio.sleep(0)
        others = socket.socketpair(type=socket.SOCK_DGRAM)
        assert fd in {other.fileno() for other in others}
        for other in others:
            other.setblocking(False)
            other.send(b"private")
        if operation == "send":
            transport.sendto(b"x", b"\0nobody")
            assert [error.errno for error in protocol.errors] == [errno.EBADF]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert protocol.payloads() in ([], [b"x"])
        assert [other.recv(100) for other in others] == [b"private", b"private"]
        transport.abort()
        await protocol.lost
        for sock in (peer, *others):
            sock.close()

    run(main())


# Opening.


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ValueError, "unexpected address family"),
        ({"local_addr": "127.0.0.1"}, TypeError, "2-tuple is expected"),
        ({"remote_addr": ("127.0.0.1", 1, 2)}, TypeError, "2-tuple is expected"),
        ({"local_addr": ("x", 1), "family": socket.AF_UNIX}, TypeError, "string is expected"),
        (
            {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 1)},
            ValueError,
            "can not get address information",
        ),
    ],
)
def test_arguments_are_checked(run, loop, options, error, text, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        with pytest.raises(error, match=f"^{text}$"):
            await loop.create_datagram_endpoint(Datagrams, **options)

    run(main())


def test_socket_is_checked(run, loop, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            with pytest.raises(ValueError, match="A datagram socket was expected, got <socket.socket"):
                await loop.create_datagram_endpoint(Datagrams, sock=stream)
            text = r"can not be used when sock is specified. \(proto=1, reuse_port=True\)"
            with pytest.raises(ValueError, match=text):
                await loop.create_datagram_endpoint(Datagrams, sock=datagram, proto=1, reuse_port=True)

    run(main())


def test_no_version_takes_reuse_address(run, loop, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        with pytest.raises(TypeError, match="reuse_address"):
            await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0), reuse_address=False)

    run(main())


def test_port_may_be_shared(run, endpoint):
    async def main():
        first, _ = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        await endpoint(local_addr=name_of(first), reuse_port=True)
        with pytest.raises(OSError, match="in use"):
            await endpoint(local_addr=name_of(first))

    run(main())


def test_first_error_is_raised_if_no_address_works(run, loop):
    async def main():
        with pytest.raises(OSError, match="."):
            await loop.create_datagram_endpoint(Datagrams, local_addr=("192.0.2.1", 0))

    run(main())


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def test_failing_protocol_factory_leaves_no_socket(run, loop, asyncio_since):
    # asyncio leaves it to the collector.
    asyncio_since()

    async def main():
        def fail():
            raise ValueError("no")

        await asyncio.sleep(0)
        before = descriptors()
        with pytest.raises(ValueError, match="no"):
            await loop.create_datagram_endpoint(fail, local_addr=("127.0.0.1", 0))
        assert descriptors() == before
        with socket.socket(type=socket.SOCK_DGRAM) as given:
            with pytest.raises(ValueError, match="no"):
                await loop.create_datagram_endpoint(fail, sock=given)
            assert given.fileno() >= 0

    run(main())


@pytest.mark.parametrize("place", ["_ensure_resolved", "sock_connect", "create_future"])
def test_cancelled_opening_leaves_nothing(run, loop, monkeypatch, place, asyncio_since):
    # asyncio waits for the event loop's own calls in other places.
    asyncio_since()

    async def main():
        await asyncio.sleep(0)
        before = descriptors()
        arrived = asyncio.Event()

        async def block(*args, **options):
            arrived.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            if place != "create_future":
                patched.setattr(loop, place, block)
            opening = loop.create_task(loop.create_datagram_endpoint(Datagrams, remote_addr=("127.0.0.1", 9)))
            if place == "create_future":
                while descriptors() == before:
                    await asyncio.sleep(0)
            else:
                await arrived.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        for _ in range(3):
            await asyncio.sleep(0)
        assert descriptors() == before

    run(main())


def test_debug_mode_logs_endpoints(run, loop, endpoint, caplog, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        with caplog.at_level(logging.DEBUG, "asyncio"):
            server, heard = await endpoint()
            client, _ = await endpoint(remote_addr=name_of(server))
            client.sendto(b"x")
            await until(lambda: heard.received)
            server.pause_reading()
            server.resume_reading()
        text = caplog.text
        assert "Datagram endpoint local_addr=('127.0.0.1', 0) remote_addr=None created" in text
        assert "Datagram endpoint remote_addr=('127.0.0.1'" in text
        assert "pauses reading" in text
        assert "resumes reading" in text

    loop.set_debug(True)
    run(main())


def test_loop_closed_under_an_endpoint_is_no_error():
    async def main():
        return await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))

    loop = tonnage.new_event_loop()
    transport, _ = loop.run_until_complete(main())
    loop.close()
    made = [transport]
    del transport
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        made.clear()


@pytest.mark.parametrize(
    ("method", "args"),
    [("write", [b"x"]), ("writelines", [[b"x"]]), ("write_eof", []), ("can_write_eof", [])],
)
def test_endpoint_refuses_to_be_a_stream(run, endpoint, method, args):
    async def main():
        transport, _ = await endpoint()
        with pytest.raises(NotImplementedError):
            getattr(transport, method)(*args)

    run(main())
