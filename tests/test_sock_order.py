"""The order of a turn: of sockets that are ready together, all are received from before much is sent."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

BIG = bytes(1 << 20)
LARGE = bytes(40_000)


def received(sock):
    """Return what came to the peer, without what makes it large."""
    parts = b""
    with contextlib.suppress(BlockingIOError):
        while part := sock.recv(1 << 20):
            parts += part
    return parts.replace(LARGE, b"")


async def start(loop, pairs, answer):
    """Let one task for each pair wait for its peer, let all peers ask, and return the tasks."""

    async def serve(ours):
        await answer(ours, await loop.sock_recv(ours, 1 << 20))

    tasks = [loop.create_task(serve(ours)) for ours, _ in pairs]
    await asyncio.sleep(0.001)
    for number, (_, peer) in enumerate(pairs):
        peer.send(b"%d" % number)
    return tasks


@pytest.mark.parametrize("count", [1, 2, 10])
def test_all_are_received_from_before_much_is_sent(loop, pairs, run, asyncio_since, count):
    asyncio_since()
    seen: list[tuple[str, int]] = []

    async def answer(ours, question):
        seen.append(("received", int(question)))
        await loop.sock_sendall(ours, question + LARGE)
        seen.append(("sent", int(question)))

    async def main():
        made = [pairs() for _ in range(count)]
        await asyncio.wait(await start(loop, made, answer))
        assert [int(received(peer)) for _, peer in made] == list(range(count))

    run(main())
    # The last one need not wait for others.
    numbers = list(range(count))
    assert seen[:count] == [("received", number) for number in numbers]
    assert seen[count:] == [("sent", number) for number in [*numbers[-1:], *numbers[:-1]]]


def test_little_is_sent_at_once(loop, pairs, run):
    async def answer(ours, question):
        with pytest.raises(StopIteration):
            loop.sock_sendall(ours, question).send(None)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))
        assert [received(peer) for _, peer in made] == [b"0", b"1", b"2"]

    made = [pairs() for _ in range(3)]
    run(main())


def test_send_that_is_alone_does_not_wait(loop, pairs, run):
    async def answer(ours, question):
        with pytest.raises(StopIteration):
            loop.sock_sendall(ours, question + LARGE).send(None)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))
        assert received(made[0][1]) == b"0"

    made = [pairs() for _ in range(1)]
    run(main())


def test_sends_to_a_socket_leave_in_the_order_of_the_calls(loop, pairs, run, asyncio_since):
    asyncio_since()

    async def answer(ours, question):
        await loop.sock_sendall(common, question + b"a" + LARGE)
        await loop.sock_sendall(common, question + b"b")

    async def main():
        await asyncio.wait(await start(loop, made, answer))
        await loop.sock_sendall(common, b"end")
        assert received(peer) == b"0a1a2a0b1b2bend"

    made = [pairs() for _ in range(3)]
    common, peer = pairs()
    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_waits_behind_those_to_its_socket(loop, pairs, run, asyncio_since, kind):
    """Also a small one that is called when all have received, and what may be changed meanwhile."""
    asyncio_since()
    shared = bytearray(b"later")

    async def send_later():
        data = shared if kind is bytearray else kind(b"later")
        sending = loop.create_task(loop.sock_sendall(common, data))
        await asyncio.sleep(0)
        shared[:] = b"wrong"
        await sending

    async def answer(ours, question):
        if question == b"2":
            later.append(loop.create_task(send_later()))
        await loop.sock_sendall(common, question + LARGE)

    async def main():
        await asyncio.wait(await start(loop, made, answer))
        await asyncio.gather(*later)
        assert received(peer) == b"012later"

    later: list[asyncio.Task[None]] = []
    made = [pairs() for _ in range(3)]
    common, peer = pairs()
    run(main())


def test_sends_to_other_sockets_wait_for_nobody_who_sends(loop, pairs, run):
    async def answer(ours, question):
        if question == b"1":
            # All have received.
            with pytest.raises(StopIteration):
                loop.sock_sendall(free, LARGE).send(None)
        await loop.sock_sendall(ours, question + LARGE)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))

    made = [pairs() for _ in range(2)]
    free, _ = pairs()
    run(main())


def test_what_may_be_changed_meanwhile_is_sent_as_it_is(loop, pairs, run):
    shared = bytearray(1) + LARGE

    async def answer(ours, question):
        shared[:1] = question
        await loop.sock_sendall(ours, shared)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))
        assert [received(peer) for _, peer in made] == [b"0", b"1", b"2"]

    made = [pairs() for _ in range(3)]
    run(main())


@pytest.mark.parametrize("wrong", ["text", 1, None])
def test_wrong_data_is_refused_while_others_receive(loop, pairs, run, wrong):
    async def answer(ours, question):
        await loop.sock_sendall(common, LARGE)
        for sock in (common, ours):
            with pytest.raises(TypeError):
                await loop.sock_sendall(sock, wrong)
        await loop.sock_sendall(ours, question)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))
        assert [received(peer) for _, peer in made] == [b"0", b"1", b"2"]
        with pytest.raises(StopIteration):
            loop.sock_sendall(common, b"x").send(None)

    made = [pairs() for _ in range(3)]
    common, _ = pairs()
    run(main())


def test_send_that_is_cancelled_while_others_receive_was_called_before(loop, pairs, run, asyncio_since):
    asyncio_since()
    tasks: list[asyncio.Task[None]] = []

    async def answer(ours, question):
        if question == b"1":
            tasks[0].cancel()
            return
        await loop.sock_sendall(ours, question + LARGE)

    async def answer_all(ours, question):
        await loop.sock_sendall(ours, question + LARGE)

    async def main():
        made = [pairs() for _ in range(2)]
        tasks.extend(await start(loop, made, answer))
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        assert received(made[0][1]) == b"0"
        # Nothing waits for it.
        assert await asyncio.gather(*await start(loop, made, answer_all)) == [None] * 2
        assert [received(peer) for _, peer in made] == [b"0", b"1"]

    run(main())


@pytest.mark.parametrize("ends", ["closed", "thrown into"])
def test_send_that_is_ended_while_others_receive_holds_nobody_up(loop, pairs, run, asyncio_since, ends):
    asyncio_since()

    async def answer(ours, question):
        sending = loop.sock_sendall(ours, question + LARGE)
        if question == b"2":
            await sending
            return
        assert sending.send(None) is None
        if ends == "closed":
            sending.close()
        else:
            with pytest.raises(ZeroDivisionError):
                sending.throw(ZeroDivisionError())

    async def main():
        for _ in range(3):
            await asyncio.gather(*await start(loop, made, answer))
            assert [received(peer) for _, peer in made] == [b"0", b"1", b"2"]
        with pytest.raises(StopIteration):
            loop.sock_sendall(made[0][0], b"x").send(None)

    made = [pairs() for _ in range(3)]
    run(main())


def test_socket_that_is_closed_before_its_turn_to_send_is_told(loop, pairs, run, asyncio_since):
    asyncio_since()

    async def answer(ours, question):
        if question == b"1":
            made[0][0].close()
        await loop.sock_sendall(ours, question + LARGE)

    async def main():
        first, second = await asyncio.gather(*await start(loop, made, answer), return_exceptions=True)
        assert isinstance(first, OSError)
        assert second is None
        assert received(made[1][1]) == b"1"

    made = [pairs() for _ in range(2)]
    run(main())


def test_large_send_goes_on_when_the_socket_is_full(loop, pairs, run):
    async def answer(ours, question):
        await loop.sock_sendall(ours, question + BIG)

    async def receive(peer):
        parts = bytearray()
        while len(parts) <= len(BIG):
            parts += await loop.sock_recv(peer, 1 << 20)
        return parts

    async def main():
        tasks = await start(loop, made, answer)
        answers = await asyncio.gather(*[receive(peer) for _, peer in made])
        assert answers == [b"%d" % number + BIG for number in range(3)]
        await asyncio.gather(*tasks)

    made = [pairs() for _ in range(3)]
    run(main())


@pytest.mark.parametrize("into", [True, False])
def test_no_more_is_received_while_much_waits_to_be_sent(loop, pairs, run, asyncio_since, into):
    """Not more than 4 MiB, and what one more adds to it, in each pass."""
    asyncio_since()
    answer = bytes(100_000)
    most = waiting = 0

    async def serve(ours):
        nonlocal most, waiting
        if into:
            assert await loop.sock_recv_into(ours, bytearray(10)) == 1
        else:
            assert await loop.sock_recv(ours, 10) == b"x"
        waiting += len(answer)
        most = max(most, waiting)
        await loop.sock_sendall(ours, answer)
        waiting -= len(answer)

    async def main():
        tasks = [loop.create_task(serve(ours)) for ours, _ in made]
        await asyncio.sleep(0.001)
        for _, peer in made:
            peer.send(b"x")
        await asyncio.gather(*tasks)
        assert {len(peer.recv(1 << 20)) for _, peer in made} == {len(answer)}

    made = [pairs() for _ in range(80)]
    run(main())
    assert 4 << 20 < most <= (4 << 20) + len(answer)


def test_receive_that_waits_for_sends_can_be_cancelled(loop, pairs, run, asyncio_since):
    asyncio_since()
    answer = bytes(100_000)
    cancelled: list[int] = []

    async def serve(number, ours):
        try:
            assert await loop.sock_recv(ours, 10) == b"x"
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        if number == 0:
            tasks[-1].cancel()
        await loop.sock_sendall(ours, answer)

    async def main():
        tasks.extend(loop.create_task(serve(number, ours)) for number, (ours, _) in enumerate(made))
        await asyncio.sleep(0.001)
        for _, peer in made:
            peer.send(b"x")
        await asyncio.wait(tasks)
        # It has taken nothing.
        assert await loop.sock_recv(made[-1][0], 10) == b"x"
        assert {len(peer.recv(1 << 20)) for _, peer in made[:-1]} == {len(answer)}

    tasks: list[asyncio.Task[None]] = []
    made = [pairs() for _ in range(100)]
    run(main())
    assert cancelled == [99]


def test_send_that_nobody_drives_keeps_nobody_from_receiving(loop, pairs, run, asyncio_since):
    asyncio_since()
    kept = []

    async def answer(ours, question):
        if question == b"0":
            kept.append(loop.sock_sendall(ours, bytes(5 << 20)))
            kept[0].send(None)
        else:
            await loop.sock_sendall(ours, question)

    async def main():
        await asyncio.gather(*await start(loop, made, answer))
        for _ in range(3):
            await asyncio.gather(*await start(loop, made[1:], answer_all))
        kept[0].close()

    async def answer_all(ours, question):
        await loop.sock_sendall(ours, question + LARGE)

    made = [pairs() for _ in range(4)]
    run(asyncio.wait_for(main(), 30))
