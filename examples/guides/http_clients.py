"""Limit HTTP clients, httpx and aiohttp: a quota, a limit that adapts, and what 503 means to it.

Needs httpx and aiohttp.
"""

from __future__ import annotations

import aiohttp
import httpx
import tonnage
from aiohttp import web

quota = tonnage.RateLimiter(500, burst=20, name="quota")
server_limit = tonnage.AdaptiveLimiter(initial=10, max_waiting=200, name="server")
REFUSALS = (429, 503)


async def with_httpx(client: httpx.AsyncClient, path: str) -> int:
    """Send one request with httpx."""
    await quota.acquire()
    permit = await server_limit.acquire()
    outcome = "dropped"
    try:
        answer = await client.get(path)
        outcome = "dropped" if answer.status_code in REFUSALS else "ok"
        return answer.status_code
    finally:
        permit.release(outcome)


async def with_aiohttp(session: aiohttp.ClientSession, path: str) -> int:
    """Send one request with aiohttp."""
    await quota.acquire()
    permit = await server_limit.acquire()
    outcome = "dropped"
    try:
        async with session.get(path) as answer:
            await answer.read()
            outcome = "dropped" if answer.status in REFUSALS else "ok"
            return answer.status
    finally:
        permit.release(outcome)


async def handle(_: web.Request) -> web.Response:
    await tonnage.sleep(0.005)
    return web.Response(text="done")


async def main() -> None:
    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0])
    async with httpx.AsyncClient(base_url=url) as client:
        statuses = await tonnage.amap(lambda _: with_httpx(client, "/"), range(100), limit=20)
        print("httpx:", statuses.count(200), "answers")
    async with aiohttp.ClientSession(url) as session:
        statuses = await tonnage.amap(lambda _: with_aiohttp(session, "/"), range(100), limit=20)
        print("aiohttp:", statuses.count(200), "answers")
    await runner.cleanup()


tonnage.run(main())
