"""The loop's own workers and the default executor, with the rules of CPython 3.12 on every version.

`to_thread()` and `run_in_executor(None, ...)` run on one bounded `Workers`, unless the program sets a default
executor: then that has them, and its bounds are its own.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from .inherited import InheritedLoop
from .worker_call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from .default_workers import DefaultWorkers

_T = TypeVar("_T")

__all__ = ("Executing",)


class Executing(InheritedLoop):
    """The part of the event loop that owns the default workers and the default executor."""

    _workers: DefaultWorkers

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Call `func(*args)` in an executor; None is the default one, or the loop's own workers.

        Raises:
            Overloaded: As many calls wait for the loop's own workers as may.
        """
        if executor is not None or self._default_executor is not None:
            return super().run_in_executor(executor, func, *args)
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        self._check_default_executor()
        return self._workers.submit(self, func, args)

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor that `run_in_executor(None, ...)` uses."""
        if not isinstance(executor, ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds until the workers' and the default executor's threads have ended.

        After `timeout`, the threads are left to themselves, with a RuntimeWarning. Calls of the workers that
        were abandoned are waited for at most 5 seconds, and then logged with their stacks.
        """
        self._executor_shutdown_called = True
        began_at = self.time()
        if self._default_executor is not None:
            await self._shutdown_executor(self._default_executor, timeout)
        rest_s = None if timeout is None else max(0.0, timeout - (self.time() - began_at))
        if not await self._workers._aclose_within(rest_s):
            _warn_of_threads(timeout)

    async def _run_in_thread(
        self, func: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _T:
        """Do what `to_thread()` does."""
        self._check_default_executor()
        if self._default_executor is None:
            return await self._workers.run(func, *args, **kwargs)
        call = Call(self, func, args, kwargs, copy_context())
        try:
            result: _T = await self.run_in_executor(None, call.run)
            return result
        finally:
            call.is_given_up = True

    async def _shutdown_executor(self, executor: Executor, timeout: float | None) -> None:
        ended: asyncio.Future[None] = self.create_future()
        thread = threading.Thread(target=self._join_executor, args=(executor, ended))
        thread.start()
        try:
            done, _ = await asyncio.wait([ended], timeout=timeout)
            if done:
                ended.result()
                thread.join()
                return
        finally:
            # The thread looks at it before it reports to a loop where nobody waits.
            ended.cancel()
        _warn_of_threads(timeout)
        executor.shutdown(wait=False)

    def _join_executor(self, executor: Executor, ended: asyncio.Future[None]) -> None:
        error: Exception | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as raised:  # noqa: BLE001 - the waiter gets it.
            error = raised
        # A loop that was closed meanwhile refuses; nobody waits any more.
        with suppress(RuntimeError):
            self.call_soon_threadsafe(_settle, ended, error)


def _warn_of_threads(timeout: float | None) -> None:
    warnings.warn(
        f"The executor did not finishing joining its threads within {timeout} seconds.",
        RuntimeWarning,
        stacklevel=3,
    )


def _settle(ended: asyncio.Future[None], error: Exception | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
