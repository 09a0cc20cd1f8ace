"""The types of Workers, Policy and what runs in threads; only type checkers read it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor

import tonnage
from typing_extensions import assert_type


def count(text: str, *, times: int = 1) -> int:
    tonnage.check_cancelled()
    return len(text) * times


async def workers() -> None:
    async with tonnage.Workers(3, name="x", abandon_on_cancel=True) as entered:
        assert_type(entered, tonnage.Workers)
        assert_type(await entered.run(count, "x", times=2), int)
        await entered.run(count, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert_type(entered.abandoned, int)
        assert_type(entered.abandoned_calls(), list[tonnage.AbandonedCall])
        assert_type(await entered.aclose(1.5), None)
    tonnage.Workers(3, executor=ProcessPoolExecutor())
    tonnage.Workers()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.Workers(3, ProcessPoolExecutor())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def threads(loop: tonnage.EventLoop) -> None:
    assert_type(await tonnage.to_thread(count, "x", times=2), int)
    assert_type(loop.run_in_executor(None, count, "x"), asyncio.Future[int])


def policy(main: asyncio.Future[int]) -> None:
    policy = tonnage.Policy(max_tasks=1, threads=3, orphans="raise", swallowed_cancel="ignore")
    tonnage.Policy(orphans="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Policy(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    policy.threads = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert_type(tonnage.run(main, policy=policy), int)
    assert_type(tonnage.new_event_loop(policy=policy), tonnage.EventLoop)
    tonnage.Runner(policy=policy)
