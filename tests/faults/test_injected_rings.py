"""Where the kernel has no ring, what would leave together leaves one by one, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from . import injection

pytestmark = pytest.mark.slow

CONNECTIONS, TURNS = 20, 50
ARGUMENTS = {"connections": CONNECTIONS, "turns": TURNS}
PROGRAM = "together_program.py"


def ran_well(**environment: str) -> dict[str, object]:
    """Run the program without strace."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(injection.FOLDER / PROGRAM), json.dumps(ARGUMENTS)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=os.environ | environment,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def has_rings() -> None:
    if not ran_well()["rings"]:
        pytest.skip("the kernel or a sandbox refuses io_uring")


def injected(system_call: str, fault: str) -> injection.Run:
    why_not = injection.missing()
    if why_not:
        pytest.skip(why_not)
    done = injection.run(PROGRAM, ARGUMENTS, system_call, fault, together=True)
    assert done.code == 0, done.err
    assert done.told["complete"]
    assert done.told["reports"] == []
    return done


def test_many_sends_are_one_call(has_rings):
    done = injected("io_uring_enter", "delay_enter=0")
    assert TURNS <= done.calls <= TURNS + 2


def test_environment_says_that_there_is_to_be_no_ring():
    told = ran_well(TONNAGE_IO_URING="0")
    assert told == {"complete": True, "rings": 0, "reports": []}


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EINVAL"])
def test_refused_ring_is_asked_for_once(has_rings, error):
    done = injected("io_uring_setup", f"error={error}")
    assert done.calls == done.injected == 1
    assert done.told["rings"] == 0


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM"])
def test_ring_is_asked_for_again_when_the_lack_has_passed(has_rings, error):
    done = injected("io_uring_setup", f"error={error}:when=1..3")
    assert (done.calls, done.injected) == (4, 3)
    assert done.told["rings"] == 1


def test_ring_that_cannot_be_had_is_asked_for_more_and_more_seldom(has_rings):
    done = injected("io_uring_setup", "error=EMFILE")
    # In the turns 1, 3, 6, 11, 20, 37.
    assert done.calls == 6
    assert done.told["rings"] == 0


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_ring_that_fails_for_want_of_memory_is_replaced(has_rings, error):
    done = injected("io_uring_enter", f"error={error}:when=7")
    assert TURNS - 2 <= done.calls <= TURNS + 2
    assert done.told["rings"] == 1


def test_ring_that_fails_is_given_up(has_rings):
    done = injected("io_uring_enter", "error=ENXIO:when=7")
    assert done.calls == 7
    assert done.told["rings"] == 0


def test_ring_whose_descriptor_was_taken_away_closes_no_other(has_rings):
    done = injected("io_uring_enter", "error=EBADF:when=7")
    assert done.calls == 7
    # It is the ring's still, in truth.
    assert done.told["rings"] == 1


def test_interrupted_call_is_made_again(has_rings):
    done = injected("io_uring_enter", "error=EINTR:when=2+3")
    assert done.injected > 10
    assert done.told["rings"] == 1
