"""The default executor, with the rules of CPython 3.12 and later on every version.

`run_in_executor` itself is asyncio's. What differs between versions is which executors are accepted, and
that shutting down can be given a limit of time.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress

from .inherited import InheritedLoop

__all__ = ("Executing",)


class Executing(InheritedLoop):
    """The part of the event loop that owns the default executor."""

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor that `run_in_executor(None, ...)` uses."""
        if not isinstance(executor, ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the default executor's threads have ended, at most `timeout` seconds.

        After `timeout`, the threads are left to themselves, with a RuntimeWarning.
        """
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
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
        warnings.warn(
            f"The executor did not finishing joining its threads within {timeout} seconds.",
            RuntimeWarning,
            stacklevel=2,
        )
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


def _settle(ended: asyncio.Future[None], error: Exception | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
