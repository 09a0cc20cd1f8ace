"""What each loop has, and some lack: one test for each such difference, on asyncio first.

docs/features.md is the table; most of its rows are proved elsewhere, and the rest here.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import re
import signal
import socket
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
import tonnage

variable = contextvars.ContextVar("variable", default="unset")


class Recorder(asyncio.Protocol):
    """Keeps what happens to one connection."""

    def __init__(self):
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.lost.set_result(exc)


# Callbacks and timers.


@pytest.mark.parametrize("schedule", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_handle_is_one_of_asyncio(loop, schedule):
    when = {"call_later": [0], "call_at": [loop.time()]}.get(schedule, [])
    handle = getattr(loop, schedule)(*when, int, "7")
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(handle, asyncio.TimerHandle) == bool(when)
    assert not handle.cancelled()
    assert "Handle" in repr(handle)
    assert "int" in repr(handle)
    assert weakref.ref(handle)() is handle
    handle.cancel()
    assert handle.cancelled()
    assert "cancelled" in repr(handle)


@pytest.mark.parametrize("delay", [0, -1, 0.0, 1e-9])
def test_timer_without_a_delay_is_a_timer_all_the_same(loop, delay):
    before = loop.time()
    handle = loop.call_later(delay, print)
    assert isinstance(handle, asyncio.TimerHandle)
    assert before + delay <= handle.when() <= loop.time() + max(delay, 0)
    handle.cancel()


def test_time_is_the_monotonic_clock(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_time_is_the_monotonic_clock_also_when_it_is_asked_all_the_time(loop):
    told = []
    end = time.monotonic() + 0.05
    while not told or told[-1] < end:
        before = time.monotonic()
        told.append(loop.time())
        assert before - 1e-7 <= told[-1] <= time.monotonic() + 1e-6
    assert told == sorted(told)


def test_timers_are_finer_than_a_millisecond(loop, run, asyncio_since):
    # asyncio's selector waits whole milliseconds.
    asyncio_since()
    slept = []

    async def main():
        for _ in range(60):
            start = time.monotonic()
            await asyncio.sleep(0.0002)
            slept.append(time.monotonic() - start)

    run(main())
    assert 0.0002 <= min(slept) < 0.001


def test_callback_from_another_thread_runs_in_a_copy_of_that_threads_context(loop):
    seen = []

    def callback():
        seen.append(variable.get())
        variable.set("changed")

    def call():
        variable.set("thread")
        loop.call_soon_threadsafe(callback)
        loop.call_soon_threadsafe(lambda: (seen.append(variable.get()), loop.stop()))

    thread = threading.Thread(target=call)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == ["thread", "thread"]
    assert variable.get() == "unset"


def test_parameters_of_scheduling_may_be_named(loop):
    seen = []
    loop.call_soon(callback=lambda: seen.append("soon"))
    loop.call_soon_threadsafe(callback=lambda: seen.append("threadsafe"))
    loop.call_later(delay=0.001, callback=lambda: seen.append("later"))
    context = contextvars.copy_context()
    loop.call_later(0.002, callback=lambda: seen.append("position and name"), context=context)
    loop.call_at(when=loop.time() + 0.004, callback=loop.stop)
    loop.run_forever()
    assert seen == ["soon", "threadsafe", "later", "position and name"]
    for call, options in (
        (loop.call_soon, {}),
        (loop.call_soon, {"context": context}),
        (loop.call_later, {"delay": 1}),
        (loop.call_later, {"callback": int}),
        (loop.call_at, {"when": 1, "callback": int, "other": 2}),
    ):
        with pytest.raises(TypeError):
            call(**options)
    with pytest.raises(TypeError):
        loop.call_soon(int, callback=int)


def test_method_of_a_subclass_may_name_the_parameters(loop):
    class Counting(type(loop)):
        count = 0

        def call_soon(self, callback, *args, context=None):
            self.count += 1
            return super().call_soon(callback=callback, context=context)

    counting = Counting()
    counting.call_soon(callback=counting.stop)
    counting.run_forever()
    counting.close()
    assert counting.count == 1


@pytest.mark.parametrize(
    "method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_task"]
)
def test_closed_loop_takes_nothing(loop, method):
    async def never():
        raise AssertionError

    loop.close()
    coroutine = never()
    arguments = {"call_later": (0, print), "call_at": (0, print), "create_task": (coroutine,)}
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        getattr(loop, method)(*arguments.get(method, (print,)))
    coroutine.close()


# Running and ending.


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("stop")])
def test_exit_in_main_ends_the_run(loop_factory, error):
    if loop_factory is asyncio.SelectorEventLoop and sys.version_info < (3, 12):
        pytest.skip("asyncio.run() takes a loop factory since 3.12")

    async def main():
        other = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(0)
        assert not other.done()
        raise error

    run = tonnage.run if loop_factory is tonnage.new_event_loop else asyncio.run
    with pytest.raises(type(error)) as raised:
        run(main(), loop_factory=loop_factory)
    assert raised.value is error
    error.__traceback__ = None


def test_exception_handler_gets_the_loop_and_the_context(loop):
    seen = []
    error = LookupError("from the callback")

    def fail():
        raise error

    loop.set_exception_handler(lambda *arguments: seen.append(arguments))
    handle = loop.call_soon(fail)
    loop.call_soon(loop.stop)
    loop.run_forever()
    [(given, context)] = seen
    assert given is loop
    assert context["exception"] is error
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback ")
    assert callable(loop.get_exception_handler())
    error.__traceback__ = None


def test_exception_handler_is_told_of_a_failing_async_generator(loop, reports):
    async def numbers():
        try:
            yield 1
        finally:
            raise LookupError("at the end")

    async def main():
        await iterator.__anext__()
        await loop.shutdown_asyncgens()

    iterator = numbers()
    loop.run_until_complete(main())
    [context] = reports
    assert context["asyncgen"] is iterator
    assert isinstance(context["exception"], LookupError)


# Tasks.


def test_task_factory_needs_to_take_no_more_than_loop_and_coroutine(loop, run):
    made = []

    def factory(loop, coro):
        made.append(asyncio.Task(coro, loop=loop))
        return made[-1]

    async def child():
        return "result"

    async def main():
        task = asyncio.create_task(child())
        assert task is made[-1]
        assert await task == "result"

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    run(main())
    assert len(made) == 2


def test_task_factory_gets_the_context(loop, run, asyncio_since):
    asyncio_since(3, 11)
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    given = []

    def factory(loop, coro, *, context=None, **options):
        given.append(context)
        make = tonnage.Task if isinstance(loop, tonnage.EventLoop) else asyncio.Task
        return make(coro, loop=loop, context=context, **options)

    async def child():
        return variable.get()

    async def main():
        return await loop.create_task(child(), context=context)

    loop.set_task_factory(factory)
    assert run(main()) == "given"
    assert given == [None, context]


@pytest.mark.parametrize("way", ["asyncio's factory", "our factory", "eager_start"])
def test_eager_task_ends_before_create_task_returns(loop, run, asyncio_since, way):
    if way == "asyncio's factory":
        if sys.version_info < (3, 12):
            pytest.skip("asyncio's eager_task_factory is new in 3.12")
        loop.set_task_factory(asyncio.eager_task_factory)
    elif way == "our factory":
        asyncio_since()
        loop.set_task_factory(tonnage.eager_task_factory)
    else:
        asyncio_since(3, 14)
    options = {"eager_start": True} if way == "eager_start" else {}

    async def child(*, wait):
        seen.append(asyncio.current_task())
        if wait:
            await asyncio.sleep(0)
        return "result"

    async def main():
        quick = loop.create_task(child(wait=False), name="quick", **options)
        assert quick.done()
        assert quick.result() == "result"
        slow = loop.create_task(child(wait=True), name="slow", **options)
        assert not slow.done()
        assert seen == [quick, slow]
        assert await slow == "result"

    seen = []
    run(main())
    seen.clear()


def test_task_runs_in_the_given_context_on_every_version(loop, run, asyncio_since):
    asyncio_since(3, 11)
    context = contextvars.copy_context()

    async def child():
        variable.set("changed")

    async def main():
        await loop.create_task(child(), context=context)

    run(main())
    assert context[variable] == "changed"
    assert variable.get() == "unset"


# Names and addresses.


def test_scope_of_an_ipv6_address_is_kept(loop, run):
    scope = socket.if_nametoindex("lo")
    seen = []

    async def sock_connect(sock, address):
        seen.append(address)
        raise ConnectionRefusedError

    async def main():
        for family in (0, socket.AF_INET6):
            [found, *_] = await loop.getaddrinfo("fe80::1%lo", 80, family=family, type=socket.SOCK_STREAM)
            assert found[4] == ("fe80::1", 80, 0, scope)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(asyncio.Protocol, "fe80::1%lo", 80)

    loop.sock_connect = sock_connect
    try:
        run(main())
    finally:
        del loop.sock_connect
    assert seen == [("fe80::1", 80, 0, scope)]


# Descriptors.


def test_watchers_take_file_objects(loop, run):
    async def main():
        reading, writing = os.pipe()
        with open(reading, "rb", 0) as source, open(writing, "wb", 0) as sink:
            seen = loop.create_future()
            writable = loop.create_future()
            loop.add_reader(source, lambda: seen.done() or seen.set_result(source.read(10)))
            loop.add_writer(sink, lambda: writable.done() or writable.set_result(sink.write(b"x")))
            await asyncio.wait_for(writable, 5)
            assert await asyncio.wait_for(seen, 5) == b"x"
            assert loop.remove_writer(sink)
            assert loop.remove_reader(source)
            assert not loop.remove_reader(source)

    run(main())


def test_pipe_is_named_and_closed_once(loop, run):
    async def main():
        reading, writing = os.pipe()
        source = open(reading, "rb", 0)  # noqa: SIM115
        transport, protocol = await loop.connect_read_pipe(Recorder, source)
        assert transport.get_extra_info("pipe") is source
        os.write(writing, b"x")
        os.close(writing)
        assert await asyncio.wait_for(protocol.lost, 5) is None
        await asyncio.sleep(0)
        # Whoever gets the number next keeps it.
        ours, peer = socket.socketpair()
        assert reading in (ours.fileno(), peer.fileno())
        transport.close()
        await asyncio.sleep(0)
        gc.collect()
        with ours, peer:
            ours.send(b"still here")
            assert peer.recv(100) == b"still here"

    run(main())


def test_signal_handler_can_be_removed_once(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


# Transports.


async def pair(loop, factory=Recorder):
    ours, peer = socket.socketpair()
    transport, protocol = await loop.create_connection(factory, sock=ours)
    return transport, protocol, peer


def test_socket_of_a_transport_can_be_shut_down(loop, run):
    async def main():
        transport, protocol, peer = await pair(loop)
        with peer:
            transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            peer.settimeout(5)
            assert peer.recv(1) == b""
            transport.close()
            await asyncio.wait_for(protocol.lost, 5)

    run(main())


def test_write_after_close_raises_nothing(loop, run):
    async def main():
        transport, protocol, peer = await pair(loop)
        with peer:
            transport.close()
            await asyncio.wait_for(protocol.lost, 5)
            for _ in range(3):
                transport.write(b"too late")
            peer.settimeout(5)
            assert peer.recv(1) == b""

    run(main())


def test_transport_may_be_touched_by_another_thread(loop, run):
    async def main():
        transport, protocol, peer = await pair(loop)
        with peer:
            failures = []

            def touch():
                try:
                    repr(transport)
                    transport.get_extra_info("socket")
                    assert transport.get_write_buffer_size() == 0
                    assert not transport.is_closing()
                    transport.pause_reading()
                    transport.resume_reading()
                except BaseException as error:
                    failures.append(error)

            await loop.run_in_executor(None, touch)
            assert failures == []
            peer.send(b"works")
            while protocol.data != b"works":
                await asyncio.sleep(0.001)
            transport.close()
            await asyncio.wait_for(protocol.lost, 5)

    run(main())


# Processes.


@pytest.mark.parametrize("running", [False, True])
def test_forked_child_runs_a_loop_of_its_own(loop, loop_factory, run, running):
    async def child():
        await asyncio.sleep(0.001)
        return os.getpid()

    def fork():
        pid = os.fork()
        if pid == 0:
            try:
                own = loop_factory()
                same = own.run_until_complete(child()) == os.getpid()
                own.close()
                os._exit(0 if same else 1)
            finally:
                os._exit(2)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def main():
        return fork()

    assert (run(main()) if running else fork()) == 0
    run(asyncio.sleep(0))


def skip_if_children_need_a_watcher(loop):
    if not isinstance(loop, tonnage.EventLoop) and sys.version_info < (3, 12):
        pytest.skip("asyncio needs a child watcher before 3.12")


def test_program_and_its_first_argument_may_differ(loop, run):
    skip_if_children_need_a_watcher(loop)

    async def main():
        child = await asyncio.create_subprocess_exec(
            "name", "-c", "echo $0", executable="/bin/sh", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert out == b"name\n"

    run(main())


PARAMETERS = {
    "user": ({"user": os.getuid()}, "print(os.getuid())", str(os.getuid())),
    "group": ({"group": os.getgid()}, "print(os.getgid())", str(os.getgid())),
    "umask": ({"umask": 0o31}, "print(os.umask(0))", str(0o31)),
    "pipesize": ({"pipesize": 16384}, "import fcntl; print(fcntl.fcntl(1, 1032))", "16384"),
    "start_new_session": ({"start_new_session": True}, "print(os.getsid(0) == os.getpid())", "True"),
    "process_group": ({"process_group": 0}, "print(os.getpgid(0) == os.getpid())", "True"),
    "extra_groups": ({"extra_groups": [12345]}, "print(os.getgroups())", "[12345]"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_of_popen_reaches_the_child(loop, name):
    options, code, expected = PARAMETERS[name]
    if name == "process_group" and sys.version_info < (3, 11):
        pytest.skip("process_group is new in 3.11")
    if name == "extra_groups" and os.getuid() != 0:
        pytest.skip("only root may change its groups")
    skip_if_children_need_a_watcher(loop)

    async def main():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"import os; {code}", stdout=asyncio.subprocess.PIPE, **options
        )
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        return out.decode().strip()

    assert loop.run_until_complete(main()) == expected


# The table.


def test_each_row_of_the_feature_table_that_has_a_proof_names_it():
    table = (Path(__file__).parent.parent / "docs" / "features.md").read_text(encoding="utf-8")
    proofs = None
    for line in table.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            proofs = None
        elif proofs is None:
            proofs = cells.index("proved by") if "proved by" in cells else -1
        elif proofs >= 0 and not set(cells[0]) <= {"-", ":"}:
            assert len(cells) == proofs + 1, line
            assert "::test_" in cells[proofs], line


def test_feature_table_names_tests_that_exist():
    folder = Path(__file__).parent
    table = (folder.parent / "docs" / "features.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)?test_\w+)::(test_\w+)`", table)
    assert len(named) > 80
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"\ndef {test}(" not in (folder / f"{file}.py").read_text(encoding="utf-8")
    ]
    assert missing == []
