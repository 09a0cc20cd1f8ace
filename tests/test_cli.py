"""`tonnage run` against `python`: a program cannot tell the two apart. Python is the oracle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import tonnage

PYTHON = [sys.executable]
OURS = str(Path(tonnage.__file__).parent)
TONNAGE = [sys.executable, "-m", "tonnage"]
RUN = [*TONNAGE, "run"]

SHOW = """
import sys
def shown(value):
    return type(value).__name__ if "Loader" in type(value).__name__ or "Importer" in repr(value) else value
for name in sorted(globals()):
    if name.startswith("__") and name != "__builtins__":
        print(name, shown(globals()[name]))
print(type(__builtins__).__name__)
print(sys.argv, sys.path[0], len(sys.path))
import __main__
print(__main__.shown is shown, shown.__module__)
"""


def call(command: list[str], cwd: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *options],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def assert_same(cwd: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Check that python and tonnage do the same with `words`; return what that is."""
    expected = call(PYTHON, cwd, *words, **variables)
    actual = call(RUN, cwd, *words, **variables)
    assert neutral(actual.stdout) == neutral(expected.stdout)
    # Only the name of the command differs, and where objects happen to lie.
    assert neutral(actual.stderr).replace("tonnage: ", "") == neutral(expected.stderr).replace(
        f"{sys.executable}: ", ""
    )
    assert actual.returncode == expected.returncode
    return actual


def neutral(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["show.py"],
        ["show.py", "-x", "--help", "run", "-m", ""],
        ["./show.py"],
        ["folder/../show.py"],
        ["folder/show.py"],
        ["folder/link.py", "1"],
        ["folder", "1"],
        ["archive.zip", "1"],
        ["-m", "show", "-m", "show"],
        ["-mshow", "1"],
        ["-m", "package", "1"],
        ["-m", "package.module"],
        ["-m", "package.inner"],
        ["-c", SHOW, "-c", "1"],
    ],
    ids=lambda words: " ".join(words)[:20].strip(),
)
def test_program_sees_what_python_shows_it(tmp_path: Path, words: list[str]) -> None:
    for name in (
        "show.py",
        "folder/show.py",
        "folder/__main__.py",
        "package/__main__.py",
        "package/module.py",
        "package/inner/__main__.py",
    ):
        write(tmp_path / name, SHOW)
    write(tmp_path / "package" / "__init__.py", "import sys; print(sys.argv)")
    write(tmp_path / "package" / "inner" / "__init__.py", "")
    (tmp_path / "folder" / "link.py").symlink_to("../show.py")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    # The first run writes the bytecode; what python says of it must not depend on who came first.
    assert_same(tmp_path, *words, PYTHONDONTWRITEBYTECODE="1")


def test_compiled_script_runs(tmp_path: Path) -> None:
    import py_compile

    write(tmp_path / "show.py", SHOW)
    py_compile.compile(str(tmp_path / "show.py"), cfile=str(tmp_path / "show.pyc"))
    assert_same(tmp_path, "show.pyc", "1")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P is new in Python 3.11")
def test_safe_path_is_respected(tmp_path: Path) -> None:
    write(tmp_path / "show.py", "import sys; print(sys.path)")
    assert_same(tmp_path, "show.py", PYTHONSAFEPATH="1")


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "sys.exit()",
        "sys.exit(7)",
        "sys.exit('said at the end')",
        "raise SystemExit(None)",
        "os._exit(5)",
        "1 / 0",
        "raise KeyboardInterrupt",
        "signal.raise_signal(signal.SIGINT)",
        "signal.raise_signal(signal.SIGTERM)",
        "os.abort()",
        "asyncio.run(asyncio.sleep(0))",
        "import nonsense",
        "raise Exception from KeyError('cause')",
        "exec(compile('1 +', 'inner', 'exec'))",
        "atexit.register(print, 'at exit')",
        "threading.Timer(0.01, print, ['thread']).start()",
        "sys.excepthook = lambda *_: print('own hook'); 1 / 0",
    ],
)
def test_program_ends_as_under_python(tmp_path: Path, ending: str) -> None:
    write(
        tmp_path / "end.py",
        f"import asyncio, atexit, os, signal, sys, threading\nprint('begun', flush=True)\n{ending}\n",
    )
    assert_same(tmp_path, "end.py")


@pytest.mark.parametrize("ending", ["sys.exit(7)", "sys.exit('said at the end')", "os._exit(5)"])
def test_module_ends_as_under_python(tmp_path: Path, ending: str) -> None:
    write(tmp_path / "end.py", f"import os, sys\n{ending}\n")
    assert_same(tmp_path, "-m", "end")


def test_source_text_ends_as_under_python(tmp_path: Path) -> None:
    assert_same(tmp_path, "-c", "import sys; sys.exit(7)")


@pytest.mark.parametrize("text", ["def f(:\n", "x = 'open\n", "  x = 1\n"])
def test_syntax_error_is_shown_as_python_shows_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    assert_same(tmp_path, "bad.py")


