"""Sockets after a wait of `sock_recv`: the next wait, other watchers, and others that get their numbers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket

import pytest
import tonnage


async def hear(ours, peer, text=b"x"):
    """Have `sock_recv` wait for what the peer sends."""
    loop = asyncio.get_running_loop()
    receiving = loop.create_task(loop.sock_recv(ours, 100))
    await asyncio.sleep(0.001)
    peer.send(text)
    assert await asyncio.wait_for(receiving, 5) == text


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("sends", [True, False])
def test_what_comes_while_nobody_waits_is_not_lost(loop, pairs, run, sends):
    ours, peer = pairs()

    async def main():
        for _ in range(3):
            await hear(ours, peer)
            for part in (b"1", b"2"):
                peer.send(part)
                if sends:
                    # The loop hears of it.
                    await turns()
            assert await loop.sock_recv(ours, 100) == b"12"
            await hear(ours, peer)
        peer.close()
        await turns()
        assert await loop.sock_recv(ours, 100) == b""

    run(main())


@pytest.mark.parametrize("into", [True, False])
def test_question_that_comes_before_the_answer_is_heard(loop, pairs, run, into):
    async def receive():
        if not into:
            return await loop.sock_recv(ours, 100)
        memory = bytearray(100)
        count = await loop.sock_recv_into(ours, memory)
        return bytes(memory[:count])

    async def main():
        await hear(ours, peer)
        for question in (b"1", b"2", b"3"):
            peer.send(question)
            await loop.sock_sendall(ours, b"answer")
            assert await asyncio.wait_for(receive(), 5) == question
            assert peer.recv(100) == b"answer"
        await loop.sock_sendall(ours, b"answer")
        peer.close()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(receive(), 5) == b""

    ours, peer = pairs()
    run(main())


def test_wrong_arguments_are_told_at_once_after_an_answer(loop, pairs, run):
    async def main():
        await hear(ours, peer)
        for call in (
            lambda: loop.sock_recv(ours, -1),
            lambda: loop.sock_recv(ours, "1"),
            lambda: loop.sock_recv(ours, 2**63 - 1),
            lambda: loop.sock_recv_into(ours, b"read-only"),
        ):
            await loop.sock_sendall(ours, b"answer")
            with pytest.raises((ValueError, TypeError, BufferError, OverflowError)):
                await asyncio.wait_for(call(), 5)
            peer.send(b"x")
            assert await loop.sock_recv(ours, 100) == b"x"

    ours, peer = pairs()
    run(main())


@pytest.mark.parametrize("delay", [0, 1e-6])
def test_question_is_heard_by_who_answers_and_looks_for_no_time(loop, pairs, run, delay):
    async def main():
        await hear(ours, peer)
        peer.send(b"stop")
        await loop.sock_sendall(ours, b"part")
        async with tonnage.timeout(delay):
            return await loop.sock_recv(ours, 100)

    ours, peer = pairs()
    assert run(main()) == b"stop"


def test_who_takes_what_is_there_takes_no_place_from_who_waits(loop, pairs, run):
    async def main():
        await hear(ours, peer)
        first = loop.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0.001)
        peer.send(b"1")
        await loop.sock_sendall(ours, b"answer")
        assert await loop.sock_recv(ours, 1) == b"1"
        peer.send(b"2")
        assert await asyncio.wait_for(first, 5) == b"2"

    ours, peer = pairs()
    run(main())


def test_memory_without_room_is_filled_at_once(loop, pairs, run):
    async def main():
        assert await asyncio.wait_for(loop.sock_recv_into(ours, bytearray()), 5) == 0
        await hear(ours, peer)
        assert await asyncio.wait_for(loop.sock_recv_into(ours, bytearray()), 5) == 0

    ours, peer = pairs()
    run(main())


def test_socket_that_was_answered_and_is_another_is_heard_of(loop, pairs, run):
    async def main():
        ours, peer = pairs()
        number = ours.fileno()
        await hear(ours, peer)
        await loop.sock_sendall(ours, b"answer")
        ours.close()
        others, other_peer = pairs()
        assert others.fileno() == number
        await hear(others, other_peer)

    gc.collect()
    run(main())


def test_end_of_the_stream_ends_the_second_wait(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        await hear(ours, peer)
        loop.call_later(0.001, peer.close)
        assert await asyncio.wait_for(loop.sock_recv(ours, 100), 5) == b""

    run(main())


@pytest.mark.parametrize("keeps", [True, False])
def test_socket_with_the_number_of_a_closed_one_is_heard_of(loop, pairs, run, keeps):
    async def main():
        for _ in range(3):
            ours, peer = socket.socketpair()
            numbers.add((ours.fileno(), peer.fileno()))
            for sock in (ours, peer):
                sock.setblocking(False)
            await hear(ours, peer)
            ours.close()
            peer.close()
            if keeps:
                kept.append(ours)

    numbers: set[tuple[int, int]] = set()
    kept: list[socket.socket] = []
    # What is garbage of other tests would free numbers in the midst of this one.
    gc.collect()
    run(main())
    assert len(numbers) == 1


def test_socket_of_the_number_is_heard_of_by_its_new_owner(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        await hear(ours, peer)
        with socket.socket(fileno=ours.detach()) as owner:
            await hear(owner, peer)
            await hear(owner, peer)

    run(main())


def test_socket_that_gets_another_descriptor_of_the_number_is_heard_of(loop, pairs, run):
    """By `__init__`, and by dup2 under a socket that is open."""

    async def main():
        ours, peer = pairs()
        number = ours.fileno()
        await hear(ours, peer)
        ours.close()
        others, other_peer = pairs()
        assert others.fileno() == number
        ours.__init__(fileno=others.detach())
        await hear(ours, other_peer)
        third, third_peer = pairs()
        os.dup2(third.fileno(), number)
        await hear(ours, third_peer)

    gc.collect()
    run(main())


def test_reader_that_is_removed_takes_the_registration_with_it(loop, pairs, run):
    async def main():
        ours, peer = pairs()
        await hear(ours, peer)
        assert not loop.remove_reader(ours)
        with ours.dup() as copy:
            ours.close()
            peer.send(b"for the copy")
            assert await wakes() == 0
            assert copy.recv(100) == b"for the copy"

    run(main())


@pytest.mark.parametrize("is_reused", [True, False])
def test_socket_that_was_handed_over_does_not_go_on_to_wake_the_loop(loop, pairs, run, is_reused):
    async def main():
        ours, peer = pairs()
        number = ours.fileno()
        await hear(ours, peer)
        with ours.dup() as copy:
            ours.close()
            if is_reused:
                other, other_peer = pairs()
                assert other.fileno() == number
                receiving = loop.create_task(loop.sock_recv(other, 100))
            count = 0
            for _ in range(20):
                peer.send(b"x")
                count += await wakes()
                assert copy.recv(100) == b"x"
            assert count <= 5
            if is_reused:
                other_peer.send(b"done")
                assert await asyncio.wait_for(receiving, 5) == b"done"

    gc.collect()
    run(main())


async def wakes():
    """Count the turns in which the loop wakes up before its time while nobody does anything."""
    before = sleeps()
    await asyncio.sleep(0.005)
    return max(0, sleeps() - before - 1)


def sleeps():
    """Count how often this thread has slept."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def test_readers_are_called_as_long_as_there_is_something(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        await hear(ours, peer)
        calls = []
        loop.add_reader(ours, calls.append, None)
        peer.send(b"x")
        await turns()
        assert len(calls) > 2
        assert ours.recv(100) == b"x"
        seen = len(calls)
        await turns()
        assert len(calls) <= seen + 1
        assert loop.remove_reader(ours)
        await hear(ours, peer)
        assert not loop.remove_reader(ours)
        await hear(ours, peer)

    run(main())


