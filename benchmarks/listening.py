"""Where the servers of the benchmark listen, and how they say so."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from pathlib import Path

import certificate


def folder() -> Path:
    """Return where the Unix socket and the certificate are."""
    return Path(sys.argv[3])


def announce(address: str) -> None:
    print(json.dumps({"address": address}), flush=True)


def listen() -> tuple[socket.socket, str]:
    """Return a listening socket and its address: a loop may take the socket over when it serves.

    asyncio turns Nagle's algorithm off only where a socket knows its protocol; with
    protocol 0 each answer in two writes would wait 40 ms for a delayed acknowledgement.

    Its connections use TCP's Reno: BBR, the default of some machines, paces by timers of the kernel, whose
    cost falls on whoever happens to run.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    host, port = listener.getsockname()
    return listener, f"{host}:{port}"


def receive_datagrams() -> tuple[socket.socket, str]:
    """Return a bound UDP socket that has room for one large datagram of each client."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    host, port = receiver.getsockname()
    return receiver, f"udp:{host}:{port}"


def tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder() / certificate.CHAIN, folder() / certificate.KEY)
    return context
