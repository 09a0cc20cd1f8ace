"""LimitMiddleware: an ASGI application that answers 503 when a limiter refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fastapi
import httpx
import pytest
import tonnage
from tonnage.asgi import LimitMiddleware

Messages = list[dict[str, Any]]


class Application:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.entered = 0
        self.may_answer = asyncio.Event()
        self.error: BaseException | None = None
        self.fails_late = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered += 1
        await self.may_answer.wait()
        if self.error is not None and not self.fails_late:
            raise self.error
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.body", "body": b"done"})


async def call(app: Any, scope: dict[str, Any]) -> Messages:
    sent: Messages = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


HTTP = {"type": "http", "path": "/"}


@pytest.fixture
def application(loop: asyncio.AbstractEventLoop) -> Application:
    return Application()


def test_requests_beyond_the_limit_get_503_and_are_told_when_to_come_again(
    run: Callable[[Any], Any], application: Application
) -> None:
    async def main() -> None:
        app = LimitMiddleware(application, tonnage.CapacityLimiter(1, max_waiting=1), retry_after=2.5)
        served = [asyncio.ensure_future(call(app, HTTP)) for _ in range(2)]
        await asyncio.sleep(0)
        [start, body] = await call(app, HTTP)
        assert (start["type"], start["status"]) == ("http.response.start", 503)
        headers = dict(start["headers"])
        assert headers[b"retry-after"] == b"3"
        assert int(headers[b"content-length"]) == len(body["body"])
        assert application.entered == 1
        application.may_answer.set()
        assert [(await it)[0]["status"] for it in served] == [200, 200]
        assert app.limiter.stats().in_use == 0

    run(main())


def test_a_limiter_that_knows_when_says_when(run: Callable[[Any], Any], application: Application) -> None:
    async def main() -> None:
        application.may_answer.set()
        app = LimitMiddleware(application, tonnage.RateLimiter(0.1, burst=1, max_waiting=0))
        await call(app, HTTP)
        [start, _] = await call(app, HTTP)
        assert dict(start["headers"])[b"retry-after"] == b"10"

    run(main())


def test_a_refusal_deeper_inside_is_answered_too(run: Callable[[Any], Any], application: Application) -> None:
    async def main() -> None:
        application.may_answer.set()
        application.error = tonnage.Overloaded("the database is full", retry_after=7)
        app = LimitMiddleware(application, tonnage.CapacityLimiter(1))
        [start, _] = await call(app, HTTP)
        assert start["status"] == 503
        assert dict(start["headers"])[b"retry-after"] == b"7"
        assert app.limiter.stats().in_use == 0

    run(main())


def test_half_an_answer_is_not_followed_by_another(
    run: Callable[[Any], Any], application: Application
) -> None:
    async def main() -> None:
        application.may_answer.set()
        application.error, application.fails_late = tonnage.Overloaded("too late"), True
        app = LimitMiddleware(application, tonnage.CapacityLimiter(1))
        with pytest.raises(tonnage.Overloaded, match="too late"):
            await call(app, HTTP)

    run(main())


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
def test_other_errors_go_on_and_give_the_permit_back(
    run: Callable[[Any], Any], application: Application, error: BaseException
) -> None:
    async def main() -> None:
        application.may_answer.set()
        application.error = error
        app = LimitMiddleware(application, tonnage.CapacityLimiter(1))
        with pytest.raises(type(error)):
            await call(app, HTTP)
        assert app.limiter.stats().in_use == 0

    run(main())


@pytest.mark.parametrize("answers", [False, True])
def test_a_websocket_is_refused_before_it_is_accepted(
    run: Callable[[Any], Any], application: Application, answers: bool
) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, max_waiting=0)
        app = LimitMiddleware(application, limiter)
        extensions = {"websocket.http.response": {}} if answers else {}
        with limiter.acquire_nowait():
            sent = await call(app, {"type": "websocket", "path": "/", "extensions": extensions})
        if answers:
            assert [message["type"] for message in sent] == [
                "websocket.http.response.start",
                "websocket.http.response.body",
            ]
            assert sent[0]["status"] == 503
        else:
            assert sent == [{"type": "websocket.close", "code": 1013, "reason": "overloaded"}]
        assert application.entered == 0

    run(main())


def test_the_servers_life_and_what_is_exempt_need_no_permit(
    run: Callable[[Any], Any], application: Application
) -> None:
    async def main() -> None:
        application.may_answer.set()
        limiter = tonnage.CapacityLimiter(1, max_waiting=0)
        app = LimitMiddleware(application, limiter, exempt=lambda scope: scope["path"] == "/health")
        with limiter.acquire_nowait():
            await call(app, {"type": "lifespan"})
            [start, _] = await call(app, {"type": "http", "path": "/health"})
            assert start["status"] == 200
            [start, _] = await call(app, HTTP)
            assert start["status"] == 503

    run(main())


def test_keys_are_served_in_turn(run: Callable[[Any], Any]) -> None:
    served: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        served.append(scope["path"])

    async def main() -> None:
        app = LimitMiddleware(application, tonnage.CapacityLimiter(1), key=lambda scope: scope["path"])
        paths = ["/busy"] * 4 + ["/quiet"]
        await asyncio.gather(*[call(app, {"type": "http", "path": path}) for path in paths])
        assert served.index("/quiet") <= 2

    run(main())


def test_it_is_middleware_of_fastapi(run: Callable[[Any], Any]) -> None:
    may_answer = asyncio.Event

    async def main() -> None:
        event = may_answer()
        app = fastapi.FastAPI()
        app.add_middleware(LimitMiddleware, limiter=tonnage.CapacityLimiter(2, max_waiting=1))

        @app.get("/")
        async def answer() -> str:
            await event.wait()
            return "done"

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            asked = [asyncio.ensure_future(client.get("/")) for _ in range(5)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 2:
                more, _ = await asyncio.wait(set(asked) - done, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            event.set()
            answers = [await it for it in asked]
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
        assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} == {"1"}

    run(main())
