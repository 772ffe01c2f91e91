"""Images in a folder of class folders, read with Pillow."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from gcudml.config import FolderData
from gcudml.data.cache import Decoded, cache_folder, digest

VERSION = 1  # raise it when the same files give other pixels
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MOST_BROKEN_NAMED = 5


def find_classes(config: FolderData) -> dict[str, list[str]]:
    """Class name -> its image files, both relative to the root and sorted.

    A class is a folder that directly holds images; hidden files and folders do not count.

    Raises:
        ValueError: the folder is missing or holds no class folders.
    """
    root = config.path
    if not root.is_dir():
        hint = f"; {config.source}" if config.source else "; give a folder of class folders"
        raise ValueError(f"data.root: no folder {str(root)!r}{hint}")
    classes: dict[str, list[str]] = {}
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        images = sorted(
            name
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )
        relative = Path(folder).relative_to(root).as_posix()
        if images and relative != ".":
            classes[relative] = [f"{relative}/{name}" for name in images]
    if not classes:
        raise ValueError(
            f"data.root: {str(root)!r} holds no class folders with images "
            f"({', '.join(sorted(SUFFIXES))}); one folder a class is expected"
        )
    return dict(sorted(classes.items()))


def content_digest(config: FolderData, files: Sequence[str]) -> str:
    """Digest of names and contents of ``files``.

    A file whose size and time did not change is not read again: the digests of its last reading
    are kept in the cache folder.
    """
    root = config.path
    index_path = cache_folder() / "folders" / f"{digest(str(root.resolve()))}.json"
    try:
        known = json.loads(index_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    entries: dict[str, list[object]] = {}
    for name in files:
        status = (root / name).stat()
        old = known.get(name)
        if old and old[:2] == [status.st_size, status.st_mtime_ns]:
            entries[name] = old
        else:
            content = hashlib.sha256((root / name).read_bytes()).hexdigest()[:20]
            entries[name] = [status.st_size, status.st_mtime_ns, content]
    if any(known.get(name) != entry for name, entry in entries.items()):
        index_path.parent.mkdir(parents=True, exist_ok=True)
        draft = index_path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps(known | entries), encoding="utf-8")
        draft.replace(index_path)
    return digest([[name, entry[2]] for name, entry in entries.items()])


def decode(config: FolderData, classes: Sequence[Sequence[str]]) -> Decoded:
    """Read the files of each class; labels count from 0 in the given order.

    Raises:
        ValueError: files that cannot be read, the first few named.
    """
    files = [name for members in classes for name in members]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = list(pool.map(partial(_read, config), files))
    broken = [text for text in read if isinstance(text, str)]
    if broken:
        more = f" and {len(broken) - MOST_BROKEN_NAMED} more" if len(broken) > 5 else ""
        raise ValueError(
            f"data.root: cannot read {'; '.join(broken[:MOST_BROKEN_NAMED])}{more}; "
            "repair or remove what is named"
        )
    images = np.stack([image for image in read if not isinstance(image, str)])
    sizes = [len(members) for members in classes]
    return Decoded(images, np.repeat(np.arange(len(classes), dtype=np.int64), sizes))


def _read(config: FolderData, name: str) -> UInt8[np.ndarray, "channels size size"] | str:
    """One image, or what is wrong with its file."""
    path = config.path / name
    try:
        with Image.open(path) as image:
            # Lets JPEG decode at a reduced size, at least twice what is needed.
            image.draft(None, (2 * config.image_size, 2 * config.image_size))
            upright = ImageOps.exif_transpose(image)
            flat = _flatten(upright, config.color)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        reason = str(error).replace(str(path), "file")
        return f"{str(path)!r} ({reason})"
    except Image.DecompressionBombError as error:
        return f"{str(path)!r} ({error})"
    resized = flat.resize((config.image_size, config.image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized, dtype=np.uint8)
    if config.invert:
        pixels = 255 - pixels
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _flatten(image: Image.Image, color: str) -> Image.Image:
    """The image as grey or RGB, transparent parts white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # 16 bits and more
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((255 * (values / top).clip(0, 1)).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if color == "grey" else "RGB")
