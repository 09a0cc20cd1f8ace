"""System calls that fail, by strace's fault injection: the table of what becomes of the program.

In no row may a client hang, a descriptor or a task be left, anything be printed to stderr, or the call be
made over and over.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NamedTuple

import pytest

from . import injection

pytestmark = pytest.mark.slow

CLIENTS = 12
NETWORK = {"clients": CLIENTS, "echoes": 4, "patience": 8, "loop": "tonnage"}
# Each client makes so many calls of a kind, on both sides together, if nothing fails.
CALLS_OF_CLIENT_MAX = 20
# What the kernel has no memory for is asked for so often, by each side.
TRIES_MAX = 51


@pytest.fixture(autouse=True)
def strace(capsys: pytest.CaptureFixture[str]) -> None:
    """Skip loudly where faults cannot be injected."""
    reason = injection.missing()
    if reason is not None:
        with capsys.disabled():
            print(f"\nSKIPPED: failing system calls were not tried: {reason}", file=sys.stderr)
        pytest.skip(reason)


class Row(NamedTuple):
    """One line of the table."""

    system_call: str
    error: str
    when: str
    outcome: str


# What happens, in the words of `judge`.
TABLE = [
    # Signals, and what passes by itself: nobody notices.
    Row("epoll_wait", "EINTR", "2+3", "unnoticed"),
    Row("epoll_pwait2", "EINTR", "2+3", "unnoticed"),
    Row("recvfrom", "EINTR", "3+2", "unnoticed"),
    Row("sendto", "EINTR", "2+2", "unnoticed"),
    Row("sendto", "EAGAIN", "3+3", "unnoticed"),
    Row("sendto", "ENOBUFS", "3+3", "unnoticed"),
    # A kernel that lacks the call.
    Row("epoll_pwait2", "ENOSYS", "1+", "unnoticed"),
    # The connection at the head of the backlog is gone; the next is all right.
    Row("accept4", "ECONNABORTED", "1+3", "unnoticed"),
    Row("accept4", "EPROTO", "1+3", "unnoticed"),
    # Out of descriptors or memory: accepting pauses, is reported once, and goes on.
    Row("accept4", "EMFILE", "2", "one report"),
    Row("accept4", "EINVAL", "2", "one report"),
    # The kernel cannot watch a connection at this moment: it is asked again.
    Row("epoll_ctl", "ENOMEM", "4+2", "unnoticed"),
    Row("epoll_ctl", "ENOSPC", "6+6", "unnoticed"),
    # The loop can do without the pipe that signals are written into.
    Row("pipe2", "EMFILE", "1+", "unnoticed"),
    Row("epoll_ctl", "ENOMEM", "2", "unnoticed"),
    # The connection fails, and who has it is told why.
    Row("recvfrom", "ECONNRESET", "5+9", "some fail"),
    Row("sendto", "EPIPE", "5+9", "some fail"),
    Row("connect", "ENETUNREACH", "2+5", "some fail"),
    Row("socket", "EMFILE", "3+5", "some fail"),
    # It never gets better: after a second, who has the connection is told.
    Row("epoll_ctl", "ENOMEM", "4+", "all fail"),
    # The program cannot start, and the caller is told.
    Row("epoll_ctl", "ENOMEM", "1", "no loop"),
    # The first is the selectors module's, when it is imported.
    Row("epoll_create1", "EMFILE", "2", "no loop"),
    Row("eventfd2", "EMFILE", "1", "no loop"),
    Row("epoll_ctl", "ENOMEM", "3", "no server"),
    Row("listen", "EADDRINUSE", "1", "no server"),
]

LONG_TABLE = [
    Row("accept4", "EINTR", "1+2", "unnoticed"),
    Row("recvfrom", "EAGAIN", "3+3", "unnoticed"),
    Row("sendto", "ENOMEM", "3+3", "unnoticed"),
    Row("getpeername", "ENOTCONN", "2+2", "unnoticed"),
    Row("epoll_pwait2", "EPERM", "1+", "unnoticed"),
    Row("accept4", "EPERM", "1+3", "unnoticed"),
    Row("accept4", "EHOSTUNREACH", "1+3", "unnoticed"),
    Row("accept4", "ENFILE", "2+4", "one report"),
    Row("accept4", "ENOBUFS", "2", "one report"),
    Row("accept4", "ENOMEM", "2", "one report"),
    Row("epoll_ctl", "ENOMEM", "5+5", "unnoticed"),
    Row("epoll_ctl", "ENOMEM", "7+11", "unnoticed"),
    Row("recvfrom", "ETIMEDOUT", "5+9", "some fail"),
    Row("recvfrom", "EHOSTUNREACH", "5+9", "some fail"),
    Row("recvfrom", "ENOMEM", "6+9", "some fail"),
    Row("sendto", "EHOSTUNREACH", "5+9", "some fail"),
    Row("sendto", "ECONNRESET", "5+9", "some fail"),
    Row("connect", "EADDRNOTAVAIL", "2+5", "some fail"),
    Row("connect", "ECONNREFUSED", "2+5", "some fail"),
    Row("socket", "ENFILE", "3+5", "some fail"),
    Row("bind", "EADDRINUSE", "1", "no server"),
]

if "TONNAGE_LONG" in os.environ:
    TABLE += LONG_TABLE


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.system_call}-{row.error}-{row.when}")
def test_failing_system_call_has_the_outcome_of_the_table(row: Row) -> None:
    ran = injection.run("network_program.py", NETWORK, row.system_call, f"error={row.error}:when={row.when}")
    assert (ran.code, ran.err) == (0, "")
    assert ran.injected > 0
    assert ran.calls - ran.injected <= CLIENTS * CALLS_OF_CLIENT_MAX
    assert ran.injected <= CLIENTS * (CALLS_OF_CLIENT_MAX + 2 * TRIES_MAX)
    judge(row, ran.told)


def judge(row: Row, told: dict) -> None:
    text = os.strerror(getattr(errno, row.error))
    assert told["descriptors"] == 0
    if row.outcome == "no loop":
        assert told["loop"] == text
        return
    if row.outcome == "no server":
        assert told["raised"].lower() == text.lower()
        return
    assert told["tasks"] == 0
    fates = told["fates"]
    ok = fates.pop("ok", 0)
    if row.outcome == "unnoticed":
        assert (ok, fates, told["reports"]) == (CLIENTS, {}, [])
    elif row.outcome == "one report":
        message = "socket.accept() out of system resource" if row.error != "EINVAL" else "accept() failed"
        assert (ok, fates) == (CLIENTS, {})
        assert told["reports"] == [f"{message}: [Errno {getattr(errno, row.error)}] {text}"]
    else:
        # The other end of a connection that failed sees its end, by what the kernel sends.
        assert set(fates) <= {text, "end of stream", os.strerror(errno.ECONNRESET)}
        assert text in fates
        assert (ok > 0) == (row.outcome == "some fail")
        assert told["reports"] == []


@pytest.mark.parametrize(
    ("system_call", "error", "calls_max"),
    [
        # 0.4 s of patience, a try every 20 ms, for each client.
        ("sendto", "ENOBUFS", CLIENTS * 25),
        # A try each second.
        ("accept4", "EMFILE", 2),
    ],
)
def test_error_that_does_not_end_is_waited_for_and_not_spun_on(system_call, error, calls_max) -> None:
    arguments = {**NETWORK, "patience": 0.4}
    ran = injection.run("network_program.py", arguments, system_call, f"error={error}:when=1+")
    assert (ran.code, ran.err) == (0, "")
    told = ran.told
    assert told["fates"] == {"hung": CLIENTS}
    assert (told["descriptors"], told["tasks"]) == (0, 0)
    assert len(told["reports"]) <= 1
    assert 0 < ran.injected <= calls_max


WELL = {"lost": None, "reports": [], "gone": True, "tasks": 0, "descriptors": 0}
ENDED = {**WELL, "received": False, "lost": os.strerror(errno.ENOMEM)}


@pytest.mark.parametrize(
    ("arguments", "when", "told", "refusals"),
    [
        ({"case": "reading"}, "3..5", {**WELL, "received": True}, 3),
        ({"case": "reading"}, "3+", ENDED, TRIES_MAX),
        ({"case": "reading", "datagrams": True}, "3..5", {**WELL, "received": True}, 3),
        ({"case": "reading", "datagrams": True}, "3+", ENDED, TRIES_MAX),
        ({"case": "writing"}, "4", {**WELL, "received": False}, 1),
        ({"case": "blocked"}, "4..54", ENDED, TRIES_MAX),
        ({"case": "closing"}, "3+", {**WELL, "received": False}, 1),
        ({"case": "closing", "datagrams": True}, "3+", {**WELL, "received": False}, 1),
        ({"case": "aborting"}, "4", {**WELL, "received": False}, 1),
        ({"case": "pausing"}, "3", {**WELL, "received": True}, 1),
    ],
)
def test_descriptor_that_is_not_watched_is_tried_again_for_a_second(arguments, when, told, refusals):
    ran = injection.run("watching_program.py", arguments, "epoll_ctl", f"error=ENOMEM:when={when}")
    assert (ran.code, ran.err) == (0, "")
    assert (ran.told, ran.injected) == (told, refusals)
