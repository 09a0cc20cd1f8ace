"""`add_reader` and its relatives: descriptors that programs watch themselves."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop


def test_reader_is_called_while_there_is_something_to_read(loop: Loop) -> None:
    reading, writing = os.pipe()
    seen: list[bytes] = []

    def read() -> None:
        seen.append(os.read(reading, 1))
        if len(seen) == 3:
            loop.stop()

    loop.add_reader(reading, read)
    os.write(writing, b"abc")
    loop.run_forever()
    assert loop.remove_reader(reading) is True
    assert loop.remove_reader(reading) is False
    os.close(reading)
    os.close(writing)
    assert seen == [b"a", b"b", b"c"]


def test_file_that_is_closed_while_it_is_watched_can_be_let_go(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    ours.close()
    assert loop.remove_reader(ours) is True
    # Nothing is known of it after that.
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(ours)
    loop.add_writer(theirs, print)
    theirs.close()
    assert loop.remove_writer(theirs) is True


def test_watched_file_that_nobody_holds_stays_open(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    there = weakref.ref(ours)
    loop.add_reader(ours, loop.stop)
    del ours
    gc.collect()
    theirs.send(b"x")
    loop.run_forever()
    ours = there()
    assert ours is not None
    assert loop.remove_reader(ours)
    ours.close()
    theirs.close()
    del ours
    gc.collect()
    assert there() is None


@pytest.mark.parametrize("direction", ["reader", "writer"])
def test_watcher_whose_handle_was_cancelled_is_forgotten(loop: Loop, direction: str) -> None:
    """By way of asyncio's own method, which returns the handle."""
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.send(b"x")
        handle = getattr(loop, f"_add_{direction}")(ours.fileno(), lambda: pytest.fail("it was cancelled"))
        handle.cancel()
        loop.run_until_complete(asyncio.sleep(0.001))
        assert not getattr(loop, f"remove_{direction}")(ours)


class File:
    """Says that it has a descriptor of this number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


@pytest.mark.parametrize("make", [int, File])
@pytest.mark.parametrize("number", [2**31, 2**40, 2**70])
def test_number_that_is_too_large_for_a_descriptor_is_refused(
    loop: Loop, number: int, make: Callable[[int], Any]
) -> None:
    for direction in ("reader", "writer"):
        with pytest.raises(OverflowError):
            getattr(loop, f"add_{direction}")(make(number), print)
        assert not getattr(loop, f"remove_{direction}")(make(number))


@pytest.mark.parametrize("make", [int, File])
@pytest.mark.parametrize("number", [-1, -(2**31), -(2**31) - 1, -(2**70)])
def test_negative_number_is_no_descriptor(loop: Loop, number: int, make: Callable[[int], Any]) -> None:
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            method(make(number), print)


def test_second_reader_takes_the_place_of_the_first(loop: Loop) -> None:
    reading, writing = os.pipe()
    seen: list[str] = []
    loop.add_reader(reading, seen.append, "first")
    loop.add_reader(reading, lambda: (seen.append("second"), loop.stop()))
    os.write(writing, b"x")
    loop.run_forever()
    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)
    assert seen == ["second"]


def test_reader_and_writer_of_one_socket_are_called_in_that_order(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    seen: list[str] = []
    loop.add_writer(ours, lambda: (seen.append("write"), loop.stop()))
    loop.add_reader(ours, lambda: seen.append("read"))
    theirs.send(b"x")
    loop.run_forever()
    assert seen == ["read", "write"]
    loop.remove_reader(ours)
    loop.remove_writer(ours)
    ours.close()
    theirs.close()


def test_reader_removed_by_another_of_the_same_turn_is_not_called(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[int] = []

    def read(number: int) -> None:
        seen.append(number)
        loop.remove_reader(pairs[1 - number][0])

    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours, read, number)
        theirs.send(b"x")
    for _ in range(2):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert len(set(seen)) == 1
    for ours, theirs in pairs:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
