"""The extension as a module: the promises it makes to CPython, and where it refuses to be."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest
from tonnage import _tonnage

GIL_SLOT = 4  # Py_mod_gil
GIL_USED = 0  # Py_MOD_GIL_USED
SLOTS_AT = 9  # Words before PyModuleDef.m_slots


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def declared_slots() -> dict[int, int]:
    """Read the slots of the module's definition from memory."""
    get_definition = ctypes.pythonapi.PyModule_GetDef
    get_definition.restype = ctypes.c_void_p
    get_definition.argtypes = [ctypes.py_object]
    definition = get_definition(_tonnage)
    if not definition:
        pytest.skip("this CPython keeps the slots elsewhere")
    word = ctypes.sizeof(ctypes.c_void_p)
    at = ctypes.c_void_p.from_address(definition + SLOTS_AT * word).value or 0
    slots = {}
    while slot := ctypes.c_int.from_address(at).value:
        slots[slot] = ctypes.c_size_t.from_address(at + word).value
        at += 2 * word
    return slots


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older CPythons always have the lock")
@pytest.mark.skipif(not hasattr(ctypes, "pythonapi"), reason="reads CPython's memory")
def test_module_asks_free_threaded_builds_for_the_lock() -> None:
    assert declared_slots()[GIL_SLOT] == GIL_USED


def test_importing_again_gives_the_same_classes() -> None:
    done = run(
        """
        import sys
        import tonnage

        async def main():
            return 7

        before = [tonnage.Future, tonnage.Task, tonnage.Handle, tonnage._tonnage.EventLoop]
        for name in [name for name in sys.modules if name.split(".")[0] == "tonnage"]:
            del sys.modules[name]
        import tonnage
        assert before == [tonnage.Future, tonnage.Task, tonnage.Handle, tonnage._tonnage.EventLoop]
        assert tonnage.run(main()) == 7
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_subinterpreters_are_refused(kind: str) -> None:
    done = run(
        f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import tonnage

        async def main():
            return 7

        try:
            made = interpreters.create({kind!r})
        except TypeError:  # Before 3.13 it takes a boolean.
            made = interpreters.create(isolated={kind == "isolated"})
        code = "try: import tonnage\\nexcept ImportError as error: print('refused:', error, flush=True)"
        execute = getattr(interpreters, "exec", None) or interpreters.run_string
        assert execute(made, code) is None
        interpreters.destroy(made)
        assert tonnage.run(main()) == 7
        """
    )
    assert done.returncode == 0, done.stderr
    assert "refused: " in done.stdout
    assert "subinterpreters" in done.stdout


def test_exit_with_a_loop_in_a_daemon_thread_is_quiet() -> None:
    done = run(
        """
        import asyncio
        import threading
        import tonnage

        running = threading.Event()

        async def wait():
            running.set()
            await asyncio.sleep(3600)

        threading.Thread(target=lambda: tonnage.run(wait()), daemon=True).start()
        running.wait()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
