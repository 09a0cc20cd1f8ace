"""Programs written for anyio, by its asyncio backend, on the loop under test."""

from __future__ import annotations

import hashlib
import os
import signal
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio import from_thread, to_thread
from anyio.abc import ByteStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener, TLSStream

from .loops import Loop
from .processes import Server, run_python

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Lines:
    server: Server
    socket: Path


@pytest.fixture(scope="module")
def lines(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    path = tmp_path_factory.mktemp("anyio") / "socket"
    with run_python(loop, "anyio_server.py", str(path)) as server:
        yield Lines(server, path)


def run(loop: Loop, main: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(main, backend_options={"loop_factory": loop.new})


async def ask(stream: ByteStream, request: bytes) -> bytes:
    await stream.send(request)
    return await BufferedByteReceiveStream(stream).receive_until(b"\n", 1_000_000)


def test_server_runs_on_the_loop_under_test(loop: Loop, lines: Lines) -> None:
    assert f"listening on {lines.server.port} with {loop.name}." in lines.server.text()


def test_many_connections_are_served(loop: Loop, lines: Lines) -> None:
    async def main() -> dict[int, bytes]:
        answers = {}

        async def talk(number: int) -> None:
            async with await anyio.connect_tcp("127.0.0.1", lines.server.port) as stream:
                answers[number] = await ask(stream, b"echo %d\n" % number)

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(talk, number)
        return answers

    assert run(loop, main) == {number: b"%d" % number for number in range(200)}


def test_unix_socket_serves_as_well(loop: Loop, lines: Lines) -> None:
    async def main() -> bytes:
        async with await anyio.connect_unix(lines.socket) as stream:
            return await ask(stream, b"echo by socket\n")

    assert run(loop, main) == b"by socket"


def test_large_body_arrives_whole(loop: Loop, lines: Lines) -> None:
    body = os.urandom(6_000_000)

    async def main() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", lines.server.port) as stream:
            return await ask(stream, b"digest %d\n" % len(body) + body)

    assert run(loop, main).decode() == hashlib.sha256(body).hexdigest()


def test_closed_connection_ends_the_stream(loop: Loop, lines: Lines) -> None:
    async def main() -> None:
        async with await anyio.connect_tcp("127.0.0.1", lines.server.port) as stream:
            await stream.send(b"quit\n")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()

    run(loop, main)


def test_sigterm_stops_the_server_in_order(loop: Loop, tmp_path: Path) -> None:
    async def main() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            answer = await ask(stream, b"echo hello\n")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            return answer

    with run_python(loop, "anyio_server.py", str(tmp_path / "socket")) as server:
        assert run(loop, main) == b"hello"
        assert server.process.wait(10) == 0
    assert "all connections are closed" in server.text()


def test_timeout_of_an_outer_scope_ends_inner_work(loop: Loop) -> None:
    async def main() -> tuple[bool, bool, list[str]]:
        events = []
        with anyio.move_on_after(0.05) as outer, anyio.move_on_after(60) as inner:
            try:
                await anyio.sleep(60)
            finally:
                # Level cancellation: in a cancelled scope each wait is cut short again.
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0)
                    events.append("cleaned up")
        return outer.cancelled_caught, inner.cancelled_caught, events

    assert run(loop, main) == (True, False, ["cleaned up"])


def test_wait_in_a_cancelled_scope_is_cut_short_each_time(loop: Loop) -> None:
    async def main() -> int:
        cut_short = 0
        with anyio.CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    await anyio.sleep(60)
                except anyio.get_cancelled_exc_class():
                    cut_short += 1
            await anyio.sleep(60)
        return cut_short

    assert run(loop, main) == 3


def test_failing_child_cancels_its_siblings(loop: Loop) -> None:
    async def main() -> list[str]:
        ended = []

        async def sibling() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("sibling")

        async def fail(*, task_status: TaskStatus[str]) -> None:
            task_status.started("failing")
            await anyio.sleep(0.01)
            raise ZeroDivisionError

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(sibling)
                ended.append(await group.start(fail))
        except BaseException as error:
            ended.extend(type(inner).__name__ for inner in getattr(error, "exceptions", ()))
        return ended

    assert run(loop, main) == ["failing", "sibling", "ZeroDivisionError"]


def test_memory_stream_hands_items_over_in_order(loop: Loop) -> None:
    async def main() -> list[int]:
        send, receive = anyio.create_memory_object_stream[int](max_buffer_size=3)

        async def produce() -> None:
            async with send:
                for number in range(1000):
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                return [number async for number in receive]

    assert run(loop, main) == list(range(1000))


def test_limiter_bounds_the_threads(loop: Loop) -> None:
    # Three at a time pass the barrier: fewer would wait for ever, more would be counted.
    all_three = threading.Barrier(3)
    running = most = 0

    def begin() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)

    def end() -> None:
        nonlocal running
        running -= 1

    def work() -> None:
        from_thread.run_sync(begin)
        all_three.wait(20)
        from_thread.run_sync(end)

    async def main() -> int:
        limiter = anyio.CapacityLimiter(3)
        async with anyio.create_task_group() as group:
            for _ in range(21):
                group.start_soon(lambda: to_thread.run_sync(work, limiter=limiter))
        return most

    assert run(loop, main) == 3


