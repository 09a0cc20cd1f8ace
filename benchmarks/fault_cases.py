"""The cases: each makes a server of one loop suffer, and says what became of it and of its clients."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE_S = 5.0
HOLD_S = 0.2
STOP_TIMEOUT_S = 20
# Linux has room for 4,096 connections that were not accepted yet, unless it is set otherwise.
BURST, BURSTS = 4000, 2
RUNS = 3
"""Of what is measured in time or memory, which the machine's other work disturbs."""


class Server:
    """A running server, perhaps under strace."""

    def __init__(self, arguments: dict[str, Any], fault: str | None = None) -> None:
        self.port = free_port()
        self.trace = tempfile.NamedTemporaryFile("r", errors="replace")  # noqa: SIM115
        command = [
            sys.executable,
            str(HERE / "fault_server.py"),
            json.dumps({**arguments, "port": self.port}),
        ]
        if fault is not None:
            calls = fault.partition(":")[0]
            strace = ["strace", "-f", "-qq", "-o", self.trace.name, "-e", f"trace={calls}"]
            command = [*strace, "-e", f"inject={fault}", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the server of {arguments['loop']} did not start")

    def ask(self) -> dict[str, Any]:
        self.tell("")
        answer: dict[str, Any] = json.loads(self.answer())
        return answer

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While inside, the server's loop stands still."""
        self.tell("hold")
        self.answer()
        yield
        self.tell("go")

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], STOP_TIMEOUT_S)[0]:
            raise RuntimeError("the server does not answer")
        return self.process.stdout.readline()

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Killing strace leaves what it traces alive.
            pid = self.process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            self.process.kill()
            self.process.wait()

    def injected(self) -> int:
        return self.trace.read().count("(INJECTED)")


