"""Awaitables that are no futures of ours: ducks, other makes of coroutine, and those that fail."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]


class Duck:
    """A future that is no Future: what `asyncio.isfuture` asks for, and no more."""

    _asyncio_future_blocking: Any = False

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.callbacks: list[Any] = []
        self.value: Any = None
        self.cancels = 0

    def get_loop(self) -> Loop:
        return self._loop

    def add_done_callback(self, callback: Any, *, context: contextvars.Context | None = None) -> None:
        self.callbacks.append((callback, context))

    def finish(self, value: Any) -> None:
        self.value = value
        for callback, context in self.callbacks:
            self._loop.call_soon(callback, self, context=context)

    def result(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    def cancel(self, msg: Any = None) -> bool:
        self.cancels += 1
        self.finish(asyncio.CancelledError())
        return True

    def __await__(self) -> Iterator[Any]:
        self._asyncio_future_blocking = True
        yield self
        return self.result()


def test_duck_future_can_be_awaited(loop: Loop, run: Run) -> None:
    async def main() -> Any:
        duck: Any = Duck(loop)
        loop.call_soon(duck.finish, "quack")
        return await duck

    assert run(main()) == "quack"


def test_duck_future_can_fail(loop: Loop, run: Run) -> None:
    async def main() -> Any:
        duck: Any = Duck(loop)
        loop.call_soon(duck.finish, LookupError("quack"))
        await duck

    with pytest.raises(LookupError, match="quack"):
        run(main())


def test_duck_future_is_cancelled_with_its_task(loop: Loop, run: Run) -> None:
    async def main() -> int:
        duck: Any = Duck(loop)

        async def wait() -> None:
            await duck

        task = loop.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return duck.cancels

    assert run(main()) == 1


@pytest.mark.parametrize("what", ["get_loop", "add_done_callback", "blocking", "result", "cancel"])
@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError])
def test_duck_future_that_fails_ends_the_task_that_awaits_it(
    loop: Loop,
    run: Run,
    reports: list[Any],
    asyncio_since: Any,
    what: str,
    kind: type[BaseException],
) -> None:
    # asyncio's task hangs.
    asyncio_since()

    class Bad(Duck):
        def get_loop(self) -> Loop:
            if what == "get_loop":
                raise kind(what)
            return super().get_loop()

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            if what == "add_done_callback":
                raise kind(what)
            super().add_done_callback(callback, context=context)

        def result(self) -> Any:
            if what == "result":
                raise kind(what)
            return super().result()

        def cancel(self, msg: Any = None) -> bool:
            if what == "cancel":
                raise kind(what)
            return super().cancel(msg)

        @property
        def _asyncio_future_blocking(self) -> Any:  # type: ignore[override]
            return self.__dict__["blocking"]

        @_asyncio_future_blocking.setter
        def _asyncio_future_blocking(self, value: bool) -> None:
            if what == "blocking" and not value:
                raise kind(what)
            self.__dict__["blocking"] = value

    async def main() -> str:
        duck: Any = Bad(loop)

        async def wait() -> None:
            await duck

        task = loop.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if what == "cancel":
            with pytest.raises(kind):
                task.cancel()
        if not task.done():
            duck.finish(5)
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else type(task.exception()).__name__

    found = run(main())
    if what == "cancel":
        assert found == "NoneType" or found == "cancelled"
    else:
        assert found == ("cancelled" if kind is asyncio.CancelledError else "LookupError")
    assert reports == []


@pytest.mark.parametrize("blocking", [True, False, None, 1, "yes"])
def test_strange_blocking_flags_are_judged_as_asyncio_does(loop: Loop, run: Run, blocking: Any) -> None:
    class Strange:
        _asyncio_future_blocking = blocking

        def __await__(self) -> Iterator[Any]:
            yield self

        def get_loop(self) -> Loop:
            return loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            loop.call_soon(callback, self, context=context)

        def result(self) -> None: ...

    async def main() -> str:
        try:
            await Strange()
        except RuntimeError as error:
            return str(error).split(" in task")[0]
        return "awaited"

    if blocking is None:
        assert run(main()).startswith("Task got bad yield: ")
    elif blocking:
        assert run(main()) == "awaited"
    else:
        assert run(main()) == "yield was used instead of yield from"


def test_attribute_lookup_that_fails_on_a_yielded_object(loop: Loop, run: Run, asyncio_since: Any) -> None:
    # asyncio's task hangs.
    asyncio_since()

    class Thorny:
        def __await__(self) -> Iterator[Any]:
            yield self

        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

    async def main() -> None:
        await Thorny()

    with pytest.raises(LookupError, match="_asyncio_future_blocking"):
        run(main())


def test_coroutine_of_another_make_is_driven(loop: Loop, run: Run) -> None:
    from collections.abc import Coroutine

    class Mine(Coroutine[Any, Any, Any]):
        def __init__(self) -> None:
            self.steps = 0

        def send(self, value: Any) -> Any:
            self.steps += 1
            if self.steps < 3:
                return None
            raise StopIteration(("the", "end"))

        def throw(self, *args: Any) -> Any:
            raise args[0]

        def close(self) -> None: ...

        def __await__(self) -> Any:
            return self

    assert run(loop.create_task(Mine())) == ("the", "end")
    cancelled = loop.create_task(Mine())
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        run(cancelled)


def test_awaitable_that_is_resumed_from_outside(loop: Loop, run: Run) -> None:
    async def main() -> str:
        coro = wait()
        task = loop.create_task(coro)
        await asyncio.sleep(0)
        coro.close()
        await asyncio.sleep(0)
        future.set_result(None)
        await asyncio.wait([task])
        return str(task.exception())

    async def wait() -> None:
        await future

    future = loop.create_future()
    assert run(main()) == "cannot reuse already awaited coroutine"


def test_coroutine_that_steps_its_own_task(loop: Loop, run: Run) -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            task.get_coro().send(None)  # type: ignore[union-attr]
        except ValueError as error:
            return str(error)
        return "no error"

    assert run(loop.create_task(main())) == "coroutine already executing"