def test_thread_calls_back_into_the_loop(loop: Loop) -> None:
    async def main() -> str:
        async def answer(word: str) -> str:
            await anyio.sleep(0.01)
            return word.upper()

        return await to_thread.run_sync(lambda: from_thread.run(answer, "called"))

    assert run(loop, main) == "CALLED"


def test_portal_of_another_thread_runs_tasks(loop: Loop) -> None:
    async def double(number: int) -> int:
        await anyio.sleep(0)
        return number * 2

    with from_thread.start_blocking_portal(backend_options={"loop_factory": loop.new}) as portal:
        futures = [portal.start_task_soon(double, number) for number in range(100)]
        assert [future.result(10) for future in futures] == [number * 2 for number in range(100)]


def test_process_is_fed_and_read(loop: Loop) -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"

    async def main() -> tuple[bytes, int]:
        result = await anyio.run_process([sys.executable, "-c", program], input=b"a" * 300_000, check=False)
        return result.stdout, result.returncode

    assert run(loop, main) == (b"A" * 300_000, 3)


def test_datagrams_are_exchanged(loop: Loop) -> None:
    async def main() -> list[bytes]:
        async with (
            await anyio.create_udp_socket(local_host="127.0.0.1") as server,
            await anyio.create_connected_udp_socket(
                "127.0.0.1", server.extra(anyio.abc.SocketAttribute.local_port)
            ) as client,
        ):
            answers = []
            for number in range(100):
                await client.send(b"%d" % number)
                packet, sender = await server.receive()
                await server.sendto(packet * 2, *sender)
                answers.append(await client.receive())
            return answers

    assert run(loop, main) == [b"%d" % number * 2 for number in range(100)]


def test_tls_stream_is_wrapped_around_any_other(loop: Loop) -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

    async def main() -> bytes:
        async def echo(stream: TLSStream) -> None:
            async with stream:
                async for data in stream:
                    await stream.send(data)

        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = tcp.extra(anyio.abc.SocketAttribute.local_port)
        listener = TLSListener(tcp, server_context)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            stream = await anyio.connect_tcp(
                "127.0.0.1", port, ssl_context=client_context, tls_hostname="localhost"
            )
            async with stream:
                answer = await ask(stream, b"x" * 100_000 + b"\n")
            group.cancel_scope.cancel()
        return answer

    assert run(loop, main) == b"x" * 100_000


def test_exit_signal_reaches_the_receiver(loop: Loop) -> None:
    async def main() -> list[signal.Signals]:
        received = []
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR2)
            async for number in signals:
                received.append(number)
                if len(received) == 2:
                    break
        return sorted(received)

    assert run(loop, main) == [signal.SIGUSR1, signal.SIGUSR2]
