"""A FastAPI application as one would write it; uvicorn runs it."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    ticker = asyncio.create_task(asyncio.sleep(3600))
    yield
    ticker.cancel()
    print("application shut down", flush=True)


app = FastAPI(lifespan=lifespan)
finished_in_background: list[str] = []


class Item(BaseModel):
    name: str
    price: float


@app.post("/items")
async def create_item(item: Item) -> dict[str, object]:
    return {"name": item.name.upper(), "price": item.price * 2}


@app.get("/loop")
async def name_loop() -> str:
    return type(asyncio.get_running_loop()).__module__


@app.get("/in-a-thread")
def in_a_thread(seconds: float) -> str:
    """A plain function, which FastAPI runs in a thread."""
    time.sleep(seconds)
    return "done"


@app.get("/broken")
async def broken() -> None:
    raise HTTPException(status_code=418, detail="a teapot")


@app.get("/bug")
async def bug() -> None:
    raise ZeroDivisionError("a bug of the application")


@app.get("/stream")
async def stream(lines: int) -> StreamingResponse:
    async def generate() -> AsyncIterator[str]:
        for number in range(lines):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(generate(), media_type="text/plain")


@app.post("/digest")
async def digest(request: Request) -> str:
    sha256 = hashlib.sha256()
    async for chunk in request.stream():
        sha256.update(chunk)
    return sha256.hexdigest()


@app.post("/background/{name}")
async def start_background(name: str, tasks: BackgroundTasks) -> None:
    async def work() -> None:
        await asyncio.sleep(0.01)
        finished_in_background.append(name)

    tasks.add_task(work)


@app.get("/background")
async def background() -> list[str]:
    return finished_in_background


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await socket.receive_text())
