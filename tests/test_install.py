"""install(): asyncio's own functions give tonnage's loops. Each test is a process of its own."""

from __future__ import annotations

import asyncio
import pkgutil
import subprocess
import sys
import textwrap

import pytest
import tonnage

PRELUDE = """
import asyncio, sys, unittest
import tonnage

async def running():
    return asyncio.get_running_loop()

async def current():
    return asyncio.get_event_loop()

def made(loop):
    loop.close()
    return loop

def run_in_runner():
    with asyncio.Runner() as runner:
        return runner.run(running())

def run_in_unittest():
    loops = []
    class Case(unittest.IsolatedAsyncioTestCase):
        async def test(self):
            loops.append(asyncio.get_running_loop())
    result = unittest.TestResult()
    Case("test").run(result)
    assert result.wasSuccessful(), result.errors
    return loops[0]

def set_current():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    return made(loop)
"""

new_in_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")
lacks_in_3_10 = pytest.mark.skipif(sys.version_info >= (3, 11), reason="asyncio has its own")


def run_python(program: str) -> list[str]:
    """Run `program`, with every warning an error, and return the words it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize(
    "way",
    [
        "asyncio.run(running())",
        "asyncio.run(current())",
        "made(asyncio.new_event_loop())",
        "made(asyncio.events.new_event_loop())",
        "set_current()",
        "run_in_unittest()",
        pytest.param("run_in_runner()", marks=new_in_3_11),
    ],
)
def test_asyncio_gives_loops_of_tonnage(way: str, patch: bool) -> None:
    assert run_python(f"""
        tonnage.install(patch_asyncio={patch})
        print(type({way}).__module__)
    """) == ["tonnage.event_loop"]


def test_get_event_loop_gives_a_loop_of_tonnage_where_asyncio_makes_one() -> None:
    assert run_python("""
        import warnings
        tonnage.install()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loop = asyncio.get_event_loop()
            except RuntimeError as error:
                assert sys.version_info >= (3, 14), error
                loop = asyncio.new_event_loop()
        print(type(made(loop)).__module__)
    """) == ["tonnage.event_loop"]


def test_installing_twice_keeps_the_current_loop() -> None:
    assert run_python("""
        tonnage.install()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        tonnage.install()
        tonnage.install(patch_asyncio=True)
        tonnage.install(patch_asyncio=True)
        print(asyncio.get_event_loop() is loop)
        loop.close()
    """) == ["True"]


def test_names_stay_asyncio_s_own_without_patch_asyncio() -> None:
    assert run_python("""
        before = vars(asyncio).copy()
        tonnage.install()
        print(before == vars(asyncio))
    """) == ["True"]


@pytest.mark.parametrize("name", ["Task", "Future", "eager_task_factory"])
def test_patch_binds_every_name_of_the_same_object(name: str) -> None:
    assert (
        run_python(f"""
        theirs = getattr(asyncio, {name!r}, None)
        holders = [
            module for key, module in sys.modules.items()
            if theirs is not None and key.startswith("asyncio") and vars(module).get({name!r}) is theirs
        ]
        tonnage.install(patch_asyncio=True)
        ours = getattr(tonnage, {name!r})
        print(ours is not theirs)
        print(all(getattr(module, {name!r}) is ours for module in [asyncio, *holders]))
        print({name!r} in asyncio.__all__)
    """)
        == ["True"] * 3
    )


@lacks_in_3_10
def test_patch_adds_what_python_3_10_lacks() -> None:
    assert run_python("""
        tonnage.install(patch_asyncio=True)
        from asyncio import (
            Barrier, BrokenBarrierError, EventLoop, Runner, TaskGroup, Timeout, timeout, timeout_at
        )

        async def main():
            async with timeout(1), TaskGroup() as group:
                group.create_task(asyncio.sleep(0))

        asyncio.run(main())
        print(TaskGroup is tonnage.TaskGroup, asyncio.locks.Barrier is Barrier)
    """) == ["True", "True"]


def test_patched_run_and_runner_honour_the_program_s_own_policy() -> None:
    assert (
        run_python("""
        import warnings
        tonnage.install(patch_asyncio=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")

            class Policy(asyncio.DefaultEventLoopPolicy):
                def new_event_loop(self):
                    return asyncio.SelectorEventLoop()

            asyncio.set_event_loop_policy(Policy())
        print(type(asyncio.run(running())) is asyncio.SelectorEventLoop)
        print(type(run_in_runner()) is asyncio.SelectorEventLoop)
        print(type(tonnage.run(running())) is tonnage.EventLoop)
    """)
        == ["True"] * 3
    )


def test_patched_gather_returns_a_future_that_can_be_cancelled() -> None:
    assert run_python("""
        tonnage.install(patch_asyncio=True)

        async def main():
            children = [asyncio.create_task(asyncio.Event().wait()) for _ in range(2)]
            outer = asyncio.gather(*children)
            print(isinstance(outer, asyncio.Future), asyncio.isfuture(outer))
            print(outer.cancel("message"))
            try:
                await outer
            except asyncio.CancelledError as error:
                print(error.args)
            print([child.cancelled() for child in children])
            print(outer.cancel(), outer.cancelled())

        asyncio.run(main())
    """) == ["True", "True", "True", "('message',)", "[True,", "True]", "False", "False"]


def test_patched_eager_factory_looks_as_anyio_expects() -> None:
    # anyio recognises the factory by its code, and takes the constructor out of its one cell.
    assert (
        run_python("""
        tonnage.install(patch_asyncio=True)
        factory = asyncio.create_eager_task_factory(print)
        print(factory.__code__ is asyncio.eager_task_factory.__code__)
        print([cell.cell_contents for cell in factory.__closure__] == [print])
        print([cell.cell_contents for cell in asyncio.eager_task_factory.__closure__] == [tonnage.Task])
    """)
        == ["True"] * 3
    )


@pytest.mark.parametrize("patch", [False, True])
def test_eager_factory_starts_tasks_at_once_unless_told_not_to(patch: bool) -> None:
    assert run_python(f"""
        tonnage.install(patch_asyncio={patch})

        async def child():
            return "done"

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(tonnage.eager_task_factory)
            eager = asyncio.create_task(child())
            print(eager.done(), type(eager) is tonnage.Task)
            lazy = loop.create_task(child(), eager_start=False, name="lazy")
            print(lazy.done(), lazy.get_name(), await lazy)

        asyncio.run(main())
    """) == ["True", "True", "False", "lazy", "done"]


def test_patched_names_work_on_the_standard_loop() -> None:
    assert run_python("""
        tonnage.install(patch_asyncio=True)

        async def main():
            future = asyncio.Future()
            asyncio.get_running_loop().call_soon(future.set_result, "standard")
            return await asyncio.ensure_future(asyncio.wait_for(future, 10))

        loop = asyncio.SelectorEventLoop()
        print(loop.run_until_complete(main()))
        loop.close()
    """) == ["standard"]


@pytest.mark.parametrize("name", asyncio.__all__)
def test_every_public_name_of_asyncio_is_here(name: str) -> None:
    assert name in tonnage.__all__
    assert name in dir(tonnage)
    getattr(tonnage, name)


def test_tonnage_can_be_imported_as_asyncio() -> None:
    assert run_python("""
        import tonnage as asyncio
        from tonnage import *

        async def main():
            assert asyncio.get_running_loop() is asyncio.events.get_running_loop() is get_running_loop()
            lock = asyncio.Lock()
            async with lock:
                await asyncio.wait_for(sleep(0), 10)
            return [task.done() for task in (await asyncio.wait([asyncio.create_task(sleep(0))]))[0]]

        print(asyncio.run(main()), asyncio.subprocess.PIPE)
    """) == ["[True]", "-1"]


def test_unknown_name_is_an_attribute_error_of_tonnage() -> None:
    with pytest.raises(AttributeError, match=r"^module 'tonnage' has no attribute 'nonsense'$"):
        tonnage.nonsense  # noqa: B018


def test_no_module_of_tonnage_hides_one_of_asyncio() -> None:
    ours = {module.name for module in pkgutil.iter_modules(tonnage.__path__)}
    theirs = {module.name for module in pkgutil.iter_modules(asyncio.__path__)}
    assert ours & theirs == {"__main__"}


def test_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert tonnage.__version__ == version("tonnage")
