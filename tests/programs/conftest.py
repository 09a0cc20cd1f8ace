"""The loop is a parameter of every test in this directory that asks for it."""

from __future__ import annotations

import pytest

from .loops import LOOPS, Loop


@pytest.fixture(scope="session", params=LOOPS, ids=lambda loop: loop.name)
def loop(request: pytest.FixtureRequest) -> Loop:
    """The loop that the program under test runs on."""
    return request.param
