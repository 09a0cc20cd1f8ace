"""What an AdaptiveLimiter asks how much may run: the type of its algorithms, ours and a program's own."""

from __future__ import annotations

from typing import Protocol


class LimitAlgorithm(Protocol):
    """What decides how much an `AdaptiveLimiter` lets run.

    `Gradient` and `AIMD` are such algorithms; so is any object with this method.

    Example:
        class Fixed:
            def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
                return 5 if dropped else 10

        limiter = tonnage.AdaptiveLimiter(Fixed())
        async with limiter:
            await tonnage.sleep(0.01)
    """

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:  # noqa: FBT001 - Called by us.
        """Take how one piece of work has ended, and return how much may run.

        It is called when a permit is released, unless its outcome is to be ignored. The limiter keeps the
        result between its `min` and its `max`. What it raises goes to the loop's exception handler, and the
        limit stays as it is.

        Args:
            now: The loop's time, in seconds.
            latency: Seconds from the permit to its release.
            in_flight: How much ran, itself included.
            dropped: Was it refused or timed out by what the limiter protects?
        """
        raise NotImplementedError
