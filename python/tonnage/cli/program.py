"""Run a program as `__main__`, as if Python itself had been asked to.

`python app.py` and `tonnage run app.py` agree on everything that a program can
see of itself: `sys.argv`, `sys.path`, the module `__main__` and its attributes,
so that pickle and multiprocessing find what it defines; exit status, traceback
and death by Ctrl-C. tests/test_cli.py compares the two.
"""

from __future__ import annotations

import builtins
import os
import pkgutil
import runpy
import sys
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from tonnage.cli.children import follow_children
from tonnage.cli.traceback import hide_own_frames
from tonnage.install import install
from tonnage.policy import Policy, set_for_program

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


class CannotRunError(Exception):
    """The program cannot be found or read; the text says why."""

    status = 1


class CannotReadError(CannotRunError):
    """The script cannot be opened."""

    status = 2


@dataclass(frozen=True)
class File:
    """A script, or a directory or an archive that has a `__main__` module."""

    path: str
    arguments: list[str]


@dataclass(frozen=True)
class Module:
    """A module, or a package that has a `__main__` module, by its dotted name."""

    name: str
    arguments: list[str]


@dataclass(frozen=True)
class Source:
    """The text of a program."""

    text: str
    arguments: list[str]


Program = File | Module | Source


def execute(program: Program, policy: Policy) -> None:
    """Install tonnage, and run `program` as `__main__`, to its end; its loops keep to `policy`.

    What the program raises goes on to the interpreter, which ends the process
    as it would without us.

    Raises:
        CannotRunError: There is no such program.
    """
    set_for_program(policy)
    install(patch_asyncio=True)
    follow_children()
    try:
        code, module = _load(program)
        sys.modules["__main__"] = module
        exec(code, module.__dict__)  # noqa: S102
    except CannotRunError:
        raise
    except BaseException:
        hide_own_frames()
        raise


def _load(program: Program) -> tuple[CodeType, ModuleType]:
    if isinstance(program, Module):
        return _load_module(program)
    if isinstance(program, Source):
        return _load_source(program)
    # A path that an importer takes is a directory or an archive.
    if pkgutil.get_importer(program.path) is None:
        return _load_script(program)
    return _load_directory(program)


def _load_script(program: File) -> tuple[CodeType, ModuleType]:
    path = _absolute(program.path)
    try:
        with open(path, "rb") as file:
            compiled = pkgutil.read_code(file)
            file.seek(0)
            source = file.read() if compiled is None else b""
    except OSError as error:
        raise CannotReadError(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}") from None
    sys.argv = [program.path, *program.arguments]
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    code = compiled or compile(source, path, "exec", dont_inherit=True)
    loader = SourceFileLoader if compiled is None else SourcelessFileLoader
    return code, _main_module(__file__=path, __loader__=loader("__main__", path))


def _load_directory(program: File) -> tuple[CodeType, ModuleType]:
    sys.argv = [program.path, *program.arguments]
    path = _absolute(program.path)
    # The module is found there, and nowhere else, even if Python was told not to touch sys.path.
    sys.path.insert(0, path)
    if _has_first_path():
        del sys.path[1]
    _, spec, code = runpy._get_main_module_details(CannotRunError)  # type: ignore[attr-defined]
    return code, _main_module_of(spec)


def _load_module(program: Module) -> tuple[CodeType, ModuleType]:
    # What Python shows to a package that is imported on the way to the module.
    sys.argv = ["-m", *program.arguments]
    _set_first_path(os.getcwd())
    _, spec, code = runpy._get_module_details(program.name, CannotRunError)  # type: ignore[attr-defined]
    sys.argv[0] = spec.origin
    return code, _main_module_of(spec)


def _load_source(program: Source) -> tuple[CodeType, ModuleType]:
    sys.argv = ["-c", *program.arguments]
    _set_first_path("")
    code = compile(program.text, "<string>", "exec", dont_inherit=True)
    return code, _main_module(__loader__=BuiltinImporter)


def _absolute(path: str) -> str:
    # Not normalised, as Python leaves it.
    return os.path.join(os.getcwd(), path)


def _has_first_path() -> bool:
    """Return True if Python put the program's own directory in front of sys.path."""
    return not getattr(sys.flags, "safe_path", sys.flags.isolated)


def _set_first_path(path: str) -> None:
    if _has_first_path():
        sys.path[0] = path


def _main_module_of(spec: ModuleSpec) -> ModuleType:
    return _main_module(
        __file__=spec.origin,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
        __cached__=spec.cached,
    )


def _main_module(**attributes: Any) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        vars(module)["__annotations__"] = {}
    if sys.version_info < (3, 15) and "__file__" in attributes:
        attributes.setdefault("__cached__", None)
    else:
        attributes.pop("__cached__", None)
    module.__dict__.update(attributes)
    return module
