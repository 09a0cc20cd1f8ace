"""The event loops that are compared: how each is made, and which names its operations use."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

NAMES = (
    "Barrier",
    "BufferedProtocol",
    "Event",
    "Lock",
    "Protocol",
    "Queue",
    "Semaphore",
    "TaskGroup",
    "gather",
    "get_running_loop",
    "sleep",
    "start_server",
    "start_unix_server",
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

    def missing(self) -> str | None:
        """Say why this loop cannot run here, or return None."""
        try:
            self.new_event_loop().close()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = importlib.import_module(self.module).new_event_loop()
        return loop

    def names(self) -> SimpleNamespace:
        """Return what an operation gets as its one namespace."""
        own = importlib.import_module(self.names_module)
        found = {name: getattr(own, name, getattr(asyncio, name, None)) for name in NAMES}
        found = {name: value for name, value in found.items() if value is not None}
        own_group = found.get("TaskGroup") is not getattr(asyncio, "TaskGroup", None)
        return SimpleNamespace(**found, has_limit=own_group and self.names_module != "asyncio")

    def version(self) -> str:
        if self.module == "asyncio":
            return "standard library"
        return importlib.metadata.version(self.module)

    def build_profile(self) -> str | None:
        """Say whether a loop of ours was built for release; None for the others."""
        if self.module != "tonnage":
            return None
        extension = importlib.import_module("tonnage._tonnage")
        profile = getattr(extension, "BUILD_PROFILE", None)
        if profile is not None:
            return str(profile)
        # A debug build of the extension is several times as large as a release build.
        size_mb = Path(extension.__file__ or "").stat().st_size / 1e6
        return f"unknown ({size_mb:.1f} MB)"


LOOPS = {
    choice.name: choice
    for choice in (
        LoopChoice("asyncio", "asyncio"),
        LoopChoice("uvloop", "uvloop"),
        LoopChoice("rloop", "rloop"),
        LoopChoice("tonnage", "tonnage"),
        LoopChoice("tonnage-native", "tonnage", names_module="tonnage"),
    )
}

DEFAULT_LOOPS = ("asyncio", "uvloop", "rloop", "tonnage")
