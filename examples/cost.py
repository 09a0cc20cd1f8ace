"""What one way of fetching everything has cost: the record that a run prints and the table shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """One run of one way on one loop; `fetch_all.py --way` prints it as JSON."""

    loop: str
    way: str
    files: int
    fetched: int
    bytes: int
    errors: dict[str, int]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    worst_lag_s: float

    @property
    def lost(self) -> int:
        """Files that did not arrive as they are on disk."""
        return self.files - self.fetched
