"""Real servers, each in a process of its own: started, waited for, and stopped as an operator does it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .loops import Loop

SERVERS = Path(__file__).parent / "servers"
# What `make test` has installed, see requirements/servers.in; it comes before what the machine has.
INSTALLED = Path(__file__).parents[2] / ".venv" / "servers"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[str]
    ready: re.Match[str]
    log: list[str]
    reader: threading.Thread

    @property
    def port(self) -> int:
        """The port that the server said it listens on."""
        return int(self.ready["port"])

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """End the server as an operator does, and return its exit code."""
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill(self.process)
            pytest.fail(
                f"the server did not end within {STOP_TIMEOUT_S} s of {signal_number!r}:\n" + self.text()
            )

    def text(self) -> str:
        """All that the server has printed; if it has ended, to the last word."""
        if self.process.poll() is not None:
            self.reader.join(STOP_TIMEOUT_S)
        return "".join(self.log)


@contextlib.contextmanager
def running(command: list[str], ready: str, **options: Any) -> Iterator[Server]:
    """Start a server, wait until it prints what matches `ready`, and stop it in the end."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    log: list[str] = []
    found: list[re.Match[str]] = []
    is_decided = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            if not found and (match := re.search(ready, line)):
                found.append(match)
                is_decided.set()
        is_decided.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        is_decided.wait(START_TIMEOUT_S)
        if not found:
            kill(process)
            reader.join()
            pytest.fail(f"{' '.join(command)} did not start:\n" + "".join(log))
        server = Server(process, found[0], log, reader)
        yield server
        if process.poll() is None:
            server.stop()
    finally:
        kill(process)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    """End what is left of a server, with the processes that it has started: they hold its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_python(loop: Loop, *words: str, **environment: str) -> contextlib.AbstractContextManager[Server]:
    """Start a Python server of `servers/` on `loop`; it prints `listening on <port>` when it is ready."""
    return running(
        [*loop.python, *words],
        r"listening on (?P<port>\d+)",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        cwd=SERVERS,
    )


def find_program(name: str, package: str, *directories: str | Path) -> str:
    """Return the path of a server's binary, or skip and say what to install.

    It is looked for in `directories` first, and then where the machine has its programs.
    """
    paths = [*map(str, directories), os.environ.get("PATH", os.defpath)]
    path = shutil.which(name, path=os.pathsep.join(paths))
    if path is None:
        pytest.skip(f"{name} is not installed: run `make test`, or apt-get install {package}")
    return path


def unused_port() -> int:
    """Return a port of loopback that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
