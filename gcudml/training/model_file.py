"""Model file: the student of the chosen epoch of a finished run, usable without the run.

A safetensors file with the student's weights and, as metadata, everything needed to use them and
the results of the run. It replaces the checkpoint: a run that finds its own model file returns
these results without training. A digest covers the whole content, and damaged files are refused.
"""

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
from gcudml.runtime.checksum import digest_of, say_useless
from gcudml.runtime.files import replacing

FILE = "model.safetensors"
# Digest and facts share one metadata entry, because safetensors writes several in arbitrary order.
# The older entry has the facts without a digest.
_HEADER, _OLDER_HEADER = "gcudml 2", "gcudml"
_DAMAGES = (OSError, SafetensorError, KeyError, ValueError)
_ADVICE = "name that of a finished run, or one written by `harness best STUDY.yaml --to FOLDER`"


class ModelFacts(BaseModel):
    """Metadata of a model file."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="strings")

    config: RunConfig
    seed: int
    test: bool
    """Whether the results include scores on the test classes."""
    epoch: int
    """The chosen epoch, whose weights are in the file."""
    channels: int
    """Channels of the images: 1 (grey) or 3 (RGB)."""
    dtype: Number
    layout: Layout
    results: dict[str, float]
    """Results that the run returned."""

    @property
    def number_format(self) -> Format:
        """Number format and memory layout that the run used."""
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
        """How to decode image files for this network."""
        return appearance_of(self.facts.config.data)

    @property
    def distance(self) -> Distance:
        """Distance between embeddings that the run was evaluated with."""
        return self.facts.config.distance

    def forward(self, images: UInt8[Tensor, "n channels height width"]) -> Float[Tensor, "n dim"]:
        """Compute compact embeddings, not normalised, as in the run's evaluation.

        Args:
            images: Images with the size and channels that the run was trained on, see ``read``; on
                any device. Computed without gradient.
        """
        return embed_images(
            self.network,
            images,
            heads=["compact"],
            number_format=self.facts.number_format,
            size=self.facts.config.data.network_size,
        )["compact"]

    def read(self, paths: Sequence[Path]) -> UInt8[Tensor, "n channels height width"]:
        """Read image files as the run did.

        Raises:
            OSError: If a file is missing or not an image.
        """
        return torch.from_numpy(
            np.stack([decode_image(path, appearance=self.appearance) for path in paths])
        )


def load_model(path: str | Path, device: str | torch.device | None = None) -> TrainedModel:
    """Load a model file without executing code from it or downloading pretrained weights.

    Args:
        path: ``model.safetensors`` of a run, or the folder that contains it.
        device: Device of the network; None: CUDA if available, else the CPU.

    Raises:
        ValueError: If the file is missing, damaged or not a model file of this package.
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
    """Write the model file of a run and return whether this succeeded.

    If the file cannot be written, for example on a full disk, report this on stderr and return
    False.
    """
    path = workdir / FILE
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    text = facts.model_dump_json()
    header = f"{digest_of(text, tensors)} {text}"
    content = safetensors.torch.save(tensors, {_HEADER: header})
    try:
        for left in workdir.glob(f"{path.stem}.*.draft"):  # left behind by a killed attempt
            left.unlink(missing_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        print(f"{path}: not written ({error.strerror or error}); continuing", file=sys.stderr)
        return False
    return True


def results_of(
    workdir: Path, config: RunConfig, *, seed: int, test: bool
) -> dict[str, float] | None:
    """Return the results of this run if it has finished, from its model file; otherwise None."""
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
    """Read facts and weights from a model file and check its digest.

    Raises:
        FileNotFoundError: If there is no file.
        Exception: One of ``_DAMAGES`` if it is damaged or not a model file of this package.
    """
    with safe_open(path, framework="pt") as file:
        header: dict[str, str] = file.metadata() or {}
    tensors = safetensors.torch.load_file(path)
    if _HEADER not in header:
        return _Model(ModelFacts.model_validate_json(header[_OLDER_HEADER]), tensors)
    written, _, text = header[_HEADER].partition(" ")
    if written != digest_of(text, tensors):
        raise ValueError("its digest does not match its content")
    return _Model(ModelFacts.model_validate_json(text), tensors)
