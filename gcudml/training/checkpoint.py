"""What a run must know to go on after an epoch, in a file that is whole or not there.

Its last bytes are a checksum: flipped bits would give other epochs and another model.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gcudml.config import RunConfig
from gcudml.runtime.checksum import SummedWriter, is_sound, say_useless
from gcudml.runtime.files import replacing

FILE = "checkpoint.pt"
FORM = 2
"""Of the content; a file of another form is useless, though it can be read."""


def key_of(config: RunConfig, seed: int) -> str:
    """What a run computes, as a text."""
    return json.dumps([config.model_dump(mode="json"), seed], sort_keys=True)


def save(workdir: Path, key: str, content: Mapping[str, Any]) -> None:
    """Replace the run's checkpoint.

    A disk that is full costs the checkpoint and not the run: this is said on stderr, and the run
    would go on from the last one.

    Args:
        workdir: The run's folder.
        key: What the run computes; only a run with an equal key goes on from here.
        content: Plain values and tensors.
    """
    path = workdir / FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            _write({"form": FORM, "key": key, "content": dict(content)}, draft)
    except OSError as error:
        print(f"{path}: not written ({error.strerror or error}); going on", file=sys.stderr)


def remove(workdir: Path) -> None:
    """Remove the checkpoint of a run that is over."""
    with suppress(OSError):
        (workdir / FILE).unlink(missing_ok=True)


def load(workdir: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """The content of the run's checkpoint, on the device.

    None where there is none, where another run wrote it, or where it is damaged or of an older
    form, which is said on stderr. Code in the file is never run.
    """
    path = workdir / FILE
    for left in workdir.glob(f"{path.stem}.*.draft"):  # of an attempt that was killed
        with suppress(OSError):
            left.unlink()
    try:
        with path.open("rb") as stream:
            if not is_sound(stream):
                say_useless(path, "damaged, or of an older version: no valid checksum")
                return None
        kept = torch.load(path, map_location=device, weights_only=True)
        if kept.get("form") != FORM:
            say_useless(path, "of an older version")
            return None
        content: dict[str, Any] = kept["content"]
        return content if kept["key"] == key else None
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file makes of the unpickler
        say_useless(path, str(error).partition("\n")[0])
        return None


def _write(content: Mapping[str, Any], draft: Path) -> None:
    """``torch.save`` that reports a full disk as such."""
    try:
        with draft.open("wb") as stream:
            writer = SummedWriter(stream)
            torch.save(dict(content), writer)  # type: ignore[arg-type]  # it only writes
            writer.finish()
    except RuntimeError as error:  # its zip writer hides what the system said
        raise OSError(f"cannot be written: {str(error).partition(chr(10))[0]}") from error
