"""What checksums and a look at the files cost: processor time, the least of several rounds.

    python tests/benchmarks/checksums.py [--images 400] [--files 20000] [--write]

Of making a cache file from JPEG photographs (of 500 x 375 pixels, to squares of 64 and 224) and
from drawings: the share that summing takes. How fast a file that is in memory is verified. Of a
run's checkpoint: summing beside writing it. Of a model: its digest. And the look at a folder that
every fingerprint of data begins with.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from kept import keep
from PIL import Image

from gcudml.config import FolderData, StrokesData
from gcudml.data import image_files, synthetic
from gcudml.data.datasets import glance
from gcudml.data.image_files import Appearance
from gcudml.runtime.checksum import SummedWriter, digest_of, is_sound

ROUNDS = 5


def least(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def share(make: Callable[[], np.ndarray]) -> float:
    """What summing some pixels takes of making them."""
    pixels = np.ascontiguousarray(make())
    return least(lambda: zlib.crc32(pixels.data)) / least(make)


def photographs(folder: Path, count: int) -> list[str]:
    """Make many JPEG files of 500 x 375 pixels in ten folders, from ten different images."""
    randomness = np.random.default_rng(0)
    contents = []
    for _ in range(10):
        small = randomness.integers(0, 255, (75, 100, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).resize((500, 375)).save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    paths = [f"{number % 10}/{number}.jpg" for number in range(count)]
    for place in range(10):
        (folder / str(place)).mkdir()
    for number, path in enumerate(paths):
        (folder / path).write_bytes(contents[number % 10])
    return paths


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), arguments.images, arguments.files)
    for what, figure in found.items():
        print(f"{what:46} {figure:10.4g}")
    if arguments.write:
        keep("checksums", files=arguments.files, figures=found)


def measure(folder: Path, images: int, files: int) -> dict[str, float]:
    """What is measured, with its unit -> the figure."""
    found: dict[str, float] = {}
    paths = photographs(folder, files)
    for size in (64, 224):
        appearance = Appearance(size, "rgb", invert=False, fit="squeeze")
        found[f"cache file, photographs at {size}, sum [%]"] = 100 * share(
            lambda a=appearance: np.concatenate(
                list(image_files.decode(folder, paths[:images], appearance=a))
            )
        )
    config = StrokesData()
    found["cache file, drawings at 28, sum [%]"] = 100 * share(
        lambda: np.concatenate(list(synthetic.draw(config, range(100), [20] * 100)))
    )
    large = folder / "large"
    with large.open("wb") as stream:
        writer = SummedWriter(stream)
        for _ in range(64):
            writer.write(np.random.default_rng(0).bytes(1 << 22))
        writer.finish()
    with large.open("rb") as stream:
        seconds = least(lambda: is_sound(stream))
    found["verifying 256 MiB in memory [GB/s]"] = large.stat().st_size / seconds / 1e9

    tensors = {"weights": torch.randn(25_000_000)}
    values = tensors["weights"].numpy()
    found["checkpoint of 100 MB, to write [ms]"] = 1000 * least(lambda: torch.save(tensors, large))
    found["checkpoint of 100 MB, to sum [ms]"] = 1000 * least(
        lambda: zlib.crc32(values.data.cast("B"))
    )
    found["model of 100 MB, digest [ms]"] = 1000 * least(lambda: digest_of("", tensors))
    large.unlink()
    data = FolderData(root=str(folder), image_size=64)
    found["a look at the files [ms]"] = 1000 * least(lambda: glance(data))
    return found


if __name__ == "__main__":
    main()
