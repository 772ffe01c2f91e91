"""Metric losses selected by name; the only module that imports pytorch-metric-learning."""

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gcudml.config.fields import MetricLossConfig, Plain
from gcudml.losses.pairs import contextual_bias_loss, multi_similarity_loss, nt_xent_loss
from gcudml.runtime import fused

OWN: dict[str, Callable[..., Tensor]] = {
    "cbml": contextual_bias_loss,
    "multi_similarity": multi_similarity_loss,
    "nt_xent": nt_xent_loss,
}
SHORT_NAMES = {
    "contrastive": "ContrastiveLoss",
    "margin": "MarginLoss",
    "triplet": "TripletMarginLoss",
}
# Losses that compare two sets of embeddings, wrap another loss, or need more than labels.
NOT_FOR_LABELS = {
    "CrossBatchMemory",
    "DynamicSoftMarginLoss",  # keeps the autograd graph from one step to the next
    "GenericPairLoss",
    "HistogramLoss",  # relies on indexing whose meaning torch has changed
    "ManifoldLoss",
    "MultipleLosses",
    "SelfSupervisedLoss",
    "VICRegLoss",
}

NAMES_OF_WIDTH = ("embedding_size", "descriptors_dim")  # the library's two names for it


class NamedLoss(nn.Module):
    """A loss on embeddings and labels; has trainable parameters if it uses proxies."""

    def __init__(
        self, config: MetricLossConfig, *, classes: int, embedding_dim: int, seed: int
    ) -> None:
        """Build the loss; its parameters, if any, depend only on ``seed``.

        Args:
            config: Name and arguments.
            classes: Number of labels, for losses with proxies.
            embedding_dim: Width of the embeddings, for losses with proxies.
            seed: Of the proxies.

        Raises:
            ValueError: ``name: ...`` or ``args: ...``, after the configuration's keys.
        """
        super().__init__()
        self.name = config.name
        self.args = dict(config.args)
        self.inner: nn.Module | None = None
        if config.name in OWN:
            _refuse_unknown(config.name, self.args)
            return
        kind = _loss_class(config.name)
        known = _arguments(kind)
        sizes = {"num_classes": classes} | dict.fromkeys(NAMES_OF_WIDTH, embedding_dim)
        arguments = {key: size for key, size in sizes.items() if key in known} | self.args
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                self.inner = kind(**arguments)
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            own = ", ".join(name for name in known if name not in sizes) or "none"
            raise ValueError(
                f"args: {config.name} does not take {self.args} ({error}); it takes: {own}"
            ) from None

    def forward(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Compute the loss of the rows with a known label (>= 0); 0 if there is none.

        NaN when an embedding is not finite, even if the loss itself would not be.
        """
        loss = 0.0 * embeddings.sum()
        known = labels >= 0
        if self.inner is None:
            loss = loss + fused.loss(OWN[self.name], embeddings, labels, **self.args)
        elif known.any():
            loss = loss + self.inner(embeddings[known], labels[known])
        return loss


def check_loss(config: MetricLossConfig, *, prefix: str = "method.loss.") -> None:
    """Build a loss and compute it, to find invalid arguments before a run starts.

    Raises:
        ValueError: ``name: ...`` or ``args: ...`` after ``prefix``, the place of ``config``.
    """
    try:
        loss = NamedLoss(config, classes=4, embedding_dim=8, seed=0)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
    rows = torch.arange(16)
    embeddings = torch.outer(rows + 1.0, torch.arange(8.0)).cos().requires_grad_()
    try:
        with torch.random.fork_rng(devices=[]):
            for _ in range(2):  # a second step shows whether the first left state behind
                loss(embeddings, rows % 4).backward()
    except Exception as error:  # a library's loss can raise anything on invalid arguments
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{prefix}args: {config.name} fails with {loss.args} ({reason})") from None


def loss_names() -> list[str]:
    """List all names that ``NamedLoss`` accepts."""
    return [*OWN, *SHORT_NAMES, *sorted(_library())]


@functools.cache
def _library() -> dict[str, type[nn.Module]]:
    losses = importlib.import_module("pytorch_metric_learning.losses")  # slow: only when needed
    return {
        name: kind
        for name, kind in vars(losses).items()
        if inspect.isclass(kind)
        and issubclass(kind, nn.Module)
        and name.endswith("Loss")
        and name not in NOT_FOR_LABELS
    }


def _loss_class(name: str) -> type[nn.Module]:
    full = SHORT_NAMES.get(name, name)
    found = _library().get(full)
    if found is None:
        close = difflib.get_close_matches(name, loss_names(), n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"name: unknown loss {name!r}; {guess}known: {', '.join([*OWN, *SHORT_NAMES])} and the "
            f"{len(_library())} losses of pytorch_metric_learning.losses on embeddings and labels"
        )
    return found


def _arguments(kind: type[nn.Module]) -> list[str]:
    """Names of a class's arguments, including those it passes on to its base classes."""
    names: dict[str, None] = {}
    for each in kind.__mro__:
        parameters = inspect.signature(vars(each).get("__init__", _takes_all)).parameters.values()
        names |= {p.name: None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    names.pop("self", None)
    return list(names)


def _takes_all(self: object, **kwargs: object) -> None:
    """Signature of a class without its own constructor: every argument is passed on."""


def _refuse_unknown(name: str, given: Mapping[str, Plain]) -> None:
    parameters = inspect.signature(OWN[name]).parameters
    own = [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    if unknown := sorted(given.keys() - set(own)):
        raise ValueError(f"args: {name} does not take {', '.join(unknown)}; it takes: {own}")
