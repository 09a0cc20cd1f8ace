"""What several transports were given in one turn leaves together, and each is told of its own part."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from descriptors import rings
from recorders import Recorder

from .peer import receive, until

MANY = 150
"""More than leave by one system call."""


async def several(connect, count):
    """Return the transports, the protocols and the peers of so many connections."""
    return zip(*[await connect() for _ in range(count)], strict=True)


def test_each_gets_what_was_written_to_it(run, connect, loop):
    async def main():
        transports, _, peers = await several(connect, MANY)
        expected = []
        for number, transport in enumerate(transports):
            # One chunk and a few, more chunks than leave together, and more bytes.
            chunks = [b"%d " % number] * (1, 3, 30)[number % 3] + [b"x" * 20_000] * (number % 5 == 0)
            for chunk in chunks:
                transport.write(chunk)
            expected.append(b"".join(chunks))
        for peer, data in zip(peers, expected, strict=True):
            assert await receive(loop, peer, len(data)) == data

    run(main())


def test_who_takes_a_part_only_gets_the_rest_later(run, connect, loop):
    async def main():
        transports, protocols, peers = await several(connect, 3)
        transports[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        transports[1].set_write_buffer_limits(1000)
        data = b"0123456789" * 1500
        for transport in transports:
            transport.write(data)
        await until(lambda: protocols[1].events == ["made", "pause"])
        assert transports[1].get_write_buffer_size() > 1000
        for number in (0, 2, 1):
            assert await receive(loop, peers[number], len(data)) == data
        await until(lambda: protocols[1].events == ["made", "pause", "resume"])
        assert protocols[0].events == protocols[2].events == ["made"]

    run(main())


def test_one_whose_peer_is_gone_is_told_and_the_others_are_not(run, connect, loop):
    async def main():
        transports, protocols, peers = await several(connect, 3)
        peers[1].close()
        for transport in transports:
            transport.write(b"data")
        assert isinstance(await protocols[1].lost, BrokenPipeError)
        for number in (0, 2):
            assert await receive(loop, peers[number], 4) == b"data"
            assert protocols[number].events == ["made"]

    run(main())


def test_one_whose_socket_was_closed_is_told_and_no_byte_goes_astray(run, connect, loop, asyncio_since):
    asyncio_since()

    async def main():
        transports, protocols, peers = await several(connect, 3)
        for transport in transports:
            transport.write(b"data")
        own = transports[1].get_extra_info("socket")._sock
        number = own.fileno()
        own.close()
        stranger, end = socket.socketpair()
        os.dup2(stranger.fileno(), number)
        stranger.close()
        try:
            assert isinstance(await protocols[1].lost, OSError)
            for at in (0, 2):
                assert await receive(loop, peers[at], 4) == b"data"
        finally:
            os.close(number)
        assert end.recv(1) == b""
        end.close()

    run(main())


class OwnSocket(socket.socket):
    """A class of the user's, whose code runs when it is asked for its number."""

    act = None

    def fileno(self):
        act, self.act = self.act, None
        if act is not None:
            act()
        return super().fileno()


@pytest.mark.parametrize("action", ["write", "close", "abort"])
@pytest.mark.parametrize("at", [0, 2])
def test_code_of_the_users_that_runs_between_two_sends_finds_all_in_order(
    run, connect, loop, asyncio_since, action, at
):
    asyncio_since()

    async def main():
        first, one, peer = await connect()
        ours, end = socket.socketpair()
        own = OwnSocket(fileno=ours.detach())
        own.setblocking(False)
        second, _ = await loop.create_connection(Recorder, sock=own)
        third, three, other = await connect()
        transport, protocol, target = ((first, one, peer), (third, three, other))[at // 2]
        for each in (first, second, third):
            each.write(b"data")
        own.act = lambda: getattr(transport, action)(*([b" and more"] if action == "write" else []))
        for sock in (peer, end, other):
            assert await receive(loop, sock, 4) == b"data"
        assert own.act is None
        if action == "write":
            assert await receive(loop, target, 9) == b" and more"
        else:
            assert await loop.run_in_executor(None, target.recv, 1) == b""
            assert await protocol.lost is None
        second.close()
        await asyncio.sleep(0)
        end.close()

    run(main())


def test_end_of_a_connection_comes_after_what_was_written_in_the_same_turn(run, connect, loop):
    async def main():
        transports, protocols, peers = await several(connect, 4)
        for transport in transports:
            transport.write(b"data")
        transports[0].close()
        transports[1].write_eof()
        transports[2].abort()
        for peer in peers:
            assert await receive(loop, peer, 4) == b"data"
        for number in (0, 1, 2):
            assert await loop.run_in_executor(None, peers[number].recv, 1) == b""
        assert await protocols[0].lost is None
        assert await protocols[2].lost is None
        assert protocols[1].events == protocols[3].events == ["made"]

    run(main())


@pytest.mark.parametrize("action", ["write", "close", "abort", "write_eof"])
def test_what_one_does_when_it_is_told_is_done_to_one_that_was_sent_already(
    run, connect, loop, asyncio_since, action
):
    asyncio_since()

    async def main():
        class Acting(Recorder):
            def pause_writing(self):
                super().pause_writing()
                getattr(second, action)(*([b" and more"] if action == "write" else []))

        first, acting, peer = await connect(Acting)
        second, protocol, other = await connect()
        first.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        first.set_write_buffer_limits(0)
        data = b"0123456789" * 1500
        first.write(data)
        second.write(b"data")
        await until(lambda: acting.events[-1] == "pause")
        assert await receive(loop, other, 4) == b"data"
        if action == "write":
            assert await receive(loop, other, 9) == b" and more"
        else:
            assert await loop.run_in_executor(None, other.recv, 1) == b""
        if action in ("close", "abort"):
            assert await protocol.lost is None
        assert await receive(loop, peer, len(data)) == data

    run(main())


@pytest.mark.parametrize("apart", [False, True])
def test_ring_is_opened_when_it_is_needed_and_closed_with_the_loop(run, connect, loop, asyncio_since, apart):
    asyncio_since()
    before = rings()

    async def main():
        transports, _, peers = await several(connect, 2)
        for transport in transports:
            transport.write(b"one")
            assert await receive(loop, peers[transports.index(transport)], 3) == b"one"
        assert rings() == before
        for transport in transports:
            transport.write(b"two")
        for peer in peers:
            assert await receive(loop, peer, 3) == b"two"
        opened = rings() - before
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)
        return opened

    if apart:
        loop._send_apart()
    opened = run(main())
    loop.close()
    assert rings() == before
    if apart:
        assert opened == 0
    elif opened == 0:
        pytest.skip("the kernel or a sandbox refuses io_uring")
