"""Which GPUs this machine offers, found without a library that would initialise CUDA."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
_TIMEOUT_S = 10.0


def visible_gpus(
    environment: Mapping[str, str],
    *,
    driver_folder: Path = _DRIVER_FOLDER,
    command: str = "nvidia-smi",
) -> tuple[str, ...]:
    """The GPUs that a process with ``environment`` may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    That variable decides where it is set, and an empty one means none. Otherwise the driver's
    folder is counted and, where there is no such folder, the driver's command is asked.

    Args:
        environment: Of the process.
        driver_folder: Has one entry a GPU.
        command: Prints a line for each GPU, given ``-L``.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return _named(listed)
    if driver_folder.is_dir():
        count = sum(1 for _ in driver_folder.iterdir())
    else:
        count = _count_asked(command)
    return tuple(str(number) for number in range(count))


def _named(listed: str) -> tuple[str, ...]:
    """What a list names; CUDA ignores all from the first entry on that names nothing."""
    found: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))) or name in found:
            break
        found.append(name)
    return tuple(found)


def _count_asked(command: str) -> int:
    """How many GPUs the driver's command lists; 0 where there is none, or it fails or hangs."""
    path = shutil.which(command)
    if path is None:
        return 0
    try:
        done = subprocess.run(
            [path, "-L"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
