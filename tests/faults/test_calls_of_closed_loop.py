"""What a closed loop is asked for: it refuses with a RuntimeError, and nothing is opened, lost or left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import warnings

import pytest
import tonnage
from children import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


@pytest.fixture
def closed():
    """A loop of ours that is closed."""
    loop = tonnage.new_event_loop()
    loop.close()
    return loop


@pytest.fixture
def refused(closed):
    """Begin a coroutine of the closed loop, which is to refuse it and leave nothing."""

    def begin(call, *args, **options):
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                getattr(closed, call)(*args, **options).send(None)
            gc.collect()
        assert [str(warning.message) for warning in warned] == []
        assert len(os.listdir("/proc/self/fd")) <= before

    return begin


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.1}, {"ssl": True}])
def test_connection_by_address_is_refused(refused, listener, options):
    refused("create_connection", asyncio.Protocol, *listener.getsockname(), **options)


@pytest.mark.parametrize("call", ["create_connection", "connect_accepted_socket", "create_unix_connection"])
def test_connection_over_a_socket_is_refused_and_closes_it(refused, pair, call):
    ours, theirs = pair
    refused(call, asyncio.Protocol, sock=ours)
    assert theirs.recv(1) == b""


def test_unix_connection_is_refused(refused, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        refused("create_unix_connection", asyncio.Protocol, path)


def test_servers_are_refused(refused, tmp_path):
    refused("create_server", asyncio.Protocol, "127.0.0.1", 0)
    refused("create_unix_server", asyncio.Protocol, str(tmp_path / "socket"))
    assert not list(tmp_path.iterdir())


def test_datagram_endpoint_is_refused_and_leaves_the_users_socket_open(refused):
    refused("create_datagram_endpoint", asyncio.DatagramProtocol, ("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        refused("create_datagram_endpoint", asyncio.DatagramProtocol, sock=sock)
        assert sock.fileno() != -1


def test_pipes_are_refused_and_stay_open(refused):
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as source, open(writing, "wb", 0) as target:
        refused("connect_read_pipe", asyncio.Protocol, source)
        refused("connect_write_pipe", asyncio.Protocol, target)
        target.write(b"x")
        assert source.read(1) == b"x"


def test_child_process_is_refused_and_none_is_started(refused):
    before = children()
    refused("subprocess_exec", asyncio.SubprocessProtocol, "sleep", "1000")
    refused("subprocess_shell", asyncio.SubprocessProtocol, "sleep 1000")
    assert children() == before


@pytest.mark.parametrize("call", ["sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"])
def test_wait_for_bytes_is_refused(refused, pair, call):
    refused(call, pair[0], bytearray(1) if "into" in call else 1)


def test_wait_for_room_is_refused(refused, pair):
    with contextlib.suppress(BlockingIOError):
        while True:
            pair[0].send(bytes(100_000))
    refused("sock_sendall", pair[0], b"x")


def test_names_are_not_looked_up(refused):
    refused("getaddrinfo", "localhost", 80)
    refused("getnameinfo", ("127.0.0.1", 80))
