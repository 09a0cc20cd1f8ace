"""Middleware for ASGI applications (Starlette, FastAPI, Litestar, Django, …) that sheds load.

A request first takes a permit of a limiter. When the limiter refuses it, or a
limiter inside of the application does, the client gets an answer at once: 503 with
`Retry-After`, which costs the server next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tonnage.errors import Overloaded

if TYPE_CHECKING:
    from tonnage import Limiter

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# RFC 6455, and the registry that it founds: the server is overloaded, try again later.
TRY_AGAIN_LATER = 1013


class LimitMiddleware:
    """Take a permit of `limiter` for each request and each WebSocket; answer 503 if there is none.

    The permit is given back when the application has answered. A WebSocket keeps
    its permit while it is open, and is refused by closing it before it is accepted.
    Whatever the limiter is bounded by counts: `max_waiting`, `max_wait`,
    `target_delay`, and the deadline of the task.

    ```python
    app = FastAPI()
    app.add_middleware(LimitMiddleware, limiter=tonnage.AdaptiveLimiter())
    ```

    Args:
        app: The application behind it.
        limiter: A limiter of tonnage of any kind.
        key: Called with the scope of a request, to tell for whom it is: requests of
            one key wait in a line of their own, and keys are served in turn.
        exempt: Called with the scope; where it is true, the request needs no permit.
            For health checks, say.
        retry_after: Seconds that the client is told to wait where the limiter cannot say.
    """

    def __init__(
        self,
        app: Application,
        limiter: Limiter,
        *,
        key: Callable[[Scope], Hashable] | None = None,
        exempt: Callable[[Scope], bool] | None = None,
        retry_after: float = 1.0,
    ) -> None:
        self.app = app
        self.limiter = limiter
        self.key = key
        self.exempt = exempt
        self.retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand on the events of the server's life."""
        if scope["type"] not in ("http", "websocket") or (self.exempt is not None and self.exempt(scope)):
            await self.app(scope, receive, send)
            return
        answered = False

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            key = None if self.key is None else self.key(scope)
            with await self.limiter.acquire(key=key):
                await self.app(scope, receive, watched)
        except Overloaded as refusal:
            if answered:
                # Half an answer is out; the server closes the connection.
                raise
            seconds = self.retry_after if refusal.retry_after is None else refusal.retry_after
            await _refuse(scope, send, seconds)


async def _refuse(scope: Scope, send: Send, retry_after_s: float) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "overloaded"})
        return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = b"The server is overloaded. Try again later.\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        # In whole seconds: RFC 9110, section 10.2.3.
        (b"retry-after", str(max(1, math.ceil(retry_after_s))).encode()),
    ]
    await send({"type": f"{kind}.start", "status": 503, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