def test_writers_are_called_beside_a_wait(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        calls = []
        await hear(ours, peer)
        for _ in range(2):
            receiving = loop.create_task(loop.sock_recv(ours, 100))
            await asyncio.sleep(0.001)
            loop.add_writer(ours, calls.append, None)
            await turns()
            peer.send(b"x")
            assert await asyncio.wait_for(receiving, 5) == b"x"
            await hear(ours, peer)
            assert loop.remove_writer(ours)
            seen = len(calls)
            assert seen > 2
            await hear(ours, peer)
            assert len(calls) == seen
            calls.clear()

    run(main())


def test_cancelled_wait_makes_no_noise(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0.001)
        receiving.cancel()
        await asyncio.wait([receiving])
        for text in (b"a", b"b"):
            peer.send(text)
            await turns()
        assert await loop.sock_recv(ours, 100) == b"ab"
        await hear(ours, peer)

    run(main())


def test_transport_takes_the_socket_over(loop, pairs, run):
    ours, peer = pairs()

    async def main():
        await hear(ours, peer)
        reader, writer = await asyncio.open_connection(sock=ours)
        for text in (b"1", b"2"):
            peer.send(text)
            assert await asyncio.wait_for(reader.readexactly(1), 5) == text
        writer.close()
        await writer.wait_closed()

    run(main())


def test_copy_of_a_closed_socket_is_not_taken_for_another(loop, pairs, run):
    async def main():
        ours, peer = pairs()
        number = ours.fileno()
        await hear(ours, peer)
        with ours.dup() as copy:
            # As of a socket that was given to a child process.
            ours.close()
            other, other_peer = pairs()
            assert other.fileno() == number
            calls = []
            loop.add_reader(other, calls.append, None)
            peer.send(b"for the copy")
            await turns()
            assert not calls
            loop.remove_reader(other)
            await hear(other, other_peer)
            peer.send(b"for the copy")
            await hear(other, other_peer)
            for _ in range(5):
                before = sleeps()
                await asyncio.sleep(0.005)
                assert sleeps() > before, "the loop spins"
            assert copy.recv(100) == 2 * b"for the copy"

    gc.collect()
    run(main())
