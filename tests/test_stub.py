"""The stub has the docstrings: each first line is the extension's own, and each example runs."""

from __future__ import annotations

import ast
import asyncio
import textwrap
from pathlib import Path
from typing import Any

import pytest
import tonnage
from tonnage import _tonnage

STUB = Path(tonnage.__file__).with_name("_tonnage.pyi")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def documented() -> list[tuple[str, str]]:
    """The dotted name and the first line of each docstring in the stub."""
    return [(name, text.partition("\n")[0]) for name, text in docstrings()]


def examples() -> list[tuple[str, str]]:
    """The dotted name and the example of each docstring in the stub that has one."""
    parts = [(name, text.partition("\nExample:\n")[2]) for name, text in docstrings()]
    return [(name, textwrap.dedent(example)) for name, example in parts if example]


def docstrings() -> list[tuple[str, str]]:
    found = []
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            found.append((node.name, ast.get_docstring(node)))
        if isinstance(node, ast.ClassDef):
            found += [
                (f"{node.name}.{method.name}", ast.get_docstring(method))
                for method in node.body
                if isinstance(method, FUNCTIONS)
            ]
    return [(name, text) for name, text in found if text]


def lookup(name: str) -> Any:
    found: Any = _tonnage
    for part in name.split("."):
        found = vars(found)[part]
    return found


@pytest.mark.parametrize(("name", "line"), documented(), ids=lambda value: value.split(" ")[0])
def test_first_line_of_a_docstring_is_the_extension_s(name: str, line: str) -> None:
    assert (lookup(name).__doc__ or "").partition("\n")[0] == line


@pytest.mark.parametrize("name", [name for name in _tonnage.__all__ if callable(lookup(name))])
def test_every_public_name_of_the_extension_is_documented(name: str) -> None:
    assert name in dict(documented())
    undocumented = [
        f"{name}.{attribute}"
        for attribute, value in getattr(lookup(name), "__dict__", {}).items()
        if not attribute.startswith("_")
        and callable(value)
        and f"{name}.{attribute}" not in dict(documented())
    ]
    assert not undocumented


@pytest.mark.parametrize(("name", "example"), examples(), ids=[name for name, _ in examples()])
def test_example_in_a_docstring_runs(name: str, example: str) -> None:
    names = {"asyncio": asyncio, "tonnage": tonnage}
    program = "async def main():\n" + textwrap.indent(example, "    ")
    exec(compile(program, name, "exec"), names)
    tonnage.run(names["main"]())  # type: ignore[operator]
