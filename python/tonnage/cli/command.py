"""What the command line means.

Everything after the program's name is the program's own, so the words are read
one by one and not by argparse. A mistake in the words exits with 2, as Python's
own command line does.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from tonnage.cli.program import CannotRunError, File, Module, Source, execute
from tonnage.policy import Policy

if TYPE_CHECKING:
    from tonnage.cli.program import Program

_HELP = """\
usage: tonnage run [OPTIONS] SCRIPT [ARGUMENTS]
       tonnage run [OPTIONS] -m MODULE [ARGUMENTS]
       tonnage run [OPTIONS] -c CODE [ARGUMENTS]

Run an asyncio program, unchanged, on tonnage's event loop.

SCRIPT, MODULE and CODE mean what they mean to python itself; ARGUMENTS are the
program's own.

  -h, --help            show this help
  -V, --version         show the version of tonnage and of Python

Options of run, the ceilings of the program; "none" is no ceiling:
  --max-tasks N         refuse a task beyond N pending ones
  --warn-tasks N        log a warning beyond N pending tasks (default: 10000)
  --threads N           run N blocking calls at once (default: 40)
  --threads-waiting N   refuse a blocking call when N others wait (default: 1000)
"""


_CEILINGS = {
    "--max-tasks": "max_tasks",
    "--warn-tasks": "warn_tasks",
    "--threads": "threads",
    "--threads-waiting": "threads_waiting",
}
"""The options of `run`, and what they are in the policy."""


class UsageError(Exception):
    """The command line makes no sense; the text says why."""

    status = 2


def main(arguments: list[str] | None = None) -> int:
    """Obey the command line, and return the exit status.

    Args:
        arguments: The words after the command's name; by default those it was called with.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return _obey(words)
    except (UsageError, CannotRunError) as error:
        sys.stderr.write(f"tonnage: {error}\n")
        return error.status


def _obey(words: list[str]) -> int:
    if not words:
        sys.stderr.write(_HELP)
        return 2
    command, *rest = words
    if command in {"-h", "--help", "help"}:
        sys.stdout.write(_HELP)
    elif command in {"-V", "--version"}:
        sys.stdout.write(_version())
    elif command == "run":
        if rest[:1] in (["-h"], ["--help"]):
            sys.stdout.write(_HELP)
        else:
            words, policy = _read_policy(rest)
            execute(_program(words), policy)
    else:
        raise UsageError(f"no command {command!r}; to run a program: tonnage run SCRIPT")
    return 0


def _read_policy(words: list[str]) -> tuple[list[str], Policy]:
    """Read the options before the program, and return the other words with the policy."""
    values: dict[str, int | None] = {}
    while words and words[0].partition("=")[0] in _CEILINGS:
        option, separator, value = words[0].partition("=")
        if not separator:
            if len(words) < 2:
                raise UsageError(f"{option} needs a number")
            value = words[1]
        words = words[1 if separator else 2 :]
        values[_CEILINGS[option]] = _count(option, value)
    try:
        return words, replace(Policy(), **values)  # type: ignore[arg-type]  # A None is refused there.
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def _count(option: str, value: str) -> int | None:
    if value == "none":
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"{option} needs a number or none, got {value!r}") from None


def _program(words: list[str]) -> Program:
    if not words:
        raise UsageError("run what? tonnage run SCRIPT, or -m MODULE, or -c CODE")
    first, *rest = words
    option = first[:2]
    if option in {"-m", "-c"}:
        # Python takes both `-m module` and `-mmodule`.
        values = [first[2:], *rest] if len(first) > 2 else rest
        if not values:
            raise UsageError(f"argument expected for the {option} option")
        return (Module if option == "-m" else Source)(values[0], values[1:])
    if first.startswith("-"):
        raise UsageError(f"unknown option {first} of run; a program's own options come after its name")
    return File(first, rest)


def _version() -> str:
    import tonnage

    python = ".".join(map(str, sys.version_info[:3]))
    return f"tonnage {tonnage.__version__} (Python {python})\n"
