"""The start of the linear heads that ``model.head_init`` fits to the training images."""

import dataclasses
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gcudml.config import ModelConfig, RunConfig
from gcudml.models.embedding import Embedder
from gcudml.models.inference import embed_images
from gcudml.models.number_format import Format

FITTED = ("svd", "half_whitened")
SMALLEST = 1e-6
"""Variances below this fraction of the largest count as that much, so that directions in which the
training images hardly differ do not outweigh all others."""


class LinearStart(NamedTuple):
    """Weights and bias of a linear head."""

    weight: Float[Tensor, "dim features"]
    bias: Float[Tensor, " dim"]


def check_heads(config: ModelConfig, *, features: int, images: int) -> None:
    """Reject heads whose sizes do not suit ``head_init``.

    The rules are the same for every method, so that the controls of a study have equal heads.

    Args:
        config: Sizes and start of the heads.
        features: Number of the backbone's features.
        images: Number of training images.

    Raises:
        ValueError: ``model.head_init: what; remedy``.
    """
    start, sizes = config.head_init, (config.embedding_dim, config.wide_dim)
    if start == "identity" and sizes != (features, features):
        raise ValueError(
            f"model.head_init: identity needs heads of {features} dimensions, as many as "
            f"{config.backbone} has features, got embedding_dim = {sizes[0]} and wide_dim = "
            f"{sizes[1]}; set both to {features}, or head_init to svd"
        )
    if start not in FITTED:
        return
    known = images - 1 if start == "half_whitened" else images  # centring takes one dimension away
    most, largest = min(features, known), max(sizes)
    if largest > most:
        key = "wide_dim" if largest == sizes[1] else "embedding_dim"
        limit = f"{config.backbone} has {features} features"
        if known < features:
            limit = f"there are {images} training images"
        raise ValueError(
            f"model.head_init: {start} gives at most {most} dimensions, since {limit}, got "
            f"{key} = {largest}; lower it to {most}, or set head_init to orthogonal"
        )


@torch.no_grad()
def fit_heads(
    network: Embedder,
    images: Shaped[Tensor, "n channels height width"],
    config: RunConfig,
    *,
    number_format: Format,
) -> None:
    """Fit the linear heads of an untrained network, in place, if ``head_init`` says so.

    The features are those of evaluation, in single precision whatever the run computes in. Both
    heads keep the same directions, each as many as its size. A method's own compact head on the
    maps stays as it is.

    Args:
        network: As before training, on its device.
        images: The training images, or features of a frozen trunk.
        config: Configuration of the run.
        number_format: Number format of the run; only its memory layout is used.

    Raises:
        ValueError: ``model.head_init: ...`` if it does not suit the sizes, or all images have the
            same features, or one that is not finite.
    """
    model = config.model
    check_heads(model, features=network.features.out_channels, images=len(images))
    if model.head_init not in FITTED:
        return
    found = embed_images(
        network,
        images,
        heads=["pooled"],
        number_format=dataclasses.replace(number_format, dtype="fp32"),
        size=config.data.network_size,
    )["pooled"]
    _check_features(found)
    fit = svd if model.head_init == "svd" else half_whitened
    largest = fit(found, dim=max(model.embedding_dim, model.wide_dim))
    for head in [network.wide] if network.compact_takes_maps else [network.wide, network.compact]:
        assert isinstance(head, torch.nn.Linear)
        head.weight.copy_(largest.weight[: head.out_features])
        head.bias.copy_(largest.bias[: head.out_features])


def _check_features(features: Float[Tensor, "n features"]) -> None:
    is_finite = bool(features.isfinite().all())
    if not is_finite or bool((features == features[0]).all()):
        problem = "are all equal" if is_finite else "are not all finite"
        raise ValueError(
            f"model.head_init: the features of the training images {problem}, so that no head can "
            "be fitted to them; check data and model.weights, or set head_init to orthogonal"
        )


def svd(features: Float[Tensor, "n features"], *, dim: int) -> LinearStart:
    """Project onto the leading right singular vectors of the features, without a bias."""
    rows = features.double().cpu()
    directions = _principal(rows, dim=dim).directions
    return LinearStart(directions.float(), features.new_zeros(dim))


def half_whitened(features: Float[Tensor, "n features"], *, dim: int) -> LinearStart:
    r"""Project centred features onto their principal components and whiten these halfway.

    With mean :math:`\mu`, and the ``dim`` largest eigenvalues :math:`\lambda` and eigenvectors
    :math:`V` of the covariance (divided by n):
    :math:`W = diag(\lambda^{-1/4}) V^T`, :math:`b = -W \mu`. The outputs have variances
    :math:`\sqrt\lambda`; see ``SMALLEST`` for small ones.
    """
    rows = features.double().cpu()
    mean = rows.mean(dim=0)
    found = _principal(rows - mean, dim=dim)
    scales = found.variances.clamp(min=SMALLEST * float(found.variances[0])).pow(-0.25)
    weight = scales[:, None] * found.directions
    return LinearStart(weight.float(), -(weight @ mean).float())


class _Principal(NamedTuple):
    directions: Float[Tensor, "dim features"]
    variances: Float[Tensor, " dim"]


def _principal(rows: Float[Tensor, "n features"], *, dim: int) -> _Principal:
    """Return the directions in which the rows' mean squares are largest, largest first."""
    if len(rows) < rows.shape[1]:  # much less work than the eigenvectors of all features
        _, values, directions = torch.linalg.svd(rows, full_matrices=False)
        variances = values.square() / len(rows)
    else:
        ascending, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        directions, variances = vectors.T.flip(0), ascending.flip(0)
    directions = directions[:dim]
    # A direction's sign is arbitrary: choose it so that equal features give equal heads anywhere.
    peaks = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return _Principal(directions * peaks.sign(), variances[:dim])
