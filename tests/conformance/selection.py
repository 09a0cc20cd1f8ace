"""Which files and classes of CPython's test_asyncio can judge a foreign loop, Task or Future.

A file or class is left out only if it never reaches what we put in asyncio's place, or if it
repeats another class word for word. A test that does reach it, and fails for a reason that is not
ours, is run all the same and stands in `expected/`.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import sys
import unittest

PACKAGE = "test.test_asyncio"

# Files that never reach a loop, a Task or a Future of ours.
FILES_LEFT_OUT = {
    "test_proactor_events": "tests the loop for Windows",
    "test_protocols": "tests abstract classes",
    "test_selector_events": "tests the private classes of asyncio's own selector loop",
    "test_tools": "tests a command of asyncio",
    "test_transports": "tests abstract classes",
    "test_windows_events": "tests the loop for Windows",
    "test_windows_utils": "tests pipes for Windows",
}

# Files that test what the part `structured` replaces: groups, timeouts, locks, queues, and what
# waits for tasks.
STRUCTURED_FILES = (
    "test_eager_task_factory",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_staggered",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_waitfor",
)

# Files outside test_asyncio whose tests run on a loop.
FILES_ELSEWHERE = ["test.test_asyncgen", "test.test_contextlib_async"]

# Classes that run the tests of another class again, on another selector or child watcher. We have
# neither to choose, so they would run the very same code again.
CLASSES_LEFT_OUT = {
    "test_events": {"KqueueEventLoopTests", "PollEventLoopTests", "SelectEventLoopTests"},
    "test_sendfile": {"KqueueEventLoopTests", "PollEventLoopTests", "SelectEventLoopTests"},
    "test_sock_lowlevel": {"KqueueEventLoopTests", "PollEventLoopTests", "SelectEventLoopTests"},
    "test_subprocess": {
        "SubprocessFastWatcherTests",
        "SubprocessMultiLoopWatcherTests",
        "SubprocessPidfdWatcherTests",
        "SubprocessSafeWatcherTests",
    },
}

# Classes of a newer CPython's suite, left out before 3.12: their Task is asyncio's own in Python,
# which there lacks the arguments with which these tests make each task.
CLASSES_OF_PYTHON_TASK = (
    "DefaultPyTaskEagerStart",
    "EagerPyTaskTests",
    "NonEagerPyTaskTests",
    "PyEagerTaskFactoryLoopTests",
    "PyTask_*",
    "TestEagerPyFreeThreading",
    "TestPyFreeThreading",
)


def applicable_files(parts: list[str], suite: str = "") -> list[str]:
    """Return the names of the files to run, from this interpreter's suite or from the folder `suite`.

    Raises:
        ImportError: This interpreter came without its own test suite.
    """
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules([suite] if suite else package.__path__)]
    inside = [name for name in names if name.startswith("test_") and name not in FILES_LEFT_OUT]
    if "structured" in parts:
        return [name for name in inside if name in STRUCTURED_FILES]
    return inside + FILES_ELSEWHERE


def module_name(file: str) -> str:
    """Return what to import for a file of test_asyncio; a name with a dot is a module elsewhere."""
    return file if "." in file else f"{PACKAGE}.{file}"


def test_name(test: unittest.TestCase) -> str:
    """Return `file.Class.method`, the name under which a test stands in the lists."""
    return test.id().removeprefix(PACKAGE + ".")


def is_left_out(name: str, suite: str = "") -> bool:
    """Say whether the class of the test `name` can tell nothing about us, in its own suite or `suite`."""
    file, _, rest = name.partition(".")
    test_class = rest.partition(".")[0]
    if suite and sys.version_info < (3, 12):
        if any(fnmatch.fnmatchcase(test_class, pattern) for pattern in CLASSES_OF_PYTHON_TASK):
            return True
    return test_class in CLASSES_LEFT_OUT.get(file, ())
