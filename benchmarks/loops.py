"""The event loops that are compared: how each is made, and which names its operations use."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

NAMES = (
    "Barrier",
    "Event",
    "Lock",
    "Queue",
    "Semaphore",
    "TaskGroup",
    "gather",
    "get_running_loop",
    "sleep",
    "timeout",
    "wait_for",
)
"""The asyncio names that operations use; an operation is skipped where the loop's Python lacks one."""


@dataclass(frozen=True)
class LoopChoice:
    """One contestant: a loop, and the module whose names its operations use."""

    name: str
    module: str
    names_module: str = "asyncio"
    network_module: str | None = None
    """A module that replaces the loop's methods that make transports: it has `patch_loop()`."""
    oldest: tuple[int, int] = (3, 10)
    """The first CPython that it has a release for."""

    def modules(self) -> list[str]:
        return [self.module, self.names_module, *filter(None, [self.network_module])]

    def missing(self) -> str | None:
        """Say why this loop cannot run here, or return None.

        It is tried in a process of its own: one that crashes must not end the benchmark,
        and one that changes other modules as it is imported must not do so here.
        """
        if sys.version_info < self.oldest:
            return "needs CPython {}.{}".format(*self.oldest)
        command = [sys.executable, __file__, self.name]
        try:
            tried = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return "hangs when a loop is made"
        if tried.returncode == 0:
            return None
        return (tried.stderr.strip() or f"exit code {tried.returncode}").splitlines()[-1]

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = importlib.import_module(self.module).new_event_loop()
        if self.network_module is not None:
            importlib.import_module(self.network_module).patch_loop(loop)
        return loop

    def names(self) -> SimpleNamespace:
        """Return what an operation gets as its one namespace."""
        own = importlib.import_module(self.names_module)
        found = {name: getattr(own, name, getattr(asyncio, name, None)) for name in NAMES}
        found = {name: value for name, value in found.items() if value is not None}
        amap = getattr(own, "amap", None)
        return SimpleNamespace(**found, amap=amap, has_limit=takes_limit(found.get("TaskGroup")))


def version(module: str) -> str:
    return "standard library" if module == "asyncio" else importlib.metadata.version(module)


def build_profile() -> str:
    """Say whether tonnage was built for release."""
    extension = importlib.import_module("tonnage._tonnage")
    profile = getattr(extension, "BUILD_PROFILE", None)
    if profile is not None:
        return str(profile)
    # A debug build of the extension is several times as large as a release build.
    size_mb = Path(extension.__file__ or "").stat().st_size / 1e6
    return f"unknown ({size_mb:.1f} MB)"


def takes_limit(group: type | None) -> bool:
    """Say whether a TaskGroup takes `limit=`, the number of its tasks that may run at once."""
    try:
        return group is not None and "limit" in inspect.signature(group).parameters
    except ValueError:
        return False


LOOPS = {
    choice.name: choice
    for choice in (
        LoopChoice("asyncio", "asyncio"),
        LoopChoice("uvloop", "uvloop"),
        LoopChoice("rloop", "rloop"),
        LoopChoice("zuvloop", "zuvloop", oldest=(3, 14)),
        LoopChoice("blazio", "blazio", oldest=(3, 12)),
        LoopChoice("rsloop", "rsloop"),
        LoopChoice("asyncio+aiofastnet", "asyncio", network_module="aiofastnet"),
        LoopChoice("uvloop+aiofastnet", "uvloop", network_module="aiofastnet"),
        LoopChoice("tonnage", "tonnage"),
        LoopChoice("tonnage-native", "tonnage", names_module="tonnage"),
        LoopChoice("asyncio+tonnage", "asyncio", names_module="tonnage"),
        LoopChoice("uvloop+tonnage", "uvloop", names_module="tonnage"),
    )
}

DEFAULT_LOOPS = ("asyncio", "uvloop", "rloop", "tonnage", "tonnage-native")
NETWORK_LOOPS = (
    "asyncio",
    "uvloop",
    "rloop",
    "zuvloop",
    "blazio",
    "rsloop",
    "asyncio+aiofastnet",
    "uvloop+aiofastnet",
    "tonnage",
)
"""What servers and system calls are measured on, where no loops are named."""


def differ_in_loop(loops: Sequence[str]) -> list[str]:
    """Return `loops` without those that only differ in the names that operations use."""
    found: dict[tuple[str, str | None], str] = {}
    for loop in loops:
        found.setdefault((LOOPS[loop].module, LOOPS[loop].network_module), loop)
    return list(found.values())


def differ_in_names(loops: Sequence[str]) -> list[str]:
    """Return `loops` without those that only differ in how they make transports."""
    return [loop for loop in loops if LOOPS[loop].network_module is None]


def main() -> None:
    """Make one loop, to see that it can be made here: `loops.py LOOP`."""
    choice = LOOPS[sys.argv[1]]
    choice.new_event_loop().close()
    importlib.import_module(choice.names_module)


if __name__ == "__main__":
    main()
