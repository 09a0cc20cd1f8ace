"""Run the tests of other libraries, as they were released, on asyncio's loop and on tonnage.

For each library: its source distribution from PyPI, its wheel and what its tests need in
`.venv/suites-3.X`, and then its tests three times:

- asyncio   nothing of tonnage: what passes here must pass below;
- loop      after `tonnage.install()`: tonnage's loop, and all else asyncio's;
- all       under `tonnage run`: tonnage's tasks, groups, locks and queues too.

What differs is run again up to three times, on asyncio too: a test that then passes on tonnage is
unsteady, and one that never does is a failure, unless tests/suites/expected.json has its reason.

Usage: run_suites.py [--py 3.13] [--suite anyio] [--loop all] [arguments for pytest]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import build
import environments
import pythons
import report
from steps import BUILD, ROOT, Result, captured, forget, run, say, stop, warn

GROUP = "suites"
SOURCES = environments.VENV / "suites"
HERE = ROOT / "tests" / "suites"
TIMEOUT_S = 7200
TEST_TIMEOUT_S = 60
AGAIN = 3
LOOPS = ("asyncio", "loop", "all")


@dataclass(frozen=True)
class Suite:
    """The tests of one library: the distribution and its package, and how pytest finds them."""

    name: str
    arguments: tuple[str, ...] = ()
    # Where the source has its package beside the tests, it would hide the wheel's.
    package: str | None = None
    postgres: bool = False


# `-o addopts=` is for suites that ask for plugins which only matter to their authors. The environment has
# pytest-asyncio for those that are written for it; others take its warnings for errors.
WITHOUT = ("-o", "addopts=", "-p", "no:asyncio")
# For a source that has no configuration of pytest: it would find ours.
HERE_ONLY = ("-c", os.devnull, "--rootdir", ".")
SUITES = (
    Suite("anyio", ("-m", "not network", "-k", "not trio and not uvloop")),
    Suite("aiofiles"),
    Suite(
        "aiohttp",
        (
            *(*WITHOUT, "-m", "not dev_mode and not autobahn and not internal"),
            *("--ignore-glob", "tests/test_benchmarks*", "--ignore", "tests/autobahn"),
        ),
        package="aiohttp",
    ),
    Suite(
        "asyncpg",
        (*WITHOUT, "--import-mode=importlib", "--ignore", "tests/test__sourcecode.py"),
        package="asyncpg",
        postgres=True,
    ),
    Suite("asyncssh", WITHOUT, package="asyncssh"),
    Suite("janus", ("-o", "addopts=", "--ignore", "tests/test_benchmarks.py"), package="janus"),
    Suite(
        "sqlalchemy",
        (*WITHOUT, "test/ext/asyncio", "test/dialect/postgresql/test_async_pg.py"),
        postgres=True,
    ),
    Suite("tornado", (*WITHOUT, *HERE_ONLY, "-p", "no:logging", "-o", "python_classes=", "tornado/test")),
    Suite("uvicorn", (*WITHOUT, "--ignore", "tests/benchmarks"), package="uvicorn"),
)


def installed(name: str, interpreter: Path) -> str:
    """Return the version of `name` that an interpreter imports."""
    program = f"import importlib.metadata as metadata; print(metadata.version({name!r}))"
    output, code = captured([interpreter, "-c", program], timeout_s=60)
    if code:
        stop(f"{interpreter} has no {name}")
    return output.strip()


def fetch(suite: Suite, interpreter: Path) -> Path:
    """Return the unpacked source distribution of a library, without its package."""
    version = installed(suite.name, interpreter)
    label = f"{suite.name}-{version}"
    folder = SOURCES / label
    if folder.exists():
        return folder
    say(f"fetching the source of {label} from PyPI")
    python = environments.tools() / "python"
    downloads = BUILD / "suites"
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words = ["--no-binary", suite.name, "--dest", downloads, f"{suite.name}=={version}"]
    if run([*command, *words], timeout_s=900):
        stop(f"could not fetch {label}; is the network reachable?")
    unpacked = downloads / label
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(downloads / f"{label}.tar.gz") as archive:
        # Pinned, but not ours: nothing of it may land elsewhere.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(downloads)
    if suite.package is not None:
        shutil.rmtree(unpacked / suite.package)
    SOURCES.mkdir(parents=True, exist_ok=True)
    return unpacked.rename(folder)


def _as_user(suite: Suite) -> list[str]:
    """Return what goes before a command so that root, too, cannot read what a test makes unreadable."""
    if os.geteuid() != 0 or suite.postgres or shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@dataclass(frozen=True)
class Job:
    """A suite on one CPython."""

    suite: Suite
    version: str
    interpreter: Path
    folder: Path
    arguments: tuple[str, ...]

    def outcomes(self, loop: str, tests: list[str] | None = None) -> dict[str, tuple[str, str]]:
        """Run the suite, or some tests of it; return how each test ended, and what it said if it failed."""
        BUILD.mkdir(exist_ok=True)
        found = BUILD / f"suite-{self.suite.name}-{self.version}-{loop}.jsonl"
        found.unlink(missing_ok=True)
        before = ["-m", "tonnage", "run"] if loop == "all" else []
        plugins = ["-p", "outcomes", "-p", "no:cacheprovider"]
        options = [
            "--timeout",
            str(TEST_TIMEOUT_S),
            "-q",
            "--no-header",
            "--tb=short",
            "--color=no",
            *self.suite.arguments,
            *self.arguments,
        ]
        environment = {
            "PYTHONPATH": str(HERE),
            "TONNAGE_SUITE_LOOP": loop,
            "TONNAGE_SUITE_OUTCOMES": str(found),
            "TONNAGE_SUITE_TIMEOUT": str(TEST_TIMEOUT_S),
            "TONNAGE_SUITE_POSTGRES": "1" if self.suite.postgres else None,
            # What an operator's shell says must not decide about a test.
            **dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "PYTEST_ADDOPTS", "http_proxy", "https_proxy")),
        }
        chosen = BUILD / f"suite-{self.suite.name}-{self.version}-chosen.txt"
        if tests is not None:
            # Thousands of names would not fit on a command line.
            chosen.write_text("\n".join(tests))
            environment["TONNAGE_SUITE_TESTS"] = str(chosen)
        code = run(
            [*_as_user(self.suite), self.interpreter, *before, "-m", "pytest", *plugins, *options],
            timeout_s=TIMEOUT_S,
            environment=environment,
            folder=self.folder,
            log=found.with_suffix(".log"),
        )
        if not found.exists():
            sys.stdout.write(found.with_suffix(".log").read_text(errors="replace")[-4000:])
            raise SystemExit(f"the tests of {self.suite.name} did not begin: exit code {code}")
        lines = [json.loads(line) for line in found.read_text().splitlines()]
        return {line["test"]: (line["outcome"], line["text"]) for line in lines}


def compare(job: Job, loops: list[str], reasons: dict[str, str]) -> None:
    """Run a suite on all loops, and say what tonnage fails that asyncio passes."""
    label = f"{job.folder.name} on CPython {job.version}"
    say(f"{label}: asyncio")
    judge = job.outcomes("asyncio")
    good = [test for test, (outcome, _) in judge.items() if outcome == "passed"]
    bad = sum(outcome in ("failed", "error") for outcome, _ in judge.values())
    if not good:
        Result(GROUP, label, failed=1, note="nothing passes on asyncio").save()
        return
    for loop in loops:
        started = time.monotonic()
        say(f"{label}: {loop}")
        found = job.outcomes(loop)
        differ = [test for test in good if found.get(test, ("missing", ""))[0] != "passed"]
        failing = again(job, loop, differ)
        unsteady = [test for test in differ if test not in failing]
        expected = [test for test in failing if test.startswith(tuple(reasons))]
        failed = [test for test in failing if test not in expected]
        for test in failed:
            print(f"FAILED on {loop}: {test}\n{found.get(test, ('', 'never ran'))[1]}", flush=True)
        for test in unsteady:
            print(f"unsteady on {loop}: {test}", flush=True)
        better = sum(
            outcome == "passed" and judge.get(test, ("", ""))[0] in ("failed", "error")
            for test, (outcome, _) in found.items()
        )
        note = (
            f"{len(unsteady)} unsteady, {len(expected)} expected; asyncio fails {bad}, {better} of them pass"
        )
        passed = len(good) - len(failed) - len(expected)
        seconds = time.monotonic() - started
        Result(GROUP, f"{label}, {loop}", passed, len(failed), len(expected), seconds, note).save()


def again(job: Job, loop: str, tests: list[str]) -> list[str]:
    """Run tests again on both loops; return those that tonnage never passes, and asyncio does."""
    left, passed = set(tests), set()
    for _ in range(AGAIN):
        if not left:
            break
        chosen = [test for test in tests if test in left]
        judge, found = (job.outcomes(name, chosen) for name in ("asyncio", loop))
        passed |= {test for test in chosen if judge.get(test, ("",))[0] == "passed"}
        left -= {test for test in chosen if found.get(test, ("",))[0] == "passed"}
    return [test for test in tests if test in left & passed]


def main() -> int:
    """Run the suites everywhere, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the tests of other libraries on tonnage.")
    parser.add_argument("--py", default="", help="only these Pythons, for example 3.13")
    parser.add_argument("--suite", action="append", choices=[suite.name for suite in SUITES])
    parser.add_argument("--loop", action="append", choices=LOOPS[1:])
    options, arguments = parser.parse_known_args()
    forget(GROUP)
    expected = json.loads((HERE / "expected.json").read_text())
    environments.servers()
    for version, python in pythons.present(options.py or pythons.main_version()).items():
        build.develop(version, python)
        interpreter = environments.for_suites(version, python)
        for suite in SUITES:
            if options.suite and suite.name not in options.suite:
                continue
            try:
                job = Job(suite, version, interpreter, fetch(suite, interpreter), tuple(arguments))
                compare(job, options.loop or list(LOOPS[1:]), expected.get(suite.name, {}))
            except SystemExit as error:
                warn(str(error))
                Result(GROUP, f"{suite.name} on CPython {version}", failed=1, note=str(error)).save()
    return report.show(GROUP)


if __name__ == "__main__":
    sys.exit(main())
