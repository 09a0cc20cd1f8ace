"""`add_signal_handler`, `remove_signal_handler`, and signals while the loop runs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest
import tonnage


def send(signum=signal.SIGUSR1):
    os.kill(os.getpid(), signum)


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
