"""A progress bar for a terminal, drawn by the event loop itself, and a meter of the loop's lag.

Both are one task that asks to be woken every 10 ms. How late the loop wakes it is the lag, and while
the loop is blocked the bar stands still: what you see is what every other task of the program sees.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

WAKE_EVERY_S = 0.01
DRAW_EVERY_S = 0.05
ERASE_LINE = "\r\x1b[K"


@dataclass
class Progress:
    """How far a run is; the run changes `done` and `errors`, `watch` shows them."""

    label: str
    total: int
    done: int = 0
    errors: int = 0
    worst_lag_s: float = 0.0
    screen: TextIO = field(default=sys.stderr)

    async def watch(self) -> None:
        """Measure lag, and draw if the screen is a terminal, until cancelled."""
        is_terminal = self.screen.isatty()
        draw_at = 0.0
        try:
            while True:
                due = time.monotonic() + WAKE_EVERY_S
                await asyncio.sleep(WAKE_EVERY_S)
                woken = time.monotonic()
                self.worst_lag_s = max(self.worst_lag_s, woken - due)
                if is_terminal and woken >= draw_at:
                    draw_at = woken + DRAW_EVERY_S
                    self.screen.write(ERASE_LINE + self.line())
                    self.screen.flush()
        finally:
            if is_terminal:
                self.screen.write(ERASE_LINE)
                self.screen.flush()

    def line(self) -> str:
        """Return the bar with its numbers, in one line that fits the terminal."""
        lag_ms = self.worst_lag_s * 1e3
        total = f"{self.total:,}"
        digits = len(total)
        numbers = f"{self.done:{digits},} of {total}  errors {self.errors:{digits},}  lag {lag_ms:5,.0f} ms"
        width = min(30, shutil.get_terminal_size().columns - len(self.label) - len(numbers) - 6)
        if width < 5:
            return f"{self.label} {numbers}"[: shutil.get_terminal_size().columns - 1]
        filled = width * self.done // max(1, self.total)
        full, empty = self._blocks()
        return f"  {self.label}  {full * filled}{empty * (width - filled)}  {numbers}"

    def _blocks(self) -> tuple[str, str]:
        try:
            "█░".encode(self.screen.encoding or "ascii")
        except UnicodeEncodeError:
            return "#", "."
        return "█", "░"
