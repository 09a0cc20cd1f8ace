"""Exceptions that older versions of asyncio lack: asyncio's own where it has them."""

from __future__ import annotations

import asyncio
import builtins
import pickle

import pytest
import tonnage
from tonnage import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_exception_is_asyncios_own_or_tells_that_it_is_ours(name: str) -> None:
    ours = getattr(errors, name)
    theirs = getattr(asyncio, name, None)
    assert ours is theirs or ours.__module__.split(".")[0] == "tonnage"


@pytest.mark.parametrize("name", errors.__all__)
def test_exception_survives_pickling(name: str) -> None:
    error = pickle.loads(pickle.dumps(getattr(errors, name)("why")))
    assert type(error) is getattr(errors, name)
    assert error.args == ("why",)


@pytest.mark.parametrize("name", ["BrokenBarrierError", "QueueShutDown"])
def test_pickle_of_any_version_finds_the_public_name(name: str) -> None:
    """What an older Python pickles as `tonnage.QueueShutDown` is asyncio's class on a later one."""
    assert getattr(tonnage, name) is getattr(errors, name)
    assert name in tonnage.__all__


def test_timeout_is_caught_by_either_name() -> None:
    assert issubclass(errors.TimeoutError, asyncio.TimeoutError)
    assert issubclass(errors.TimeoutError, builtins.TimeoutError)


def test_overloaded_tells_why_and_when_to_try_again_also_when_it_was_pickled() -> None:
    error = tonnage.Overloaded("too much", reason="delay", retry_after=0.5, limiter="database")
    for it in (error, pickle.loads(pickle.dumps(error))):
        assert str(it) == "too much"
        assert (it.reason, it.retry_after, it.limiter) == ("delay", 0.5, "database")
