"""Child processes of multiprocessing that begin anew run on tonnage too.

A forked child has all that its parent had. A spawned one starts with nothing
but what the parent pickles for it, first of all the preparation data: there we
add a name that, when it is unpickled, installs tonnage. That comes before the
child imports the program. (The fork server itself imports the program without
tonnage; its children get it before they work.)
"""

from __future__ import annotations

from typing import Any

from tonnage.install import install
from tonnage.policy import Policy, of_program, set_for_program


class _Name(str):
    """A child's name that brings tonnage along."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _install_in_child, (str(self), of_program())


def follow_children() -> None:
    """Have every child that multiprocessing starts from here on run on tonnage."""
    from multiprocessing import spawn

    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        data["name"] = _Name(data["name"])
        return data

    spawn.get_preparation_data = get_preparation_data


def _install_in_child(name: str, policy: Policy) -> str:
    set_for_program(policy)
    install(patch_asyncio=True)
    follow_children()
    return name
