"""Number format and memory layout: benchmarked once per machine and model, then cached.

On a CPU no setting is the fastest for every network (they differ by up to 6x), so a few training
steps decide. The choice is written to the cache folder: the first run measures and later runs read
the file, so that all runs on a machine use the same format and results are reproducible to the bit.
"""

import contextlib
import errno
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config import RunConfig, TrainConfig
from gcudml.models.backbones.build import has_small_stem, input_channels
from gcudml.models.backbones.weights import without_weights
from gcudml.models.embedding import Embedder
from gcudml.runtime.files import cache_folder, digest, locked, read_sealed, write_sealed

Number: TypeAlias = Literal["fp32", "bf16"]
Layout: TypeAlias = Literal["contiguous", "channels_last"]
WARM_STEPS, TIMED_STEPS = 2, 5
ENOUGH_S = 2.0  # after this long one timed step is enough; for slow networks the first, unwarmed
# Images per measured step: enough to tell the settings apart.
ROWS = {"conv4": 64, "resnet18": 16}
ROWS_OF_OTHERS = 2  # batch norm needs two
ROWS_ON_CUDA = 32  # at least; with fewer, a GPU waits for the CPU
SIMPLE_IS_WORTH = 0.9  # bf16 is used only if it takes less than this fraction of fp32's time


@dataclass(frozen=True)
class Format:
    """Number format and memory layout of a network's computations."""

    dtype: Number
    layout: Layout
    measured: Mapping[str, float] = field(default_factory=dict)
    """Setting -> milliseconds per step; empty if nothing was measured."""

    @property
    def name(self) -> str:
        """Name of the setting, such as ``bf16 channels_last``."""
        return f"{self.dtype} {self.layout}"

    def arrange(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convert images to the memory layout."""
        return images.contiguous(memory_format=self._memory)

    def place(self, network: nn.Module, device: torch.device) -> None:
        """Move the network to the device and convert it to the memory layout, in place."""
        network.to(device=device, memory_format=self._memory)  # type: ignore[call-overload]

    @property
    def _memory(self) -> torch.memory_format:
        if self.layout == "channels_last":
            return torch.channels_last
        return torch.contiguous_format


@contextlib.contextmanager
def autocast(number_format: Format, device: torch.device) -> Iterator[None]:
    """Run convolutions in the format's dtype."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=number_format.dtype == "bf16"):
        yield


def choose_format(config: RunConfig, *, channels: int, device: torch.device) -> Format:
    """Return the configured setting; ``auto`` is resolved by a benchmark or from the cache.

    Equal networks on one machine get the same setting, whatever else was running at the time. bf16
    must save more than a tenth of the time. The global random state is not changed.

    Raises:
        OSError: the cache folder cannot be written.
    """
    train = config.train
    candidates = _candidates(train, device)
    if len(candidates) == 1:
        return candidates[0]
    rows = ROWS.get(config.model.backbone, ROWS_OF_OTHERS)
    if device.type == "cuda":
        rows = max(rows, ROWS_ON_CUDA)
    # Leaves out batch size, head sizes and method: a study that varies these must not mix formats.
    key = {
        "machine": _machine(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "backbone": config.model.backbone,
        "width": config.model.width if config.model.backbone == "conv4" else None,
        "small_stem": has_small_stem(config.model, image_size=config.data.network_size),
        "images": [
            rows,
            input_channels(config.model, channels=channels),
            config.data.network_size,
        ],
        "candidates": [each.name for each in candidates],
    }
    path = cache_folder() / "formats" / f"{digest(key)}.json"
    kept = _choice_in(read_sealed(path, quietly=True), candidates)
    if kept is not None:
        return kept
    with locked(path):
        # Another process may have measured it while this one waited.
        kept = _choice_in(read_sealed(path), candidates)
        if kept is not None:
            return kept
        measured = _measure(candidates, config, channels, rows, device)
        chosen = _fastest(candidates, measured)
        content = {"key": key, "chosen": chosen.name, "measured": measured}
        write_sealed(path, content)
    return chosen


def prepare_cache(train: TrainConfig) -> None:
    """Create the folder of measured settings, so that an unusable cache is found early.

    Raises:
        OSError: the folder cannot be written and holds nothing yet.
    """
    if "auto" not in (train.number_format, train.memory_layout):
        return
    folder = cache_folder() / "formats"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK) and not any(folder.iterdir()):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _candidates(train: TrainConfig, device: torch.device) -> list[Format]:
    """List the settings that the configuration allows on this device."""
    dtypes: list[Number] = ["fp32"]
    if train.number_format != "auto":
        dtypes = [train.number_format]
    elif device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        dtypes = ["fp32", "bf16"]
    layouts: list[Layout] = ["contiguous", "channels_last"]
    if train.memory_layout != "auto":
        layouts = [train.memory_layout]
    return [Format(dtype, layout) for dtype in dtypes for layout in layouts]


def _choice_in(kept: object, candidates: list[Format]) -> Format | None:
    """Parse an earlier choice; None if there is none or it is malformed."""
    if not isinstance(kept, dict):
        return None
    known = {candidate.name: candidate for candidate in candidates}
    try:
        return replace(known[kept["chosen"]], measured=dict(kept["measured"]))
    except (ValueError, KeyError, TypeError):
        return None


def _measure(
    candidates: list[Format], config: RunConfig, channels: int, rows: int, device: torch.device
) -> dict[str, float]:
    """Time a training step of each candidate, interleaved (A B A B): minimum in milliseconds."""
    size = config.data.network_size
    images = torch.zeros(rows, channels, size, size, device=device)
    images.normal_(generator=torch.Generator(device).manual_seed(0))
    students = []
    for candidate in candidates:
        with without_weights():
            student = Embedder(config.model, channels=channels, image_size=size, seed=0)
        candidate.place(student, device)
        students.append(student)
    times: list[list[float]] = [[] for _ in candidates]
    began = time.perf_counter()
    for step in range(WARM_STEPS + TIMED_STEPS):
        is_late = time.perf_counter() - began > ENOUGH_S
        if is_late and all(times):
            break
        for candidate, student, taken in zip(candidates, students, times, strict=True):
            started = time.perf_counter()
            with autocast(candidate, device):
                embeddings = student(candidate.arrange(images))
            (embeddings.compact.square().mean() + embeddings.wide.square().mean()).backward()
            student.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            lasted = time.perf_counter() - started
            if step >= WARM_STEPS or is_late or lasted > ENOUGH_S / len(candidates):
                taken.append(1000 * lasted)
    return {
        candidate.name: round(min(taken), 3)  # other load can only make a step slower
        for candidate, taken in zip(candidates, times, strict=True)
    }


def _fastest(candidates: list[Format], measured: Mapping[str, float]) -> Format:
    def cost(candidate: Format) -> float:
        return measured[candidate.name] * (SIMPLE_IS_WORTH if candidate.dtype == "fp32" else 1.0)

    return replace(min(candidates, key=cost), measured=measured)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
