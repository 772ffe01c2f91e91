"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEGABYTES = 200
PROGRAM = f"""
import resource, sys
from pathlib import Path
from gcudml.runtime.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resident()
held = bytearray({MEGABYTES} << 20)
held[::4096] = b"x" * len(held[::4096])
del held
print((resident() - before) >> 20)
"""


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_pages_of_a_freed_block_are_there_for_the_next_one() -> None:
    kept, returned = (
        int(subprocess.check_output([sys.executable, "-c", PROGRAM, mode], text=True))
        for mode in ("keep", "return")
    )
    assert kept >= MEGABYTES - 1
    assert returned < MEGABYTES / 2
