r"""Let the test files of a newer CPython run on this one.

The files `test/test_asyncio/*.py` of the newer CPython are loaded in the place of this one's own;
the rest of the package `test` stays this interpreter's. All that is adapted to it is in this file:

- helpers of `test.support`, assertions of `unittest` and `sys.exception` that this interpreter
  lacks are added;
- what older asyncio calls differently (`events.set_event_loop_policy`) gets its newer name;
- `\z` in a regular expression, which is new in 3.14, is written `\Z`, which meant the same before;
- `no_other_refs()` of test_taskgroups, which names what always refers to a local variable, is the
  frame on 3.10, and nothing until 3.14, from which on it is the coroutine;
- before 3.13, `IsolatedAsyncioTestCase` learns to ask `loop_factory` of a test class;
- on 3.10, where `except*` is a syntax error, it is rewritten to an `except` with the same meaning,
  and the exception groups come from the package exceptiongroup;

A module of asyncio that this version lacks holds what `substitution.py` puts into it, as
`asyncio.taskgroups` on 3.10. No test is changed otherwise. One that needs more of a newer
interpreter fails, and is listed.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import subprocess
import sys
import time
import types
import unittest
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

PACKAGE = "test.test_asyncio"
_EXCEPT_STAR = re.compile(r"^( *)except\* *(.+?)(?: as (\w+))?:$", re.MULTILINE)


def find_suite(place: str) -> Path:
    """Return the folder of test_asyncio in a tree of tests, or in that of an interpreter.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    path = Path(place).expanduser()
    if path.is_file():
        code = f"import {PACKAGE}; print(next(iter({PACKAGE}.__path__)))"
        answer = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, check=False)
        found = Path(answer.stdout.strip() or path)
    else:
        found = path if path.name == "test_asyncio" else path / "test_asyncio"
    if not (found / "utils.py").is_file():
        raise FileNotFoundError(f"no test suite of a CPython in {place}: {found} holds no utils.py")
    return found.resolve()