@pytest.mark.parametrize(
    "words",
    [
        ["missing.py"],
        ["folder/missing.py", "argument"],
        ["empty"],
        ["-m", "missing"],
        ["-m", "missing.inner"],
        ["-m", "package"],
        ["-m", "package.missing"],
        ["-m", "json"],
    ],
    ids=" ".join,
)
def test_missing_program_is_refused_as_by_python(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "package" / "__init__.py", "")
    done = assert_same(tmp_path, *words)
    assert done.returncode == (2 if "missing.py" in words[0] else 1)


def test_package_that_fails_to_import_shows_no_frame_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", "1 / 0")
    done = call(RUN, tmp_path, "-m", "package.module")
    assert done.returncode == 1
    assert OURS not in done.stderr
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_traceback_through_the_loop_shows_no_frame_of_ours(tmp_path: Path) -> None:
    write(
        tmp_path / "fail.py",
        """\
        import asyncio

        async def inner():
            await asyncio.sleep(0)
            raise LookupError("lost")

        async def main():
            try:
                await asyncio.create_task(inner())
            except LookupError as error:
                raise ValueError("found nothing") from error

        asyncio.run(main())
        """,
    )
    done = call(RUN, tmp_path, "fail.py")
    assert done.returncode == 1
    assert re.findall(r'File "(.*?)", line (\d+), in (\S+)', done.stderr) == [
        (str(tmp_path / "fail.py"), "9", "main"),
        (str(tmp_path / "fail.py"), "5", "inner"),
        (str(tmp_path / "fail.py"), "13", "<module>"),
        (str(tmp_path / "fail.py"), "11", "main"),
    ]


def test_unchanged_program_runs_on_tonnage(tmp_path: Path) -> None:
    write(
        tmp_path / "app.py",
        """\
        import asyncio

        async def main():
            print(type(asyncio.get_running_loop()).__module__)
            print(type(asyncio.current_task()) is asyncio.Task)
            print(type(asyncio.get_running_loop().create_future()) is asyncio.Future)
            print(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))

        asyncio.run(main())
        """,
    )
    done = call(RUN, tmp_path, "app.py")
    assert (done.stdout.split("\n")[:-1], done.stderr) == (
        ["tonnage.event_loop", "True", "True", "[1, 2]"],
        "",
    )


NEWEST = """\
import asyncio
from asyncio import Barrier, QueueShutDown, Runner, TaskGroup, timeout

async def meet(barrier):
    async with barrier as place:
        return place

async def consume(queue):
    items = []
    try:
        while True:
            items.append(await queue.get())
    except QueueShutDown:
        return items

async def cancelled_once():
    task = asyncio.current_task()
    task.cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return task.cancelling(), task.uncancel()

async def main():
    queue, barrier = asyncio.Queue(), Barrier(2)
    async with TaskGroup() as group:
        meeting = [group.create_task(meet(barrier)) for _ in range(2)]
        consumer = group.create_task(consume(queue))
        for item in "ab":
            await queue.put(item)
        queue.shutdown()
    print(sorted(task.result() for task in meeting), consumer.result())
    try:
        async with timeout(0):
            await asyncio.sleep(60)
    except TimeoutError as error:
        print(type(error).__name__)
    print(await asyncio.create_task(cancelled_once()))
    print([await future async for future in asyncio.as_completed([asyncio.sleep(0, "done")])])

with Runner() as runner:
    runner.run(main())
    runner.run(asyncio.sleep(0))
"""


def test_what_the_newest_asyncio_has_is_there_on_every_version(tmp_path: Path) -> None:
    write(tmp_path / "app.py", NEWEST)
    done = call(RUN, tmp_path, "app.py")
    said = ["[0, 1] ['a', 'b']", "TimeoutError", "(1, 0)", "['done']"]
    assert (done.stdout.split("\n")[:-1], done.stderr) == (said, "")
    if sys.version_info >= (3, 13):
        assert_same(tmp_path, "app.py")


