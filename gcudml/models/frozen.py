"""A frozen trunk: its features of all images are computed once, cached, and shared by all runs.

The heads are then trained on these features. ``StoredFeatures`` takes the trunk's place in the
student, so methods, teacher and evaluation work on features as they do on images. The controls that
train nothing work on such features as well, so they cost little more than their evaluation.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.config.model import Pooling
from gcudml.models.embedding import Embedder, Pooled, StoredFeatures, pool
from gcudml.models.inference import RandomViews, network_inputs
from gcudml.models.number_format import Format, autocast
from gcudml.runtime.array_cache import cached_array
from gcudml.runtime.checksum import digest_of
from gcudml.runtime.files import digest
from gcudml.runtime.seeding import generator

VERSION = 1
"""Increase it when a change of the code changes the features of equal settings."""
IRRELEVANT = {"weights", "freeze_batch_norm", "embedding_dim", "wide_dim", "head_init"}
"""Parameters of the model that change no feature, or only through the weights that are loaded."""


GEM_P = 3.0
"""Exponent of ``gem`` among several poolings."""


class PooledSideBySide(nn.Module):
    """The feature maps of a trunk under several poolings, one behind the other."""

    def __init__(self, trunk: Pooled, poolings: Sequence[Pooling]) -> None:
        super().__init__()
        self.maps = trunk.maps
        self.poolings = tuple(poolings)
        self.out_channels = len(poolings) * trunk.out_channels

    def extra_repr(self) -> str:
        """Name the poolings, which no parameter shows."""
        return f"poolings={self.poolings}, gem_p={GEM_P}"

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Compute the features of images under each pooling, in single precision."""
        maps = self.maps(images)
        return torch.cat([pool(maps, each, gem_p=GEM_P) for each in self.poolings], dim=1)


class FrozenTrunk:
    """The trunk of a student that trains its heads only, and the cache of the trunk's features."""

    def __init__(
        self,
        student: Embedder,
        config: RunConfig,
        number_format: Format,
        *,
        poolings: Sequence[Pooling] = (),
        keep: bool = True,
    ) -> None:
        """Take the trunk out of the student, which from now on embeds features.

        Args:
            student: As before training, on its device.
            config: Configuration of the run.
            number_format: Number format of the run.
            poolings: Poolings in place of the student's own, if any; the features of each stand one
                behind the other.
            keep: Whether features are cached, as suits weights that other runs have as well.
        """
        own = student.features
        assert isinstance(own, Pooled)
        self.trunk = PooledSideBySide(own, poolings) if poolings else own
        self.trunk.eval().requires_grad_(False)
        student.features = StoredFeatures(self.trunk.out_channels)
        self.config = config
        self.number_format = number_format
        self.keep = keep
        state = dict(self.trunk.named_parameters()) | dict(self.trunk.named_buffers())
        irrelevant = IRRELEVANT | ({"pooling", "gem_p"} if poolings else set())
        # The digest of the weights stands for where they come from: a file, or the run's seed.
        self._key = {
            "version": VERSION,
            "torch": torch.__version__,
            "device": self._device.type,
            "format": number_format.name,
            "size": config.data.network_size,
            "model": config.model.model_dump(mode="json", exclude=irrelevant),
            "weights": digest_of(str(self.trunk), state),
        }

    def features(
        self,
        images: UInt8[Tensor, "n channels height width"],
        *,
        of: object,
        views: Sequence[RandomViews | None] = (None,),
    ) -> Float32[np.ndarray, "views n features 1 1"]:
        """Return the pooled features of all images in each of the views, as maps of one pixel.

        Computed at the first call and read from the cache afterwards; the file is verified.

        Args:
            images: At least one.
            of: JSON value that identifies the images.
            views: Random views, with fresh generators; None: the unchanged image, as in evaluation.

        Raises:
            OSError: The cache cannot be written.
        """
        drawn = [
            view and [view.config.model_dump(mode="json"), view.generator.initial_seed()]
            for view in views
        ]
        if not self.keep:
            found = np.concatenate(list(self._compute(images, views)))
        else:
            found = cached_array(
                "features",
                digest([self._key, of, drawn]),
                (len(views) * len(images), self.trunk.out_channels),
                lambda: self._compute(images, views),
                dtype=np.float32,
                verify=True,
            )
        return found.reshape(len(views), len(images), -1, 1, 1)

    def training_views(
        self, images: UInt8[Tensor, "n channels height width"], *, of: object
    ) -> Float32[np.ndarray, "views n features 1 1"]:
        """Return the features of ``train.frozen_views`` random views, the same for every seed."""
        randomness = [
            generator(0, "frozen views", view) for view in range(self.config.train.frozen_views)
        ]
        views = [RandomViews(self.config.views, each) for each in randomness]
        return self.features(images, of=of, views=views)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the trunk's weights by their names in the student."""
        return {f"features.{name}": value for name, value in self.trunk.state_dict().items()}

    @property
    def _device(self) -> torch.device:
        return next(self.trunk.parameters()).device

    @torch.no_grad()
    def _compute(
        self,
        images: UInt8[Tensor, "n channels height width"],
        views: Sequence[RandomViews | None],
    ) -> Iterator[Float32[np.ndarray, "_ features"]]:
        # Not fused with other runs: the cache's lock must not wait for a run that waits for it.
        for view in views:
            blocks = network_inputs(
                images,
                device=self._device,
                number_format=self.number_format,
                size=self.config.data.network_size,
                views=view,
            )
            for inputs in blocks:
                with autocast(self.number_format, self._device):
                    pooled = self.trunk(inputs)
                yield pooled.cpu().numpy()


def draw_stored(
    stored: Float[Tensor, "views n features 1 1"],
    indices: Int[Tensor, "rows batch"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, "drawn features 1 1"]:
    """Draw one of the stored views for each index, different ones within a column.

    Args:
        stored: Features of at least ``rows`` views of each image.
        indices: Images to draw views of, on the device of ``stored``.
        generator: A CPU generator.
    """
    rows, batch = indices.shape
    order = torch.rand(batch, len(stored), generator=generator).argsort(dim=1)
    views = order[:, :rows].T.to(stored.device, non_blocking=True)  # (rows, batch)
    return stored[views.flatten(), indices.flatten()]
