"""`add_signal_handler`, `remove_signal_handler`, and signals while the loop runs."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading

import pytest
import tonnage
from interrupts import Interrupt


def send(signum=signal.SIGUSR1):
    os.kill(os.getpid(), signum)


def wakeup_fd():
    """Return the wakeup descriptor, which nobody tells who does not set it."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def test_handler_runs_in_the_loop(loop, run):
    async def main():
        seen = asyncio.Queue()
        loop.add_signal_handler(signal.SIGUSR1, seen.put_nowait, "first")
        send()
        assert await asyncio.wait_for(seen.get(), 5) == "first"
        loop.add_signal_handler(signal.SIGUSR1, lambda: seen.put_nowait(asyncio.get_running_loop()))
        send()
        assert await asyncio.wait_for(seen.get(), 5) is loop

    run(main())


def test_signal_wakes_a_loop_that_has_nothing_to_do(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    timer = threading.Timer(0.01, send)
    timer.start()
    loop.run_forever()
    timer.join()


def test_signal_between_two_runs_is_not_lost(loop, run):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    send()
    run(asyncio.sleep(0.005))
    assert seen == [1]


def test_removed_handler_restores_the_default(loop):
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    loop.add_signal_handler(signal.SIGUSR1, int)
    loop.add_signal_handler(signal.SIGINT, int)
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_close_removes_handlers_and_descriptors(loop):
    before = len(os.listdir("/proc/self/fd"))
    loop.add_signal_handler(signal.SIGUSR1, int)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert len(os.listdir("/proc/self/fd")) < before


def test_sigchld_can_be_handled(loop, run):
    async def main():
        seen = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, lambda: seen.done() or seen.set_result(None))
        pid = os.posix_spawn("/bin/true", ["true"], {})
        await asyncio.wait_for(seen, 5)
        os.waitpid(pid, 0)

    run(main())


def test_exception_in_a_handler_is_reported(loop, run, reports):
    def handler():
        raise ValueError("from the handler")

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    run(asyncio.sleep(0.005))
    assert [str(report["exception"]) for report in reports] == ["from the handler"]


def test_burst_of_signals_is_delivered_and_hides_no_other(loop, run, asyncio_since):
    asyncio_since()  # asyncio's socket pair overflows after some hundreds.
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    for _ in range(5000):
        send()
    send(signal.SIGUSR2)
    run(asyncio.sleep(0.01))
    assert seen == [1] * 5000 + [2]


@pytest.mark.parametrize(
    ("signum", "callback"),
    [
        ("x", int),
        (0, int),
        (signal.NSIG + 1, int),
        (signal.SIGKILL, int),
        (signal.SIGSTOP, int),
        (signal.SIGUSR1, asyncio.sleep),
    ],
)
def test_bad_signals_are_refused_as_by_asyncio(signum, callback):
    outcomes = []
    for make_loop in (asyncio.SelectorEventLoop, tonnage.new_event_loop):
        loop = make_loop()
        with pytest.raises(Exception, match=".") as caught:
            loop.add_signal_handler(signum, callback)
        outcomes.append((caught.type, str(caught.value)))
        loop.close()
    assert outcomes[0] == outcomes[1]


def test_handlers_need_the_main_thread(loop):
    errors = []

    def work():
        try:
            loop.add_signal_handler(signal.SIGUSR1, int)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]


