"""Policy: the ceilings of a program, which its loop keeps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ("Policy", "checked_count", "of_program", "set_for_program", "warn_of_tasks")

logger = logging.getLogger("tonnage")

_Orphans = Literal["ignore", "warn", "raise"]
_SwallowedCancel = Literal["ignore", "warn"]


def checked_count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value`, if it is a whole number of at least `least`.

    Raises:
        TypeError: It is no int.
        ValueError: It is less.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
    return value


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The ceilings of a program: how much of everything its loop takes before it refuses or warns.

    What is started beyond a ceiling is refused with `Overloaded`, at once and where it is started. None is no
    ceiling. `threads` and `threads_waiting` are for `to_thread()` and `run_in_executor(None, ...)` together,
    and have no say over an executor that the program sets itself.

    Attributes:
        max_tasks: How many tasks may be pending. Beyond, `create_task()` of the loop, by which every task is
            made, closes the coroutine and raises. What ends the program is never refused: a task that is made
            while the loop is not running, and the closing of async generators.
        warn_tasks: How many tasks may be pending before a warning is logged: once, until the number has
            fallen to three quarters of it.
        threads: How many calls that block run at once.
        threads_waiting: How many more wait for their turn.
        slow_step: Seconds after which a step of a task is slow. Not acted on in this version.
        fair_after: How many awaits that need not wait a task may do in a row. Not acted on in this version.
        orphans: What happens to a task without an owner that fails. Not acted on in this version.
        swallowed_cancel: What happens if a task swallows its cancellation. Not acted on in this version.

    Raises:
        TypeError: A count is no int, or a time no number.
        ValueError: A value is out of its range.

    Example:
        tonnage.run(main(), policy=tonnage.Policy(max_tasks=50_000, threads=100))
    """

    max_tasks: int | None = None
    warn_tasks: int | None = 10_000
    threads: int = 40
    threads_waiting: int | None = 1000
    slow_step: float | None = 0.1
    fair_after: int | None = None
    orphans: _Orphans = "warn"
    swallowed_cancel: _SwallowedCancel = "warn"

    def __post_init__(self) -> None:
        """Check the values."""
        checked_count("threads", self.threads)
        if self.threads_waiting is not None:
            checked_count("threads_waiting", self.threads_waiting, least=0)
        for name in ("max_tasks", "warn_tasks", "fair_after"):
            value = getattr(self, name)
            if value is not None:
                checked_count(name, value)
        _check_seconds("slow_step", self.slow_step)
        _check_choice("orphans", self.orphans, get_args(_Orphans))
        _check_choice("swallowed_cancel", self.swallowed_cancel, get_args(_SwallowedCancel))


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds or None, got {value!r}")
    # Not true of nan.
    if not value > 0:
        raise ValueError(f"{name} must be more than 0 seconds, got {value}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}, got {value!r}")


def warn_of_tasks(count: int) -> None:
    """Log that so many tasks are pending. The loop calls it when a new one crosses `warn_tasks`."""
    logger.warning(
        "%d tasks are pending, more than warn_tasks=%d of the loop's Policy; bound them with limit=, "
        "or set max_tasks",
        count + 1,
        count,
    )


# One element: the policy of loops that are made without one.
_of_program = [Policy()]


def of_program() -> Policy:
    """Return the policy of loops that are made without one."""
    return _of_program[0]


def set_for_program(policy: Policy) -> None:
    """Give each loop that is made without a policy this one, from here on. `tonnage run` does."""
    _of_program[0] = policy