@contextlib.contextmanager
def serving(fault: str | None = None, **arguments: Any) -> Iterator[Server]:
    server = Server({"kind": "protocol", **arguments}, fault)
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def talk(port: int, hold_s: float) -> str:
    """Say how it went with one client: "served", "dropped" by the server, or "left waiting"."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"x")
        if await asyncio.wait_for(reader.read(1), PATIENCE_S) != b"x":
            return "dropped"
        await asyncio.sleep(hold_s)
    except asyncio.TimeoutError:
        return "left waiting"
    except ConnectionError:
        return "dropped"
    finally:
        writer.transport.abort()
    return "served"


def clients(port: int, count: int, hold_s: float) -> collections.Counter[str]:
    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(talk(port, hold_s) for _ in range(count)))

    return collections.Counter(asyncio.run(all_of_them()))


def told(fates: collections.Counter[str]) -> str:
    return ", ".join(f"{fates[fate]} {fate}" for fate in ("served", "dropped", "left waiting") if fates[fate])


def descriptors(loop: str) -> str:
    with serving(loop=loop, room=10) as server:
        before = server.ask()
        began = time.monotonic()
        fates = clients(server.port, 60, HOLD_S)
        seconds = time.monotonic() - began
        after = server.ask()
    cpu = after["cpu_s"] - before["cpu_s"]
    return f"{told(fates)} in {seconds:.1f} s; {after['reports']} reports; {cpu * 1000:.0f} ms CPU"


def echoes(loop: str, fault: str) -> str:
    """200 round trips on one connection."""
    with serving(fault, loop=loop) as server:
        done = 0
        end = "all"
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as sock:
            try:
                for _ in range(200):
                    sock.sendall(b"x")
                    if sock.recv(1) != b"x":
                        end = "then the end"
                        break
                    done += 1
            except TimeoutError:
                end = "then nothing"
            except ConnectionError:
                end = "then a reset"
    reached = "" if server.injected() else " (makes no such call)"
    return f"{done}/200{'' if end == 'all' else ', ' + end}{reached}"


def interrupted(loop: str) -> str:
    return echoes(loop, "epoll_wait,epoll_pwait,epoll_pwait2:error=EINTR:when=3+3")


def no_buffers(loop: str) -> str:
    # The server writes to no other descriptor between "ready" and the first answer.
    return echoes(loop, "sendto,sendmsg,write,writev:error=ENOBUFS:when=5")


def no_memory(loop: str) -> str:
    with serving("epoll_ctl:error=ENOMEM:when=5", loop=loop) as server:
        fates = clients(server.port, 20, 0)
        reports = server.ask()["reports"]
    reached = "" if server.injected() else " (makes no such call)"
    return f"{told(fates)}; {reports} reports{reached}"


def burst(loop: str, kind: str) -> str:
    """Of some runs the middle lag, as a pass of the collector may fall into it, and the least of the rest."""
    runs = [burst_once(loop, kind) for _ in range(RUNS)]
    lag_ms = statistics.median(run["lag_ms"] for run in runs)
    memory, cpu = (min(run[name] for run in runs) for name in ("memory", "cpu_s"))
    return f"{lag_ms:.1f} ms; {memory / 1024:.1f} KB; {cpu * 1e6:.1f} µs"


def burst_once(loop: str, kind: str) -> dict[str, float]:
    with serving(loop=loop, kind=kind, lag=True) as server:
        # The first connections load and fill what all later ones use.
        clients(server.port, 20, 0)
        before = server.ask()
        socks: list[socket.socket] = []
        lag_ms = 0.0
        for _ in range(BURSTS):
            with server.held():
                socks += connections(server.port, BURST)
            after = wait_until_accepted(server, before["accepted"] + len(socks))
            lag_ms = max(lag_ms, after["lag_ms"])
        for sock in socks:
            sock.close()
    memory = (after["resident"] - before["resident"]) / len(socks)
    return {"lag_ms": lag_ms, "memory": memory, "cpu_s": (after["cpu_s"] - before["cpu_s"]) / len(socks)}


def connections(port: int, count: int) -> list[socket.socket]:
    """Open so many connections, which the server need not accept for that."""
    waiting = select.poll()
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        socks.append(sock)
        waiting.register(sock, select.POLLOUT)
    connected = 0
    while connected < count:
        for fd, _ in waiting.poll():
            waiting.unregister(fd)
            connected += 1
    return socks


def wait_until_accepted(server: Server, count: int) -> dict[str, Any]:
    """Return the server's last answer, with the longest lag of all."""
    lag_ms = 0.0
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while (answer := server.ask())["accepted"] < count:
        lag_ms = max(lag_ms, answer["lag_ms"])
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server has accepted {answer['accepted']} of {count} connections")
        time.sleep(0.01)
    lag_ms = max(lag_ms, answer["lag_ms"])
    # The timer tells of the last turns when they are over.
    time.sleep(0.05)
    answer = server.ask()
    return {**answer, "lag_ms": max(lag_ms, answer["lag_ms"])}


def parked(loop: str, count: int) -> str:
    """The least of some runs; with the collector, of start and cancel together, as it may come in either."""
    collected = [park(loop, count, []) for _ in range(RUNS)]
    spared = [park(loop, count, ["--no-collector"]) for _ in range(RUNS)]
    if None in collected or None in spared:
        return "failed"
    size = min(run["bytes"] for run in collected if run)
    start_us, cancel_us = (min(run[name] for run in spared if run) for name in ("start_us", "cancel_us"))
    whole_us = min(run["start_us"] + run["cancel_us"] for run in collected if run)
    return f"{size:,.0f} B; {start_us:.1f} + {cancel_us:.1f} µs; {whole_us:.1f} µs"


def park(loop: str, count: int, options: list[str]) -> dict[str, float] | None:
    command = [sys.executable, str(HERE / "parked_tasks.py"), loop, str(count), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found: dict[str, float] = json.loads(done.stdout)
    return found


def missing_strace() -> bool:
    return shutil.which("strace") is None or os.name != "posix"
