"""Checkpoint file: save and load the training state of a run after each epoch.

The file is replaced atomically and ends with a checksum, because a run resumed from flipped bits
would train a different model.
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
FORM = 3
"""Version of the content; files of any other version are ignored."""


def key_of(config: RunConfig, seed: int) -> str:
    """Return the configuration and the seed as JSON, which identifies what a run computes."""
    return json.dumps([config.model_dump(mode="json"), seed], sort_keys=True)


def save(workdir: Path, key: str, content: Mapping[str, Any]) -> None:
    """Replace the run's checkpoint.

    If the file cannot be written, for example on a full disk, report this on stderr and keep the
    previous checkpoint; the run continues.

    Args:
        workdir: The run's folder.
        key: Result of ``key_of``; only a run with an equal key resumes from this checkpoint.
        content: Plain values and tensors.
    """
    path = workdir / FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            _write({"form": FORM, "key": key, "content": dict(content)}, draft)
    except OSError as error:
        print(f"{path}: not written ({error.strerror or error}); continuing", file=sys.stderr)


def remove(workdir: Path) -> None:
    """Remove the checkpoint of a finished run."""
    with suppress(OSError):
        (workdir / FILE).unlink(missing_ok=True)


def load(workdir: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """Load the content of the run's checkpoint onto the device.

    Returns None if there is no checkpoint or its key differs, and also, with a message on stderr,
    if it is damaged or of another version. Never executes code from the file.
    """
    path = workdir / FILE
    for left in workdir.glob(f"{path.stem}.*.draft"):  # left behind by a killed attempt
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
    except Exception as error:  # a damaged file can make the unpickler raise anything
        say_useless(path, str(error).partition("\n")[0])
        return None


def _write(content: Mapping[str, Any], draft: Path) -> None:
    """Call ``torch.save``, but raise OSError if the file cannot be written."""
    try:
        with draft.open("wb") as stream:
            writer = SummedWriter(stream)
            torch.save(dict(content), writer)  # type: ignore[arg-type]  # SummedWriter can only write
            writer.finish()
    except RuntimeError as error:  # torch's zip writer hides the OSError
        raise OSError(f"cannot be written: {str(error).partition(chr(10))[0]}") from error
