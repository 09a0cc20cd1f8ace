"""The page of one run: its table, and its plot as SVG. The text of the page stays; the table is replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client import PHASES

BEGIN, END = "<!-- overload results: begin -->", "<!-- overload results: end -->"
Seconds = Sequence[Mapping[str, Any]]
NAMES = ["before", "overload", "after"]
COLOURS = {"no limit": "#c0392b", "Gradient": "#2471a3", "AIMD": "#1e8449"}
FONT = 'font-family="sans-serif" font-size="12"'
DASHED = 'stroke="#bbb" stroke-dasharray="4 3"'
# The size of the plot, and of its panels.
WIDTH, PANEL, LEFT, TOP, GAP = 720, 150, 60, 30, 50


def write(page: Path, results: Mapping[str, Seconds], machine: str) -> str:
    """Write the plot beside the page, put the table into the page, and return the table."""
    page.with_suffix(".svg").write_text(plot(results))
    text = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    section = f"{machine}.\n\n{table(results)}"
    page.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}")
    return section


def table(results: Mapping[str, Seconds]) -> str:
    """Return what became of the requests of each phase, as Markdown."""
    rows = [
        "| limit by | phase | sent | in time | too late | refused | no answer | p50 ms | p99 ms | limit |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for way, seconds in results.items():
        begin = 0
        for (length, rate), name in zip(PHASES, NAMES, strict=True):
            phase = seconds[begin : begin + length]
            begin += length
            rows.append(f"| {way} | {name}: {rate}/s | {' | '.join(_cells(phase))} |")
    return "\n".join(rows)


def _cells(phase: Seconds) -> list[str]:
    sent, good, late, refused = (sum(it[key] for it in phase) for key in ("sent", "good", "late", "refused"))
    latencies = sorted(latency for it in phase for latency in it["latencies"])
    p50, p99 = (_rank(latencies, share) for share in (0.5, 0.99))
    limits = [it["limit"] for it in phase if it["limit"]]
    limit = f"{sum(limits) / len(limits):.0f}" if limits else ""
    return [f"{sent}", f"{good}", f"{late}", f"{refused}", f"{sent - good - late - refused}", p50, p99, limit]


def _rank(latencies: list[float], share: float) -> str:
    return f"{latencies[int(share * (len(latencies) - 1))] * 1000:.0f}" if latencies else ""


def _slowest(second: Mapping[str, Any]) -> float:
    rank = _rank(sorted(second["latencies"]), 0.99)
    return float(rank) / 1000 if rank else math.inf


def plot(results: Mapping[str, Seconds]) -> str:
    """Return three panels over time: answers in time, the slowest answers, and the limit."""
    panels: list[tuple[str, float, Callable[[Mapping[str, Any]], float]]] = [
        ("answers in time, per second", 500, lambda it: it["good"]),
        ("p99 of the answers, s (cut at 2, as where none came)", 2, _slowest),
        ("limit", 80, lambda it: it["limit"]),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, (way, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{LEFT + place * 110}" y="16" fill="{colour}" font-weight="bold">{way}</text>')
    for index, (title, most, value) in enumerate(panels):
        parts += _panel(TOP + index * (PANEL + GAP) + 20, title, most)
        for way, seconds in results.items():
            if title == "limit" and way == "no limit":
                continue
            parts.append(
                _line([value(it) for it in seconds], TOP + index * (PANEL + GAP) + 20, most, COLOURS[way])
            )
    return "\n".join([*parts, "</svg>", ""])


def _x(second: float) -> float:
    total = sum(seconds for seconds, _ in PHASES)
    return LEFT + second / total * (WIDTH - LEFT - 20)


def _panel(top: float, title: str, most: float) -> list[str]:
    parts = [f'<text x="{LEFT}" y="{top - 6}">{title}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + PANEL * (1 - share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{share * most:g}</text>')
    begin = 0
    for length, rate in PHASES:
        x = _x(begin)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + PANEL}" {DASHED}/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{top + PANEL + 14}" fill="#666">{begin} s: {rate}/s</text>')
        begin += length
    return parts


def _line(values: list[float], top: float, most: float, colour: str) -> str:
    points = " ".join(
        f"{_x(second + 0.5):.1f},{top + PANEL * (1 - min(value / most, 1)):.1f}"
        for second, value in enumerate(values)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
