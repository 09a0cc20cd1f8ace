"""An exception from each place where users' code is called has the outcome that it has in asyncio.

Each case is a small program with a `fail` that raises; what it does, reports and leaves behind is
recorded on asyncio's loop and on ours, and the two records must be equal.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import signal
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import tonnage

Fail = Callable[..., Any]
Case = Callable[["Machine", Fail], None]

KINDS = [
    LookupError,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    RecursionError,
    MemoryError,
]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


class Machine:
    """A loop, and what happens on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.record: list[Any] = []
        self.late: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []
        loop.set_exception_handler(self.handle)

    def handle(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = context["message"].split(" <")[0].split(" functools")[0]
        if message.startswith("Exception in callback "):
            message = "Exception in callback"
        # When an object is dropped is no part of what is compared.
        record = self.late if "never retrieved" in message else self.record
        record.append(("report", message, type(error).__name__))

    def note(self, *what: Any) -> None:
        self.record.append(what)

    def turn(self, times: int = 3) -> None:
        """Let the loop run, and record what leaves it."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            try:
                self.loop.run_forever()
            except BaseException as error:
                self.note("left the loop", type(error).__name__)
                if self.loop.is_running() or asyncio._get_running_loop() is not None:
                    self.note("still running")

    def spawn(self, coro: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(coro)
        self.tasks.append(task)
        return task

    def end(self) -> None:
        self.turn()
        for number, task in enumerate(self.tasks):
            if not task.done():
                outcome = "pending"
            elif task.cancelled():
                outcome = "cancelled"
            else:
                outcome = f"{type(task.exception()).__name__} {task.exception() or task.result()}"
            self.note("task", number, outcome)
        for _ in range(3):
            for task in self.tasks:
                if not task.done():
                    with contextlib.suppress(BaseException):
                        task.cancel()
            self.turn()
        self.tasks.clear()
        self.loop.set_exception_handler(lambda *_: None)


# Callbacks


@case
def call_soon(machine: Machine, fail: Fail) -> None:
    machine.loop.call_soon(fail)
    machine.loop.call_soon(machine.note, "next")
    machine.turn()


@case
def call_soon_threadsafe(machine: Machine, fail: Fail) -> None:
    machine.loop.call_soon_threadsafe(fail)
    machine.loop.call_soon(machine.note, "next")
    machine.turn()


@case
def call_later(machine: Machine, fail: Fail) -> None:
    machine.loop.call_later(0, fail)
    machine.loop.call_soon(machine.note, "next")
    machine.turn()


@case
def call_at(machine: Machine, fail: Fail) -> None:
    machine.loop.call_at(machine.loop.time() - 1, fail)
    machine.turn()


@case
def reader(machine: Machine, fail: Fail) -> None:
    import socket

    ours, theirs = socket.socketpair()
    machine.loop.add_reader(ours, lambda: (machine.loop.remove_reader(ours), fail()))
    theirs.send(b"x")
    machine.turn()
    machine.loop.remove_reader(ours)
    ours.close()
    theirs.close()


@case
def writer(machine: Machine, fail: Fail) -> None:
    import socket

    ours, theirs = socket.socketpair()
    machine.loop.add_writer(ours, lambda: (machine.loop.remove_writer(ours), fail()))
    machine.turn()
    machine.loop.remove_writer(ours)
    ours.close()
    theirs.close()


@case
def signal_handler(machine: Machine, fail: Fail) -> None:
    machine.loop.add_signal_handler(signal.SIGUSR1, fail)
    signal.raise_signal(signal.SIGUSR1)
    machine.turn()
    machine.loop.remove_signal_handler(signal.SIGUSR1)


@case
def done_callback(machine: Machine, fail: Fail) -> None:
    future = machine.loop.create_future()
    future.add_done_callback(fail)
    future.add_done_callback(lambda _: machine.note("next"))
    future.set_result(None)
    machine.turn()


@case
def done_callback_of_a_task(machine: Machine, fail: Fail) -> None:
    async def give() -> int:
        return 5

    machine.spawn(give()).add_done_callback(fail)
    machine.turn()


@case
def done_callback_of_a_cancelled_future(machine: Machine, fail: Fail) -> None:
    future = machine.loop.create_future()
    future.add_done_callback(fail)
    future.cancel()
    machine.turn()


@case
def exception_handler(machine: Machine, fail: Fail) -> None:
    machine.loop.set_exception_handler(fail)
    machine.loop.call_soon(lambda: 1 / 0)
    machine.loop.call_soon(machine.note, "next")
    machine.turn()


# Tasks


@case
def first_step(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        fail()

    machine.spawn(main())
    machine.turn()


@case
def step_after_a_bare_yield(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        fail()

    machine.spawn(main())
    machine.turn()


@case
def step_after_a_future(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        await future
        fail()

    future = machine.loop.create_future()
    machine.spawn(main())
    machine.loop.call_soon(future.set_result, None)
    machine.turn()


@case
def failed_future(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        await future

    future = machine.loop.create_future()
    machine.spawn(main())
    try:
        fail()
    except BaseException as error:
        future.set_exception(error)
    machine.turn()
    if future.done():
        with contextlib.suppress(BaseException):
            future.exception()


@case
def failed_child(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        fail()

    async def main() -> None:
        task = machine.spawn(child())
        try:
            await task
        except BaseException as error:
            machine.note("caught", type(error).__name__)
            raise

    machine.spawn(main())
    machine.turn()


@case
def cancelled_task_that_fails(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        try:
            await machine.loop.create_future()
        finally:
            fail()

    task = machine.spawn(main())
    machine.turn()
    task.cancel()
    machine.turn()


@case
def gathered(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        fail()

    async def main() -> Any:
        try:
            return await asyncio.gather(child(), asyncio.sleep(0))
        except BaseException as error:
            machine.note("caught", type(error).__name__)

    machine.spawn(main())
    machine.turn(5)


@case
def awaited_with_a_timeout(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        fail()

    async def main() -> Any:
        try:
            return await asyncio.wait_for(child(), 60)
        except BaseException as error:
            machine.note("caught", type(error).__name__)

    machine.spawn(main())
    machine.turn(5)


@case
def shielded(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        fail()

    async def main() -> Any:
        try:
            return await asyncio.shield(child())
        except BaseException as error:
            machine.note("caught", type(error).__name__)

    machine.spawn(main())
    machine.turn(5)


@case
def grouped(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        fail()

    async def main() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        except BaseException as error:
            machine.note("caught", type(error).__name__)

    if sys.version_info >= (3, 11):
        machine.spawn(main())
        machine.turn(5)


@case
def run_until_complete(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        fail()

    try:
        machine.loop.run_until_complete(main())
    except BaseException as error:
        machine.note("raised", type(error).__name__)


@case
def task_factory(machine: Machine, fail: Fail) -> None:
    async def nothing() -> None: ...

    machine.loop.set_task_factory(fail)
    coro = nothing()
    try:
        machine.loop.create_task(coro)
    except BaseException as error:
        machine.note("raised", type(error).__name__)
    coro.close()
    machine.loop.set_task_factory(None)


@case
def context_that_is_none(machine: Machine, fail: Fail) -> None:
    machine.loop.call_soon(fail, context=contextvars.Context())
    machine.turn()


# Finalisers and reprs


@case
def finalizer_of_a_result(machine: Machine, fail: Fail) -> None:
    class Late:
        def __del__(self) -> None:
            machine.note("died")
            fail()

    future = machine.loop.create_future()
    future.set_result(Late())
    del future
    machine.turn()


@case
def finalizer_of_a_callback(machine: Machine, fail: Fail) -> None:
    class Late:
        def __call__(self) -> None: ...

        def __del__(self) -> None:
            machine.note("died")
            fail()

    machine.loop.call_soon(Late())
    machine.turn()


@case
def weak_reference_callback(machine: Machine, fail: Fail) -> None:
    future = machine.loop.create_future()
    reference = weakref.ref(future, fail)
    del future
    machine.note(reference() is None)
    machine.turn()


@case
def comparison_of_callbacks(machine: Machine, fail: Fail) -> None:
    class Compared:
        def __call__(self, _: Any) -> None: ...

        def __eq__(self, other: object) -> bool:
            return bool(fail())

        __hash__ = None  # type: ignore[assignment]

    future = machine.loop.create_future()
    future.add_done_callback(Compared())
    try:
        future.remove_done_callback(print)
    except BaseException as error:
        machine.note("raised", type(error).__name__)
    future.cancel()
    machine.turn()


@case
def repr_of_a_result(machine: Machine, fail: Fail) -> None:
    class Shown:
        def __repr__(self) -> str:
            return str(fail())

    future = machine.loop.create_future()
    future.set_result(Shown())
    try:
        machine.note(repr(future).split(" at 0x")[0])
    except BaseException as error:
        machine.note("raised", type(error).__name__)


@case
def constructor_of_an_exception(machine: Machine, fail: Fail) -> None:
    class MadeError(Exception):
        def __init__(self) -> None:
            fail()

    future = machine.loop.create_future()
    try:
        future.set_exception(MadeError)
    except BaseException as error:
        machine.note("raised", type(error).__name__)
    machine.note(future.done())


@case
def name_of_a_task(machine: Machine, fail: Fail) -> None:
    class Named:
        def __str__(self) -> str:
            return str(fail())

    async def nothing() -> None: ...

    task = machine.spawn(nothing())
    try:
        task.set_name(Named())
    except BaseException as error:
        machine.note("raised", type(error).__name__)


@case
def delay_of_a_timer(machine: Machine, fail: Fail) -> None:
    class Delay:
        def __float__(self) -> float:
            return float(fail())

        def __add__(self, other: Any) -> Any:
            return fail()

        __radd__ = __add__

    try:
        machine.loop.call_later(Delay(), print)  # type: ignore[arg-type]
    except BaseException as error:
        machine.note("raised", type(error).__name__)
    machine.turn()


@case
def descriptor_number(machine: Machine, fail: Fail) -> None:
    class File:
        def fileno(self) -> int:
            return int(fail())

    try:
        machine.loop.add_reader(File(), print)  # type: ignore[arg-type]
    except BaseException as error:
        machine.note("raised", type(error).__name__)


# Others


@case
def function_in_a_thread(machine: Machine, fail: Fail) -> None:
    async def main() -> None:
        try:
            await machine.loop.run_in_executor(None, fail)
        except BaseException as error:
            machine.note("caught", type(error).__name__)

    try:
        machine.loop.run_until_complete(main())
    except BaseException as error:
        machine.note("raised", type(error).__name__)
    machine.loop.run_until_complete(machine.loop.shutdown_default_executor())


@case
def coroutine_from_another_thread(machine: Machine, fail: Fail) -> None:
    async def child() -> None:
        fail()

    result = asyncio.run_coroutine_threadsafe(child(), machine.loop)
    machine.turn()
    try:
        machine.note(result.result(0))
    except BaseException as error:
        machine.note("raised", type(error).__name__)


@case
def end_of_a_lost_async_generator(machine: Machine, fail: Fail) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            fail()

    async def main() -> None:
        async for _ in numbers():
            break

    machine.spawn(main())
    machine.turn()
    gc.collect()
    machine.turn()


@case
def shutdown_of_async_generators(machine: Machine, fail: Fail) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            fail()

    async def main() -> None:
        await held.__anext__()  # type: ignore[attr-defined]

    held = numbers()
    machine.spawn(main())
    machine.turn()
    try:
        machine.loop.run_until_complete(machine.loop.shutdown_asyncgens())
    except BaseException as error:
        machine.note("raised", type(error).__name__)


@case
def future_of_another_make(machine: Machine, fail: Fail) -> None:
    class Duck:
        _asyncio_future_blocking: Any = False

        def get_loop(self) -> Any:
            return machine.loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            machine.loop.call_soon(callback, self, context=context)

        def result(self) -> Any:
            return fail()

        def __await__(self) -> Iterator[Any]:
            self._asyncio_future_blocking = True
            yield self

    async def main() -> None:
        await Duck()

    machine.spawn(main())
    machine.turn()


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be printed as ignored."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(type(args.exc_value).__name__))
    return found


@pytest.fixture(autouse=True)
def _silent_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, logger="asyncio")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", CASES)
def test_outcome_is_asyncios(name: str, kind: type[BaseException], unraisable: list[Any]) -> None:
    records = []
    for factory in (asyncio.SelectorEventLoop, tonnage.new_event_loop):

        def fail(*_: Any, **__: Any) -> Any:
            raise kind("from the user")

        loop = factory()
        machine = Machine(loop)
        CASES[name](machine, fail)
        machine.end()
        loop.close()
        del machine.loop, loop
        gc.collect()
        records.append((machine.record, machine.late, unraisable[:]))
        unraisable.clear()
    assert records[1] == records[0]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25
