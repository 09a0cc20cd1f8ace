"""An HTTP server (aiohttp's) for a tree of files, that takes only so many requests at once.

A request beyond its capacity is refused with 503 and `Retry-After`, which is what real services and
the proxies before them do. It always runs on the standard loop, in a process of its own, so that it
is the same for every client that is measured. `running_server` starts it, and stops it again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from descriptors import make_room
from file_tree import list_paths, standard_library

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

STOP_TIMEOUT_S = 5


class FileServer:
    """Serves the files below `root`, at most `capacity` at once."""

    def __init__(self, root: Path, capacity: int) -> None:
        self.capacity = capacity
        self.in_flight = 0
        # Only what was listed is served, so that no path can lead out of the tree.
        self._files = {path: root / path for path in list_paths(root)}

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application()
        application.router.add_get("/{path:.+}", self.send_file)
        return application

    async def send_file(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file, or refuse if as many as we can take are being sent."""
        if self.in_flight >= self.capacity:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"})
        file = self._files.get(request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound
        return CountedFileResponse(self, file)


class CountedFileResponse(web.FileResponse):
    """A file that counts as in flight until its last byte is sent."""

    def __init__(self, server: FileServer, file: Path) -> None:
        super().__init__(file)
        self._server = server

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole file: aiohttp does that here, and not in the handler."""
        self._server.in_flight += 1
        try:
            return await super().prepare(request)
        finally:
            self._server.in_flight -= 1


async def serve(root: Path, capacity: int) -> None:
    """Serve on a free port of loopback, tell it on standard output, and end when standard input does."""
    files = FileServer(root, capacity)
    runner = web.AppRunner(files.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        # The client holds the other end: it closes however the client ends, so no server outlives it.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def running_server(root: Path, capacity: int) -> Iterator[str]:
    """Run the server in a process of its own, and yield its URL."""
    command = [sys.executable, __file__, "--root", str(root), "--capacity", str(capacity)]
    # In a session of its own, Ctrl-C reaches only us; we then stop the server in order.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit(f"the file server ended at once, with exit code {process.wait(STOP_TIMEOUT_S)}")
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(description="Serve a tree of files until standard input ends.")
    parser.add_argument("--root", type=Path, default=standard_library(), help="directory to serve")
    parser.add_argument("--capacity", type=int, default=64, help="requests taken at once (default: 64)")
    arguments = parser.parse_args()
    # Refused clients are connected too, so there may be one connection for every file.
    make_room(len(list_paths(arguments.root)))
    asyncio.run(serve(arguments.root, arguments.capacity))


if __name__ == "__main__":
    main()
