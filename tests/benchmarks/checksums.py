"""What checksums and a look at the files cost: processor time, the least of several rounds.

    python tests/benchmarks/checksums.py [--images 400] [--files 20000]

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
from PIL import Image

from gcudml.config import FolderData, StrokesData
from gcudml.data import image_files, strokes
from gcudml.data.checksum import SummedWriter, is_sound
from gcudml.data.datasets import glance
from gcudml.data.image_files import Appearance
from gcudml.model_file import _digest

ROUNDS = 5


def least(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def compare(name: str, make: Callable[[], np.ndarray]) -> None:
    """Print what summing takes of making some pixels."""
    pixels = np.ascontiguousarray(make())
    making, summing = least(make), least(lambda: zlib.crc32(pixels.data))
    print(
        f"cache file, {name}: {1e9 * making / pixels.nbytes:.2f} ms/MB to make, "
        f"{1e9 * summing / pixels.nbytes:.2f} ms/MB to sum, {100 * summing / making:.2f} %"
    )


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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photographs(folder, arguments.files)
        some = paths[: arguments.images]
        for size in (64, 224):
            appearance = Appearance(size, "rgb", invert=False, fit="squeeze")
            compare(
                f"photographs at {size}",
                lambda a=appearance: np.concatenate(
                    list(image_files.decode(folder, some, appearance=a))
                ),
            )
        config = StrokesData()
        compare(
            "drawings at 28",
            lambda: np.concatenate(list(strokes.draw(config, range(100), [20] * 100))),
        )
        large = folder / "large"
        with large.open("wb") as stream:
            writer = SummedWriter(stream)
            for _ in range(64):
                writer.write(np.random.default_rng(0).bytes(1 << 22))
            writer.finish()
        with large.open("rb") as stream:
            seconds = least(lambda: is_sound(stream))
        print(f"verifying 256 MiB in memory: {large.stat().st_size / seconds / 1e9:.2f} GB/s")
        large.unlink()

        tensors = {"weights": torch.randn(25_000_000)}
        writing = least(lambda: torch.save(tensors, large))
        values = tensors["weights"].numpy()
        summing = least(lambda: zlib.crc32(values.data.cast("B")))
        print(
            f"checkpoint of 100 MB: {1000 * writing:.0f} ms to write, "
            f"{1000 * summing:.0f} ms to sum; digest of a model of 100 MB "
            f"{1000 * least(lambda: _digest('', tensors)):.0f} ms"
        )
        large.unlink()
        data = FolderData(root=name, image_size=64)
        print(f"look at {len(paths)} files: {1000 * least(lambda: glance(data)):.0f} ms")


if __name__ == "__main__":
    main()
