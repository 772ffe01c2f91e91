"""Measure the power of the machine, where it tells: processors by RAPL, GPUs by nvidia-smi.

RAPL counts the energy of each processor package in files below ``/sys/class/powercap``, which many
systems let only root read. What else a machine takes (memory, disks, fans, losses of the supply) is
not in it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_RAPL = Path("/sys/class/powercap")
_PACKAGES = "intel-rapl:[0-9]*"  # AMD's processors have the same name
_EVERY_S = 1.0
"""Interval between readings of a GPU."""


class PowerMeter:
    """Measures from its creation on."""

    def __init__(
        self,
        gpus: Sequence[str] = (),
        *,
        folder: Path = _RAPL,
        read_gpu: Callable[[str], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the first reading.

        Args:
            gpus: The GPUs to measure, as nvidia-smi names them.
            folder: Where the system has its counters.
            read_gpu: Reads the power of a GPU in watts, None if it is not told.
            clock: A monotonic clock.
        """
        self._gpus, self._folder, self._clock = gpus, folder, clock
        self._read_gpu = read_gpu or gpu_watts
        self._began = self._sampled = clock()
        self._joules = _joules(folder)
        self._gpu_watts: list[list[float]] = [[] for _ in gpus]

    def sample(self) -> None:
        """Read the GPUs, if it is time to; call this often."""
        if self._gpus and self._clock() - self._sampled >= _EVERY_S:
            self._sampled = self._clock()
            self._read_gpus()

    def watts(self) -> float | None:
        """Return the mean power so far; None if the machine tells nothing."""
        seconds = self._clock() - self._began
        if not any(self._gpu_watts):
            self._read_gpus()
        found = [statistics.fmean(each) for each in self._gpu_watts if each]
        if seconds > 0 and (joules := self._joules_since()) is not None:
            found.append(joules / seconds)
        return sum(found) if found else None

    def _read_gpus(self) -> None:
        for gpu, readings in zip(self._gpus, self._gpu_watts, strict=True):
            if (watts := self._read_gpu(gpu)) is not None:
                readings.append(watts)

    def _joules_since(self) -> float | None:
        """Return the energy of all packages since the first reading; counters wrap around."""
        now = _joules(self._folder)
        both = self._joules.keys() & now.keys()
        if not both:
            return None
        return sum((now[name][0] - self._joules[name][0]) % now[name][1] for name in both)


def gpu_watts(gpu: str) -> float | None:
    """Return the power that a GPU draws now; None if it is not told."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = ["--query-gpu=power.draw", "--format=csv,noheader,nounits", "-i", gpu]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        told = subprocess.run(
            [program, *query], capture_output=True, text=True, timeout=10, check=True
        )
        return float(told.stdout.split()[0]) if told.stdout.split() else None
    return None


def _joules(folder: Path) -> dict[str, tuple[float, float]]:
    """Return package -> energy counted so far, and where the counter wraps around."""
    found = {}
    for package in sorted(folder.glob(_PACKAGES)):
        if package.name.count(":") > 1:  # a part of a package
            continue
        with suppress(OSError, ValueError):
            counted, most = (
                int((package / name).read_text()) / 1e6
                for name in ("energy_uj", "max_energy_range_uj")
            )
            if most > 0:
                found[package.name] = (counted, most)
    return found
