"""Queue, LifoQueue and PriorityQueue: each item is delivered once, or is still there.

A producer never waits for ever while there is room, a consumer never while there is an item. `produced`
holds what `put` accepted, `consumed` what `get` returned; what is left is taken out at the end.
"""

from __future__ import annotations

from typing import Any

from .scenario import accepts, scenario
from .switch import switch
from .world import World


class Traffic:
    """The items of one queue: what went in, what came out, and how actors may wait."""

    def __init__(self, world: World, items: Any) -> None:
        self.world = world
        self.items = items
        self.produced: list[int] = []
        self.consumed: list[int] = []
        self.dropped: list[int] = []
        self.closed = False

    async def put(self, *numbers: int) -> None:
        for number in numbers:
            await self.world.pause()
            await self.items.put(number)
            self.produced.append(number)

    async def get(self, times: int) -> None:
        for _ in range(times):
            await self.world.pause()
            self.consumed.append(await self.items.get())
            self.items.task_done()

    def producer(self, *numbers: int) -> Any:
        return self.world.actor(self.put(*numbers), waits=self.is_full)

    def consumer(self, times: int) -> Any:
        return self.world.actor(self.get(times), waits=self.is_empty)

    def is_full(self) -> bool:
        return bool(self.items.full() and not self.closed)

    def is_empty(self) -> bool:
        return bool(self.items.empty() and not self.closed)

    def judge(self) -> None:
        left = [self.items.get_nowait() for _ in range(self.items.qsize())]
        came = sorted([*self.consumed, *left, *self.dropped])
        self.world.expect(came == sorted(self.produced), "lost item", (self.produced, self.consumed, left))
        shown = repr(self.items)
        self.world.expect("_getters" not in shown and "_putters" not in shown, "left waiter", shown)


def traffic(world: World, items: Any) -> Traffic:
    found = Traffic(world, items)
    world.at_end(found.judge)
    return found


def crowd(world: World, items: Any) -> None:
    flow = traffic(world, items)
    flow.producer(1, 2)
    flow.producer(11)
    flow.consumer(1)
    flow.consumer(2)


@scenario()
def bounded_queue(world: World) -> None:
    crowd(world, world.names.Queue(1))


@scenario()
def unbounded_queue(world: World) -> None:
    crowd(world, world.names.Queue())


@scenario()
def lifo_queue(world: World) -> None:
    crowd(world, world.names.LifoQueue(1))


@scenario()
def priority_queue(world: World) -> None:
    crowd(world, world.names.PriorityQueue(1))


@scenario()
def queue_with_many_consumers(world: World) -> None:
    """Two items come in one turn for three that wait; a cancelled one hands its item on."""
    flow = traffic(world, world.names.Queue())

    async def put_at_once() -> None:
        await world.pause()
        await switch()
        for number in (1, 2):
            flow.items.put_nowait(number)
            flow.produced.append(number)

    for _ in range(3):
        flow.consumer(1)
    world.actor(put_at_once())


@scenario()
def queue_with_many_producers(world: World) -> None:
    """Two places get free in one turn for three that wait; a cancelled one hands its place on."""
    flow = traffic(world, world.names.Queue(2))
    for number in (1, 2):
        flow.items.put_nowait(number)
        flow.produced.append(number)

    async def get_at_once() -> None:
        await world.pause()
        await switch()
        for _ in range(2):
            flow.consumed.append(flow.items.get_nowait())

    for number in (11, 21, 31):
        flow.producer(number)
    world.actor(get_at_once())


