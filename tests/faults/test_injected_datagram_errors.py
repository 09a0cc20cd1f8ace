"""System calls of a datagram endpoint that fail, by strace's fault injection."""

from __future__ import annotations

import os
import sys

import pytest

from . import injection
from .datagram_program import COUNT

pytestmark = pytest.mark.slow

# asyncio is the oracle, and was asked.
LOOPS = ["asyncio", "tonnage"] if "TONNAGE_LONG" in os.environ else ["tonnage"]


@pytest.fixture(autouse=True)
def strace(capsys: pytest.CaptureFixture[str]) -> None:
    """Skip loudly where faults cannot be injected."""
    reason = injection.missing()
    if reason is not None:
        with capsys.disabled():
            print(f"\nSKIPPED: failing system calls were not tried: {reason}", file=sys.stderr)
        pytest.skip(reason)


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("error", ["ENOBUFS", "EPERM", "ENETUNREACH", "EMSGSIZE"])
def test_datagram_that_the_network_refuses_is_lost_and_told(loop_name: str, error: str) -> None:
    fault = f"error={error}:when=2+4"
    ran = injection.run("datagram_program.py", {"loop": loop_name}, "sendto", fault)
    assert (ran.code, ran.err, ran.injected) == (0, "", 3)
    lost = {1, 5, 9}
    assert ran.told == {
        "received": [number for number in range(COUNT) if number not in lost],
        "errors": [error] * 3,
        "reports": [],
        "lost": None,
    }


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize(
    ("system_call", "error"),
    [("sendto", "EAGAIN"), ("sendto", "EINTR"), ("recvfrom", "EAGAIN"), ("recvfrom", "EINTR")],
)
def test_call_that_is_made_again_loses_nothing(loop_name: str, system_call: str, error: str) -> None:
    fault = f"error={error}:when=2+3"
    ran = injection.run("datagram_program.py", {"loop": loop_name}, system_call, fault)
    assert (ran.code, ran.err) == (0, "")
    assert ran.injected >= 3
    assert ran.told == {"received": list(range(COUNT)), "errors": [], "reports": [], "lost": None}


@pytest.mark.parametrize("loop_name", LOOPS)
def test_error_of_receiving_is_told_and_ends_nothing(loop_name: str) -> None:
    ran = injection.run("datagram_program.py", {"loop": loop_name}, "recvfrom", "error=ENOMEM:when=2+3")
    assert (ran.code, ran.err) == (0, "")
    told = ran.told
    assert told["received"] == list(range(COUNT))
    assert set(told["errors"]) == {"ENOMEM"}
    assert (told["reports"], told["lost"]) == ([], None)
