"""Checksums of files and tensors; files that end with a checksum of their content.

CRC-32 detects damage, not tampering. It is several times as fast as any SHA: files may have 20 GB,
and verifying them must keep up with the disk.
"""

import hashlib
import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

CHUNK = 1 << 22
_END = "crc32 {:08x}"
END_BYTES = len(_END.format(0))


class SummedWriter:
    """Writes to a file and sums what it writes; ``finish`` appends the checksum."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sum = 0

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Write bytes."""
        self._sum = zlib.crc32(content, self._sum)
        return self._stream.write(content)

    def flush(self) -> None:
        """Flush buffered data to the operating system."""
        self._stream.flush()

    def finish(self) -> None:
        """Append the checksum and flush."""
        self._stream.write(_END.format(self._sum).encode())
        self._stream.flush()


def is_sound(stream: BinaryIO) -> bool:
    """Whether a file, opened for reading, ends with a valid checksum of its content."""
    left = os.fstat(stream.fileno()).st_size - END_BYTES
    stream.seek(0)
    summed = 0
    while left > 0 and (chunk := stream.read(min(CHUNK, left))):
        summed = zlib.crc32(chunk, summed)
        left -= len(chunk)
    return stream.read() == _END.format(summed).encode()


def say_useless(path: Path, reason: str) -> None:
    """Report on stderr that a file of an earlier attempt is unusable and training starts over."""
    print(f"{path}: not readable ({reason}); training from the start", file=sys.stderr)


def digest_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 digest of a text and of named tensors, in any memory layout."""
    found = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
