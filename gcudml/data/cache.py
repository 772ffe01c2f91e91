"""Decoded images in memory-mapped files that all runs on a machine share.

An entry is a folder named by the digest of what it was made from. It is written beside its place and
renamed into it, so that a reader never sees half of one.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

try:
    import fcntl
except ImportError:  # no such locks on Windows: two processes may then do the same work twice
    fcntl = None  # type: ignore[assignment]


class Decoded(NamedTuple):
    """Images and their classes. Shape letter: ``n`` images."""

    images: UInt8[np.ndarray, "n channels height width"]
    labels: Int64[np.ndarray, " n"]


def cache_folder() -> Path:
    """``$GCUDML_CACHE``, else ``$XDG_CACHE_HOME/gcudml``, else ``~/.cache/gcudml``."""
    if chosen := os.environ.get("GCUDML_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcudml"


def digest(value: object) -> str:
    """Twenty hex digits of the canonical JSON of ``value``."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def cached(key: object, build: Callable[[], Decoded]) -> Decoded:
    """The entry of ``key``, memory-mapped; built first where it is missing or damaged.

    Of several processes that ask at once, one builds and the others wait.
    """
    place = cache_folder() / "images" / digest(key)
    if (found := _open(place)) is not None:
        return found
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.with_suffix(".lock")):
        if (found := _open(place)) is not None:
            return found
        draft = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
        try:
            decoded = build()
            np.save(draft / "images.npy", decoded.images)
            np.save(draft / "labels.npy", decoded.labels)
            shutil.rmtree(place, ignore_errors=True)  # a damaged entry
            draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    found = _open(place)
    if found is None:
        raise OSError(f"{place}: the cache entry just written cannot be read; is the disk full?")
    return found


def _open(place: Path) -> Decoded | None:
    try:
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(place / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        return None
    return Decoded(images, labels)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
