"""What the command line means.

Everything after the program's name is the program's own, so the words are read
one by one and not by argparse. A mistake in the words exits with 2, as Python's
own command line does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tonnage.cli.program import CannotRunError, File, Module, Source, execute

if TYPE_CHECKING:
    from tonnage.cli.program import Program

_HELP = """\
usage: tonnage run SCRIPT [ARGUMENTS]
       tonnage run -m MODULE [ARGUMENTS]
       tonnage run -c CODE [ARGUMENTS]

Run an asyncio program, unchanged, on tonnage's event loop.

SCRIPT, MODULE and CODE mean what they mean to python itself; ARGUMENTS are the
program's own.

  -h, --help       show this help
  -V, --version    show the version of tonnage and of Python
"""


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
            execute(_program(rest))
    else:
        raise UsageError(f"no command {command!r}; to run a program: tonnage run SCRIPT")
    return 0


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
