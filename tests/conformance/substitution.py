"""Put a foreign loop, Task, Future and structured classes in the place of asyncio's.

This happens before CPython's tests load.

The tests reach a loop through `asyncio.new_event_loop`, `asyncio.SelectorEventLoop`, the event loop
policy, or a method `create_event_loop` of the test class. They reach Task and Future through the
names of asyncio's modules, and through the names that hold asyncio's C classes, from which the
parametrised test classes are built. They reach the structured classes and functions (TaskGroup,
gather, Queue) by their public names. Each of these is replaced here, and nothing else is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import pkgutil
import sys
import types
import unittest
from asyncio import futures, tasks, unix_events
from typing import Any

PARTS = ("loop", "tasks", "structured")

# The names of the part `structured`, by the module of asyncio that is their home.
_STRUCTURED = {
    "exceptions": ("BrokenBarrierError",),
    "locks": ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"),
    "queues": ("Queue", "LifoQueue", "PriorityQueue", "QueueEmpty", "QueueFull", "QueueShutDown"),
    "runners": ("Runner", "run"),
    "taskgroups": ("TaskGroup",),
    "tasks": (
        "as_completed",
        "create_eager_task_factory",
        "create_task",
        "eager_task_factory",
        "ensure_future",
        "gather",
        "run_coroutine_threadsafe",
        "shield",
        "sleep",
        "wait",
        "wait_for",
    ),
    "threads": ("to_thread",),
    "timeouts": ("Timeout", "timeout", "timeout_at"),
    "unix_events": ("EventLoop",),
}


def substitute(implementation: types.ModuleType, parts: list[str]) -> None:
    """Replace asyncio's names of the given `parts` by those of `implementation`.

    Raises:
        AttributeError: The module lacks a name that a part needs.
    """
    for submodule in pkgutil.iter_modules(asyncio.__path__):
        if not submodule.name.startswith(("windows_", "__")):
            importlib.import_module(f"asyncio.{submodule.name}")
    if "loop" in parts:
        _substitute_loop(loop_class(implementation))
    if "tasks" in parts:
        _substitute_class(tasks, "Task", implementation.Task)
        _substitute_class(futures, "Future", implementation.Future)
    if "structured" in parts:
        _substitute_structured(implementation)


@functools.cache
def loop_class(implementation: types.ModuleType) -> type[asyncio.AbstractEventLoop]:
    """Return the class of loops of a module: its `EventLoop`, or its `Loop` as uvloop calls it."""
    found: type[asyncio.AbstractEventLoop] = getattr(implementation, "EventLoop", None) or implementation.Loop
    if not issubclass(found, asyncio.BaseEventLoop):
        # The suite's own close_loop() reads this attribute from every loop.
        found = type(found.__name__, (found,), {"_default_executor": None})
    return found


def substitute_in_classes(module: types.ModuleType, loop_type: type[asyncio.AbstractEventLoop]) -> None:
    """Make the test classes of `module` that choose a selector for their loop choose ours."""
    for value in list(vars(module).values()):
        if (
            isinstance(value, type)
            and issubclass(value, unittest.TestCase)
            and "create_event_loop" in vars(value)
        ):
            value.create_event_loop = lambda _self: loop_type()  # type: ignore[attr-defined]


def _substitute_loop(loop_type: type[asyncio.AbstractEventLoop]) -> None:
    # Every tearDownModule of the suite resets the policy, so the class of policies is changed.
    policy: Any = unix_events._UnixDefaultEventLoopPolicy
    policy._loop_factory = staticmethod(loop_type)
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, loop_type)
    loop = asyncio.new_event_loop()
    loop.close()
    if type(loop) is not loop_type:
        raise RuntimeError(f"asyncio.new_event_loop() made a {type(loop)}, not a {loop_type}")


def _substitute_class(home: types.ModuleType, name: str, new: type) -> None:
    _rebind(getattr(home, name), new)
    setattr(home, f"_C{name}", new)


def _substitute_structured(implementation: types.ModuleType) -> None:
    for home_name, names in _STRUCTURED.items():
        for name in names:
            new = _structured(implementation, name)
            old = getattr(asyncio, name, None)
            if new is None or new is old:
                continue
            if old is not None:
                _rebind(old, new)
            setattr(_home(home_name), name, new)
            setattr(asyncio, name, new)


def _structured(implementation: types.ModuleType, name: str) -> object:
    """Return what `implementation` has for asyncio's `name`, or None.

    What it puts in asyncio's place itself is in its module `patch`: a Runner that asks the policy.
    """
    with contextlib.suppress(ImportError):
        patch = importlib.import_module(f"{implementation.__name__}.patch")
        if name in ("Runner", "run") and hasattr(patch, name):
            return getattr(patch, name)
    return getattr(implementation, name, None)


def _home(name: str) -> types.ModuleType:
    """Return a module of asyncio, made here if this version lacks it."""
    module = sys.modules.get(f"asyncio.{name}")
    if module is None:
        module = sys.modules[f"asyncio.{name}"] = types.ModuleType(f"asyncio.{name}")
        setattr(asyncio, name, module)
    return module


def _rebind(old: object, new: object) -> None:
    for module_name, module in list(sys.modules.items()):
        if module_name != "asyncio" and not module_name.startswith("asyncio."):
            continue
        for attribute, value in list(vars(module).items()):
            # _PyTask, _CTask and their like say which implementation a test class is for.
            if value is old and not attribute.startswith("_"):
                setattr(module, attribute, new)