def test_closed_loop_takes_no_handler(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.add_signal_handler(signal.SIGUSR1, int)


def test_keyboard_interrupt_leaves_run_forever(loop):
    timer = threading.Timer(0.01, send, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    assert not loop.is_running()


@pytest.fixture
def handle():
    """Handle a signal by Python's means, for the time of the test."""
    before = {}

    def handle(signum, handler):
        before[signum] = signal.signal(signum, handler)

    yield handle
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def elsewhere():
    """Have SIGUSR1 delivered to another thread, as if it came right before the loop goes to sleep."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    may_end.set()
    thread.join()


@pytest.mark.usefixtures("elsewhere")
def test_signal_that_interrupts_no_wait_ends_it(loop, run, handle, asyncio_since):
    asyncio_since()

    async def main():
        seen = loop.create_future()
        handle(signal.SIGUSR1, lambda *_: seen.done() or seen.set_result(None))
        threading.Timer(0.01, send).start()
        # Its own timer would wake the loop: there is none.
        await seen

    def wake():
        too_late.append(True)
        loop.call_soon_threadsafe(int)

    too_late: list[bool] = []
    guard = threading.Timer(10, wake)
    guard.start()
    run(main())
    guard.cancel()
    assert not too_late


def test_wakeup_descriptor_of_the_program_stays(loop, run):
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            run(asyncio.sleep(0))
            run(asyncio.sleep(0))
        finally:
            assert signal.set_wakeup_fd(before) == writing.fileno()


def test_wakeup_descriptor_that_a_program_sets_meanwhile_stays(loop, run):
    reading, writing = socket.socketpair()

    async def main():
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno())

    with reading, writing:
        run(main())
        assert signal.set_wakeup_fd(-1) == writing.fileno()


def test_nothing_is_written_for_a_loop_that_has_run(loop, run):
    run(asyncio.sleep(0))
    assert signal.set_wakeup_fd(-1) == -1


def test_signals_end_the_wait_also_after_a_handler_was_removed(loop, run, asyncio_since):
    asyncio_since()

    async def main():
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.remove_signal_handler(signal.SIGUSR1)
        assert wakeup_fd() != -1

    run(main())
    assert signal.set_wakeup_fd(-1) == -1


def test_handler_hears_no_signal_that_came_before_it(loop, run, handle):
    seen = []

    async def main():
        handle(signal.SIGUSR1, lambda *_: seen.append("before"))
        send()
        # The number is in the pipe.
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "handler")
        await asyncio.sleep(0.005)
        assert seen == ["before"]
        send()
        await asyncio.sleep(0.005)

    run(main())
    assert seen == ["before", "handler"]


def test_handler_between_two_runs_hears_no_signal_that_came_before_it(loop, run, handle):
    seen = []

    async def main():
        send()

    handle(signal.SIGUSR1, lambda *_: seen.append("before"))
    run(main())
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "handler")
    run(asyncio.sleep(0.005))
    assert seen == ["before"]


def test_flood_of_signals_is_reported_to_nobody(loop, run, handle, capfd, asyncio_since):
    """The pipe is full, and that wakes the loop as well."""
    asyncio_since()
    seen = []

    async def main():
        for _ in range(70_000):
            signal.raise_signal(signal.SIGUSR1)

    handle(signal.SIGUSR1, lambda *_: seen.append(None))
    run(main())
    run(asyncio.sleep(0))
    assert len(seen) == 70_000
    assert capfd.readouterr().err == ""


def test_exception_at_any_line_leaves_no_descriptor_to_write_into(loop, asyncio_since):
    """That of a signal handler, which may come anywhere."""
    asyncio_since()
    ran_to_the_end = False
    count = 0
    while not ran_to_the_end:
        count += 1
        loop = tonnage.new_event_loop()
        coro = asyncio.sleep(0)
        try:
            with Interrupt(count, ("signals.py", "event_loop.py")):
                loop.run_until_complete(coro)
            ran_to_the_end = True
        except KeyboardInterrupt:
            coro.close()
        # The exception may have come before the end of the run was noted, as in asyncio.
        loop._thread_id = None
        asyncio._set_running_loop(None)
        loop.close()
        assert signal.set_wakeup_fd(-1) == -1, f"at line {count}"
    assert count > 20


def test_loop_that_runs_in_another_thread_hears_no_signals(loop):
    def body():
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert signal.set_wakeup_fd(-1) == -1


def test_loop_runs_without_descriptors_for_signals(loop, run, asyncio_since):
    asyncio_since()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        run(asyncio.sleep(0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_child_that_is_forked_while_the_loop_runs_writes_nothing(loop, run, handle, asyncio_since):
    asyncio_since()
    handle(signal.SIGUSR1, lambda *_: None)

    async def main():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if signal.set_wakeup_fd(-1) == -1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert wakeup_fd() != -1

    run(main())


def test_forked_child_has_the_default_handlers_and_the_parent_keeps_its_own(loop, run, asyncio_since):
    asyncio_since()
    seen = []
    loop.add_signal_handler(signal.SIGTERM, seen.append, "parent")
    pid = os.fork()
    if pid == 0:
        try:
            is_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            os._exit(0 if is_default and signal.set_wakeup_fd(-1) == -1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    send(signal.SIGTERM)
    run(asyncio.sleep(0.005))
    assert seen == ["parent"]


def test_signal_right_after_a_fork_reaches_the_child_alone(loop, run, asyncio_since):
    asyncio_since()
    seen = []
    loop.add_signal_handler(signal.SIGTERM, seen.append, "parent")
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    run(asyncio.sleep(0.005))
    assert seen == []
