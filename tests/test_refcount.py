"""Counts of references, as other extensions leave them."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNTED_BY_OLD_EXTENSION = """
import asyncio, ctypes, tonnage

# What lives for ever has 32 ones there; extensions built for Python 3.11 count on, into the other half.
count = ctypes.c_uint64.from_address(id(memoryview))
count.value = 0x1_0000_0002
loop = tonnage.new_event_loop()
for _ in range(10):
    future = loop.create_future()
    future.set_result(memoryview)
    assert future.result() is memoryview
    del future
assert count.value >= 0x1_0000_0000, hex(count.value)
loop.close()
"""


@pytest.mark.skipif(not (3, 12) <= sys.version_info < (3, 14), reason="other versions count otherwise")
def test_object_that_an_old_extension_has_counted_lives() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED_BY_OLD_EXTENSION], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
