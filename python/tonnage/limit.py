"""What `limit=` takes, checked for what is written in Python; the same texts as in Rust."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ._tonnage import Limiter
from .policy import checked_count

__all__ = ("checked_limit",)


def checked_limit(limit: object) -> tuple[float, tuple[Limiter, ...]]:
    """Return how many may run at once, and the limiters that decide in place of a number.

    Raises:
        TypeError: It is no int, no Limiter, and no sequence of Limiters.
        ValueError: It is less than 1, has no limiter, or one of them twice.
    """
    if isinstance(limit, int) and not isinstance(limit, bool):
        return checked_count("limit", limit), ()
    if isinstance(limit, Limiter):
        return inf, (limit,)
    if isinstance(limit, str) or not isinstance(limit, Sequence):
        raise TypeError(f"limit must be an int, a Limiter or a sequence of Limiters, got {limit!r}")
    limiters: list[Limiter] = []
    for limiter in limit:
        if not isinstance(limiter, Limiter):
            raise TypeError(f"limit must be a sequence of Limiters, got one that has {limiter!r}")
        if any(known is limiter for known in limiters):
            raise ValueError(f"limit must name each limiter once, got {limiter!r} twice")
        limiters.append(limiter)
    if not limiters:
        raise ValueError("limit must have a limiter, got an empty sequence")
    return inf, tuple(limiters)
