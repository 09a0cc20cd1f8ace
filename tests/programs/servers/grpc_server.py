"""A gRPC server as one would write it, with bytes for messages, so that it needs no generated code."""

import asyncio
import signal
from collections.abc import AsyncIterator

import grpc

left = 0


async def double(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    if request == b"refuse":
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "as asked")
    return request * 2


async def count(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield str(number).encode()


async def total(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
    return str(sum([len(request) async for request in requests])).encode()


async def wait(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    global left
    try:
        await asyncio.sleep(3600)
    finally:
        left += 1
    return b""


async def count_left(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return str(left).encode()


async def main() -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = grpc.aio.server()
    handlers = {
        "double": grpc.unary_unary_rpc_method_handler(double),
        "count": grpc.unary_stream_rpc_method_handler(count),
        "total": grpc.stream_unary_rpc_method_handler(total),
        "wait": grpc.unary_unary_rpc_method_handler(wait),
        "left": grpc.unary_unary_rpc_method_handler(count_left),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port} with {type(loop).__module__}", flush=True)
    await stopped.wait()
    await server.stop(1)
    print("all calls are done", flush=True)


asyncio.run(main())
