"""An SSH server as one would write it: commands, files below one folder, and forwarded ports."""

import asyncio
import hashlib
import signal
import sys

import asyncssh

waiting = 0
abandoned = 0


async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
    global waiting, abandoned
    command, _, argument = (process.command or "").partition(" ")
    code = 0
    if command == "echo":
        process.stdout.write(argument.encode())
    elif command == "digest":
        sha256 = hashlib.sha256()
        while part := await process.stdin.read(65536):
            sha256.update(part)
        process.stdout.write(sha256.hexdigest().encode())
    elif command == "zeros":
        left = int(argument)
        while left:
            size = min(left, 50_000)
            process.stdout.write(bytes(size))
            await process.stdout.drain()
            left -= size
    elif command == "wait":
        waiting += 1
        try:
            await process.stdin.read()
        finally:
            waiting -= 1
            abandoned += 1
    elif command == "count":
        process.stdout.write(f"{waiting} {abandoned}".encode())
    else:
        process.stderr.write(b"no such command")
        code = 127
    process.exit(code)


class Server(asyncssh.SSHServer):
    """Lets in who has the key, and lets them reach all of loopback."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return dest_host == "127.0.0.1"

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return listen_host == "127.0.0.1"


async def main() -> None:
    host_key, client_key, folder = sys.argv[1:]
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=client_key,
        process_factory=handle,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder.encode()),
        encoding=None,
    )
    print(f"listening on {server.get_port()} with {type(loop).__module__}", flush=True)
    async with server:
        await stopped.wait()
    print("all connections are closed", flush=True)


asyncio.run(main())
