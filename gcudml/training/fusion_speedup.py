"""Measure how many runs this machine should train together; cached per network and batch size.

On a CPU the answer is 1: PyTorch computes stacked networks there two to three times slower than one
after another (``tests/benchmarks/together.py``). On a GPU, which small networks leave mostly idle,
several numbers of runs are timed. This happens in a subprocess, so that the caller does not occupy
GPU memory: ``python -m gcudml.training.fusion_speedup`` reads parameters and channels from standard
input and prints the number.
"""

import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import torch

from gcudml.config import RunConfig
from gcudml.models.backbones.weights import without_weights
from gcudml.models.embedding import Embedder, StoredFeatures
from gcudml.models.number_format import Format, autocast, choose_format
from gcudml.runtime import fused
from gcudml.runtime.files import cache_folder, digest, locked, read_sealed, write_sealed

COUNTS = (1, 2, 4, 8, 16)
STEPS, WARM_STEPS = 8, 3
MUST_SAVE = 0.9
"""A larger number of runs is chosen only if its time per run and step is below this fraction of
that of the best smaller number."""


def most_together(config: RunConfig, *, channels: int, device: torch.device) -> int:
    """Return how many runs of this network and batch size to train together; 1 on a CPU."""
    if device.type != "cuda":
        return 1
    # Only the settings that affect speed, so that runs differing in others share one measurement.
    asked = {name: getattr(config, name).model_dump(mode="json") for name in ("data", "model")}
    train = {"batch_size", "views", "trunk", "device", "number_format", "memory_layout"}
    asked["train"] = config.train.model_dump(mode="json", include=train | {"images_per_cluster"})
    return _ask(json.dumps([asked, channels]))


@functools.cache
def _ask(question: str) -> int:
    """Measure in a subprocess; return 1 if that fails."""
    command = [sys.executable, "-P", "-m", "gcudml.training.fusion_speedup"]
    said = subprocess.run(
        command,
        input=question,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is handled by the caller
    )
    if said.returncode:
        print(f"train_together: not measured\n{said.stderr}", file=sys.stderr)
        return 1
    return int(said.stdout.split()[-1])  # libraries may have printed before the number


def kept_or_measured(config: RunConfig, *, channels: int, device: torch.device) -> int:
    """Return the number of runs from the cache, or measure and cache it.

    Raises:
        OSError: If the cache folder cannot be written.
    """
    number_format = choose_format(config, channels=channels, device=device)
    key = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "model": config.model.model_dump(mode="json"),
        "images": [channels, config.data.network_size, config.train.batch_size, config.train.views],
        "format": number_format.name,
        "trunk": config.train.trunk,
    }
    path = cache_folder() / "together" / f"{digest(key)}.json"
    with locked(path):
        kept = read_sealed(path)
        if isinstance(kept, dict) and isinstance(kept.get("most"), int):
            return int(kept["most"])
        measured = milliseconds_a_step(
            config, COUNTS, channels=channels, number_format=number_format, device=device
        )
        most = best_count(measured)
        content = {"key": key, "most": most, "ms_a_step_and_run": measured}
        write_sealed(path, content)
    return most


def milliseconds_a_step(
    config: RunConfig,
    counts: Sequence[int],
    *,
    channels: int,
    number_format: Format,
    device: torch.device,
) -> dict[int, float]:
    """Return, for each number of runs, the milliseconds per run of the fastest step.

    Stops at the first number of runs that does not fit into memory.
    """
    found = {}
    for count in counts:
        try:
            times = _times(config, count, channels, number_format, device)
        except (MemoryError, torch.OutOfMemoryError):
            break
        found[count] = 1000 * min(times) / count
    return found


def best_count(measured: Mapping[int, float]) -> int:
    """Return the number of runs to train together, given the milliseconds per run and step.

    See ``MUST_SAVE``.
    """
    best = min(measured)
    for count in sorted(measured):
        if measured[count] < MUST_SAVE * measured[best]:
            best = count
    return best


def _times(
    config: RunConfig, count: int, channels: int, number_format: Format, device: torch.device
) -> list[float]:
    """Return the seconds of each step while ``count`` runs train together."""
    rows, size = config.train.batch_size * config.train.views, config.data.network_size
    shape = (rows, channels, size, size)
    is_frozen = config.train.trunk == "frozen"
    ends: list[float] = []

    def build() -> Embedder:
        with without_weights():
            student = Embedder(config.model, channels=channels, image_size=size, seed=0)
        if is_frozen:
            student.features = StoredFeatures(student.features.out_channels)
        number_format.place(student, device)
        return student

    if is_frozen:
        shape = (rows, build().features.out_channels, 1, 1)
    images = torch.zeros(shape, device=device)
    images.normal_(generator=torch.Generator(device).manual_seed(0))

    def train() -> None:
        student = build()
        for _ in range(WARM_STEPS + STEPS + 1):
            with autocast(number_format, device):
                embeddings = fused.forward(student, number_format.arrange(images))
            total = embeddings.compact.square().mean() + embeddings.wide.square().mean()
            fused.backward(total)
            student.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            ends.append(time.perf_counter())

    fused.train_together([train] * count)
    last = ends[count - 1 :: count]  # when the last run finished each step
    return [after - before for before, after in itertools.pairwise(last)][WARM_STEPS:]


def main() -> None:
    """Read parameters and channels as JSON from standard input and print the number of runs."""
    params, channels = json.load(sys.stdin)
    config = RunConfig.model_validate(params)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(kept_or_measured(config, channels=channels, device=device))


if __name__ == "__main__":
    main()
