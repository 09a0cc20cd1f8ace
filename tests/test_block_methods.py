"""`__aenter__` and `__aexit__` of our classes are methods as any others, though cheaper to bind."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import sys
import types
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock

import pytest
import tonnage

CLASSES = [
    tonnage.Lock,
    tonnage.Semaphore,
    tonnage.BoundedSemaphore,
    tonnage.Condition,
    tonnage.Barrier,
    tonnage.Timeout,
    tonnage.MoveOn,
    tonnage.TaskGroup,
    tonnage.AsyncMap,
    tonnage.CapacityLimiter,
    tonnage.RateLimiter,
    tonnage.shield_scope,
]


class Plain(tonnage.Lock):
    """A class in Python that inherits both methods."""


def block_methods(owner: Any) -> list[Any]:
    return [owner.__aenter__, owner.__aexit__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_methods_of_a_class_look_like_its_others(kind: type) -> None:
    other = tonnage.Lock.release
    for method in block_methods(kind):
        assert isinstance(method, types.MethodDescriptorType)
        assert type(method).__name__ == type(other).__name__
        assert inspect.ismethoddescriptor(method)
        assert inspect.isroutine(method)
        name = method.__name__
        assert name in ("__aenter__", "__aexit__")
        assert method.__qualname__.endswith(f".{name}")
        assert repr(method).startswith(f"<method '{name}' of '")
        assert method.__objclass__ in kind.__mro__
        assert method.__doc__
        assert getattr(kind, name) is method
        assert not inspect.iscoroutinefunction(method)


@pytest.mark.parametrize("kind", [tonnage.Lock, Plain], ids=["native", "in Python"])
def test_bound_methods_look_like_others(kind: type[tonnage.Lock]) -> None:
    lock = kind()
    for method in block_methods(lock):
        assert isinstance(method, types.BuiltinMethodType)
        assert type(method).__name__ == type(lock.release).__name__
        assert inspect.isbuiltin(method)
        assert inspect.isroutine(method)
        assert method.__self__ is lock
        name = method.__name__
        assert name in ("__aenter__", "__aexit__")
        assert method.__qualname__ == f"{kind.__name__}.{name}"
        assert method.__module__ is None
        assert method.__doc__ == getattr(tonnage.Lock, name).__doc__
        assert repr(method).startswith(f"<built-in method {name} of ")
        assert getattr(lock, name) is not method
        assert getattr(lock, name) == method
        assert hash(getattr(lock, name)) == hash(method)
        assert getattr(kind(), name) != method
        assert copy.copy(method) == method


@pytest.mark.skipif(sys.version_info < (3, 13), reason="CPython derives no signature from the flags")
def test_signature_is_that_of_a_method_without_arguments() -> None:
    assert str(inspect.signature(tonnage.Lock.__aenter__)) == "(self, /)"
    assert str(inspect.signature(tonnage.Lock().__aenter__)) == "()"


def test_wrong_calls_are_refused_as_of_any_method() -> None:
    lock = tonnage.Lock()
    enter: Any = lock.__aenter__
    leave: Any = lock.__aexit__
    unbound: Any = tonnage.Lock.__aenter__
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: enter(1), r"__aenter__\(\) takes no arguments \(1 given\)"),
        (lambda: enter(key=1), r"__aenter__\(\) takes no keyword arguments"),
        (lambda: enter(*(), key=1), r"__aenter__\(\) takes no keyword arguments"),
        (lambda: leave(), r"__aexit__\(\) takes exactly 3 positional arguments \(0 given\)"),
        (lambda: unbound(), "needs an argument"),
        (lambda: unbound(1), "for 'Lock' objects doesn't apply to a 'int' object"),
        (lambda: unbound.__get__(1), "for 'Lock' objects doesn't apply to a 'int' object"),
        (lambda: type(enter)(), "cannot create 'builtin_function_or_method' instances"),
        (lambda: type(unbound)(), "cannot create 'method_descriptor' instances"),
    ]
    for call, text in wrong:
        with pytest.raises(TypeError, match=text):
            call()
    assert unbound.__get__(None, tonnage.Lock) is unbound
    assert not lock.locked()


def test_blocks_are_entered_by_the_class_as_an_exit_stack_does() -> None:
    async def main() -> None:
        lock = tonnage.Lock()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(lock)
            timeout = await stack.enter_async_context(tonnage.timeout(60))
            group = await stack.enter_async_context(tonnage.TaskGroup())
            assert lock.locked()
            assert timeout.when() is not None
            group.create_task(asyncio.sleep(0))
        assert not lock.locked()
        await lock.__aenter__()
        await tonnage.Lock.__aexit__(lock, None, None, None)
        assert not lock.locked()

    tonnage.run(main())


def test_class_in_python_may_override_one_of_both() -> None:
    seen: list[str] = []

    class Entering(tonnage.Lock):
        async def __aenter__(self) -> None:
            seen.append("enter")
            await super().__aenter__()

    class Leaving(tonnage.Lock):
        async def __aexit__(self, *exc_info: object) -> None:
            seen.append("leave")
            await super().__aexit__(*exc_info)

    async def main() -> None:
        for lock in (Entering(), Leaving(), Plain()):
            async with lock:
                assert lock.locked()
            assert not lock.locked()

    tonnage.run(main())
    assert seen == ["enter", "leave"]


def test_mocks_with_the_spec_of_a_lock_have_both() -> None:
    async def main() -> None:
        double = mock.MagicMock(spec=tonnage.Lock)
        async with double:
            double.__aenter__.assert_awaited_once_with()
        double.__aexit__.assert_awaited_once_with(None, None, None)

    asyncio.run(main())
    strict = mock.create_autospec(tonnage.Lock, instance=True)
    strict.__aenter__()
    strict.__aenter__.assert_called_once_with()


def test_more_blocks_may_be_open_than_methods_are_kept() -> None:
    async def main() -> None:
        semaphore = tonnage.Semaphore(1000)
        everyone = tonnage.Barrier(1000)

        async def member() -> None:
            async with semaphore, tonnage.timeout(60):
                await everyone.wait()

        async with tonnage.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(member())
        assert semaphore._value == 1000

    for _ in range(2):
        tonnage.run(main())


def test_bound_method_keeps_its_owner_and_nothing_after_it() -> None:
    lock = tonnage.Lock()
    owner, method = weakref.ref(lock), lock.__aenter__
    del lock
    assert owner() is method.__self__
    told: list[str] = []
    itself = weakref.ref(method, lambda _: told.append("gone"))
    method.__module__ = "elsewhere"
    del method
    assert (owner(), itself(), told) == (None, None, ["gone"])
    assert tonnage.Lock().__aenter__.__module__ is None


def test_cycle_through_a_bound_method_is_collected() -> None:
    lock: Any = tonnage.Lock()
    lock.method = lock.__aexit__
    owner = weakref.ref(lock)
    del lock
    gc.collect()
    assert owner() is None


def test_cycle_through_an_open_block_is_collected() -> None:
    @types.coroutine
    def wait() -> Any:
        yield

    async def inside(lock: tonnage.Lock) -> None:
        async with lock:
            await wait()

    lock: Any = tonnage.Lock()
    # Its frame holds `lock.__aexit__`.
    lock.coroutine = inside(lock)
    lock.coroutine.send(None)
    owner = weakref.ref(lock)
    del lock
    gc.collect()
    assert owner() is None


def test_cycle_through_a_bound_method_that_was_frozen_as_a_spare_is_collected() -> None:
    spares = [tonnage.Lock().__aexit__ for _ in range(10)]
    del spares
    gc.collect()
    gc.freeze()
    try:
        test_cycle_through_a_bound_method_is_collected()
        test_cycle_through_an_open_block_is_collected()
    finally:
        gc.unfreeze()


def test_owner_that_dies_with_its_bound_method_may_enter_another_block() -> None:
    other = tonnage.Lock()
    seen: list[Any] = []

    class Last(tonnage.Lock):
        def __del__(self) -> None:
            seen.extend(block_methods(other))

    method = Last().__aenter__
    del method
    assert [method.__self__ for method in seen] == [other, other]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before, the interpreter takes the bare value")
def test_awaited_value_is_not_kept_by_what_carried_it() -> None:
    class Value:
        pass

    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(Value())
        return weakref.ref(await future)

    assert tonnage.run(main())() is None


def test_stop_iteration_that_a_program_keeps_is_not_used_again() -> None:
    async def main() -> None:
        caught = []
        for number in range(3):
            block = tonnage.timeout(number + 60)
            entering = iter(block.__aenter__().__await__())  # type: ignore[attr-defined]
            with pytest.raises(StopIteration) as stopped:
                next(entering)
            caught.append((stopped.value, block))
            await block.__aexit__(None, None, None)
        assert all(stop.value is block for stop, block in caught)

    tonnage.run(main())
