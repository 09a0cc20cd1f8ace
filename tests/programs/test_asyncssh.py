"""asyncssh: its server in a process of its own, its client here, both on the loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .loops import Loop
from .processes import Server, run_python, unused_port

asyncssh = pytest.importorskip("asyncssh", reason="asyncssh has no wheel for this Python")
pytestmark = pytest.mark.slow

WAIT_S = 20


@dataclass(frozen=True)
class Keys:
    folder: Path
    client: Any
    host: Any


@dataclass(frozen=True)
class SSH:
    server: Server
    keys: Keys
    files: Path

    def connect(self, **options: object) -> Any:
        return asyncssh.connect(
            "127.0.0.1",
            self.server.port,
            **{
                "username": "tester",
                "client_keys": [self.keys.client],
                "known_hosts": ([self.keys.host.convert_to_public()], [], []),
                "config": None,
                "agent_path": None,
                **options,
            },
        )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("ssh")
    client, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    host.write_private_key(folder / "host")
    client.write_public_key(folder / "client.pub")
    return Keys(folder, client, host)


@pytest.fixture(scope="module")
def ssh(loop: Loop, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSH]:
    files = tmp_path_factory.mktemp("files")
    with start(loop, keys, files) as server:
        yield SSH(server, keys, files)


def start(loop: Loop, keys: Keys, files: Path) -> contextlib.AbstractContextManager[Server]:
    return run_python(
        loop, "asyncssh_server.py", str(keys.folder / "host"), str(keys.folder / "client.pub"), str(files)
    )


def test_server_runs_on_the_loop_under_test(loop: Loop, ssh: SSH) -> None:
    assert f"listening on {ssh.server.port} with {loop.name}." in ssh.server.text()


def test_command_gives_its_output_and_its_exit_status(loop: Loop, ssh: SSH) -> None:
    async def main() -> list[tuple[int, str, str]]:
        async with ssh.connect() as connection:
            results = [await connection.run(command) for command in ("echo hello", "nonsense")]
            return [(result.exit_status, result.stdout, result.stderr) for result in results]

    assert loop.run(main()) == [(0, "hello", ""), (127, "", "no such command")]


def test_many_sessions_share_a_connection(loop: Loop, ssh: SSH) -> None:
    async def main() -> list[str]:
        async with ssh.connect() as connection:
            results = await asyncio.gather(*(connection.run(f"echo {number}") for number in range(50)))
            return [result.stdout for result in results]

    assert loop.run(main()) == [str(number) for number in range(50)]


def test_large_input_and_output_arrive_whole(loop: Loop, ssh: SSH) -> None:
    data = os.urandom(3_000_000)

    async def main() -> tuple[str, int]:
        async with ssh.connect() as connection:
            digest = await connection.run("digest", input=data, encoding=None)
            zeros = await connection.run("zeros 3000000", encoding=None)
            return digest.stdout.decode(), len(zeros.stdout)

    assert loop.run(main()) == (hashlib.sha256(data).hexdigest(), 3_000_000)


def test_files_go_both_ways_by_sftp(loop: Loop, ssh: SSH, tmp_path: Path) -> None:
    data = os.urandom(4_000_000)
    (tmp_path / "mine").write_bytes(data)

    async def main() -> tuple[list[str], int]:
        async with ssh.connect() as connection, connection.start_sftp_client() as sftp:
            await sftp.put(tmp_path / "mine", "/theirs")
            await sftp.rename("/theirs", "/renamed")
            await sftp.get("/renamed", tmp_path / "back")
            async with sftp.open("/renamed", "rb") as file:
                await file.seek(3_999_000)
                tail = await file.read(5_000)
            names = [name for name in await sftp.listdir("/") if name not in (".", "..")]
            await sftp.remove("/renamed")
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat("/renamed")
            return names, len(tail)

    assert loop.run(main()) == (["renamed"], 1_000)
    assert (tmp_path / "back").read_bytes() == data


@pytest.mark.parametrize("direction", ["local", "remote"])
def test_port_is_forwarded(loop: Loop, ssh: SSH, direction: str) -> None:
    data = os.urandom(500_000)

    async def main() -> bool:
        ended = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            ended.set()

        service = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = service.sockets[0].getsockname()[1]
        async with service, ssh.connect() as connection:
            if direction == "local":
                listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
            else:
                listener = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", port)
            async with listener:
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
                writer.write(data)
                received = await reader.readexactly(len(data))
                writer.close()
                await writer.wait_closed()
                await ended.wait()
            return received == data

    assert loop.run(main())


def test_cancelled_session_ends_and_its_connection_serves_on(loop: Loop, ssh: SSH) -> None:
    async def main() -> tuple[bool, list[int]]:
        async with ssh.connect() as connection:

            async def count() -> list[int]:
                return [int(word) for word in (await connection.run("count")).stdout.split()]

            async def work() -> None:
                async with connection.create_process("wait") as process:
                    await process.wait()

            before = (await count())[1]
            session = asyncio.ensure_future(work())
            while (await count())[0] == 0:
                await asyncio.sleep(0.01)
            session.cancel()
            await asyncio.wait([session])
            while (await count())[0]:
                await asyncio.sleep(0.01)
            waiting, abandoned = await count()
            return session.cancelled(), [waiting, abandoned - before]

    assert loop.run(main()) == (True, [0, 1])


def test_session_that_takes_too_long_times_out(loop: Loop, ssh: SSH) -> None:
    async def main() -> str:
        async with ssh.connect() as connection:
            with pytest.raises(asyncssh.TimeoutError):
                await connection.run("wait", timeout=0.1)
            return (await connection.run("echo after")).stdout

    assert loop.run(main()) == "after"


def test_unknown_key_and_unknown_host_are_refused(loop: Loop, ssh: SSH) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")

    async def main() -> None:
        with pytest.raises(asyncssh.PermissionDenied):
            await ssh.connect(client_keys=[stranger])
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await ssh.connect(known_hosts=([stranger.convert_to_public()], [], []))

    loop.run(main())


def test_lost_server_is_reported_to_who_waits(loop: Loop, keys: Keys, tmp_path: Path) -> None:
    with start(loop, keys, tmp_path) as server:

        async def main() -> None:
            async with SSH(server, keys, tmp_path).connect() as connection:
                waiting = await connection.create_process("wait")
                server.process.kill()
                with pytest.raises(asyncssh.ChannelOpenError, match="SSH connection closed"):
                    await connection.run("echo hello")
                await asyncio.wait_for(waiting.wait_closed(), WAIT_S)

        loop.run(main())


def test_refused_connection_is_reported(loop: Loop) -> None:
    async def main() -> None:
        await asyncssh.connect("127.0.0.1", unused_port(), known_hosts=None, config=None, agent_path=None)

    with pytest.raises(ConnectionRefusedError):
        loop.run(main())


def test_sigterm_closes_connections_in_order(loop: Loop, keys: Keys, tmp_path: Path) -> None:
    async def main(server: Server) -> None:
        async with SSH(server, keys, tmp_path).connect() as connection:
            await connection.run("echo hello")
        server.process.terminate()

    with start(loop, keys, tmp_path) as server:
        loop.run(main(server))
        assert server.process.wait(WAIT_S) == 0
    assert "all connections are closed" in server.text()
