"""What asyncio and libraries ask of our objects: their class, their place in asyncio's lists, their end."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import inspect
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]


async def give(value: Any = None) -> Any:
    return value


async def park(loop: Loop) -> None:
    await loop.create_future()


def made(loop: Loop) -> dict[str, Any]:
    """Make one object of each kind."""
    return {
        "Future": loop.create_future(),
        "Task": loop.create_task(park(loop)),
        "Handle": loop.call_soon(repr, 1),
        "TimerHandle": loop.call_later(3600, repr, 1),
    }


@pytest.fixture
def objects(loop: Loop) -> Any:
    """One object of each kind, put away at the end."""
    found = made(loop)
    yield found
    found["Handle"].cancel()
    found["TimerHandle"].cancel()
    found["Task"].cancel()
    loop.run_until_complete(asyncio.wait([found["Task"]]))
    found.clear()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("Future", [asyncio.Future, asyncio.futures.Future]),
        ("Task", [asyncio.Task, asyncio.Future, asyncio.tasks.Task]),
        ("Handle", [asyncio.Handle]),
        ("TimerHandle", [asyncio.TimerHandle, asyncio.Handle]),
    ],
)
def test_object_is_an_instance_of_asyncios_class(objects: Any, name: str, kinds: list[type]) -> None:
    for kind in kinds:
        assert isinstance(objects[name], kind)
    assert objects[name].__class__ is kinds[0]


@pytest.mark.parametrize("name", ["Future", "Handle"])
def test_object_is_no_instance_of_a_subclass(objects: Any, name: str) -> None:
    assert not isinstance(objects[name], {"Future": asyncio.Task, "Handle": asyncio.TimerHandle}[name])


def test_object_is_an_instance_of_our_class() -> None:
    loop = tonnage.new_event_loop()
    objects = made(loop)
    for name, found in objects.items():
        assert type(found) is getattr(tonnage, name)
        assert isinstance(found, getattr(tonnage, name))
    objects["Task"].cancel()
    loop.run_until_complete(asyncio.wait([objects["Task"]]))
    loop.close()


def test_our_classes_form_asyncios_family() -> None:
    assert issubclass(tonnage.Task, tonnage.Future)
    assert issubclass(tonnage.TimerHandle, tonnage.Handle)
    assert issubclass(tonnage.EventLoop, asyncio.SelectorEventLoop)


def test_asyncio_knows_futures(objects: Any) -> None:
    assert asyncio.isfuture(objects["Future"])
    assert asyncio.isfuture(objects["Task"])
    assert not asyncio.isfuture(objects["Handle"])
    assert inspect.isawaitable(objects["Future"])
    assert not asyncio.iscoroutine(objects["Task"])


def test_ensure_future_gives_the_same_object(objects: Any, loop: Loop) -> None:
    assert asyncio.ensure_future(objects["Future"], loop=loop) is objects["Future"]
    assert asyncio.ensure_future(objects["Task"]) is objects["Task"]


def test_methods_are_asyncios(objects: Any, loop_factory: Any) -> None:
    oracles = made(asyncio.SelectorEventLoop())
    for name, found in objects.items():
        missing = {attribute for attribute in dir(oracles[name]) if not hasattr(found, attribute)}
        missing -= {"_asyncio_awaited_by", "__slotnames__", "__slots__", "__static_attributes__"}
        missing -= {"__firstlineno__", "__module__", "__weakref__", "_repr_info"}
        assert not missing, name
    oracles["Task"]._log_destroy_pending = False
    loop = oracles["Task"].get_loop()
    oracles["Task"].cancel()
    loop.run_until_complete(asyncio.wait([oracles["Task"]]))
    loop.close()


def test_objects_are_hashed_and_compared_by_identity(objects: Any, loop: Loop) -> None:
    other = made(loop)
    for name in ("Future", "Task"):
        assert objects[name] == objects[name]
        assert objects[name] != other[name]
        assert hash(objects[name]) == object.__hash__(objects[name])
    other["Task"].cancel()
    other["Handle"].cancel()
    other["TimerHandle"].cancel()
    loop.run_until_complete(asyncio.wait([other["Task"]]))


@pytest.mark.parametrize("name", ["Future", "Task", "Handle", "TimerHandle"])
def test_weak_references_work(objects: Any, name: str) -> None:
    reference = weakref.ref(objects[name])
    assert reference() is objects[name]
    assert objects[name] in weakref.WeakSet([objects[name]])


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_attributes_can_be_set(objects: Any, name: str) -> None:
    objects[name].extra = "extra"
    assert objects[name].extra == "extra"
    del objects[name].extra
    with pytest.raises(AttributeError):
        _ = objects[name].extra


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_futures_cannot_be_pickled(objects: Any, name: str) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(objects[name])
    with pytest.raises(TypeError):
        copy.deepcopy(objects[name])


def test_cancel_method_replaced_on_an_instance_is_used(loop: Loop, run: Run, asyncio_since: Any) -> None:
    # asyncio's C tasks call it for what they wait for; so must ours.
    async def main() -> list[str]:
        inner: Any = loop.create_task(park(loop))
        calls: list[str] = []
        own = inner.cancel

        def cancel(msg: Any = None) -> bool:
            calls.append("replaced")
            return bool(own(msg=msg))

        inner.cancel = cancel

        async def wait() -> None:
            await inner

        outer = loop.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel()
        await asyncio.wait([outer])
        del inner.cancel
        return calls

    assert run(main()) == ["replaced"]


# asyncio's lists


def test_current_task_is_the_one_that_runs(loop: Loop, run: Run) -> None:
    seen: list[Any] = []

    async def main() -> None:
        task = loop.create_task(child())
        assert asyncio.current_task() is not task
        await task
        assert seen == [task]
        assert isinstance(asyncio.current_task(), asyncio.Task)
        assert asyncio.current_task(loop) is asyncio.current_task()

    async def child() -> None:
        seen.append(asyncio.current_task())

    run(main())
    assert asyncio.current_task(loop) is None


def test_callbacks_run_in_no_task(loop: Loop, run: Run) -> None:
    seen: list[Any] = []

    def note(*_: Any) -> None:
        seen.append(asyncio.current_task())

    async def main() -> None:
        loop.call_soon(note)
        loop.call_later(0, note)
        future = loop.create_future()
        future.add_done_callback(note)
        future.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.current_task() is not None

    run(main())
    assert seen == [None] * 3


def test_all_tasks_lists_what_is_pending(loop: Loop, run: Run) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        tasks = {loop.create_task(park(loop)) for _ in range(3)}
        assert asyncio.all_tasks() == {me, *tasks}
        await asyncio.sleep(0)
        assert asyncio.all_tasks(loop) == {me, *tasks}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert asyncio.all_tasks() == {me}

    run(main())
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_of_one_loop_are_not_those_of_another(loop: Loop, run: Run, loop_factory: Any) -> None:
    other = loop_factory()
    task = other.create_task(give())

    async def main() -> None:
        assert task not in asyncio.all_tasks()
        assert asyncio.all_tasks(other) == {task}

    run(main())
    other.run_until_complete(task)
    other.close()


def test_tasks_of_both_loops_are_listed_together() -> None:
    loops = [asyncio.SelectorEventLoop(), tonnage.new_event_loop()]
    tasks = [loop.create_task(give()) for loop in loops]
    assert [asyncio.all_tasks(loop) for loop in loops] == [{task} for task in tasks]
    for loop, task in zip(loops, tasks, strict=True):
        loop.run_until_complete(task)
        loop.close()


def test_task_registered_by_a_library_is_listed(loop: Loop, run: Run) -> None:
    class Mine:
        def get_loop(self) -> Loop:
            return loop

        def done(self) -> bool:
            return False

        _loop = loop

    mine: Any = Mine()
    asyncio.tasks._register_task(mine)
    assert mine in asyncio.all_tasks(loop)
    asyncio.tasks._unregister_task(mine)
    assert mine not in asyncio.all_tasks(loop)


def test_tasks_of_asyncio_run_on_our_loop() -> None:
    loop = tonnage.new_event_loop()

    async def main() -> Any:
        task: Any = asyncio.tasks._PyTask(inner(), loop=loop)  # type: ignore[attr-defined]
        return await task

    async def inner() -> Any:
        future = asyncio.futures._PyFuture(loop=loop)  # type: ignore[attr-defined]
        loop.call_soon(future.set_result, "value")
        return await future

    assert loop.run_until_complete(main()) == "value"
    assert loop.run_until_complete(asyncio.Task(give(5), loop=loop)) == 5
    loop.close()


def test_our_tasks_run_on_asyncios_loop() -> None:
    loop = asyncio.SelectorEventLoop()

    async def main() -> Any:
        task = tonnage.Task(inner(), loop=loop)
        assert task in asyncio.all_tasks()
        return await task

    async def inner() -> Any:
        assert type(asyncio.current_task()) is tonnage.Task
        future: Any = tonnage.Future(loop=loop)
        loop.call_soon(future.set_result, "value")
        await asyncio.sleep(0)
        return await future

    assert loop.run_until_complete(main()) == "value"
    loop.close()


# Task factories and subclasses


def test_task_factory_makes_the_tasks(loop: Loop, run: Run) -> None:
    calls: list[Any] = []

    def factory(loop: Loop, coro: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert run(loop.create_task(give(5), name="named")) == 5
    assert len(calls) == 1
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


def test_task_factory_gets_context_and_name(loop: Loop, run: Run) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("create_task() takes a context since 3.11")
    calls: list[Any] = []

    def factory(loop: Loop, coro: Any, context: Any = None, **kwargs: Any) -> Any:
        calls.append((context, kwargs))
        return asyncio.Task(coro, loop=loop, context=context, **kwargs)

    context = contextvars.copy_context()
    loop.set_task_factory(factory)
    task = loop.create_task(give(5), name="named", context=context)
    assert task.get_name() == "named"
    run(task)
    assert calls[0][0] is context
    loop.set_task_factory(None)


@pytest.mark.parametrize("way", ["name", "options"])
def test_task_factory_that_takes_a_name_gets_it(loop: Loop, run: Run, asyncio_since: Any, way: str) -> None:
    asyncio_since(3, 13, 3)
    given: list[Any] = []

    def by_name(loop: Loop, coro: Any, *, name: Any = None) -> Any:
        given.append(name)
        return asyncio.Task(coro, loop=loop, name=name)

    def by_options(loop: Loop, coro: Any, **options: Any) -> Any:
        return by_name(loop, coro, **options)

    loop.set_task_factory(by_name if way == "name" else by_options)
    task = loop.create_task(give(5), name="named")
    assert given == ["named"]
    assert task.get_name() == "named"
    assert run(task) == 5
    loop.set_task_factory(None)


def test_task_factory_that_takes_no_name_need_not(loop: Loop, run: Run) -> None:
    if sys.version_info >= (3, 13, 3):
        pytest.skip("a factory must take a name since 3.13.3")

    # One without a signature takes none.
    class Factory:
        __signature__ = "none"

        def __call__(self, loop: Loop, coro: Any) -> Any:
            return asyncio.Task(coro, loop=loop)

    for factory in (lambda loop, coro: asyncio.Task(coro, loop=loop), Factory()):
        loop.set_task_factory(factory)
        task = loop.create_task(give(5), name="named")
        assert task.get_name() == "named"
        assert run(task) == 5
    loop.set_task_factory(None)


def test_task_factory_gets_a_coroutine_that_was_given_by_name(loop: Loop, run: Run) -> None:
    loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    create: Any = loop.create_task
    assert run(create(coro=give(5))) == 5
    with pytest.raises(TypeError, match="coro"):
        create(name="without")
    loop.set_task_factory(None)


def test_task_can_be_subclassed(loop: Loop, run: Run, loop_factory: Any) -> None:
    base: Any = tonnage.Task if loop_factory is tonnage.new_event_loop else asyncio.Task

    class Mine(base):  # type: ignore[misc, valid-type]
        def cancel(self, msg: Any = None) -> bool:
            cancels.append(msg)
            return bool(super().cancel(msg=msg))

    cancels: list[Any] = []

    async def main() -> None:
        task = Mine(park(loop), loop=loop)
        assert isinstance(task, base)
        assert asyncio.isfuture(task)
        assert task.__class__ is Mine

        async def wait() -> None:
            await task

        outer = loop.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel("why")
        await asyncio.wait([outer])

    run(main())
    assert cancels == ["why"]


def test_loop_can_be_subclassed() -> None:
    class Mine(tonnage.EventLoop):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def call_soon(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().call_soon(*args, **kwargs)

    async def main() -> str:
        await asyncio.sleep(0)
        return "through"

    loop = Mine()
    assert loop.run_until_complete(main()) == "through"
    assert loop.calls >= 3
    loop.close()


def test_subclass_of_a_handle_is_its_own_class() -> None:
    assert issubclass(type("Mine", (tonnage.Handle,), {}), tonnage.Handle)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the call graph is new in 3.14")
def test_call_graph_names_who_waits_for_whom(loop: Loop, run: Run) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        graphs.append(asyncio.capture_call_graph(task))

    async def main() -> None:
        nonlocal task
        task = loop.create_task(inner(), name="inner")
        await asyncio.wait([task])
        await task

    task: Any = None
    graphs: list[Any] = []
    run(main())
    (graph,) = graphs
    assert graph.future is task
    assert any(entry.frame.f_code.co_name == "inner" for entry in graph.call_stack)


def test_subinterpreter_cannot_import_or_works() -> None:
    interpreters = pytest.importorskip(
        "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    )
    number = interpreters.create()
    try:
        code = "try:\n    import tonnage\nexcept ImportError:\n    pass"
        found = interpreters.run_string(number, code)
        assert found is None, found
    finally:
        interpreters.destroy(number)
    gc.collect()
