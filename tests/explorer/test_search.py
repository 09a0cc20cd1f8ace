"""The explorer itself: it finds planted faults, lists no plan twice, and replays what it found."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tonnage

from . import scenarios  # noqa: F401
from .drivers import Permuted, Side, Turned
from .plan import Cancel, Plan
from .scenario import SCENARIOS
from .search import Budget, Search, explore

SMALL = Budget(orders=150, cancels_in_orders=200, orders_after_cancel=200, pairs=300, triples=200)


class LockThatForgets(asyncio.Lock):
    """A woken waiter that is cancelled does not wake the next."""

    async def acquire(self) -> Any:
        if not self._locked and not self._waiters:  # type: ignore[attr-defined]
            self._locked = True
            return True
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:  # type: ignore[attr-defined]
            self._waiters: Any = deque()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
        self._locked = True
        return True


class QueueThatLoses(asyncio.Queue[Any]):
    """An item is handed to a waiting getter, and is lost if the getter is cancelled in that turn."""

    def put_nowait(self, item: Any) -> None:
        getters: Any = self._getters  # type: ignore[attr-defined]
        while getters:
            getter = getters.popleft()
            if not getter.done():
                getter.set_result(item)
                return
        super().put_nowait(item)

    async def get(self) -> Any:
        if not self.empty():
            return self.get_nowait()
        getter: Any = asyncio.get_running_loop().create_future()
        self._getters.append(getter)  # type: ignore[attr-defined]
        return await getter

    def task_done(self) -> None:
        """Count nothing."""


class SemaphoreThatLeaks(asyncio.Semaphore):
    """A cancel before the first turn of a holder's end keeps the permit."""

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self.release()


class EventThatSwallows(asyncio.Event):
    """A cancel that meets the wake-up is taken for the wake-up."""

    async def wait(self) -> Any:
        try:
            return await super().wait()
        except asyncio.CancelledError:
            if not self.is_set():
                raise
        return True


FAULTS: dict[str, tuple[str, type, set[str]]] = {
    "lock": ("Lock", LockThatForgets, {"stuck"}),
    "queue_with_many_consumers": ("Queue", QueueThatLoses, {"lost item", "left waiter"}),
    "semaphore": ("Semaphore", SemaphoreThatLeaks, {"lost permit"}),
    "event": ("Event", EventThatSwallows, {"swallowed cancel"}),
}


def side_with(kind: str, **replaced: Any) -> Side:
    names: Any = SimpleNamespace(**{**vars(asyncio), **replaced})
    if kind == "native":
        return Turned(kind, names, tonnage.new_event_loop())
    return Permuted(kind, names, asyncio.Task)


@pytest.mark.parametrize("kind", ["permuted", "native"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, kind: str) -> None:
    replaced, broken, kinds = FAULTS[name]
    side = side_with(kind, **{replaced: broken})
    try:
        found = explore(side, SCENARIOS[name].build, SMALL)
        assert kinds <= set(found.first), found
        for violation, trace in found.first.items():
            assert violation in side.run(SCENARIOS[name].build, trace.plan).violations
    finally:
        side.close()


@pytest.mark.parametrize("kind", ["permuted", "native"])
def test_no_plan_is_listed_twice(kind: str) -> None:
    side = side_with(kind)
    try:
        search = Search(side, SCENARIOS["lock"].build)
        plain = search.run([Plan()], 1)
        orders = search.run(plain[0].with_another_order(), 50)
        singles = [plan for trace in plain + orders for plan in trace.with_another_cancel()]
        pairs = [plan for trace in search.run(singles, 40) for plan in trace.with_another_cancel()]
        later = [plan for trace in search.run(singles, 40) for plan in trace.with_another_order()]
        plans = [trace.plan for trace in orders] + singles + pairs + later
        assert len(plans) > 100
        assert len(set(plans)) == len(plans)
    finally:
        side.close()


def test_run_is_the_same_each_time() -> None:
    side = side_with("permuted")
    try:
        plan = Plan((0, 1, 0, 2), (Cancel(2, 1), Cancel(5, 0)))
        first, second = (side.run(SCENARIOS["condition"].build, plan) for _ in range(2))
        assert first == second
        assert Plan.parse(*str(plan).split()) == plan
        assert Plan.parse(*str(Plan()).split()) == Plan()
    finally:
        side.close()


def test_clock_of_the_loop_is_its_own() -> None:
    side = side_with("permuted")
    assert isinstance(side, Permuted)
    try:
        task = side.loop.create_task(asyncio.sleep(3600, "slept"))
        side.loop.run_to_rest()
        assert (task.result(), side.loop.time()) == ("slept", 3600)
    finally:
        side.close()


@pytest.mark.slow
def test_replay_line_runs() -> None:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "tests"), str(Path(tonnage.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "explorer", "gather_that_fails_for_who_goes_on", "asyncio", "0,0,0,0", "4:2"],
        capture_output=True,
        check=False,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert "cancel actor 2" in done.stdout
    assert "violated: swallowed cancel" in done.stdout