@scenario()
def queue_in_order(world: World) -> None:
    """One consumer sees what each producer put, in the producer's order."""
    flow = traffic(world, world.names.Queue(1))

    def judge() -> None:
        seen = flow.consumed + list(getattr(flow.items, "_queue", ()))
        for tens in (0, 1):
            of_one = [number for number in seen if number // 10 == tens]
            world.expect(of_one == sorted(of_one), "order", seen)

    world.at_end(judge)
    world.ends.reverse()
    flow.producer(1, 2, 3)
    flow.producer(11, 12)
    flow.consumer(5)


@scenario()
def priority_queue_in_order(world: World) -> None:
    """What is there together comes out smallest first."""
    flow = traffic(world, world.names.PriorityQueue())

    async def get() -> None:
        for _ in range(3):
            await world.pause()
            await switch()
            if not flow.items.empty():
                there = [number for number in flow.produced if number not in flow.consumed]
                flow.consumed.append(flow.items.get_nowait())
                world.expect(flow.consumed[-1] == min(there), "order", (there, flow.consumed))
            else:
                flow.consumed.append(await flow.items.get())

    async def put(*numbers: int) -> None:
        await world.pause()
        await switch()
        for number in numbers:
            flow.items.put_nowait(number)
            flow.produced.append(number)

    world.actor(get(), waits=flow.is_empty)
    world.actor(put(5, 3))
    world.actor(put(4, 1))


@scenario()
def queue_joined(world: World) -> None:
    items = world.names.Queue()
    unfinished = 2
    for number in range(unfinished):
        items.put_nowait(number)

    async def work() -> None:
        nonlocal unfinished
        while not items.empty():
            await world.pause()
            await items.get()
            try:
                await switch()
            finally:
                items.task_done()
                unfinished -= 1

    async def join() -> None:
        await world.pause()
        await items.join()
        world.expect(not unfinished, "joined early", unfinished)

    world.actor(work(), waits=items.empty)
    world.actor(work(), waits=items.empty)
    for _ in range(2):
        world.actor(join(), waits=lambda: unfinished > 0)


def shut_down(world: World, *, immediate: bool) -> None:
    flow = traffic(world, world.names.Queue(1))
    end = world.names.QueueShutDown

    async def close() -> None:
        await world.pause()
        await switch(2)
        flow.closed = True
        flow.items.shutdown(immediate=immediate)
        if immediate:
            world.expect(flow.items.empty(), "not emptied")

    async def put() -> None:
        for number in (1, 2):
            await world.pause()
            try:
                await flow.items.put(number)
            except end:
                world.expect(flow.closed, "closed early")
                return
            flow.produced.append(number)

    async def get() -> None:
        while True:
            await world.pause()
            try:
                found = await flow.items.get()
            except end:
                world.expect(flow.closed and flow.items.empty(), "closed early")
                return
            flow.consumed.append(found)
            flow.items.task_done()

    def judge() -> None:
        if immediate and flow.closed:
            # Also what a woken producer had put, and was thrown away before its `put` returned.
            world.expect(set(flow.consumed) <= set(flow.produced), "item from nowhere", flow.consumed)
            flow.dropped = [number for number in flow.produced if number not in flow.consumed]

    world.at_end(judge)
    world.ends.reverse()
    world.actor(put(), waits=flow.is_full)
    world.actor(get(), waits=flow.is_empty)
    world.actor(get(), waits=flow.is_empty)
    world.actor(close())


@scenario("Queue.shutdown", "QueueShutDown")
def queue_shut_down(world: World) -> None:
    shut_down(world, immediate=False)


@scenario("Queue.shutdown", "QueueShutDown")
def queue_shut_down_at_once(world: World) -> None:
    shut_down(world, immediate=True)


@scenario("Queue.shutdown", "QueueShutDown")
def queue_with_producers_shut_down(world: World) -> None:
    """Producers that wait for room are let go, and join() returns once the rest is taken."""
    flow = traffic(world, world.names.Queue(1))

    async def put(number: int) -> None:
        await world.pause()
        try:
            await flow.items.put(number)
        except world.names.QueueShutDown:
            world.expect(flow.closed, "closed early")
        else:
            flow.produced.append(number)

    async def close() -> None:
        await world.pause()
        await switch(2)
        flow.closed = True
        flow.items.shutdown(immediate=True)

    async def join() -> None:
        await world.pause()
        await flow.items.join()

    def judge() -> None:
        flow.dropped = list(flow.produced) if flow.closed else []

    world.at_end(judge)
    world.ends.reverse()
    for number in range(3):
        world.actor(put(number), waits=flow.is_full)
    world.actor(join(), waits=lambda: not flow.items.empty() and not flow.closed)
    world.actor(close())


# What only tonnage's queues have.


@scenario("Queue.get_many")
def queue_taken_in_lots(world: World) -> None:
    flow = traffic(world, world.names.Queue(2))

    async def get_many() -> None:
        for _ in range(2):
            await world.pause()
            found = await flow.items.get_many(2)
            world.expect(1 <= len(found) <= 2, "size of lot", found)
            flow.consumed.extend(found)

    flow.producer(1, 2)
    flow.producer(11, 12)
    world.actor(get_many(), waits=flow.is_empty)
    flow.consumer(1)


@scenario("Queue.__aiter__", "Queue.shutdown", "QueueShutDown")
def queue_iterated(world: World) -> None:
    """Iteration ends at shutdown, and each step marks the item before as done."""
    flow = traffic(world, world.names.Queue(1))
    joined = False

    async def iterate() -> None:
        async for found in flow.items:
            flow.consumed.append(found)
            await world.pause()
            await switch()

    async def put() -> None:
        for number in (1, 2):
            await world.pause()
            await flow.items.put(number)
            flow.produced.append(number)
        await world.pause()
        flow.closed = True
        flow.items.shutdown()

    async def join() -> None:
        nonlocal joined
        await world.pause()
        await flow.items.join()
        joined = True

    world.actor(put(), waits=flow.is_full)
    taker = world.actor(iterate(), waits=flow.is_empty)
    # A cancelled taker leaves its item unfinished.
    world.actor(join(), waits=lambda: world.was_cancelled(taker) or not flow.closed)


def dropping(world: World, overflow: str) -> None:
    dropped: list[int] = []
    items = world.names.Queue(
        1, overflow=overflow, on_drop=lambda item, reason: (dropped.append(item), reason)
    )
    flow = traffic(world, items)
    flow.dropped = dropped

    async def put(*numbers: int) -> None:
        for number in numbers:
            await switch()
            await flow.put(number)

    # A producer never waits here.
    world.actor(put(1, 2))
    world.actor(put(11, 12))
    flow.consumer(2)


@scenario(can=accepts("Queue", maxsize=1, overflow="drop_oldest"))
def queue_that_drops_the_oldest(world: World) -> None:
    dropping(world, "drop_oldest")


@scenario(can=accepts("Queue", maxsize=1, overflow="drop_newest"))
def queue_that_drops_the_newest(world: World) -> None:
    dropping(world, "drop_newest")
