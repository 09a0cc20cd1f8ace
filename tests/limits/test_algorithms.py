"""Gradient and AIMD by themselves. How they move before a service is tested in Rust, by simulation."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tonnage

GRADIENT_FLOATS = ["window", "percentile", "tolerance", "probe_every"]


def feed(
    algorithm: tonnage.LimitAlgorithm,
    times: Iterator[float],
    latency: float,
    in_flight: int,
    *,
    count: int = 1000,
) -> int:
    """Tell the algorithm of `count` outcomes, and return the last limit."""
    limit = 0
    for _ in range(count):
        limit = algorithm.update(next(times), latency, in_flight, False)
    return limit


@pytest.fixture
def times() -> Iterator[float]:
    """The ends of a hundred outcomes a second."""
    return (tick / 100 for tick in range(1_000_000))


def test_gradient_probes_first_and_then_follows_the_latency(times: Iterator[float]) -> None:
    gradient = tonnage.Gradient()
    assert gradient.update(next(times), 0.05, 20, False) == 3
    assert feed(gradient, times, 0.05, 3, count=60) == 20
    assert feed(gradient, times, 0.05, 40) > 50
    assert feed(gradient, times, 0.5, 100, count=3000) < 5


def test_aimd_grows_by_one_and_shrinks_by_its_factor(times: Iterator[float]) -> None:
    aimd = tonnage.AIMD(0.1)
    assert feed(aimd, times, 0.05, 20, count=105) == 21
    assert feed(aimd, times, 0.2, 20, count=105) == 18


@pytest.mark.parametrize("make", [tonnage.Gradient, lambda: tonnage.AIMD(0.1)])
def test_limit_without_a_limiter_stays_between_1_and_1000(
    make: Callable[[], Any], times: Iterator[float]
) -> None:
    assert feed(make(), times, 0.01, 1, count=5000) <= 1000
    algorithm = make()
    for _ in range(100_000):
        limit = algorithm.update(next(times), 10.0, 2000, True)
    assert 1 <= limit <= 3


def test_arguments_have_names() -> None:
    assert tonnage.AIMD(0.1).update(now=1, latency=0.5, in_flight=1, dropped=False) == 20
    assert (
        tonnage.AIMD(target_latency=1, window=2, percentile=1, backoff=0.5).update(1.0, 0.5, 1, False) == 20
    )
    assert tonnage.Gradient(
        window=1, percentile=0.9, tolerance=0, probe_every=10, probe_limit=1, probe_samples=1
    ).update(1.0, 0.5, 1, False)


@pytest.mark.parametrize("name", GRADIENT_FLOATS)
@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_gradient_refuses_what_is_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value}$"):
        tonnage.Gradient(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("window", 0, "a finite number above 0"),
        ("percentile", 1.5, "from 0 to 1"),
        ("probe_every", 0, "a finite number above 0"),
        ("probe_limit", 0, "1 or more"),
        ("probe_samples", 0, "1 or more"),
        ("probe_samples", 2000, "1024 or less"),
    ],
)
def test_gradient_says_what_it_needs(name: str, value: float, bound: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {bound}, got {value}$"):
        tonnage.Gradient(**{name: value})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target_latency": 0}, "target_latency must be a finite number above 0, got 0"),
        ({"window": -1}, "window must be a finite number above 0, got -1"),
        ({"percentile": 2}, "percentile must be from 0 to 1, got 2"),
        ({"backoff": 0}, "backoff must be above 0 and below 1, got 0"),
        ({"backoff": 1.0}, r"backoff must be above 0 and below 1, got 1\.0"),
    ],
)
def test_aimd_says_what_it_needs(options: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        tonnage.AIMD(**{"target_latency": 0.1, **options})


def test_types_are_checked() -> None:
    with pytest.raises(TypeError, match="missing required argument 'target_latency'"):
        tonnage.AIMD()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        tonnage.Gradient(window="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="probe_limit must be an int, got 2.5"):
        tonnage.Gradient(probe_limit=2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'limit'"):
        tonnage.Gradient(limit=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("make", [tonnage.Gradient, lambda: tonnage.AIMD(0.1)])
@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ((-1.0, 0.1, 1, False), ValueError),
        ((1.0, -0.1, 1, False), ValueError),
        ((1.0, float("nan"), 1, False), ValueError),
        ((1.0, 0.1, -1, False), ValueError),
        ((1.0, 0.1, 1.5, False), TypeError),
        ((None, 0.1, 1, False), TypeError),
        ((1.0, 0.1, 1), TypeError),
    ],
)
def test_outcome_that_cannot_be_is_refused(
    make: Callable[[], Any], outcome: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make().update(*outcome)


def test_repr_tells_the_limit(times: Iterator[float]) -> None:
    assert repr(tonnage.AIMD(0.25)) == "<tonnage.AIMD limit=20 target_latency=0.25>"
    gradient = tonnage.Gradient()
    assert repr(gradient) == "<tonnage.Gradient limit=20 unloaded=unknown>"
    feed(gradient, times, 0.05, 3, count=60)
    assert repr(gradient) == "<tonnage.Gradient limit=20 unloaded=0.050000>"


def test_class_can_be_extended(times: Iterator[float]) -> None:
    class Logged(tonnage.AIMD):
        def __init__(self, name: str) -> None:
            super().__init__(0.1)
            self.name = name
            self.limits: list[int] = []

        def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
            self.limits.append(super().update(now, latency, in_flight, dropped))
            return self.limits[-1]

    logged = Logged("database")
    assert feed(logged, times, 0.05, 20, count=105) == 21
    assert logged.limits == [20] * 100 + [21] * 5


def test_algorithm_in_a_cycle_is_collected() -> None:
    gradient = tonnage.Gradient()
    gradient.itself = gradient  # type: ignore[attr-defined]
    gone = weakref.ref(gradient)
    del gradient
    gc.collect()
    assert gone() is None
