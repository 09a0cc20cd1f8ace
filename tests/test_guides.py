"""The programs of the guides run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parent.parent / "examples" / "guides"
SAYS = {
    "fan_out": (
        "a list: 1000 results",
        "a stream: the sum is 332833500",
        "a group: done",
        "gather: 100 results",
    ),
    "database_pool": ("'quiet': 5", "served: 55 refused: 145", "waiting: 0"),
    "api_quotas": ("40 calls,",),
    "slow_upstream": ("'answer':",),
    "asgi_service": ("200: True 503: True others: 0",),
    "http_clients": ("httpx: 100 answers", "aiohttp: 100 answers"),
    "block_safely": ("to_thread: 1", "workers: 780", "0 left behind"),
}


def test_each_guide_has_a_program_and_a_page() -> None:
    pages = GUIDES.parent.parent / "docs" / "guides"
    assert {path.stem for path in GUIDES.glob("*.py")} == set(SAYS)
    assert {path.stem for path in pages.glob("*.md")} == set(SAYS) | {"index"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_program_of_a_guide_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(GUIDES / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    for words in SAYS[name]:
        assert words in done.stdout
