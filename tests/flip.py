"""Damage that nobody notices by looking: other bytes, the same size and time of change."""

from __future__ import annotations

import os
from pathlib import Path


def flip_byte(path: Path, position: int, mask: int) -> None:
    """Flip the bits of ``mask`` in one byte of a file, and put its time of change back.

    Args:
        path: The file.
        position: Of the byte, from the start; negative: from the end.
        mask: 1 to 255.
    """
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(position, os.SEEK_SET if position >= 0 else os.SEEK_END)
        (byte,) = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ mask]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
