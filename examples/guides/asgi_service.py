"""Shed load in an ASGI service: 503 with Retry-After instead of a line that only grows.

Needs uvicorn and httpx.
"""

from __future__ import annotations

import collections
from typing import Any

import httpx
import tonnage
import uvicorn
from tonnage.asgi import LimitMiddleware


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Stand in for an application of any framework; a request takes 20 ms."""
    assert scope["type"] == "http"
    await tonnage.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


# 10 requests at once; 10 more may wait.
limiter = tonnage.CapacityLimiter(10, max_waiting=10, name="requests")
app = LimitMiddleware(application, limiter, exempt=lambda scope: scope["path"] == "/health")


async def main() -> None:
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    async with tonnage.TaskGroup() as group:
        serving = group.create_task(server.serve())
        while not server.started:
            await tonnage.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def request(number: int) -> int:
                answer = await client.get(f"/{number}")
                if answer.status_code == 503:
                    assert answer.headers["retry-after"]
                return answer.status_code

            statuses = collections.Counter(await tonnage.amap(request, range(200), limit=50))
        print("200:", statuses[200] > 0, "503:", statuses[503] > 0, "others:", len(statuses) - 2)
        server.should_exit = True
        await serving


tonnage.run(main())
