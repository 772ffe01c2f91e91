"""The network that a finished run has chosen, in a file that is used without the run.

A safetensors file: the student's weights, and beside them all that it takes to use them and to say
how the run ended. It takes the place of the checkpoint, so it is also how a run that is called
again after its end knows that there is nothing left to do. A digest of all of it is written beside
them: a file that is damaged is refused.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.config.fields import Distance
from gcudml.data.datasets import appearance_of
from gcudml.data.image_files import Appearance, decode_image
from gcudml.methods import build_student
from gcudml.models.backbones.weights import without_weights
from gcudml.models.embedding import Embedder
from gcudml.models.inference import embed_images
from gcudml.models.number_format import Format, Layout, Number
from gcudml.runtime.checksum import say_useless
from gcudml.runtime.files import replacing

FILE = "model.safetensors"
# The digest and the facts, in one entry: safetensors writes several in any order. Under the older
# name are facts alone.
_HEADER, _OLDER_HEADER = "gcudml 2", "gcudml"
_DAMAGES = (OSError, SafetensorError, KeyError, ValueError)
_ADVICE = (
    "name that of a run that is done, or what `harness best STUDY.yaml --to FOLDER` has written"
)


class ModelFacts(BaseModel):
    """What is written beside the weights."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="strings")

    config: RunConfig
    seed: int
    test: bool
    """Whether the results are those of test classes as well."""
    epoch: int
    """The one that was chosen, whose weights these are."""
    channels: int
    """Of the images: 1 (grey) or 3 (RGB)."""
    dtype: Number
    layout: Layout
    results: dict[str, float]
    """What the run returned."""

    @property
    def number_format(self) -> Format:
        """What the run computed in."""
        return Format(self.dtype, self.layout)


class TrainedModel(nn.Module):
    """A trained network, ready to embed images."""

    def __init__(self, network: Embedder, facts: ModelFacts) -> None:
        super().__init__()
        self.network = network
        self.facts = facts
        self.eval()

    @property
    def appearance(self) -> Appearance:
        """How image files must be read for it."""
        return appearance_of(self.facts.config.data)

    @property
    def distance(self) -> Distance:
        """What says how alike two embeddings are: the one that the run was scored by."""
        return self.facts.config.distance

    def forward(self, images: UInt8[Tensor, "n channels height width"]) -> Float[Tensor, "n dim"]:
        """The compact embeddings of images, not normalised: those that the run was scored by.

        Args:
            images: Of the size and colours that the run was trained on, see ``read``; on any
                device. No gradient is kept.
        """
        return embed_images(
            self.network,
            images,
            heads=["compact"],
            number_format=self.facts.number_format,
            size=self.facts.config.data.network_size,
        )["compact"]

    def read(self, paths: Sequence[Path]) -> UInt8[Tensor, "n channels height width"]:
        """Image files as the run would have read them.

        Raises:
            OSError: a file is missing or no image.
        """
        return torch.from_numpy(
            np.stack([decode_image(path, appearance=self.appearance) for path in paths])
        )


def load_model(path: str | Path, device: str | torch.device | None = None) -> TrainedModel:
    """Read a model file; code is never run, and the pretrained weights are not needed again.

    Args:
        path: ``model.safetensors`` of a run, or the folder that holds it.
        device: Where it shall compute; None: on a CUDA device where there is one.

    Raises:
        ValueError: no such file, or it is damaged or none of ours.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        facts, tensors = _read(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no model file; {_ADVICE}") from None
    except _DAMAGES as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: no model file, or a damaged one ({reason}); {_ADVICE}") from None
    with without_weights():
        network = build_student(facts.config, channels=facts.channels, seed=0)
    network.load_state_dict(tensors)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    facts.number_format.place(network, torch.device(device))
    return TrainedModel(network, facts)


def save_model(workdir: Path, facts: ModelFacts, state: Mapping[str, Tensor]) -> bool:
    """Write the model file of a run, and whether that was possible.

    A disk that is full costs the file and not the run: this is said on stderr.
    """
    path = workdir / FILE
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    text = facts.model_dump_json()
    header = f"{_digest(text, tensors)} {text}"
    content = safetensors.torch.save(tensors, {_HEADER: header})
    try:
        for left in workdir.glob(f"{path.stem}.*.draft"):  # of an attempt that was killed
            left.unlink(missing_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        print(f"{path}: not written ({error.strerror or error}); going on", file=sys.stderr)
        return False
    return True


def results_of(
    workdir: Path, config: RunConfig, *, seed: int, test: bool
) -> dict[str, float] | None:
    """What this very run returned when it was done; None where it is not."""
    path = workdir / FILE
    try:
        facts = _read(path).facts
    except FileNotFoundError:
        return None
    except _DAMAGES as error:
        say_useless(path, str(error).partition("\n")[0])
        return None
    if (facts.config, facts.seed, facts.test) != (config, seed, test):
        return None
    return facts.results


class _Model(NamedTuple):
    facts: ModelFacts
    tensors: dict[str, Tensor]


def _read(path: Path) -> _Model:
    """What is in a model file.

    Raises:
        FileNotFoundError: there is none.
        Exception: one of ``_DAMAGES``: it is damaged or none of ours.
    """
    with safe_open(path, framework="pt") as file:
        header: dict[str, str] = file.metadata() or {}
    tensors = safetensors.torch.load_file(path)
    if _HEADER not in header:
        return _Model(ModelFacts.model_validate_json(header[_OLDER_HEADER]), tensors)
    written, _, text = header[_HEADER].partition(" ")
    if written != _digest(text, tensors):
        raise ValueError("its digest is that of another content")
    return _Model(ModelFacts.model_validate_json(text), tensors)


def _digest(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a model file holds."""
    found = hashlib.sha256(facts.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
