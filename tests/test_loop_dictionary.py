"""A loop that nobody set attributes on has none in its dictionary, which is what makes its methods fast."""

from __future__ import annotations

import asyncio

import tonnage


async def use_much() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: None)
    loop.call_later(0, lambda: None)
    await loop.run_in_executor(None, lambda: None)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    _reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.close()
    await writer.wait_closed()
    server.close()


def test_loop_keeps_its_own_attributes_out_of_its_dictionary() -> None:
    with tonnage.Runner() as runner:
        runner.run(use_much())
        assert vars(runner.get_loop()) == {}


def test_loop_takes_a_users_attributes() -> None:
    with tonnage.Runner() as runner:
        loop = runner.get_loop()
        loop.anything = 1  # type: ignore[attr-defined]
        assert vars(loop) == {"anything": 1}
