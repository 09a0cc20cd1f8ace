"""Plot what a line does under overload, from the core's simulation, into docs/shedding.svg.

    python benchmarks/overload/shedding.py      # needs cargo, and an interpreter that has tonnage

`cargo run --release -p tonnage-core --example overload` prints the tables and writes the data.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from page import FONT, LEFT, PANEL, TOP, WIDTH

ROOT = Path(__file__).resolve().parent.parent.parent
PLOT = ROOT / "docs" / "shedding.svg"
SERVICE = "exponential 50 ms"
LOADS = ["1.5", "3", "10"]
LINES = {
    "unbounded": ("unbounded", "#c0392b"),
    "left": ("callers who give up leave it", "#b9770e"),
    "CoDel": ("target_delay=0.05", "#1e8449"),
}
MOST = 450.0
GAP = 40

Points = Mapping[tuple[str, str], Sequence[float]]


def simulate() -> Points:
    """Return how many callers were served in time in each second, by load and line."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        command = ["cargo", "run", "--quiet", "--release", "-p", "tonnage-core", "--example", "overload"]
        subprocess.run([*command, "--", folder], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        with (Path(folder) / "shedding.csv").open() as file:
            for row in csv.DictReader(file):
                if row["service"] == SERVICE:
                    found[row["load"], row["line"]].append(float(row["good"]))
    return found


def plot(points: Points) -> str:
    """Return a panel for each load: callers served in time, second by second, for each kind of line."""
    height = TOP + len(LOADS) * (PANEL + GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, (name, colour) in enumerate(LINES.values()):
        x = LEFT + place * 200
        parts.append(f'<text x="{x}" y="16" fill="{colour}" font-weight="bold">{name}</text>')
    for index, load in enumerate(LOADS):
        top = TOP + index * (PANEL + GAP) + 20
        parts.append(
            f'<text x="{LEFT}" y="{top - 6}">served in time, per second, at {load} times the capacity</text>'
        )
        for share in (0.0, 0.5, 1.0):
            y = top + PANEL * (1 - share)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y}" y2="{y}" stroke="#ddd"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{share * MOST:g}</text>')
        for line, (_, colour) in LINES.items():
            parts.append(curve(points[load, line], top, colour))
    return "\n".join([*parts, "</svg>", ""])


def curve(values: Sequence[float], top: float, colour: str) -> str:
    """Return one line, the mean of each two seconds."""
    means = [sum(values[at : at + 2]) / 2 for at in range(0, len(values) - 1, 2)]
    width = WIDTH - LEFT - 20
    points = " ".join(
        f"{LEFT + (at + 0.5) / len(means) * width:.1f},{top + PANEL * (1 - min(value / MOST, 1)):.1f}"
        for at, value in enumerate(means)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


if __name__ == "__main__":
    PLOT.write_text(plot(simulate()))