@pytest.mark.parametrize("start", [PYTHON, RUN], ids=["python", "tonnage"])
@pytest.mark.parametrize("words", [["app.py"], ["-m", "app"]], ids=["script", "module"])
def test_ctrl_c_runs_the_finally_blocks_and_kills_by_sigint(
    tmp_path: Path, start: list[str], words: list[str]
) -> None:
    if start is PYTHON and sys.version_info < (3, 11):
        pytest.skip("asyncio.run() cancels the main task since Python 3.11")
    write(
        tmp_path / "app.py",
        """\
        import asyncio

        async def main():
            try:
                print("ready", flush=True)
                # asyncio's own loop sleeps on if the signal comes just before it lies down.
                for _ in range(600):
                    await asyncio.sleep(0.1)
            finally:
                await asyncio.sleep(0)
                print("cleaned", flush=True)

        asyncio.run(main())
        """,
    )
    child = subprocess.Popen(
        [*start, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=30)
    assert output == "cleaned\n"
    assert child.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "in main" in errors
    if start is RUN:
        assert OURS not in errors


def test_pickle_finds_what_the_program_defines(tmp_path: Path) -> None:
    write(
        tmp_path / "app.py",
        """\
        import pickle

        class Thing:
            pass

        print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, Thing.__module__)
        """,
    )
    assert assert_same(tmp_path, "app.py").stdout == "True __main__\n"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("words", [["app.py"], ["-m", "app"]], ids=["script", "module"])
def test_children_of_multiprocessing_find_the_program_and_tonnage(
    tmp_path: Path, method: str, words: list[str]
) -> None:
    write(
        tmp_path / "app.py",
        f"""\
        import asyncio, multiprocessing, sys, warnings

        class Thing:
            pass

        async def loop_module():
            return type(asyncio.get_running_loop()).__module__

        def work(thing, connection):
            connection.send((type(thing) is Thing, asyncio.run(loop_module()), sys.argv[1:]))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            ours, theirs = context.Pipe()
            child = context.Process(target=work, args=(Thing(), theirs))
            child.start()
            print(ours.recv())
            child.join()
            print(child.exitcode, child.name)
        """,
    )
    done = call(RUN, tmp_path, *words, "argument")
    assert (done.stdout, done.stderr) == (
        "(True, 'tonnage.event_loop', ['argument'])\n0 Process-1\n".replace("Process", method_name(method)),
        "",
    )


def method_name(method: str) -> str:
    return {"spawn": "SpawnProcess", "forkserver": "ForkServerProcess", "fork": "ForkProcess"}[method]


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["run", "--help"], ["run", "-h"]])
def test_help_says_how_to_run_a_program(tmp_path: Path, words: list[str]) -> None:
    done = call(TONNAGE, tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tonnage run [OPTIONS] SCRIPT" in done.stdout


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version_names_tonnage_and_python(tmp_path: Path, word: str) -> None:
    done = call(TONNAGE, tmp_path, word)
    python = ".".join(map(str, sys.version_info[:3]))
    assert (done.returncode, done.stdout) == (0, f"tonnage {tonnage.__version__} (Python {python})\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "tonnage: no command 'nonsense'; to run a program: tonnage run SCRIPT\n"),
        (["run"], "tonnage: run what? tonnage run SCRIPT, or -m MODULE, or -c CODE\n"),
        (["run", "-m"], "tonnage: argument expected for the -m option\n"),
        (["run", "-c"], "tonnage: argument expected for the -c option\n"),
        (
            ["run", "--debug", "app.py"],
            "tonnage: unknown option --debug of run; a program's own options come after its name\n",
        ),
        (["run", "--max-tasks"], "tonnage: --max-tasks needs a number\n"),
        (
            ["run", "--max-tasks", "app.py"],
            "tonnage: --max-tasks needs a number or none, got 'app.py'\n",
        ),
        (["run", "--threads=0", "app.py"], "tonnage: threads must be 1 or more, got 0\n"),
        (["run", "--threads", "none", "app.py"], "tonnage: threads must be an int, got None\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_named_and_exit_with_2(tmp_path: Path, words: list[str], message: str) -> None:
    done = call(TONNAGE, tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_no_words_at_all_shows_the_help_and_exits_with_2(tmp_path: Path) -> None:
    done = call(TONNAGE, tmp_path)
    assert done.returncode == 2
    assert "tonnage run [OPTIONS] SCRIPT" in done.stderr


CEILING = """
import asyncio

async def work():
    await asyncio.sleep(3600)

async def main():
    tasks = []
    try:
        for _ in range(100):
            tasks.append(asyncio.create_task(work()))
    except RuntimeError as error:
        print(type(error).__name__, len(tasks))

asyncio.run(main())
"""


@pytest.mark.parametrize("options", [["--max-tasks", "10"], ["--max-tasks=10", "--warn-tasks=none"]])
def test_options_set_the_ceilings_of_a_program_that_knows_nothing_of_them(
    tmp_path: Path, options: list[str]
) -> None:
    done = call(TONNAGE, tmp_path, "run", *options, "-c", CEILING)
    # The task of main() is one of the ten.
    assert (done.returncode, done.stdout, done.stderr) == (0, "Overloaded 9\n", "")


SPAWNED = """
import asyncio, multiprocessing

async def count():
    tasks = []
    try:
        for _ in range(100):
            tasks.append(asyncio.create_task(asyncio.sleep(3600)))
    except RuntimeError:
        return len(tasks)

def child(queue):
    queue.put(asyncio.run(count()))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
"""


@pytest.mark.slow
def test_ceilings_hold_in_spawned_children_too(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SPAWNED)
    done = call(TONNAGE, tmp_path, "run", "--max-tasks", "10", "app.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "9\n", "")
