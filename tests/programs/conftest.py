"""The loop is a parameter of every test in this directory that asks for it; servers are started once."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from . import postgres as postgresql, redis_server as redis
from .loops import LOOPS, Loop
from .postgres import Postgres
from .redis_server import Redis


@pytest.fixture(scope="session", params=LOOPS, ids=lambda loop: loop.name)
def loop(request: pytest.FixtureRequest) -> Loop:
    """The loop that the program under test runs on."""
    return request.param


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, for the tests of all drivers on all loops."""
    with postgresql.start() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis server, for the tests on all loops."""
    with redis.start(tmp_path_factory.mktemp("redis")) as server:
        yield server


@dataclass(frozen=True)
class Certificates:
    """A certificate of an authority of our own for a server on loopback, and who trusts it."""

    server: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What servers and clients need for TLS."""
    authority = trustme.CA()
    server = tmp_path_factory.mktemp("certificates") / "server.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Certificates(server, trust)
