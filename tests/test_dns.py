"""`getaddrinfo` and `getnameinfo`."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest
import tonnage
from tonnage import dns


@pytest.mark.parametrize(
    "arguments",
    [
        ("127.0.0.1", 80),
        ("127.0.0.1", "80"),
        ("127.0.0.1", b"80"),
        (b"127.0.0.1", 80),
        ("127.0.0.1", None),
        ("127.0.0.1", "http"),
        ("::1", 80),
        ("::1%lo", 80),
        ("fe80::1%lo", 80),
        ("fe80::1%1", 80),
        ("fe80::1%nosuchinterface", 80),
        (None, 80),
        ("localhost", 80),
        ("127.1", 80),
        ("no.such.host.invalid", 80),
        ("127.0.0.1", 80, socket.AF_INET6),
        ("127.0.0.1", 80, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
        ("127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE | socket.AI_CANONNAME),
        (None, 80, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE),
        ("127.0.0.1\0", 80),
        ("", 80),
        (None, None),
        (1, 80),
    ],
)
def test_getaddrinfo_answers_as_the_platform_does(loop, run, arguments):
    host, port, *rest = arguments
    options = dict(zip(("family", "type", "proto", "flags"), rest, strict=False))

    def outcome(call):
        try:
            return call()
        except Exception as error:
            return type(error), str(error)

    expected = outcome(lambda: socket.getaddrinfo(host, port, **options))
    assert outcome(lambda: run(loop.getaddrinfo(host, port, **options))) == expected


def test_getnameinfo_answers_as_the_platform_does(loop, run):
    address = ("127.0.0.1", 80)
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert run(loop.getnameinfo(address, flags)) == ("127.0.0.1", "80")
    assert run(loop.getnameinfo(address)) == socket.getnameinfo(address, 0)
    with pytest.raises(socket.gaierror):
        run(loop.getnameinfo(("no.such.host.invalid", 80)))


def test_lookup_is_not_behind_a_busy_executor(loop, run, asyncio_since):
    asyncio_since()  # asyncio waits for seconds.
    release = threading.Event()

    async def main():
        busy = [loop.run_in_executor(None, release.wait) for _ in range(64)]
        assert await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 5)
        release.set()
        await asyncio.gather(*busy)

    run(main())


def test_debug_mode_logs_lookups(loop, run, caplog):
    caplog.set_level("DEBUG", logger="asyncio")
    loop.set_debug(True)
    run(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    assert "Getting address info localhost:80, type=" in caplog.text


def test_closed_loop_looks_nothing_up(loop):
    loop.close()
    for lookup in (loop.getaddrinfo("localhost", 80), loop.getnameinfo(("127.0.0.1", 80))):
        with pytest.raises(RuntimeError, match="^Event loop is closed$"):
            lookup.send(None)


class SlowResolver:
    """A resolver that hangs until it is released."""

    def __init__(self, monkeypatch):
        self.release = threading.Event()
        self.running = 0
        self.most_running = 0
        self.done = 0
        self.lock = threading.Lock()
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, *args):
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.release.wait(20)
        with self.lock:
            self.running -= 1
            self.done += 1
        return [args]


def test_number_of_threads_is_bounded_and_none_stays(loop, run, asyncio_since, monkeypatch):
    asyncio_since()
    resolver = SlowResolver(monkeypatch)

    async def main():
        lookups = [asyncio.ensure_future(loop.getaddrinfo("name", n)) for n in range(100)]
        while resolver.running < dns.THREADS_MAX:
            await asyncio.sleep(0.001)
        resolver.release.set()
        found = await asyncio.wait_for(asyncio.gather(*lookups), 20)
        assert [answer[0][1] for answer in found] == list(range(100))
        while loop._resolver._threads:
            await asyncio.sleep(0.001)

    run(main())
    assert resolver.most_running == dns.THREADS_MAX


def test_cancelled_lookup_leaves_nothing_behind(loop, run, asyncio_since, monkeypatch):
    asyncio_since()
    resolver = SlowResolver(monkeypatch)

    async def main():
        lookups = [asyncio.ensure_future(loop.getaddrinfo("name", n)) for n in range(100)]
        while resolver.running < dns.THREADS_MAX:
            await asyncio.sleep(0.001)
        assert len(loop._resolver._waiting) == 100 - dns.THREADS_MAX
        for lookup in lookups:
            lookup.cancel()
        await asyncio.wait(lookups)
        assert not loop._resolver._waiting
        resolver.release.set()
        while loop._resolver._threads:
            await asyncio.sleep(0.001)

    run(main())
    assert resolver.done == dns.THREADS_MAX


def test_close_does_not_wait_for_a_resolver_that_hangs(loop, run, asyncio_since, monkeypatch):
    asyncio_since()
    resolver = SlowResolver(monkeypatch)
    monkeypatch.setattr(dns, "CLOSE_WAIT_S", 0.02)

    async def main():
        lookup = asyncio.ensure_future(loop.getaddrinfo("name", 1))
        await asyncio.sleep(0.005)
        lookup.cancel()
        await asyncio.wait([lookup])

    run(main())
    threads = list(loop._resolver._threads)
    loop.close()
    assert all(thread.is_alive() for thread in threads)
    resolver.release.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_close_joins_lookups_that_end_soon(loop, run, asyncio_since, monkeypatch):
    asyncio_since()
    resolver = SlowResolver(monkeypatch)
    monkeypatch.setattr(dns, "CLOSE_WAIT_S", 20)

    async def main():
        lookup = asyncio.ensure_future(loop.getaddrinfo("name", 1))
        await asyncio.sleep(0.005)
        lookup.cancel()
        await asyncio.wait([lookup])

    run(main())
    threads = list(loop._resolver._threads)
    assert threads
    timer = threading.Timer(0.01, resolver.release.set)
    timer.start()
    loop.close()
    assert not any(thread.is_alive() for thread in threads)
    timer.join()


def test_thread_that_cannot_start_raises_and_leaves_no_lookup(loop, run, asyncio_since, monkeypatch):
    asyncio_since()

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="^can't start new thread$"):
        run(loop.getaddrinfo("localhost", 80))
    assert not loop._resolver._waiting
    assert not loop._resolver._threads
    monkeypatch.undo()


def test_forked_child_can_look_names_up_on_a_loop_of_its_own(loop, run):
    run(loop.getaddrinfo("localhost", 80))
    pid = os.fork()
    if pid == 0:
        try:
            child_loop = tonnage.new_event_loop()
            found = child_loop.run_until_complete(child_loop.getaddrinfo("localhost", 80))
            child_loop.close()
            os._exit(0 if found else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
