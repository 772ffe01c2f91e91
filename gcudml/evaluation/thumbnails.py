"""Thumbnails of images, for reports."""

import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gcudml.runtime.files import cache_folder, replacing

VERSION = 1  # increment whenever the same image gives a different file
LONGEST_SIDE = 64
QUALITY = 70


def write_thumbnail(folder: Path, image: UInt8[np.ndarray, "channels height width"]) -> str:
    """Write a WebP thumbnail of an image to a folder and return its name, a digest of the pixels.

    Images larger than ``LONGEST_SIDE`` pixels per side are reduced to that. A file is made once and
    kept in the cache folder; if that is on the same disk, all folders share it as hard links.

    Raises:
        OSError: a folder cannot be written.
    """
    content = hashlib.sha256(f"{VERSION} {image.shape} ".encode())
    content.update(np.ascontiguousarray(image).data)
    name = f"{content.hexdigest()[:16]}.webp"
    wanted = folder / name
    if wanted.exists():
        return name
    kept = cache_folder() / "thumbnails" / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as draft:
            draft.write_bytes(_encode(image))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.link(kept, wanted)
    except FileExistsError:
        pass
    except OSError:  # another disk, or a file system without links
        with replacing(wanted) as draft:
            shutil.copyfile(kept, draft)
    return name


def _encode(image: UInt8[np.ndarray, "channels height width"]) -> bytes:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", quality=QUALITY)
    return stream.getvalue()