def use(folder: str) -> None:
    """Make the package test.test_asyncio consist of the files in `folder`, and add what they need."""
    package: Any = importlib.import_module(PACKAGE)
    package.__path__ = [folder]
    for name in [name for name in sys.modules if name.startswith(PACKAGE + ".")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder(Path(folder)))
    _add_missing(importlib.import_module("test.support"), _SUPPORT)
    threads = importlib.import_module("test.support.threading_helper")
    _add_missing(threads, {"requires_working_threading": _requires})
    _add_missing(sys, {"exception": lambda: sys.exc_info()[1]})
    _add_missing(unittest.TestCase, _ASSERTIONS)
    if sys.version_info < (3, 11):
        _make_loop_by_factory()
    elif sys.version_info < (3, 13):
        case_class: Any = unittest.IsolatedAsyncioTestCase
        case_class._setupAsyncioRunner = _set_up_runner
    for module_name, new, old in _NEWER_NAMES:
        module = importlib.import_module(module_name)
        value = vars(module).get(old)
        # The tests make a C function an attribute of a class, where it does not become a method.
        _add_missing(module, {new: staticmethod(value) if new.startswith("_c_") and value else value})


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, _path: object, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        path = self._folder / f"{name}.py"
        if package != PACKAGE or not path.is_file():
            return None
        loader = _Loader(fullname, str(path))
        return importlib.util.spec_from_file_location(fullname, path, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the adapted source, and leaves no bytecode in the tree it came from."""

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_source(fullname)
        assert source is not None
        if sys.version_info < (3, 14):
            source = source.replace(r"\z", r"\Z")
        if sys.version_info < (3, 11):
            source = _EXCEPT_STAR.sub(_without_star, source)
        code: types.CodeType = compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        if sys.version_info < (3, 11):
            names: dict[str, object] = {
                "BaseExceptionGroup": BaseExceptionGroup,
                "ExceptionGroup": ExceptionGroup,
                "_matching": _matching,
            }
            vars(module).update(names)
        super().exec_module(module)
        if sys.version_info < (3, 14) and hasattr(module, "no_other_refs"):
            vars(module)["no_other_refs"] = _no_other_refs


def _without_star(clause: re.Match[str]) -> str:
    indent, classes, name = clause[1], clause[2], clause[3] or "_group"
    return f"{indent}except BaseException as {name}:\n{indent}    {name} = _matching({name}, {classes})"


if sys.version_info < (3, 11):

    def _matching(error: BaseException, classes: Any) -> BaseException:
        """Return the group that `except* classes` would catch, and raise what it would let through."""
        if not isinstance(error, BaseExceptionGroup):
            if isinstance(error, classes):
                return BaseExceptionGroup("", [error])
            raise error
        caught, rest = error.split(classes)
        if caught is None or rest is not None:
            raise rest or error
        return caught


def _set_up_runner(case: Any) -> None:
    case._asyncioRunner = asyncio.Runner(debug=True, loop_factory=getattr(case, "loop_factory", None))


def _make_loop_by_factory() -> None:
    case_class: Any = unittest.IsolatedAsyncioTestCase
    set_up_loop = case_class._setupAsyncioLoop

    def set_up_by_factory(case: Any) -> None:
        factory = getattr(case, "loop_factory", None) or asyncio.new_event_loop
        with unittest.mock.patch.object(asyncio, "new_event_loop", factory):
            set_up_loop(case)

    case_class._setupAsyncioLoop = set_up_by_factory


def _no_other_refs() -> list[object]:
    return [sys._getframe(1)] if sys.version_info < (3, 11) else []


def _add_missing(place: Any, names: dict[str, object]) -> None:
    for name, value in names.items():
        if not hasattr(place, name):
            setattr(place, name, value)


def _busy_retry(timeout: float, err_msg: str | None = None, /, *, error: bool = True) -> Iterator[None]:
    end_s = time.monotonic() + timeout
    while True:
        yield
        if time.monotonic() >= end_s:
            break
    if error:
        raise AssertionError(f"timed out after {timeout} s: {err_msg or ''}")


def _requires(*, module: bool = False) -> Any:
    """Skip nothing: where this suite runs there are sockets and threads."""
    return None if module else lambda test: test


# Where the tests look for what older versions have under another name.
_NEWER_NAMES = (
    ("asyncio.events", "_AbstractEventLoopPolicy", "AbstractEventLoopPolicy"),
    ("asyncio.events", "_get_event_loop_policy", "get_event_loop_policy"),
    ("asyncio.events", "_set_event_loop_policy", "set_event_loop_policy"),
    ("asyncio.tasks", "_c_all_tasks", "all_tasks"),
    ("asyncio.tasks", "_c_current_task", "current_task"),
    ("asyncio.tasks", "_py_all_tasks", "all_tasks"),
    ("asyncio.tasks", "_py_current_task", "current_task"),
    ("asyncio.unix_events", "_DefaultEventLoopPolicy", "DefaultEventLoopPolicy"),
)

_SUPPORT: dict[str, object] = {
    "busy_retry": _busy_retry,
    "requires_working_socket": _requires,
}


def _assertion(holds: Callable[[Any, Any], bool], otherwise: str) -> Callable[..., None]:
    def assertion(case: unittest.TestCase, value: Any, other: Any, msg: object = None) -> None:
        if not holds(value, other):
            raise case.failureException(msg or f"{value!r} {otherwise} {other!r}")

    return assertion


_ASSERTIONS: dict[str, object] = {
    "assertEndsWith": _assertion(str.endswith, "does not end with"),
    "assertHasAttr": _assertion(hasattr, "has no attribute"),
    "assertIsSubclass": _assertion(issubclass, "is no subclass of"),
    "assertNotHasAttr": _assertion(lambda value, name: not hasattr(value, name), "has the attribute"),
    "assertStartsWith": _assertion(str.startswith, "does not start with"),
}
