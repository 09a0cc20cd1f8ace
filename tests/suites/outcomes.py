"""A plugin of pytest for the suites of others: chooses the loop, and writes down how each test ended.

It stands before the suite's own conftest, so that nothing has imported asyncio's names before.
In the environment: TONNAGE_SUITE_LOOP is "asyncio", "loop" or "all", TONNAGE_SUITE_OUTCOMES the file to
write, a line for each test, so that all before a crash is there, and TONNAGE_SUITE_TIMEOUT the seconds that
one may take. TONNAGE_SUITE_POSTGRES asks for a server, and TONNAGE_SUITE_TESTS is a file with the names of
the only tests to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import tonnage

LOOP = os.environ["TONNAGE_SUITE_LOOP"]
OUTCOMES = Path(os.environ["TONNAGE_SUITE_OUTCOMES"])
TIMEOUT_S = int(os.environ["TONNAGE_SUITE_TIMEOUT"])
TESTS = Path(__file__).resolve().parent.parent

if LOOP == "loop":
    tonnage.install()


class Recorder:
    """Adds up the reports of the phases of each test."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = report.outcome
        if report.when != "call" and outcome == "failed":
            outcome = "error"
        if outcome == "passed" and report.when != "call" and report.nodeid in self.found:
            return
        known, _ = self.found.get(report.nodeid, ("passed", ""))
        if known in ("passed", "skipped"):
            self.found[report.nodeid] = (outcome, report.longreprtext if report.failed else "")

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        """Bound how long a failed test takes to end; pytest-timeout has stopped its timer for a debugger."""
        signal.signal(signal.SIGALRM, _ends_late)
        signal.alarm(TIMEOUT_S)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        signal.alarm(0)
        outcome, text = self.found.pop(nodeid, ("error", "no report"))
        with OUTCOMES.open("a") as file:
            file.write(json.dumps({"test": nodeid, "outcome": outcome, "text": text[-4000:]}) + "\n")


def _start_postgres(stack: contextlib.ExitStack, config: pytest.Config) -> None:
    """Start a server that ends with the stack, and tell the suite where it is."""
    sys.path.insert(0, str(TESTS))
    from programs import postgres

    sys.path.remove(str(TESTS))
    server = stack.enter_context(postgres.start())
    # At once: the tests of others may leave connections behind.
    stack.callback(server.process.stop, signal.SIGINT)
    os.environ.update(
        PGHOST="127.0.0.1", PGPORT=str(server.port), PGUSER=server.user, PGDATABASE=server.database
    )
    # SQLAlchemy's own option.
    config.option.dburi = [f"postgresql+asyncpg://{server.user}@127.0.0.1:{server.port}/{server.database}"]


def _ends_late(_signum: int, _frame: object) -> None:
    pytest.fail(f"the test has failed, and did not end within {TIMEOUT_S} s")


def pytest_configure(config: pytest.Config) -> None:
    """Start what the suite needs, and prove that the loop is the one asked for."""
    loop = asyncio.new_event_loop()
    loop.close()
    assert isinstance(loop, tonnage.EventLoop) == (LOOP != "asyncio")
    assert (asyncio.TaskGroup is tonnage.TaskGroup) == (LOOP == "all")
    # Tornado's tests fail by what they log, and their own runner silences this.
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    if os.environ.get("TONNAGE_SUITE_POSTGRES"):
        stack = contextlib.ExitStack()
        config.add_cleanup(stack.close)
        _start_postgres(stack, config)
    config.pluginmanager.register(Recorder())


def pytest_sessionfinish() -> None:
    """End what a failed test has left running, and what the interpreter would wait for."""
    for child in multiprocessing.active_children():
        child.kill()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for."""
    if chosen := os.environ.get("TONNAGE_SUITE_TESTS"):
        names = set(Path(chosen).read_text().splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in names])
        items[:] = [item for item in items if item.nodeid in names]
