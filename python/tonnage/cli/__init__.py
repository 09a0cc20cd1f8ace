"""The command `tonnage`, also `python -m tonnage`."""

from __future__ import annotations

from tonnage.cli.command import main

__all__ = ["main"]
