"""AdaptiveLimiter against a model: a number that is in use, a limit, and what the algorithm was told."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import tonnage
from hypothesis import given, settings, strategies as st

LEAST, MOST, FIRST = 2, 9, 5
OUTCOMES = st.sampled_from(["ok", "dropped", "ignore"])
ACTIONS = st.one_of(
    st.tuples(st.just("acquire"), st.integers(1, MOST + 1)),
    # Which permit, how it went, and what the algorithm says or raises.
    st.tuples(st.just("release"), st.integers(0, 20), OUTCOMES, st.one_of(st.integers(-1, 12), st.none())),
)


class Scripted:
    """Says what the model wants, and keeps what it was told."""

    def __init__(self) -> None:
        self.says: int | None = FIRST
        self.told: list[tuple[int, bool]] = []

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        self.told.append((in_flight, dropped))
        if self.says is None:
            raise LookupError("says nothing")
        return self.says


async def follow(actions: list[tuple[Any, ...]]) -> None:
    """Do all, and compare after each."""
    scripted = Scripted()
    limiter = tonnage.AdaptiveLimiter(scripted, min=LEAST, max=MOST, initial=FIRST)
    permits: list[tuple[tonnage.Permit, int]] = []
    in_use, limit = 0, FIRST
    told: list[tuple[int, bool]] = []
    for action in actions:
        if action[0] == "acquire":
            tokens = action[1]
            # More than the limit is lent when nothing else is.
            fits = in_use == 0 or in_use + tokens <= limit
            refusal: Any = contextlib.nullcontext() if fits else pytest.raises(tonnage.Overloaded)
            if tokens > MOST:
                refusal = pytest.raises(ValueError, match=f"tokens must be {MOST} or less")
            with refusal:
                permits.append((limiter.acquire_nowait(tokens), tokens))
                in_use += tokens
        elif permits:
            _, which, outcome, scripted.says = action
            permit, tokens = permits.pop(which % len(permits))
            permit.release(outcome)
            if outcome != "ignore":
                told.append((in_use, outcome == "dropped"))
                if scripted.says is not None:
                    limit = min(max(scripted.says, LEAST), MOST)
            in_use -= tokens
        assert (limiter.stats().in_use, limiter.limit, scripted.told) == (in_use, limit, told)
    for permit, _ in permits:
        permit.release("ignore")
    assert limiter.stats().in_use == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(ACTIONS, max_size=50))
def test_limiter_lends_what_the_model_lends(actions: list[tuple[Any, ...]]) -> None:
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda _, __: None)
    try:
        loop.run_until_complete(follow(actions))
    finally:
        loop.close()
